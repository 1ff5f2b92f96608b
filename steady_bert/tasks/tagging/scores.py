"""Tagged sentences → metrics: of entities, or of plain tags word by word."""

from typing import Any, Callable, Dict, List, Sequence, Tuple

import numpy as np

from .. import metrics
from . import entity_scores
from . import schemes as tag_schemes
from .entity_scores import Counts
from .predictions import Tagged

ENTITY_METRICS = ("f1", "precision", "recall", "macro_f1", "strict_f1", "surface_macro_f1", "accuracy")
PLAIN_METRICS = ("accuracy", "macro_f1")


def metric_names(plain: bool, with_surfaces: bool) -> Tuple[str, ...]:
    if plain:
        return PLAIN_METRICS
    return tuple(name for name in ENTITY_METRICS if with_surfaces or name != "surface_macro_f1")


def scores(tagged: Sequence[Tagged], plain: bool, with_surfaces: bool) -> Dict[str, float]:
    """The metrics of sentences that have tags, by name.

    with_surfaces: whether the file has texts, so that the surfaces of entities are scored too.
    """
    gold = np.array([tag for sentence, _, _ in tagged for tag in sentence.tags or ()])
    predicted = np.array([tag for _, tags, _ in tagged for tag in tags])
    values = {"accuracy": metrics.accuracy(predicted, gold)}
    if plain:
        values["macro_f1"] = metrics.macro_f1(predicted, gold)
    else:
        values.update(_entity_metrics(tagged))
        if with_surfaces:
            values["surface_macro_f1"] = _surface_macro_f1(tagged)
    return {name: values[name] for name in metric_names(plain, with_surfaces)}


def _entity_metrics(tagged: Sequence[Tagged]) -> Dict[str, float]:
    by_type = counts_by_type(tagged)
    overall = entity_scores.total(by_type)
    strict = entity_scores.count(*_entities(tagged, tag_schemes.strict_entities))
    return {
        "f1": overall.f1,
        "precision": overall.precision,
        "recall": overall.recall,
        "macro_f1": entity_scores.macro_f1(by_type),
        "strict_f1": entity_scores.total(strict).f1,
    }


def _surface_macro_f1(tagged: Sequence[Tagged]) -> float:
    gold, predicted = (
        [
            entity_scores.surfaces(entities, each.sentence.text, each.sentence.offsets)
            for entities, each in zip(side, tagged)
        ]
        for side in _entities(tagged, tag_schemes.entities)
    )
    return entity_scores.macro_f1(entity_scores.count(gold, predicted))


def counts_by_type(tagged: Sequence[Tagged]) -> Dict[str, Counts]:
    """Counts of entities by type, by conlleval's rules."""
    return entity_scores.count(*_entities(tagged, tag_schemes.entities))


def confusions(tagged: Sequence[Tagged]) -> List[Tuple[str, str, int]]:
    return entity_scores.confusions(*_entities(tagged, tag_schemes.entities))


def _entities(tagged: Sequence[Tagged], entities_in: Callable[[Sequence[str]], Any]) -> Tuple[List[Any], List[Any]]:
    """(gold, predicted) entities of each sentence."""
    gold = [entities_in(each.sentence.tags or ()) for each in tagged]
    return gold, [entities_in(each.tags) for each in tagged]
