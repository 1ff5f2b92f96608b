"""A run's folder, read as `--do_predict --model_dir=FOLDER` reads it: task, tokenizer, labels, checkpoint."""

import os
import warnings
from dataclasses import dataclass
from typing import Any, Dict, NamedTuple, Optional, Sequence, Tuple, Union

import modeling

from ..base import json_files
from ..base.errors import UserError
from ..command_line import configuration
from ..command_line.flag_table import flags_of
from ..interchange import folders
from ..tasks import model_files
from ..tasks.classification import assembly as classification
from ..tasks.classification import job as classification_job
from ..tasks.classification.assembly import TaskInputs
from ..tasks.tagging import assembly as tagging
from ..tasks.tagging import job as tagging_job
from ..tasks.tagging.assembly import TaggingInputs
from ..tasks.task import Task
from ..training import checkpoint, manifest
from ..training.engine_config import EngineConfig


class SavedRun(NamedTuple):
    """A trained model in its folder; no graph is built yet."""

    folder: str
    script: str  # run_classifier or run_ner
    prefix: str  # of the checkpoint that is served
    config: Any  # ClassifierConfig or TaggingConfig, as --do_predict has it
    inputs: Union[TaskInputs, TaggingInputs]  # tokenizer, labels, bert_config, lengths
    task: Task

    @property
    def engine(self) -> EngineConfig:
        engine: EngineConfig = self.config.run.engine
        return engine

    @property
    def kind(self) -> str:
        """What is predicted: single, multi or regression for texts; bio or plain for words."""
        if isinstance(self.inputs, TaggingInputs):
            return "plain" if self.inputs.plain else "bio"
        return self.inputs.processor.label_type

    @property
    def bert_config(self) -> modeling.BertConfig:
        config = self.inputs.bert_config
        assert config is not None  # only data that is checked has none
        return config

    @property
    def text_counts(self) -> Sequence[int]:
        """How many texts are read together: 1, 2, or either."""
        return (1,) if isinstance(self.inputs, TaggingInputs) else self.inputs.processor.text_counts


def open_run(folder: str, which: Optional[str] = None, **given: Any) -> SavedRun:
    """Reads a run's folder.

    which: "best" or "last" checkpoint; None: the best if there is one, else the last. given: further flags of the
    command, such as precision. Raises UserError for a folder without a trained run, and for values that a flag does not
    take.
    """
    script = script_of(folder)
    for line in manifest.verify(folder, given.get("allow_changed_files", ()), by_flag=False):
        warnings.warn(line, stacklevel=2)
    # No file is read to predict, but the command must name one.
    command = _Command(script, dict(given, model_dir=folder, do_predict=True, predict_file=_labels_file(folder)))
    prefix = checkpoint.resolve(folder, which)
    if script == "run_ner":
        config: Any = configuration.tagging_config(command)
        tagging_inputs = tagging_job.inputs_of(config, folder)
        task = tagging.tagging_task(tagging_inputs, tagging.Reader(tagging_inputs))
        return SavedRun(folder, script, prefix, config, tagging_inputs, task)
    config = configuration.classifier_config(command)
    inputs = classification_job.inputs_of(config, folder)
    return SavedRun(folder, script, prefix, config, inputs, classification.classification_task(inputs))


def is_run(folder: str) -> bool:
    """Whether a folder says that it is a run's, or has what predicting takes from one, as a copy without plan.json.

    A run of run_pretraining predicts nothing: it is a pre-trained model.
    """
    kind = folders.kind_of(folder)
    names = set(os.listdir(folder)) if os.path.isdir(folder) else set()
    has_what_predicts = {model_files.LABELS_FILE, "config.json"} <= names
    if kind == folders.RUN:
        return has_what_predicts or "config.json" not in names or not _is_pretraining(folder)
    return kind != folders.HUGGING_FACE and has_what_predicts


def _is_pretraining(folder: str) -> bool:
    content = json_files.read(os.path.join(folder, "config.json"), model_files.RunConfigFile)
    return "use_next_sentence_task" in content["data"]


class OwnSettings(NamedTuple):
    """What a run was trained with. None: the folder does not say it."""

    max_seq_length: Optional[int] = None
    precision: Optional[str] = None


@dataclass
class _Engine:
    precision: Optional[str] = None


@dataclass
class _Run:
    engine: Optional[_Engine] = None


@dataclass
class _ConfigFile(model_files.InputsFile):
    """The part of the schema of a run's config.json that own_settings reads."""

    run: Optional[_Run] = None


def own_settings(folder: str) -> OwnSettings:
    """The settings in a folder's config.json, whichever script trained the run. Raises UserError if it is damaged."""
    path = os.path.join(folder, "config.json")
    if not os.path.lexists(path) or folders.kind_of(folder) == folders.HUGGING_FACE:
        return OwnSettings()
    content = json_files.read(path, _ConfigFile)
    engine = (content.get("run") or {}).get("engine") or {}
    own = OwnSettings((content.get("model") or {}).get("max_seq_length"), engine.get("precision"))
    key = "model.max_seq_length"
    json_files.require_range(path, {key: own.max_seq_length}, [key], 1, 1 << 31)
    known = next(flag.kind for flag in flags_of("extract_features") if flag.name == "precision")
    json_files.require_choice(path, "run.engine.precision", own.precision, known)
    return own


def answers_questions(folder: str) -> bool:
    """Whether run_squad trained the run in a folder."""
    return _kind_of_labels(folder) == "answers"


def _kind_of_labels(folder: str) -> Optional[str]:
    """One of model_files.LABEL_KINDS."""
    content: Dict[str, Any] = {}
    if os.path.lexists(_labels_file(folder)):
        content = json_files.read(_labels_file(folder), model_files.LabelsFile)
    return next((name for name in model_files.LABEL_KINDS if name in content), None)


def script_of(folder: str) -> str:
    """The script that trained the run in a folder. Raises UserError if there is no run."""
    has_config = os.path.exists(os.path.join(folder, "config.json"))
    script = {"label_type": "run_classifier", "tag_scheme": "run_ner"}
    kind = _kind_of_labels(folder)
    if kind is None or not has_config:
        raise UserError(
            "{}: not the folder of a trained run: {} and config.json say what it predicts. Name the --output_dir of a "
            "run.".format(folder, model_files.LABELS_FILE)
        )
    if kind not in script:
        raise UserError(
            "{}: a run of run_squad.py, which cannot be served or exported; run_squad.py --do_predict --model_dir={} "
            "answers a file of questions.".format(folder, folder)
        )
    return script[kind]


def _labels_file(folder: str) -> str:
    return os.path.join(folder, model_files.LABELS_FILE)


class _Command:
    """The flags of a command, as flags.Values gives them: an attribute for each, what was given or the default."""

    def __init__(self, script: str, values: Dict[str, Any]) -> None:
        self.flags = {flag.name: flag for flag in flags_of(script)}
        for name, value in values.items():
            allowed: Union[str, Tuple[Any, ...]] = self.flags[name].kind if name in self.flags else ()
            if name not in self.flags or isinstance(allowed, tuple) and value not in allowed:
                raise UserError("{}={!r}: {} has no such flag, or the flag no such value.".format(name, value, script))
        self._values = values

    def __getattr__(self, name: str) -> Any:
        if name in ("flags", "_values") or name not in self.flags:
            raise AttributeError(name)
        if name in self._values:
            return self._values[name]
        return self.flags[name].default_value

    def given(self, name: str) -> bool:
        return name in self._values
