"""Measures how fast this machine multiplies matrices in each precision, to warn that bfloat16 is slow here."""

import time
from typing import Dict, List

import numpy as np
import tensorflow.compat.v1 as tf

_SIZE = 512
_REPETITIONS = 8


def bfloat16_speedup(device: str, session_config: tf.ConfigProto) -> float:
    """How many times as fast as float32 products bfloat16 ones are on `device`, as "/cpu:0". Takes 0.1 s.

    session_config: the run's own, since the first session of a process decides how much of a GPU's memory it takes.
    """
    with tf.Graph().as_default(), tf.device(device):
        feed = tf.placeholder(tf.float32, [_SIZE, _SIZE])
        products = [tf.matmul(factor, factor).op for factor in (feed, tf.cast(feed, tf.bfloat16))]
        with tf.Session(config=session_config) as session:
            value = np.ones([_SIZE, _SIZE], np.float32)
            float32, bfloat16 = (_least_secs(session, product, {feed: value}) for product in products)
    return float32 / bfloat16


def _least_secs(session: tf.Session, operation: tf.Operation, feeds: Dict[tf.Tensor, np.ndarray]) -> float:
    durations: List[float] = []
    for _ in range(_REPETITIONS):
        started = time.perf_counter()
        session.run(operation, feeds)
        durations.append(time.perf_counter() - started)
    return min(durations)


def describe_bfloat16(device: str, session_config: tf.ConfigProto) -> str:
    """A line about bfloat16's speed here, a warning if it is slow."""
    speedup = bfloat16_speedup(device, session_config)
    text = "--precision=bfloat16: matrix products run {:.1f} times as fast as in float32 here.".format(speedup)
    return text if speedup > 1.1 else "WARNING: {} --precision=float32 is no slower, and exact.".format(text)
