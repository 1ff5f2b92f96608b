"""Features on disk: a record file with an index, written once and looked up by the fingerprint of its inputs.

The record file is a TFRecord of tf.train.Example, which any sequential reader understands. The index beside it gives
the offset of every example, in the order of the source file, so any example takes one read. The training file's records
are on disk in one fixed permutation that does not depend on the seed: a sequential reader of a file sorted by label
still gets mixed batches. Records hold the real tokens only; the reader pads them.

Files of a cache entry: NAME.tfrecord; NAME.index and NAME.facts, with one INDEX_DTYPE and one FACTS_DTYPE for each
example; NAME.json, what the entry was made from, written last. All are streamed; only the index of the training file is
held in memory while it is written, 16 bytes for each example.
"""

import hashlib
import itertools
import json
import os
import shutil
from typing import Any, Dict, Iterable, Iterator, List, Optional, Tuple

import filelock
import numpy as np
import tensorflow.compat.v1 as tf

from ..base import files
from ..base.errors import UserError
from ..tasks.task import BadLines, Column, Facts, Feature, Task
from .permutation import Permutation

FORMAT = 4  # raise when the bytes of a record change for the same inputs
_HEADER_BYTES = 12  # a TFRecord frame: uint64 length, uint32 checksum, data, uint32 checksum
_FRAME_BYTES = 16
INDEX_DTYPE = np.dtype(
    [("offset", "<u8"), ("bytes", "<u4"), ("tokens", "<u4")]
)  # offset and size of the data, without its frame
FACTS_DTYPE = np.dtype([(name, "<u8" if name == "text" else "<u4") for name in Facts._fields])
_ENDINGS = (".tfrecord", ".index", ".facts")
_FACTS_CHUNK = 1 << 18
_CHUNK = 64  # examples featurized at once; with more, the garbage collector visits too many lists
_ORDER_CHUNK = 1 << 16
_Example = tf.train.Example  # a name lookup in tf is slow on TF 1.15


class RecordFile:
    """Random access to the records of one split, numbered in the order of the source file."""

    def __init__(self, path: str, index: np.ndarray, facts_path: str, description: Dict[str, Any]) -> None:
        self.path = path
        self.index = index
        self._facts_path = facts_path
        self.description = description
        self._file = open(path, "rb")  # noqa: SIM115  (lives as long as this object)

    def __len__(self) -> int:
        return len(self.index)

    def close(self) -> None:
        self._file.close()

    def fact_chunks(self) -> Iterator[np.ndarray]:
        """The tasks.task.Facts of all examples, in file order and in chunks."""
        for start in range(0, len(self), _FACTS_CHUNK):
            offset = start * FACTS_DTYPE.itemsize
            yield np.fromfile(self._facts_path, FACTS_DTYPE, _FACTS_CHUNK, offset=offset)

    def lines(self, numbers: np.ndarray) -> List[int]:
        """The sorted lines of the source file that hold the numbered examples."""
        facts = np.memmap(self._facts_path, FACTS_DTYPE, mode="r")
        return sorted(facts["line"][numbers].tolist())

    @property
    def skipped(self) -> List[str]:
        """Messages about the lines that --skip_bad_lines left out."""
        return self.description["skipped"]

    @property
    def sources(self) -> int:
        """How many examples the records were made from: fewer than records if long ones were cut into windows."""
        return self.description["sources"]

    @property
    def kinds(self) -> Dict[str, int]:
        """Task.kinds → how many of it the split has."""
        return self.description["kinds"]

    @property
    def notes(self) -> List[str]:
        """What else the data report says about the file."""
        return self.description.get("notes", [])  # older entries have none

    @property
    def mended(self) -> List[str]:
        """Messages about the lines with mistakes that were read all the same."""
        return self.description["mended"]

    def read(self, numbers: np.ndarray) -> List[bytes]:
        """The serialized tf.train.Example of each numbered example."""
        entries = self.index[numbers]
        descriptor = self._file.fileno()
        extents = zip(entries["bytes"].tolist(), entries["offset"].tolist())
        return [os.pread(descriptor, size, offset) for size, offset in extents]


