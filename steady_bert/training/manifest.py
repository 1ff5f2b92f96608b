"""The manifest of a run's folder: size and sha256 of the files that decide what its model answers. Pure: no TensorFlow.

A vocabulary with two lines swapped, or a configuration with another activation, gives other predictions without any
error. So evaluation, prediction, a resume and a stage that starts from the run verify these files before they use them.
Checkpoints have TensorFlow's checksums, which say nothing of a checkpoint that was removed, or that is another run's:
the manifest lists them too, with the sizes of their data and the sha256 of their indices.
"""

import contextlib
import hashlib
import os
from dataclasses import dataclass
from typing import Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence

from ..base import files, json_files
from ..base.errors import UserError
from ..tasks.model_files import LABELS_FILE, MODEL_FILES, THRESHOLD_FILE, InputsFile

FILE = "manifest.json"
CONFIG_FILE, PLAN_FILE = "config.json", "plan.json"
VERIFIED = (*MODEL_FILES.values(), LABELS_FILE, CONFIG_FILE, THRESHOLD_FILE, PLAN_FILE)
BEST = "best"  # what --allow_changed_files calls the best checkpoint
_READS = 3


class _Print(NamedTuple):
    """What identifies the content of a file."""

    bytes: int
    sha256: str


class CheckpointPrint(NamedTuple):
    """What identifies a checkpoint. Its index has a checksum of each tensor."""

    data_bytes: int
    index_sha256: str


class _Manifest(NamedTuple):
    files: Dict[str, _Print]
    # The content that files are about to get: a process that is killed meanwhile has given it to some of them.
    being_written: Dict[str, _Print]
    # By prefix in the folder. None: written before checkpoints were listed.
    checkpoints: Optional[Dict[str, CheckpointPrint]]


def saved_case(folder: str) -> Optional[bool]:
    """The do_lower_case of the run in a folder; None if no config.json says it, as with older runs."""
    path = os.path.join(folder, CONFIG_FILE)
    content = json_files.read(path, InputsFile) if os.path.lexists(path) else {}
    case: Optional[bool] = (content.get("model") or {}).get("do_lower_case")
    return case


def verify(folder: str, allowed: Sequence[str], by_flag: bool = True) -> List[str]:
    """Compares the files of a run's folder with its manifest; returns what the user should be told.

    allowed: names of files that may differ. by_flag: whether the command has a flag for them. Raises UserError for any
    other file that differs, is gone, or was added.
    """
    differences: Dict[str, str] = {}
    for _ in range(_READS):  # a run that goes on may be writing them just now
        manifest = _read(folder, allowed, by_flag)
        if manifest is None:
            text = "{}: its files are used unverified: no {} says what they were."
            return [text.format(folder, FILE)]
        differences = _differences(folder, manifest)
        if not differences or manifest == _read(folder, allowed, by_flag):
            break
    changed = ["{}: {}".format(name, what) for name, what in differences.items() if name not in allowed]
    if changed:
        flag = ", or go on all the same with --allow_changed_files={}".format(",".join(differences)) * by_flag
        raise UserError(
            "{}: not as the run wrote it ({}):\n  {}\nRestore {} from a copy{}.".format(
                folder, FILE, "\n  ".join(changed), "it" if len(changed) == 1 else "them", flag
            )
        )
    lines = "{}: {}; it is used all the same (--allow_changed_files)."
    return [lines.format(os.path.join(folder, name), what) for name, what in differences.items()]


def changed(folder: str) -> Dict[str, str]:
    """Name → how the file of a run's folder differs from its manifest; empty if there is no manifest."""
    manifest = _read(folder, (FILE,), False)
    return {} if manifest is None else _differences(folder, manifest)


