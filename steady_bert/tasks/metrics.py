"""predictions → numbers. The mathematics is scikit-learn's and SciPy's.

Each metric takes (predictions, labels) and gives a float; larger is better. Both are [N], label ids or scores, or
[N, L] of 0 and 1 where an example may have several labels.
"""

import warnings
from typing import Any, Callable, Dict, List, NamedTuple

import numpy as np


def _sklearn() -> Any:
    import sklearn.metrics  # takes a second, which training does not wait for

    return sklearn.metrics


def _scipy() -> Any:
    import scipy.stats

    return scipy.stats


def accuracy(predictions: np.ndarray, labels: np.ndarray) -> float:
    """The share of predictions that equal their labels."""
    return float(_sklearn().accuracy_score(labels, predictions))


def f1(predictions: np.ndarray, labels: np.ndarray) -> float:
    """2·TP / (2·TP + FP + FN) of label id 1, as GLUE scores MRPC; 0 if no prediction and no label is 1."""
    return float(_sklearn().f1_score(labels, predictions, pos_label=1, average="binary", zero_division=0))


def macro_f1(predictions: np.ndarray, labels: np.ndarray) -> float:
    """The mean of F1 over the labels that occur in predictions or labels; over all L labels if there may be several."""
    return float(_sklearn().f1_score(labels, predictions, average="macro", zero_division=0))


def micro_f1(predictions: np.ndarray, labels: np.ndarray) -> float:
    """2·TP / (2·TP + FP + FN), counted over all labels of all examples; 0 if nothing is predicted or labelled."""
    return float(_sklearn().f1_score(labels, predictions, average="micro", zero_division=0))


def matthews_correlation(predictions: np.ndarray, labels: np.ndarray) -> float:
    """(TP·TN - FP·FN) / √((TP+FP)(TP+FN)(TN+FP)(TN+FN)), as GLUE scores CoLA; 0 if either side is constant."""
    with warnings.catch_warnings():  # scikit-learn warns of the constant side
        warnings.simplefilter("ignore")
        return float(_sklearn().matthews_corrcoef(labels, predictions))


def pearson(predictions: np.ndarray, labels: np.ndarray) -> float:
    """cov(x, y) / (σx·σy), as GLUE scores STS-B; 0 if either side is constant.

    It is undefined then, and NaN would be neither better nor worse than any other score.
    """
    return _correlation(_scipy().pearsonr, predictions, labels)


def spearman(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Pearson's correlation of the ranks, ties sharing their mean rank. 0 if either side is constant, as in pearson."""
    return _correlation(_scipy().spearmanr, predictions, labels)


def _correlation(correlate: Callable, predictions: np.ndarray, labels: np.ndarray) -> float:
    if len(labels) < 2 or np.ptp(predictions) == 0 or np.ptp(labels) == 0:
        return 0.0
    return float(correlate(np.asarray(predictions, np.float64), np.asarray(labels, np.float64))[0])


class ClassScores(NamedTuple):
    """How well one label is predicted; 0 where a share is of nothing."""

    precision: float  # of the examples that are predicted to have it, how many have it
    recall: float  # of the examples that have it, how many are predicted to
    f1: float
    support: int  # how many examples have it


def class_scores(predictions: np.ndarray, labels: np.ndarray, n: int) -> List[ClassScores]:
    """The scores of each of n labels, in id order."""
    columns = _sklearn().precision_recall_fscore_support(
        labels, predictions, labels=np.arange(n), average=None, zero_division=0
    )
    return [ClassScores(float(p), float(r), float(f), int(support)) for p, r, f, support in zip(*columns)]


def confusion_matrix(predicted: np.ndarray, labels: np.ndarray, n: int) -> np.ndarray:
    """[n, n] counts; rows are gold label ids, columns predicted ones."""
    return _sklearn().confusion_matrix(labels, predicted, labels=np.arange(n))


METRICS: Dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "accuracy": accuracy,
    "exact_match": accuracy,  # for [N, L]: the share of examples with every label correct
    "f1": f1,
    "macro_f1": macro_f1,
    "matthews_correlation": matthews_correlation,
    "micro_f1": micro_f1,
    "pearson": pearson,
    "spearman": spearman,
}
