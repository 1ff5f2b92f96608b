"""The command that trains a setting of a search again: to the bit, or after folds on all of the training data. Pure."""

import os
import shlex
import shutil
from typing import List, NamedTuple, Sequence, Tuple

from ..training import run_files
from . import processes

# The flags that are read with a dev set alone; after folds there need not be one.
_OF_DEV = ("eval_every_steps", "eval_every_epochs", "max_eval_examples", "best_metric", "early_stopping_patience")
_OF_PLATEAU = ("lr_schedule", "plateau_factor", "plateau_patience", "plateau_min_delta", "end_learning_rate")


class Again(NamedTuple):
    """what: the command's title. note: what its user has to know of it; may be empty."""

    what: str
    command: str
    note: str = ""


def to_the_bit(root: str, script: str, flags: Sequence[str], cores: Sequence[int]) -> Again:
    """The command of a run on these cores: bits depend on how many threads compute them."""
    words = _words(root, script, flags)
    if processes.has_affinity() and shutil.which("taskset"):
        return Again("Again, to the bit", _quoted(["taskset", "-c", _listed(cores), *words]))
    counted = "1 core" if len(cores) == 1 else "{} cores".format(len(cores))
    return Again("Again, to the bit on {}".format(counted), _quoted(words))


def on_everything(root: str, script: str, flags: Sequence[str]) -> Again:
    """The command that trains on all data, without evaluation. Its note names the flags that need a dev set."""
    kept, left_out = without_dev(flags)
    note = ""
    if left_out:
        note = "Without a dev set these are left out: {}.".format(" ".join(left_out))
    return Again("On all of the training data", _quoted(_words(root, script, kept)), note)


def without_dev(flags: Sequence[str]) -> Tuple[List[str], List[str]]:
    """(the flags of a command that only trains, those of its flags that a dev set is needed for but --do_eval)."""
    values = run_files.flags_among(flags)
    needs = set(_OF_DEV)
    if values.get("lr_schedule") == "plateau":
        needs.update(_OF_PLATEAU)
    if values.get("multi_label_threshold") == "tune":
        needs.add("multi_label_threshold")
    kept, left_out = [], []
    for flag in flags:
        (name,) = run_files.flags_among([flag])
        if name in needs:
            left_out.append(flag)
        elif name != "do_eval":
            kept.append(flag)
    return kept, left_out


def _words(root: str, script: str, flags: Sequence[str]) -> List[str]:
    """A command that works where this process was started."""
    name = script + ".py"
    path = os.path.join(root, name)
    is_here = os.path.exists(name) and os.path.samefile(name, path)
    return ["python", name if is_here else path, *flags]


def _quoted(words: Sequence[str]) -> str:
    return " ".join(map(shlex.quote, words))


def _listed(cores: Sequence[int]) -> str:
    """Cores as taskset takes them: a range if they are one."""
    first, last = cores[0], cores[-1]
    if len(cores) > 1 and list(cores) == list(range(first, last + 1)):
        return "{}-{}".format(first, last)
    return ",".join(map(str, cores))
