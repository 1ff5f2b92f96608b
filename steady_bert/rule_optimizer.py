"""RuleOptimizer: applies a rule of optimizers.py to the weights of a graph.

It does all that the equations leave out: slot variables (named as in google-research/bert's checkpoints), the sum over
replicas, clipping, decoupled weight decay, sparse gradients, copies of the weights.

What is kept for a weight is a dictionary in this file: "weight" is the weight itself, the other keys are its slots.
"""

import functools
import inspect
import re
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import tensorflow.compat.v1 as tf

from . import loss_scale, row_sums
from .optimizers import Rule

WEIGHT = "weight"  # the key of the weight itself
SLOW = "slow"  # the slot of lookahead's slow weight
AVERAGE = "ema"  # the slot of a weight's average: a checkpoint has it as `<weight>/ema`

_KERNEL = re.compile("kernel$")


class Numbers(NamedTuple):
    """The scalars of one weight's update."""

    rate: Any  # η times the weight's own multiplier
    clip_scale: Any  # factor of the gradient; None without clipping and loss scale
    count: Any  # t; None if nothing reads it
    finite: Any = None  # whether the update is made at all; None: it is
    thawed: Any = None  # whether the weight is trained yet; None: it is, from the start
    own_count: Any = None  # t of a weight that is trained from a later step on, counted from there


