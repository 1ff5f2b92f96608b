"""The encoder of a run or of a pre-trained model, without a head: texts → vectors.

B batch · S positions · H hidden · K layers taken
"""

import contextlib
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

import modeling

from ..base.compute import Compute
from ..base.errors import UserError
from ..interchange import converted, folders
from ..tasks import model_files
from ..tasks.classification.features import encode_pairs
from ..tasks.classification.long_texts import LongTexts
from ..tasks.model_files import ModelConfig
from ..tasks.task import Feature
from ..training import checkpoint, run_folder, towers, weights
from ..training.engine_config import EngineConfig
from . import answers, graph
from .answers import Text
from .saved_run import SavedRun

POOLINGS = ("mean", "cls", "max")


class Vectors(NamedTuple):
    """Which vectors of a text. layers: numbers among its hidden states, 0 for the embeddings, -1 for the last layer."""

    pooling: str = "mean"  # over its tokens, [CLS] and [SEP] too; cls: the first token's
    layers: Tuple[int, ...] = (-1,)  # of several, the vectors are joined


class Encoder(NamedTuple):
    """A model as embed reads it."""

    tokenizer: Any
    bert_config: modeling.BertConfig
    max_seq_length: int
    long_text: LongTexts
    prefix: str  # of the checkpoint
    compute: Compute


def of_run(run: SavedRun) -> Encoder:
    """The encoder of a run. Long texts are read as in training; a tagger's are read in windows."""
    inputs = run.inputs
    long_text = getattr(inputs, "long_text", LongTexts("windows"))
    compute = towers.compute_of(run.engine)
    return Encoder(inputs.tokenizer, run.bert_config, inputs.max_seq_length, long_text, run.prefix, compute)


@contextlib.contextmanager
def of_folder(folder: str, cache_dir: Optional[str], flag: str = "--model_dir") -> Iterator[Encoder]:
    """The encoder of a pre-trained model's folder: google-research/bert's, or Hugging Face's, which is converted first.

    The conversion is kept in cache_dir if it is given; else it lasts as long as this context. Texts are cut at the
    longest input that the model has positions for. Raises UserError, which names the flag, for a folder that cannot be
    used.
    """
    folders.described(folder, flag)  # refuses it under the name that the user gave
    with run_folder.cache_folder(cache_dir, None) as cache:
        model = folders.described(converted.checkpoint_folder(folder, cache))
        lower = model.do_lower_case is not False
        config = ModelConfig(model.bert_config_file, model.vocab_file, model.spm_model_file, lower, max_seq_length=0)
        yield of_files(config, checkpoint.resolve(model.path))


def of_files(config: ModelConfig, prefix: str) -> Encoder:
    """The encoder of a pre-trained model's files. max_seq_length 0: the longest input that it has positions for.

    prefix: of the checkpoint. Raises UserError for files that do not belong together.
    """
    tokenizer, _ = model_files.load_tokenizer(config, None)
    bert_config = model_files.load_bert_config(config, len(tokenizer.vocab), segments=1)
    length = config.max_seq_length or bert_config.max_position_embeddings
    compute = towers.compute_of(EngineConfig(max_seq_length=length))
    return Encoder(tokenizer, bert_config, length, LongTexts(), prefix, compute)


def features_of(encoder: Encoder, texts: Sequence[Text]) -> Tuple[List[Feature], List[int]]:
    """(the features of the windows of each text, the number of each window in its text).

    texts: strings or pairs. Raises UserError, with the number of the text, for anything else.
    """
    pairs = answers.each_text(texts, answers.pair_of)
    encoded = encode_pairs(encoder.tokenizer, pairs, encoder.max_seq_length, encoder.long_text)
    return [{"input_ids": each.input_ids, "segment_ids": each.segment_ids} for each in encoded], [
        each.window for each in encoded
    ]


def placeholders(encoder: Encoder) -> Dict[str, tf.Tensor]:
    """The inputs of hidden_states, [B, S] int32 each, in the default graph."""
    with graph.host_inputs(encoder.compute.form):
        names = ("input_ids", "segment_ids", "input_mask")
        return {name: tf.placeholder(tf.int32, [None, None], name) for name in names}


