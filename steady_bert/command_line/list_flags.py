"""Flags as slices of configuration, and the items of flags that hold lists: numbers, patterns, devices.

Each function raises UserError for a bad value.
"""

import dataclasses
import glob
import importlib.util
import math
import os
import re
from typing import Any, Callable, Dict, List, Tuple

from ..base.errors import UserError

REPORT_TO = ("tensorboard", "mlflow")

# flags.Values: an attribute for each flag, and given(name).
Values = Any


class WithConstants:
    """The flags of a script, with values for flags of other scripts that it lacks. Nobody gave these."""

    def __init__(self, given: Values, constants: Dict[str, Any]) -> None:
        self._values = given
        self._constants = constants

    def __getattr__(self, name: str) -> Any:
        return self._constants[name] if name in self._constants else getattr(self._values, name)

    def given(self, name: str) -> bool:
        return name not in self._constants and bool(self._values.given(name))


def require(condition: Any, message: str) -> None:
    """Raises UserError with the message unless the condition holds."""
    if not condition:
        raise UserError(message)


def require_finite(f: Values) -> None:
    """The bounds of a flag let NaN pass, and those without an upper one let infinity pass."""
    for flag in (flag for flag in f.flags.values() if flag.kind == "float"):
        value = getattr(f, flag.name)
        require(
            value is None or value in flag.words or math.isfinite(value),
            "--{}={}: not a finite number. Give one.".format(flag.name, value),
        )


def filled(f: Values, kind: Any, **values: Any) -> Any:
    """A slice of configuration: each field from `values`, else from the flag of its name."""
    names = [field.name for field in dataclasses.fields(kind)]
    return kind(**{name: values[name] if name in values else getattr(f, name) for name in names})


def items(f: Values, name: str) -> Tuple[str, ...]:
    """The items of a list flag, without the spaces around them."""
    return tuple(item.strip() for item in list(getattr(f, name) or ()))


def numbers(f: Values, name: str, kind: Callable[[str], Any]) -> Tuple[Any, ...]:
    """The numbers in a list flag: finite and not negative."""
    try:
        values = tuple(kind(item) for item in items(f, name))
    except ValueError:
        raise UserError("--{}={}: not a list of numbers.".format(name, ",".join(items(f, name)))) from None
    require(
        all(0 <= number < float("inf") for number in values), "--{}: a number is below 0 or not finite.".format(name)
    )
    return values


def patterns(f: Values, name: str) -> Tuple[str, ...]:
    """The regular expressions in a list flag."""
    for item in items(f, name):
        _require_pattern(name, item)
    return items(f, name)


def _require_pattern(name: str, pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise UserError("--{}: {!r} is not a regular expression ({}).".format(name, pattern, error)) from None


def multipliers(f: Values) -> Tuple[Tuple[str, float], ...]:
    """The (pattern, factor) pairs in --lr_multipliers."""
    pairs = []
    for item in items(f, "lr_multipliers"):
        pattern, _, factor = item.rpartition("=")
        try:
            number = float(factor)
        except ValueError:
            number = -1.0
        require(
            pattern and 0 < number < float("inf"),
            "--lr_multipliers: {!r} is not pattern=factor with a factor above 0. To leave variables as they are, name "
            "them in --freeze.".format(item),
        )
        _require_pattern("lr_multipliers", pattern)
        pairs.append((pattern, number))
    return tuple(pairs)


def devices(f: Values) -> Tuple[str, ...]:
    """The devices in --devices, as cpu:0."""
    names = tuple(name.lower().lstrip("/") for name in items(f, "devices") if name)
    for name in names:
        kind, _, number = name.partition(":")
        require(
            kind in ("cpu", "gpu") and number.isdigit(),
            "--devices: {!r} is not a device. Write cpu:0 or gpu:0, separated by commas.".format(name),
        )
    require(
        len(names) <= 1 or f.distribution != "one_device",
        "--devices names {} devices: pass --distribution=mirrored, or name one.".format(len(names)),
    )
    require(len(set(names)) == len(names), "--devices names a device twice. Name each once.")
    return names


def profile_steps(f: Values) -> Tuple[int, ...]:
    """The first and last update in --profile_steps; empty if it was not given."""
    given = items(f, "profile_steps")
    if not given:
        return ()
    require(f.do_train, "--profile_steps traces updates: give it with --do_train.")
    steps = tuple(int(item) for item in given if item.isdecimal())
    require(
        len(steps) == len(given) == 2 and 1 <= steps[0] <= steps[1],
        "--profile_steps={}: not a first and a last update, counted from 1. Write for example 10,12.".format(
            ",".join(given)
        ),
    )
    return steps


def report_to(f: Values) -> Tuple[str, ...]:
    """Where a run reports to, by --report_to; empty for none."""
    names = tuple(dict.fromkeys(items(f, "report_to")))
    for name in names:
        require(
            name in REPORT_TO or names == ("none",),
            "--report_to={}: not {}, or none alone.".format(",".join(names), " or ".join(REPORT_TO)),
        )
    require(
        "mlflow" not in names or not f.do_train or importlib.util.find_spec("mlflow") is not None,
        "--report_to=mlflow: the package mlflow is not installed. Install it (pip install mlflow-skinny), or leave it "
        "out.",
    )
    return () if names == ("none",) else names


def matching_files(patterns: str, flag: str = "input_file") -> Tuple[str, ...]:
    """The files that each pattern of a comma-separated list matches, sorted within a pattern."""
    paths: List[str] = []
    for pattern in (pattern.strip() for pattern in patterns.split(",")):
        if not pattern:
            continue
        require("://" not in pattern, "--{}={}: is not on this machine. Copy it here first.".format(flag, pattern))
        matches = [pattern] if os.path.isfile(pattern) else sorted(filter(os.path.isfile, glob.glob(pattern)))
        require(matches, "--{}={}: there is no such file. Check the path.".format(flag, pattern))
        paths += matches
    require(paths, "--{}={}: names no file.".format(flag, patterns))
    return tuple(paths)
