"""glue_results.py RUNS_DIR: results.md (mean ± sd over seeds, by task) and submission.zip (of the first seed)."""

import collections
import os
import re
import statistics
import sys
import zipfile
from typing import Dict, List, Tuple

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from steady_bert.base import json_files, program_end
from steady_bert.tasks.classification.registry import PROCESSORS

RUN = re.compile(r"(.+)-seed(\d+)$")
# The files that GLUE's server expects in an upload.
UPLOAD = ("AX", "CoLA", "MNLI-m", "MNLI-mm", "MRPC", "QNLI", "QQP", "RTE", "SST-2", "STS-B", "WNLI")


def finished_runs(folder: str) -> List[Tuple[str, int, str]]:
    """(task, seed, path) of the finished runs."""
    runs = []
    for name in sorted(os.listdir(folder)):
        match = RUN.match(name)
        if match and os.path.exists(os.path.join(folder, name, "done")):
            runs.append((match.group(1), int(match.group(2)), os.path.join(folder, name)))
    return runs


def official_metrics(task: str) -> List[str]:
    """The names of the metrics in eval_results.json; those of a second dev set have its suffix."""
    suffixes = [split[len("dev") :] for split in PROCESSORS[task].splits if split.startswith("dev")]
    return [metric + suffix for suffix in suffixes for metric in PROCESSORS[task].metrics]


def table(runs: List[Tuple[str, int, str]]) -> str:
    scores: Dict[Tuple[str, str], List[float]] = collections.defaultdict(list)
    minutes: Dict[str, List[float]] = collections.defaultdict(list)
    for task, _, path in runs:
        results = os.path.join(path, "eval_results.json")
        if not os.path.exists(results):  # ax has no labels
            continue
        results_of_run = json_files.read(results)
        for metric in official_metrics(task):
            scores[task, metric].append(results_of_run[metric])
        with open(os.path.join(path, "seconds"), encoding="utf-8") as file:
            minutes[task].append(int(file.read()) / 60)
    lines = ["| task | dev metric | score | seeds | minutes a run |", "|---|---|---|---|---|"]
    for (task, metric), values in scores.items():
        spread = " ± {:.3f}".format(statistics.stdev(values)) if len(values) > 1 else ""
        score = "{:.3f}{}".format(statistics.mean(values), spread)
        lines.append(
            "| {} | {} | {} | {} | {:.1f} |".format(task, metric, score, len(values), statistics.mean(minutes[task]))
        )
    return "\n".join(lines)


def write_submission(runs: List[Tuple[str, int, str]], path: str) -> List[str]:
    """Zips each official file, from the lowest seed that has it; returns the names that an upload still lacks."""
    files: Dict[str, str] = {}
    for _, _, folder in sorted(runs, key=lambda run: run[1]):
        submission = os.path.join(folder, "submission")
        for name in sorted(os.listdir(submission)) if os.path.isdir(submission) else []:
            files.setdefault(name, os.path.join(submission, name))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            archive.write(files[name], name)
    return [name for name in UPLOAD if name + ".tsv" not in files]


def main() -> None:
    folder = sys.argv[1]
    runs = finished_runs(folder)
    if not runs:
        sys.exit("glue_results.py: {} holds no finished run.".format(folder))
    text = table(runs)
    with open(os.path.join(folder, "results.md"), "w", encoding="utf-8") as file:
        file.write(text + "\n")
    print(text)
    archive = os.path.join(folder, "submission.zip")
    missing = write_submission(runs, archive)
    print("Wrote {} and {}.".format(os.path.join(folder, "results.md"), archive))
    if missing:
        print("An upload to GLUE needs these too: {}.".format(", ".join(missing)))


if __name__ == "__main__":
    program_end.run("glue_results", main)
