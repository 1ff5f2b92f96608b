"""The two heads of pre-training, under google-research/bert's names: masked words, and whether a segment follows.

B batch · S sequence · P places for predictions in an example · N predictions · H hidden · V vocabulary
"""

from typing import Any, Dict, NamedTuple, Tuple

import tensorflow.compat.v1 as tf

import modeling

from ...base.compute import PLAIN, Compute
from ...base.forms import forms_of, product

# The number of predictions of a batch is rounded up to a multiple: each shape that is new costs time.
_ROWS_MULTIPLE = 16


def gather_indexes(sequence_tensor: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
    """[B, S, H], [B, P] → [B · P, H]: the vectors at the positions of each example."""
    width = sequence_tensor.shape.as_list()[-1]
    return tf.gather(tf.reshape(sequence_tensor, [-1, width]), _flat_positions(sequence_tensor, positions))


def _flat_positions(sequence_tensor: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
    """[B, S, H], [B, P] → [B · P]: positions in the rows of all examples."""
    batch_size, seq_length, _ = modeling.get_shape_list(sequence_tensor, expected_rank=3)
    starts = tf.reshape(tf.range(batch_size) * seq_length, [-1, 1])
    return tf.reshape(positions + starts, [-1])


def masked_lm_logits(
    bert_config: modeling.BertConfig, vectors: tf.Tensor, output_weights: Any, compute: Compute = PLAIN
) -> tf.Tensor:
    """[N, H] → dense, activation, LayerNorm → product with the word embeddings [V, H] → [N, V] float32."""
    forms, width = forms_of(compute), bert_config.hidden_size
    initializer = modeling.create_initializer(bert_config.initializer_range)
    with tf.variable_scope("cls/predictions"):
        with tf.variable_scope("transform"):
            with tf.variable_scope("dense"):
                kernel = tf.get_variable("kernel", [width, width], initializer=initializer)
                bias = tf.get_variable("bias", [width], initializer=tf.zeros_initializer())
                vectors = forms.plus_bias(product(vectors, kernel, compute.precision), bias)
                activation = modeling.get_activation(bert_config.hidden_act)
                vectors = vectors if activation is None else activation(vectors)
            with tf.variable_scope("LayerNorm"):
                beta = tf.get_variable("beta", [width], initializer=tf.zeros_initializer())
                gamma = tf.get_variable("gamma", [width], initializer=tf.ones_initializer())
                vectors = forms.normalized(vectors, gamma, beta)
        bias = tf.get_variable("output_bias", [bert_config.vocab_size], initializer=tf.zeros_initializer())
        logits = product(vectors, output_weights, compute.precision, transpose_b=True)
        return forms.plus_bias(tf.cast(logits, tf.float32), bias)


def next_sentence_logits(
    bert_config: modeling.BertConfig, pooled_output: tf.Tensor, compute: Compute = PLAIN
) -> tf.Tensor:
    """[B, H] → [B, 2] float32: of a second segment that follows the first, and of a random one."""
    initializer = modeling.create_initializer(bert_config.initializer_range)
    with tf.variable_scope("cls/seq_relationship"):
        weights = tf.get_variable("output_weights", [2, bert_config.hidden_size], initializer=initializer)
        bias = tf.get_variable("output_bias", [2], initializer=tf.zeros_initializer())
        return forms_of(compute).plus_bias(tf.matmul(pooled_output, weights, transpose_b=True), bias)


def loss_weights(batch: Dict[str, Any], next_sentence: bool) -> tf.Tensor:
    """[B, 1], or [B, 2] with the second task: the number of predictions of each example in either task.

    An example without a prediction has a trace of weight, so that a batch of such examples has the loss 0.
    """
    predicted = tf.reduce_sum(_columns(batch["masked_lm_weights"]), axis=1)
    weights = [tf.maximum(predicted, 1e-5)]
    return tf.stack(weights + [tf.ones_like(predicted)] * next_sentence, axis=1)


def masked_lm(
    bert_config: modeling.BertConfig, model: modeling.BertModel, batch: Dict[str, Any], compute: Compute
) -> Tuple[tf.Tensor, tf.Tensor]:
    """([B] the summed loss of each example's predictions, [B] how many of them are right).

    Only masked places are computed: padding-free, those that hold a prediction; else all P of each example.
    """
    weights, vectors = _columns(batch["masked_lm_weights"]), model.get_sequence_output()
    shape = modeling.get_shape_list(weights, expected_rank=2)
    positions = _flat_positions(vectors, _columns(batch["masked_lm_positions"]))
    ids, row_weights = tf.reshape(batch["masked_lm_ids"], [-1]), tf.reshape(weights, [-1])
    chosen = _filled(row_weights) if compute.padding_free else None
    if chosen is not None:
        positions, ids, row_weights = (tf.gather(each, chosen.places) for each in (positions, ids, row_weights))
        row_weights *= chosen.counted
    rows = tf.gather(tf.reshape(vectors, [-1, bert_config.hidden_size]), positions)
    logits = masked_lm_logits(bert_config, rows, model.get_embedding_table(), compute)
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=ids, logits=logits) * row_weights
    right = tf.cast(tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int32), ids), tf.float32) * row_weights
    if chosen is not None:  # what fills up adds 0 to the first place
        loss, right = (tf.scatter_nd(chosen.places[:, None], each, [shape[0] * shape[1]]) for each in (loss, right))
    loss, right = (tf.reduce_sum(tf.reshape(each, shape), axis=1) for each in (loss, right))
    return loss, right


def next_sentence(
    bert_config: modeling.BertConfig, model: modeling.BertModel, batch: Dict[str, Any], compute: Compute
) -> Tuple[tf.Tensor, tf.Tensor]:
    """([B] the loss of each example, [B] whether its prediction is right)."""
    logits = next_sentence_logits(bert_config, model.get_pooled_output(), compute)
    labels = batch["next_sentence_labels"]
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    return loss, tf.cast(tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int32), labels), tf.float32)


class _Chosen(NamedTuple):
    """Those of all B · P places that hold a prediction, and a few more that fill up."""

    places: tf.Tensor  # [N] int32
    counted: tf.Tensor  # [N] float32, 0 for what fills up, else 1


def _filled(weights: tf.Tensor) -> _Chosen:
    real = tf.cast(tf.where(weights > 0)[:, 0], tf.int32)
    count = tf.size(real)
    wanted = tf.maximum((count + _ROWS_MULTIPLE - 1) // _ROWS_MULTIPLE, 1) * _ROWS_MULTIPLE
    places = tf.pad(real, [[0, wanted - count]])
    return _Chosen(places, tf.cast(tf.range(wanted) < count, tf.float32))


def _columns(values: tf.Tensor) -> tf.Tensor:
    """[B, P], also of a column of one number, which is [B]."""
    return values if values.shape.ndims == 2 else values[:, None]
