"""The settings of the update, and the rule that they name. Pure: no TensorFlow."""

import inspect
from dataclasses import dataclass
from typing import Optional, Tuple

from . import optimizers
from .base.errors import UserError

NO_DECAY = ("LayerNorm", "layer_norm", "bias")


@dataclass(frozen=True)
class OptimizerConfig:
    """The numbers of the update; the defaults are google-research/bert's.

    momentum, adam_*, bias_correction: None is the rule's own default; a number that the rule does not read is an error.
    lookahead_steps: 0 is off, except that ranger then keeps its own.
    lr_multipliers: (pattern, factor); the first pattern that matches a variable's name counts.
    layerwise_lr_decay: factor of the rate from each layer to the one below.
    freeze: patterns of variables that stay as they are.
    ema_decay: decay of the averaged weights, which are evaluated and exported.
    """

    optimizer: str = "adamw"
    lookahead_steps: int = 0
    lookahead_alpha: float = 0.5
    weight_decay_rate: float = 0.01
    no_decay_patterns: Tuple[str, ...] = NO_DECAY
    no_decay_patterns_given: bool = False  # given by the user, so each must match a variable
    momentum: Optional[float] = None
    adam_beta1: Optional[float] = None
    adam_beta2: Optional[float] = None
    adam_epsilon: Optional[float] = None
    bias_correction: Optional[bool] = None
    clip_norm: float = 1.0  # 0: off
    lr_multipliers: Tuple[Tuple[str, float], ...] = ()
    layerwise_lr_decay: float = 1.0
    freeze: Tuple[str, ...] = ()
    ema_decay: float = 0.0  # 0: off


# Field of OptimizerConfig, which is also a flag → the argument of a rule.
_ARGUMENTS = {
    "momentum": "momentum",
    "adam_beta1": "beta_1",
    "adam_beta2": "beta_2",
    "adam_epsilon": "epsilon",
    "bias_correction": "bias_correction",
}


def rule_of(config: OptimizerConfig) -> optimizers.Rule:
    """The rule that the configuration names. Raises UserError for a given number that the rule does not read."""
    make = optimizers.RULES[config.optimizer]
    read = inspect.signature(make).parameters
    values = {}
    for name, argument in _ARGUMENTS.items():
        value = getattr(config, name)
        if value is not None and argument not in read:
            raise UserError("--{}: --optimizer={} does not read it. Leave it out.".format(name, config.optimizer))
        if value is not None:
            values[argument] = value
    rule = make(**values)
    if config.lookahead_steps:
        return optimizers.lookahead(rule, config.lookahead_steps, config.lookahead_alpha)
    if rule.lookahead:
        return optimizers.lookahead(rule, rule.lookahead[0], config.lookahead_alpha)
    return rule
