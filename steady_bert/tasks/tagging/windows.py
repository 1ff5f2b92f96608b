"""Long sentences as overlapping windows: nothing is cut off, and each word counts in exactly one window."""

from typing import List, NamedTuple, Sequence, Tuple

import numpy as np

# What stands at a position of a record: no first piece of a word; that of a word which counts in another window; that
# of a word which counts in this one.
NO_WORD, CONTEXT, COUNTED = 0, 1, 2


class Window(NamedTuple):
    """A range of the words of a sentence, by number, and the range of those that count here. Ends are left out."""

    first: int
    end: int
    first_counted: int
    end_counted: int


def windows(pieces: Sequence[int], room: int, stride: int) -> List[Window]:
    """Windows of at most `room` pieces; pieces: the number of pieces of each word, 1 to room.

    A window begins at the first word that is `stride` pieces or more after the beginning of the window before, or
    earlier if a word would be left out. A word counts in the window that shows most around it: where the smaller of the
    numbers of pieces before and after it is largest. Of equal windows the first is taken.
    """
    places = np.concatenate([[0], np.cumsum(pieces)])
    words = len(pieces)
    shown: List[Tuple[int, int]] = []
    first = end = 0
    while end < words:
        if shown:
            first = min(max(int(np.searchsorted(places, places[first] + stride)), first + 1), end)
        while places[end + 1] - places[first] > room:  # at least one more word has to be shown
            first += 1
        end = int(np.searchsorted(places, places[first] + room, side="right")) - 1
        shown.append((first, end))
    most_around = np.full(words, -1)
    owner = np.zeros(words, np.int64)  # the number of the window in which each word counts
    for number, (first, end) in enumerate(shown):
        inside = np.arange(first, end)
        around = np.minimum(places[inside] - places[first], places[end] - places[inside + 1])
        better = around > most_around[inside]
        most_around[inside[better]], owner[inside[better]] = around[better], number
    counted = [np.flatnonzero(owner == number) for number in range(len(shown))]
    # A window in which no word counts would be a record with nothing to learn.
    return [Window(first, end, int(own[0]), int(own[-1]) + 1) for (first, end), own in zip(shown, counted) if len(own)]
