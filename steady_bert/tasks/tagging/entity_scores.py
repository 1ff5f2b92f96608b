"""Entities found and entities there → precision, recall, F1: over all, by type, and by surface as CLUENER scores.

    precision = right / found · recall = right / there · F1 = 2 · right / (found + there); 0 where the divisor is

An entity is right where its type and both of its ends are.
"""

import collections
from typing import Any, Counter, Dict, Iterable, List, NamedTuple, Sequence, Set, Tuple

from .schemes import Entity

NOTHING = "(nothing)"


class Counts(NamedTuple):
    right: int
    found: int
    there: int

    @property
    def precision(self) -> float:
        return self.right / self.found if self.found else 0.0

    @property
    def recall(self) -> float:
        return self.right / self.there if self.there else 0.0

    @property
    def f1(self) -> float:
        return 2 * self.right / (self.found + self.there) if self.found + self.there else 0.0


def count(gold: Iterable[Iterable[Any]], predicted: Iterable[Iterable[Any]]) -> Dict[str, Counts]:
    """Counts of each type that is found or there, by name; gold and predicted have a collection of tuples a sentence.

    A tuple is (type, whatever tells it from others of the sentence); one that is there twice counts once.
    """
    right: Counter[str] = collections.Counter()
    found: Counter[str] = collections.Counter()
    there: Counter[str] = collections.Counter()
    for mine, yours in zip(map(set, predicted), map(set, gold)):
        found.update(item[0] for item in mine)
        there.update(item[0] for item in yours)
        right.update(item[0] for item in mine & yours)
    return {kind: Counts(right[kind], found[kind], there[kind]) for kind in sorted(set(found) | set(there))}


def total(by_type: Dict[str, Counts]) -> Counts:
    return Counts(*(sum(column) for column in zip(*by_type.values()))) if by_type else Counts(0, 0, 0)


def macro_f1(by_type: Dict[str, Counts]) -> float:
    """The mean of F1 over the types that are found or there."""
    return sum(counts.f1 for counts in by_type.values()) / len(by_type) if by_type else 0.0


def surfaces(found: Iterable[Entity], text: str, offsets: Sequence[Tuple[int, int]]) -> Set[Tuple[str, str]]:
    """(type, text) of each entity: what CLUENER's scorer compares, so two mentions of a name in a sentence are one."""
    return {(kind, text[offsets[start][0] : offsets[end - 1][1]]) for kind, start, end in found}


def confusions(gold: Sequence[Sequence[Entity]], predicted: Sequence[Sequence[Entity]]) -> List[Tuple[str, str, int]]:
    """(what is there, what is found, how often) of the entities that are not right, the most frequent first.

    An entity is held against the one that it shares most words with. "other ends" is said of the same type.
    """
    pairs: Counter[Tuple[str, str]] = collections.Counter()
    for yours, mine in zip(gold, predicted):
        met = set()
        for entity in yours:
            if entity in mine:
                met.add(entity)
                continue
            best = max(mine, key=lambda other: _shared(entity, other), default=None)
            if best is None or not _shared(entity, best):
                pairs[entity.type, NOTHING] += 1
                continue
            met.add(best)
            pairs[entity.type, best.type + (" (other ends)" if best.type == entity.type else "")] += 1
        for entity in mine:
            if entity not in met and not any(_shared(entity, other) for other in yours):
                pairs[NOTHING, entity.type] += 1
    return [(there, found, number) for (there, found), number in sorted(pairs.items(), key=lambda p: (-p[1], p[0]))]


def _shared(a: Entity, b: Entity) -> int:
    """Words."""
    return max(0, min(a.end, b.end) - max(a.start, b.start))
