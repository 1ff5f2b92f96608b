"""Measures how much memory --recompute saves: the peak of training models of few and of many layers, with and without.

    python benchmarks/recompute_memory.py [--layers=4,24] [--batch=16] [--tokens=512] [--hidden=256] [--updates=2]

Each run is a process of its own, in the form of a GPU, which a machine without one computes on its CPU. There the peak
is the process's resident set: TensorFlow, its compiler and the work of one layer are some 1,000 MB of it, whatever the
number of layers. So the last column tells what grows with the layers: the peak a layer, less the memory that was there
before the first update. About 6 minutes on 2 cores.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from typing import List, Sequence

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))


import numpy as np
import speed_batches
from speed_worker import prepared

from steady_bert.training import devices, memory

VOCABULARY = 100


def peak_of(layers: int, batch: int, tokens: int, hidden: int, updates: int, recompute: bool) -> List[float]:
    """[megabytes before the first update, their peak] of training in this process."""
    config = dict(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=max(1, hidden // 64),
        intermediate_size=4 * hidden,
        max_position_embeddings=tokens,
        type_vocab_size=2,
    )
    ids = np.random.RandomState(speed_batches.SEED).randint(5, VOCABULARY, (batch, tokens))
    rows = speed_batches.Rows(list(ids), [np.zeros(tokens, int)] * batch, np.zeros(batch, int), {})
    with tempfile.TemporaryDirectory() as folder:
        config_file = os.path.join(folder, "bert_config.json")
        with open(config_file, "w") as file:
            json.dump(config, file)
        engine, records = prepared(rows, config_file, "fixed", "float32", "compiled", recompute, batch, tokens)

    def peak() -> float:
        return (memory.peak_bytes(devices.used_gpus(engine.config)) or 0) / 2**20

    before = peak()
    for _ in range(updates):
        engine.session.run([engine.kept.keep, engine.training["loss"]], {engine.records: records})
    return [before, peak()]


def peak_of_process(*numbers: int) -> Sequence[float]:
    """As peak_of, in a process of its own."""
    command = [sys.executable, os.path.abspath(__file__), "--child=" + json.dumps(numbers)]
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, universal_newlines=True).stdout.splitlines()
    megabytes: List[float] = json.loads(lines[-1])
    return megabytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", default="4,24")
    for name, default in (("batch", 16), ("tokens", 512), ("hidden", 256), ("updates", 2)):
        parser.add_argument("--" + name, type=int, default=default)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(peak_of(*json.loads(given.child))))
        return
    few, many = map(int, given.layers.split(","))
    print(
        "| peak, MB | {} layers | {} layers | a layer, less weights |\n|---|---|---|---|".format(few, many), flush=True
    )
    sizes = (given.batch, given.tokens, given.hidden, given.updates)
    columns = []
    for recompute in (0, 1):
        (before, low), (before_many, high) = (peak_of_process(layers, *sizes, recompute) for layers in (few, many))
        columns.append((low, high, (high - low - (before_many - before)) / (many - few)))
        row = (("kept", "--recompute")[recompute], *columns[-1])
        print("| {} | {:,.0f} | {:,.0f} | {:,.1f} |".format(*row), flush=True)
    print("| ratio | {:.2f} | {:.2f} | {:.2f} |".format(*(after / kept for kept, after in zip(*columns))))


if __name__ == "__main__":
    main()
