"""Which positions of a padded batch are computed, and the order of their rows.

B batch · S sequence · N rows · P packed rows of T places, N = P · T · A heads · D = H / A · W the width of a row.
"""

from typing import Any, List, NamedTuple, Optional, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from . import packing


class Packed(NamedTuple):
    """packing.PackedPlaces as tensors."""

    position: tf.Tensor  # [N]
    place: tf.Tensor  # [B · S]
    sequence: tf.Tensor  # [P, T]
    first: tf.Tensor  # [B]
    first_of: tf.Tensor  # [N]


class TokenLayout(NamedTuple):
    """The places of the rows of a matrix of tokens [N, …] in the padded square [B, S, …].

    Everything that works token by token works on rows.
    """

    batch_size: Any
    seq_length: Any
    places: Optional[tf.Tensor] = None  # [N, 2] (b, s) of each row; None: every position is a row, N = B · S
    real: Optional[tf.Tensor] = None  # [B, S] boolean, with places
    packed: Optional[Packed] = None

    def rows(self, square: tf.Tensor) -> tf.Tensor:
        """[B, S] → [N]"""
        if self.packed is not None:
            there = self.packed.position
            return tf.where_v2(there < 0, tf.zeros([], square.dtype), _gather(tf.reshape(square, [-1]), there))
        return tf.reshape(square, [-1]) if self.places is None else tf.gather_nd(square, self.places)

    def vectors(self, square: tf.Tensor) -> tf.Tensor:
        """[B, S, W] → [N, W], zeros in places of packed rows without a token. The gradient is 0 elsewhere."""
        if self.places is not None:
            return tf.gather_nd(square, self.places)
        rows = tf.reshape(square, [-1, square.shape.as_list()[2]])
        return rows if self.packed is None else gathered(rows, self.packed.position, self.packed.place)

    def square(self, rows: tf.Tensor) -> tf.Tensor:
        """[N, W] → [B, S, W], zeros at positions without a row."""
        shape = [self.batch_size, self.seq_length, rows.shape.as_list()[1]]
        if self.packed is not None:
            return tf.reshape(gathered(rows, self.packed.place, self.packed.position), shape)
        return tf.reshape(rows, shape) if self.places is None else tf.scatter_nd(self.places, rows, tf.stack(shape))

    def padded(self, rows: tf.Tensor) -> tf.Tensor:
        """As `square`, but with zeros for the rows that only round the number of rows up."""
        square = self.square(rows)
        return square if self.real is None else tf.where_v2(self.real[:, :, None], square, 0.0)

    def _attention_sizes(self) -> List[Any]:
        """The two sizes of what attention sees: [B, S], or [P, T] of packed rows."""
        if self.packed is None:
            return [self.batch_size, self.seq_length]
        return tf.unstack(tf.shape(self.packed.sequence))

    def attention_mask(self, input_mask: tf.Tensor) -> tf.Tensor:
        """The mask [B, S] → [B, 1, S], or [P, T, T] of packed rows, where each place sees its own sequence."""
        if self.packed is None:
            return tf.reshape(input_mask, [self.batch_size, 1, self.seq_length])
        sequence = self.packed.sequence
        return tf.equal(sequence[:, :, None], sequence[:, None, :])

    def as_packed(self, input_mask: tf.Tensor) -> Packed:
        """Packed rows; every sequence is a row of its own where they are not packed."""
        if self.packed is not None:
            return self.packed
        places = tf.range(self.batch_size * self.seq_length)
        starts_sequence = tf.equal(tf.floormod(places, self.seq_length), 0)
        return Packed(
            position=places,
            place=places,
            sequence=tf.where_v2(tf.cast(input_mask, tf.bool), 0, -1),  # what is seen of a row is what is real
            first=tf.range(self.batch_size) * self.seq_length,
            first_of=tf.where_v2(starts_sequence, tf.floordiv(places, self.seq_length), -1),
        )

    def heads(self, rows: tf.Tensor, heads: int) -> tf.Tensor:
        """[N, A · D] → [B, A, S, D], or [P, A, T, D] of packed rows."""
        size = rows.shape.as_list()[1] // heads
        square = rows if self.packed is not None else self.square(rows)
        square = tf.reshape(square, self._attention_sizes() + [heads, size])
        return tf.transpose(square, [0, 2, 1, 3])

    def heads_of_parts(self, rows: tf.Tensor, heads: int, parts: int) -> List[tf.Tensor]:
        """What `heads` gives for each of `parts` that stand side by side in rows [N, parts · A · D]."""
        size = rows.shape.as_list()[1] // (parts * heads)
        square = rows if self.packed is not None else self.square(rows)
        square = tf.reshape(square, self._attention_sizes() + [parts, heads, size])
        return tf.unstack(tf.transpose(square, [2, 0, 3, 1, 4]))

    def merged(self, heads: tf.Tensor) -> tf.Tensor:
        """What heads gives → [N, A · D]"""
        _, count, _, size = heads.shape.as_list()
        context = tf.transpose(heads, [0, 2, 1, 3])  # [B, S, A, D]
        if self.places is not None:
            context = tf.gather_nd(context, self.places)
        return tf.reshape(context, [-1, count * size])

    def first(self, rows: tf.Tensor) -> tf.Tensor:
        """[N, W] → [B, W]: each sequence's first token."""
        if self.packed is not None:
            return gathered(rows, self.packed.first, self.packed.first_of)
        if self.places is None:
            return self.square(rows)[:, 0, :]
        return tf.boolean_mask(rows, tf.equal(self.places[:, 1], 0))

    def plus_positions(self, rows: tf.Tensor, table: Any) -> tf.Tensor:
        """Adds to each row the row of `table` that belongs to its position."""
        if self.packed is not None:
            return rows + tf.gather(table, self.positions())
        if self.places is not None:
            return rows + tf.gather(table, self.places[:, 1])
        width = rows.shape.as_list()[1]
        # The same [S, W] for every sequence.
        return tf.reshape(self.square(rows) + tf.slice(table, [0, 0], tf.stack([self.seq_length, width])), [-1, width])

    def positions(self) -> tf.Tensor:
        """[N] int32: s of each row; 0 of a place without a token."""
        if self.packed is not None:
            return tf.floormod(tf.maximum(self.packed.position, 0), self.seq_length)
        if self.places is not None:
            return self.places[:, 1]
        return tf.tile(tf.range(self.seq_length), [self.batch_size])


