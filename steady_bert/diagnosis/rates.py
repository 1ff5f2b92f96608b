"""The learning rate around a step, by what says it: a plan, the training graph, or the rates in event files. Pure."""

from typing import Callable, Mapping, Optional, Sequence, Tuple

import numpy as np

from .. import schedules
from ..training.plan import Plan
from . import graph_rate
from .facts import LinearDecay, Rate
from .graph_rate import Node

_FARTHEST = 1 << 26  # steps; a rate that is above 0 there is not expected to end
_SAME = 1e-4  # relative: what float32 makes of a product of a few factors


def of_plan(plan: Plan, step: int, scale: float, source: str) -> Rate:
    """scale: that of plateau."""

    def at(number: int) -> float:
        return float(schedules.learning_rates(plan.schedule, np.array([number]))[0]) * scale

    decays = plan.schedule.lr_schedule in schedules.WITH_HORIZON and not plan.schedule.decay_cycle
    ends = decays and at(plan.schedule.lr_decay_steps) == 0
    return Rate(source, at(step - 1) if step else None, at(step), plan.schedule.lr_decay_steps if ends else None)


def of_graph(nodes: Mapping[str, Node], step: int, source: str) -> Optional[Rate]:
    """None if the graph has no schedule that is known, or one without a finite rate."""
    if graph_rate.rate_node(nodes) is None:
        return None

    def at(number: int) -> float:
        return graph_rate.rate_at(nodes, number) or 0.0

    if not np.all(np.isfinite([at(number) for number in (max(step - 1, 0), step)])):
        return None
    end = zero_from(at, step)
    linear = linear_decay(at, end) if end else None
    return Rate(source, at(step - 1) if step else None, at(step), end, linear)


def of_log(logged: Sequence[Tuple[int, float]], step: int, source: str) -> Optional[Rate]:
    """logged: (step, rate). None if nothing was logged up to the step.

    Two rates that fall to 0 on a line up to the step say that the next is 0 too; else the next is not known.
    """
    before = [rate for logged_step, rate in logged if logged_step <= step]
    if not before:
        return None
    return Rate(source, before[-1], 0.0 if before[-1] == 0 and len(before) > 1 else None)


def zero_from(at: Callable[[int], float], step: int) -> Optional[int]:
    """The first step from 1 on whose rate is 0; None if there is none. at: a rate that stays 0 once it is.

    The rate of step 0 is 0 in a warm-up.
    """
    high = max(step, 1)
    while at(high) > 0:
        high *= 2
        if high > _FARTHEST:
            return None
    low = 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if at(middle) > 0 else (low, middle)
    return high


def linear_decay(at: Callable[[int], float], horizon: int) -> Optional[LinearDecay]:
    """The numbers of a schedule with this horizon; None if it is not linear."""
    if horizon < 8:
        return None
    middle = horizon // 2
    peak = float("{:.5g}".format(at(middle) / (1 - middle / horizon)))

    def fits(step: int, warmup: int) -> bool:
        expected = peak * (step / warmup if step < warmup else 1 - step / horizon)
        return abs(at(step) - expected) <= _SAME * peak

    candidates = [0, 1]
    if at(1) > 0:
        candidates.append(int(round(peak / at(1))))
    for warmup in candidates:
        samples = {0, 1, warmup - 1, warmup, horizon // 4, middle, 3 * horizon // 4, horizon - 1}
        if 0 <= warmup <= middle and all(fits(step, warmup) for step in samples if step >= 0):
            return LinearDecay(peak, horizon, warmup)
    return None
