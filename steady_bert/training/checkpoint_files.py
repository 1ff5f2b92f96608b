"""The names of a run's checkpoints, and what its folder says of those that are not as they were. Pure."""

import os
import re
from typing import Dict, List, Optional, Sequence, Tuple

from ..base import files
from ..base.errors import UserError
from . import manifest
from .manifest import CheckpointPrint

_PREFIX = "model.ckpt"
_INDEX_NAME = re.compile(r"^model\.ckpt-(\d+)\.index$")
_DATA_NAME = re.compile(r"^model\.ckpt-(\d+)\.data-")
_NAME = re.compile(r"^model\.ckpt-(\d+)$")
_POINTED = re.compile(r'^model_checkpoint_path: "(?:.*/)?model\.ckpt-(\d+)"$', re.MULTILINE)
POINTER = "checkpoint"
BEST_FOLDER = manifest.BEST
ENDINGS = (".data-00000-of-00001", ".index")  # a checkpoint's files; without an index it does not count


def steps_in(folder: str) -> List[int]:
    """The steps of the checkpoints in a folder, newest first."""
    if not os.path.isdir(folder):
        return []
    matches = (_INDEX_NAME.match(name) for name in os.listdir(folder))
    return sorted((int(match.group(1)) for match in matches if match), reverse=True)


def prefix_of(folder: str, step: int) -> str:
    return os.path.join(folder, "{}-{}".format(_PREFIX, step))


def step_of(prefix: str) -> int:
    """The step in the name of a run's checkpoint."""
    return int(prefix.rsplit("-", 1)[1])


def home_of(prefix: str) -> Tuple[str, str]:
    """(the folder of the run that a checkpoint is in, its prefix in that folder); the checkpoint may be in best/."""
    folder, name = os.path.split(prefix)
    if os.path.basename(folder) != BEST_FOLDER:
        return folder, name
    return os.path.dirname(folder), os.path.join(BEST_FOLDER, name)


def best_folder(folder: str) -> str:
    return os.path.join(folder, BEST_FOLDER)


def lost(folder: str) -> Dict[int, str]:
    """Step → what says that a checkpoint was in the folder whose index is not there now; the newest first."""
    steps: Dict[int, str] = {}
    for name in sorted(manifest.listed_checkpoints(folder) or {}):
        match = _NAME.match(name)
        if match:
            steps[int(match.group(1))] = "is gone ({} lists it)".format(manifest.FILE)
    pointed = pointed_step(folder)
    if pointed is not None:
        steps[pointed] = "is gone (`{}` names it)".format(POINTER)
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        match = _DATA_NAME.match(name)
        if match:
            steps[int(match.group(1))] = "has data but no index"
    there = steps_in(folder)
    return {
        step: prefix_of(folder, step) + " " + steps[step] for step in sorted(steps, reverse=True) if step not in there
    }


def pointed_step(folder: str) -> Optional[int]:
    """The step of the checkpoint that a folder's `checkpoint` file names; None if there is no such file, or name."""
    try:
        with open(os.path.join(folder, POINTER), encoding="utf-8", errors="replace") as file:
            match = _POINTED.search(file.read())
    except OSError:
        return None
    return int(match.group(1)) if match else None


def list_in_manifest(folder: str, without: Sequence[str] = ()) -> None:
    """Makes the folder's manifest, if there is one, list the checkpoints that are there.

    without: prefixes to leave out. A checkpoint that is listed already stays as it is listed.
    """
    present = [prefix_of(place, step) for place in (folder, best_folder(folder)) for step in steps_in(place)]
    names = [home_of(prefix)[1] for prefix in present if prefix not in without]
    listed = manifest.listed_checkpoints(folder) or {}
    prints = {name: listed.get(name) or print_of(os.path.join(folder, name)) for name in names}
    manifest.list_checkpoints(folder, {name: known for name, known in prints.items() if known is not None})


def unlist(folder: str) -> None:
    """Takes all but the best checkpoints out of the manifest: another program is about to write them (Estimator)."""
    list_in_manifest(folder, without=[prefix_of(folder, step) for step in steps_in(folder)])


def print_of(prefix: str) -> Optional[CheckpointPrint]:
    """What the manifest lists of a checkpoint; None if a file is not there."""
    data, index = (prefix + ending for ending in ENDINGS)
    try:
        return CheckpointPrint(os.path.getsize(data), files.sha256_of_file(index))
    except (OSError, UserError):
        return None


def other_than_listed(prefix: str) -> Optional[str]:
    """How a checkpoint differs from the one that the manifest lists; None if it does not, or is not listed."""
    folder, name = home_of(prefix)
    expected = (manifest.listed_checkpoints(folder) or {}).get(name)
    actual = print_of(prefix)
    if expected is None or actual is None or actual == expected:
        return None
    if actual.data_bytes != expected.data_bytes:
        return "its data has {:,} bytes, not {:,}".format(actual.data_bytes, expected.data_bytes)
    return "its index is not the one that the run wrote ({})".format(manifest.FILE)