class Treatment(NamedTuple):
    """How the rule treats a weight, as far as its name decides. Weights that are treated alike share a compilation."""

    decay: float  # λ; 0 if the name is excluded
    trust_ratio: bool
    centralizes: bool

    @property
    def is_elementwise(self) -> bool:
        """Whether each element of the weight moves without regard to the others."""
        return not (self.trust_ratio or self.centralizes)


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
          where d' = min(d, (1+t) / (10+t)), so that the start soon loses its weight (as
          tf.train.ExponentialMovingAverage with num_updates). 0 is off.
      compiled: XLA updates each weight in one pass over memory where it can (_can_compile); the results stay within
          2e-6 of those of plain operations, relative to the largest element.
      together: one function that XLA compiles clips and updates all weights, which a GPU's host launches at once. Needs
          resource variables and has_xla().
      scale: of the loss whose gradients are applied. An update whose norm is not finite moves nothing but the scale.
      thaw_steps: variable name → the global step from which on it is trained; 0 of those that are not in it. Before, it
          and the rule's slots do not move, so that its average and its slow weight are the weight itself. The rule's t
          is then counted from that step on. Needs the global_step of apply_gradients.
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
        together: bool = False,
        scale: Optional[loss_scale.LossScale] = None,
        thaw_steps: Optional[Dict[str, int]] = None,
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
        self.together = together
        self.scale = scale
        self.thaw_steps = thaw_steps or {}
        # The norm of the last apply_gradients' gradients, before clipping and without the loss scale.
        self.grad_norm: Optional[tf.Tensor] = None
        self.averages: Dict[str, Any] = {}  # variable name → the variable of its average
        self._compiled_updates: Dict[Treatment, Callable] = {}

    def apply_gradients(self, grads_and_vars: Any, global_step: Any = None, name: Optional[str] = None) -> Any:
        """One update; afterwards global_step, if given, is one larger.

        In a replica context, gradients are summed over the replicas and then clipped. Raises ValueError if no
        variable has a gradient.
        """
        pairs = [
            (self._dense_if_needed(gradient, name_of(variable)), variable)
            for gradient, variable in grads_and_vars
            if gradient is not None
        ]
        if not pairs:
            raise ValueError("No gradient reaches any of the variables.")
        gradients, variables = zip(*pairs)
        rate = self.learning_rate() if callable(self.learning_rate) else self.learning_rate
        # merge_call would split what it is passed over the replicas, so the variables and the step are closed over.
        containers = [container(variable) for variable in variables]
        scale = self.scale and loss_scale.LossScale(*map(container, self.scale))
        self._compiled_updates = {}

        def update_all(strategy: tf.distribute.Strategy, gradients: Sequence[Any], rate: Any) -> Tuple[Any, Any]:
            return self._update_all(strategy, gradients, containers, first_replica(strategy, rate), global_step, scale)

        with tf.name_scope(name or self.get_name()):
            context = tf.distribute.get_replica_context()
            train_op, self.grad_norm = context.merge_call(update_all, args=(list(gradients), rate))
        return train_op

    def _dense_if_needed(self, gradient: Any, name: str) -> Any:
        """Makes a sparse gradient dense if the rule needs the whole of it, as a norm does.

        _update_together does that itself: what TensorFlow has for it adds in any order on a GPU.
        """
        if self.together or self.rule.lazy or self._treatment(name).is_elementwise:
            return gradient
        return tf.convert_to_tensor(gradient)

    def _update_all(
        self,
        strategy: tf.distribute.Strategy,
        gradients: Sequence[Any],
        variables: Sequence[Any],
        rate: Any,
        global_step: Any,
        scale: Optional[loss_scale.LossScale],
    ) -> Tuple[Any, Any]:
        """In cross-replica context: (the op that updates everything, the global norm of the summed gradients)."""
        summed = strategy.extended.batch_reduce_to(tf.distribute.ReduceOp.SUM, list(zip(gradients, variables)))
        counter = self._counter(variables[0]) if self.rule.counts or self.ema_decay else None
        count = None if counter is None else tf.cast(tf.identity(first_replica(strategy, counter)) + 1, tf.float64)
        factor = None if scale is None else tf.identity(first_replica(strategy, scale.loss_scale))
        update = self._update_together if self.together else self._update_each
        numbers = Numbers(rate, None, count)
        step = tf.identity(first_replica(strategy, container(global_step))) if self.thaw_steps else None
        updates, norm = update(strategy, variables, summed, numbers, step, factor)
        with tf.control_dependencies(updates):  # they read the count
            stored = []
            finite = tf.constant(True) if scale is None else tf.math.is_finite(norm)
            if counter is not None:  # an update that overflows is not counted
                made = tf.cast(finite, tf.int64)
                stored.append(strategy.extended.update(counter, tf.assign_add, args=(made,), group=True))
            if scale is not None:
                stored += loss_scale.assigned(strategy, scale, finite)
            with tf.control_dependencies(stored):
                if global_step is None:
                    return tf.no_op(), norm
                step = strategy.extended.update(container(global_step), _add_one, group=True)
                with tf.control_dependencies([step]):
                    return tf.no_op(name="train_op"), norm

    def _update_each(
        self,
        strategy: tf.distribute.Strategy,
        variables: Sequence[Any],
        summed: Sequence[Any],
        numbers: Numbers,
        step: Optional[tf.Tensor],
        scale: Optional[tf.Tensor],
    ) -> Tuple[List[Any], tf.Tensor]:
        """(the op that updates each variable on all replicas, the global norm of the gradients)."""
        on_one_replica = [_unique_rows(first_replica(strategy, gradient)) for gradient in summed]
        if strategy.num_replicas_in_sync == 1:
            summed = on_one_replica
        norm, clip_scale, finite = self._norm_and_factor(on_one_replica, scale)
        numbers = numbers._replace(clip_scale=clip_scale, finite=finite)
        # A gradient still being computed would see a reference variable that has already moved. One op waits for all of
        # them: an edge from each to every op below would be nine tenths of the graph's edges.
        with tf.control_dependencies([tf.group(*on_one_replica)]):
            updates = [
                self._update(strategy, variable, gradient, self._numbers_of(name_of(variable), numbers, step))
                for variable, gradient in zip(variables, summed)
            ]
        return updates, norm

    def _norm_and_factor(
        self, gradients: Sequence[Any], scale: Optional[tf.Tensor]
    ) -> Tuple[tf.Tensor, Optional[tf.Tensor], Optional[tf.Tensor]]:
        """(the global norm, the factor of the gradients, whether the norm is finite); the last is None without a scale.

        scale: of the loss that the gradients are of. The norm is that of the gradients divided by it.
        """
        norm = tf.global_norm(gradients)
        if scale is not None:
            norm /= scale
        factor = self.clip_norm * tf.minimum(1.0 / norm, 1.0 / self.clip_norm) if self.clip_norm else None
        if scale is None:
            return norm, factor, None
        return norm, (1.0 if factor is None else factor) / scale, tf.math.is_finite(norm)

    def _update_together(
        self,
        strategy: tf.distribute.Strategy,
        variables: Sequence[Any],
        summed: Sequence[Any],
        numbers: Numbers,
        step: Optional[tf.Tensor],
        scale: Optional[tf.Tensor],
    ) -> Tuple[List[Any], tf.Tensor]:
        """(ops and tensors that are there when all variables of all replicas are updated, the global norm)."""
        names = [name_of(variable) for variable in variables]
        kept = [{WEIGHT: variable, **self._slots_and_copies(variable)} for variable in variables]
        shapes = [tuple(variable.shape.as_list()) for variable in variables]
        compiled = tf.function(functools.partial(self._all_new_values, names, shapes), jit_compile=True)

        def update_replica(first: Any, kept: List[Dict[str, Any]], gradients: List[Any]) -> tf.Tensor:
            handles = [{key: variable.handle for key, variable in one.items()} for one in kept]
            rows = [_Rows(g.values, g.indices) if isinstance(g, tf.IndexedSlices) else g for g in gradients]
            return compiled(handles, rows, numbers, step, scale)

        computed = [first_replica(strategy, gradient) for gradient in summed]
        with tf.control_dependencies([getattr(gradient, "values", gradient) for gradient in computed]):
            norms = strategy.extended.update(variables[0], update_replica, args=[kept, list(summed)], group=False)
        return list(norms), norms[0]

    def _all_new_values(
        self,
        names: Sequence[str],
        shapes: Sequence[Any],
        handles: Sequence[Dict[str, Any]],
        gradients: Sequence[Any],
        of_all: Numbers,
        step: Optional[tf.Tensor],
        scale: Optional[tf.Tensor],
    ) -> tf.Tensor:
        """Gives all variables their new values; returns the global norm of the gradients. For XLA."""
        dense, present = [], {}
        for name, shape, gradient in zip(names, shapes, gradients):
            if isinstance(gradient, _Rows):
                gradient, present[name] = row_sums.summed(gradient.values, gradient.indices, shape[0])
            dense.append(gradient)
        norm, clip_scale, finite = self._norm_and_factor(dense, scale)
        of_all = of_all._replace(clip_scale=clip_scale, finite=finite)
        for name, shape, own, gradient in zip(names, shapes, handles, dense):
            numbers = self._numbers_of(name, of_all, step)
            values = _read(own, shape)
            after = self._new_values(self._treatment(name), values, gradient, numbers)
            if self.rule.lazy and name in present:
                at_rest = self._new_values(self._treatment(name), values, None, numbers)
                moved = present[name][:, None]
                after = {key: tf.where_v2(moved, value, at_rest[key]) for key, value in after.items()}
            for key, value in after.items():
                tf.raw_ops.AssignVariableOp(resource=own[key], value=value)
        return norm

    def _numbers_of(self, name: str, numbers: Numbers, step: Optional[tf.Tensor]) -> Numbers:
        """The numbers of all weights → those of one."""
        numbers = numbers._replace(rate=numbers.rate * self.rate_multiplier(name))
        start, count = self.thaw_steps.get(name, 0), numbers.count
        if not start:
            return numbers
        own_count = None
        if count is not None:  # not count - start: an overflow of float16 counts as a step, but not in count
            since = tf.cast(step, count.dtype) + 1.0 - tf.cast(start, count.dtype)
            own_count = tf.maximum(tf.minimum(count, since), 1.0)
        return numbers._replace(thawed=tf.cast(step, tf.int64) >= start, own_count=own_count)

    def _update(self, strategy: tf.distribute.Strategy, variable: Any, gradient: Any, numbers: Numbers) -> Any:
        """An op that updates a variable, its slots and its copies on all replicas."""
        name = name_of(variable)
        treatment = self._treatment(name)
        slots = self._slots_and_copies(variable)

        def update_replica(weight: Any, gradient: Any, **slots: Any) -> tf.Operation:
            variables = {WEIGHT: weight, **slots}
            if not isinstance(gradient, tf.IndexedSlices):
                return self._update_whole(treatment, variables, gradient, numbers)
            if strategy.num_replicas_in_sync > 1:  # a sum over replicas has the rows of each
                gradient = _unique_rows(gradient)
            return self._update_rows(treatment, variables, gradient, numbers)

        return strategy.extended.update(variable, update_replica, args=[gradient], kwargs=slots, group=True)

    def _update_rows(
        self, treatment: Treatment, variables: Dict[str, Any], gradient: tf.IndexedSlices, numbers: Numbers
    ) -> tf.Operation:
        """Updates by a gradient that is 0 outside of its rows.

        The numbers are those of the dense gradient, which is never made: it would be as large as the embeddings.
        """
        rows = gradient.indices
        before = {key: tf.gather(variable, rows) for key, variable in variables.items()}
        after = self._new_values(treatment, before, gradient.values, numbers)
        computed: List[Any] = list(after.values())
        with tf.control_dependencies(computed):
            if not self._rests(treatment) or self._has_copies():
                computed = computed + [self._update_whole(treatment, variables, None, numbers)]
        with tf.control_dependencies(computed):
            return tf.group(*[tf.scatter_update(variables[key], rows, value) for key, value in after.items()])

    def _update_whole(
        self, treatment: Treatment, variables: Dict[str, Any], gradient: Optional[tf.Tensor], numbers: Numbers
    ) -> tf.Operation:
        """Updates by a dense gradient; None is 0 everywhere."""
        if not (self.compiled and treatment.is_elementwise and _can_compile(list(variables.values()))):
            values = {key: tf.convert_to_tensor(variable) for key, variable in variables.items()}
            return _assigned(variables, self._new_values(treatment, values, gradient, numbers))
        if treatment not in self._compiled_updates:
            self._compiled_updates[treatment] = _compiled_in_place(functools.partial(self._new_values, treatment))
        weight = variables[WEIGHT]
        handles = {key: variable.handle for key, variable in variables.items()}
        update = self._compiled_updates[treatment]
        return update(handles, gradient, numbers, tuple(weight.shape.as_list()), weight.dtype).op

    def _new_values(
        self, treatment: Treatment, values: Dict[str, Any], gradient: Any, numbers: Numbers
    ) -> Dict[str, Any]:
        """The values after the update, by the keys of those before it; a gradient of None is 0 everywhere."""
        after = dict(values)
        if gradient is not None or not self._rests(treatment):
            gradient = tf.zeros([], values[WEIGHT].dtype.base_dtype) if gradient is None else gradient
            moved = self._moved(treatment, values, gradient, numbers)
            if numbers.thawed is not None:
                moved = {key: tf.where_v2(numbers.thawed, value, values[key]) for key, value in moved.items()}
            after.update(moved)
        if self.rule.lookahead:
            after[WEIGHT], after[SLOW] = self._looked_ahead(values, after[WEIGHT], numbers.count)
        if self.ema_decay:
            after[AVERAGE] = self._averaged(values, after[WEIGHT], numbers.count)
        if numbers.finite is not None:
            after = {key: tf.where_v2(numbers.finite, value, values[key]) for key, value in after.items()}
        return after

    def _moved(self, treatment: Treatment, values: Dict[str, Any], gradient: Any, numbers: Numbers) -> Dict[str, Any]:
        """The weight and the rule's slots after the rule's own update."""
        weight = values[WEIGHT]
        dtype = weight.dtype.base_dtype
        gradient = tf.cast(gradient, dtype)
        if numbers.clip_scale is not None:
            gradient *= tf.cast(numbers.clip_scale, dtype)
        if treatment.centralizes:
            gradient -= tf.reduce_mean(gradient, axis=list(range(len(gradient.shape) - 1)), keepdims=True)
        count = numbers.count if numbers.own_count is None else numbers.own_count
        u, slots = self.rule.direction(gradient, values, count)
        if treatment.decay:
            u += treatment.decay * weight
        if treatment.trust_ratio:
            u *= _trust_ratio(weight, u)
        return {WEIGHT: weight - tf.cast(numbers.rate, dtype) * u, **slots}

    def _looked_ahead(self, values: Dict[str, Any], weight: Any, count: Any) -> Tuple[tf.Tensor, tf.Tensor]:
        """(weight, slow weight) after lookahead, where `weight` has just been moved by the rule."""
        assert self.rule.lookahead is not None
        steps, alpha = self.rule.lookahead
        slow = self._copy_of_weight(values, SLOW, count)
        # By arithmetic on 0 and 1 the branch not taken leaves no trace.
        due = tf.cast(tf.equal(tf.floormod(count, tf.cast(steps, count.dtype)), 0.0), weight.dtype)
        slow += due * alpha * (weight - slow)
        weight += due * (slow - weight)
        return weight, slow

    def _averaged(self, values: Dict[str, Any], weight: Any, count: Any) -> tf.Tensor:
        """The average after the update that ended at `weight`."""
        average = self._copy_of_weight(values, AVERAGE, count)
        decay = tf.minimum(tf.constant(self.ema_decay, count.dtype), (1.0 + count) / (10.0 + count))
        return average + tf.cast(1.0 - decay, weight.dtype) * (weight - average)

    def _copy_of_weight(self, values: Dict[str, Any], slot: str, count: Any) -> tf.Tensor:
        """The copy before this update. In the first update it is the weight that training starts from, whatever
        loaded it."""
        return tf.where_v2(tf.equal(count, 1.0), values[WEIGHT], values[slot])

    def _has_copies(self) -> bool:
        """Whether a weight has copies, which move even when the weight rests."""
        return bool(self.rule.lookahead or self.ema_decay)

    def _rests(self, treatment: Treatment) -> bool:
        """Whether a row without a gradient stays as it is, copies aside."""
        return self.rule.lazy or (self.rule.rests and not treatment.decay)

    def _treatment(self, name: str) -> Treatment:
        return Treatment(
            decay=self.weight_decay_rate if self._do_use_weight_decay(name) else 0.0,
            trust_ratio=self.rule.trust_ratio and not self._is_excluded(name),
            centralizes=self.rule.centralizes and bool(_KERNEL.search(name)),
        )

    def _slots_and_copies(self, variable: Any) -> Dict[str, Any]:
        """The rule's slots and the copies of the weight."""
        slots = {slot: self._slot(variable, slot, initial) for slot, initial in self.rule.slots.items()}
        if self.rule.lookahead:
            slots[SLOW] = self._slot(variable, SLOW, 0.0)
        if self.ema_decay:
            slots[AVERAGE] = self.averages[name_of(variable)] = self._slot(variable, AVERAGE, 0.0)
        return slots

    def _slot(self, variable: Any, slot: str, initial: float) -> Any:
        if not initial:
            return self._zeros_slot(variable, slot, slot)
        shape, dtype = variable.shape, variable.dtype.base_dtype
        return self._get_or_make_slot_with_initializer(
            variable, tf.constant_initializer(initial), shape, dtype, slot, slot
        )

    def _counter(self, variable: Any) -> Any:
        # The count is a slot of the first variable, so that it is saved, restored and discarded with the other slots.
        return self._get_or_make_slot_with_initializer(
            variable, tf.zeros_initializer(), tf.TensorShape([]), tf.int64, "updates", "updates"
        )

    def _is_excluded(self, param_name: str) -> bool:
        return any(re.search(pattern, param_name) for pattern in self.exclude_from_weight_decay or ())

    def _do_use_weight_decay(self, param_name: str) -> bool:
        """Whether the variable of this name is decayed."""
        return bool(self.weight_decay_rate) and not self._is_excluded(param_name)


