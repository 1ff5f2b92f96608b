"""Texts with entities as spans of characters → sentences, in which each word has a tag."""

import re
from typing import Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import tokenization

from ...base.errors import UserError
from ..reading import text_files
from ..task import BadLines
from . import offsets
from . import schemes as tag_schemes
from .offsets import Span, UnitCensus
from .schemes import Entity
from .sentences import Layout, Sentence

_ALL_LINES = 1 << 62


class MarkedText(NamedTuple):
    place: str  # file:line
    line: int
    example_id: str
    text: str
    spans: Optional[List[Span]]  # None if the file has no entities


Texts = Callable[[str, Layout, BadLines], Iterator[MarkedText]]


class _OffsetError(UserError):
    """Ends of an entity that do not fit its text: they may count another unit."""


def raw_texts(path: str, layout: Layout, bad_lines: BadLines) -> Iterator[MarkedText]:
    """The lines of a file that hold at least one word."""
    for number, text in text_files.lines_or_errors(path, layout.encoding):
        if isinstance(text, UserError):
            bad_lines.add(text)
        elif units_in(text, layout.text_units):
            place = "{}:{}".format(path, number)
            yield MarkedText(place, number, str(number - 1), text.rstrip("\r\n"), None)


# --- texts → sentences ------------------------------------------------------------------------------------------------


def reader(texts: Texts, in_characters: bool = False) -> Callable[[str, Layout, bool, BadLines], Iterator[Sentence]]:
    """The `read` of a format whose files are read by `texts`. in_characters: whatever unit the layout says."""

    def read(path: str, layout: Layout, needs_tags: bool, bad_lines: BadLines) -> Iterator[Sentence]:
        unit = "characters" if in_characters else layout.offset_unit
        census = UnitCensus(unit)
        remedy: Optional[str] = None  # of the whole file, which is asked once
        marker = _Marker(layout._replace(offset_unit=unit), bad_lines)
        for marked in texts(path, layout, bad_lines):
            # Every offset fits characters; and in a text with emoji both units may fit words.
            if marked.spans and (layout.text_units == "characters" or max(marked.text, default="") > "\uffff"):
                census.add(marked.text, marked.spans or ())
            try:
                sentence = marker.sentence(marked, needs_tags)
            except _OffsetError as error:
                remedy = _remedy(texts, path, layout) if remedy is None else remedy
                bad_lines.add(UserError("{}: {} {}".format(marked.place, error, remedy).rstrip()))
            except UserError as error:
                bad_lines.add(UserError("{}: {}".format(marked.place, error)))
            else:
                yield sentence
        bad_lines.notes += filter(None, [census.remedy() or census.doubt(), marker.note()])

    return read


def _remedy(texts: Texts, path: str, layout: Layout) -> str:
    """What the ends of entities count, if the whole file shows it."""
    census = UnitCensus(layout.offset_unit)
    for marked in texts(path, layout, BadLines(_ALL_LINES)):
        census.add(marked.text, marked.spans or ())
    return census.remedy()


