"""Measures how fast this machine multiplies matrices in each precision, to say which one it runs best."""

import time
from typing import Dict, List, Optional, Sequence

import tensorflow.compat.v1 as tf

from ..base import processor

# What a layer of a model multiplies: rows of tokens, to the inner width and back, so often.
_CPU_PRODUCTS = (448, 384, 1536, 1)
_GPU_PRODUCTS = (4096, 768, 3072, 16)  # a GPU is timed while it is busy, not while it waits for work
_REPETITIONS = 8
_PAYS = 1.1  # times as fast as float32, for a precision that rounds more
_AS_FAST = 0.9  # of the fastest


def speedups(precisions: Sequence[str], device: str, session_config: tf.ConfigProto) -> Dict[str, float]:
    """How many times as fast as in float32 products are in each precision on `device`, as "/cpu:0". Takes 0.1 s.

    session_config: the run's own, since the first session of a process decides how much of a GPU's memory it takes.
    """
    rows, width, inner_width, rounds = _GPU_PRODUCTS if "gpu" in device.lower() else _CPU_PRODUCTS
    with tf.Graph().as_default(), tf.device(device):
        factors = [
            tf.Variable(tf.fill(shape, 1.0 / shape[0]), use_resource=True)
            for shape in ((width, inner_width), (inner_width, width))
        ]
        products = {}
        for precision in ("float32", *precisions):
            there, back = (tf.cast(factor, precision) for factor in factors)
            result = tf.ones([rows, width], precision)
            for _ in range(rounds):
                result = tf.matmul(tf.matmul(result, there), back)
            products[precision] = tf.reduce_max(result)  # one number to fetch: what is fetched has been computed
        with tf.Session(config=session_config) as session:
            session.run(tf.global_variables_initializer())
            secs = {precision: _least_secs(session, product) for precision, product in products.items()}
    return {precision: secs["float32"] / secs[precision] for precision in precisions}


def _least_secs(session: tf.Session, product: tf.Tensor) -> float:
    durations: List[float] = []
    for _ in range(_REPETITIONS):
        started = time.perf_counter()
        session.run(product)
        durations.append(time.perf_counter() - started)
    return min(durations)


def describe(precision: str, device: str, session_config: tf.ConfigProto) -> Optional[str]:
    """A line on the speed of --precision here, which names a faster one. None for float32 on a CPU."""
    if "gpu" in device.lower():
        try:
            speeds = speedups(("bfloat16", "float16"), device, session_config)
        except tf.errors.OpError as error:  # as of a card without a precision that the run does not use
            reason = error.message.split("\n", 1)[0]
            return "--precision={}: how fast this GPU is in others could not be measured ({}).".format(
                precision, reason
            )
        return _describe_gpu(precision, speeds)
    if precision == "float32":
        return None
    if precision == "float16":  # too slow to measure
        return "WARNING: --precision=float16 is for GPUs without bfloat16. A CPU emulates it: use --precision=float32."
    speedup = speedups((precision,), device, session_config)[precision]
    if processor.emulates_bfloat16(processor.instruction_sets()):
        return (
            "WARNING: --precision=bfloat16: this processor has no bfloat16 instructions, so they are emulated: matrix "
            "products run {:.1f} times as fast as in float32 here. Use --precision=float32.".format(speedup)
        )
    text = "--precision={}: matrix products run {:.1f} times as fast as in float32 here.".format(precision, speedup)
    return text if speedup > _PAYS else "WARNING: {} --precision=float32 is no slower, and exact.".format(text)


def _describe_gpu(precision: str, speeds: Dict[str, float]) -> str:
    text = (
        "--precision={}: in bfloat16 matrix products run {:.1f} times as fast as in float32 on this GPU, in float16 "
        "{:.1f} times.".format(precision, speeds["bfloat16"], speeds["float16"])
    )
    speeds = dict(speeds, float32=1.0)
    fastest = max(speeds.values())
    # float32 is exact, and bfloat16 needs no loss scale.
    candidates = (("float32", fastest / _PAYS), ("bfloat16", fastest * _AS_FAST), ("float16", fastest))
    best = next(name for name, enough in candidates if speeds[name] >= enough)
    if speeds[precision] >= speeds[best] * _AS_FAST:
        return text
    return "{}{} --precision={} is faster here.".format("" if precision == "float32" else "WARNING: ", text, best)
