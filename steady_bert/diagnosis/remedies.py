"""diagnosis → the commands that go on with a folder. Pure: no TensorFlow, no files."""

import csv
import io
import os
import shlex
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..command_line.flag_table import flags_of
from ..tasks.model_files import LABELS_FILE, MODEL_FILES
from ..training import manifest
from . import findings
from .facts import ANSWERS, CLASSES, EMPTY, OURS, PIECES, PUBLISHED, TAGS, Facts
from .findings import Finding

CONTINUE, STAGE, PREDICT, AGAIN = "continue", "further stage", "predict", "start again"
TITLES = {
    CONTINUE: "To continue",
    STAGE: "To train further from its weights, with a schedule of its own",
    PREDICT: "To predict",
    AGAIN: "To train from pre-trained weights, in another folder",
}
_SCRIPTS = {CLASSES: "run_classifier", TAGS: "run_ner", ANSWERS: "run_squad", PIECES: "run_pretraining"}
# Findings after which a model's weights are of no further use.
_LOST = {"no_checkpoint", "halved", "scaled", "unrelated", findings.WRONG_CASE}
# The flags of a run that say where its weights come from and go to, or what a command does beside training.
_OF_COMMAND = {
    *("init_checkpoint", "from_scratch", "model", "model_dir", "checkpoint", "output_dir", "resume_mode", "reset_head"),
    *("do_predict", "dry_run", "check_data", "predict_file", "predict_output", "allow_plan_change"),
    *("allow_changed_files", "flagfile", *MODEL_FILES, "do_lower_case"),
}
# Flags that the data of each script needs → what stands for a value that is not known.
_DATA = {
    "run_classifier": {"task_name": "text", "data_dir": "DATA_DIR"},
    "run_ner": {"train_file": "TRAIN_FILE"},
    "run_squad": {"train_file": "TRAIN_FILE"},
    "run_pretraining": {"input_file": "INPUT_FILE"},
}
_LABELS_IN_ORDER = "LABELS_IN_ORDER"
_UNKNOWN = {
    *("DATA_DIR", "TRAIN_FILE", "INPUT_FILE", _LABELS_IN_ORDER, "TAGS_FILE", "FILE_TO_PREDICT", "STEPS"),
    *("BERT_CONFIG_FILE", "VOCAB_FILE", "PRETRAINED_CHECKPOINT"),
}


class Remedy(NamedTuple):
    """A command of this program. A flag without a value is a boolean one that is true."""

    purpose: str
    script: str
    flags: Mapping[str, Optional[str]]

    @property
    def missing(self) -> Tuple[str, ...]:
        """The values, in capitals, that only the user knows."""
        return tuple(value for value in self.flags.values() if value in _UNKNOWN)

    @property
    def arguments(self) -> List[str]:
        return ["--" + name + ("" if value is None else "=" + value) for name, value in self.flags.items()]

    @property
    def command(self) -> str:
        return " ".join(["python", self.script + ".py", *map(shlex.quote, self.arguments)])


def remedies(facts: Facts, found: Sequence[Finding], given: Mapping[str, str]) -> List[Remedy]:
    """The commands, the most useful first. given: flags that the user knows, by which unknown values are filled."""
    script = script_of(facts)
    names = {finding.name for finding in found}
    command = _Commands(facts, names, script, dict(given))
    if facts.writer == EMPTY and not (facts.frozen or facts.labels):
        return []
    if names & _LOST:
        return [command.again()]
    if facts.writer == PUBLISHED:
        named = facts.labels is not None and facts.labels.source == LABELS_FILE and findings.labels_fit(facts)
        return [command.predict_as_published()] * named + [command.fine_tune()]
    commands = []
    if not findings.finished(facts) and not findings.learns_nothing(facts) and not names & _NOT_CONTINUED:
        commands.append(command.go_on())
    stage = command.stage()
    if script == "run_pretraining" or names & {"other_head", "no_head"}:
        return [*commands, stage]
    return [*commands, command.predict(), stage] if findings.finished(facts) else [*commands, stage, command.predict()]


_NOT_CONTINUED = {"not_finite", "other_head", "no_head", "no_slots", "empty_slots", "other_vocabulary"}


def script_of(facts: Facts) -> str:
    """The script whose model a folder holds; run_classifier if nothing says it."""
    if facts.script:
        return facts.script
    of_model = findings.head(facts)
    return _SCRIPTS.get(of_model.kind, "run_classifier") if of_model else "run_classifier"


