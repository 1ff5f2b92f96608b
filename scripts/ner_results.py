"""ner_results.py RUNS_DIR…: entity scores of dev and test by task, mean ± sd over seeds.

With several folders, each row begins with the folder's name. With one, the table is also written to its results.md.
"""

import collections
import os
import re
import statistics
import sys
from typing import Dict, List, Tuple

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from steady_bert.base import json_files, program_end

RUN = re.compile(r"(.+)-seed(\d+)$")
FILES = (("dev", "eval_results.json"), ("test", "test_results.json"))
METRICS = ("f1", "precision", "recall", "macro_f1", "surface_macro_f1")


def rows(folder: str, name: str) -> List[str]:
    """The rows of the table: one for each task and file of the finished runs in a folder."""
    scores: Dict[Tuple[str, str], Dict[str, List[float]]] = collections.defaultdict(
        lambda: collections.defaultdict(list)
    )
    minutes: Dict[str, List[float]] = collections.defaultdict(list)
    for run in sorted(os.listdir(folder)):
        match, path = RUN.match(run), os.path.join(folder, run)
        if not match or not os.path.exists(os.path.join(path, "done")):
            continue
        with open(os.path.join(path, "seconds"), encoding="utf-8") as file:
            minutes[match.group(1)].append(int(file.read()) / 60)
        for split, results in FILES:
            if os.path.exists(os.path.join(path, results)):
                values = json_files.read(os.path.join(path, results))
                for metric in METRICS:
                    if metric in values:
                        scores[match.group(1), split][metric].append(values[metric])
    lines = []
    for (task, split), of_metric in scores.items():
        cells = [_mean(of_metric[metric]) for metric in METRICS] + [str(len(of_metric["f1"]))]
        cells = ([name] if name else []) + [task, split] + cells + ["{:.1f}".format(statistics.mean(minutes[task]))]
        lines.append("| {} |".format(" | ".join(cells)))
    return lines


def _mean(values: List[float]) -> str:
    if not values:
        return ""
    spread = " ± {:.3f}".format(statistics.stdev(values)) if len(values) > 1 else ""
    return "{:.3f}{}".format(statistics.mean(values), spread)


def main() -> None:
    folders = sys.argv[1:]
    several = len(folders) > 1
    names = [os.path.basename(folder) if several else "" for folder in folders]
    lines = [line for folder, name in zip(folders, names) for line in rows(folder, name)]
    if not lines:
        sys.exit("ner_results.py: {} holds no finished run.".format(", ".join(folders)))
    titles = ["run"] * several + ["task", "file", "F1", "precision", "recall", "macro F1", "surface macro F1"]
    titles += ["seeds", "minutes a run"]
    text = "\n".join(["| {} |".format(" | ".join(titles)), "|---" * len(titles) + "|"] + lines)
    if not several:
        with open(os.path.join(folders[0], "results.md"), "w", encoding="utf-8") as file:
            file.write(text + "\n")
    print(text)


if __name__ == "__main__":
    program_end.run("ner_results", main)
