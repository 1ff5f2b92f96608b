"""Every flag: its definition, its checks, and the frozen configuration made from it.

The one place that touches absl. A flag is a row of a table: name, kind, default, meaning, bounds. Relations between
flags are checked in `classifier_config`, before anything is read or written. "Given" means given by the user, which is
not the same as different from the default.
"""

import dataclasses
import json
import math
import os
import re
import sys
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, NamedTuple, NoReturn, Optional, Sequence, Tuple

from absl import flags as absl_flags

from errors import UserError
from optimization import OptimizerConfig, rule_of
from optimizers import RULES
from schedules import DECAY_BEGINS, SCHEDULES
from tasks.classification_data import LABEL_TYPES, PROCESSORS
from training.plan import DEFAULT_EPOCHS, DEFAULT_EVAL_EPOCHS, DEFAULT_WARMUP_PROPORTION, RESUME_MODES, PlanConfig
from training.plan import check as check_plan
from training.session_engine import EngineConfig

FLAGS = absl_flags.FLAGS


class Flag(NamedTuple):
    """One row. kind: string, integer, float, boolean, list, or a tuple of the values allowed."""

    name: str
    kind: Any
    default: Any
    meaning: str
    lower: Optional[float] = None
    upper: Optional[float] = None


_INPUT = [
    Flag("task_name", tuple(sorted(PROCESSORS)), None, "What to learn, and how its files are laid out."),
    Flag("data_dir", "string", None, "Folder of the task's train, dev and test files."),
    Flag(
        "text_columns",
        "list",
        "",
        "Of text: the one or two columns of text, by name (the file has a header) or by number from 0 (it has none). "
        "If not given: text, or text_a,text_b.",
    ),
    Flag("label_column", "string", None, "Of text: the column of labels, likewise; label if not given."),
    Flag(
        "label_type",
        LABEL_TYPES,
        "single",
        "Of text: one of several classes, any number of them (separated by commas, or a JSON list), or a number.",
    ),
    Flag(
        "labels",
        "list",
        "",
        "Of text: the classes, in the order of their ids; those of the training file if not given.",
    ),
    Flag(
        "class_weights",
        "list",
        "",
        "What a mistake costs, by class, in training: name=weight,… (1 where not named) or balanced.",
    ),
    Flag("language", "string", "zh", "Of xnli: the language, by the code of its files."),
    Flag("bert_config_file", "string", None, "JSON file of the model's sizes; belongs to init_checkpoint."),
    Flag("vocab_file", "string", None, "WordPiece vocabulary; belongs to init_checkpoint."),
    Flag("spm_model_file", "string", None, "SentencePiece model, for a BERT trained on one; instead of vocab_file."),
    Flag("do_lower_case", "boolean", True, "Lower-case the text; true for uncased models, false for cased ones."),
    Flag("max_seq_length", "integer", 128, "Tokens of an example, [CLS] and [SEP] included; longer ones are cut.", 3),
    Flag("max_train_examples", "integer", None, "Train on this many examples, chosen by seed.", 1),
    Flag("max_eval_examples", "integer", None, "Evaluate on this many examples, chosen by seed.", 1),
    Flag("cache_dir", "string", None, "Folder of the record cache; output_dir/cache if not given."),
    Flag("skip_bad_lines", "integer", 0, "Lines of a file that may be left out because they cannot be read.", 0),
    Flag("predict_file", "string", None, "File to predict, - for standard input; the task's test file if not given."),
    Flag("predict_output", "string", None, "Where predictions go; output_dir/predictions.tsv if not given."),
]
_PHASES = [
    Flag("do_train", "boolean", False, "Train."),
    Flag("do_eval", "boolean", False, "Evaluate on dev: during training, and at the end on the checkpoint chosen."),
    Flag("do_predict", "boolean", False, "Predict predict_file."),
    Flag("dry_run", "boolean", False, "Print the plan and stop."),
    Flag(
        "check_data",
        "boolean",
        False,
        "Print lengths, what is cut, unknown pieces, duplicates and contradictions, and stop; needs no model.",
    ),
]
_LENGTH = [
    Flag("num_train_steps", "integer", None, "Updates after which the run stops.", 1),
    Flag("num_train_epochs", "float", DEFAULT_EPOCHS, "Used when num_train_steps is not given.", 0.0),
    Flag("lr_decay_steps", "integer", None, "The schedule's horizon in steps; num_train_steps if not given.", 1),
    Flag("num_warmup_steps", "integer", None, "Updates of linear warm-up; 0: none.", 0),
    Flag(
        "warmup_proportion",
        "float",
        DEFAULT_WARMUP_PROPORTION,
        "Warm-up as a proportion of the horizon, when num_warmup_steps is not given.",
        0.0,
        1.0,
    ),
    Flag("learning_rate", "float", 5e-5, "The peak of the schedule.", 0.0),
    Flag("lr_schedule", tuple(sorted(SCHEDULES)), "polynomial", "How the rate falls after warm-up."),
    Flag(
        "end_learning_rate",
        "float",
        0.0,
        "Where polynomial, cosine and exponential decay end; plateau's least rate.",
        0.0,
    ),
    Flag("decay_power", "float", 1.0, "Power of polynomial decay; 1: linear.", 0.0),
    Flag("decay_cycle", "boolean", False, "Polynomial decay begins again after the horizon, which doubles, triples, …"),
    Flag(
        "decay_begin",
        DECAY_BEGINS,
        "zero",
        "zero: decay is anchored at step 0 as in google-research/bert, so that the peak is not reached; warmup_end: it "
        "starts from the peak when warm-up ends.",
    ),
    Flag("lr_boundaries", "list", "", "Of piecewise: the steps at which the rate changes."),
    Flag(
        "lr_values",
        "list",
        "",
        "Of piecewise: the rates, one more than boundaries; instead of learning_rate.",
    ),
    Flag(
        "gradient_accumulation_steps",
        "integer",
        1,
        "Parts that a batch is worked on in, one after the other, to save memory; train_batch_size divides by it.",
        1,
    ),
    Flag("plateau_factor", "float", 0.1, "Of plateau: what the rate is multiplied by when dev stalls.", 0.0, 1.0),
    Flag("plateau_patience", "integer", 2, "Of plateau: evaluations without a better best_metric before that.", 1),
    Flag("plateau_min_delta", "float", 4e-4, "Of plateau: how much better counts as better.", 0.0),
    Flag("train_batch_size", "integer", 32, "Examples an update, over all replicas.", 1),
]
_UPDATE = [
    Flag("optimizer", tuple(sorted(RULES)), "adamw", "The rule; see optimizers.py for their equations."),
    Flag(
        "lookahead_steps",
        "integer",
        0,
        "Updates between synchronisations with slow weights; 0: off, ranger's own: 6.",
        0,
    ),
    Flag("lookahead_alpha", "float", 0.5, "How far the slow weights then move.", 0.0, 1.0),
    Flag("weight_decay_rate", "float", 0.01, "Decoupled weight decay, scaled by the rate; 0: off.", 0.0),
    Flag(
        "no_decay_patterns",
        "list",
        "LayerNorm,layer_norm,bias",
        "Regular expressions; a variable whose name one matches is not decayed.",
    ),
    Flag("momentum", "float", None, "Of momentum and nag; 0.9 if not given.", 0.0, 1.0),
    Flag("adam_beta1", "float", None, "Decay of the gradient's average; the rule's own if not given.", 0.0, 1.0),
    Flag(
        "adam_beta2", "float", None, "Decay of the squared gradient's average; the rule's own if not given.", 0.0, 1.0
    ),
    Flag("adam_epsilon", "float", None, "The rule's epsilon; its own if not given.", 0.0),
    Flag(
        "bias_correction",
        "boolean",
        None,
        "Of adamw and lamb: correct both averages for their start at 0, as Adam's paper does; false if not given.",
    ),
    Flag("lr_multipliers", "list", "", "pattern=factor of the rate, by variable name; the first match counts."),
    Flag("layerwise_lr_decay", "float", 1.0, "Factor of the rate from each layer to the one below; 1: off.", 0.0, 1.0),
    Flag(
        "ema_decay",
        "float",
        0.0,
        "Factor of the moving average of the weights, which is then what is evaluated and exported; 0: off.",
        0.0,
        1.0,
    ),
    Flag("freeze", "list", "", "Regular expressions; a variable whose name one matches is not trained."),
    Flag("clip_norm", "float", 1.0, "Global gradient norm above which gradients are scaled down; 0: off.", 0.0),
]
_WEIGHTS = [
    Flag("init_checkpoint", "string", None, "A checkpoint prefix, or a run's folder, to start from."),
    Flag("from_scratch", "boolean", False, "Start from random weights."),
    Flag("output_dir", "string", None, "Where this run is written."),
    Flag(
        "model_dir", "string", None, "Read-only source of a trained model for do_eval and do_predict; else output_dir."
    ),
    Flag(
        "checkpoint",
        ("best", "last"),
        None,
        "Which checkpoint of a folder; the best where there is one, else the last.",
    ),
    Flag(
        "resume_mode",
        RESUME_MODES,
        "auto",
        "auto: continue exactly what output_dir holds, else start; exact: continue or fail; weights: a further stage "
        "from the weights of a fine-tuned init_checkpoint, with step, slots and plan of its own; fresh: start or fail.",
    ),
    Flag("allow_plan_change", "boolean", False, "Continue although the plan differs from the run's."),
    Flag("reset_head", "boolean", False, "Start a new head where init_checkpoint has one for other labels."),
]
_ENGINE = [
    Flag("seed", "integer", 12345, "Of everything random.", 0),
    Flag("shuffle", "boolean", True, "A new permutation of the training set every epoch; false: file order."),
    Flag(
        "padding",
        ("none", "longest", "fixed"),
        "none",
        "Compute real tokens alone, or pad: to the longest of the batch, to max_seq_length.",
    ),
    Flag("precision", ("float32", "bfloat16"), "float32", "Of the encoder's matrix products; all else is float32."),
    Flag(
        "xla",
        "boolean",
        False,
        "Let XLA compile the graph: TensorFlow 2.15 or later, padding=fixed. Its random bits are others.",
    ),
    Flag("eval_batch_size", "integer", 8, "Examples a step of evaluation, over all replicas.", 1),
    Flag("predict_batch_size", "integer", 8, "Examples a step of prediction, over all replicas.", 1),
    Flag("eval_every_steps", "integer", None, "Steps between evaluations during training; 0: only at the end.", 0),
    Flag(
        "eval_every_epochs",
        "float",
        DEFAULT_EVAL_EPOCHS,
        "The same in epochs, when eval_every_steps is not given.",
        0.0,
    ),
    Flag("best_metric", "string", None, "Dev metric that picks the best checkpoint; the task's own if not given."),
    Flag("early_stopping_patience", "integer", 0, "Evaluations without improvement before the run stops; 0: off.", 0),
    Flag("save_checkpoints_steps", "integer", 1000, "Steps between checkpoints; one is also written at the end.", 1),
    Flag("keep_checkpoint_max", "integer", 5, "Checkpoints kept besides the best; 0: all.", 0),
    Flag("log_every_steps", "integer", 10, "Steps between reports of the loss; 0: none.", 0),
    Flag("profile_steps", "list", "", "A first and a last update, as 10,12: each is traced to output_dir/profile."),
    Flag("distribution", ("one_device", "mirrored"), "one_device", "How replicas are made."),
    Flag("devices", "list", "", "Devices for mirrored, as gpu:0,gpu:1; all GPUs if not given."),
]
_TPU = [
    Flag("use_tpu", "boolean", False, "Train on a TPU; not in this version."),
    Flag("tpu_name", "string", None, "With use_tpu: the TPU's name."),
    Flag("tpu_zone", "string", None, "With use_tpu: its zone."),
    Flag("gcp_project", "string", None, "With use_tpu: its project."),
    Flag("master", "string", None, "With use_tpu: a TensorFlow master address."),
    Flag("num_tpu_cores", "integer", 8, "With use_tpu: its cores.", 1),
    Flag("iterations_per_loop", "integer", 1000, "With use_tpu: steps in one call of the TPU.", 1),
]

