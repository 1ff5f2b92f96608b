"""The settings of a search by TPE, the tree-structured Parzen estimator (Bergstra et al. 2011), as Optuna has it.

Optuna keeps nothing: for each setting a new study is made, with a seed of its own and the trials before it. So a
setting is a function of the seed, its number and what became of those trials. Pure: no TensorFlow.
"""

import itertools
import random
from typing import Any, Dict, NamedTuple, Optional, Sequence, Tuple

from ..base.errors import UserError
from . import space as spaces
from .space import CHOICE, INT, LOG, Dimension, Setting

_ATTEMPTS = 8  # at a setting that no trial has yet, where all are values of a list


class Result(NamedTuple):
    """What became of a trial. score: its mean; None if it failed. pruned: the step and the best score until then."""

    setting: Setting
    score: Optional[float] = None
    pruned: Optional[Tuple[int, float]] = None


def require_optuna() -> Any:
    """The package. Raises UserError if it is not installed."""
    try:
        import optuna
    except ImportError:
        raise UserError("--method=tpe: needs the package optuna, version 3 or later: pip install optuna") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def proposed(space: Sequence[Dimension], seed: int, before: Sequence[Setting], results: Sequence[Result]) -> Setting:
    """The setting of the trial that follows those with the settings `before`, none of which it repeats if it can.

    results: what became of those trials that it may look at, by number.
    """
    number, taken = len(before) + 1, {tuple(setting.values()) for setting in before}
    for attempt in range(_ATTEMPTS):
        setting = _asked(space, "{}-{}-{}".format(seed, number, attempt), results)
        if tuple(setting.values()) not in taken:
            return setting
    others = itertools.islice(spaces.drawn(space, seed), len(taken) + 1)
    return next((each for each in others if tuple(each.values()) not in taken), setting)


def _asked(space: Sequence[Dimension], seed: str, results: Sequence[Result]) -> Setting:
    optuna = require_optuna()
    distributions = {dimension.flag: _distribution(dimension, optuna) for dimension in space}
    sampler = optuna.samplers.TPESampler(seed=random.Random(seed).randrange(1 << 31))
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for result in results:
        study.add_trial(_trial(space, distributions, result, optuna))
    asked = study.ask(distributions).params
    return {dimension.flag: _text(dimension, asked[dimension.flag]) for dimension in space}


def _distribution(dimension: Dimension, optuna: Any) -> Any:
    if dimension.kind == CHOICE:
        return optuna.distributions.CategoricalDistribution(list(dimension.values))
    if dimension.kind == INT:
        return optuna.distributions.IntDistribution(int(dimension.low), int(dimension.high))
    return optuna.distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.kind == LOG)


def _trial(space: Sequence[Dimension], distributions: Dict[str, Any], result: Result, optuna: Any) -> Any:
    parameters = {dimension.flag: _parameter(dimension, result.setting[dimension.flag]) for dimension in space}
    known: Dict[str, Any] = {"params": parameters, "distributions": distributions}
    states = optuna.trial.TrialState
    if result.score is not None:
        return optuna.trial.create_trial(state=states.COMPLETE, value=result.score, **known)
    if result.pruned is not None:
        step, score = result.pruned
        return optuna.trial.create_trial(state=states.PRUNED, intermediate_values={step: score}, **known)
    return optuna.trial.create_trial(state=states.FAIL, **known)


def _parameter(dimension: Dimension, text: str) -> Any:
    if dimension.kind == CHOICE:
        return text
    return int(text) if dimension.kind == INT else float(text)


def _text(dimension: Dimension, value: Any) -> str:
    return str(value) if dimension.kind == CHOICE else dimension.text(value)
