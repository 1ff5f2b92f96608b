"""Resuming: what differs between a run's plan and that of a new command, and what the command does with the folder.

Pure: no TensorFlow, no files. An engine only carries out the decision.
"""

import dataclasses
import math
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from .. import schedules
from ..base.errors import UserError
from .plan import ADDED, Plan, to_json

# Numbers whose change moves neither the learning rate, nor the data order, nor an update.
_HARMLESS = {
    "eval_every_steps",
    "save_checkpoints_steps",
    "early_stopping_patience",
    "num_train_steps",  # where it moves the schedule, a number of the schedule differs too
}
_ORDER = {"seed", "shuffle", "batching"}  # numbers whose change gives the rest of an epoch another order
DEV = "dev"  # an entry of the identity that plans lack which were made without evaluation, or by older versions
_OF_EVALUATION = {"score_by"}  # likewise
_NOT_COMPARED = {"notes", "derivation", "warnings", "identity"}  # but each entry of identity is
# The numbers that `learning_rates` reads. Plateau's act on the scores on dev.
_OF_RATES = {
    field.name for field in dataclasses.fields(schedules.ScheduleConfig) if not field.name.startswith("plateau_")
}


class Difference(NamedTuple):
    name: str
    before: Any
    after: Any
    harmless: bool

    def __str__(self) -> str:
        before, after = ("(none)" if value == "" else value for value in (self.before, self.after))
        return "{}: {} → {}".format(self.name, before, after)


def _compared(plan: Plan) -> Dict[str, Any]:
    """What a resume compares, by name. {"data": {"length": 64}} of the identity becomes {"data.length": 64}."""
    values = {name: value for name, value in dict(ADDED, **to_json(plan)).items() if name not in _NOT_COMPARED}
    for name, value in plan.identity.items():
        if isinstance(value, dict):
            values.update({"{}.{}".format(name, inner): value[inner] for inner in value})
        else:
            values[name] = value
    return values


def compare(old: Plan, new: Plan) -> List[Difference]:
    """All differences between two plans, the harmful first."""
    before, after = _compared(old), _compared(new)
    names = list(before) + [name for name in after if name not in before]
    names = [name for name in names if name not in _OF_EVALUATION or (name in before and name in after)]
    if not (DEV in old.identity and DEV in new.identity):
        names = [name for name in names if not _is_of_dev(name)]
    harmless = set(_HARMLESS)
    if new.schedule.lr_schedule != "plateau":  # which moves the rate by the scores on dev
        harmless.update(filter(_is_of_dev, names))
    differences = [
        Difference(name, before.get(name), after.get(name), harmless=name in harmless)
        for name in names
        if before.get(name) != after.get(name)
    ]
    return sorted(differences, key=lambda difference: difference.harmless)


def _is_of_dev(name: str) -> bool:
    return name.startswith(DEV + ".")


def _same_rates_from(step: int, old: Plan, new: Plan) -> bool:
    """Whether the schedule has no horizon, and both plans have the same rates in the updates that are left."""
    name = new.schedule.lr_schedule
    if name != old.schedule.lr_schedule or name in schedules.WITH_HORIZON:
        return False
    left = np.arange(step, new.num_train_steps)
    before, after = (schedules.learning_rates(plan.schedule, left) for plan in (old, new))
    return len(left) > 0 and np.array_equal(before, after)


def _rate_change(old: Plan, new: Plan, step: int) -> str:
    def rate(plan: Plan) -> str:
        if step >= plan.num_train_steps:
            return "0 (the run ends at step {})".format(plan.num_train_steps)
        scale = " times plateau's scale" if plan.schedule.lr_schedule == "plateau" else ""
        return "{:.3g}{}".format(float(schedules.learning_rates(plan.schedule, np.array([step]))[0]), scale)

    return "at step {}: lr {} → {}".format(step, rate(old), rate(new))


def next_stage(new: Plan, source: Optional[Plan], weights_from: str, bias_correction: bool) -> Tuple[Plan, List[str]]:
    """(the plan of a further stage with its lineage in the notes, what differs from the stage before).

    source: the plan of the run that the weights come from, None if its folder has none. bias_correction: whether the
    optimizer corrects its averages for their start at 0.
    """
    stage = (source.notes.get("stage", 1) if source else 1) + 1
    warnings = new.warnings
    if not new.schedule.num_warmup_steps and not bias_correction:
        warnings += (
            "The stage starts at full rate with empty averages: without warm-up or --bias_correction the first updates "
            "are several times larger than the rate says.",
        )
    lines = [str(d) for d in compare(source, new)] if source else ["the source has no plan.json: nothing to compare"]
    notes = dict(new.notes, stage=stage, **{"weights from": weights_from})
    return dataclasses.replace(new, notes=notes, warnings=warnings), lines


# --- what to do with a folder -----------------------------------------------------------------------------------------


class Decision(NamedTuple):
    """What an engine does before its first step.

    action: "start" (initial weights, step 0), "continue" (the run's own checkpoint) or "finished" (nothing to train).
    plan_changed: whether updates that are left differ from those that the plan of the folder says.
    """

    action: str
    reason: str
    plan_changed: bool = False


