"""Compares training examples per second of two workers with a core each and of one worker with one core.

    python benchmarks/two_workers.py --data=GLUE_FOLDER --vocab_file=FILE [--pairs=3] [--steps=12] [--results=FILE]

GLUE_FOLDER holds MRPC/train.tsv. MiniLM's sizes with random weights, 32 examples a worker, fixed length 128, float32;
scripts/launch_local_cluster.sh gives each worker its core. Three jobs take turns: one worker; two independent jobs
at the same time, which share the machine's memory and caches; two workers of one run, which also sum their gradients.
The rate of a job is the median over its steps from the third on; a ratio is the median over the pairs.
Prints a table and writes JSON. Needs two cores and taskset.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from typing import Any, Dict, List

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from speed_batches import BATCH, LENGTH
from training_speed import MINILM

from steady_bert.base import files
from steady_bert.training import reports

ROOT = os.path.dirname(HERE)
WARM_UP_STEPS = 2


def start(arguments: argparse.Namespace, folder: str, workers: int, core: int = 0) -> "subprocess.Popen[bytes]":
    """Starts a job of `workers` workers, each with its own core, from `core` on."""
    with open(os.path.join(folder, "bert_config.json"), "w") as file:
        json.dump(MINILM, file)
    flags = {
        "task_name": "mrpc",
        "data_dir": os.path.join(arguments.data, "MRPC"),
        "vocab_file": arguments.vocab_file,
        "bert_config_file": os.path.join(folder, "bert_config.json"),
        "cache_dir": os.path.join(os.path.dirname(folder), "cache"),
        "output_dir": os.path.join(folder, "run"),
        "max_seq_length": LENGTH,
        "padding": "fixed",
        "train_batch_size": BATCH * workers,
        "num_train_steps": arguments.steps,
        "log_every_steps": 1,
        "save_checkpoints_steps": 10**6,
    }
    if workers > 1:
        command = [os.path.join(ROOT, "scripts", "launch_local_cluster.sh"), str(workers)]
    else:
        command = ["taskset", "-c", str(core), sys.executable]
    command += ["run_classifier.py", "--do_train", "--from_scratch"]
    command += ["--{}={}".format(*flag) for flag in flags.items()]
    environment = dict(os.environ, PYTHON=sys.executable, CORES="1", LOGS=os.path.join(folder, "logs"))
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)


def examples_a_second(folder: str) -> float:
    with open(os.path.join(folder, "run", reports.METRICS_FILE), encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    return statistics.median(line["examples_per_sec"] for line in lines if line["step"] > WARM_UP_STEPS)


def measure(arguments: argparse.Namespace, kind: str) -> float:
    """The examples per second of all workers of a job together."""
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        folders = [os.path.join(scratch, str(number)) for number in range(2 if kind == "apart" else 1)]
        for folder in folders:
            os.makedirs(folder)
        jobs = [start(arguments, f, 2 if kind == "together" else 1, core) for core, f in enumerate(folders)]
        codes = [job.wait() for job in jobs]
        if any(codes):
            raise SystemExit("A job failed; its message stands above.")
        return sum(map(examples_a_second, folders))


def table(rates: Dict[str, List[float]]) -> List[List[str]]:
    alone = rates["alone"]
    rows = [["job", "examples/s", "ratio to one worker"]]
    titles = {
        "alone": "one worker, one core",
        "apart": "two jobs independent of each other",
        "together": "two workers of one run",
    }
    for kind, title in titles.items():
        ratio = statistics.median(value / one for value, one in zip(rates[kind], alone))
        rows.append([title, "{:.1f}".format(statistics.median(rates[kind])), "{:.2f}".format(ratio)])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--vocab_file", required=True)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--results", default="two_workers.json")
    arguments = parser.parse_args()
    arguments.data, arguments.vocab_file = map(os.path.abspath, (arguments.data, arguments.vocab_file))
    rates: Dict[str, Any] = {"alone": [], "apart": [], "together": []}
    with tempfile.TemporaryDirectory() as arguments.scratch:
        for _ in range(arguments.pairs):
            for kind, values in rates.items():
                values.append(measure(arguments, kind))
                print("{}: {:.1f} examples/s".format(kind, values[-1]), file=sys.stderr)
    for row in table(rates)[:1] + [["---"] * 3] + table(rates)[1:]:
        print("| {} |".format(" | ".join(row)))
    files.write_json(arguments.results, rates)


if __name__ == "__main__":
    main()
