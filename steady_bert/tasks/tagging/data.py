"""files → tagged sentences: columns as CoNLL's, JSON lines with spans of characters, raw text.

    columns   a word a line with its tag in another column, split at tabs or spaces; a blank line ends a sentence
    json      {"text": …, "entities": [{"start": 0, "end": 3, "type": "PER"} or [0, 3, "PER"], …]}, the end left out
    cluener   {"text": …, "label": {"name": {"surface": [[start, end], …]}}}, the end included
    text      a text a line, without tags

Every error names file and line. What no tagger can say (an I that nothing begins, entities that overlap) is an error
too, unless it may be mended: then each case is reported.
"""

import itertools
import re
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

import tokenization

from ...base.errors import UserError
from ..reading import text_files
from ..task import BadLines
from . import schemes as tag_schemes
from .schemes import Entity

FORMATS = ("auto", "columns", "json", "cluener", "text")
SCHEMES = ("auto",) + tag_schemes.SCHEMES
UNITS = ("auto", "words", "characters")
TAG_COLUMNS = ("last", "none")  # or a number
_CENSUS_SENTENCES = 1000  # looked at to tell whether words are characters
_DOCUMENT_START = "-DOCSTART-"
_JSON_ENDINGS = (".json", ".jsonl", ".ndjson")


class Layout(NamedTuple):
    """How files are to be read; "auto" where a file says it itself."""

    format: str = "auto"
    tag_column: str = "last"  # or "none", or a number from 0
    tag_scheme: str = "auto"
    text_units: str = "words"  # of json, cluener and text: what gets a tag each
    mend_tags: bool = False


class Sentence(NamedTuple):
    number: int  # of its file, from 0
    line: int  # of its file, from 1
    example_id: str
    words: Tuple[str, ...]
    tags: Optional[Tuple[str, ...]]  # bio or plain; None where the file has none
    text: str  # of columns, the words with spaces between, or characters without
    offsets: Tuple[Tuple[int, int], ...]  # of each word in text: [start, end)
    rows: Tuple[str, ...] = ()  # of columns: the lines, without their ends


class _Columns(NamedTuple):
    """A sentence of a file of columns, before its tags are understood."""

    line: int
    rows: List[str]
    cells: List[List[str]]


class _TagError(Exception):
    """What is wrong with a tag, and in which word of the sentence."""

    def __init__(self, word: int, message: str) -> None:
        super().__init__(message)
        self.word = word


def read_sentences(
    path: str, layout: Layout, tags: Optional[Sequence[str]], needs_tags: bool, bad_lines: BadLines
) -> Iterator[Sentence]:
    """The sentences of a file in order, each with at least a word.

    tags: those that a model knows; None where all are welcome. With needs_tags a file without is an error.
    """
    number = 0
    if format_of(path, layout) == "columns":
        sentences = _sentences_of_columns(path, layout, needs_tags, bad_lines)
    else:
        sentences = _sentences_of_texts(path, layout, needs_tags, bad_lines)
    known = None if tags is None else set(tags)
    for sentence in sentences:
        unknown = _first_unknown(sentence, known)
        if unknown is not None:
            assert sentence.tags is not None and tags is not None
            message = (
                "{}: {!r} has the tag {}, which training did not see: {}. Mend it, name another --tag_column (none: "
                "there are no tags; raw text: --format=text), or train with it in --tags_file."
            )
            place = _place(path, sentence, unknown)
            named = ", ".join(tags[:20]) + ", …" * (len(tags) > 20)
            bad_lines.add(UserError(message.format(place, sentence.words[unknown], sentence.tags[unknown], named)))
            continue
        yield sentence._replace(number=number)
        number += 1
    if not number:
        raise UserError("{}: has no sentence. Is it the right file, and the right --format?".format(path))


def _first_unknown(sentence: Sentence, known: Optional[Any]) -> Optional[int]:
    if known is None or sentence.tags is None:
        return None
    return next((number for number, tag in enumerate(sentence.tags) if tag not in known), None)


def _place(path: str, sentence: Sentence, word: int) -> str:
    return "{}:{}".format(path, sentence.line + (word if sentence.rows else 0))


