"""files → examples: GLUE's tasks, XNLI, and your own labelled text.

A processor knows the layout of one data set. `read_examples` streams a file and names file and line in every error; the
get_* methods are google-research/bert's, for scripts written for it. A new data set is a class and a row of PROCESSORS.
"""

import collections
import csv
import itertools
import json
import math
import os
import re
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Type, Union

from ...base.errors import UserError
from ..reading import text_files
from ..reading.text_files import Row
from ..task import BadLines


class InputExample:
    """A text or a pair of texts.

    label: a class or score as text, a tuple of classes where there may be several, None where the file has none.
    example_id is what predictions are filed by, line where the example stands in its file.
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


# --- processors -------------------------------------------------------------------------------------------------------


class Columns(NamedTuple):
    """Where a row has what: column numbers from 0, or the keys of JSON; None where the file has no such column."""

    width: int  # columns of a table
    text_a: Union[int, str]
    text_b: Union[int, str, None] = None
    label: Union[int, str, None] = None
    id: Union[int, str, None] = None
    header: bool = True  # whether the first row names the columns


class DataProcessor:
    """The layout, labels and scores of one data set."""

    label_type = "single"  # one of several classes; "multi": any number of them; "regression": a number
    metrics: Tuple[str, ...] = ("accuracy",)
    best_metric = "accuracy"
    finds_labels = False  # whether the labels are those that the training file has
    reads_json = False
    splits: Tuple[str, ...] = ("train", "dev", "test")  # dev_… and test_… are further files, scored apart
    submission: Dict[str, str] = {}  # split → the name of GLUE's file of its predictions

    def file_name(self, split: str) -> str:
        return split + ".tsv"

    def file_path(self, data_dir: str, split: str) -> str:
        return os.path.join(data_dir, self.file_name(split))

    def identity(self) -> str:
        """What tells this reader's examples of a file from another's."""
        return type(self).__name__

    def get_labels(self) -> List[str]:
        """In id order; empty for regression."""
        raise NotImplementedError

    def columns(self, first: Any, path: str) -> Columns:
        """Where a row has what, by the cells of a file's first row. Raises UserError where the layout is another."""
        raise NotImplementedError

    def read_examples(self, path: str, split: str, bad_lines: Optional[BadLines] = None) -> Iterator[InputExample]:
        """The examples of a file in order. Raises UserError with file:line for a row that bad_lines does not take.

        Of a test file in the layout of the others, the labels are not looked at: what is predicted has none.
        """
        bad_lines = bad_lines or BadLines(0)
        rows = text_files.rows(path, bad_lines)
        first = next(rows, None)
        if first is None:
            raise UserError("{}: the file is empty. Put data into it.".format(path))
        columns = self._columns_of(first, path, split)
        examples = number = 0
        for number, row in enumerate(rows if columns.header else itertools.chain([first], rows), 1):
            try:
                if isinstance(row.cells, list) and len(row.cells) != columns.width:
                    raise UserError(_wrong_width(len(row.cells), columns.width, path))
                if not self._wanted(split, row):
                    continue
                example = self._example(split, row, columns, number - 1)
            except UserError as error:
                bad_lines.add(UserError("{}: {}".format(row.place, error)))
                continue
            examples += 1
            yield example
        if not number:
            raise UserError("{}: has no rows below its header. Put data into it.".format(path))
        if not examples:
            raise UserError("{}: none of its {:,} rows is an example of this task.".format(path, number))

    def _columns_of(self, first: Row, path: str, split: str) -> Columns:
        try:
            if isinstance(first.cells, dict) and not self.reads_json:
                raise UserError("is JSON; the files of this task are tab-separated.")
            columns = self.columns(first.cells, path)
        except UserError as error:
            raise UserError("{}: {}".format(first.place, error)) from None
        if columns.label is None:
            if not split.startswith("test"):
                raise UserError("{}: has no column of labels. Name a file that has.".format(first.place))
            return columns
        # A header that was searched for names is one; elsewhere the number of columns alone speaks for it.
        if columns.header and not self.finds_labels and self._is_label(first.cells[columns.label]):
            raise UserError("{}: looks like data, not like a header. Add the header.".format(first.place))
        return columns._replace(label=None) if split.startswith("test") else columns

    def _wanted(self, split: str, row: Row) -> bool:
        """Whether the row belongs to this data set."""
        return True

    def _example(self, split: str, row: Row, columns: Columns, number: int) -> InputExample:
        """number: of the row, from 0, without the header."""
        found_id = None if columns.id is None else _cell(row, columns.id)
        example_id = str(number) if found_id is None else _id_text(found_id)
        return InputExample(
            guid="{}-{}".format(split, row.line - 1),  # upstream's count, which includes a header
            text_a=_text(row, columns.text_a),
            text_b=None if columns.text_b is None else _text(row, columns.text_b),
            label=None if columns.label is None else self._label(_cell(row, columns.label)),
            example_id=example_id,
            line=row.line,
        )

    def _label(self, found: Any) -> Any:
        """The label as InputExample has it. Raises UserError for another."""
        label = _label_text(found)
        if self.label_type == "regression":
            if not is_number(label):
                raise UserError("score {!r} is not a number. Mend the row.".format(label))
        elif label not in self.get_labels():
            raise UserError("label {!r} is not one of {}. Mend the row.".format(label, ", ".join(self.get_labels())))
        return label

    def _is_label(self, found: Any) -> bool:
        try:
            self._label(found)
        except UserError:
            return False
        return True

    def count_labels(self, path: str, bad_lines: Optional[BadLines] = None) -> "Tuple[collections.Counter[str], int]":
        """(how many examples of a training file have each label, how many there are). Raises UserError."""
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
        return self._examples(data_dir, "test")

    def _examples(self, data_dir: str, split: str) -> List[InputExample]:
        return list(self.read_examples(self.file_path(data_dir, split), split))

    @classmethod
    def _read_tsv(cls, input_file: str, quotechar: Optional[str] = None) -> List[List[str]]:
        """All rows, the header among them; with a quotechar, the csv module's rules of quoting."""
        texts = (text.rstrip("\r\n") for _, text in text_files.lines(input_file, BadLines(0)))
        if quotechar is None:
            return [text.split("\t") for text in texts]
        csv.field_size_limit(text_files.LONGEST_LINE_BYTES)
        return list(csv.reader(texts, delimiter="\t", quotechar=quotechar))


