"""The forward passes of an update beyond the first: R-Drop's with other masks, FGM's with moved word embeddings.

B batch · S sequence · H hidden
"""

from typing import Any, Dict

import tensorflow.compat.v1 as tf

from ..base.compute import Compute
from ..base.word_shift import KEY, WordShift
from ..tasks import losses
from ..tasks.task import Outputs, Task
from .plan import Plan


def count(plan: Plan) -> int:
    """How often an update computes its batch."""
    return (2 if plan.rdrop_alpha else 1) * (2 if plan.fgm_epsilon else 1)


def outputs(task: Task, plan: Plan, batch: Dict[str, Any], compute: Compute, shift: WordShift) -> Outputs:
    """The loss of a batch in training. Call it in a keyed_randomness context.

    With rdrop_alpha α (R-Drop, Liang et al., 2021, https://arxiv.org/abs/2106.14448), the batch is computed twice and
    an example's loss is (l₁ + l₂) / 2 + α (KL(p‖q) + KL(q‖p)) / 2. Dropouts are numbered within the context, so that
    the masks of the second pass are functions of seed, step and place as well, and others than the first's.

    Differs from the paper: the mean of the two losses, not their sum, as in the authors' code.
    """
    if plan.fgm_epsilon:
        batch = dict(batch, **{KEY: shift})
    first = task.build(batch, True, compute)
    if not plan.rdrop_alpha:
        return first
    second = task.build(batch, True, compute)
    apart = losses.divergence(first.distributions, second.distributions)
    return first._replace(loss=(first.loss + second.loss) / 2.0 + plan.rdrop_alpha * apart)


def adversarial(gradient: tf.Tensor, epsilon: float) -> WordShift:
    """FGM's shift ε g / ‖g‖ of each example, by the gradient [B, S, H] (Miyato et al., 2017).

    https://arxiv.org/abs/1605.07725, equation 5. The norm is that of an example's word embeddings, so that the other
    examples of the batch, their number, its parts and the loss scale do not matter. 0 where the gradient is 0.

    Differs from the paper: the embeddings are not normalized first.
    """
    largest = tf.reduce_max(
        tf.abs(gradient), axis=[1, 2], keepdims=True
    )  # what is squared neither vanishes nor overflows
    scaled = gradient / tf.where_v2(largest > 0, largest, tf.ones_like(largest))
    norm = tf.sqrt(tf.reduce_sum(tf.square(scaled), axis=[1, 2], keepdims=True))
    return WordShift(tf.stop_gradient(epsilon * scaled / tf.maximum(norm, 1.0)))
