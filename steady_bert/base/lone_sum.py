"""A sum that stays a sum of two."""

import tensorflow.compat.v1 as tf

# The attribute by which Grappler knows a sum that its rewriting of sums has seen.
_NOT_REWRITTEN = "_grappler_ArithmeticOptimizer_AddOpsRewriteStage"


def lone_sum(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """first + second, the same bits in every step.

    Grappler makes one sum of a tree of sums, which adds first what stands in the buffer that is free first. So the
    order of three or more depends on the threads.
    """
    added = tf.add(first, second)
    added.op._set_attr(_NOT_REWRITTEN, tf.AttrValue(b=True))
    return added
