"""A linear-chain conditional random field, in graph mode (Lafferty, McCallum and Pereira, ICML 2001).

A sequence of n words with tags y₁ … yₙ has the score

    Σ emissions[k, yₖ] + Σ transitions[yₖ₋₁, yₖ]

and the probability p(y) = exp(score) / Z, where Z is the sum of exp(score) over all sequences of n tags. The caller
adds the scores of beginning and ending with a tag to the emissions of the first and last word. Each chain of a batch
has its own length; values beyond it are not read. A chain of length 0 has one sequence, with score 0.

B batch · W words, at least 1 · L tags
"""

from typing import Any, Tuple

import tensorflow.compat.v1 as tf

# Added to the scores of what is not allowed: below any sum of scores, and finite, so that sums are never NaN.
FORBIDDEN = -1e9


def log_likelihood(emissions: tf.Tensor, tags: tf.Tensor, lengths: tf.Tensor, transitions: tf.Tensor) -> tf.Tensor:
    """log p(tags) of each chain, [B].

    emissions: [B, W, L]. tags: [B, W] integer. lengths: [B] integer. transitions: [L, L], from row to column.
    """
    return _score(emissions, tags, lengths, transitions) - log_partition(emissions, lengths, transitions)


def log_partition(emissions: tf.Tensor, lengths: tf.Tensor, transitions: tf.Tensor) -> tf.Tensor:
    """log Z of each chain, [B], by the forward algorithm."""

    def forward(before: tf.Tensor, emission: tf.Tensor) -> tf.Tensor:
        return tf.reduce_logsumexp(before[:, :, None] + transitions, axis=1) + emission

    last = _along(forward, emissions, lengths)[-1]  # [B, L]
    return tf.where_v2(lengths > 0, tf.reduce_logsumexp(last, axis=1), 0.0)


def marginals(emissions: tf.Tensor, lengths: tf.Tensor, transitions: tf.Tensor) -> tf.Tensor:
    """p(yₖ) of each word, [B, W, L]: the derivative of log Z with respect to its emission. Zeros beyond a length."""
    return tf.gradients(log_partition(emissions, lengths, transitions), emissions)[0]


def viterbi(emissions: tf.Tensor, lengths: tf.Tensor, transitions: tf.Tensor) -> tf.Tensor:
    """The sequence with the largest score of each chain, [B, W] int32; zeros beyond a length.

    Ties go to the sequence with the smaller tag at the last place where two sequences differ.
    """

    def forward(before: tf.Tensor, emission: tf.Tensor) -> tf.Tensor:
        return tf.reduce_max(before[:, :, None] + transitions, axis=1) + emission

    scores = _along(forward, emissions, lengths)  # [W, B, L]
    best_last = tf.argmax(scores[-1], axis=1, output_type=tf.int32)
    positions = tf.range(tf.shape(scores)[0])

    def backward(after: tf.Tensor, elements: Tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        score, position = elements
        to_after = tf.gather(transitions, after, axis=1)  # [L, B]
        best = tf.argmax(score + tf.transpose(to_after), axis=1, output_type=tf.int32)
        return tf.where_v2(position < lengths - 1, best, best_last)  # scores beyond a length repeat those of its end

    tags = tf.transpose(tf.scan(backward, (scores, positions), initializer=best_last, reverse=True))
    return tags * tf.sequence_mask(lengths, tf.shape(tags)[1], tf.int32)


def _along(step: Any, emissions: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """[W, B, L]: the first emission, then step(before, emission) word by word; constant beyond a length."""

    def next_score(before: tf.Tensor, elements: Tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        emission, position = elements
        after = tf.where_v2((position < lengths)[:, None], step(before, emission), before)
        return tf.where_v2(tf.equal(position, 0), emission, after)

    by_word = tf.transpose(emissions, [1, 0, 2])
    return tf.scan(next_score, (by_word, tf.range(tf.shape(by_word)[0])), initializer=tf.zeros_like(by_word[0]))


def _score(emissions: tf.Tensor, tags: tf.Tensor, lengths: tf.Tensor, transitions: tf.Tensor) -> tf.Tensor:
    """The score of each chain [B], as products with one-hot tags: their gradients are the same in every run."""
    count = emissions.shape.as_list()[-1]
    real = tf.sequence_mask(lengths, tf.shape(tags)[1], tf.float32)[:, :, None]
    chosen = tf.one_hot(tags, count) * real  # [B, W, L]; rows of zeros beyond a length
    total = tf.reduce_sum(emissions * chosen, axis=[1, 2])
    into = tf.tensordot(chosen[:, :-1], transitions, 1)  # [B, W - 1, L]
    return total + tf.reduce_sum(into * chosen[:, 1:], axis=[1, 2])
