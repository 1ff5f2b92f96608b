"""files → examples: GLUE tasks and your own labelled text.

A processor knows the layout of one data set. `read_examples` streams a file and names file and line in every error; the
get_* methods are google-research/bert's, for scripts written for it. A new data set is a class and a row of PROCESSORS.
"""

import csv
import itertools
import math
import os
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Type

from errors import UserError


class InputExample:
    """A text or a pair of texts. label is None where the file has none; example_id is what predictions are filed by."""

    def __init__(
        self,
        guid: str,
        text_a: str,
        text_b: Optional[str] = None,
        label: Optional[str] = None,
        example_id: Optional[str] = None,
    ) -> None:
        self.guid = guid
        self.text_a = text_a
        self.text_b = text_b
        self.label = label
        self.example_id = guid if example_id is None else example_id


class PaddingInputExample:
    """Stands in for an example where a TPU wants the last batch full; it counts in no metric."""


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


# --- lines ------------------------------------------------------------------------------------------------------------


def _lines(path: str) -> Iterator[Tuple[int, str]]:
    """(line number from 1, text) of a UTF-8 file; a byte-order mark and CRLF are accepted, blank lines only at the end.

    Raises UserError with file:line.
    """
    try:
        file = open(path, "rb")  # noqa: SIM115  (closed by the with below)
    except OSError as error:
        raise UserError(
            "{}: cannot be read ({}). Check --data_dir or --predict_file.".format(path, error.strerror)
        ) from None
    blank = None
    with file:
        for number, raw in enumerate(file, 1):
            place = "{}:{}".format(path, number)
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise UserError(
                    "{}: byte {} is not UTF-8. Convert the file, as with iconv -f latin1 -t utf-8.".format(
                        place, error.start + 1
                    )
                ) from None
            if "\0" in text:
                raise UserError("{}: has a NUL character. Is it a text file in UTF-8? Remove it.".format(place))
            if not text.strip():
                blank = blank or number
                continue
            if blank:
                raise UserError("{}:{}: a blank line within the data. Remove it.".format(path, blank))
            yield number, text


class _Row(NamedTuple):
    """One row of a tab-separated file: split at tabs, without quoting."""

    line: int  # from 1
    place: str  # file:line
    cells: List[str]


def _rows(path: str) -> Iterator[_Row]:
    for line, text in _lines(path):
        yield _Row(line, "{}:{}".format(path, line), text.split("\t"))


# --- processors -------------------------------------------------------------------------------------------------------


class Columns(NamedTuple):
    """Column numbers from 0; None where the file has no such column."""

    width: int
    text_a: int
    text_b: Optional[int] = None
    label: Optional[int] = None
    id: Optional[int] = None


