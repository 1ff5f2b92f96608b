"""CSV: quoted fields, rows over several lines, and the separator that a file shows."""

import csv
import itertools
from typing import Iterator, List, NamedTuple, Optional

from ...base.errors import UserError
from ..task import BadLines
from .source import LONGEST_LINE_BYTES, Row, Source, blank_line, lines_or_errors

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_SAMPLE_LINES = 50


class Dialect(NamedTuple):
    separator: str
    skips_spaces: bool  # whether a space after a separator is none of the field


def dialect_of(path: str, encoding: str) -> Dialect:
    """The separator that splits the first row; if several do, the one that splits most rows into as many cells."""
    sample = [text for _, text in itertools.islice(lines_or_errors(path, encoding), _SAMPLE_LINES)]
    texts = [text for text in sample if isinstance(text, str) and text.strip()]
    best, best_rows, first = ",", 0, []
    for separator in SEPARATORS:
        rows = _split(texts, separator)
        width = len(rows[0]) if rows else 0
        alike = sum(len(row) == width for row in rows) if width > 1 else 0
        if alike > best_rows:
            best, best_rows, first = separator, alike, rows[0]
    return Dialect(best, len(first) > 1 and all(cell.startswith(" ") for cell in first[1:]))


def _split(texts: List[str], separator: str) -> List[List[str]]:
    """The rows of a sample, up to where it is no CSV."""
    rows = []
    try:
        for row in csv.reader(texts, delimiter=separator):
            rows.append(row)
    except csv.Error:
        pass
    return rows


class _CsvFeed:
    """Feeds lines to csv.reader and remembers at which line the current row began."""

    def __init__(self, path: str, encoding: str) -> None:
        self._source = Source(path, encoding)
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


def csv_rows(path: str, bad_lines: BadLines, encoding: str, keeps_blank: bool = False) -> Iterator[Row]:
    """The rows of a file. keeps_blank: blank ones too, which are bad lines else."""
    csv.field_size_limit(LONGEST_LINE_BYTES)
    dialect = dialect_of(path, encoding)
    if dialect.separator != ",":
        bad_lines.notes.append("read as separated by {}".format(SEPARATORS[dialect.separator]))
    feed = _CsvFeed(path, encoding)
    reader = csv.reader(feed, delimiter=dialect.separator, skipinitialspace=dialect.skips_spaces, strict=True)
    blanks: List[int] = []
    for record in itertools.count():
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
        if not cells and not keeps_blank:
            blanks.append(feed.first)
            continue
        for blank in blanks:
            bad_lines.add(blank_line(path, blank))
        blanks = []
        yield Row(path, feed.first, cells, record)