GROUPS: Dict[str, List[Flag]] = {
    "What to do": _PHASES,
    "Task and data": _INPUT,
    "How long, and how fast it learns": _LENGTH,
    "The update": _UPDATE,
    "Where weights come from, and continuing": _WEIGHTS,
    "Evaluation and engine": _ENGINE,
    "TPU (upstream's flags)": _TPU,
}


# --- registering and parsing ------------------------------------------------------------------------------------------


def _meaning(flag: Flag) -> str:
    return flag.meaning if flag.default in (None, "") else "{} Default: {}.".format(flag.meaning, _text(flag.default))


def _text(default: Any) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


def register(script: str) -> None:
    """Defines the flags of run_classifier for `script` (its file's name without .py). A second call changes nothing."""
    for group in GROUPS.values():
        for flag in group:
            if flag.name in FLAGS and FLAGS.find_module_defining_flag(flag.name) == script:
                continue
            known: Dict[str, Any] = {"flag_values": FLAGS, "module_name": script}
            if isinstance(flag.kind, tuple):
                parser: Any = absl_flags.EnumParser(list(flag.kind), case_sensitive=False)
                absl_flags.DEFINE(parser, flag.name, flag.default, _meaning(flag), serializer=_SERIALIZER, **known)
            elif flag.kind == "boolean":
                absl_flags.DEFINE_boolean(flag.name, flag.default, _meaning(flag), **known)
            elif flag.kind == "list":
                absl_flags.DEFINE_list(flag.name, flag.default, _meaning(flag), **known)
            elif flag.kind == "string":
                absl_flags.DEFINE_string(flag.name, flag.default, _meaning(flag), **known)
            else:
                define: Any = absl_flags.DEFINE_integer if flag.kind == "integer" else absl_flags.DEFINE_float
                define(flag.name, flag.default, _meaning(flag), lower_bound=flag.lower, upper_bound=flag.upper, **known)


