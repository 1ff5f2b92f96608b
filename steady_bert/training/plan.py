"""The plan: all step arithmetic of a run, computed once before anything is built, and the decision what to restore.

Pure: no TensorFlow, no files. Three numbers are kept apart: `num_train_steps` (when to stop), `lr_decay_steps` (the
horizon that the schedule is computed from) and `num_warmup_steps`. `num_train_epochs` and `warmup_proportion` only
fill in what was not given. A run saves its plan; a later command in the same folder is compared with it, so a changed
batch size or epoch count cannot move the learning rate unseen.
"""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from .. import schedules
from ..base.errors import UserError


@dataclass(frozen=True)
class PlanConfig:
    """What the user asked for; None where a flag was not given."""

    train_batch_size: int = 32
    num_train_steps: Optional[int] = None
    num_train_epochs: Optional[float] = None
    lr_decay_steps: Optional[int] = None
    num_warmup_steps: Optional[int] = None
    warmup_proportion: Optional[float] = None
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
    eval_every_steps: Optional[int] = None
    eval_every_epochs: Optional[float] = None
    do_eval: bool = True
    save_checkpoints_steps: int = 1000
    early_stopping_patience: int = 0
    seed: int = 12345
    shuffle: bool = True


DEFAULT_EPOCHS = 3.0
MOST_STEPS = 10**7  # the rates of all steps are a table in the graph
DEFAULT_WARMUP_PROPORTION = 0.1
DEFAULT_EVAL_EPOCHS = 1.0


@dataclass(frozen=True)
class Plan:
    """What a run does. Steps are completed updates; the update from step t to t+1 uses rates(plan)[t].

    identity: everything else that decides the numbers of a run (data, labels, model, optimizer …), by name.
    notes: what is worth recording and may change freely between commands.
    """

    examples: int
    train_batch_size: int
    num_train_steps: int
    lr_decay_steps: int
    num_warmup_steps: int
    learning_rate: float
    end_learning_rate: float
    decay_power: float
    lr_schedule: str
    decay_begin: str
    decay_cycle: bool
    lr_boundaries: Tuple[int, ...]
    lr_values: Tuple[float, ...]
    plateau_factor: float
    plateau_patience: int
    plateau_min_delta: float
    eval_every_steps: int
    save_checkpoints_steps: int
    early_stopping_patience: int
    seed: int
    shuffle: bool
    identity: Dict[str, Any] = field(default_factory=dict)
    notes: Dict[str, Any] = field(default_factory=dict)
    derivation: Tuple[str, ...] = ()
    warnings: Tuple[str, ...] = ()

    @property
    def schedule(self) -> schedules.ScheduleConfig:
        names = [numbers.name for numbers in dataclasses.fields(schedules.ScheduleConfig)]
        return schedules.ScheduleConfig(**{name: getattr(self, name) for name in names})

    @property
    def epoch_steps(self) -> float:
        return self.examples / self.train_batch_size


def _number(value: float) -> str:
    return "{:g}".format(value)


def _refuse_both(first: str, second: str, config: PlanConfig) -> None:
    if getattr(config, first) is not None and getattr(config, second) is not None:
        raise UserError("--{0} and --{1} were both given. Give one of them.".format(first, second))


def check(config: PlanConfig) -> None:
    """Raises UserError for what cannot be meant, whatever the data."""
    _refuse_both("num_train_steps", "num_train_epochs", config)
    _refuse_both("num_warmup_steps", "warmup_proportion", config)
    _refuse_both("eval_every_steps", "eval_every_epochs", config)
    _check_schedule(config)


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


# Numbers of a schedule that others do not read: {field of PlanConfig: (schedules, value that means "not given")}.
_NUMBERS_OF: Dict[str, Tuple[Tuple[str, ...], Any]] = {
    "end_learning_rate": (("cosine", "exponential", "plateau", "polynomial"), 0.0),
    "decay_power": (("polynomial",), 1.0),
    "decay_cycle": (("polynomial",), False),
    "decay_begin": (schedules.WITH_HORIZON, "zero"),
    "lr_decay_steps": (schedules.WITH_HORIZON, None),
    "lr_boundaries": (("piecewise",), ()),
    "lr_values": (("piecewise",), ()),
    "plateau_factor": (("plateau",), 0.1),
    "plateau_patience": (("plateau",), 2),
    "plateau_min_delta": (("plateau",), 4e-4),
}


