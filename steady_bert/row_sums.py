"""Sums rows that come several times, in an order that does not vary, for code that XLA compiles.

A scatter on a GPU adds in any order, which changes bits from run to run. Here everything is a product, a gather, or the
largest of integers.

N rows, of width W, given with an index each · n blocks of K rows
"""

from typing import Tuple

import tensorflow.compat.v1 as tf

_BLOCK = 256  # K: a product with a matrix [N, N] would need memory for it


def summed(values: tf.Tensor, indices: tf.Tensor, depth: int, block: int = _BLOCK) -> Tuple[tf.Tensor, tf.Tensor]:
    """([depth, W] the sum of the values of each index, [depth] boolean: whether the index is there at all)."""
    order = tf.argsort(indices, stable=True)
    missing = tf.floormod(-tf.shape(order)[0], block)
    ids = tf.pad(tf.gather(indices, order), [[0, missing]], constant_values=-1)
    totals = _totals(
        tf.reshape(tf.pad(tf.gather(values, order), [[0, missing], [0, 0]]), [-1, block, values.shape.as_list()[1]]),
        tf.reshape(ids, [-1, block]),
    )
    # One place of each index; negative indices are left out. The largest of integers is the same in any order.
    place = tf.math.unsorted_segment_max(tf.range(tf.shape(ids)[0]), ids, depth)
    present = place >= 0
    return tf.gather(totals, tf.maximum(place, 0)) * tf.cast(present, totals.dtype)[:, None], present


def _totals(values: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
    """[n, K, W] and their sorted indices [n, K] → [n · K, W]: for each row the sum of all rows with its index.

    An index whose rows are in several blocks is the first or the last one in each of them.
    """
    width = values.shape.as_list()[2]
    totals = tf.matmul(_same(ids, values.dtype), values)  # within each block
    first, last = ids[:, :1], ids[:, -1:]
    counted = tf.cast(tf.not_equal(first, last), values.dtype)  # a block of one index has one sum
    edges = tf.reshape(tf.stack([totals[:, 0], totals[:, -1] * counted], axis=1), [1, -1, width])
    edge_ids = tf.reshape(tf.concat([first, last], axis=1), [1, -1])
    edges = tf.reshape(tf.matmul(_same(edge_ids, values.dtype), edges), [-1, 2, width])
    totals = tf.where_v2(tf.equal(ids, last)[:, :, None], edges[:, 1:], totals)
    totals = tf.where_v2(tf.equal(ids, first)[:, :, None], edges[:, :1], totals)
    return tf.reshape(totals, [-1, width])


def _same(ids: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """[n, K] → [n, K, K]: 1 where two of a block are the same."""
    return tf.cast(tf.equal(ids[:, :, None], ids[:, None, :]), dtype)
