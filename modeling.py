"""BERT (Devlin et al., https://arxiv.org/abs/1810.04805) in graph mode: ids → vectors.

Function names, arguments, defaults and variable names are those of google-research/bert, so its checkpoints load by
name and scripts written for its `modeling` keep working, with reference and with resource variables.

B batch · S sequence · F, T sequence that attends, is attended to · H hidden · A heads · D = H / A · V vocabulary.
"""

import collections
import copy
import functools
import json
import math
import re
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import tensorflow.compat.v1 as tf

if __package__:  # cloned as a package: `from bert import modeling`
    from .steady_bert.base import compiled_layer, compiled_pieces, fast_attention, json_files
    from .steady_bert.base.compute import PLAIN, Compute
    from .steady_bert.base.errors import UserError
    from .steady_bert.base.forms import forms_of, plain_gelu, plain_gelu_erf, product
    from .steady_bert.base.lone_sum import lone_sum
    from .steady_bert.base.randomness import dropout, dropout_moment, dropout_place, is_keyed, keyed_mask
    from .steady_bert.base.token_layout import TokenLayout, every_position, packed_attention, packed_rows, real_tokens
    from .steady_bert.base.word_shift import WordShift
else:
    from steady_bert.base import compiled_layer, compiled_pieces, fast_attention, json_files
    from steady_bert.base.compute import PLAIN, Compute
    from steady_bert.base.errors import UserError
    from steady_bert.base.forms import forms_of, plain_gelu, plain_gelu_erf, product
    from steady_bert.base.lone_sum import lone_sum
    from steady_bert.base.randomness import dropout, dropout_moment, dropout_place, is_keyed, keyed_mask
    from steady_bert.base.token_layout import TokenLayout, every_position, packed_attention, packed_rows, real_tokens
    from steady_bert.base.word_shift import WordShift

_HOST = "/cpu:0"
_MASKED_SCORE = -10000.0  # added to the scores of padded positions, as in the published models
_PROJECTIONS = ("query", "key", "value")  # the scopes of their variables, in the order in which these are made

# --- configuration ----------------------------------------------------------------------------------------------------


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_MOST_DROPOUT = 0.999  # masks are drawn from 16 bits, so that a rate nearer to 1 would keep nothing
_MOST_DEVIATION = 1000.0  # of initial weights; published models have 0.02


class BertConfig:
    """The sizes and rates of a BERT model; see the paper's section 3. max_position_embeddings is in tokens."""

    def __init__(
        self,
        vocab_size: int,
        hidden_size: int = 768,
        num_hidden_layers: int = 12,
        num_attention_heads: int = 12,
        intermediate_size: int = 3072,
        hidden_act: Any = "gelu",
        hidden_dropout_prob: float = 0.1,
        attention_probs_dropout_prob: float = 0.1,
        max_position_embeddings: int = 512,
        type_vocab_size: int = 16,
        initializer_range: float = 0.02,
    ) -> None:
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.intermediate_size = intermediate_size
        self.hidden_act = hidden_act
        self.hidden_dropout_prob = hidden_dropout_prob
        self.attention_probs_dropout_prob = attention_probs_dropout_prob
        self.max_position_embeddings = max_position_embeddings
        self.type_vocab_size = type_vocab_size
        self.initializer_range = initializer_range

    @classmethod
    def from_dict(cls, json_object: Dict[str, Any]) -> "BertConfig":
        """Keys that no BERT has are kept as attributes, as every config.json of Hugging Face has some.

        Raises UserError (a ValueError) if vocab_size is missing, or for a value that no BERT can have.
        """
        if not isinstance(json_object, dict):
            raise UserError("a configuration is an object with keys, not {!r}.".format(json_object))
        if "vocab_size" not in json_object:
            raise UserError("'vocab_size' is missing. Use the bert_config.json that belongs to the checkpoint.")
        config = cls(vocab_size=0)
        sizes = sorted(vars(config))
        vars(config).update(json_object)
        config._check(sizes)
        return config

    def _check(self, names: Sequence[str]) -> None:
        for name in names:
            value = getattr(self, name)
            if name.endswith("_prob"):
                if not _is_number(value) or not 0 <= value <= _MOST_DROPOUT:
                    raise UserError("{}={!r} is not a number from 0 to {}. Fix it.".format(name, value, _MOST_DROPOUT))
            elif name not in ("hidden_act", "initializer_range") and not (_is_whole(value) and value > 0):
                raise UserError("{}={!r} is not a positive whole number. Fix it.".format(name, value))
        if not _is_number(self.initializer_range) or not 0 < self.initializer_range <= _MOST_DEVIATION:
            raise UserError(
                "initializer_range={!r} is not a number above 0, up to {}. Fix it.".format(
                    self.initializer_range, _MOST_DEVIATION
                )
            )
        if isinstance(self.hidden_act, (bool, int, float, list, dict)):
            raise UserError("hidden_act={!r} is not the name of an activation. Fix it.".format(self.hidden_act))
        if self.hidden_size % self.num_attention_heads:
            raise UserError(
                "hidden_size={} is not a multiple of num_attention_heads={}. Use the model's own file.".format(
                    self.hidden_size, self.num_attention_heads
                )
            )
        get_activation(self.hidden_act)

    @classmethod
    def from_json_file(cls, json_file: str) -> "BertConfig":
        """Raises UserError, naming the file, if it is absent or not JSON, or as from_dict does."""
        try:
            with tf.io.gfile.GFile(json_file, "rb") as reader:
                content = reader.read()
        except tf.errors.OpError as error:
            raise UserError("{}: cannot be read ({}). Check the path.".format(json_file, error.message)) from None
        json_object = json_files.parse(content, json_file, remedy="Use the model's own file.")
        try:
            return cls.from_dict(json_object)
        except ValueError as error:  # UserError is one
            raise UserError("{}: {}".format(json_file, error)) from None

    def to_dict(self) -> Dict[str, Any]:
        return copy.deepcopy(vars(self))

    def to_json_string(self) -> str:
        return json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n"


