"""loss → train op: assembles schedule, rule, decay groups and clipping.

create_optimizer and AdamWeightDecayOptimizer have the arguments and numbers of google-research/bert.
"""

import re
from dataclasses import dataclass
from typing import Any, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

import optimizers
import schedules
from errors import UserError

NO_DECAY = ("LayerNorm", "layer_norm", "bias")


@dataclass(frozen=True)
class OptimizerConfig:
    """The numbers of the update; the defaults are google-research/bert's."""

    weight_decay_rate: float = 0.01
    no_decay_patterns: Tuple[str, ...] = NO_DECAY
    no_decay_patterns_given: bool = False  # by the user: then each must match a variable
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-6
    clip_norm: float = 1.0  # 0: off
    bias_correction: bool = False


class Update(NamedTuple):
    train_op: Any
    learning_rate: Any  # scalar float32, of this update
    grad_norm: Any  # scalar float32, before clipping


class AdamWeightDecayOptimizer(optimizers.RuleOptimizer):
    """BERT's AdamW: no bias correction, decoupled weight decay. See optimizers.adamw for the equation."""

    def __init__(
        self,
        learning_rate: Any,
        weight_decay_rate: float = 0.0,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-6,
        exclude_from_weight_decay: Optional[Sequence[str]] = None,
        name: str = "AdamWeightDecayOptimizer",
    ) -> None:
        super().__init__(
            learning_rate,
            optimizers.adamw(beta_1, beta_2, epsilon),
            weight_decay_rate=weight_decay_rate,
            exclude_from_weight_decay=exclude_from_weight_decay,
            name=name,
        )

    def apply_gradients(self, grads_and_vars: Any, global_step: Any = None, name: Optional[str] = None) -> Any:
        """One update. As upstream's, it leaves global_step alone: its callers count themselves."""
        return super().apply_gradients(grads_and_vars, global_step=None, name=name)

    def _get_variable_name(self, param_name: str) -> str:
        """ "a/b:0" → "a/b"."""
        return re.sub(r":\d+$", "", param_name)


def create_optimizer(
    loss: tf.Tensor, init_lr: float, num_train_steps: int, num_warmup_steps: Optional[int], use_tpu: bool
) -> tf.Operation:
    """The train op of BERT fine-tuning: AdamW with decay 0.01, clipping at 1.0, warm-up then linear decay to 0.

    Running it makes one update with the rate of the current global_step, then adds one to global_step. The rate's
    tensor is named "learning_rate". With use_tpu, gradients are averaged over the TPU's replicas before clipping.
    """
    num_warmup_steps = num_warmup_steps or 0  # upstream's scripts give None where there is no warm-up
    config = schedules.ScheduleConfig(
        learning_rate=init_lr, num_warmup_steps=num_warmup_steps, lr_decay_steps=num_train_steps
    )
    rates = schedules.learning_rates(config, np.arange(max(num_train_steps, num_warmup_steps) + 1))
    step = tf.train.get_or_create_global_step()
    return create_update(loss, rates, OptimizerConfig(), step, average_over_tpu=use_tpu).train_op


def create_update(
    loss: tf.Tensor,
    rates: np.ndarray,
    config: OptimizerConfig,
    global_step: Any,
    variables: Optional[Sequence[Any]] = None,
    average_over_tpu: bool = False,
) -> Update:
    """Differentiates, sums over replicas, clips, updates, then counts; in that order, by control dependencies.

    Args:
      loss: scalar; inside a tf.distribute replica, this replica's share of the global loss.
      rates: [steps] float64; the update from step t to t+1 uses rates[t], beyond the end the last one.
      global_step: read for the rate before it is incremented.
      variables: those to train; all trainable ones if None.

    Raises UserError where a no_decay pattern that the user gave matches no variable.
    """
    variables = tf.trainable_variables() if variables is None else list(variables)
    if config.no_decay_patterns_given:
        for pattern in config.no_decay_patterns:
            if not any(re.search(pattern, variable.op.name) for variable in variables):
                raise UserError("--no_decay_patterns: {!r} matches no variable. Mend or remove it.".format(pattern))
    table = tf.constant(rates, tf.float32)
    position = tf.minimum(tf.cast(global_step, tf.int64), len(rates) - 1)
    learning_rate = tf.gather(table, position, name="learning_rate")
    gradients = tf.gradients(loss, variables)
    if average_over_tpu:
        gradients = _average_over_tpu(gradients)
    optimizer = optimizers.RuleOptimizer(
        learning_rate,
        optimizers.adamw(config.adam_beta1, config.adam_beta2, config.adam_epsilon, config.bias_correction),
        weight_decay_rate=config.weight_decay_rate,
        exclude_from_weight_decay=config.no_decay_patterns,
        clip_norm=config.clip_norm,
        name="AdamWeightDecayOptimizer",
    )
    with tf.control_dependencies([learning_rate]):  # read before the step moves
        train_op = optimizer.apply_gradients(zip(gradients, variables), global_step=global_step)
    return Update(train_op, learning_rate, optimizer.grad_norm)


def _average_over_tpu(gradients: Sequence[Any]) -> Sequence[Any]:
    """CrossShardOptimizer sums after the clip, which lets one replica's large gradient through; so average here."""
    replicas = tf.tpu.cross_replica_sum(tf.ones([]))
    return [g if g is None else tf.tpu.cross_replica_sum(tf.convert_to_tensor(g)) / replicas for g in gradients]
