"""What happens before, while and after TensorFlow is imported, which takes seconds: signals, and what it prints.

Entry scripts import this module first.
"""

import atexit
import contextlib
import io
import os
import re
import shutil
import signal
import sys
import tempfile
import warnings
from typing import Any, Callable, Iterator, List, Optional, Set

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_temporary_folders: Set[str] = set()
_before_exit: List[Callable[[int], None]] = []


def _exit(number: int, frame: Any) -> None:
    # Not SystemExit: it would be raised in whatever code runs, and an import, a callback from TensorFlow's C++ or a
    # destructor swallows it or turns it into another error. Files are whole whenever a process ends, as for SIGKILL.
    message = "Stopped by {}; nothing was being trained.\n".format(signal.Signals(number).name)
    if hasattr(sys.stderr, "end_bar"):  # a bar stands on this line
        message = "\n" + message
    with contextlib.suppress(RuntimeError, OSError, ValueError):  # the signal may have come within a print
        sys.stdout.flush()
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.write(sys.stderr.fileno(), message.encode())
    while _before_exit:  # a further signal repeats nothing
        with contextlib.suppress(Exception):  # nothing keeps a signal from ending the process
            _before_exit.pop()(number)
    for folder in _temporary_folders:
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(128 + number)


@contextlib.contextmanager
def before_exit(act: Callable[[int], None]) -> Iterator[None]:
    """Within it, a signal that ends the process calls act(its number) first, after the acts of inner blocks."""
    _before_exit.append(act)
    try:
        yield
    finally:
        _before_exit.remove(act)


def start_program() -> None:
    """The first thing that an entry script run as a program does."""
    open_closed_streams()
    exit_on_signals()
    drop_notes()


def open_closed_streams() -> None:
    """Opens the null device in place of each standard stream that the caller has closed (`2>&-`).

    Else the next file that is opened would get its number, and messages would be written into it.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))  # takes the lowest free number


def escape_unknown_letters() -> None:
    """From now on, letters that the terminal's encoding lacks are printed as escapes, which was an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def discard_standard_output() -> None:
    """From now on, what is printed is lost: nobody reads the pipe that it went to."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
    sys.stdout = open(os.devnull, "w", encoding="utf-8", errors="replace")  # noqa: SIM115  (as long as the process)


def exit_on_signals() -> None:
    """SIGINT and SIGTERM end the process with 130 and 143, without a traceback."""
    for number in SIGNALS:
        signal.signal(number, _exit)
    atexit.register(_ignore_signals)


def _ignore_signals() -> None:
    # Everything is written. While Python takes itself down it gives its handlers up, and a signal would end the
    # process with -15, as if it had not finished.
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


# --- TensorFlow -------------------------------------------------------------------------------------------------------


def import_tensorflow() -> None:
    """Imports TensorFlow in two thirds of the time, and without warnings that only its own authors can act on."""
    first = "tensorflow" not in sys.modules
    with without_keras(), warnings.catch_warnings():
        if _is_quiet():
            warnings.simplefilter("ignore")
        import tensorflow.compat.v1 as tf
    if first and _is_quiet():
        tf.logging.set_verbosity(tf.logging.ERROR)


def _is_quiet() -> bool:
    """Whether TensorFlow's notes are dropped; TF_CPP_MIN_LOG_LEVEL=0 (or 1) in the environment shows them."""
    return os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") > "1"


@contextlib.contextmanager
def without_keras() -> Iterator[None]:
    """Within it, TensorFlow is imported in two thirds of the time.

    From 2.6 on TensorFlow ends its import with that of Keras, for what Keras registers, and continues if it fails. No
    code here uses that; `tf.keras` is still loaded when it is first used.
    """
    eager = [name for name in ("keras.src.optimizers", "tf_keras.src.optimizers") if name not in sys.modules]
    sys.modules.update(dict.fromkeys(eager))  # type: ignore[arg-type]  # None: the import fails
    try:
        yield
    finally:
        for name in eager:
            del sys.modules[name]


# A line of C++ logging in either of its formats, of any severity but fatal.
_NOTE = re.compile(
    rb"[IWE]\d{4} [\d:.]+ +\d+ \S+\] |\d{4}-\d\d-\d\d [\d:.]+: [IWE] \S+\] |WARNING: All log messages before absl::"
)


def drop_notes() -> None:
    """From now on, notes of C++ libraries are dropped; all else that is written to standard error is shown.

    From TensorFlow 2.17 on no setting silences all of them; its errors reach the user as exceptions. A child process
    reads what C++ writes, so that the last words of a process that crashes are shown too. Python writes directly.
    """
    if not hasattr(os, "fork") or sys.stderr is None or not _is_quiet():
        return
    sys.stderr.flush()
    terminal = os.dup(2)
    reading, writing = os.pipe()
    if os.fork() == 0:
        _filter_notes(reading, terminal)
    os.close(reading)
    os.dup2(writing, 2)
    os.close(writing)
    sys.stderr = os.fdopen(terminal, "w", 1, encoding=sys.stderr.encoding, errors=sys.stderr.errors)


def _filter_notes(reading: int, terminal: int) -> None:
    """The child process: copies lines until every process that can write them has ended."""
    try:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        os.dup2(reading, 0)
        os.dup2(terminal, 1)
        os.closerange(2, 1024)  # locks and pipes that others wait for
        with os.fdopen(0, "rb") as lines:
            for line in lines:
                if not _NOTE.match(line):
                    os.write(1, line)
    finally:
        os._exit(0)


@contextlib.contextmanager
def temporary_folder(within: Optional[str] = None, prefix: Optional[str] = None) -> Iterator[str]:
    """A folder that is gone afterwards, after a signal too. within: the folder that it is made in."""
    with tempfile.TemporaryDirectory(prefix=prefix, dir=within) as folder:
        _temporary_folders.add(folder)
        try:
            yield folder
        finally:
            _temporary_folders.discard(folder)
