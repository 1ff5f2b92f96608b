"""files → rows: tab-separated text, CSV and JSON lines, plain or gzipped, with file and line in every error.

A file is UTF-8; a byte-order mark and CRLF are accepted. What the cells of a row mean is decided by the caller. A row
that cannot be read goes to BadLines, which raises an error unless the user allowed to skip some.
"""

import contextlib
import csv
import gzip
import json
import os
import re
import zlib
from typing import IO, Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

from ...base.errors import UserError
from ..task import BadLines

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


def rows(path: str, bad_lines: Optional[BadLines] = None) -> Iterator[Row]:
    """The rows of a file: CSV or JSON lines if its name ends so, else lines split at tabs, without quoting.

    Raises UserError with file:line for a row that cannot be read, unless bad_lines accepts it.
    """
    bad_lines = bad_lines or BadLines(0)
    ending = ending_of(path)
    if ending == ".csv":
        return _csv_rows(path, bad_lines)
    if ending in JSON_ENDINGS:
        return _json_rows(path, bad_lines)
    return _tab_rows(path, bad_lines)


def lines(path: str, bad_lines: BadLines) -> Iterator[Tuple[int, str]]:
    """(line number from 1, text with its line end). Blank lines at the end are ignored, other blank lines are bad."""
    blank_from = blanks = 0
    for number, text in lines_or_errors(path):
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


def lines_or_errors(path: str) -> Iterator[Tuple[int, Union[str, UserError]]]:
    """(line number from 1, text with its line end or what is wrong with it) for every line, blank ones included."""
    for number, raw in _raw_lines(path):
        try:
            yield number, _decoded(raw, path, number)
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


def _raw_lines(path: str) -> Iterator[Tuple[int, bytes]]:
    """(number, bytes). A line that is too long is cut one byte after the limit, and _decoded refuses it."""
    number = 0
    with _opened(path) as file:
        while True:
            raw = file.readline(LONGEST_LINE_BYTES + 1)
            if not raw:
                return
            number += 1
            if number == 1 and raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
                raise UserError("{}: is in UTF-16. Convert it: iconv -f utf-16 -t utf-8.".format(path))
            yield number, raw
            while len(raw) > LONGEST_LINE_BYTES and not raw.endswith(b"\n"):
                raw = file.readline(LONGEST_LINE_BYTES + 1)


def _decoded(raw: bytes, path: str, number: int) -> str:
    if len(raw) > LONGEST_LINE_BYTES:
        raise UserError(
            "{}:{}: the line is longer than {:,} bytes. One line is one example: is it the right file?".format(
                path, number, LONGEST_LINE_BYTES
            )
        )
    try:
        text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            "{}:{}: byte {} is not UTF-8. Convert the file, as with iconv -f latin1 -t utf-8.".format(
                path, number, error.start + 1
            )
        ) from None
    if "\0" in text:
        raise UserError("{}:{}: has a NUL character. Is it a text file in UTF-8? Remove it.".format(path, number))
    return text


def _tab_rows(path: str, bad_lines: BadLines) -> Iterator[Row]:
    for number, text in lines(path, bad_lines):
        yield Row(path, number, text.rstrip("\r\n").split("\t"))


def _json_rows(path: str, bad_lines: BadLines) -> Iterator[Row]:
    for number, text in lines(path, bad_lines):
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

    def __init__(self, path: str) -> None:
        self._path = path
        self._lines = _raw_lines(path)
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
            text = _decoded(raw, self._path, number)
        except UserError as error:  # the row still ends where it would end without the error
            self.error = self.error or error
            text = raw.decode("utf-8", "replace").replace("\0", "")
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


def _csv_rows(path: str, bad_lines: BadLines) -> Iterator[Row]:
    csv.field_size_limit(LONGEST_LINE_BYTES)
    feed = _CsvFeed(path)
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


def is_json_lines(path: str) -> bool:
    """Whether the first line is a JSON object."""
    with open(path, "rb") as file:
        try:
            return isinstance(json.loads(file.readline(LONGEST_LINE_BYTES).decode("utf-8-sig")), dict)
        except (ValueError, RecursionError):
            return False


def ending_for(path: str, text_columns: Sequence[str]) -> str:
    """The file name ending that fits the content of standard input, which was copied to `path`.

    JSON lines start with {. CSV names the text columns in its first line. Otherwise each line is a text, as in .txt.
    """
    with open(path, "rb") as file:
        gzipped = file.read(2) == b"\x1f\x8b"
    try:
        with (gzip.open if gzipped else open)(path, "rb") as file:
            first = file.readline(LONGEST_LINE_BYTES).decode("utf-8-sig", "replace").strip()
    except (OSError, EOFError, zlib.error):
        first = ""  # reading the file will report what is wrong
    names = next(csv.reader([first]), [])
    if first.startswith("{"):
        ending = ".jsonl"
    else:
        ending = ".csv" if len(names) > 1 and set(text_columns or ("text", "text_a")) & set(names) else ".txt"
    return ending + ".gz" * gzipped
