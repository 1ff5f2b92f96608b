"""A run's folder → what its page says: what was trained on what, where it stands, figures, dev scores, data. Pure."""

import os
import shlex
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..base import files, json_files
from ..base.errors import UserError
from ..schedules import WITH_HORIZON
from ..training import checkpoint_files, manifest, run_files
from ..training import plan as plans
from ..training.plan import Plan
from ..training.run_files import Labels, Progress
from . import charts, dev_split, mistakes
from .charts import Chart
from .dev_split import DevSplit

Facts = List[Tuple[str, str]]

_KINDS = {
    "single": "one class a text",
    "multi": "several labels a text",
    "regression": "a score a text",
    "bio": "entities",
    "plain": "a tag a word",
    "spans": "answers to questions",
}
_MOST_LABELS = 30  # that are named


class Contents(NamedTuple):
    """What the page says. Figures are None where the run has no numbers for them."""

    name: str
    headline: str
    standing: str
    warnings: List[str]
    trained: Facts
    plan_lines: List[str]
    plan_notes: Facts
    rate: Optional[Chart]
    training: List[Chart]
    dev_scores: List[Chart]
    speed: str
    splits: List[DevSplit]
    calibrations: Dict[str, Chart]  # by the name of the split
    label_counts: List[List[str]]  # the header and a row for each label; empty if there are no counts
    lengths: Optional[Chart]
    cuts: List[str]
    data_report: str
    command: str
    command_note: str  # why the command alone does not repeat the run
    checkpoint: Optional[Tuple[str, str]]  # (name, sha256 of its index) of the newest that is listed
    history: List[List[str]]  # what each command did with the folder


def contents_of(folder: str) -> Contents:
    """Reads a run's folder. Raises UserError if it holds no run, or a file that cannot be read."""
    if not os.path.isdir(folder):
        raise UserError("{}: no such folder. Name the --output_dir of a run.".format(folder))
    plan = run_files.saved_plan(folder)
    if plan is None:
        raise UserError("{}: has no plan.json, so it is no run. Name the --output_dir of a run.".format(folder))
    labels, progress = run_files.labels_of(folder), run_files.progress_of(folder)
    results = _json(os.path.join(folder, run_files.RESULTS_FILE))
    data = _data_report(folder)
    splits = dev_split.splits_of(folder, results, labels)
    name = os.path.basename(os.path.abspath(folder))
    step = _step(folder, progress)
    lengths, cuts = _lengths(data)
    return Contents(
        name=name,
        headline=_headline(plan, results, splits),
        standing=_standing(plan, step, progress),
        warnings=list(plan.warnings) + damage_in(progress),
        trained=_trained(folder, plan, labels, data),
        plan_lines=list(plan.derivation),
        plan_notes=[(key, str(value)) for key, value in plan.notes.items()],
        rate=_rate(plan, step),
        training=_training(plan, progress),
        dev_scores=_dev_scores(plan, progress, results),
        speed=_speed(progress),
        splits=splits,
        calibrations={
            each.name: charts.reliability("Reliability on " + each.name, each.calibration.bins)
            for each in splits
            if each.calibration
        },
        label_counts=_label_counts(data),
        lengths=lengths,
        cuts=cuts,
        data_report=_text(os.path.join(folder, run_files.DATA_REPORT_TEXT)),
        command=_command(folder, labels),
        command_note=_command_note(folder),
        checkpoint=_checkpoint(folder),
        history=_history(folder),
    )


def _json(path: str) -> Dict[str, Any]:
    return json_files.read(path) if os.path.exists(path) else {}


def _text(path: str) -> str:
    return files.read_bytes(path).decode("utf-8", "replace").rstrip() if os.path.exists(path) else ""


def _data_report(folder: str) -> List[Dict[str, Any]]:
    """The splits in data_report.json; none for runs that began before it was written."""
    path = os.path.join(folder, run_files.DATA_REPORT_FILE)
    return json_files.read(path, run_files.DataReportFile)["splits"] if os.path.exists(path) else []


def damage_in(progress: Progress) -> List[str]:
    """A sentence on the damaged lines of metrics.jsonl, if there are any."""
    return ["metrics.jsonl: {:,} damaged lines are left out.".format(progress.damaged)] if progress.damaged else []


# --- where it stands --------------------------------------------------------------------------------------------------


def _step(folder: str, progress: Progress) -> int:
    """The step of the newest checkpoint, or the last that was reported."""
    pointed = checkpoint_files.pointed_step(folder)
    return pointed if pointed is not None else max([line["step"] for line in progress.train], default=0)


