"""Tensors of safetensors files, one at a time and as float32, and a file of a BERT's. Pure: no TensorFlow.

The file's own library checks its header and sizes. NumPy has no bfloat16: its 16 bits are the upper half of a float32.
"""

import functools
import json
import operator
import os
from dataclasses import dataclass
from typing import Dict, Iterator, Mapping, NamedTuple, Sequence, Tuple

import numpy as np
import safetensors
import safetensors.numpy

from ..base import files, json_files
from ..base.errors import UserError
from . import names
from .configurations import FETCH

MOST_HEADER_BYTES = 16 << 20  # a tensor takes about 100; BERT-large has 400 of them
_FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


@dataclass
class _IndexFile:
    """The schema of an index of weights."""

    weight_map: Dict[str, str]


def elements_of(shape: Sequence[int]) -> int:
    """How many numbers a tensor of this shape has; a Python integer, so it cannot overflow."""
    return functools.reduce(operator.mul, shape, 1)


class Tensor(NamedTuple):
    """Where a tensor is."""

    path: str
    dtype: str  # as safetensors names it
    shape: Tuple[int, ...]
    offset: int  # of its first byte in the file

    @property
    def elements(self) -> int:
        return elements_of(self.shape)

    @property
    def is_float(self) -> bool:
        return self.dtype in _FLOATS


def tensors_in(path: str) -> Dict[str, Tensor]:
    """Name → place of each tensor of a file. Raises UserError where it is damaged."""
    try:
        with open(path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if size > MOST_HEADER_BYTES:
                raise ValueError("its header has {:,} bytes, and {:,} are the most".format(size, MOST_HEADER_BYTES))
            with safetensors.safe_open(path, framework="numpy"):  # verifies the header, and the file's size
                header = json.loads(file.read(size).decode("utf-8"))
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise UserError(
            "{}: cannot be read as safetensors ({}). Fetch it again: it is damaged, or was cut off.".format(path, error)
        ) from None
    return {
        name: Tensor(path, entry["dtype"], tuple(entry["shape"]), 8 + size + entry["data_offsets"][0])
        for name, entry in header.items()
        if name != "__metadata__"
    }


def load(tensor: Tensor) -> np.ndarray:
    """A tensor of floats, as float32."""
    with open(tensor.path, "rb") as file:
        file.seek(tensor.offset)
        values = np.fromfile(file, _FLOATS[tensor.dtype], tensor.elements)
    if len(values) != tensor.elements:
        raise UserError("{}: was cut off. Fetch it again.".format(tensor.path))
    if tensor.dtype == "BF16":
        values = (values.astype("<u4") << 16).view("<f4")
    return values.astype(np.float32, copy=False).reshape(tensor.shape)


def write_bert(path: str, weights: Mapping[str, np.ndarray], layers: int, source: str) -> None:
    """Writes variables of a BERT with so many layers as transformers names and turns them.

    Raises UserError, which names `source`, for a variable that is not part of BERT.
    """
    places = names.hugging_face_places(layers)
    tensors = {}
    for name, value in weights.items():
        if name not in places:
            raise UserError("{}: variable {} is not part of BERT.".format(source, name))
        place = places[name]
        tensors[place.name] = np.ascontiguousarray(value.T if place.transposed else value)
    files.write_bytes(path, safetensors.numpy.save(tensors, metadata={"format": "pt"}))


def shards_of(index: str) -> Iterator[str]:
    """The paths of the files that an index (…index.json) names, each once. Raises UserError if one is absent."""
    shards = set(json_files.read(index, _IndexFile, FETCH)["weight_map"].values())
    for name in sorted(shards):
        path = os.path.join(os.path.dirname(index), name)
        if os.path.basename(path) != name or not os.path.exists(path):
            raise UserError("{}: names {}, which is not beside it. Fetch the whole folder.".format(index, name))
        yield path
