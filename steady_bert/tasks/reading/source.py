"""A file as lines: plain or gzipped, in its encoding, with file and line in every error."""

import contextlib
import gzip
import io
import os
import zlib
from typing import IO, Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple, Union

from ...base.errors import UserError
from ..task import BadLines
from . import encodings
from .encodings import AUTO

# A longer line is not an example: it is the wrong file, or a quote that was not closed.
LONGEST_LINE_BYTES = 1 << 20


class Row(NamedTuple):
    path: str
    line: int  # from 1; the first line of a quoted row over several lines
    cells: Any  # List[str] for a table, else a JSON value
    record: int  # from 0, counted in the file: a header, blank rows and those that cannot be read included

    @property
    def place(self) -> str:
        return "{}:{}".format(self.path, self.line)


def lines(path: str, bad_lines: BadLines, encoding: str = AUTO) -> Iterator[Tuple[int, str]]:
    """(line number from 1, text with its line end). Blank lines at the end are ignored, other blank lines are bad."""
    blank_from = blanks = 0
    for number, text in lines_or_errors(path, encoding):
        if isinstance(text, UserError):
            bad_lines.add(text)
            continue
        if not text.strip(" \r\n"):
            blank_from, blanks = (blank_from if blanks else number), blanks + 1
            continue
        for blank in range(blank_from, blank_from + blanks):
            bad_lines.add(blank_line(path, blank))
        blanks = 0
        yield number, text


def lines_or_errors(path: str, encoding: str = AUTO) -> Iterator[Tuple[int, Union[str, UserError]]]:
    """(line number from 1, text with its line end or what is wrong with it) for every line, blank ones included."""
    source = Source(path, encoding)
    for number, raw in source.lines():
        try:
            yield number, source.decoded(raw, number)
        except UserError as error:
            yield number, error


def blank_line(path: str, line: int) -> UserError:
    return UserError("{}:{}: a blank line within the data. Remove it.".format(path, line))


def too_long(path: str, line: int) -> UserError:
    return UserError(
        "{}:{}: the line is longer than {:,} bytes. One line is one example: is it the right file?".format(
            path, line, LONGEST_LINE_BYTES
        )
    )


# What a gzip file may unpack to: text is packed 3 to 20 times as small, and what was made to fill memory 1,000 times.
LARGEST_GZ_BYTES = 64 << 30
LARGEST_GZ_RATIO = 200
_RATIO_FROM_BYTES = 64 << 20  # below it any ratio is harmless
_LINES_A_LOOK = 32  # a look takes as long as reading a line


class _Gz(gzip.GzipFile):
    """A gzip file that raises UserError once it has unpacked to more than it may."""

    def __init__(self, path: str) -> None:
        super().__init__(path, "rb")
        packed = os.path.getsize(path)
        allowed = max(_RATIO_FROM_BYTES, LARGEST_GZ_RATIO * packed)
        self._most = min(LARGEST_GZ_BYTES, allowed)
        self._lines = 0

    def _look(self) -> None:
        if not _large_gz and self.tell() > self._most:
            flag = " A run reads it with --allow_large_gz." if _large_gz is not None else ""
            text = "{}: unpacks to more than {:,} bytes, which its size makes unlikely. Unpack it if it is right.{}"
            raise UserError(text.format(self.name, self._most, flag))

    def read(self, size: Optional[int] = -1) -> bytes:
        self._look()
        return super().read(size)

    def read1(self, size: int = -1) -> bytes:
        self._look()
        return super().read1(size)

    def readline(self, size: Optional[int] = -1) -> bytes:
        self._lines += 1
        if self._lines % _LINES_A_LOOK == 0:
            self._look()
        return super().readline(size)


_large_gz: Optional[bool] = None  # whether a command with the flag --allow_large_gz has it; None: it has no such flag


@contextlib.contextmanager
def large_gz(allowed: bool) -> Iterator[None]:
    """Within it, a gzip file may unpack to any size if that is allowed."""
    global _large_gz
    before, _large_gz = _large_gz, allowed
    try:
        yield
    finally:
        _large_gz = before


_being_read: Dict[str, Tuple[Any, int]] = {}  # path → the file as it is on the disk, and its bytes


def proportion_read(path: str) -> Optional[float]:
    """How much of a file has been read that is read now; None if it is not, or if its size is not known."""
    file, size = _being_read.get(path, (None, 0))
    return file.tell() / size if file is not None and size else None