class _Marker:
    """Gives the words of texts their tags, and counts the entities that are dropped."""

    def __init__(self, layout: Layout, bad_lines: BadLines) -> None:
        self._layout = layout
        self._bad_lines = bad_lines
        self._dropped = 0

    def note(self) -> str:
        if not self._dropped:
            return ""
        return "{:,} entities that overlap others are left out (--overlaps={})".format(
            self._dropped, self._layout.overlaps
        )

    def sentence(self, marked: MarkedText, needs_tags: bool) -> Sentence:
        """Raises UserError for entities that cannot be tags of words."""
        if marked.spans is None and needs_tags:
            raise UserError('no tags: write "entities" (or CLUENER\'s "label"), an empty list where there are none.')
        units = units_in(marked.text, self._layout.text_units)
        if not units:
            raise UserError("the text has no word. Remove the line.")
        tags = None
        if marked.spans is not None:
            entities = self._without_overlaps(entities_of(marked.text, marked.spans, self._layout), marked)
            tags = tuple(tags_of_spans(entities, marked.text, units))
        words = tuple(marked.text[start:end] for start, end in units)
        return Sentence(0, marked.line, marked.example_id, words, tags, marked.text, tuple(units))

    def _without_overlaps(self, entities: Iterable[Entity], marked: MarkedText) -> List[Entity]:
        """The entities, each once. Raises UserError for two that overlap, unless a flag says which is kept."""
        layout, text = self._layout, marked.text
        order = _ORDERS[layout.overlaps]
        kept: List[Entity] = []
        for entity in sorted(set(entities), key=order):
            other = next((other for other in kept if entity.start < other.end and other.start < entity.end), None)
            if other is None:
                kept.append(entity)
            else:
                message = "{} {!r} and {} {!r} share characters; a word has one tag.".format(
                    entity.type, text[entity.start : entity.end], other.type, text[other.start : other.end]
                )
                if layout.overlaps != "error":
                    self._dropped += 1
                elif layout.mend_tags:
                    self._bad_lines.mended.append("{}: {}".format(marked.place, message))
                else:
                    raise UserError(message + " Fix the line, or keep one: --overlaps=longest, or first.")
        return kept


def _longest_first(entity: Entity) -> Tuple[int, int, str]:
    return entity.start - entity.end, entity.start, entity.type


def _earliest_first(entity: Entity) -> Tuple[int, int, str]:
    return entity.start, -entity.end, entity.type


_ORDERS = {"error": _longest_first, "longest": _longest_first, "first": _earliest_first}


def units_in(text: str, units: str) -> List[Tuple[int, int]]:
    """[start, end) of what gets one tag: the words of BERT's tokenizer, or all characters but white space."""
    if units == "characters":
        return [(place, place + 1) for place, character in enumerate(text) if not character.isspace()]
    return tokenization.word_places(text)


def entities_of(text: str, spans: Sequence[Span], layout: Layout) -> List[Entity]:
    """The entities by characters. Raises UserError for one that is none of the text."""
    places = offsets.character_places(text, layout.offset_unit)
    return [_entity(span, text, places, layout.offset_unit) for span in spans]


def _entity(span: Span, text: str, places: Optional[Dict[int, int]], unit: str) -> Entity:
    named = isinstance(span.type, str) and re.fullmatch(r"\S(?:[^\t\r\n\v\f\x85\u2028\u2029]*\S)?", span.type)
    if not (named and offsets.is_whole(span.start) and offsets.is_whole(span.end)):
        raise UserError(
            "the entity {} to {} of type {!r} is not two whole numbers and a name. Fix it.".format(
                span.start, span.end, span.type
            )
        )
    start, end = offsets.in_characters(span, places)
    if start is None or end is None or not 0 <= start < end <= len(text):
        length = len(text) if places is None else max(places)
        raise _OffsetError(
            "the entity {} to {} is not within the text of {} {}. Fix it.".format(
                span.start, span.end, length, offsets.NAMES[unit]
            )
        )
    if span.surface is not None and not offsets.same_text(span.surface, text[start:end]):
        raise _OffsetError(
            "the entity {} to {} is given as {!r}, and {!r} stands there. Fix it, or say what its ends count: "
            "--offset_unit.".format(span.start, span.end, span.surface, text[start:end])
        )
    return Entity(span.type, start, end)


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
            raise _OffsetError("{} {!r} covers no word. Fix the line.".format(kind, surface))
        start, end = inside[0], inside[-1] + 1
        if start not in starts or end not in ends:
            raise _OffsetError(
                "{} {!r} ends or begins within a word. Fix it, or let each character have a tag: "
                "--text_units=characters.".format(kind, surface)
            )
        entities.append(Entity(kind, starts[start], ends[end]))
    return tag_schemes.to_bio(entities, len(units))
