"""Where a run stands by what its folder says, while it trains or afterwards. Pure: no TensorFlow."""

import math
import os
import time
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..base.errors import UserError
from ..base.progress_bar import time_text
from ..base.progress_lines import duration
from ..run_report import contents
from ..training import checkpoint_files, run_files, run_status
from ..training.plan import Plan
from ..training.reports import METRICS_FILE
from ..training.run_files import Progress
from ..training.run_status import Status

Points = List[Tuple[float, float]]  # step and value

_SILENT_SECS = 60.0  # several signs of life are missing


class Standing(NamedTuple):
    """What the screen shows of a run."""

    name: str
    lines: List[str]  # where it stands, and its last numbers
    num_train_steps: int  # 0: it has no plan yet
    metric: str
    loss: Points
    dev_loss: Points
    score: Points  # of the metric on dev
    has_ended: bool


def standing_of(folder: str) -> Standing:
    """Reads a run's folder. Raises UserError if nothing is trained in it, and for a plan that cannot be read."""
    if not os.path.isdir(folder):
        raise UserError("{}: no such folder. Name the --output_dir of a run.".format(folder))
    plan = run_files.saved_plan(folder)
    if plan is None:
        return _prepared(folder)
    status, silent_secs = run_status.read(folder), _silent_secs(folder)
    progress = run_files.progress_of(folder)
    metric = str(plan.identity.get("best_metric"))
    score = points(progress.dev, metric)
    step = _step(folder, progress)
    if status is None:  # of a run by an older version
        status = Status(run_status.FINISHED if _made_its_steps(plan, progress, step) else run_status.TRAINING)
    parts = [_where(plan, progress, step, status), *_numbers(progress, metric, score)]
    if silent_secs is not None and not status.has_ended:
        parts.append("no sign of it for {}".format(duration(silent_secs)))
    elif status.state == run_status.TRAINING:
        parts += _time(folder, plan, progress, step)
    return Standing(
        name=_name(folder),
        lines=parts + contents.damage_in(progress),
        num_train_steps=plan.num_train_steps,
        metric=metric,
        loss=points(progress.train, "loss"),
        dev_loss=points(progress.dev, "loss"),
        score=score,
        has_ended=status.has_ended,
    )


def _prepared(folder: str) -> Standing:
    """A folder without a plan, in which a run may be about to begin."""
    status, silent_secs = run_status.read(folder), _silent_secs(folder)
    if status is None:
        raise UserError(
            "{}: has no plan.json, so nothing is trained here. Name the --output_dir of a run that trains.".format(
                folder
            )
        )
    lines = [" by ".join(filter(None, [status.state, status.reason])) + ", no plan yet"]
    if silent_secs is not None and not status.has_ended:
        lines.append("no sign of it for {}".format(duration(silent_secs)))
    return Standing(_name(folder), lines, 0, "", [], [], [], status.has_ended)


def _name(folder: str) -> str:
    return os.path.basename(os.path.abspath(folder))


def _silent_secs(folder: str) -> Optional[float]:
    """For how long a run has given no sign of life; None if it does, or if it is of a version that gives none."""
    try:
        secs = run_status.secs_since_sign(folder)
    except OSError:
        return None
    return secs if secs > _SILENT_SECS else None


def _step(folder: str, progress: Progress) -> int:
    """The last step that was reported or saved."""
    reported = [line["step"] for line in progress.train + progress.dev]
    return int(max([*reported, checkpoint_files.pointed_step(folder) or 0]))


def _made_its_steps(plan: Plan, progress: Progress, step: int) -> bool:
    return step >= plan.num_train_steps or contents.stopped_early(plan, progress)


def points(lines: Sequence[Dict[str, Any]], name: str) -> Points:
    """The finite values of a number over steps."""
    return [
        (line["step"], line[name])
        for line in lines
        if type(line.get(name)) in (int, float) and math.isfinite(line[name])
    ]


def _where(plan: Plan, progress: Progress, step: int, status: Status) -> str:
    total = plan.num_train_steps
    at = "step {:,} of {:,} ({:.0%})".format(step, total, step / total)
    if status.state == run_status.FINISHED:
        return "finished: {:,} steps".format(total) if step >= total else "stopped early at " + at
    if status.state == run_status.STOPPED:
        return "stopped by {} at {}: the same command goes on".format(status.reason, at)
    if status.state == run_status.FAILED:
        return "failed at {}: {}".format(at, status.reason)
    if status.state == run_status.PREPARING:
        return "preparing to go on from " + at
    if status.state != run_status.TRAINING:
        return "{} after {}".format(status.state, at)
    return at if step else "no report yet, {:,} steps".format(total)


def _numbers(progress: Progress, metric: str, score: Points) -> List[str]:
    numbers = []
    last = progress.train[-1] if progress.train else {}
    if points([last], "loss"):
        numbers.append("loss {:.4f}".format(last["loss"]))
    if score:
        at, best = max(score, key=lambda point: point[1])
        text = "{} {:.4f}".format(metric, score[-1][1])
        numbers.append(text + (" (best {:.4f} at step {:,})".format(best, at) if best > score[-1][1] else " (best)"))
    if points([last], "examples_per_sec"):
        numbers.append("{:,.0f} examples/s".format(last["examples_per_sec"]))
    peaks = points(progress.train, "peak_memory_bytes")
    return numbers + (["{:.2f} GB".format(max(peak for _, peak in peaks) / 1e9)] if peaks else [])


def _time(folder: str, plan: Plan, progress: Progress, step: int) -> List[str]:
    """How long the run has to go, evaluations included, and how old its last report is."""
    times = []
    left = secs_left(plan, progress, step)
    if left is not None:
        times.append(time_text(left) + " left")
    try:
        age = time.time() - os.path.getmtime(os.path.join(folder, METRICS_FILE))
    except OSError:
        return times
    event = "last report" if progress.train or progress.dev else "begun"
    return times + ["{} {} ago".format(event, duration(max(age, 0.0)))]


def secs_left(plan: Plan, progress: Progress, step: int) -> Optional[float]:
    """None if no report says how fast the run is."""
    rates = [rate for _, rate in points(progress.train[-5:], "examples_per_sec") if rate > 0]
    if not rates:
        return None
    evaluations = [secs for _, secs in points(progress.dev, "evaluation_secs")]
    secs = (plan.num_train_steps - step) * plan.train_batch_size * sum(1 / rate for rate in rates) / len(rates)
    if evaluations and plan.eval_every_steps:
        due = plan.num_train_steps // plan.eval_every_steps - step // plan.eval_every_steps
        secs += due * sum(evaluations) / len(evaluations)
    return secs