# --- activations ------------------------------------------------------------------------------------------------------


def gelu(x: tf.Tensor) -> tf.Tensor:
    """x · Φ(x) in the tanh approximation (Hendrycks and Gimpel, https://arxiv.org/abs/1606.08415)."""
    return plain_gelu(x)


def gelu_erf(x: tf.Tensor) -> tf.Tensor:
    """x · Φ(x) itself (same paper), which Hugging Face's configurations call "gelu"."""
    return plain_gelu_erf(x)


def get_activation(activation_string: Any) -> Optional[Callable]:
    """The function named linear (None), relu, gelu, gelu_erf or tanh, in any case. What is no string is returned as is.

    gelu is the approximation by tanh, as in every bert_config.json. Raises ValueError for another name.
    """
    if not isinstance(activation_string, str):
        return activation_string
    known = {"": None, "linear": None, "relu": tf.nn.relu, "gelu": gelu, "gelu_erf": gelu_erf, "tanh": tf.tanh}
    if activation_string.lower() not in known:
        raise ValueError("hidden_act {!r} is not one of linear, relu, gelu, gelu_erf, tanh.".format(activation_string))
    return known[activation_string.lower()]


def _activation_form(activation: Optional[Callable], compute: Compute) -> Optional[Callable]:
    """The form of an activation that `compute` names; only the two of gelu have several."""
    forms = forms_of(compute)
    return forms.gelu if activation is gelu else forms.gelu_erf if activation is gelu_erf else activation


# --- the model --------------------------------------------------------------------------------------------------------


