"""What must happen before TensorFlow is imported, which takes seconds. Entry scripts import this module first."""

import os
import signal
import sys
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's start-up notes; its errors still show

_importing = True


def _exit(number: int, frame: Any) -> None:
    print("Stopped by {}; nothing was being trained.".format(signal.Signals(number).name), file=sys.stderr)
    if _importing:  # some import would catch SystemExit and go on
        sys.stderr.flush()
        os._exit(128 + number)
    raise SystemExit(128 + number)


def exit_on_signals() -> None:
    """SIGINT and SIGTERM end the process with 130 and 143, without a traceback. For entry scripts run as programs."""
    signal.signal(signal.SIGINT, _exit)
    signal.signal(signal.SIGTERM, _exit)


def imports_are_done() -> None:
    """From here on a signal lets what is open be closed."""
    global _importing
    _importing = False
