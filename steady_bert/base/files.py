"""Files that are either whole or absent."""

import contextlib
import hashlib
import itertools
import json
import math
import os
import re
import shutil
import tempfile
import zlib
from typing import IO, Any, Iterator, Optional

from . import disk
from .errors import UserError


def fsync_folder(folder: str) -> None:
    """Makes renames inside `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def rename_synced(temporary: str, path: str) -> None:
    """Syncs `temporary`, then gives it its final name in the same folder."""
    descriptor = os.open(temporary, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(temporary, path)
    fsync_folder(os.path.dirname(os.path.abspath(path)))


_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}\.tmp")  # of atomic_write


@contextlib.contextmanager
def atomic_write(path: str, mode: str = "w", size_bytes: Optional[int] = None) -> Iterator[IO[Any]]:
    """Opens a temporary file in the folder of `path`; on success it is synced and renamed to `path`, else removed.

    size_bytes: how large it will be, if that is known. Raises DiskFullError.
    """
    folder = os.path.dirname(os.path.abspath(path))
    with disk.writing(path, size_bytes):  # an empty file takes room too
        os.makedirs(folder, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix="." + os.path.basename(path) + ".", suffix=".tmp", dir=folder)
    try:
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp makes files that only their owner can read
        with os.fdopen(descriptor, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
        rename_synced(temporary, path)
    except BaseException as error:
        written = 0
        with contextlib.suppress(OSError):
            written = os.path.getsize(temporary)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        if disk.is_full(error) and not isinstance(error, disk.DiskFullError):
            raise disk.DiskFullError(path, size_bytes or written, at_least=size_bytes is None) from error
        raise


def remove_temporaries(folder: str) -> None:
    """Removes what killed writers left in a folder, if there is one. Nobody may be writing there."""
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        if _TEMPORARY.fullmatch(name):
            os.unlink(os.path.join(folder, name))


def copy(source: str, target: str) -> None:
    """Copies a file's content, atomically; nothing where both are one file."""
    if os.path.abspath(source) != os.path.abspath(target):
        with open(source, "rb") as file, atomic_write(target, "wb") as into:
            shutil.copyfileobj(file, into)


def free_name(path: str) -> str:
    """The path if nothing is there, else the first with a number after it."""
    numbered = (path if number == 1 else "{}.{}".format(path, number) for number in itertools.count(1))
    return next(name for name in numbered if not os.path.lexists(name))


def require_writable(folder: str, flag: str) -> None:
    """Makes the folder, and a file in it for a moment. Raises UserError naming the flag where that cannot be done."""
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            "{}={}: cannot be written ({}). Name another folder.".format(flag, folder, error.strerror)
        ) from None


def json_bytes(value: Any) -> bytes:
    """`value` as indented JSON, in the bytes that write_json writes."""
    return (json_text(value, indent=2) + "\n").encode("utf-8")


def json_text(value: Any, indent: Optional[int] = None) -> str:
    """`value` as JSON. Numbers that are not finite, for which JSON has no word, are null."""
    try:
        return json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return json.dumps(_with_null(value), indent=indent, ensure_ascii=False, allow_nan=False)


def _with_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_null(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_null(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: str, value: Any) -> None:
    """Writes `value` as indented JSON, atomically."""
    write_bytes(path, json_bytes(value))


def write_bytes(path: str, content: bytes) -> None:
    """Writes a whole file, atomically."""
    with atomic_write(path, "wb", len(content)) as file:
        file.write(content)


def read_bytes(path: str) -> bytes:
    """A whole file. Raises UserError where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise UserError("{}: cannot be read ({}). Check the path.".format(path, error.strerror)) from None


def sha256_of_file(path: str) -> str:
    """Hex digest of a file's bytes, read in constant memory. Raises UserError where it cannot be read."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
    except OSError as error:
        raise UserError("{}: cannot be read ({}). Check the path.".format(path, error.strerror)) from None
    return digest.hexdigest()


def crc32_of_file(path: str) -> int:
    """The CRC-32 of a file's bytes, read in constant memory. Raises OSError where it cannot be read."""
    checksum = 0
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            checksum = zlib.crc32(block, checksum)
    return checksum
