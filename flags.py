"""Every flag: its definition, and the parsing of a command line.

The one place that touches absl. A flag is a row of a table: name, kind, default, meaning, bounds. Relations between
flags are checked in configuration.py, before anything is read or written. "Given" means given by the user, which is not
the same as different from the default.
"""

import sys
from typing import Any, Callable, Dict, List, NamedTuple, NoReturn, Optional, Sequence

from absl import flags as absl_flags

from steady_bert.base.errors import UserError
from steady_bert.optimizers import RULES
from steady_bert.schedules import DECAY_BEGINS, SCHEDULES
from steady_bert.tasks.classification.own_text import LABEL_TYPES
from steady_bert.tasks.classification.registry import PROCESSORS
from steady_bert.tasks.tagging import data as tagging_data
from steady_bert.tasks.tagging.heads import CELLS, HEADS
from steady_bert.training.plan import DEFAULT_EPOCHS, DEFAULT_EVAL_EPOCHS, DEFAULT_WARMUP_PROPORTION, PlanConfig
from steady_bert.training.resume import RESUME_MODES

FLAGS = absl_flags.FLAGS


class Flag(NamedTuple):
    """One row. kind: string, integer, float, boolean, list, or a tuple of the values allowed."""

    name: str
    kind: Any
    default: Any
    meaning: str
    lower: Optional[float] = None
    upper: Optional[float] = None


