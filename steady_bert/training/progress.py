"""The decisions of a training loop between two updates, the same for both engines."""

import itertools
import signal
import threading
import time
from types import FrameType
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Union

import numpy as np

from .. import schedules
from ..base.errors import UserError
from .checkpoint import TrainingState
from .evaluation import Evaluation
from .feature_cache import RecordFile
from .plan import Plan
from .reports import NoReport, TrainingReport, say


def due(step: int, every: int) -> bool:
    return every > 0 and step > 0 and step % every == 0


def evaluation_due(plan: Plan, step: int, state: TrainingState) -> bool:
    """Whether to evaluate at `step`: every eval_every_steps and at the end, unless the state includes it already."""
    last = step >= plan.num_train_steps
    return (due(step, plan.eval_every_steps) or (last and plan.eval_every_steps > 0)) and state.evaluated_step < step


def stopped_early(state: TrainingState, patience: int) -> bool:
    return 0 < patience <= state.evaluations_without_improvement


def say_stopped_early(plan: Plan, metric: str) -> None:
    say("Early stopping: no better {} in {} evaluations.".format(metric, plan.early_stopping_patience))


class Evaluated(NamedTuple):
    state: TrainingState
    is_best: bool
    note: str  # for people


def evaluated(state: TrainingState, plan: Plan, step: int, score: float) -> Evaluated:
    """The state after an evaluation at `step`: best score, early stopping and plateau follow it."""
    is_best = score > state.best_score
    if is_best:
        state = state._replace(best_score=float(score), best_step=step, evaluations_without_improvement=0)
        note = "  (best so far)"
    else:
        state = state._replace(evaluations_without_improvement=state.evaluations_without_improvement + 1)
        note = "  (best {:.4f} at step {})".format(state.best_score, state.best_step)
    if plan.schedule.lr_schedule == "plateau":
        before = schedules.Plateau(state.plateau_scale, state.plateau_best, state.plateau_evaluations)
        after = schedules.reduced(
            before,
            float(score),
            plan.schedule.plateau_factor,
            plan.schedule.plateau_patience,
            plan.schedule.plateau_min_delta,
        )
        state = state._replace(**{"plateau_" + name: value for name, value in after._asdict().items()})
        if after.scale != before.scale:
            note += "  (learning rate × {:g} from here on)".format(plan.schedule.plateau_factor)
    return Evaluated(state._replace(evaluated_step=step), is_best, note)


class DevEvaluation(NamedTuple):
    """How an engine evaluates the dev split in the middle of training.

    evaluate(step) gives None if a signal cut it short: the resumed run evaluates again.
    keep_best(step) saves the weights that were just evaluated as the best checkpoint.
    """

    plan: Plan
    metric: str  # the task's, whose highest value is best
    evaluate: Callable[[int], Optional[Evaluation]]
    keep_best: Callable[[int], None]
    report: Union[TrainingReport, NoReport]


def evaluate_and_keep_best(dev: DevEvaluation, step: int, state: TrainingState) -> TrainingState:
    """The state after the evaluation at `step`; unchanged if a signal cut it short."""
    started = time.perf_counter()
    with dev.report.evaluating():
        evaluation = dev.evaluate(step)
    if evaluation is None:
        return state
    after = evaluated(state, dev.plan, step, evaluation.metrics[dev.metric])
    if after.is_best:
        dev.keep_best(step)
    dev.report.evaluation(step, evaluation.metrics, dev.metric, after.note, time.perf_counter() - started)
    return after.state


SCALING = ("loss_scale", "overflows")  # the numbers of an update in float16 alone
_IN_FLOAT16 = (
    "float16 holds nothing above 65504, and a smaller loss scale does not help here: go on in another format "
    "(--precision=bfloat16 or float32, with --allow_plan_change)"
)


