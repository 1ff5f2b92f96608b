"""glue_results.py RUNS_DIR [clue]: results.md (mean ± sd over seeds) and submission.zip (of the first seed)."""

import collections
import json
import os
import re
import statistics
import sys
import zipfile
from typing import Dict, List, Tuple

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from steady_bert.base import files, json_files, program_end
from steady_bert.tasks.classification.registry import PROCESSORS
from steady_bert.tasks.tagging import predictions

RUN = re.compile(r"(.+)-seed(\d+)$")
_GLUE = ("AX", "CoLA", "MNLI-m", "MNLI-mm", "MRPC", "QNLI", "QQP", "RTE", "SST-2", "STS-B", "WNLI")
_CLUE = ("afqmc", "cluener", "cluewsc11", "cmnli", "csl", "iflytek", "tnews11")
# The files that a benchmark's server expects in an upload.
UPLOADS = {"glue": [name + ".tsv" for name in _GLUE], "clue": [name + "_predict.json" for name in _CLUE]}
CLUENER = "cluener"  # of run_ner.py; the other tasks are of run_classifier.py


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
    if task == CLUENER:
        return ["f1", "surface_macro_f1"]
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


def write_cluener(run: str) -> None:
    """Writes CLUE's file of a CLUENER run's predictions beside those of the other tasks."""
    source = os.path.join(run, "predictions.jsonl")
    if not os.path.exists(source):  # nothing was predicted
        return
    target = os.path.join(run, "submission", "cluener_predict.json")
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(source, encoding="utf-8") as lines, files.atomic_write(target) as file:
        for line in lines:
            file.write(files.json_text(predictions.cluener_object(json.loads(line))) + "\n")


def write_submission(runs: List[Tuple[str, int, str]], path: str, benchmark: str = "glue") -> List[str]:
    """Zips each official file, from the lowest seed that has it; returns the names that an upload still lacks."""
    official: Dict[str, str] = {}
    for task, _, folder in sorted(runs, key=lambda run: run[1]):
        if task == CLUENER:
            write_cluener(folder)
        submission = os.path.join(folder, "submission")
        for name in sorted(os.listdir(submission)) if os.path.isdir(submission) else []:
            official.setdefault(name, os.path.join(submission, name))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(official):
            archive.write(official[name], name)
    return [name for name in UPLOADS[benchmark] if name not in official]


def main() -> None:
    folder, benchmark = sys.argv[1], (sys.argv[2:] or ["glue"])[0]
    runs = finished_runs(folder)
    if not runs:
        sys.exit("glue_results.py: {} holds no finished run.".format(folder))
    text = table(runs)
    with open(os.path.join(folder, "results.md"), "w", encoding="utf-8") as file:
        file.write(text + "\n")
    print(text)
    archive = os.path.join(folder, "submission.zip")
    missing = write_submission(runs, archive, benchmark)
    print("Wrote {} and {}.".format(os.path.join(folder, "results.md"), archive))
    if missing:
        print("An upload to {} needs these too: {}.".format(benchmark.upper(), ", ".join(missing)))


if __name__ == "__main__":
    program_end.run("glue_results", main)
