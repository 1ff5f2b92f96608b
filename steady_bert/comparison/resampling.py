"""Is the difference of two runs on the same examples more than chance? Intervals and tests. Pure.

Everything is paired: both sides answered the same examples. The interval resamples examples with replacement (Efron and
Tibshirani 1993, percentiles); the randomization test swaps the two sides' answers to an example with probability 1/2,
which changes nothing if the sides do not differ (Noreen 1989; Yeh 2000 for F1).

Examples with equal counts are interchangeable, so how often each kind of them is drawn is drawn instead: the same
distribution, in a hundredth of the time.

N examples · U kinds of examples · K counts · R resamples
"""

import math
from typing import Callable, Iterator, List, NamedTuple, Sequence, Tuple

import numpy as np

from .measures import Counted, correlation, moments, ranks

_CHUNK = 1 << 21  # the most numbers that are drawn at once
_ROUNDING = 1e-9


class Paired(NamedTuple):
    """A metric of two sides, and how sure their difference is."""

    a: float
    b: float
    low: float  # the ends of the confidence interval of b - a
    high: float
    p_value: float  # two-sided, of the randomization test

    @property
    def difference(self) -> float:
        return self.b - self.a


class McNemar(NamedTuple):
    """The examples that one side alone has correct, and McNemar's exact test of them."""

    only_a: int
    only_b: int
    p_value: float


def paired(
    a: Sequence[Counted], b: Sequence[Counted], resamples: int, confidence: float, generator: np.random.Generator
) -> Paired:
    """Compares two sides, each of one or more runs on the same examples, by the means of their runs' scores.

    All predictions of an example stay together, so examples are what is sampled, however many runs there are.
    """
    slots = len(a) * len(b) // math.gcd(len(a), len(b))  # so many runs a side: each as often as its side needs
    of_a, of_b = ([side[number % len(side)].counts for number in range(slots)] for side in (a, b))
    shape = (slots, *of_a[0].shape[1:])
    joined = [np.stack(side, axis=1).reshape(len(side[0]), -1) for side in (of_a, of_b)]
    rows, times = np.unique(np.concatenate(joined, axis=1), axis=0, return_counts=True)
    rows_of_a, rows_of_b = np.split(rows, 2, axis=1)
    kinds = _Kinds(rows_of_a, rows_of_b, times)

    def values(sums: np.ndarray) -> np.ndarray:
        """Sums [..., slots · K] → the means of the runs' scores [...]."""
        return np.mean(a[0].value(sums.reshape(sums.shape[:-1] + shape)), axis=-1)

    at_a, at_b = values(times @ kinds.a), values(times @ kinds.b)
    shuffled = _randomized(kinds, values, resamples, generator)
    extreme = np.sum(np.abs(shuffled) >= abs(at_b - at_a) - _ROUNDING)
    if a[0].ranked is not None:
        differences = _ranked_differences(a, b, resamples, generator)
    else:
        differences = _bootstrapped(kinds, values, resamples, generator)
    tail = 50 * (1 - confidence)
    low, high = np.percentile(differences, [tail, 100 - tail])
    return Paired(float(at_a), float(at_b), float(low), float(high), float((1 + extreme) / (1 + resamples)))


class _Kinds(NamedTuple):
    """Examples by what they contribute."""

    a: np.ndarray  # [U, slots · K]
    b: np.ndarray
    times: np.ndarray  # [U]