def _headline(plan: Plan, results: Dict[str, Any], splits: Sequence[DevSplit]) -> str:
    metric = str(plan.identity.get("best_metric"))
    if metric not in results:
        return "Not evaluated yet"
    step, count = results.get("global_step"), splits[0].examples if splits else results.get("examples", 0)
    if not isinstance(results[metric], (int, float)) or not isinstance(step, int):
        return "{} is not a number: training went wrong, or {} is damaged".format(metric, run_files.RESULTS_FILE)
    return "{} {:.4f} on {:,} dev examples, at step {:,}".format(metric, results[metric], count, step)


def _standing(plan: Plan, step: int, progress: Progress) -> str:
    total = plan.num_train_steps
    if step >= total:
        return "Finished: {:,} of {:,} steps.".format(step, total)
    if stopped_early(plan, progress):
        return "Stopped early at step {:,} of {:,}: no better {} in {} evaluations.".format(
            step, total, plan.identity.get("best_metric"), plan.early_stopping_patience
        )
    rate, factor = plans.rates(plan)[step], ", times plateau's factor" * (plan.schedule.lr_schedule == "plateau")
    text = "At step {:,} of {:,}; the next update has a rate of {:.3g}{}. The run's own command goes on."
    return text.format(step, total, rate, factor)


def stopped_early(plan: Plan, progress: Progress) -> bool:
    """Whether the run has ended before its last step, by what it reported."""
    metric = str(plan.identity.get("best_metric"))
    scores = [line[metric] for line in progress.dev if isinstance(line.get(metric), float)]
    if not scores or not plan.early_stopping_patience:
        return False
    return len(scores) - 1 - scores.index(max(scores)) >= plan.early_stopping_patience


# --- what was trained on what -----------------------------------------------------------------------------------------


def _trained(folder: str, plan: Plan, labels: Optional[Labels], data: Sequence[Dict[str, Any]]) -> Facts:
    flags, identity = run_files.given_flags(folder), plan.identity
    facts: Facts = []
    if labels is not None:
        facts.append(("task", "{} ({})".format(identity.get("task"), _KINDS.get(labels.kind, labels.kind))))
        shown = labels.labels[:_MOST_LABELS] + ["…"] * (len(labels.labels) > _MOST_LABELS)
        facts += [("labels", "{:,}: {}".format(len(labels.labels), ", ".join(shown)))] if shown else []
    else:
        facts.append(("task", str(identity.get("task"))))
    of_files = {each["split"]: "{:,} examples of {}".format(each["examples"], each["file"]) for each in data}
    of_files.setdefault("train", "{:,} examples".format(plan.examples))
    facts += list(of_files.items())
    facts += [("model", _model(identity.get("bert_config") or {})), ("initial weights", _initial(flags, plan))]
    optimizer = identity.get("optimizer") or {}
    shown_optimizer = "{}, weight decay {:g}, gradients clipped at {:g}".format(
        optimizer.get("optimizer"), optimizer.get("weight_decay_rate") or 0, optimizer.get("clip_norm") or 0
    )
    facts += [
        ("optimizer", shown_optimizer),
        ("batch", "{:,} examples".format(plan.train_batch_size)),
        ("precision", str(identity.get("precision"))),
        ("seed", str(plan.seed)),
    ]
    return facts


def _model(bert: Dict[str, Any]) -> str:
    names = ("num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size")
    if not all(isinstance(bert.get(name), int) for name in names):
        return "not known"
    return "BERT: {} × {}, {} heads, {:,} pieces".format(*(bert[name] for name in names))


def _initial(flags: Dict[str, str], plan: Plan) -> str:
    if plan.identity.get("init_checkpoint") == "from scratch":
        return "random"
    named = flags.get("init_checkpoint") or flags.get("model") or "not named"
    stage = plan.notes.get("stage")
    return named + (" (stage {})".format(stage) if stage else "")


# --- figures ----------------------------------------------------------------------------------------------------------


