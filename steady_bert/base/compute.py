"""How a model is computed: a choice among forms of the same mathematics that differ in speed and in what they need.

Every form gives the same numbers, but for rounding.
"""

from typing import NamedTuple


class Compute(NamedTuple):
    """The default is what a bare call of `modeling` builds."""

    # "plain": stock ops under google-research/bert's names. Any program can differentiate the graph, and the variables
    #     may be float16. "fast": hand-written gradients that keep and compute less; what a run on a CPU uses.
    #     "compiled": each layer is a call of one function that XLA compiles once a shape; what a run on a GPU uses.
    form: str = "plain"
    # What works token by token runs on the real tokens alone; attention alone sees the padded square. Its shapes change
    #     from batch to batch, which XLA and TPUs cannot compile.
    padding_free: bool = False
    # "float32", or "bfloat16" or "float16" for the factors and results of the encoder's matrix products. Everything
    #     else stays float32: weights, LayerNorm, softmax, outputs. The compiled form keeps what stands between products
    #     in it too. float16 needs a loss scale in training (steady_bert.loss_scale).
    precision: str = "float32"
    # Above 0, with padding_free: the real tokens stand in rows of so many places, a sequence behind another, instead of
    #     one list. A few numbers of rows serve all batches.
    row_length: int = 0
    # The compiled form computes a layer again in the backward pass, instead of keeping its products' results.
    recompute: bool = False
    # With padding_free and without row_length: sequences share rows while they attend, as in packing.attention_places.
    packed_attention: bool = False
    # In the fast form, XLA compiles gelu of wide layers (compiled_pieces), which takes a moment for each new shape.
    compiled_pieces: bool = False


PLAIN = Compute()
