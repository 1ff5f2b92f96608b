"""Texts with entities as spans of characters: JSON lines, CLUENER's JSON, raw text without entities.

json      {"text": …, "entities": [{"start": 0, "end": 3, "type": "PER"} or [0, 3, "PER"], …]}, the end left out
cluener   {"text": …, "label": {"name": {"surface": [[start, end], …]}}}, the end included
text      a text a line, without tags
"""

import re
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import tokenization

from ...base.errors import UserError
from ..reading import text_files
from ..task import BadLines
from . import schemes as tag_schemes
from .schemes import Entity
from .sentences import Layout, Sentence


class MarkedText(NamedTuple):
    line: int
    example_id: str
    text: str
    spans: Optional[List[Entity]]  # entities by characters, the end left out; None if the file has no entities


# --- files → texts ----------------------------------------------------------------------------------------------------


def raw_texts(path: str, layout: Layout, bad_lines: BadLines) -> Iterator[MarkedText]:
    """The lines of a file that hold at least one word."""
    for number, text in text_files.lines_or_errors(path, layout.encoding):
        if isinstance(text, UserError):
            bad_lines.add(text)
        elif units_in(text, layout.text_units):
            yield MarkedText(number, str(number), text.rstrip("\r\n"), None)


def json_texts(path: str, layout: Layout, bad_lines: BadLines) -> Iterator[MarkedText]:
    """The objects of a file of JSON lines; each object shows by its keys how it gives its entities."""
    for row in text_files.rows(path, bad_lines, layout.encoding):
        try:
            if not isinstance(row.cells, dict):
                raise UserError("not a JSON object. Name the file .json, or give another --format.")
            text = row.cells.get("text")
            if not isinstance(text, str):
                raise UserError('"text" is missing, or is not a string. Fix the line.')
            marked = MarkedText(row.line, str(row.cells.get("id", row.line)), text, _spans_of(row.cells, text))
        except UserError as error:
            bad_lines.add(UserError("{}: {}".format(row.place, error)))
        else:
            yield marked


def is_cluener(cells: Dict[str, Any]) -> bool:
    return isinstance(cells.get("label"), dict)


def _spans_of(cells: Dict[str, Any], text: str) -> Optional[List[Entity]]:
    """The entities of an object; None if it has none of the keys. Raises UserError for spans that cannot be read."""
    if is_cluener(cells):
        return _cluener_spans(cells["label"], text)
    return None if cells.get("entities") is None else _listed_spans(cells["entities"], text)


def _listed_spans(entities: Any, text: str) -> List[Entity]:
    if not isinstance(entities, list):
        raise UserError('"entities" is not a list. Fix the line.')
    spans = []
    for item in entities:
        values = [item.get(name) for name in ("start", "end", "type")] if isinstance(item, dict) else item
        if not isinstance(values, list) or len(values) != 3:
            raise UserError('the entity {!r} is not like {{"start": 0, "end": 3, "type": "PER"}}. Fix it.'.format(item))
        start, end, kind = values
        spans.append(_checked(kind, start, end, text))
    return spans


def _cluener_spans(label: Dict[str, Any], text: str) -> List[Entity]:
    spans = []
    for kind, surface, place in _cluener_mentions(label):
        span = _checked(kind, place[0], place[1] + 1, text)
        actual = text[span.start : span.end]
        if actual != surface:
            raise UserError("{!r} is given the place {}, where {!r} stands. Fix it.".format(surface, place, actual))
        spans.append(span)
    return spans


def _cluener_mentions(label: Dict[str, Any]) -> Iterator[Tuple[str, str, List[int]]]:
    """(type, surface, [first character, last character]) of each mention."""
    for kind, mentions in label.items():
        malformed = UserError(
            'the "label" of {!r} is not like {{"name": {{"surface": [[0, 6]]}}}}. Fix it.'.format(kind)
        )
        if not isinstance(mentions, dict):
            raise malformed
        for surface, places in mentions.items():
            if not isinstance(places, list):
                raise malformed
            for place in places:
                if not isinstance(place, list) or len(place) != 2 or not all(map(_is_whole, place)):
                    raise malformed
                yield kind, surface, place


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _checked(kind: Any, start: Any, end: Any, text: str) -> Entity:
    """An entity of a text. Raises UserError for a type that is not a name, or ends that are not within the text."""
    if not (isinstance(kind, str) and re.fullmatch(r"\S+", kind) and _is_whole(start) and _is_whole(end)):
        raise UserError(
            "the entity {} to {} of type {!r} is not two whole numbers and a name. Fix it.".format(start, end, kind)
        )
    if not 0 <= start < end <= len(text):
        raise UserError(
            "the entity {} to {} is not within the text of {} characters. Fix it.".format(start, end, len(text))
        )
    return Entity(kind, start, end)


