"""encoder vectors → tag scores → loss and predictions: the layers of a tagger that are not pre-trained.

B batch · S positions · W words · H hidden · L tags · U units of a recurrent network
"""

from typing import Any, NamedTuple, Optional, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

import modeling

from ...base.compute import PLAIN, Compute
from ...base.forms import forms_of
from ..heads import classification_logits
from ..losses import CROSS_ENTROPY, LossForm, softmax_loss
from . import crf
from .heads import CELLS, TaggingHead


class Chains(NamedTuple):
    """The words of each row of a batch: where they are, and whether they include the first and last of a sentence."""

    places: tf.Tensor  # [B, W] positions: those of the words in order, then others
    lengths: tf.Tensor  # [B] number of words
    starts: tf.Tensor  # [B] boolean: the first word begins its sentence
    ends: tf.Tensor  # [B] boolean: the last word ends its sentence

    def gather(self, square: tf.Tensor) -> tf.Tensor:
        """[B, S, …] → [B, W, …]"""
        batch_size, seq_length = modeling.get_shape_list(square)[:2]
        rows = tf.reshape(square, tf.concat([[batch_size * seq_length], tf.shape(square)[2:]], axis=0))
        rows.set_shape([None] + square.shape.as_list()[2:])
        return tf.gather(rows, self.places + tf.range(batch_size)[:, None] * seq_length)


def chains(is_word: tf.Tensor, starts: tf.Tensor, ends: tf.Tensor) -> Chains:
    """The chains of a mask [B, S] boolean. W is the largest number of words in a row, or S if the shape is static."""
    _, seq_length = modeling.get_shape_list(is_word, expected_rank=2)
    positions = tf.range(seq_length)
    places = tf.argsort(tf.where_v2(is_word, positions, positions + seq_length))
    lengths = tf.reduce_sum(tf.cast(is_word, tf.int32), axis=1)
    if not isinstance(seq_length, int):
        places = places[:, : tf.maximum(tf.reduce_max(lengths), 1)]
    return Chains(places, lengths, starts, ends)


class TagScores(NamedTuple):
    logits: tf.Tensor  # [B, W, L]; with a CRF, its start and end scores are added at a sentence's first and last word
    transitions: Optional[tf.Tensor]  # [L, L], from the row's tag to the column's; None without a CRF


def tag_scores(
    vectors: tf.Tensor,
    words: Chains,
    tags: int,
    head: TaggingHead,
    dropout_prob: float,
    compute: Compute = PLAIN,
) -> TagScores:
    """Scores the tags of each word from its vector; vectors: [B, W, H].

    Variables, in the caller's scope: output_weights [L, H], output_bias [L]; bilstm/layer_N/forward and …/backward:
    kernel, recurrent_kernel, bias; crf: start [L], end [L], transitions [L, L].
    """
    with tf.variable_scope("bilstm"):
        for layer in range(head.lstm_layers):
            with tf.variable_scope("layer_{}".format(layer)):
                vectors = _bidirectional(modeling.dropout(vectors, dropout_prob), words.lengths, head, compute)
    batch_size, length, width = modeling.get_shape_list(vectors, expected_rank=3)
    logits = classification_logits(tf.reshape(vectors, [-1, width]), tags, dropout_prob, compute)
    logits = tf.reshape(tf.cast(logits, tf.float32), [batch_size, length, tags])
    if not head.crf:
        return TagScores(logits, None)
    with tf.variable_scope("crf"):
        start, end, transitions = (
            tf.convert_to_tensor(tf.get_variable(name, shape, initializer=tf.zeros_initializer()))
            for name, shape in (("start", [tags]), ("end", [tags]), ("transitions", [tags, tags]))
        )
    return TagScores(logits + _at_ends(start, end, words, length), transitions)


def tagging_loss(
    scores: TagScores, words: Chains, tag_ids: tf.Tensor, counted: tf.Tensor, form: LossForm = CROSS_ENTROPY
) -> Tuple[tf.Tensor, tf.Tensor]:
    """(summed loss of each example [B], the number of words that it is a sum of [B]).

    tag_ids: [B, W]. counted: [B, W] float32, 1 where a word counts; a CRF counts all words of the chain. form: of the
    loss of a word, which a CRF has not.
    """
    if scores.transitions is not None:
        likelihood = crf.log_likelihood(scores.logits, tag_ids, words.lengths, scores.transitions)
        return -likelihood, tf.cast(words.lengths, tf.float32)
    loss = softmax_loss(scores.logits, tag_ids, form)
    return tf.reduce_sum(loss * counted, axis=1), tf.reduce_sum(counted, axis=1)