class BertModel:
    """The encoder, built in the current graph under the variable scope `scope` ("bert" if None).

    Args:
      config: BertConfig.
      is_training: False turns both dropouts off.
      input_ids: [B, S] integer.
      input_mask: [B, S] integer, 1 for real tokens and 0 for padding; all real if None.
      token_type_ids: [B, S] integer; all 0 if None.
      use_one_hot_embeddings: look word embeddings up by a matrix product, which is faster on TPU.
      first_token_only: the last layer is computed for the first token alone, which is all that get_pooled_output
          reads. get_sequence_output and get_all_encoder_layers raise ValueError.
      compute: the form of the computation. If it is padding_free, tf.gradients of a loss by what the getters return is
          None, as the loss is computed from the rows of real tokens.
      word_shift: what is added to the word embeddings of the input; nothing if None.

    Positions where input_mask is 0 get vectors too, zeros if padding_free; they mean nothing, and no real position
    depends on them. The first token of a sequence is computed whatever its mask.

    The type of the variables is the type of the computation: under a custom getter that returns float16 variables,
    everything is float16.
    """

    def __init__(
        self,
        config: BertConfig,
        is_training: bool,
        input_ids: tf.Tensor,
        input_mask: Optional[tf.Tensor] = None,
        token_type_ids: Optional[tf.Tensor] = None,
        use_one_hot_embeddings: bool = False,
        scope: Optional[str] = None,
        first_token_only: bool = False,
        compute: Compute = PLAIN,
        word_shift: Optional[WordShift] = None,
    ) -> None:
        config = copy.deepcopy(config)
        if not is_training:
            config.hidden_dropout_prob = 0.0
            config.attention_probs_dropout_prob = 0.0
        batch_size, seq_length = get_shape_list(input_ids, expected_rank=2)
        if input_mask is None:
            input_mask = tf.ones([batch_size, seq_length], tf.int32)
        if token_type_ids is None:
            token_type_ids = tf.zeros([batch_size, seq_length], tf.int32)
        self._first_token_only = first_token_only
        layout = _layout(input_mask, batch_size, seq_length, is_training, compute)
        shared = _compiled_inputs(layout, input_mask, is_training) if compute.form == "compiled" else None

        with tf.variable_scope(scope, default_name="bert"):
            with tf.variable_scope("embeddings"):
                ids = layout.rows(input_ids) if shared is None else _rows_on_host(layout, input_ids)
                words, self.embedding_table = embedding_lookup(
                    ids,
                    vocab_size=config.vocab_size,
                    embedding_size=config.hidden_size,
                    initializer_range=config.initializer_range,
                    use_one_hot_embeddings=use_one_hot_embeddings,
                )
                if word_shift is not None:
                    words = lone_sum(words, layout.vectors(word_shift.of(batch_size, seq_length, config.hidden_size)))
                rows = _postprocessed(
                    words,
                    layout,
                    token_type_ids=token_type_ids,
                    token_type_vocab_size=config.type_vocab_size,
                    initializer_range=config.initializer_range,
                    max_position_embeddings=config.max_position_embeddings,
                    dropout_prob=config.hidden_dropout_prob,
                    compute=compute,
                    shared=shared,
                )
                self.embedding_output = layout.padded(tf.cast(rows, words.dtype))
            with tf.variable_scope("encoder"):
                layers = self._encoded(config, rows, layout, input_mask, compute, shared)
                layers = [tf.cast(layer, words.dtype) for layer in layers]
                if not first_token_only:
                    self.all_encoder_layers = [layout.padded(layer) for layer in layers]
                    self.sequence_output = self.all_encoder_layers[-1]
            with tf.variable_scope("pooler"):
                self.pooled_output = self._pooled(config, layers[-1], layout, compute)

    def _encoded(
        self,
        config: BertConfig,
        rows: tf.Tensor,
        layout: TokenLayout,
        input_mask: tf.Tensor,
        compute: Compute,
        shared: Optional[compiled_layer.LayerInputs],
    ) -> List[tf.Tensor]:
        """The output of every layer, from rows of embeddings [N, H]."""
        # Scripts fetch each layer's output as bert/encoder/Reshape_N: the mask is Reshape, the input Reshape_1.
        score_bias = packed = None
        if shared is None:
            score_bias = _score_bias(layout.attention_mask(input_mask), rows.dtype)
        if compute.packed_attention and layout.places is not None:
            attention_layout, mask = packed_attention(layout)
            packed = attention_layout, _score_bias(mask, rows.dtype)
        if not compute.padding_free and shared is None:  # what the getter returns is on the way to the loss
            rows = tf.reshape(self.embedding_output, [-1, config.hidden_size])
        return _encoder(
            rows,
            layout,
            score_bias,
            sizes=_LayerSizes(
                hidden_size=config.hidden_size,
                num_attention_heads=config.num_attention_heads,
                intermediate_size=config.intermediate_size,
                intermediate_act_fn=get_activation(config.hidden_act),
                hidden_dropout_prob=config.hidden_dropout_prob,
                attention_probs_dropout_prob=config.attention_probs_dropout_prob,
                initializer_range=config.initializer_range,
                compute=compute,
            ),
            num_hidden_layers=config.num_hidden_layers,
            first_token_only=self._first_token_only,
            shared=shared,
            packed=packed,
        )

    def _pooled(self, config: BertConfig, last: tf.Tensor, layout: TokenLayout, compute: Compute) -> tf.Tensor:
        """[B, H], from the first tokens' rows of the last layer."""
        if self._first_token_only:
            first = last
        elif compute.padding_free:
            first = layout.first(last)
        else:
            first = tf.squeeze(self.sequence_output[:, 0:1, :], axis=1)
        return _dense(
            first,
            config.hidden_size,
            config.initializer_range,
            activation=tf.tanh,
            plus_bias=forms_of(compute).plus_bias,
        )

    def get_pooled_output(self) -> tf.Tensor:
        """[B, H]: tanh of a dense layer on the first token's vector."""
        return self.pooled_output

    def get_sequence_output(self) -> tf.Tensor:
        """[B, S, H]: the last layer."""
        self._require_all_tokens()
        return self.sequence_output

    def get_all_encoder_layers(self) -> List[tf.Tensor]:
        """A list of num_hidden_layers tensors [B, S, H]."""
        self._require_all_tokens()
        return self.all_encoder_layers

    def get_embedding_output(self) -> tf.Tensor:
        """[B, S, H]: the input of the first layer."""
        return self.embedding_output

    def get_embedding_table(self) -> Any:
        """[V, H]: the word embeddings."""
        return self.embedding_table

    def _require_all_tokens(self) -> None:
        if self._first_token_only:
            raise ValueError("With first_token_only, the last layer has the first tokens alone. Leave it out.")


def _layout(
    input_mask: tf.Tensor, batch_size: Any, seq_length: Any, is_training: bool, compute: Compute
) -> TokenLayout:
    """The places that are computed: all, or those of real tokens."""
    if not compute.padding_free:
        return every_position(batch_size, seq_length)
    if not compute.row_length:
        return real_tokens(input_mask, batch_size, seq_length)
    # A compilation costs more than a pass forward: in the compiled form, inference has half as many shapes.
    doubling = compute.form == "compiled" and not is_training
    return packed_rows(input_mask, batch_size, seq_length, compute.row_length, doubling)


def _compiled_inputs(layout: TokenLayout, input_mask: tf.Tensor, is_training: bool) -> compiled_layer.LayerInputs:
    """What every layer of the compiled form reads; `places` is each layer's own."""
    with tf.device(_HOST):  # a few integers: made there, they go to the GPU once
        packed = layout.as_packed(input_mask)
    moment = dropout_moment() if is_training else tf.constant(0, tf.int64)
    return compiled_layer.LayerInputs(packed.sequence, packed.first, packed.first_of, tf.zeros([0], tf.int64), moment)


