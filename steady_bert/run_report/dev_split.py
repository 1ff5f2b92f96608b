"""A dev split of a run → what the page says of it: scores, classes, confusions, calibration, mistakes. Pure.

The numbers are those that the evaluation wrote (eval_results.json); examples and calibration come from its predictions.
"""

import os
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..base.errors import UserError
from ..comparison import measures
from ..tasks import metrics
from ..training import run_files
from ..training.run_files import Evaluated, Labels
from . import mistakes
from .calibration import Calibration, calibration
from .mistakes import Judge, Judged

_MOST_WRONG, _MOST_DOUBTFUL = 15, 10
_MOST_LABELS = 20  # of a confusion matrix that is shown whole
_MOST_CONFUSIONS = 20
_NO_SCORES = ("multi_label_threshold", "null_score_diff_threshold")  # settings that stand among the scores


class ClassRow(NamedTuple):
    """The scores of a class, or of a type of entities."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int
    predicted: Optional[int]  # how often; None if the evaluation did not write it


class Confusion(NamedTuple):
    gold: str
    predicted: str
    times: int


class DevSplit(NamedTuple):
    name: str  # dev, dev_NAME
    examples: int
    scores: Dict[str, float]
    classes: Sequence[ClassRow] = ()
    matrix: Sequence[Sequence[int]] = ()  # rows are gold; empty if there is none, or it is too large to be looked at
    matrix_labels: Sequence[str] = ()
    confusions: Sequence[Confusion] = ()  # the most frequent first
    calibration: Optional[Calibration] = None
    wrong_count: Optional[int] = None  # None without predictions
    most_wrong: Sequence[Judged] = ()
    most_doubtful: Sequence[Judged] = ()
    kind: str = ""
    note: str = ""  # what is missing, and why
    error_rows: Sequence[Sequence[str]] = ()  # errors.tsv; empty without predictions


def splits_of(folder: str, results: Dict[str, Any], labels: Optional[Labels]) -> List[DevSplit]:
    """The dev splits that the evaluation wrote about. labels: None for a pre-training, which has scores alone."""
    suffixes = [name[len("examples") :] for name in results if name.startswith("examples")]
    return [_split(folder, results, labels, suffix, suffixes) for suffix in suffixes]


def _split(
    folder: str, results: Dict[str, Any], labels: Optional[Labels], suffix: str, suffixes: Sequence[str]
) -> DevSplit:
    longer = [other for other in suffixes if other != suffix and other.endswith(suffix)]
    own = {
        name[: len(name) - len(suffix)]: value
        for name, value in results.items()
        if name.endswith(suffix) and not any(name.endswith(other) for other in longer)
    }
    scores = {name: value for name, value in own.items() if isinstance(value, float) and name not in _NO_SCORES}
    if labels is None:
        return DevSplit("dev" + suffix, own["examples"], scores)
    examples, note = _examples(folder, suffix, own, labels)
    judge = Judge(labels.labels, own.get("multi_label_threshold", 0.5))
    judged = mistakes.judged(labels.kind, judge, examples)
    confidence, correct = mistakes.certainties(labels.kind, judge, examples)
    matrix, matrix_labels = own.get("confusion_matrix") or [], list(results.get("labels") or [])
    classes, confusions = _classes(own), _confusions(own, matrix, matrix_labels)
    if labels.kind == "plain":
        classes, confusions = _of_tags(examples)
    return DevSplit(
        name="dev" + suffix,
        examples=own["examples"],
        scores=scores,
        classes=classes,
        matrix=matrix if len(matrix) <= _MOST_LABELS else [],
        matrix_labels=matrix_labels,
        confusions=confusions,
        calibration=calibration(confidence, correct) if confidence else None,
        wrong_count=sum(each.is_wrong for each in judged) if examples else None,
        most_wrong=mistakes.most_wrong(judged, _MOST_WRONG),
        most_doubtful=mistakes.most_doubtful(judged, _MOST_DOUBTFUL),
        kind=labels.kind,
        note=note,
        error_rows=list(mistakes.rows(labels.kind, judge, examples)) if examples else [],
    )


def _examples(folder: str, suffix: str, own: Dict[str, Any], labels: Labels) -> Tuple[List[Evaluated], str]:
    """(the examples of a split with their predictions, why there are none). own: what the evaluation wrote of it."""
    base, ending = os.path.splitext(run_files.EVALUATED_FILE)
    path, problem = os.path.join(folder, base + suffix + ending), ""
    if not os.path.exists(path):
        problem = "there is no {}".format(os.path.basename(path))
    else:
        try:
            examples = run_files.read_evaluated(path)
            counts = measures.counted(labels.kind, examples, labels.labels)
        except UserError as error:
            text = "No examples are shown: {} cannot be read ({})."
            return [], text.format(os.path.basename(path), str(error).rstrip("."))
        if len(examples) == own["examples"] and measures.other_score(counts, own) is None:
            return examples, ""
        problem = "{} is of another evaluation than {}".format(os.path.basename(path), run_files.RESULTS_FILE)
    return [], "No examples are shown: {}. {}".format(problem, measures.AGAIN)


def _classes(own: Dict[str, Any]) -> List[ClassRow]:
    by_class, by_type = own.get("by_class") or {}, own.get("by_type") or {}
    rows = [ClassRow(*[name, *(of_class[column] for column in _COLUMNS), None]) for name, of_class in by_class.items()]
    return rows + [
        ClassRow(name, each["precision"], each["recall"], each["f1"], each["gold"], each["predicted"])
        for name, each in by_type.items()
    ]


_COLUMNS = ("precision", "recall", "f1", "support")


def _confusions(own: Dict[str, Any], matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> List[Confusion]:
    pairs = [Confusion(each["gold"], each["predicted"], each["times"]) for each in own.get("confusions") or []]
    for gold, row in zip(labels, matrix):
        pairs += [Confusion(gold, name, times) for name, times in zip(labels, row) if times and name != gold]
    return sorted(pairs, key=lambda pair: -pair.times)[:_MOST_CONFUSIONS]


def _of_tags(examples: Sequence[Evaluated]) -> Tuple[List[ClassRow], List[Confusion]]:
    """The scores and confusions of plain tags, word by word, which the evaluation does not write."""
    if not examples:
        return [], []
    gold, predicted = ([tag for each in examples for tag in getattr(each, side)] for side in ("gold", "predicted"))
    names = sorted({*gold, *predicted})
    ids = {name: number for number, name in enumerate(names)}
    gold_ids, predicted_ids = (np.array([ids[tag] for tag in side]) for side in (gold, predicted))
    of_tags = metrics.class_scores(predicted_ids, gold_ids, len(names))
    times = np.bincount(predicted_ids, minlength=len(names))
    rows = [ClassRow(name, *scores, int(count)) for name, scores, count in zip(names, of_tags, times)]
    matrix = metrics.confusion_matrix(predicted_ids, gold_ids, len(names)).tolist()
    return rows, _confusions({}, matrix, names)