def find_tags(path: str, layout: Layout, bad_lines: BadLines) -> List[str]:
    """The tags of a training file: O, then B and I of each type, sorted; of plain tags, those that are there."""
    found: Set[str] = set()
    for sentence in read_sentences(path, layout, None, True, bad_lines):
        found.update(sentence.tags or ())
    if scheme_of(path, layout) == "plain":
        outside = tag_schemes.OUTSIDE in found  # then the others are of entities
        if layout.tag_scheme == "auto" and (outside or found <= set(tag_schemes.BARE)):
            message = (
                "{}: the tags {} name no type as B-PER does. Write them so, or give --tag_scheme=plain: then words "
            )
            named = ", ".join(sorted(found)[:10]) + ", …" * (len(found) > 10)
            raise UserError((message + "are scored, not entities.").format(path, named))
        return sorted(found)
    if found <= {tag_schemes.OUTSIDE}:
        raise UserError("{}: no word has a tag but O. Is --tag_column right?".format(path))
    return tag_schemes.tags_of(sorted({tag_schemes.parts(tag)[1] for tag in found} - {""}))


def read_tags_file(path: str, scheme: str) -> List[str]:
    """One tag a line, in the order of their ids. Tags of bio that the types need and the file lacks come after them."""
    tags = [text.strip() for _, text in text_files.lines(path, BadLines(0))]
    for number, tag in enumerate(tags):
        if tag in tags[:number]:
            message = "{}:{}: {!r} stands at line {} too. Remove one."
            raise UserError(message.format(path, number + 1, tag, tags.index(tag) + 1))
    census = tag_schemes.Census()
    census.add(tags)
    if not tags or tags == [tag_schemes.OUTSIDE]:
        raise UserError("{}: names no tag. Write one a line.".format(path))
    if scheme == "plain" or (scheme == "auto" and census.scheme() == "plain"):
        return tags
    for number, tag in enumerate(tags):
        if not tag_schemes.is_tag(tag):
            raise UserError("{}:{}: {!r} is neither O nor as B-PER, as the others are.".format(path, number + 1, tag))
    types = dict.fromkeys(tag_schemes.parts(tag)[1] for tag in tags if tag != tag_schemes.OUTSIDE)
    needed = tag_schemes.tags_of(types)
    return [tag for tag in tags if tag in needed] + [tag for tag in needed if tag not in tags]


def format_of(path: str, layout: Layout) -> str:
    """Of auto: cluener where a JSON file's first object has its "label", json for others, columns for other files."""
    if layout.format != "auto":
        return layout.format
    if text_files.ending_of(path) not in _JSON_ENDINGS:
        return "columns"
    first = next(text_files.rows(path, BadLines(1 << 62)), None)
    return "cluener" if first is not None and isinstance(first.cells.get("label"), dict) else "json"


def scheme_of(path: str, layout: Layout) -> str:
    """The scheme of a file's tags: what is said, or what they look like. JSON's entities are written as bio."""
    if layout.tag_scheme != "auto":
        return layout.tag_scheme
    if format_of(path, layout) != "columns":
        return "bio"
    census = tag_schemes.Census()
    for found in _column_sentences(path, BadLines(1 << 62)):
        column = _tag_column(layout, len(found.cells[0]), path)
        if column is not None:
            census.add([cells[column] for cells in found.cells])
    return census.scheme()


def units_of(path: str, layout: Layout) -> str:
    """What gets a tag each, told from a training file: characters of cluener, and where no column's word has two."""
    if layout.text_units != "auto":
        return layout.text_units
    kind = format_of(path, layout)
    if kind == "columns":
        for number, found in enumerate(_column_sentences(path, BadLines(1 << 62))):
            if any(len(cells[0]) > 1 for cells in found.cells):
                return "words"
            if number == _CENSUS_SENTENCES:
                break
        return "characters"
    return "characters" if kind == "cluener" else "words"


# --- columns ----------------------------------------------------------------------------------------------------------


