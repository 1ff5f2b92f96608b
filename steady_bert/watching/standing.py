"""Where a run stands by what its folder says, while it trains or afterwards. Pure: no TensorFlow."""

import math
import os
import time
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..base.errors import UserError
from ..base.progress_bar import time_text
from ..base.progress_lines import duration
from ..run_report import contents
from ..training import run_files
from ..training.plan import Plan
from ..training.reports import METRICS_FILE
from ..training.run_files import Progress

Points = List[Tuple[float, float]]  # step and value


class Standing(NamedTuple):
    """What the screen shows of a run."""

    name: str
    lines: List[str]  # where it stands, and its last numbers
    num_train_steps: int
    metric: str
    loss: Points
    dev_loss: Points
    score: Points  # of the metric on dev
    has_ended: bool


def standing_of(folder: str) -> Standing:
    """Reads a run's folder. Raises UserError if it holds no run, or a plan that cannot be read."""
    if not os.path.isdir(folder):
        raise UserError("{}: no such folder. Name the --output_dir of a run.".format(folder))
    plan = run_files.saved_plan(folder)
    if plan is None:
        raise UserError(
            "{}: has no plan.json, so no run has begun here. Name the --output_dir of a run.".format(folder)
        )
    progress = run_files.progress_of(folder)
    metric = str(plan.identity.get("best_metric"))
    score = points(progress.dev, metric)
    step = int(max((line["step"] for line in progress.train + progress.dev), default=0))
    has_ended = step >= plan.num_train_steps or contents.stopped_early(plan, progress)
    parts = [_where(plan, progress, step, has_ended), *_numbers(progress, metric, score)]
    if not has_ended:
        parts += _time(folder, plan, progress, step)
    return Standing(
        name=os.path.basename(os.path.abspath(folder)),
        lines=parts + contents.damage_in(progress),
        num_train_steps=plan.num_train_steps,
        metric=metric,
        loss=points(progress.train, "loss"),
        dev_loss=points(progress.dev, "loss"),
        score=score,
        has_ended=has_ended,
    )


def points(lines: Sequence[Dict[str, Any]], name: str) -> Points:
    """The finite values of a number over steps."""
    return [
        (line["step"], line[name])
        for line in lines
        if type(line.get(name)) in (int, float) and math.isfinite(line[name])
    ]


def _where(plan: Plan, progress: Progress, step: int, has_ended: bool) -> str:
    total = plan.num_train_steps
    if step >= total:
        return "finished: {:,} steps".format(total)
    text = "stopped early at step {:,} of {:,} ({:.0%})" if has_ended else "step {:,} of {:,} ({:.0%})"
    return (
        text.format(step, total, step / total) if progress.train or step else "no report yet, {:,} steps".format(total)
    )


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
