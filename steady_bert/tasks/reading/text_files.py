"""files → rows: tab-separated text, CSV and JSON lines, plain or gzipped, with file and line in every error.

A file is UTF-8 unless the caller names its encoding; a byte-order mark and CRLF are accepted. What the cells of a row
mean is decided by the caller. A row that cannot be read goes to BadLines, which raises an error unless the user allowed
to skip some.
"""

import contextlib
import csv
import gzip
import io
import json
import os
import re
import zlib
from typing import IO, Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

from ...base.errors import UserError
from ..task import BadLines
from . import encodings
from .encodings import AUTO

# A longer line is not an example: it is the wrong file, or a quote that was not closed.
LONGEST_LINE_BYTES = 1 << 20

JSON_ENDINGS = (".jsonl", ".json", ".ndjson")
ENDINGS = (".tsv", ".csv", ".txt") + JSON_ENDINGS


class Row(NamedTuple):
    path: str
    line: int  # from 1; the first line of a quoted row over several lines
    cells: Any  # List[str] for a table, Dict[str, Any] for JSON lines

    @property
    def place(self) -> str:
        return "{}:{}".format(self.path, self.line)


def ending_of(path: str) -> str:
    """The ending of the name that shows the format, without a final .gz."""
    return os.path.splitext(path[: -len(".gz")] if path.endswith(".gz") else path)[1].lower()


def rows(path: str, bad_lines: Optional[BadLines] = None, encoding: str = AUTO) -> Iterator[Row]:
    """The rows of a file: CSV or JSON lines if its name ends so, else lines split at tabs, without quoting.

    Raises UserError with file:line for a row that cannot be read, unless bad_lines accepts it.
    """
    bad_lines = bad_lines or BadLines(0)
    ending = ending_of(path)
    if ending == ".csv":
        return _csv_rows(path, bad_lines, encoding)
    if ending in JSON_ENDINGS:
        return _json_rows(path, bad_lines, encoding)
    return _tab_rows(path, bad_lines, encoding)


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
            bad_lines.add(_blank(path, blank))
        blanks = 0
        yield number, text


def lines_or_errors(path: str, encoding: str = AUTO) -> Iterator[Tuple[int, Union[str, UserError]]]:
    """(line number from 1, text with its line end or what is wrong with it) for every line, blank ones included."""
    source = _Source(path, encoding)
    for number, raw in source.lines():
        try:
            yield number, source.decoded(raw, number)
        except UserError as error:
            yield number, error


def _blank(path: str, line: int) -> UserError:
    return UserError("{}:{}: a blank line within the data. Remove it.".format(path, line))


@contextlib.contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    try:
        with gzip.open(path, "rb") if path.endswith(".gz") else open(path, "rb") as file:
            yield file  # type: ignore[misc]
    except (EOFError, zlib.error) as error:
        raise UserError("{}: not a complete gzip file ({}). Make it again.".format(path, error)) from None
    except OSError as error:
        if path.endswith(".gz") and error.errno is None:  # gzip's own: a wrong magic number or checksum
            raise UserError("{}: not a complete gzip file ({}). Make it again.".format(path, error)) from None
        raise UserError("{}: cannot be read ({}). Check the path.".format(path, error.strerror)) from None


class _Source:
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
        with _opened(self.path) as file:
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

    def decoded(self, raw: bytes, number: int) -> str:
        """The text of a line. Raises UserError if it has none."""
        if len(raw) > LONGEST_LINE_BYTES:
            raise UserError(
                "{}:{}: the line is longer than {:,} bytes. One line is one example: is it the right file?".format(
                    self.path, number, LONGEST_LINE_BYTES
                )
            )
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
            with _opened(self.path) as file:
                self._first_lines = file.readlines(1 << 18)
        if is_cut_off and encodings.with_utf8(self._first_lines + [raw[: error.start]]):
            return cut_off + ": it was cut off. Copy it again."
        remedy = encodings.remedy(self._first_lines, raw)
        if is_cut_off:
            return "byte {} is not UTF-8: the file was cut off within a character, or is not UTF-8. {}".format(
                byte, remedy
            )
        return "byte {} is not UTF-8. {}".format(byte, remedy)


def _tab_rows(path: str, bad_lines: BadLines, encoding: str) -> Iterator[Row]:
    for number, text in lines(path, bad_lines, encoding):
        yield Row(path, number, text.rstrip("\r\n").split("\t"))


