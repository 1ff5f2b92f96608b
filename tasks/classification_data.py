"""files → examples: GLUE tasks and your own labelled text.

A processor knows the layout of one data set. `read_examples` streams a file and names file and line in every error; the
get_* methods are google-research/bert's, for scripts written for it. A new data set is a class and a row of PROCESSORS.
"""

import csv
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
    """One row of a tab-separated file."""

    place: str  # file:line
    number: int  # of the row, from 0, without a header
    columns: List[str]


def _rows(path: str, header: bool) -> Tuple[List[str], Iterator[_Row]]:
    """(header columns, rows): split at tabs, no quoting. Raises UserError for a file without rows."""
    lines = _lines(path)
    names = next(lines, (0, ""))[1].split("\t") if header else []
    if header and names == [""]:
        raise UserError("{}: the file is empty. It needs a header and rows.".format(path))

    def rows() -> Iterator[_Row]:
        number = -1
        for number, (line, text) in enumerate(lines):
            yield _Row("{}:{}".format(path, line), number, text.split("\t"))
        if number < 0:
            raise UserError("{}: has no rows{}. Put data into it.".format(path, " below its header" if header else ""))

    return names, rows()


# --- processors -------------------------------------------------------------------------------------------------------


class DataProcessor:
    """The layout, labels and scores of one data set."""

    label_type = "single"  # or "regression"
    metrics: Tuple[str, ...] = ("accuracy",)
    best_metric = "accuracy"
    finds_labels = False  # whether the labels are those that the training file has
    has_header: Dict[str, bool] = {"train": True, "dev": True, "test": True}

    def file_name(self, split: str) -> str:
        return split + ".tsv"

    def get_labels(self) -> List[str]:
        """In id order; empty for regression."""
        raise NotImplementedError

    def columns(self, split: str, header: Sequence[str], width: int) -> "Columns":
        """Where a row of `width` columns has what. Raises UserError where the layout is another one."""
        raise NotImplementedError

    def read_examples(self, path: str, split: str) -> Iterator[InputExample]:
        """The examples of a file in order. Raises UserError with file:line."""
        header, rows = _rows(path, self.has_header[split])
        columns = None
        for row in rows:
            if columns is None:
                width = len(header) if header else len(row.columns)
                try:
                    columns = self.columns(split, header, width)
                except UserError as error:
                    raise UserError("{}: {}".format(path, error)) from None
            if len(row.columns) != columns.width:
                raise UserError(
                    "{}: has {} columns, not {}. A text must not contain a tab.".format(
                        row.place, len(row.columns), columns.width
                    )
                )
            if self._wanted(split, row):
                yield self._example(split, row, columns)

    def _wanted(self, split: str, row: _Row) -> bool:
        """Whether the row belongs to this data set."""
        return True

    def _example(self, split: str, row: _Row, columns: "Columns") -> InputExample:
        label = None if columns.label is None else row.columns[columns.label].strip()
        if label is not None:
            self._check_label(label, row.place)
        return InputExample(
            guid="{}-{}".format(split, row.number),
            text_a=row.columns[columns.text_a],
            text_b=None if columns.text_b is None else row.columns[columns.text_b],
            label=label,
            example_id=str(row.number) if columns.id is None else row.columns[columns.id],
        )

    def _check_label(self, label: str, place: str) -> None:
        if self.label_type == "regression":
            try:
                finite = abs(float(label)) != float("inf") and float(label) == float(label)
            except ValueError:
                finite = False
            if not finite:
                raise UserError("{}: score {!r} is not a number. Mend the row.".format(place, label))
        elif label not in self.get_labels():
            raise UserError(
                "{}: label {!r} is not one of {}. Mend the row.".format(place, label, ", ".join(self.get_labels()))
            )

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


class Columns(NamedTuple):
    """Column numbers from 0; None where the file has no such column."""

    width: int
    text_a: int
    text_b: Optional[int] = None
    label: Optional[int] = None
    id: Optional[int] = None


def _layout(found: int, layouts: Dict[int, Columns], what: str) -> Columns:
    if found not in layouts:
        raise UserError(
            "has {} columns; a {} file has {}.".format(
                found, what, " or ".join(str(width) for width in sorted(layouts))
            )
        )
    return layouts[found]


class ColaProcessor(DataProcessor):
    """CoLA: is the sentence acceptable English? No header in train and dev; source, label, mark, sentence."""

    metrics = ("matthews_correlation", "accuracy")
    best_metric = "matthews_correlation"
    has_header = {"train": False, "dev": False, "test": True}

    def get_labels(self) -> List[str]:
        return ["0", "1"]

    def columns(self, split: str, header: Sequence[str], width: int) -> Columns:
        if split == "test":
            return _layout(width, {2: Columns(2, text_a=1, id=0)}, "CoLA test")
        return _layout(width, {4: Columns(4, text_a=3, label=1)}, "CoLA")


