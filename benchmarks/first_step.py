"""Measures the time from the start of the process to the end of the first update.

    python benchmarks/first_step.py --data=GLUE_FOLDER --vocab_file=FILE [--init_checkpoint=PREFIX] [--runs=3]
        [--results=FILE] [-- FLAGS OF run_classifier.py]

Runs `run_classifier.py --do_train` on MRPC with MiniLM's sizes and stops it after its first update. A first run, which
is not counted, fills the record cache and the file system's cache. A part ends when the program calls a certain
function. Prints a table of medians and writes JSON.
"""

import argparse
import json
import os
import runpy
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any, Dict, List, Optional

from absl import flags as absl_flags

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path.insert(0, ROOT)

PARTS = ("interpreter and imports", "data and plan", "graph", "session and weights", "first step")


def run_marked(arguments: List[str]) -> None:
    """Runs the command line in this process, prints the time at the end of each part, and stops after step 1."""
    sys.path.insert(0, ROOT)
    ends: List[float] = []

    def mark_before(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def marked(*args: Any, **kwargs: Any) -> Any:
            if not hasattr(marked, "called"):
                ends.append(time.time())
                setattr(marked, "called", True)  # noqa: B010
            return original(*args, **kwargs)

        setattr(owner, name, marked)

    def end(*args: Any, **numbers: Any) -> None:
        print(json.dumps(ends + [time.time()]), flush=True)
        os._exit(0)

    parse = absl_flags.FlagValues.__call__

    def marked_parse(*args: Any, **kwargs: Any) -> Any:  # the program has imported everything
        ends.append(time.time())
        import tensorflow.compat.v1 as tf

        from steady_bert.training import session_engine

        mark_before(session_engine, "build")
        mark_before(tf, "global_variables_initializer")  # not Session: bfloat16 opens one before
        mark_before(session_engine, "train")
        setattr(session_engine.reports.TrainingReport, "update", end)  # noqa: B010  (mypy: another signature)
        return parse(*args, **kwargs)

    absl_flags.FlagValues.__call__ = marked_parse  # type: ignore[method-assign]
    # So that the numbers of the first update are fetched: then a GPU has done it.
    sys.argv = [os.path.join(ROOT, "run_classifier.py")] + arguments + ["--log_every_steps=1"]
    runpy.run_path(sys.argv[0], run_name="__main__")


def one_run(arguments: List[str], limit_secs: Optional[float] = None, **environment: str) -> List[float]:
    """Seconds of each part, with these additions to the environment. Raises subprocess.TimeoutExpired."""
    started = time.time()
    command = [sys.executable, os.path.abspath(__file__), "--marked"] + arguments
    finished = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        check=True,
        universal_newlines=True,
        timeout=limit_secs,
        env=dict(os.environ, **environment),
    )
    output = finished.stdout
    ends = [started] + json.loads(output.splitlines()[-1])
    assert len(ends) == len(PARTS) + 1, output
    return [after - before for before, after in zip(ends, ends[1:])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--vocab_file", required=True)
    parser.add_argument("--init_checkpoint", help="random weights without it")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--results", default="first_step.json")
    parser.add_argument("flags", nargs="*")
    arguments = parser.parse_args()
    from training_speed import MINILM

    with tempfile.TemporaryDirectory() as folder:
        config_file = os.path.join(folder, "bert_config.json")
        with open(config_file, "w") as file:
            json.dump(MINILM, file)
        values: Dict[str, Any] = {
            "task_name": "mrpc",
            "data_dir": os.path.join(arguments.data, "MRPC"),
            "vocab_file": arguments.vocab_file,
            "bert_config_file": config_file,
            "cache_dir": os.path.join(folder, "cache"),
        }
        if arguments.init_checkpoint:
            values["init_checkpoint"] = arguments.init_checkpoint
        command = ["--do_train"] + ["--{}={}".format(name, value) for name, value in values.items()] + arguments.flags
        command += [] if arguments.init_checkpoint else ["--from_scratch"]
        runs = []
        for number in range(arguments.runs + 1):
            runs.append(one_run(command + ["--output_dir=" + os.path.join(folder, str(number))]))
    counted = runs[1:]
    medians = {name: statistics.median(run[part] for run in counted) for part, name in enumerate(PARTS)}
    total = statistics.median(sum(run) for run in counted)
    print("| part | median of {}, s |\n|---|---|".format(len(counted)))
    for name, seconds in medians.items():
        print("| {} | {:.2f} |".format(name, seconds))
    print("| to the end of the first update | {:.2f} |".format(total))
    with open(arguments.results, "w") as file:
        json.dump({"total": total, "medians": medians, "runs": counted}, file, indent=2)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--marked"]:
        run_marked(sys.argv[2:])
    else:
        main()
