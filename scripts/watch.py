"""Draws loss and dev score of runs, finished or not, in the terminal: scripts/watch.py RUN [RUN …]"""

import argparse
import os
import shutil
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from steady_bert.base import program_end
from steady_bert.watching import screen, standing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", nargs="+", help="the --output_dir of a run; several are drawn into one figure")
    parser.add_argument("--once", action="store_true", help="draw once; so too if the output is no terminal")
    parser.add_argument("--every", type=float, default=5.0, metavar="SECS", help="seconds between drawings (5)")
    values = parser.parse_args()
    if not values.every > 0:
        parser.error("--every={}: give seconds above 0.".format(values.every))
    redraws = sys.stdout.isatty() and not values.once
    clear = "\x1b[H\x1b[J" if redraws and os.environ.get("TERM") != "dumb" else ""
    ascii_only = not can_print("⣿│…")
    try:
        while True:
            runs = [standing.standing_of(folder) for folder in values.run]
            print(clear + screen.draw(runs, *shutil.get_terminal_size(), ascii_only=ascii_only), flush=True)
            if not redraws or all(run.has_ended for run in runs):
                break
            time.sleep(values.every)
    except KeyboardInterrupt:  # the usual end of watching
        sys.exit(130)


def can_print(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


if __name__ == "__main__":
    program_end.run("watch", main)
