"""The compiled form of the embeddings and of the encoder: functions that XLA compiles once a shape, for a GPU.

A GPU waits for its host while kernels are many and small. Here a layer is one call forward and one backward, and all
layers call the same two functions. Nothing in them adds atomically: rows move by gathers in both directions, and sums
over rows are reductions or products, so that a step repeats bit by bit.

N rows, N = P · T · P packed rows, or sequences, of T places · B sequences · H hidden · A heads · D = H / A · I inner
"""

import math
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import tensorflow.compat.v1 as tf

from .forms import fast_normalized
from .randomness import compiled_dropout
from .token_layout import gathered

_MASKED_SCORE = -10000.0  # in place of the scores of other sequences and of padding


class LayerForm(NamedTuple):
    """What a layer's two functions depend on beside their inputs: layers of one form share them."""

    heads: int
    activation: Optional[Callable]
    hidden_dropout_prob: float
    attention_dropout_prob: float
    precision: str  # of products, and of what stands between them
    first_only: bool = False  # the result is of first tokens alone
    recompute: bool = False


class LayerInputs(NamedTuple):
    """Beside rows and weights; the same tensors for every layer, but for the keys."""

    sequence: tf.Tensor  # [P, T] int32: a place sees those with its own number
    first: tf.Tensor  # [B] int32: the rows of first tokens
    first_of: tf.Tensor  # [N] int32: the sequence whose first token stands in each row, or -1
    places: tf.Tensor  # [3] int64: randomness.dropout_place of attention, of its output, of the layer's output
    moment: tf.Tensor  # [] int64: randomness.dropout_moment


class LayerWeights(NamedTuple):
    query_kernel: Any
    query_bias: Any
    key_kernel: Any
    key_bias: Any
    value_kernel: Any
    value_bias: Any
    attended_kernel: Any
    attended_bias: Any
    attended_beta: Any
    attended_gamma: Any
    inner_kernel: Any
    inner_bias: Any
    output_kernel: Any
    output_bias: Any
    output_beta: Any
    output_gamma: Any


# --- one layer --------------------------------------------------------------------------------------------------------


def layer(form: LayerForm, rows: tf.Tensor, inputs: LayerInputs, weights: LayerWeights) -> tf.Tensor:
    """[N, H] of type form.precision → the same; [B, H] where form.first_only."""
    forward, backward = functions_of(form, _layer_functions)

    def both_ways(rows: tf.Tensor, *weights: tf.Tensor) -> Any:
        output, *products = forward(rows, inputs, weights)

        def gradient(upstream: tf.Tensor) -> List[tf.Tensor]:
            kept = products
            if form.recompute:
                with tf.control_dependencies([upstream]):  # not before: nothing is to be kept until then
                    kept = forward(tf.identity(rows), inputs, weights)[1:]
            return backward(upstream, rows, inputs, weights, kept)

        return output, gradient

    return tf.custom_gradient(both_ways)(rows, *[tf.convert_to_tensor(weight) for weight in weights])


def _layer_functions(form: LayerForm) -> Tuple[Callable, Callable]:
    def forward(rows: tf.Tensor, inputs: LayerInputs, weights: Sequence[tf.Tensor]) -> List[tf.Tensor]:
        """[the layer's output] + the results of its dense products."""
        products = _Products()
        return [_layer(form, products, rows, inputs, LayerWeights(*weights))] + products.results

    def backward(
        upstream: tf.Tensor,
        rows: tf.Tensor,
        inputs: LayerInputs,
        weights: Sequence[tf.Tensor],
        results: Sequence[tf.Tensor],
    ) -> List[tf.Tensor]:
        """The gradients of rows and of each weight. All but the products is computed again; XLA fuses it in."""
        output = _layer(form, _Products(results), rows, inputs, LayerWeights(*weights))
        return tf.gradients(output, [rows, *weights], grad_ys=upstream)

    return forward, backward


def _layer(
    form: LayerForm, products: "_Products", rows: tf.Tensor, inputs: LayerInputs, weights: LayerWeights
) -> tf.Tensor:
    dtype, width = tf.as_dtype(form.precision), rows.shape.as_list()[1]
    attention, attended_output, output = (tf.stack([place, inputs.moment]) for place in tf.unstack(inputs.places))
    w = weights
    # One product for all three: the weights keep their names, and their concatenation costs one pass over them.
    kernel = tf.concat([w.query_kernel, w.key_kernel, w.value_kernel], axis=1)
    bias = tf.concat([w.query_bias, w.key_bias, w.value_bias], axis=0)
    projected = tf.cast(products.dense(rows, kernel, bias), dtype)  # [N, 3 · H]
    context = _attention(form, projected, width, inputs.sequence, attention)  # [N, H]
    if form.first_only:
        context, rows = (gathered(value, inputs.first, inputs.first_of) for value in (context, rows))
    attended = products.dense(context, w.attended_kernel, w.attended_bias)
    attended = compiled_dropout(attended, form.hidden_dropout_prob, attended_output) + tf.cast(rows, tf.float32)
    attended = tf.cast(fast_normalized(attended, w.attended_gamma, w.attended_beta), dtype)
    inner = products.dense(attended, w.inner_kernel, w.inner_bias)
    inner = tf.cast(inner if form.activation is None else form.activation(inner), dtype)  # [N, I]
    result = products.dense(inner, w.output_kernel, w.output_bias)
    result = compiled_dropout(result, form.hidden_dropout_prob, output) + tf.cast(attended, tf.float32)
    return tf.cast(fast_normalized(result, w.output_gamma, w.output_beta), dtype)


