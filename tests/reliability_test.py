"""The scoreboard of injected faults: what counts as a failure, what is kept, and that a stopped run goes on."""

import os
import random
import sys

import pytest
from conftest import ROOT

sys.path.append(os.path.join(ROOT, "scripts"))

import planted_bugs
import reliability
from faults import damage, rows
from faults.program import Ended, Trial

SAME, OTHER = {"model.ckpt-24.data": "a"}, {"model.ckpt-24.data": "b"}


@pytest.mark.parametrize(
    "status, output, actual, failure",
    [
        (0, "done", SAME, ""),
        (0, "done", OTHER, "silently another result: model.ckpt-24.data"),
        (0, "done", {}, "silently another result: model.ckpt-24.data"),
        (0, "WARNING: x is damaged. Step 22 is taken instead.", OTHER, ""),
        (2, "run_classifier: error: vocab.txt: cut", OTHER, ""),
        (2, "Traceback (most recent call last)", SAME, "a traceback"),
        (1, "run_classifier: TensorFlow failed", SAME, "exit 1"),
        (1, "run_classifier: /a/vocab.txt: Is a directory.", SAME, ""),
        (-11, "", SAME, "exit -11"),
    ],
)
def test_only_an_announced_difference_is_no_failure(status, output, actual, failure):
    assert damage.judged("vocab.txt: cut", Ended(status, output), actual, SAME).failure == failure


@pytest.mark.parametrize("how", sorted(damage.BYTES))
def test_every_damage_changes_a_file(how):
    content = "\n".join(map(str, range(100))).encode()
    results = {damage.BYTES[how](content, random.Random(seed)) for seed in range(5)}
    assert results != {content}


def test_tries_of_this_commit_are_kept_and_a_failure_is_counted(tmp_path, monkeypatch, capsys):
    made = []

    def attempt(job, rng):
        made.append(rng.random())
        return Trial("a fault", "lost" if len(made) == 2 else "", "message 7", faults=3, failures=0)

    monkeypatch.setitem(rows.ROWS, "kill", rows.Row("kills", attempt))
    path, known = str(tmp_path / "results.jsonl"), {"commit": "abc", "tensorflow": "2"}
    jobs = reliability.Jobs(str(tmp_path))
    reliability.run_row("kill", 2, jobs, path, known)
    with open(path, "a") as file:
        file.write('{"row": "ki')  # cut by a kill
    lines = reliability.run_row("kill", 3, jobs, path, known)
    assert len(made) == len(set(made)) == 3 and [line["try"] for line in lines] == [0, 1, 2]
    assert "| kill | kills | 2 | abc | 9 | 1 | message n |" in reliability.table(lines)
    assert "kill 1: a fault: lost (message 7)" in capsys.readouterr().out
    reliability.run_row("kill", 1, jobs, path, dict(known, commit="abd"))
    assert len(made) == 4 and made[3] == made[0]  # the same fault at the next commit
    lines = reliability.lines_in(path)
    assert len(lines) == 4 and {line["commit"] for line in reliability.newest(lines)} == {"abd"}


def test_planted_bugs_name_rows():
    rows_named = [
        bug.tests[len(planted_bugs.ROW) :] for bug in planted_bugs.BUGS.values() if planted_bugs.ROW in bug.tests
    ]
    assert rows_named and {arguments.split()[0] for arguments in rows_named} <= set(rows.ROWS)
