"""Lines of JSON as google-research/bert's extract_features writes them. Pure: no TensorFlow.

Python takes .3 µs to write a number, and a line has thousands, so that would take longer than computing them. Here the
characters of all numbers of a line are looked up in tables at once.

K layers · H hidden · R rows
"""

import json
from typing import List, Sequence

import numpy as np

from .lines import Encoded

_DIGITS = 6  # of the original's values, after the point


def line_of(line: Encoded, values: np.ndarray, layers: Sequence[int], pooled: bool) -> bytes:
    """values: float32 [tokens, K, H], or [K, H] if pooled."""
    rows = iter(row_texts(values.reshape(-1, values.shape[-1])))

    def of_layers() -> str:
        return ", ".join('{{"index": {}, "values": [{}]}}'.format(layer, next(rows)) for layer in layers)

    content = '{{"linex_index": {}, '.format(line.unique_id)
    if pooled:
        content += '"layers": [{}]'.format(of_layers())
    else:
        tokens = ('{{"token": {}, "layers": [{}]}}'.format(json.dumps(token), of_layers()) for token in line.tokens)
        content += '"features": [{}]'.format(", ".join(tokens))
    return (content + "}\n").encode("ascii")


def row_texts(values: np.ndarray) -> List[str]:
    """The numbers of each row, float32 [R, H], as Python writes round(value, 6), with commas between them."""
    # A float32 times 10⁶ is exact in float64, so a tie is seen as one.
    scaled = np.rint(values.astype(np.float64) * 10**_DIGITS)
    absolute = np.abs(scaled)
    if not (absolute < 1000 * 10**_DIGITS).all():
        return [json.dumps(row)[1:-1] for row in (scaled / 10**_DIGITS).tolist()]
    millionths = absolute.astype(np.int32)
    thousandths = millionths // 1000
    lower = millionths - 1000 * thousandths
    whole = thousandths // 1000
    upper = thousandths - 1000 * whole
    negative = np.signbit(scaled).view(np.uint8)
    text = np.empty((*values.shape, 4), np.uint32)
    text[..., 0] = _SIGN[negative]
    text[:, 0, 0] = _FIRST_SIGN[negative[:, 0]]
    text[..., 1] = _WHOLE[whole]
    text[..., 2] = _UPPER[upper + 1000 * (lower == 0)]
    text[..., 3] = _LOWER[lower]
    small = millionths < len(_SMALL)
    text[small, 1:] = _SMALL[millionths[small]]
    end = text.view(np.uint8).reshape(*values.shape, 16)[:, -1]
    end[end == ord(",")] = ord("\n")
    return text.tobytes().translate(None, b"\0").decode("ascii").split("\n")[:-1]


def _words(texts: Sequence[str], size: int = 4) -> np.ndarray:
    return np.array([text.encode("ascii") for text in texts], "S{}".format(size)).view(np.uint32)


# A number is four words of four characters, where 0 is none: the space before it and its sign, what stands before the
# point, and twice three digits.
_THREE = ["{:03d}".format(number) for number in range(1000)]
_SIGN, _FIRST_SIGN = _words([" ", " -"]), _words(["", "-"])
_WHOLE = _words(["{}.".format(number) for number in range(1000)])
_UPPER = _words(_THREE + ["0"] + [text.rstrip("0") for text in _THREE[1:]])  # the second half: no digit follows
_LOWER = _words([text.rstrip("0") + "," for text in _THREE])
# 0.0, and the numbers that have an exponent.
_SMALL = _words([repr(number / 10**_DIGITS).ljust(11, "\0") + "," for number in range(100)], 12).reshape(-1, 3)
