"""The scoreboard of injected faults: what counts as a failure, what is kept, and that a stopped run goes on."""

import os
import random
import re
import subprocess
import sys

import pytest
from conftest import ROOT

sys.path.append(os.path.join(ROOT, "scripts"))

import planted_bugs
import reliability
from faults import damage, moments, rows
from faults.program import Ended, Trial

from steady_bert.base import disk

SAME, OTHER = {"model.ckpt-24.data": "a"}, {"model.ckpt-24.data": "b"}


OLDER = "WARNING: x is damaged. Step 22 is taken instead."


@pytest.mark.parametrize(
    "status, output, actual, may_be_older, failure",
    [
        (0, "done", SAME, True, ""),
        (0, "done", OTHER, True, "silently another result: model.ckpt-24.data"),
        (0, "done", {}, True, "silently another result: model.ckpt-24.data"),
        (0, OLDER, OTHER, True, ""),
        (0, OLDER, OTHER, False, "silently another result: model.ckpt-24.data"),
        (0, OLDER, {}, True, "silently another result: model.ckpt-24.data"),
        (2, "run_classifier: error: vocab.txt: cut", OTHER, True, ""),
        (2, "Traceback (most recent call last)", SAME, True, "a traceback"),
        (1, "run_classifier: TensorFlow failed", SAME, True, "exit 1"),
        (1, "run_classifier: /a/train-1234567.records: Is a directory.", SAME, True, ""),
        (-11, "train-1234567.records", SAME, True, "exit -11"),
    ],
)
def test_only_an_announced_older_checkpoint_excuses_another_result(status, output, actual, may_be_older, failure):
    ended = Ended(status, output)
    trial = damage.judged("cache/train-*: cut", "train-1234567.records", ended, actual, SAME, may_be_older)
    assert trial.failure == failure


@pytest.mark.parametrize("how", sorted(damage.BYTES))
def test_every_damage_changes_a_file(how):
    content = "\n".join(map(str, range(100))).encode()
    results = {damage.BYTES[how](content, random.Random(seed)) for seed in range(5)}
    assert results != {content}


def test_tries_of_this_commit_are_kept_and_a_failure_is_counted(tmp_path, monkeypatch, capsys):
    made = []

    def attempt(job, rng):
        made.append(rng.random())
        return Trial("a fault", "lost" if len(made) in (2, 6) else "", "message 7", faults=3, failures=0)

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
    reliability.run_row("kill", 9, reliability.Jobs(""), str(tmp_path / "other"), known, until_failure=True)
    assert len(made) == 6  # the second of these fails
    assert len(lines) == 4 and {line["commit"] for line in reliability.newest(lines)} == {"abd"}


def test_each_row_is_run_on_a_bug_of_its_own(monkeypatch, capsys):
    run = []
    monkeypatch.setattr(planted_bugs, "caught", lambda bug: run.append(bug) or "link" not in bug.tests)
    monkeypatch.setattr(rows, "ROWS", {name: row._replace(unavailable=lambda: "") for name, row in rows.ROWS.items()})
    rows.ROWS["race"] = rows.ROWS["race"]._replace(unavailable=lambda: "no locks here")
    monkeypatch.setattr(os, "environ", dict(os.environ))
    assert not reliability.plant(list(rows.ROWS))
    assert [" ".join(bug.tests.split()[:2]) for bug in run] == [
        planted_bugs.ROW + name for name in rows.ROWS if name != "race"
    ]
    printed = capsys.readouterr().out
    assert "NOT CAUGHT: link: any proof" in printed and "race: left out: no locks here\n" in printed
    assert printed.count("caught: ") == len(rows.ROWS) - 2 == len(planted_bugs.BUG_OF_ROW) - 2


def test_a_commit_is_named_with_what_differs_from_it(tmp_path, monkeypatch):
    def git(*arguments):
        identity = ["-c", "user.name=n", "-c", "user.email=e"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, stdout=subprocess.DEVNULL)

    monkeypatch.setattr(reliability, "ROOT", str(tmp_path))
    assert reliability.commit() == ""
    (tmp_path / "docs").mkdir()
    for name in ("docs/page.md", "code.py"):
        (tmp_path / name).write_text("1")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    names = [reliability.commit()]
    assert len(names[0]) == 10
    for name, text in (("docs/page.md", "2"), ("results.jsonl", "{}"), ("code.py", "2"), ("code.py", "3")):
        (tmp_path / name).write_text(text)
        names.append(reliability.commit())
    assert names[:3] == names[:1] * 3 and len(set(names)) == 3
    assert all(name.startswith(names[0] + "+") for name in names[3:])


@pytest.mark.parametrize(
    "memory, handles, grows",
    [
        ([100] * 4 + [200] * 16, [5] * 20, False),  # the first fifth may be its start
        ([200] * 10 + [203] * 10, [5] * 20, True),
        ([200] * 20, [5] * 10 + [6] * 10, True),
        ([200] * 19, [5] * 19, True),  # too few to tell
    ],
)
def test_a_long_run_may_grow_at_its_start_alone(memory, handles, grows):
    assert moments.growth(memory, handles)[0] == grows
    built, first = "first step at rate 1e-4, save each step\n", "step 30/3000: loss 0.7\n"
    assert not moments.TRAINS.search(built) and moments.TRAINS.search(built + first)


@pytest.mark.parametrize("needed, at_least", [(None, False), (1234, False), (1234, True)])
def test_a_full_disk_is_told_by_a_message_that_names_a_file(tmp_path, needed, at_least):
    def is_told(name):
        return bool(re.search(moments.DISK_FULL, "run: " + str(disk.DiskFullError(name, needed, at_least))))

    assert is_told(str(tmp_path / "plan.json")) and not is_told(".")
