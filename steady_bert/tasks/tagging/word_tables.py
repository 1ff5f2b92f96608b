"""Tables with a header and a word a row, as in CSV: Sentence #,Word,POS,Tag.

A sentence begins where the column of sentences has another value (an empty one goes on), or after a blank row.
"""

import re
from typing import Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ...base.errors import UserError
from ..reading import text_files
from ..reading.csv_rows import SEPARATORS, csv_rows
from ..reading.text_files import Row
from ..task import BadLines
from .column_check import SENTENCE_A_ROW, TAG_NAMES, WORD_NAMES, is_header, is_sentence, split
from .sentences import Layout
from .word_lists import WordList

_SENTENCE = re.compile(r"sent(ence)?s?([^a-z].*|id|no|num|number)?", re.IGNORECASE)  # but not "sentiment"
_BLANK = " \t\r\n"  # other white space may be a word
_LONGEST_SENTENCE = 5000  # words; a longer one is a whole file without sentences


class _Header(NamedTuple):
    """The names of the columns, and the numbers of those that count."""

    names: List[str]
    word: int
    tag: Optional[int]
    sentence: Optional[int]


def has_header(path: str, encoding: str) -> bool:
    """Whether the first line names a column of words and one of tags."""
    first = next(iter(text_files.lines_or_errors(path, encoding)), (0, ""))[1]
    if not isinstance(first, str):
        return False
    return any(is_header(split(first.strip(), separator)) for separator in SEPARATORS)


def lists(path: str, layout: Layout, bad_lines: BadLines) -> Iterator[WordList]:
    """The sentences of a file."""
    rows = _rows(path, layout, bad_lines)
    first = next(rows, None)
    if first is None:
        return
    header = _header_of(first, layout)
    number = -1
    current: List[Row] = []
    error: Optional[UserError] = None
    expected, sentence_before = first.record + 1, ""
    for row in _with_end(rows, first, bad_lines):
        if row.record > expected:  # what was left out belongs to a sentence, which goes with it
            error = error or UserError("")
        expected = row.record + 1
        blank = not any(cell.strip(_BLANK) for cell in row.cells)
        named = "" if blank or header.sentence is None else _cell(row, header.sentence)
        if blank or (named and named != sentence_before):
            if str(error or ""):
                bad_lines.add(error)  # type: ignore[arg-type]
            number += bool(current or error)
            if current and error is None:
                yield _word_list(current, header, number)
            current, error = [], None
        sentence_before = named or sentence_before
        if blank:
            continue
        problem = _problem_of(row, header)
        if problem is not None:
            error = error or UserError("{}: {}".format(row.place, problem))
        current.append(row)
        if len(current) > _LONGEST_SENTENCE:
            raise UserError(
                "{}: a sentence of more than {:,} words begins. No blank row ends it, and none of the columns {} is "
                "called sentence. Call one so.".format(current[0].place, _LONGEST_SENTENCE, ", ".join(header.names))
            )


def _with_end(rows: Iterator[Row], header: Row, bad_lines: BadLines) -> Iterator[Row]:
    """The rows, and a blank one that ends the last sentence. Its record shows whether rows before it were left out."""
    record = header.record
    while True:
        left_out = len(bad_lines.messages)
        row = next(rows, None)
        if row is None:
            break
        record = row.record
        yield row
    yield Row(header.path, 0, [], record + 1 + (len(bad_lines.messages) > left_out))


def _rows(path: str, layout: Layout, bad_lines: BadLines) -> Iterator[Row]:
    """Rows with blank ones. Tabs part cells without quoting: a quotation mark may be a word."""
    first = next(iter(text_files.lines_or_errors(path, layout.encoding)), (0, ""))[1]
    if not isinstance(first, str) or "\t" not in first:
        yield from csv_rows(path, bad_lines, layout.encoding, keeps_blank=True)
        return
    for number, text in text_files.lines_or_errors(path, layout.encoding):
        if isinstance(text, UserError):
            bad_lines.add(text)
        else:
            yield Row(path, number, text.rstrip("\r\n").split("\t"), number - 1)


def _header_of(first: Row, layout: Layout) -> _Header:
    names = [name.strip() for name in first.cells]
    sentence = next((number for number, name in enumerate(names) if _SENTENCE.fullmatch(name)), None)
    word = _number_of("word_column", layout.word_column, WORD_NAMES, names, first.place)
    if layout.tag_column == "none":
        return _Header(names, word, None, sentence)
    given = None if layout.tag_column == "last" else layout.tag_column
    if given is None and not any(name.lower() in TAG_NAMES for name in names):
        return _Header(names, word, None, sentence)
    return _Header(names, word, _number_of("tag_column", given, TAG_NAMES, names, first.place), sentence)


def _number_of(flag: str, given: Optional[str], usual: Sequence[str], names: List[str], place: str) -> int:
    lower = [name.lower() for name in names]
    if given is not None and given.isdecimal() and int(given) < len(names):
        return int(given)
    if given is not None and given.strip().lower() in lower:
        return names.index(given.strip()) if given.strip() in names else lower.index(given.strip().lower())
    number = next((lower.index(name) for name in usual if name in lower), None) if given is None else None
    if number is None:
        asked = "--{}={}: no such column".format(flag, given) if given else "no column is called {}".format(usual[0])
        raise UserError("{}: {}. The columns are {}. Name one with --{}.".format(place, asked, ", ".join(names), flag))
    return number


def _cell(row: Row, number: int) -> str:
    return row.cells[number].strip(_BLANK) if number < len(row.cells) else ""


def _problem_of(row: Row, header: _Header) -> Optional[str]:
    if len(row.cells) != len(header.names):
        return "{} cells, where the header has {}. Fix the line.".format(len(row.cells), len(header.names))
    for number in (header.word, header.tag):
        if number is not None and not _cell(row, number):
            return "{} is empty. Fix the line.".format(header.names[number])
    if header.tag is not None and is_sentence(_cell(row, header.word), _cell(row, header.tag)):
        raise UserError(SENTENCE_A_ROW.format(row.place, _cell(row, header.word)[:40]))
    return None


def _word_list(rows: Sequence[Row], header: _Header, number: int) -> WordList:
    words: Tuple[str, ...] = tuple(_cell(row, header.word) for row in rows)
    tags = None if header.tag is None else [_cell(row, header.tag) for row in rows]
    return WordList([row.place for row in rows], rows[0].line, str(number), words, tags)