def _check_schedule(config: PlanConfig) -> None:
    """Raises UserError where the numbers of the schedule do not make one."""
    for name, (readers, unset) in _NUMBERS_OF.items():
        if getattr(config, name) != unset and config.lr_schedule not in readers:
            raise UserError(
                "--{}: --lr_schedule={} does not read it. Leave it out, or choose {}.".format(
                    name, config.lr_schedule, " or ".join(readers)
                )
            )
    if config.lr_schedule == "piecewise":
        boundaries, values = config.lr_boundaries, config.lr_values
        if len(values) != len(boundaries) + 1 or not boundaries or list(boundaries) != sorted(set(boundaries)):
            raise UserError(
                "--lr_schedule=piecewise: give --lr_boundaries as rising steps and --lr_values with one rate more, as "
                "100,200 and 5e-5,2e-5,1e-5; there are {} and {}.".format(len(boundaries), len(values))
            )
        if min(values) <= 0:
            raise UserError("--lr_values={}: a rate of 0 learns nothing.".format(",".join(map(_number, values))))
    elif config.end_learning_rate > config.learning_rate:
        raise UserError(
            "--end_learning_rate={} is above --learning_rate={}. Lower it.".format(
                _number(config.end_learning_rate), _number(config.learning_rate)
            )
        )
    if config.lr_schedule == "exponential" and not config.end_learning_rate:
        raise UserError("--lr_schedule=exponential never reaches 0: give an --end_learning_rate above it.")


def _horizon_warnings(config: PlanConfig, horizon: int, steps: int) -> List[str]:
    """Of a horizon within the run. Raises UserError where the rate would be 0 from there on."""
    if horizon >= steps or config.lr_schedule not in schedules.WITH_HORIZON or config.decay_cycle:
        return []
    reached = "is {} from step {} to the end at step {}".format(_number(config.end_learning_rate), horizon, steps)
    if not config.end_learning_rate:
        raise UserError(
            "--lr_decay_steps={} is shorter than the run: the learning rate {}, so nothing would be learned there. "
            "Raise --lr_decay_steps to {}, lower --num_train_steps, or give --end_learning_rate.".format(
                horizon, reached, steps
            )
        )
    return ["The learning rate {}, because --lr_decay_steps={}.".format(reached, horizon)]