def every_position(batch_size: Any, seq_length: Any) -> TokenLayout:
    return TokenLayout(batch_size, seq_length)


# oneDNN compiles code for every new shape and keeps it: rounding up leaves few shapes.
_ROWS_MULTIPLE = 32


def real_tokens(input_mask: tf.Tensor, batch_size: Any, seq_length: Any) -> TokenLayout:
    """The layout of the positions where input_mask [B, S] is not 0.

    The first token of each sequence is always among them, since the pooler reads it. The first padded positions
    round the number of rows up to a multiple of _ROWS_MULTIPLE, if there are enough of them.
    """
    first = tf.equal(tf.range(seq_length), 0)
    real = tf.logical_or(tf.cast(input_mask, tf.bool), first)
    places = tf.where(real)
    more = tf.floormod(-tf.shape(places)[0], _ROWS_MULTIPLE)
    places = tf.concat([places, tf.where(tf.logical_not(real))[:more]], axis=0)
    return TokenLayout(batch_size, seq_length, tf.cast(places, tf.int32), real)


def packed_attention(layout: TokenLayout) -> Tuple[TokenLayout, tf.Tensor]:
    """For the rows of real_tokens: (their layout while they attend to each other, its attention mask [P, T, T]).

    Several short sequences share a row, and see themselves alone: a square as wide as the longest sequence is mostly
    padding. packing.attention_places runs in Python beside the session, so the graph cannot leave the process.
    """
    assert layout.places is not None and layout.real is not None
    lengths = tf.reduce_sum(tf.cast(layout.real, tf.int32), axis=1)

    def place(lengths: np.ndarray, rows: np.ndarray) -> List[np.ndarray]:
        return list(packing.attention_places(lengths, int(rows)))

    places, sequence = tf.numpy_function(place, [lengths, tf.shape(layout.places)[0]], [tf.int32] * 2)
    places.set_shape([None, 2])
    sequence.set_shape([None, None])
    height, width = tf.unstack(tf.shape(sequence))
    return TokenLayout(height, width, places), tf.equal(sequence[:, :, None], sequence[:, None, :])


def packed_rows(
    input_mask: tf.Tensor, batch_size: Any, seq_length: Any, row_length: int, doubling: bool = False
) -> TokenLayout:
    """Real tokens in rows of row_length places, by packing.packed_places, which runs in Python beside the session."""

    def place(mask: np.ndarray) -> List[np.ndarray]:
        return list(packing.packed_places(mask, row_length, doubling))

    packed = Packed(*tf.numpy_function(place, [input_mask], [tf.int32] * len(Packed._fields)))
    for name, tensor in packed._asdict().items():
        tensor.set_shape([None, row_length] if name == "sequence" else [None])
    return TokenLayout(batch_size, seq_length, packed=packed)


def gathered(rows: tf.Tensor, there: tf.Tensor, back: tf.Tensor) -> tf.Tensor:
    """rows[there], [M, W], zeros where `there` is negative.

    `back` [N] is where each row goes to, negative where nowhere: with it the gradient is a gather too. That of a gather
    alone is a scatter, which on a GPU adds in any order and takes most of a step.
    """

    @tf.custom_gradient
    def both_ways(rows: tf.Tensor) -> Any:
        return _with_zeros(rows, there), lambda upstream: _with_zeros(upstream, back)

    return both_ways(rows)


def _with_zeros(rows: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    return _gather(rows, index) * tf.cast(index >= 0, rows.dtype)[:, None]


def _gather(values: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    return tf.gather(values, tf.maximum(index, 0))