class DataProcessor:
    """The layout, labels and scores of one data set."""

    label_type = "single"  # or "regression"
    metrics: Tuple[str, ...] = ("accuracy",)
    best_metric = "accuracy"
    finds_labels = False  # whether the labels are those that the training file has

    def file_name(self, split: str) -> str:
        return split + ".tsv"

    def get_labels(self) -> List[str]:
        """In id order; empty for regression."""
        raise NotImplementedError

    def has_header(self, first: Sequence[str]) -> bool:
        """Whether a file's first row names its columns."""
        return True

    def columns(self, first: Sequence[str]) -> Columns:
        """Where a row has what, by the file's first row. Raises UserError where the layout is another one."""
        raise NotImplementedError

    def read_examples(self, path: str, split: str) -> Iterator[InputExample]:
        """The examples of a file in order. Raises UserError with file:line.

        Of a test file in the layout of the others, the labels are not looked at: what is predicted has none.
        """
        rows = _rows(path)
        first = next(rows, None)
        if first is None:
            raise UserError("{}: the file is empty. Put data into it.".format(path))
        header = self.has_header(first.cells)
        columns = self._columns_of(first, header, split)
        row = None
        for row in rows if header else itertools.chain([first], rows):
            if len(row.cells) != columns.width:
                raise UserError(
                    "{}: has {} columns, not {}. A text must not contain a tab.".format(
                        row.place, len(row.cells), columns.width
                    )
                )
            if self._wanted(split, row):
                yield self._example(split, row, columns, row.line - first.line - header)
        if row is None:
            raise UserError("{}: has no rows below its header. Put data into it.".format(path))

    def _columns_of(self, first: _Row, header: bool, split: str) -> Columns:
        try:
            columns = self.columns(first.cells)
        except UserError as error:
            raise UserError("{}: {}".format(first.place, error)) from None
        if columns.label is None:
            if split != "test":
                raise UserError("{}: has no column of labels. Name a file that has.".format(first.place))
            return columns
        name = first.cells[columns.label]
        if header and name != "label" and self._is_label(name):
            raise UserError("{}: looks like data, not like a header. Add the header.".format(first.place))
        return columns._replace(label=None) if split == "test" else columns

    def _wanted(self, split: str, row: _Row) -> bool:
        """Whether the row belongs to this data set."""
        return True

    def _example(self, split: str, row: _Row, columns: Columns, number: int) -> InputExample:
        """number: of the row, from 0, without the header."""
        label = None
        if columns.label is not None:
            try:
                label = self._label(row.cells[columns.label].strip())
            except UserError as error:
                raise UserError("{}: {}".format(row.place, error)) from None
        return InputExample(
            guid="{}-{}".format(split, row.line - 1),  # upstream's count, which includes a header
            text_a=row.cells[columns.text_a],
            text_b=None if columns.text_b is None else row.cells[columns.text_b],
            label=label,
            example_id=str(number) if columns.id is None else row.cells[columns.id],
        )

    def _label(self, found: str) -> str:
        """The label as get_labels has it, or a score as it stands. Raises UserError for another."""
        if self.label_type == "regression":
            if not _is_number(found):
                raise UserError("score {!r} is not a number. Mend the row.".format(found))
        elif found not in self.get_labels():
            raise UserError("label {!r} is not one of {}. Mend the row.".format(found, ", ".join(self.get_labels())))
        return found

    def _is_label(self, found: str) -> bool:
        try:
            self._label(found)
        except UserError:
            return False
        return True

    # google-research/bert's interface

    def get_train_examples(self, data_dir: str) -> List[InputExample]:
        return self._examples(data_dir, "train")

    def get_dev_examples(self, data_dir: str) -> List[InputExample]:
        return self._examples(data_dir, "dev")

    def get_test_examples(self, data_dir: str) -> List[InputExample]:
        return self._examples(data_dir, "test")

    def _examples(self, data_dir: str, split: str) -> List[InputExample]:
        return list(self.read_examples(os.path.join(data_dir, self.file_name(split)), split))

    @classmethod
    def _read_tsv(cls, input_file: str, quotechar: Optional[str] = None) -> List[List[str]]:
        """All rows, the header among them; with a quotechar, the csv module's rules of quoting."""
        if quotechar is None:
            return [text.split("\t") for _, text in _lines(input_file)]
        csv.field_size_limit(1 << 30)
        return list(csv.reader((text for _, text in _lines(input_file)), delimiter="\t", quotechar=quotechar))


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _layout(first: Sequence[str], layouts: Dict[int, Columns], what: str) -> Columns:
    """The layout with as many columns as the first row."""
    if len(first) not in layouts:
        raise UserError(
            "has {} columns, but a file of {} has {}. Is it the right file for the task?".format(
                len(first), what, " or ".join(str(width) for width in sorted(layouts))
            )
        )
    return layouts[len(first)]


class ColaProcessor(DataProcessor):
    """CoLA: is the sentence acceptable English? Only the unlabelled file has a header."""

    metrics = ("matthews_correlation", "accuracy")
    best_metric = "matthews_correlation"

    def get_labels(self) -> List[str]:
        return ["0", "1"]

    def has_header(self, first: Sequence[str]) -> bool:
        return len(first) == 2

    def columns(self, first: Sequence[str]) -> Columns:
        return _layout(first, {2: Columns(2, text_a=1, id=0), 4: Columns(4, text_a=3, label=1)}, "CoLA")


class SstProcessor(DataProcessor):
    """SST-2: is the phrase of a film review positive?"""

    def get_labels(self) -> List[str]:
        return ["0", "1"]

    def columns(self, first: Sequence[str]) -> Columns:
        columns = Columns(2, text_a=1, id=0) if first[0] == "index" else Columns(2, text_a=0, label=1)
        return _layout(first, {2: columns}, "SST-2")


class MrpcProcessor(DataProcessor):
    """MRPC: do two sentences say the same?"""

    metrics = ("accuracy", "f1")

    def get_labels(self) -> List[str]:
        return ["0", "1"]

    def columns(self, first: Sequence[str]) -> Columns:
        columns = Columns(5, text_a=3, text_b=4)
        columns = columns._replace(id=0) if first[0] == "index" else columns._replace(label=0)
        return _layout(first, {5: columns}, "MRPC")