def make_plan(config: PlanConfig, examples: int, identity: Dict[str, Any], notes: Dict[str, Any]) -> Plan:
    """Computes the plan of a run over `examples` training examples. Raises UserError for what cannot be meant."""
    check(config)
    if examples < 1:
        raise UserError("The training file has no examples.")
    steps, steps_line = _train_steps(config, examples)
    if steps > MOST_STEPS:
        raise UserError(
            "{:,} steps are more than {:,}. Lower --num_train_steps or --num_train_epochs.".format(steps, MOST_STEPS)
        )
    horizon = steps if config.lr_decay_steps is None else config.lr_decay_steps
    warnings = _horizon_warnings(config, horizon, steps)
    warmup, warmup_line = _warmup_steps(config, horizon, steps)
    eval_steps, eval_line = _eval_steps(config, examples)
    if config.lr_schedule == "plateau" and not eval_steps:
        raise UserError(
            "--lr_schedule=plateau follows the scores on dev during training: pass --do_eval, and --eval_every_steps "
            "above 0."
        )
    if config.train_batch_size > examples:
        warnings.append(
            "--train_batch_size={} is larger than the data ({} examples): a batch holds some examples twice. "
            "Lower --train_batch_size.".format(config.train_batch_size, examples)
        )
    plan = Plan(
        examples=examples,
        train_batch_size=config.train_batch_size,
        num_train_steps=steps,
        lr_decay_steps=horizon,
        num_warmup_steps=warmup,
        learning_rate=max(config.lr_values) if config.lr_schedule == "piecewise" else config.learning_rate,
        end_learning_rate=config.end_learning_rate,
        decay_power=config.decay_power,
        lr_schedule=config.lr_schedule,
        decay_begin=config.decay_begin,
        decay_cycle=config.decay_cycle,
        lr_boundaries=config.lr_boundaries,
        lr_values=config.lr_values,
        plateau_factor=config.plateau_factor,
        plateau_patience=config.plateau_patience,
        plateau_min_delta=config.plateau_min_delta,
        eval_every_steps=eval_steps,
        save_checkpoints_steps=config.save_checkpoints_steps,
        early_stopping_patience=config.early_stopping_patience,
        seed=config.seed,
        shuffle=config.shuffle,
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
    curve = rates(plan)
    top = int(np.argmax(curve))
    line = "learning rate: {}, {} at step 0, highest {} at step {}, {} in the last update".format(
        plan.lr_schedule,
        *[_number(float("{:.3g}".format(v))) for v in (curve[0], curve[top])],
        top,
        _number(float("{:.3g}".format(curve[-1]))),
    )
    if plan.lr_schedule == "plateau":
        line += "; × {} after {} evaluations without a score better by {}, down to {}".format(
            _number(plan.plateau_factor),
            plan.plateau_patience,
            _number(plan.plateau_min_delta),
            _number(plan.end_learning_rate),
        )
    if plan.lr_schedule in schedules.WITH_HORIZON:
        line += "; horizon {} steps".format(plan.lr_decay_steps)
    anchored = plan.lr_schedule in schedules.WITH_HORIZON and plan.decay_begin == "zero"
    if anchored and plan.num_warmup_steps and curve[top] < plan.learning_rate * (1 - 1e-9):
        line += " (decay is anchored at step 0 as upstream, so --learning_rate={} itself is not reached)".format(
            _number(plan.learning_rate)
        )
    return line


def describe(plan: Plan) -> str:
    """The plan as people read it."""
    lines = ["Plan"]
    lines += ["  " + line for line in plan.derivation]
    if not plan.shuffle:
        lines.append("  order: file order, the same in every epoch (--shuffle=false)")
    lines += ["  {}: {}".format(name, value) for name, value in plan.notes.items()]
    lines += ["  WARNING: " + warning for warning in plan.warnings]
    return "\n".join(lines)


def to_json(plan: Plan) -> Dict[str, Any]:
    return dataclasses.asdict(plan)


def from_json(value: Dict[str, Any], path: str) -> Plan:
    """Reads a saved plan. Raises UserError naming `path` when it is not one."""
    names = {f.name for f in dataclasses.fields(Plan)}
    if not isinstance(value, dict) or set(value) != names:
        raise UserError(
            "{}: not a plan of this program (missing {}, unknown {}). Restore it, or use another --output_dir.".format(
                path, sorted(names - set(value)), sorted(set(value) - names)
            )
        )
    lists = ("derivation", "warnings", "lr_boundaries", "lr_values")
    return Plan(**dict(value, **{name: tuple(value[name]) for name in lists}))


# --- what changed between the plan of a run and the plan of a new command ---------------------------------------------

# Fields whose change moves neither the learning rate, nor the data order, nor an update.
_HARMLESS = {
    "eval_every_steps",
    "save_checkpoints_steps",
    "early_stopping_patience",
    "notes",
    "derivation",
    "warnings",
    "num_train_steps",  # judged by the rates, below: the stop step alone changes no update
}


_OF_SCHEDULE = {numbers.name for numbers in dataclasses.fields(schedules.ScheduleConfig)}


class Difference(NamedTuple):
    name: str
    before: Any
    after: Any
    harmless: bool

    def __str__(self) -> str:
        return "{}: {} → {}".format(self.name, self.before, self.after)


def _flattened(identity: Dict[str, Any]) -> Dict[str, Any]:
    """{"data": {"max_seq_length": 64}} → {"data.max_seq_length": 64}, so that a difference names its own part."""
    flat = {}
    for name, value in identity.items():
        if isinstance(value, dict):
            flat.update({"{}.{}".format(name, part): inner for part, inner in value.items()})
        else:
            flat[name] = value
    return flat


def compare(old: Plan, new: Plan) -> List[Difference]:
    """All differences between two plans, the harmful first."""
    differences = []
    for name in (f.name for f in dataclasses.fields(Plan)):
        before, after = getattr(old, name), getattr(new, name)
        if name == "identity":
            old_parts, new_parts = _flattened(before), _flattened(after)
            for key in sorted(set(old_parts) | set(new_parts)):
                if old_parts.get(key) != new_parts.get(key):
                    differences.append(Difference(key, old_parts.get(key), new_parts.get(key), harmless=False))
        elif name not in ("derivation", "warnings", "notes") and before != after:
            differences.append(Difference(name, before, after, harmless=name in _HARMLESS))
    return sorted(differences, key=lambda difference: difference.harmless)


def _same_rates_from(step: int, old: Plan, new: Plan) -> bool:
    """Whether the updates that are left have the rates that the old plan's schedule, without a horizon, has there."""
    if new.lr_schedule != old.lr_schedule or new.lr_schedule in schedules.WITH_HORIZON:
        return False
    left = np.arange(step, new.num_train_steps)
    before, after = (schedules.learning_rates(plan.schedule, left) for plan in (old, new))
    return len(left) > 0 and np.array_equal(before, after)


def _rate_change(old: Plan, new: Plan, step: int) -> str:
    def rate(plan: Plan) -> str:
        if step >= plan.num_train_steps:
            return "finished (the run ends at step {})".format(plan.num_train_steps)
        scale = " times plateau's scale" if plan.schedule.lr_schedule == "plateau" else ""
        return "{:.3g}{}".format(float(schedules.learning_rates(plan.schedule, np.array([step]))[0]), scale)

    return "at step {}: lr {} → {}".format(step, rate(old), rate(new))


def next_stage(new: Plan, source: Optional[Plan], weights_from: str, corrected: bool) -> Tuple[Plan, List[str]]:
    """(the plan of a further stage with its lineage in the notes, what differs from the stage before).

    source: the plan of the run that the weights are of; None where it has none. corrected: whether the optimizer
    corrects its averages for their start at 0.
    """
    stage = (source.notes.get("stage", 1) if source else 1) + 1
    warnings = new.warnings
    if not new.num_warmup_steps and not corrected:
        warnings += (
            "The stage starts at full rate with empty averages: without warm-up or --bias_correction the first updates "
            "are several times larger than the rate says.",
        )
    lines = [str(d) for d in compare(source, new)] if source else ["the source has no plan.json: nothing to compare"]
    notes = dict(new.notes, stage=stage, **{"weights from": weights_from})
    return dataclasses.replace(new, notes=notes, warnings=warnings), lines


# --- what to restore --------------------------------------------------------------------------------------------------


class Decision(NamedTuple):
    """What an engine does before its first step.

    action: "start" (initial weights, step 0), "continue" (the run's own checkpoint) or "finished" (nothing to train).
    """

    action: str
    reason: str


class FolderState(NamedTuple):
    """What output_dir holds. step is None where there is no checkpoint; plan is None where there is no plan.json.

    evaluated: False where a signal cut short the evaluation that was due at that step.
    """

    step: Optional[int]
    plan: Optional[Plan]
    stopped_early: bool = False
    evaluated: bool = True


RESUME_MODES = ("auto", "exact", "weights", "fresh")


def decide(
    folder: FolderState, new: Plan, has_initial_weights: bool, allow_plan_change: bool, resume_mode: str = "auto"
) -> Decision:
    """What to do with a folder. Raises UserError with the remedy.

    auto: continue exactly what the folder holds, else start. exact: continue, never start. weights: start a further
    stage from a fine-tuned model's weights, or continue that stage. fresh: start, never continue.
    """
    if resume_mode == "fresh" and folder.step is not None:
        raise UserError(
            "--resume_mode=fresh: --output_dir holds a run at step {}. Use an empty folder, or --resume_mode=auto to "
            "continue it.".format(folder.step)
        )
    if folder.step is None:
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
    if folder.plan is None:
        if not allow_plan_change:
            raise UserError(
                "--output_dir holds a checkpoint at step {} but no plan.json (google-research/bert writes none), so "
                "its data, batch size and schedule cannot be checked. Pass --allow_plan_change to continue it with "
                "this command's plan, or use an empty folder.".format(folder.step)
            )
        return Decision(
            "continue", "from step {}; the folder has no plan, so nothing could be checked".format(folder.step)
        )
    differences = compare(folder.plan, new)
    if _same_rates_from(folder.step, folder.plan, new):
        differences = [d._replace(harmless=d.harmless or d.name in _OF_SCHEDULE) for d in differences]
    harmful = [difference for difference in differences if not difference.harmless]
    if harmful and not allow_plan_change:
        raise UserError(_refusal(folder.step, folder.plan, new, harmful))
    noted = "; changed: " + ", ".join(str(d) for d in differences) if differences else ""
    if folder.step >= new.num_train_steps and not folder.evaluated:
        return Decision("continue", "step {} is done, its evaluation is not{}".format(folder.step, noted))
    if folder.step >= new.num_train_steps:
        return Decision("finished", "step {} of {} is done{}".format(folder.step, new.num_train_steps, noted))
    if folder.stopped_early and new.early_stopping_patience:
        return Decision("finished", "early stopping ended the run at step {}{}".format(folder.step, noted))
    return Decision("continue", "from step {} of {}{}".format(folder.step, new.num_train_steps, noted))


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
