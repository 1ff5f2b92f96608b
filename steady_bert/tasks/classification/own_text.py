"""Your own labelled text: TSV, CSV, JSON lines, or a text a line; columns by name or by number."""

import collections
import copy
import json
import os
import re
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ...base.errors import UserError
from ..reading import text_files
from ..task import BadLines
from .processor import Columns, DataProcessor, label_text, listed

_METRICS_OF = {
    "single": ("accuracy", "macro_f1"),
    "multi": ("micro_f1", "macro_f1", "exact_match"),
    "regression": ("pearson", "spearman"),
}
LABEL_TYPES = tuple(_METRICS_OF)


class TextProcessor(DataProcessor):
    """Your own data: TSV, CSV or JSON lines, gzipped or not.

    text_columns: one or two columns, by name if the table has a header, by number from 0 if it has none. Default: text,
        or text_a and text_b. label_column: likewise; default: label. A column `id` names the examples.
    labels: in id order; while they are None, any label is accepted.
    A line of a .txt file is a text, or two texts with a tab between; a first line that names the text columns is a
    header.
    """

    options = ("text_columns", "label_column", "label_type", "labels")
    header_is_searched = True
    reads_json = True
    test_has_labels = True

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

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> "TextProcessor":
        values = {name: options[name] for name in cls.options}
        return cls(**dict(values, labels=values["labels"] or None))

    def identity(self) -> str:
        return json.dumps(["text", self._text_columns, self._label_column, self.label_type])

    def file_path(self, data_dir: str, split: str) -> str:
        """The split's file with any known ending; split.tsv if there is none. Raises UserError if there are two."""
        names = [split + ending + gz for ending in text_files.ENDINGS for gz in ("", ".gz")]
        existing = [name for name in names if os.path.exists(os.path.join(data_dir, name))]
        if len(existing) > 1:
            raise UserError("{}: has both {}. Keep one of them.".format(data_dir, " and ".join(existing[:2])))
        return os.path.join(data_dir, existing[0] if existing else split + ".tsv")

    def get_labels(self) -> List[str]:
        """The labels given at construction. Raises UserError if none were."""
        labels = self.known_labels()
        if labels is None:
            raise UserError("The labels are not known yet.")
        return labels

    def known_labels(self) -> Optional[List[str]]:
        if self.label_type == "regression":
            return []
        return None if self._labels is None else list(self._labels)

    def with_labels(self, labels: Sequence[str]) -> "TextProcessor":
        processor = copy.copy(self)
        processor._labels = labels
        return processor

    def find_labels(self, path: str, bad_lines: Optional[BadLines] = None) -> List[str]:
        """The distinct labels of a training file, sorted; numerically if all are whole numbers.

        Raises UserError if there are fewer than two, or so many that they can hardly be classes.
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
        """Raises UserError if columns are numbered and the first row has a label of its own, as a header would."""
        if self._numbered():
            first = next(self.read_examples(path, "train", BadLines(1 << 30)))
            labels = first.label if isinstance(first.label, tuple) else (first.label,)
            if labels and all(counts[label] == 1 for label in labels):
                raise UserError(
                    "{}:{}: looks like a header: no other row has the label {}. Name the columns instead of "
                    "numbering them, or declare the label with --labels.".format(path, first.line, listed(labels))
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
        """Whether a .txt file holds texts only: it has no header and lacks the columns of the training file."""
        if self._numbered():
            return len(first) <= max(int(name) for name in self._text_columns)
        return len(first) <= 2 and not set(self._text_names(first)) <= set(first)

    def _text_names(self, names: Sequence[str]) -> Tuple[str, ...]:
        if self._text_columns:
            return self._text_columns
        if "text" in names:
            return ("text",)
        return ("text_a", "text_b") if "text_b" in names else ("text_a",)

    def _named(self, names: Sequence[str], places: Dict[str, Any], subject: str, header: bool) -> Columns:
        """The columns by name; places: name → number or key. subject: how an error begins."""
        texts = self._text_names(names)
        label = self._label_column or "label"
        missing = [name for name in texts if name not in places]
        if missing and self._text_columns:
            raise UserError("{} {}; --text_columns names {}.".format(subject, listed(names), listed(missing)))
        if missing:
            raise UserError(
                "{} {}; it needs a column text (or text_a and text_b). Name yours with --text_columns.".format(
                    subject, listed(names)
                )
            )
        twice = [name for name in texts + (label, "id") if list(names).count(name) > 1]
        if twice:
            raise UserError("the header names {!r} twice. Rename one.".format(twice[0]))
        return Columns(
            len(names),
            text_a=places[texts[0]],
            text_b=places[texts[1]] if len(texts) > 1 else None,
            label=places.get(label),
            id=places.get("id"),
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

    def _label(self, cell: Any) -> Any:
        if self.label_type != "multi":
            return self._one_label(cell)
        names = cell if isinstance(cell, list) else [name for name in label_text(cell).split(",") if name.strip()]
        labels = tuple(self._one_label(name) for name in names)
        if len(set(labels)) != len(labels):
            raise UserError("names a label twice: {}. Fix the row.".format(", ".join(labels)))
        return labels

    def _one_label(self, cell: Any) -> str:
        if self.label_type == "regression" or self._labels is not None:
            return super()._label(cell)
        label = label_text(cell)
        if not label:
            raise UserError("the label is empty. Fix the row.")
        if any(separator in label for separator in ("\t\r\n," if self.label_type == "multi" else "\t\r\n")):
            raise UserError("the label {!r} has a tab, comma or line end. Fix the row.".format(label))
        return label