def _sentences_of_columns(path: str, layout: Layout, needs_tags: bool, bad_lines: BadLines) -> Iterator[Sentence]:
    scheme = scheme_of(path, layout)
    gap = "" if layout.text_units == "characters" else " "
    for number, found in enumerate(_column_sentences(path, bad_lines)):
        words = tuple(cells[0] for cells in found.cells)
        try:
            column = _tag_column(layout, len(found.cells[0]), path)
            if column is None and needs_tags:
                raise UserError("{}:{}: a line has a word and no tag. Is it the right file?".format(path, found.line))
            if len(found.cells[0]) == 1 and not gap and any(len(word) > 1 for word in words):
                message = "{}:{}: a line is no single character, which the model tags. Raw text needs --format=text."
                raise UserError(message.format(path, found.line))
            tags = None
            if column is not None:
                tags = _understood([cells[column] for cells in found.cells], scheme, layout, path, found, bad_lines)
        except _TagError as error:
            bad_lines.add(UserError("{}:{}: {}".format(path, found.line + error.word, error)))
            continue
        starts = [0]
        for word in words:
            starts.append(starts[-1] + len(word) + len(gap))
        offsets = tuple((start, start + len(word)) for start, word in zip(starts, words))
        yield Sentence(0, found.line, str(number), words, tags, gap.join(words), offsets, tuple(found.rows))


def _tag_column(layout: Layout, width: int, path: str) -> Optional[int]:
    """None where there are no tags. Raises UserError where the column is not there."""
    if layout.tag_column == "none" or width == 1:
        return None
    if layout.tag_column == "last":
        return width - 1
    column = int(layout.tag_column)
    if column >= width:
        raise UserError("--tag_column={}: the columns of {} are 0 to {}. Give another.".format(column, path, width - 1))
    return column


def _understood(
    tags: List[str], scheme: str, layout: Layout, path: str, found: _Columns, bad_lines: BadLines
) -> Tuple[str, ...]:
    """A file's tags as bio, or as they are where they are plain. Raises _TagError."""
    if scheme == "plain":
        return tuple(tags)
    for number, tag in enumerate(tags):
        try:
            tag_schemes.parts(tag)
        except ValueError:
            text = (
                "{!r} has the tag {!r}, which is neither O nor as B-PER. Mend the line, or name another --tag_column."
            )
            raise _TagError(number, text.format(found.cells[number][0], tag)) from None
    for wrong in tag_schemes.impossible(tags, scheme):
        word = min(wrong, len(tags) - 1)
        before = tags[wrong - 1] if wrong else "the sentence's start"
        text = "{} cannot follow {} in {}.".format(
            tags[wrong] if wrong < len(tags) else "the sentence's end", before, scheme
        )
        if not layout.mend_tags:
            text += " Mend the line, name another --tag_scheme, or read it as conlleval does: --mend_tags."
            raise _TagError(word, text)
        bad_lines.mended.append("{}:{}: {}".format(path, found.line + word, text))
    return tuple(tag_schemes.to_bio(tag_schemes.entities(tags), len(tags)))


def _column_sentences(path: str, bad_lines: BadLines) -> Iterator[_Columns]:
    """The sentences of a file, with comments and document starts left out. A bad line takes its sentence with it."""
    shape = _shape_of(path)
    current = _Columns(0, [], [])
    error: Optional[UserError] = None
    for number, text in itertools.chain(text_files.lines_or_errors(path), [(0, "")]):
        if isinstance(text, UserError):
            error = error or text
            continue
        row = text.rstrip(_BLANK)
        cells = shape.split(row)
        if not cells or cells[0] == _DOCUMENT_START:
            if error is not None:
                bad_lines.add(error)
            elif current.cells:
                yield current
            current, error = _Columns(0, [], []), None
            continue
        if not current.cells and error is None and shape.is_comment(row):
            continue
        wrong = shape.what_is_wrong(cells)
        if wrong is not None:
            error = error or UserError("{}:{}: {}".format(path, number, wrong))
            continue
        current = current._replace(line=current.line or number)
        current.rows.append(row)
        current.cells.append(cells)


_BLANK = " \t\r\n"  # other white space may be a word
_NAMED_COMMENT = re.compile(r"# \S+ = ")  # of CoNLL-U


class _Shape(NamedTuple):
    """How the rows of a file are parted, and into how many columns."""

    tabs: bool
    width: int

    def split(self, row: str) -> List[str]:
        """None of a blank row."""
        row = row.strip(_BLANK) if not self.tabs else row.rstrip(_BLANK)
        if not row:
            return []
        return [cell.strip(" ") for cell in row.split("\t")] if self.tabs else re.split("[ \t]+", row)

    def is_comment(self, row: str) -> bool:
        """Of a sentence's first row: # and a space, and then not what a word and its tags are; or # name = value."""
        return row.startswith("# ") and (len(self.split(row)) != self.width or _NAMED_COMMENT.match(row) is not None)

    def what_is_wrong(self, cells: List[str]) -> Optional[str]:
        if len(cells) != self.width:
            return (
                "{} columns, where others have {}. A line is a word and its tags, a blank line ends a sentence (raw "
                "text: --format=text)."
            ).format(len(cells), self.width)
        if "" in cells:
            number = cells.index("")
            return "column {} is empty. A line is a word and its tags, a blank line ends a sentence.".format(number)
        return None


