"""Prints what a classification run achieved: summarize_run.py RUN_FOLDER [SENTENCES_TSV PREDICTIONS_TSV]"""

import csv
import os
import sys
from typing import Dict, List

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from steady_bert.base import json_files, program_end
from steady_bert.training import reports


def _rows(path: str) -> List[Dict[str, str]]:
    with open(path, encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def main() -> None:
    folder = sys.argv[1]
    results = json_files.read(os.path.join(folder, "eval_results.json"))
    metrics = {name: value for name, value in results.items() if isinstance(value, float)}
    print(
        "\n=== Result: {:,} examples that training never saw, at step {}".format(
            results["examples"], results["global_step"]
        )
    )
    print(reports.format_metrics(metrics))
    if results["labels"]:
        print("\n" + reports.format_confusion_table(results["confusion_matrix"], results["labels"]))
    if len(sys.argv) > 2:
        print("\n=== A few sentences")
        for sentence, predicted in zip(_rows(sys.argv[2]), _rows(sys.argv[3])):
            label = predicted["prediction"]
            print("{:<9} {:.2f}  {}".format(label, float(predicted[label]), sentence["text"]))
    print("\n=== Where things are")
    print("{0}/best              the best checkpoint; --model_dir={0} predicts with it".format(folder))
    print("{}/metrics.jsonl     loss, learning rate, scores by step; TensorBoard reads the folder".format(folder))
    print("{}/eval_results.json the scores above".format(folder))


if __name__ == "__main__":
    program_end.run("summarize_run", main)
