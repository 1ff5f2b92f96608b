"""Measures how fast this machine multiplies matrices in each precision, to warn that bfloat16 is slow here."""

import time
from typing import List

import tensorflow.compat.v1 as tf

from ..base import processor

# What a layer of a model multiplies: rows of tokens, to the inner width and back, so often.
_CPU_PRODUCTS = (448, 384, 1536, 1)
_GPU_PRODUCTS = (4096, 768, 3072, 16)  # a GPU is timed while it is busy, not while it waits for work
_REPETITIONS = 8


def bfloat16_speedup(device: str, session_config: tf.ConfigProto) -> float:
    """How many times as fast as float32 products bfloat16 ones are on `device`, as "/cpu:0". Takes 0.1 s.

    session_config: the run's own, since the first session of a process decides how much of a GPU's memory it takes.
    """
    rows, width, inner_width, rounds = _GPU_PRODUCTS if "gpu" in device.lower() else _CPU_PRODUCTS
    with tf.Graph().as_default(), tf.device(device):
        factors = [
            tf.Variable(tf.fill(shape, 1.0 / shape[0]), use_resource=True)
            for shape in ((width, inner_width), (inner_width, width))
        ]
        products = {}
        for precision in ("float32", "bfloat16"):
            there, back = (tf.cast(factor, precision) for factor in factors)
            result = tf.ones([rows, width], precision)
            for _ in range(rounds):
                result = tf.matmul(tf.matmul(result, there), back)
            products[precision] = tf.reduce_max(result)  # one number to fetch: what is fetched has been computed
        with tf.Session(config=session_config) as session:
            session.run(tf.global_variables_initializer())
            secs = {precision: _least_secs(session, product) for precision, product in products.items()}
    return secs["float32"] / secs["bfloat16"]


def _least_secs(session: tf.Session, product: tf.Tensor) -> float:
    durations: List[float] = []
    for _ in range(_REPETITIONS):
        started = time.perf_counter()
        session.run(product)
        durations.append(time.perf_counter() - started)
    return min(durations)


def describe_bfloat16(device: str, session_config: tf.ConfigProto) -> str:
    """A line about bfloat16's speed here, a warning if it is slow."""
    speedup = bfloat16_speedup(device, session_config)
    if "cpu" in device.lower() and processor.emulates_bfloat16(processor.instruction_sets()):
        return (
            "WARNING: --precision=bfloat16: this processor has no bfloat16 instructions, so they are emulated: matrix "
            "products run {:.1f} times as fast as in float32 here. Use --precision=float32.".format(speedup)
        )
    text = "--precision=bfloat16: matrix products run {:.1f} times as fast as in float32 here.".format(speedup)
    return text if speedup > 1.1 else "WARNING: {} --precision=float32 is no slower, and exact.".format(text)