def _json_rows(path: str, bad_lines: BadLines, encoding: str) -> Iterator[Row]:
    for number, text in lines(path, bad_lines, encoding):
        place = "{}:{}".format(path, number)
        try:
            cells = json.loads(text)
        except (ValueError, RecursionError) as error:
            bad_lines.add(UserError("{}: not JSON ({}). One line is one object.".format(place, error)))
            continue
        if not isinstance(cells, dict):
            kind = type(cells).__name__
            bad_lines.add(UserError('{}: {}, not an object like {{"text": …}}. Fix the line.'.format(place, kind)))
            continue
        if _SURROGATE.search(text) and not _is_encodable(cells):
            bad_lines.add(UserError("{}: has half of a surrogate pair (such as \\ud800). Fix it.".format(place)))
            continue
        yield Row(path, number, cells)


_SURROGATE = re.compile(r"\\u[dD]")


def _is_encodable(cells: Dict[str, Any]) -> bool:
    try:
        json.dumps(cells, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


class _CsvFeed:
    """Feeds lines to csv.reader and remembers at which line the current row began."""

    def __init__(self, path: str, encoding: str) -> None:
        self._source = _Source(path, encoding)
        self._path = path
        self._lines = self._source.lines()
        self.first = 0  # the line at which the row begins; 0 before its first line is read
        self.error: Optional[UserError] = None  # the first error in a line of the row
        self.ended = False
        self._characters = 0

    def next_row(self) -> None:
        self.first = self._characters = 0
        self.error = None

    def __iter__(self) -> "_CsvFeed":
        return self

    def __next__(self) -> str:
        line = next(self._lines, None)
        if line is None:
            self.ended = True
            raise StopIteration
        number, raw = line
        self.first = self.first or number
        try:
            text = self._source.decoded(raw, number)
        except UserError as error:  # the row still ends where it would end without the error
            self.error = self.error or error
            text = raw.decode("latin-1").replace("\0", "")
        self._characters += len(text)
        if self._characters > LONGEST_LINE_BYTES:
            raise self.unclosed()
        return text

    def unclosed(self) -> UserError:
        return UserError(
            "{}:{}: a quoted field of this row is not closed within {:,} characters. Close the quote.".format(
                self._path, self.first, self._characters
            )
        )


def _csv_rows(path: str, bad_lines: BadLines, encoding: str) -> Iterator[Row]:
    csv.field_size_limit(LONGEST_LINE_BYTES)
    feed = _CsvFeed(path, encoding)
    reader = csv.reader(feed, strict=True)
    blanks: List[int] = []
    while True:
        feed.next_row()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if feed.ended:  # the open quote took in the rest of the file, so skipping this row would skip all of it
                raise feed.unclosed() from None
            bad_lines.add(UserError("{}:{}: not CSV ({}). Quote the field.".format(path, feed.first, error)))
            continue
        if feed.error is not None:
            bad_lines.add(feed.error)
            continue
        if not cells:
            blanks.append(feed.first)
            continue
        for blank in blanks:
            bad_lines.add(_blank(path, blank))
        blanks = []
        yield Row(path, feed.first, cells)


def _first_line(path: str, encoding: str) -> Tuple[str, bool]:
    """(the first line of a file, whether the file is gzipped, whatever its name is)."""
    with open(path, "rb") as file:
        gzipped = file.read(2) == b"\x1f\x8b"
    try:
        with (gzip.open if gzipped else open)(path, "rb") as file:
            raw = file.readline(LONGEST_LINE_BYTES)
    except (OSError, EOFError, zlib.error):
        raw = b""  # reading the file will report what is wrong
    return raw.decode(encodings.codec_of(encoding), "replace").strip("\ufeff \t\r\n"), gzipped


def is_json_lines(path: str, encoding: str = AUTO) -> bool:
    """Whether the first line is a JSON object."""
    try:
        return isinstance(json.loads(_first_line(path, encoding)[0]), dict)
    except (ValueError, RecursionError):
        return False


def ending_for(path: str, text_columns: Sequence[str], encoding: str = AUTO) -> str:
    """The file name ending that fits the content of standard input, which was copied to `path`.

    JSON lines start with {. CSV names the text columns in its first line. Otherwise each line is a text, as in .txt.
    """
    first, gzipped = _first_line(path, encoding)
    names = next(csv.reader([first]), [])
    if first.startswith("{"):
        ending = ".jsonl"
    else:
        ending = ".csv" if len(names) > 1 and set(text_columns or ("text", "text_a")) & set(names) else ".txt"
    return ending + ".gz" * gzipped
