"""Sentences of words that a file lists, each with its tag: what all readers of such files share."""

from typing import Iterable, Iterator, NamedTuple, Optional, Sequence, Tuple

from ...base.errors import UserError
from ..task import BadLines
from .schemes import Census
from .sentences import Layout, Sentence
from .tag_sequences import TagError, TagReader


class WordList(NamedTuple):
    """The words of a sentence as its file gives them."""

    places: Sequence[str]  # file:line of each word
    line: int
    example_id: str
    words: Tuple[str, ...]
    tags: Optional[Sequence[str]]  # in the file's scheme; None if it has none
    text: Optional[str] = None  # with offsets, where the file has them
    offsets: Tuple[Tuple[int, int], ...] = ()


def sentences(
    lists: Iterable[WordList], path: str, scheme: str, layout: Layout, needs_tags: bool, bad_lines: BadLines
) -> Iterator[Sentence]:
    """The sentences that the lists are."""
    tag_reader = TagReader(scheme, layout)
    gap = "" if layout.text_units == "characters" else " "
    for each in lists:
        tags = None
        if each.tags is None and needs_tags:
            bad_lines.add(UserError("{}: no tags. Name them with --tag_column.".format(each.places[0])))
            continue
        if each.tags is not None:
            try:
                tags, mended = tag_reader.to_bio(each.words, each.tags)
            except TagError as error:
                bad_lines.add(UserError("{}: {}".format(each.places[error.word], error)))
                continue
            bad_lines.mended += ["{}: {}".format(each.places[word], message) for word, message in mended]
        if each.text is None:
            text, offsets = gap.join(each.words), joined_offsets(each.words, gap)
        else:
            text, offsets = each.text, each.offsets
        yield Sentence(0, each.line, each.example_id, each.words, tags, text, offsets)
    tag_reader.note_retyped(path, bad_lines)


def joined_offsets(words: Sequence[str], gap: str) -> Tuple[Tuple[int, int], ...]:
    """[start, end) of each word in the words joined by `gap`."""
    starts = [0]
    for word in words:
        starts.append(starts[-1] + len(word) + len(gap))
    return tuple((start, start + len(word)) for start, word in zip(starts, words))


def scheme_of(lists: Iterable[WordList], layout: Layout) -> str:
    """The scheme that the tags look like."""
    census = Census(layout.mend_tags)
    for each in lists:
        census.add(each.tags or ())
    return census.scheme()


def units_of(lists: Iterable[WordList]) -> str:
    """characters if no word is longer than one character, else words."""
    return "words" if any(len(word) > 1 for each in lists for word in each.words) else "characters"