_SERIALIZER: Any = absl_flags.ArgumentSerializer()


def help_text(script: str, description: str) -> str:
    lines = [description, "", "usage: python {}.py --flag=value …".format(script)]
    for title, group in GROUPS.items():
        lines += ["", title]
        for flag in group:
            values = " ({})".format(" | ".join(flag.kind)) if isinstance(flag.kind, tuple) else ""
            lines.append("  --{:<25} {}{}".format(flag.name, _meaning(flag), values))
    return "\n".join(lines)


def run(main: Callable[[], None], argv: Sequence[str], description: str) -> NoReturn:
    """Parses the command line, calls main, and exits: 0 done, 2 a mistake of the user's."""
    script = os.path.splitext(os.path.basename(argv[0]))[0]
    if any(argument in ("--help", "-h", "-help", "-?", "--helpfull", "--helpshort") for argument in argv[1:]):
        print(help_text(script, description))
        sys.exit(0)
    try:
        rest = FLAGS(list(argv))
        if rest[1:]:
            raise UserError("{!r} is not a flag. Write --name=value.".format(rest[1]))
        main()
    except (absl_flags.Error, UserError) as error:
        print("{}: error: {}".format(script, error), file=sys.stderr)
        sys.exit(2)
    sys.exit(0)


def given(name: str) -> bool:
    return bool(FLAGS[name].present)


