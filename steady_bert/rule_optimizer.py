"""RuleOptimizer: applies a rule of optimizers.py to the weights of a graph.

It owns all that the equations leave out: slot variables (named as in google-research/bert's checkpoints), the sum over
replicas, clipping, decoupled weight decay, sparse gradients, copies of the weights.
"""

import functools
import inspect
import re
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import tensorflow.compat.v1 as tf

from .optimizers import Rule

AVERAGE = "ema"  # the slot of a weight's average: a checkpoint has it as `<weight>/ema`


class RuleOptimizer(tf.train.Optimizer):
    """Applies a rule to variables, reference or resource, under any tf.distribute strategy.

    Args:
      learning_rate: η; a number, a scalar tensor, or a function without arguments that gives one.
      rule: Rule.
      weight_decay_rate: λ.
      exclude_from_weight_decay: regular expressions searched in the variable name; a match is not decayed.
      clip_norm: the global norm above which the summed gradients are scaled down; 0 is off.
      rate_multiplier: variable name → factor of η.
      ema_decay: d > 0 keeps an average beside each weight, in the slot "ema": a = d' a + (1-d') w after each update,
          where d' = min(d, (1+t) / (10+t)), so that the start does not weigh long (as
          tf.train.ExponentialMovingAverage with num_updates). 0 is off.
      compiled: XLA updates each weight in one pass over memory, where it can (_can_compile): the numbers of the plain
          operations within 2e-6 of the scale.
    """

    def __init__(
        self,
        learning_rate: Any,
        rule: Rule,
        weight_decay_rate: float = 0.0,
        exclude_from_weight_decay: Optional[Sequence[str]] = None,
        clip_norm: float = 0.0,
        rate_multiplier: Callable[[str], float] = lambda name: 1.0,
        ema_decay: float = 0.0,
        compiled: bool = False,
        name: str = "RuleOptimizer",
    ) -> None:
        super().__init__(use_locking=False, name=name)
        self.learning_rate = learning_rate
        self.rule = rule
        self.weight_decay_rate = weight_decay_rate
        self.exclude_from_weight_decay = exclude_from_weight_decay
        self.clip_norm = clip_norm
        self.rate_multiplier = rate_multiplier
        self.ema_decay = ema_decay
        self.compiled = compiled
        self.grad_norm: Optional[tf.Tensor] = None  # of the last apply_gradients, before clipping
        self.averages: Dict[str, Any] = {}  # variable name → the variable of its average
        self._compiled_updates: Dict[bool, Callable] = {}  # decayed or not → what updates a weight and its slots

    def apply_gradients(self, grads_and_vars: Any, global_step: Any = None, name: Optional[str] = None) -> Any:
        """One update; afterwards global_step, where given, is one larger.

        In a replica context, gradients are summed over the replicas and then clipped. Raises ValueError where no
        variable has a gradient.
        """
        pairs = [
            (self._dense_or_rows(gradient, name_of(variable)), variable)
            for gradient, variable in grads_and_vars
            if gradient is not None
        ]
        if not pairs:
            raise ValueError("No gradient reaches any of the variables.")
        gradients, variables = zip(*pairs)
        rate = self.learning_rate() if callable(self.learning_rate) else self.learning_rate
        # The variables and the step are closed over, not passed: merge_call would split them into replicas' parts.
        containers = [container(variable) for variable in variables]

        def update_all(strategy: tf.distribute.Strategy, gradients: Sequence[Any], rate: Any) -> Tuple[Any, Any]:
            return self._update_all(strategy, gradients, containers, _first(strategy, rate), global_step)

        with tf.name_scope(name or self.get_name()):
            context = tf.distribute.get_replica_context()
            train_op, self.grad_norm = context.merge_call(update_all, args=(list(gradients), rate))
        return train_op

    def _is_elementwise(self, name: str) -> bool:
        """Whether each element of the weight moves by itself."""
        whole = self.rule.trust_ratio and not self._is_excluded(name)
        return not whole and not (self.rule.centralizes and _KERNEL.search(name))

    def _dense_or_rows(self, gradient: Any, name: str) -> Any:
        """Dense where the rule needs the whole: rows are enough for what moves element by element."""
        return gradient if self.rule.lazy or self._is_elementwise(name) else tf.convert_to_tensor(gradient)

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
        on_one_replica = [_unique_rows(_first(strategy, gradient)) for gradient in summed]
        if strategy.num_replicas_in_sync == 1:
            summed = on_one_replica
        norm = tf.global_norm(on_one_replica)
        scale = self.clip_norm * tf.minimum(1.0 / norm, 1.0 / self.clip_norm) if self.clip_norm else None
        count = self._count_updates(strategy, variables[0]) if self.rule.counts or self.ema_decay else None
        # A gradient still being computed would see a reference variable that has already moved. One op waits for all of
        # them: an edge from each to every op below would be nine tenths of the graph's edges.
        with tf.control_dependencies([tf.group(*on_one_replica)]):
            updates = [
                self._update(strategy, variable, gradient, rate, scale, count)
                for variable, gradient in zip(variables, summed)
            ]
        with tf.control_dependencies(updates):
            if global_step is None:
                return tf.no_op(), norm
            step = strategy.extended.update(container(global_step), _add_one, group=True)
            with tf.control_dependencies([step]):
                return tf.no_op(name="train_op"), norm

    def _update(
        self, strategy: tf.distribute.Strategy, variable: Any, gradient: Any, rate: Any, scale: Any, count: Any
    ) -> Any:
        name = name_of(variable)
        slots = [self._slot(variable, slot, initial) for slot, initial in self.rule.slots.items()]
        slots += [self._slot(variable, copy, 0.0) for copy in self._copies()]
        if self.ema_decay:
            self.averages[name] = slots[-1]
        numbers = {"rate": rate * self.rate_multiplier(name), "scale": scale, "count": count}

        def move(weight: Any, gradient: Any, *slots: Any) -> tf.Operation:
            variables = (weight,) + slots
            if isinstance(gradient, tf.IndexedSlices):
                if strategy.num_replicas_in_sync > 1:  # a sum over replicas has the rows of each
                    gradient = _unique_rows(gradient)
                return self._move_rows(name, variables, gradient, numbers)
            return self._move_all(name, variables, gradient, numbers)

        return strategy.extended.update(variable, move, args=[gradient] + slots, group=True)

    def _move_rows(
        self, name: str, variables: Sequence[Any], gradient: tf.IndexedSlices, numbers: Dict[str, Any]
    ) -> tf.Operation:
        """Moves a weight and its slots, `variables`, by a gradient that is 0 outside of its rows.

        The same numbers as from the dense gradient, which is never made: it is as large as the embeddings.
        """
        rows = gradient.indices
        before = [tf.gather(variable, rows) for variable in variables]
        moved = self._moved_with_copies(name, before, gradient.values, numbers)
        after_rest: List[tf.Operation] = []
        with tf.control_dependencies(moved):
            if not self._rests(name) or self._copies():
                after_rest = [self._move_all(name, variables, None, numbers)]
        with tf.control_dependencies(moved + after_rest):
            return tf.group(*[tf.scatter_update(variable, rows, new) for variable, new in zip(variables, moved)])

    def _rests(self, name: str) -> bool:
        """Whether a row without a gradient stays as it is, copies aside."""
        return self.rule.lazy or (self.rule.rests and not self._do_use_weight_decay(name))

    def _move_all(
        self, name: str, variables: Sequence[Any], gradient: Optional[tf.Tensor], numbers: Dict[str, Any]
    ) -> tf.Operation:
        """Moves a weight and its slots, `variables`, by a dense gradient; None is 0 everywhere."""
        if not (self.compiled and self._is_elementwise(name) and _can_compile(variables)):
            values = [tf.convert_to_tensor(variable) for variable in variables]
            return _assigned(variables, self._moved_with_copies(name, values, gradient, numbers))
        # One compilation serves every weight of a shape: of the name, the equation knows only whether it is decayed.
        decayed = self._do_use_weight_decay(name)
        if decayed not in self._compiled_updates:
            self._compiled_updates[decayed] = _compiled_in_place(functools.partial(self._moved_with_copies, name))
        weight = variables[0]
        handles = [variable.handle for variable in variables]
        return self._compiled_updates[decayed](
            handles, gradient, numbers, tuple(weight.shape.as_list()), weight.dtype
        ).op

    def _moved_with_copies(
        self, name: str, values: Sequence[Any], gradient: Any, numbers: Dict[str, Any]
    ) -> List[tf.Tensor]:
        """The new values of a weight, of the rule's slots and of its copies; a gradient of None is 0 everywhere."""
        own, copies = values[: 1 + len(self.rule.slots)], values[1 + len(self.rule.slots) :]
        if gradient is None and self._rests(name):
            new_weight, *new_slots = own
        else:
            gradient = tf.zeros([], own[0].dtype.base_dtype) if gradient is None else gradient
            new_weight, *new_slots = self._moved(name, own[0], gradient, own[1:], **numbers)
        new_weight, new_copies = self._copied(own[0], new_weight, copies, numbers["count"])
        return [new_weight, *new_slots, *new_copies]

    def _moved(
        self, name: str, weight: Any, gradient: Any, slots: Sequence[Any], rate: Any, scale: Any, count: Any
    ) -> List[tf.Tensor]:
        """The new weight and the new slots of the rule."""
        dtype = weight.dtype.base_dtype
        gradient = tf.cast(gradient, dtype) if scale is None else tf.cast(gradient, dtype) * tf.cast(scale, dtype)
        if self.rule.centralizes and _KERNEL.search(name):
            gradient -= tf.reduce_mean(gradient, axis=list(range(len(gradient.shape) - 1)), keepdims=True)
        u, new_slots = self.rule.direction(gradient, slots, count)
        if self._do_use_weight_decay(name):
            u += self.weight_decay_rate * weight
        if self.rule.trust_ratio and not self._is_excluded(name):
            u *= _trust_ratio(weight, u)
        return [weight - tf.cast(rate, dtype) * u] + list(new_slots)

    def _copies(self) -> List[str]:
        """The slots that are copies of the weight."""
        return ["slow"] * bool(self.rule.lookahead) + [AVERAGE] * bool(self.ema_decay)

    def _copied(self, before: Any, after: Any, copies: Sequence[Any], count: Any) -> Tuple[tf.Tensor, List[tf.Tensor]]:
        """(weight, new copies); `before` and `after` are the weight around the rule's update.

        Copies start from `before` in the first update, when it is what training starts from, whatever loaded it.
        """
        new_copies = []
        for slot, copy in zip(self._copies(), copies):
            copy = tf.where_v2(tf.equal(count, 1.0), before, copy)
            if slot == AVERAGE:
                decay = tf.minimum(tf.constant(self.ema_decay, count.dtype), (1.0 + count) / (10.0 + count))
                copy += tf.cast(1.0 - decay, after.dtype) * (after - copy)
            else:
                assert self.rule.lookahead is not None
                steps, alpha = self.rule.lookahead
                # By arithmetic on 0 and 1 the branch not taken leaves no trace.
                due = tf.cast(tf.equal(tf.floormod(count, tf.cast(steps, count.dtype)), 0.0), after.dtype)
                copy += due * alpha * (after - copy)
                after += due * (copy - after)
            new_copies.append(copy)
        return after, new_copies

    def _slot(self, variable: Any, slot: str, initial: float) -> Any:
        if not initial:
            return self._zeros_slot(variable, slot, slot)
        shape, dtype = variable.shape, variable.dtype.base_dtype
        return self._get_or_make_slot_with_initializer(
            variable, tf.constant_initializer(initial), shape, dtype, slot, slot
        )

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
            return tf.cast(t, tf.float64)

    def _is_excluded(self, param_name: str) -> bool:
        return any(re.search(pattern, param_name) for pattern in self.exclude_from_weight_decay or ())

    def _do_use_weight_decay(self, param_name: str) -> bool:
        """Whether the variable of this name is decayed."""
        return bool(self.weight_decay_rate) and not self._is_excluded(param_name)


