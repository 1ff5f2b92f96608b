"""Which positions of a padded batch are computed, and the order of their rows.

B batch · S sequence · N rows · A heads · D = H / A · W the width of a row.
"""

from typing import Any, NamedTuple, Optional

import tensorflow.compat.v1 as tf


class TokenLayout(NamedTuple):
    """The places of the rows of a matrix of tokens [N, …] in the padded square [B, S, …].

    Everything that works token by token works on rows.
    """

    batch_size: Any
    seq_length: Any
    places: Optional[tf.Tensor] = None  # [N, 2] (b, s) of each row; None: every position is a row, N = B · S
    real: Optional[tf.Tensor] = None  # [B, S] boolean, with places

    def rows(self, square: tf.Tensor) -> tf.Tensor:
        """[B, S] → [N]"""
        return tf.reshape(square, [-1]) if self.places is None else tf.gather_nd(square, self.places)

    def square(self, rows: tf.Tensor) -> tf.Tensor:
        """[N, W] → [B, S, W], zeros at positions without a row."""
        shape = [self.batch_size, self.seq_length, rows.shape.as_list()[1]]
        return tf.reshape(rows, shape) if self.places is None else tf.scatter_nd(self.places, rows, tf.stack(shape))

    def padded(self, rows: tf.Tensor) -> tf.Tensor:
        """As `square`, but with zeros for the rows that only round the number of rows up."""
        square = self.square(rows)
        return square if self.real is None else tf.where_v2(self.real[:, :, None], square, 0.0)

    def heads(self, rows: tf.Tensor, heads: int) -> tf.Tensor:
        """[N, A · D] → [B, A, S, D]"""
        size = rows.shape.as_list()[1] // heads
        square = tf.reshape(self.square(rows), [self.batch_size, self.seq_length, heads, size])
        return tf.transpose(square, [0, 2, 1, 3])

    def merged(self, heads: tf.Tensor) -> tf.Tensor:
        """[B, A, S, D] → [N, A · D]"""
        _, count, _, size = heads.shape.as_list()
        context = tf.transpose(heads, [0, 2, 1, 3])  # [B, S, A, D]
        if self.places is not None:
            context = tf.gather_nd(context, self.places)
        return tf.reshape(context, [-1, count * size])

    def first(self, rows: tf.Tensor) -> tf.Tensor:
        """[N, W] → [B, W]: each sequence's first token."""
        if self.places is None:
            return self.square(rows)[:, 0, :]
        return tf.boolean_mask(rows, tf.equal(self.places[:, 1], 0))

    def plus_positions(self, rows: tf.Tensor, table: Any) -> tf.Tensor:
        """Adds to each row the row of `table` that belongs to its position."""
        if self.places is not None:
            return rows + tf.gather(table, self.places[:, 1])
        width = rows.shape.as_list()[1]
        # The same [S, W] for every sequence.
        return tf.reshape(self.square(rows) + tf.slice(table, [0, 0], tf.stack([self.seq_length, width])), [-1, width])


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
