"""step → learning rate, in NumPy float64, the same on every TensorFlow.

The update from step t to t+1 uses the rate of step t. A graph looks rates up in a table made here; plateau alone is
multiplied besides, by a factor that depends on dev scores (`reduced`).
t step · n warm-up · T horizon, all in updates.
"""

from dataclasses import dataclass
from typing import Callable, Dict, NamedTuple, Tuple

import numpy as np


@dataclass(frozen=True)
class ScheduleConfig:
    """The numbers of a schedule. learning_rate is the peak; steps are completed updates.

    decay_begin: "zero": decay is anchored at step 0, so that the peak is not reached after a warm-up (the numbers of
        google-research/bert); "warmup_end": it starts from the peak when warm-up ends, and still ends at the horizon.
    decay_cycle: of polynomial; begins again after the horizon, which is stretched each time.
    lr_boundaries, lr_values: of piecewise; steps, and one rate more.
    """

    learning_rate: float
    num_warmup_steps: int
    lr_decay_steps: int  # the horizon
    end_learning_rate: float = 0.0
    decay_power: float = 1.0
    lr_schedule: str = "polynomial"
    decay_begin: str = "zero"
    decay_cycle: bool = False
    lr_boundaries: Tuple[int, ...] = ()
    lr_values: Tuple[float, ...] = ()


def constant(config: ScheduleConfig, steps: np.ndarray, horizon: float) -> np.ndarray:
    """peak"""
    return np.full_like(steps, config.learning_rate)


def polynomial(config: ScheduleConfig, steps: np.ndarray, horizon: float) -> np.ndarray:
    """(peak - end) · (1 - min(t, T) / T)^power + end, as tf.train.polynomial_decay; linear where power is 1.

    With decay_cycle, T is the first multiple of the horizon that is not below t.
    """
    if config.decay_cycle:
        progress = steps / (horizon * np.maximum(np.ceil(steps / horizon), 1.0))
    else:
        progress = np.minimum(steps / horizon, 1.0)
    return (config.learning_rate - config.end_learning_rate) * (
        1.0 - progress
    ) ** config.decay_power + config.end_learning_rate


def cosine(config: ScheduleConfig, steps: np.ndarray, horizon: float) -> np.ndarray:
    """(peak - end) · (1 + cos(π · min(t, T) / T)) / 2 + end. Loshchilov and Hutter, https://arxiv.org/abs/1608.03983."""
    progress = np.minimum(steps / horizon, 1.0)
    half = 0.5 * (config.learning_rate - config.end_learning_rate)
    return half * (1.0 + np.cos(np.pi * progress)) + config.end_learning_rate


def exponential(config: ScheduleConfig, steps: np.ndarray, horizon: float) -> np.ndarray:
    """peak · (end / peak)^(min(t, T) / T): the same factor every step. end is above 0."""
    progress = np.minimum(steps / horizon, 1.0)
    return config.learning_rate * (config.end_learning_rate / config.learning_rate) ** progress


def inverse_sqrt(config: ScheduleConfig, steps: np.ndarray, horizon: float) -> np.ndarray:
    """peak · √(n / t) from the end of warm-up; n is 1 where there is none. Vaswani et al., section 5.3,
    https://arxiv.org/abs/1706.03762, in units of the peak. It has no horizon.
    """
    warmup = max(config.num_warmup_steps, 1)
    return config.learning_rate * np.sqrt(warmup / np.maximum(steps, warmup))


def piecewise(config: ScheduleConfig, steps: np.ndarray, horizon: float) -> np.ndarray:
    """values[i], where i boundaries are below t, as tf.train.piecewise_constant. It has no horizon."""
    return np.asarray(config.lr_values)[np.searchsorted(np.asarray(config.lr_boundaries), steps, side="left")]


Schedule = Callable[[ScheduleConfig, np.ndarray, float], np.ndarray]