def _shape_of(path: str) -> _Shape:
    """That of the first row that cannot be a comment; of files that have none, of the first row."""
    found = None
    for _, text in text_files.lines_or_errors(path):
        if isinstance(text, UserError) or not text.strip(_BLANK):
            continue
        tabs = "\t" in text.rstrip(_BLANK)
        shape = _Shape(tabs, len(_Shape(tabs, 0).split(text)))
        found = found or shape
        if not text.startswith(("#", _DOCUMENT_START)):
            return shape
    return found or _Shape(False, 0)


# --- texts ------------------------------------------------------------------------------------------------------------


def _sentences_of_texts(path: str, layout: Layout, needs_tags: bool, bad_lines: BadLines) -> Iterator[Sentence]:
    for line, key, text, spans in _texts(path, layout, bad_lines):
        place = "{}:{}".format(path, line)
        units = units_in(text, layout.text_units)
        try:
            if spans is None and needs_tags:
                raise UserError(
                    'no tags: write "entities" (or CLUENER\'s "label"), an empty list where there are none.'
                )
            if not units:
                raise UserError("the text has no word. Remove the line.")
            tags = None
            if spans is not None:
                tags = tuple(_tags_of_spans(spans, text, units, layout, place, bad_lines))
        except UserError as error:
            bad_lines.add(UserError("{}: {}".format(place, error)))
            continue
        words = tuple(text[start:end] for start, end in units)
        yield Sentence(0, line, key, words, tags, text, tuple(units))


def _texts(path: str, layout: Layout, bad_lines: BadLines) -> Iterator[Tuple[int, str, str, Optional[List[Entity]]]]:
    """(line, id, text, entities by characters, or None where the file has none)"""
    if format_of(path, layout) == "text":
        for number, text in text_files.lines_or_errors(path):
            if isinstance(text, UserError):
                bad_lines.add(text)
            elif units_in(text, layout.text_units):  # others have nothing to tag
                yield number, str(number), text.rstrip("\r\n"), None
        return
    for row in text_files.rows(path, bad_lines):
        try:
            if not isinstance(row.cells, dict):
                raise UserError("not a JSON object. Name the file .json, or give another --format.")
            content = row.cells.get("text")
            if not isinstance(content, str):
                raise UserError('"text" is missing, or is no string. Mend the line.')
            yield row.line, str(row.cells.get("id", row.line)), content, _spans(row.cells, content)
        except UserError as error:
            bad_lines.add(UserError("{}: {}".format(row.place, error)))


def units_in(text: str, units: str) -> List[Tuple[int, int]]:
    """[start, end) of what gets a tag each: words as BERT's tokenizer parts them, or all characters but white space."""
    if units == "characters":
        return [(place, place + 1) for place, character in enumerate(text) if not character.isspace()]
    return tokenization.word_places(text)


def _spans(cells: Dict[str, Any], text: str) -> Optional[List[Entity]]:
    """Of either layout, ends left out. Raises UserError for what is neither."""
    if isinstance(cells.get("label"), dict):
        return _cluener_spans(cells["label"], text)
    listed = cells.get("entities")
    if listed is None:
        return None
    if not isinstance(listed, list):
        raise UserError('"entities" is no list. Mend the line.')
    found = []
    for item in listed:
        values = [item.get(name) for name in ("start", "end", "type")] if isinstance(item, dict) else item
        if not isinstance(values, list) or len(values) != 3:
            raise UserError('the entity {!r} is not as {{"start": 0, "end": 3, "type": "PER"}}. Mend it.'.format(item))
        start, end, kind = values
        found.append(_checked(kind, start, end, text))
    return found


