"""Several processes train one model, joined by TF_CONFIG: two learn what one learns, and none waits for a dead one.

STEADY_BERT_KILLS is the number of kills in exact_resume_test.py, of runs of one process. A job of two takes longer to
restart, so here it is killed two fifths as often, at least twice.
"""

import contextlib
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import exact_resume_test
import forked
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from conftest import ROOT, command, mistake, run_main
from exact_resume_test import contents
from run_classifier_test import metrics_lines
from run_ner_test import Files

from steady_bert.training import checkpoint
from steady_bert.training.cluster import Cluster

slow = pytest.mark.slow

KILLS = max(2, 2 * exact_resume_test.KILLS // 5)
SHORT = exact_resume_test.RESUME_EVERY > 1  # as in CI: cases that show what no other one shows
SURVIVOR_SECS = 30.0  # a job stops within this time after it lost a worker
LONG_SECS = 300.0  # a limit for everything else, on a busy machine

STEPS = 20
LEARNED = dict(
    do_train="true",
    do_eval="true",
    num_train_steps=STEPS,
    num_warmup_steps=2,
    learning_rate=3e-3,
    eval_every_steps=4,
    eval_batch_size=10,  # 7 batches of dev: 4 for one worker, 3 for the other
    log_every_steps=1,
)
STATEFUL = dict(LEARNED, lookahead_steps=3, ema_decay=0.9, save_checkpoints_steps=1, checkpoint="last")
STATEFUL["num_train_steps"] = 16 * KILLS  # enough that no job ends before it is killed

# --- jobs -------------------------------------------------------------------------------------------------------------


def free_addresses():
    """Addresses for two workers on this machine; the port of the link between them is free too."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(3)]
        for each in sockets[:2]:
            each.bind(("127.0.0.1", 0))
        addresses = ["127.0.0.1:{}".format(each.getsockname()[1]) for each in sockets[:2]]
        with contextlib.suppress(OSError, OverflowError):  # the link's port is taken, or beyond the last port
            sockets[2].bind(("", Cluster({"worker": addresses}, "worker", 0).link_address[1]))
            return addresses
    return free_addresses()


class Worker:
    """A process with its TF_CONFIG. Its output goes to a file."""

    def __init__(self, line, addresses, index, log, compiled=False):
        self.addresses = addresses
        self.name = "worker {} ({})".format(index, addresses[index])
        self._log = str(log)
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        variables = dict(TF_CONFIG=json.dumps(config), TF_CPP_MIN_LOG_LEVEL="3")
        if line[1].startswith(ROOT):
            self.process = forked.Program(line, log, variables, compiled)
        else:  # another version of the code
            with open(self._log, "w") as output:
                streams = dict(stdout=output, stderr=subprocess.STDOUT)
                self.process = subprocess.Popen(line, env=dict(os.environ, **variables), **streams)

    def printed(self):
        with open(self._log) as file:
            return file.read()

    def ended(self, code):
        """Waits until it exits with `code`; gives its output."""
        assert self.process.wait(timeout=LONG_SECS) == code, self.printed()
        return self.printed()

    def await_updates(self, count):
        """Waits until it has printed that many updates since its start; for 0, until all workers have joined."""
        deadline = time.monotonic() + LONG_SECS
        pattern = r"^step \d+/\d+  loss " if count else "^All workers have joined"
        while len(re.findall(pattern, self.printed(), re.M)) < max(count, 1):
            assert self.process.poll() is None and time.monotonic() < deadline, self.printed()
            time.sleep(0.01)


@contextlib.contextmanager
def job(logs, line, other=None, compiled=False):
    """Starts [chief, worker 1] with a command line, the worker perhaps with another one; ends both after the block."""
    addresses = free_addresses()
    workers = []
    try:
        for index, each in enumerate((line, other or line)):
            workers.append(Worker(each, addresses, index, logs / "worker-{}.log".format(index), compiled))
        yield workers
    finally:
        for worker in workers:
            worker.process.kill()
            worker.process.wait()


def run_job(logs, line, other=None, compiled=False):
    """Runs two workers to the end of their commands; gives the output of each."""
    with job(logs, line, other, compiled) as workers:
        return [worker.ended(0) for worker in workers]


def worker_command(arguments, script="run_classifier"):
    return command(arguments + ["--distribution=multi_worker"], script)


# --- results of a run ------------------------------------------------------------------------------------------------

CLOCK = {"examples_per_sec", "input_wait_proportion", "evaluation_secs", "peak_memory_bytes"}


def metrics(folder, split):
    """The lines of metrics.jsonl, without what was measured of the run."""
    return [{name: line[name] for name in line if name not in CLOCK} for line in metrics_lines(folder, split)]


def column(folder, split, name):
    return np.array([line[name] for line in metrics(folder, split)])


def prefixes(folder):
    """The prefixes of the last checkpoint and of the best one."""
    folders = (folder, checkpoint.best_folder(folder))
    return [checkpoint.prefix_of(each, max(checkpoint.steps_in(each))) for each in folders]


def outcome(folder):
    """All numbers of a finished run."""
    with open(os.path.join(folder, "eval_results.json")) as file:
        scores = json.load(file)
    return metrics(folder, "train"), metrics(folder, "dev"), [contents(prefix) for prefix in prefixes(folder)], scores


def require_alike(folder, other):
    """Asserts that two runs differ by rounding alone. Measured: 1e-6 of a loss or norm, 9e-6 of a tensor's maximum."""
    assert list(column(folder, "train", "step")) == list(range(1, STEPS + 1))  # one process wrote, once
    compared = [("train", "learning_rate", 0.0, 0.0), ("train", "loss", 1e-5, 0.0), ("train", "grad_norm", 1e-5, 0.0)]
    compared += [("dev", name, 0.0, 1e-6) for name in metrics(other, "dev")[0] if name != "split"]
    for split, name, rtol, atol in compared:
        actual, expected = column(folder, split, name), column(other, split, name)
        np.testing.assert_allclose(actual, expected, rtol, atol, err_msg="{} {}".format(split, name))
    for prefix, expected_prefix in zip(prefixes(folder), prefixes(other)):
        assert os.path.basename(prefix) == os.path.basename(expected_prefix)  # the same step
        actual, expected = tf.train.load_checkpoint(prefix), tf.train.load_checkpoint(expected_prefix)
        assert actual.get_variable_to_shape_map() == expected.get_variable_to_shape_map()
        for name in expected.get_variable_to_shape_map():
            value = expected.get_tensor(name)
            # The softmax cancels a key's bias: its gradient is a rounding error, which Adam scales up to a step.
            largest = 1.0 if "key/bias" in name else np.max(np.abs(value))
            atol = 3e-5 * largest if np.isfinite(largest) else 0.0
            np.testing.assert_allclose(actual.get_tensor(name), value, rtol=0.0, atol=atol, err_msg=name)


# --- tests ------------------------------------------------------------------------------------------------------------


def test_without_tf_config_the_command_says_what_is_missing(tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    flags = tiny.flags(do_train="true", distribution="multi_worker", output_dir=str(tmp_path / "run"))
    assert "TF_CONFIG: it is not set" in mistake(flags, capsys)
    assert os.listdir(str(tmp_path)) == []


def require_same_learned(arguments, tmp_path, script="run_classifier", compiled=False):
    """Asserts that one process and two workers learn the same; gives the workers' folder."""
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    alone = forked.Program(command(arguments + ["--output_dir=" + one], script), tmp_path / "alone.log", None, compiled)
    assert alone.wait() == 0, alone.printed()
    line = worker_command(arguments + ["--output_dir=" + two], script)
    chief, other = run_job(tmp_path, line, line + ["--log_every_steps=3"], compiled)
    require_alike(two, one)
    assert "  loss " in chief and "  loss " not in other
    assert sum(name.startswith("events.") for name in os.listdir(two)) == 1
    return two


PLATEAU = dict(lr_schedule="plateau", plateau_patience=1, plateau_min_delta=0.5, plateau_factor=0.5)
CASES = {
    "adamw": dict(),
    "plateau": dict(PLATEAU, padding="fixed", optimizer="adamw", lookahead_steps=3, ema_decay=0.8),
    "ranger": dict(optimizer="ranger", gradient_accumulation_steps=2, learning_rate="auto"),
    "lazyadam": dict(optimizer="lazyadam", learning_rate=2e-4),  # larger ones amplify rounding
}


@slow
@pytest.mark.parametrize("case", sorted(set(CASES) - ({"adamw"} if SHORT else set())))  # plateau's optimizer too
def test_two_workers_learn_what_one_process_learns(tiny, tmp_path, case):
    flags = dict(LEARNED, bert_config_file=tiny.without_dropout)
    folder = require_same_learned(tiny.flags(**dict(flags, **CASES[case])), tmp_path, compiled=case == "plateau")
    if case == "plateau":
        assert column(folder, "train", "learning_rate")[-1] < 0.6 * LEARNED["learning_rate"]


@slow
def test_two_workers_tag_as_one_process_does(tmp_path):
    files, config = Files(str(tmp_path)), tmp_path / "bert_config.json"
    changed = dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, num_hidden_layers=1)
    config.write_text(json.dumps(dict(json.loads(config.read_text()), **changed)))
    require_same_learned(files.flags(head="crf", **LEARNED), tmp_path, "run_ner")


@slow
def test_a_run_moves_between_one_and_two_workers(tiny, tmp_path):
    flags = dict(LEARNED, bert_config_file=tiny.without_dropout, lr_decay_steps=STEPS, eval_every_steps=2)
    one, moved = str(tmp_path / "one"), str(tmp_path / "moved")
    assert run_main(tiny.flags(output_dir=one, **flags)) == 0
    assert run_main(tiny.flags(output_dir=moved, **dict(flags, num_train_steps=8))) == 0
    for printed in run_job(tmp_path, worker_command(tiny.flags(output_dir=moved, **dict(flags, num_train_steps=14)))):
        assert "Resume: continue (from step 8 of 14" in printed
    assert run_main(tiny.flags(output_dir=moved, **flags)) == 0
    require_alike(moved, one)


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory):
    """The outcome of an uninterrupted job."""
    folder = tmp_path_factory.mktemp("whole")
    run_job(folder, worker_command(tiny.flags(output_dir=str(folder / "run"), **STATEFUL)))
    return outcome(str(folder / "run"))


