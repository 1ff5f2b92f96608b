"""The plan: all step arithmetic of a run, computed once before anything is built.

Pure: no TensorFlow, no files. Three numbers are kept apart: `num_train_steps` (when to stop), `lr_decay_steps` (the
horizon that the schedule is computed from) and `num_warmup_steps`. `num_train_epochs` and `warmup_proportion` only
fill in what was not given. A run saves its plan; resume.py compares it with that of a later command in the same folder.
"""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Dict, Optional, Tuple

import numpy as np

from .. import schedules, unfreezing
from ..base import json_files
from ..base.errors import UserError
from ..schedules import ScheduleConfig, ScheduleNumbers
from . import regularizers


@dataclass(frozen=True)
class PlanConfig(ScheduleNumbers):
    """What the user asked for; None where a flag was not given.

    auto_rate: learning_rate is to be replaced by the one that optimizer_movement computes.
    """

    auto_rate: bool = False
    train_batch_size: int = 32
    num_train_steps: Optional[int] = None
    num_train_epochs: Optional[float] = None
    lr_decay_steps: Optional[int] = None
    num_warmup_steps: Optional[int] = None
    warmup_proportion: Optional[float] = None
    eval_every_steps: Optional[int] = None
    eval_every_epochs: Optional[float] = None
    do_eval: bool = True
    save_checkpoints_steps: int = 1000
    early_stopping_patience: int = 0
    seed: int = 12345
    shuffle: bool = True
    batching: str = "permutation"  # or "grouped": batches of similar length
    label_smoothing: float = 0.0
    focal_gamma: float = 0.0
    fgm_epsilon: float = 0.0
    rdrop_alpha: float = 0.0
    unfreeze_schedule: str = ""


DEFAULT_EPOCHS = 3.0
MOST_STEPS = 10**7  # the plan computes the rate of every step: 80 MB at this number
DEFAULT_WARMUP_PROPORTION = 0.1
DEFAULT_EVAL_EPOCHS = 1.0
GROUPED_BATCHES = 50  # of the permutation, whose examples are sorted by length together
# Numbers that plan.json has only if they differ from these values: folders written before they existed lack them.
ADDED = {"batching": "permutation", **regularizers.OFF}


@dataclass(frozen=True)
class Plan:
    """What a run does. Steps are completed updates; the update from step t to t+1 uses rates(plan)[t].

    identity: everything else that decides the numbers of a run (data, labels, model, optimizer …), by name.
    notes: what is worth recording but may differ between the commands of a run.
    """

    examples: int
    train_batch_size: int
    num_train_steps: int
    schedule: ScheduleConfig
    eval_every_steps: int
    save_checkpoints_steps: int
    early_stopping_patience: int
    seed: int
    shuffle: bool
    batching: str = "permutation"
    label_smoothing: float = 0.0
    focal_gamma: float = 0.0
    fgm_epsilon: float = 0.0
    rdrop_alpha: float = 0.0
    unfreeze_schedule: str = ""
    identity: Dict[str, Any] = field(default_factory=dict)
    notes: Dict[str, Any] = field(default_factory=dict)
    derivation: Tuple[str, ...] = ()
    warnings: Tuple[str, ...] = ()

    @property
    def epoch_steps(self) -> float:
        return self.examples / self.train_batch_size


def _number(value: float) -> str:
    return "{:g}".format(value)


def _refuse_both(first: str, second: str, config: PlanConfig) -> None:
    if getattr(config, first) is not None and getattr(config, second) is not None:
        raise UserError("--{0} and --{1} were both given. Give one of them.".format(first, second))


def check(config: PlanConfig) -> None:
    """Raises UserError for settings that make no sense, whatever the data."""
    _refuse_both("num_train_steps", "num_train_epochs", config)
    _refuse_both("num_warmup_steps", "warmup_proportion", config)
    _refuse_both("eval_every_steps", "eval_every_epochs", config)
    schedules.check_numbers(config, "--")
    regularizers.check(regularizers.of(config))
    if config.lr_decay_steps is not None:
        schedules.require_reader(config, "lr_decay_steps", schedules.WITH_HORIZON, "--")


def _train_steps(config: PlanConfig, examples: int) -> Tuple[int, str]:
    batch = config.train_batch_size
    if config.num_train_steps is not None:
        steps = config.num_train_steps
        epochs = steps * batch / examples
        return steps, "steps: {} (--num_train_steps) = {:.2f} epochs of {:,} examples / {}".format(
            steps, epochs, examples, batch
        )
    epochs = DEFAULT_EPOCHS if config.num_train_epochs is None else config.num_train_epochs
    steps = int(examples / batch * epochs)
    if steps < 1:
        raise UserError(
            "--num_train_epochs={}: {:,} examples / --train_batch_size={} × {} epochs is less than one update. "
            "Lower --train_batch_size, raise --num_train_epochs, or give --num_train_steps.".format(
                _number(epochs), examples, batch, _number(epochs)
            )
        )
    return steps, "steps: {:,} examples / {} = {:.1f} an epoch × {} epochs → {} (rounded down as upstream)".format(
        examples, batch, examples / batch, _number(epochs), steps
    )


