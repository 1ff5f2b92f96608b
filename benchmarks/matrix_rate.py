"""Measures which share of the machine's matrix rate a training step reaches, on MRPC, in float32 and bfloat16.

    python benchmarks/matrix_rate.py --data=GLUE_FOLDER --vocab_file=FILE [--pairs=5] [--results=FILE]

The machine's rate is that of one 2048 × 2048 × 2048 product in TensorFlow, the best of 10, measured in turns with the
steps. A step counts the operations of the matrix products that it must do: those of real tokens, with the attention of
each example at its own length, and in the last layer those that the first token needs. Reading, softmax, dropout and
the update take time but count no operations.

The second table is what could be reached: the products of the dense layers alone, forward and backward, at the shapes
of the step, one after the other. Prints the tables and writes JSON.
"""

import argparse
import collections
import json
import os
import statistics
import sys
import tempfile
import time
from typing import Any, Callable, Counter, Dict, List, Sequence, Tuple

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))


import speed_batches
import tensorflow.compat.v1 as tf
from training_speed import FREE, MINILM, ROWS, Side, Worker, write_inputs

PRECISIONS = ("float32", "bfloat16")
TASK, BATCHES, LABELS, SIZE = "mrpc", 10, 2, 2048


def step_operations(lengths: Sequence[int], config: Dict[str, int]) -> int:
    """The multiplications and additions in the matrix products of an update.

    lengths: those of its examples, in tokens.
    """
    hidden, inner, layers = (config[name] for name in ("hidden_size", "intermediate_size", "num_hidden_layers"))
    query = key = value = output = 2 * hidden * hidden  # a token
    feed_forward = 2 * 2 * hidden * inner
    attended = 2 * 2 * hidden  # a pair of tokens, over all heads: the score, and the sum of values
    forward = 0
    for length in lengths:
        layer = (query + key + value + output + feed_forward) * length + attended * length * length
        last = (key + value + attended) * length + query + output + feed_forward  # for [CLS] alone
        head = 2 * hidden * hidden + 2 * hidden * LABELS  # pooler, classifier
        forward += (layers - 1) * layer + last + head
    return 3 * forward  # a product has two in its gradient, of the same size


def dense_products(rows: int, config: Dict[str, int]) -> List[Tuple[Tuple[int, int, int], int]]:
    """The products of the dense layers, without the last layer: ((m, k, n) of [m, k] · [k, n], how many in a step).

    A dense layer from width `a` to `b` is one product forward, one for the gradient of its input, one for its kernel's.
    """
    hidden, inner, layers = (config[name] for name in ("hidden_size", "intermediate_size", "num_hidden_layers"))
    products: Counter[Tuple[int, int, int]] = collections.Counter()
    for a, b, count in ((hidden, hidden, 4), (hidden, inner, 1), (inner, hidden, 1)):
        for shape in ((rows, a, b), (rows, b, a), (a, rows, b)):
            products[shape] += count * (layers - 1)
    return list(products.items())


def measure_products(precision: str, rows: int) -> Dict[str, Any]:
    """Times the products of the dense layers by themselves."""
    shapes = dense_products(rows, MINILM)
    seconds = sum(best_time(precision, *shape) * count for shape, count in shapes)
    operations = sum(2 * m * k * n * count for (m, k, n), count in shapes)
    return {"rows": rows, "products, ms": round(seconds * 1000, 1), "GFLOP/s": round(operations / seconds / 1e9, 1)}


def best_time(dtype: str, m: int, k: int, n: int) -> float:
    """The seconds of one product: the best of 10 runs of 10 products each."""
    with tf.Graph().as_default():
        random = tf.random_uniform_initializer(-1, 1)
        a = tf.get_variable("a", [m, k], tf.as_dtype(dtype), random)
        factors = [tf.get_variable("b{}".format(i), [k, n], tf.as_dtype(dtype), random) for i in range(10)]
        products: List[Any] = []
        for factor in factors:
            with tf.control_dependencies(products[-1:]):
                products.append(tf.matmul(a, factor).op)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            times = []
            for _ in range(11):  # the first warms the caches
                started = time.perf_counter()
                session.run(products)  # fetched, so that none is pruned
                times.append(time.perf_counter() - started)
    return min(times[1:]) / len(factors)


def product_timer(dtype: str) -> Callable[[], float]:
    """A function that measures the operations per second of the large product."""
    with tf.Graph().as_default():
        factors = [
            tf.get_variable(name, [SIZE, SIZE], tf.as_dtype(dtype), tf.random_uniform_initializer(-1, 1))
            for name in "ab"
        ]
        product = tf.matmul(*factors).op
        session = tf.Session()
        session.run(tf.global_variables_initializer())

    def best_of_10() -> float:
        times = []
        for _ in range(11):  # the first warms the caches
            started = time.perf_counter()
            session.run(product)
            times.append(time.perf_counter() - started)
        return 2 * SIZE**3 / min(times[1:])

    return best_of_10


def measure(precision: str, batches_file: str, config_file: str, pairs: int) -> Dict[str, Any]:
    rows = speed_batches.load(batches_file)
    side = Side("ours", FREE.padding, precision)
    worker = Worker(side, batches_file, config_file, {"ours": sys.executable})
    product_rate = product_timer(precision)
    whole = ROWS[TASK] // speed_batches.BATCH
    worker.train(0, BATCHES)
    step_rates, product_rates, steps_ms = [], [], []
    for pair in range(pairs):
        first = pair * BATCHES % (whole - BATCHES + 1)
        product_rates.append(product_rate())
        seconds, _ = worker.train(first, BATCHES)
        batches = rows.batches["random"][first : first + BATCHES]
        operations = sum(step_operations([len(rows.ids[n]) for n in numbers], MINILM) for numbers in batches)
        step_rates.append(operations / seconds)
        steps_ms.append(seconds / BATCHES * 1000)
    worker.close()
    return {
        "side": str(side),
        "step, GFLOP/s": round(statistics.median(step_rates) / 1e9, 1),
        "product, GFLOP/s": round(statistics.median(product_rates) / 1e9, 1),
        "step, ms": round(statistics.median(steps_ms), 1),
        "share": round(statistics.median(a / b for a, b in zip(step_rates, product_rates)), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--vocab_file", required=True)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--results", default="matrix_rate.json")
    arguments = parser.parse_args()
    results = []
    print("| mrpc | step, ms | step, GFLOP/s | 2048³ product, GFLOP/s | share |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        batches_files, config_file = write_inputs(arguments.data, arguments.vocab_file, folder)
        for precision in PRECISIONS:
            result = measure(precision, batches_files[TASK], config_file, arguments.pairs)
            results.append(result)
            row = "| {side} | {step, ms} | {step, GFLOP/s} | {product, GFLOP/s} | {share} |"
            print(row.format(**result), flush=True)
        lengths = speed_batches.load(batches_files[TASK])
        batches = lengths.batches["random"]
        tokens = statistics.mean(sum(len(lengths.ids[n]) for n in numbers) for numbers in batches)
        rows = -(-int(tokens) // 32) * 32  # as modeling.py rounds them
        print("\n| dense layers' products alone | rows | ms a step | GFLOP/s |\n|---|---|---|---|")
        for precision in PRECISIONS:
            alone = measure_products(precision, rows)
            results.append(dict(alone, side=precision))
            print("| {} | {rows} | {products, ms} | {GFLOP/s} |".format(precision, **alone), flush=True)
    with open(arguments.results, "w") as file:
        json.dump(results, file, indent=2)


if __name__ == "__main__":
    main()