def serialize(feature: Feature, columns: Dict[str, Column], tokens: int) -> bytes:
    """One tf.train.Example. Raises ValueError if the feature does not fit its columns, which is a bug of the task."""
    example = _Example()
    into = example.features.feature
    for name, column in columns.items():
        values = feature[name]
        if len(values) != (tokens if column.per_token else column.size):
            raise ValueError("Column {} has {} values, {} tokens.".format(name, len(values), tokens))
        numbers = into[name].float_list if column.dtype == "float32" else into[name].int64_list
        numbers.value.extend(values)
    return example.SerializeToString(deterministic=True)  # the order of a protobuf map varies otherwise


def fingerprint(inputs: Dict[str, Any]) -> str:
    """16 hex digits that depend on everything that decides the bytes of a cache entry."""
    text = json.dumps(inputs, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]


def open_or_build(task: Task, split: str, cache_dir: str, limit: Optional[int] = None, seed: int = 0) -> RecordFile:
    """The records of a split: from the cache if its fingerprint is there, else featurized now.

    limit: keeps the first `limit` examples of a permutation of the file keyed by `seed`, in file order.
    """
    inputs = {"format": FORMAT, "split": split, "columns": {k: list(v) for k, v in sorted(task.columns.items())}}
    inputs.update(task.fingerprint(split))
    if limit is not None:
        inputs.update(limit=limit, limit_seed=seed)
    digest = fingerprint(inputs)
    prefix = os.path.join(cache_dir, "{}-{}".format(split, digest))
    os.makedirs(cache_dir, exist_ok=True)
    with filelock.FileLock(prefix + ".lock"):  # two runs that share a cache featurize once
        records = _open(prefix, digest, task.skip_bad_lines)
        if records is None:
            bad_lines = BadLines(task.skip_bad_lines)
            examples = _chosen(task, split, limit, seed, bad_lines)
            _build(task, split, prefix, examples, bad_lines, dict(inputs, fingerprint=digest))
            records = _open(prefix, digest, task.skip_bad_lines)
            assert records is not None
        return records


def _open(prefix: str, digest: str, skip_bad_lines: int) -> Optional[RecordFile]:
    """The cache entry, or None if it is absent, incomplete, or left out more lines than are allowed now."""
    try:
        with open(prefix + ".json", encoding="utf-8") as file:
            description = json.load(file)
        index = np.memmap(prefix + ".index", INDEX_DTYPE, mode="r")
        size = os.path.getsize(prefix + ".tfrecord")
        whole = description["fingerprint"] == digest and description["record_bytes"] == size
        whole = whole and len(index) == description["examples"] and "kinds" in description
        whole = whole and os.path.getsize(prefix + ".facts") == len(index) * FACTS_DTYPE.itemsize
        if not whole or len(description["skipped"]) > skip_bad_lines:
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return RecordFile(prefix + ".tfrecord", index, prefix + ".facts", description)


def _chosen(task: Task, split: str, limit: Optional[int], seed: int, bad_lines: BadLines) -> Iterator[Any]:
    """The split's examples; with a limit, those that a permutation of the file keyed by `seed` puts first."""
    if limit is None:
        return task.read(split, bad_lines)
    count = sum(1 for _ in task.read(split, BadLines(bad_lines.allowed)))
    numbers = np.arange(min(limit, count))
    if limit < count:
        numbers = np.sort(Permutation(count, "limit/{}".format(seed))(numbers))
    return _select(task.read(split, bad_lines), numbers)


def _select(examples: Iterable[Any], numbers: np.ndarray) -> Iterator[Any]:
    """The examples at the sorted positions `numbers`. Reads to the end of the file, to see every bad line."""
    wanted = iter(numbers)
    position = next(wanted, None)
    for number, example in enumerate(examples):
        if number == position:
            yield example
            position = next(wanted, None)


def count(task: Task, split: str, limit: Optional[int], seed: int) -> Tuple[int, int]:
    """(number of records that open_or_build would give, number of their examples), without writing anything."""
    examples = _chosen(task, split, limit, seed, BadLines(task.skip_bad_lines))
    if not task.splits_examples:
        number = sum(1 for _ in examples)
        return number, number
    records = sources = 0
    for chunk in _chunks(examples):
        records += len(task.featurize(chunk))
        sources += len(chunk)
    return records, sources