def given_flags() -> List[str]:
    """The flags that the user gave, one `--name=value` a line of a flagfile."""
    names = [flag.name for group in GROUPS.values() for flag in group if given(flag.name)]
    return [FLAGS[name].serialize() for name in names]


def _if_given(name: str) -> Any:
    return FLAGS[name].value if given(name) else None


# --- configuration ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DataConfig:
    """Which text becomes which features. None where neither a flag nor the model's folder says."""

    task_name: Optional[str]
    data_dir: Optional[str]
    text_columns: Tuple[str, ...]
    label_column: Optional[str]
    label_type: str
    labels: Tuple[str, ...]
    class_weights: Tuple[str, ...]
    language: str
    bert_config_file: Optional[str]
    vocab_file: Optional[str]
    spm_model_file: Optional[str]
    do_lower_case: bool
    max_seq_length: int
    max_train_examples: Optional[int]
    max_eval_examples: Optional[int]
    cache_dir: Optional[str]
    skip_bad_lines: int
    predict_file: Optional[str]
    predict_output: Optional[str]


@dataclass(frozen=True)
class WeightsConfig:
    init_checkpoint: Optional[str]
    from_scratch: bool
    output_dir: Optional[str]
    model_dir: Optional[str]
    checkpoint: Optional[str]
    resume_mode: str
    allow_plan_change: bool
    reset_head: bool


