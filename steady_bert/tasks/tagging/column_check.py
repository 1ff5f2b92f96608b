"""A look at a file of columns: is the column that is taken for the word one of words, and is the last one of tags?

A file may begin its lines with a number, a sentence's id or a document's name; others are no files of columns at all.
A tagger learns such a column as readily as words.
"""

import csv
import json
import re
from typing import List, NamedTuple, Optional, Sequence

from ...base.errors import UserError
from . import schemes as tag_schemes

WORD_NAMES = ("word", "words", "token", "tokens", "form")
TAG_NAMES = ("tag", "tags", "ner_tag", "ner_tags", "ner", "label", "labels", "entity", "iob", "bio")

_NUMBER = re.compile(r"[+-]?\d+(?:[.,:]\d+)*")
_ID = re.compile(r"[A-Za-z]*[-_.:#/]?\d+(?:[-_.:#/]\w*)*(?:\.\w+)?|[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|[0-9a-f]{12,}")
_BRAT = re.compile(r"T\d+\t\S+ \d+ \d+(?:;\d+ \d+)*\t|[REAMN#*]\d*\t\S+ \S+")
_WORDS_SHOWN = 3
_FEW_ROWS = 20  # a file of fewer rows may be anything


class Sample(NamedTuple):
    """The first sentences of a file, each with its rows of cells."""

    path: str
    line: int  # of the first row
    sentences: Sequence[Sequence[Sequence[str]]]

    def column(self, number: int) -> List[List[str]]:
        return [[cells[number] for cells in rows] for rows in self.sentences]

    @property
    def width(self) -> int:
        return len(self.sentences[0][0])

    @property
    def place(self) -> str:
        return "{}:{}".format(self.path, self.line)


def is_header(cells: Sequence[str]) -> bool:
    """Whether the cells name a column of words and one of tags."""
    names = {cell.strip().lower() for cell in cells}
    return bool(names & set(WORD_NAMES)) and bool(names & set(TAG_NAMES))


def is_sentence(word: str, tag: str) -> bool:
    """Whether two cells hold a whole sentence and its tags: lists as text, or as many words as tags."""
    if word[:2] in ("['", '["') and word[-1:] == "]" and tag[:1] + tag[-1:] == "[]":
        return True
    tags = tag.split()
    return 1 < len(tags) == len(word.split()) and all(map(tag_schemes.is_tag, tags))


SENTENCE_A_ROW = (
    "{}: a row is a whole sentence: {!r}. Write a word and its tag a row, or each sentence as a line of JSON: "
    '{{"tokens": […], "ner_tags": […]}}.'
)


def require_columns(path: str, lines: Sequence[str]) -> None:
    """Raises UserError if the first lines of a file, without blank ones, show that it is of another format."""
    if path.endswith(".ann") or (lines and all(map(_BRAT.match, lines)) and any(line[0] == "T" for line in lines)):
        raise UserError(
            "{}: annotations of brat, not columns. Name the text, whose name ends in .txt, with the .ann beside "
            "it.".format(path)
        )
    if not lines:
        return
    if lines[0].lstrip()[:1] in ("{", "[") and _is_json(lines[0]):
        raise UserError("{}: JSON, not columns. Name the file .json or .jsonl, or give its --format.".format(path))
    if is_header(lines[0].split()):
        raise UserError(
            "{}: the line {!r} names the columns. Separate a file with such a line by tabs or commas (--format=csv), "
            "or remove the line.".format(path, lines[0])
        )
    rows = [split(line, ",") for line in lines]
    if is_header(rows[0]) or _are_csv(rows, lines):
        raise UserError("{}: commas separate its cells. Name the file .csv, or give --format=csv.".format(path))


def split(line: str, separator: str) -> List[str]:
    """The cells of a line of CSV; none if it is no such line."""
    try:
        return next(csv.reader([line.strip("\r\n")], delimiter=separator), [])
    except csv.Error:
        return []


def _are_csv(rows: Sequence[Sequence[str]], lines: Sequence[str]) -> bool:
    """Whether commas split lines evenly and white space does not, or leaves them whole, tags included."""
    evenly = len({len(cells) for cells in rows}) == 1 and len(rows[0]) > 1 and len(rows) > 1
    widths = {len(line.split()) for line in lines}
    return evenly and (len(widths) > 1 or (widths == {1} and all(tag_schemes.is_tag(cells[-1]) for cells in rows)))


def _is_json(line: str) -> bool:
    try:
        return isinstance(json.loads(line), (dict, list))
    except (ValueError, RecursionError):
        return False


# --- words ------------------------------------------------------------------------------------------------------------


def require_words(sample: Sample, word: int, tag: Optional[int]) -> List[str]:
    """What the data report says of a doubtful column. Raises UserError if the column cannot be one of words."""
    values = sample.column(word)
    flat = [value for sentence in values for value in sentence]
    others = [number for number in range(sample.width) if number not in (word, tag)]
    what = _kind_of(values, bool(others))
    if what is not None:
        raise UserError(
            "{}: column {} is taken for the word, and {}. Its columns: {}. {}".format(
                sample.place, word, what, shown_columns(sample), _advice(sample, others)
            )
        )
    doubtful = [value for value in flat if _ID.fullmatch(value) or _NUMBER.fullmatch(value)]
    most = max(flat, key=flat.count) if len(flat) <= 2000 else max(flat[:2000], key=flat[:2000].count)
    repeated = flat.count(most)
    if len(flat) < _FEW_ROWS:
        return []
    text = "{:.0%} of the first {:,} words are {}, such as {!r}. If column {} is not the word's, pass --word_column."
    if 2 * len(doubtful) > len(flat):
        return [text.format(len(doubtful) / len(flat), len(flat), "numbers or ids", doubtful[0], word)]
    if 2 * repeated > len(flat):
        return [text.format(repeated / len(flat), len(flat), "the same", most, word)]
    return []


