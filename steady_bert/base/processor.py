"""Which instructions this machine's processor has, as far as they decide what is fast; how many there are. Pure."""

import os
from typing import FrozenSet, Optional

# Names in Linux's /proc/cpuinfo, x86 first, then ARM.
_OF_INTEREST = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16")
_WITH_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}


def instruction_sets(path: str = "/proc/cpuinfo") -> Optional[FrozenSet[str]]:
    """Those of interest that the processor has; None if the system does not say."""
    value = _entry(path, "flags", "Features")
    return None if value is None else frozenset(value.split()) & frozenset(_OF_INTEREST)


def model_name(path: str = "/proc/cpuinfo") -> Optional[str]:
    """What the processor is called; None if the system does not say."""
    return _entry(path, "model name")


def _entry(path: str, *names: str) -> Optional[str]:
    """The first value under one of the names."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = [line.partition(":") for line in file]
    except OSError:
        return None
    return next((value.strip() for name, _, value in lines if name.strip() in names), None)


def describe(sets: Optional[FrozenSet[str]]) -> str:
    """The instruction sets as people read them."""
    return "not known" if sets is None else ", ".join(name for name in _OF_INTEREST if name in sets) or "none of note"


def emulates_bfloat16(sets: Optional[FrozenSet[str]]) -> bool:
    """Whether the processor is known to have no bfloat16 instructions."""
    return sets is not None and not sets & _WITH_BFLOAT16


def usable_processors() -> int:
    """The number of processors that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux alone
    return len(affinity(0)) if affinity else os.cpu_count() or 1
