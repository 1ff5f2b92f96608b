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


def biased_activation(function: Callable[[tf.Tensor], tf.Tensor]) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """(product [N, W] bfloat16 or float16, bias [W] float32) → function(product + bias), in the product's type.

    What is between is float32, and so is the sum of the bias's gradient. In TensorFlow's kernels for bfloat16 a sigmoid
    takes seven times as long as in float32.
    """

    def total(product: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
        return tf.cast(product, tf.float32) + bias

    def forward(product: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
        return tf.cast(function(total(product, bias)), product.dtype)

    def backward(product: tf.Tensor, bias: tf.Tensor, upstream: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
        x = total(product, bias)
        of_x = tf.gradients(function(x), x, grad_ys=tf.cast(upstream, tf.float32))[0]
        return tf.cast(of_x, product.dtype), tf.reduce_sum(of_x, axis=0)

    @tf.custom_gradient
    def both_ways(product: tf.Tensor, bias: tf.Tensor) -> Any:
        compiled = functions_of(("biased", function), lambda form: (forward, backward))
        return compiled[0](product, bias), lambda upstream: compiled[1](product, bias, upstream)

    return both_ways
