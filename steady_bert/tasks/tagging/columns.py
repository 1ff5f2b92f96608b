"""CoNLL's columns: a word and its tags a line, split at tabs or spaces; a blank line ends a sentence."""

import itertools
import re
from typing import Iterator, List, NamedTuple, Optional

from ...base.errors import UserError
from ..reading import text_files
from ..task import BadLines
from . import column_check
from . import schemes as tag_schemes
from .sentences import Layout, Sentence
from .tag_sequences import TagError, TagReader
from .word_lists import joined_offsets

_LONGEST_SENTENCE = 100000  # words
_CENSUS_SENTENCES = 1000  # read to decide whether words are single characters
_DOCUMENT_START = "-DOCSTART-"
_BLANK = " \t\r\n"  # other white space may be a word
_FIRST_LINES = 20  # read to see whether they are columns
_NAMED_COMMENT = re.compile(r"# \S+ = ")  # in CoNLL-U
_CONLLU_WIDTH = 10
_CONLLU_EXTRA = re.compile(r"\d+[-.]\d+")
_ALL_LINES = 1 << 62


class _Block(NamedTuple):
    """The rows of one sentence, before its tags are interpreted."""

    number: int  # among all sentences of the file, from 0
    lines: List[int]  # the number of each row's line, from 1
    rows: List[str]
    cells: List[List[str]]


def read(path: str, layout: Layout, needs_tags: bool, bad_lines: BadLines) -> Iterator[Sentence]:
    """The sentences of a file, in order."""
    bad_lines.notes += _require_columns(path, layout)
    tag_reader = TagReader(layout.tag_scheme if layout.tag_scheme != "auto" else scheme_of(path, layout), layout)
    gap = "" if layout.text_units == "characters" else " "
    for block in _blocks(path, layout, bad_lines):
        columns = _columns_of(layout, len(block.cells[0]), path)
        words = tuple(cells[columns.word] for cells in block.cells)
        if columns.tag is None and needs_tags:
            raise UserError("{}:{}: a line has a word and no tag. Is it the right file?".format(path, block.lines[0]))
        if len(block.cells[0]) == 1 and not gap and any(len(word) > 1 for word in words):
            message = "{}:{}: a line is not a single character, which the model tags. Raw text needs --format=text."
            raise UserError(message.format(path, block.lines[0]))
        tags = None
        if columns.tag is not None:
            try:
                tags, mended = tag_reader.to_bio(words, [cells[columns.tag] for cells in block.cells])
            except TagError as error:
                bad_lines.add(UserError("{}:{}: {}".format(path, block.lines[error.word], error)))
                continue
            bad_lines.mended += ["{}:{}: {}".format(path, block.lines[word], message) for word, message in mended]
        text, offsets = gap.join(words), joined_offsets(words, gap)
        yield Sentence(0, block.lines[0], str(block.number), words, tags, text, offsets, tuple(block.rows))
    tag_reader.note_retyped(path, bad_lines)


def scheme_of(path: str, layout: Layout) -> str:
    """The scheme that the tags of a file look like."""
    census = tag_schemes.Census(layout.mend_tags)
    for block in _blocks(path, layout, BadLines(_ALL_LINES)):
        column = _columns_of(layout, len(block.cells[0]), path).tag
        if column is not None:
            census.add([cells[column] for cells in block.cells])
    return census.scheme()


def units_of(path: str, layout: Layout) -> str:
    """characters if none of the first words is longer than one character, else words."""
    blocks = _first_blocks(path, layout)
    if not blocks:
        return "characters"
    word = _columns_of(layout, len(blocks[0].cells[0]), path).word
    return "words" if any(len(cells[word]) > 1 for block in blocks for cells in block.cells) else "characters"


def _first_blocks(path: str, layout: Layout) -> List[_Block]:
    return list(itertools.islice(_blocks(path, layout, BadLines(_ALL_LINES)), _CENSUS_SENTENCES + 1))


class _Columns(NamedTuple):
    """The numbers of the columns of a file. tag: None if there are no tags."""

    word: int
    tag: Optional[int]


def _columns_of(layout: Layout, width: int, path: str) -> _Columns:
    """Raises UserError if the file lacks a column that a flag names."""
    word = _number_of("word_column", layout.word_column or "0", width, path)
    if layout.tag_column == "none" or width == 1:
        return _Columns(word, None)
    last = layout.tag_column == "last"
    tag = width - 1 if last else _number_of("tag_column", layout.tag_column, width, path)
    return _Columns(word, None if last and tag == word else tag)


def _number_of(flag: str, value: str, width: int, path: str) -> int:
    if not value.isdecimal():
        message = "--{}={}: {} has no line that names its columns. Give a number from 0 to {}."
        raise UserError(message.format(flag, value, path, width - 1))
    if int(value) >= width:
        message = "--{}={}: the columns of {} are 0 to {}. Give another."
        raise UserError(message.format(flag, value, path, width - 1))
    return int(value)


