"""GLUE's tasks and XNLI: the layouts of their official files."""

import os
from typing import Any, List, Mapping, Tuple

from ...base.errors import UserError
from ..reading.text_files import Row
from .processor import Columns, DataProcessor, InputExample, layout_of_width


class _Binary(DataProcessor):
    def get_labels(self) -> List[str]:
        return ["0", "1"]


class ColaProcessor(_Binary):
    """CoLA: is the sentence acceptable English? Only the unlabelled file has a header."""

    text_counts = (1,)
    metrics = ("matthews_correlation", "accuracy")
    best_metric = "matthews_correlation"
    submission = {"test": "CoLA"}

    def columns(self, first: Any, path: str) -> Columns:
        labelled = Columns(4, text_a=3, label=1, header=False)
        return layout_of_width(first, {2: Columns(2, text_a=1, id=0), 4: labelled}, "CoLA")


class SstProcessor(_Binary):
    """SST-2: is the phrase of a film review positive?"""

    text_counts = (1,)
    submission = {"test": "SST-2"}

    def columns(self, first: Any, path: str) -> Columns:
        unlabelled = "index" in first[:1]
        columns = Columns(2, text_a=1, id=0) if unlabelled else Columns(2, text_a=0, label=1)
        return layout_of_width(first, {2: columns}, "SST-2")


class MrpcProcessor(_Binary):
    """MRPC: do two sentences mean the same?"""

    text_counts = (2,)
    metrics = ("accuracy", "f1")
    submission = {"test": "MRPC"}

    def columns(self, first: Any, path: str) -> Columns:
        columns = Columns(5, text_a=3, text_b=4)
        columns = columns._replace(id=0) if "index" in first[:1] else columns._replace(label=0)
        return layout_of_width(first, {5: columns}, "MRPC")


class QqpProcessor(_Binary):
    """QQP: do two questions mean the same?

    A few rows of the official training file lack columns; --skip_bad_lines skips them.
    """

    text_counts = (2,)
    metrics = ("accuracy", "f1")
    submission = {"test": "QQP"}

    def columns(self, first: Any, path: str) -> Columns:
        labelled = Columns(6, text_a=3, text_b=4, label=5, id=0)
        return layout_of_width(first, {3: Columns(3, text_a=1, text_b=2, id=0), 6: labelled}, "QQP")


class StsbProcessor(DataProcessor):
    """STS-B: how similar are two sentences, from 0 to 5?"""

    text_counts = (2,)
    label_type = "regression"
    metrics = ("pearson", "spearman")
    best_metric = "pearson"
    submission = {"test": "STS-B"}

    def get_labels(self) -> List[str]:
        return []

    def columns(self, first: Any, path: str) -> Columns:
        unlabelled = Columns(9, text_a=7, text_b=8, id=0)
        return layout_of_width(first, {9: unlabelled, 10: unlabelled._replace(width=10, label=9)}, "STS-B")

    def _label(self, cell: Any) -> str:
        score = super()._label(cell)
        if not 0 <= float(score) <= 5:
            raise UserError("score {} is not from 0 to 5. Fix the row.".format(score))
        return score


class _IndexedPair(DataProcessor):
    """Four columns: index, two texts, label."""

    text_counts = (2,)
    what = ""

    def columns(self, first: Any, path: str) -> Columns:
        unlabelled = Columns(3, text_a=1, text_b=2, id=0)
        return layout_of_width(first, {3: unlabelled, 4: unlabelled._replace(width=4, label=3)}, self.what)


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
    """WNLI: does the sentence with the pronoun replaced follow from the original?"""

    what = "WNLI"
    submission = {"test": "WNLI"}


class MnliProcessor(DataProcessor):
    """MNLI: does the second sentence follow from the first? dev and test are the matched files."""

    text_counts = (2,)
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
        return layout_of_width(first, {10: test, 12: train, 16: dev}, "MNLI")

    def _example(self, split: str, row: Row, columns: Columns, number: int) -> InputExample:
        example = super()._example(split, row, columns, number)
        example.guid = "{}-{}".format("dev_matched" if split == "dev" else split, example.example_id)
        return example


class AxProcessor(MnliProcessor):
    """AX, GLUE's diagnostic set: MNLI's question. A model trained on MNLI predicts it; it has no training data."""

    splits = ("dev", "test")
    submission = {"test": "AX"}
    metrics = ("matthews_correlation",)
    best_metric = "matthews_correlation"

    def file_name(self, split: str) -> str:
        return "diagnostic-full.tsv" if split == "dev" else "diagnostic.tsv"

    def columns(self, first: Any, path: str) -> Columns:
        labelled = Columns(8, text_a=5, text_b=6, label=7)
        return layout_of_width(first, {3: Columns(3, text_a=1, text_b=2, id=0), 8: labelled}, "AX")


class XnliProcessor(DataProcessor):
    """XNLI: MNLI in other languages; `language` is the two-letter code in its files."""

    text_counts = (2,)
    options = ("language",)

    def __init__(self, language: str = "zh") -> None:  # upstream's default
        self.language = language

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> "XnliProcessor":
        return cls(options["language"])

    def file_name(self, split: str) -> str:
        if split == "train":
            return os.path.join("multinli", "multinli.train.{}.tsv".format(self.language))
        return "xnli.{}.tsv".format(split)

    def get_labels(self) -> List[str]:
        return ["contradiction", "entailment", "neutral"]

    def columns(self, first: Any, path: str) -> Columns:
        train = Columns(3, text_a=0, text_b=1, label=2)
        xnli = Columns(19, text_a=6, text_b=7, label=1, id=9)
        return layout_of_width(first, {3: train, 19: xnli}, "XNLI")

    def identity(self) -> str:
        return "XNLI in " + self.language

    def _wanted(self, split: str, row: Row) -> bool:
        """xnli.dev.tsv has all languages; the first column of a row names its own."""
        return len(row.cells) == 3 or row.cells[0] == self.language

    def _label(self, cell: Any) -> str:
        return super()._label("contradiction" if cell == "contradictory" else cell)  # the training file's spelling
