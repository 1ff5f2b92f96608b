"""Writes report.html and errors.tsv into the folder of a run, finished or not: scripts/report.py RUN [RUN …]"""

import argparse
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from steady_bert.base import program_end
from steady_bert.run_report import page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", nargs="+", help="the --output_dir of a run")
    for folder in parser.parse_args().run:
        for path in page.write(folder):
            print("Wrote " + path)


if __name__ == "__main__":
    program_end.run("report", main)