def _chunks(resamples: int, width: int) -> Iterator[int]:
    """Numbers of resamples that add up to all of them."""
    most = max(1, _CHUNK // max(1, width))
    for start in range(0, resamples, most):
        yield min(most, resamples - start)


def _randomized(
    kinds: _Kinds, values: Callable[[np.ndarray], np.ndarray], resamples: int, generator: np.random.Generator
) -> np.ndarray:
    """[R] differences after the sides of each example were swapped, or not, by chance."""
    sums_a, sums_b = kinds.times @ kinds.a, kinds.times @ kinds.b
    differs = np.any(kinds.a != kinds.b, axis=1)
    moved, often = (kinds.b - kinds.a)[differs], kinds.times[differs]
    results: List[np.ndarray] = []
    for count in _chunks(resamples, max(moved.shape)):
        swapped = generator.binomial(often, 0.5, size=(count, len(often))) @ moved
        results.append(values(sums_b - swapped) - values(sums_a + swapped))
    return np.concatenate(results)


def _bootstrapped(
    kinds: _Kinds, values: Callable[[np.ndarray], np.ndarray], resamples: int, generator: np.random.Generator
) -> np.ndarray:
    """[R] differences in as many samples of the examples, drawn with replacement."""
    total = int(np.sum(kinds.times))
    results: List[np.ndarray] = []
    for count in _chunks(resamples, max(kinds.a.shape)):
        drawn = generator.multinomial(total, kinds.times / total, size=count)
        results.append(values(drawn @ kinds.b) - values(drawn @ kinds.a))
    return np.concatenate(results)


def _ranked_differences(
    a: Sequence[Counted], b: Sequence[Counted], resamples: int, generator: np.random.Generator
) -> np.ndarray:
    """[R] differences of rank correlations. The ranks are those within each sample."""
    (a_values, gold), (b_values, _) = _ranked(a), _ranked(b)
    total = gold.shape[-1]
    results: List[np.ndarray] = []
    for count in _chunks(resamples, total * (len(a) + len(b))):
        drawn = generator.integers(total, size=(count, total))
        of_gold = ranks(gold[drawn])[:, None]
        of_sides = []
        for side in (a_values, b_values):
            of_side = ranks(np.moveaxis(side[:, drawn], 0, 1))  # [R, runs, N]
            of_sides.append(np.mean(correlation(np.sum(moments(of_side, of_gold), axis=-2)), axis=-1))
        results.append(of_sides[1] - of_sides[0])
    return np.concatenate(results)


def _ranked(side: Sequence[Counted]) -> Tuple[np.ndarray, np.ndarray]:
    """(scores [runs, N], gold [N])."""
    pairs = [run.ranked for run in side if run.ranked is not None]
    return np.stack([predicted for predicted, _ in pairs]), pairs[0][1]


def mcnemar(a: np.ndarray, b: np.ndarray) -> McNemar:
    """The exact test (binomial, two-sided). a and b: [N], whether each example is correct."""
    import scipy.stats

    only_a, only_b = (int(np.sum(one & ~other)) for one, other in ((a, b), (b, a)))
    if not only_a + only_b:
        return McNemar(0, 0, 1.0)
    return McNemar(only_a, only_b, float(scipy.stats.binomtest(only_a, only_a + only_b, 0.5).pvalue))


class OverSeeds(NamedTuple):
    """Scores of several seeds a side, compared by Student's test on their differences, or Welch's on two samples."""

    shared: bool  # whether both sides have the same seeds, so that the runs are compared in pairs
    low: float  # the ends of the confidence interval of the mean difference
    high: float
    p_value: float


def over_seeds(a: Sequence[float], b: Sequence[float], shared: bool, confidence: float) -> OverSeeds:
    """Compares the scores of two settings, at least two seeds each; those of shared seeds in the same order.

    Scores without any spread say nothing of the spread that others would have: p is 1 then, and the interval infinite.
    """
    import scipy.stats

    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if shared:
        differences = second - first
        error, freedom = np.std(differences, ddof=1) / np.sqrt(len(differences)), len(differences) - 1.0
    else:
        parts = [np.var(side, ddof=1) / len(side) for side in (first, second)]
        error = np.sqrt(sum(parts))
        squares = sum(part**2 / (len(side) - 1) for part, side in zip(parts, (first, second)))
        freedom = error**4 / squares if squares else 1.0  # Welch-Satterthwaite
    mean = np.mean(second) - np.mean(first)
    if error < _ROUNDING:
        return OverSeeds(shared, float("-inf"), float("inf"), 1.0)
    p_value = 2 * scipy.stats.t.sf(abs(mean) / error, freedom)
    reach = scipy.stats.t.ppf((1 + confidence) / 2, freedom) * error
    return OverSeeds(shared, float(mean - reach), float(mean + reach), float(p_value))