def _wrong_width(found: int, expected: int, path: str) -> str:
    if found < expected:
        remedy = "Fill in what is missing."
    elif text_files.ending_of(path) == ".csv":
        remedy = "Quote a field that has a comma."
    else:
        remedy = "A text must not contain a tab."
    return "columns: {}, not {}. {}".format(found, expected, remedy)


def _cell(row: Row, key: Union[int, str]) -> Any:
    if isinstance(row.cells, dict) and key not in row.cells:
        raise UserError("has no {!r}, only {}. Mend the line.".format(key, _listed(row.cells)))
    return row.cells[key]


def _text(row: Row, key: Union[int, str]) -> str:
    found = _cell(row, key)
    if not isinstance(found, str):
        raise UserError("{!r} is {}, not a string. Mend the line.".format(key, json.dumps(found)[:40]))
    return found


def _id_text(found: Any) -> str:
    text = _scalar_text("id", found)
    if any(separator in text for separator in "\t\r\n"):
        raise UserError("the id {!r} has a tab or a line end. Mend the row.".format(text))
    return text


def _label_text(found: Any) -> str:
    return _scalar_text("label", found).strip()


def _scalar_text(what: str, found: Any) -> str:
    """A label or id as text: of JSON, true is "true" and 1 is "1". Raises UserError for what has parts, and null."""
    if isinstance(found, str):
        return found
    if isinstance(found, (bool, int, float)):
        return json.dumps(found)
    raise UserError("the {} {} is neither text nor number. Mend the line.".format(what, json.dumps(found)[:40]))


def _listed(names: Any) -> str:
    return ", ".join(repr(name) for name in names) or "nothing"