@contextlib.contextmanager
def opened(path: str) -> Iterator[IO[bytes]]:
    try:
        with _Gz(path) if path.endswith(".gz") else open(path, "rb") as file:
            # A reader that looks at a file again while it reads it hides how far it is.
            _being_read[path] = getattr(file, "fileobj", file), os.path.getsize(path)
            try:
                yield file  # type: ignore[misc]
            finally:
                _being_read.pop(path, None)
    except (EOFError, zlib.error) as error:
        raise UserError("{}: not a complete gzip file ({}). Make it again.".format(path, error)) from None
    except OSError as error:
        if path.endswith(".gz") and error.errno is None:  # gzip's own: a wrong magic number or checksum
            raise UserError("{}: not a complete gzip file ({}). Make it again.".format(path, error)) from None
        raise UserError("{}: cannot be read ({}). Check the path.".format(path, error.strerror)) from None


class Source:
    """A file in an encoding: its lines as bytes, and what they say."""

    def __init__(self, path: str, encoding: str) -> None:
        self.path = path
        self._encoding = encoding
        codec = encodings.codec_of(encoding)
        self._is_recoded = not encodings.ends_lines_as_ascii(codec)  # lines come in UTF-8, whatever the file is in
        self._codec = "utf-8" if self._is_recoded else codec
        self._first_lines: Optional[List[bytes]] = None

    def lines(self) -> Iterator[Tuple[int, bytes]]:
        """(number from 1, bytes). A line that is too long is cut one byte after the limit, and decoded() refuses it."""
        number = 0
        with opened(self.path) as file:
            readline = self._recoded(file) if self._is_recoded else file.readline
            while True:
                raw = readline(LONGEST_LINE_BYTES + 1)
                if not raw:
                    return
                number += 1
                marked = encodings.marked(raw) if number == 1 and not self._is_recoded else None
                if marked:
                    raise UserError("{0}: is in {1}. Pass --encoding={2}.".format(self.path, marked.upper(), marked))
                yield number, raw
                while len(raw) > LONGEST_LINE_BYTES and not raw.endswith(b"\n"):
                    raw = readline(LONGEST_LINE_BYTES + 1)

    def _recoded(self, file: IO[bytes]) -> Callable[[int], bytes]:
        """A readline that gives UTF-8."""
        text = io.TextIOWrapper(file, encoding=self._encoding, newline="\n")

        def readline(size: int) -> bytes:
            try:
                return text.readline(size).encode("utf-8")
            except UnicodeError as error:
                message = "{}: is not in {} ({}). Name another --encoding, or copy the file again."
                reason = getattr(error, "reason", error)
                raise UserError(message.format(self.path, self._encoding, reason)) from None

        return readline

    def characters(self) -> Iterator[str]:
        """The text in pieces, for a file that is not made of lines."""
        codec = "utf-8-sig" if self._codec == "utf-8" and not self._is_recoded else self._encoding
        with opened(self.path) as file:
            text = io.TextIOWrapper(file, encoding=codec, newline="\n")
            try:
                yield from iter(lambda: text.read(LONGEST_LINE_BYTES), "")
            except UnicodeDecodeError as error:
                start, end = max(error.start - 100, 0), error.start + 100
                raise UserError("{}: {}".format(self.path, self._problem(error, error.object[start:end]))) from None

    def decoded(self, raw: bytes, number: int) -> str:
        """The text of a line. Raises UserError if it has none."""
        if len(raw) > LONGEST_LINE_BYTES:
            raise too_long(self.path, number)
        try:
            text = raw.decode("utf-8-sig" if number == 1 and self._codec == "utf-8" else self._codec)
        except UnicodeDecodeError as error:
            raise UserError("{}:{}: {}".format(self.path, number, self._problem(error, raw))) from None
        if "\0" in text:
            remedy = encodings.remedy_of_nul(raw)
            raise UserError("{}:{}: has a NUL character. {}".format(self.path, number, remedy))
        return text

    def _problem(self, error: UnicodeDecodeError, raw: bytes) -> str:
        """What is wrong with a line that cannot be decoded, and what to do."""
        cut_off = "the file ends within a character"
        byte = error.start + 1
        is_cut_off = encodings.is_cut_off(error, raw)
        if self._encoding != AUTO:
            if is_cut_off:
                return cut_off + ": it was cut off. Copy it again."
            return "byte {} is not {}. Fix the line, or name another --encoding.".format(byte, self._encoding)
        if self._first_lines is None:
            with opened(self.path) as file:
                self._first_lines = file.readlines(1 << 18)
        if is_cut_off and encodings.with_utf8(self._first_lines + [raw[: error.start]]):
            return cut_off + ": it was cut off. Copy it again."
        remedy = encodings.remedy(self._first_lines, raw)
        if is_cut_off:
            return "byte {} is not UTF-8: the file was cut off within a character, or is not UTF-8. {}".format(
                byte, remedy
            )
        return "byte {} is not UTF-8. {}".format(byte, remedy)
