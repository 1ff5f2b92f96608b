"""Converted Hugging Face folders in the cache: each is converted once, and again if its entry is lost or damaged.

An entry is named by the contents of all files that it was made from. It is complete or absent: it is made under another
name and renamed, and a lock keeps processes that start together from doing it twice.
"""

import os
import shutil
from dataclasses import dataclass
from typing import Dict

import filelock

from ..base import disk, files, json_files
from ..base.errors import UserError
from ..training import checkpoint, feature_cache
from ..training.reports import say
from . import configurations, folders, hugging_face, tokenizer_files

FORMAT = 1  # raise when the same sources give other files
_DESCRIPTION = "converted_from.json"


@dataclass
class _Description:
    """The schema of the file that lists an entry's small files with their sha256."""

    files: Dict[str, str]


def checkpoint_folder(folder: str, cache_dir: str) -> str:
    """A folder that `checkpoint.resolve` understands: the folder itself, or its conversion in the cache."""
    return entry_of(folder, cache_dir) if folders.kind_of(folder) == folders.HUGGING_FACE else folder


def entry_of(folder: str, cache_dir: str) -> str:
    """The folder in the cache that a Hugging Face folder is converted to; converts it if it is not there yet."""
    sources = _contents(folder)
    fingerprint = feature_cache.fingerprint({"format": FORMAT, "files": sources})
    entry = os.path.join(cache_dir, "weights-" + fingerprint)
    files.require_writable(cache_dir, "--cache_dir")
    with filelock.FileLock(entry + ".lock"):
        if not _is_whole(entry):
            shutil.rmtree(entry, ignore_errors=True)
            _build(folder, entry, sources)
    return entry


def _contents(folder: str) -> Dict[str, str]:
    """Name → sha256 of every file that a conversion reads."""
    names = [os.path.basename(path) for path in folders.weight_files(folder)]
    beside = (
        configurations.CONFIG_FILE,
        tokenizer_files.VOCAB_FILE,
        tokenizer_files.SETTINGS_FILE,
        tokenizer_files.WHOLE_FILE,
    )
    names += [name for name in beside if os.path.exists(os.path.join(folder, name))]
    return {name: files.sha256_of_file(os.path.join(folder, name)) for name in sorted(names)}


def _build(folder: str, entry: str, sources: Dict[str, str]) -> None:
    scratch = entry + ".building"
    shutil.rmtree(scratch, ignore_errors=True)  # left by a killed process
    try:
        report = hugging_face.convert(folder, scratch)
        say("Converted {}: {}".format(folder, report))
        small = [name for name in os.listdir(scratch) if not name.startswith(hugging_face.CHECKPOINT)]
        written = {name: files.sha256_of_file(os.path.join(scratch, name)) for name in sorted(small)}
        files.write_json(os.path.join(scratch, _DESCRIPTION), {"from": folder, "sources": sources, "files": written})
        os.rename(scratch, entry)
    except (disk.DiskFullError, *checkpoint.UNWRITABLE) as error:
        raise UserError(
            "{}: {} cannot be converted to it ({}). Free space, or name another --cache_dir.".format(
                entry, folder, checkpoint.reason_of(error.__cause__ or error)
            )
        ) from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _is_whole(entry: str) -> bool:
    """Whether every file of an entry is as it was written; TensorFlow verifies a checksum of each tensor."""
    try:
        written = json_files.read(os.path.join(entry, _DESCRIPTION), _Description)["files"]
        same = all(files.sha256_of_file(os.path.join(entry, name)) == digest for name, digest in written.items())
    except UserError:
        return False
    return same and checkpoint.damage(os.path.join(entry, hugging_face.CHECKPOINT)) is None
