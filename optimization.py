"""loss → train op: puts schedule, rule, decay groups, rate multipliers and clipping together.

create_optimizer and AdamWeightDecayOptimizer have the arguments and numbers of google-research/bert.
"""

import dataclasses
import re
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import tensorflow.compat.v1 as tf

if __package__:  # cloned as a package: `from bert import optimization`
    from .steady_bert import optimizers, rule_optimizer, schedules, unfreezing
    from .steady_bert.base.errors import UserError
    from .steady_bert.loss_scale import LossScale
    from .steady_bert.optimizer_config import OptimizerConfig, rule_of
else:
    from steady_bert import optimizers, rule_optimizer, schedules, unfreezing
    from steady_bert.base.errors import UserError
    from steady_bert.loss_scale import LossScale
    from steady_bert.optimizer_config import OptimizerConfig, rule_of

_LAYER = re.compile(r"/layer_(\d+)/")


def rate_multipliers(config: OptimizerConfig, names: Sequence[str]) -> Dict[str, float]:
    """Variable name → factor of the rate.

    With layerwise_lr_decay d and L layers: 1 for the head and the pooler, d^(L-l) for layer l from 0, d^(L+1) for the
    embeddings (Clark et al., https://arxiv.org/abs/2003.10555, section 3, counting the head's distance as 0).
    """
    multipliers = {}
    for name, depth in depths(names).items():
        factor = next((factor for pattern, factor in config.lr_multipliers if re.search(pattern, name)), 1.0)
        multipliers[name] = factor * config.layerwise_lr_decay**depth
    return multipliers


def depths(names: Sequence[str]) -> Dict[str, int]:
    """Variable name → how far below the head: L-l in layer l of L from 0, L+1 of the embeddings, 0 above the layers."""
    layers = 1 + max([int(match.group(1)) for match in map(_LAYER.search, names) if match] or [-1])
    of_names = {}
    for name in names:
        layer = _LAYER.search(name)
        of_names[name] = layers - int(layer.group(1)) if layer else layers + 1 if "/embeddings/" in name else 0
    return of_names


def _require_matches(flag: str, patterns: Sequence[str], names: Sequence[str]) -> None:
    for pattern in patterns:
        if not any(re.search(pattern, name) for name in names):
            raise UserError("--{}: {!r} matches no variable. Correct or remove it.".format(flag, pattern))


class Update(NamedTuple):
    train_op: Any
    learning_rate: Any  # scalar float32, of this update
    grad_norm: Any  # scalar float32, before clipping, without the loss scale
    averages: Dict[str, Any]  # variable name → the variable of its average; empty without ema_decay


class AdamWeightDecayOptimizer(rule_optimizer.RuleOptimizer):
    """BERT's AdamW: no bias correction, decoupled weight decay. See optimizers.adamw for the equation.

    As upstream's, its attributes are read when gradients are applied, so they may be set after construction.
    """

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
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        super().__init__(
            learning_rate,
            optimizers.adamw(beta_1, beta_2, epsilon),
            weight_decay_rate=weight_decay_rate,
            exclude_from_weight_decay=exclude_from_weight_decay,
            name=name,
        )

    def apply_gradients(self, grads_and_vars: Any, global_step: Any = None, name: Optional[str] = None) -> Any:
        """One update. As upstream's, it leaves global_step alone: its callers count themselves."""
        self.rule = optimizers.adamw(self.beta_1, self.beta_2, self.epsilon)
        return super().apply_gradients(grads_and_vars, global_step=None, name=name)

    def _get_variable_name(self, param_name: str) -> str:
        """ "a/b:0" → "a/b"."""
        return re.sub(r":\d+$", "", param_name)


def create_optimizer(
    loss: tf.Tensor,
    init_lr: float,
    num_train_steps: int,
    num_warmup_steps: Optional[int],
    use_tpu: bool,
    **options: Any,
) -> tf.Operation:
    """The train op of BERT fine-tuning: AdamW with decay 0.01, clipping at 1.0, warm-up then linear decay to 0.

    Running it makes one update with the rate of the current global_step, then adds one to global_step. The rate's
    tensor is named "learning_rate". With use_tpu, gradients are averaged over the TPU's replicas before clipping.

    options: fields of OptimizerConfig and of schedules.ScheduleConfig, for example optimizer="ranger".
    Raises TypeError for an unknown option, ValueError for a value that makes no sense.
    """
    if options.get("optimizer", "adamw") not in optimizers.RULES:
        raise ValueError("optimizer={!r} is none of {}.".format(options["optimizer"], ", ".join(optimizers.RULES)))
    if isinstance(init_lr, str):
        raise ValueError("init_lr={!r}: give a number. auto is read by this project's own scripts.".format(init_lr))
    for name in ("no_decay_patterns", "freeze"):
        if isinstance(options.get(name), str):
            raise ValueError("{}={!r}: give a list of patterns.".format(name, options[name]))
    horizon = options.pop("lr_decay_steps", num_train_steps)
    names = {field.name for field in dataclasses.fields(schedules.ScheduleConfig)}
    config = schedules.ScheduleConfig(
        learning_rate=init_lr,
        num_warmup_steps=num_warmup_steps or 0,  # upstream's scripts give None where there is no warm-up
        lr_decay_steps=horizon,
        **{name: options.pop(name) for name in sorted(names & set(options))},
    )
    schedules.check(config, num_train_steps)
    step = tf.train.get_or_create_global_step()
    learning_rate = schedules.rate_in_graph(config, step, max(num_train_steps, horizon, config.num_warmup_steps))
    optimizer = OptimizerConfig(**options)
    variables = trained_variables(optimizer)
    gradients = tf.gradients(loss, variables)
    if use_tpu:
        gradients = _average_over_tpu(gradients)
    learning_rate = tf.identity(learning_rate, name="learning_rate")
    return create_update(gradients, variables, learning_rate, optimizer, step).train_op


