"""How a program ends: its exit code, and one message for whatever an outer cause can raise. Pure: no TensorFlow."""

import os
import sys
import tempfile
import traceback
from typing import Any, Callable, NoReturn, Optional, Tuple, Type

from . import disk, tensorflow_setup
from .errors import RunError, UserError

_REASON_CHARACTERS = 500
_LINE_CHARACTERS = 2000


def run(program: str, main: Callable[[], Any]) -> NoReturn:
    """Calls main and exits: 0 done, 2 a mistake of the user's, 1 a failure, whose traceback is then in a file.

    Failures are what files, memory, nesting and TensorFlow raise. Any other error is one of the program's own, and
    shows as it is.
    """
    tensorflow_setup.escape_unknown_letters()
    try:
        try:
            main()
        finally:
            _end_bar()
    except UserError as error:
        print("{}: error: {}".format(program, _bearable(str(error))), file=sys.stderr)
        sys.exit(2)
    except RunError as error:
        print("{}: {}".format(program, error), file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:  # `| head`
        tensorflow_setup.discard_standard_output()
        sys.exit(1)
    except expected() as error:
        lines = [reason_of(error), "" if disk.is_full(error) else _kept_traceback(program)]
        print("{}: {}".format(program, "\n".join(filter(None, lines))), file=sys.stderr)
        sys.exit(1)
    sys.exit(0)


def _bearable(text: str) -> str:
    """A message whose lines are cut in their middle where they quote a value of a million characters."""
    half = _LINE_CHARACTERS // 2
    lines = text.split("\n")
    return "\n".join(line if len(line) <= 2 * half else line[:half] + " … " + line[-half:] for line in lines)


def _end_bar() -> None:
    """Ends the bar that an error has left on the terminal; progress_bar is not imported where there is none."""
    end = getattr(sys.stderr, "end_bar", None)
    if end is not None:
        end()


def expected() -> Tuple[Type[BaseException], ...]:
    """The types of errors that have causes outside the program."""
    tensorflow: Any = sys.modules.get("tensorflow.python.framework.errors_impl")  # where it was imported
    return (OSError, RecursionError, MemoryError) + ((tensorflow.OpError,) if tensorflow else ())


def reason_of(error: BaseException) -> str:
    """An error of an expected type as a sentence."""
    text = str(getattr(error, "message", error)).strip()
    first = " ".join(text.split("\n")[0].split())[:_REASON_CHARACTERS] or "no reason"
    path = getattr(error, "filename2", None) or getattr(
        error, "filename", None
    )  # the first: to where a file is renamed
    if disk.is_full(error):
        before = first.split(";")[0]  # TensorFlow's messages begin with the path
        path = path or (before if os.path.isdir(os.path.dirname(before)) else os.curdir)
        return str(disk.DiskFullError(str(path)))
    if isinstance(error, MemoryError):
        return "Out of memory. Close other programs, or use smaller batches, files or models."
    if isinstance(error, RecursionError):
        return "A file or a value is nested too deeply ({}).".format(first)
    if isinstance(error, OSError):
        return "{}{}. Check that it can be read and written.".format(
            "{}: ".format(path) if path else "", error.strerror or first
        )
    return "TensorFlow failed ({}): {}".format(type(error).__name__, first)


def _kept_traceback(program: str) -> str:
    """Where the traceback is, which is written now; "" if there is no room for it."""
    try:  # a new file: at a name that can be guessed, another user could have put a link to one of this user's
        descriptor, new = tempfile.mkstemp(".txt", program + "-failure-")
    except OSError:
        return ""
    os.close(descriptor)
    path = keep_traceback(new)
    return "The traceback is in {}.".format(path) if path else ""


def keep_traceback(path: str) -> Optional[str]:
    """Writes the traceback of the error that is handled now; returns the path, None if that cannot be done."""
    try:
        with open(path, "w", encoding="utf-8", errors="replace") as file:
            file.write(traceback.format_exc())
    except OSError:
        return None
    return path
