"""The scoreboard of injected faults: what counts as a failure, what is kept, and that a stopped run goes on."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import types

import pytest
from conftest import ROOT

sys.path.append(os.path.join(ROOT, "scripts"))

import planted_bugs
import reliability
from faults import damage, fuzz, moments, mutations, row_bugs, rows, stages
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


@pytest.mark.parametrize("how", sorted(mutations.BYTES) + sorted(mutations.TEXT))
def test_every_mutation_changes_a_file(how):
    content = "\n".join("{}\tword".format(n) for n in range(100)).encode()
    mutation = {**mutations.BYTES, **mutations.TEXT}[how]
    assert {mutation(content, random.Random(seed)) for seed in range(5)} != {content}


def test_json_is_mutated_at_any_depth_and_in_headers_too():
    value = {"a": 1, "b": {"c": [1, {"d": "x"}], "e": None}}
    content = json.dumps(value).encode()
    results = {mutations.json_value(content, random.Random(seed)) for seed in range(400)}
    assert len(results) > 100
    for expected in (b'"c": [', b'[1, {"d": ', b'{"a": true,', b'{"b": {"c"', b'"bx": ', b"[" * 100000):
        assert any(expected in result and result != content for result in results), expected
    header = len(content).to_bytes(8, "little") + content + b"weights"
    for seed in range(50):
        how, result = mutations.mutated(header, ".safetensors", random.Random(seed))
        if how == "JSON of its header":
            size = int.from_bytes(result[:8], "little")
            assert result[8 : 8 + size] != content and result[8 + size :] == b"weights"


@pytest.mark.parametrize(
    "status, output, failure",
    [
        (0, "done", ""),
        (2, "run_ner: error: a:1: wrong. Mend it.", ""),
        (2, "run_ner: error: a\nrun_ner: error: b", "2 messages"),
        (2, "wrong", "0 messages"),
        (2, "run_ner: error: " + "x" * 5000, "a message of 5,016 characters"),
        (1, "run_ner: failed", "exit 1"),
        (0, "Traceback (most recent call last)", "exit 0"),
    ],
)
def test_a_mutated_input_may_be_used_or_refused_with_one_message(status, output, failure):
    assert fuzz.verdict("a fault", Ended(status, output)).failure == failure


def test_a_child_tells_its_stage_and_how_often_it_has_begun(monkeypatch):
    seen, module, other = [], types.ModuleType("of_stages"), stages.Stage("of_stages", "nothing", 1, "")
    module.nothing = None
    module.inner = lambda: seen.append(watch.stage())
    module.outer = lambda: [seen.append(watch.stage()), module.inner(), seen.append(watch.stage())]
    monkeypatch.setitem(sys.modules, "of_stages", module)
    for stage in stages.STAGES.values():
        with open(os.path.join(ROOT, *stage.module.split(".")) + ".py", encoding="utf-8") as file:
            assert "def {}(".format(stage.function) in file.read()
    names = dict(save="outer", best="inner")
    of_module = {name: stages.Stage("of_stages", function, 1, "") for name, function in names.items()}
    monkeypatch.setattr(stages, "STAGES", {name: of_module.get(name, other) for name in stages.STAGES})
    watch = stages.Watch()
    watch.prepare()
    seen.append(watch.stage())
    module.outer()
    module.inner()
    seen.append(watch.stage())
    assert seen == ["start", "save", "best", "save", "best", "start"]
    assert (watch.begun("save"), watch.begun("best"), watch.begun("cache")) == (1, 2, 0)


class FakeJob:
    """A job whose runs end as they are told, one after the other, and then by themselves."""

    script, seconds = "run", 0.3

    def __init__(self, *ends):
        self.ends, self.folders, self.outcomes = list(ends), 0, []

    def whole(self):
        return SAME

    def fresh(self):
        self.folders += 1
        return "run-{}".format(self.folders)

    def flags(self, output_dir):
        return [output_dir]

    def start(self, *_, **__):
        status = self.ends.pop(0) if self.ends else 0
        return types.SimpleNamespace(
            send=lambda number: None, has_ended=lambda: True, end=lambda: Ended(status, "said")
        )

    def finish(self, folder, fault):
        self.outcomes.append(folder)
        return Trial(fault, "", "goes on")


@pytest.mark.parametrize("in_stages", [False, True])
@pytest.mark.parametrize(
    "ends, failure, kills, compared",
    [
        ([-9, -9, -9], "", 3, 1),
        ([0, -9, 0, 0, -9, -9], "", 3, 4),  # what ended too early is begun anew
        ([-9, 0, -9], moments._TOO_LATE, 2, 18),
        ([-9, 1], "lost: a restart failed", 1, 0),
    ],
)
def test_only_kills_that_hit_are_counted(monkeypatch, in_stages, ends, failure, kills, compared):
    job = FakeJob(*ends)
    monkeypatch.setattr(moments.program, "Child", job.start)
    monkeypatch.setattr(moments.program, "outcome", lambda folder: job.outcomes.append(folder) or SAME)
    monkeypatch.setattr(moments.time, "sleep", lambda seconds: None)
    trial = moments.killed(job, random.Random(0), in_stages)
    assert (trial.failure, trial.faults, trial.fault.count("start")) == (failure, kills, kills)
    assert job.outcomes == ["run-{}".format(1 + number) for number in range(compared)]
    monkeypatch.setattr(moments.program, "outcome", lambda folder: OTHER)
    assert moments.killed(job, random.Random(0)).failure == "silently another result: model.ckpt-24.data"


def test_a_signal_after_the_end_of_a_run_is_sent_again(monkeypatch):
    monkeypatch.setattr(moments.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(moments, "_CODES", {signal.SIGTERM: 143})
    job = FakeJob(0, 0, 143)
    trial = moments.signalled(job, random.Random(0))
    assert (trial.failure, trial.faults, job.outcomes) == ("", 1, ["run-3"])
    trial = moments.signalled(FakeJob(), random.Random(0))
    assert (trial.failure, trial.faults) == (moments._TOO_LATE, 0)


def test_faults_are_counted_by_kind_and_by_where_they_hit():
    faults = dict(kill="SIGKILL at: ", kill_stage_tagger="SIGKILL at: save, best, save", race="a second command")
    faults.update(damage="best/model.ckpt-12.index: cut, go on", fuzz="flag file, flags.txt: JSON, data")
    lines = [
        dict(row=row, fault=fault, count=600, failures=int(row == "race"), tensorflow=version)
        for row, fault in faults.items()
        for version in ("2", "1")
    ]
    assert reliability.totals(lines).splitlines()[2:] == [
        "| kill | 2,400 | 0 | 2: 1,200, 1: 1,200 |",
        "| damage | 1,200 | 0 | 2: 600, 1: 600 |",
        "| fuzz | 1,200 | 0 | 2: 600, 1: 600 |",
        "| race | 1,200 | 2 | 2: 600, 1: 600 |",
        "",
        "Where they hit:",
        "",
        "- kill (6 of 2,400): save 4, best 2",
        "- damage (2 of 1,200): best/model.ckpt-n.index 2",
        "- fuzz (2 of 1,200): flag file 2",
    ]


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
        row_bugs.ROW + name for name in rows.ROWS if name != "race"
    ]
    printed = capsys.readouterr().out
    assert "NOT CAUGHT: link: any proof" in printed and "race: left out: no locks here\n" in printed
    assert printed.count("caught: ") == len(rows.ROWS) - 2 == len(row_bugs.BUG_OF_ROW) - 2


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
