"""Text files → files of pre-training records, in constant memory and on any number of processes.

1. The text is tokenized into a Corpus on disk.
2. Each pass over the documents makes instances, which are encoded and appended to a file.
3. The records are written in a random order, in turn to each output file.

Without num_processes one generator serves all, as in google-research/bert: it shuffles the documents, makes the
instances and shuffles them. This gives the original's records for a seed, on one process, since each number depends on
all before it. With num_processes the generator of a document in a pass is seeded by the seed, the pass and the
document's number, and the order is a keyed permutation: the records do not depend on the number of processes.
"""

import contextlib
import itertools
import os
import random
import shutil
from array import array
from typing import Any, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ...base import disk, files, tensorflow_setup
from ...base.errors import UserError
from ...base.progress_lines import ProgressLines
from ...base.record_frames import framed
from ...base.worker_processes import WorkerProcesses
from ...training.permutation import Permutation
from .. import model_files
from .config import PretrainingDataConfig
from .corpus import Block, Corpus, CorpusWriter, Reordered, Tokenized, blocks_of, tokenized
from .instances import Pieces, TrainingInstance, instances_of_document
from .records import RecordEncoder

_UNIT_SENTENCES = 4096  # of documents that a process makes instances of at once
_ORDER_CHUNK = 1 << 16
_RECORDS_AT_ONCE = 1024


class Made(NamedTuple):
    documents: int
    sentences: int
    tokens: int
    unknown: int  # of the tokens, which the vocabulary lacks
    instances: int  # 0 in a dry run


def make(config: PretrainingDataConfig) -> Made:
    """Writes the output files, each whole or not at all; a dry run reads the text alone.

    Raises UserError for input that cannot be used.
    """
    folder = os.path.dirname(os.path.abspath(config.output_files[0]))
    for path in config.output_files:
        files.require_writable(os.path.dirname(os.path.abspath(path)), "--output_file")
    with tensorflow_setup.temporary_folder(folder, ".steady_bert-") as scratch, disk.writing(
        config.output_files[0], written_bytes=lambda: disk.bytes_in(scratch)
    ):
        workers = WorkerProcesses(config.num_processes or 1, _start, (config, scratch))
        with workers as processes, contextlib.closing(_here()) as here:
            sizes, unknown = _tokenize(config, processes, scratch)
            if not sizes.documents:
                raise UserError("{}: no text. Name files with a sentence a line.".format(config.input_files[0]))
            made = Made(sizes.documents, sizes.sentences, sizes.tokens, unknown, instances=0)
            if config.dry_run:
                return made
            if config.num_processes is None:
                rng = random.Random(config.random_seed)
                instances = _make_in_sequence(config, here.instances_path, rng)
                order: Any = _shuffled(instances, rng)
            else:
                instances = _make_in_units(config, processes, here.instances_path)
                order = _permuted(instances, config.random_seed)
            _write(config.output_files, processes, order, instances)
    return made._replace(instances=instances)


# --- a process --------------------------------------------------------------------------------------------------------


class _Process:
    """What a process needs to tokenize and to make instances."""

    def __init__(self, config: PretrainingDataConfig, scratch: str) -> None:
        self.config = config
        self.scratch = scratch
        model = model_files.ModelConfig(None, config.vocab_file, None, config.do_lower_case, config.max_seq_length)
        self.tokenizer, _ = model_files.load_tokenizer(model, None)
        vocab = self.tokenizer.vocab
        if "[MASK]" not in vocab:
            raise UserError("{}: has no [MASK]. Is it a BERT vocabulary?".format(config.vocab_file))
        continuing = {number for piece, number in vocab.items() if piece.startswith("##")}
        cls, sep, mask = (vocab[piece] for piece in ("[CLS]", "[SEP]", "[MASK]"))
        self.pieces = Pieces(list(vocab.values()), cls, sep, mask, continuing.__contains__)
        self.encode = RecordEncoder(list, config.max_seq_length, config.max_predictions_per_seq)
        self.instances_path = os.path.join(scratch, "instances")
        self._corpus: Optional[Corpus] = None
        self._reader: Optional[InstanceReader] = None

    @property
    def corpus(self) -> Corpus:
        """Opened once the text is tokenized."""
        if self._corpus is None:
            self._corpus = Corpus(self.scratch)
        return self._corpus

    @property
    def reader(self) -> "InstanceReader":
        """Opened once all instances are made."""
        if self._reader is None:
            self._reader = InstanceReader(self.instances_path)
        return self._reader

    def close(self) -> None:
        for opened in (self._corpus, self._reader):
            if opened is not None:
                opened.close()

    def instances(self, documents: Any, number: int, rng: random.Random) -> Iterator[TrainingInstance]:
        return instances_of_document(documents, number, self.config.settings, self.pieces, rng)


