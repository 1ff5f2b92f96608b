"""Instances → serialized tf.train.Examples with google-research/bert's columns, padded. Pure: no TensorFlow.

Written out, because processes that make instances would else import TensorFlow for nothing but this. The encoding is
that of protocol buffers (https://protobuf.dev/programming-guides/encoding): numbers of seven bits a byte, and fields
with a number and, here, a length.
"""

import struct
from typing import Callable, Dict, List, Sequence

from ...base.errors import UserError
from .instances import TrainingInstance

_BYTES_FIELD = 2  # the wire type of what has a length
_FLOAT_LIST, _INT64_LIST = 2, 3  # the fields of tf.train.Feature


def varint(number: int) -> bytes:
    """A number, not negative, of seven bits a byte, the lowest first; all bytes but the last have the top bit."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | _BYTES_FIELD) + varint(len(content)) + content


class RecordEncoder:
    """ids: piece → id, for the pieces of instances."""

    def __init__(self, ids: Callable[[List], Sequence[int]], max_seq_length: int, max_predictions_per_seq: int) -> None:
        self._ids = ids
        self._length = max_seq_length
        self._predictions = max_predictions_per_seq
        self._varints: Dict[int, bytes] = {}

    def __call__(self, instance: TrainingInstance) -> bytes:
        """int64 lists input_ids, input_mask, segment_ids, masked_lm_positions, masked_lm_ids, next_sentence_labels (1:
        random), and floats masked_lm_weights, 0 for the places after the last prediction.

        Raises UserError for an instance that is longer than the columns.
        """
        tokens, predictions = len(instance.tokens), len(instance.masked_lm_positions)
        if tokens > self._length or predictions > self._predictions:
            raise UserError(
                "An instance has {} tokens and {} predictions; {} and {} fit. Raise max_seq_length and "
                "max_predictions_per_seq.".format(tokens, predictions, self._length, self._predictions)
            )
        weights = [1.0] * predictions + [0.0] * (self._predictions - predictions)
        columns = {  # in alphabetical order, so that equal instances are equal bytes
            "input_ids": self._integers(self._ids(instance.tokens), self._length),
            "input_mask": self._integers([1] * tokens, self._length),
            "masked_lm_ids": self._integers(self._ids(instance.masked_lm_labels), self._predictions),
            "masked_lm_positions": self._integers(instance.masked_lm_positions, self._predictions),
            "masked_lm_weights": _field(_FLOAT_LIST, _field(1, struct.pack("<{}f".format(len(weights)), *weights))),
            "next_sentence_labels": self._integers([int(instance.is_random_next)], 1),
            "segment_ids": self._integers(instance.segment_ids, self._length),
        }
        entries = (_field(1, _field(1, name.encode()) + _field(2, value)) for name, value in columns.items())
        return _field(1, b"".join(entries))

    def _integers(self, values: Sequence[int], length: int) -> bytes:
        known = self._varints
        try:
            packed = b"".join([known[value] for value in values])
        except KeyError:
            known.update((value, varint(value)) for value in values)
            packed = b"".join([known[value] for value in values])
        return _field(_INT64_LIST, _field(1, packed + bytes(length - len(values))))
