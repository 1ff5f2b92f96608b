"""step → learning rate, in NumPy float64, the same on every TensorFlow.

The update from step t to t+1 uses the rate of step t. A graph looks rates up in a table made here.
"""

from dataclasses import dataclass
from typing import Callable, Dict

import numpy as np


@dataclass(frozen=True)
class ScheduleConfig:
    """The numbers of a schedule. learning_rate is the peak; steps are completed updates."""

    learning_rate: float
    num_warmup_steps: int
    lr_decay_steps: int  # the horizon
    end_learning_rate: float = 0.0
    decay_power: float = 1.0


def polynomial(config: ScheduleConfig, steps: np.ndarray) -> np.ndarray:
    """(peak - end) · (1 - min(t, T) / T)^power + end, as tf.train.polynomial_decay; linear where power is 1."""
    progress = np.minimum(steps, config.lr_decay_steps) / config.lr_decay_steps
    return (config.learning_rate - config.end_learning_rate) * (
        1.0 - progress
    ) ** config.decay_power + config.end_learning_rate


def learning_rates(config: ScheduleConfig, steps: np.ndarray) -> np.ndarray:
    """The rate of each step, any shape. Warm-up: step t < n gives peak · t / n.

    Decay is anchored at step 0, as in google-research/bert: where warm-up ends after n of T steps, the rate is
    (1 - n/T) · peak, so the peak itself is not reached.
    """
    steps = np.asarray(steps, dtype=np.float64)
    warmup = config.learning_rate * steps / max(config.num_warmup_steps, 1)
    return np.where(steps < config.num_warmup_steps, warmup, SCHEDULES["polynomial"](config, steps))


SCHEDULES: Dict[str, Callable[[ScheduleConfig, np.ndarray], np.ndarray]] = {"polynomial": polynomial}