@contextlib.contextmanager
def updated(folder: str, contents: Mapping[str, bytes]) -> Iterator[None]:
    """Within it, the caller gives files of the folder these contents; a kill at any moment leaves a valid manifest."""
    pending = {name: _print_of(content) for name, content in contents.items()}
    _write(folder, _Manifest(_prints_in(folder), pending, listed_checkpoints(folder)))
    yield
    _write(folder, _Manifest(_prints_in(folder), {}, listed_checkpoints(folder)))


def listed_checkpoints(folder: str) -> Optional[Dict[str, CheckpointPrint]]:
    """The checkpoints that the manifest of a run's folder lists, by prefix in the folder; None if it lists none."""
    manifest = _read(folder, (FILE,), False)
    return manifest and manifest.checkpoints


def list_checkpoints(folder: str, checkpoints: Dict[str, CheckpointPrint]) -> None:
    """Makes these the checkpoints that the manifest of a run's folder lists; nothing if there is no manifest."""
    manifest = _read(folder, (FILE,), False)
    if manifest is not None and manifest.checkpoints != checkpoints:
        _write(folder, manifest._replace(checkpoints=checkpoints))


def _print_of(content: bytes) -> _Print:
    return _Print(len(content), hashlib.sha256(content).hexdigest())


def _prints_in(folder: str) -> Dict[str, _Print]:
    paths = {name: os.path.join(folder, name) for name in VERIFIED}
    return {
        name: _Print(os.path.getsize(path), files.sha256_of_file(path))
        for name, path in paths.items()
        if os.path.isfile(path)
    }


def _differences(folder: str, manifest: _Manifest) -> Dict[str, str]:
    """Name → how the file differs from the manifest."""
    present = _prints_in(folder)
    differences = {}
    for name in VERIFIED:
        expected, pending, actual = (each.get(name) for each in (manifest.files, manifest.being_written, present))
        if actual == expected or actual is not None and actual == pending:
            continue
        if actual is None:
            differences[name] = "is gone"
        elif expected is None:
            differences[name] = "was added"
        else:
            sizes = "{:,} bytes, not {:,}".format(actual.bytes, expected.bytes)
            differences[name] = "was changed" + " ({})".format(sizes) * (actual.bytes != expected.bytes)
    return differences


def _read(folder: str, allowed: Sequence[str], by_flag: bool) -> Optional[_Manifest]:
    """The manifest; None if there is none, or a damaged one is allowed."""
    path = os.path.join(folder, FILE)
    if not os.path.lexists(path):
        return None
    flag = ", or go on with --allow_changed_files={}: the files of the folder are then used unverified".format(FILE)
    remedy = "Restore it from a copy{}.".format(flag * by_flag)
    try:
        content = json_files.read(path, _ManifestFile, remedy)
    except UserError:
        if FILE in allowed or not os.path.lexists(path):
            return None
        raise
    sections = [
        {name: _Print(entry["bytes"], entry["sha256"]) for name, entry in content[section].items()}
        for section in ("files", "being_written")
    ]
    for name in set().union(*sections) - set(VERIFIED):
        raise UserError("{}: lists {!r}, which no run has. {}".format(path, name, remedy))
    checkpoints = content.get("checkpoints")
    if checkpoints is not None:
        checkpoints = {
            name: CheckpointPrint(entry["data_bytes"], entry["index_sha256"]) for name, entry in checkpoints.items()
        }
    return _Manifest(sections[0], sections[1], checkpoints)


@dataclass
class _Entry:
    bytes: int
    sha256: str


@dataclass
class _CheckpointEntry:
    data_bytes: int
    index_sha256: str


@dataclass
class _ManifestFile:
    files: Dict[str, _Entry]
    being_written: Dict[str, _Entry]
    checkpoints: Optional[Dict[str, _CheckpointEntry]] = None


def _write(folder: str, manifest: _Manifest) -> None:
    sections = {
        section: {name: entry._asdict() for name, entry in prints.items()}
        for section, prints in manifest._asdict().items()
        if prints is not None
    }
    files.write_json(os.path.join(folder, FILE), sections)