@dataclass(frozen=True)
class ClassifierConfig:
    do_train: bool
    do_eval: bool
    do_predict: bool
    dry_run: bool
    check_data: bool
    best_metric: Optional[str]
    data: DataConfig
    plan: PlanConfig
    optimizer: OptimizerConfig
    weights: WeightsConfig
    engine: EngineConfig


# The flags of a model's files, and what the files are called in its folder.
MODEL_FILES = {"bert_config_file": "bert_config.json", "vocab_file": "vocab.txt", "spm_model_file": "spiece.model"}

# What config.json of a model's folder says of its input, unless the command does. A text that is read otherwise than
# the training text gives noise, so of some the command may not say another thing.
_SAVED = ("task_name", "language", "text_columns", "label_column", "label_type", "do_lower_case", "max_seq_length")
_FIXED = ("label_type", "do_lower_case")


def _from_model(folder: Optional[str]) -> Dict[str, Any]:
    """What a trained model's folder says of its own input: the values of the flags that need not be given with it."""
    found: Dict[str, Any] = {}
    if folder is None:
        return found
    path = os.path.join(folder, "config.json")
    if os.path.exists(path):
        try:
            with open(path, encoding="utf-8") as file:
                data = json.load(file)["data"]
            found = {name: data[name] for name in _SAVED if name in data}
        except (ValueError, KeyError, TypeError):
            raise UserError("{}: not the config.json of a run. Restore it from a copy.".format(path)) from None
        found["text_columns"] = tuple(found.get("text_columns", ()))
        for name in _FIXED:
            _require(
                name not in found or not given(name) or FLAGS[name].value == found[name],
                "--{}={}: the model in {} was trained with {}. Leave the flag out.".format(
                    name, _text(FLAGS[name].value), folder, _text(found.get(name))
                ),
            )
    tokenizer_given = given("vocab_file") or given("spm_model_file")
    for name, base in MODEL_FILES.items():
        if os.path.exists(os.path.join(folder, base)) and (name == "bert_config_file" or not tokenizer_given):
            found[name] = os.path.join(folder, base)
    return {name: value for name, value in found.items() if not given(name)}


def _devices() -> Tuple[str, ...]:
    names = tuple(name.strip().lower().lstrip("/") for name in FLAGS.devices if name.strip())
    for name in names:
        kind, _, number = name.partition(":")
        if kind not in ("cpu", "gpu") or not number.isdigit():
            raise UserError("--devices: {!r} is not a device. Write cpu:0 or gpu:0, separated by commas.".format(name))
    if len(names) > 1 and FLAGS.distribution == "one_device":
        raise UserError("--devices names {} devices: pass --distribution=mirrored, or name one.".format(len(names)))
    if len(set(names)) != len(names):
        raise UserError("--devices names a device twice.")
    return names


def _padding() -> str:
    if not FLAGS.xla:
        return str(FLAGS.padding)
    _require(
        not given("padding") or FLAGS.padding == "fixed",
        "--xla: every other shape would be compiled anew. Give --padding=fixed, or leave --padding out.",
    )
    return "fixed"


def _profile_steps() -> Tuple[int, ...]:
    given_parts = _parts("profile_steps")
    if not given_parts:
        return ()
    _require(FLAGS.do_train, "--profile_steps traces updates: give it with --do_train.")
    steps = tuple(int(part) for part in given_parts if part.isdecimal())
    _require(
        len(steps) == len(given_parts) == 2 and 1 <= steps[0] <= steps[1],
        "--profile_steps={}: not a first and a last update, counted from 1. Write for example 10,12.".format(
            ",".join(given_parts)
        ),
    )
    return steps


def _parts(name: str) -> Tuple[str, ...]:
    """Of a flag that is a list."""
    return tuple(part.strip() for part in list(FLAGS[name].value or ()))


def _numbers(name: str, kind: Callable[[str], Any]) -> Tuple[Any, ...]:
    """Of a flag that is a list of numbers. Raises UserError for another thing."""
    try:
        found = tuple(kind(part) for part in _parts(name))
    except ValueError:
        raise UserError("--{}={}: not a list of numbers.".format(name, ",".join(_parts(name)))) from None
    _require(
        all(0 <= number < float("inf") for number in found), "--{}: a number is below 0 or not finite.".format(name)
    )
    return found


