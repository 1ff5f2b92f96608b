"""The flags as frozen slices of configuration. Pure: no TensorFlow.

A slice is defined where it is read; a field is filled from the flag of its name.
"""

import dataclasses
import functools
import os
import re
from typing import Any, Dict, List, Optional, Sequence, Tuple

from ..base import json_files
from ..interchange import folders
from ..optimizer_config import OptimizerConfig, rule_of
from ..serving.settings import ServingConfig
from ..tasks.classification.config import ClassifierConfig, ClassifierDataConfig
from ..tasks.model_files import MODEL_FILES, THRESHOLD_FILE, ModelConfig, RunConfigFile
from ..tasks.pretraining import examples
from ..tasks.pretraining.training_config import PretrainingConfig, PretrainingInput
from ..tasks.questions.config import QuestionsConfig, QuestionsDataConfig
from ..tasks.tagging.config import TaggingConfig, TaggingDataConfig
from ..training import plan as plans
from ..training import regularizers
from ..training.engine_config import EngineConfig, TpuConfig
from ..training.job import RunConfig, WeightsConfig
from ..training.plan import PlanConfig
from . import model_flag, relations
from .help_screens import text_of
from .list_flags import (
    Values,
    WithConstants,
    devices,
    filled,
    items,
    matching_files,
    multipliers,
    numbers,
    patterns,
    profile_steps,
    report_to,
    require,
)
from .training_flags import AUTO, Flag

# What config.json in a model's folder says of its input, unless the command does. A text that is read otherwise than
# the training text gives noise, so the command may not contradict some of it.
_SAVED_OF_MODEL = ("do_lower_case", "max_seq_length")
_SAVED_OF_CLASSIFIER = (
    "task_name",
    "language",
    "text_columns",
    "label_column",
    "label_type",
    "label_separator",
    "long_text",
    "window_stride",
    "window_pooling",
    "multi_label_threshold",
)
_SAVED_OF_TAGGER = (
    "text_units",
    "head",
    "lstm_size",
    "lstm_layers",
    "lstm_cell",
    "constrained_decoding",
    "doc_stride",
)
_SAVED_OF_PRETRAINING = (
    "text_form",
    "segmentation_suffix",
    "use_next_sentence_task",
    "max_predictions_per_seq",
    "masked_lm_prob",
    "short_seq_prob",
    "do_whole_word_mask",
)
# What run_pretraining does not do, as the flags of the other scripts say it.
_NOT_OF_PRETRAINING = dict(
    do_predict=False, predict_file=None, predict_output=None, predict_batch_size=8, encoding="auto", skip_bad_lines=0
)
_SAVED_OF_QUESTIONS = (
    "version_2_with_negative",
    "null_score_diff_threshold",
    "doc_stride",
    "max_query_length",
    "n_best_size",
    "max_answer_length",
    "score_by",
)
_FIXED = ("label_type", "do_lower_case", "text_units", "head", "lstm_size", "lstm_layers", "lstm_cell")


def classifier_config(f: Values) -> ClassifierConfig:
    """The configuration of run_classifier. Raises UserError for relations that do not hold."""
    relations.check_common(f)
    f = model_flag.expanded(f)
    task_name = f.task_name and f.task_name.lower()  # upstream's too
    relations.check_task_name(task_name)
    saved: Dict[str, Any] = {}
    if not f.check_data and (f.do_train or f.dry_run):
        relations.check_training(f, ("task_name", "data_dir"))
    else:
        relations.check_classifier_files(f)
        saved = _from_model(f, f.model_dir if f.check_data else f.model_dir or f.output_dir, _SAVED_OF_CLASSIFIER)
    values: Dict[str, Any] = {name: items(f, name) for name in ("text_columns", "labels", "class_weights")}
    values.update(saved, task_name=task_name or saved.get("task_name"))
    if saved.get("multi_label_threshold") == "tune":
        values["multi_label_threshold"] = "saved"
    if f.given("max_seq_length"):
        values.pop("window_stride", None)  # was chosen for windows of another length
    data = filled(f, ClassifierDataConfig, **values)
    relations.check_task(f, data)
    relations.check_threshold(f, data)
    relations.check_long_texts(f, data, saved.get("max_seq_length", f.max_seq_length))
    return ClassifierConfig(run=_run_config(f, saved), model=_model_config(f, saved), data=data)


