"""(seed, position) → batch: which examples an update sees, and records as tensors.

The training data is one endless stream: the epochs' permutations of the whole data set, one after the other. The
position in it is the number of examples consumed, and is all the state there is. With --batching=grouped the examples
of some batches change places within an epoch, so that a batch holds similar lengths. Evaluation and prediction read
examples of similar length together, so that a batch has little padding.
"""

from concurrent import futures
from typing import Any, Callable, Dict, Generator, Iterator, List, NamedTuple, Optional, Tuple, TypeVar

import numpy as np
import tensorflow.compat.v1 as tf

from ..tasks.task import Column
from .feature_cache import RecordFile
from .permutation import Permutation, epoch_permutation
from .plan import GROUPED_BATCHES, Plan

# Positions computed at once. A call of a permutation costs about the same for one position as for many.
_BLOCK = 4096

_Item = TypeVar("_Item")


class Grouping(NamedTuple):
    """How batches of similar length are made. lengths: of all examples. phase: where batches start, modulo batch_size.

    A block is 50 consecutive batches of an epoch's permutation, fewer at the epoch's end. Its examples are sorted by
    length and cut into batches, which follow each other in a permuted order. A batch that holds the end of one epoch
    and the start of the next keeps the examples that the permutations give it.
    """

    lengths: np.ndarray
    batch_size: int
    phase: int = 0

    def block(self, examples: int, epoch: int, within: int) -> Tuple[int, int]:
        """(first, last + 1) of the positions in an epoch that are ordered together with the position `within`."""
        first = min((self.phase - epoch * examples) % self.batch_size, examples)  # where the first whole batch starts
        last = first + (examples - first) // self.batch_size * self.batch_size
        if within < first:
            return 0, first
        if within >= last:
            return last, examples
        size = GROUPED_BATCHES * self.batch_size
        start = first + (within - first) // size * size
        return start, min(start + size, last)

    def apply(self, numbers: np.ndarray, key: str) -> np.ndarray:
        """The example numbers of a block in their new order. Fewer than a batch keep theirs."""
        if len(numbers) < self.batch_size:
            return numbers
        batches = numbers[np.argsort(-self.lengths[numbers].astype(np.int64), kind="stable")]
        batches = batches.reshape(-1, self.batch_size)
        return batches[Permutation(len(batches), key)(np.arange(len(batches)))].reshape(-1)


class TrainingOrder:
    """The stream of example numbers of a run: a pure function of the constructor's arguments and the position."""

    def __init__(self, examples: int, seed: int, shuffle: bool = True, grouping: Optional[Grouping] = None) -> None:
        self._examples = examples
        self.seed = seed
        self._shuffle = shuffle
        self._grouping = grouping
        self._block: Tuple[Tuple[int, int], np.ndarray] = ((-1, -1), np.zeros(0, np.int64))

    def numbers(self, position: int, count: int) -> np.ndarray:
        """[count] int64: the examples at stream positions position … position + count - 1, across epochs."""
        pieces = [np.zeros(0, np.int64)]
        while count:
            epoch, within = divmod(position, self._examples)
            start, end = self._block_around(epoch, within)
            piece = self._numbers_of(epoch, start, end)[within - start :][:count]
            pieces.append(piece)
            position += len(piece)
            count -= len(piece)
        return np.concatenate(pieces)

    def epochs(self, position: int, count: int) -> np.ndarray:
        """[count] int64: the epoch of each of these positions."""
        return np.arange(position, position + count, dtype=np.int64) // self._examples

    def _block_around(self, epoch: int, within: int) -> Tuple[int, int]:
        """(first, last + 1) of the positions that are computed together with the position `within` of an epoch."""
        if self._grouping is not None:
            return self._grouping.block(self._examples, epoch, within)
        start = within // _BLOCK * _BLOCK
        return start, min(start + _BLOCK, self._examples)

    def _numbers_of(self, epoch: int, start: int, end: int) -> np.ndarray:
        """A block of an epoch. The last block is kept, because the next batch mostly needs it too."""
        if self._block[0] != (epoch, start):
            within = np.arange(start, end, dtype=np.int64)
            numbers = epoch_permutation(self._examples, self.seed, epoch)(within) if self._shuffle else within
            if self._grouping is not None:
                numbers = self._grouping.apply(numbers, "grouped/{}/{}/{}".format(self.seed, epoch, start))
            self._block = ((epoch, start), numbers)
        return self._block[1]


