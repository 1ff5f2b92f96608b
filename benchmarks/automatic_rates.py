"""Trains tasks with every optimizer, at 5e-5 and at --learning_rate=auto, and prints a table of dev scores.

    python benchmarks/automatic_rates.py RUNS [--tweets=DIR] [--mrpc=DIR] [--sst2=DIR] [--wnut17=DIR] [--model=DIR]
        [--only=tweets,MRPC,SST-2,WNUT-17] [--seeds=1] [--steps=120] [--max_eval_examples=N] [--rates=5e-5,auto]
        [--times=…]

tweets: quickstart/data, which scripts/quickstart.sh makes, as it does --model; mrpc, sst2: GLUE's folders; wnut17: the
folder of emerging entities as published, which takes several hundred updates to learn. A task whose folder is not given
is left out, except tweets. --times=0.25,4 adds runs at multiples of what auto is, which shows where the best rate lies.
Each run is an ordinary command with a folder under RUNS. A finished one is not repeated, so that a stopped command goes
on where it was. 30 seconds to a minute a run on 2 cores: 15 optimizers, two rates and three tasks take about an hour
and a quarter a seed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from typing import Any, Dict, List, NamedTuple, Optional

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from steady_bert import optimizers

OPTIMIZERS = dict(
    {name: ["--optimizer=" + name] for name in sorted(optimizers.RULES)},
    **{"lookahead(adamw)": ["--lookahead_steps=5"]},
)


class Task(NamedTuple):
    """script and flags of a command; metric: the score that the table shows."""

    script: str
    flags: List[str]
    metric: str


def tasks_of(options: argparse.Namespace) -> Dict[str, Task]:
    tasks = {"tweets": _classifier(options.tweets, "text", 64)}
    if options.mrpc:
        tasks["MRPC"] = _classifier(options.mrpc, "mrpc", 128)
    if options.sst2:
        tasks["SST-2"] = _classifier(options.sst2, "sst-2", 64)
    if options.wnut17:
        files = {"train": "wnut17train.conll", "dev": "emerging.dev.conll"}
        flags = ["--{}_file={}".format(split, os.path.join(options.wnut17, name)) for split, name in files.items()]
        tasks["WNUT-17"] = Task("run_ner.py", flags, "f1")
    chosen = options.only.split(",") if options.only else [*tasks]
    for name in chosen:
        if name not in tasks:
            sys.exit(
                "error: --only={}: {} is none of {}: their folders are given.".format(
                    options.only, name, ", ".join(tasks)
                )
            )
    return {name: task for name, task in tasks.items() if name in chosen}


def _classifier(folder: str, name: str, length: int) -> Task:
    flags = ["--task_name=" + name, "--data_dir=" + folder, "--max_seq_length={}".format(length)]
    return Task("run_classifier.py", flags, "accuracy")


class Runs:
    """The runs of this command by name, each in a folder of its own."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.folder = os.path.abspath(options.runs)
        self.seeds, self.steps = options.seeds, options.steps
        self.common = ["--cache_dir=" + os.path.join(self.folder, "cache"), "--model=" + options.model, "--do_train"]
        self.common += ["--num_train_steps={}".format(options.steps), "--do_eval", "--eval_every_steps=0"]
        self.common += ["--checkpoint=last", "--eval_batch_size=32", "--train_batch_size=16", "--keep_checkpoint_max=1"]
        if options.max_eval_examples:
            self.common.append("--max_eval_examples={}".format(options.max_eval_examples))

    def results(self, name: str, task: Task, flags: List[str], rate: str) -> List[Dict[str, Any]]:
        """By seed {"rate": the number, "score": on dev; None where a number was not finite}."""
        return [self.result(name, task, flags, rate, seed) for seed in range(1, self.seeds + 1)]

    def result(self, name: str, task: Task, flags: List[str], rate: str, seed: int) -> Dict[str, Any]:
        own = ["--learning_rate=" + rate, "--seed={}".format(seed)]
        return self._result(self.folder_of(name, rate, seed), task, self.common + task.flags + flags + own)

    def folder_of(self, name: str, rate: str, seed: int) -> str:
        return os.path.join(self.folder, "{}-{}-{}-seed{}".format(name, self.steps, rate, seed))

    def _result(self, folder: str, task: Task, flags: List[str]) -> Dict[str, Any]:
        path = os.path.join(folder, "result.json")
        if not os.path.exists(path):
            os.makedirs(folder, exist_ok=True)
            print(os.path.basename(folder), file=sys.stderr, flush=True)
            with open(folder + ".log", "w+") as log:
                command = [sys.executable, os.path.join(ROOT, task.script), "--output_dir=" + folder] + flags
                ended = subprocess.run(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT).returncode
                log.seek(0)
                if ended and "not finite" not in log.read():
                    sys.exit(
                        "error: {}.log: exit code {}. Correct what it says, and start this again.".format(folder, ended)
                    )
            result = dict(_read(folder, "plan.json", {"learning_rate": "rate"}), score=None)
            if not ended:
                result.update(_read(folder, "eval_results.json", {task.metric: "score"}))
            with open(path, "w") as file:
                json.dump(result, file)
        return _read(folder, "result.json", {"rate": "rate", "score": "score"})


