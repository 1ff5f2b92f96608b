"""Folders of runs → the sides of a comparison: which runs belong together, the same examples, what differs. Pure."""

import glob
import os
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..base import json_files
from ..base.errors import UserError
from ..tasks.model_files import LABELS_FILE
from ..training import resume, run_files
from ..training.plan import Plan
from ..training.run_files import Evaluated
from . import measures
from .measures import Counts

# Flags that say where things are. What is there, the plan knows by its content.
_PLACES = {
    "bert_config_file",
    "cache_dir",
    "data_dir",
    "dev_file",
    "init_checkpoint",
    "model",
    "model_dir",
    "output_dir",
    "predict_file",
    "predict_output",
    "spm_model_file",
    "test_file",
    "train_file",
    "vocab_file",
}
# What does not make two runs different settings: the seed, with the sample of the data that it draws, and how often
# checkpoints are written.
_NO_SETTING = {"seed", "save_checkpoints_steps"}


class Run(NamedTuple):
    """A finished run: what it was, and what it predicted of dev."""

    folder: str
    plan: Plan
    flags: Dict[str, str]
    kind: str  # one of measures.KINDS
    labels: List[str]
    step: Optional[int]  # of the checkpoint that was evaluated
    examples: List[Evaluated]
    scores: Dict[str, Any]  # eval_results.json

    @property
    def seed(self) -> int:
        return self.plan.seed


class Side(NamedTuple):
    """Runs of one setting, in the order of their seeds."""

    name: str
    runs: List[Run]

    @property
    def seeds(self) -> List[int]:
        return [run.seed for run in self.runs]


class Difference(NamedTuple):
    """A number of the plan, or a flag, that two runs do not share; None where a run has none."""

    name: str
    a: Optional[str]
    b: Optional[str]
    is_setting: bool  # whether it makes them two settings


# --- reading ----------------------------------------------------------------------------------------------------------


def side_of(argument: str, suffix: str = "") -> Side:
    """The side that an argument names: a run's folder, several joined by commas, or a pattern with * that finds them.

    suffix: "" for dev, else the end of a further dev file's name, such as _mismatched.
    """
    folders: List[str] = []
    for text in filter(None, argument.split(",")):
        found = [text] if os.path.isdir(text) else sorted(filter(os.path.isdir, glob.glob(text)))
        if not found:
            raise UserError("{}: there is no such folder. Name the --output_dir of a run.".format(text))
        folders += found
    if not folders:
        raise UserError("{!r} names no folder. Name the --output_dir of a run.".format(argument))
    runs = sorted((read(folder, suffix) for folder in folders), key=lambda run: run.seed)
    for run, following in zip(runs, runs[1:]):
        if run.seed == following.seed:
            text = "{} and {}: are both of seed {}. Name one of them, or compare them as two sides."
            raise UserError(text.format(run.folder, following.folder, run.seed))
        others = [difference for difference in differences(run, following) if difference.is_setting]
        if others:
            raise UserError(
                "{} and {}: are not seeds of one setting ({}). Compare them as two sides.".format(
                    run.folder, following.folder, ", ".join(difference.name for difference in others)
                )
            )
    return Side(argument, runs)


def read(folder: str, suffix: str = "") -> Run:
    """Reads a run's folder. Raises UserError that says what to do if something is missing or does not fit."""
    plan = run_files.saved_plan(folder)
    if plan is None:
        raise UserError("{}: has no plan.json, so it is no run. Name the --output_dir of a run.".format(folder))
    of_run = run_files.labels_of(folder)
    if of_run is None or of_run.kind not in measures.KINDS:
        text = "{}: has no {}, or one without labels: a pre-training predicts nothing. Compare runs of a task."
        raise UserError(text.format(folder, LABELS_FILE))
    base, ending = os.path.splitext(run_files.EVALUATED_FILE)
    path = os.path.join(folder, base + suffix + ending)
    if not os.path.exists(path):
        again = "Evaluate it again: --do_eval --do_train=false with the flags of its flags.txt."
        raise UserError("{}: was not written by the evaluation of this run. {}".format(path, again))
    results = os.path.join(folder, run_files.RESULTS_FILE)
    scores = json_files.read(results) if os.path.exists(results) else {}
    step = scores.get("global_step")
    return Run(
        folder,
        plan,
        run_files.given_flags(folder),
        of_run.kind,
        of_run.labels,
        step if isinstance(step, int) else None,
        run_files.read_evaluated(path),
        scores,
    )