# --- texts → sentences ------------------------------------------------------------------------------------------------


def reader(texts: Callable[[str, Layout, BadLines], Iterator[MarkedText]]) -> Callable[..., Iterator[Sentence]]:
    """The `read` of a format whose files are read by `texts`."""

    def read(path: str, layout: Layout, needs_tags: bool, bad_lines: BadLines) -> Iterator[Sentence]:
        for marked in texts(path, layout, bad_lines):
            place = "{}:{}".format(path, marked.line)
            try:
                sentence = _sentence(marked, layout, needs_tags, place, bad_lines)
            except UserError as error:
                bad_lines.add(UserError("{}: {}".format(place, error)))
            else:
                yield sentence

    return read


def _sentence(marked: MarkedText, layout: Layout, needs_tags: bool, place: str, bad_lines: BadLines) -> Sentence:
    if marked.spans is None and needs_tags:
        raise UserError('no tags: write "entities" (or CLUENER\'s "label"), an empty list where there are none.')
    units = units_in(marked.text, layout.text_units)
    if not units:
        raise UserError("the text has no word. Remove the line.")
    tags = None
    if marked.spans is not None:
        spans = _without_overlaps(marked.spans, marked.text, layout, place, bad_lines)
        tags = tuple(tags_of_spans(spans, marked.text, units))
    words = tuple(marked.text[start:end] for start, end in units)
    return Sentence(0, marked.line, marked.example_id, words, tags, marked.text, tuple(units))


def units_in(text: str, units: str) -> List[Tuple[int, int]]:
    """[start, end) of what gets one tag: the words of BERT's tokenizer, or all characters but white space."""
    if units == "characters":
        return [(place, place + 1) for place, character in enumerate(text) if not character.isspace()]
    return tokenization.word_places(text)


def _without_overlaps(
    spans: Iterable[Entity], text: str, layout: Layout, place: str, bad_lines: BadLines
) -> List[Entity]:
    """The spans, each once, the longest first. --mend_tags drops the shorter of two that overlap; else an error."""
    kept: List[Entity] = []
    for span in sorted(spans, key=lambda span: (span.start - span.end, span.start, span.type)):
        other = next((other for other in kept if span.start < other.end and other.start < span.end), None)
        if other is None:
            kept.append(span)
        elif span != other:
            message = "{} {!r} and {} {!r} share characters; a word has one tag.".format(
                span.type, text[span.start : span.end], other.type, text[other.start : other.end]
            )
            if not layout.mend_tags:
                raise UserError(message + " Fix the line, or keep the longer with --mend_tags.")
            bad_lines.mended.append("{}: {}".format(place, message))
    return kept


def tags_of_spans(spans: Iterable[Entity], text: str, units: Sequence[Tuple[int, int]]) -> List[str]:
    """The units' bio tags for spans that do not overlap. Raises UserError for a span that ends within a unit."""
    starts = {start: number for number, (start, _) in enumerate(units)}
    ends = {end: number + 1 for number, (_, end) in enumerate(units)}
    in_units = {place for start, end in units for place in range(start, end)}
    entities = []
    for kind, start, end in spans:
        surface = text[start:end]
        inside = [place for place in range(start, end) if place in in_units]  # without white space at the ends
        if not inside:
            raise UserError("{} {!r} covers no word. Fix the line.".format(kind, surface))
        start, end = inside[0], inside[-1] + 1
        if start not in starts or end not in ends:
            raise UserError(
                "{} {!r} ends or begins within a word. Fix it, or let each character have a tag: "
                "--text_units=characters.".format(kind, surface)
            )
        entities.append(Entity(kind, starts[start], ends[end]))
    return tag_schemes.to_bio(entities, len(units))
