"""Gold and predicted entities → precision, recall, F1: over all, by type, and by surface as CLUENER scores.

    precision = correct / predicted · recall = correct / gold · F1 = 2 · correct / (predicted + gold), or 0 / 0 = 0

A predicted entity is correct if its type and both of its ends are those of a gold one.
"""

import collections
from typing import Any, Counter, Dict, Iterable, List, NamedTuple, Sequence, Set, Tuple

from .schemes import Entity

NOTHING = "(nothing)"


class Counts(NamedTuple):
    correct: int
    predicted: int
    gold: int

    @property
    def precision(self) -> float:
        return self.correct / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        return self.correct / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        return 2 * self.correct / (self.predicted + self.gold) if self.predicted + self.gold else 0.0


def count(gold: Iterable[Iterable[Any]], predicted: Iterable[Iterable[Any]]) -> Dict[str, Counts]:
    """The counts of each type that occurs, by name; gold and predicted have a collection of tuples for each sentence.

    A tuple begins with the type; the rest distinguishes it from others of the sentence. Equal tuples count once.
    """
    in_gold: Counter[str] = collections.Counter()
    in_predicted: Counter[str] = collections.Counter()
    in_both: Counter[str] = collections.Counter()
    for gold_set, predicted_set in zip(map(set, gold), map(set, predicted)):
        in_gold.update(item[0] for item in gold_set)
        in_predicted.update(item[0] for item in predicted_set)
        in_both.update(item[0] for item in gold_set & predicted_set)
    return {
        kind: Counts(in_both[kind], in_predicted[kind], in_gold[kind]) for kind in sorted({*in_predicted, *in_gold})
    }


def total(by_type: Dict[str, Counts]) -> Counts:
    return Counts(*(sum(column) for column in zip(*by_type.values()))) if by_type else Counts(0, 0, 0)


def macro_f1(by_type: Dict[str, Counts]) -> float:
    """The mean of F1 over the types."""
    return sum(counts.f1 for counts in by_type.values()) / len(by_type) if by_type else 0.0


def surfaces(entities: Iterable[Entity], text: str, offsets: Sequence[Tuple[int, int]]) -> Set[Tuple[str, str]]:
    """(type, text) of each entity: what CLUENER's scorer compares, so two mentions of a name in a sentence are one."""
    return {(kind, text[offsets[start][0] : offsets[end - 1][1]]) for kind, start, end in entities}


def confusions(gold: Sequence[Sequence[Entity]], predicted: Sequence[Sequence[Entity]]) -> List[Tuple[str, str, int]]:
    """(gold, predicted, how often) of the entities that are not correct, the most frequent first.

    A gold entity is compared with the predicted one that shares most words with it; "(other ends)" follows its type if
    the types are equal.
    """
    pairs: Counter[Tuple[str, str]] = collections.Counter()
    for gold_entities, predicted_entities in zip(gold, predicted):
        matched = set()
        for entity in gold_entities:
            if entity in predicted_entities:
                matched.add(entity)
                continue
            best = max(predicted_entities, key=lambda other: _shared_words(entity, other), default=None)
            if best is None or not _shared_words(entity, best):
                pairs[entity.type, NOTHING] += 1
                continue
            matched.add(best)
            pairs[entity.type, best.type + (" (other ends)" if best.type == entity.type else "")] += 1
        for entity in predicted_entities:
            if entity not in matched and not any(_shared_words(entity, other) for other in gold_entities):
                pairs[NOTHING, entity.type] += 1
    ordered = sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))
    return [(in_gold, in_predicted, times) for (in_gold, in_predicted), times in ordered]


def _shared_words(a: Entity, b: Entity) -> int:
    return max(0, min(a.end, b.end) - max(a.start, b.start))
