"""The tags of a sentence as its file gives them → bio, or unchanged if they are plain."""

from typing import Dict, List, Sequence, Tuple

from ..task import BadLines
from . import schemes as tag_schemes
from .sentences import Layout


class TagError(Exception):
    """What is wrong with a tag, and at which word of the sentence."""

    def __init__(self, word: int, message: str) -> None:
        super().__init__(message)
        self.word = word


class TagReader:
    """Reads the tags of one file's sentences."""

    def __init__(self, scheme: str, layout: Layout) -> None:
        self._scheme = scheme
        self._mends = layout.mend_tags
        self._retyped: Dict[str, int] = {}  # tag with a typing error → how often

    def to_bio(self, words: Sequence[str], tags: Sequence[str]) -> Tuple[Tuple[str, ...], List[Tuple[int, str]]]:
        """(the tags, [(word, the mistake that was mended there)]). Raises TagError."""
        if self._scheme == "plain":
            return tuple(tags), []
        if self._mends:
            tags = [self._retype(tag) for tag in tags]
        for word, tag in enumerate(tags):
            if not tag_schemes.is_tag(tag):
                raise TagError(word, _not_a_tag(words[word], tag))
        mended = []
        for place in tag_schemes.impossible(tags, self._scheme):
            tag = tags[place] if place < len(tags) else "the sentence's end"
            before = tags[place - 1] if place else "the sentence's start"
            word = min(place, len(tags) - 1)
            message = "{} cannot follow {} in {}.".format(tag, before, self._scheme)
            if not self._mends:
                message += " Fix the line, name another --tag_scheme, or read it as conlleval does: --mend_tags."
                raise TagError(word, message)
            mended.append((word, message))
        return tuple(tag_schemes.to_bio(tag_schemes.entities(tags), len(tags))), mended

    def _retype(self, tag: str) -> str:
        proper = tag_schemes.retyped(tag)
        if proper != tag:
            self._retyped[tag] = self._retyped.get(tag, 0) + 1
        return proper

    def note_retyped(self, path: str, bad_lines: BadLines) -> None:
        """Notes for the data report which tags were read as others."""
        for tag, count in self._retyped.items():
            message = "{}: {:,} words have the tag {!r}, which is read as {}."
            bad_lines.mended.append(message.format(path, count, tag, tag_schemes.retyped(tag)))


def _not_a_tag(word: str, tag: str) -> str:
    proper = tag_schemes.retyped(tag)
    if tag_schemes.is_tag(proper):
        return "{!r} has the tag {!r}. Write {}, or read it so: --mend_tags.".format(word, tag, proper)
    return (
        "{!r} has the tag {!r}, which is neither O nor like B-PER. Fix the line, or name another --tag_column.".format(
            word, tag
        )
    )