_process: Optional[_Process] = None


def _start(config: PretrainingDataConfig, scratch: str) -> None:
    global _process
    _process = _Process(config, scratch)


def _here() -> _Process:
    assert _process is not None
    return _process


# --- text -------------------------------------------------------------------------------------------------------------


def _tokenize(config: PretrainingDataConfig, processes: WorkerProcesses, scratch: str) -> Tuple[CorpusWriter, int]:
    """Writes the corpus; returns its writer, which knows how much there is, and the number of unknown pieces."""
    writer = CorpusWriter(scratch)
    total = sum(os.path.getsize(path) for path in config.input_files)
    progress = ProgressLines("Tokenizing", total, "bytes")
    done = unknown = 0
    before = ""  # the file that the last block is of
    for path, size, lines, unknown_here in processes.map(_tokenized, _blocks(config.input_files)):
        if path != before and before and writer.in_document and lines.begins_with_text:
            print(
                "{}: its last document goes on in {}, as in the original. End the file with an empty line to separate "
                "them.".format(before, path),
                flush=True,
            )
        before = path
        writer.add(lines)
        done += size
        unknown += unknown_here
        progress.update(done)
    writer.close()
    return writer, unknown


def _blocks(paths: Sequence[str]) -> Iterator[Block]:
    for path in paths:
        yield from blocks_of(path)


def _tokenized(block: Block) -> Tuple[str, int, Tokenized, int]:
    """(the block's file, its bytes, its lines, how many of their pieces are unknown)"""
    tokenizer = _here().tokenizer
    lines = tokenized(block, tokenizer)
    return block.path, len(block.content), lines, lines.ids.count(tokenizer.unk_id)


# --- instances --------------------------------------------------------------------------------------------------------


class InstanceWriter:
    """Appends records to a file, framed as in the output, and where each ends to another."""

    def __init__(self, path: str) -> None:
        self._records, self._ends = (open(name, "wb") for name in (path, path + ".ends"))  # noqa: SIM115
        self.count = self._end = 0
        self._ends.write(array("Q", [0]).tobytes())

    def add(self, records: Iterable[bytes]) -> None:
        records = iter(records)
        while True:
            frames = framed(list(itertools.islice(records, _RECORDS_AT_ONCE)))
            if not frames:
                return
            ends = np.cumsum([len(frame) for frame in frames], dtype=np.uint64) + np.uint64(self._end)
            self._records.write(b"".join(frames))
            self._ends.write(ends.tobytes())
            self._end = int(ends[-1])
            self.count += len(frames)

    def append_file(self, path: str) -> None:
        """Moves the records of another writer's file to the end of this one."""
        ends = np.fromfile(path + ".ends", np.uint64)[1:]
        self._ends.write((ends + np.uint64(self._end)).tobytes())
        with open(path, "rb") as file:
            shutil.copyfileobj(file, self._records, 1 << 20)
        self.count += len(ends)
        self._end += int(ends[-1]) if len(ends) else 0
        os.unlink(path)
        os.unlink(path + ".ends")

    def __enter__(self) -> "InstanceWriter":
        return self

    def __exit__(self, *error: Any) -> None:
        self._records.close()
        self._ends.close()


class InstanceReader:
    """The framed records of a writer's file, by number."""

    def __init__(self, path: str) -> None:
        self._records, self._ends = (open(name, "rb") for name in (path, path + ".ends"))  # noqa: SIM115

    def __getitem__(self, number: int) -> bytes:
        start, end = array("Q", os.pread(self._ends.fileno(), 16, 8 * number))
        return os.pread(self._records.fileno(), end - start, start)

    def close(self) -> None:
        self._records.close()
        self._ends.close()