def _warmup_steps(config: PlanConfig, horizon: int, steps: int) -> Tuple[int, str]:
    if config.num_warmup_steps is not None:
        warmup, source = config.num_warmup_steps, "--num_warmup_steps"
    else:
        proportion = DEFAULT_WARMUP_PROPORTION if config.warmup_proportion is None else config.warmup_proportion
        warmup, source = int(horizon * proportion), "{} of the horizon".format(_number(proportion))
    ends = {"the run": steps}
    if config.lr_schedule in schedules.WITH_HORIZON and not config.decay_cycle:
        ends["the horizon"] = horizon
    for what, end in ends.items():
        if warmup and warmup >= end:
            raise UserError(
                "Warm-up of {} steps ({}) is not shorter than {} of {} steps: the learning rate would never start to "
                "fall. Lower --num_warmup_steps or --warmup_proportion, or raise {}.".format(
                    warmup,
                    source,
                    what,
                    end,
                    "--num_train_steps" if what == "the run" else "--lr_decay_steps",
                )
            )
    return warmup, "warm-up: {} steps ({})".format(warmup, source)


def _eval_steps(config: PlanConfig, examples: int) -> Tuple[int, str]:
    if not config.do_eval:
        if config.early_stopping_patience:
            raise UserError("--early_stopping_patience counts evaluations: pass --do_eval too.")
        return 0, "evaluation on dev: none (--do_eval is not given)"
    if config.eval_every_steps is not None:
        steps = config.eval_every_steps
    else:
        epochs = DEFAULT_EVAL_EPOCHS if config.eval_every_epochs is None else config.eval_every_epochs
        steps = math.ceil(examples * epochs / config.train_batch_size)  # the first step that completes them
    return steps, "evaluation on dev: " + ("every {} steps".format(steps) if steps else "only at the end")


def make_plan(config: PlanConfig, examples: int, identity: Dict[str, Any], notes: Dict[str, Any]) -> Plan:
    """The plan of a run over `examples` training examples. Raises UserError for settings that make no sense."""
    check(config)
    if examples < 1:
        raise UserError("The training file has no examples.")
    steps, steps_line = _train_steps(config, examples)
    if steps > MOST_STEPS:
        raise UserError(
            "{:,} steps are more than {:,}. Lower --num_train_steps or --num_train_epochs.".format(steps, MOST_STEPS)
        )
    if config.unfreeze_schedule and identity.get("bert_config"):
        unfreezing.check(config.unfreeze_schedule, steps, identity["bert_config"]["num_hidden_layers"])
    horizon = steps if config.lr_decay_steps is None else config.lr_decay_steps
    too_short = schedules.check_horizon(config, horizon, steps, "--")
    warmup, warmup_line = _warmup_steps(config, horizon, steps)
    eval_steps, eval_line = _eval_steps(config, examples)
    if config.lr_schedule == "plateau" and not eval_steps:
        raise UserError(
            "--lr_schedule=plateau follows the scores on dev during training: pass --do_eval, and --eval_every_steps "
            "above 0."
        )
    warnings = [too_short] if too_short else []
    if config.train_batch_size > examples:
        warnings.append(
            "--train_batch_size={} is larger than the data ({} examples): a batch holds some examples twice. "
            "Lower --train_batch_size.".format(config.train_batch_size, examples)
        )
    numbers = {field.name: getattr(config, field.name) for field in dataclasses.fields(ScheduleNumbers)}
    if config.lr_schedule == "piecewise":
        numbers["learning_rate"] = max(config.lr_values)
    schedule = ScheduleConfig(num_warmup_steps=warmup, lr_decay_steps=horizon, **numbers)
    plan = Plan(
        examples=examples,
        train_batch_size=config.train_batch_size,
        num_train_steps=steps,
        schedule=schedule,
        eval_every_steps=eval_steps,
        save_checkpoints_steps=config.save_checkpoints_steps,
        early_stopping_patience=config.early_stopping_patience,
        seed=config.seed,
        shuffle=config.shuffle,
        batching=config.batching,
        **regularizers.of(config),
        identity=identity,
        notes=notes,
        warnings=tuple(warnings),
    )
    lines = (steps_line, warmup_line, _rate_line(plan), eval_line)
    return dataclasses.replace(plan, derivation=lines)