class SstProcessor(DataProcessor):
    """SST-2: is the phrase of a film review positive?"""

    def get_labels(self) -> List[str]:
        return ["0", "1"]

    def columns(self, split: str, header: Sequence[str], width: int) -> Columns:
        if header[0] == "index":
            return _layout(width, {2: Columns(2, text_a=1, id=0)}, "SST-2 test")
        return _layout(width, {2: Columns(2, text_a=0, label=1)}, "SST-2")


class MrpcProcessor(DataProcessor):
    """MRPC: do two sentences say the same?"""

    metrics = ("accuracy", "f1")

    def get_labels(self) -> List[str]:
        return ["0", "1"]

    def columns(self, split: str, header: Sequence[str], width: int) -> Columns:
        if header[0] == "index":
            return _layout(width, {5: Columns(5, text_a=3, text_b=4, id=0)}, "MRPC test")
        return _layout(width, {5: Columns(5, text_a=3, text_b=4, label=0)}, "MRPC")


class StsbProcessor(DataProcessor):
    """STS-B: how alike are two sentences, from 0 to 5?"""

    label_type = "regression"
    metrics = ("pearson", "spearman")
    best_metric = "pearson"

    def get_labels(self) -> List[str]:
        return []

    def columns(self, split: str, header: Sequence[str], width: int) -> Columns:
        unlabelled = Columns(9, text_a=7, text_b=8, id=0)
        return _layout(width, {9: unlabelled, 10: unlabelled._replace(width=10, label=9)}, "STS-B")


class MnliProcessor(DataProcessor):
    """MNLI: does the second sentence follow from the first? dev and test are the matched files."""

    def file_name(self, split: str) -> str:
        return "train.tsv" if split == "train" else split + "_matched.tsv"

    def get_labels(self) -> List[str]:
        return ["contradiction", "entailment", "neutral"]

    def columns(self, split: str, header: Sequence[str], width: int) -> Columns:
        label = {"train": 11, "dev": 15, "test": None}[split]
        return Columns(width, text_a=8, text_b=9, label=label, id=0)


class XnliProcessor(DataProcessor):
    """XNLI: MNLI in a language of its own, as upstream reads it: Chinese unless `language` is set."""

    language = "zh"

    def file_name(self, split: str) -> str:
        return (
            os.path.join("multinli", "multinli.train.{}.tsv".format(self.language))
            if split == "train"
            else "xnli.dev.tsv"
        )

    def get_labels(self) -> List[str]:
        return ["contradiction", "entailment", "neutral"]

    def columns(self, split: str, header: Sequence[str], width: int) -> Columns:
        if split == "train":
            return _layout(width, {3: Columns(3, text_a=0, text_b=1, label=2)}, "MultiNLI")
        return Columns(width, text_a=6, text_b=7, label=1, id=9 if width > 9 else None)

    def _wanted(self, split: str, row: _Row) -> bool:
        """xnli.dev.tsv has all languages; its first column names a row's."""
        return split == "train" or row.columns[0] == self.language

    def _check_label(self, label: str, place: str) -> None:
        super()._check_label("contradiction" if label == "contradictory" else label, place)

    def _example(self, split: str, row: _Row, columns: Columns) -> InputExample:
        example = super()._example(split, row, columns)
        if example.label == "contradictory":  # the spelling of the translated training file
            example.label = "contradiction"
        return example


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

    def columns(self, split: str, header: Sequence[str], width: int) -> Columns:
        place = {name: number for number, name in enumerate(header)}
        text_a = place.get("text", place.get("text_a"))
        if text_a is None or len(place) != width:
            raise UserError(
                "its header is {}; it needs a column text (or text_a and text_b), each name once.".format(
                    ", ".join(repr(name) for name in header)
                )
            )
        if split != "test" and "label" not in place:
            raise UserError("its header has no column label: {}.".format(", ".join(repr(name) for name in header)))
        label = None if split == "test" else place["label"]
        return Columns(width, text_a=text_a, text_b=place.get("text_b"), label=label, id=place.get("id"))


class _LabelFinder(TextProcessor):
    """Reads the file before its labels are known."""

    def _check_label(self, label: str, place: str) -> None:
        if not label:
            raise UserError("{}: the label is empty. Mend the row.".format(place))


PROCESSORS: Dict[str, Type[Any]] = {
    "cola": ColaProcessor,
    "mrpc": MrpcProcessor,
    "sst-2": SstProcessor,
    "sts-b": StsbProcessor,
    "text": TextProcessor,
}
