"""The two towers of a graph, one a replica: what trains on its share of a batch, and what infers. They share variables.

Either engine builds them: inside a tf.distribute strategy, or in a graph of Estimator's. Loss and gradients are sums
over the replicas; each replica gets the sum.
"""

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

import tensorflow.compat.v1 as tf

import optimization

from .. import rule_optimizer
from ..base.errors import UserError
from ..base.randomness import keyed_randomness
from ..tasks.task import Compute, Outputs, Task
from . import input_pipeline
from . import plan as plans
from .engine_config import EngineConfig
from .plan import Plan

Batch = Dict[str, Any]  # a tensor a column, and input_mask [B, S]


class Replicas(NamedTuple):
    """This replica's place among all that make an update together."""

    index: Any  # from 0; an integer or an int32 scalar
    size: int  # how many there are
    on_tpu: bool = False  # of TPUEstimator, where tf.distribute knows of one replica alone
    of_workers: bool = False  # of several processes

    def sum(self, value: tf.Tensor) -> tf.Tensor:
        if self.on_tpu:
            return value if self.size == 1 else tf.tpu.cross_replica_sum(value)

        def reduce(strategy: tf.distribute.Strategy, value: Any) -> Any:
            return strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None)

        return tf.distribute.get_replica_context().merge_call(reduce, args=(value,))


class Trained(NamedTuple):
    """What an update tells, the same on every replica."""

    loss: tf.Tensor  # of the whole batch
    learning_rate: tf.Tensor
    grad_norm: tf.Tensor  # before clipping
    votes: tf.Tensor  # summed over the replicas
    averages: Dict[str, Any]  # as optimization.Update


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


def parse(records: tf.Tensor, task: Task, config: EngineConfig) -> Batch:
    """[B] serialized → a batch, padded as configured."""
    padded_length = config.max_seq_length if config.padding == "fixed" else None
    round_below = config.max_seq_length if config.padding == "none" else 0
    batch, input_mask = input_pipeline.parse_batch(records, task.columns, padded_length, round_below)
    return dict(batch, input_mask=input_mask)


def slice_of(records: tf.Tensor, place: Any, places: int) -> tf.Tensor:
    """The `place`th of `places` consecutive slices of like size."""
    count = tf.shape(records)[0]
    return records[place * count // places : (place + 1) * count // places]


def _compute(config: EngineConfig, is_training: bool) -> Compute:
    return Compute(is_training, padding_free=config.padding == "none", precision=config.precision)


def inference_tower(task: Task, config: EngineConfig, seed: int, batch: Batch, averages: Dict[str, Any]) -> Outputs:
    """Of one replica. averages: as of Trained; what is read in place of the weights of these names."""

    def read_average(get_variable: Callable[..., Any], name: str, *args: Any, **kwargs: Any) -> Any:
        return averages.get(name, get_variable(name, *args, **kwargs))

    scope = tf.variable_scope(tf.get_variable_scope(), custom_getter=read_average)
    with scope, keyed_randomness(seed, None):
        return task.build(batch, _compute(config, is_training=False))


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
    """An update: this replica's share of the batch, in parts, and the one step over all replicas.

    Args:
      state: the variables of checkpoint.TrainingState.
      batch_of: part → this replica's batch of it.
      votes: [V] float32, what this replica wants summed beside the loss.
    """
    parts = config.gradient_accumulation_steps
    losses: List[Any] = []
    weights: List[Any] = []

    def build_part(part: int) -> tf.Tensor:
        with keyed_randomness(plan.seed, tf.identity(global_step), replicas.index * parts + part):
            outputs = task.build(batch_of(part), _compute(config, is_training=True))
        losses.append(tf.reduce_sum(outputs.loss))
        weights.append(tf.reduce_sum(outputs.weight))
        return losses[-1]

    first = build_part(0)  # also makes the variables

    def gradients_of_parts(variables: Sequence[Any]) -> List[Any]:
        if whole is None:
            summed = _accumulated(first, build_part, parts, variables)
            scale = 1.0 / replicas.sum(tf.add_n(weights))
            summed = [gradient if gradient is None else _scaled(gradient, scale) for gradient in summed]
        else:
            summed = tf.gradients(whole, variables)
        if replicas.on_tpu:
            return [g if g is None else replicas.sum(tf.convert_to_tensor(g)) for g in summed]
        if replicas.of_workers:
            most_rows = plan.train_batch_size // replicas.size * config.max_seq_length
            return [_with_rows(gradient, most_rows) for gradient in summed]
        return summed

    # In one part the division comes before the gradient, in several it has to wait for the last.
    whole = first / replicas.sum(weights[0]) if parts == 1 else None
    plateau = plan.lr_schedule == "plateau"
    update = optimization.create_update(
        gradients_of_parts,
        plans.rates(plan),
        optimizer,
        global_step,
        rate_scale=tf.identity(state["plateau_scale"]) if plateau else None,
        least_rate=plan.end_learning_rate,
        compiled=not replicas.on_tpu,
    )
    loss = tf.add_n(losses) / replicas.sum(tf.add_n(weights)) if whole is None else whole
    told = tf.reshape(loss, [1]) if votes is None else tf.concat([tf.reshape(loss, [1]), votes], axis=0)
    with tf.control_dependencies([update.train_op]):
        summed = replicas.sum(told)  # after the update's own sums: collectives of one graph need one order
        return Trained(
            loss=summed[0],
            learning_rate=tf.identity(update.learning_rate),
            grad_norm=tf.identity(update.grad_norm),
            votes=summed[1:],
            averages=update.averages,
        )


def count_examples(state: Dict[str, Any], batch_size: int) -> Any:
    """In a replica, an op that adds an update's examples to the state: for a loop that is in the graph."""
    consumed = rule_optimizer.container(state["examples_consumed"])

    def add(strategy: tf.distribute.Strategy) -> Any:
        return strategy.extended.update(consumed, lambda v: v.assign_add(batch_size, read_value=False), group=True)

    return tf.distribute.get_replica_context().merge_call(add)


def _accumulated(
    first: tf.Tensor, build_part: Callable[[int], tf.Tensor], parts: int, variables: Sequence[Any]
) -> List[Optional[Any]]:
    """The summed gradients of the parts' losses, of which `first` is built.

    A part starts when the one before is done: one is held at a time.
    """
    summed = tf.gradients(first, variables)
    for part in range(1, parts):
        done = [gradient for gradient in summed if gradient is not None]
        with tf.control_dependencies([getattr(gradient, "values", gradient) for gradient in done]):
            gradients = tf.gradients(build_part(part), variables)
        summed = [_added(a, b) for a, b in zip(summed, gradients)]
    return summed


def _added(first: Any, second: Any) -> Any:
    """Of two gradients, None where there is none; sparse ones stay sparse."""
    if first is None or second is None:
        return first if second is None else second
    if isinstance(first, tf.IndexedSlices) and isinstance(second, tf.IndexedSlices):
        values = tf.concat([first.values, second.values], axis=0)
        return tf.IndexedSlices(values, tf.concat([first.indices, second.indices], axis=0), first.dense_shape)
    return tf.convert_to_tensor(first) + tf.convert_to_tensor(second)


def _scaled(gradient: Any, scale: tf.Tensor) -> Any:
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(gradient.values * scale, gradient.indices, gradient.dense_shape)
    return gradient * scale


def _with_rows(gradient: Any, rows: int) -> Any:
    """A sparse gradient, with rows of zeros for its first index up to `rows`.

    Workers gather each other's rows, by a collective that wants as many in every step.
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
