"""encoder vectors → logits and loss of where an answer begins and ends. B batch · S sequence · H hidden"""

from typing import Tuple

import tensorflow.compat.v1 as tf

import modeling

from ...base.compute import PLAIN, Compute
from ...base.forms import forms_of

_FAR_BELOW = -1e30  # a logit whose probability is 0


def span_logits(vectors: tf.Tensor, compute: Compute = PLAIN) -> Tuple[tf.Tensor, tf.Tensor]:
    """[B, S, H] → (start logits [B, S], end logits [B, S]). Variables cls/squad/output_weights [2, H], output_bias."""
    batch_size, seq_length, width = modeling.get_shape_list(vectors, expected_rank=3)
    weights = tf.get_variable("cls/squad/output_weights", [2, width], initializer=modeling.create_initializer(0.02))
    bias = tf.get_variable("cls/squad/output_bias", [2], initializer=tf.zeros_initializer())
    rows = tf.reshape(vectors, [-1, width])
    logits = forms_of(compute).plus_bias(tf.matmul(rows, weights, transpose_b=True), bias)
    logits = tf.reshape(tf.cast(logits, tf.float32), [batch_size, seq_length, 2])
    return logits[:, :, 0], logits[:, :, 1]


def position_loss(logits: tf.Tensor, positions: tf.Tensor, input_mask: tf.Tensor) -> tf.Tensor:
    """[B, S] → cross entropy of each example [B] over its own tokens, padding left out."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=positions, logits=of_tokens(logits, input_mask))


def of_tokens(logits: tf.Tensor, input_mask: tf.Tensor) -> tf.Tensor:
    """[B, S] → the logits of an example's own tokens; padding has the probability 0."""
    return tf.where_v2(input_mask > 0, logits, _FAR_BELOW)