def _kind_of(values: Sequence[Sequence[str]], has_others: bool) -> Optional[str]:
    """Why no reading of a column as words is plausible; None if one is."""
    flat = [value for sentence in values for value in sentence]
    enough = len(flat) >= _FEW_ROWS or (has_others and len(flat) > 1)
    if all(map(_NUMBER.fullmatch, flat)):
        if enough or (len(flat) > 2 and all(map(_counts_up, values))):
            return "every value is a number"
        return None
    if enough and len(flat) > 2 and all(_ID.fullmatch(value) or _NUMBER.fullmatch(value) for value in flat):
        return "every value looks like an id, as {!r} does".format(flat[0])
    several = [sentence for sentence in values if len(sentence) > 1]
    if enough and (len(several) > 1 or any(len(sentence) > 2 for sentence in several)):
        if len(set(flat)) == 1:
            return "every value is {!r}".format(flat[0])
        # Where most sentences are one word, two that repeat theirs show nothing.
        most = 2 * sum(map(len, several)) > len(flat)
        if most and all(len(set(sentence)) == 1 for sentence in several):
            return "all values of a sentence are the same, such as {!r}".format(several[0][0])
    return None


def _counts_up(sentence: Sequence[str]) -> bool:
    return all(value.isdecimal() for value in sentence) and all(
        int(after) == int(before) + 1 for before, after in zip(sentence, sentence[1:])
    )


def _advice(sample: Sample, others: Sequence[int]) -> str:
    """Names the column that is most likely the word's."""
    likely = [number for number in others if _kind_of(sample.column(number), True) is None]
    if not likely:
        return "Pass --word_column: 0 if it is right, else the number of the word's."

    def variety(number: int) -> int:
        return len({value for sentence in sample.column(number) for value in sentence})

    best = max(likely, key=variety)
    return "Pass --word_column={} if that is the word's, or --word_column=0 if column 0 is.".format(best)


def shown_columns(sample: Sample) -> str:
    """Each column with its first values."""
    shown = []
    for number in range(sample.width):
        values = [value for sentence in sample.column(number) for value in sentence]
        first = list(dict.fromkeys(values))[:_WORDS_SHOWN]
        shown.append("{} ({}{})".format(number, " ".join(first), " …" * (len(values) > len(first))))
    return ", ".join(shown)


# --- tags -------------------------------------------------------------------------------------------------------------


def require_tags(sample: Sample, word: int, tag: int) -> List[str]:
    """What the data report says of a last column that may not be the tags'. Raises UserError if it cannot be."""
    values = [value for sentence in sample.column(tag) for value in sentence]
    for rows in sample.sentences:
        for cells in rows:
            if is_sentence(cells[word], cells[tag]):
                raise UserError(SENTENCE_A_ROW.format(sample.path, cells[word][:40]))
    census = tag_schemes.Census()
    for sentence in sample.column(tag):
        census.add(sentence)
    if census.scheme() != "plain" or all(tag_schemes.is_tag(tag_schemes.retyped(value)) for value in values):
        return []
    tagged = [number for number in range(sample.width) if number not in (word, tag) and _marks_entities(sample, number)]
    advice = "Pass --tag_column={}".format(tagged[0]) if tagged else "Pass --tag_column"
    if len(set(values)) == 1 < len(values) and sample.width > 2:
        raise UserError(
            "{}: the last column is taken for the tag, and every value is {!r}. Its columns: {}. {}.".format(
                sample.place, values[0], shown_columns(sample), advice
            )
        )
    if not tagged and _are_words(values):
        raise UserError(
            "{}: the last column is taken for the tag, and has words, such as {!r}. A line is a word and its tags; "
            "raw text needs --format=text, and has no tags to learn. If they are tags: --tag_column={}.".format(
                sample.place, next(filter(_is_word, values)), tag
            )
        )
    if not tagged:
        return []
    message = "column {} has tags of entities, and the last, of plain tags such as {!r}, is learned. {} for the other."
    return [message.format(tagged[0], values[0], advice)]


def _marks_entities(sample: Sample, number: int) -> bool:
    values = {value for sentence in sample.column(number) for value in sentence}
    return all(map(tag_schemes.is_tag, values)) and values != {tag_schemes.OUTSIDE}


def _is_word(value: str) -> bool:
    """Whether a tag looks like a word: it ends as a sentence does, or has small letters alone."""
    return (len(value) > 1 and value[-1] in ".!?。！？") or (value.islower() and len(value) > 1)


def _are_words(values: Sequence[str]) -> bool:
    """Whether plain tags look like the last words of sentences: most are words, and hardly one occurs twice."""
    distinct = set(values)
    return (
        len(values) > 1 and 10 * len(distinct) > 9 * len(values) and 2 * sum(map(_is_word, distinct)) >= len(distinct)
    )