def rates(plan: Plan) -> np.ndarray:
    """[num_train_steps] float64: rates(plan)[t] is the learning rate of the update from step t to t+1."""
    return schedules.learning_rates(plan.schedule, np.arange(plan.num_train_steps))


def _rate_line(plan: Plan) -> str:
    schedule, curve = plan.schedule, rates(plan)
    top = int(np.argmax(curve))
    line = "learning rate: {}, {} at step 0, highest {} at step {}, {} in the last update".format(
        schedule.lr_schedule,
        *[_number(float("{:.3g}".format(v))) for v in (curve[0], curve[top])],
        top,
        _number(float("{:.3g}".format(curve[-1]))),
    )
    if schedule.lr_schedule == "plateau":
        line += "; × {} after {} evaluations without a score better by {}, down to {}".format(
            _number(schedule.plateau_factor),
            schedule.plateau_patience,
            _number(schedule.plateau_min_delta),
            _number(schedule.end_learning_rate),
        )
    if schedule.lr_schedule in schedules.WITH_HORIZON:
        line += "; horizon {} steps".format(schedule.lr_decay_steps)
    anchored = schedule.lr_schedule in schedules.WITH_HORIZON and schedule.decay_begin == "zero"
    if anchored and schedule.num_warmup_steps and curve[top] < schedule.learning_rate * (1 - 1e-9):
        line += " (decay is anchored at step 0 as upstream, so --learning_rate={} itself is not reached)".format(
            _number(schedule.learning_rate)
        )
    return line


def describe(plan: Plan) -> str:
    """The plan as people read it."""
    lines = ["Plan"]
    lines += ["  " + line for line in plan.derivation]
    if not plan.shuffle:
        lines.append("  order: file order, the same in every epoch (--shuffle=false)")
    if plan.batching == "grouped":
        lines.append(
            "  order: batches of similar length, in permuted order, out of each {} batches of the epoch's permutation "
            "(--batching=grouped)".format(GROUPED_BATCHES)
        )
    lines += ["  " + line for line in regularizers.describe(regularizers.of(plan))]
    lines += ["  {}: {}".format(name, value) for name, value in plan.notes.items()]
    lines += ["  WARNING: " + warning for warning in plan.warnings]
    return "\n".join(lines)


def to_json(plan: Plan) -> Dict[str, Any]:
    """The numbers of the plan by name, as plan.json has them: those of the schedule stand among the others."""
    value: Dict[str, Any] = {}
    for name, number in dataclasses.asdict(plan).items():
        value.update(number if name == "schedule" else {name: number})
    return {name: number for name, number in value.items() if name not in ADDED or number != ADDED[name]}


def from_json(value: Dict[str, Any], path: str) -> Plan:
    """Reads a saved plan. Raises UserError naming `path` if it is not one."""
    of_schedule = {field.name for field in dataclasses.fields(ScheduleConfig)}
    names = {field.name for field in dataclasses.fields(Plan)} - {"schedule"} | of_schedule
    value = dict(ADDED, **value) if isinstance(value, dict) else value
    if not isinstance(value, dict) or set(value) != names:
        raise UserError(
            "{}: not a plan of this program (missing {}, unknown {}). {}".format(
                path, sorted(names - set(value)), sorted(set(value) - names), _RESTORE
            )
        )
    for part in (ScheduleConfig, _PlanFile):
        json_files.require(value, path, part, _RESTORE)
    for (least, most), keys in _RANGES.items():
        json_files.require_range(path, value, keys, least, most, _RESTORE)
    value = {name: tuple(number) if name in _TUPLES else number for name, number in value.items()}
    schedule = ScheduleConfig(**{name: value.pop(name) for name in of_schedule})
    try:
        schedules.check_numbers(schedule)
        regularizers.check(value)
        if schedule.lr_schedule in schedules.WITH_HORIZON and schedule.lr_decay_steps < 1:
            raise UserError("lr_decay_steps is at least 1.")
    except UserError as error:
        raise UserError("{}: {} {}".format(path, error, _RESTORE)) from None
    return Plan(schedule=schedule, **value)


_RESTORE = "Restore it from a copy, or use another --output_dir."
# What plan.json has beside the numbers of the schedule.
_PlanFile = dataclasses.make_dataclass(
    "_PlanFile", [(field.name, field.type) for field in dataclasses.fields(Plan) if field.name != "schedule"]
)
_RANGES = {
    (1, MOST_STEPS): ("num_train_steps",),
    (1, 1 << 62): ("examples", "train_batch_size"),
    (0, 1 << 62): (
        "eval_every_steps",
        "save_checkpoints_steps",
        "early_stopping_patience",
        "num_warmup_steps",
        "lr_decay_steps",
        "plateau_patience",
    ),
}
_TUPLES = ("derivation", "warnings", "lr_boundaries", "lr_values")  # lists in JSON
