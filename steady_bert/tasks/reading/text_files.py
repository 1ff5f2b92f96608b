"""files → rows: tab-separated text, CSV and JSON, plain or gzipped, with file and line in every error.

A file is UTF-8 unless the caller names its encoding; a byte-order mark and CRLF are accepted. What the cells of a row
mean is decided by the caller. A row that cannot be read goes to BadLines, which raises an error unless the user allowed
to skip some.
"""

import csv
import gzip
import json
import os
import re
import zlib
from typing import Iterator, Optional, Sequence, Tuple

from ..task import BadLines
from . import encodings
from .csv_rows import SEPARATORS, csv_rows
from .encodings import AUTO
from .json_rows import is_array, json_rows, json_values
from .source import LONGEST_LINE_BYTES, Row, lines, lines_or_errors

__all__ = [
    "AUTO",
    "LONGEST_LINE_BYTES",
    "SEPARATORS",
    "Row",
    "is_array",
    "json_values",
    "lines",
    "lines_or_errors",
    "rows",
]

JSON_ENDINGS = (".jsonl", ".json", ".ndjson")
_ARRAY = re.compile(r'\[\s*(\{\s*("|$)|\[\s*"|$)')  # the first line of an array of objects, or of lists
ENDINGS = (".tsv", ".csv", ".txt") + JSON_ENDINGS


def ending_of(path: str) -> str:
    """The ending of the name that shows the format, without a final .gz."""
    return os.path.splitext(path[: -len(".gz")] if path.endswith(".gz") else path)[1].lower()


def rows(path: str, bad_lines: Optional[BadLines] = None, encoding: str = AUTO) -> Iterator[Row]:
    """The rows of a file: CSV or JSON if its name ends so, else lines split at tabs, without quoting.

    Raises UserError with file:line for a row that cannot be read, unless bad_lines accepts it.
    """
    bad_lines = bad_lines or BadLines(0)
    ending = ending_of(path)
    if ending == ".csv":
        return csv_rows(path, bad_lines, encoding)
    if ending in JSON_ENDINGS:
        return json_rows(path, bad_lines, encoding)
    return _tab_rows(path, bad_lines, encoding)


def _tab_rows(path: str, bad_lines: BadLines, encoding: str) -> Iterator[Row]:
    for number, text in lines(path, bad_lines, encoding):
        yield Row(path, number, text.rstrip("\r\n").split("\t"), number - 1)


def _first_line(path: str, encoding: str) -> Tuple[str, bool]:
    """(the first line of a file, whether the file is gzipped, whatever its name is)."""
    with open(path, "rb") as file:
        gzipped = file.read(2) == b"\x1f\x8b"
    try:
        with (gzip.open if gzipped else open)(path, "rb") as file:
            raw = file.readline(LONGEST_LINE_BYTES)
    except (OSError, EOFError, zlib.error):
        raw = b""  # reading the file will report what is wrong
    return raw.decode(encodings.codec_of(encoding), "replace").strip("\ufeff \t\r\n"), gzipped


def is_json_lines(path: str, encoding: str = AUTO) -> bool:
    """Whether the first line is a JSON object, or begins an array of values."""
    first, _ = _first_line(path, encoding)
    try:
        return _ARRAY.match(first) is not None or isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


def ending_for(path: str, text_columns: Sequence[str], encoding: str = AUTO) -> str:
    """The file name ending that fits the content of standard input, which was copied to `path`.

    JSON starts with {, or [{. CSV names the text columns in its first line. Otherwise each line is a text, as in .txt.
    """
    first, gzipped = _first_line(path, encoding)
    names = next(csv.reader([first]), [])
    if first.startswith("{") or _ARRAY.match(first):
        ending = ".jsonl"
    else:
        ending = ".csv" if len(names) > 1 and set(text_columns or ("text", "text_a")) & set(names) else ".txt"
    return ending + ".gz" * gzipped