def _rows_on_host(layout: TokenLayout, square: tf.Tensor) -> tf.Tensor:
    with tf.device(_HOST):
        return layout.rows(square)


# --- the parts of the model -------------------------------------------------------------------------------------------


def embedding_lookup(
    input_ids: tf.Tensor,
    vocab_size: int,
    embedding_size: int = 128,
    initializer_range: float = 0.02,
    word_embedding_name: str = "word_embeddings",
    use_one_hot_embeddings: bool = False,
) -> Tuple[tf.Tensor, Any]:
    """Word embeddings: ids [B, S] or [B, S, N] → ([B, S, N · embedding_size], table [V, embedding_size]).

    Ids [N] give [N, embedding_size].
    """
    if input_ids.shape.ndims <= 2:
        input_ids = tf.expand_dims(input_ids, axis=-1)
    table = tf.get_variable(
        word_embedding_name, [vocab_size, embedding_size], initializer=create_initializer(initializer_range)
    )
    shape = get_shape_list(input_ids)
    flat_ids = tf.reshape(input_ids, [-1])
    if use_one_hot_embeddings:
        vectors = tf.matmul(tf.one_hot(flat_ids, depth=vocab_size, dtype=table.dtype.base_dtype), table)
    else:
        vectors = tf.gather(table, flat_ids)
    return tf.reshape(vectors, shape[:-1] + [shape[-1] * embedding_size]), table


def embedding_postprocessor(
    input_tensor: tf.Tensor,
    use_token_type: bool = False,
    token_type_ids: Optional[tf.Tensor] = None,
    token_type_vocab_size: int = 16,
    token_type_embedding_name: str = "token_type_embeddings",
    use_position_embeddings: bool = True,
    position_embedding_name: str = "position_embeddings",
    initializer_range: float = 0.02,
    max_position_embeddings: int = 512,
    dropout_prob: float = 0.1,
) -> tf.Tensor:
    """Adds token-type and position embeddings to [B, S, H], then LayerNorm and dropout.

    Raises ValueError if use_token_type lacks token_type_ids, or if S is above max_position_embeddings; the session
    raises InvalidArgumentError instead if S is unknown when the graph is built.
    """
    batch_size, seq_length, _ = get_shape_list(input_tensor, expected_rank=3)
    layout = every_position(batch_size, seq_length)
    return layout.square(
        _postprocessed(
            reshape_to_matrix(input_tensor),
            layout,
            token_type_ids,
            token_type_vocab_size,
            initializer_range,
            max_position_embeddings,
            dropout_prob,
            use_token_type=use_token_type,
            use_position_embeddings=use_position_embeddings,
            token_type_embedding_name=token_type_embedding_name,
            position_embedding_name=position_embedding_name,
        )
    )


def _postprocessed(
    words: tf.Tensor,
    layout: TokenLayout,
    token_type_ids: Optional[tf.Tensor],
    token_type_vocab_size: int,
    initializer_range: float,
    max_position_embeddings: int,
    dropout_prob: float,
    use_token_type: bool = True,
    use_position_embeddings: bool = True,
    token_type_embedding_name: str = "token_type_embeddings",
    position_embedding_name: str = "position_embeddings",
    compute: Compute = PLAIN,
    shared: Optional[compiled_layer.LayerInputs] = None,
) -> tf.Tensor:
    """embedding_postprocessor for rows [N, H]. `shared` is of the compiled form alone."""
    if shared is not None:
        assert token_type_ids is not None
        sizes = (token_type_vocab_size, max_position_embeddings)
        return _compiled_embeddings(
            words, layout, token_type_ids, sizes, initializer_range, dropout_prob, compute, shared
        )
    output = words
    width = _width(words)
    if use_token_type:
        if token_type_ids is None:
            raise ValueError("use_token_type needs token_type_ids.")
        table = tf.get_variable(
            token_type_embedding_name,
            [token_type_vocab_size, width],
            initializer=create_initializer(initializer_range),
        )
        # The table has a few rows: a product is faster than a gather, and its gradient needs no scatter.
        one_hot = tf.one_hot(layout.rows(token_type_ids), depth=token_type_vocab_size, dtype=table.dtype.base_dtype)
        output += tf.matmul(one_hot, table)
    if use_position_embeddings:
        table = tf.get_variable(
            position_embedding_name,
            [max_position_embeddings, width],
            initializer=create_initializer(initializer_range),
        )
        with tf.control_dependencies(_assertions_of_length(layout.seq_length, max_position_embeddings)):
            output = layout.plus_positions(output, table)
    return dropout(_layer_norm(output, compute), dropout_prob)


def _assertions_of_length(length: Any, max_position_embeddings: int) -> List[tf.Operation]:
    """Raises ValueError for a length, known when the graph is built, that is above; else the ops that check it."""
    too_long = "A sequence is longer than max_position_embeddings={}.".format(max_position_embeddings)
    if not isinstance(length, int):
        return [tf.assert_less_equal(length, max_position_embeddings, message=too_long)]
    if length > max_position_embeddings:
        raise ValueError(too_long)
    return []