_KERNEL = re.compile("kernel$")


def has_xla() -> bool:
    """Whether XLA compiles functions in a session: TF ≥ 2.15 here."""
    return "jit_compile" in inspect.signature(tf.function).parameters


def _can_compile(variables: Sequence[Any]) -> bool:
    """Whether XLA can update these, and was measured to pay: resource variables on CPU, TF ≥ 2.15."""
    if not has_xla() or tf.config.list_physical_devices("GPU"):
        return False
    return all(hasattr(variable, "handle") for variable in variables)


def _compiled_in_place(equation: Callable) -> Callable:
    """(handles of variables, gradient, numbers, shape, dtype) → a tensor whose op gives them equation's new values.

    XLA makes one pass over memory, where plain ops make one each, and writes into the variables' own memory.
    """

    def update(handles: Sequence[Any], gradient: Any, numbers: Dict[str, Any], shape: Any, dtype: Any) -> tf.Tensor:
        values = [tf.raw_ops.ReadVariableOp(resource=handle, dtype=dtype) for handle in handles]
        for value in values:
            value.set_shape(shape)
        for handle, new in zip(handles, equation(values, gradient, numbers)):
            tf.raw_ops.AssignVariableOp(resource=handle, value=new)
        return tf.constant(0)  # a function has to return something

    return tf.function(update, jit_compile=True)


