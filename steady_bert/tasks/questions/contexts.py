"""A context as words, and any range of words as the text that an answer is cut from, with its place in the context.

Words are separated by white space as google-research/bert's run_squad does it. A CJK ideograph is a word of its own,
so that an answer in Chinese can be shorter than a sentence.
"""

import bisect
import re
from typing import List, NamedTuple, Tuple

import tokenization

_BLANKS = " \t\r\n\u202f"  # the original's: no-break spaces are not among them
_RUN = re.compile("[^{}]+".format(_BLANKS))


class Context(NamedTuple):
    text: str
    words: Tuple[str, ...]
    places: Tuple[int, ...]  # the first character of each word in the text; a word has no gaps

    def word_at(self, offset: int) -> int:
        """The word that a character is in, or the last one before it if it is white space; -1 before the first."""
        return bisect.bisect_right(self.places, offset) - 1

    def end_of(self, word: int) -> int:
        return self.places[word] + len(self.words[word])

    def joined(self, first: int, last: int) -> str:
        """The words from `first` to `last`, with one space where they are separated by any white space."""
        pieces = [self.words[first]]
        for word in range(first + 1, last + 1):
            pieces.append(" " if self.places[word] > self.end_of(word - 1) else "")
            pieces.append(self.words[word])
        return "".join(pieces)

    def offset_of(self, first: int, offset: int) -> int:
        """The place in the text of a character of joined(first, …), which is no space."""
        word = first
        while offset >= len(self.words[word]):
            offset -= len(self.words[word])
            word += 1
            offset -= self.places[word] > self.end_of(word - 1)
        return self.places[word] + offset


def split(text: str) -> Context:
    words: List[str] = []
    places: List[int] = []
    for run in _RUN.finditer(text):
        for start, end in _parts(run.group()):
            words.append(run.group()[start:end])
            places.append(run.start() + start)
    return Context(text, tuple(words), tuple(places))


def blank_separated(text: str) -> List[str]:
    """The words of google-research/bert's run_squad, which leaves Chinese sentences whole."""
    return _RUN.findall(text)


def _parts(run: str) -> List[Tuple[int, int]]:
    """[start, end) of the words in a run without white space: ideographs, and what is between them."""
    if run.isascii():
        return [(0, len(run))]
    parts: List[Tuple[int, int]] = []
    start = 0
    for place, character in enumerate(run):
        if tokenization._is_chinese(ord(character)):
            if start < place:
                parts.append((start, place))
            parts.append((place, place + 1))
            start = place + 1
    if start < len(run):
        parts.append((start, len(run)))
    return parts
