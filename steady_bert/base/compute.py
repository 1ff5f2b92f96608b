"""How a model is computed: a choice among forms of the same mathematics that differ in speed and in what they need.

Every form gives the same numbers, but for rounding.
"""

from typing import NamedTuple


class Compute(NamedTuple):
    """The default is what a bare call of `modeling` builds."""

    # "plain": stock ops under google-research/bert's names. Any program can differentiate the graph, and the variables
    #     may be float16. "fast": hand-written gradients that keep and compute less; what a run uses.
    form: str = "plain"
    # What works token by token runs on the real tokens alone; attention alone sees the padded square. Its shapes change
    #     from batch to batch, which XLA and TPUs cannot compile.
    padding_free: bool = False
    # "float32", or "bfloat16" for the factors and results of the encoder's matrix products. Everything else stays
    #     float32: weights, LayerNorm, softmax, outputs.
    precision: str = "float32"


PLAIN = Compute()