@slow
@pytest.mark.timeout(3600)
def test_a_signal_to_one_worker_stops_all_at_the_same_step(whole, tiny, tmp_path):
    folder = str(tmp_path / "run")
    line = worker_command(tiny.flags(output_dir=folder, **STATEFUL))
    for victim in (0, 1):
        with job(tmp_path, line) as workers:
            workers[0].await_updates(5 + victim)
            workers[victim].process.send_signal(signal.SIGTERM)
            printed = [worker.ended(143) for worker in workers]
        stopped = max(checkpoint.steps_in(folder))
        assert stopped < STATEFUL["num_train_steps"]
        assert all("Stopped by signal 15 at step {}, saved".format(stopped) in each for each in printed), printed
    run_job(tmp_path, line)
    assert outcome(folder) == whole


DIFFERENCES = {
    "train_batch_size=8": "its --train_batch_size is 8, the chief's is 16",
    "eval_batch_size=5": "its --eval_batch_size is 5, the chief's is 10",
    "data": "its data is",
    "code": "its code is",
    "folder": "its run in --output_dir is finished from",
}


@slow
@pytest.mark.parametrize("what", ["code", "folder"] if SHORT else sorted(DIFFERENCES))
def test_a_worker_with_another_command_is_refused_by_name(tiny, tmp_path, what):
    flags, copy = dict(LEARNED, output_dir=str(tmp_path / "run")), str(tmp_path / "copy")
    line = worker_command(tiny.flags(**flags))
    if what == "folder":
        assert run_main(tiny.flags(**dict(flags, output_dir=copy))) == 0
        other = worker_command(tiny.flags(**dict(flags, output_dir=copy)))
    elif "=" in what:
        other = line + ["--" + what]
    elif what == "data":
        shutil.copytree(tiny.data_dir, copy)
        with open(os.path.join(copy, "train.tsv"), "a") as file:
            file.write("r200\tgood alpha\tpraise\n")
        other = worker_command(tiny.flags(data_dir=copy, **flags))
    else:
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "tests", "quickstart"))
        with open(os.path.join(copy, "steady_bert", "schedules.py"), "a") as file:
            file.write("# another version\n")
        other = [sys.executable, os.path.join(copy, "run_classifier.py")] + line[2:]
    with job(tmp_path, line, other) as workers:
        for printed in [worker.ended(2) for worker in workers]:
            assert "error: {} was refused: ".format(workers[1].name) in printed and DIFFERENCES[what] in printed
    written = os.listdir(flags["output_dir"]) if os.path.exists(flags["output_dir"]) else []
    assert not {"plan.json", "metrics.jsonl", "decisions.jsonl"} & set(written)


