"""Speed and memory of create_pretraining_data.py, by number of processes and size of the text.

    python benchmarks/pretraining_data.py --vocab_file=BERT/vocab.txt [--megabytes=10,100] [--dupe_factor=1]

Makes a text of random words of the vocabulary, runs the script as a user does, and prints a row for each size and
number of processes ("–": not given, the original's instances). Peak memory is that of the largest process.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_SENTENCES = (3, 40)  # of a document
_WORDS = (5, 40)  # of a sentence
# Runs a command and prints the peak memory of it and its children, in KB.
_MEASURE = (
    "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL);"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"
)


def write_text(path: str, vocab_file: str, megabytes: int) -> None:
    rng = random.Random(0)
    with open(vocab_file, encoding="utf-8") as file:
        words = [word for word in file.read().split() if word.isalpha()]
    with open(path, "w", encoding="utf-8") as file:
        while file.tell() < megabytes * 10**6:
            for _ in range(rng.randint(*_SENTENCES)):
                file.write(" ".join(rng.choice(words) for _ in range(rng.randint(*_WORDS))) + "\n")
            file.write("\n")


def measured(text: str, output: str, vocab_file: str, dupe_factor: int, processes: str) -> str:
    """Seconds and peak memory of one run."""
    flags = ["--input_file=" + text, "--output_file=" + output, "--vocab_file=" + vocab_file]
    flags += ["--dupe_factor={}".format(dupe_factor)]
    flags += ["--num_processes=" + processes] if processes != "–" else []
    start = time.monotonic()
    command = [sys.executable, os.path.join(ROOT, "create_pretraining_data.py"), *flags]
    printed = subprocess.run([sys.executable, "-c", _MEASURE, *command], stdout=subprocess.PIPE, check=True).stdout
    return "{:8.1f} s {:8,d} MB".format(time.monotonic() - start, int(printed) // 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--vocab_file", required=True)
    parser.add_argument("--megabytes", default="10,100")
    parser.add_argument("--dupe_factor", type=int, default=1)
    parser.add_argument("--processes", default="–,1,2")
    given = parser.parse_args()
    print("text       processes       time  peak memory")
    for megabytes in map(int, given.megabytes.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            text, output = os.path.join(folder, "text.txt"), os.path.join(folder, "records")
            write_text(text, given.vocab_file, megabytes)
            for processes in given.processes.split(","):
                row = measured(text, output, given.vocab_file, given.dupe_factor, processes)
                print("{:6,d} MB {:>10} {}".format(megabytes, processes, row), flush=True)


if __name__ == "__main__":
    main()
