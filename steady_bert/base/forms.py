"""gelu, gelu_erf and layer normalization in the forms that Compute names, and products in its precisions.

`forms_of` is the one place that chooses a form.
"""

import math
from typing import Any, Callable, NamedTuple, Tuple

import tensorflow.compat.v1 as tf

from .compute import Compute

_EPSILON = 1e-12  # of LayerNorm in the published models
_FLOAT16_EPSILON = 1e-3  # what float16 can hold, and what the original's LayerNorm took there

_GELU_SCALE = math.sqrt(2.0 / math.pi)
_GELU_CUBIC = 0.044715
_ERF_SCALE = math.sqrt(0.5)
_DENSITY_SCALE = 1.0 / math.sqrt(2.0 * math.pi)


class Forms(NamedTuple):
    gelu: Callable[[tf.Tensor], tf.Tensor]
    gelu_erf: Callable[[tf.Tensor], tf.Tensor]
    normalized: Callable[[tf.Tensor, Any, Any], tf.Tensor]  # x […, W], gamma [W], beta [W]
    plus_bias: Callable[[tf.Tensor, Any], tf.Tensor] = tf.nn.bias_add


def forms_of(compute: Compute) -> Forms:
    if compute.form == "plain":
        return Forms(plain_gelu, plain_gelu_erf, _plain_normalized)
    if compute.form == "fast":
        return Forms(fast_gelu, fast_gelu_erf, fast_normalized, _fast_plus_bias)
    # On a GPU the gradient of bias_add adds atomically, in any order.
    return Forms(fast_gelu, fast_gelu_erf, fast_normalized, tf.add)


def product(a: tf.Tensor, b: Any, precision: str, transpose_a: bool = False, transpose_b: bool = False) -> tf.Tensor:
    """a · b, either of them transposed if asked. With "bfloat16" or "float16", factors and result are rounded.

    So are those of its gradients. The result is float32 then; with "float32" it has the factors' own type.
    """
    if precision == "float32":
        return tf.matmul(a, b, transpose_a=transpose_a, transpose_b=transpose_b)
    rounded = tf.matmul(tf.cast(a, precision), tf.cast(b, precision), transpose_a=transpose_a, transpose_b=transpose_b)
    return tf.cast(rounded, tf.float32)


@tf.custom_gradient
def _plus_bias(x: tf.Tensor, bias: tf.Tensor) -> Any:
    def gradient(upstream: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
        ones = tf.ones([1, tf.shape(upstream)[0]], upstream.dtype)
        return upstream, tf.matmul(ones, upstream)[0]

    return tf.nn.bias_add(x, bias), gradient


def _fast_plus_bias(x: tf.Tensor, bias: Any) -> tf.Tensor:
    """x [N, W] + bias [W]. The bias's gradient is a product, which takes two thirds of the time of bias_add's own."""
    return _plus_bias(x, tf.convert_to_tensor(bias))


# --- gelu: x · Φ(x) in the tanh approximation (Hendrycks and Gimpel, https://arxiv.org/abs/1606.08415) ----------------


def plain_gelu(x: tf.Tensor) -> tf.Tensor:
    return x * (0.5 * (1.0 + tf.tanh(_GELU_SCALE * (x + _GELU_CUBIC * (x * x * x)))))


@tf.custom_gradient
def fast_gelu(x: tf.Tensor) -> Any:
    """.5 (1 + tanh u) is written as sigmoid(2u). Operations on the widest tensor of a layer are what a step pays for:
    with this gradient there are half as many, and two tensors are kept for it instead of five.
    """
    scale = 2.0 * _GELU_SCALE

    def twice_u(x: tf.Tensor, cubic_factor: float) -> tf.Tensor:
        """2u with a factor of 1, x · d(2u)/dx with one of 3."""
        return x * (tf.square(x) * (cubic_factor * _GELU_CUBIC * scale) + scale)

    phi = tf.sigmoid(twice_u(x, 1.0))

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        return upstream * phi + tf.raw_ops.SigmoidGrad(y=phi, dy=upstream * twice_u(x, 3.0))

    return x * phi, gradient


# --- gelu_erf: x · Φ(x) itself, Φ(x) = .5 (1 + erf(x / √2)) (same paper) ----------------------------------------------


def plain_gelu_erf(x: tf.Tensor) -> tf.Tensor:
    return x * (0.5 * (1.0 + tf.math.erf(_ERF_SCALE * x)))


@tf.custom_gradient
def fast_gelu_erf(x: tf.Tensor) -> Any:
    """Two tensors are kept for the gradient Φ(x) + x · exp(-x² / 2) / √(2π): x and Φ(x)."""
    phi = 0.5 * tf.math.erf(_ERF_SCALE * x) + 0.5

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        return upstream * (phi + x * (tf.exp(-0.5 * tf.square(x)) * _DENSITY_SCALE))

    return x * phi, gradient


# --- (x - mean) / √(variance + ε) · gamma + beta over the last axis (Ba et al., https://arxiv.org/abs/1607.06450) -----


def _plain_normalized(x: tf.Tensor, gamma: Any, beta: Any) -> tf.Tensor:
    epsilon = _FLOAT16_EPSILON if x.dtype == tf.float16 else _EPSILON
    mean, variance = tf.nn.moments(x, axes=[-1], keep_dims=True)
    with tf.name_scope("batchnorm"):  # scripts fetch the result as …/LayerNorm/batchnorm/add_1
        scale = tf.rsqrt(variance + epsilon)
        # tf.nn.batch_normalization subtracts last, which loses digits where the variance is small.
        return (x - mean) * scale * gamma + beta


def fast_normalized(x: tf.Tensor, gamma: Any, beta: Any) -> tf.Tensor:
    return _normalized(x, tf.convert_to_tensor(gamma), tf.convert_to_tensor(beta))


@tf.custom_gradient
def _normalized(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> Any:
    """Its gradient reads two of the tensors that were computed; the automatic one reads five."""
    centered = x - _mean_of_rows(x)
    scale = tf.rsqrt(_mean_of_rows(tf.square(centered)) + _EPSILON)
    normal = centered * scale
    rows = list(range(len(x.shape) - 1))

    def gradient(upstream: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        d = upstream * gamma
        of_x = (d - _mean_of_rows(d) - normal * _mean_of_rows(d * normal)) * scale
        return of_x, tf.reduce_sum(upstream * normal, axis=rows), tf.reduce_sum(upstream, axis=rows)

    return normal * gamma + beta, gradient


def _mean_of_rows(x: tf.Tensor) -> tf.Tensor:
    """[…, W] → […, 1]"""
    return tf.reduce_mean(x, axis=-1, keepdims=True)
