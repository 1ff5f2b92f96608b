"""Progress: the bar on a terminal, lines in a log, the screen of scripts/watch.py."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time

import pytest
from comparison_test import write_run
from conftest import ROOT, Terminal

from steady_bert.base import program_end, progress_bar, progress_lines
from steady_bert.base.errors import UserError
from steady_bert.training import reports, run_status
from steady_bert.watching import screen, standing


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until its number is changed."""
    now = [1000.0]
    monkeypatch.setattr(reports.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(reports.time, "perf_counter", lambda: now[0])
    return now


def report_on(folder, every=1, line_secs=0.0, total=200):
    return reports.TrainingReport(str(folder), 0, total, 32, every, lambda: 2_500_000_000, line_secs)


def logged_steps(text):
    return [int(line.split()[1].split("/")[0]) for line in text.splitlines() if line.startswith("step ")]


def test_a_log_has_the_first_report_one_a_minute_and_the_last(tmp_path, clock, capsys):
    with contextlib.closing(report_on(tmp_path, every=2, line_secs=60.0)) as report:
        for step in range(1, 201):
            clock[0] += 1.0
            report.update(step, 0.5, 1e-3, 1.0)
        report.evaluation(200, {"f1": 0.5}, "f1", "", 1.0)
    printed = capsys.readouterr().out
    assert logged_steps(printed) == [2, 62, 122, 182, 200, 200]
    assert "step 62/200  loss 0.5000  lr 0.001  grad norm 1.000  " in printed
    # From the first update on, which a compilation may precede: 138 steps of a second.
    assert printed.splitlines()[1].endswith("  ETA 02:18")
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [*range(2, 201, 2), 200]


def test_a_log_ends_with_the_last_report_of_a_run_that_stops(tmp_path, clock, capsys):
    with contextlib.closing(report_on(tmp_path, every=2, line_secs=60.0)) as report:
        for step in range(1, 52):
            clock[0] += 1.0
            report.update(step, 1 / step, 1e-3, 1.0)
    first, last = capsys.readouterr().out.splitlines()
    assert logged_steps(first) == [2] and last.startswith("step 50/200  loss 0.0202  ") and last.endswith("ETA 02:29")


def test_a_day_left_is_not_shown_as_none(tmp_path, clock, capsys):
    with contextlib.closing(report_on(tmp_path, total=2 + 3600 * 30)) as report:
        for step in (1, 2):
            clock[0] += 1.0
            report.update(step, 0.5, 1e-3, 1.0)
    assert capsys.readouterr().out.splitlines()[1].endswith("  ETA 30:00:00")


# --- the bar ----------------------------------------------------------------------------------------------------------


def advance(report, clock, steps):
    for step in steps:
        clock[0] += 1.0
        with report.timed():
            clock[0] += 1.0
        report.update(step, 0.5, 1e-3, 1.25)


def test_a_terminal_has_a_bar_whose_figures_fit_and_whole_lines_above_it(tmp_path, clock, monkeypatch):
    terminal = Terminal(monkeypatch, 80)
    report = report_on(tmp_path)
    advance(report, clock, range(1, 51))
    report._bar.refresh()
    assert terminal.lines() == ["step:  25%|██▊        | 50/200  05:00 left  loss 0.5000  32 examples/s  2.50 GB"]
    with report.evaluating():
        assert "| 50/200  05:00 left  evaluating" in terminal.lines()[-1]
    report.evaluation(50, {"f1": 0.75, "loss": 1.0}, "f1", "  (best so far)", 2.0)
    sys.stderr.write("half ")
    advance(report, clock, [51])
    sys.stderr.write("a line\n")
    shown = terminal.lines()
    assert shown[0] == "step 50/200  dev: f1 0.7500  loss 1.0000  in 2.0 s  (best so far)"
    assert shown[-2] == "half a line"  # a library's warning, perhaps
    assert shown[-1].startswith("step:  26%|█") and shown[-1].endswith(
        "  04:58 left  loss 0.5000  f1 0.7500  32 examples/s"
    )
    terminal.resize(44)
    advance(report, clock, [52])
    report._bar.refresh()
    assert terminal.lines() == ["step:  26%|███         | 52/200  04:56 left"]
    terminal.resize(110)
    advance(report, clock, range(53, 201))
    report.close()
    last = "| 200/200  in 00:00  loss 0.5000  f1 0.7500  32 examples/s  2.50 GB  lr 0.001"
    shown = terminal.lines()
    assert shown[-2].startswith("step: 100%|███") and shown[-2].endswith(last) and shown[-1] == ""
    assert not hasattr(sys.stderr, "end_bar")


@pytest.mark.parametrize("where", ["dumb terminal", "pipe", "no terminal"])
def test_elsewhere_there_are_lines(tmp_path, clock, monkeypatch, where):
    terminal = Terminal(monkeypatch, 80, "dumb" if where == "dumb terminal" else "xterm")
    reading, writing = os.pipe()
    if where != "dumb terminal":
        for name in ("stdout", "stderr")[: 1 if where == "pipe" else 2]:
            monkeypatch.setattr(sys, name, os.fdopen(os.dup(writing), "w", 1))
    with contextlib.closing(report_on(tmp_path)) as report:
        advance(report, clock, [1])
    os.close(writing)
    shown = "\n".join(terminal.lines())
    text = shown if where == "dumb terminal" else os.read(reading, 1 << 16).decode()
    assert logged_steps(text) == [1] and "\r" not in text
    assert where == "dumb terminal" or shown == ""


def test_a_bar_on_the_terminal_goes_with_lines_in_a_file(tmp_path, clock, monkeypatch):
    terminal = Terminal(monkeypatch, 0)  # some connections do not say how large theirs is
    with open(str(tmp_path / "log"), "w+") as log:
        monkeypatch.setattr(sys, "stdout", log)
        with contextlib.closing(report_on(tmp_path)) as report:
            advance(report, clock, [1, 2])
        log.seek(0)
        assert logged_steps(log.read()) == [1, 2]
    assert terminal.lines()[-2].startswith("step:   1%|")


def test_other_long_work_has_a_bar_too_which_an_error_ends(clock, monkeypatch):
    monkeypatch.setattr(progress_lines, "_BAR_SECS", 0.0)
    terminal = Terminal(monkeypatch, 80)

    def work():
        progress = progress_lines.ProgressLines("Reading", 100, "bytes")
        clock[0] += 5.0
        for done in (10, 20, 30):
            clock[0] += 5.0
            progress.update(done)
        raise UserError("It is broken.")

    with pytest.raises(SystemExit):
        program_end.run("read", work)
    lines = terminal.lines()
    assert lines[0].startswith("Reading:  30%|") and lines[0].endswith("| 30/100  00:35 left  1.5 bytes/s")
    assert lines[1:] == ["read: error: It is broken.", ""]


def test_a_bar_of_work_whose_size_is_guessed_or_unknown_fits_a_narrow_terminal_too(clock, monkeypatch):
    monkeypatch.setattr(progress_lines, "_BAR_SECS", 0.0)
    terminal = Terminal(monkeypatch, 80)
    progress = progress_lines.ProgressLines("Reading train", None, "examples")

    def shown(done, proportion, columns):
        terminal.resize(columns)
        clock[0] += 10.0
        progress.update(done, proportion)
        progress._bar.refresh()
        return terminal.lines()[-1]

    assert shown(5_000, None, 80) == "Reading train: 5,000  500 examples/s"
    assert shown(10_000, 0.0997, 80) == (
        "Reading train:  10%|█▍            | 10,000/~100,000  03:00 left  500 examples/s"  # 90,000, 500 a second
    )
    assert not progress_bar.fits()  # one is enough
    assert shown(20_000, 1.0, 40) == "Reading train:  20%|█▏    |  01:46 left"
    assert shown(25_000, None, 24) == "Reading train:  25%|▌ |"
    terminal.resize(80)
    progress.finish(30_000)
    progress.close()
    assert terminal.lines()[0].endswith("| 30,000/30,000  in 00:00  750 examples/s") and progress_bar.fits()


def test_lines_of_other_work_come_once_a_minute(clock, capsys):
    progress = progress_lines.ProgressLines("Reading", 1000, "bytes")
    for done in range(1, 201):
        clock[0] += 1.0
        progress.update(5 * done)
    progress.update(1000)
    shares = [line.split()[1] for line in capsys.readouterr().out.splitlines()]
    assert shares == ["50", "350", "650", "950", "1,000"]


# --- watching ---------------------------------------------------------------------------------------------------------


def folder_of(path, steps, dev=(), total=20):
    """A run's folder that has reported these losses and scores by step."""
    write_run(path, [0] * 10)
    lines = [dict(step=step, split="train", loss=2 / step, examples_per_sec=64.0) for step in steps]
    lines += [dict(step=step, split="dev", loss=1.0, accuracy=score, evaluation_secs=30.0) for step, score in dev]
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


SCREEN = """\
run: step 12 of 20 (60%), loss 0.1667, accuracy 0.5000 (best
  0.7500 at step 4), 64 examples/s, 00:34 left, last report
  5 s ago
                              loss
    +------------------------------------------------------+
2.00| xx training                                          |
1.39| oo dev                                               |
0.78|     xxxxxxooooooooooo                                |
0.17|            xxxxxxxxxxxxxxxxxxxxx                     |
    ++------------+-------------+------------+------------++
     0            5            10           15           20
                         accuracy on dev
     +-----------------------------------------------------+
0.750|          x                                          |
0.667|           xxx                                       |
0.583|              xxxx                                   |
0.500|                  xxxx                               |
     ++------------+------------+------------+------------++
      0            5           10           15           20"""


def test_the_screen_shows_where_a_run_stands_with_loss_and_score(tmp_path, monkeypatch):
    folder = folder_of(tmp_path / "run", range(1, 13), [(4, 0.75), (8, 0.5)])
    monkeypatch.setattr(standing.time, "time", lambda: os.path.getmtime(os.path.join(folder, "metrics.jsonl")) + 5)
    assert screen.draw([standing.standing_of(folder)], 60, 20, ascii_only=True) == SCREEN


def test_a_screen_fits_its_terminal_and_is_right_for_ended_damaged_and_several_runs(tmp_path):
    ended = standing.standing_of(folder_of(tmp_path / "ended", range(1, 21), [(20, 0.9)]))
    assert ended.has_ended and ended.lines[0] == "finished: 20 steps" and "left" not in " ".join(ended.lines)
    path = tmp_path / "begun"
    folder_of(path, [1, 2, 3])
    with open(str(path / "metrics.jsonl"), "a") as file:
        file.write('{"step": 4, "split": "train", "loss": NaN}\n{"step": 5, "spl')
    begun = standing.standing_of(str(path))
    assert not begun.has_ended and begun.loss == [(1, 2.0), (2, 1.0), (3, pytest.approx(2 / 3))]
    assert begun.lines[-1] == "metrics.jsonl: 2 damaged lines are left out."
    fresh = standing.standing_of(write_run(tmp_path / "fresh", [0] * 10))
    assert (
        fresh.lines == ["no report yet, 20 steps"] and screen.draw([fresh], 80, 24) == "fresh: no report yet, 20 steps"
    )
    for columns, rows in ((80, 24), (40, 10), (200, 60), (20, 3)):
        lines = screen.draw([ended, begun, fresh], columns, rows).split("\n")
        assert len(lines) < rows and max(map(len, lines)) <= columns
    lines = screen.draw([ended, begun], 80, 24).split("\n")
    assert "⢕⢕ ended" in "\n".join(lines) and "xx begun" in "\n".join(lines)


def command_in(folder, states, ending=None):
    """What a command does with its folder, and how it ends."""
    with contextlib.suppress(Exception, SystemExit), run_status.Keeper(folder) as status:
        for state in states:
            status.enter(state)
        if ending is not None:
            raise ending


def test_how_a_run_ended_is_known_from_its_folder_whatever_it_reported(tmp_path):
    """The runs have no lines in metrics.jsonl."""
    folder = write_run(tmp_path / "run", [0] * 10)
    (tmp_path / "run" / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-8"\n')

    def shown():
        now = standing.standing_of(folder)
        return now.has_ended, now.lines[0]

    assert shown() == (False, "step 8 of 20 (40%)")  # an older version's
    for ending, expected in (
        (SystemExit(143), "stopped by SIGTERM at step 8 of 20 (40%): the same command goes on"),
        (UserError("The loss is\nnot finite."), "failed at step 8 of 20 (40%): The loss is not finite."),
        (OSError(13, "x" * 400), "failed at step 8 of 20 (40%): " + "x" * 299 + "…"),
        (RecursionError("deep"), "failed at step 8 of 20 (40%): A file or a value is nested too deeply (deep)."),
        (KeyError("x"), "failed at step 8 of 20 (40%): KeyError: 'x'"),
        (None, "stopped early at step 8 of 20 (40%)"),
    ):
        command_in(folder, ["training"], ending)
        assert shown() == (True, expected)
    command_in(folder, [], UserError("Refused."))
    assert shown() == (True, "stopped early at step 8 of 20 (40%)")  # as the command before left it
    (tmp_path / "run" / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-20"\n')
    with run_status.Keeper(folder) as status:
        status.enter("training")
        assert shown() == (False, "step 20 of 20 (100%)")  # its last evaluation follows
        status.enter("evaluating and predicting")
        assert shown() == (False, "evaluating and predicting after step 20 of 20 (100%)")
    assert shown() == (True, "finished: 20 steps")
    (tmp_path / "run" / "status.json").write_text("{")
    assert shown() == (True, "finished: 20 steps")


def test_a_run_that_lives_gives_signs_and_one_that_was_killed_none(tmp_path, monkeypatch):
    folder = write_run(tmp_path / "run", [0] * 10)
    path = str(tmp_path / "run" / "status.json")
    monkeypatch.setattr(run_status, "SIGN_SECS", 0.01)
    with run_status.Keeper(folder) as status:
        status.enter("training")
        os.utime(path, (0, 0))
        while run_status.secs_since_sign(folder) > 100:
            time.sleep(0.01)
    assert not [thread for thread in threading.enumerate() if thread.name == "signs of life"]
    (tmp_path / "run" / "status.json").write_text('{"state": "training"}')
    os.utime(path, (time.time() - 720, time.time() - 720))
    now = standing.standing_of(folder)
    assert now.lines == ["no report yet, 20 steps", "no sign of it for 12 min"] and not now.has_ended


def test_a_signal_after_training_is_known_too(tmp_path):
    """Such a signal ends the process at once."""
    folder = write_run(tmp_path / "run", [0] * 10)
    code = (
        "import os, signal, sys\n"
        "from steady_bert.base import tensorflow_setup\n"
        "from steady_bert.training import run_status\n"
        "tensorflow_setup.exit_on_signals()\n"
        "with run_status.Keeper(sys.argv[1]) as status:\n"
        "    status.enter('predicting')\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, folder], cwd=ROOT).returncode == 130
    assert run_status.read(folder) == run_status.Status("stopped", "SIGINT")


def test_watching_waits_for_a_run_that_has_no_plan_yet(tmp_path):
    folder, again = str(tmp_path / "run"), folder_of(tmp_path / "again", [1, 2, 3])
    os.mkdir(folder)
    begun = standing.standing_of(again)
    command_in(again, ["training"], SystemExit(143))
    with contextlib.suppress(UserError), run_status.Keeper(folder) as new, run_status.Keeper(again) as resumed:
        new.prepare()
        resumed.prepare()
        waiting = standing.standing_of(folder)
        assert not waiting.has_ended and screen.draw([waiting], 80, 24) == "run: preparing, no plan yet"
        now = standing.standing_of(again)
        assert not now.has_ended and now.lines[0] == "preparing to go on from step 3 of 20 (15%)"
        raise UserError("Refused.")
    assert os.listdir(folder) == [] and run_status.read(again) == run_status.Status("stopped", "SIGTERM")
    assert "accuracy on dev" not in screen.draw([waiting, begun], 80, 24)


def test_watching_starts_without_tensorflow_and_refuses_what_is_no_run(tmp_path):
    folder = folder_of(tmp_path / "run", range(1, 13))
    script = os.path.join(ROOT, "scripts", "watch.py")
    code = (
        "import runpy, sys; sys.argv = [{!r}, {!r}]\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "finally: assert 'tensorflow' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code.format(script, folder)], stdout=subprocess.PIPE)
    assert done.returncode == 0 and done.stdout.decode("utf-8").startswith("run: step 12 of 20 (60%)")
    (tmp_path / "empty").mkdir()
    for name, problem in (("nowhere", "no such folder"), ("empty", "nothing is trained here")):
        with pytest.raises(UserError, match=problem):
            standing.standing_of(str(tmp_path / name))
    (tmp_path / "run" / "plan.json").write_text("{")
    with pytest.raises(UserError, match="plan.json: not JSON"):
        standing.standing_of(folder)