def _compiled_embeddings(
    words: tf.Tensor,
    layout: TokenLayout,
    token_type_ids: tf.Tensor,
    table_sizes: Tuple[int, int],
    initializer_range: float,
    dropout_prob: float,
    compute: Compute,
    shared: compiled_layer.LayerInputs,
) -> tf.Tensor:
    """_postprocessed by one compiled function."""
    width = _width(words)
    names = ("token_type_embeddings", "position_embeddings")
    tables = [
        tf.get_variable(name, [size, width], initializer=create_initializer(initializer_range))
        for name, size in zip(names, table_sizes)
    ]
    types = _rows_on_host(layout, token_type_ids)
    with tf.device(_HOST), tf.control_dependencies(_assertions_of_length(layout.seq_length, table_sizes[1])):
        positions = tf.identity(layout.positions())
    places = tf.constant([dropout_place()] if dropout_prob else [0], tf.int64)
    return compiled_layer.embeddings(
        compiled_layer.EmbeddingForm(dropout_prob, compute.precision),
        words,
        compiled_layer.EmbeddingInputs(types, positions, places, shared.moment),
        *tables,
        *_layer_norm_weights(width),
    )


def create_attention_mask_from_input_mask(from_tensor: tf.Tensor, to_mask: tf.Tensor) -> tf.Tensor:
    """[B, F, …], [B, T] integer → [B, F, T] float32: 1 where the position may be attended to."""
    batch_size, from_length = get_shape_list(from_tensor, expected_rank=[2, 3])[:2]
    to_length = get_shape_list(to_mask, expected_rank=2)[1]
    mask = tf.cast(tf.reshape(to_mask, [batch_size, 1, to_length]), tf.float32)
    return tf.ones([batch_size, from_length, 1], tf.float32) * mask


def attention_layer(
    from_tensor: tf.Tensor,
    to_tensor: tf.Tensor,
    attention_mask: Optional[tf.Tensor] = None,
    num_attention_heads: int = 1,
    size_per_head: int = 512,
    query_act: Optional[Callable] = None,
    key_act: Optional[Callable] = None,
    value_act: Optional[Callable] = None,
    attention_probs_dropout_prob: float = 0.0,
    initializer_range: float = 0.02,
    do_return_2d_tensor: bool = False,
    batch_size: Optional[Any] = None,
    from_seq_length: Optional[Any] = None,
    to_seq_length: Optional[Any] = None,
) -> tf.Tensor:
    """Multi-head attention: softmax(Q Kᵀ / √D + mask) V (Vaswani et al., https://arxiv.org/abs/1706.03762).

    Args:
      from_tensor: [B, F, W] or [B · F, W].
      to_tensor: of the same rank, [B, T, W] or [B · T, W].
      attention_mask: [B, F, T], 1 where attention is allowed.
      batch_size, from_seq_length, to_seq_length: needed for tensors of rank 2.

    Returns [B, F, A · D], or [B · F, A · D] with do_return_2d_tensor.

    Raises ValueError for ranks that differ, or sizes missing at rank 2.
    """
    from_shape = get_shape_list(from_tensor, expected_rank=[2, 3])
    to_shape = get_shape_list(to_tensor, expected_rank=[2, 3])
    if len(from_shape) != len(to_shape):
        raise ValueError("from_tensor has rank {}, to_tensor {}.".format(len(from_shape), len(to_shape)))
    if len(from_shape) == 3:
        batch_size, from_seq_length = from_shape[:2]
        to_seq_length = to_shape[1]
    elif batch_size is None or from_seq_length is None or to_seq_length is None:
        raise ValueError("Tensors of rank 2 need batch_size, from_seq_length and to_seq_length.")

    context = _attention(
        reshape_to_matrix(from_tensor),
        reshape_to_matrix(to_tensor),
        every_position(batch_size, from_seq_length),
        every_position(batch_size, to_seq_length),
        None if attention_mask is None else _score_bias(attention_mask, from_tensor.dtype),
        num_attention_heads,
        num_attention_heads * size_per_head,
        attention_probs_dropout_prob,
        initializer_range,
        activations=(query_act, key_act, value_act),
    )
    if do_return_2d_tensor:
        return context
    return tf.reshape(context, [batch_size, from_seq_length, num_attention_heads * size_per_head])


