"""The folder of an export: whole under its name, or not there. Pure: no TensorFlow."""

import contextlib
import os
import shutil
import signal
from typing import Any, Dict, Iterator

from ..base import files, json_files, tensorflow_setup
from ..base.errors import UserError

UNPROVEN = ".unproven"  # ends the name under which an export stays that was not proven
RECORD_FILE = "export_check.json"


def write_record(folder: str, record: Dict[str, Any]) -> None:
    files.write_json(os.path.join(folder, RECORD_FILE), record)


def is_export(folder: str) -> bool:
    """Whether a folder was written by an export."""
    try:
        return "exported" in json_files.read(os.path.join(folder, RECORD_FILE))
    except UserError:
        return False


def require_free(output: str) -> None:
    """Raises UserError if an export may not be written there: what is there is no export, or the disk says no."""
    for path in (output, output + UNPROVEN):
        is_empty = os.path.isdir(path) and not os.listdir(path)
        if os.path.lexists(path) and not is_empty and not is_export(path):
            raise UserError(
                "--output={}: {} is there and is no export of this program, so it is not replaced. Name another "
                "folder.".format(output, path)
            )
    files.require_writable(os.path.dirname(os.path.abspath(output)), "--output")


@contextlib.contextmanager
def scratch(output: str) -> Iterator[str]:
    """The path of a folder to be made on the same disk; what is there is gone afterwards, after a signal too."""
    within = os.path.dirname(os.path.abspath(output))
    with tensorflow_setup.temporary_folder(within, ".exporting-") as folder:
        yield os.path.join(folder, "export")


def move(folder: str, output: str) -> None:
    """Gives a whole folder its name; an export that has the name is replaced, and an unproven one beside it removed."""
    _sync(folder)
    replaced = os.path.join(os.path.dirname(folder), "replaced")
    with _signals_held_back():
        if os.path.lexists(output):
            os.rename(output, replaced)
        os.rename(folder, output)
    files.fsync_folder(os.path.dirname(os.path.abspath(output)))
    shutil.rmtree(replaced, ignore_errors=True)
    if is_export(output + UNPROVEN):
        shutil.rmtree(output + UNPROVEN, ignore_errors=True)


def _sync(folder: str) -> None:
    for parent, _, names in os.walk(folder):
        for name in names:
            descriptor = os.open(os.path.join(parent, name), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        files.fsync_folder(parent)


@contextlib.contextmanager
def _signals_held_back() -> Iterator[None]:
    """Within it, the signals that end the program wait."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, tensorflow_setup.SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
