"""What a search varies: flags with their values or ranges, and the settings that grid and random search try. Pure.

A setting is flag → value, as the command line has it. Both lists of settings are functions of their arguments alone:
the first n settings of a random search are the same however many follow.
"""

import itertools
import math
import random
import re
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

from ..base.errors import UserError

Setting = Dict[str, str]

# The grid that BERT's authors found to work well across tasks (Devlin et al. 2019, A.3).
BERT_GRID = (
    "train_batch_size=16,32",
    "learning_rate=5e-5,3e-5,2e-5",
    "num_train_epochs=2,3,4",
)
CHOICE, LOG, UNIFORM, INT = "choice", "log", "uniform", "int"
_MOST_REPEATED = 20  # draws for each setting that is known: one that is left would be drawn with 1 - exp(-20)
_RANGE = re.compile(r"\s*(log|uniform|int)\s*\(([^,()]+),([^,()]+)\)\s*")
_HOW = "Write --vary FLAG=VALUE,VALUE or FLAG=log(LOW,HIGH), uniform(LOW,HIGH) or int(LOW,HIGH)."


class Dimension(NamedTuple):
    """A flag with the values that it takes (choice), or the ends of its range."""

    flag: str
    kind: str  # choice, log, uniform or int
    values: Tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0

    @property
    def ends(self) -> Tuple[str, ...]:
        """The values to be checked: all of a choice, else both ends."""
        return self.values if self.kind == CHOICE else (self.text(self.low), self.text(self.high))

    def text(self, number: float) -> str:
        """A number of the range as the command line has it: four digits, within the range."""
        if self.kind == INT:
            return str(int(number))
        return "{:.12g}".format(min(max(float("{:.4g}".format(number)), self.low), self.high))

    def at(self, share: float) -> str:
        """The value at a share, from 0 to less than 1, of the way through the range."""
        if self.kind == CHOICE:
            return self.values[int(share * len(self.values))]
        if self.kind == INT:
            return self.text(self.low + math.floor(share * (self.high - self.low + 1)))
        if self.kind == LOG:
            return self.text(math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low))))
        return self.text(self.low + share * (self.high - self.low))


def parsed(text: str) -> Dimension:
    """The dimension that FLAG=VALUES describes. Values that have commas of their own are separated by semicolons."""
    name, equals, values = text.partition("=")
    flag = name.strip().lstrip("-")
    if not equals or not re.fullmatch(r"\w+", flag):
        raise UserError("--vary {}: names no flag with values. {}".format(text, _HOW))
    ranged = _RANGE.fullmatch(values)
    if ranged:
        return _range(text, flag, *ranged.groups())
    if re.match(r"\s*\w+\s*\(", values):
        raise UserError("--vary {}: is no range. {}".format(text, _HOW))
    listed = tuple(value.strip() for value in values.split(";" if ";" in values else ","))
    if ";" not in values and not all(listed):
        raise UserError("--vary {}: a value is empty. {}".format(text, _HOW))
    if len(set(listed)) < len(listed):
        raise UserError("--vary {}: names a value twice. Name it once.".format(text))
    return Dimension(flag, CHOICE, listed)


def _range(text: str, flag: str, kind: str, low: str, high: str) -> Dimension:
    try:
        ends = (int(low), int(high)) if kind == INT else (float(low), float(high))
    except ValueError:
        raise UserError("--vary {}: {} and {} are no numbers. {}".format(text, low, high, _HOW)) from None
    if not (all(map(math.isfinite, ends)) and ends[0] < ends[1] and (kind != LOG or ends[0] > 0)):
        least = " above 0" if kind == LOG else ""
        raise UserError("--vary {}: give two numbers{}, the smaller one first.".format(text, least))
    return Dimension(flag, kind, (), *ends)


def dimensions(texts: Sequence[str]) -> List[Dimension]:
    """Those of --vary, or the grid of BERT's authors if nothing was given."""
    found = [parsed(text) for text in texts or BERT_GRID]
    names = [dimension.flag for dimension in found]
    for name in names:
        if names.count(name) > 1:
            raise UserError("--vary {0}=…: {0} is varied twice. Give all of its values once.".format(name))
    return found


def size(space: Sequence[Dimension]) -> Optional[int]:
    """How many settings there are; None if a dimension is a range of numbers that are not whole."""
    if any(dimension.kind in (LOG, UNIFORM) for dimension in space):
        return None
    total = 1
    for dimension in space:
        total *= _count(dimension)
    return total


def _count(dimension: Dimension) -> int:
    return len(dimension.values) if dimension.kind == CHOICE else int(dimension.high - dimension.low) + 1


def grid(space: Sequence[Dimension]) -> List[Setting]:
    """Every combination, the last flag changing first. Raises UserError for a range, which has no end of values."""
    for dimension in space:
        if dimension.kind != CHOICE:
            text = "--vary {}=…: a grid needs values. List them, or give --method=random or tpe with --trials."
            raise UserError(text.format(dimension.flag))
    names = [dimension.flag for dimension in space]
    return [dict(zip(names, values)) for values in itertools.product(*(dimension.values for dimension in space))]


def drawn(space: Sequence[Dimension], seed: int) -> Iterator[Setting]:
    """Settings drawn uniformly, by logarithm for log, each once. It ends when there are hardly any others."""
    rng = random.Random("search-{}".format(seed))
    seen: Set[Tuple[str, ...]] = set()
    repeated = 0
    while repeated < _MOST_REPEATED * (1 + len(seen)):
        setting = {dimension.flag: dimension.at(rng.random()) for dimension in space}
        key = tuple(setting.values())
        repeated = repeated + 1 if key in seen else 0
        if key not in seen:
            seen.add(key)
            yield setting


def random_settings(space: Sequence[Dimension], seed: int, count: int) -> List[Setting]:
    """The first `count` settings that are drawn. Raises UserError if the space has fewer."""
    found = list(itertools.islice(drawn(space, seed), count))
    require_room(space, min(count, len(found) + 1))
    if len(found) < count:
        raise UserError("--trials={:,}: the ranges of --vary have {:,} values.".format(count, len(found)))
    return found


def require_room(space: Sequence[Dimension], trials: int) -> None:
    """Raises UserError if there are fewer settings than trials."""
    most = size(space)
    if most is not None and trials > most:
        raise UserError("--trials: there are {:,} settings of --vary. Give at most so many.".format(most))


def one_at_a_time(space: Sequence[Dimension]) -> List[Setting]:
    """Settings in which every value, or end of a range, occurs: the first ones, with one flag changed."""
    first = {dimension.flag: dimension.ends[0] for dimension in space}
    changed = [dict(first, **{dimension.flag: value}) for dimension in space for value in dimension.ends[1:]]
    return [first, *changed]


def described(setting: Setting) -> str:
    return " ".join("{}={}".format(name, value) for name, value in setting.items())
