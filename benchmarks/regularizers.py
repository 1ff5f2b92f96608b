"""Trains two tasks with each regularizer at a customary value and without any, and prints a table of dev scores.

    python benchmarks/regularizers.py RUNS [--tweets=DIR] [--mrpc=DIR] [--sst2=DIR] [--wnut17=DIR] [--model=DIR]
        [--only=TASK,…] [--seeds=3] [--rate=5e-5] [--steps=120] [--max_eval_examples=N] [--finished]

The arguments are those of automatic_rates.py. All rows are trained with a seed before any is with the next. A finished
run is not repeated, so that a stopped command goes on where it was; --finished trains nothing and prints what there is.
30 seconds to a minute a run on 2 cores, twice that with FGM or R-Drop: two tasks and three seeds take about an hour.
"""

import argparse
import os
import statistics
from typing import Any, Dict, List, Optional

from automatic_rates import ROOT, Runs, tasks_of

NONE = "none"


def settings(steps: int) -> Dict[str, List[str]]:
    """Row of the table → flags. The model of the quickstart has six layers."""
    thaw = "{}=2,{}=4,{}=all".format(steps // 6, steps // 3, steps // 2)
    return {
        NONE: [],
        "--label_smoothing=0.1": ["--label_smoothing=0.1"],
        "--focal_gamma=2": ["--focal_gamma=2"],
        "--fgm_epsilon=0.1": ["--fgm_epsilon=0.1"],
        "--fgm_epsilon=1": ["--fgm_epsilon=1"],
        "--rdrop_alpha=1": ["--rdrop_alpha=1"],
        "--unfreeze_schedule=" + thaw: ["--unfreeze_schedule=" + thaw],
    }


def score(result: Dict[str, Any]) -> Optional[float]:
    """On dev, in %; None of a run whose numbers were not finite."""
    return None if result["score"] is None else 100.0 * result["score"]


def cell(scores: List[Optional[float]], baseline: List[Optional[float]]) -> str:
    """Mean ± sd, and the mean difference from the baseline's seeds in brackets."""
    known = [value for value in scores if value is not None]
    if not known:
        return "not measured" if not scores else "not finite"
    spread = " ± {:.1f}".format(statistics.stdev(known)) if len(known) > 1 else ""
    pairs = [a - b for a, b in zip(scores, baseline) if a is not None and b is not None]
    beside = " ({:+.1f})".format(statistics.mean(pairs)) if pairs and scores is not baseline else ""
    return "{:.1f}{}{}{}".format(
        statistics.mean(known), spread, beside, "" if len(known) > 2 else ", {} seed(s)".format(len(known))
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs")
    parser.add_argument("--tweets", type=os.path.abspath, default=os.path.join(ROOT, "quickstart", "data"))
    parser.add_argument("--mrpc", type=os.path.abspath)
    parser.add_argument("--sst2", type=os.path.abspath)
    parser.add_argument("--wnut17", type=os.path.abspath)
    parser.add_argument("--model", type=os.path.abspath, default=os.path.join(ROOT, "quickstart", "model"))
    parser.add_argument("--only", metavar="TASK,…", help="default: all tasks whose folders are given")
    parser.add_argument("--rate", default="5e-5")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--max_eval_examples", type=int, help="default: all of dev")
    parser.add_argument("--finished", action="store_true")
    options = parser.parse_args()
    runs, tasks, rows = Runs(options), tasks_of(options), settings(options.steps)
    scores: Dict[str, Dict[str, List[Optional[float]]]] = {name: {row: [] for row in rows} for name in tasks}
    for seed in range(1, options.seeds + 1):
        for task_name, task in tasks.items():
            for setting, flags in rows.items():
                name = "{}-{}".format(task_name, setting.lstrip("-"))
                finished = os.path.exists(os.path.join(runs.folder_of(name, options.rate, seed), "result.json"))
                if finished or not options.finished:
                    result = runs.result(name, task, flags, options.rate, seed)
                    scores[task_name][setting].append(score(result))
    header = [
        "{} updates at {}".format(options.steps, options.rate),
        *("{}, {}".format(name, tasks[name].metric) for name in tasks),
    ]
    print("| " + " | ".join(header) + " |\n" + "|---" * len(header) + "|")
    for setting in rows:
        cells = [cell(scores[name][setting], scores[name][NONE]) for name in tasks]
        print("| {} | {} |".format(setting if setting == NONE else "`{}`".format(setting), " | ".join(cells)))


if __name__ == "__main__":
    main()