def _read(folder: str, name: str, keys: Dict[str, str]) -> Dict[str, Any]:
    with open(os.path.join(folder, name)) as file:
        content = json.load(file)
    return {own: content[key] for key, own in keys.items()}


def cell(results: List[Dict[str, Any]]) -> str:
    """Mean ± sd over seeds in %, with the rate that auto was."""
    scores: List[Optional[float]] = [result["score"] for result in results]
    known = [score for score in scores if score is not None]
    if not known:
        return "not finite ({:g})".format(results[0]["rate"])
    spread = " ± {:.1f}".format(100 * statistics.stdev(known)) if len(known) > 1 else ""
    failed = ", {} not finite".format(len(scores) - len(known)) if len(known) < len(scores) else ""
    return "{:.1f}{}{} ({:g})".format(100 * statistics.mean(known), spread, failed, results[0]["rate"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs")
    parser.add_argument("--tweets", type=os.path.abspath, default=os.path.join(ROOT, "quickstart", "data"))
    parser.add_argument("--mrpc", type=os.path.abspath)
    parser.add_argument("--sst2", type=os.path.abspath)
    parser.add_argument("--wnut17", type=os.path.abspath)
    parser.add_argument("--model", type=os.path.abspath, default=os.path.join(ROOT, "quickstart", "model"))
    parser.add_argument("--only", metavar="TASK,…", help="default: all tasks whose folders are given")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--max_eval_examples", type=int, help="default: all of dev")
    parser.add_argument("--rates", default="5e-5,auto")
    parser.add_argument("--times", default="")
    options = parser.parse_args()
    times = [float(factor) for factor in options.times.split(",") if factor]
    print("\n\n".join(table(name, task, options, times) for name, task in tasks_of(options).items()))


def table(task_name: str, task: Task, options: argparse.Namespace, times: List[float]) -> str:
    """A row for each optimizer, a column for each rate. Trains what has not been trained."""
    runs, rates = Runs(options), options.rates.split(",")
    columns = ["{} ({} updates)".format(task_name, options.steps)] + rates + ["auto × {:g}".format(n) for n in times]
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for optimizer, flags in OPTIMIZERS.items():
        name = "{}-{}".format(task_name, optimizer)
        rows = [runs.results(name, task, flags, rate) for rate in rates]
        if times:
            auto = runs.results(name, task, flags, "auto")[0]["rate"]
            rows += [runs.results(name, task, flags, "{:.3g}".format(auto * factor)) for factor in times]
        lines.append("| {} | {} |".format(optimizer, " | ".join(map(cell, rows))))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
