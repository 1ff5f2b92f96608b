"""Your own labelled text: TSV, CSV, JSON lines, or a text a line; columns by name or by number."""

import collections
import copy
import itertools
import json
import os
import re
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ...base.errors import UserError
from ..reading import text_files
from ..reading.text_files import Row
from ..task import BadLines
from . import label_cells
from .processor import Columns, DataProcessor, label_text, listed

_SAMPLE_ROWS = 100  # read to see which columns hold nothing but 0 and 1
_MULTI_HOT = "0 and 1 for each class do not say which classes. Name them, in that order, with --labels."
_METRICS_OF = {
    "single": ("accuracy", "macro_f1"),
    "multi": ("micro_f1", "macro_f1", "exact_match"),
    "regression": ("pearson", "spearman"),
}
LABEL_TYPES = tuple(_METRICS_OF)


class TextProcessor(DataProcessor):
    """Your own data: TSV, CSV or JSON lines, gzipped or not.

    text_columns: one or two columns, by name if the table has a header, by number from 0 if it has none. Default: text,
        or text_a and text_b. label_column: likewise; default: label. Several, with commas between, or all but the texts
        if each holds 0 and 1: a column for each class. A column `id` names the examples.
    label_separator: what separates the labels of an example; default: a comma.
    labels: in id order; while they are None, any label is accepted.
    A line of a .txt file is a text, or two texts with a tab between; a first line that names the text columns is a
    header.
    """

    options = ("text_columns", "label_column", "label_type", "labels", "label_separator")
    header_is_searched = True
    reads_json = True
    warns_of_missing_texts = True
    test_has_labels = True

    def __init__(
        self,
        labels: Optional[Sequence[str]] = None,
        text_columns: Sequence[str] = (),
        label_column: Optional[str] = None,
        label_type: str = "single",
        label_separator: Optional[str] = None,
    ) -> None:
        self._labels = labels
        self._text_columns = tuple(text_columns)
        self.text_counts = (len(text_columns),) if text_columns else (1, 2)
        self._label_column = label_column
        self.label_type = label_type
        self._label_separator = label_separator
        self.metrics = _METRICS_OF[label_type]
        self.best_metric = self.metrics[0]

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> "TextProcessor":
        values = {name: options[name] for name in cls.options}
        return cls(**dict(values, labels=values["labels"] or None))

    def identity(self) -> str:
        separator = [self._label_separator] if self._label_separator else []
        return json.dumps(["text", self._text_columns, self._label_column, self.label_type] + separator)

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
        classes = self._class_columns(path)
        if classes:
            return classes
        if len(counts) < 2:
            only = "the one label {!r}".format(next(iter(counts))) if counts else "no label"
            raise UserError("{}: has {}; there is nothing to tell apart.".format(path, only))
        if len(counts) > max(100, examples / 2):
            raise UserError(
                "{}: has {:,} distinct labels in {:,} rows. Name the right --label_column, learn a number with "
                "--label_type=regression, or list the classes with --labels.".format(path, len(counts), examples)
            )
        if self.label_type == "multi" and counts and set(counts) <= label_cells.ZEROS_AND_ONES:
            raise UserError("{}: {}".format(path, _MULTI_HOT))
        self._refuse_header(path, counts)
        whole = all(re.fullmatch("-?[0-9]+", label) for label in counts)
        return sorted(counts, key=lambda label: (int(label) if whole else 0, label))

    def _class_columns(self, path: str) -> List[str]:
        """The classes that have a column each, in the order of their columns."""
        first = next(text_files.rows(path, BadLines(1 << 62), self.encoding))
        label = self.columns(first.cells, path).label
        return [name for name, _ in label] if isinstance(label, tuple) else []

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
            return self._named(list(first), {name: name for name in first}, path, header=False)
        if text_files.ending_of(path) == ".txt" and self._is_plain(first):
            width = len(self._text_columns) or len(first)
            return Columns(width, text_a=0, text_b=1 if width == 2 else None, header=False)
        if self._numbered():
            return self._at_numbers(len(first))
        names = [name.strip() for name in first]
        return self._named(names, {name: number for number, name in enumerate(names)}, path, header=True)

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

    def _named(self, names: Sequence[str], places: Dict[str, Any], path: str, header: bool) -> Columns:
        """The columns by name; places: name → number or key."""
        subject = "the {} {}".format("header is" if header else "keys are", listed(names))
        texts = self._text_names(names)
        missing = [name for name in texts if name not in places]
        if missing and self._text_columns:
            raise UserError("{}; --text_columns names {}.{}".format(subject, listed(missing), _hint(names, path)))
        if missing:
            raise UserError(
                "{}; it needs a column text (or text_a and text_b). Name yours with --text_columns.{}".format(
                    subject, _hint(names, path)
                )
            )
        label = self._label_place(names, places, texts, path)
        used = texts + (self._label_column or "label", "id")
        twice = [name for name in used if list(names).count(name) > 1]
        if twice:
            raise UserError("the header names {!r} twice. Rename one.".format(twice[0]))
        return Columns(
            len(names),
            text_a=places[texts[0]],
            text_b=places[texts[1]] if len(texts) > 1 else None,
            label=label,
            id=places.get("id"),
            header=header,
        )

    def _label_place(self, names: Sequence[str], places: Dict[str, Any], texts: Sequence[str], path: str) -> Any:
        """The place of the labels: one column, or (class, column) for each class. None if the file has none."""
        given = self._label_column or "label"
        if given in places:
            return places[given]
        if self._label_column and "," in self._label_column and self.label_type == "multi":
            classes = [name.strip() for name in self._label_column.split(",")]
            return tuple((name, places[name]) for name in classes) if set(classes) <= set(places) else None
        if self._label_column or self.label_type != "multi":
            return None
        rest = [name for name in names if name not in texts and name != "id"]
        known = self._labels is None or set(rest) == set(self._labels)
        if rest and known and set(rest) <= set(self._yes_or_no(path, rest, places)):
            return tuple((name, places[name]) for name in rest)
        return None

    def _yes_or_no(self, path: str, names: Sequence[str], places: Dict[str, Any]) -> List[str]:
        """Those of the columns that hold nothing but 0 and 1 in the first rows."""
        rows = text_files.rows(path, BadLines(1 << 62), self.encoding)
        sample = [row.cells for row in itertools.islice(rows, _SAMPLE_ROWS)]
        sample = (
            sample if isinstance(sample[0], dict) else [cells for cells in sample[1:] if len(cells) == len(sample[0])]
        )
        keys = {name: places[name] for name in names}
        cells = {
            name: [row[key] for row in sample if isinstance(row, list) or key in row] for name, key in keys.items()
        }
        return [name for name in names if label_cells.are_yes_or_no(cells[name])]

    def _label_remedy(self, first: Row, columns: Columns) -> str:
        if self._numbered():
            return "Number it with --label_column."
        names = [name.strip() for name in first.cells]
        places = {name: name if isinstance(first.cells, dict) else number for number, name in enumerate(names)}
        subject = "The {} {}".format("header is" if columns.header else "keys are", listed(names))
        rest = [name for name, place in places.items() if place not in (columns.text_a, columns.text_b, columns.id)]
        classes = self._yes_or_no(first.path, rest, places)
        if len(classes) > 1:
            flags = "--label_type=multi --label_column={}".format(",".join(classes))
            return "{}. Name the column with --label_column; for one of 0 and 1 for each class: {}.".format(
                subject, flags
            )
        return "{}. Name the column with --label_column.".format(subject)

    def _at_numbers(self, width: int) -> Columns:
        numbers = [int(name) for name in self._text_columns]
        label = int(self._label_column) if self._label_column else None
        if max(numbers) >= width:
            raise UserError("columns: {}; --text_columns={} counts from 0.".format(width, max(numbers)))
        if label is not None and label >= width:
            label = None  # an unlabelled file may end before it
        return Columns(width, numbers[0], numbers[1] if len(numbers) > 1 else None, label, header=False)

    def _text(self, row: Row, key: Any) -> str:
        """A text; an empty one, which the data report counts, for JSON's null and NaN."""
        if isinstance(row.cells, dict) and not isinstance(row.cells.get(key, ""), str):
            cell = row.cells[key]
            return "" if label_cells.is_missing(cell) else super()._text(row, key)
        return super()._text(row, key)

    def _label(self, cell: Any) -> Any:
        if self.label_type != "multi":
            return self._one_label(self._only_element(cell))
        if isinstance(cell, dict):
            return tuple(self._one_label(name) for name in cell if label_cells.chosen(cell[name], name))
        if label_cells.is_missing(cell):
            return (self._missing(cell),)
        is_list = isinstance(cell, list)
        names = cell if is_list else label_cells.split(label_text(cell), self._label_separator)
        if label_cells.is_multi_hot(names) and not label_cells.ZEROS_AND_ONES & set(self._labels or ()):
            return self._by_position(names)
        labels = tuple(self._one_label(name) for name in names)
        if len(set(labels)) != len(labels):
            raise UserError("names a label twice: {}. Fix the row.".format(", ".join(labels)))
        return labels

    def _only_element(self, cell: Any) -> Any:
        """A cell of one label, which may be a list of one."""
        items = cell if isinstance(cell, list) else label_cells.elements(cell) if isinstance(cell, str) else None
        if items is None or isinstance(cell, str) and cell.strip() in (self._labels or ()):
            return cell
        if len(items) != 1:
            raise UserError(
                "the label {} is a list of {}. Learn it with --label_type=multi, or name all labels with --labels if "
                "it is one.".format(cell, len(items))
            )
        return items[0]

    def _by_position(self, items: Sequence[Any]) -> Any:
        """The classes that a list of 0 and 1 for each class names."""
        if self._labels is None:
            if len(set(map(str, items))) == len(items):  # [0, 1] may be names
                return tuple(self._one_label(item) for item in items)
            raise UserError("the label {}: {}".format(json.dumps(items)[:60], _MULTI_HOT))
        if len(items) != len(self._labels):
            text = "the label {}: {} times 0 or 1, but the classes are {}. Fix the row, or name them with --labels."
            raise UserError(text.format(json.dumps(items)[:60], len(items), ", ".join(self._labels)))
        return tuple(label for label, item in zip(self._labels, items) if str(item).strip() in ("1", "1.0"))

    def _missing(self, cell: Any) -> str:
        """A missing value as a class, if --labels names it."""
        text = label_cells.shown(cell)
        if text not in (self._labels or ()):
            raise label_cells.MissingLabelError(text)
        return text

    def _one_label(self, cell: Any) -> str:
        if label_cells.is_missing(cell):
            return self._missing(cell)
        label = label_text(cell)
        if self.label_type == "regression":
            if not label:
                raise label_cells.MissingLabelError(label)
            return super()._label(cell)
        if self._labels is not None and label in self._labels:
            return label
        if not label:
            raise label_cells.MissingLabelError(label)
        separators = [mark for mark in label_cells.OTHER_SEPARATORS if mark in label]
        if self.label_type == "multi" and separators and not self._label_separator:
            raise UserError(
                "the label {!r} has {!r}. If that separates labels, pass --label_separator='{}'; if not, name all "
                "labels with --labels.".format(label, separators[0], separators[0])
            )
        if self._labels is not None:
            return super()._label(cell)
        if any(separator in label for separator in ("\t\r\n," if self.label_type == "multi" else "\t\r\n")):
            raise UserError("the label {!r} has a tab, comma or line end. Fix the row.".format(label))
        return label


def _hint(names: Sequence[str], path: str) -> str:
    """What may be wrong with a first row in which no name was found."""
    if len(names) == 1 and text_files.ending_of(path) != ".csv":
        for separator, plural in text_files.SEPARATORS.items():
            if separator in names[0]:
                return " If it is separated by {}, name the file .csv.".format(plural)
    if text_files.ending_of(path) in text_files.JSON_ENDINGS:
        return ""
    return " Without a header, number the columns: --text_columns=0 --label_column=1."
