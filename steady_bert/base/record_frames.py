"""Records → the frames of a TFRecord file, by NumPy, so that a process that writes them needs no TensorFlow. Pure.

A frame is the record's length (uint64), the length's checksum (uint32), the record, and its checksum (uint32), all of
them little-endian. A checksum is CRC-32C (RFC 3720, appendix B.4), rotated and moved by a constant:
https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details.

N records
"""

from typing import List, Sequence

import numpy as np

_POLYNOMIAL = 0x82F63B78  # of CRC-32C, the lowest bit first
_MOVED = np.uint32(0xA282EAD8)
# A state of 0 stays 0 while zeros are read, and is 2³² - 1, where a checksum begins, after these four bytes. So records
# of different lengths can end at the same place, and each step is made for all of them at once.
_START = b"Td\x1fd"


def framed(records: Sequence[bytes]) -> List[bytes]:
    """The frame of each record. Takes memory for N times the longest one."""
    heads = np.zeros(len(records), [("length", "<u8"), ("checksum", "<u4")])
    heads["length"] = [len(record) for record in records]
    heads["checksum"] = _masked(_checksums([length.tobytes() for length in heads["length"]]))
    return [
        head.tobytes() + record + checksum.tobytes()
        for head, record, checksum in zip(heads, records, _masked(_checksums(records)))
    ]


def _masked(checksums: np.ndarray) -> np.ndarray:
    return ((checksums >> np.uint32(15) | checksums << np.uint32(17)) + _MOVED).astype("<u4")


def _checksums(records: Sequence[bytes]) -> np.ndarray:
    """[N] uint32: the CRC-32C of each record."""
    longest = max(map(len, records), default=0) + len(_START)
    width = longest + longest % 2
    rows = b"".join([(_START + record).rjust(width, b"\0") for record in records])
    words = np.frombuffer(rows, "<u2").reshape(len(records), width // 2)
    states = np.zeros(len(records), np.uint32)
    for column in np.ascontiguousarray(words.T):  # two bytes of each record
        states = _AFTER_TWO_BYTES.take((states ^ column) & np.uint32(0xFFFF)) ^ (states >> np.uint32(16))
    return ~states


def _table() -> np.ndarray:
    """[65536] uint32: the state that follows each state below 2¹⁶ after two bytes that are 0."""
    states = np.arange(1 << 16, dtype=np.uint32)
    for _ in range(16):
        states = (states >> np.uint32(1)) ^ np.where(states & np.uint32(1), np.uint32(_POLYNOMIAL), np.uint32(0))
    return states


_AFTER_TWO_BYTES = _table()