def is_number(text: str) -> bool:
    """Whether it is a finite number."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _layout(first: Any, layouts: Dict[int, Columns], what: str) -> Columns:
    """The layout with as many columns as the first row."""
    if len(first) not in layouts:
        raise UserError(
            "columns: {}, but a file of {} has {}. Is it the right file for the task?".format(
                len(first), what, " or ".join(str(width) for width in sorted(layouts))
            )
        )
    return layouts[len(first)]


class _Binary(DataProcessor):
    def get_labels(self) -> List[str]:
        return ["0", "1"]


class ColaProcessor(_Binary):
    """CoLA: is the sentence acceptable English? Only the unlabelled file has a header."""

    metrics = ("matthews_correlation", "accuracy")
    best_metric = "matthews_correlation"
    submission = {"test": "CoLA"}

    def columns(self, first: Any, path: str) -> Columns:
        labelled = Columns(4, text_a=3, label=1, header=False)
        return _layout(first, {2: Columns(2, text_a=1, id=0), 4: labelled}, "CoLA")


class SstProcessor(_Binary):
    """SST-2: is the phrase of a film review positive?"""

    submission = {"test": "SST-2"}

    def columns(self, first: Any, path: str) -> Columns:
        unlabelled = "index" in first[:1]
        columns = Columns(2, text_a=1, id=0) if unlabelled else Columns(2, text_a=0, label=1)
        return _layout(first, {2: columns}, "SST-2")


class MrpcProcessor(_Binary):
    """MRPC: do two sentences say the same?"""

    metrics = ("accuracy", "f1")
    submission = {"test": "MRPC"}

    def columns(self, first: Any, path: str) -> Columns:
        columns = Columns(5, text_a=3, text_b=4)
        columns = columns._replace(id=0) if "index" in first[:1] else columns._replace(label=0)
        return _layout(first, {5: columns}, "MRPC")


class QqpProcessor(_Binary):
    """QQP: do two questions ask the same?

    A few rows of the official training file lack columns: --skip_bad_lines leaves them out.
    """

    metrics = ("accuracy", "f1")
    submission = {"test": "QQP"}

    def columns(self, first: Any, path: str) -> Columns:
        labelled = Columns(6, text_a=3, text_b=4, label=5, id=0)
        return _layout(first, {3: Columns(3, text_a=1, text_b=2, id=0), 6: labelled}, "QQP")


class StsbProcessor(DataProcessor):
    """STS-B: how alike are two sentences, from 0 to 5?"""

    label_type = "regression"
    metrics = ("pearson", "spearman")
    best_metric = "pearson"
    submission = {"test": "STS-B"}

    def get_labels(self) -> List[str]:
        return []

    def columns(self, first: Any, path: str) -> Columns:
        unlabelled = Columns(9, text_a=7, text_b=8, id=0)
        return _layout(first, {9: unlabelled, 10: unlabelled._replace(width=10, label=9)}, "STS-B")

    def _label(self, found: Any) -> str:
        score = super()._label(found)
        if not 0 <= float(score) <= 5:
            raise UserError("score {} is not from 0 to 5. Mend the row.".format(score))
        return score


class _IndexedPair(DataProcessor):
    """Four columns: index, two texts, label."""

    what = ""

    def columns(self, first: Any, path: str) -> Columns:
        unlabelled = Columns(3, text_a=1, text_b=2, id=0)
        return _layout(first, {3: unlabelled, 4: unlabelled._replace(width=4, label=3)}, self.what)


class QnliProcessor(_IndexedPair):
    """QNLI: does the sentence answer the question?"""

    what = "QNLI"
    submission = {"test": "QNLI"}

    def get_labels(self) -> List[str]:
        return ["entailment", "not_entailment"]


class RteProcessor(QnliProcessor):
    """RTE: does the second sentence follow from the first?"""

    what = "RTE"
    submission = {"test": "RTE"}


class WnliProcessor(_IndexedPair, _Binary):
    """WNLI: is the pronoun resolved rightly?"""

    what = "WNLI"
    submission = {"test": "WNLI"}


class MnliProcessor(DataProcessor):
    """MNLI: does the second sentence follow from the first? dev and test are the matched files."""

    splits: Tuple[str, ...] = ("train", "dev", "dev_mismatched", "test", "test_mismatched")
    submission = {"test": "MNLI-m", "test_mismatched": "MNLI-mm"}

    def file_name(self, split: str) -> str:
        return {"dev": "dev_matched", "test": "test_matched"}.get(split, split) + ".tsv"

    def get_labels(self) -> List[str]:
        return ["contradiction", "entailment", "neutral"]

    def columns(self, first: Any, path: str) -> Columns:
        test = Columns(10, text_a=8, text_b=9, id=0)
        train = test._replace(width=12, label=11)  # after one annotator's label
        dev = test._replace(width=16, label=15)  # after five annotators' labels
        return _layout(first, {10: test, 12: train, 16: dev}, "MNLI")

    def _example(self, split: str, row: Row, columns: Columns, number: int) -> InputExample:
        example = super()._example(split, row, columns, number)
        example.guid = "{}-{}".format("dev_matched" if split == "dev" else split, example.example_id)
        return example


class AxProcessor(MnliProcessor):
    """AX, GLUE's diagnostic set: MNLI's question; a model of MNLI predicts it, so there is nothing to train on."""

    splits = ("dev", "test")
    submission = {"test": "AX"}
    metrics = ("matthews_correlation",)
    best_metric = "matthews_correlation"

    def file_name(self, split: str) -> str:
        return "diagnostic-full.tsv" if split == "dev" else "diagnostic.tsv"

    def columns(self, first: Any, path: str) -> Columns:
        labelled = Columns(8, text_a=5, text_b=6, label=7)
        return _layout(first, {3: Columns(3, text_a=1, text_b=2, id=0), 8: labelled}, "AX")


class XnliProcessor(DataProcessor):
    """XNLI: MNLI in a language of its own; `language` is the code of two letters in its files."""

    language = "zh"  # upstream's

    def file_name(self, split: str) -> str:
        if split == "train":
            return os.path.join("multinli", "multinli.train.{}.tsv".format(self.language))
        return "xnli.{}.tsv".format(split)

    def get_labels(self) -> List[str]:
        return ["contradiction", "entailment", "neutral"]

    def columns(self, first: Any, path: str) -> Columns:
        train = Columns(3, text_a=0, text_b=1, label=2)
        xnli = Columns(19, text_a=6, text_b=7, label=1, id=9)
        return _layout(first, {3: train, 19: xnli}, "XNLI")

    def identity(self) -> str:
        return "XNLI in " + self.language

    def _wanted(self, split: str, row: Row) -> bool:
        """xnli.dev.tsv has all languages; its first column names a row's."""
        return len(row.cells) == 3 or row.cells[0] == self.language

    def _label(self, found: Any) -> str:
        return super()._label("contradiction" if found == "contradictory" else found)  # the training file's spelling


