"""How much memory this machine, or the container that the program runs in, has. Pure: no TensorFlow."""

import contextlib
import os
from typing import Optional

from .errors import UserError

# The limits of a container, of either version of cgroups; "max" or a huge number where there is none.
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
FLOAT32_BYTES = 4


def memory_bytes() -> Optional[int]:
    """None where the system does not say it."""
    sizes = []
    with contextlib.suppress(ValueError, OSError, AttributeError):
        sizes.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for path in _LIMITS:
        with contextlib.suppress(OSError, ValueError), open(path, encoding="ascii") as file:
            sizes.append(int(file.read()))
    return min(sizes, default=None)


def require_memory(place: str, needed_bytes: int, what: str) -> None:
    """Raises UserError, which begins with `place`, if the machine can never hold so much."""
    present = memory_bytes()
    if present is not None and needed_bytes > present:
        raise UserError(
            "{}: {} take {:,} bytes of memory, and this machine has {:,}. Use a smaller model, the file that belongs "
            "to the model, or a larger machine.".format(place, what, needed_bytes, present)
        )
