"""Objects in JSON files, with the types that they must have. Pure: no TensorFlow.

A schema is a dataclass: its fields are the keys, their annotations the types, and a key without a default must be
there. Further keys are allowed. Types are strict: `true`, `1.0` and `"1"` are not whole numbers.
"""

import functools
import json
import math
import os
import stat
from typing import Any, Dict, NoReturn, Optional, Sequence

from .errors import UserError

MOST_BYTES = 256 << 20  # the largest of published models, a tokenizer.json, has a tenth of it
_MOST_DIGITS = 300  # of a whole number; from 309 on it is beyond float64
_RESTORE = "Restore it from a copy."
# What pydantic calls an error of type → what is expected.
_EXPECTED = {
    "bool_type": "true or false",
    "dataclass_type": "an object",
    "dict_type": "an object",
    "float_type": "a number",
    "int_type": "a whole number",
    "list_type": "a list",
    "string_type": "a text",
    "tuple_type": "a list",
}


def read(path: str, schema: Optional[type] = None, remedy: str = _RESTORE) -> Dict[str, Any]:
    """The object in a file. Raises UserError that names the file, the key, what is there and what is expected.

    remedy: a sentence for the user, who cannot know what the file ought to hold.
    """
    try:
        content = _bytes_of(path)
    except OSError as error:
        raise UserError("{}: cannot be read ({}). {}".format(path, error.strerror or error, remedy)) from None
    return parse(content, path, schema, remedy)


def _bytes_of(path: str) -> bytes:
    status = os.stat(path)
    if stat.S_ISREG(status.st_mode) and status.st_size > MOST_BYTES:
        raise OSError(0, "it has {:,} bytes, and {:,} are the most".format(status.st_size, MOST_BYTES))
    if not stat.S_ISREG(status.st_mode):  # a pipe or a device may never end
        raise OSError(0, "it is a folder" if stat.S_ISDIR(status.st_mode) else "it is not a file")
    with open(path, "rb") as file:
        return file.read()


def parse(content: bytes, place: str, schema: Optional[type] = None, remedy: str = _RESTORE) -> Dict[str, Any]:
    """The object that UTF-8 text has. Raises UserError, which begins with `place`, as `read` does."""
    try:
        text = content.decode("utf-8-sig")
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_whole)
    except RecursionError:
        raise UserError("{}: is nested too deeply. {}".format(place, remedy)) from None
    except ValueError as error:
        raise UserError("{}: not JSON ({}). {}".format(place, error, remedy)) from None
    if not isinstance(value, dict):
        raise UserError("{}: holds {}, expected an object. {}".format(place, kind_of(value), remedy))
    if schema is not None:
        require(value, place, schema, remedy)
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError("{} is not a number in JSON".format(name))


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError("{} is beyond the range of numbers".format(digits[:20]))
    return value


def _whole(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError("a number of {:,} digits".format(len(digits)))
    return int(digits)


def require(value: Any, place: str, schema: type, remedy: str = _RESTORE) -> None:
    """Raises UserError if a value that JSON gave is not as the schema says."""
    import pydantic  # not for --help

    try:
        _adapter(schema).validate_json(json.dumps(value), strict=True)
    except pydantic.ValidationError as error:
        raise UserError("{}: {}. {}".format(place, _text_of(error.errors()[0]), remedy)) from None


def _text_of(problem: Any) -> str:
    """An error of pydantic's in words."""
    kind, key = problem["type"], ".".join(map(str, problem["loc"]))
    if kind == "json_invalid":  # that which Python's parser takes all the same
        reason = problem["ctx"]["error"]
        return "is nested too deeply" if "recursion" in reason else "not JSON ({})".format(reason)
    if kind == "missing":
        return 'lacks the key "{}"'.format(key)
    if kind in _EXPECTED:
        return 'key "{}": found {}, expected {}'.format(key, kind_of(problem["input"]), _EXPECTED[kind])
    return 'key "{}": {}'.format(key, problem["msg"])


@functools.lru_cache(maxsize=None)
def _adapter(schema: type) -> Any:
    import pydantic

    return pydantic.TypeAdapter(schema)


def require_range(
    place: str, value: Dict[str, Any], keys: Sequence[str], least: int, most: int, remedy: str = _RESTORE
) -> None:
    """Raises UserError if one of the numbers under these keys is outside least … most. None is passed over."""
    for key in keys:
        number = value.get(key)
        if number is not None and not least <= number <= most:
            text = '{}: key "{}": found {}, expected {:,} to {:,}. {}'
            raise UserError(text.format(place, key, kind_of(number), least, most, remedy))


def require_choice(place: str, key: str, value: Any, allowed: Sequence[str], remedy: str = _RESTORE) -> None:
    """Raises UserError if the value under a key is not one of those allowed. None is passed over."""
    if value is not None and value not in allowed:
        text = '{}: key "{}": found {}, expected one of {}. {}'
        raise UserError(text.format(place, key, kind_of(value), ", ".join(allowed), remedy))


def kind_of(value: Any) -> str:
    """A value as a message names it: in full if it is short, else by its kind."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, (list, tuple)):
        return "a list"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"
