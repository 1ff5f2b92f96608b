"""Features on disk: a record file with an index, written once and found again by the fingerprint of its inputs.

The record file is a TFRecord of tf.train.Example, which any sequential reader understands. The index beside it gives
the place of every example, in the order of the source file, so any example is one read away. The training file's
records lie on disk in one fixed permutation that does not depend on the seed: a sequential reader of a file sorted by
label still gets mixed batches. Records hold the real tokens only; padding is the reader's business.

Files of a cache entry: NAME.tfrecord, NAME.npy (the index), NAME.json (what it was made from; written last).
"""

import contextlib
import hashlib
import json
import mmap
import os
import shutil
from typing import Any, Dict, Iterable, Iterator, List, Optional, Tuple

import filelock
import numpy as np
import tensorflow.compat.v1 as tf

from errors import UserError
from tasks.task import Column, Feature, Task
from training import files
from training.permutation import Permutation

FORMAT = 1  # raise when the bytes of a record change for the same inputs
_HEADER_BYTES = 12  # a TFRecord frame: uint64 length, uint32 checksum, data, uint32 checksum
_FRAME_BYTES = 16
INDEX_DTYPE = np.dtype([("offset", "<u8"), ("bytes", "<u4"), ("tokens", "<u4")])  # of the data, without its frame


class RecordFile:
    """Random access to the records of one split, numbered in the order of the source file."""

    def __init__(self, path: str, index: np.ndarray, description: Dict[str, Any]) -> None:
        self.path = path
        self.index = index
        self.description = description
        self._file = open(path, "rb")  # noqa: SIM115  (lives as long as this object)

    def __len__(self) -> int:
        return len(self.index)

    def close(self) -> None:
        self._file.close()

    @property
    def fingerprint(self) -> str:
        return self.description["fingerprint"]

    def read(self, numbers: np.ndarray) -> List[bytes]:
        """The serialized tf.train.Example of each numbered example."""
        entries = self.index[numbers]
        descriptor = self._file.fileno()
        return [os.pread(descriptor, int(entry["bytes"]), int(entry["offset"])) for entry in entries]


def serialize(feature: Feature, columns: Dict[str, Column]) -> bytes:
    """One tf.train.Example. Raises ValueError where the feature does not fit its columns: a bug of the task's."""
    example = tf.train.Example()
    tokens = _token_count(feature, columns)
    for name, column in columns.items():
        values = feature[name]
        if len(values) != (tokens if column.per_token else column.size):
            raise ValueError("Column {} has {} values, {} tokens.".format(name, len(values), tokens))
        if column.dtype == "float32":
            example.features.feature[name].float_list.value.extend(values)
        else:
            example.features.feature[name].int64_list.value.extend(values)
    return example.SerializeToString(deterministic=True)  # the order of a protobuf map is not its own


def _token_count(feature: Feature, columns: Dict[str, Column]) -> int:
    return next((len(feature[name]) for name, column in columns.items() if column.per_token), 0)