SCHEDULES: Dict[str, Schedule] = {
    "constant": constant,
    "cosine": cosine,
    "exponential": exponential,
    "inverse_sqrt": inverse_sqrt,
    "piecewise": piecewise,
    "plateau": constant,  # until dev says otherwise
    "polynomial": polynomial,
}
WITH_HORIZON = ("cosine", "exponential", "polynomial")
DECAY_BEGINS = ("zero", "warmup_end")


def learning_rates(config: ScheduleConfig, steps: np.ndarray) -> np.ndarray:
    """The rate of each step, any shape. Warm-up: step t < n gives peak · t / n, then the schedule.

    With decay_begin "zero", the schedule is that of t and T, whatever the warm-up: after n of T steps a linear decay
    stands at (1 - n/T) · peak. With "warmup_end" it is that of t - n and T - n.
    """
    steps = np.asarray(steps, dtype=np.float64)
    begin = config.num_warmup_steps if config.decay_begin == "warmup_end" else 0
    shifted = steps - begin if config.lr_schedule in WITH_HORIZON else steps
    horizon = max(config.lr_decay_steps - begin, 1)
    decayed = SCHEDULES[config.lr_schedule](config, np.maximum(shifted, 0.0), float(horizon))
    warmup = config.learning_rate * steps / max(config.num_warmup_steps, 1)
    return np.where(steps < config.num_warmup_steps, warmup, decayed)


class Plateau(NamedTuple):
    """Where reduce-on-plateau stands after some evaluations; a larger score is better."""

    scale: float = 1.0  # of the rate
    best: float = float("-inf")
    evaluations: int = 0  # since the best, or since the last reduction


def reduced(state: Plateau, score: float, factor: float, patience: int, min_delta: float) -> Plateau:
    """After an evaluation: a score that is not better than the best by min_delta counts, and the patience-th such in a
    row multiplies the rate by the factor. As keras.callbacks.ReduceLROnPlateau.
    """
    if score > state.best + min_delta:
        return state._replace(best=score, evaluations=0)
    if state.evaluations + 1 < patience:
        return state._replace(evaluations=state.evaluations + 1)
    return state._replace(scale=state.scale * factor, evaluations=0)


def check(config: ScheduleConfig, num_train_steps: int) -> None:
    """Raises ValueError for numbers that make no schedule of so many steps, or one with a rate of 0 before its end."""
    for field, choices in (("lr_schedule", SCHEDULES), ("decay_begin", DECAY_BEGINS)):
        if getattr(config, field) not in choices:
            raise ValueError("{}={!r} is none of {}.".format(field, getattr(config, field), ", ".join(sorted(choices))))
    name, boundaries, values = config.lr_schedule, config.lr_boundaries, config.lr_values
    if name == "plateau":
        raise ValueError("lr_schedule='plateau' follows evaluations, which a function of the step does not see.")
    if num_train_steps < 1 or config.lr_decay_steps < 1 or config.num_warmup_steps < 0:
        raise ValueError("num_train_steps and lr_decay_steps are at least 1, num_warmup_steps at least 0.")
    if not (0.0 <= config.learning_rate < np.inf and 0.0 <= config.end_learning_rate <= config.learning_rate):
        raise ValueError("learning_rate is a number from 0, end_learning_rate from 0 to learning_rate.")
    if name == "exponential" and not config.end_learning_rate:
        raise ValueError("lr_schedule='exponential' never reaches 0: give an end_learning_rate above it.")
    rising = list(boundaries) == sorted(set(boundaries)) and len(values) == len(boundaries) + 1
    if name == "piecewise" and not (rising and min(values) > 0):
        raise ValueError("lr_schedule='piecewise': give rising lr_boundaries, and one more of lr_values, above 0.")
    ends = name in WITH_HORIZON and not config.decay_cycle and not config.end_learning_rate
    if ends and config.lr_decay_steps < num_train_steps:
        raise ValueError(
            "lr_decay_steps={} is shorter than num_train_steps={}: the rate would be 0 from there on. Raise it, or "
            "give an end_learning_rate.".format(config.lr_decay_steps, num_train_steps)
        )