def hidden_states(encoder: Encoder, inputs: Dict[str, tf.Tensor]) -> List[tf.Tensor]:
    """[B, S, H] float32 each: the embeddings' output, then every layer's.

    inputs: those of placeholders.
    """
    with tf.variable_scope("", use_resource=True, reuse=tf.AUTO_REUSE):
        model = modeling.BertModel(
            config=encoder.bert_config,
            is_training=False,
            input_ids=inputs["input_ids"],
            input_mask=inputs["input_mask"],
            token_type_ids=inputs["segment_ids"] if encoder.bert_config.type_vocab_size > 1 else None,
            scope="bert",  # where a run's inference graph has its variables
            compute=encoder.compute,
        )
    states = [model.get_embedding_output(), *model.get_all_encoder_layers()]
    return [tf.cast(state, tf.float32) for state in states]


def pooled(states: Sequence[tf.Tensor], input_mask: tf.Tensor, wanted: Vectors) -> tf.Tensor:
    """[B, K · H] float32, from hidden states [B, S, H] and input_mask [B, S]."""
    real = tf.cast(input_mask, tf.float32)[:, :, None]

    def of_state(state: tf.Tensor) -> tf.Tensor:
        if wanted.pooling == "cls":
            return state[:, 0, :]
        if wanted.pooling == "max":
            return tf.reduce_max(tf.where_v2(real > 0, state, tf.float32.min), axis=1)
        return tf.reduce_sum(state * real, axis=1) / tf.reduce_sum(real, axis=1)

    return tf.concat([of_state(states[layer]) for layer in wanted.layers], axis=1)


def computed_for(wanted: Vectors) -> Vectors:
    """What is computed for the vectors that are asked for: of several layers, all up to the highest.

    A graph keeps a step for each, and there are few of these, but more lists of layers than memory has room for.
    """
    return wanted if len(wanted.layers) == 1 else wanted._replace(layers=tuple(range(max(wanted.layers) + 1)))


def picked(computed: np.ndarray, wanted: Vectors) -> np.ndarray:
    """[B, K · H] the vectors that are asked for, from those of computed_for(wanted)."""
    if len(wanted.layers) == 1:
        return computed
    by_layer = computed.reshape(len(computed), max(wanted.layers) + 1, -1)
    return by_layer[:, list(wanted.layers)].reshape(len(computed), -1)


def check(encoder: Encoder, pooling: str, layers: Any) -> Vectors:
    """The vectors that are asked for. Raises UserError for a pooling or a layer that there is none of."""
    if pooling not in POOLINGS:
        raise UserError("pooling={!r}: not one of {}.".format(pooling, ", ".join(POOLINGS)))
    numbers = (layers,) if isinstance(layers, int) else tuple(layers)
    last = encoder.bert_config.num_hidden_layers
    if not numbers or len(numbers) > last + 1:
        raise UserError("layers={!r}: name one to {} layers.".format(layers, last + 1))
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int) or not -last - 1 <= number <= last:
            raise UserError(
                "layers={!r}: {!r} is not a layer. There are 0 (the embeddings) to {}, or -1 (the last) to {}.".format(
                    layers, number, last, -last - 1
                )
            )
    return Vectors(pooling, tuple(number % (last + 1) for number in numbers))


def restore(session: tf.Session, encoder: Encoder) -> None:
    """Gives the variables of a graph of hidden_states their weights. Raises UserError if the checkpoint lacks one."""
    variables = {variable.op.name: variable for variable in tf.trainable_variables()}
    shapes = {name: tuple(variable.shape.as_list()) for name, variable in variables.items()}
    report = weights.match_weights(shapes, encoder.prefix, (), reset_head=False)
    missing = [name for name in report.missing if not name.startswith("bert/pooler/")]
    if missing:
        raise UserError("{}: lacks {}.".format(encoder.prefix, ", ".join(missing)))
    checkpoint.assign(session, variables, weights.served_tensors(encoder.prefix, report.loaded))