def _score_bias(attention_mask: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """[B, F or 1, T], 1 where attention is allowed → [B, 1, F or 1, T], which is added to the scores of every head."""
    return (1.0 - tf.expand_dims(tf.cast(attention_mask, dtype), axis=1)) * _MASKED_SCORE


def _attention(
    from_rows: tf.Tensor,
    to_rows: tf.Tensor,
    from_layout: TokenLayout,
    to_layout: TokenLayout,
    score_bias: Optional[tf.Tensor],
    heads: int,
    width: int,
    dropout_prob: float,
    initializer_range: float,
    activations: Sequence[Optional[Callable]] = (None, None, None),
    compute: Compute = PLAIN,
) -> tf.Tensor:
    """attention_layer for rows: [N, W], [M, W] → [N, width]."""
    precision = compute.precision
    rows_and_layouts = ((from_rows, from_layout), (to_rows, to_layout), (to_rows, to_layout))
    if compute.form == "fast" and not any(activations):
        weights = [
            _dense_weights(name, _width(rows), width, initializer_range)
            for name, (rows, _) in zip(_PROJECTIONS, rows_and_layouts)
        ]
        if from_rows is to_rows:
            query, key, value = _projected_together(from_rows, from_layout, weights, heads, compute)
        else:
            (query,) = _projected_together(from_rows, from_layout, weights[:1], heads, compute)
            key, value = _projected_together(to_rows, to_layout, weights[1:], heads, compute)
    else:
        query, key, value = (
            layout.heads(_dense(rows, width, initializer_range, name, activation, precision), heads)
            for name, activation, (rows, layout) in zip(_PROJECTIONS, activations, rows_and_layouts)
        )
    if compute.form == "fast" and score_bias is not None and (is_keyed() or not dropout_prob):
        shape = tf.concat([tf.shape(query)[:3], tf.shape(key)[2:3]], axis=0)
        kept = keyed_mask(shape, dropout_prob) if dropout_prob else None
        return from_layout.merged(fast_attention.attended(query, key, value, score_bias, kept, precision))
    # Scaling the query costs F · D products a head, scaling the scores F · T.
    scale = 1.0 / math.sqrt(width // heads)
    scores = product(query * scale, key, precision, transpose_b=True)  # [B, A, F, T]
    if score_bias is not None:
        scores += score_bias
    probabilities = dropout(tf.nn.softmax(scores), dropout_prob)
    return from_layout.merged(product(probabilities, value, precision))


def _projected_together(
    rows: tf.Tensor, layout: TokenLayout, weights: Sequence[Tuple[Any, Any]], heads: int, compute: Compute
) -> List[tf.Tensor]:
    """Those of query, key and value that have these weights, [B, A, S, D] each: one product for all.

    The weights are put side by side in every step, which costs a pass over them and no copy in a checkpoint.
    """
    kernel, bias = (tf.concat(parts, axis=-1) for parts in zip(*weights))
    side_by_side = forms_of(compute).plus_bias(product(rows, kernel, compute.precision), bias)
    return layout.heads_of_parts(side_by_side, heads, len(weights))


def transformer_model(
    input_tensor: tf.Tensor,
    attention_mask: Optional[tf.Tensor] = None,
    hidden_size: int = 768,
    num_hidden_layers: int = 12,
    num_attention_heads: int = 12,
    intermediate_size: int = 3072,
    intermediate_act_fn: Optional[Callable] = gelu,
    hidden_dropout_prob: float = 0.1,
    attention_probs_dropout_prob: float = 0.1,
    initializer_range: float = 0.02,
    do_return_all_layers: bool = False,
) -> Any:
    """The encoder stack: [B, S, H] → [B, S, H], or the list of every layer's output.

    Raises ValueError if hidden_size is not a multiple of the number of heads, or not the input's width.
    """
    if hidden_size % num_attention_heads:
        raise ValueError("hidden_size={} does not divide by {} heads.".format(hidden_size, num_attention_heads))
    batch_size, seq_length, width = shape = get_shape_list(input_tensor, expected_rank=3)
    if width != hidden_size:  # each layer adds its input to its output
        raise ValueError("The input is {} wide, hidden_size is {}.".format(width, hidden_size))

    outputs = _encoder(
        reshape_to_matrix(input_tensor),
        every_position(batch_size, seq_length),
        None if attention_mask is None else _score_bias(attention_mask, input_tensor.dtype),
        _LayerSizes(
            hidden_size,
            num_attention_heads,
            intermediate_size,
            intermediate_act_fn,
            hidden_dropout_prob,
            attention_probs_dropout_prob,
            initializer_range,
        ),
        num_hidden_layers,
    )
    if do_return_all_layers:
        return [reshape_from_matrix(output, shape) for output in outputs]
    return reshape_from_matrix(outputs[-1], shape)


class _LayerSizes(NamedTuple):
    hidden_size: int
    num_attention_heads: int
    intermediate_size: int
    intermediate_act_fn: Optional[Callable]
    hidden_dropout_prob: float
    attention_probs_dropout_prob: float
    initializer_range: float
    compute: Compute = PLAIN


def _encoder(
    rows: tf.Tensor,
    layout: TokenLayout,
    score_bias: Optional[tf.Tensor],
    sizes: _LayerSizes,
    num_hidden_layers: int,
    first_token_only: bool = False,
    shared: Optional[compiled_layer.LayerInputs] = None,
    packed: Optional[Tuple[TokenLayout, tf.Tensor]] = None,
) -> List[tf.Tensor]:
    """The output of every layer, rows [N, H]; with first_token_only, the last one has the first tokens, [B, H].

    `shared` belongs to the compiled form alone. `packed`: another layout and its bias for layers where all rows attend.
    """
    outputs = []
    for layer in range(num_hidden_layers):
        first_only = first_token_only and layer == num_hidden_layers - 1
        from_rows, from_layout, chosen = rows, layout, None
        if first_only and layout.packed is not None:
            chosen = layout.first
        elif first_only and shared is None:
            from_rows, from_layout = layout.first(rows), every_position(layout.batch_size, 1)
        with tf.variable_scope("layer_{}".format(layer)):
            if shared is not None:
                rows = _compiled_layer(rows, sizes, shared, first_only)
            else:
                to_layout, bias = (layout, score_bias) if first_only or packed is None else packed
                rows = _layer(from_rows, rows, from_layout if first_only else to_layout, to_layout, bias, sizes, chosen)
        outputs.append(rows)
    return outputs


def _compiled_layer(
    rows: tf.Tensor, sizes: _LayerSizes, shared: compiled_layer.LayerInputs, first_only: bool
) -> tf.Tensor:
    """_layer by one compiled function. Makes the same variables in the same order, and the same dropout masks."""
    width, inner_width, scale = sizes.hidden_size, sizes.intermediate_size, sizes.initializer_range
    weights: List[Any] = []
    places = []
    with tf.variable_scope("attention"):
        with tf.variable_scope("self"):
            for name in _PROJECTIONS:
                weights += _dense_weights(name, width, width, scale)
            places.append(dropout_place() if sizes.attention_probs_dropout_prob else 0)
        with tf.variable_scope("output"):
            weights += _dense_weights("dense", width, width, scale)
            places.append(dropout_place() if sizes.hidden_dropout_prob else 0)
            weights += _layer_norm_weights(width)
    with tf.variable_scope("intermediate"):
        weights += _dense_weights("dense", width, inner_width, scale)
    with tf.variable_scope("output"):
        weights += _dense_weights("dense", inner_width, width, scale)
        places.append(dropout_place() if sizes.hidden_dropout_prob else 0)
        weights += _layer_norm_weights(width)
    form = compiled_layer.LayerForm(
        heads=sizes.num_attention_heads,
        activation=_activation_form(sizes.intermediate_act_fn, sizes.compute),
        hidden_dropout_prob=sizes.hidden_dropout_prob,
        attention_dropout_prob=sizes.attention_probs_dropout_prob,
        precision=sizes.compute.precision,
        first_only=first_only,
        recompute=sizes.compute.recompute,
    )
    inputs = shared._replace(places=tf.constant(places, tf.int64))
    return compiled_layer.layer(form, rows, inputs, compiled_layer.LayerWeights(*weights))


def _layer(
    from_rows: tf.Tensor,
    to_rows: tf.Tensor,
    from_layout: TokenLayout,
    to_layout: TokenLayout,
    score_bias: Optional[tf.Tensor],
    sizes: _LayerSizes,
    chosen: Optional[Callable[[tf.Tensor], tf.Tensor]] = None,
) -> tf.Tensor:
    """[N, H] attending to [M, H] → [N, H]. With `chosen`, what follows attention is computed of chosen(rows) alone."""
    width, initializer_range, dropout_prob = sizes.hidden_size, sizes.initializer_range, sizes.hidden_dropout_prob
    compute = sizes.compute
    dense = functools.partial(
        _dense,
        initializer_range=initializer_range,
        precision=compute.precision,
        plus_bias=forms_of(compute).plus_bias,
    )
    with tf.variable_scope("attention"):
        with tf.variable_scope("self"):
            attended = _attention(
                from_rows,
                to_rows,
                from_layout,
                to_layout,
                score_bias,
                sizes.num_attention_heads,
                width,
                sizes.attention_probs_dropout_prob,
                initializer_range,
                compute=compute,
            )
        if chosen is not None:
            attended, from_rows = chosen(attended), chosen(from_rows)
        with tf.variable_scope("output"):
            attended = dropout(dense(attended, width), dropout_prob)
            attended = _layer_norm(attended + from_rows, compute)
    with tf.variable_scope("intermediate"):
        activation = _activation_form(sizes.intermediate_act_fn, compute)
        compiles = compute.compiled_pieces and sizes.intermediate_size >= compiled_pieces.LEAST_WIDTH
        if activation and compiles and compute.precision != "float32":
            inner = _rounded_dense(attended, sizes.intermediate_size, initializer_range, activation, compute.precision)
        else:
            activation = compiled_pieces.activation(activation) if activation and compiles else activation
            inner = dense(attended, sizes.intermediate_size, activation=activation)
    with tf.variable_scope("output"):
        output = dropout(dense(inner, width), dropout_prob)
        return _layer_norm(output + attended, compute)


# --- parts ------------------------------------------------------------------------------------------------------------


def _dense(
    matrix: tf.Tensor,
    units: int,
    initializer_range: float,
    name: str = "dense",
    activation: Optional[Callable] = None,
    precision: str = "float32",
    plus_bias: Callable = tf.nn.bias_add,
) -> tf.Tensor:
    """[N, W] → [N, units]: activation(x · kernel + bias)."""
    with tf.variable_scope(name):
        kernel, bias = _kernel_and_bias(_width(matrix), units, initializer_range)
        output = plus_bias(product(matrix, kernel, precision), bias)
        return output if activation is None else activation(output)


def _rounded_dense(
    matrix: tf.Tensor, units: int, initializer_range: float, activation: Callable, precision: str
) -> tf.Tensor:
    """_dense whose result stays in `precision`: bias and activation are one compiled piece."""
    with tf.variable_scope("dense"):
        kernel, bias = _kernel_and_bias(_width(matrix), units, initializer_range)
        rounded = tf.matmul(tf.cast(matrix, precision), tf.cast(kernel, precision))
        return compiled_pieces.biased_activation(activation)(rounded, tf.convert_to_tensor(bias))


def _kernel_and_bias(width: int, units: int, initializer_range: float) -> Tuple[Any, Any]:
    kernel = tf.get_variable("kernel", [width, units], initializer=create_initializer(initializer_range))
    return kernel, tf.get_variable("bias", [units], initializer=tf.zeros_initializer())


def _dense_weights(name: str, width: int, units: int, initializer_range: float) -> Tuple[Any, Any]:
    with tf.variable_scope(name):
        return _kernel_and_bias(width, units, initializer_range)


def layer_norm(input_tensor: tf.Tensor, name: Optional[str] = None) -> tf.Tensor:
    """(x - mean) / √(variance + ε) · gamma + beta over the last axis (Ba et al., https://arxiv.org/abs/1607.06450)."""
    return _layer_norm(input_tensor, PLAIN, name)


def _layer_norm(x: tf.Tensor, compute: Compute, name: Optional[str] = None) -> tf.Tensor:
    with tf.variable_scope(name, default_name="LayerNorm"):
        beta, gamma = _beta_and_gamma(_width(x))
        return forms_of(compute).normalized(x, gamma, beta)


def _beta_and_gamma(width: int) -> Tuple[Any, Any]:
    beta = tf.get_variable("beta", [width], initializer=tf.zeros_initializer())
    return beta, tf.get_variable("gamma", [width], initializer=tf.ones_initializer())


def _layer_norm_weights(width: int) -> Tuple[Any, Any]:
    with tf.variable_scope(None, default_name="LayerNorm"):
        return _beta_and_gamma(width)


def layer_norm_and_dropout(input_tensor: tf.Tensor, dropout_prob: float, name: Optional[str] = None) -> tf.Tensor:
    return dropout(layer_norm(input_tensor, name), dropout_prob)


def create_initializer(initializer_range: float = 0.02) -> Any:
    """A truncated normal with this standard deviation."""
    return tf.truncated_normal_initializer(stddev=initializer_range)


# --- checkpoints and shapes -------------------------------------------------------------------------------------------


def get_assignment_map_from_checkpoint(
    tvars: Sequence[Any], init_checkpoint: str
) -> Tuple["collections.OrderedDict[str, str]", Dict[str, int]]:
    """For tf.train.init_from_checkpoint: the names that the variables and the checkpoint share.

    Returns (OrderedDict name → name, {name: 1, name + ":0": 1}).
    """
    own = {re.sub(r":\d+$", "", variable.name) for variable in tvars}
    assignment_map = collections.OrderedDict()
    initialized = {}
    for name, _ in tf.train.list_variables(init_checkpoint):
        if name in own:
            assignment_map[name] = name
            initialized[name] = initialized[name + ":0"] = 1
    return assignment_map, initialized


get_assigment_map_from_checkpoint = get_assignment_map_from_checkpoint  # the name of upstream's first release


def get_shape_list(tensor: tf.Tensor, expected_rank: Any = None, name: Optional[str] = None) -> List[Any]:
    """The dimensions: an int if it is known when the graph is built, else an int32 scalar tensor.

    Raises ValueError if the rank is not expected_rank (an int, or a list of ints).
    """
    if expected_rank is not None:
        assert_rank(tensor, expected_rank, name)
    static = tensor.shape.as_list()
    if None not in static:
        return static
    dynamic = tf.shape(tensor)
    return [dynamic[axis] if size is None else size for axis, size in enumerate(static)]


def reshape_to_matrix(input_tensor: tf.Tensor) -> tf.Tensor:
    """[…, W] → [N, W]. Raises ValueError below rank 2."""
    rank = input_tensor.shape.ndims
    if rank < 2:
        raise ValueError("A matrix needs a tensor of rank 2 or more, not {}.".format(rank))
    return input_tensor if rank == 2 else tf.reshape(input_tensor, [-1, input_tensor.shape.as_list()[-1]])


def reshape_from_matrix(output_tensor: tf.Tensor, orig_shape_list: Sequence[Any]) -> tf.Tensor:
    """[N, W] → the shape before reshape_to_matrix, with the matrix's own W."""
    if len(orig_shape_list) == 2:
        return output_tensor
    assert_rank(output_tensor, 2)
    return tf.reshape(output_tensor, list(orig_shape_list[:-1]) + [_width(output_tensor)])


def _width(tensor: tf.Tensor) -> int:
    """The size of the last axis, known when the graph is built. get_shape_list makes ops for all that are not."""
    return tensor.shape.as_list()[-1]


def assert_rank(tensor: tf.Tensor, expected_rank: Any, name: Optional[str] = None) -> None:
    """Raises ValueError if the tensor's rank is not expected_rank, an int or a list of ints."""
    expected = [expected_rank] if isinstance(expected_rank, int) else list(expected_rank)
    if tensor.shape.ndims not in expected:
        raise ValueError(
            "Tensor {} in scope {} has rank {} (shape {}), expected {}.".format(
                name or tensor.name, tf.get_variable_scope().name, tensor.shape.ndims, tensor.shape, expected_rank
            )
        )