class _Commands:
    """Makes the commands of a folder."""

    def __init__(self, facts: Facts, names: "set[str]", script: str, given: Dict[str, str]) -> None:
        self._facts = facts
        self._names = names
        self._script = script
        self._known = {flag.name for flag in flags_of(script)}
        self._given = {name: value for name, value in given.items() if name in self._known}

    def go_on(self) -> Remedy:
        facts = self._facts
        if facts.writer == OURS and facts.flags:
            flags = dict(self._flagfile(facts.folder), **self._lost_labels())
            if facts.flags.get("resume_mode") == "fresh":
                flags["resume_mode"] = "auto"
            return self._made(CONTINUE, dict(flags, **self._allowed(*[manifest.BEST] * bool(facts.best_lost))))
        flags = dict(self._data(), **self._model(), do_train=None, output_dir=facts.folder)
        flags.update(self._schedule())
        return self._made(CONTINUE, dict(flags, allow_plan_change=None))

    def stage(self) -> Remedy:
        facts = self._facts
        assert facts.checkpoint is not None
        older = facts.not_finite or facts.writer != OURS or facts.best_lost or findings.only_best(facts)
        flags = dict(self._data(), **self._model(), do_train=None, resume_mode="weights", **self._allowed())
        flags.update(self._lost_labels())
        flags["init_checkpoint"] = facts.checkpoint.prefix if older else facts.folder
        if self._names & {"other_head", "no_head"}:
            flags["reset_head"] = None
        return self._made(STAGE, dict(flags, output_dir=_beside(facts.folder, "stage{}".format(facts.stage + 1))))

    def predict(self) -> Remedy:
        facts, files = self._facts, {}
        for source, flag in (("predict_file", "predict_file"), ("test_file", "predict_file"), ("data_dir", "data_dir")):
            value = self._given.get(source) or facts.flags.get(source)
            if value and value != "-":
                files = {flag: value}
                break
        flags: Dict[str, Optional[str]] = {"do_predict": None}
        if facts.writer != OURS:
            without = ("do_train", "do_eval", "train_file", "data_dir")
            flags.update({name: value for name, value in self._data().items() if name not in without})
            flags.update(self._model())
        flags.update(self._lost_labels(), **self._allowed())
        if facts.best_lost:
            flags["checkpoint"] = "last"
        flags["model_dir"] = facts.folder
        flags.update(files or {"predict_file": "FILE_TO_PREDICT"})
        flags["output_dir"] = _beside(facts.folder, "predictions")
        return self._made(PREDICT, flags, without=("predict_file", "test_file", "data_dir", "train_file", "dev_file"))

    def predict_as_published(self) -> Remedy:
        """The folder has its labels, as an export for google-research/bert has them."""
        facts = self._facts
        flags: Dict[str, Optional[str]] = {"do_predict": None, "model": facts.folder}
        if self._script == "run_classifier":
            flags["task_name"] = "text"
        file = self._given.get("predict_file", "FILE_TO_PREDICT")
        flags.update(predict_file=file, output_dir=_beside(facts.folder, "predictions"))
        return self._made(PREDICT, flags, without=("data_dir", "train_file", "dev_file", "labels"))

    def again(self) -> Remedy:
        """The training that led to the folder, from the beginning."""
        facts = self._facts
        target = _beside(facts.folder, "again")
        if facts.writer == OURS and facts.flags:
            flags = dict(self._flagfile(target), **self._case())
            if facts.pretrained and "init_checkpoint" in facts.flags:
                flags["init_checkpoint"] = facts.pretrained
            return self._made(AGAIN, flags)
        flags = dict(self._data(), **self._model(), do_train=None)
        if flags.get("labels") == _LABELS_IN_ORDER:  # a new head needs no order
            del flags["labels"]
        flags["init_checkpoint"] = facts.pretrained or "PRETRAINED_CHECKPOINT"
        return self._made(AGAIN, dict(flags, output_dir=target))

    def fine_tune(self) -> Remedy:
        facts = self._facts
        flags = dict(self._data(), do_train=None)
        if facts.vocabulary and facts.config and "vocab_file" not in self._given:
            flags["model"] = facts.folder
        else:
            assert facts.checkpoint is not None
            flags.update(self._model(), init_checkpoint=facts.checkpoint.prefix)
        return self._made(AGAIN, dict(flags, output_dir=_beside(facts.folder, "fine-tuned")))

    def _made(self, purpose: str, flags: Mapping[str, Optional[str]], without: Sequence[str] = ()) -> Remedy:
        """The command with the flags that the user gave in place of what was found."""
        given = {name: value for name, value in self._given.items() if name not in without or name in flags}
        fixed = {name: flags[name] for name in ("output_dir", "model_dir") if name in flags}
        if findings.WRONG_CASE in self._names:
            given.pop("do_lower_case", None)
        if "model" in flags:
            given = {name: value for name, value in given.items() if name not in (*MODEL_FILES, "do_lower_case")}
        return Remedy(purpose, self._script, dict(flags, **given, **fixed))

    def _flagfile(self, output: str) -> Dict[str, Optional[str]]:
        """The flags of the run, written to another folder if `output` is one."""
        flags: Dict[str, Optional[str]] = {"flagfile": os.path.join(self._facts.folder, "flags.txt")}
        if os.path.abspath(self._facts.flags.get("output_dir", "")) != os.path.abspath(output):
            flags["output_dir"] = output
        return flags

    def _data(self) -> Dict[str, Optional[str]]:
        """The flags that say what is learned from what."""
        facts = self._facts
        own: Dict[str, Optional[str]] = {
            name: (None if value == "True" else value)
            for name, value in facts.flags.items()
            if name in self._known and name not in _OF_COMMAND
        }
        flags = dict(own or _DATA.get(self._script, {}))
        for name, value in self._given.items():
            if name in flags:
                flags[name] = value
        if facts.writer == OURS:
            return flags
        if self._script == "run_classifier" and flags.get("task_name") == "text" and "labels" not in self._given:
            flags["labels"] = self._labels()
        if self._script == "run_ner" and not self._names & {"other_head", "no_head"}:
            listed = facts.labels is not None and facts.labels.source.endswith(".txt")
            path = os.path.join(facts.folder, facts.labels.source) if facts.labels and listed else "TAGS_FILE"
            flags.setdefault("tags_file", path)
        return {name: value for name, value in flags.items() if value != ""}

    def _labels(self) -> str:
        """The value of --labels; empty where the classes of the training file are as good."""
        labels = self._facts.labels
        if labels is not None and (findings.labels_fit(self._facts) or findings.head(self._facts) is None):
            return _comma_separated(labels.names)
        return "" if self._names & {"other_head", "no_head", "no_checkpoint"} else _LABELS_IN_ORDER

    def _lost_labels(self) -> Dict[str, Optional[str]]:
        """The flag that takes the place of the labels.json that one of our runs has lost."""
        labels, changed = self._facts.labels, LABELS_FILE in self._facts.changed
        lost = changed and "labels" in self._known and not (labels and labels.source == LABELS_FILE)
        return {"labels": self._labels()} if lost else {}

    def _allowed(self, *further: str) -> Dict[str, Optional[str]]:
        """The flag that lets a command use a run's folder without the files that are lost, and are not needed."""
        names = [*further, *[LABELS_FILE] * bool(self._lost_labels())]
        return {"allow_changed_files": ",".join(names)} if names else {}

    def _model(self) -> Dict[str, Optional[str]]:
        """The flags of the model's files and case."""
        facts = self._facts
        config, vocab = "bert_config_file", "vocab_file"
        flags: Dict[str, Optional[str]] = {
            config: os.path.join(facts.folder, MODEL_FILES[config]) if facts.config else "BERT_CONFIG_FILE"
        }
        if facts.vocabulary and "other_vocabulary" not in self._names:
            vocab = vocab if facts.vocabulary.path.endswith(".txt") else "spm_model_file"
            flags[vocab] = facts.vocabulary.path
        else:
            flags[vocab] = "VOCAB_FILE"
        return dict(flags, **self._case())

    def _case(self) -> Dict[str, Optional[str]]:
        """The flag of the case: what was stated, unless the letters of the vocabulary contradict it."""
        vocabulary = self._facts.vocabulary
        if vocabulary is None:
            return {}
        lower = vocabulary.stated_lower_case
        if lower is None or vocabulary.contradiction:
            lower = None if vocabulary.cased is None else not vocabulary.cased
        return {} if lower is None else {"do_lower_case": str(lower).lower()}

    def _schedule(self) -> Dict[str, Optional[str]]:
        linear = self._facts.rate.linear if self._facts.rate else None
        if linear is None:
            return {"num_train_steps": "STEPS"}
        return {
            "learning_rate": "{:g}".format(linear.peak),
            "num_train_steps": str(linear.horizon),
            "num_warmup_steps": str(linear.warmup),
        }


def _beside(folder: str, ending: str) -> str:
    return "{}-{}".format(folder.rstrip(os.sep) or folder, ending)


def _comma_separated(names: Sequence[str]) -> str:
    """The names as a list flag takes them: those with a comma are quoted."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(names)
    return text.getvalue()
