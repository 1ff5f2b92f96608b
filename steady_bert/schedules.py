"""step → learning rate, in float64.

The update from step t to t+1 uses the rate of step t. NumPy computes the rates, the same on every TensorFlow, and a
graph looks them up (`rate_in_graph`). Only plateau is multiplied besides, by a factor that depends on dev scores
(`reduced`). `ops` is the namespace that computes: NumPy, or TensorFlow for runs whose table of rates would be large.
t step · n warm-up · T horizon, all in updates.
"""

from dataclasses import dataclass
from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

import numpy as np

from .base.deferred_tensorflow import tf
from .base.errors import UserError


@dataclass(frozen=True)
class ScheduleNumbers:
    """The numbers of a schedule, with the defaults of the command line. Its lengths in steps are in ScheduleConfig.

    learning_rate: the peak.
    end_learning_rate: where polynomial, cosine and exponential decay end; plateau goes no lower.
    decay_begin: "zero": decay is anchored at step 0, so that the peak is not reached after a warm-up (the numbers of
        google-research/bert); "warmup_end": it starts from the peak when warm-up ends, and still ends at the horizon.
    decay_cycle: polynomial decay begins again after the horizon, which is stretched each time.
    lr_boundaries, lr_values: the steps at which the rate of piecewise changes, and its rates: one more.
    plateau_factor, plateau_patience, plateau_min_delta: see `reduced`.
    """

    learning_rate: float = 5e-5
    end_learning_rate: float = 0.0
    decay_power: float = 1.0
    lr_schedule: str = "polynomial"
    decay_begin: str = "zero"
    decay_cycle: bool = False
    lr_boundaries: Tuple[int, ...] = ()
    lr_values: Tuple[float, ...] = ()
    plateau_factor: float = 0.1
    plateau_patience: int = 2
    plateau_min_delta: float = 4e-4


@dataclass(frozen=True)
class ScheduleConfig(ScheduleNumbers):
    """A schedule: a function of the step. Its lengths are in completed updates."""

    num_warmup_steps: int = 0
    lr_decay_steps: int = 0  # the horizon; the schedules WITH_HORIZON need one


def _where(ops: Any) -> Callable[..., Any]:
    return np.where if ops is np else ops.where_v2  # v1's own `where` is deprecated, and says so


def constant(config: ScheduleConfig, steps: Any, horizon: float, ops: Any) -> Any:
    """peak"""
    return config.learning_rate * ops.ones_like(steps)


def polynomial(config: ScheduleConfig, steps: Any, horizon: float, ops: Any) -> Any:
    """(peak - end) · (1 - min(t, T) / T)^power + end, as tf.train.polynomial_decay; linear where power is 1.

    With decay_cycle, T is the first multiple of the horizon that is not below t.
    """
    if config.decay_cycle:
        progress = steps / (horizon * ops.maximum(ops.ceil(steps / horizon), 1.0))
    else:
        progress = ops.minimum(steps / horizon, 1.0)
    return (config.learning_rate - config.end_learning_rate) * (
        1.0 - progress
    ) ** config.decay_power + config.end_learning_rate


def cosine(config: ScheduleConfig, steps: Any, horizon: float, ops: Any) -> Any:
    """(peak - end) · (1 + cos(π · min(t, T) / T)) / 2 + end. Loshchilov and Hutter, https://arxiv.org/abs/1608.03983."""
    progress = ops.minimum(steps / horizon, 1.0)
    half = 0.5 * (config.learning_rate - config.end_learning_rate)
    return half * (1.0 + ops.cos(np.pi * progress)) + config.end_learning_rate


def exponential(config: ScheduleConfig, steps: Any, horizon: float, ops: Any) -> Any:
    """peak · (end / peak)^(min(t, T) / T): the same factor every step. end is above 0."""
    progress = ops.minimum(steps / horizon, 1.0)
    return config.learning_rate * (config.end_learning_rate / config.learning_rate) ** progress


