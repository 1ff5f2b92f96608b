"""The parsed flags as frozen slices of configuration, and the relations between flags that are checked before all else.

A slice is defined where it is read; a field is filled from the flag of its name.
"""

import dataclasses
import json
import math
import os
import re
from dataclasses import dataclass
from typing import Any, Callable, Dict, Optional, Sequence, Tuple

from flags import FLAGS, flags_of, given, text_of

from ..base.errors import UserError
from ..optimizer_config import OptimizerConfig, rule_of
from ..tasks.classification.registry import PROCESSORS
from ..tasks.model_files import MODEL_FILES, ModelConfig
from ..tasks.tagging.data import TAG_COLUMNS
from ..training.engine_config import EngineConfig, TpuConfig
from ..training.job import RunConfig, WeightsConfig
from ..training.plan import PlanConfig
from ..training.plan import check as check_plan


@dataclass(frozen=True)
class ClassifierDataConfig:
    """Which text becomes which features. None where neither a flag nor the model's folder says."""

    task_name: Optional[str]
    data_dir: Optional[str]
    text_columns: Tuple[str, ...]
    label_column: Optional[str]
    label_type: str
    labels: Tuple[str, ...]
    class_weights: Tuple[str, ...]
    language: str
    skip_bad_lines: int
    predict_file: Optional[str]


@dataclass(frozen=True)
class ClassifierConfig:
    run: RunConfig
    model: ModelConfig
    data: ClassifierDataConfig


@dataclass(frozen=True)
class TaggingDataConfig:
    """Which words become which features, and what stands between vectors and tags."""

    train_file: Optional[str]
    dev_file: Optional[str]
    test_file: Optional[str]
    format: str
    tag_column: str
    tag_scheme: str
    tags_file: Optional[str]
    mend_tags: bool
    text_units: str
    doc_stride: int
    head: str
    lstm_size: int
    lstm_layers: int
    lstm_cell: str
    constrained_decoding: bool
    skip_bad_lines: int
    predict_file: Optional[str]


@dataclass(frozen=True)
class TaggingConfig:
    run: RunConfig
    model: ModelConfig
    data: TaggingDataConfig


# What config.json of a model's folder says of its input, unless the command does. A text that is read otherwise than
# the training text gives noise, so of some the command may not say another thing.
_SAVED_OF_MODEL = ("do_lower_case", "max_seq_length")
_SAVED_OF_CLASSIFIER = ("task_name", "language", "text_columns", "label_column", "label_type")
_SAVED_OF_TAGGER = (
    "text_units",
    "head",
    "lstm_size",
    "lstm_layers",
    "lstm_cell",
    "constrained_decoding",
    "doc_stride",
)
_FIXED = ("label_type", "do_lower_case", "text_units", "head", "lstm_size", "lstm_layers", "lstm_cell")


def classifier_config() -> ClassifierConfig:
    """Of run_classifier.py. Raises UserError for relations that do not hold."""
    f = FLAGS
    _check_flags("run_classifier")
    saved: Dict[str, Any] = {}
    if f.check_data:
        saved = _from_model(f.model_dir, _SAVED_OF_CLASSIFIER)
        _require(bool(f.data_dir or f.predict_file), "--data_dir (or --predict_file) is needed to check data.")
    elif f.do_train or f.dry_run:
        _check_training(("task_name", "data_dir"))
    else:
        _require(not given("class_weights"), "--class_weights weighs what is learned: give it with --do_train.")
        _check_using()
        _require(not f.do_eval or f.data_dir is not None, "--data_dir is needed to evaluate.")
        _require(
            not f.do_predict or bool(f.data_dir or f.predict_file),
            "--predict_file (or --data_dir) is needed to predict.",
        )
        saved = _from_model(f.model_dir or f.output_dir, _SAVED_OF_CLASSIFIER)
    lists = {name: _parts(name) for name in ("text_columns", "labels", "class_weights")}
    data = _filled(ClassifierDataConfig, **dict(lists, **saved))
    _check_task(data)
    return ClassifierConfig(run=_run_config(saved), model=_model_config(saved), data=data)


