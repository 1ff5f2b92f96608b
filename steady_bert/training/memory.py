"""The most memory that this process has used: by TensorFlow's statistics on a GPU, else by the system's."""

import sys
from typing import Optional, Sequence

from ..base.deferred_tensorflow import tf

if sys.platform != "win32":
    import resource


def peak_bytes(gpus: Sequence[str]) -> Optional[int]:
    """The peak on the fullest of `gpus` ("gpu:0") since the process began; without any, the peak of resident memory.

    None where nobody counts: on a GPU before TensorFlow 2.5, on some others, and without a GPU on Windows. Call it
    after a session of the run has opened: the first to use a GPU decides how much of its memory TensorFlow takes.
    """
    if gpus:
        if not hasattr(tf.config.experimental, "get_memory_info"):
            return None
        try:
            return max(int(tf.config.experimental.get_memory_info(name.upper())["peak"]) for name in gpus)
        except ValueError:  # TensorFlow does not count on this device
            return None
    if sys.platform == "win32":
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit
