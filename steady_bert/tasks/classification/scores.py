"""Predictions of records → predictions of texts, tables and counts. N texts · L labels · W windows"""

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from .. import metrics
from ..metrics import ClassScores
from ..task import Predictions
from . import long_texts
from .long_texts import LongTexts


class Kind(NamedTuple):
    """What a label type predicts of a text."""

    # logits [N, L] → {prediction name: [N, …]}, as the graph computes them
    of_logits: Callable[[np.ndarray], Dict[str, np.ndarray]]
    # predictions, threshold → [N] label ids or scores; [N, L] booleans for several labels
    predicted: Callable[[Predictions, float], np.ndarray]
    shown: Callable[[Any, Sequence[str]], str]  # an element of `predicted`, labels → the text in prediction files


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * logits))


KINDS: Dict[str, Kind] = {
    "single": Kind(
        of_logits=lambda logits: {"probabilities": _softmax(logits)},
        predicted=lambda predictions, _: np.argmax(np.array(predictions["probabilities"]), axis=-1),
        shown=lambda label_id, labels: labels[label_id],
    ),
    "multi": Kind(
        of_logits=lambda logits: {"probabilities": _sigmoid(logits)},
        predicted=lambda predictions, threshold: np.array(predictions["probabilities"], np.float64) >= threshold,
        shown=lambda chosen, labels: ",".join(label for label, yes in zip(labels, chosen) if yes),
    ),
    "regression": Kind(
        of_logits=lambda logits: {"score": logits[:, 0]},
        predicted=lambda predictions, _: np.array(predictions["score"]),
        shown=lambda score, labels: "{:.4f}".format(score),
    ),
}


class Threshold:
    """The probability from which one of several labels is predicted; tuned: the best one on dev takes its place."""

    def __init__(self, value: float = 0.5, tuned: bool = False) -> None:
        self.value = value
        self.tuned = tuned


def best_threshold(probabilities: np.ndarray, gold: np.ndarray) -> float:
    """The threshold with the best micro F1, the same for all labels; of equally good ones, the nearest to 0.5.

    It lies halfway between two probabilities that occur, or is 0.5. Both arrays are [N, L].
    """
    values, positive = np.asarray(probabilities, np.float64).ravel(), np.asarray(gold, bool).ravel()
    order = np.argsort(-values, kind="stable")
    values, positive = values[order], positive[order]
    below = np.append(values[1:], 0.0)
    # F1 = 2·TP / (predicted + gold), if the first 1, 2, … of the sorted probabilities are predicted
    f1 = 2.0 * np.cumsum(positive) / (np.arange(1, len(values) + 1) + max(np.sum(positive), 1))
    f1[:-1][values[:-1] == values[1:]] = -1.0  # equal probabilities are predicted together
    middle = (values + below) / 2
    middle = np.where(middle > below, middle, values)
    thresholds = np.where((below < 0.5) & (values >= 0.5), 0.5, middle)
    best = np.flatnonzero(f1 == np.max(f1))
    return float(thresholds[best[np.argmin(np.abs(thresholds[best] - 0.5))]])


class Scored(NamedTuple):
    """The predictions of a split, one for each text, in file order."""

    values: np.ndarray  # [N] label ids or scores; [N, L] booleans for several labels
    gold: np.ndarray  # likewise
    probabilities: Optional[np.ndarray]  # [N, L]; None for scores

    def only(self, chosen: np.ndarray) -> "Scored":
        """Those of the texts that the mask [N] chooses."""
        probabilities = None if self.probabilities is None else self.probabilities[chosen]
        return Scored(self.values[chosen], self.gold[chosen], probabilities)


class Scorer(NamedTuple):
    """Says what is predicted of texts, and counts. labels: in id order, none for regression."""

    label_type: str
    labels: Sequence[str]
    long_text: LongTexts
    threshold: Threshold

    def scored(self, split: str, predictions: Predictions) -> Scored:
        """What is predicted of a split. A threshold that is tuned is tuned on dev, which comes before test."""
        kind = KINDS[self.label_type]
        if self.long_text.mode == "windows":
            predictions = self._of_texts(predictions)
        if self.threshold.tuned and split == "dev":
            self.threshold.value = best_threshold(
                np.array(predictions["probabilities"]), np.array(predictions["label_ids"])
            )
        values = kind.predicted(predictions, self.threshold.value)
        gold = np.array(predictions["label_ids"]).astype(values.dtype)
        probabilities = None if self.label_type == "regression" else np.array(predictions["probabilities"])
        return Scored(values, gold, probabilities)

    def _of_texts(self, predictions: Predictions) -> Predictions:
        """The predictions of texts from those of their windows."""
        window = np.array(predictions["window"])
        logits = long_texts.pooled(np.array(predictions["logits"]), window, self.long_text.pooling)
        gold = np.array(predictions["label_ids"])[window == 0]
        of_texts: Dict[str, Any] = dict(KINDS[self.label_type].of_logits(logits), label_ids=gold)
        return of_texts

    def metrics(self, names: Sequence[str], scored: Scored) -> Dict[str, float]:
        return {name: float(metrics.METRICS[name](scored.values, scored.gold)) for name in names}

    def table(self, scored: Scored, file_ids: Sequence[str]) -> Tuple[List[str], List[List[str]]]:
        """(header, rows) of the prediction file; `file_ids` are the examples' ids in file order."""
        kind = KINDS[self.label_type]
        rows = [[i, kind.shown(value, self.labels)] for i, value in zip(file_ids, scored.values)]
        for row, probabilities in zip(rows, [] if scored.probabilities is None else scored.probabilities):
            row += ["{:.6f}".format(probability) for probability in probabilities]
        return ["id", "prediction"] + list(self.labels), rows

    def plain(self, value: Any) -> Any:
        """An element of Scored.values or .gold as JSON has it: a label, a list of labels, or a number."""
        if self.label_type == "regression":
            return float(value)
        if self.label_type == "multi":
            return [label for label, yes in zip(self.labels, value) if yes]
        return self.labels[value]

    def confusion(self, scored: Scored) -> List[List[int]]:
        """[L, L] counts; rows are gold labels. Empty unless each example has exactly one label."""
        if self.label_type != "single":
            return []
        return metrics.confusion_matrix(scored.values, scored.gold, len(self.labels)).tolist()

    def by_class(self, scored: Scored) -> Dict[str, ClassScores]:
        """The scores of each label; empty for regression."""
        if not self.labels:
            return {}
        return dict(zip(self.labels, metrics.class_scores(scored.values, scored.gold, len(self.labels))))

    def submission(self, scored: Scored) -> List[str]:
        """The predictions as GLUE's evaluation server wants them: classes, or scores within 0 to 5."""
        if self.label_type == "regression":
            return ["{:.3f}".format(value) for value in np.clip(scored.values, 0, 5)]
        return [self.labels[value] for value in scored.values]