def _assigned(variables: Sequence[Any], values: Sequence[Any]) -> tf.Operation:
    # A value still being computed would see a reference variable that has already moved.
    with tf.control_dependencies([tf.group(*values)]):
        return tf.group(*[tf.assign(variable, value) for variable, value in zip(variables, values)])


def _trust_ratio(weight: Any, update: tf.Tensor) -> tf.Tensor:
    """‖w‖ / ‖u‖; 1 where either is 0."""
    weight_norm, update_norm = tf.norm(weight), tf.norm(update)
    usable = tf.logical_and(weight_norm > 0, update_norm > 0)
    return tf.where(
        usable, weight_norm / tf.where(usable, update_norm, tf.ones_like(update_norm)), tf.ones_like(weight_norm)
    )


def _add_one(variable: Any) -> Any:
    return tf.assign_add(variable, tf.ones([], variable.dtype.base_dtype))


def _first(strategy: tf.distribute.Strategy, value: Any) -> Any:
    """One replica's part of a value that is the same on all."""
    return strategy.experimental_local_results(value)[0]


def container(variable: Any) -> Any:
    """The variable over all replicas that this replica's variable belongs to; itself without replicas."""
    of_all = getattr(variable, "_distributed_container", None)  # a method on TF 2, a weak reference on TF 1.15
    found = of_all() if callable(of_all) else None
    return variable if found is None else found


def name_of(variable: Any) -> str:
    """The variable's name, which is the same on all replicas."""
    return str(container(variable).op.name)


def _unique_rows(gradient: Any) -> Any:
    """Duplicate rows of a sparse gradient summed; a dense one as it is.

    By a segment sum: a scatter-add's result varies with threads.
    """
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    rows, place = tf.unique(gradient.indices)
    summed = tf.math.unsorted_segment_sum(gradient.values, place, tf.size(rows))
    return tf.IndexedSlices(summed, rows, gradient.dense_shape)
