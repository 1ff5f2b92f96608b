"""The core of attention with a gradient by hand, for the fast form.

Between its four products, softmax, dropout and their gradients are passes over the scores, the largest tensors of long
sequences. Here are about half as many as automatic differentiation makes.

B batch · A heads · F, T sequence that attends, is attended to · D the width of a head
"""

import math
from typing import Any, Optional, Tuple

import tensorflow.compat.v1 as tf

from .forms import product
from .randomness import Kept


def attended(
    query: tf.Tensor, key: tf.Tensor, value: tf.Tensor, score_bias: Any, kept: Optional[Kept], precision: str
) -> tf.Tensor:
    """[B, A, F, D], [B, A, T, D] twice → [B, A, F, D]: dropout(softmax(Q Kᵀ / √D + bias)) V.

    score_bias: [B, 1, F or 1, T]. kept: the mask of dropout [B, A, F, T], None without it.
    """

    @tf.custom_gradient
    def core(query: tf.Tensor, key: tf.Tensor, value: tf.Tensor) -> Any:
        # Factors go into the narrow tensors: scaling the query costs F · D products a head, scaling the scores F · T.
        scale = 1.0 / math.sqrt(query.shape.as_list()[-1])
        query *= scale
        probabilities = tf.nn.softmax(product(query, key, precision, transpose_b=True) + score_bias)
        used = probabilities
        if kept is not None:
            value *= kept.scale
            used = probabilities * tf.cast(kept.places, probabilities.dtype)
        context = product(used, value, precision)

        def gradient(upstream: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            of_value = product(used, upstream, precision, transpose_a=True)
            # Softmax subtracts Σ_t p_t ∂p_t from each ∂p, and that is upstream · context.
            total = tf.reduce_sum(upstream * context, axis=-1, keepdims=True)  # [B, A, F, 1]
            of_scores = used * product(upstream, value, precision, transpose_b=True) - probabilities * total
            of_query = product(of_scores, key, precision) * scale
            of_key = product(of_scores, query, precision, transpose_a=True)
            return of_query, of_key, of_value if kept is None else of_value * kept.scale

        return context, gradient

    return core(query, key, value)
