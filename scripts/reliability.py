"""Injects faults, row by row, and prints how many tries ended silently wrong, lost, or in a traceback.

    python scripts/reliability.py [--row=NAME,…] [--tries=N] [--short] [--until_failure] [--results=FILE]
        [--write]
    python scripts/reliability.py --plant [--row=NAME,…]

All rows with their own numbers of tries take hours on 2 cores; --short takes few tries of the cheap rows, in 4 minutes.
FILE gets a line of JSON for each try, with the commit, the TensorFlow and the fault; tries that it has of this commit
are not repeated, so a run that was stopped goes on. A row's try has the same fault whenever it is run. --write puts the
table of FILE into docs/reliability.md; with --tries=0 nothing is run. --plant plants a bug for each row, in a copy, and
shows that the row finds it. Needs the test environment. The exit code is 1 if a try failed or a bug was
not found, 3 if a row could not be run.
"""

import argparse
import collections
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import traceback
from typing import Any, Dict, List, Optional

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from faults import rows
from faults.program import Job

from steady_bert.base import files, tensorflow_setup

BEGIN, END = "<!-- reliability: scripts/reliability.py -->", "<!-- /reliability -->"
Line = Dict[str, Any]


class Jobs:
    """The small tasks, each made when a row first needs it; its undisturbed run serves all rows."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._jobs: Dict[Any, Job] = {}

    def of(self, row: rows.Row) -> Optional[Job]:
        if row.task and row.task not in self._jobs:
            self._jobs[row.task] = row.task(os.path.join(self._place, row.task.__name__))
        return self._jobs[row.task] if row.task else None


def commit() -> str:
    """The commit of this tree, with + and a hash of what differs from it, docs apart; "" outside git."""

    def git(*arguments: str) -> bytes:
        command = ["git", "-C", ROOT, *arguments]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout

    changes = git("diff", "HEAD", "--", ":!docs")
    name = git("rev-parse", "--short=10", "HEAD").decode().strip()
    return name + ("+" + hashlib.sha256(changes).hexdigest()[:8]) * bool(changes)


def lines_in(path: str) -> List[Line]:
    """The tries of a results file; a line that a kill has cut is left out."""
    found = []
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            for text in file:
                try:
                    found.append(json.loads(text))
                except ValueError:
                    continue
    return found


def keep(line: Line, path: str) -> None:
    """Appends a try to a results file; a line that a kill has cut ends before it."""
    with open(path, "ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read() != b"\n":
                file.write(b"\n")
        file.write(json.dumps(line).encode() + b"\n")


def run_row(name: str, tries: int, jobs: Jobs, path: str, known: Line, until_failure: bool = False) -> List[Line]:
    """Runs the tries of a row that the results lack, up to the first that fails if so wished; returns all of them.

    known: commit and TensorFlow.
    """
    row = rows.ROWS[name]
    done = {line["try"]: line for line in lines_in(path) if line["row"] == name and known.items() <= line.items()}
    missing = [number for number in range(tries) if number not in done]
    job = jobs.of(row) if missing else None
    for number in missing:
        started = time.time()
        trial = rows.run(name, number, job)
        failures = (trial.failures or 1) if trial.failure else 0
        numbers = dict(count=trial.faults, failures=failures, secs=round(time.time() - started, 1))
        texts = dict(fault=trial.fault, failure=trial.failure, said=trial.said)
        line: Line = dict({"row": name, "try": number}, **known, **numbers, **texts)
        keep(line, path)
        if trial.failure:
            print("{} {}: {}: {} ({})".format(name, number, trial.fault, trial.failure, trial.said), flush=True)
        done[number] = line
        if trial.failure and until_failure:
            break
    return [done[number] for number in sorted(done)]


def table(lines: List[Line]) -> str:
    """A Markdown table, one line for each row, TensorFlow and commit."""
    groups: Dict[Any, List[Line]] = collections.OrderedDict()
    for line in sorted(lines, key=lambda line: list(rows.ROWS).index(line["row"])):
        groups.setdefault((line["row"], line["tensorflow"], line["commit"]), []).append(line)
    text = [
        "| row | fault | TensorFlow | commit | tries | failures | said most often |",
        "|---|---|---|---|---|---|---|",
    ]
    for (name, version, made_by), members in groups.items():
        tries, failures = (sum(line[key] for line in members) for key in ("count", "failures"))
        said = collections.Counter(re.sub(r"[\d,.]*\d", "n", line["said"]) for line in members).most_common(1)[0][0]
        cells = [name, rows.ROWS[name].what, version, made_by, tries, failures, said[:90].replace("|", "\\|")]
        text.append("| {} |".format(" | ".join(map(str, cells))))
    return "\n".join(text)


def _kind_of(row: str) -> str:
    """What rows of the classifier and of the tagger, of few tries and of many, have in common."""
    return re.sub("(_tagger|_stage|_short)+$", "", row)


def totals(lines: List[Line]) -> str:
    """A Markdown table, one line for each kind of fault, over all TensorFlows; and a line for each, where they hit."""
    kinds: Dict[str, List[Line]] = collections.OrderedDict((_kind_of(name), []) for name in rows.ROWS)
    for line in lines:
        kinds[_kind_of(line["row"])].append(line)
    text, places = ["| kind | tries | failures | on TensorFlow |", "|---|---|---|---|"], []
    for kind, members in kinds.items():
        if not members:
            continue
        tries, failures = ("{:,}".format(sum(line[key] for line in members)) for key in ("count", "failures"))
        by_version: Dict[str, int] = collections.Counter()
        for line in members:
            by_version[line["tensorflow"]] += line["count"]
        on = ", ".join("{}: {:,}".format(*each) for each in by_version.items())
        text.append("| {} |".format(" | ".join((kind, tries, failures, on))))
        hit = [place for line in members for place in re.findall(rows.ROWS[line["row"]].place or "$^", line["fault"])]
        counts = collections.Counter(re.sub(r"-\d+", "-n", place) for place in hit).most_common()
        of_all = "" if "{:,}".format(len(hit)) == tries else " ({:,} of {})".format(len(hit), tries)
        places += ["- {}{}: {}".format(kind, of_all, ", ".join("{} {}".format(*each) for each in counts))] * bool(hit)
    return "{}\n\nWhere they hit:\n\n{}".format("\n".join(text), "\n".join(places))


def write_table(lines: List[Line]) -> None:
    path = os.path.join(ROOT, "docs", "reliability.md")
    with open(path, encoding="utf-8") as file:
        before, rest = file.read().split(BEGIN)
    with files.atomic_write(path) as output:
        tables = "{}\n\n{}".format(totals(lines), table(lines))
        output.write("{}{}\n\n{}\n\n{}{}".format(before, BEGIN, tables, END, rest.split(END)[1]))


def newest(lines: List[Line]) -> List[Line]:
    """The tries of the commit that each row and TensorFlow was last run at."""
    last = {(line["row"], line["tensorflow"]): line["commit"] for line in lines}
    return [line for line in lines if last[line["row"], line["tensorflow"]] == line["commit"]]


def plant(names: List[str]) -> bool:
    """Whether each row finds the bug that is planted for it; prints a line for each. One failure is enough."""
    import planted_bugs
    from faults import row_bugs

    every = True
    os.environ.update(STEADY_BERT_KILLS="4", STEADY_BERT_RESUME_EVERY="11", PYTEST_ADDOPTS="-x")  # as short as in CI
    for name in names:
        row = rows.ROWS[name]
        if row.unavailable():
            print("{}: left out: {}".format(name, row.unavailable()), flush=True)
            continue
        bug_name = row_bugs.BUG_OF_ROW[name]
        bug = planted_bugs.BUGS[bug_name]
        tries = [] if row.tests else ["--until_failure"] + re.findall(r"--tries=\d+", bug.tests)
        caught = planted_bugs.caught(bug._replace(tests=" ".join([row_bugs.ROW + name, *tries])))
        print("{}: {}: {}".format("caught" if caught else "NOT CAUGHT", name, bug_name), flush=True)
        every = every and caught
    return every


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--row", default="", help="names, separated by commas; without it all: " + ", ".join(rows.ROWS))
    parser.add_argument(
        "--tries", type=int, help="of each row, 0 with --write alone; without it as many as the row says"
    )
    parser.add_argument("--short", action="store_true", help="few tries of the cheap rows")
    parser.add_argument("--until_failure", action="store_true", help="leave out a row's tries after one that fails")
    parser.add_argument("--results", help="a file of JSON lines; without it nothing is kept")
    parser.add_argument("--write", action="store_true", help="write the table of --results into docs/reliability.md")
    parser.add_argument("--plant", action="store_true", help="show that each row can fail")
    given = parser.parse_args()
    chosen = [name for name in given.row.split(",") if name] or list(rows.ROWS)
    unknown = [name for name in chosen if name not in rows.ROWS]
    if unknown or (given.write and not given.results):
        parser.error("no row {}".format(", ".join(unknown)) if unknown else "--write needs --results")
    if given.plant:
        sys.exit(0 if plant(chosen) else 1)
    tensorflow_setup.import_tensorflow()
    import tensorflow as tf

    known = dict(commit=commit(), tensorflow=tf.__version__)
    measured: List[Line] = []
    with tempfile.TemporaryDirectory(prefix="reliability-") as place:
        jobs = Jobs(place)
        path = given.results or os.path.join(place, "results.jsonl")
        for name in chosen:
            row = rows.ROWS[name]
            if given.short and not row.short:
                continue
            if row.unavailable():
                print("{}: left out: {}".format(name, row.unavailable()), flush=True)
                continue
            tries = (row.short if given.short else row.tries) if given.tries is None else given.tries
            measured += run_row(name, tries, jobs, path, known, given.until_failure)
        if given.write:
            write_table(newest(lines_in(path)))
    print(table(measured))
    sys.exit(1 if any(line["failures"] for line in measured) else 0)


if __name__ == "__main__":
    try:
        main()
    except Exception:  # Python's own exit code is 1, which here means that a try failed
        traceback.print_exc()
        sys.exit(3)