@slow
def test_a_mistake_in_the_files_of_one_worker_ends_all_with_2(tiny, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tiny.data_dir, str(copy))
    with open(str(copy / "train.tsv"), "a") as file:
        file.write("r200\n")
    line, other_line = (
        worker_command(tiny.flags(data_dir=folder, output_dir=str(tmp_path / "run"), **LEARNED))
        for folder in (tiny.data_dir, str(copy))
    )
    with job(tmp_path, line, other_line) as workers:
        chief, other = [worker.ended(2) for worker in workers]
    assert "run_classifier: error: " in other and "train.tsv:202: " in other and "Traceback" not in other, other
    assert "error: {} stopped: ".format(workers[1].name) in chief and "train.tsv:202: " in chief, chief


@slow
def test_a_late_worker_is_refused(tiny, tmp_path):
    """Only a signal ends the job, so that it lasts until the late process has come, however long that takes."""
    folder = str(tmp_path / "run")
    flags = dict(do_train="true", num_train_steps=10**5, log_every_steps=1, precision="bfloat16")
    line = worker_command(tiny.flags(output_dir=folder, **flags))
    with job(tmp_path, line) as workers:
        chief = workers[0]
        chief.await_updates(1)
        workers.append(Worker(line, chief.addresses, 1, tmp_path / "late.log"))
        assert "error: worker 1 was refused: the job has already started at " in workers[2].ended(2)
        assert "worker 1 was refused: " in chief.printed()
        chief.await_updates(len(metrics(folder, "train")) + 5)
        chief.process.send_signal(signal.SIGTERM)
        for worker in workers[:2]:
            worker.ended(143)
    assert list(column(folder, "train", "step")) == list(range(1, max(checkpoint.steps_in(folder)) + 1))


