"""Features on disk: a record file with an index, written once and looked up by the fingerprint of its inputs.

The record file is a TFRecord of tf.train.Example, which any sequential reader understands. The index beside it gives
the offset of every example, in the order of the source file, so any example takes one read. The training file's records
are on disk in one fixed permutation that does not depend on the seed: a sequential reader of a file sorted by label
still gets mixed batches. Records hold the real tokens only; the reader pads them.

Files of a cache entry: NAME.tfrecord; NAME.index and NAME.facts, with one INDEX_DTYPE and one FACTS_DTYPE for each
example; NAME.json, the header: what the entry was made from, written last. All are streamed; only the index of the
training file is held in memory while it is written, 20 bytes for each example.

Nothing is used unverified. The header has checksums of itself and of the other files; header, index and facts are
verified when an entry is opened. The index has a checksum of each record, which is verified whenever the record is
read. A damaged entry is built again from its source, at whatever moment the damage shows.
"""

import contextlib
import hashlib
import itertools
import json
import os
import shutil
import zlib
from typing import Any, Dict, Generator, Iterable, Iterator, List, Optional, Tuple

import filelock
import numpy as np
import tensorflow.compat.v1 as tf

from ..base import disk, files
from ..base.errors import UserError
from ..base.progress_lines import ProgressLines
from ..tasks.reading import source
from ..tasks.task import BadLines, Column, Facts, Feature, Task
from .permutation import Permutation
from .reports import say

FORMAT = 4  # raise when the bytes of a record change for the same inputs
_HEADER_BYTES = 12  # a TFRecord frame: uint64 length, uint32 checksum, data, uint32 checksum
_FRAME_BYTES = 16
# Offset, size and checksum are those of the data, without its frame.
INDEX_DTYPE = np.dtype([("offset", "<u8"), ("bytes", "<u4"), ("tokens", "<u4"), ("crc32", "<u4")])
FACTS_DTYPE = np.dtype([(name, "<u8" if name == "text" else "<u4") for name in Facts._fields])
_ENDINGS = (".tfrecord", ".index", ".facts")
_CHECKSUMS = "crc32"  # the header's key for the checksums of the other files, by ending
_OWN_CHECKSUM = "header_crc32"
_UNRELIABLE = "{}: is damaged again after it was built anew: the disk or the memory is faulty. Use another --cache_dir."
_FACTS_CHUNK = 1 << 18
_CHUNK = 64  # examples featurized at once; with more, the garbage collector visits too many lists
_ORDER_CHUNK = 1 << 16
_QUIET_SECS = 1.0  # for which another process is waited for without a word
_Example = tf.train.Example  # a name lookup in tf is slow on TF 1.15


class RecordFile:
    """Random access to the records of one split, numbered in the order of the source file."""

    def __init__(self, entry: "_Entry", description: Dict[str, Any], index: np.ndarray) -> None:
        self.path = entry.prefix + ".tfrecord"
        self.index = index
        self._facts_path = entry.prefix + ".facts"
        self.description = description
        self._entry = entry
        self._file = open(self.path, "rb")  # noqa: SIM115  (lives as long as this object)

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
        return self.description["notes"]

    @property
    def mended(self) -> List[str]:
        """Messages about the lines with mistakes that were read all the same."""
        return self.description["mended"]

    def read(self, numbers: np.ndarray) -> List[bytes]:
        """The serialized tf.train.Example of each numbered example. Raises UserError if one is damaged for good."""
        records = self._read(numbers)
        if records is None:
            self._renew()
            records = self._read(numbers)
            if records is None:
                raise UserError(_UNRELIABLE.format(self.path))
        return records

    def _read(self, numbers: np.ndarray) -> Optional[List[bytes]]:
        """The numbered records; None if one of them is damaged."""
        entries = self.index.take(numbers)
        descriptor = itertools.repeat(self._file.fileno())
        records = list(map(os.pread, descriptor, entries["bytes"].tolist(), entries["offset"].tolist()))
        return records if list(map(zlib.crc32, records)) == entries["crc32"].tolist() else None

    def verified_path(self) -> str:
        """The path of the record file, for readers of the whole file. Raises UserError if it is damaged for good."""
        if not _is_whole(self.path, self.description):
            self._renew()
        return self.path

    def _renew(self) -> None:
        """Reads from here on the entry's files as they are built again, by this process or by another one."""
        renewed = self._entry.renewed(self.description)
        self._file.close()
        self.index, self._file = renewed.index, renewed._file


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
    """The records of a split: from the cache if its fingerprint is there and it is whole, else featurized now.

    limit: keeps the first `limit` examples of a permutation of the file keyed by `seed`, in file order.
    """
    os.makedirs(cache_dir, exist_ok=True)
    return _Entry(task, split, cache_dir, limit, seed).open_or_build()


