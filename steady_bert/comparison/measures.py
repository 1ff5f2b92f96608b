"""Metrics as functions of sums over examples, so that 10,000 resamples of a dev file take a moment. Pure.

Each example contributes counts; a metric is a function of their sums. The metrics are those of tasks.metrics,
tagging.scores and questions.scores; a test holds them together.

N examples · L labels, types or tags · R resamples
"""

import collections
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..base.errors import UserError
from ..tasks.tagging import schemes
from ..training.run_files import Evaluated

HITS, PREDICTED, GOLD = 0, 1, 2
_SCORE_ROUNDING = 1e-5


class Counted(NamedTuple):
    """The predictions of one run as a metric needs them."""

    counts: np.ndarray  # [N, 3, L]: HITS, PREDICTED and GOLD of each label; [N, 6] moments of a correlation
    value: Callable[[np.ndarray], np.ndarray]  # sums of counts [..., 3, L] or [..., 6] → the metric [...]
    # (predicted, gold), each [N], if counts are those of ranks, which every resample has its own of.
    ranked: Optional[Tuple[np.ndarray, np.ndarray]] = None


class Counts(NamedTuple):
    """All metrics of a run, and how good each example's prediction is."""

    metrics: Dict[str, Counted]
    goodness: np.ndarray  # [N]: 1 for a correct prediction, 0 for a wrong one; for a score, minus the absolute error
    has_wrong: bool  # whether a prediction is either correct or wrong


# --- sums → metrics ---------------------------------------------------------------------------------------------------


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, 0 where whole is 0."""
    return np.divide(part, whole, out=np.zeros(np.shape(part)), where=whole > 0)


def _share(sums: np.ndarray) -> np.ndarray:
    return _ratio(sums[..., HITS, 0], sums[..., GOLD, 0])


def _precision(sums: np.ndarray) -> np.ndarray:
    return _ratio(sums[..., HITS, 0], sums[..., PREDICTED, 0])


def _f1_of_each(sums: np.ndarray) -> np.ndarray:
    """[..., L]: 2·hits / (predicted + gold)."""
    return _ratio(2 * sums[..., HITS, :], sums[..., PREDICTED, :] + sums[..., GOLD, :])


def _f1(sums: np.ndarray) -> np.ndarray:
    return _f1_of_each(sums)[..., 0]


def _macro_f1_of_all(sums: np.ndarray) -> np.ndarray:
    return np.mean(_f1_of_each(sums), axis=-1)


def _macro_f1(sums: np.ndarray) -> np.ndarray:
    """The mean over the labels that occur."""
    occurs = sums[..., PREDICTED, :] + sums[..., GOLD, :] > 0
    return _ratio(np.sum(_f1_of_each(sums), axis=-1), np.sum(occurs, axis=-1))


def _matthews(sums: np.ndarray) -> np.ndarray:
    """R_K of Gorodkin (2004): (c·s - Σ p_k·t_k) / √((s² - Σ p_k²)(s² - Σ t_k²)); 0 if either side is constant."""
    predicted, gold = sums[..., PREDICTED, :], sums[..., GOLD, :]
    total = np.sum(gold, axis=-1)
    covariance = np.sum(sums[..., HITS, :], axis=-1) * total - np.sum(predicted * gold, axis=-1)
    spread = (total**2 - np.sum(predicted**2, axis=-1)) * (total**2 - np.sum(gold**2, axis=-1))
    return _ratio(covariance, np.sqrt(np.where(spread > 1e-6, spread, 0.0)))


def correlation(sums: np.ndarray) -> np.ndarray:
    """Pearson's, of the sums [..., 6] of `moments`; 0 if either side is constant."""
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    of_x, of_y = n * xx - x * x, n * yy - y * y
    defined = (of_x > 1e-9 * n * n) & (of_y > 1e-9 * n * n)
    return _ratio(n * xy - x * y, np.where(defined, np.sqrt(np.maximum(of_x * of_y, 0.0)), 0.0))


