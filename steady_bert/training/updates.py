"""The updates of the session engine: how one is made, and how its numbers (loss, rate, gradient norm) are followed.

Whoever fetches a number waits for the device, which then waits for the next update. So the numbers of the last updates
are kept beside the weights, and several are fetched at once.
"""

import itertools
from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from .. import rule_optimizer
from ..base.errors import UserError
from . import devices, progress
from .engine_config import EngineConfig
from .feature_cache import RecordFile
from .plan import Plan
from .reports import say

_MOST_UPDATES = 100  # between two fetches, however rarely a run reports: a loss that is not finite has to be noticed


def require_traceable(config: EngineConfig, plan: Plan) -> None:
    """Raises UserError if the run ends before the updates to trace."""
    if config.profile_steps and config.profile_steps[1] > plan.num_train_steps:
        raise UserError(
            "--profile_steps={},{}: the run ends at step {}. Name steps that it makes.".format(
                *config.profile_steps, plan.num_train_steps
            )
        )


def step_runner(engine: Any, start: int) -> Callable[[int, List[bytes], List[float]], Tuple[Sequence[float], Any]]:
    """A function of (step, serialized examples, votes) that makes the update from `step`.

    It gives (the votes of all workers, of which there is none without several, the update's step_stats if it is one to
    trace).
    """
    first, last = engine.config.profile_steps or (0, -1)
    if 0 < last <= start:
        say("--profile_steps={},{}: the run is past these steps, so nothing is traced.".format(first, last))
    fetches = [engine.kept.keep, engine.training.get("votes", ())]
    run = engine.session.make_callable(fetches, feed_list=[engine.records, engine.votes])
    if devices.compute_form(engine.config) == "compiled":
        run = progress.saying_what_compiles(run)

    def run_step(step: int, serialized: List[bytes], votes: List[float]) -> Tuple[Sequence[float], Any]:
        if not (first <= step + 1 <= last and engine.link.is_chief):
            return run(serialized, votes)[1], None
        options, metadata = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE), tf.RunMetadata()
        feeds = {engine.records: serialized, engine.votes: votes}
        # The loss is fetched so that a GPU has done what is to be traced.
        (_, of_all), _ = engine.session.run([fetches, engine.training["loss"]], feeds, options, metadata)
        return of_all, metadata.step_stats

    return run_step


class Kept(NamedTuple):
    """The numbers of the last updates in a graph."""

    names: Tuple[str, ...]
    rows: tf.Tensor  # [N, names] float32, a row an update, the newest last
    keep: tf.Operation  # makes an update, and keeps its numbers


def kept(strategy: tf.distribute.Strategy, numbers: Dict[str, tf.Tensor]) -> Kept:
    """Keeps the numbers of the last updates. Call it in the strategy's scope.

    As many whatever --log_every_steps says: workers may differ in it, and have to make the same variables.
    """
    variable = tf.get_variable(
        "update_numbers",
        shape=[_MOST_UPDATES, len(numbers)],
        dtype=tf.float32,
        initializer=tf.zeros_initializer(),
        trainable=False,
        collections=[tf.GraphKeys.LOCAL_VARIABLES],  # in no checkpoint
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )
    rows = tf.identity(rule_optimizer.first_replica(strategy, variable))
    newest = tf.stack([tf.cast(number, tf.float32) for number in numbers.values()])
    moved_up = tf.concat([rows[1:], newest[None]], axis=0)
    keep = strategy.extended.update(variable, lambda v, new: v.assign(new, read_value=False), args=(moved_up,))
    return Kept(tuple(numbers), rows, keep)


class Followed:
    """The updates of a run whose numbers have not been read yet."""

    def __init__(
        self,
        kept: Kept,
        session: tf.Session,
        records: RecordFile,
        report: Any,
        log_every_steps: int,
        saved: Sequence[int],
    ) -> None:
        """saved: the steps of the checkpoint that the run goes on from and of the one before, if there are such."""
        self._names = kept.names
        self._fetch = session.make_callable(kept.rows)
        self._records = records
        self._report = report
        self._log_every_steps = log_every_steps
        self._examples: List[np.ndarray] = []  # of each update, the numbers of its examples
        self._saved = saved

    def add(self, step: int, examples: np.ndarray) -> None:
        """Notes the update that led to `step`, from these examples. Reads if it is time to report. Raises as `read`."""
        self._examples.append(examples)
        self._report.advance(step)
        if progress.due(step, self._log_every_steps) or len(self._examples) == _MOST_UPDATES:
            self.read(step)

    def read(self, step: int) -> None:
        """Reports the updates up to `step`. Raises UserError for the first whose loss or gradient is not finite."""
        if not self._examples:
            return
        with self._report.timed():
            rows = self._fetch()[-len(self._examples) :]
        for start, row, examples in zip(itertools.count(step - len(rows)), rows, self._examples):
            numbers = dict(zip(self._names, row.tolist()))
            progress.require_finite(numbers, start, self._records, examples, self._saved)
            self._report.update(start + 1, **numbers)
        self._examples = []
