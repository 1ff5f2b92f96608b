"""The layers to choose between the encoder's vectors and the tags. Importing this module does not import TensorFlow.

B batch · U units of a recurrent network
"""

from typing import Any, Callable, Dict, NamedTuple, Sequence, Tuple


class TaggingHead(NamedTuple):
    """The layers after the encoder: recurrent ones in both directions if lstm_layers > 0, a linear one, maybe a CRF."""

    crf: bool = False
    lstm_layers: int = 0
    lstm_size: int = 128  # units in each direction
    lstm_cell: str = "lstm"  # a name in CELLS


class HeadKind(NamedTuple):
    """The layers that a value of --head stands for."""

    recurrent: bool
    crf: bool


class Cell(NamedTuple):
    """One step of a recurrent network. TensorFlow has cells only in Keras, from 2.16 on, which this program avoids."""

    gates: int
    states: int
    # projected input [B, gates · U], states [B, U], recurrent kernel [U, gates · U], U → new states, output first
    step: Callable[[Any, Sequence[Any], Any, int], Tuple[Any, ...]]


def _lstm_step(projected: Any, states: Sequence[Any], kernel: Any, size: int) -> Tuple[Any, ...]:
    """c' = σ(f + 1) c + σ(i) tanh(g), h' = σ(o) tanh(c') (Hochreiter and Schmidhuber, 1997; Gers et al., 2000).

    Differs from the paper: 1 is added to the forget gate, as in Jozefowicz et al., 2015.
    """
    import tensorflow.compat.v1 as tf

    output, cell = states
    i, f, g, o = tf.split(projected + tf.matmul(output, kernel), 4, axis=1)
    cell = tf.sigmoid(f + 1.0) * cell + tf.sigmoid(i) * tf.tanh(g)
    return tf.sigmoid(o) * tf.tanh(cell), cell


def _gru_step(projected: Any, states: Sequence[Any], kernel: Any, size: int) -> Tuple[Any, ...]:
    """h' = z h + (1 - z) tanh(x + (r h) U) (Cho et al., https://arxiv.org/abs/1406.1078)"""
    import tensorflow.compat.v1 as tf

    (output,) = states
    gates = tf.sigmoid(projected[:, : 2 * size] + tf.matmul(output, kernel[:, : 2 * size]))
    update, reset = tf.split(gates, 2, axis=1)
    candidate = tf.tanh(projected[:, 2 * size :] + tf.matmul(reset * output, kernel[:, 2 * size :]))
    return (update * output + (1.0 - update) * candidate,)


CELLS: Dict[str, Cell] = {"gru": Cell(3, 1, _gru_step), "lstm": Cell(4, 2, _lstm_step)}

HEADS: Dict[str, HeadKind] = {
    "bilstm": HeadKind(recurrent=True, crf=False),
    "bilstm_crf": HeadKind(recurrent=True, crf=True),
    "crf": HeadKind(recurrent=False, crf=True),
    "softmax": HeadKind(recurrent=False, crf=False),
}
