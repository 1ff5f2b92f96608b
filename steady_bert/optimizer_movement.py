"""How far an optimizer moves a weight in a run whose gradient never changes, and the rate that moves as far as another.

The measure is adamw with the numbers of google-research/bert: at 5e-5, with 10 % warm-up and linear decay over the same
updates. A rule that moves much less has hardly learned at the end, which no error shows. Pure: no TensorFlow.

What is not a number of the run is stated: the size of a gradient (sgd, momentum, nag, adagrad, adadelta and rmsprop
move by it) and that of a weight (lamb moves by it). Weight decay, the factors of single weights (--lr_multipliers,
--layerwise_lr_decay) and averages of the weights (--ema_decay) are left out: they act on every rule alike, or on none.
"""

import dataclasses
from typing import Callable, NamedTuple, Optional, Tuple

import numpy as np

from . import optimizers, schedules
from .base.errors import UserError
from .optimizer_config import OptimizerConfig, rule_of
from .optimizers import Rule
from .schedules import ScheduleConfig

# Of one weight. Chosen by trial: a global norm of 1 spread evenly over BERT-base's 10⁸ weights would be 1e-4, and at
# its rates sgd, momentum, nag, adagrad and rmsprop predicted one class on MRPC and SST-2 (docs/optimization.md).
GRADIENT = 1e-3
WEIGHT = 0.04  # root mean square of a kernel of the published BERT-base
LITTLE = 0.2  # of the measure: a run that moves less is warned about
WARMUP = 0.1  # share of the updates, in the measure
HIGHEST = 1e9  # a peak that is not reached: sgd's in one update is about 100 if nothing is clipped
MEASURE = "google-research/bert's adamw at {:g}".format(ScheduleConfig.learning_rate)


def reach(rule: Rule, steps: int, gradient: float = GRADIENT, weight: float = WEIGHT) -> np.ndarray:
    """[steps] float64: what each update has moved a weight at the end of the run, in units of its learning rate.

    The gradient is always `gradient`; `weight` is the size of the weight. With Lookahead, what was moved since the last
    synchronisation becomes α of it at each k-th update; what comes after the last one counts whole.
    """
    moved = rule.steady(gradient, np.arange(1, steps + 1, dtype=np.float64))
    if rule.trust_ratio:
        moved = moved * weight
    if rule.lookahead:
        every, alpha = rule.lookahead
        moved[: steps // every * every] *= alpha
    return moved


def measure(steps: int) -> float:
    """The movement of google-research/bert's adamw in so many updates."""
    schedule = ScheduleConfig(num_warmup_steps=int(steps * WARMUP), lr_decay_steps=steps)
    return float(np.sum(schedules.learning_rates(schedule, np.arange(steps)) * reach(optimizers.adamw(), steps)))


class Movement(NamedTuple):
    """A run's movement beside the measure.

    share: of the measure; 0 if the rule does not move.
    rate: the peak that moves as far, to three digits; None if none does: the rule does not move, or --end_learning_rate
        alone moves farther, or is the rate of all updates in which the rule moves.
    """

    share: float
    rate: Optional[float]


def of_run(config: OptimizerConfig, schedule: ScheduleConfig, steps: int) -> Movement:
    """What the optimizer moves in `steps` updates under the schedule."""
    moved = reach(rule_of(config), steps, GRADIENT * min(config.clip_norm or 1.0, 1.0))
    aim = measure(steps)

    def share_at(peak: float) -> float:
        curve = schedules.learning_rates(dataclasses.replace(schedule, learning_rate=peak), np.arange(steps))
        return float(np.sum(curve * moved)) / aim

    share, end = share_at(schedule.learning_rate), schedule.end_learning_rate
    if not share:
        return Movement(0.0, None)
    if not end or schedule.lr_schedule == "plateau":  # all rates grow as the peak does
        return Movement(share, rounded(schedule.learning_rate / share))
    if share_at(end) > 1.0 or share_at(HIGHEST) < 1.0:
        return Movement(share, None)
    return Movement(share, rounded(_crossing(share_at, end, HIGHEST)))


def _crossing(share_at: Callable[[float], float], low: float, high: float) -> float:
    """The peak between low and high at which the rising share is 1."""
    while high / low > 1.0 + 1e-6:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if share_at(middle) < 1.0 else (low, middle)
    return high


def rounded(rate: float) -> float:
    """Three digits: what the last bits of a machine's powers are does not decide a rate."""
    return float("{:.3g}".format(rate))


def automatic_rate(config: OptimizerConfig, schedule: ScheduleConfig, steps: int) -> float:
    """The number that --learning_rate=auto stands for. Raises UserError where there is none."""
    share, rate = of_run(config, schedule, steps)
    if rate is None and not share:
        raise UserError(
            "--learning_rate=auto: {} moves nothing in {} updates, whatever the rate. Raise --num_train_steps or lower "
            "--num_warmup_steps.".format(_name(config), steps)
        )
    if rate is None:
        raise UserError(
            "--learning_rate=auto: --end_learning_rate={:g} moves {} {} {}, whatever the peak. {} it, or give the rate "
            "as a number.".format(
                schedule.end_learning_rate,
                _name(config),
                "farther than" if share > 1.0 else "less far than",
                MEASURE,
                "Lower" if share > 1.0 else "Raise",
            )
        )
    return rate


def describe(
    config: OptimizerConfig, schedule: ScheduleConfig, steps: int, begun: bool = False
) -> Tuple[str, Optional[str]]:
    """(a line of the plan, a warning if the run moves little). begun: it has a checkpoint, and so keeps its rate."""
    share, rate = of_run(config, schedule, steps)
    factor = "{:.3g}".format(1.0 / share) if share else ""
    if rate is None and share:
        remedy, other = "Raise --end_learning_rate.", ""
    elif rate is None:
        remedy, other = "Raise --num_train_steps, or lower --num_warmup_steps.", ""
    elif schedule.lr_schedule == "piecewise":
        remedy, other = "Multiply --lr_values by {}.".format(factor), "--lr_values × {} moves as far".format(factor)
    else:
        remedy = "Give --learning_rate={:g}, or auto{}.".format(rate, ", to a run in another folder" if begun else "")
        other = "--learning_rate={:g} moves as far".format(rate)
    along = "along a steady gradient" + (
        " of {:g}, by which {} moves: compare other rates too".format(GRADIENT, _name(config))
        if _moves_by_the_gradient(config, steps)
        else ""
    )
    if rate == schedule.learning_rate:
        return "movement: as far as {}, {}".format(MEASURE, along), None
    line = "movement: {:.3g} × that of {}, {}".format(share, MEASURE, along)
    line += "; " + other if other else ""
    if share > LITTLE * (1.0 - 1e-9):
        return line, None
    return (
        line,
        "{} at this rate moves the weights {:.2g} × as far as {} in {:,} updates: little is learned. {}".format(
            _name(config), share, MEASURE, steps, remedy
        ),
    )


def _moves_by_the_gradient(config: OptimizerConfig, steps: int) -> bool:
    """Whether a gradient of twice the size moves a weight about twice as far; those of Adam's family ≤ 1.3 times."""
    once, twice = (float(np.sum(reach(rule_of(config), steps, size))) for size in (GRADIENT, 2.0 * GRADIENT))
    return twice > 1.5 * once


def _name(config: OptimizerConfig) -> str:
    return "lookahead({})".format(config.optimizer) if config.lookahead_steps else config.optimizer
