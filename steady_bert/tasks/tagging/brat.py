"""brat's files: a text, whose name ends in .txt, and its annotations beside it, in .ann; or a folder of such pairs.

A line of the text is a sentence. Annotations other than of text (relations, events, notes) are left out.
"""

import bisect
import itertools
import os
import re
from typing import Dict, Iterator, List, Optional, Set, Tuple

from ...base.errors import UserError
from ..reading import text_files
from ..task import BadLines
from . import offsets
from .offsets import Span
from .sentences import Layout
from .spans import MarkedText

_PLACE = re.compile(r"T\S+\t.+? (\d[\d ;]*)(\t|$)")  # of an entity that may be wrong otherwise
_ENTITY = re.compile(r"T\S+\t(.+?) (\d+(?: \d+;\d+)* \d+)\t(.*)")


def fits(path: str) -> bool:
    """Whether a path is a text with annotations, annotations of a text, or a folder with some."""
    if os.path.isdir(path):
        return any(name.endswith(".ann") for name in os.listdir(path))
    base, ending = os.path.splitext(path)
    return ending == ".ann" or (ending == ".txt" and os.path.exists(base + ".ann"))


def files_of(path: str) -> List[str]:
    """The files that are read."""
    return [name for pair in _pairs(path) for name in pair]


def _pairs(path: str) -> List[Tuple[str, str]]:
    """(text, annotations) of each document, by name."""
    bases = [os.path.splitext(path)[0]]
    if os.path.isdir(path):
        bases = sorted(os.path.join(path, name[: -len(".ann")]) for name in os.listdir(path) if name.endswith(".ann"))
    pairs = [(base + ".txt", base + ".ann") for base in bases]
    for text, annotations in pairs:
        for needed, other in ((text, annotations), (annotations, text)):
            if not os.path.isfile(needed):
                raise UserError("{}: not there; brat's {} belongs to it. Put it beside.".format(needed, other))
    return pairs


def texts(path: str, layout: Layout, bad_lines: BadLines) -> Iterator[MarkedText]:
    """The lines of the texts that have a word, with their entities."""
    record = 0
    for text_path, annotations in _pairs(path):
        lines = []
        for number, text in text_files.lines_or_errors(text_path, layout.encoding):
            if isinstance(text, UserError):
                raise text  # without the line, no later place would be known
            lines.append((number, text))
        starts = list(itertools.accumulate([0] + [len(text) for _, text in lines]))
        spans_of, broken = _by_line(annotations, "".join(text for _, text in lines), starts, layout, bad_lines)
        for line, (number, text) in enumerate(lines):
            shown = text.rstrip("\r\n")
            place = "{}:{}".format(text_path, number)
            if shown.strip() and line not in broken:
                yield MarkedText(place, number, str(record), shown, spans_of.get(line, []))
            record += 1


def _by_line(
    path: str, text: str, starts: List[int], layout: Layout, bad_lines: BadLines
) -> Tuple[Dict[int, List[Span]], Set[int]]:
    """(the entities of each line of a document, by its characters; the lines with one that was left out).

    starts: [lines + 1] the character at which each line begins.
    """
    places = offsets.character_places(text, layout.offset_unit)
    spans: Dict[int, List[Span]] = {}
    broken: Set[int] = set()
    for number, line in text_files.lines_or_errors(path, layout.encoding):
        try:
            if isinstance(line, UserError):
                raise line
            if line.startswith("T"):
                span = _span(line.rstrip("\r\n"), text, places)
                own = bisect.bisect_right(starts, span.start) - 1
                first = starts[own]
                spans.setdefault(own, []).append(span._replace(start=span.start - first, end=span.end - first))
        except UserError as error:
            named = error if error is line else UserError("{}:{}: {}".format(path, number, error))
            ends = _PLACE.match(line) if isinstance(line, str) else None
            if ends is None:  # any sentence may have this entity, and would be learned without it
                raise named from None
            bad_lines.add(named)
            lines = [_line_at(int(end), starts, places) for end in re.findall(r"\d+", ends.group(1))]
            broken.update(range(min(lines), max(lines) + 1))
    return spans, broken


def _line_at(offset: int, starts: List[int], places: Optional[Dict[int, int]]) -> int:
    """The line in which an offset is; for an end, which is left out, it may be the next one."""
    return bisect.bisect_right(starts, offset if places is None else places.get(offset, offset)) - 1


def _span(line: str, text: str, places: Optional[Dict[int, int]]) -> Span:
    match = _ENTITY.fullmatch(line)
    if match is None:
        raise UserError("{!r} is not like T1, a tab, PER 0 3, a tab, Ann. Fix the line.".format(line))
    kind, ends, surface = match.groups()
    if ";" in ends:
        raise UserError(
            "{} {!r} has several parts; a word has one tag. Make it one, or remove it.".format(kind, surface)
        )
    start, end = map(int, ends.split())
    first, last = offsets.in_characters(Span(kind, start, end), places)
    if first is None or last is None or not 0 <= first < last <= len(text):
        raise UserError(
            "the entity {} to {} is not within the text of {} characters. Fix it.".format(start, end, len(text))
        )
    if not offsets.same_text(surface, text[first:last]):
        raise UserError(
            "the entity {} to {} is given as {!r}, and {!r} stands there. Fix it, or say what its ends count: "
            "--offset_unit.".format(start, end, surface, text[first:last])
        )
    if "\n" in text[first:last].strip():
        raise UserError("{} {!r} goes over the end of a line, which ends a sentence. Part it.".format(kind, surface))
    return Span(kind, first, last, text[first:last])
