"""Prints a Markdown table of dev accuracy, mean ± sd over seeds.

score_table.py tf<VERSION>-<PRECISION>-<TASK>-seed<N>…        output folders of runs
"""

import collections
import json
import os
import re
import statistics
import sys
from typing import Dict, List, Tuple


def main() -> None:
    scores: Dict[Tuple[str, str, str], List[float]] = collections.defaultdict(list)
    for folder in sys.argv[1:]:
        match = re.match(r"tf(.+)-(float32|bfloat16)-(mrpc|sst-2)-seed\d+$", os.path.basename(folder.rstrip("/")))
        if match:
            with open(os.path.join(folder, "eval_results.json")) as file:
                scores[match.group(3), match.group(1), match.group(2)].append(json.load(file)["accuracy"])
    print("| task | TensorFlow | precision | dev accuracy | seeds |\n|---|---|---|---|---|")
    for (task, version, precision), values in sorted(scores.items(), reverse=True):
        name = {"mrpc": "MRPC", "sst-2": "SST-2, first 3200 rows"}[task]
        spread = " ± {:.3f}".format(statistics.stdev(values)) if len(values) > 1 else ""
        print(
            "| {} | {} | {} | {:.3f}{} | {} |".format(
                name, version, precision, statistics.mean(values), spread, len(values)
            )
        )


if __name__ == "__main__":
    main()
