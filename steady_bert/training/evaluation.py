"""The outputs for a split's examples, collected from batches in any order, and their scores."""

import base64
import io
import struct
import zipfile
import zlib
from typing import Any, Dict, List, NamedTuple

import numpy as np

from ..base.errors import UserError
from ..base.progress_lines import ProgressLines
from ..tasks.task import Predictions, Task
from .feature_cache import RecordFile

_WENT_WRONG = "its weights are too large. Use an older checkpoint, or train again with a lower --learning_rate."
# What NumPy raises for bytes that are no archive of arrays, or none of these arrays.
_NO_ARCHIVE = (
    *(TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError, RuntimeError, MemoryError),
    *(OSError, EOFError, struct.error, zipfile.BadZipFile, zlib.error),
)


class Evaluation(NamedTuple):
    metrics: Dict[str, float]  # the task's, and "loss": the mean per unit of weight over the split
    predictions: Predictions


class SplitOutputs:
    """Loss, weight and predictions of every example of a split, in file order.

    Batches are made by length; in file order the sums do not depend on the batches.
    """

    def __init__(self, task: Task, records: RecordFile, what: str = "") -> None:
        """what: the work, for people; "": they are shown elsewhere how far it is."""
        self._progress = ProgressLines(what, len(records), "examples") if what else None
        self._done = 0
        self._task = task
        self._records = records
        self._loss = self._weight = np.zeros(0)  # [N] or [N, K], once the first outputs are there
        self._predictions: Predictions = {}
        self._numbers: List[np.ndarray] = []  # the examples that were added

    def add(self, numbers: np.ndarray, loss: Any, weight: Any, predictions: Dict[str, Any]) -> None:
        """Adds outputs of the numbered examples, as tasks.task.Outputs has them, or predictions as lists of rows.

        Raises UserError for predictions that are not finite.
        """
        if not self._numbers:
            shape = (len(self._records), *np.shape(loss)[1:])
            self._loss, self._weight = np.zeros(shape), np.zeros(shape)
        self._numbers.append(numbers)
        self._done += len(numbers)
        if self._progress is not None:
            self._progress.update(self._done)
        self._loss[numbers], self._weight[numbers] = loss, weight
        for name, values in predictions.items():
            per_token = name in self._task.per_token_predictions
            # Another worker's rows have the lengths of their examples.
            numbers_of_all = np.concatenate(values) if isinstance(values, list) else np.asarray(values)
            if numbers_of_all.dtype.kind == "f" and not np.all(np.isfinite(numbers_of_all)):
                raise UserError("The model's {} are not finite: {}".format(name, _WENT_WRONG))
            rows = self._predictions.setdefault(name, [np.empty(0)] * len(self._records))
            for number, row in zip(numbers, values):
                rows[number] = row[: self._records.index["tokens"][number]] if per_token else row

    def packed(self) -> str:
        """Everything that was added, as text for another worker's `unpack`."""
        if not self._numbers:
            return ""
        numbers = np.concatenate(self._numbers)
        arrays = {"numbers": numbers, "loss": self._loss[numbers], "weight": self._weight[numbers]}
        for name, rows in self._predictions.items():
            chosen = [rows[number] for number in numbers]
            if name in self._task.per_token_predictions:  # rows have different lengths
                arrays["lengths " + name] = np.array([len(row) for row in chosen])
            arrays["prediction " + name] = (np.concatenate if "lengths " + name in arrays else np.stack)(chosen)
        file = io.BytesIO()
        np.savez(file, **arrays)
        return base64.b64encode(file.getvalue()).decode("ascii")

    def is_packed(self, text: Any) -> bool:
        """Whether `unpack` takes a text: one of `packed` for the same task and records."""
        copy = SplitOutputs(self._task, self._records)
        try:
            copy.unpack(text)
        except _NO_ARCHIVE:
            return False
        return isinstance(text, str)

    def unpack(self, text: str) -> None:
        """Adds the outputs in a text of `packed`."""
        if not text:
            return
        with np.load(io.BytesIO(base64.b64decode(text)), allow_pickle=False) as arrays:
            numbers = arrays["numbers"]
            predictions = {}
            for full in (name for name in arrays.files if name.startswith("prediction ")):
                name, values = full[len("prediction ") :], arrays[full]
                if "lengths " + name in arrays:
                    values = np.split(values, np.cumsum(arrays["lengths " + name])[:-1])
                predictions[name] = values
            self.add(numbers, arrays["loss"], arrays["weight"], predictions)

    @property
    def predictions(self) -> Predictions:
        return self._predictions

    def evaluation(self, split: str) -> Evaluation:
        """Every example counts once. Raises UserError if the loss or a score is not finite."""
        loss = float(np.sum(np.sum(self._loss, axis=0) / np.maximum(np.sum(self._weight, axis=0), 1e-12)))
        metrics = dict(self._task.score(split, self._predictions), loss=loss)
        bad = ["{} ({})".format(name, value) for name, value in metrics.items() if not np.isfinite(value)]
        if bad:
            raise UserError("Evaluation of {} gives no number for {}: {}".format(split, ", ".join(bad), _WENT_WRONG))
        return Evaluation(metrics, self._predictions)
