"""files → tagged sentences, in every format. A new format is a function and a row of FORMATS.

Every error names file and line. Tags that are impossible (an I that nothing begins, entities that overlap) are errors
too, unless --mend_tags allows to repair them: then each case is reported.
"""

from typing import Any, Callable, Dict, Iterator, NamedTuple, Optional, Sequence, Set

from ...base.errors import UserError
from ..reading import text_files
from ..task import BadLines
from . import columns, spans
from .sentences import Layout, Sentence


class Format(NamedTuple):
    """How the files of one format are read.

    read(path, layout, needs_tags, bad_lines) yields the sentences in order; a sentence that cannot be read goes to
        bad_lines. With needs_tags, sentences without tags are errors. It leaves `number` 0.
    """

    read: Callable[[str, Layout, bool, BadLines], Iterator[Sentence]]
    scheme: Callable[[str, Layout], str]  # the scheme of a file's tags with --tag_scheme=auto
    units: Callable[[str, Layout], str]  # what gets one tag with --text_units=auto
    has_text: bool = True  # False: words alone, so that entities have no surface in a text


def format_of(path: str, layout: Layout) -> str:
    """The name of a file's format.

    auto: cluener if the first object of a JSON file has CLUENER's "label", json for other JSON files, else columns.
    """
    if layout.format != "auto":
        return layout.format
    if text_files.ending_of(path) not in text_files.JSON_ENDINGS:
        return "columns"
    first = next(text_files.rows(path, BadLines(1 << 62), layout.encoding), None)
    return "cluener" if first is not None and spans.is_cluener(first.cells) else "json"


def has_text(path: str, layout: Layout) -> bool:
    return FORMATS[format_of(path, layout)].has_text


def scheme_of(path: str, layout: Layout) -> str:
    """The scheme of a file's tags: the one in the layout, or what the file looks like."""
    if layout.tag_scheme != "auto":
        return layout.tag_scheme
    return FORMATS[format_of(path, layout)].scheme(path, layout)


def units_of(path: str, layout: Layout) -> str:
    """What gets one tag: what the layout says, or what a training file looks like."""
    if layout.text_units != "auto":
        return layout.text_units
    return FORMATS[format_of(path, layout)].units(path, layout)


def read_sentences(
    path: str, layout: Layout, tags: Optional[Sequence[str]], needs_tags: bool, bad_lines: BadLines
) -> Iterator[Sentence]:
    """The sentences of a file in order, each with at least one word.

    tags: those that a model knows; None allows all. With needs_tags a file without tags is an error.
    """
    known = None if tags is None else set(tags)
    number = 0
    for sentence in FORMATS[format_of(path, layout)].read(path, layout, needs_tags, bad_lines):
        unknown = _first_unknown(sentence, known)
        if unknown is not None:
            bad_lines.add(_unknown_tag(path, sentence, unknown, tags or ()))
            continue
        yield sentence._replace(number=number)
        number += 1
    if not number:
        raise UserError("{}: has no sentence. Is it the right file, and the right --format?".format(path))


def _first_unknown(sentence: Sentence, known: Optional[Set[str]]) -> Optional[int]:
    """The number of the first word whose tag is not known."""
    if known is None or sentence.tags is None:
        return None
    return next((number for number, tag in enumerate(sentence.tags) if tag not in known), None)


def _unknown_tag(path: str, sentence: Sentence, word: int, tags: Sequence[str]) -> UserError:
    line = sentence.line + (word if sentence.rows else 0)
    named = ", ".join(tags[:20]) + ", …" * (len(tags) > 20)
    return UserError(
        "{}:{}: {!r} has the tag {}, which training did not see: {}. Fix it, name another --tag_column (none: there "
        "are no tags; raw text: --format=text), or train with it in --tags_file.".format(
            path, line, sentence.words[word], (sentence.tags or ())[word], named
        )
    )


def _of_texts(texts: Any, units: str = "words") -> Format:
    """A format of texts with spans, which `texts` reads; spans are written as bio."""
    return Format(spans.reader(texts), scheme=lambda path, layout: "bio", units=lambda path, layout: units)


FORMATS: Dict[str, Format] = {
    "columns": Format(columns.read, columns.scheme_of, columns.units_of, has_text=False),
    "json": _of_texts(spans.json_texts),
    "cluener": _of_texts(spans.json_texts, units="characters"),
    "text": _of_texts(spans.raw_texts),
}
