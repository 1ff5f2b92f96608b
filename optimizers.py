"""gradient → update: the rules side by side, and the one class that applies them.

A rule is pure: slots with their initial values, and one equation. RuleOptimizer owns everything else: slot variables
(named as in google-research/bert's checkpoints), the sum over replicas, clipping, decoupled weight decay, sparse
gradients. Letters: w weight, g gradient, η learning rate, m and v averages, λ weight decay, t updates from 1.
"""

import re
from typing import Any, Callable, Dict, NamedTuple, Optional, Sequence, Tuple

import tensorflow.compat.v1 as tf


class Rule(NamedTuple):
    """How one variable moves.

    slots: names of the variables kept beside each weight, all 0 at first; a checkpoint has them as `<weight>/<slot>`.
    counts: whether `direction` reads t, the optimizer's own count of updates, which is then saved with the slots.
    direction(g, slots, t) gives (u, new slots): the weight moves by -η · (u + λ · w).
    """

    slots: Tuple[str, ...]
    counts: bool
    direction: Callable[[tf.Tensor, Sequence[tf.Tensor], Any], Tuple[tf.Tensor, Sequence[tf.Tensor]]]


def adamw(beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-6, bias_correction: bool = False) -> Rule:
    """m = β1 m + (1-β1) g;  v = β2 v + (1-β2) g²;  u = m / (√v + ε).

    Adam (Kingma and Ba, https://arxiv.org/abs/1412.6980) with decoupled decay (Loshchilov and Hutter,
    https://arxiv.org/abs/1711.05101).

    Differs from the paper: m and v are not corrected for their start at 0, as in BERT. With bias_correction, u is
    scaled by √(1-β2^t) / (1-β1^t).
    Default from: google-research/bert.
    """

    def direction(g: tf.Tensor, slots: Sequence[tf.Tensor], t: Any) -> Tuple[tf.Tensor, Sequence[tf.Tensor]]:
        m, v = slots
        m = beta_1 * m + (1.0 - beta_1) * g
        v = beta_2 * v + (1.0 - beta_2) * tf.square(g)
        u = m / (tf.sqrt(v) + epsilon)
        if bias_correction:
            t = tf.cast(t, tf.float32)
            u *= tf.sqrt(1.0 - tf.pow(beta_2, t)) / (1.0 - tf.pow(beta_1, t))
        return u, (m, v)

    return Rule(slots=("adam_m", "adam_v"), counts=bias_correction, direction=direction)


