"""How much faster a search is with two runs at once, and whether kills change what it finds.

    python benchmarks/search.py FOLDER [--speed] [--kills=10] [--steps=300] [--seed=0]

--speed: 8 trials of a thread each, one after the other and two at a time; on two quiet cores the second should be at
least 1.7 times as fast. --kills=N: the search or one of its runs is killed N times at random moments, and the table
must be that of a search that was not disturbed. The task is that of the tests, with a BERT of 2 layers of 128, so it
needs the test environment. On 2 cores: 3 minutes for --speed, 4 for --kills=10. FOLDER must be empty or absent.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from typing import Any, List

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [ROOT, os.path.join(ROOT, "tests")]

import conftest

VARIED = ["--vary", "learning_rate=1e-3,3e-4,1e-4,1e-5", "--vary", "optimizer=adamw,radam"]


def task_flags(folder: str, steps: int) -> List[str]:
    """The flags of a run of the small task, whose files are written into the folder."""
    os.makedirs(folder)
    tiny = conftest.make_tiny(folder)
    with open(tiny.bert_config_file) as file:
        config = json.load(file)
    config.update(hidden_size=128, num_hidden_layers=2, intermediate_size=512)
    with open(tiny.bert_config_file, "w") as file:
        json.dump(config, file)
    return tiny.flags(num_train_steps=steps, eval_every_steps=steps // 6, learning_rate=None, save_checkpoints_steps=20)


def command(folder: str, at_once: int, flags: List[str], *further: str) -> List[str]:
    script = os.path.join(ROOT, "scripts", "search.py")
    own = [folder, *VARIED, "--at_once={}".format(at_once), "--cores_each=1", *further]
    return [sys.executable, script, *own, "--", "run_classifier.py", *flags]


def searched(folder: str, at_once: int, flags: List[str], *further: str) -> float:
    """The seconds of a whole search."""
    started = time.time()
    subprocess.run(command(folder, at_once, flags, *further), check=True, stdout=subprocess.DEVNULL)
    return time.time() - started


def trials_of(folder: str) -> Any:
    with open(os.path.join(folder, "search.json"), encoding="utf-8") as file:
        return json.load(file)["trials"]


def measure_speed(folder: str, flags: List[str]) -> bool:
    one = searched(os.path.join(folder, "one"), 1, flags)
    two = searched(os.path.join(folder, "two"), 2, flags)
    same = trials_of(os.path.join(folder, "one")) == trials_of(os.path.join(folder, "two"))
    text = "8 trials: one after the other {:.1f} s, two at a time {:.1f} s: {:.2f} × as fast; same table: {}"
    print(text.format(one, two, one / two, same), flush=True)
    return same


def children_of(pid: int) -> List[int]:
    """The runs of a search: its children that lead a session of their own."""
    listed = subprocess.run(["ps", "-o", "pid=,sid=", "--ppid", str(pid)], stdout=subprocess.PIPE).stdout.decode()
    pairs = [line.split() for line in listed.splitlines()]
    return [int(own) for own, session in pairs if own == session]


def survive(folder: str, flags: List[str], kills: int, seed: int) -> bool:
    """Whether a search that is killed finds what an undisturbed one finds."""
    whole, killed = os.path.join(folder, "whole"), os.path.join(folder, "killed")
    whole_secs = searched(whole, 2, flags, "--prune", "--prune_after=2")
    arguments = command(killed, 2, flags, "--prune", "--prune_after=2")
    rng, done = random.Random(seed), 0
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
    while done < kills:
        time.sleep(rng.uniform(0.02, 1.6 * whole_secs / kills))
        runs = children_of(process.pid)
        if process.poll() is not None:  # finished: the kills were too late to count
            break
        done += 1
        if rng.random() < 0.5 and runs:
            os.kill(rng.choice(runs), signal.SIGKILL)
        else:
            process.send_signal(rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT]))
            process.wait()
            process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
    code = process.wait()
    same = code == 0 and trials_of(killed) == trials_of(whole)
    ends = [trial["end"] for trial in trials_of(whole)]
    counts = ", ".join("{} {}".format(ends.count(end), end) for end in sorted(set(ends)))
    print("killed {} times of {}: exit code {}, same table: {} ({})".format(done, kills, code, same, counts))
    return same


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    options = parser.parse_args()
    folder = os.path.abspath(options.folder)
    flags = task_flags(os.path.join(folder, "task"), options.steps)
    held = [measure_speed(folder, flags)] if options.speed else []
    held += [survive(folder, flags, options.kills, options.seed)] if options.kills else []
    sys.exit(0 if all(held) else 1)


if __name__ == "__main__":
    main()
