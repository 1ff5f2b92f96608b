"""files → examples: what every data set for classification has in common.

A processor knows the layout of one data set. `read_examples` streams a file and names file and line in every error. The
get_* methods are google-research/bert's, for scripts written for it. A new data set is a class and a row in
registry.py.
"""

import collections
import csv
import itertools
import json
import math
import os
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from ...base.errors import UserError
from ..reading import text_files
from ..reading.text_files import Row
from ..task import BadLines
from . import label_cells

_LARGEST_SCORE = 3.4028234663852886e38  # of a float32, which records hold


class InputExample:
    """A text or a pair of texts.

    label: a class or score as text, a tuple of classes if there may be several, None if the file has no labels.
    example_id names the example in prediction files; line is its line in its own file.
    """

    def __init__(
        self,
        guid: str,
        text_a: str,
        text_b: Optional[str] = None,
        label: Any = None,
        example_id: Optional[str] = None,
        line: int = 0,
    ) -> None:
        self.guid = guid
        self.text_a = text_a
        self.text_b = text_b
        self.label = label
        self.example_id = guid if example_id is None else example_id
        self.line = line


class PaddingInputExample:
    """Fills the last batch on a TPU, whose batches are all of one size; metrics ignore it."""


class InputFeatures:
    """One example as numbers, padded to max_seq_length."""

    def __init__(
        self,
        input_ids: List[int],
        input_mask: List[int],
        segment_ids: List[int],
        label_id: Any,
        is_real_example: bool = True,
    ) -> None:
        self.input_ids = input_ids
        self.input_mask = input_mask
        self.segment_ids = segment_ids
        self.label_id = label_id
        self.is_real_example = is_real_example


class Columns(NamedTuple):
    """The places of texts, label and id in a row: column numbers from 0, or JSON keys; None for no such column."""

    width: int  # number of columns of a table
    text_a: Union[int, str]
    text_b: Union[int, str, None] = None
    label: Union[int, str, Tuple[Tuple[str, Union[int, str]], ...], None] = None  # (class, its column) if each has one
    id: Union[int, str, None] = None
    header: bool = True  # whether the first row names the columns


class _UnreadLabels:
    """Counts the labels of a test file that cannot be read, and keeps what is wrong with the first."""

    def __init__(self) -> None:
        self.count = 0
        self.first = ""

    def add(self, message: str) -> None:
        self.first = self.first or message
        self.count += 1


