"""Compares training examples per second and peak memory with PyTorch and transformers, on the same batches.

    python benchmarks/training_speed.py --data=GLUE_FOLDER --vocab_file=FILE [--torch=PYTHON] [--tf1=PYTHON]
        [--pairs=5] [--only=PART_OF_A_NAME] [--results=FILE]

GLUE_FOLDER holds SST-2/train.tsv and MRPC/train.tsv. benchmarks/training_speed.sh makes the interpreters: --torch has
PyTorch and transformers, --tf1 has TensorFlow 1.15.5; without one, its rows are left out, and so are the rows of
bfloat16 where the processor has no instructions for it. The model has MiniLM's sizes
(6 layers of 384) and random weights; batch 32, at most 128 tokens, dropout 0.1, AdamW with decay and clipping. Two
processes take turns on the same rows, and a ratio is the median over the pairs. Prints a table and writes JSON.
"""

import argparse
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

import speed_batches

import tokenization
from steady_bert.base import processor
from steady_bert.tasks.classification.features import encode_pairs
from steady_bert.tasks.classification.registry import PROCESSORS

MINILM = {
    "vocab_size": 30522,
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "type_vocab_size": 2,
}
BERT_BASE = dict(MINILM, hidden_size=768, num_hidden_layers=12, intermediate_size=3072)
ROWS = {"sst-2": 3200, "mrpc": 1600}
# The rate of google-research/bert on TensorFlow 1.15.5, measured once on 2 cores with AVX-512. It is of no use on
# another machine.
UPSTREAM_EXAMPLES_A_SECOND = 13.7

NAMES = {"tf1": "ours on TF 1.15.5", "upstream": "google-research/bert"}


class Side(NamedTuple):
    system: str  # "ours", "torch", "tf1", or "upstream", whose rate is a constant
    padding: str
    precision: str
    order: str = "random"

    def __str__(self) -> str:
        padding = self.padding
        if self.order == "grouped":
            padding = "grouped" if self.padding == "longest" else self.padding + " grouped"
        return "{} {} {}".format(NAMES.get(self.system, self.system), padding, self.precision)


class Comparison(NamedTuple):
    task: str
    ours: Side
    other: Side
    batches: int  # a turn
    masked: bool = False  # masked words are learned instead of classes


def beside_torch(precision: str) -> Tuple[Comparison, ...]:
    """Ours without padding beside PyTorch's two ways to pad. A turn of grouped batches takes all rows."""
    free, free_grouped = Side("ours", "none", precision), Side("ours", "none", precision, "grouped")
    longest, grouped = Side("torch", "longest", precision), Side("torch", "longest", precision, "grouped")
    return (
        Comparison("sst-2", free, longest, 20),
        Comparison("sst-2", free, grouped, 100),
        Comparison("sst-2", free_grouped, grouped, 100),
        Comparison("mrpc", free, longest, 10),
        Comparison("mrpc", free, grouped, 50),
        Comparison("mrpc", free_grouped, grouped, 50),
    )


FREE = Side("ours", "none", "bfloat16")
COMPARISONS = (
    *beside_torch("bfloat16"),
    *beside_torch("float32"),
    Comparison("sst-2", Side("ours", "none", "float32", "grouped"), Side("ours", "none", "float32"), 100),
    Comparison("mrpc", Side("ours", "none", "float32", "grouped"), Side("ours", "none", "float32"), 50),
    Comparison("sst-2", FREE, Side("ours", "fixed", "float32"), 16),
    Comparison("mrpc", FREE, Side("ours", "fixed", "float32"), 8),
    Comparison("sst-2", Side("ours", "fixed", "bfloat16"), Side("ours", "fixed", "float32"), 8),
    Comparison("sst-2", FREE, Side("ours", "longest", "bfloat16"), 20),
    Comparison("mrpc", FREE, Side("ours", "longest", "bfloat16"), 10),
    Comparison("sst-2", FREE, Side("ours", "none", "float32"), 20),
    Comparison("mrpc", FREE, Side("ours", "none", "float32"), 10),
    Comparison("sst-2", Side("ours", "longest", "float32"), Side("torch", "longest", "float32"), 20),
    Comparison("mrpc", Side("ours", "longest", "float32"), Side("torch", "longest", "float32"), 10),
    *(
        Comparison("sst-2", Side("ours", "none", p), Side("torch", "longest", p), 12, masked=True)
        for p in ("bfloat16", "float32")
    ),
    Comparison("sst-2", Side("tf1", "fixed", "float32"), Side("upstream", "fixed", "float32"), 4),
)


