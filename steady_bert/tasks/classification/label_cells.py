"""A cell of labels as people and programs write it: names with a separator, lists as text, 0 or 1 for each class."""

import ast
import functools
import json
import math
import re
from typing import Any, List, Optional, Sequence

from ...base.errors import UserError

# What pandas, JSON and people write where there is no value. Not "none": it is a common class.
MISSING = frozenset({"nan", "NaN", "NAN", "-nan", "-NaN", "NA", "N/A", "n/a", "#N/A", "<NA>", "None"})
MISSING |= frozenset({"null", "NULL", "Null"})
OTHER_SEPARATORS = ";|"  # which may separate labels where no --label_separator says so
ZEROS_AND_ONES = frozenset({"0", "1", "0.0", "1.0"})
_YES, _NO = ("1", "1.0", "true", "True", "TRUE"), ("0", "0.0", "false", "False", "FALSE")
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_ZEROS_AND_ONES = re.compile(r"\[?\s*[01](\s+[01])+\s*\]?")  # as NumPy writes them


class MissingLabelError(UserError):
    """A row has no label. value: what stands in its place."""

    def __init__(self, value: str) -> None:
        super().__init__("the label is missing ({}). Label the row or remove it.".format(value or "empty"))
        self.value = value


def is_missing(cell: Any) -> bool:
    """Whether a cell holds no value; an empty text does not count."""
    if isinstance(cell, str):
        return cell.strip() in MISSING
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def shown(cell: Any) -> str:
    """A missing value as it stands in the file."""
    return cell.strip() if isinstance(cell, str) else json.dumps(cell)


def elements(text: str) -> Optional[List[Any]]:
    """The elements of a list of texts or numbers that a program wrote as text; None if the text is no such list."""
    text = text.strip()
    return _parsed(text) if text[:1] + text[-1:] in ("[]", "()", "{}") else None


@functools.lru_cache(maxsize=4096)  # the cells of a file repeat
def _parsed(text: str) -> Optional[List[Any]]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        try:
            value = ast.literal_eval(text)  # literals alone: nothing is run
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            return None
    if not isinstance(value, (list, tuple, set)):
        return None
    items = sorted(value, key=text.find) if isinstance(value, set) else list(value)
    texts = sum(isinstance(item, str) for item in items)
    if texts != len(_QUOTED.findall(text)):  # NumPy leaves the commas out, and Python joins 'a' 'b'
        return None
    return items if all(item is None or isinstance(item, (str, int, float)) for item in items) else None


def split(text: str, separator: Optional[str]) -> List[Any]:
    """The labels in a cell. Raises UserError for what looks like a list and cannot be read as one."""
    if _ZEROS_AND_ONES.fullmatch(text.strip()):
        return re.findall("[01]", text)
    listed = elements(text)
    if listed is not None:
        return listed
    if re.fullmatch(r"\[.*\]|\{.*\}", text.strip(), re.S):
        raise UserError(
            "the label {!r} looks like a list and cannot be read as one. Write ['a', 'b'], or a,b.".format(text[:60])
        )
    return [name for name in text.split(separator or ",") if name.strip()]


def is_multi_hot(items: Sequence[Any]) -> bool:
    """Whether labels are 0 or 1 for each of several classes, rather than names."""
    return len(items) > 1 and all(str(item).strip() in ZEROS_AND_ONES for item in items)


def chosen(cell: Any, column: str) -> bool:
    """The value of a column that says of one class whether a row has it."""
    text = (cell if isinstance(cell, str) else json.dumps(cell)).strip()
    if text in _YES:
        return True
    if text in _NO:
        return False
    if not text or is_missing(cell):
        raise MissingLabelError(shown(cell))
    raise UserError("the column {!r} has {!r}, not 0 or 1. Fix the row.".format(column, text[:40]))


def are_yes_or_no(cells: Sequence[Any]) -> bool:
    """Whether cells are 0 or 1, but for missing values."""
    texts = {(cell if isinstance(cell, str) else json.dumps(cell)).strip() for cell in cells} - MISSING - {""}
    return bool(texts) and texts <= set(_YES + _NO)
