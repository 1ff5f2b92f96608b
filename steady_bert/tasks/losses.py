"""Losses of classes that differ from cross entropy in training, and how far two predictions are apart.

B batch · L labels · log is natural
"""

from typing import Any, NamedTuple, Optional, Sequence

import tensorflow.compat.v1 as tf


class LossForm(NamedTuple):
    """How the loss of a class is computed in training. The default is cross entropy, as evaluation always has.

    label_smoothing: ε; the target is (1 - ε) · gold + ε / L (Szegedy et al., 2016, https://arxiv.org/abs/1512.00567).
    focal_gamma: γ; each term -log p is multiplied by (1 - p)^γ (Lin et al., 2017, https://arxiv.org/abs/1708.02002).
    """

    label_smoothing: float = 0.0
    focal_gamma: float = 0.0

    @property
    def is_plain(self) -> bool:
        return not (self.label_smoothing or self.focal_gamma)


CROSS_ENTROPY = LossForm()
_LEAST = 1e-7  # of 1 - p: below γ = 1, the derivative of its power is infinite at 0


def softmax_loss(logits: tf.Tensor, label_ids: tf.Tensor, form: LossForm = CROSS_ENTROPY) -> tf.Tensor:
    """[…, L] float32, […] integer → […]: -Σ q (1 - p)^γ log p over the labels, q the smoothed target."""
    if form.is_plain:
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=label_ids, logits=logits)
    labels = logits.shape.as_list()[-1]
    targets = tf.one_hot(label_ids, labels) * (1.0 - form.label_smoothing) + form.label_smoothing / labels
    log_p = tf.nn.log_softmax(logits)
    return -tf.reduce_sum(targets * _focused(log_p, form.focal_gamma), axis=-1)


def sigmoid_loss(
    logits: tf.Tensor,
    labels: tf.Tensor,
    positive_weights: Optional[Sequence[float]] = None,
    form: LossForm = CROSS_ENTROPY,
) -> tf.Tensor:
    """[B, L] float32, [B, L] 0 or 1 → [B, L]: a loss for each label, as of two classes.

    positive_weights: [L]; the cost of predicting 0 for a label that is 1, relative to 1 for one that is 0.
    """
    weights = tf.constant(1.0 if positive_weights is None else positive_weights, tf.float32)
    if form.is_plain:
        return tf.nn.weighted_cross_entropy_with_logits(labels, logits, weights)
    targets = labels * (1.0 - form.label_smoothing) + form.label_smoothing / 2.0
    ones, zeros = (_focused(tf.log_sigmoid(x), form.focal_gamma) for x in (logits, -logits))
    return -(weights * targets * ones + (1.0 - targets) * zeros)


def _focused(log_p: tf.Tensor, gamma: float) -> tf.Tensor:
    """(1 - p)^γ log p"""
    return log_p * tf.pow(tf.maximum(-tf.math.expm1(log_p), _LEAST), gamma) if gamma else log_p


class Distributions(NamedTuple):
    """What is predicted of a batch as distributions, and how much the divergence of each weighs in its example."""

    logits: Any  # [B, …, L] float32
    weight: Any  # [B, …] float32


def of_labels(logits: tf.Tensor) -> Distributions:
    """[B, L] logits of labels that do not exclude each other → a distribution over no and yes for each."""
    labels = logits.shape.as_list()[-1]
    return Distributions(tf.stack([tf.zeros_like(logits), logits], axis=-1), tf.ones_like(logits) / labels)


def divergence(first: Distributions, second: Distributions) -> tf.Tensor:
    """[B]: the sum over each example's distributions of weight · (KL(p‖q) + KL(q‖p)) / 2."""
    log_p, log_q = tf.nn.log_softmax(first.logits), tf.nn.log_softmax(second.logits)
    both_ways = tf.reduce_sum((tf.exp(log_p) - tf.exp(log_q)) * (log_p - log_q), axis=-1) / 2.0
    weighted = both_ways * first.weight
    return tf.reduce_sum(weighted, axis=list(range(1, weighted.shape.ndims)))
