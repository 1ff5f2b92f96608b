"""status.json: what a command does with a run's folder, or how the last one ended. Pure: no TensorFlow.

The command gives the file a new time every few seconds, so a folder shows when its process was last alive, whatever the
run reports: a process that was killed can write nothing.
"""

import contextlib
import os
import signal
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Optional, Type

from ..base import files, json_files, program_end, tensorflow_setup
from ..base.errors import RunError, UserError

FILE = "status.json"
PREPARING, TRAINING, FINISHED, STOPPED, FAILED = "preparing", "training", "finished", "stopped", "failed"
SIGN_SECS = 10.0  # between two signs of life
_MOST_CHARACTERS = 300  # of a reason


@dataclass(frozen=True)
class Status:
    """What status.json says."""

    state: str  # preparing, training, evaluating …; or how it ended: finished, stopped, failed
    reason: str = ""  # the name of the signal that stopped it, or the error

    @property
    def has_ended(self) -> bool:
        return self.state in (FINISHED, STOPPED, FAILED)


def read(folder: str) -> Optional[Status]:
    """None if the folder does not say, or not readably: the file decides nothing."""
    try:
        content = json_files.read(os.path.join(folder, FILE), Status)
    except UserError:
        return None
    return Status(content["state"], content.get("reason", ""))


def secs_since_sign(folder: str) -> float:
    """How long ago the file got its time. Raises OSError if it is gone."""
    return max(time.time() - os.path.getmtime(os.path.join(folder, FILE)), 0.0)


class Keeper:
    """Keeps status.json to the end of the first `with` block that is left. A full disk does not end the run.

    Without an `enter`, the command was refused, and the file is as before.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._path = os.path.join(folder, FILE)
        self._before: Optional[bytes] = None
        self._has_entered = False
        self._signs: Optional[threading.Thread] = None
        self._ended = threading.Event()
        self._on_signal = contextlib.ExitStack()

    def prepare(self) -> None:
        """Says that a command has begun, which may still be refused."""
        with contextlib.suppress(UserError):
            self._before = files.read_bytes(self._path)
        self._live(PREPARING)

    def enter(self, state: str) -> None:
        """Says what the command does from now on. Call it once nothing can refuse the command any more."""
        self._has_entered = True
        self._live(state)

    def _live(self, state: str) -> None:
        self._write(Status(state))
        if self._signs is None:
            self._signs = threading.Thread(target=self._give_signs, name="signs of life", daemon=True)
            self._signs.start()
            self._on_signal.enter_context(tensorflow_setup.before_exit(self._stopped))

    def _give_signs(self) -> None:
        while not self._ended.wait(SIGN_SECS):
            with contextlib.suppress(OSError):
                os.utime(self._path)

    def _restore(self) -> None:
        with contextlib.suppress(OSError, RunError):
            if self._before is None:
                os.unlink(self._path)
            else:
                files.write_bytes(self._path, self._before)

    def _stopped(self, number: int) -> None:
        self._write(Status(STOPPED, signal.Signals(number).name))

    def _write(self, status: Status) -> None:
        with contextlib.suppress(OSError, RunError):  # the second is a full disk
            files.write_json(self._path, vars(status))

    def __enter__(self) -> "Keeper":
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if self._signs is None:
            return
        self._ended.set()
        self._signs.join()
        self._signs = None
        code = error.code if isinstance(error, SystemExit) else None
        with self._on_signal:
            if not self._has_entered:
                self._restore()
            elif error is None or code == 0:
                self._write(Status(FINISHED))
            elif isinstance(code, int) and code > 128:
                self._stopped(code - 128)
            else:
                self._write(Status(FAILED, _reason(error)))


def _reason(error: BaseException) -> str:
    """What the command says at its end."""
    text = str(error)
    if isinstance(error, program_end.expected()):
        text = program_end.reason_of(error)
    elif not isinstance(error, (UserError, RunError)):
        text = "{}: {}".format(type(error).__name__, text)
    text = " ".join(text.split())
    return text if len(text) <= _MOST_CHARACTERS else text[: _MOST_CHARACTERS - 1] + "…"
