"""Two sides → everything that is known of their difference: by seed, pooled, by example, and a verdict. Pure."""

import statistics
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..base.errors import UserError
from . import resampling, sides
from .measures import Counted, Counts
from .resampling import McNemar, OverSeeds, Paired
from .sides import Difference, Run, Side


class Settings(NamedTuple):
    """How a comparison is made."""

    resamples: int = 10_000
    confidence: float = 0.95  # a difference counts from p ≤ 1 - confidence
    metric: Optional[str] = None  # that the verdict is about; None: the run's best_metric
    examples: int = 20  # how many changed examples are shown for each direction
    seed: int = 0  # of the resampling
    suffix: str = ""  # of a further dev file


class OfMetric(NamedTuple):
    """A metric of both sides."""

    name: str
    a: List[float]  # of each run, in the order of seeds
    b: List[float]
    by_seed: Dict[int, Paired]  # of the seeds that both sides have
    pooled: Paired  # all runs of a side together, over examples
    seeds: Optional[OverSeeds]  # over seeds; None unless each side has two


class Flip(NamedTuple):
    """An example on which the sides differ. The predictions are those of each seed."""

    id: str
    line: int
    texts: List[str]
    gold: Any
    a: List[Any]
    b: List[Any]
    change: float  # in the share of seeds that are correct; for scores, the drop of the mean absolute error


class Flips(NamedTuple):
    """The examples that changed: how many, and those that changed most."""

    better_count: int
    worse_count: int
    better: List[Flip]
    worse: List[Flip]


class Verdict(NamedTuple):
    answer: str  # same predictions, one setting, different, not shown to differ
    text: str


class Comparison(NamedTuple):
    """What is known of the difference between side a, the baseline, and side b."""

    a: Side
    b: Side
    settings: Settings
    examples: int
    left_out: int  # examples that not all runs have
    main: str  # the metric that the verdict is about
    metrics: List[OfMetric]
    mcnemar: Optional[McNemar]  # None unless each side has one run, whose predictions are correct or wrong
    flips: Flips
    differences: List[Difference]
    verdict: Verdict


def compare(a: Side, b: Side, settings: Settings) -> Comparison:
    """Compares two sides. Raises UserError for runs that cannot be compared."""
    of_a, of_b = ([sides.counts_of(run) for run in side.runs] for side in (a, b))
    for side, counts in ((a, of_a), (b, of_b)):
        for run, of_run in zip(side.runs, counts):
            sides.require_own_scores(run, of_run, settings.suffix)
    (a, b), left_out = sides.aligned([a, b])
    if left_out:
        of_a, of_b = ([sides.counts_of(run) for run in side.runs] for side in (a, b))
    main = _main_metric(a, of_a[0], settings)
    names = [main] + [name for name in of_a[0].metrics if name != main]
    metrics = [_of_metric(name, a, b, of_a, of_b, settings) for name in names]
    single = len(of_a) == len(of_b) == 1 and of_a[0].has_wrong
    mcnemar = resampling.mcnemar(of_a[0].goodness == 1, of_b[0].goodness == 1) if single else None
    different = sides.differences(*_pair(a, b))
    return Comparison(
        a=a,
        b=b,
        settings=settings,
        examples=len(a.runs[0].examples),
        left_out=left_out,
        main=main,
        metrics=metrics,
        mcnemar=mcnemar,
        flips=_flips(a, b, of_a, of_b, settings.examples),
        differences=different,
        verdict=_verdict(a, b, metrics[0], any(each.is_setting for each in different), settings),
    )


def _pair(a: Side, b: Side) -> Tuple[Run, Run]:
    """A run of each side, of the same seed if there is one, so that the seed is no difference."""
    of_seeds = {run.seed: run for run in reversed(b.runs)}
    return next(((run, of_seeds[run.seed]) for run in a.runs if run.seed in of_seeds), (a.runs[0], b.runs[0]))


def _main_metric(side: Side, counts: Counts, settings: Settings) -> str:
    known = list(counts.metrics)
    if settings.metric is None:
        best = side.runs[0].plan.identity.get("best_metric")
        return best if best in known else known[0]
    if settings.metric not in known:
        raise UserError("--metric={}: these runs have {}.".format(settings.metric, ", ".join(known)))
    return settings.metric