_CLASSIFICATION = [
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
]
_TAGGING = [
    Flag("train_file", "string", None, "Tagged sentences to train on."),
    Flag("dev_file", "string", None, "Tagged sentences to evaluate on."),
    Flag("test_file", "string", None, "Sentences to predict; scored too where they have tags."),
    Flag(
        "format",
        tagging_data.FORMATS,
        "auto",
        "columns: a word a line; json: spans by characters; cluener: CLUENER's JSON; text: a text a line, untagged. "
        "auto: JSON where a file's name says so, else columns; of standard input, text.",
    ),
    Flag("tag_column", "string", "last", "Of columns: the tag's, a number from 0, last, or none. The word's is 0."),
    Flag(
        "tag_scheme",
        tagging_data.SCHEMES,
        "auto",
        "How tags mark entities; plain: they mark none (any word-level tagging). auto: what a file's tags look like.",
    ),
    Flag("tags_file", "string", None, "The tags, one a line, in the order of their ids; else those of train_file."),
    Flag(
        "mend_tags",
        "boolean",
        False,
        "Read impossible tags as conlleval does, and of entities that overlap the longer; each case is reported.",
    ),
    Flag(
        "text_units",
        tagging_data.UNITS,
        "auto",
        "What gets a tag each in json, cluener and text. auto: characters where the training words are, else words.",
    ),
    Flag("head", tuple(sorted(HEADS)), "softmax", "What turns vectors into tags."),
    Flag("lstm_size", "integer", 128, "Of bilstm and bilstm_crf: units a direction.", 1),
    Flag("lstm_layers", "integer", 1, "Of bilstm and bilstm_crf: how many, one on the other.", 1),
    Flag("lstm_cell", tuple(sorted(CELLS)), "lstm", "Of bilstm and bilstm_crf: the recurrent cell."),
    Flag("constrained_decoding", "boolean", False, "Never predict an I- that nothing begins."),
    Flag(
        "doc_stride",
        "integer",
        None,
        "Pieces between the beginnings of a long sentence's windows; half of their room if not given.",
        1,
    ),
]
_INPUT = [
    Flag("bert_config_file", "string", None, "JSON file of the model's sizes; belongs to init_checkpoint."),
    Flag("vocab_file", "string", None, "WordPiece vocabulary; belongs to init_checkpoint."),
    Flag("spm_model_file", "string", None, "SentencePiece model, for a BERT trained on one; instead of vocab_file."),
    Flag("do_lower_case", "boolean", True, "Lower-case the text; true for uncased models, false for cased ones."),
    Flag(
        "max_seq_length",
        "integer",
        128,
        "Tokens of an example, [CLS] and [SEP] included; longer ones are cut, of tags read in windows.",
        3,
    ),
    Flag("max_train_examples", "integer", None, "Train on this many examples, chosen by seed.", 1),
    Flag("max_eval_examples", "integer", None, "Evaluate on this many examples, chosen by seed.", 1),
    Flag(
        "cache_dir",
        "string",
        None,
        "Folder of the record cache; output_dir/cache if not given. With engine=estimator it may be in a bucket, where "
        "records and checkpoints then go for the machine of a TPU.",
    ),
    Flag("skip_bad_lines", "integer", 0, "Lines of a file that may be left out because they cannot be read.", 0),
    Flag("predict_file", "string", None, "File to predict, - for standard input; the task's test file if not given."),
    Flag(
        "predict_output",
        "string",
        None,
        "Where predictions go; output_dir/predictions.tsv (of tags: .conll, and .jsonl beside it) if not given.",
    ),
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
        "Print labels or entities by type, lengths, what is cut, unknown pieces, duplicates and contradictions, and "
        "stop; needs no model.",
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
    Flag("learning_rate", "float", PlanConfig.learning_rate, "The peak of the schedule.", 0.0),
    Flag("lr_schedule", tuple(sorted(SCHEDULES)), PlanConfig.lr_schedule, "How the rate falls after warm-up."),
    Flag(
        "end_learning_rate",
        "float",
        PlanConfig.end_learning_rate,
        "Where polynomial, cosine and exponential decay end; plateau's least rate.",
        0.0,
    ),
    Flag("decay_power", "float", PlanConfig.decay_power, "Power of polynomial decay; 1: linear.", 0.0),
    Flag(
        "decay_cycle",
        "boolean",
        PlanConfig.decay_cycle,
        "Polynomial decay begins again after the horizon, which doubles, triples, …",
    ),
    Flag(
        "decay_begin",
        DECAY_BEGINS,
        PlanConfig.decay_begin,
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
    Flag(
        "plateau_factor",
        "float",
        PlanConfig.plateau_factor,
        "Of plateau: what the rate is multiplied by when dev stalls.",
        0.0,
        1.0,
    ),
    Flag(
        "plateau_patience",
        "integer",
        PlanConfig.plateau_patience,
        "Of plateau: evaluations without a better best_metric before that.",
        1,
    ),
    Flag(
        "plateau_min_delta", "float", PlanConfig.plateau_min_delta, "Of plateau: how much better counts as better.", 0.0
    ),
    Flag("train_batch_size", "integer", PlanConfig.train_batch_size, "Examples an update, over all replicas.", 1),
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
    Flag("seed", "integer", PlanConfig.seed, "Of everything random.", 0),
    Flag(
        "shuffle",
        "boolean",
        PlanConfig.shuffle,
        "A new permutation of the training set every epoch; false: file order.",
    ),
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
    Flag(
        "early_stopping_patience",
        "integer",
        PlanConfig.early_stopping_patience,
        "Evaluations without improvement before the run stops; 0: off.",
        0,
    ),
    Flag(
        "save_checkpoints_steps",
        "integer",
        PlanConfig.save_checkpoints_steps,
        "Steps between checkpoints; one is also written at the end.",
        1,
    ),
    Flag("keep_checkpoint_max", "integer", 5, "Checkpoints kept besides the best; 0: all.", 0),
    Flag("log_every_steps", "integer", 10, "Steps between reports of the loss; 0: none.", 0),
    Flag("profile_steps", "list", "", "A first and a last update, as 10,12: each is traced to output_dir/profile."),
    Flag(
        "engine",
        ("session", "estimator"),
        "session",
        "What trains: one graph in one session, or TensorFlow's Estimator (2.15 or earlier; use_tpu selects it).",
    ),
    Flag(
        "distribution",
        ("one_device", "mirrored", "multi_worker"),
        "one_device",
        "How replicas are made: mirrored over the devices of this machine, or over the workers that TF_CONFIG names.",
    ),
    Flag("devices", "list", "", "Devices for mirrored, as gpu:0,gpu:1; all GPUs if not given."),
]
_TPU = [
    Flag("use_tpu", "boolean", False, "Train on a TPU, by TPUEstimator (TensorFlow 2.15 or earlier)."),
    Flag("tpu_name", "string", None, "With use_tpu: the TPU's name."),
    Flag("tpu_zone", "string", None, "With use_tpu: its zone."),
    Flag("gcp_project", "string", None, "With use_tpu: its project."),
    Flag("master", "string", None, "With use_tpu: a TensorFlow master address."),
    Flag("num_tpu_cores", "integer", 8, "With use_tpu: its cores.", 1),
    Flag("iterations_per_loop", "integer", 1000, "With use_tpu: steps in one call of the TPU.", 1),
]

_TRAINING: Dict[str, List[Flag]] = {
    "How long, and how fast it learns": _LENGTH,
    "The update": _UPDATE,
    "Where weights come from, and continuing": _WEIGHTS,
    "Evaluation and engine": _ENGINE,
    "TPU (upstream's flags)": _TPU,
}
# By script, title of a group → its flags.
GROUPS: Dict[str, Dict[str, List[Flag]]] = {
    "run_classifier": {
        "What to do": _PHASES,
        "Task": _CLASSIFICATION,
        "Data and model": _INPUT,
        **_TRAINING,
    },
    "run_ner": {
        "What to do": _PHASES,
        "Tagging": _TAGGING,
        "Data and model": _INPUT,
        **_TRAINING,
    },
}


def flags_of(script: str) -> List[Flag]:
    return [flag for group in GROUPS[script].values() for flag in group]


# --- registering and parsing ------------------------------------------------------------------------------------------


def _meaning(flag: Flag) -> str:
    return flag.meaning if flag.default in (None, "") else "{} Default: {}.".format(flag.meaning, text_of(flag.default))


def text_of(value: Any) -> str:
    """As the command line has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def register(script: str) -> None:
    """Defines the flags of a script, a key of GROUPS. Those that another script has defined, or a call before, stay."""
    for flag in flags_of(script):
        if flag.name in FLAGS and FLAGS.find_module_defining_flag(flag.name) in GROUPS:
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
    for title, group in GROUPS[script].items():
        lines += ["", title]
        for flag in group:
            values = " ({})".format(" | ".join(flag.kind)) if isinstance(flag.kind, tuple) else ""
            lines.append("  --{:<25} {}{}".format(flag.name, _meaning(flag), values))
    return "\n".join(lines)


def run(script: str, main: Callable[[], None], argv: Sequence[str], description: str) -> NoReturn:
    """Parses the command line, calls main, and exits: 0 done, 2 a mistake of the user's."""
    if any(argument in ("--help", "-h", "-help", "-?", "--helpfull", "--helpshort") for argument in argv[1:]):
        print(help_text(script, description))
        sys.exit(0)
    try:
        rest = FLAGS(list(argv))
        if rest[1:]:
            raise UserError("{!r} is not a flag. Write --name=value.".format(rest[1]))
        _refuse_flags_of_others(script)
        main()
    except (absl_flags.Error, UserError) as error:
        print("{}: error: {}".format(script, error), file=sys.stderr)
        sys.exit(2)
    sys.exit(0)


def _refuse_flags_of_others(script: str) -> None:
    """Of a process that has imported more than one script; elsewhere absl does not know them."""
    own = {flag.name for flag in flags_of(script)}
    for flag in (flag for other in GROUPS for flag in flags_of(other)):
        if flag.name not in own and flag.name in FLAGS and given(flag.name):
            raise UserError("--{} is no flag of {}.py. Leave it out.".format(flag.name, script))


def given(name: str) -> bool:
    return bool(FLAGS[name].present)


def given_flags(script: str) -> List[str]:
    """The flags that the user gave, one `--name=value` a line of a flagfile."""
    return [FLAGS[flag.name].serialize() for flag in flags_of(script) if given(flag.name)]