class DataProcessor:
    """The layout, labels and scores of one data set."""

    label_type = "single"  # one of several classes; "multi": any number of them; "regression": a number
    text_counts: Tuple[int, ...] = (1, 2)  # how many texts an example may have
    metrics: Tuple[str, ...] = ("accuracy",)
    best_metric = "accuracy"
    options: Tuple[str, ...] = ()  # the flags that this data set alone reads
    header_is_searched = False  # whether `columns` looks for names in the first row, instead of counting its cells
    reads_json = False
    warns_of_missing_texts = False  # whether the data report counts texts like "nan"
    encoding = text_files.AUTO  # of the files
    test_has_labels = False  # whether those of a test file are read, where it has a column of them
    splits: Tuple[str, ...] = ("train", "dev", "test")  # dev_… and test_… are further files, scored apart
    submission: Dict[str, str] = {}  # split → the benchmark's name for the file of its predictions
    unwanted = ""  # what the rows are that `_wanted` leaves out, where the data report counts them

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> "DataProcessor":
        """The processor that a command line asks for; options: flag name → value."""
        return cls()

    def file_name(self, split: str) -> str:
        return split + ".tsv"

    def file_path(self, data_dir: str, split: str) -> str:
        return os.path.join(data_dir, self.file_name(split))

    def identity(self) -> str:
        """A text that differs between processors that read the same file differently."""
        return type(self).__name__

    def get_labels(self) -> List[str]:
        """The labels in id order; empty for regression."""
        raise NotImplementedError

    def known_labels(self) -> Optional[List[str]]:
        """The labels that the task or the command line names, in id order; None if the data decides."""
        return self.get_labels()

    def find_labels(self, path: str, bad_lines: Optional[BadLines] = None) -> List[str]:
        """The labels of a training file, in id order. Raises UserError if they cannot be classes."""
        return self.get_labels()

    def with_labels(self, labels: Sequence[str]) -> "DataProcessor":
        """A processor of the same files that knows its labels."""
        return self

    def columns(self, first: Any, path: str) -> Columns:
        """The columns of a file, judged by the cells of its first row. Raises UserError if it has another layout."""
        raise NotImplementedError

    def read_examples(self, path: str, split: str, bad_lines: Optional[BadLines] = None) -> Iterator[InputExample]:
        """The examples of a file in order. Raises UserError with file:line for a row that bad_lines does not take.

        A test file is predicted: a label that cannot be read is none there, and bad_lines notes how many there are.
        """
        bad_lines = bad_lines or BadLines(0)
        rows = text_files.rows(path, bad_lines, self.encoding)
        first = next(rows, None)
        if first is None:
            raise UserError("{}: the file is empty. Put data into it.".format(path))
        columns = self._columns_of(first, path, split)
        examples = number = missing_texts = unwanted = 0
        missing_text = ""
        unread = _UnreadLabels()
        for row in rows if columns.header else itertools.chain([first], rows):
            number += 1
            try:
                if isinstance(row.cells, list) and len(row.cells) != columns.width:
                    raise UserError(_wrong_width(len(row.cells), columns.width, path))
                if not self._wanted(split, row):
                    unwanted += 1
                    continue
                readable = self._readable(row, columns, unread) if split.startswith("test") else columns
                example = self._example(split, row, readable, row.record - columns.header)
            except label_cells.MissingLabelError as error:
                counts = self._missing_labels(path, split) if bad_lines.is_full else ""
                bad_lines.add(UserError("{}: {}{}".format(row.place, error, counts)))
                continue
            except UserError as error:
                bad_lines.add(UserError("{}: {}".format(row.place, error)))
                continue
            if self.warns_of_missing_texts and (
                example.text_a in label_cells.MISSING or example.text_b in label_cells.MISSING
            ):
                missing_texts += 1
                missing_text = missing_text or "{} in line {}".format(example.text_a, row.line)
            examples += 1
            yield example
        if not number:
            raise UserError("{}: has no rows below its header. Put data into it.".format(path))
        if not examples:
            raise UserError("{}: none of its {:,} rows is an example of this task.".format(path, number))
        if unwanted and self.unwanted:
            bad_lines.notes.append("{}, which are left out: {:,}".format(self.unwanted, unwanted))
        if unread.count:
            bad_lines.notes.append("labels that are not scored: {:,}, the first {}".format(unread.count, unread.first))
        if missing_texts:
            note = "texts that read like missing values: {:,}, the first {}"
            bad_lines.notes.append(note.format(missing_texts, missing_text))

    def _missing_labels(self, path: str, split: str) -> str:
        """How many rows of a file have no label, for an error about one of them."""
        counts: "collections.Counter[str]" = collections.Counter()
        rows = text_files.rows(path, BadLines(1 << 62), self.encoding)
        first = next(rows)
        columns = self._columns_of(first, path, split)
        for row in rows if columns.header else itertools.chain([first], rows):
            try:
                self._label(_cell(row, columns.label))  # type: ignore[arg-type]
            except label_cells.MissingLabelError as error:
                counts[error.value or "empty"] += 1
            except (UserError, IndexError):
                continue
        each = ", ".join("{} {:,}".format(value, count) for value, count in counts.most_common(5))
        text = " Rows without a label: {:,} ({}). --skip_bad_lines leaves them out; --labels may name one as a class."
        return text.format(sum(counts.values()), each)

    def _columns_of(self, first: Row, path: str, split: str) -> Columns:
        try:
            if isinstance(first.cells, dict) and not self.reads_json:
                raise UserError("is JSON; the files of this task are tab-separated.")
            columns = self.columns(first.cells, path)
        except UserError as error:
            raise UserError("{}: {}".format(first.place, error)) from None
        if columns.label is None:
            if not split.startswith("test"):
                raise UserError(
                    "{}: has no column of labels. {}".format(first.place, self._label_remedy(first, columns))
                )
            return columns
        # If its names were looked up, the row is a header; otherwise only the number of columns suggests it.
        if columns.header and not self.header_is_searched and self._is_label(first.cells[columns.label]):
            raise UserError("{}: looks like data, not like a header. Add the header.".format(first.place))
        scored = not split.startswith("test") or self.test_has_labels and self.known_labels() is not None
        return columns if scored else columns._replace(label=None)

    def _label_remedy(self, first: Row, columns: Columns) -> str:
        """What to do about a file without a column of labels."""
        return "Name a file that has."

    def _wanted(self, split: str, row: Row) -> bool:
        """Whether the row belongs to this data set."""
        return True

    def _example(self, split: str, row: Row, columns: Columns, number: int) -> InputExample:
        """number: the row's, from 0, the header not counted."""
        own_id = None if columns.id is None else _cell(row, columns.id)
        example_id = str(number) if own_id is None else _id_text(own_id)
        return InputExample(
            guid="{}-{}".format(split, row.line - 1),  # upstream's count, which includes a header
            text_a=self._text(row, columns.text_a),
            text_b=None if columns.text_b is None else self._text(row, columns.text_b),
            label=None if columns.label is None else self._label(_cell(row, columns.label)),
            example_id=example_id,
            line=row.line,
        )

    def _text(self, row: Row, key: Union[int, str]) -> str:
        cell = _cell(row, key)
        if not isinstance(cell, str):
            raise UserError("{!r} is {}, not a string. Fix the line.".format(key, json.dumps(cell)[:40]))
        return cell

    def _readable(self, row: Row, columns: Columns, unread: "_UnreadLabels") -> Columns:
        """The columns of a test file's row: without that of its label if it cannot be read, which `unread` notes."""
        if columns.label is None:
            return columns
        try:
            self._label(_cell(row, columns.label))
            return columns
        except UserError as error:
            unread.add("{}: {}".format(row.place, error))
            return columns._replace(label=None)

    def _label(self, cell: Any) -> Any:
        """The label of an InputExample. Raises UserError if the cell holds none of this task."""
        label = label_text(cell)
        if self.label_type == "regression":
            if not is_number(label):
                raise UserError("score {!r} is not a number. Fix the row.".format(label))
            if abs(float(label)) > _LARGEST_SCORE:
                raise UserError("score {!r} is more than float32 holds (3.4e38). Fix the row.".format(label))
        elif label not in self.get_labels():
            raise UserError("label {!r} is not one of {}. Fix the row.".format(label, ", ".join(self.get_labels())))
        return label

    def _is_label(self, cell: Any) -> bool:
        try:
            self._label(cell)
        except UserError:
            return False
        return True

    def submission_object(self, example_id: str, label: str) -> Dict[str, Any]:
        """The line of a prediction in a benchmark's file of JSON lines."""
        return {"id": int(example_id) if example_id.isdigit() else example_id, "label": label}

    def count_labels(self, path: str, bad_lines: Optional[BadLines] = None) -> "Tuple[collections.Counter[str], int]":
        """(number of examples with each label, number of examples) of a training file."""
        counts: "collections.Counter[str]" = collections.Counter()
        examples = 0
        for example in self.read_examples(path, "train", bad_lines):
            counts.update(example.label if isinstance(example.label, tuple) else [example.label])
            examples += 1
        return counts, examples

    # google-research/bert's interface

    def get_train_examples(self, data_dir: str) -> List[InputExample]:
        return self._examples(data_dir, "train")

    def get_dev_examples(self, data_dir: str) -> List[InputExample]:
        return self._examples(data_dir, "dev")

    def get_test_examples(self, data_dir: str) -> List[InputExample]:
        """Each with the first label, where there are labels: scripts look its id up."""
        examples = self._examples(data_dir, "test")
        if self.label_type == "single" and self.get_labels():
            for example in examples:
                example.label = self.get_labels()[0]
        return examples

    def _examples(self, data_dir: str, split: str) -> List[InputExample]:
        return list(self.read_examples(self.file_path(data_dir, split), split))

    @classmethod
    def _read_tsv(cls, input_file: str, quotechar: Optional[str] = None) -> List[List[str]]:
        """All rows with the header; quoted by the csv module's rules if a quotechar is given."""
        texts = (text.rstrip("\r\n") for _, text in text_files.lines(input_file, BadLines(0)))
        if quotechar is None:
            return [text.split("\t") for text in texts]
        csv.field_size_limit(text_files.LONGEST_LINE_BYTES)
        return list(csv.reader(texts, delimiter="\t", quotechar=quotechar))


