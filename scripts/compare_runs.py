"""Says whether finished runs differ: on which scores, by how much, how surely, and on which dev examples.

    python scripts/compare_runs.py BASELINE RUN [RUN …]  [--json=FILE] [--html=FILE]

Each argument is a side: the --output_dir of a run, or several seeds of one setting, as a quoted pattern or with commas:

    python scripts/compare_runs.py 'runs/base-seed*' 'runs/ranger-seed*' --html=comparison.html

All sides are compared with the first. A run needs eval_predictions.jsonl, which --do_eval writes.
"""

import argparse
import os
import sys
from typing import List

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from steady_bert.base import files, program_end
from steady_bert.base.errors import UserError
from steady_bert.comparison import compare, page, sides, text
from steady_bert.comparison.compare import Comparison, Settings


def settings_of(arguments: argparse.Namespace) -> Settings:
    """The settings that a command gives. Raises UserError for values that make no sense."""
    if not 100 <= arguments.resamples <= 1_000_000:
        raise UserError("--resamples={}: expected 100 to 1,000,000.".format(arguments.resamples))
    if not 0.5 <= arguments.confidence < 1:
        raise UserError("--confidence={:g}: expected 0.5 to less than 1.".format(arguments.confidence))
    if arguments.examples < 0 or arguments.seed < 0:
        raise UserError("--examples and --seed are at least 0.")
    suffix = "_" + arguments.dev if arguments.dev else ""
    numbers = (arguments.resamples, arguments.confidence, arguments.metric, arguments.examples, arguments.seed)
    return Settings(*numbers, suffix=suffix)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("side", nargs="+", help="a run's folder, or several seeds of one setting")
    parser.add_argument("--metric", help="what the verdict is about; default: the run's best_metric")
    parser.add_argument("--dev", metavar="NAME", help="a further dev file, such as mismatched for MNLI")
    parser.add_argument("--json", metavar="FILE", help="writes all numbers")
    parser.add_argument("--html", metavar="FILE", help="writes a page")
    parser.add_argument("--examples", type=int, default=20, help="changed examples in each direction (20)")
    parser.add_argument("--resamples", type=int, default=10_000, help="of the interval and of the test (10,000)")
    parser.add_argument("--confidence", type=float, default=0.95, help="of the interval (0.95)")
    parser.add_argument("--seed", type=int, default=0, help="of the resampling (0)")
    arguments = parser.parse_args()
    settings = settings_of(arguments)
    if len(arguments.side) < 2:
        raise UserError("One side was given. Name two: the baseline, then what is compared with it.")
    first, *others = [sides.side_of(side, settings.suffix) for side in arguments.side]
    comparisons: List[Comparison] = []
    for other in others:
        comparisons.append(compare.compare(first, other, settings))
        print(text.described(comparisons[-1]) + "\n")
    if arguments.json:
        files.write_json(arguments.json, {"comparisons": [compare.as_json(each) for each in comparisons]})
        print("Wrote " + arguments.json)
    if arguments.html:
        page.write(arguments.html, comparisons)
        print("Wrote " + arguments.html)


if __name__ == "__main__":
    program_end.run("compare_runs", main)
