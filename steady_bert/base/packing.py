"""Sequences packed into rows of one length, one behind another: few padded positions, and few shapes.

B batch · S padded length · P rows of T positions · N = P · T
"""

from typing import List, NamedTuple, Tuple

import numpy as np

_WIDTH_MULTIPLE = 8  # as of padded batches: libraries have fast paths for it
ROW_MULTIPLE = 64  # T is a multiple of it, which suits the matrix units of a GPU


class PackedPlaces(NamedTuple):
    """Where the tokens of a padded square stand in packed rows, and back; -1 where there is none. All int32."""

    position: np.ndarray  # [N]: b · S + s of the token in each place
    place: np.ndarray  # [B · S]: the place of each position of the square
    sequence: np.ndarray  # [P, T]: b of the token in each place
    first: np.ndarray  # [B]: the place of each sequence's first token
    first_of: np.ndarray  # [N]: the sequence whose first token stands in each place


def row_length_for(max_seq_length: int) -> int:
    return -(-max_seq_length // ROW_MULTIPLE) * ROW_MULTIPLE


def row_count(rows: int, doubling: bool = False) -> int:
    """`rows` rounded up, so that code compiled for a shape serves many batches.

    By at most one row up to 16 and by a fourth above; to a power of two where `doubling`, for passes that cost little
    beside compiling.
    """
    power = max(rows - 1, 0).bit_length()  # the least with 2 ** power >= rows
    if doubling:
        return int(2**power)
    step = 1 if rows <= 2 else max(2, 2 ** (power - 3))
    return -(-rows // step) * step


def packed_places(mask: np.ndarray, row_length: int, doubling: bool = False) -> PackedPlaces:
    """The places of the tokens of a mask [B, S] that is not 0 where a token is real.

    A sequence is real up to its last real token, and has at least one. The longest is placed first, each in the first
    row with room. Raises ValueError where one is longer than row_length.
    """
    batch, width = mask.shape
    lengths = np.where(mask.any(axis=1), width - np.argmax(mask[:, ::-1] != 0, axis=1), 1)
    if lengths.max(initial=1) > row_length:
        raise ValueError("A sequence of {} tokens does not fit a row of {}.".format(lengths.max(), row_length))
    starts, used_rows = _first_fit(lengths.tolist(), row_length)
    rows = row_count(max(used_rows, 1), doubling)
    first = np.array(starts, np.int32)
    offsets = np.arange(width, dtype=np.int32)
    real = offsets < lengths[:, None]  # [B, S]
    place = np.where(real, first[:, None] + offsets, -1).astype(np.int32)
    position = np.full(rows * row_length, -1, np.int32)
    position[place[real]] = np.flatnonzero(real)
    first_of = np.full(rows * row_length, -1, np.int32)
    first_of[first] = np.arange(batch)
    sequence = np.where(position < 0, -1, position // max(width, 1)).astype(np.int32)
    return PackedPlaces(position, place.reshape(-1), sequence.reshape(rows, row_length), first, first_of)


class AttentionPlaces(NamedTuple):
    """Where rows of tokens stand while they attend to each other, several sequences in a row of T. All int32."""

    places: np.ndarray  # [N, 2]: (p, t) of each row of tokens
    sequence: np.ndarray  # [P, T]: the sequence of the token in each place, or -1


def attention_places(lengths: np.ndarray, rows: int) -> AttentionPlaces:
    """The places of `rows` rows: those of sequences of these lengths [B], one behind another, then others.

    T is the longest length, rounded up to a multiple of 8.
    """
    width = -(-int(lengths.max(initial=1)) // _WIDTH_MULTIPLE) * _WIDTH_MULTIPLE
    starts, used_rows = _first_fit(lengths.tolist(), width)
    height = row_count(max(used_rows, -(-rows // width)))
    before = np.cumsum(lengths) - lengths
    taken = np.repeat(np.array(starts) - before, lengths) + np.arange(lengths.sum())
    sequence = np.full(height * width, -1, np.int32)
    sequence[taken] = np.repeat(np.arange(len(lengths)), lengths)
    free = np.flatnonzero(sequence < 0)[: rows - len(taken)]
    places = np.stack(np.divmod(np.concatenate([taken, free]), width), axis=1)
    return AttentionPlaces(places.astype(np.int32), sequence.reshape(height, width))


def _first_fit(lengths: List[int], row_length: int) -> Tuple[List[int], int]:
    """(where each sequence starts among all places, the number of rows)."""
    starts, room = [0] * len(lengths), []  # type: List[int], List[int]
    for number in sorted(range(len(lengths)), key=lambda number: (-lengths[number], number)):
        length = lengths[number]
        row = next((row for row, left in enumerate(room) if left >= length), len(room))
        if row == len(room):
            room.append(row_length)
        starts[number] = (row + 1) * row_length - room[row]
        room[row] -= length
    return starts, len(room)
