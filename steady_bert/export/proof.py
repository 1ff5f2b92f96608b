"""The proof of an export: the same rows through the run and, in a process of its own, through what was exported.

N outputs, one a record or one a word · L labels
"""

import os
import shutil
import subprocess
import sys
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from ..base import files, tensorflow_setup
from ..base.errors import RunError
from ..serving.saved_run import SavedRun
from ..tasks.tagging import schemes
from ..tasks.tagging.assembly import TaggingInputs
from ..training import weights
from .reference import Reference, threshold_logit

TOLERANCE = 1e-4  # of a logit, in float32
_ELSEWHERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "elsewhere")
_PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Comparison(NamedTuple):
    """How the numbers of an export differ from the run's."""

    outputs: int
    largest_difference: float  # of a logit
    differing: int  # decisions that are others, ties left out
    ties: int  # decisions that are others, where the run's own scores are as good as equal

    @property
    def holds(self) -> bool:
        return self.largest_difference <= TOLERANCE and not self.differing


def compare(run: SavedRun, reference: Reference, logits: np.ndarray, decisions: np.ndarray) -> Comparison:
    """Compares an export's logits [N, L] and decisions with the run's. Raises RunError if there are fewer."""
    if logits.shape != reference.logits.shape or decisions.shape != reference.decisions.shape:
        raise RunError(
            "The export gives {} logits where the run gives {}. This is a bug of the export.".format(
                logits.shape, reference.logits.shape
            )
        )
    difference = np.abs(logits.astype(np.float64) - reference.logits)
    largest = float(np.max(difference)) if difference.size else 0.0
    largest = largest if np.isfinite(largest) else float("inf")
    differing = ties = 0
    for lost, wrong in _losses(run, reference, decisions):
        ties += lost <= 2 * TOLERANCE * wrong
        differing += lost > 2 * TOLERANCE * wrong
    return Comparison(len(logits), largest, differing, ties)


def _losses(run: SavedRun, reference: Reference, decisions: np.ndarray) -> List[Any]:
    """(by how much the run prefers its own decision, how many labels differ) of each decision that is another.

    A decision is the label of a text, a label's presence, or the tags of a record.
    """
    if run.kind == "regression":
        return []
    if run.kind == "multi":
        other = reference.decisions != decisions
        return [(abs(logit - threshold_logit(run)), 1) for logit in reference.logits[other]]
    losses = []
    scores = _Scores(run)
    ends = np.cumsum(reference.outputs)
    record_of_output = np.repeat(np.arange(len(ends)), reference.outputs)
    for record in np.unique(record_of_output[reference.decisions != decisions]):
        row = slice(ends[record] - reference.outputs[record], ends[record])
        own, others, logits = reference.decisions[row], decisions[row], reference.logits[row]
        begins = bool(reference.rows.begins[record])
        lost = scores.of(own, logits, begins) - scores.of(others, logits, begins)
        losses.append((lost, int(np.sum(own != others))))
    return losses


class _Scores:
    """The score that a decision has: the sum of its logits and, for a CRF, of its transitions."""

    def __init__(self, run: SavedRun) -> None:
        inputs, labels = run.inputs, list(run.task.labels)
        self._follows = np.zeros([len(labels), len(labels)])
        self._begins = np.zeros(len(labels))
        if isinstance(inputs, TaggingInputs) and inputs.head.crf:
            name = "crf/transitions"
            self._follows = weights.served_tensors(run.prefix, [name])[name].astype(np.float64)
        if isinstance(inputs, TaggingInputs) and inputs.constrained_decoding:
            follows, begins = schemes.legal(labels)
            self._follows = np.where(follows, self._follows, -np.inf)
            self._begins = np.where(begins, 0.0, -np.inf)

    def of(self, decisions: np.ndarray, logits: np.ndarray, begins: bool) -> float:
        score = float(np.sum(logits[np.arange(len(decisions)), decisions].astype(np.float64)))
        score += float(np.sum(self._follows[decisions[:-1], decisions[1:]]))
        return score + float(self._begins[decisions[0]]) if begins else score


# --- the other side ---------------------------------------------------------------------------------------------------


def run_elsewhere(
    script: str, export: str, reference: Reference, interpreter: Optional[str] = None, with_project: bool = False
) -> Dict[str, np.ndarray]:
    """Runs the check file's rows through an export in a process of its own; returns its outputs.npz.

    script: a file of elsewhere/. interpreter: another Python than this one. with_project: the modules of the project's
    top level can be imported there; else nothing of the project can. Raises RunError if the process fails.
    """
    with tensorflow_setup.temporary_folder() as work:
        shutil.copyfile(os.path.join(_ELSEWHERE, script), os.path.join(work, script))
        np.savez(os.path.join(work, "rows.npz"), **reference.rows._asdict())
        texts = [text._asdict() for text in reference.texts]
        files.write_json(os.path.join(work, "texts.json"), texts)
        environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
        # On a GPU: exact float32, as the run computes here, and a share of its memory.
        environment.update(NVIDIA_TF32_OVERRIDE="0", TF_FORCE_GPU_ALLOW_GROWTH="true")
        if with_project:
            environment["PYTHONPATH"] = _PROJECT
        _call([interpreter or sys.executable, script, os.path.abspath(export), work], work, environment)
        try:
            with np.load(os.path.join(work, "outputs.npz"), allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except OSError:
            raise RunError("{}: ended without outputs. This is a bug of the export.".format(script)) from None


def _call(command: Sequence[str], work: str, environment: Dict[str, str]) -> None:
    """Runs a process that ends with this one: it reads standard input, which closes when this process is gone.

    It has a session of its own, so that an interrupt from the terminal reaches this process alone.
    """
    pipes: Dict[str, Any] = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        process = subprocess.Popen(command, cwd=work, env=environment, start_new_session=True, **pipes)
    except OSError as error:
        raise RunError("{}: cannot be run ({}).".format(command[0], error.strerror)) from None
    assert process.stdout is not None and process.stdin is not None
    output = process.stdout.read().decode("utf-8", "replace")
    process.stdin.close()
    if process.wait():
        lines = "\n  ".join(output.strip().splitlines()[-12:])
        raise RunError("{} ended with exit code {}:\n  {}".format(" ".join(command[:2]), process.returncode, lines))
