"""scripts/search.py with real runs: folds, a kill, and the same table."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT


def search(tiny, folder, *arguments):
    """Starts a search of a few small runs."""
    flags = tiny.flags(num_train_steps=30, eval_every_steps=10, learning_rate=None)
    script = os.path.join(ROOT, "scripts", "search.py")
    own = [str(folder), "--vary", "learning_rate=1e-3,1e-6", "--k_folds=2", "--at_once=1", "--cores_each=1", *arguments]
    command = [sys.executable, script, *own, "--", "run_classifier.py", *flags]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    return subprocess.Popen(command, cwd=ROOT, **pipes)


def trials_of(folder):
    return json.loads((folder / "search.json").read_text(encoding="utf-8"))["trials"]


@pytest.mark.slow
def test_a_search_over_folds_finds_the_rate_that_learns_also_after_a_kill(tiny, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    process = search(tiny, whole)
    output = process.communicate()[0]
    assert process.returncode == 0, output
    trials = trials_of(whole)
    assert [trial["setting"]["learning_rate"] for trial in trials] == ["1e-3", "1e-6"]
    assert trials[0]["mean"] > 0.9 > 0.7 > trials[1]["mean"] and all(len(trial["runs"]) == 2 for trial in trials)
    assert [run["scores"]["examples"] for run in trials[0]["runs"]] == [100, 100]
    assert len([name for name in os.listdir(str(whole / "cache")) if name.endswith(".tfrecord")]) == 4  # for all runs
    assert "Best: trial 1" in output and "<svg" in (whole / "search.html").read_text(encoding="utf-8")

    process = search(tiny, killed)
    log = killed / "trials" / "001-learning_rate=1e-3-seed12345-fold1" / "metrics.jsonl"
    while not log.exists() or '"split": "dev"' not in log.read_text():  # in the middle of a run
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    process = search(tiny, killed)
    output = process.communicate()[0]
    assert process.returncode == 0, output
    assert trials_of(killed) == trials
    refused = search(tiny, killed, "--prune")
    assert "prune_after: (not given) → 4" in refused.communicate()[0] and refused.returncode == 2
