"""Training data → K folds: which example is in which, and the files of each fold's run. Pure: no TensorFlow.

An example is copied as it stands in its file, with the lines that follow it up to the next one, so that a fold is read
by the same flags. Files are written in UTF-8.
"""

import collections
import os
import random
from typing import Any, Dict, Hashable, List, NamedTuple, Sequence, Tuple

from ..base import files
from ..base.errors import UserError
from ..tasks.reading import text_files
from ..tasks.task import BadLines


class Example(NamedTuple):
    """What is known of an example. key: its label, or its group."""

    line: int  # at which it begins in its file, from 1
    key: Hashable


class FoldData(NamedTuple):
    """A training file with its examples. names: split → its file in the folder of a fold.

    others: file in the folder of a fold → the file that is copied there, in UTF-8 too.
    """

    source: str
    encoding: str
    examples: Sequence[Example]
    names: Dict[str, str]
    others: Dict[str, str] = {}


def _shuffled(items: Sequence[Any], seed: int) -> List[Any]:
    rng = random.Random("folds-{}".format(seed))
    return [items[number] for _, number in sorted((rng.random(), number) for number in range(len(items)))]


def by_label(keys: Sequence[Hashable], count: int, seed: int) -> List[int]:
    """The fold of each example, from 0. Sizes differ by at most 1, and so do the counts of each label.

    Numbers are dealt in their order, so that each fold has small and large ones alike.
    """
    members = _shuffled(range(len(keys)), seed)
    members.sort(key=lambda number: _order(keys[number]))  # stable: the examples of a label stay shuffled
    fold_of = [0] * len(keys)
    for place, number in enumerate(members):
        fold_of[number] = place % count
    return fold_of


def _order(key: Hashable) -> Tuple[float, str]:
    return (key, "") if isinstance(key, float) else (0.0, str(key))


def by_group(keys: Sequence[Hashable], count: int, seed: int) -> List[int]:
    """The fold of each example, from 0. A group is in one fold; the largest ones are placed first, where least is.

    The sizes of two folds differ by at most that of the largest group. Raises UserError if there are too few groups.
    """
    sizes = collections.Counter(keys)
    if len(sizes) < count:
        raise UserError("--k_folds={}: the training data has {:,} groups. Give fewer.".format(count, len(sizes)))
    groups = sorted(_shuffled(sorted(sizes, key=str), seed), key=lambda group: -sizes[group])
    totals = [0] * count
    fold_of: Dict[Hashable, int] = {}
    for group in groups:
        fold_of[group] = totals.index(min(totals))
        totals[fold_of[group]] += sizes[group]
    return [fold_of[key] for key in keys]


def write(data: "FoldData", fold_of: Sequence[int], count: int, folder: str) -> None:
    """Writes folder/fold-1 … fold-K, each with train and dev in the source's order, from folds counted from 0."""
    ending = text_files.ending_of(data.source)
    if ending in text_files.JSON_ENDINGS and text_files.is_array(data.source, data.encoding):
        raise UserError("{}: is one JSON value, and --k_folds needs an object a line.".format(data.source))
    begins = [example.line for example in data.examples]
    if any(line >= following for line, following in zip(begins, begins[1:])):
        text = "{}: its examples do not begin on lines of their own, as --k_folds needs. Write one object a line."
        raise UserError(text.format(data.source))
    header, *chunks = _chunks(data, begins)
    for fold in range(count):
        for split, name in data.names.items():
            chosen = [text for text, own in zip(chunks, fold_of) if (own == fold) == (split == "dev")]
            path = os.path.join(fold_folder(folder, fold + 1), name)
            files.write_bytes(path, "".join([header, *chosen]).encode("utf-8"))
        for name, source in data.others.items():
            copied = _chunks(data._replace(source=source), [])[0]
            files.write_bytes(os.path.join(fold_folder(folder, fold + 1), name), copied.encode("utf-8"))


def fold_folder(folder: str, fold: int) -> str:
    """fold: from 1."""
    return os.path.join(folder, "fold-{}".format(fold))


def _chunks(data: "FoldData", begins: Sequence[int]) -> List[str]:
    """The text before the first example, then that of each. Lines that cannot be read are left out."""
    chunks: List[List[str]] = [[]]
    for number, text in text_files.lines_or_errors(data.source, data.encoding):
        if len(chunks) <= len(begins) and number == begins[len(chunks) - 1]:
            chunks.append([])
        if isinstance(text, str):
            chunks[-1].append(text if text.endswith("\n") else text + "\n")
    return ["".join(chunk) for chunk in chunks]


def groups_of(data: "FoldData", column: str, has_header: bool) -> Dict[int, str]:
    """The cell of a column in the row of each example, by its line. Raises UserError if there is no such column."""
    found: Dict[int, str] = {}
    names: Sequence[str] = ()
    lines = {example.line for example in data.examples}
    for number, row in enumerate(text_files.rows(data.source, BadLines(1 << 62), data.encoding)):
        if isinstance(row.cells, list) and not number and has_header:
            names = [str(cell).strip() for cell in row.cells]
            continue
        if row.line not in lines:
            continue
        if isinstance(row.cells, dict):
            place: Any = column if column in row.cells else None
        elif names:
            place = names.index(column) if column in names else None
        else:
            place = int(column) if column.isdecimal() and int(column) < len(row.cells) else None
        if place is None:
            columns = ", ".join(names or (row.cells if isinstance(row.cells, dict) else ())) or "numbers from 0"
            raise UserError("--fold_by={}: {} has no such column. There are: {}.".format(column, row.place, columns))
        found[row.line] = str(row.cells[place])
    return found