def _make_in_sequence(config: PretrainingDataConfig, path: str, rng: random.Random) -> int:
    """The original's instances; returns how many there are."""
    here = _here()
    documents = Reordered(here.corpus, _shuffled(len(here.corpus), rng))
    progress = ProgressLines("Making instances", config.dupe_factor * len(documents), "passes over documents")

    def instances() -> Iterator[TrainingInstance]:
        for number in range(config.dupe_factor * len(documents)):
            yield from here.instances(documents, number % len(documents), rng)
            progress.update(number + 1)

    with InstanceWriter(path) as writer:
        writer.add(map(here.encode, instances()))
    return writer.count


def _shuffled(count: int, rng: random.Random) -> array:
    order = array("I" if count < 1 << 32 else "L", range(count))  # 4 bytes an instance
    rng.shuffle(order)
    return order


def _make_in_units(config: PretrainingDataConfig, processes: WorkerProcesses, path: str) -> int:
    """The instances of all processes; returns how many there are."""
    corpus = _here().corpus
    total = config.dupe_factor * len(corpus)
    progress = ProgressLines("Making instances", total, "passes over documents")
    done = 0
    units = (
        (number, first, end) for number in range(config.dupe_factor) for first, end in corpus.ranges(_UNIT_SENTENCES)
    )
    with InstanceWriter(path) as writer:
        for documents, unit in processes.map(_make_unit, units):
            writer.append_file(unit)
            done += documents
            progress.update(done)
    return writer.count


def _make_unit(unit: Tuple[int, int, int]) -> Tuple[int, str]:
    """(pass, first document, end) → (number of documents, file with their instances)."""
    number, first, end = unit
    here = _here()
    path = os.path.join(here.scratch, "unit-{}-{}".format(number, first))

    def instances() -> Iterator[TrainingInstance]:
        rng = random.Random()
        for document in range(first, end):
            rng.seed("{}/{}/{}".format(here.config.random_seed, number, document))
            yield from here.instances(here.corpus, document, rng)

    with InstanceWriter(path) as writer:
        writer.add(map(here.encode, instances()))
    return end - first, path


def _permuted(count: int, seed: int) -> Iterator[int]:
    permutation = Permutation(count, "instances/{}".format(seed))
    for start in range(0, count, _ORDER_CHUNK):
        yield from permutation(np.arange(start, min(start + _ORDER_CHUNK, count))).tolist()


# --- files ------------------------------------------------------------------------------------------------------------


def _write(paths: Sequence[str], processes: WorkerProcesses, order: Iterable[int], count: int) -> None:
    """Writes the records in this order, in turn to each file."""
    progress = ProgressLines("Writing", count, "instances")
    with contextlib.ExitStack() as stack:
        folders = {path: os.path.dirname(os.path.abspath(path)) for path in paths}
        scratch = {
            folder: stack.enter_context(tensorflow_setup.temporary_folder(folder, ".steady_bert-"))
            for folder in set(folders.values())
        }
        parts = [os.path.join(scratch[folders[path]], "part-{}".format(n)) for n, path in enumerate(paths)]
        writers = [stack.enter_context(open(part, "wb")) for part in parts]
        done = 0
        for records, contents in processes.map(_records_of_files, _portions(order, len(paths))):
            for writer, content in zip(writers, contents):
                writer.write(content)
            done += records
            progress.update(done)
        for writer, part, path in zip(writers, parts, paths):
            writer.close()
            files.rename_synced(part, path)


def _portions(order: Iterable[int], files_count: int) -> Iterator[Tuple[array, int]]:
    """(numbers of instances, as many for each file, number of files)"""
    numbers = iter(order)
    size = files_count * max(_RECORDS_AT_ONCE // files_count, 1)
    while True:
        portion = array("Q", itertools.islice(numbers, size))
        if not portion:
            return
        yield portion, files_count


def _records_of_files(portion: Tuple[array, int]) -> Tuple[int, List[bytes]]:
    """(number of records, what is to be written to each file)"""
    numbers, files_count = portion
    reader = _here().reader
    places = range(files_count)
    return len(numbers), [b"".join(map(reader.__getitem__, numbers[place::files_count])) for place in places]
