"""Dropout masks and initial values that depend on keys, not on the order in which a graph is built."""

import collections
import contextlib
import hashlib
import threading
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

import tensorflow.compat.v1 as tf


class _Keys:
    """The seed, clock and replica that the random numbers of a keyed_randomness context are computed from."""

    def __init__(self, seed: int, clock: Optional[Any], replica_id: Any) -> None:
        self.seed = seed
        self.clock = clock
        self.replica_id = replica_id
        self.uses: Dict[str, int] = collections.Counter()

    def hashed(self, *names: str) -> int:
        """A non-negative int64 that depends on the seed and the names alone."""
        digest = hashlib.sha256("/".join((str(self.seed),) + names).encode("utf-8")).digest()
        return int.from_bytes(digest[:8], "little") >> 1

    def dropout_seed(self) -> Any:
        """[2] int64: a hash of the place, and the moment. A place is a variable scope and a count of dropouts in it."""
        scope = tf.get_variable_scope().name
        place = self.hashed("dropout", scope, str(self.uses[scope]))
        self.uses[scope] += 1
        # 2^16 replicas at most, so two (step, replica) pairs never share a seed.
        moment = tf.cast(self.clock, tf.int64) * 65536 + tf.cast(self.replica_id, tf.int64)
        return tf.stack([tf.constant(place, tf.int64), moment])


class _Contexts(threading.local):  # MirroredStrategy builds each replica in a thread of its own
    def __init__(self) -> None:
        self.stack: List[_Keys] = []


_contexts = _Contexts()


@contextlib.contextmanager
def keyed_randomness(seed: int, clock: Optional[Any], replica_id: Any = 0) -> Iterator[None]:
    """A context in which everything random is a pure function of its key, the same on every TensorFlow.

    Initial values of truncated-normal variables depend on (seed, variable name). Dropout masks depend on (seed, place,
    clock, replica_id).

    Args:
      seed: the seed of the run.
      clock: the step, an int64 scalar tensor; None if no dropout is built.
      replica_id: int or int32 scalar tensor.
    """
    keys = _Keys(seed, clock, replica_id)

    def keyed_getter(getter: Callable, *args: Any, **kwargs: Any) -> Any:
        initializer = kwargs.get("initializer")
        if isinstance(initializer, tf.truncated_normal_initializer):
            kwargs["initializer"] = _keyed_truncated_normal(initializer.stddev, keys.hashed("initial", kwargs["name"]))
        return getter(*args, **kwargs)

    _contexts.stack.append(keys)
    try:
        with tf.variable_scope(tf.get_variable_scope(), custom_getter=keyed_getter, auxiliary_name_scope=False):
            yield
    finally:
        _contexts.stack.pop()


def _keyed_truncated_normal(stddev: float, key: int) -> Callable:
    def initialize(shape: Sequence[int], dtype: Any = tf.float32, partition_info: Any = None) -> tf.Tensor:
        return tf.random.stateless_truncated_normal(shape, seed=[key, 0], stddev=stddev, dtype=dtype)

    return initialize


def dropout(input_tensor: tf.Tensor, dropout_prob: Optional[float]) -> tf.Tensor:
    """Sets a share dropout_prob of the elements to 0 and scales the rest by 1 / (1 - dropout_prob).

    In a keyed_randomness context with a clock, the mask is a function of its key, and the gradient keeps it in one byte
    an element. Elsewhere the graph's seed decides, and the ops are stock ones.
    """
    if not dropout_prob:
        return input_tensor
    keys = _contexts.stack[-1] if _contexts.stack else None
    if keys is None or keys.clock is None:
        return tf.nn.dropout(input_tensor, rate=dropout_prob)
    dropped = round(dropout_prob * 65536)  # of the values that 16 bits have
    keep = _random_int16(tf.shape(input_tensor), keys.dropout_seed()) >= tf.constant(dropped - 32768, tf.int16)

    @tf.custom_gradient
    def masked(x: tf.Tensor) -> Any:
        # Kept for the gradient as a byte an element, not as the float32 mask.
        return x * mask(), lambda upstream: upstream * mask()

    def mask() -> tf.Tensor:
        return tf.cast(keep, input_tensor.dtype) * (65536 / (65536 - dropped))

    return masked(input_tensor)


def _random_int16(shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Uniform over all of int16, two from each word of the generator. The same on every TensorFlow."""
    size = tf.reduce_prod(shape)
    words = [(size + 1) // 2]
    if hasattr(tf.raw_ops, "StatelessRandomUniformFullInt"):  # TF 2
        bits = tf.random.stateless_uniform(words, seed, minval=None, maxval=None, dtype=tf.int32)
    else:
        least = tf.int32.min  # the range leaves out one value of 2³², and its top bit is inverted
        bits = tf.random.stateless_uniform(words, seed, minval=least, maxval=tf.int32.max, dtype=tf.int32)
        bits = tf.bitwise.bitwise_xor(bits, tf.constant(least, tf.int32))
    return tf.reshape(tf.reshape(tf.bitcast(bits, tf.int16), [-1])[:size], shape)