def _rate(plan: Plan, step: int) -> Optional[Chart]:
    curve = plans.rates(plan)
    every = max(1, len(curve) // 200)
    places = sorted({*range(0, len(curve), every), int(curve.argmax()), len(curve) - 1})
    points = [(place, float(curve[place])) for place in places]
    name = "learning rate" + " before plateau's factor" * (plan.schedule.lr_schedule == "plateau")
    end = plan.num_train_steps
    if plan.schedule.lr_schedule in WITH_HORIZON:
        name += ", horizon {:,}".format(plan.schedule.lr_decay_steps)
    return charts.curves(name.capitalize(), {"rate": points}, end, marks=[(min(step, end), "step {:,}".format(step))])


def _training(plan: Plan, progress: Progress) -> List[Chart]:
    train, dev = progress.train, progress.dev
    loss = charts.curves("Loss", {"train": _points(train, "loss"), "dev": _points(dev, "loss")}, plan.num_train_steps)
    norm = charts.curves("Gradient norm before clipping", {"norm": _points(train, "grad_norm")}, plan.num_train_steps)
    return [chart for chart in (loss, norm) if chart is not None]


def _dev_scores(plan: Plan, progress: Progress, results: Dict[str, Any]) -> List[Chart]:
    names = [
        name
        for name in (progress.dev[0] if progress.dev else {})
        if name not in ("step", "split", "loss", "evaluation_secs")
    ]
    marks = []
    if isinstance(results.get("global_step"), int):
        marks = [(min(results["global_step"], plan.num_train_steps), "evaluated")]
    groups: Dict[str, Dict[str, List[Tuple[float, float]]]] = {}
    for name in names:
        points, shown = _points(progress.dev, name), name.replace("_", " ")
        if name.endswith("_loss"):
            title = "Losses on dev"
        elif all(abs(value) <= 1 for _, value in points):
            title = "Scores on dev"
        else:  # beside a perplexity of 30,000 an accuracy is a line at 0
            title = shown.capitalize() + " on dev"
        groups.setdefault(title, {})[shown] = points
    drawn = [
        charts.curves(title, series, plan.num_train_steps, from_zero=False, marks=marks)
        for title, series in groups.items()
    ]
    return [chart for chart in drawn if chart is not None]


def _points(lines: Sequence[Dict[str, Any]], name: str) -> List[Tuple[float, float]]:
    return [(line["step"], line[name]) for line in lines if isinstance(line.get(name), (int, float))]


def _speed(progress: Progress) -> str:
    rates = sorted(rate for _, rate in _points(progress.train, "examples_per_sec"))
    if not rates:
        return ""
    text = "{:,.1f} examples/s in training (median)".format(rates[len(rates) // 2])
    peaks = [peak for _, peak in _points(progress.train, "peak_memory_bytes")]
    return text + (", at most {:.2f} GB of memory".format(max(peaks) / 1e9) if peaks else "")


# --- data -------------------------------------------------------------------------------------------------------------


def _lengths(data: Sequence[Dict[str, Any]]) -> Tuple[Optional[Chart], List[str]]:
    series = {each["split"]: each["histogram"] for each in data}
    limits = [each["max_tokens"] for each in data if each["truncated"]]
    text = "{}: {:,} of {:,} examples are longer than {:,} tokens (--long_text={}): {:,} tokens too many, {:.1%} of all"
    cuts = [
        text.format(
            each["split"],
            each["truncated"],
            each["examples"],
            each["max_tokens"],
            each["long_text"],
            each["beyond"],
            each["beyond"] / max(each["pieces"], 1),
        )
        for each in data
        if each["truncated"]
    ]
    chart = charts.histogram("Lengths before truncation", "tokens", series, limits[0] if limits else None)
    return chart, cuts


def _label_counts(data: Sequence[Dict[str, Any]]) -> List[List[str]]:
    counted = [each for each in data if any(each["label_counts"].values())]
    if not counted:
        return []
    names = list(dict.fromkeys(name for each in counted for name in each["label_counts"]))
    rows = [["label"] + [each["split"] for each in counted]]
    for name in names:
        cells = []
        for each in counted:
            count, total = each["label_counts"].get(name, 0), sum(each["label_counts"].values())
            cells.append("{:,} ({:.1%})".format(count, count / total))
        rows.append([name, *cells])
    return rows


# --- again ------------------------------------------------------------------------------------------------------------


def _command(folder: str, labels: Optional[Labels]) -> str:
    script = labels.script if labels else "run_pretraining.py"
    flags = os.path.join(os.path.abspath(folder), run_files.FLAGS_FILE)
    return "python {} --flagfile={} --output_dir=ANOTHER_FOLDER".format(script, shlex.quote(flags))


def _command_note(folder: str) -> str:
    trained: List[Dict[str, Any]] = []
    for line in run_files.decisions_in(folder):
        if line.get("action") == "start":  # also after a kill before the first checkpoint
            trained = []
        if line.get("action") in ("start", "continue"):
            trained.append(line)
    if any(line.get("plan_changed") is True for line in trained):
        return "The run went on with another plan, as the table says: this command alone does not repeat it."
    if any(line.get("environment") != trained[0].get("environment") for line in trained):
        return "The run went on in another environment, as the table says: this command alone may give other bits."
    return ""


def _checkpoint(folder: str) -> Optional[Tuple[str, str]]:
    listed = manifest.listed_checkpoints(folder) or {}
    step = checkpoint_files.pointed_step(folder)
    name = "" if step is None else os.path.basename(checkpoint_files.prefix_of(folder, step))
    return (name, listed[name].index_sha256) if name in listed else None


def _history(folder: str) -> List[List[str]]:
    """A row for each command that was given for the folder: what it did, why, and with what."""
    rows = []
    for line in run_files.decisions_in(folder):
        made = line.get("environment")
        shown = ", ".join("{} {}".format(key, value) for key, value in made.items()) if isinstance(made, dict) else ""
        rows.append([str(line.get("action", "")), mistakes.shown(line.get("reason", "")), shown])
    return rows
