"""What the ends of entities count: characters, UTF-16 units as in JavaScript and Java, or bytes of UTF-8."""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

import tokenization

from .sentences import OFFSET_UNITS

NAMES = {"characters": "characters", "utf16": "UTF-16 units", "bytes": "bytes of UTF-8"}


class Span(NamedTuple):
    """An entity as its file gives it: nothing is checked yet."""

    type: Any
    start: Any
    end: Any  # left out
    surface: Optional[str] = None  # its own text, where the file gives it


def is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def character_places(text: str, unit: str) -> Optional[Dict[int, int]]:
    """Offset in the unit → number of the character that begins there; None if the two are equal throughout the text."""
    if unit == "characters" or text.isascii() or (unit == "utf16" and max(text) <= "\uffff"):
        return None
    places = {}
    offset = 0
    for number, character in enumerate(text):
        places[offset] = number
        offset += (1 + (character > "\uffff")) if unit == "utf16" else len(character.encode("utf-8", "surrogatepass"))
    places[offset] = len(text)
    return places


def in_characters(span: Span, places: Optional[Dict[int, int]]) -> Tuple[Optional[int], Optional[int]]:
    """(start, end) of a span; None for an offset at which no character begins."""
    if places is None:
        return span.start, span.end
    return places.get(span.start), places.get(span.end)


def same_text(surface: str, actual: str) -> bool:
    """Whether an entity's own text is that of its place; line ends and spaces may be written otherwise."""
    return surface == actual or surface.split() == actual.split()


class UnitCensus:
    """Finds out whether all entities of a file are at the edges of words in a unit other than the one they are read in.

    Only texts in which the units differ tell.
    """

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._others = [other for other in OFFSET_UNITS if other != unit]
        self._seen: Set[str] = set()
        self._own_fits = True
        self._utf16_differs = False  # whether it gives an entity another place

    def add(self, text: str, spans: Sequence[Span]) -> None:
        if not self._others or not spans or text.isascii():
            return
        own = character_places(text, self._unit)
        words = None
        for other in list(self._others):
            places = character_places(text, other)
            if places is None and own is None:
                continue
            words = words or tokenization.word_places(text)
            if not _fit(text, words, spans, places):
                self._others.remove(other)
                continue
            self._seen.add(other)
            self._own_fits = self._own_fits and _fit(text, words, spans, own)
            if other == "utf16":
                self._utf16_differs |= any(in_characters(span, places) != in_characters(span, own) for span in spans)

    def remedy(self) -> str:
        """What the file looks like, as a sentence; nothing if the unit is right for all that is known."""
        other = next((unit for unit in self._others if unit in self._seen), None)
        if self._own_fits or other is None:
            return ""
        return "The ends of all entities are at edges of words if they count {}: pass --offset_unit={}.".format(
            NAMES[other], other
        )

    def doubt(self) -> str:
        """A warning if characters and UTF-16 units both fit but mean other places; nothing if only one does."""
        both = self._unit == "characters" and self._own_fits and "utf16" in self._others and self._utf16_differs
        if not both:
            return ""
        return (
            "after emoji, entities are read as counted in characters, and would fit words in UTF-16 units too. If "
            "JavaScript or Java counted them: --offset_unit=utf16"
        )


def _fit(text: str, words: List[Tuple[int, int]], spans: Sequence[Span], places: Optional[Dict[int, int]]) -> bool:
    starts, ends = {start for start, _ in words}, {end for _, end in words}
    for span in spans:
        if not (is_whole(span.start) and is_whole(span.end)):
            return False
        start, end = in_characters(span, places)
        if start not in starts or end not in ends:
            return False
        if span.surface is not None and not same_text(span.surface, text[start:end]):
            return False
    return True