def tagging_config(f: Values) -> TaggingConfig:
    """The configuration of run_ner. Raises UserError for relations that do not hold."""
    relations.check_common(f)
    f = model_flag.expanded(f)
    saved = _saved_for(f, ("train_file",), _SAVED_OF_TAGGER)
    relations.check_tagging(f, saved.get("head", f.head))
    data = filled(
        f,
        TaggingDataConfig,
        **dict(saved, doc_stride=_doc_stride(f, saved), class_weights=items(f, "class_weights")),
    )
    return TaggingConfig(run=_run_config(f, saved), model=_model_config(f, saved), data=data)


def pretraining_config(f: Values) -> PretrainingConfig:
    """The configuration of run_pretraining. Raises UserError for relations that do not hold."""
    f = WithConstants(f, _NOT_OF_PRETRAINING)
    relations.check_common(f)
    f = model_flag.expanded(f)
    trains = (f.do_train or f.dry_run) and not f.check_data
    saved: Dict[str, Any] = {}
    if f.check_data:
        saved = _from_model(f, f.model_dir, _SAVED_OF_PRETRAINING)
    elif trains:
        relations.check_training(f, ())
    else:
        relations.check_using(f)
        saved = _from_model(f, f.model_dir or f.output_dir, _SAVED_OF_PRETRAINING)
    relations.check_pretraining(f, saved, trains)
    data = filled(f, PretrainingInput, **{**saved, "files": _pretraining_files(f)})
    if f.given("num_train_epochs") and not f.given("num_warmup_steps"):  # a tenth, as 10,000 steps of 100,000
        f = model_flag.Expanded(f, {"num_warmup_steps": None})
    most = f.max_eval_examples if f.given("max_eval_examples") else f.max_eval_steps * f.eval_batch_size
    run = dataclasses.replace(_run_config(f, saved), max_eval_examples=most)
    return PretrainingConfig(run, _model_config(f, saved, needs_vocabulary=bool(f.text_files)), data)


def _pretraining_files(f: Values) -> Dict[str, Tuple[str, ...]]:
    """Split → its files."""
    files: Dict[str, Tuple[str, ...]] = {}
    for split, name in (("train", "text_files" if f.text_files else "input_file"), ("dev", "dev_file")):
        if not getattr(f, name):
            continue
        files[split] = matching_files(getattr(f, name), name)
        kinds = {path: examples.is_record_file(path) for path in files[split] if os.path.getsize(path)}
        require(kinds, "--{}: {} is empty. Name files with text or records.".format(name, files[split][0]))
        for path, is_records in kinds.items():
            expected = {"input_file": True, "text_files": False}.get(name, next(iter(kinds.values())))
            require(
                is_records == expected,
                "--{}: {} holds {}. Name records with --input_file, text with --text_files, and one of them with "
                "--dev_file.".format(name, path, "records" if is_records else "text"),
            )
    if "dev" not in files and f.do_eval:
        files["dev"] = files["train"]
    return files


def questions_config(f: Values) -> QuestionsConfig:
    """The configuration of run_squad. Raises UserError for relations that do not hold."""
    relations.check_common(f)
    f = model_flag.expanded(f)
    saved = _saved_for(f, ("train_file",), _SAVED_OF_QUESTIONS)
    values = dict(saved)
    tuned = os.path.lexists(os.path.join(f.model_dir or f.output_dir or "", THRESHOLD_FILE))
    if not f.given("null_score_diff_threshold") and (tuned or "null_score_diff_threshold" not in saved):
        values["null_score_diff_threshold"] = None  # the model's own, if it has one
    data = filled(f, QuestionsDataConfig, **values)
    relations.check_questions(f, data, saved.get("max_seq_length", f.max_seq_length))
    return QuestionsConfig(run=_run_config(f, saved), model=_model_config(f, saved), data=data)


