"""The two towers of a replica: one trains on its share of a batch, one infers. They share variables.

Either engine builds them: inside a tf.distribute strategy, or in a graph of Estimator's. Loss and gradients are summed
over the replicas, and each replica gets the sum.
"""

import contextlib
import math
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import tensorflow.compat.v1 as tf

import optimization

from .. import loss_scale, rule_optimizer, schedules
from ..base.compute import Compute
from ..base.errors import UserError
from ..base.lone_sum import lone_sum
from ..base.packing import row_count, row_length_for
from ..base.randomness import keyed_randomness
from ..base.word_shift import WordShift
from ..tasks.task import Outputs, Task
from . import devices, input_pipeline, passes
from .engine_config import EngineConfig
from .plan import Plan

Batch = Dict[str, Any]  # a tensor a column, and input_mask [B, S]


class Replicas(NamedTuple):
    """This replica's place among all that make an update together."""

    index: Any  # from 0; an integer or an int32 scalar
    size: int  # how many there are
    on_tpu: bool = False  # inside TPUEstimator, where tf.distribute knows of only one replica
    of_workers: bool = False  # whether there are several processes

    def sum(self, value: tf.Tensor) -> tf.Tensor:
        if self.on_tpu:
            return value if self.size == 1 else tf.tpu.cross_replica_sum(value)

        def reduce(strategy: tf.distribute.Strategy, value: Any) -> Any:
            return strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None)

        return tf.distribute.get_replica_context().merge_call(reduce, args=(value,))


class Trained(NamedTuple):
    """The numbers of an update, the same on every replica."""

    loss: tf.Tensor  # of the whole batch
    learning_rate: tf.Tensor
    grad_norm: tf.Tensor  # before clipping; 0 of an update that an overflow cancelled, unless the scale cannot fall
    votes: tf.Tensor  # summed over the replicas
    loss_scale: tf.Tensor  # after the update; 0 where there is none
    overflows: tf.Tensor  # so far


def check_split(plan: Plan, replicas: int, parts: int) -> None:
    """Raises UserError where a batch cannot be split evenly."""
    if plan.train_batch_size % (replicas * parts):
        raise UserError(
            "--train_batch_size={} does not divide by {} replicas × {} parts (--gradient_accumulation_steps). Give a "
            "multiple.".format(plan.train_batch_size, replicas, parts)
        )


def make_global_step() -> Any:
    return tf.get_variable(
        tf.GraphKeys.GLOBAL_STEP,
        shape=[],
        dtype=tf.int64,
        initializer=tf.zeros_initializer(),
        trainable=False,
        collections=[tf.GraphKeys.GLOBAL_VARIABLES, tf.GraphKeys.GLOBAL_STEP],
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )


_LENGTH_MULTIPLE = 32  # of batches padded to their longest sequence, in the compiled form


def parse(records: tf.Tensor, task: Task, config: EngineConfig) -> Batch:
    """[B] serialized → a batch, padded as configured."""
    compiled = devices.compute_form(config) == "compiled"
    fixed = config.max_seq_length if config.padding == "fixed" else None
    # On a GPU, some of these small operations would run there.
    with tf.device("/cpu:0") if compiled else contextlib.nullcontext():
        if compiled and config.padding == "longest":  # few lengths: each is compiled for
            batch, input_mask = input_pipeline.parse_batch(
                records, task.columns, None, config.max_seq_length, _LENGTH_MULTIPLE
            )
        else:
            round_below = config.max_seq_length if config.padding == "none" else 0
            batch, input_mask = input_pipeline.parse_batch(records, task.columns, fixed, round_below)
    return dict(batch, input_mask=input_mask)