def _of_metric(
    name: str, a: Side, b: Side, of_a: Sequence[Counts], of_b: Sequence[Counts], settings: Settings
) -> OfMetric:
    """Each number has random numbers of its own seed, so that no other number of the command moves it."""
    first, second = ([counts.metrics[name] for counts in side] for side in (of_a, of_b))

    def paired(one: Sequence[Counted], other: Sequence[Counted]) -> Paired:
        generator = np.random.default_rng(settings.seed)
        return resampling.paired(one, other, settings.resamples, settings.confidence, generator)

    scores = [[float(run.value(run.counts.sum(axis=0))) for run in side] for side in (first, second)]
    shared = [seed for seed in a.seeds if seed in b.seeds]
    by_seed = {seed: paired([first[a.seeds.index(seed)]], [second[b.seeds.index(seed)]]) for seed in shared}
    over_seeds = None
    if min(len(first), len(second)) > 1:
        over_seeds = resampling.over_seeds(scores[0], scores[1], a.seeds == b.seeds, settings.confidence)
    return OfMetric(name, scores[0], scores[1], by_seed, paired(first, second), over_seeds)


def _flips(a: Side, b: Side, of_a: Sequence[Counts], of_b: Sequence[Counts], most: int) -> Flips:
    goodness_a, goodness_b = (np.mean([counts.goodness for counts in side], axis=0) for side in (of_a, of_b))
    change = goodness_b - goodness_a
    order = np.argsort(-np.abs(change), kind="stable")

    def flip(number: int) -> Flip:
        example = a.runs[0].examples[number]
        of_a, of_b = ([run.examples[number].predicted for run in side.runs] for side in (a, b))
        return Flip(example.id, example.line, example.texts, example.gold, of_a, of_b, float(change[number]))

    better, worse = order[change[order] > 0], order[change[order] < 0]
    return Flips(
        len(better), len(worse), [flip(number) for number in better[:most]], [flip(number) for number in worse[:most]]
    )


# --- the verdict ------------------------------------------------------------------------------------------------------


def _verdict(a: Side, b: Side, metric: OfMetric, settings_differ: bool, settings: Settings) -> Verdict:
    limit = 1 - settings.confidence
    if not settings_differ:
        return Verdict("one setting", _of_one_setting(a, b, metric, limit))
    if len(a.runs) == len(b.runs) and all(map(same_predictions, a.runs, b.runs)):
        return Verdict("same predictions", "The sides predict the same of every example.")
    p_value = metric.pooled.p_value
    facts = "{} {:+.4f}, {} over".format(metric.name, metric.pooled.difference, shown_p(p_value))
    if metric.seeds is None:
        facts += " {:,} examples.".format(len(a.runs[0].examples))
        facts += " That is of these models: chance in training is not in it. Compare several seeds a side."
    else:
        p_value = metric.seeds.p_value
        facts += " examples and {} over seeds, which decides.".format(shown_p(p_value))
    if p_value > limit:
        return Verdict("not shown to differ", "No difference is shown: " + facts)
    return Verdict("different", "They differ: " + facts)


def _of_one_setting(a: Side, b: Side, metric: OfMetric, limit: float) -> str:
    if a.seeds == b.seeds:
        text = "One setting with the same seeds: "
        if all(map(same_predictions, a.runs, b.runs)):
            return text + "the sides predict the same of every example."
        return text + "predictions differ, as by another TensorFlow, processor, number of threads or code."
    scores = dict(zip(a.seeds + b.seeds, metric.a + metric.b))
    text = "One setting: nothing but the seed differs."
    if len(scores) > 1:
        text += " Over its {} seeds, {} is {:.4f} ± {:.4f}.".format(
            len(scores), metric.name, statistics.mean(scores.values()), statistics.stdev(scores.values())
        )
    chance = "more" if metric.pooled.p_value <= limit else "no more"
    models = " The models of the two sides differ by {:+.4f}, {} than chance among the examples explains ({})."
    return text + models.format(metric.pooled.difference, chance, shown_p(metric.pooled.p_value))


def shown_p(p_value: float) -> str:
    return "p < 0.001" if p_value < 0.001 else "p = {:.3f}".format(p_value)


def same_predictions(a: sides.Run, b: sides.Run) -> bool:
    return [example.predicted for example in a.examples] == [example.predicted for example in b.examples]


def as_json(comparison: Comparison) -> Dict[str, Any]:
    """Everything in a comparison, as JSON has it; the runs by their folders."""
    fields = comparison._asdict()
    value: Dict[str, Any] = {name: _plain(field) for name, field in fields.items() if name not in ("a", "b")}
    for name, side in (("a", comparison.a), ("b", comparison.b)):
        runs = [{"folder": run.folder, "seed": run.seed, "step": run.step} for run in side.runs]
        value[name] = {"name": side.name, "runs": runs}
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        fields = {name: _plain(item) for name, item in value._asdict().items()}
        return dict(fields, difference=value.difference) if isinstance(value, Paired) else fields
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def scores_of_seeds(values: Sequence[float]) -> Tuple[float, Optional[float]]:
    """(mean, standard deviation; None for a single one)."""
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None
