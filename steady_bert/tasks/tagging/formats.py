"""files → tagged sentences, in every format. A new format is a function and a row of FORMATS, or an export of JSON.

Every error names file and line. Tags that are impossible (an I that nothing begins, entities that overlap) are errors
too, unless --mend_tags allows to repair them: then each case is reported.
"""

import itertools
import os
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Set

from ...base.errors import UserError
from ..reading import text_files
from ..task import BadLines
from . import brat, columns, exports, spans, token_lists, word_lists, word_tables
from .sentences import Layout, Sentence

_ALL_LINES = 1 << 62
_VALUES_ASKED = 100  # of a JSON file, for its format
_LISTS_ASKED = 1000  # for what gets a tag


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
    """The name of a file's format: what the layout says, or what the file looks like."""
    if layout.format != "auto":
        return layout.format
    if brat.fits(path):
        return "brat"
    if text_files.ending_of(path) in text_files.JSON_ENDINGS:
        return _json_format(path, layout)
    if text_files.ending_of(path) == ".csv" or word_tables.has_header(path, layout.encoding):
        return "csv"
    return "columns"


def _json_format(path: str, layout: Layout) -> str:
    """The format that the first value shows which shows any."""
    values = text_files.json_values(path, BadLines(_ALL_LINES), layout.encoding)
    for row in itertools.islice(values, _VALUES_ASKED):
        if token_lists.fits(row.cells):
            return "tokens"
        name = next((name for name, export in exports.EXPORTS.items() if export.fits(row.cells)), None)
        if name is not None:
            return name
    return "json"


def files_of(path: str, layout: Layout) -> List[str]:
    """The files that are read for a path: one, but for brat."""
    return brat.files_of(path) if format_of(path, layout) == "brat" else [path]


def require_path(flag: str, path: str) -> None:
    """Raises UserError for a path of a flag that is neither a file nor a folder of brat's."""
    if not os.path.isfile(path) and not (os.path.isdir(path) and brat.fits(path)):
        raise UserError("--{}={}: no such file. Check the path.".format(flag, path))


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


def _of_texts(texts: spans.Texts, units: str = "words") -> Format:
    """A format of texts with spans, which `texts` reads; spans are written as bio."""
    return Format(spans.reader(texts), scheme=_bio, units=lambda path, layout: units)


def _bio(path: str, layout: Layout) -> str:
    return "bio"


def _words(path: str, layout: Layout) -> str:
    return "words"


def _of_lists(lists: Any) -> Format:
    """A format of words that a file lists with their tags, which `lists` reads."""

    def read(path: str, layout: Layout, needs_tags: bool, bad_lines: BadLines) -> Iterator[Sentence]:
        scheme = layout.tag_scheme if layout.tag_scheme != "auto" else scheme_in(path, layout)
        read_lists = lists(path, layout, bad_lines)
        return word_lists.sentences(read_lists, path, scheme, layout, needs_tags, bad_lines)

    def scheme_in(path: str, layout: Layout) -> str:
        return word_lists.scheme_of(lists(path, layout, BadLines(_ALL_LINES)), layout)

    def units_in(path: str, layout: Layout) -> str:
        first = itertools.islice(lists(path, layout, BadLines(_ALL_LINES)), _LISTS_ASKED)
        return word_lists.units_of(first)

    return Format(read, scheme_in, units_in, has_text=False)


FORMATS: Dict[str, Format] = {
    "columns": Format(columns.read, columns.scheme_of, columns.units_of, has_text=False),
    "csv": _of_lists(word_tables.lists),
    "tokens": _of_lists(token_lists.lists),
    **{
        name: _of_texts(exports.texts_of(export), units="characters" if name == "cluener" else "words")
        for name, export in exports.EXPORTS.items()
    },
    "brat": Format(spans.reader(brat.texts, in_characters=True), scheme=_bio, units=_words),
    "text": _of_texts(spans.raw_texts),
}