def slice_of(records: tf.Tensor, place: Any, places: int) -> tf.Tensor:
    """Slice number `place`, from 0, of `places` consecutive slices of like size."""
    count = tf.shape(records)[0]
    return records[place * count // places : (place + 1) * count // places]


def compute_of(config: EngineConfig) -> Compute:
    form, padding_free = devices.compute_form(config), config.padding == "none"
    row_length = row_length_for(config.max_seq_length) if form == "compiled" and padding_free else 0
    return Compute(form, padding_free, config.precision, row_length, config.recompute)


def _most_rows(compute: Compute, examples: int, parts: int, max_seq_length: int) -> int:
    """The largest number of rows that a replica's share of a batch has, in parts of equal size."""
    if not compute.row_length:
        return examples * max_seq_length
    return parts * row_count(examples // parts) * compute.row_length


def inference_tower(task: Task, config: EngineConfig, seed: int, batch: Batch, averages: Dict[str, Any]) -> Outputs:
    """One replica's outputs. averages: weight's name → the variable that is read in its place."""

    def read_average(get_variable: Callable[..., Any], name: str, *args: Any, **kwargs: Any) -> Any:
        return averages.get(name, get_variable(name, *args, **kwargs))

    scope = tf.variable_scope(tf.get_variable_scope(), custom_getter=read_average)
    with scope, keyed_randomness(seed, None):
        return task.build(batch, False, compute_of(config))


class _Sums(NamedTuple):
    """Sums over the examples of a part of the batch: [], or [K] of a task with K losses."""

    loss: tf.Tensor
    weight: tf.Tensor


def _mean(loss: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """The sum of the means of K losses [K], or of one []."""
    mean = loss / weight
    return tf.reduce_sum(mean) if mean.shape.ndims else mean


def training_tower(
    task: Task,
    config: EngineConfig,
    plan: Plan,
    optimizer: optimization.OptimizerConfig,
    replicas: Replicas,
    global_step: Any,
    state: Dict[str, Any],
    batch_of: Callable[[int], Batch],
    votes: Optional[tf.Tensor] = None,
) -> Trained:
    """One update: this replica's share of the batch, in parts, and one step of the optimizer over all replicas.

    Args:
      state: the variables of checkpoint.TrainingState.
      batch_of: part → this replica's batch of it.
      votes: [V] float32, what this replica wants summed beside the loss.
    """
    parts, form = config.gradient_accumulation_steps, devices.compute_form(config)
    # Not in the inference tower, whose graph leaves the process, and which sees more shapes than it is worth compiling.
    compute = compute_of(config)._replace(
        packed_attention=True,
        compiled_pieces=form == "fast" and config.engine == "session" and not config.xla and rule_optimizer.has_xla(),
    )

    batches: Dict[int, Batch] = {}

    def build_part(part: int, shift: WordShift) -> _Sums:
        if part not in batches:
            batches[part] = batch_of(part)
        # FGM's second pass has the masks of the first: its gradient is of the network that the shift was made for.
        with keyed_randomness(plan.seed, tf.identity(global_step), replicas.index * parts + part):
            outputs = passes.outputs(task, plan, batches[part], compute, shift)
        return _Sums(tf.reduce_sum(outputs.loss, axis=0), tf.reduce_sum(outputs.weight, axis=0))

    scale = loss_scale.variables() if config.precision == "float16" else None
    factor = None if scale is None else tf.identity(scale.loss_scale)
    shift = WordShift()
    first = _Part(build_part(0, shift), shift)  # makes the variables
    variables = optimization.trained_variables(optimizer)
    making = _Gradients(build_part, variables, plan.fgm_epsilon)
    if parts == 1:
        weight = replicas.sum(first.sums.weight)
        loss, gradients = making.of(0, first, lambda sums: _mean(sums.loss, weight), factor)
    elif task.loss_weights is not None:
        weights = [tf.reduce_sum(task.loss_weights(batch_of(part)), axis=0) for part in range(parts)]
        weight = replicas.sum(tf.add_n(weights))
        losses, gradients = making.of_parts(first, parts, lambda sums: _mean(sums.loss, weight), factor)
        loss = tf.add_n(losses)
    else:
        loss, gradients = _accumulated(making, first, parts, replicas, factor, plan.train_batch_size)
    if replicas.on_tpu:
        gradients = [g if g is None else replicas.sum(tf.convert_to_tensor(g)) for g in gradients]
    elif replicas.of_workers:
        most_rows = _most_rows(compute, plan.train_batch_size // replicas.size, parts, config.max_seq_length)
        most_rows *= passes.count(plan)
        gradients = [_with_rows(gradient, most_rows) for gradient in gradients]
    update = optimization.create_update(
        gradients,
        variables,
        _learning_rate(plan, global_step, state),
        optimizer,
        global_step,
        compiled=not replicas.on_tpu and form != "plain",
        together=form == "compiled",
        scale=scale,
        unfreeze_schedule=plan.unfreeze_schedule,
    )
    return _after(update, loss, replicas, votes, scale, factor)


def _learning_rate(plan: Plan, global_step: Any, state: Dict[str, Any]) -> tf.Tensor:
    """The rate of the update from global_step."""
    learning_rate = schedules.rate_in_graph(plan.schedule, global_step, plan.num_train_steps - 1)
    if plan.schedule.lr_schedule != "plateau":
        return learning_rate
    lowest = tf.minimum(learning_rate, plan.schedule.end_learning_rate)
    return tf.maximum(learning_rate * tf.cast(tf.identity(state["plateau_scale"]), tf.float32), lowest)


def _after(
    update: optimization.Update,
    loss: tf.Tensor,
    replicas: Replicas,
    votes: Optional[tf.Tensor],
    scale: Optional[loss_scale.LossScale],
    factor: Optional[tf.Tensor],
) -> Trained:
    """The numbers of an update that is made. loss: this replica's share. factor: the loss scale before the update."""
    shares = tf.reshape(loss, [1]) if votes is None else tf.concat([tf.reshape(loss, [1]), votes], axis=0)
    with tf.control_dependencies([update.train_op]):
        summed = replicas.sum(shares)  # after the update's own sums: all workers need the same order of collectives
        return Trained(
            loss=summed[0],
            learning_rate=tf.identity(update.learning_rate),
            grad_norm=tf.identity(update.grad_norm) if factor is None else _norm_of_update(update.grad_norm, factor),
            votes=summed[1:],
            loss_scale=tf.zeros([]) if scale is None else tf.identity(scale.loss_scale),
            overflows=tf.zeros([], tf.int64) if scale is None else tf.identity(scale.overflows),
        )


def _norm_of_update(norm: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """0 for an update that an overflow cancelled. Not finite if the scale cannot fall: then the run has to stop."""
    cancelled = tf.logical_and(tf.logical_not(tf.math.is_finite(norm)), factor > loss_scale.FLOOR)
    return tf.where_v2(cancelled, tf.zeros_like(norm), norm)


def count_examples(state: Dict[str, Any], batch_size: int) -> Any:
    """An op that adds an update's examples to the state, for Estimator's loop. Call it in a replica."""
    consumed = rule_optimizer.container(state["examples_consumed"])

    def add(strategy: tf.distribute.Strategy) -> Any:
        return strategy.extended.update(consumed, lambda v: v.assign_add(batch_size, read_value=False), group=True)

    return tf.distribute.get_replica_context().merge_call(add)


class _Part(NamedTuple):
    """A part of the batch that is built."""

    sums: _Sums
    shift: WordShift


class _Gradients:
    """The gradients of the losses of parts: of a first pass, and with FGM of a second, whose embeddings are moved.

    build: part, shift → the part's sums. fgm_epsilon: how far they are moved; 0: there is no second pass.
    """

    def __init__(self, build: Callable[[int, WordShift], _Sums], variables: Sequence[Any], fgm_epsilon: float) -> None:
        self.variables = variables
        self._build = build
        self._epsilon = fgm_epsilon

    def of(
        self, part: int, built: _Part, to_loss: Callable[[_Sums], tf.Tensor], upstream: Optional[tf.Tensor]
    ) -> Tuple[tf.Tensor, List[Optional[Any]]]:
        """(the loss of the first pass, the gradients of the passes, summed)."""
        loss = to_loss(built.sums)
        if not self._epsilon:
            return loss, tf.gradients(loss, self.variables, upstream)
        *gradients, of_words = tf.gradients(loss, [*self.variables, built.shift.value], upstream)
        moved = to_loss(self._build(part, passes.adversarial(of_words, self._epsilon)))
        second = tf.gradients(moved, self.variables, upstream)
        return loss, [_added(a, b) for a, b in zip(gradients, second)]

    def of_parts(
        self,
        first: _Part,
        parts: int,
        to_loss: Callable[[_Sums], tf.Tensor],
        upstream: Optional[tf.Tensor],
    ) -> Tuple[List[tf.Tensor], List[Optional[Any]]]:
        """(the loss of each part, their summed gradients). A part starts when the one before is done.

        So the activations of one part are held at a time.
        """
        loss, summed = self.of(0, first, to_loss, upstream)
        losses = [loss]
        for part in range(1, parts):
            done = [gradient for gradient in summed if gradient is not None]
            with tf.control_dependencies([getattr(gradient, "values", gradient) for gradient in done]):
                shift = WordShift()
                loss, gradients = self.of(part, _Part(self._build(part, shift), shift), to_loss, upstream)
            losses.append(loss)
            summed = [_added(a, b) for a, b in zip(summed, gradients)]
        return losses, summed


def _accumulated(
    making: _Gradients, first: _Part, parts: int, replicas: Replicas, factor: Optional[tf.Tensor], batch_size: int
) -> Tuple[tf.Tensor, List[Optional[Any]]]:
    """(this replica's share of the loss, its gradients) over all parts, of which `first` is built already.

    The division by the batch's weight has to wait for the last part. factor: of the gradients, from the loss on.
    """
    weights: List[tf.Tensor] = []

    def loss_of(sums: _Sums) -> tf.Tensor:
        weights.append(sums.weight)
        return sums.loss

    # Until the batch's weight is known, a power of two near its size stands in: so the factor is right for sums too.
    stand_in = 1.0 if factor is None else 2.0 ** round(math.log2(batch_size))
    upstream = None if factor is None else factor / stand_in
    losses, summed = making.of_parts(first, parts, loss_of, upstream)
    # FGM's second pass has each part's weight again.
    weight = replicas.sum(tf.add_n(weights[:: len(weights) // parts]))
    loss = tf.add_n(losses) / weight
    scale = stand_in / weight
    return loss, [gradient if gradient is None else _scaled(gradient, scale) for gradient in summed]


def _added(first: Any, second: Any) -> Any:
    """The sum of two gradients, either of which may be None; sparse gradients stay sparse."""
    if first is None or second is None:
        return first if second is None else second
    if isinstance(first, tf.IndexedSlices) and isinstance(second, tf.IndexedSlices):
        values = tf.concat([first.values, second.values], axis=0)
        return tf.IndexedSlices(values, tf.concat([first.indices, second.indices], axis=0), first.dense_shape)
    return lone_sum(tf.convert_to_tensor(first), tf.convert_to_tensor(second))


def _scaled(gradient: Any, scale: tf.Tensor) -> Any:
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(gradient.values * scale, gradient.indices, gradient.dense_shape)
    return gradient * scale


def _with_rows(gradient: Any, rows: int) -> Any:
    """Fills a sparse gradient up to `rows` rows, with zeros that are added to its first row.

    Workers gather each other's rows by a collective that needs the same number of them in every step.
    """
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    values, indices = gradient.values, gradient.indices
    more = rows - tf.shape(indices)[0]
    values = tf.pad(values, [[0, more], [0, 0]])
    indices = tf.concat([indices, tf.fill([more], indices[0])], axis=0)
    values.set_shape([rows] + values.shape.as_list()[1:])
    indices.set_shape([rows])
    return tf.IndexedSlices(values, indices, gradient.dense_shape)