def tagging_predictions(
    scores: TagScores, words: Chains, legal: Optional[Tuple[np.ndarray, np.ndarray]]
) -> Tuple[tf.Tensor, tf.Tensor]:
    """(the best sequence of tag ids [B, W] int32, the probability of every tag of every word [B, W, L]).

    legal: ([L, L] which tag may follow which, [L] which may begin a sentence), or None if all may. An illegal sequence
    is never predicted; the probabilities do not take legality into account.
    """
    logits, transitions = scores
    probabilities = tf.nn.softmax(logits)
    if transitions is not None:
        probabilities = crf.marginals(logits, words.lengths, transitions)
    if legal is not None:
        follows, begins = (tf.constant(np.where(allowed, 0.0, crf.FORBIDDEN), tf.float32) for allowed in legal)
        transitions = follows if transitions is None else transitions + follows
        logits += _at_ends(begins, tf.zeros_like(begins), words, tf.shape(logits)[1])
    if transitions is None:
        return tf.argmax(logits, axis=-1, output_type=tf.int32), probabilities
    return crf.viterbi(logits, words.lengths, transitions), probabilities


def _at_ends(start: Any, end: Any, words: Chains, length: Any) -> tf.Tensor:
    """[L], [L] → [B, W, L]: `start` at the first word of a sentence, `end` at its last, zeros elsewhere."""
    first = tf.one_hot(tf.where_v2(words.starts, 0, -1), length)  # [B, W]; the one-hot of -1 is all zeros
    last = tf.one_hot(tf.where_v2(words.ends, words.lengths - 1, -1), length)
    return first[:, :, None] * start + last[:, :, None] * end


# --- recurrent layers -------------------------------------------------------------------------------------------------


def _bidirectional(vectors: tf.Tensor, lengths: tf.Tensor, head: TaggingHead, compute: Compute = PLAIN) -> tf.Tensor:
    """[B, W, H] → [B, W, 2 U]: what precedes each word, read forwards, and what follows it, read backwards."""
    forward = _recurrent(vectors, head, "forward", compute)
    backward = _recurrent(tf.reverse_sequence(vectors, lengths, seq_axis=1), head, "backward", compute)
    return tf.concat([forward, tf.reverse_sequence(backward, lengths, seq_axis=1)], axis=-1)


def _recurrent(vectors: tf.Tensor, head: TaggingHead, name: str, compute: Compute = PLAIN) -> tf.Tensor:
    """[B, W, H] → [B, W, U]: the output at each word after reading the words up to it."""
    cell, size = CELLS[head.lstm_cell], head.lstm_size
    batch_size, length, width = modeling.get_shape_list(vectors, expected_rank=3)
    wide = cell.gates * size
    with tf.variable_scope(name):
        kernel = tf.get_variable("kernel", [width, wide], initializer=modeling.create_initializer(width**-0.5))
        recurrent = tf.get_variable(
            "recurrent_kernel", [size, wide], initializer=modeling.create_initializer(size**-0.5)
        )
        bias = tf.get_variable("bias", [wide], initializer=tf.zeros_initializer())
    recurrent = tf.convert_to_tensor(recurrent)
    projected = tf.matmul(tf.reshape(vectors, [-1, width]), kernel)  # all words at once
    projected = forms_of(compute).plus_bias(projected, bias)
    by_word = tf.transpose(tf.reshape(projected, [batch_size, length, wide]), [1, 0, 2])
    zeros = tuple(tf.zeros(tf.stack([batch_size, size])) for _ in range(cell.states))
    outputs = tf.scan(lambda states, word: cell.step(word, states, recurrent, size), by_word, initializer=zeros)[0]
    outputs = tf.transpose(outputs, [1, 0, 2])
    outputs.set_shape([None, None, size])
    return outputs