# --- your own text ----------------------------------------------------------------------------------------------------

_METRICS_OF = {
    "single": ("accuracy", "macro_f1"),
    "multi": ("micro_f1", "macro_f1", "exact_match"),
    "regression": ("pearson", "spearman"),
}
LABEL_TYPES = tuple(_METRICS_OF)


class TextProcessor(DataProcessor):
    """Your own data: TSV, CSV or JSON lines, gzipped or not.

    text_columns: one or two columns, by name (then a table has a header) or by number from 0 (then it has none); not
        given: text, or text_a and text_b. label_column: likewise; not given: label. A column id names the examples.
    labels: in id order; None until they are known, and then any label is read.
    A .txt file is a line a text, or two texts with a tab between; a header that names the text columns is taken as one.
    """

    finds_labels = True
    reads_json = True

    def __init__(
        self,
        labels: Optional[Sequence[str]] = None,
        text_columns: Sequence[str] = (),
        label_column: Optional[str] = None,
        label_type: str = "single",
    ) -> None:
        self._labels = labels
        self._text_columns = tuple(text_columns)
        self._label_column = label_column
        self.label_type = label_type
        self.metrics = _METRICS_OF[label_type]
        self.best_metric = self.metrics[0]

    def identity(self) -> str:
        return json.dumps(["text", self._text_columns, self._label_column, self.label_type])

    def file_path(self, data_dir: str, split: str) -> str:
        """The split's file under any ending; split.tsv where there is none. Raises UserError where there are two."""
        names = [split + ending + gz for ending in text_files.ENDINGS for gz in ("", ".gz")]
        found = [name for name in names if os.path.exists(os.path.join(data_dir, name))]
        if len(found) > 1:
            raise UserError("{}: has both {}. Keep one of them.".format(data_dir, " and ".join(found[:2])))
        return os.path.join(data_dir, found[0] if found else split + ".tsv")

    def get_labels(self) -> List[str]:
        """Those given. Raises UserError where none were: see find_labels."""
        if self.label_type == "regression":
            return []
        if self._labels is None:
            raise UserError("The labels are not known yet.")
        return list(self._labels)

    def find_labels(self, path: str, bad_lines: Optional[BadLines] = None) -> List[str]:
        """The distinct labels of a training file, sorted; by number where all are whole numbers.

        Raises UserError for fewer than two, and where so many differ that they can hardly be classes.
        """
        counts, examples = self.count_labels(path, bad_lines)
        if len(counts) < 2:
            only = "the one label {!r}".format(next(iter(counts))) if counts else "no label"
            raise UserError("{}: has {}; there is nothing to tell apart.".format(path, only))
        if len(counts) > max(100, examples / 2):
            raise UserError(
                "{}: has {:,} distinct labels in {:,} rows. Name the right --label_column, learn a number with "
                "--label_type=regression, or list the classes with --labels.".format(path, len(counts), examples)
            )
        self._refuse_header(path, counts)
        whole = all(re.fullmatch("-?[0-9]+", label) for label in counts)
        return sorted(counts, key=lambda label: (int(label) if whole else 0, label))

    def _refuse_header(self, path: str, counts: "collections.Counter[str]") -> None:
        """Where columns are numbered, a header would be read as an example, whose label no other has."""
        if self._numbered():
            first = next(self.read_examples(path, "train", BadLines(1 << 30)))
            labels = first.label if isinstance(first.label, tuple) else (first.label,)
            if labels and all(counts[label] == 1 for label in labels):
                raise UserError(
                    "{}:{}: looks like a header: no other row has the label {}. Name the columns instead of "
                    "numbering them, or declare the label with --labels.".format(path, first.line, _listed(labels))
                )

    def _numbered(self) -> bool:
        names = self._text_columns + ((self._label_column,) if self._label_column else ())
        return bool(self._text_columns) and all(re.fullmatch("[0-9]+", name) for name in names)

    def columns(self, first: Any, path: str) -> Columns:
        if isinstance(first, dict):
            return self._named(list(first), {name: name for name in first}, "the keys are", header=False)
        if text_files.ending_of(path) == ".txt" and self._is_plain(first):
            width = len(self._text_columns) or len(first)
            return Columns(width, text_a=0, text_b=1 if width == 2 else None, header=False)
        if self._numbered():
            return self._at_numbers(len(first))
        return self._named(first, {name: number for number, name in enumerate(first)}, "the header is", header=True)

    def _is_plain(self, first: Sequence[str]) -> bool:
        """Whether a .txt file holds texts alone: no header, and not the columns that the training file has."""
        if self._numbered():
            return len(first) <= max(int(name) for name in self._text_columns)
        return len(first) <= 2 and not set(self._text_names(first)) <= set(first)

    def _text_names(self, names: Sequence[str]) -> Tuple[str, ...]:
        if self._text_columns:
            return self._text_columns
        if "text" in names:
            return ("text",)
        return ("text_a", "text_b") if "text_b" in names else ("text_a",)

    def _named(self, names: Sequence[str], place: Dict[str, Any], are: str, header: bool) -> Columns:
        texts = self._text_names(names)
        label = self._label_column or "label"
        wrong = [name for name in texts if name not in place]
        if wrong and self._text_columns:
            raise UserError("{} {}; --text_columns names {}.".format(are, _listed(names), _listed(wrong)))
        if wrong:
            raise UserError(
                "{} {}; it needs a column text (or text_a and text_b). Name yours with --text_columns.".format(
                    are, _listed(names)
                )
            )
        twice = [name for name in texts + (label, "id") if list(names).count(name) > 1]
        if twice:
            raise UserError("the header names {!r} twice. Rename one.".format(twice[0]))
        return Columns(
            len(names),
            text_a=place[texts[0]],
            text_b=place[texts[1]] if len(texts) > 1 else None,
            label=place.get(label),
            id=place.get("id"),
            header=header,
        )

    def _at_numbers(self, width: int) -> Columns:
        numbers = [int(name) for name in self._text_columns]
        label = int(self._label_column) if self._label_column else None
        if max(numbers) >= width:
            raise UserError("columns: {}; --text_columns={} counts from 0.".format(width, max(numbers)))
        if label is not None and label >= width:
            label = None  # an unlabelled file may end before it
        return Columns(width, numbers[0], numbers[1] if len(numbers) > 1 else None, label, header=False)

    def _label(self, found: Any) -> Any:
        if self.label_type != "multi":
            return self._one_label(found)
        several = found if isinstance(found, list) else [part for part in _label_text(found).split(",") if part.strip()]
        labels = tuple(self._one_label(label) for label in several)
        if len(set(labels)) != len(labels):
            raise UserError("names a label twice: {}. Mend the row.".format(", ".join(labels)))
        return labels

    def _one_label(self, found: Any) -> str:
        if self.label_type == "regression" or self._labels is not None:
            return super()._label(found)
        label = _label_text(found)
        if not label:
            raise UserError("the label is empty. Mend the row.")
        if any(separator in label for separator in ("\t\r\n," if self.label_type == "multi" else "\t\r\n")):
            raise UserError("the label {!r} has a tab, comma or line end. Mend the row.".format(label))
        return label


PROCESSORS: Dict[str, Type[Any]] = {
    "ax": AxProcessor,
    "cola": ColaProcessor,
    "mnli": MnliProcessor,
    "mrpc": MrpcProcessor,
    "qnli": QnliProcessor,
    "qqp": QqpProcessor,
    "rte": RteProcessor,
    "sst-2": SstProcessor,
    "sts-b": StsbProcessor,
    "text": TextProcessor,
    "wnli": WnliProcessor,
    "xnli": XnliProcessor,
}
