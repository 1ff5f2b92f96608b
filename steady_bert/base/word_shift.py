"""What FGM adds to word embeddings, and reads their gradient by. B batch · S sequence · H hidden"""

from typing import Any, Optional

import tensorflow.compat.v1 as tf

KEY = "word_shift"  # in a batch, beside its columns


class WordShift:
    """A tensor [B, S, H] that is added to the word embeddings of a batch.

    Without a value it is zeros, made by the first model that adds them: their gradient is that of the embeddings.
    """

    def __init__(self, value: Optional[tf.Tensor] = None) -> None:
        self.value = value

    def of(self, batch_size: Any, seq_length: Any, width: int) -> tf.Tensor:
        if self.value is None:
            self.value = tf.zeros(tf.stack([batch_size, seq_length, width]))
        return self.value
