"""Measures what the start of a run costs in processor time, beside an older commit.

    python benchmarks/start_up.py --before=COMMIT [--runs=5] [--results=FILE]

Both train a model of MiniLM's sizes on 64 rows: from random weights to step 1, with an evaluation that gives the best
model, then, by another command, from there to step 2. A first run of each, which is not counted, fills the file
system's cache. The commits take turns. Prints the median and the least seconds of each command, by the user's and the
system's time of its process, and writes JSON.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from typing import Dict, Iterator, List

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
COMMANDS = {"start": ["--num_train_steps=1"], "go on": ["--num_train_steps=2"]}


@contextlib.contextmanager
def checkout(commit: str) -> Iterator[str]:
    """A folder with the files of a commit."""
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "archive", commit], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
        subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
        yield folder


def make_model_and_data(folder: str) -> List[str]:
    """Writes a configuration, a vocabulary and rows of words; gives the flags that name them."""
    from training_speed import MINILM

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + [
        "word{}".format(n) for n in range(MINILM["vocab_size"] - 5)
    ]
    contents = {"bert_config.json": json.dumps(MINILM), "vocab.txt": "\n".join(words) + "\n"}
    for split in ("train", "dev"):
        rows = ["word{} word{}\t{}".format(n, 7 * n + 1, "ab"[n % 2]) for n in range(64)]
        contents[split + ".tsv"] = "\n".join(["text\tlabel"] + rows) + "\n"
    for name, content in contents.items():
        with open(os.path.join(folder, name), "w") as file:
            file.write(content)
    values = dict(task_name="text", data_dir=folder, bert_config_file=os.path.join(folder, "bert_config.json"))
    values.update(vocab_file=os.path.join(folder, "vocab.txt"), lr_schedule="constant", num_warmup_steps="0")
    flags = ["--{}={}".format(name, value) for name, value in values.items()]
    return flags + ["--do_train", "--do_eval", "--from_scratch", "--eval_every_steps=1"]


def processor_secs(root: str, flags: List[str]) -> float:
    """The processor time of one command of a checkout. Raises RuntimeError with its messages if it fails."""
    command = [sys.executable, os.path.join(root, "run_classifier.py")] + flags
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = status
        output.seek(0)
        if status:
            raise RuntimeError(output.read().decode())
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", required=True)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--results", default="start_up.json")
    arguments = parser.parse_args()
    seconds: Dict[str, Dict[str, List[float]]] = {name: {"before": [], "now": []} for name in COMMANDS}
    with tempfile.TemporaryDirectory() as data, checkout(arguments.before) as before:
        flags = make_model_and_data(data)
        for _ in range(arguments.runs + 1):
            for which, root in (("before", before), ("now", ROOT)):
                with tempfile.TemporaryDirectory() as folder:
                    for name, own in COMMANDS.items():
                        seconds[name][which].append(processor_secs(root, flags + own + ["--output_dir=" + folder]))
    counted = {name: {which: runs[1:] for which, runs in both.items()} for name, both in seconds.items()}
    print("| command | before, s | now, s | more, s | least before | least now |\n|---|---|---|---|---|---|")
    for name, both in counted.items():
        before_secs, now_secs = (statistics.median(both[which]) for which in ("before", "now"))
        numbers = [before_secs, now_secs, now_secs - before_secs, min(both["before"]), min(both["now"])]
        print("| {} | {} |".format(name, " | ".join(map("{:.2f}".format, numbers))))
    with open(arguments.results, "w") as file:
        json.dump(counted, file, indent=2)


if __name__ == "__main__":
    main()
