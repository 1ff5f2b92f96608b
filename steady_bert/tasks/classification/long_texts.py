"""Texts that are longer than the model reads: which pieces become its input, and how windows become one prediction.

A text, or a pair of texts, is a list of piece ids. `room` is the number of pieces that fit beside the special tokens.
"""

from typing import List, NamedTuple, Optional, Tuple

import numpy as np

LONG_TEXTS = ("cut", "head_tail", "windows")
POOLINGS = ("mean", "max")
# Sun et al. 2019, "How to Fine-Tune BERT for Text Classification?", section 5.3.1: of 510 pieces, the first 128 and the
# last 382. https://arxiv.org/abs/1905.05583
HEAD_PIECES = 128

Pair = Tuple[List[int], List[int]]  # the pieces of both texts; the second is empty if there is one text


class LongTexts(NamedTuple):
    """What is done with long texts: the flags --long_text, --window_stride and --window_pooling."""

    mode: str = "cut"
    stride: Optional[int] = None  # None: half of what a window holds of the text
    pooling: str = "mean"


def shortened(first: List[int], second: List[int], room: int, mode: str) -> Pair:
    """The pieces that are kept of a pair with more than `room` pieces; mode: cut or head_tail."""
    if mode == "cut":
        return cut(first, second, room)
    rooms = _rooms(len(first), len(second), room)
    return _both_ends(first, rooms[0]), _both_ends(second, rooms[1])


def cut(first: List[int], second: List[int], room: int) -> Pair:
    """Drops last pieces: those of the longer text, or of the second if both are equally long."""
    a, b = len(first), len(second)
    while a + b > room:
        if a > b:
            a -= 1
        else:
            b -= 1
    return first[:a], second[:b]


def _both_ends(text: List[int], room: int) -> List[int]:
    """The first 128 pieces, or just over half of the room if that is less, and as many last pieces as fit beside."""
    if len(text) <= room:
        return text
    head = min(HEAD_PIECES, room // 2 + 1, room)
    return text[:head] + text[len(text) - (room - head) :]


def windows(first: List[int], second: List[int], room: int, stride: Optional[int]) -> List[Pair]:
    """Overlapping windows that show every piece of both texts.

    The shorter text is whole in every window if it takes at most half of the room; the longer one moves past it. Of two
    longer texts both move, so that they reach their ends together.
    """
    rooms = _rooms(len(first), len(second), room)
    count = window_count(len(first), len(second), room, stride)
    pairs = []
    for number in range(count):
        a, b = (
            text[slice(*_window(len(text), room_of_text, stride, number, count))]
            for text, room_of_text in zip((first, second), rooms)
        )
        pairs.append((a, b))
    return pairs


def window_count(first: int, second: int, room: int, stride: Optional[int]) -> int:
    """The number of windows over texts of `first` and `second` pieces."""
    rooms = _rooms(first, second, room)
    return max(_count(first, rooms[0], stride), _count(second, rooms[1], stride))


def _rooms(first: int, second: int, room: int) -> Tuple[int, int]:
    """How much of the room each text gets. The shorter gets what it needs, at most half."""
    shorter = min(first, second, room // 2)
    return (room - shorter, shorter) if first > second else (shorter, room - shorter)


def _step(room: int, stride: Optional[int]) -> int:
    return max(min(stride or room // 2, room), 1)


def _count(length: int, room: int, stride: Optional[int]) -> int:
    return 1 if length <= room else 1 + -(-(length - room) // _step(room, stride))


def _window(length: int, room: int, stride: Optional[int], number: int, count: int) -> Tuple[int, int]:
    """The range of a text that the window shows; `count` is at least the text's own number of windows."""
    start = number * _count(length, room, stride) // count * _step(room, stride)
    return start, min(start + room, length)


def pooled(logits: np.ndarray, window: np.ndarray, pooling: str) -> np.ndarray:
    """[windows, L] → [texts, L]: the mean or maximum over the windows of each text.

    window: [windows] the number of each window in its text, from 0; the windows of a text follow each other.
    """
    starts = np.flatnonzero(np.asarray(window) == 0)
    logits = np.asarray(logits, np.float64)
    if pooling == "max":
        return np.maximum.reduceat(logits, starts, axis=0)
    counts = np.diff(np.append(starts, len(logits)))
    return np.add.reduceat(logits, starts, axis=0) / counts[:, None]
