"""A long context as overlapping windows: nothing is cut off, and an answer may begin at a piece in one window alone."""

from typing import List, NamedTuple, Sequence

import numpy as np


class Span(NamedTuple):
    """A range of a context's pieces."""

    start: int
    length: int


def spans(pieces: int, room: int, stride: int) -> List[Span]:
    """The windows of at most `room` pieces. One begins `stride` pieces after the one before, or where it ends."""
    result: List[Span] = []
    start = 0
    while start < pieces:
        length = min(pieces - start, room)
        result.append(Span(start, length))
        if start + length == pieces:
            break
        start += min(length, stride)
    return result


def best_windows(windows: Sequence[Span]) -> List[np.ndarray]:
    """For each window, [length] booleans: at which of its pieces an answer may begin in this window and in no other.

    A piece belongs to the window that shows most around it: min(pieces before, pieces after) + .01 · length is
    largest. Of equal windows the first is taken.
    """
    pieces = max((window.start + window.length for window in windows), default=0)
    most = np.full(pieces, -1.0)
    owner = np.zeros(pieces, np.int64)
    for number, (start, length) in enumerate(windows):
        inside = np.arange(length)
        around = np.minimum(inside, length - 1 - inside) + 0.01 * length
        better = start + np.flatnonzero(around > most[start : start + length])
        most[better], owner[better] = around[better - start], number
    return [owner[start : start + length] == number for number, (start, length) in enumerate(windows)]
