"""The output of extract_features, which grows in a folder beside it and goes on after a stop. Pure: no TensorFlow.

T tokens of all lines · N lines · K layers · H hidden
"""

import contextlib
import os
import shutil
import time
import zipfile
from dataclasses import dataclass
from typing import IO, Any, Dict, Sequence, Tuple

import numpy as np

from ..base import disk, files, json_files, locks
from ..base.errors import RunError, UserError
from . import json_lines
from .lines import Encoded

_SAVE_SECS = 5.0


@dataclass
class _StateFile:
    """The schema of the file that says how much of an output is done."""

    identity: Dict[str, Any]
    lines: int
    tokens: int
    sizes: Dict[str, int]


class Output:
    """The part of an output that is done. lines: how many lines of the input that is."""

    def __init__(self, path: str, identity: Dict[str, Any], layers: Sequence[int], size: int, pooled: bool) -> None:
        """identity: what decides the output; the part of another is discarded. size: H.

        Raises UserError if another process writes this output.
        """
        self._path = path
        self._layers = list(layers)
        self._shape = (len(layers), size)
        self._pooled = pooled
        self._folder = os.path.join(
            os.path.dirname(os.path.abspath(path)), ".{}.partial".format(os.path.basename(path))
        )
        files.require_writable(self._folder, "--output_file")
        self._lock = locks.acquired(
            os.path.join(self._folder, "lock"),
            "--output_file={}: another process is writing it. Name another.".format(path),
        )
        self._identity = identity
        state = self._saved_state()
        self.lines: int = state["lines"]
        self._files: Dict[str, IO[bytes]] = {}
        for name in ("values", "token_ids", "ends") if path.endswith(".npz") else ("text",):
            self._files[name] = open(os.path.join(self._folder, name), "ab")  # noqa: SIM115
            self._files[name].truncate(state["sizes"].get(name, 0))
        self._tokens: int = state["tokens"]
        self._saved = time.monotonic()

    def _saved_state(self) -> Dict[str, Any]:
        with contextlib.suppress(OSError, UserError):
            state = json_files.read(os.path.join(self._folder, "state.json"), _StateFile)
            sizes = {name: os.path.getsize(os.path.join(self._folder, name)) for name in state["sizes"]}
            if state["identity"] == self._identity and all(sizes[name] >= n >= 0 for name, n in state["sizes"].items()):
                return state
        return {"lines": 0, "tokens": 0, "sizes": {}}

    def add(self, rows: Sequence[Tuple[Encoded, np.ndarray]]) -> None:
        """Appends lines with their values: float32 [tokens, K, H], or [K, H] if pooled.

        Raises RunError for values that are not finite.
        """
        for line, values in rows:
            if not np.isfinite(values).all():
                raise RunError(
                    "Line {} of the input: the model's values are not finite. Check its checkpoint.".format(
                        line.unique_id + 1
                    )
                )
            if "text" in self._files:
                self._files["text"].write(json_lines.line_of(line, values, self._layers, self._pooled))
            else:
                self._tokens += len(line.tokens)
                self._files["values"].write(np.ascontiguousarray(values, "<f4").tobytes())
                self._files["token_ids"].write(np.array(line.input_ids, "<i4").tobytes())
                self._files["ends"].write(np.array([self._tokens], "<i8").tobytes())
        self.lines += len(rows)
        if time.monotonic() - self._saved > _SAVE_SECS:
            self.save()

    def written_bytes(self) -> int:
        return disk.bytes_in(self._folder)

    def save(self) -> None:
        """From here a run goes on that is stopped later."""
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        sizes = {name: file.tell() for name, file in self._files.items()}
        state = {"identity": self._identity, "lines": self.lines, "tokens": self._tokens, "sizes": sizes}
        files.write_json(os.path.join(self._folder, "state.json"), state)
        self._saved = time.monotonic()

    def finish(self) -> None:
        """Gives the output its name, and removes the folder."""
        self.save()
        if "text" in self._files:
            files.rename_synced(os.path.join(self._folder, "text"), self._path)
        else:
            self._write_npz()
        shutil.rmtree(self._folder)  # while it is locked, so that it is nobody else's

    def close(self) -> None:
        """Ends the writing. What is saved stays for another command, unless the output is finished."""
        try:
            for file in self._files.values():
                file.close()
        finally:  # a full disk lets no file be closed
            self._lock.release()

    def _write_npz(self) -> None:
        """pooled: vectors [N, K, H]; else values [T, K, H], token_ids [T] and ends [N], the number of tokens up to
        each line's end. layers [K].
        """
        arrays: Dict[str, Tuple[str, str, Tuple[int, ...]]]
        if self._pooled:
            arrays = {"vectors": ("values", "<f4", (self.lines, *self._shape))}
        else:
            arrays = {
                "values": ("values", "<f4", (self._tokens, *self._shape)),
                "token_ids": ("token_ids", "<i4", (self._tokens,)),
                "ends": ("ends", "<i8", (self.lines,)),
            }
        with files.atomic_write(self._path, "wb") as file, zipfile.ZipFile(file, "w", allowZip64=True) as archive:
            for name, (source, dtype, shape) in arrays.items():
                with archive.open(name + ".npy", "w", force_zip64=True) as member:
                    header = {"descr": dtype, "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(member, header)
                    with open(os.path.join(self._folder, source), "rb") as content:
                        shutil.copyfileobj(content, member, 1 << 20)
            with archive.open("layers.npy", "w") as member:
                np.lib.format.write_array(member, np.array(self._layers, np.int32), allow_pickle=False)
