"""The loss scale of float16, which follows the overflows (Micikevicius et al., 2018, section 3.2).

https://arxiv.org/abs/1710.03740. float16 holds nothing below 6e-8, where many gradients are. So the loss is multiplied
by a scale s before its gradients are computed, and these are divided by s before anything reads them:

    s ← 2 s after GROWTH_UPDATES good updates in a row, s ← s / 2 at an overflow, within FLOOR and CEILING.

An update overflows if the norm of its summed gradients is not finite. It moves no weight, no slot and no count of the
optimizer. Its step counts all the same, since its batch is used. All factors are powers of two, which round nothing.
"""

from typing import Any, List, NamedTuple

import tensorflow.compat.v1 as tf

INITIAL = 2.0**15
GROWTH_UPDATES = 2000
FLOOR = 1.0  # an overflow here is not the scale's fault
CEILING = 2.0**24  # where gradients are so small that nothing overflows; NVIDIA Apex's


class LossScale(NamedTuple):
    """Variables, which are a part of the run's state in its checkpoints."""

    loss_scale: Any  # float32
    good_updates: Any  # int64, in a row since the scale last changed
    overflows: Any  # int64, in the whole run


def variables() -> LossScale:
    """Creates (or finds) the variables in the current graph and scope."""
    initial = LossScale(INITIAL, 0, 0)
    return LossScale(
        *[
            tf.get_variable(
                "training_state/" + name,
                shape=[],
                dtype=tf.float32 if isinstance(value, float) else tf.int64,
                initializer=tf.constant_initializer(value),
                trainable=False,
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            )
            for name, value in initial._asdict().items()
        ]
    )


def after(before: LossScale, finite: tf.Tensor) -> LossScale:
    """The values after an update whose gradients were finite, or not."""
    scale = before.loss_scale
    good_updates = before.good_updates + 1
    grows = tf.greater_equal(good_updates, GROWTH_UPDATES)
    return LossScale(
        tf.where_v2(
            finite,
            tf.where_v2(grows, tf.minimum(scale * 2.0, CEILING), scale),
            tf.maximum(scale * 0.5, FLOOR),
        ),
        tf.where_v2(tf.logical_or(grows, tf.logical_not(finite)), tf.zeros_like(good_updates), good_updates),
        before.overflows + tf.cast(tf.logical_not(finite), tf.int64),
    )


def assigned(strategy: tf.distribute.Strategy, scale: LossScale, finite: tf.Tensor) -> List[Any]:
    """In cross-replica context: ops that give all replicas' variables their values after an update."""
    first = [strategy.experimental_local_results(variable)[0] for variable in scale]
    before = LossScale(*[tf.identity(variable) for variable in first])
    with tf.control_dependencies(list(before)):
        return [
            strategy.extended.update(variable, tf.assign, args=(value,), group=True)
            for variable, value in zip(scale, after(before, finite))
        ]