def _wrong_width(actual: int, expected: int, path: str) -> str:
    if actual < expected:
        remedy = "Fill in what is missing."
    elif text_files.ending_of(path) == ".csv":
        remedy = "Quote a field that has a comma."
    else:
        remedy = "A text must not contain a tab."
    return "columns: {}, not {}. {}".format(actual, expected, remedy)


def _cell(row: Row, key: Any) -> Any:
    """What a row has at a key. At the key of label columns: class → what it has in the column."""
    if isinstance(key, tuple):
        return {name: _cell(row, column) for name, column in key}
    if isinstance(row.cells, dict) and key not in row.cells:
        raise UserError("has no {!r}, only {}. Fix the line.".format(key, listed(row.cells)))
    return row.cells[key]


def _id_text(cell: Any) -> str:
    text = _scalar_text("id", cell)
    if any(separator in text for separator in "\t\r\n"):
        raise UserError("the id {!r} has a tab or a line end. Fix the row.".format(text))
    return text


def label_text(cell: Any) -> str:
    return _scalar_text("label", cell).strip()


def _scalar_text(name: str, cell: Any) -> str:
    """A label or id as text; JSON's true is "true", its 1 is "1". Raises UserError for lists, objects and null."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, (bool, int, float)):
        return json.dumps(cell)
    raise UserError("the {} {} is neither text nor number. Fix the line.".format(name, json.dumps(cell)[:40]))


def listed(names: Any) -> str:
    return ", ".join(repr(name) for name in names) or "nothing"


def is_number(text: str) -> bool:
    """Whether the text is a finite number."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def layout_of_width(first: Any, layouts: Dict[int, Columns], what: str) -> Columns:
    """The layout with as many columns as the first row."""
    if len(first) not in layouts:
        raise UserError(
            "columns: {}, but a file of {} has {}. Is it the right file for the task?".format(
                len(first), what, " or ".join(str(width) for width in sorted(layouts))
            )
        )
    return layouts[len(first)]
