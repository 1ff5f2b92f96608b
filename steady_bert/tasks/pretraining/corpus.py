"""Text files → documents of sentences, as ids on disk: a corpus of any size in constant memory. Pure: no TensorFlow.

A line is a sentence, a line of white space alone ends a document, and a line without pieces is left out. As in
google-research/bert, the end of a file ends no document.
"""

import functools
import os
import struct
from array import array
from typing import IO, Any, Iterator, List, NamedTuple, Sequence, Tuple

from ...base.errors import UserError
from ..reading.source import LONGEST_LINE_BYTES, opened, too_long

BLOCK_BYTES = 1 << 20  # of text that is tokenized at once
_SENTENCES = 16  # read at once
BLANK = -1  # the length of a line that ends a document


class Block(NamedTuple):
    """Whole lines of a file."""

    path: str
    line: int  # of the first, from 1
    content: bytes


class Tokenized(NamedTuple):
    """A block as ids, one line after another, and the number of ids of each line, or BLANK."""

    ids: array
    lengths: array

    @property
    def begins_with_text(self) -> bool:
        """Whether a sentence comes before the end of a document."""
        return next(filter(None, self.lengths), BLANK) != BLANK


def blocks_of(path: str) -> Iterator[Block]:
    """The lines of a file, in blocks of about BLOCK_BYTES; a longer line is one block."""
    line = 1
    with opened(path) as file:
        while True:
            content = file.read(BLOCK_BYTES)
            end = file.readline(LONGEST_LINE_BYTES + 1)
            if len(end) > LONGEST_LINE_BYTES:
                raise too_long(path, line + content.count(b"\n"))
            content += end
            if not content:
                return
            yield Block(path, line, content)
            line += content.count(b"\n")


def texts_of(block: Block) -> List[str]:
    """Its lines without white space around them, nor a byte order mark at the start of the file.

    Raises UserError, with the line, for text that is not UTF-8.
    """
    try:
        text = block.content.decode("utf-8-sig" if block.line == 1 else "utf-8")
    except UnicodeDecodeError as error:
        line = block.line + error.object[: error.start].count(b"\n")
        raise UserError("{}:{}: is not UTF-8. Convert the file.".format(block.path, line)) from None
    lines = [line.strip() for line in text.split("\n")]
    if text.endswith("\n"):
        del lines[-1]  # nothing stands after the last line end
    return lines


def lines_of(path: str) -> Iterator[str]:
    """The lines of a file, as texts_of gives them."""
    for block in blocks_of(path):
        yield from texts_of(block)


def tokenized(block: Block, tokenizer: Any) -> Tokenized:
    """Raises the errors of texts_of."""
    lines = texts_of(block)
    ids, lengths = array("H" if max(tokenizer.vocab.values()) < 1 << 16 else "I"), array("q")
    for line, of_line in zip(lines, tokenizer.encode(lines)):
        ids.extend(of_line)
        lengths.append(len(of_line) if line else BLANK)
    return Tokenized(ids, lengths)


class CorpusWriter:
    """Writes documents into a folder, from which Corpus reads them.

    in_document: whether the next sentence belongs to the document of the last one.
    """

    def __init__(self, folder: str) -> None:
        self._ids, self._sentences, self._documents = (open(path, "wb") for path in _paths(folder))  # noqa: SIM115
        self._typecode_path = os.path.join(folder, "typecode")
        self.tokens = self.sentences = self.documents = 0
        self.in_document = False
        self._typecode = "H"

    def add(self, lines: Tokenized) -> None:
        """All that is added has ids of one typecode."""
        self._typecode = lines.ids.typecode
        self._ids.write(lines.ids.tobytes())
        sentences, documents = array("Q"), array("Q")
        for length in lines.lengths:
            if length == BLANK:
                self.in_document = False
            elif length:
                if not self.in_document:
                    documents.append(self.sentences)
                    self.in_document = True
                sentences.append(self.tokens)
                self.sentences += 1
                self.tokens += length
        self.documents += len(documents)
        self._sentences.write(sentences.tobytes())
        self._documents.write(documents.tobytes())

    def close(self) -> None:
        """Writes the ends of the last sentence and document, and what the ids are."""
        self._sentences.write(array("Q", [self.tokens]).tobytes())
        self._documents.write(array("Q", [self.sentences]).tobytes())
        with open(self._typecode_path, "w") as file:
            file.write(self._typecode)
        for each in (self._ids, self._sentences, self._documents):
            each.close()


def _paths(folder: str) -> List[str]:
    return [os.path.join(folder, name) for name in ("ids", "sentences", "documents")]


class Corpus:
    """The documents in a folder, in the order of the files. Holds a few sentences in memory."""

    def __init__(self, folder: str) -> None:
        self._files: List[IO[bytes]] = [open(path, "rb") for path in _paths(folder)]  # noqa: SIM115
        with open(os.path.join(folder, "typecode")) as file:
            self._typecode = file.read()
        self._id_bytes = array(self._typecode).itemsize
        self._documents = os.path.getsize(_paths(folder)[2]) // 8 - 1
        self._block = functools.lru_cache(maxsize=64)(self._read_block)

    def __len__(self) -> int:
        return self._documents

    def __getitem__(self, number: int) -> "StoredDocument":
        if not 0 <= number < self._documents:
            raise IndexError(number)
        first, end = struct.unpack("=QQ", self._read(2, 8 * number, 16))
        return StoredDocument(self, first, end - first)

    def sentence(self, number: int) -> List[int]:
        """The ids of a sentence, numbered over all documents."""
        return self._block(number // _SENTENCES)[number % _SENTENCES]

    def ranges(self, sentences: int) -> Iterator[Tuple[int, int]]:
        """[first, end) of runs of documents that have so many sentences or more together, the last one fewer."""
        first = begins = 0
        for chunk in range(0, self._documents, 1 << 12):
            ends = array("Q", self._read(2, 8 * (chunk + 1), 8 << 12))
            for number, end in enumerate(ends, chunk + 1):
                if end - begins >= sentences or number == self._documents:
                    yield first, number
                    first, begins = number, end

    def close(self) -> None:
        for file in self._files:
            file.close()

    def _read(self, file: int, offset: int, size: int) -> bytes:
        return os.pread(self._files[file].fileno(), size, offset)

    def _read_block(self, number: int) -> List[List[int]]:
        begins = array("Q", self._read(1, 8 * _SENTENCES * number, 8 * (_SENTENCES + 1)))
        start = begins[0]
        size = (begins[-1] - start) * self._id_bytes
        ids = array(self._typecode, self._read(0, start * self._id_bytes, size)).tolist()
        return [ids[a - start : b - start] for a, b in zip(begins, begins[1:])]


class StoredDocument(Sequence[List[int]]):
    """The sentences of a document on disk."""

    def __init__(self, corpus: Corpus, first: int, count: int) -> None:
        self._corpus = corpus
        self._first = first
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: Any) -> Any:
        if not 0 <= number < self._count:
            raise IndexError(number)
        return self._corpus.sentence(self._first + number)


class Reordered(Sequence[StoredDocument]):
    """The documents of a corpus in another order."""

    def __init__(self, corpus: Corpus, order: Sequence[int]) -> None:
        self._corpus = corpus
        self._order = order

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, number: Any) -> Any:
        return self._corpus[self._order[number]]
