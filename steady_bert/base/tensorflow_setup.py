"""What must happen before TensorFlow is imported, which takes seconds. Entry scripts import this module first."""

import atexit
import contextlib
import os
import shutil
import signal
import sys
import tempfile
from typing import Any, Iterator, Set

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's start-up notes; its errors still show

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_temporary_folders: Set[str] = set()


def _exit(number: int, frame: Any) -> None:
    # Not SystemExit: it would be raised in whatever code runs, and an import, a callback from TensorFlow's C++ or a
    # destructor swallows it or turns it into another error. Files are whole whenever a process ends, as for SIGKILL.
    message = "Stopped by {}; nothing was being trained.\n".format(signal.Signals(number).name)
    with contextlib.suppress(RuntimeError, OSError, ValueError):  # the signal may have come within a print
        sys.stdout.flush()
    with contextlib.suppress(OSError):
        os.write(2, message.encode())
    for folder in _temporary_folders:
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(128 + number)


def exit_on_signals() -> None:
    """SIGINT and SIGTERM end the process with 130 and 143, without a traceback. For entry scripts run as programs."""
    for number in SIGNALS:
        signal.signal(number, _exit)
    atexit.register(_ignore_signals)


@contextlib.contextmanager
def without_keras() -> Iterator[None]:
    """Within it, TensorFlow is imported in two thirds of the time. For entry scripts run as programs.

    From 2.6 on TensorFlow ends its import with that of Keras, for what Keras registers, and goes on where it fails. No
    code here uses that; `tf.keras` is still loaded when it is first used.
    """
    eager = [name for name in ("keras.src.optimizers", "tf_keras.src.optimizers") if name not in sys.modules]
    sys.modules.update(dict.fromkeys(eager))  # type: ignore[arg-type]  # None: the import fails
    try:
        yield
    finally:
        for name in eager:
            del sys.modules[name]


def _ignore_signals() -> None:
    # Everything is written. While Python takes itself down it gives its handlers up, and a signal would end the
    # process with -15, as if it had not finished.
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def temporary_folder() -> Iterator[str]:
    """A folder that is gone afterwards, after a signal too."""
    with tempfile.TemporaryDirectory() as folder:
        _temporary_folders.add(folder)
        try:
            yield folder
        finally:
            _temporary_folders.discard(folder)