def trained_variables(config: OptimizerConfig) -> List[Any]:
    """The trainable variables of the graph that are not frozen.

    Raises UserError where a pattern of --freeze matches no variable, or where everything is frozen.
    """
    variables = {rule_optimizer.name_of(variable): variable for variable in tf.trainable_variables()}
    _require_matches("freeze", config.freeze, list(variables))
    trained = [
        variable
        for name, variable in variables.items()
        if not any(re.search(pattern, name) for pattern in config.freeze)
    ]
    if not trained:
        raise UserError("--freeze={}: nothing is left to train.".format(",".join(config.freeze)))
    return trained


def create_update(
    gradients: Sequence[Any],
    variables: Sequence[Any],
    learning_rate: Any,
    config: OptimizerConfig,
    global_step: Any,
    compiled: bool = False,
    together: bool = False,
    scale: Optional[LossScale] = None,
    unfreeze_schedule: str = "",
) -> Update:
    """Sums over replicas, clips, updates, then counts; in that order, by control dependencies.

    Args:
      gradients: those of `variables`, None where a variable has none; inside a tf.distribute replica, this replica's.
      variables: those to train, as trained_variables gives them.
      learning_rate: scalar tensor, the rate of this update; it is read before global_step is incremented.
      compiled, together: see rule_optimizer.RuleOptimizer; without them the numbers are upstream's, operation for
          operation.
      scale: of the loss that the gradients are of; see steady_bert.loss_scale.
      unfreeze_schedule: see steady_bert.unfreezing. A variable that is not trained yet does not move, nor do its slots,
          and its gradient is not part of the norm that is clipped.

    Raises UserError if a pattern that the user gave matches no variable.
    """
    names = [rule_optimizer.name_of(variable) for variable in tf.trainable_variables()]  # layers count if frozen too
    _require_matches("lr_multipliers", [pattern for pattern, _ in config.lr_multipliers], names)
    if config.no_decay_patterns_given:
        _require_matches("no_decay_patterns", config.no_decay_patterns, names)
    multipliers = rate_multipliers(config, names)
    thaw_steps = unfreezing.thaw_steps(unfreeze_schedule, depths(names)) if unfreeze_schedule else {}
    if thaw_steps:
        step = tf.identity(global_step)
        starts = [thaw_steps[rule_optimizer.name_of(variable)] for variable in variables]
        gradients = [_from_step(start, gradient, step) for start, gradient in zip(starts, gradients)]
    optimizer = rule_optimizer.RuleOptimizer(
        learning_rate,
        rule_of(config),
        weight_decay_rate=config.weight_decay_rate,
        exclude_from_weight_decay=config.no_decay_patterns,
        clip_norm=config.clip_norm,
        rate_multiplier=multipliers.__getitem__,
        ema_decay=config.ema_decay,
        compiled=compiled,
        together=together,
        scale=scale,
        thaw_steps=thaw_steps,
        name="AdamWeightDecayOptimizer",
    )
    with tf.control_dependencies([learning_rate]):  # read before the step moves
        train_op = optimizer.apply_gradients(zip(gradients, variables), global_step=global_step)
    return Update(train_op, learning_rate, optimizer.grad_norm, optimizer.averages)


def _from_step(start: int, gradient: Any, step: tf.Tensor) -> Any:
    """The gradient from step `start` on, zeros before; a sparse one stays sparse."""
    if gradient is None or not start:
        return gradient
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(_from_step(start, gradient.values, step), gradient.indices, gradient.dense_shape)
    return tf.where_v2(tf.cast(step, tf.int64) >= start, gradient, tf.zeros_like(gradient))


def _average_over_tpu(gradients: Sequence[Any]) -> Sequence[Any]:
    """Averages before the clip: CrossShardOptimizer sums after it, so a large gradient of one replica passes."""
    replicas = tf.tpu.cross_replica_sum(tf.ones([]))
    return [g if g is None else tf.tpu.cross_replica_sum(tf.convert_to_tensor(g)) / replicas for g in gradients]
