"""Element-wise pieces of the fast form that XLA compiles once a shape, for a CPU.

TensorFlow's own kernels make a pass over memory for each operation, in instructions that every processor of the last
decade has. XLA makes one pass, in those of this machine. It brings nothing to products on a CPU, so they stay outside.
"""

from typing import Any, Callable, Tuple

import tensorflow.compat.v1 as tf

from .compiled_layer import functions_of

LEAST_WIDTH = 1024  # of a layer for which compiling pays: some tenths of a second a shape


def activation(function: Callable[[tf.Tensor], tf.Tensor]) -> Callable[[tf.Tensor], tf.Tensor]:
    """The same function of one tensor, element by element. It keeps that tensor alone for its gradient."""

    def make(function: Callable) -> Tuple[Callable, Callable]:
        return function, lambda x, upstream: tf.gradients(function(x), x, grad_ys=upstream)[0]

    @tf.custom_gradient
    def both_ways(x: tf.Tensor) -> Any:
        forward, backward = functions_of(function, make)
        return forward(x), lambda upstream: backward(x, upstream)

    return both_ways
