"""JSON: a value a line, or an array of values over any number of lines, which is read piece by piece."""

import itertools
import json
import re
from typing import Any, Iterator, Tuple

from ...base.errors import UserError
from ..task import BadLines
from .encodings import AUTO
from .source import LONGEST_LINE_BYTES, Row, Source, lines

_ARRAY = re.compile(r"\s*\[\s*([\[{\]]|$)")  # a list of plain values is a line of JSON lines
_BLANKS = re.compile(r"[\s]*")
_SURROGATE = re.compile(r"\\u[dD]")


def json_rows(path: str, bad_lines: BadLines, encoding: str) -> Iterator[Row]:
    """The objects of a file."""
    for row in json_values(path, bad_lines, encoding):
        if isinstance(row.cells, dict):
            yield row
        else:
            kind = type(row.cells).__name__
            bad_lines.add(UserError('{}: {}, not an object like {{"text": …}}. Fix the line.'.format(row.place, kind)))


def is_array(path: str, encoding: str = AUTO) -> bool:
    """Whether the file is an array of objects or of arrays, not a value a line."""
    return _Array(Source(path, encoding)).is_one()


def json_values(path: str, bad_lines: BadLines, encoding: str = AUTO) -> Iterator[Row]:
    """The values of a file, objects or not."""
    array = _Array(Source(path, encoding))
    values = array.values() if array.is_one() else _line_values(path, bad_lines, encoding)
    for row, text in values:
        if _SURROGATE.search(text) and not is_encodable(row.cells):
            bad_lines.add(UserError("{}: has half of a surrogate pair (such as \\ud800). Fix it.".format(row.place)))
            continue
        yield row


def _line_values(path: str, bad_lines: BadLines, encoding: str) -> Iterator[Tuple[Row, str]]:
    for number, text in lines(path, bad_lines, encoding):
        try:
            cells = json.loads(text)
        except (ValueError, RecursionError) as error:
            message = "{}:{}: not JSON ({}). One line is one object, or the file is an array of objects."
            bad_lines.add(UserError(message.format(path, number, error)))
            continue
        yield Row(path, number, cells, number - 1), text


def is_encodable(cells: Any) -> bool:
    """Whether no text in a value has half of a surrogate pair."""
    try:
        json.dumps(cells, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


class _Array:
    """The values of a JSON array, of which at most two pieces of text are in memory."""

    def __init__(self, source: Source) -> None:
        self._path = source.path
        self._pieces = source.characters()
        self._text = ""
        self._at = 0
        self._line = 1
        self._decoder = json.JSONDecoder()

    def is_one(self) -> bool:
        """Whether the file begins like an array of objects, or of arrays."""
        try:
            self._read_on()
        except UserError:  # reading the lines raises it again, with the line
            return False
        return _ARRAY.match(self._text) is not None

    def values(self) -> Iterator[Tuple[Row, str]]:
        """Each value with its text. Raises UserError at the first that is not JSON: where it ends is not known."""
        self._skip("[")
        for record in itertools.count():
            if self._next() == "]":
                break
            line, (value, text) = self._line, self._value()
            yield Row(self._path, line, value, record), text
            if self._next() != "]":
                self._skip(",")
        self._skip("]")
        if self._next():
            raise self._error("more follows after the array's end")

    def _read_on(self) -> bool:
        """Takes in another piece; says whether there was one."""
        piece = next(self._pieces, "")
        self._text, self._at = self._text[self._at :] + piece, 0
        return bool(piece)

    def _move(self, to: int) -> None:
        self._line += self._text.count("\n", self._at, to)
        self._at = to

    def _next(self) -> str:
        """The next character that is not blank, to which it moves; nothing at the end."""
        while True:
            match = _BLANKS.match(self._text, self._at)
            assert match is not None
            self._move(match.end())
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._read_on():
                return ""

    def _skip(self, character: str) -> None:
        actual = self._next()
        if actual != character:
            raise self._error("{!r} is missing".format(character) if actual else "the file ends within the array")
        self._move(self._at + 1)

    def _value(self) -> Any:
        while True:
            problem = "the file ends within the array"
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
                if end < len(self._text):  # a number may go on in the next piece
                    text = self._text[self._at : end]
                    self._move(end)
                    return value, text
            except (ValueError, RecursionError) as error:
                problem = getattr(error, "msg", str(error))
            if len(self._text) - self._at > LONGEST_LINE_BYTES or not self._read_on():
                raise self._error(problem)

    def _error(self, problem: str) -> UserError:
        message = "{}:{}: not JSON ({}). An array is [value, value, …]; a value has at most {:,} characters."
        return UserError(message.format(self._path, self._line, problem, LONGEST_LINE_BYTES))