class Worker:
    """A process that trains on the batches it is asked to.

    options: of its script. limit_secs: it is ended after so long; None: never.
    """

    def __init__(
        self,
        side: Side,
        batches_file: str,
        config_file: str,
        pythons: Dict[str, str],
        options: Sequence[str] = (),
        limit_secs: Optional[float] = None,
    ) -> None:
        script = "speed_worker_torch.py" if side.system == "torch" else "speed_worker.py"
        python = pythons[side.system]
        command = [
            python,
            os.path.join(HERE, script),
            batches_file,
            config_file,
            side.padding,
            side.precision,
            *options,
        ]
        self.side = side
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  (open as long as the process)
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, universal_newlines=True
        )
        self.timer = threading.Timer(limit_secs or 0.0, self.process.kill)
        if limit_secs is not None:
            self.timer.start()
        self._read_line()

    def _read_line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.close()
            self.errors.seek(0)
            raise SystemExit("{} ended:\n{}".format(self.side, self.errors.read()[-2000:]))
        return line

    def train(self, first: int, count: int) -> Tuple[float, float]:
        """Trains on `count` batches: (seconds, peak megabytes so far)."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, which _read_line reports
            print(self.side.order, first, count, file=self.process.stdin, flush=True)
        seconds, megabytes = self._read_line().split()
        return float(seconds), float(megabytes)

    def close(self) -> None:
        self.process.communicate()
        self.timer.cancel()


class Upstream:
    """Stands in for a Worker: gives the time that google-research/bert was measured to take."""

    def train(self, first: int, count: int) -> Tuple[float, float]:
        return count * speed_batches.BATCH / UPSTREAM_EXAMPLES_A_SECOND, float("nan")

    def close(self) -> None:
        pass


def write_batches(task: str, data: str, vocabulary: str, path: str) -> None:
    examples = PROCESSORS[task]().get_train_examples(os.path.join(data, task.upper()))
    examples = random.Random(speed_batches.SEED).sample(examples, ROWS[task])
    encoded = encode_pairs(tokenization.FullTokenizer(vocabulary), examples, speed_batches.LENGTH)
    features = [
        {"input_ids": e.input_ids, "segment_ids": e.segment_ids, "label_ids": [int(x.label)]}
        for e, x in zip(encoded, examples)
    ]
    speed_batches.save(path, features)


def write_inputs(
    data: str, vocabulary: str, folder: str, config: Dict[str, int] = MINILM
) -> Tuple[Dict[str, str], str]:
    """(task → file of batches, configuration file), made in `folder`."""
    config_file = os.path.join(folder, "bert_config.json")
    with open(config_file, "w") as file:
        json.dump(config, file)
    batches_files = {task: os.path.join(folder, task + ".npz") for task in ROWS}
    for task, path in batches_files.items():
        write_batches(task, data, vocabulary, path)
    return batches_files, config_file


def compare(
    comparison: Comparison, batches_file: str, config_file: str, pythons: Dict[str, str], pairs: int
) -> Dict[str, Any]:
    sides = (comparison.ours, comparison.other)
    workers = [
        Upstream()
        if side.system == "upstream"
        else Worker(side, batches_file, config_file, pythons, ["--masked"] * comparison.masked)
        for side in sides
    ]
    examples = comparison.batches * speed_batches.BATCH
    whole = ROWS[comparison.task] // speed_batches.BATCH
    rates: List[List[float]] = [[], []]
    memory = [0.0, 0.0]
    for pair in range(pairs):
        first = pair * comparison.batches % (whole - comparison.batches + 1)
        for side in (0, 1) if pair % 2 == 0 else (1, 0):
            seconds, memory[side] = workers[side].train(first, comparison.batches)
            rates[side].append(examples / seconds)
    for worker in workers:
        worker.close()
    result = {
        "task": comparison.task + ", masked words" * comparison.masked,
        "sides": [str(side) for side in sides],
        "examples/s": [round(statistics.median(rate), 1) for rate in rates],
        "ratio": round(statistics.median(a / b for a, b in zip(*rates)), 2),
        "pairs": [[round(a, 1), round(b, 1)] for a, b in zip(*rates)],
    }
    if comparison.other.system != "upstream":
        result["peak MB"] = [round(peak) for peak in memory]
        result["memory ratio"] = round(memory[0] / memory[1], 2)
    return result


def table_row(result: Dict[str, Any]) -> str:
    memory = str(result.get("memory ratio", ""))
    cells = [
        result["task"],
        *result["sides"],
        *result["examples/s"],
        result["ratio"],
        *result.get("peak MB", ["", ""]),
        memory,
    ]
    return "| {} |".format(" | ".join(map(str, cells)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--vocab_file", required=True)
    parser.add_argument("--torch", default="")
    parser.add_argument("--tf1", default="")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--only", default="", help='as "mrpc", or "sst-2 ours none bfloat16 / torch grouped bfloat16"')
    parser.add_argument("--results", default="training_speed.json")
    arguments = parser.parse_args()
    pythons = {"ours": sys.executable, "torch": arguments.torch, "tf1": arguments.tf1, "upstream": sys.executable}
    results = []
    instruction_sets = processor.instruction_sets()
    print("Instruction sets: {}\n".format(processor.describe(instruction_sets)))
    with tempfile.TemporaryDirectory() as folder:
        batches_files, config_file = write_inputs(arguments.data, arguments.vocab_file, folder)
        print(
            "| task | ours | other | ours, examples/s | other, examples/s | ratio "
            "| ours, peak MB | other, peak MB | ratio |"
        )
        print("|---|---|---|---|---|---|---|---|---|")
        for comparison in COMPARISONS:
            task = comparison.task + ", masked words" * comparison.masked
            name = "{} {} / {}".format(task, comparison.ours, comparison.other)
            sides = (comparison.ours, comparison.other)
            if arguments.only not in name or not all(pythons[side.system] for side in sides):
                continue
            if processor.emulates_bfloat16(instruction_sets) and any(side.precision == "bfloat16" for side in sides):
                continue
            result = compare(comparison, batches_files[comparison.task], config_file, pythons, arguments.pairs)
            results.append(result)
            print(table_row(result), flush=True)
    with open(arguments.results, "w") as file:
        json.dump(results, file, indent=2)


if __name__ == "__main__":
    main()
