"""Compares the losses of several runs with those of the first.

compare_losses.py TOLERANCE LOSSES_JSON…

Prints the largest relative difference of each run, and exits 1 if one is above TOLERANCE.
"""

import json
import sys


def main() -> None:
    tolerance = float(sys.argv[1])
    runs = []
    for path in sys.argv[2:]:
        with open(path) as file:
            runs.append(json.load(file))
    first = runs[0]
    above = False
    for other in runs[1:]:
        worst = max(abs(a - b) / abs(a) for a, b in zip(first["losses"], other["losses"]))
        above = above or worst > tolerance
        print(
            json.dumps(
                {
                    "systems": [first["system"], other["system"]],
                    "losses": len(first["losses"]),
                    "largest_relative_difference": worst,
                }
            )
        )
    sys.exit(1 if above else 0)


if __name__ == "__main__":
    main()