def inverse_sqrt(config: ScheduleConfig, steps: Any, horizon: float, ops: Any) -> Any:
    """peak · √(n / t) from the end of warm-up; n is 1 where there is none. Vaswani et al., section 5.3,
    https://arxiv.org/abs/1706.03762, in units of the peak. It has no horizon.
    """
    warmup = max(config.num_warmup_steps, 1)
    return config.learning_rate * ops.sqrt(warmup / ops.maximum(steps, float(warmup)))


def piecewise(config: ScheduleConfig, steps: Any, horizon: float, ops: Any) -> Any:
    """values[i], where i boundaries are below t, as tf.train.piecewise_constant. It has no horizon."""
    rate = config.lr_values[0] * ops.ones_like(steps)
    for boundary, value in zip(config.lr_boundaries, config.lr_values[1:]):
        rate = _where(ops)(steps > boundary, value * ops.ones_like(steps), rate)
    return rate


Schedule = Callable[[ScheduleConfig, Any, float, Any], Any]

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


def learning_rates(config: ScheduleConfig, steps: Any, ops: Any = np) -> Any:
    """The rate of each step, any shape. Warm-up: step t < n gives peak · t / n, then the schedule.

    With decay_begin "zero", the schedule is that of t and T, whatever the warm-up: after n of T steps a linear decay
    stands at (1 - n/T) · peak. With "warmup_end" it is that of t - n and T - n.
    """
    steps = np.asarray(steps, dtype=np.float64) if ops is np else ops.cast(steps, ops.float64)
    begin = config.num_warmup_steps if config.decay_begin == "warmup_end" else 0
    shifted = steps - begin if config.lr_schedule in WITH_HORIZON else steps
    horizon = max(config.lr_decay_steps - begin, 1)
    decayed = SCHEDULES[config.lr_schedule](config, ops.maximum(shifted, 0.0), float(horizon), ops)
    warmup = config.learning_rate * steps / max(config.num_warmup_steps, 1)
    return _where(ops)(steps < config.num_warmup_steps, warmup, decayed)


LARGEST_TABLE = 100000  # rates in a graph: 0.4 MB


def rate_in_graph(config: ScheduleConfig, step: Any, last_step: int) -> Any:
    """The rate of `step`, a scalar integer tensor, as a float32 tensor; beyond last_step, the rate of last_step.

    Up to LARGEST_TABLE rates stand in the graph, bitwise the same on every TensorFlow. A longer table would make the
    graph large (40 MB at 10⁷ steps), so then the graph computes the same equations in float64.
    """
    step = tf.minimum(tf.cast(step, tf.int64), last_step)
    if last_step < LARGEST_TABLE:
        return tf.gather(tf.constant(learning_rates(config, np.arange(last_step + 1)), tf.float32), step)
    return tf.cast(learning_rates(config, step, tf), tf.float32)


class Plateau(NamedTuple):
    """Where reduce-on-plateau stands after some evaluations; a larger score is better."""

    scale: float = 1.0  # of the rate
    best: float = float("-inf")
    evaluations: int = 0  # since the best, or since the last reduction


def reduced(state: Plateau, score: float, factor: float, patience: int, min_delta: float) -> Plateau:
    """The state after an evaluation. As keras.callbacks.ReduceLROnPlateau: the rate is multiplied by the factor after
    `patience` evaluations in a row whose scores do not beat the best one by min_delta.
    """
    if score > state.best + min_delta:
        return state._replace(best=score, evaluations=0)
    if state.evaluations + 1 < patience:
        return state._replace(evaluations=state.evaluations + 1)
    return state._replace(scale=state.scale * factor, evaluations=0)


# --- relations --------------------------------------------------------------------------------------------------------

# The numbers that only some schedules read. At its default a number counts as not given.
_READERS: Dict[str, Tuple[str, ...]] = {
    "end_learning_rate": ("cosine", "exponential", "plateau", "polynomial"),
    "decay_power": ("polynomial",),
    "decay_cycle": ("polynomial",),
    "decay_begin": WITH_HORIZON,
    "lr_boundaries": ("piecewise",),
    "lr_values": ("piecewise",),
    "plateau_factor": ("plateau",),
    "plateau_patience": ("plateau",),
    "plateau_min_delta": ("plateau",),
}


