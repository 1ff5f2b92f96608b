"""The settings of a tagging head: which kinds there are, and their sizes. Pure: no TensorFlow."""

from typing import NamedTuple

HEADS = ("bilstm", "bilstm_crf", "crf", "softmax")
LSTM_CELLS = ("gru", "lstm")  # heads.CELLS has their equations


class TaggingHead(NamedTuple):
    """What stands between the encoder's vectors and the tags. With lstm_layers, a bidirectional network comes first."""

    crf: bool = False
    lstm_layers: int = 0
    lstm_size: int = 128  # units a direction
    lstm_cell: str = "lstm"  # a name of LSTM_CELLS
