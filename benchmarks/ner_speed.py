"""Measures training examples per second of a tagger: padding=none in bfloat16 against padding=fixed in float32.

    python benchmarks/ner_speed.py TRAIN_FILE MODEL_FOLDER [--head=softmax] [--steps=30] [--pairs=5] [--results=FILE]

run_ner.py must be able to read TRAIN_FILE; MODEL_FOLDER has bert_config.json and vocab.txt. Weights are random, a batch
has 32 examples of at most 128 tokens. The two sides take turns, each turn in a run of its own. The rate of a run is the
median over its reports of 10 updates, without the first. Prints a table and writes JSON.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from typing import List

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SIDES = (("none", "bfloat16"), ("fixed", "float32"))


def rate(arguments: List[str], padding: str, precision: str, cache: str) -> float:
    """The examples per second of one run."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, os.path.join(ROOT, "run_ner.py"), "--do_train", "--from_scratch"] + arguments
        command += [
            "--padding=" + padding,
            "--precision=" + precision,
            "--output_dir=" + folder,
            "--cache_dir=" + cache,
        ]
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        with open(os.path.join(folder, "metrics.jsonl"), encoding="utf-8") as file:
            lines = [json.loads(line) for line in file]
    return statistics.median(line["examples_per_sec"] for line in lines[1:] if line["split"] == "train")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train_file")
    parser.add_argument("model_folder")
    parser.add_argument("--head", default="softmax")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--results", default="ner_speed.json")
    given = parser.parse_args()
    arguments = [
        "--train_file=" + given.train_file,
        "--mend_tags",
        "--head=" + given.head,
        "--num_train_steps={}".format(given.steps),
    ]
    arguments += ["--bert_config_file=" + os.path.join(given.model_folder, "bert_config.json")]
    arguments += ["--vocab_file=" + os.path.join(given.model_folder, "vocab.txt")]
    pairs = []
    with tempfile.TemporaryDirectory() as cache:
        for pair in range(given.pairs):
            order = SIDES if pair % 2 == 0 else SIDES[::-1]
            rates = {side: rate(arguments, *side, cache) for side in order}
            pairs.append([rates[side] for side in SIDES])
    fast, slow = (statistics.median(column) for column in zip(*pairs))
    ratio = statistics.median(a / b for a, b in pairs)
    print("| head | none bfloat16, examples/s | fixed float32 | ratio |\n|---|---|---|---|")
    print("| {} | {:.1f} | {:.1f} | {:.2f} |".format(given.head, fast, slow, ratio))
    with open(given.results, "w", encoding="utf-8") as file:
        json.dump({"head": given.head, "none bfloat16": fast, "fixed float32": slow, "ratio": ratio}, file, indent=2)


if __name__ == "__main__":
    main()