class FolderState(NamedTuple):
    """What output_dir holds. step: of its newest checkpoint, None if it has none. plan: None if it has no plan.json.

    evaluated: False if a signal cut short the evaluation that was due at that step.
    """

    step: Optional[int]
    plan: Optional[Plan]
    stopped_early: bool = False
    evaluated: bool = True


RESUME_MODES = ("auto", "exact", "weights", "fresh")


def decide(
    folder: FolderState, new: Plan, has_initial_weights: bool, allow_plan_change: bool, resume_mode: str = "auto"
) -> Decision:
    """What to do with a folder. Raises UserError, which says the remedy, if the command and the folder do not agree.

    auto: continue exactly what the folder holds, or start if it holds nothing. exact: continue, never start. weights:
    start a further stage from a fine-tuned model's weights, or continue that stage. fresh: start, never continue.
    """
    if folder.step is None:
        return _start(has_initial_weights, resume_mode)
    if resume_mode == "fresh":
        raise UserError(
            "--resume_mode=fresh: --output_dir holds a run at step {}. Use an empty folder, or --resume_mode=auto to "
            "continue it.".format(folder.step)
        )
    if folder.plan is not None:
        return _go_on(folder.step, folder, folder.plan, new, allow_plan_change)
    if not allow_plan_change:
        raise UserError(
            "--output_dir holds a checkpoint at step {} but no plan.json (google-research/bert writes none), so "
            "its data, batch size and schedule cannot be checked. Pass --allow_plan_change to continue it with "
            "this command's plan, or use an empty folder.".format(folder.step)
        )
    reason = "from step {}; the folder has no plan, so nothing could be checked".format(folder.step)
    return Decision("continue", reason, plan_changed=True)


def _start(has_initial_weights: bool, resume_mode: str) -> Decision:
    """The decision for a folder without a checkpoint."""
    if resume_mode == "exact":
        raise UserError(
            "--resume_mode=exact: --output_dir holds no run to continue. Check the path, or use --resume_mode=auto."
        )
    if not has_initial_weights:
        raise UserError(
            "--output_dir holds no run to continue and no weights were given. Pass --init_checkpoint, or "
            "--from_scratch to start from random weights."
        )
    if resume_mode == "weights":
        return Decision("start", "a further stage: weights alone, step 0, empty slots")
    return Decision("start", "the folder holds no checkpoint")


def _go_on(step: int, folder: FolderState, old: Plan, new: Plan, allow_plan_change: bool) -> Decision:
    """The decision for a folder with a run at `step` that was planned as `old`."""
    differences = compare(old, new)
    if _same_rates_from(step, old, new):
        differences = [d._replace(harmless=d.harmless or d.name in _OF_RATES) for d in differences]
    if step >= new.num_train_steps:  # no score moves a rate any more
        differences = [d._replace(harmless=d.harmless or _is_of_dev(d.name)) for d in differences]
    harmful = [difference for difference in differences if not difference.harmless]
    if harmful and not allow_plan_change:
        raise UserError(_refusal(step, old, new, harmful))
    changes = "; changed: " + ", ".join(str(d) for d in differences) if differences else ""
    if any(difference.name in _ORDER for difference in harmful):
        changes += " (so this epoch repeats some examples and leaves others out)"
    if step >= new.num_train_steps and not folder.evaluated:
        return Decision("continue", "step {} is done, its evaluation is not{}".format(step, changes))
    if step >= new.num_train_steps:
        return Decision("finished", "step {} of {} is done{}".format(step, new.num_train_steps, changes))
    if folder.stopped_early and new.early_stopping_patience:
        return Decision("finished", "early stopping ended the run at step {}{}".format(step, changes))
    _require_same_batches(old, new)
    return Decision("continue", "from step {} of {}{}".format(step, new.num_train_steps, changes), bool(harmful))


def _require_same_batches(old: Plan, new: Plan) -> None:
    """Raises UserError if the batch size of grouped batches changes, even where other changes are allowed.

    Which examples of an epoch are consumed after so many depends on the batch size there.
    """
    if old.batching == new.batching == "grouped" and old.train_batch_size != new.train_batch_size:
        raise UserError(
            "--train_batch_size={}: the run's batches are groups of {} (--batching=grouped). Other groups would repeat "
            "some examples of this epoch and leave others out. Give --train_batch_size={}, or start a further stage "
            "with --resume_mode=weights.".format(new.train_batch_size, old.train_batch_size, old.train_batch_size)
        )


def _refusal(step: int, old: Plan, new: Plan, harmful: List[Difference]) -> str:
    lines = ["This command differs from the run in --output_dir:"]
    lines += ["  " + str(difference) for difference in harmful]
    lines.append("  " + _rate_change(old, new, step))
    if new.num_train_steps <= step:
        epochs = new.num_train_steps / new.epoch_steps
        lines.append(
            "  {:.1f} epochs of batch {} end at step {}; this run is at step {}: pass --num_train_epochs={} or "
            "--num_train_steps={} to train as long again".format(
                epochs,
                new.train_batch_size,
                new.num_train_steps,
                step,
                math.ceil(step / new.epoch_steps + epochs),
                step + new.num_train_steps,
            )
        )
    lines.append(
        "Give the run's own flags (flags.txt in its folder), pass --allow_plan_change to go on all the same, or use "
        "another --output_dir."
    )
    return "\n".join(lines)