def _patterns(name: str) -> Tuple[str, ...]:
    """Of a flag that is a list of regular expressions. Raises UserError for what is none."""
    for part in _parts(name):
        _require_pattern(name, part)
    return _parts(name)


def _require_pattern(name: str, pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise UserError("--{}: {!r} is not a regular expression ({}).".format(name, pattern, error)) from None


def _multipliers() -> Tuple[Tuple[str, float], ...]:
    found = []
    for part in _parts("lr_multipliers"):
        pattern, _, factor = part.rpartition("=")
        try:
            number = float(factor)
        except ValueError:
            number = -1.0
        _require(
            bool(pattern) and 0 < number < float("inf"),
            "--lr_multipliers: {!r} is not pattern=factor with a factor above 0. To leave variables as they are, name "
            "them in --freeze.".format(part),
        )
        _require_pattern("lr_multipliers", pattern)
        found.append((pattern, number))
    return tuple(found)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise UserError(message)


def classifier_config() -> ClassifierConfig:
    """The parsed flags as frozen slices. Raises UserError for relations that do not hold."""
    f = FLAGS
    for flag in (flag for group in GROUPS.values() for flag in group if flag.kind == "float"):
        value = f[flag.name].value
        _require(
            value is None or math.isfinite(value), "--{}={}: not a finite number. Give one.".format(flag.name, value)
        )
    for name in ("adam_beta1", "adam_beta2", "momentum"):
        _require(f[name].value != 1, "--{}=1: an average that takes in nothing new. Give less.".format(name))
    _require(
        f.do_train or f.do_eval or f.do_predict or f.dry_run or f.check_data,
        "Nothing to do: pass at least one of --do_train, --do_eval, --do_predict, --dry_run, --check_data.",
    )
    _require(not (f.dry_run and f.check_data), "--dry_run and --check_data were both given. Give one.")
    _require(
        f.predict_file != "-" or f.do_predict and not f.do_train,
        "--predict_file=-: standard input is predicted by a command of its own: --do_predict and --model_dir.",
    )
    _require(not f.use_tpu, "--use_tpu: this version does not train on TPUs. Run without it.")
    for flag in _TPU[1:]:
        _require(not given(flag.name) or f.use_tpu, "--{} is read only with --use_tpu. Leave it out.".format(flag.name))
    model: Dict[str, Any] = {}
    _require(
        f.lr_schedule != "piecewise" or not given("learning_rate"),
        "--lr_schedule=piecewise takes its rates from --lr_values: leave --learning_rate out.",
    )
    _require(f.learning_rate > 0, "--learning_rate=0: nothing would be learned. Give a positive rate.")
    _require(
        not (f.vocab_file and f.spm_model_file), "--vocab_file and --spm_model_file were both given. Give the model's."
    )
    if f.check_data:
        model = _from_model(f.model_dir)
        _require(bool(f.data_dir or f.predict_file), "--data_dir (or --predict_file) is needed to check data.")
    elif f.do_train or f.dry_run:
        for name in ("task_name", "data_dir", "bert_config_file", "output_dir"):
            _require(getattr(f, name) is not None, "--{} is needed to train.".format(name))
        _require(
            f.model_dir is None, "--model_dir is for evaluation and prediction; a run that trains uses --output_dir."
        )
        _require(
            not (f.from_scratch and f.init_checkpoint),
            "--from_scratch and --init_checkpoint were both given. Give one.",
        )
        _require(
            f.resume_mode != "weights" or bool(f.init_checkpoint),
            "--resume_mode=weights needs --init_checkpoint: the run, or checkpoint, whose weights it starts from.",
        )
    else:
        _require(not given("class_weights"), "--class_weights weighs what is learned: give it with --do_train.")
        _require(bool(f.model_dir or f.output_dir), "Pass --model_dir (or --output_dir): the folder of a trained run.")
        _require(not f.do_eval or f.data_dir is not None, "--data_dir is needed to evaluate.")
        _require(
            not f.do_predict or bool(f.data_dir or f.predict_file),
            "--predict_file (or --data_dir) is needed to predict.",
        )
        model = _from_model(f.model_dir or f.output_dir)
    lists = {name: _parts(name) for name in ("text_columns", "labels", "class_weights")}
    data = _filled(DataConfig, **dict(lists, **model))
    _check_task(data)
    _require(
        not given("lookahead_alpha") or bool(f.lookahead_steps) or f.optimizer == "ranger",
        "--lookahead_alpha is read with --lookahead_steps, or ranger. Leave it out.",
    )
    for name in ("lookahead_alpha", "layerwise_lr_decay", "plateau_factor", "adam_epsilon"):
        _require(f[name].value != 0, "--{}=0: it would stop training, or divide by 0. Give more.".format(name))
    _require(f.plateau_factor != 1, "--plateau_factor=1: the rate would never be reduced. Give less.")
    _require(
        not (f.do_train or f.dry_run) or f.train_batch_size % f.gradient_accumulation_steps == 0,
        "--train_batch_size={} does not divide by {} parts (--gradient_accumulation_steps). Give a multiple.".format(
            f.train_batch_size, f.gradient_accumulation_steps
        ),
    )
    _require(f.ema_decay < 1.0, "--ema_decay=1: the average would never move. Give for example 0.99.")
    optimizer = _filled(
        OptimizerConfig,
        no_decay_patterns=_patterns("no_decay_patterns"),
        no_decay_patterns_given=given("no_decay_patterns"),
        lr_multipliers=_multipliers(),
        freeze=_patterns("freeze"),
    )
    rule_of(optimizer)  # finds numbers that the rule does not read
    plan = _filled(
        PlanConfig,
        num_train_epochs=_if_given("num_train_epochs"),
        warmup_proportion=_if_given("warmup_proportion"),
        eval_every_epochs=_if_given("eval_every_epochs"),
        lr_boundaries=_numbers("lr_boundaries", int),
        lr_values=_numbers("lr_values", float),
    )
    if f.do_train or f.dry_run:
        check_plan(plan)
    return ClassifierConfig(
        do_train=f.do_train,
        do_eval=f.do_eval,
        do_predict=f.do_predict,
        dry_run=f.dry_run,
        check_data=f.check_data,
        best_metric=f.best_metric,
        data=data,
        plan=plan,
        optimizer=optimizer,
        weights=_filled(WeightsConfig),
        engine=_filled(
            EngineConfig,
            devices=_devices(),
            padding=_padding(),
            profile_steps=_profile_steps(),
            max_seq_length=model.get("max_seq_length", f.max_seq_length),
        ),
    )


# Flags of one task_name alone.
_OF_TASK = {
    "text": ("text_columns", "label_column", "label_type", "labels"),
    "xnli": ("language",),
}


def _check_task(data: DataConfig) -> None:
    """The flags that say what the data is. Raises UserError for relations that do not hold."""
    folder = FLAGS.model_dir or FLAGS.output_dir
    _require(data.task_name is not None, "--task_name is needed: {} has no config.json that says it.".format(folder))
    for task, names in _OF_TASK.items():
        for name in names:
            _require(
                task == data.task_name or not given(name),
                "--{} is of --task_name={}, not of {}. Leave it out.".format(name, task, data.task_name),
            )
    _require(
        bool(data.vocab_file or data.spm_model_file),
        "--vocab_file (or --spm_model_file) is needed: it says what the model's input ids are.",
    )
    _require(
        data.task_name != "ax" or not (FLAGS.do_train or FLAGS.dry_run),
        "--task_name=ax has no training data: train mnli, then predict ax with --model_dir.",
    )
    _require(
        len(data.text_columns) <= 2 and len(set(data.text_columns)) == len(data.text_columns),
        "--text_columns={}: name one column, or two different ones.".format(",".join(data.text_columns)),
    )
    _require(
        len(set(data.labels)) == len(data.labels) != 1,
        "--labels={}: name two or more different classes.".format(",".join(data.labels)),
    )
    label_type = data.label_type if data.task_name == "text" else PROCESSORS[data.task_name or ""].label_type
    for name in ("labels", "class_weights"):
        _require(
            not getattr(data, name) or label_type != "regression",
            "--{}: a number is learned, which has no classes. Leave it out.".format(name),
        )


def _filled(kind: Any, **values: Any) -> Any:
    """A slice of configuration: each field from `values`, else from the flag of its name."""
    names = [field.name for field in dataclasses.fields(kind)]
    return kind(**{name: values[name] if name in values else FLAGS[name].value for name in names})
