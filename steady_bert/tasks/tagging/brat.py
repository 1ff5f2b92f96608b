"""brat's files: a text, whose name ends in .txt, and its annotations beside it, in .ann; or a folder of such pairs.

A line of the text is a sentence. Annotations other than of text (relations, events, notes) are left out.
"""

import os
import re
from typing import Iterator, List, Tuple

from ...base.errors import UserError
from ..reading import text_files
from ..task import BadLines
from . import offsets
from .offsets import Span
from .sentences import Layout
from .spans import MarkedText

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
        unplaced = _spans(annotations, "".join(text for _, text in lines), layout, bad_lines)
        start = 0
        for number, text in lines:
            end = start + len(text)
            own = [span for span in unplaced if start <= span.start < end]
            shown = text.rstrip("\r\n")
            place = "{}:{}".format(text_path, number)
            if shown.strip():
                spans = [span._replace(start=span.start - start, end=span.end - start) for span in own]
                yield MarkedText(place, number, str(record), shown, spans)
            start, record = end, record + 1


def _spans(path: str, text: str, layout: Layout, bad_lines: BadLines) -> List[Span]:
    """The entities of a document, by characters."""
    places = offsets.character_places(text, layout.offset_unit)
    spans = []
    for number, line in text_files.lines_or_errors(path, layout.encoding):
        try:
            if isinstance(line, UserError):
                raise line
            if line.startswith("T"):
                spans.append(_span(line.rstrip("\r\n"), text, places))
        except UserError as error:
            bad_lines.add(error if error is line else UserError("{}:{}: {}".format(path, number, error)))
    return spans


def _span(line: str, text: str, places: object) -> Span:
    match = _ENTITY.fullmatch(line)
    if match is None:
        raise UserError("{!r} is not like T1, a tab, PER 0 3, a tab, Ann. Fix the line.".format(line))
    kind, ends, surface = match.groups()
    if ";" in ends:
        raise UserError(
            "{} {!r} has several parts; a word has one tag. Make it one, or remove it.".format(kind, surface)
        )
    start, end = map(int, ends.split())
    first, last = offsets.in_characters(Span(kind, start, end), places)  # type: ignore[arg-type]
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
    return Span(kind, first, last)