def has_xla() -> bool:
    """Whether XLA compiles functions in a session: TF ≥ 2.15 here."""
    return "jit_compile" in inspect.signature(tf.function).parameters


def _can_compile(variables: Sequence[Any]) -> bool:
    """Whether XLA can update these, and was measured to pay: resource variables on CPU, TF ≥ 2.15."""
    if not has_xla() or tf.config.list_physical_devices("GPU"):
        return False
    return all(hasattr(variable, "handle") for variable in variables)


def _compiled_in_place(new_values: Callable) -> Callable:
    """(handles of variables, gradient, numbers, shape, dtype) → a tensor whose op gives the variables their new values.

    XLA makes one pass over memory, where plain ops make one each, and writes into the variables' own memory.
    """

    def update(handles: Dict[str, Any], gradient: Any, numbers: Numbers, shape: Any, dtype: Any) -> tf.Tensor:
        for key, value in new_values(_read(handles, shape, dtype), gradient, numbers).items():
            tf.raw_ops.AssignVariableOp(resource=handles[key], value=value)
        return tf.constant(0)  # a function has to return something

    return tf.function(update, jit_compile=True)


def _read(handles: Dict[str, Any], shape: Any, dtype: Any = tf.float32) -> Dict[str, tf.Tensor]:
    values = {key: tf.raw_ops.ReadVariableOp(resource=handle, dtype=dtype) for key, handle in handles.items()}
    for value in values.values():
        value.set_shape(shape)
    return values


