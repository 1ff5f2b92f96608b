"""What the bits of a run depend on beside its plan and its files: TensorFlow, the processor, its threads, the code."""

import hashlib
import os
import platform
from typing import Dict

from ..base import files, processor
from ..base.deferred_tensorflow import tf

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def described() -> Dict[str, str]:
    """The environment of this process, by name."""
    return {
        "TensorFlow": tf.__version__,
        "Python": platform.python_version(),
        "processor": processor.model_name() or platform.machine(),
        "threads": str(processor.usable_processors()),
        "code": code_fingerprint(),
    }


def code_fingerprint(root: str = _ROOT) -> str:
    """A hash of the program's own modules, wherever they stand: those beside the scripts, and all of steady_bert."""
    paths = [os.path.join(root, name) for name in os.listdir(root)]
    for folder, _, names in os.walk(os.path.join(root, "steady_bert")):
        paths += [os.path.join(folder, name) for name in names]
    modules = sorted(os.path.relpath(path, root) for path in paths if path.endswith(".py"))
    digests = [name + files.sha256_of_file(os.path.join(root, name)) for name in modules]
    return hashlib.sha256("".join(digests).encode()).hexdigest()[:16]
