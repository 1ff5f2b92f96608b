"""pytorch_model.bin as safetensors, made by torch in a process of its own. Pure: no TensorFlow.

It is the one kind of file here that is a pickle. This process never opens it.
"""

import os
import re
import subprocess
import sys
from typing import Optional

from ..base.errors import UserError
from .torch_to_safetensors import FILE

_SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "torch_to_safetensors.py")


def to_safetensors(folder: str, target: str, python: Optional[str] = None) -> None:
    """Writes the weights of a folder's pytorch_model.bin, or of its shards, as one file of float32 tensors.

    python: an interpreter with torch 2.6 or newer; this one if None. Raises UserError if it has none, or if torch
    refuses the file.
    """
    interpreter = python or sys.executable
    try:
        process = subprocess.run(
            [interpreter, _SCRIPT, folder, target],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
            env=dict(os.environ, CUDA_VISIBLE_DEVICES=""),
        )
    except OSError as error:
        raise UserError("{}: cannot be run ({}). Name a Python.".format(interpreter, error.strerror)) from None
    if process.returncode == 0:
        return
    source = os.path.join(folder, FILE)
    lines = process.stderr.strip().split("\n")
    errors = [line for line in lines if re.match(r"[\w.]+Error: ", line)]  # torch explains at length what it refuses
    reason = (errors + lines[-1:])[0].replace("torch_to_safetensors: ", "")[:200]
    if "No module named" in reason or "newer is needed" in reason:
        raise UserError(
            "{}: reading it takes torch 2.6 or newer, which {} has not ({}). With a Python that has torch and "
            "safetensors, run once:\n  python {} {}".format(source, interpreter, reason, _SCRIPT, folder)
        )
    raise UserError("{}: torch refuses it ({}). Fetch it again, or as safetensors.".format(source, reason))
