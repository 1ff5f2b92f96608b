"""A full disk as one message: what was being written, how much it takes, and that the command goes on. Pure."""

import contextlib
import errno
import os
import re
import shutil
from typing import Callable, Iterator, Optional

from .errors import RunError, UserError

_CODES = (errno.ENOSPC, errno.EDQUOT)
_TEXT = re.compile(r"No space left on device|Disk quota exceeded")  # in TensorFlow's errors, which have several types


class DiskFullError(RunError):
    """The message says which file, how much it takes, and how much is free."""

    def __init__(self, path: str, needed_bytes: Optional[int] = None, at_least: bool = False) -> None:
        """needed_bytes: what the file takes, or, with at_least, what it had when the disk was full."""
        folder = os.path.dirname(os.path.abspath(path))
        while not os.path.isdir(folder):
            folder = os.path.dirname(folder)
        takes = ""
        if needed_bytes:
            takes = " It takes {}{:,} bytes,".format("more than " * at_least, needed_bytes)
        super().__init__(
            "{}: the disk is full.{} {:,} bytes are free. Free some: the same command then goes on.".format(
                path, takes + " and" * bool(takes), shutil.disk_usage(folder).free
            )
        )


def is_full(error: BaseException) -> bool:
    """Whether an error, this program's, Python's or TensorFlow's, is that of a full disk."""
    if isinstance(error, (UserError, RunError)):  # its text may quote the user's data
        return isinstance(error, DiskFullError)
    return getattr(error, "errno", None) in _CODES or _TEXT.search(str(getattr(error, "message", error))) is not None


@contextlib.contextmanager
def writing(
    path: str,
    needed_bytes: Optional[int] = None,
    written_bytes: Optional[Callable[[], int]] = None,
    is_renamed: bool = False,
) -> Iterator[None]:
    """Within it, a full disk is a DiskFullError that names `path`, unless it is one already.

    needed_bytes: what it takes. written_bytes: what it has so far, where that is not known. is_renamed: whether `path`
    is written under a temporary name, which an error within it should not name either.
    """
    try:
        yield
    except Exception as error:  # TensorFlow's have no type that this module may import; any other is raised again
        if not is_full(error) or isinstance(error, DiskFullError) and not is_renamed:
            raise
        size = written_bytes() if written_bytes else needed_bytes
        raise DiskFullError(path, size, at_least=written_bytes is not None) from error


def bytes_in(folder: str) -> int:
    """The size of all files in a folder and its folders."""
    paths = (os.path.join(parent, name) for parent, _, names in os.walk(folder) for name in names)
    return sum(os.path.getsize(path) for path in paths if os.path.isfile(path))