def moments(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """[..., 6]: 1, x, y, x², y², x·y of each pair."""
    return np.stack([np.ones(np.broadcast(x, y).shape), x, y, x * x, y * y, x * y], axis=-1)


# --- predictions → counts ---------------------------------------------------------------------------------------------


def _of_labels(predicted: np.ndarray, gold: np.ndarray) -> np.ndarray:
    """[N, 3, L] of indicators [N, L]."""
    return np.stack([predicted * gold, predicted, gold], axis=1).astype(np.float64)


def _together(counts: np.ndarray) -> np.ndarray:
    """[N, 3, 1]: all labels as one."""
    return np.sum(counts, axis=-1, keepdims=True)


def _of_shares(shares: np.ndarray) -> np.ndarray:
    """[N, 3, 1] whose share is the mean of the shares [N]."""
    return np.stack([shares, np.ones(len(shares)), np.ones(len(shares))], axis=-1)[:, :, None].astype(np.float64)


def _indicators(examples: Sequence[Evaluated], labels: Sequence[str], side: str) -> np.ndarray:
    """[N, L] of 0 and 1: which labels each example has. Raises UserError for a label that the model does not know."""
    ids = {label: number for number, label in enumerate(labels)}
    indicators = np.zeros((len(examples), len(labels)))
    for row, example in enumerate(examples):
        value = getattr(example, side)
        for label in [value] if isinstance(value, str) else value:
            if label not in ids:
                raise UserError("line {}: {} {!r} is no label of the run. {}".format(row + 1, side, label, AGAIN))
            indicators[row, ids[label]] = 1
    return indicators


AGAIN = "Evaluate it again with --do_eval --model_dir."


def _single(examples: Sequence[Evaluated], labels: Sequence[str]) -> Counts:
    counts = _of_labels(_indicators(examples, labels, "predicted"), _indicators(examples, labels, "gold"))
    metrics = {"accuracy": Counted(_together(counts), _share)}
    if len(labels) == 2:
        metrics["f1"] = Counted(counts[:, :, 1:], _f1)
    metrics.update(macro_f1=Counted(counts, _macro_f1), matthews_correlation=Counted(counts, _matthews))
    return Counts(metrics, counts[:, HITS].sum(axis=-1), True)


def _multi(examples: Sequence[Evaluated], labels: Sequence[str]) -> Counts:
    predicted, gold = (_indicators(examples, labels, side) for side in ("predicted", "gold"))
    counts, equal = _of_labels(predicted, gold), np.all(predicted == gold, axis=1).astype(np.float64)
    metrics = {
        "micro_f1": Counted(_together(counts), _f1),
        "macro_f1": Counted(counts, _macro_f1_of_all),
        "exact_match": Counted(_of_shares(equal), _share),
    }
    return Counts(metrics, equal, True)


def ranks(values: np.ndarray) -> np.ndarray:
    """The ranks along the last axis, ties sharing their mean rank, scaled to -1 … 1."""
    import scipy.stats  # takes a moment

    return scipy.stats.rankdata(values, axis=-1) / ((values.shape[-1] + 1) / 2) - 1


def _standardized(values: np.ndarray) -> np.ndarray:
    """Mean 0 and spread 1, or zeros: a correlation stays as it is, and its sums lose no digits."""
    middle, spread = np.mean(values), np.std(values)
    return np.zeros_like(values) if np.ptp(values) == 0 else (values - middle) / spread


def _regression(examples: Sequence[Evaluated], labels: Sequence[str]) -> Counts:
    predicted, gold = (np.array([getattr(each, side) for each in examples], float) for side in ("predicted", "gold"))
    for row in np.flatnonzero(~np.isfinite(predicted + gold)):
        raise UserError(
            "line {}: a score is no number: training went wrong, or the file is damaged. {}".format(row + 1, AGAIN)
        )
    of_values = moments(_standardized(predicted), _standardized(gold))
    metrics = {
        "pearson": Counted(of_values, correlation),
        "spearman": Counted(moments(ranks(predicted), ranks(gold)), correlation, (predicted, gold)),
    }
    return Counts(metrics, -np.abs(predicted - gold), False)


def _entity_counts(examples: Sequence[Evaluated], types: Sequence[str], entities_in: Callable[..., Any]) -> np.ndarray:
    """[N, 3, types] of a sentence's entities."""
    number_of = {kind: number for number, kind in enumerate(types)}
    counts = np.zeros((len(examples), 3, len(types)))
    for row, example in enumerate(examples):
        predicted, gold = set(entities_in(example.predicted)), set(entities_in(example.gold))
        for place, entities in ((HITS, predicted & gold), (PREDICTED, predicted), (GOLD, gold)):
            for kind, times in collections.Counter(entity.type for entity in entities).items():
                counts[row, place, number_of[kind]] = times
    return counts


def _tag_counts(examples: Sequence[Evaluated], tags: Sequence[str]) -> np.ndarray:
    """[N, 3, tags] of a sentence's words."""
    ids = {tag: number for number, tag in enumerate(tags)}
    counts = np.zeros((len(examples), 3, len(tags)))
    for row, example in enumerate(examples):
        if len(example.predicted) != len(example.gold):
            raise UserError("line {}: has not as many predicted as gold tags. {}".format(row + 1, AGAIN))
        for place, names in (
            (HITS, [gold for gold, predicted in zip(example.gold, example.predicted) if gold == predicted]),
            (PREDICTED, example.predicted),
            (GOLD, example.gold),
        ):
            np.add.at(counts[row, place], [ids[name] for name in names], 1)
    return counts


def _all_tags(examples: Sequence[Evaluated], labels: Sequence[str]) -> List[str]:
    """The tags of the run and those that the dev file alone has, in the same order for all runs."""
    return sorted({*labels, *(tag for example in examples for tag in [*example.gold, *example.predicted])})


def _whole_sentences(examples: Sequence[Evaluated]) -> np.ndarray:
    return np.array([list(each.gold) == list(each.predicted) for each in examples], np.float64)


def _plain(examples: Sequence[Evaluated], labels: Sequence[str]) -> Counts:
    counts = _tag_counts(examples, _all_tags(examples, labels))
    metrics = {"accuracy": Counted(_together(counts), _share), "macro_f1": Counted(counts, _macro_f1)}
    return Counts(metrics, _whole_sentences(examples), True)


def _bio(examples: Sequence[Evaluated], labels: Sequence[str]) -> Counts:
    tags = _all_tags(examples, labels)
    types = sorted({schemes.split_tag(tag)[1] for tag in tags if tag != schemes.OUTSIDE})
    counts = _entity_counts(examples, types, schemes.entities)
    strict = _entity_counts(examples, types, schemes.strict_entities)
    metrics = {
        "f1": Counted(_together(counts), _f1),
        "precision": Counted(_together(counts), _precision),
        "recall": Counted(_together(counts), _share),
        "macro_f1": Counted(counts, _macro_f1),
        "strict_f1": Counted(_together(strict), _f1),
        "accuracy": Counted(_together(_tag_counts(examples, tags)), _share),
    }
    return Counts(metrics, _whole_sentences(examples), True)


def _answers(examples: Sequence[Evaluated], labels: Sequence[str]) -> Counts:
    scores = [each.scores or {} for each in examples]
    if any(set(of_one) != {"f1", "exact_match"} for of_one in scores):
        raise UserError("its lines have no scores f1 and exact_match. {}".format(AGAIN))
    shares = {name: np.array([of_one[name] for of_one in scores]) for name in ("f1", "exact_match")}
    metrics = {name: Counted(_of_shares(values), _share) for name, values in shares.items()}
    return Counts(metrics, shares["exact_match"], True)


KINDS: Dict[str, Callable[[Sequence[Evaluated], Sequence[str]], Counts]] = {
    "single": _single,
    "multi": _multi,
    "regression": _regression,
    "bio": _bio,
    "plain": _plain,
    "spans": _answers,
}


def counted(kind: str, examples: Sequence[Evaluated], labels: Sequence[str]) -> Counts:
    """The metrics of a run of this kind, one of KINDS. Raises UserError for predictions that cannot be counted."""
    try:
        return KINDS[kind](examples, labels)
    except UserError:
        raise
    except (TypeError, ValueError, KeyError, AttributeError):
        raise UserError("its lines are not those of a run of this kind ({}). {}".format(kind, AGAIN)) from None


class OtherScore(NamedTuple):
    """A score that the evaluation wrote and that its predictions do not have."""

    name: str
    value: float  # that of the predictions
    written: float


def other_score(counts: Counts, scores: Dict[str, Any], suffix: str = "") -> Optional[OtherScore]:
    """The first score that predictions do not have, so that they are of another evaluation; None if all agree.

    scores: eval_results.json. suffix: of a further dev file.
    """
    for name, counted in counts.metrics.items():
        written = scores.get(name + suffix)
        value = float(counted.value(counted.counts.sum(axis=0)))
        if isinstance(written, float) and abs(written - value) > _SCORE_ROUNDING:
            return OtherScore(name, value, written)
    return None