def fingerprint(parts: Dict[str, Any]) -> str:
    """16 hex digits over everything that decides the bytes of a cache entry."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]


def open_or_build(task: Task, split: str, cache_dir: str, limit: Optional[int] = None, seed: int = 0) -> RecordFile:
    """The records of a split: from the cache where its fingerprint is there, else featurized now.

    limit: keep the first `limit` examples of a permutation of the file keyed by `seed`, in file order.
    """
    parts = {"format": FORMAT, "split": split, "columns": {k: list(v) for k, v in sorted(task.columns.items())}}
    parts.update(task.fingerprint(split))
    if limit is not None:
        parts.update(limit=limit, limit_seed=seed)
    mark = fingerprint(parts)
    prefix = os.path.join(cache_dir, "{}-{}".format(split, mark))
    os.makedirs(cache_dir, exist_ok=True)
    with filelock.FileLock(prefix + ".lock"):  # two runs that share a cache featurize once
        found = _open(prefix, mark)
        if found is None:
            chosen = None if limit is None else _chosen(task, split, limit, seed)
            _build(task, split, prefix, chosen, dict(parts, fingerprint=mark))
            found = _open(prefix, mark)
            assert found is not None
        return found


def _open(prefix: str, mark: str) -> Optional[RecordFile]:
    """The cache entry, or None where it is absent or not whole."""
    try:
        with open(prefix + ".json", encoding="utf-8") as file:
            description = json.load(file)
        index = np.load(prefix + ".npy", mmap_mode="r", allow_pickle=False)
        size = os.path.getsize(prefix + ".tfrecord")
    except (OSError, ValueError):
        return None
    if description.get("fingerprint") != mark or description.get("record_bytes") != size or index.dtype != INDEX_DTYPE:
        return None
    return RecordFile(prefix + ".tfrecord", index, description)


def _chosen(task: Task, split: str, limit: int, seed: int) -> np.ndarray:
    count = sum(1 for _ in task.read(split))
    if limit >= count:
        return np.arange(count)
    return np.sort(Permutation(count, "limit/{}".format(seed))(np.arange(limit)))


def _select(examples: Iterable[Any], chosen: Optional[np.ndarray]) -> Iterator[Any]:
    """The examples at the sorted positions `chosen`; all where it is None."""
    if chosen is None:
        yield from examples
        return
    wanted = iter(chosen)
    position = next(wanted, None)
    for number, example in enumerate(examples):
        if number == position:
            yield example
            position = next(wanted, None)


def example_ids(task: Task, split: str, limit: Optional[int] = None, seed: int = 0) -> List[str]:
    """The ids of a split's examples, in the order of its records."""
    chosen = None if limit is None else _chosen(task, split, limit, seed)
    return [str(example.example_id) for example in _select(task.read(split), chosen)]


def _build(task: Task, split: str, prefix: str, chosen: Optional[np.ndarray], description: Dict[str, Any]) -> None:
    scratch = prefix + ".building"
    shutil.rmtree(scratch, ignore_errors=True)  # what a killed run left
    os.makedirs(scratch)
    try:
        in_order = os.path.join(scratch, "in_order.tfrecord")
        index = np.fromiter(_write_records(task, _select(task.read(split), chosen), in_order), dtype=INDEX_DTYPE)
        if not len(index):
            raise UserError("The {} file has no examples. Put data into it.".format(split))
        records = in_order
        if split == "train":
            records = os.path.join(scratch, "shuffled.tfrecord")
            index = _write_shuffled(in_order, index, records)
        with open(os.path.join(scratch, "index.npy"), "wb") as file:
            np.save(file, index)
        size = os.path.getsize(records)
        files.rename_synced(records, prefix + ".tfrecord")
        files.rename_synced(os.path.join(scratch, "index.npy"), prefix + ".npy")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    files.write_json(prefix + ".json", dict(description, examples=len(index), record_bytes=size))


def _write_records(task: Task, examples: Iterable[Any], path: str) -> Iterator[Tuple[int, int, int]]:
    """Writes a record an example; yields its row of the index."""
    offset = _HEADER_BYTES
    with tf.python_io.TFRecordWriter(path) as writer:
        for example in examples:
            feature = task.featurize(example)
            record = serialize(feature, task.columns)
            writer.write(record)
            yield offset, len(record), _token_count(feature, task.columns)
            offset += len(record) + _FRAME_BYTES


def _write_shuffled(source: str, index: np.ndarray, path: str) -> np.ndarray:
    """Copies the frames of `source` to `path` in one fixed permutation; returns the index of the copy."""
    moved = index.copy()
    position = _HEADER_BYTES
    order = Permutation(len(index), "disk")
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open(source, "rb"))
        frames = stack.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        out = stack.enter_context(open(path, "wb"))
        for start in range(0, len(index), 65536):
            for number in order(np.arange(start, min(start + 65536, len(index)))):
                begin = int(index[number]["offset"]) - _HEADER_BYTES
                end = begin + int(index[number]["bytes"]) + _FRAME_BYTES
                out.write(frames[begin:end])
                moved[number]["offset"] = position
                position += end - begin
    return moved