class _Rows(NamedTuple):
    """A sparse gradient, as a function takes it. Rows may come several times."""

    values: tf.Tensor  # [N, W]
    indices: tf.Tensor  # [N]


def _assigned(variables: Dict[str, Any], values: Dict[str, Any]) -> tf.Operation:
    # A value still being computed would see a reference variable that has already moved.
    with tf.control_dependencies([tf.group(*values.values())]):
        return tf.group(*[tf.assign(variables[key], value) for key, value in values.items()])


def _trust_ratio(weight: Any, update: tf.Tensor) -> tf.Tensor:
    """‖w‖ / ‖u‖; 1 where either is 0."""
    weight_norm, update_norm = tf.norm(weight), tf.norm(update)
    usable = tf.logical_and(weight_norm > 0, update_norm > 0)
    return tf.where_v2(
        usable, weight_norm / tf.where_v2(usable, update_norm, tf.ones_like(update_norm)), tf.ones_like(weight_norm)
    )


def _add_one(variable: Any) -> Any:
    return tf.assign_add(variable, tf.ones([], variable.dtype.base_dtype))


def first_replica(strategy: tf.distribute.Strategy, value: Any) -> Any:
    """One replica's copy of a value that is the same on all."""
    return strategy.experimental_local_results(value)[0]


def container(variable: Any) -> Any:
    """The variable over all replicas that this replica's variable belongs to; itself without replicas."""
    reference = getattr(variable, "_distributed_container", None)  # a method on TF 2, a weak reference on TF 1.15
    over_replicas = reference() if callable(reference) else None
    return variable if over_replicas is None else over_replicas


def name_of(variable: Any) -> str:
    """The variable's name, which is the same on all replicas."""
    return str(container(variable).op.name)


def _unique_rows(gradient: Any) -> Any:
    """Sums duplicate rows of a sparse gradient; a dense one stays as it is.

    It is a segment sum, because the result of a scatter-add varies with the threads.
    """
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    rows, place = tf.unique(gradient.indices)
    summed = tf.math.unsorted_segment_sum(gradient.values, place, tf.size(rows))
    return tf.IndexedSlices(summed, rows, gradient.dense_shape)