def check_numbers(config: ScheduleNumbers, dashes: str = "") -> None:
    """Raises UserError, which is a ValueError, for numbers that make no schedule of any length.

    dashes: "--" if the numbers were given as flags; the message names them so.
    """
    name, boundaries, values = config.lr_schedule, config.lr_boundaries, config.lr_values
    chosen = "{}lr_schedule={}".format(dashes, name)
    for field, choices in (("lr_schedule", tuple(SCHEDULES)), ("decay_begin", DECAY_BEGINS)):
        if getattr(config, field) not in choices:
            raise UserError(
                "{}{}={!r} is none of {}.".format(dashes, field, getattr(config, field), ", ".join(sorted(choices)))
            )
    for field, readers in _READERS.items():
        if getattr(config, field) != getattr(ScheduleNumbers, field):
            require_reader(config, field, readers, dashes)
    if not (0.0 <= config.learning_rate < np.inf and 0.0 <= config.end_learning_rate < np.inf):
        raise UserError("{0}learning_rate and {0}end_learning_rate are finite numbers from 0.".format(dashes))
    if name == "piecewise":
        if len(values) != len(boundaries) + 1 or not boundaries or list(boundaries) != sorted(set(boundaries)):
            raise UserError(
                "{0}: give {1}lr_boundaries as rising steps and {1}lr_values with one rate more, as 100,200 and "
                "5e-5,2e-5,1e-5; there are {2} and {3}.".format(chosen, dashes, len(boundaries), len(values))
            )
        if min(values) <= 0:
            raise UserError(
                "{}lr_values={}: nothing is learned at a rate of 0.".format(
                    dashes, ",".join("{:g}".format(value) for value in values)
                )
            )
    elif config.end_learning_rate > config.learning_rate:
        raise UserError(
            "{0}end_learning_rate={1:g} is above {0}learning_rate={2:g}. Lower it.".format(
                dashes, config.end_learning_rate, config.learning_rate
            )
        )
    if name == "exponential" and not config.end_learning_rate:
        raise UserError("{} never reaches 0: give an {}end_learning_rate above it.".format(chosen, dashes))


def require_reader(config: ScheduleNumbers, field: str, readers: Tuple[str, ...], dashes: str = "") -> None:
    """Raises UserError if the schedule is not one that reads the field."""
    if config.lr_schedule not in readers:
        raise UserError(
            "{0}{1}: {0}lr_schedule={2} does not read it. Leave it out, or choose {3}.".format(
                dashes, field, config.lr_schedule, " or ".join(readers)
            )
        )


def check_horizon(config: ScheduleNumbers, horizon: int, num_train_steps: int, dashes: str = "") -> Optional[str]:
    """A warning if decay ends before the run does. Raises UserError if the rate would be 0 from there on."""
    if horizon >= num_train_steps or config.lr_schedule not in WITH_HORIZON or config.decay_cycle:
        return None
    reached = "is {:g} from step {} to the end at step {}".format(config.end_learning_rate, horizon, num_train_steps)
    if not config.end_learning_rate:
        raise UserError(
            "{0}lr_decay_steps={1} is shorter than the run: the learning rate {2}, so nothing would be learned there. "
            "Raise {0}lr_decay_steps to {3}, lower {0}num_train_steps, or give {0}end_learning_rate.".format(
                dashes, horizon, reached, num_train_steps
            )
        )
    return "The learning rate {}, because {}lr_decay_steps={}.".format(reached, dashes, horizon)


def check(config: ScheduleConfig, num_train_steps: int) -> None:
    """Raises UserError, which is a ValueError, unless the schedule is a function of the step, above 0 until the end."""
    if config.lr_schedule == "plateau":
        raise UserError("lr_schedule='plateau' follows evaluations, which a function of the step does not see.")
    check_numbers(config)
    if num_train_steps < 1 or config.lr_decay_steps < 1 or config.num_warmup_steps < 0:
        raise UserError("num_train_steps and lr_decay_steps are at least 1, num_warmup_steps at least 0.")
    check_horizon(config, config.lr_decay_steps, num_train_steps)