class _DamagedError(Exception):
    """What is wrong with a cache entry."""


class _Entry:
    """An entry of a cache folder: its name, its source, and how it is opened, verified and built."""

    def __init__(self, task: Task, split: str, cache_dir: str, limit: Optional[int], seed: int) -> None:
        self._task, self._split, self._limit, self._seed = task, split, limit, seed
        self._inputs = self._inputs_now()
        self._digest = fingerprint(self._inputs)
        self.prefix = os.path.join(cache_dir, "{}-{}".format(split, self._digest))

    def _inputs_now(self) -> Dict[str, Any]:
        columns = {name: list(column) for name, column in sorted(self._task.columns.items())}
        inputs = {"format": FORMAT, "split": self._split, "columns": columns}
        inputs.update(self._task.fingerprint(self._split))
        if self._limit is not None:
            inputs.update(limit=self._limit, limit_seed=self._seed)
        return inputs

    def open_or_build(self, with_records: bool = False) -> RecordFile:
        """The entry, built first where it is absent or damaged. with_records: all records are verified too."""
        with self._locked():
            try:
                records = self._open(with_records)
            except _DamagedError as damage:
                source = self._task.files.get(self._split, "its source")
                say("Cache: {}: {}. It is built again from {}.".format(self.prefix, damage, source))
                records = None
            if records is None:
                self._build()
                try:
                    records = self._open()
                except _DamagedError:
                    raise UserError(_UNRELIABLE.format(self.prefix)) from None
                assert records is not None
            return records

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Within it, this process alone builds the entry: two runs that share a cache featurize once."""
        lock = filelock.FileLock(self.prefix + ".lock")
        try:
            lock.acquire(timeout=_QUIET_SECS)
        except filelock.Timeout:
            say("Reading {}: another process is doing it, and this one waits.".format(self._split))
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def renewed(self, description: Dict[str, Any]) -> RecordFile:
        """The entry once every record is as when it was opened, with `description` as its header.

        Raises UserError if a record is damaged and the source has changed or is gone.
        """
        damaged = "{}.tfrecord: is damaged, and cannot be built again: ".format(self.prefix)
        try:
            same_source = self._inputs_now() == self._inputs
        except UserError as error:
            raise UserError(damaged + str(error)) from None
        records = self.open_or_build(with_records=True) if same_source else None
        if records is None or records.description[_CHECKSUMS] != description[_CHECKSUMS]:
            source = self._task.files.get(self._split, "its source")
            raise UserError("{}{} has changed. Give the command again.".format(damaged, source))
        return records

    def _open(self, with_records: bool = False) -> Optional[RecordFile]:
        """The entry; None if it is absent, or left out more lines than are allowed now. Raises _DamagedError."""
        try:
            with open(self.prefix + ".json", encoding="utf-8") as file:
                description = json.load(file)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError):
            raise _DamagedError("the header is damaged") from None
        if not isinstance(description, dict) or _OWN_CHECKSUM not in description:
            raise _DamagedError("was written without checksums")
        if description[_OWN_CHECKSUM] != _checksum_of_header(description) or description["fingerprint"] != self._digest:
            raise _DamagedError("the header is damaged")
        for ending in _ENDINGS if with_records else (".index", ".facts"):
            if not _is_whole(self.prefix + ending, description):
                raise _DamagedError(ending[1:] + " is damaged")
        try:
            if os.path.getsize(self.prefix + ".tfrecord") != description["record_bytes"]:
                raise _DamagedError("tfrecord has another size")
        except OSError:
            raise _DamagedError("tfrecord is gone") from None
        if len(description["skipped"]) > self._task.skip_bad_lines:
            return None
        index = np.asarray(np.memmap(self.prefix + ".index", INDEX_DTYPE, mode="r"))  # a plain view: np.memmap is slow
        return RecordFile(self, description, index)

    def _build(self) -> None:
        bad_lines = BadLines(self._task.skip_bad_lines)
        examples, total = _chosen(self._task, self._split, self._limit, self._seed, bad_lines)
        counter = _Counter(self._task)
        chunks = _chunks(self._task, self._split, counter.counted(examples), total)
        description = dict(self._inputs, fingerprint=self._digest)
        with contextlib.closing(chunks):
            _build(self._task, self._split, self.prefix, chunks, counter, bad_lines, description)


def _is_whole(path: str, description: Dict[str, Any]) -> bool:
    """Whether a file of an entry has the checksum that the header gives it."""
    try:
        return files.crc32_of_file(path) == description[_CHECKSUMS][os.path.splitext(path)[1]]
    except OSError:
        return False


def _checksum_of_header(description: Dict[str, Any]) -> int:
    """The checksum of all that a header says but its own checksum."""
    content = {name: value for name, value in description.items() if name != _OWN_CHECKSUM}
    return zlib.crc32(json.dumps(content, sort_keys=True).encode("ascii"))


def _chosen(
    task: Task, split: str, limit: Optional[int], seed: int, bad_lines: BadLines
) -> Tuple[Iterator[Any], Optional[int]]:
    """(the split's examples, how many there are if that is known).

    With a limit, those that a permutation of the file keyed by `seed` puts first.
    """
    if limit is None:
        return task.read(split, bad_lines), None
    count = sum(1 for _ in task.read(split, BadLines(bad_lines.allowed)))
    numbers = np.arange(min(limit, count))
    if limit < count:
        numbers = np.sort(Permutation(count, "limit/{}".format(seed))(numbers))
    return _select(task.read(split, bad_lines), numbers), len(numbers)


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
    examples, total = _chosen(task, split, limit, seed, BadLines(task.skip_bad_lines))
    if not task.splits_examples:
        number = sum(1 for _ in examples)
        return number, number
    records = sources = 0
    with contextlib.closing(_chunks(task, split, examples, total)) as chunks:
        for chunk in chunks:
            records += len(task.featurize(chunk))
            sources += len(chunk)
    return records, sources


def _build(
    task: Task,
    split: str,
    prefix: str,
    chunks: Iterable[List[Any]],
    counter: "_Counter",
    bad_lines: BadLines,
    description: Dict[str, Any],
) -> None:
    scratch = prefix + ".building"
    shutil.rmtree(scratch, ignore_errors=True)  # left by a killed run
    with disk.writing(prefix, written_bytes=lambda: disk.bytes_in(scratch)):
        os.makedirs(scratch)
    names = {name: os.path.join(scratch, name) for name in _ENDINGS}
    try:
        with disk.writing(prefix, written_bytes=lambda: disk.bytes_in(scratch)):
            count = _write_records(task, chunks, names[".tfrecord"], names[".index"], names[".facts"])
            if not count:
                message = "The {} file {} has no examples{}. Put data into it."
                notes = " ({})".format("; ".join(bad_lines.notes)) if bad_lines.notes else ""
                raise UserError(message.format(split, task.files[split], notes))
            if split == "train":
                _shuffle(names[".tfrecord"], names[".index"])
            size = os.path.getsize(names[".tfrecord"])
            checksums = {ending: files.crc32_of_file(path) for ending, path in names.items()}
            for ending, path in names.items():
                files.rename_synced(path, prefix + ending)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    description.update(examples=count, record_bytes=size, sources=counter.sources, kinds=counter.kinds)
    description.update(skipped=bad_lines.messages, mended=bad_lines.mended, notes=bad_lines.notes)
    description[_CHECKSUMS] = checksums
    description = json.loads(json.dumps(description))  # as it is read again
    files.write_json(prefix + ".json", dict(description, **{_OWN_CHECKSUM: _checksum_of_header(description)}))


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


def _write_records(task: Task, chunks: Iterable[List[Any]], path: str, index_path: str, facts_path: str) -> int:
    """Writes a record, an index row and a facts row for each example; returns how many there are."""
    per_token = next((name for name, column in task.columns.items() if column.per_token), None)
    offset = _HEADER_BYTES
    count = 0
    with tf.python_io.TFRecordWriter(path) as writer, open(index_path, "wb") as index, open(facts_path, "wb") as facts:
        for chunk in chunks:
            index_rows, fact_rows = [], []
            for feature, fact in task.featurize(chunk):
                tokens = 0 if per_token is None else len(feature[per_token])
                record = serialize(feature, task.columns, tokens)
                writer.write(record)
                index_rows.append((offset, len(record), tokens, zlib.crc32(record)))
                fact_rows.append(fact)
                offset += len(record) + _FRAME_BYTES
            index.write(np.array(index_rows, INDEX_DTYPE).tobytes())  # buffered, as tofile is not
            facts.write(np.array(fact_rows, FACTS_DTYPE).tobytes())
            count += len(index_rows)
    return count


def _chunks(task: Task, split: str, examples: Iterator[Any], total: Optional[int]) -> Generator[List[Any], None, None]:
    """The examples in portions, and for people how far they are. total: how many there are if that is known."""
    progress = ProgressLines("Reading " + split, total, "examples")
    path, done = task.files.get(split, ""), 0
    try:
        for chunk in iter(lambda: list(itertools.islice(examples, _CHUNK)), []):
            yield chunk
            done += len(chunk)
            progress.update(done, source.proportion_read(path))
        progress.finish(done)
    finally:
        progress.close()


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
