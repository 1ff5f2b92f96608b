"""Files that one process at a time may have locked."""

import filelock

from .errors import UserError


def acquired(path: str, taken: str) -> filelock.BaseFileLock:
    """The lock, to be released; the operating system frees that of a process that died.

    Raises UserError, with the message `taken`, if another process has it.
    """
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise UserError(taken) from None
    return lock