def _attention(form: LayerForm, projected: tf.Tensor, width: int, sequence: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Query, key and value side by side, [N, 3 · H] → [N, H]. Scores are summed in float32; softmax is float32."""
    size = width // form.heads
    rows, places = tf.unstack(tf.shape(sequence))
    heads = tf.reshape(projected, [rows, places, 3, form.heads, size])
    query, key, value = tf.unstack(tf.transpose(heads, [2, 0, 3, 1, 4]))  # [P, A, T, D] each
    scores = tf.cast(tf.matmul(query, key, transpose_b=True), tf.float32) * (1.0 / math.sqrt(size))
    allowed = tf.equal(sequence[:, None, :, None], sequence[:, None, None, :])
    probabilities = tf.nn.softmax(tf.where_v2(allowed, scores, _MASKED_SCORE))  # [P, A, T, T]
    probabilities = tf.cast(compiled_dropout(probabilities, form.attention_dropout_prob, seed), projected.dtype)
    context = tf.transpose(tf.matmul(probabilities, value), [0, 2, 1, 3])  # [P, T, A, D]
    return tf.reshape(context, [-1, width])


class _Products:
    """The dense layers of a pass. It keeps the results of their products, or takes those of an earlier pass."""

    def __init__(self, results: Sequence[tf.Tensor] = ()) -> None:
        self.results: List[tf.Tensor] = []
        self._known = list(results)

    def dense(self, rows: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
        """rows · kernel + bias, the sum in float32. The product is of the rows' type."""
        known = self._known.pop(0) if self._known else None

        @tf.custom_gradient
        def product(rows: tf.Tensor, kernel: tf.Tensor) -> Any:
            cast = tf.cast(kernel, rows.dtype)
            result = tf.matmul(rows, cast) if known is None else tf.identity(known)
            self.results.append(result)

            def gradient(upstream: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
                of_kernel = _float32_product(rows, upstream)
                return tf.matmul(upstream, cast, transpose_b=True), of_kernel

            return result, gradient

        return tf.cast(product(rows, kernel), tf.float32) + bias


def _float32_product(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """aᵀ · b, in float32 whatever the type of the factors."""
    if a.dtype == tf.float32:
        return tf.matmul(a, b, transpose_a=True)
    return tf.raw_ops.BatchMatMulV3(x=a, y=b, Tout=tf.float32, adj_x=True)


# --- embeddings -------------------------------------------------------------------------------------------------------


class EmbeddingForm(NamedTuple):
    dropout_prob: float
    precision: str


class EmbeddingInputs(NamedTuple):
    types: tf.Tensor  # [N] int32
    positions: tf.Tensor  # [N] int32
    places: tf.Tensor  # [1] int64: randomness.dropout_place
    moment: tf.Tensor  # [] int64


def embeddings(
    form: EmbeddingForm,
    words: tf.Tensor,
    inputs: EmbeddingInputs,
    type_table: Any,
    position_table: Any,
    beta: Any,
    gamma: Any,
) -> tf.Tensor:
    """Words [N, H] float32, plus types and positions, normalized, with dropout → [N, H] of type form.precision."""
    forward, backward = functions_of(form, _embedding_functions)

    def both_ways(*values: tf.Tensor) -> Any:
        return forward(values, inputs), lambda upstream: backward(upstream, values, inputs)

    values = [words] + [tf.convert_to_tensor(weight) for weight in (type_table, position_table, beta, gamma)]
    return tf.custom_gradient(both_ways)(*values)


def _embedding_functions(form: EmbeddingForm) -> Tuple[Callable, Callable]:
    def forward(values: Sequence[tf.Tensor], inputs: EmbeddingInputs) -> tf.Tensor:
        words, type_table, position_table, beta, gamma = values
        total = words + _looked_up(type_table, inputs.types) + _looked_up(position_table, inputs.positions)
        seed = tf.stack([inputs.places[0], inputs.moment])
        output = compiled_dropout(fast_normalized(total, gamma, beta), form.dropout_prob, seed)
        return tf.cast(output, form.precision)

    def backward(upstream: tf.Tensor, values: Sequence[tf.Tensor], inputs: EmbeddingInputs) -> List[tf.Tensor]:
        return tf.gradients(forward(values, inputs), values, grad_ys=upstream)

    return forward, backward


def _looked_up(table: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """Rows of a small table, whose gradient is a product."""

    @tf.custom_gradient
    def rows(table: tf.Tensor) -> Any:
        depth = table.shape.as_list()[0]

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            return tf.matmul(tf.one_hot(index, depth, dtype=tf.float32), upstream, transpose_a=True)

        return tf.gather(table, index), gradient

    return rows(table)


# --- functions --------------------------------------------------------------------------------------------------------


def functions_of(form: Any, make: Callable[[Any], Sequence[Callable]]) -> Sequence[Callable]:
    """make(form), compiled; the same functions for every call with a form in one graph."""
    graph = tf.get_default_graph()
    made: Dict[Any, Sequence[Callable]] = getattr(graph, "_compiled_functions", {})
    graph._compiled_functions = made  # they refer to the graph: kept elsewhere, they would keep it
    if form not in made:
        made[form] = [tf.function(function, jit_compile=True, autograph=False) for function in make(form)]
    return made[form]
