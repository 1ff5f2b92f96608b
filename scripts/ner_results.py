"""ner_results.py RUNS_DIR: results.md, entity scores of dev and test by task, mean ± sd over seeds."""

import collections
import json
import os
import re
import statistics
import sys
from typing import Dict, List, Tuple

RUN = re.compile(r"(.+)-seed(\d+)$")
FILES = (("dev", "eval_results.json"), ("test", "test_results.json"))
METRICS = ("f1", "precision", "recall", "macro_f1", "surface_macro_f1")


def table(folder: str) -> str:
    """Of the finished runs of a folder; empty where there is none."""
    scores: Dict[Tuple[str, str], Dict[str, List[float]]] = collections.defaultdict(
        lambda: collections.defaultdict(list)
    )
    minutes: Dict[str, List[float]] = collections.defaultdict(list)
    for name in sorted(os.listdir(folder)):
        match, path = RUN.match(name), os.path.join(folder, name)
        if not match or not os.path.exists(os.path.join(path, "done")):
            continue
        with open(os.path.join(path, "seconds"), encoding="utf-8") as file:
            minutes[match.group(1)].append(int(file.read()) / 60)
        for split, results in FILES:
            if os.path.exists(os.path.join(path, results)):
                with open(os.path.join(path, results), encoding="utf-8") as file:
                    found = json.load(file)
                for metric in METRICS:
                    if metric in found:
                        scores[match.group(1), split][metric].append(found[metric])
    lines = ["| task | file | F1 | precision | recall | macro F1 | surface macro F1 | seeds | minutes a run |"]
    lines.append("|---|---|---|---|---|---|---|---|---|")
    for (task, split), found in scores.items():
        cells = [_mean(found[metric]) for metric in METRICS] + [str(len(found["f1"]))]
        lines.append("| {} | {} | {} | {:.1f} |".format(task, split, " | ".join(cells), statistics.mean(minutes[task])))
    return "\n".join(lines) if scores else ""


def _mean(values: List[float]) -> str:
    if not values:
        return ""
    spread = " ± {:.3f}".format(statistics.stdev(values)) if len(values) > 1 else ""
    return "{:.3f}{}".format(statistics.mean(values), spread)


def main() -> None:
    folder = sys.argv[1]
    text = table(folder)
    if not text:
        sys.exit("ner_results.py: {} holds no finished run.".format(folder))
    with open(os.path.join(folder, "results.md"), "w", encoding="utf-8") as file:
        file.write(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