def training_order(plan: Plan, records: RecordFile, position: int) -> TrainingOrder:
    """The order of a run that goes on with a batch at stream position `position`."""
    grouping = None
    if plan.batching == "grouped":
        grouping = Grouping(records.index["tokens"], plan.train_batch_size, position % plan.train_batch_size)
    return TrainingOrder(len(records.index), plan.seed, plan.shuffle, grouping)


InEpoch = Callable[[List[bytes], np.ndarray, np.ndarray, int], List[bytes]]


def training_batches(
    records: RecordFile, order: TrainingOrder, position: int, batch_size: int, in_epoch: Optional[InEpoch] = None
) -> Iterator[Tuple[np.ndarray, List[bytes]]]:
    """Yields (example numbers, serialized examples) of every batch from stream position `position` on, endlessly.

    in_epoch: tasks.task.Task.in_epoch.
    """
    while True:
        numbers = order.numbers(position, batch_size)
        serialized = records.read(numbers)
        if in_epoch is not None:
            serialized = in_epoch(serialized, numbers, order.epochs(position, batch_size), order.seed)
        yield numbers, serialized
        position += batch_size


# Records of a pre-shuffled file that a sequential reader mixes at a time.
SEQUENTIAL_SHUFFLE_RECORDS = 10000


def sequential_batches(
    path: str, examples: int, batch_size: int, seed: int, shuffle: bool, position: int
) -> tf.data.Dataset:
    """Serialized examples [batch_size] of a record file that is read from front to back, epoch after epoch, endlessly.

    For readers without random access: `path` may be in a bucket. Each epoch is shuffled in a buffer keyed by (seed,
    epoch). So the order is a function of the stream position too, but another one than TrainingOrder's. The first
    `position` examples are skipped.
    """

    def read_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        data = tf.data.TFRecordDataset(path)
        if shuffle:
            keyed = seed * 1000003 + epoch  # two runs share no epoch's order until a million epochs are done
            data = data.shuffle(SEQUENTIAL_SHUFFLE_RECORDS, seed=keyed, reshuffle_each_iteration=False)
        return data

    epoch, within = divmod(position, examples)
    epochs = tf.data.Dataset.range(epoch, np.iinfo(np.int64).max)
    return epochs.flat_map(read_epoch).skip(within).batch(batch_size, drop_remainder=True)


def read_ahead(items: Iterator[_Item]) -> Generator[_Item, None, None]:
    """Yields the same items; a thread makes the next one while the caller works on this one.

    Close the generator to end the thread. An error of `items` is raised in the place of its item.
    """
    with futures.ThreadPoolExecutor(max_workers=1) as reader:
        next_item = reader.submit(next, items)
        while True:
            try:
                item = next_item.result()
            except StopIteration:
                return
            next_item = reader.submit(next, items)
            yield item


def length_sorted_batches(records: RecordFile, batch_size: int) -> Iterator[np.ndarray]:
    """Yields the example numbers of each batch: every example once, by length, then in file order.

    The longest come first, so that a batch that does not fit memory fails at once. The last batch may be smaller.
    """
    lengths = np.asarray(records.index["tokens"]).astype(np.int64)
    order = np.argsort(-lengths, kind="stable")
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def parse_batch(
    serialized: Any,
    columns: Dict[str, Column],
    padded_length: Optional[int] = None,
    round_below: int = 0,
    multiple: int = 8,
) -> Tuple[Dict[str, Any], Any]:
    """Serialized examples [B] → (column name → tensor, input_mask [B, S] int32).

    Per-token columns are padded to `padded_length` (a static shape) if given, else to the longest of the batch. With
    round_below, that length is rounded up to a multiple of `multiple`, but not beyond round_below: a library prepares
    for each shape that it meets, so few lengths are better, and it has fast paths for such multiples.
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
            batch_size, length = value.dense_shape[0], value.dense_shape[1]
            if padded_length is not None:
                length = padded_length
            elif round_below:
                length = tf.maximum(length, tf.minimum((length + multiple - 1) // multiple * multiple, round_below))
            value = tf.SparseTensor(value.indices, value.values, tf.stack([batch_size, length]))
            if mask is None:
                mask = tf.sparse.to_dense(tf.SparseTensor(value.indices, tf.ones_like(value.values), value.dense_shape))
                mask = _with_length(tf.cast(mask, tf.int32), padded_length)
            value = _with_length(tf.sparse.to_dense(value, default_value=column.padding), padded_length)
        batch[name] = tf.cast(value, tf.int32) if value.dtype == tf.int64 else value
    return batch, mask


def _with_length(dense: Any, padded_length: Optional[int]) -> Any:
    dense.set_shape([None, padded_length])
    return dense
