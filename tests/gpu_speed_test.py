"""benchmarks/gpu_speed.py without a GPU: what it says then, and that the command itself runs to its end."""

import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT

SCRIPT = os.path.join(ROOT, "benchmarks", "gpu_speed.py")


def test_a_row_that_needs_a_gpu_is_not_measured_on_something_else(monkeypatch):
    monkeypatch.syspath_prepend(os.path.dirname(SCRIPT))
    import gpu_speed

    bench = gpu_speed.Bench("", False, "", 1, 1.0, {}, {}, "", [], "", {})
    results = {row.name: gpu_speed.measured(row, bench) for row in gpu_speed.ROWS if row.needs}
    assert all(list(result) == ["no GPU"] and result["no GPU"] for result in results.values())
    assert [row.name for row in gpu_speed.ROWS if not row.needs] == ["executed nodes an update"]


def test_a_row_whose_worker_was_ended_says_why(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(os.path.dirname(SCRIPT))
    import gpu_speed
    import training_speed

    (tmp_path / "speed_worker.py").write_text("import sys; print('ready', flush=True); sys.stdin.readline()")
    monkeypatch.setattr(training_speed, "HERE", str(tmp_path))
    side = training_speed.Side("ours", "none", "bfloat16")
    for row_secs, result in ((0.0, {"given up": "after 0 s"}), (60.0, {"failed": str(side) + " ended:\n"})):
        worker = training_speed.Worker(side, "", "", {"ours": sys.executable})
        worker.process.kill()  # as by its time limit, while another worker has its turn
        worker.process.wait()
        bench = gpu_speed.Bench("a card", False, "", 1, row_secs, {}, {}, "", [], "", {})
        row = gpu_speed.Row("", "", "", lambda bench, worker=worker: worker.train(0, 1))
        assert gpu_speed.measured(row, bench) == result
        worker.close()


@pytest.mark.slow
@pytest.mark.skipif("CI" in os.environ, reason="takes 3 minutes; scripts/test_slow.sh by hand runs it")
def test_every_row_of_a_tiny_model_is_measured(tmp_path):
    results = str(tmp_path / "results.json")
    command = [sys.executable, SCRIPT, "--tiny", "--pairs=1", "--results=" + results]
    output = subprocess.run(command, stdout=subprocess.PIPE, universal_newlines=True, check=True).stdout
    with open(results) as file:
        rows = json.load(file)["rows"]
    assert len(rows) == 10 == sum(line.startswith("| tiny: ") for line in output.splitlines())
    assert not [row for row in rows.values() if "failed" in row or "given up" in row]
    assert rows["tiny: bitwise repeat and resume"]["equal"]