def require_finite(
    result: Dict[str, Any],
    step: int,
    records: RecordFile,
    numbers: Optional[np.ndarray],
    saved: Sequence[int] = (),
) -> None:
    """Raises UserError if the loss or the gradient of the update from `step` is not finite.

    In float16, the gradient of an update that overflowed is not finite here if the loss scale was at its floor.

    numbers: the examples of the update, if they are known.
    saved: the steps of the checkpoint that the run went on from and of the one before, if there are such.
    """
    bad = [name for name in ("loss", "grad_norm") if not np.isfinite(result[name])]
    if bad:
        examples = ""
        if numbers is not None:
            lines = ", ".join(map(str, records.lines(numbers)))
            examples = " Its examples are at these lines of the training file: {}.".format(lines)
        back = ""
        if saved and step == saved[0]:
            back = (
                " If that does not help, the checkpoint itself is too far off: move model.ckpt-{}.* away, and the "
                "command goes on from step {}.".format(step, saved[1] if len(saved) > 1 else 0)
            )
        raise UserError(
            "The {} of the update from step {} is not finite ({}).{} Nothing was saved after step {}: {}lower "
            "--learning_rate, lengthen the warm-up, or look at these examples.{}".format(
                " and ".join(bad),
                step,
                result[bad[0]],
                examples,
                step,
                _IN_FLOAT16 + ". Or " if "loss_scale" in result else "",
                back,
            )
        )


class StopRequest:
    """Turns SIGTERM and SIGINT into a request that the loop obeys after its current step.

    The exit code is 128 + the signal's number: 143 and 130. Further signals while the state is saved change nothing.
    With several workers, perhaps only one of them gets the signal, but all have to stop at the same step: they stop
    once the sum of all workers' votes has elected it.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self, alone: bool = True) -> None:
        self._alone = alone
        self._received: Optional[int] = None
        self._elected: Optional[int] = None
        self._previous: Dict[int, Any] = {}

    @property
    def signal(self) -> Optional[int]:
        """The signal that the loop has to obey now."""
        return self._received if self._alone else self._elected

    @property
    def votes(self) -> List[float]:
        """A number for each of SIGNALS: 1 for the one that this process received."""
        return [float(self._received == number) for number in self.SIGNALS]

    def elect(self, votes: Sequence[float]) -> None:
        """votes: summed over the workers."""
        for number, count in zip(self.SIGNALS, votes):
            if count:
                self._elected = number

    @property
    def received(self) -> bool:
        """Whether this process received a signal: a long evaluation may be cut short."""
        return self._received is not None

    def _receive(self, number: int, frame: Optional[FrameType]) -> None:
        self._received = number

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._receive) for number in self.SIGNALS}
        return self

    def __exit__(self, *exception: Any) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def __bool__(self) -> bool:
        return self.signal is not None


def exit_if_stopped(stop: StopRequest, step: int, report: Union[TrainingReport, NoReport]) -> None:
    """Ends the process as the signal asks, if there was one; the run is saved at `step`."""
    if stop.signal is not None:
        report.say_last()
        say("Stopped by signal {} at step {}, saved. The same command continues.".format(stop.signal, step))
        raise SystemExit(128 + stop.signal)


_COMPILING_SECS = 1.0  # an update takes milliseconds on a GPU, a compilation seconds


def saying_what_compiles(run: Callable[..., Any]) -> Callable[..., Any]:
    """run, which says how long its updates took that had to wait for XLA."""
    updates = itertools.count(1)
    waits: List[float] = []
    usual = 0.0  # the shortest update; the first one always compiles

    def timed(*arguments: Any) -> Any:
        nonlocal usual
        started = time.perf_counter()
        result = run(*arguments)
        seconds, update = time.perf_counter() - started, next(updates)
        compiled = seconds > max(_COMPILING_SECS, 2.0 * usual)
        if update > 1:
            usual = min(usual or seconds, seconds)
        if compiled:
            waits.append(seconds)
            text = "XLA compiled for a new shape of batch: {:.1f} s, in update {} of this process; {:.1f} s so far."
            say(text.format(seconds, update, sum(waits)))
        return result

    return timed