class RuleOptimizer(tf.train.Optimizer):
    """Applies a rule to variables, reference or resource, under any tf.distribute strategy.

    Args:
      learning_rate: η; a number, a scalar tensor, or a function without arguments that gives one.
      rule: Rule.
      weight_decay_rate: λ.
      exclude_from_weight_decay: regular expressions searched in the variable name; a match is not decayed.
      clip_norm: the global norm above which the summed gradients are scaled down; 0 is off.
    """

    def __init__(
        self,
        learning_rate: Any,
        rule: Rule,
        weight_decay_rate: float = 0.0,
        exclude_from_weight_decay: Optional[Sequence[str]] = None,
        clip_norm: float = 0.0,
        name: str = "RuleOptimizer",
    ) -> None:
        super().__init__(use_locking=False, name=name)
        self.learning_rate = learning_rate
        self.rule = rule
        self.weight_decay_rate = weight_decay_rate
        self.exclude_from_weight_decay = exclude_from_weight_decay
        self.clip_norm = clip_norm
        self.grad_norm: Optional[tf.Tensor] = None  # of the last apply_gradients, before clipping

    def apply_gradients(self, grads_and_vars: Any, global_step: Any = None, name: Optional[str] = None) -> Any:
        """One update; afterwards global_step, where given, is one larger.

        In a replica context, gradients are summed over the replicas and then clipped. Raises ValueError where no
        variable has a gradient.
        """
        pairs = [(_dense(gradient), variable) for gradient, variable in grads_and_vars if gradient is not None]
        if not pairs:
            raise ValueError("No gradient reaches any of the variables.")
        gradients, variables = zip(*pairs)
        rate = self.learning_rate() if callable(self.learning_rate) else self.learning_rate
        # The variables and the step are closed over, not passed: merge_call would split them into replicas' parts.
        containers = [_container(variable) for variable in variables]

        def update_all(strategy: tf.distribute.Strategy, gradients: Sequence[Any], rate: Any) -> Tuple[Any, Any]:
            return self._update_all(strategy, gradients, containers, _first(strategy, rate), global_step)

        with tf.name_scope(name or self.get_name()):
            context = tf.distribute.get_replica_context()
            train_op, self.grad_norm = context.merge_call(update_all, args=(list(gradients), rate))
        return train_op

    def _update_all(
        self,
        strategy: tf.distribute.Strategy,
        gradients: Sequence[Any],
        variables: Sequence[Any],
        rate: Any,
        global_step: Any,
    ) -> Tuple[Any, Any]:
        """In cross-replica context: (the op that updates everything, the global norm of the summed gradients)."""
        summed = strategy.extended.batch_reduce_to(tf.distribute.ReduceOp.SUM, list(zip(gradients, variables)))
        on_one_replica = [_first(strategy, gradient) for gradient in summed]
        norm = tf.global_norm(on_one_replica)
        scale = self.clip_norm * tf.minimum(1.0 / norm, 1.0 / self.clip_norm) if self.clip_norm else None
        count = self._count_updates(strategy, variables[0]) if self.rule.counts else None
        # A gradient still being computed would see a reference variable that has already moved.
        with tf.control_dependencies(on_one_replica):
            updates = [
                self._update(strategy, variable, gradient, rate, scale, count)
                for variable, gradient in zip(variables, summed)
            ]
        with tf.control_dependencies(updates):
            if global_step is None:
                return tf.no_op(), norm
            step = strategy.extended.update(_container(global_step), _add_one, group=True)
            with tf.control_dependencies([step]):
                return tf.no_op(name="train_op"), norm

    def _update(
        self, strategy: tf.distribute.Strategy, variable: Any, gradient: Any, rate: Any, scale: Any, count: Any
    ) -> Any:
        name = variable.op.name
        slots = [self._zeros_slot(variable, slot, slot) for slot in self.rule.slots]
        decay = self.weight_decay_rate if self._do_use_weight_decay(name) else 0.0

        def move(weight: Any, gradient: tf.Tensor, *slots: Any) -> tf.Operation:
            dtype = weight.dtype.base_dtype
            gradient = tf.cast(gradient, dtype) if scale is None else tf.cast(gradient, dtype) * tf.cast(scale, dtype)
            u, new_slots = self.rule.direction(gradient, slots, count)
            if decay:
                u += decay * weight
            moves = [tf.assign_sub(weight, tf.cast(rate, dtype) * u)]
            moves += [tf.assign(slot, new) for slot, new in zip(slots, new_slots)]
            return tf.group(*moves)

        return strategy.extended.update(variable, move, args=[gradient] + slots, group=True)

    def _count_updates(self, strategy: tf.distribute.Strategy, variable: Any) -> Any:
        """t of this update: the count before it plus one. The new count is stored once t has been read."""
        # A slot of the first variable, so that it is saved, restored and discarded with the other slots.
        counter = self._get_or_make_slot_with_initializer(
            variable, tf.zeros_initializer(), tf.TensorShape([]), tf.int64, "updates", "updates"
        )
        t = tf.identity(_first(strategy, counter)) + 1
        with tf.control_dependencies([t]):
            stored = strategy.extended.update(counter, _add_one, group=True)
        with tf.control_dependencies([stored]):
            return tf.identity(t)

    def _do_use_weight_decay(self, param_name: str) -> bool:
        """Whether the variable of this name is decayed."""
        patterns = self.exclude_from_weight_decay or ()
        return bool(self.weight_decay_rate) and not any(re.search(pattern, param_name) for pattern in patterns)


def _add_one(variable: Any) -> Any:
    return tf.assign_add(variable, tf.ones([], variable.dtype.base_dtype))


def _first(strategy: tf.distribute.Strategy, value: Any) -> Any:
    """One replica's part of a value that is the same on all."""
    return strategy.experimental_local_results(value)[0]


def _container(variable: Any) -> Any:
    """The variable over all replicas that this replica's variable belongs to; itself without replicas."""
    container = getattr(variable, "_distributed_container", None)  # a method on TF 2, a weak reference on TF 1.15
    found = container() if callable(container) else None
    return variable if found is None else found


def _dense(gradient: Any) -> tf.Tensor:
    """Duplicate rows of a sparse gradient are summed, by a segment sum: a scatter-add's result varies with threads."""
    return tf.convert_to_tensor(gradient)


RULES: Dict[str, Callable[..., Rule]] = {"adamw": adamw}