@slow
def test_the_launcher_passes_signals_on_and_exits_with_the_workers_status(tiny, tmp_path):
    folder = str(tmp_path / "run")
    line = [os.path.join(ROOT, "scripts", "launch_local_cluster.sh"), "2"]
    line += command(tiny.flags(output_dir=folder, **dict(LEARNED, num_train_steps=10**5, lr_schedule="constant")))[1:]
    environment = dict(os.environ, PYTHON=sys.executable, LOGS=str(tmp_path / "logs"))
    pipes = dict(env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    pipes.update(start_new_session=True)  # so that its whole process group can be ended
    printed, launchers = [], [subprocess.Popen(line, **pipes)]
    try:
        for text in launchers[0].stdout:
            printed.append(text)
            if text.startswith("step 5/"):
                launchers[0].send_signal(signal.SIGTERM)
        assert launchers[0].wait() == 143 and "Stopped by signal 15 at step " in "".join(printed), printed
        steps = max(checkpoint.steps_in(folder)) + 1
        launchers.append(subprocess.Popen(line + ["--num_train_steps={}".format(steps)], **pipes))
        again = launchers[1].communicate()[0]
        assert launchers[1].returncode == 0 and "Resume: continue (from step {} ".format(steps - 1) in again, again
    finally:
        for launcher in launchers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(launcher.pid, signal.SIGKILL)


@slow
@pytest.mark.timeout(3600)
def test_a_killed_worker_stops_the_others_and_the_job_can_continue(whole, tiny, tmp_path):
    folder, rng = str(tmp_path / "run"), random.Random(1)
    line = worker_command(tiny.flags(output_dir=folder, **STATEFUL))
    victims = [number % 2 for number in range(KILLS)]
    rng.shuffle(victims)
    for victim in victims:
        with job(tmp_path, line) as workers:
            updates = rng.choice([0, 0] + list(range(1, 7)))
            workers[0].await_updates(updates)
            time.sleep(rng.uniform(0.0, 0.1 if updates else 4.0))  # while the graph is built
            workers[victim].process.kill()
            started = time.monotonic()
            printed = workers[1 - victim].ended(1)
            seconds = time.monotonic() - started
            assert workers[victim].process.wait() == -signal.SIGKILL
        step = max(checkpoint.steps_in(folder), default=0)
        print("{} killed near step {}: the other stopped after {:.2f} s".format(workers[victim].name, step, seconds))
        assert "error: {} is gone: ".format(workers[victim].name) in printed, printed
        assert seconds < SURVIVOR_SECS
    run_job(tmp_path, line)
    assert outcome(folder) == whole
