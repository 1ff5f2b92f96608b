"""CoNLL's columns: a word and its tags a line, split at tabs or spaces; a blank line ends a sentence."""

import itertools
import re
from typing import Iterator, List, NamedTuple, Optional, Tuple

from ...base.errors import UserError
from ..reading import text_files
from ..task import BadLines
from . import schemes as tag_schemes
from .sentences import Layout, Sentence

_CENSUS_SENTENCES = 1000  # read to decide whether words are single characters
_DOCUMENT_START = "-DOCSTART-"
_BLANK = " \t\r\n"  # other white space may be a word
_NAMED_COMMENT = re.compile(r"# \S+ = ")  # in CoNLL-U
_ALL_LINES = 1 << 62


class _Block(NamedTuple):
    """The rows of one sentence, before its tags are interpreted."""

    line: int
    rows: List[str]
    cells: List[List[str]]


class _TagError(Exception):
    """What is wrong with a tag, and at which word of the sentence."""

    def __init__(self, word: int, message: str) -> None:
        super().__init__(message)
        self.word = word


def read(path: str, layout: Layout, needs_tags: bool, bad_lines: BadLines) -> Iterator[Sentence]:
    """The sentences of a file, in order."""
    scheme = scheme_of(path, layout) if layout.tag_scheme == "auto" else layout.tag_scheme
    gap = "" if layout.text_units == "characters" else " "
    for number, block in enumerate(_blocks(path, layout, bad_lines)):
        words = tuple(cells[0] for cells in block.cells)
        try:
            column = _tag_column(layout, len(block.cells[0]), path)
            if column is None and needs_tags:
                raise UserError("{}:{}: a line has a word and no tag. Is it the right file?".format(path, block.line))
            if len(block.cells[0]) == 1 and not gap and any(len(word) > 1 for word in words):
                message = "{}:{}: a line is not a single character, which the model tags. Raw text needs --format=text."
                raise UserError(message.format(path, block.line))
            tags = None if column is None else _bio_tags(block, column, scheme, layout, path, bad_lines)
        except _TagError as error:
            bad_lines.add(UserError("{}:{}: {}".format(path, block.line + error.word, error)))
            continue
        starts = [0]
        for word in words:
            starts.append(starts[-1] + len(word) + len(gap))
        offsets = tuple((start, start + len(word)) for start, word in zip(starts, words))
        yield Sentence(0, block.line, str(number), words, tags, gap.join(words), offsets, tuple(block.rows))


def scheme_of(path: str, layout: Layout) -> str:
    """The scheme that the tags of a file look like."""
    census = tag_schemes.Census()
    for block in _blocks(path, layout, BadLines(_ALL_LINES)):
        column = _tag_column(layout, len(block.cells[0]), path)
        if column is not None:
            census.add([cells[column] for cells in block.cells])
    return census.scheme()


def units_of(path: str, layout: Layout) -> str:
    """characters if none of the first words is longer than one character, else words."""
    blocks = itertools.islice(_blocks(path, layout, BadLines(_ALL_LINES)), _CENSUS_SENTENCES + 1)
    return "words" if any(len(cells[0]) > 1 for block in blocks for cells in block.cells) else "characters"


def _tag_column(layout: Layout, width: int, path: str) -> Optional[int]:
    """The number of the column of tags; None if there are no tags. Raises UserError if the file lacks the column."""
    if layout.tag_column == "none" or width == 1:
        return None
    if layout.tag_column == "last":
        return width - 1
    column = int(layout.tag_column)
    if column >= width:
        raise UserError("--tag_column={}: the columns of {} are 0 to {}. Give another.".format(column, path, width - 1))
    return column


def _bio_tags(
    block: _Block, column: int, scheme: str, layout: Layout, path: str, bad_lines: BadLines
) -> Tuple[str, ...]:
    """The tags of a sentence as bio, or unchanged if they are plain. Raises _TagError."""
    tags = [cells[column] for cells in block.cells]
    if scheme == "plain":
        return tuple(tags)
    for word, tag in enumerate(tags):
        if not tag_schemes.is_tag(tag):
            message = (
                "{!r} has the tag {!r}, which is neither O nor like B-PER. Fix the line, or name another --tag_column."
            )
            raise _TagError(word, message.format(block.cells[word][0], tag))
    for place in tag_schemes.impossible(tags, scheme):
        tag = tags[place] if place < len(tags) else "the sentence's end"
        before = tags[place - 1] if place else "the sentence's start"
        word = min(place, len(tags) - 1)
        message = "{} cannot follow {} in {}.".format(tag, before, scheme)
        if not layout.mend_tags:
            message += " Fix the line, name another --tag_scheme, or read it as conlleval does: --mend_tags."
            raise _TagError(word, message)
        bad_lines.mended.append("{}:{}: {}".format(path, block.line + word, message))
    return tuple(tag_schemes.to_bio(tag_schemes.entities(tags), len(tags)))


def _blocks(path: str, layout: Layout, bad_lines: BadLines) -> Iterator[_Block]:
    """The sentences of a file without comments and document starts. A bad line takes its whole sentence with it."""
    table = _table_of(path, layout.encoding)
    current = _Block(0, [], [])
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
            elif current.cells:
                yield current
            current, error = _Block(0, [], []), None
            continue
        if not current.cells and error is None and table.is_comment(row):
            continue
        problem = table.problem_of(cells)
        if problem is not None:
            error = error or UserError("{}:{}: {}".format(path, number, problem))
            continue
        current = current._replace(line=current.line or number)
        current.rows.append(row)
        current.cells.append(cells)


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
        return row.startswith("# ") and (len(self.split(row)) != self.width or _NAMED_COMMENT.match(row) is not None)

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