def _cluener_spans(label: Dict[str, Any], text: str) -> List[Entity]:
    found = []
    for kind, mentions in label.items():
        for surface, places in mentions.items() if isinstance(mentions, dict) else [("", None)]:
            for place in places if isinstance(places, list) else [None]:
                if not isinstance(place, list) or len(place) != 2 or not all(map(_is_whole, place)):
                    raise UserError(
                        'the "label" of {!r} is not as {{"name": {{"surface": [[0, 6]]}}}}. Mend it.'.format(kind)
                    )
                entity = _checked(kind, place[0], place[1] + 1, text)
                if text[entity.start : entity.end] != surface:
                    raise UserError(
                        "{!r} is said to be at {}, where {!r} stands. Mend it.".format(
                            surface, place, text[entity.start : entity.end]
                        )
                    )
                found.append(entity)
    return found


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _checked(kind: Any, start: Any, end: Any, text: str) -> Entity:
    if not (isinstance(kind, str) and re.fullmatch(r"\S+", kind) and _is_whole(start) and _is_whole(end)):
        raise UserError(
            "the entity {} to {} of type {!r} is not two whole numbers and a name. Mend it.".format(start, end, kind)
        )
    if not 0 <= start < end <= len(text):
        raise UserError(
            "the entity {} to {} is not within the text of {} characters. Mend it.".format(start, end, len(text))
        )
    return Entity(kind, start, end)


def _tags_of_spans(
    spans: Iterable[Entity],
    text: str,
    units: Sequence[Tuple[int, int]],
    layout: Layout,
    place: str,
    bad_lines: BadLines,
) -> List[str]:
    """bio's tags of the units. Raises UserError for spans that overlap, or end within a unit."""
    starts = {start: number for number, (start, _) in enumerate(units)}
    ends = {end: number + 1 for number, (_, end) in enumerate(units)}
    of_units = {place for start, end in units for place in range(start, end)}
    kept: List[Entity] = []
    for kind, start, end in sorted(spans, key=lambda span: (span.start - span.end, span.start, span.type)):
        other = next((other for other in kept if start < other.end and other.start < end), None)
        if other is not None:
            if Entity(kind, start, end) == other:
                continue
            message = "{} {!r} and {} {!r} share characters; a word has one tag.".format(
                kind, text[start:end], other.type, text[other.start : other.end]
            )
            if not layout.mend_tags:
                raise UserError(message + " Mend the line, or keep the longer with --mend_tags.")
            bad_lines.mended.append("{}: {}".format(place, message))
            continue
        kept.append(Entity(kind, start, end))
    found = []
    for kind, start, end in kept:
        surface = text[start:end]
        inside = [place for place in range(start, end) if place in of_units]  # without white space at the ends
        if not inside:
            raise UserError("{} {!r} covers no word. Mend the line.".format(kind, surface))
        start, end = inside[0], inside[-1] + 1
        if start not in starts or end not in ends:
            raise UserError(
                "{} {!r} ends or begins within a word. Mend it, or let each character have a tag: "
                "--text_units=characters.".format(kind, surface)
            )
        found.append(Entity(kind, starts[start], ends[end]))
    return tag_schemes.to_bio(found, len(units))


# --- predictions ------------------------------------------------------------------------------------------------------


def column_rows(sentence: Sentence, tags: Sequence[str]) -> List[str]:
    """The sentence's own lines, or its words, each with its predicted tag after it."""
    separator = "\t" if any("\t" in row for row in sentence.rows) else " "
    return [row + separator + tag for row, tag in zip(sentence.rows or sentence.words, tags)]


def json_object(sentence: Sentence, tags: Sequence[str], probabilities: Sequence[float]) -> Dict[str, Any]:
    """The entities by characters of the text, end left out; a score is the mean probability of the words' tags.

    Of plain tags, those of the words.
    """
    found: List[Dict[str, Any]] = []
    for kind, start, end in tag_schemes.entities(tags):
        begin, stop = sentence.offsets[start][0], sentence.offsets[end - 1][1]
        score = sum(probabilities[start:end]) / (end - start)
        surface = sentence.text[begin:stop]
        found.append({"start": begin, "end": stop, "type": kind, "text": surface, "score": round(float(score), 6)})
    return {"id": sentence.example_id, "text": sentence.text, "entities": found}


def json_tags(sentence: Sentence, tags: Sequence[str], probabilities: Sequence[float]) -> Dict[str, Any]:
    """json_object for plain tags: one of each word."""
    found = [
        {"start": start, "end": end, "tag": tag, "text": word, "score": round(float(probability), 6)}
        for word, (start, end), tag, probability in zip(sentence.words, sentence.offsets, tags, probabilities)
    ]
    return {"id": sentence.example_id, "text": sentence.text, "tags": found}
