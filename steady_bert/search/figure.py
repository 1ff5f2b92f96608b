"""The parallel coordinates of a search: an axis for each flag and one for the score, a line for each trial. Pure."""

import math
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..run_report import charts
from ..run_report.charts import Label
from . import results, space
from .results import Found, Trial

_APART, _TOP, _BOTTOM, _SIDE = 150.0, 34.0, 240.0, 70.0  # in the figure's own units
HEIGHT = 256.0
_MOST_LABELS = 12  # of an axis of single values


class Axis(NamedTuple):
    name: str
    at: float  # how far to the right
    labels: List[Label]  # at: how far down


class Line(NamedTuple):
    """points: of a polyline. share: from 0, the worst, to 1, the best."""

    points: str
    share: float
    end: str
    text: str  # what it stands for, in words


class Figure(NamedTuple):
    width: float
    height: float
    top: float
    bottom: float
    axes: List[Axis]
    lines: List[Line]


def figure(search: Found) -> Optional[Figure]:
    """None if no trial has a score. The best trial comes last, so that it is drawn over the others."""
    scored = [trial for trial in search.trials if trial.mean is not None]
    if not scored:
        return None
    columns = [[trial.setting[flag] for trial in scored] for flag in search.flags]
    placed = [_placed(values) for values in columns] + [_of_numbers([trial.mean or 0.0 for trial in scored])]
    names = [*search.flags, search.metric]
    axes = [
        Axis(name, _SIDE + number * _APART, labels) for number, (name, (_, labels)) in enumerate(zip(names, placed))
    ]
    lines = []
    for number in reversed(range(len(scored))):
        points = ["{:g},{:g}".format(axis.at, downs[number]) for axis, (downs, _) in zip(axes, placed)]
        share = 1.0 if len(scored) == 1 else 1 - number / (len(scored) - 1)
        lines.append(Line(" ".join(points), share, scored[number].end, _in_words(scored[number])))
    return Figure(2 * _SIDE + (len(axes) - 1) * _APART, HEIGHT, _TOP, _BOTTOM, axes, lines)


def _in_words(trial: Trial) -> str:
    parts = ["trial {}".format(trial.number), space.described(trial.setting), results.score(trial), results.note(trial)]
    return ": ".join(filter(None, [", ".join(parts[:2]), " ".join(filter(None, parts[2:]))]))


def _placed(values: Sequence[str]) -> Tuple[List[float], List[Label]]:
    """How far down each value of a flag is, and the labels of the axis. Few values are evenly apart."""
    numbers = [_number(value) for value in values]
    different = list(dict.fromkeys(values))
    known = [number for number in numbers if number is not None]
    if len(known) == len(values) and len(different) > _MOST_LABELS:
        return _of_numbers(known)
    if len(known) == len(values):
        different.sort(key=float)
    down: Dict[str, float] = {}
    for place, value in enumerate(different):
        share = 0.5 if len(different) == 1 else place / (len(different) - 1)
        down[value] = round(_BOTTOM - share * (_BOTTOM - _TOP), 1)
    every = math.ceil(len(different) / _MOST_LABELS)
    labels = [Label(down[value], value if len(value) <= 14 else value[:13] + "…") for value in different[::every]]
    return [down[value] for value in values], labels


def _number(text: str) -> Optional[float]:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _of_numbers(values: Sequence[float]) -> Tuple[List[float], List[Label]]:
    """How far down each number is, by logarithm if they span more than a power of ten, and the axis's labels."""
    by_logarithm = min(values) > 0 and max(values) / min(values) > 10
    scale: Callable[[float], float] = math.log10 if by_logarithm else float
    low, high = scale(min(values)), scale(max(values))
    room = (high - low) * 0.04 or abs(high) * 0.04 or 1.0
    low, high = low - room, high + room

    def down(value: float) -> float:
        return round(_BOTTOM - (scale(value) - low) / (high - low) * (_BOTTOM - _TOP), 1)

    if by_logarithm:
        powers = range(math.ceil(low), math.floor(high) + 1)
        ticks = [10.0**power for power in powers]
        if len(ticks) < 3:
            ticks = [digit * 10.0**power for power in range(math.floor(low), math.ceil(high)) for digit in (1, 2, 5)]
        ticks = [tick for tick in ticks if low <= math.log10(tick) <= high]
    else:
        ticks = charts.ticks(low, high, 4)
    return [down(value) for value in values], [Label(down(tick), charts.label_of(tick)) for tick in ticks]
