"""--class_weights: a weight for each class or tag. Pure: no TensorFlow."""

import math
from typing import Dict, List, Sequence

from ..base.errors import UserError


def given_weights(settings: Sequence[str], names: Sequence[str], what: str) -> List[float]:
    """The weights of the settings name=weight, in the order of the names; 1 where none is given.

    what: what the names are, label or tag. Raises UserError for any other setting.
    """
    weights: Dict[str, float] = {}
    for setting in settings:
        name, _, text = setting.rpartition("=")
        if name not in names or name in weights or not _positive(text):
            raise UserError(
                "--class_weights: {0!r} is not {1}=weight, where the weight is positive and the {1} one of {2}, each "
                "at most once. Correct it, or write balanced.".format(setting, what, ", ".join(names))
            )
        weights[name] = float(text)
    return [weights.get(name, 1.0) for name in names]


def _positive(text: str) -> bool:
    try:
        return 0 < float(text) < math.inf
    except ValueError:
        return False
