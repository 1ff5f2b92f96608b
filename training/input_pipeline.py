"""(seed, position) → batch: which examples an update sees, and records as tensors.

The training data is one endless stream: the epochs' permutations of the whole data set, one after the other. The
position in it is the number of examples consumed, and is all the state there is. Evaluation and prediction read in file
order.
"""

from typing import Any, Dict, Iterator, Optional, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from tasks.task import Column
from training.feature_cache import RecordFile
from training.permutation import epoch_permutation

# Positions computed at once: the cost of a permutation call is mostly per call, so a block serves many batches.
_BLOCK = 4096


class TrainingOrder:
    """The stream of example numbers of a run: a pure function of (examples, seed, shuffle) and the position."""

    def __init__(self, examples: int, seed: int, shuffle: bool = True) -> None:
        self._examples = examples
        self._seed = seed
        self._shuffle = shuffle
        self._block: Tuple[Tuple[int, int], np.ndarray] = ((-1, -1), np.zeros(0, np.int64))

    def numbers(self, position: int, count: int) -> np.ndarray:
        """[count] int64: the examples at stream positions position … position + count - 1, across epochs."""
        parts = []
        while count:
            epoch, within = divmod(position, self._examples)
            block, start = divmod(within, _BLOCK)
            part = self._numbers_of(epoch, block)[start : start + count]
            parts.append(part)
            position += len(part)
            count -= len(part)
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def _numbers_of(self, epoch: int, block: int) -> np.ndarray:
        """A block of an epoch; the last one is kept, since the next batch mostly wants it too."""
        if self._block[0] != (epoch, block):
            within = np.arange(block * _BLOCK, min((block + 1) * _BLOCK, self._examples), dtype=np.int64)
            numbers = epoch_permutation(self._examples, self._seed, epoch)(within) if self._shuffle else within
            self._block = ((epoch, block), numbers)
        return self._block[1]


def file_order_batches(records: RecordFile, batch_size: int) -> Iterator[np.ndarray]:
    """The example numbers of each batch, in file order; the last batch may be smaller."""
    for start in range(0, len(records), batch_size):
        yield np.arange(start, min(start + batch_size, len(records)))


def parse_batch(
    serialized: Any, columns: Dict[str, Column], padded_length: Optional[int] = None
) -> Tuple[Dict[str, Any], Any]:
    """Serialized examples [B] → (column name → tensor, input_mask [B, S] int32).

    Per-token columns are padded to the longest of the batch, or to `padded_length` (a static shape) where given.
    """
    specs = {}
    for name, column in columns.items():
        dtype = tf.as_dtype(column.dtype)
        if column.per_token:
            specs[name] = tf.VarLenFeature(dtype)
        else:
            specs[name] = tf.FixedLenFeature([] if column.size == 1 else [column.size], dtype)
    parsed = tf.parse_example(serialized, specs)
    batch = {}
    mask = None
    for name, column in columns.items():
        value = parsed[name]
        if column.per_token:
            if padded_length is not None:
                value = tf.sparse.reset_shape(value, tf.stack([value.dense_shape[0], padded_length]))
            if mask is None:
                mask = tf.sparse.to_dense(tf.SparseTensor(value.indices, tf.ones_like(value.values), value.dense_shape))
                mask = _with_length(tf.cast(mask, tf.int32), padded_length)
            value = _with_length(tf.sparse.to_dense(value, default_value=column.padding), padded_length)
        batch[name] = tf.cast(value, tf.int32) if value.dtype == tf.int64 else value
    return batch, mask


def _with_length(dense: Any, padded_length: Optional[int]) -> Any:
    dense.set_shape([None, padded_length])
    return dense