def _build(
    task: Task, split: str, prefix: str, examples: Iterator[Any], bad_lines: BadLines, description: Dict[str, Any]
) -> None:
    scratch = prefix + ".building"
    shutil.rmtree(scratch, ignore_errors=True)  # left by a killed run
    os.makedirs(scratch)
    names = {name: os.path.join(scratch, name) for name in _ENDINGS}
    counter = _Counter(task)
    try:
        count = _write_records(task, counter.counted(examples), names[".tfrecord"], names[".index"], names[".facts"])
        if not count:
            raise UserError("The {} file has no examples. Put data into it.".format(split))
        if split == "train":
            _shuffle(names[".tfrecord"], names[".index"])
        size = os.path.getsize(names[".tfrecord"])
        for ending, path in names.items():
            files.rename_synced(path, prefix + ending)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    description.update(examples=count, record_bytes=size, sources=counter.sources, kinds=counter.kinds)
    files.write_json(
        prefix + ".json", dict(description, skipped=bad_lines.messages, mended=bad_lines.mended, notes=bad_lines.notes)
    )


class _Counter:
    """Counts examples, and Task.kinds in them."""

    def __init__(self, task: Task) -> None:
        self.sources = 0
        self.kinds = dict.fromkeys(task.kinds, 0)
        self._kinds_in = task.kinds_in

    def counted(self, examples: Iterator[Any]) -> Iterator[Any]:
        """Passes the examples on."""
        for example in examples:
            self.sources += 1
            for kind in self._kinds_in(example) if self._kinds_in else ():
                self.kinds[kind] += 1
            yield example


def _write_records(task: Task, examples: Iterator[Any], path: str, index_path: str, facts_path: str) -> int:
    """Writes a record, an index row and a facts row for each example; returns how many there are."""
    per_token = next((name for name, column in task.columns.items() if column.per_token), None)
    offset = _HEADER_BYTES
    count = 0
    with tf.python_io.TFRecordWriter(path) as writer, open(index_path, "wb") as index, open(facts_path, "wb") as facts:
        for chunk in _chunks(examples):
            index_rows, fact_rows = [], []
            for feature, fact in task.featurize(chunk):
                tokens = 0 if per_token is None else len(feature[per_token])
                record = serialize(feature, task.columns, tokens)
                writer.write(record)
                index_rows.append((offset, len(record), tokens))
                fact_rows.append(fact)
                offset += len(record) + _FRAME_BYTES
            index.write(np.array(index_rows, INDEX_DTYPE).tobytes())  # buffered, as tofile is not
            facts.write(np.array(fact_rows, FACTS_DTYPE).tobytes())
            count += len(index_rows)
    return count


def _chunks(examples: Iterator[Any]) -> Iterator[List[Any]]:
    return iter(lambda: list(itertools.islice(examples, _CHUNK)), [])


def _shuffle(records: str, index_path: str) -> None:
    """Rewrites the frames of a record file in one fixed permutation, and the offsets of its index."""
    index = np.fromfile(index_path, INDEX_DTYPE)
    shuffled = records + ".shuffled"
    position = _HEADER_BYTES
    order = Permutation(len(index), "disk")
    with open(records, "rb") as source, open(shuffled, "wb") as out:
        # Not by a memory map: its pages would count as this process's memory.
        descriptor = source.fileno()
        for start in range(0, len(index), _ORDER_CHUNK):
            numbers = order(np.arange(start, min(start + _ORDER_CHUNK, len(index))))
            sizes = index["bytes"][numbers].astype(np.int64) + _FRAME_BYTES
            starts = index["offset"][numbers].astype(np.int64) - _HEADER_BYTES
            for size, offset in zip(sizes.tolist(), starts.tolist()):
                out.write(os.pread(descriptor, size, offset))
            ends = position + np.cumsum(sizes)
            index["offset"][numbers] = ends - sizes
            position = int(ends[-1])
    os.replace(shuffled, records)
    index.tofile(index_path)