def tagging_config() -> TaggingConfig:
    """Of run_ner.py. Raises UserError for relations that do not hold."""
    f = FLAGS
    _check_flags("run_ner")
    saved: Dict[str, Any] = {}
    if f.check_data:
        saved = _from_model(f.model_dir, _SAVED_OF_TAGGER)
        files = (f.train_file, f.dev_file, f.test_file, f.predict_file)
        _require(any(files), "--train_file, --dev_file, --test_file or --predict_file is needed to check data.")
    elif f.do_train or f.dry_run:
        _check_training(("train_file",))
    else:
        _check_using()
        saved = _from_model(f.model_dir or f.output_dir, _SAVED_OF_TAGGER)
    _require(f.check_data or not f.do_eval or f.dev_file is not None, "--dev_file is needed to evaluate.")
    _require(
        not f.do_predict or bool(f.test_file or f.predict_file), "--predict_file (or --test_file) is needed to predict."
    )
    _require(
        f.tag_column in TAG_COLUMNS or f.tag_column.isdecimal() and int(f.tag_column) > 0,
        "--tag_column={}: not last, none, or a number from 1 (0 is the word's). Give one.".format(f.tag_column),
    )
    _require(
        f.format != "text" or not (f.do_train or f.do_eval),
        "--format=text has no tags. Give the format of files that have.",
    )
    head = saved.get("head", f.head)
    for name in ("lstm_size", "lstm_layers", "lstm_cell"):
        _require(
            not given(name) or "lstm" in head, "--{} is of --head=bilstm and bilstm_crf. Leave it out.".format(name)
        )
    room = saved.get("max_seq_length", f.max_seq_length) - 2
    stride = f.doc_stride if given("max_seq_length") else saved.get("doc_stride", f.doc_stride)
    _require(
        stride is None or stride <= room,
        "--doc_stride={}: words would be left out between windows of {} pieces (--max_seq_length less 2). Give at most "
        "that.".format(stride, room),
    )
    data = _filled(TaggingDataConfig, **dict(saved, doc_stride=stride or max(room // 2, 1)))
    return TaggingConfig(run=_run_config(saved), model=_model_config(saved), data=data)


# --- relations --------------------------------------------------------------------------------------------------------


def _check_flags(script: str) -> None:
    """What holds whatever is learned."""
    f = FLAGS
    for flag in (flag for flag in flags_of(script) if flag.kind == "float"):
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
    _check_engine()
    _check_buckets()
    _require(
        f.lr_schedule != "piecewise" or not given("learning_rate"),
        "--lr_schedule=piecewise takes its rates from --lr_values: leave --learning_rate out.",
    )
    _require(f.learning_rate > 0, "--learning_rate=0: nothing would be learned. Give a positive rate.")
    _require(
        not (f.vocab_file and f.spm_model_file), "--vocab_file and --spm_model_file were both given. Give the model's."
    )
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


def _check_engine() -> None:
    """What runs where."""
    f = FLAGS
    for name in ("tpu_name", "tpu_zone", "gcp_project", "master", "num_tpu_cores", "iterations_per_loop"):
        _require(not given(name) or f.use_tpu, "--{} is read only with --use_tpu. Leave it out.".format(name))
    on_estimator, given_as = _engine() == "estimator", _engine_flag()
    _require(
        not f.use_tpu or on_estimator,
        "--use_tpu: --engine=session does not run on a TPU. Leave --engine out, or give --engine=estimator.",
    )
    _require(
        not f.use_tpu or f.distribution == "one_device",
        "--use_tpu: a TPU's cores are its replicas. Leave --distribution out.",
    )
    _require(
        not f.use_tpu or bool(f.tpu_name) != bool(f.master),
        "--use_tpu: give --tpu_name (local on a TPU VM) or --master, not both.",
    )
    _require(
        not on_estimator or f.distribution != "multi_worker",
        "--distribution=multi_worker: Estimator runs in one process here. Leave {} out.".format(given_as),
    )
    _require(
        not on_estimator or not f.devices or f.distribution == "mirrored",
        "--devices is read with --distribution=mirrored here. Leave it out, or {}.".format(given_as),
    )
    _require(not (on_estimator and f.xla), "--xla is the session engine's. Leave it or {} out.".format(given_as))
    _require(
        not (on_estimator and f.profile_steps),
        "--profile_steps traces the session engine. Leave it or {} out.".format(given_as),
    )
    _require(
        not f.use_tpu or f.optimizer != "lazyadam",
        "--optimizer=lazyadam: gradients are dense on a TPU, so that no row rests. Use adam.",
    )
    _require(
        f.distribution != "multi_worker" or f.do_train or f.dry_run,
        "--distribution=multi_worker: several workers train. Evaluate and predict with one process, without the flag.",
    )
    _require(
        f.distribution != "multi_worker" or not f.xla,
        "--xla: TensorFlow's clustering fails in a worker, which has the CPU twice. Leave it or "
        "--distribution=multi_worker out.",
    )
    _require(
        f.distribution != "multi_worker" or not f.devices,
        "--devices: each of several workers uses its own GPUs (CUDA_VISIBLE_DEVICES says which). Leave it out.",
    )


def _is_bucket(path: Optional[str]) -> bool:
    return path is not None and "://" in path


def _check_buckets() -> None:
    _require(
        not _is_bucket(FLAGS.cache_dir) or _engine() == "estimator",
        "--cache_dir={}: buckets are for --engine=estimator. Name a local folder.".format(FLAGS.cache_dir),
    )
    for name in ("output_dir", "model_dir", "data_dir", "init_checkpoint"):
        _require(
            name not in FLAGS or not _is_bucket(FLAGS[name].value),
            "--{}: name a local path. What a TPU's machine reads and writes goes through --cache_dir, which may be a "
            "bucket's.".format(name),
        )


def _engine_flag() -> str:
    """What the user said for Estimator."""
    return "--use_tpu" if FLAGS.use_tpu else "--engine=estimator"


def _engine() -> str:
    """--use_tpu selects Estimator."""
    return "estimator" if FLAGS.use_tpu and not given("engine") else str(FLAGS.engine)


def _check_training(needed: Sequence[str]) -> None:
    f = FLAGS
    for name in tuple(needed) + ("bert_config_file", "output_dir"):
        _require(getattr(f, name) is not None, "--{} is needed to train.".format(name))
    _require(f.model_dir is None, "--model_dir is for evaluation and prediction; a run that trains uses --output_dir.")
    _require(
        not (f.from_scratch and f.init_checkpoint), "--from_scratch and --init_checkpoint were both given. Give one."
    )
    _require(
        f.resume_mode != "weights" or bool(f.init_checkpoint),
        "--resume_mode=weights needs --init_checkpoint: the run, or checkpoint, whose weights it starts from.",
    )


def _check_using() -> None:
    _require(
        bool(FLAGS.model_dir or FLAGS.output_dir), "Pass --model_dir (or --output_dir): the folder of a trained run."
    )


def _check_task(data: ClassifierDataConfig) -> None:
    """The flags that say what the data is. Raises UserError for relations that do not hold."""
    folder = FLAGS.model_dir or FLAGS.output_dir
    _require(data.task_name is not None, "--task_name is needed: {} has no config.json that says it.".format(folder))
    for task, processor in PROCESSORS.items():
        for name in processor.options:
            _require(
                task == data.task_name or not given(name),
                "--{} is of --task_name={}, not of {}. Leave it out.".format(name, task, data.task_name),
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
    label_type = PROCESSORS[data.task_name or ""].from_options(dataclasses.asdict(data)).label_type
    for name in ("labels", "class_weights"):
        _require(
            not getattr(data, name) or label_type != "regression",
            "--{}: a number is learned, which has no classes. Leave it out.".format(name),
        )


# --- slices -----------------------------------------------------------------------------------------------------------


def _run_config(saved: Dict[str, Any]) -> RunConfig:
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
    if FLAGS.do_train or FLAGS.dry_run:
        check_plan(plan)
    return _filled(
        RunConfig,
        plan=plan,
        cache_dir=None if _is_bucket(FLAGS.cache_dir) else FLAGS.cache_dir,
        optimizer=optimizer,
        weights=_filled(WeightsConfig),
        engine=_filled(
            EngineConfig,
            engine=_engine(),
            tpu=_filled(TpuConfig),
            bucket=FLAGS.cache_dir if _is_bucket(FLAGS.cache_dir) else None,
            devices=_devices(),
            padding=_padding(),
            profile_steps=_profile_steps(),
            max_seq_length=saved.get("max_seq_length", FLAGS.max_seq_length),
        ),
    )


def _model_config(saved: Dict[str, Any]) -> ModelConfig:
    found = _filled(ModelConfig, **saved)
    _require(
        bool(found.vocab_file or found.spm_model_file),
        "--vocab_file (or --spm_model_file) is needed: it says what the model's input ids are.",
    )
    return found


def _from_model(folder: Optional[str], names: Sequence[str]) -> Dict[str, Any]:
    """What a trained model's folder says of its own input: the values of the flags that need not be given with it."""
    found: Dict[str, Any] = {}
    if folder is None:
        return found
    path = os.path.join(folder, "config.json")
    if os.path.exists(path):
        try:
            with open(path, encoding="utf-8") as file:
                content = json.load(file)
            saved = dict(content["data"], **content.get("model", {}))
            found = {name: saved[name] for name in tuple(names) + _SAVED_OF_MODEL if name in saved}
        except (ValueError, KeyError, TypeError):
            raise UserError("{}: not the config.json of a run. Restore it from a copy.".format(path)) from None
        if "text_columns" in names:
            found["text_columns"] = tuple(found.get("text_columns", ()))
        for name in (name for name in _FIXED if name in found):
            _require(
                not given(name) or FLAGS[name].value == found[name],
                "--{}={}: the model in {} was trained with {}. Leave the flag out.".format(
                    name, text_of(FLAGS[name].value), folder, text_of(found[name])
                ),
            )
    tokenizer_given = given("vocab_file") or given("spm_model_file")
    for name, base in MODEL_FILES.items():
        if os.path.exists(os.path.join(folder, base)) and (name == "bert_config_file" or not tokenizer_given):
            found[name] = os.path.join(folder, base)
    return {name: value for name, value in found.items() if not given(name)}


def _filled(kind: Any, **values: Any) -> Any:
    """A slice of configuration: each field from `values`, else from the flag of its name."""
    names = [field.name for field in dataclasses.fields(kind)]
    return kind(**{name: values[name] if name in values else FLAGS[name].value for name in names})


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
    for wants_fixed, why in (
        (FLAGS.xla, "--xla: every other shape would be compiled anew"),
        (_engine() == "estimator", _engine_flag() + ": Estimator's shapes are static here, as a TPU wants them"),
    ):
        _require(
            not wants_fixed or not given("padding") or FLAGS.padding == "fixed",
            why + ". Give --padding=fixed, or leave --padding out.",
        )
    return "fixed" if FLAGS.xla or _engine() == "estimator" else str(FLAGS.padding)


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


def _if_given(name: str) -> Any:
    return FLAGS[name].value if given(name) else None


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
