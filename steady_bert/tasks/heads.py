"""The encoder of all tasks; pooled vector → logits → loss: the layers of a classifier that are not pre-trained.

B batch · H hidden · L labels
"""

from typing import Any, Dict, Optional, Sequence, Tuple

import tensorflow.compat.v1 as tf

import modeling

from ..base.compute import PLAIN, Compute
from ..base.forms import forms_of
from ..base.word_shift import KEY
from . import losses
from .losses import CROSS_ENTROPY, LossForm


def encoder(
    config: modeling.BertConfig,
    batch: Dict[str, Any],
    is_training: bool,
    compute: Compute,
    first_token_only: bool = False,
) -> modeling.BertModel:
    """The BERT of a task, on the columns of a batch. Without segment_ids all tokens are in the first segment."""
    return modeling.BertModel(
        config=config,
        is_training=is_training,
        input_ids=batch["input_ids"],
        input_mask=batch["input_mask"],
        token_type_ids=batch.get("segment_ids"),
        scope="bert",  # by name, so that the inference tower finds the training tower's variables
        first_token_only=first_token_only,
        compute=compute,
        word_shift=batch.get(KEY),
    )


def classification_logits(
    pooled_output: tf.Tensor, num_labels: int, dropout_prob: float, compute: Compute = PLAIN
) -> tf.Tensor:
    """[B, H] → dropout → linear → [B, L]. Variables output_weights [L, H], output_bias [L], in the caller's scope."""
    width = modeling.get_shape_list(pooled_output, expected_rank=2)[1]
    weights = tf.get_variable("output_weights", [num_labels, width], initializer=modeling.create_initializer(0.02))
    bias = tf.get_variable("output_bias", [num_labels], initializer=tf.zeros_initializer())
    pooled_output = modeling.dropout(pooled_output, dropout_prob)
    return forms_of(compute).plus_bias(tf.matmul(pooled_output, weights, transpose_b=True), bias)


def softmax_cross_entropy(
    logits: tf.Tensor, label_ids: tf.Tensor, form: LossForm = CROSS_ENTROPY
) -> Tuple[tf.Tensor, tf.Tensor]:
    """[B, L], [B] integer → (loss of each example [B], probabilities [B, L])."""
    logits = tf.cast(logits, tf.float32)
    return losses.softmax_loss(logits, label_ids, form), tf.nn.softmax(logits)


def sigmoid_cross_entropy(
    logits: tf.Tensor,
    labels: tf.Tensor,
    positive_weights: Optional[Sequence[float]] = None,
    form: LossForm = CROSS_ENTROPY,
) -> Tuple[tf.Tensor, tf.Tensor]:
    """[B, L], [B, L] 0 or 1 → (mean loss over the labels of each example [B], probabilities [B, L]).

    positive_weights: [L]; the cost of predicting 0 for a label that is 1, relative to 1 for one that is 0.
    """
    logits = tf.cast(logits, tf.float32)
    loss = losses.sigmoid_loss(logits, labels, positive_weights, form)
    return tf.reduce_mean(loss, axis=-1), tf.nn.sigmoid(logits)


def squared_error(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """[B, 1], [B] → (prediction - target)² of each example [B]."""
    return tf.square(tf.squeeze(tf.cast(logits, tf.float32), axis=-1) - targets)