# --- the same examples ------------------------------------------------------------------------------------------------


def aligned(sides: Sequence[Side]) -> Tuple[List[Side], int]:
    """(the sides with the examples that all runs have, in one order; how many other examples there are).

    An example is known by its line and its id. Raises UserError for runs that predict different things, or whose dev
    files differ in what they have in common.
    """
    first = sides[0].runs[0]
    by_key = []
    for run in [run for side in sides for run in side.runs]:
        if _predicts(run) != _predicts(first):
            raise UserError("{} and {}: predict different things.".format(first.folder, run.folder) + _SAME)
        keyed = {_key(example): example for example in run.examples}
        if len(keyed) < len(run.examples):
            text = "{}: {} has an example twice. {}"
            raise UserError(text.format(run.folder, run_files.EVALUATED_FILE, measures.AGAIN))
        by_key.append(keyed)
        for key, example in keyed.items():
            known = by_key[0].get(key)
            if known is not None and (known.gold, known.texts) != (example.gold, example.texts):
                text = "{} and {}: were evaluated on different dev files: line {} differs."
                raise UserError(text.format(first.folder, run.folder, key[0]) + _SAME)
    common = set(by_key[0]).intersection(*by_key)
    if len(common) < 2:
        raise UserError("The runs have {} dev examples in common.".format(len(common)) + _SAME)
    in_order = sorted(common)
    left_out = len(set().union(*by_key) - common)
    chosen = iter([[keyed[key] for key in in_order] for keyed in by_key])
    return [Side(side.name, [run._replace(examples=next(chosen)) for run in side.runs]) for side in sides], left_out


def _predicts(run: Run) -> Tuple[str, List[str]]:
    """What must be equal. The order of labels says which of two classes F1 is of; that of tags says nothing."""
    return run.kind, sorted(run.labels) if run.kind in ("bio", "plain") else run.labels


_SAME = " Compare runs of one task, evaluated on one file."


def _key(example: Evaluated) -> Tuple[int, str]:
    return example.line, example.id


def counts_of(run: Run) -> Counts:
    """The run's metrics on its examples. Raises UserError for predictions that cannot be counted."""
    try:
        return measures.counted(run.kind, run.examples, run.labels)
    except UserError as error:
        raise UserError("{}: {}: {}".format(run.folder, run_files.EVALUATED_FILE, error)) from None


def require_own_scores(run: Run, counts: Counts, suffix: str = "") -> None:
    """Raises UserError if the predictions do not have the scores that the run wrote: one of the files is older."""
    other = measures.other_score(counts, run.scores, suffix)
    if other is not None:
        text = "{}: {} has {} {:.4f}, {} has {:.4f}: one of them is of another evaluation. {}"
        files_of_run = (run_files.EVALUATED_FILE, other.name, other.value, run_files.RESULTS_FILE, other.written)
        raise UserError(text.format(run.folder, *files_of_run, measures.AGAIN))


# --- what differs -----------------------------------------------------------------------------------------------------


def differences(a: Run, b: Run) -> List[Difference]:
    """What differs in the plans of two runs, then in their flags where the plan does not say it."""
    found = [
        Difference(each.name, _shown(each.before), _shown(each.after), _is_setting(each.name))
        for each in resume.compare(a.plan, b.plan)
    ]
    said = {each.name.split(".")[-1] for each in found}
    for name in sorted(set(a.flags) | set(b.flags)):
        values = a.flags.get(name), b.flags.get(name)
        if values[0] != values[1] and name not in said | _PLACES:
            # The plan has all that decides the weights; which of them were evaluated, this flag says alone.
            found.append(Difference("--" + name, *values, is_setting=name == "checkpoint"))
    return found


def _is_setting(name: str) -> bool:
    return name not in _NO_SETTING and not name.startswith(resume.DEV + ".")


def _shown(value: Any) -> Optional[str]:
    return None if value is None else str(value)
