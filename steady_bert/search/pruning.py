"""The median rule: which runs of a search are stopped early, as a function of what the runs report. Pure.

A run is pruned at an evaluation if its best dev score so far is below the median of the scores that others had at the
same step (Golovin et al. 2017, Vizier, 3.5.1; in the form of Optuna's MedianPruner). The others are the runs of the
same seed and fold whose settings have lower numbers, at least `after` of them. What a pruned run reports later does
not count, and the evaluation at a run's end prunes nothing.

So each verdict follows from the curves alone. A run whose rivals are late goes on until they have come to its step; if
it then turns out to be pruned there, it is, whatever it has reported since. Kills, speeds and the number of runs at
once decide how long a run takes, never what becomes of it.

Early stopping changes nothing in this. The last evaluation before it is like any other, since nobody knew that it was
the last when it was judged; and at later steps the run has no score, so that it is nobody's rival there.
"""

import statistics
from typing import List, NamedTuple, Optional, Sequence, Tuple

Points = Sequence[Tuple[int, float]]  # (step, dev score), by step


class Curve(NamedTuple):
    """What a run has reported. is_whole: it will report nothing more. end: the step at which it ends by its plan."""

    points: Points
    is_whole: bool
    end: Optional[int] = None


class Verdict(NamedTuple):
    """pruned: the step at which the run is pruned. points: the reports that count; is_final: no others will.

    is_final also says whether a run that is not pruned stays so. waits: what becomes of the run at its last point
    depends on rivals that have not come there yet.
    """

    pruned: Optional[int]
    points: Points
    is_final: bool
    waits: bool = False


def verdicts(curves: Sequence[Curve], after: int) -> List[Verdict]:
    """The verdict on each run of one seed and fold. curves: in the order of the settings' numbers."""
    found: List[Verdict] = []
    for curve in curves:
        found.append(_verdict(curve, found, after))
    return found


def _verdict(curve: Curve, lower: Sequence[Verdict], after: int) -> Verdict:
    counted: List[Tuple[int, float]] = []
    for step, score in curve.points:
        counted.append((step, score))
        if curve.end is not None and step >= curve.end:
            continue
        if any(not other.is_final and not _has_passed(other, step) for other in lower):
            return Verdict(None, counted, False, waits=True)
        rivals = [value for other in lower for at, value in other.points if at == step]
        if len(rivals) >= after and max(value for _, value in counted) < statistics.median(rivals):
            return Verdict(step, counted, True)
    return Verdict(None, counted, curve.is_whole)


def _has_passed(verdict: Verdict, step: int) -> bool:
    """Whether no further report at the step will come."""
    return bool(verdict.points) and verdict.points[-1][0] >= step