def serving_config(f: Values) -> ServingConfig:
    """The configuration of serve. Raises UserError for relations that do not hold."""
    require(f.model_dir, "--model_dir is needed: the folder of a trained run, or of a pre-trained model.")
    require(os.path.isdir(f.model_dir), "--model_dir={}: no such folder. Check the path.".format(f.model_dir))
    name = f.model_name or os.path.basename(os.path.abspath(f.model_dir))
    require(
        re.fullmatch(r"[\w.-]+", name),
        "--model_name={}: letters, digits, '.', '_' and '-' may be in it, for it is part of a path.".format(name),
    )
    require(
        f.max_texts <= f.max_queued_texts,
        "--max_texts={} is above --max_queued_texts={}: such a request would never be answered. Lower it, or raise the "
        "other.".format(f.max_texts, f.max_queued_texts),
    )
    config: ServingConfig = filled(f, ServingConfig, model_name=name)
    return config


def _doc_stride(f: Values, saved: Dict[str, Any]) -> int:
    room = saved.get("max_seq_length", f.max_seq_length) - 2
    stride = f.doc_stride if f.given("max_seq_length") else saved.get("doc_stride", f.doc_stride)
    require(
        stride is None or stride <= room,
        "--doc_stride={}: words would be left out between windows of {} pieces (--max_seq_length less 2). Give at most "
        "that.".format(stride, room),
    )
    return int(stride or max(room // 2, 1))


# --- slices -----------------------------------------------------------------------------------------------------------


def _run_config(f: Values, saved: Dict[str, Any]) -> RunConfig:
    optimizer = filled(
        f,
        OptimizerConfig,
        no_decay_patterns=patterns(f, "no_decay_patterns"),
        no_decay_patterns_given=f.given("no_decay_patterns"),
        lr_multipliers=multipliers(f),
        freeze=patterns(f, "freeze"),
    )
    rule_of(optimizer)  # raises for numbers that the rule does not read
    return filled(
        f,
        RunConfig,
        plan=_plan_config(f),
        cache_dir=None if relations.is_bucket(f.cache_dir) else f.cache_dir,
        optimizer=optimizer,
        weights=filled(f, WeightsConfig, allow_changed_files=relations.changed_files(f)),
        engine=_engine_config(f, saved),
    )


def _plan_config(f: Values) -> PlanConfig:
    """The plan's numbers. Those with a default that another flag replaces are None where they were not given."""
    pairs = {
        "num_train_epochs": "num_train_steps",
        "warmup_proportion": "num_warmup_steps",
        "eval_every_epochs": "eval_every_steps",
    }
    given = {name: getattr(f, name) if f.given(name) else None for name in pairs}
    # A script may have a default number of steps.
    given.update((steps, None) for name, steps in pairs.items() if f.given(name) and not f.given(steps))
    if f.learning_rate == AUTO:  # any rate that goes with the others, until the plan computes it
        given.update(auto_rate=True, learning_rate=max(PlanConfig.learning_rate, f.end_learning_rate))
    given.update((name, off) for name, off in regularizers.OFF.items() if name not in f.flags)  # of other scripts
    config = filled(
        f,
        PlanConfig,
        lr_boundaries=numbers(f, "lr_boundaries", int),
        lr_values=numbers(f, "lr_values", float),
        **dict({"auto_rate": False}, **given),
    )
    if f.do_train or f.dry_run:
        plans.check(config)
    return config


def _engine_config(f: Values, saved: Dict[str, Any]) -> EngineConfig:
    engine = relations.engine(f)
    return filled(
        f,
        EngineConfig,
        engine=engine,
        tpu=filled(f, TpuConfig),
        bucket=f.cache_dir if relations.is_bucket(f.cache_dir) else None,
        devices=devices(f),
        padding="fixed" if f.xla or engine == "estimator" else f.padding,
        profile_steps=profile_steps(f),
        # Who asks for a report every so many steps reads the lines.
        log_every_secs=0.0 if f.given("log_every_steps") and not f.given("log_every_secs") else f.log_every_secs,
        report_to=report_to(f),
        max_seq_length=saved.get("max_seq_length", f.max_seq_length),
    )


def _model_config(f: Values, saved: Dict[str, Any], needs_vocabulary: bool = True) -> ModelConfig:
    config = filled(f, ModelConfig, **saved)
    require(
        config.vocab_file or config.spm_model_file or not needs_vocabulary,
        "--vocab_file (or --spm_model_file) is needed: it says what the model's input ids are.",
    )
    return config


def _saved_for(f: Values, needed: Sequence[str], names: Sequence[str]) -> Dict[str, Any]:
    """What a trained model's folder says of its input, by `names`; nothing for a command that trains, or plans to.

    needed: the flags that such a command needs. Raises UserError if the command lacks one, or a model.
    """
    if f.check_data:
        return _from_model(f, f.model_dir, names)
    if f.do_train or f.dry_run:
        relations.check_training(f, needed)
        return {}
    relations.check_using(f)
    return _from_model(f, f.model_dir or f.output_dir, names)


def _from_model(f: Values, folder: Optional[str], names: Sequence[str]) -> Dict[str, Any]:
    """What a trained model's folder says of its own input: the values of the flags that need not be given with it."""
    if folder is None:
        return {}
    path = os.path.join(folder, "config.json")
    saved: Dict[str, Any] = {}
    if folders.kind_of(folder) == folders.HUGGING_FACE:
        saved = {name: value for name, value in folders.described(folder).task.items() if name in names}
    elif os.path.lexists(path):
        saved = _read_config(f, path, tuple(names) + _SAVED_OF_MODEL)
        if "text_columns" in names:
            saved["text_columns"] = tuple(saved.get("text_columns") or ())
    for name in (name for name in _FIXED if name in saved):
        require(
            not f.given(name) or getattr(f, name) == saved[name],
            "--{}={}: the model in {} was trained with {}. Leave the flag out.".format(
                name, text_of(getattr(f, name)), folder, text_of(saved[name])
            ),
        )
    tokenizer_given = f.given("vocab_file") or f.given("spm_model_file")
    for name, base in MODEL_FILES.items():
        if os.path.exists(os.path.join(folder, base)) and (name == "bert_config_file" or not tokenizer_given):
            saved[name] = os.path.join(folder, base)
    return {name: value for name, value in saved.items() if not f.given(name)}


def _read_config(f: Values, path: str, names: Tuple[str, ...]) -> Dict[str, Any]:
    """The values of so many flags in a run's config.json, which are as the table of flags says."""
    content = json_files.read(path, RunConfigFile)
    values = dict(content["data"], **(content.get("model") or {}))
    values = {name: values[name] for name in names if name in values}
    flags = [f.flags[name] for name in values]
    json_files.require(values, path, _schema_of(tuple(flags)))
    for flag in flags:
        if isinstance(flag.kind, tuple):
            json_files.require_choice(path, flag.name, values[flag.name], flag.kind)
        if flag.kind == "integer":
            least, most = flag.lower or 0, flag.upper or 1 << 31
            json_files.require_range(path, values, [flag.name], int(least), int(most))
    return values


@functools.lru_cache(maxsize=None)
def _schema_of(flags: Tuple[Flag, ...]) -> type:
    """The schema of settings that are the values of flags."""
    types: Dict[Any, Any] = {"boolean": bool, "integer": int, "float": float, "list": List[str]}
    keys = [(flag.name, Optional[types.get(flag.kind, str)], None) for flag in flags]
    return dataclasses.make_dataclass("_Settings", keys)
