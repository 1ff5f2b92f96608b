"""The processes of a search: each is a run on cores of its own, which does not outlive the search. Pure.

Where the system is Linux, a run is bound to its cores, which is how many threads TensorFlow starts; and the system ends
it, as SIGTERM does, when the search dies, so that it saves and stops. Elsewhere runs share all processors, and one that
outlives its search is found by the lock of its folder.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from typing import IO, Any, Callable, List, Optional, Sequence

import filelock

_PR_SET_PDEATHSIG = 1  # of prctl(2)


def has_affinity() -> bool:
    return sys.platform.startswith("linux") and hasattr(os, "sched_setaffinity")


def own_cores() -> List[int]:
    """The processors that this process may use, by number; where the system does not say, from 0."""
    return sorted(os.sched_getaffinity(0)) if has_affinity() else list(range(os.cpu_count() or 1))


def is_locked(folder: str) -> bool:
    """Whether a run is writing to its folder."""
    path = os.path.join(folder, ".lock")
    if not os.path.exists(path):
        return False
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return True
    lock.release()
    return False


class Process:
    """A run under way. What it prints is appended to a log."""

    def __init__(self, command: Sequence[str], log: str, cores: Sequence[int]) -> None:
        self.cores = list(cores)
        self._log: IO[Any] = open(log, "ab")  # noqa: SIM115  (as long as the process)
        self._process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches the search alone, which stops its runs
            preexec_fn=_prepared(self.cores),
        )

    def ended(self) -> Optional[int]:
        """The exit code, minus the signal that killed it; None while it runs."""
        code = self._process.poll()
        if code is not None:
            self._log.close()
        return code

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Makes it save and stop."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)


def _prepared(cores: Sequence[int]) -> Optional[Callable[[], None]]:
    """What the new process does before it becomes the run."""
    if not has_affinity():
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()  # found here: a forked process should do little

    def prepare() -> None:
        os.sched_setaffinity(0, cores)
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # the search has died since
            os._exit(128 + signal.SIGTERM)

    return prepare


def last_words(log: str, program: str) -> str:
    """The message with which a run ended: the last line that begins with the program's name, else the last one."""
    try:
        with open(log, "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(file.tell() - 20000, 0))
            lines = [line.strip() for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
    except FileNotFoundError:
        return "{}: was removed during the run".format(log)
    own = [line for line in lines if line.startswith(program + ":")]
    return (own or lines or ["nothing was printed"])[-1]