class StsbProcessor(DataProcessor):
    """STS-B: how alike are two sentences, from 0 to 5?"""

    label_type = "regression"
    metrics = ("pearson", "spearman")
    best_metric = "pearson"

    def get_labels(self) -> List[str]:
        return []

    def columns(self, first: Sequence[str]) -> Columns:
        unlabelled = Columns(9, text_a=7, text_b=8, id=0)
        return _layout(first, {9: unlabelled, 10: unlabelled._replace(width=10, label=9)}, "STS-B")

    def _label(self, found: str) -> str:
        score = super()._label(found)
        if not 0 <= float(score) <= 5:
            raise UserError("score {} is not from 0 to 5. Mend the row.".format(score))
        return score


class MnliProcessor(DataProcessor):
    """MNLI: does the second sentence follow from the first? dev and test are the matched files."""

    def file_name(self, split: str) -> str:
        return "train.tsv" if split == "train" else split + "_matched.tsv"

    def get_labels(self) -> List[str]:
        return ["contradiction", "entailment", "neutral"]

    def columns(self, first: Sequence[str]) -> Columns:
        test = Columns(10, text_a=8, text_b=9, id=0)
        train = test._replace(width=12, label=11)  # after one annotator's label
        dev = test._replace(width=16, label=15)  # after five annotators' labels
        return _layout(first, {10: test, 12: train, 16: dev}, "MNLI")

    def _example(self, split: str, row: _Row, columns: Columns, number: int) -> InputExample:
        example = super()._example(split, row, columns, number)
        example.guid = "{}-{}".format(split, example.example_id)
        return example


class XnliProcessor(DataProcessor):
    """XNLI: MNLI in a language of its own, as upstream reads it: Chinese unless `language` is set."""

    language = "zh"

    def file_name(self, split: str) -> str:
        if split == "train":
            return os.path.join("multinli", "multinli.train.{}.tsv".format(self.language))
        return "xnli.{}.tsv".format(split)

    def get_labels(self) -> List[str]:
        return ["contradiction", "entailment", "neutral"]

    def columns(self, first: Sequence[str]) -> Columns:
        train = Columns(3, text_a=0, text_b=1, label=2)
        xnli = Columns(19, text_a=6, text_b=7, label=1, id=9)
        return _layout(first, {3: train, 19: xnli}, "XNLI")

    def _wanted(self, split: str, row: _Row) -> bool:
        """xnli.dev.tsv has all languages; its first column names a row's."""
        return split == "train" or row.cells[0] == self.language

    def _label(self, found: str) -> str:
        return super()._label("contradiction" if found == "contradictory" else found)  # the training file's spelling


class TextProcessor(DataProcessor):
    """Your own data: tab-separated, with a header that names text (or text_a and text_b), label, and maybe id."""

    metrics = ("accuracy", "macro_f1")
    finds_labels = True

    def __init__(self, labels: Optional[Sequence[str]] = None) -> None:
        self._labels = labels

    def get_labels(self) -> List[str]:
        """Those given. Raises UserError where none were: see find_labels."""
        if self._labels is None:
            raise UserError("The labels are not known yet.")
        return list(self._labels)

    def find_labels(self, path: str) -> List[str]:
        """The distinct labels of a training file, sorted. Raises UserError for fewer than two."""
        finder = _LabelFinder()
        found = sorted({str(example.label) for example in finder.read_examples(path, "train")})
        if len(found) < 2:
            raise UserError("{}: has the one label {!r}; there is nothing to tell apart.".format(path, found[0]))
        return found

    def columns(self, first: Sequence[str]) -> Columns:
        place = {name: number for number, name in enumerate(first)}
        text_a = place.get("text", place.get("text_a"))
        if text_a is None or len(place) != len(first):
            raise UserError(
                "the header is {}; it needs a column text (or text_a and text_b), each name once.".format(
                    ", ".join(repr(name) for name in first)
                )
            )
        return Columns(
            len(first), text_a=text_a, text_b=place.get("text_b"), label=place.get("label"), id=place.get("id")
        )


class _LabelFinder(TextProcessor):
    """Reads the file before its labels are known."""

    def _label(self, found: str) -> str:
        if not found:
            raise UserError("the label is empty. Mend the row.")
        return found


PROCESSORS: Dict[str, Type[Any]] = {
    "cola": ColaProcessor,
    "mrpc": MrpcProcessor,
    "sst-2": SstProcessor,
    "sts-b": StsbProcessor,
    "text": TextProcessor,
}