def _require_columns(path: str, layout: Layout) -> List[str]:
    """What the data report says of doubtful columns. Raises UserError if they cannot be what they are taken for."""
    first_lines = (
        text.rstrip("\r\n") for _, text in text_files.lines_or_errors(path, layout.encoding) if isinstance(text, str)
    )
    column_check.require_columns(path, list(itertools.islice(filter(str.strip, first_lines), _FIRST_LINES)))
    blocks = _first_blocks(path, layout)
    if not blocks:
        return []
    sample = column_check.Sample(path, blocks[0].lines[0], [block.cells for block in blocks])
    columns = _columns_of(layout, sample.width, path)
    notes = []
    if layout.word_column is None:
        notes += column_check.require_words(sample, columns.word, columns.tag)
    if columns.tag is not None and layout.tag_column == "last" and layout.tag_scheme == "auto":
        notes += column_check.require_tags(sample, columns.word, columns.tag)
    return notes


def _blocks(path: str, layout: Layout, bad_lines: BadLines) -> Iterator[_Block]:
    """The sentences of a file without comments and document starts. A bad line takes its whole sentence with it."""
    table = _table_of(path, layout.encoding)
    sentence = 0
    lines: List[int] = []
    rows: List[str] = []
    cells_of_rows: List[List[str]] = []
    error: Optional[UserError] = None
    for number, text in itertools.chain(text_files.lines_or_errors(path, layout.encoding), [(0, "")]):
        if isinstance(text, UserError):
            error = error or text
            continue
        row = text.rstrip(_BLANK)
        cells = table.split(row)
        if not cells or cells[0] == _DOCUMENT_START:
            if error is not None:
                bad_lines.add(error)
            elif rows:
                yield _Block(sentence, lines, rows, cells_of_rows)
            sentence += bool(rows or error)
            lines, rows, cells_of_rows, error = [], [], [], None
            continue
        if (not rows and error is None and table.is_comment(row)) or table.is_extra(cells):
            continue
        problem = table.problem_of(cells)
        if problem is not None:
            error = error or UserError("{}:{}: {}".format(path, number, problem))
            continue
        if len(rows) == _LONGEST_SENTENCE or error is not None:
            error = error or UserError(
                "{}:{}: a sentence of more than {:,} words begins. A blank line ends a sentence: is it the right file, "
                "or does it need another --format?".format(path, lines[0], _LONGEST_SENTENCE)
            )
            lines, rows, cells_of_rows = [], [], []  # of a sentence that is left out
            continue
        lines.append(number)
        rows.append(row)
        cells_of_rows.append(cells)


class _Table(NamedTuple):
    """How the rows of a file are split, and into how many columns."""

    tabs: bool
    width: int

    def split(self, row: str) -> List[str]:
        """The cells of a row; none if it is blank."""
        row = row.strip(_BLANK) if not self.tabs else row.rstrip(_BLANK)
        if not row:
            return []
        return [cell.strip(" ") for cell in row.split("\t")] if self.tabs else re.split("[ \t]+", row)

    def is_comment(self, row: str) -> bool:
        """Whether the first row of a sentence is a comment: "# name = value", or # with other than a word's columns."""
        return row.startswith(("# ", "#\t")) and (
            len(self.split(row)) != self.width or _NAMED_COMMENT.match(row) is not None
        )

    def is_extra(self, cells: List[str]) -> bool:
        """Whether a row of CoNLL-U is no word of the sentence: a token of several words, or an empty node."""
        return self.width == _CONLLU_WIDTH == len(cells) and _CONLLU_EXTRA.fullmatch(cells[0]) is not None

    def problem_of(self, cells: List[str]) -> Optional[str]:
        if len(cells) != self.width:
            return (
                "{} columns, where others have {}. A line is a word and its tags, a blank line ends a sentence (raw "
                "text: --format=text)."
            ).format(len(cells), self.width)
        if "" in cells:
            number = cells.index("")
            return "column {} is empty. A line is a word and its tags, a blank line ends a sentence.".format(number)
        return None


def _table_of(path: str, encoding: str) -> _Table:
    """The shape of the first row that cannot be a comment; of the first row if all could be."""
    first: Optional[_Table] = None
    for _, text in text_files.lines_or_errors(path, encoding):
        if isinstance(text, UserError) or not text.strip(_BLANK):
            continue
        tabs = "\t" in text.rstrip(_BLANK)
        table = _Table(tabs, len(_Table(tabs, 0).split(text)))
        first = first or table
        if not text.startswith(("#", _DOCUMENT_START)):
            return table
    return first or _Table(False, 0)
