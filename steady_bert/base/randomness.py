"""Dropout masks and initial values that depend on keys, not on the order in which a graph is built."""

import collections
import contextlib
import hashlib
import threading
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence

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
        """[2] int64: a hash of the place, and the moment."""
        return tf.stack([tf.constant(self.dropout_place(), tf.int64), self.moment()])

    def dropout_place(self) -> int:
        """A hash of the variable scope and of the number of dropouts already built in it."""
        scope = tf.get_variable_scope().name
        place = self.hashed("dropout", scope, str(self.uses[scope]))
        self.uses[scope] += 1
        return place

    def moment(self) -> tf.Tensor:
        """int64. 2^16 replicas at most, so two (step, replica) pairs never share one."""
        return tf.cast(self.clock, tf.int64) * 65536 + tf.cast(self.replica_id, tf.int64)


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


def dropout_place() -> int:
    """The key that a dropout built here has: with dropout_moment(), the seed of its mask."""
    if is_keyed():
        return _contexts.stack[-1].dropout_place()
    name = tf.get_default_graph().unique_name("dropout")
    return _Keys(0, None, 0).hashed(tf.get_variable_scope().name, name)


def dropout_moment() -> tf.Tensor:
    """int64 scalar, of all masks of one step and replica. Without keys it is drawn, anew in each run of the graph."""
    if is_keyed():
        return _contexts.stack[-1].moment()
    return tf.random.uniform([], maxval=tf.int64.max, dtype=tf.int64)


def is_keyed() -> bool:
    """Whether dropouts built here have keys."""
    return bool(_contexts.stack) and _contexts.stack[-1].clock is not None


def dropout(input_tensor: tf.Tensor, dropout_prob: Optional[float]) -> tf.Tensor:
    """Sets a share dropout_prob of the elements to 0 and scales the rest by 1 / (1 - dropout_prob).

    In a keyed_randomness context with a clock, the mask is a function of its key, and the gradient keeps it in one byte
    an element. Elsewhere the graph's seed decides, and the ops are stock ones.
    """
    if not dropout_prob:
        return input_tensor
    if not is_keyed():
        return tf.nn.dropout(input_tensor, rate=dropout_prob)
    return _masked(input_tensor, keyed_mask(tf.shape(input_tensor), dropout_prob))


class Kept(NamedTuple):
    """The mask of a dropout."""

    places: tf.Tensor  # boolean: which elements are kept
    scale: float  # their factor


def keyed_mask(shape: tf.Tensor, dropout_prob: float) -> Kept:
    """The mask that dropout has for a tensor of this shape. Needs a keyed_randomness context with a clock."""
    return _kept(dropout_prob, _random_int16(shape, _contexts.stack[-1].dropout_seed()))


def _kept(dropout_prob: float, random_bits: tf.Tensor) -> Kept:
    dropped = round(dropout_prob * 65536)  # of the values that 16 bits have
    return Kept(random_bits >= tf.constant(dropped - 32768, tf.int16), 65536 / (65536 - dropped))


def compiled_dropout(x: tf.Tensor, dropout_prob: float, seed: tf.Tensor) -> tf.Tensor:
    """dropout by the mask of a seed [2] int64, for code that XLA compiles. The mask is the one that dropout has."""
    return _masked(x, _kept(dropout_prob, _compiled_random_int16(tf.shape(x), seed))) if dropout_prob else x


def _masked(x: tf.Tensor, kept: Kept) -> tf.Tensor:
    @tf.custom_gradient
    def masked(x: tf.Tensor) -> Any:
        # Kept for the gradient as a byte an element, not as the float32 mask.
        return x * mask(), lambda upstream: upstream * mask()

    def mask() -> tf.Tensor:
        return tf.cast(kept.places, x.dtype) * kept.scale

    return masked(x)


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
    return _halves(bits, size, shape)


def _compiled_random_int16(shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """_random_int16 for XLA, which has another generator behind the op that takes a seed.

    The op that takes a key and a counter runs Philox (Salmon et al., SC 2011) in XLA too. How TensorFlow makes them of
    a seed is written out here: the seed is the counter of a first draw under a fixed key.
    """
    size = tf.reduce_prod(shape)

    def draw(count: Any, key: tf.Tensor, counter: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
        return tf.raw_ops.StatelessRandomUniformFullIntV2(shape=count, key=key, counter=counter, alg=1, dtype=dtype)

    words = draw([4], tf.constant([_SEED_KEY], tf.uint64), tf.cast(seed, tf.uint64), tf.uint32)
    words = tf.cast(words, tf.uint64)
    key = tf.reshape(words[0] + words[1] * (1 << 32), [1])
    counter = tf.stack([tf.constant(0, tf.uint64), words[2] + words[3] * (1 << 32)])
    return _halves(draw(tf.reshape((size + 1) // 2, [1]), key, counter, tf.int32), size, shape)


_SEED_KEY = 0x02461E293EC8F720  # under which TensorFlow scrambles the seeds of its stateless ops


def _halves(bits: tf.Tensor, size: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """[(size + 1) // 2] int32 → `shape` int16, two from each."""
    return tf.reshape(tf.reshape(tf.bitcast(bits, tf.int16), [-1])[:size], shape)
