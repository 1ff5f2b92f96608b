"""Whole runs through the command line: what a user sees, what lies in the folder, exit codes."""

import inspect
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import filelock
import forked
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from conftest import ROOT, command, copy_as_stopped, mistake, run_each, run_main, succeed

from steady_bert.base import program_end
from steady_bert.training import run_status


def tensors(folder, step):
    reader = tf.train.load_checkpoint(os.path.join(folder, "model.ckpt-{}".format(step)))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def assert_bitwise_equal(first, second):
    assert set(first) == set(second)
    different = [name for name in first if not np.array_equal(first[name], second[name])]
    assert not different


def metrics_lines(folder, split):
    with open(os.path.join(folder, "metrics.jsonl")) as file:
        return [line for line in map(json.loads, file) if line["split"] == split]


@pytest.fixture(scope="module")
def finished(tiny, run_command, tmp_path_factory):
    """One run that trains, evaluates and predicts; most tests look into its folder."""
    folder = str(tmp_path_factory.mktemp("run") / "out")
    arguments = tiny.flags(output_dir=folder, do_train="true", do_eval="true", do_predict="true", eval_every_steps=20)
    process = run_command(arguments)
    assert process.returncode == 0, process.stderr
    return folder, arguments, process


def test_a_run_learns_the_task_and_leaves_a_self_contained_folder(finished, tiny):
    folder, _, process = finished
    with open(os.path.join(folder, "eval_results.json")) as file:
        results = json.load(file)
    assert results["accuracy"] >= 0.95
    assert results["labels"] == ["blame", "praise"]
    assert np.sum(results["confusion_matrix"]) == results["examples"] == 64
    with open(os.path.join(folder, "predictions.tsv")) as file:
        rows = [line.rstrip("\n").split("\t") for line in file]
    assert rows[0] == ["id", "prediction", "blame", "praise"]
    assert [row[0] for row in rows[1:]] == ["r{}".format(n) for n in range(30)]
    names = set(os.listdir(folder))
    assert {
        "flags.txt",
        "config.json",
        "plan.json",
        "bert_config.json",
        "vocab.txt",
        "labels.json",
        "checkpoint",
        "model.ckpt-60.index",
        "best",
        "metrics.jsonl",
        "eval_results.txt",
        "test_results.tsv",
        "cache",
    } <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert "eval_accuracy = " in Path(folder, "eval_results.txt").read_text()
    assert "loss " in process.stdout and "grad norm" in process.stdout and "ETA" in process.stdout


def test_metrics_are_logged_with_the_rate_that_each_update_used(finished):
    folder, _, _ = finished
    lines = metrics_lines(folder, "train")
    assert [line["step"] for line in lines] == [10, 20, 30, 40, 50, 60]
    for line in lines:
        t = line["step"] - 1  # the update that made this step
        assert line["learning_rate"] == pytest.approx(1e-3 * (t / 6 if t < 6 else 1 - t / 60), rel=1e-6)
    assert lines[-1]["loss"] < lines[0]["loss"] / 2
    assert [line["step"] for line in metrics_lines(folder, "dev")] == [20, 40, 60]
    events = [os.path.join(folder, name) for name in os.listdir(folder) if name.startswith("events.out")]
    written = {
        (value.tag, event.step)
        for e in events
        for event in tf.train.summary_iterator(e)
        for value in event.summary.value
    }
    names = ("train/loss", "train/learning_rate", "train/grad_norm", "train/examples_per_sec", "dev/accuracy")
    assert {(name, 60) for name in names} <= written


def test_the_same_command_again_finds_the_run_finished(finished, capsys):
    folder, arguments, _ = finished
    before = tensors(folder, 60)
    assert "step 60 of 60 is done" in succeed(arguments, capsys)
    assert_bitwise_equal(before, tensors(folder, 60))


def test_another_batch_size_in_the_same_folder_is_refused(finished, capsys):
    folder, arguments, _ = finished
    before = tensors(folder, 60)
    changed = [a for a in arguments if "train_batch_size" not in a] + ["--train_batch_size=32"]
    assert "train_batch_size: 16 → 32" in mistake(changed, capsys)
    assert_bitwise_equal(before, tensors(folder, 60))


def test_prediction_needs_only_the_models_folder(finished, tiny, tmp_path, capsys, monkeypatch):
    folder, _, _ = finished
    file = os.path.join(tiny.data_dir, "test.tsv")
    before = sorted(os.listdir(folder))
    monkeypatch.chdir(str(tmp_path))
    succeed(["--do_predict", "--model_dir=" + folder, "--predict_file=" + file], capsys)
    assert sorted(os.listdir(folder)) == before  # the model's folder is read-only
    assert (tmp_path / "predictions.tsv").read_text() == Path(folder, "predictions.tsv").read_text()


def test_a_damaged_checkpoint_that_a_flag_names_is_a_mistake(finished, tiny, tmp_path, capsys):
    folder = str(tmp_path / "run")
    shutil.copytree(finished[0], folder)
    (data,) = Path(folder, "best").glob("*.data-00000-of-00001")
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 0xFF
    data.write_bytes(content)
    said = mistake(["--do_eval", "--output_dir=" + folder, "--data_dir=" + tiny.data_dir], capsys)
    assert "best/model.ckpt-" in said and "is damaged at " in said and "--checkpoint=last" in said
    fresh = tiny.flags(output_dir=str(tmp_path / "out"), do_train="true", from_scratch=None, init_checkpoint=folder)
    assert "is damaged at " in mistake(fresh, capsys)


def test_same_command_twice_and_killed_and_continued_give_the_same_bits(finished, tiny, tmp_path):
    """A run stopped by SIGKILL, then by SIGTERM, ends with the weights, slots and counters of an undisturbed one."""
    folder, _, _ = finished
    other = str(tmp_path / "out")
    arguments = tiny.flags(
        output_dir=other,
        do_train="true",
        do_eval="true",
        eval_every_steps=20,
        save_checkpoints_steps=7,
        log_every_steps=1,
    )
    for number, step, expected in ((signal.SIGKILL, 16, -9), (signal.SIGTERM, 30, 143), (None, 60, 0)):
        process = forked.Program(command(arguments), tmp_path / "printed.log", compiled=True)
        while number and process.poll() is None and "\nstep {}/60".format(step) not in process.printed():
            time.sleep(0.01)
        if number:
            process.send_signal(number)
        assert process.wait() == expected, process.printed()
        states = {-9: ("training", ""), 143: ("stopped", "SIGTERM"), 0: ("finished", "")}
        assert tuple(vars(run_status.read(other))[name] for name in ("state", "reason")) == states[expected]
        if number == signal.SIGTERM:
            assert os.path.exists(os.path.join(other, "checkpoint"))
    assert "Resume: continue (from step " in process.printed()
    assert_bitwise_equal(tensors(folder, 60), tensors(other, 60))
    assert [line["step"] for line in metrics_lines(other, "train")] == list(range(1, 61))


@pytest.mark.slow
def test_two_replicas_equal_one_and_are_restored_like_one(tiny, tmp_path):
    """With Lookahead, averaged weights and gradient accumulation; the replicas continue a run of two replicas.

    Two replicas on CPU need a process of their own: TensorFlow 2 fixes the number of CPU devices when it starts.
    """

    def command_line(name, steps, *more):
        flags = dict(do_train="true", num_train_steps=steps, lr_schedule="constant", num_warmup_steps=0)
        flags.update(lookahead_steps=3, ema_decay=0.9, bert_config_file=tiny.without_dropout, log_every_steps=1)
        flags.update(gradient_accumulation_steps=2)
        flags.update(eval_batch_size=7, predict_batch_size=7, checkpoint="last", output_dir=str(tmp_path / name))
        return tiny.flags(**flags) + list(more)

    use = ["--do_eval", "--do_predict"]
    replicas = ["--distribution=mirrored", "--devices=cpu:0,cpu:1"]
    assert run_main(command_line("one", 20, *use)) == 0
    commands = [command_line("two", 10, *replicas), command_line("two", 20, *replicas, *use)]
    assert forked.call(run_each, commands) == [0, 0]
    losses, scores, predictions = {}, {}, {}
    for name in ("one", "two"):
        losses[name] = [line["loss"] for line in metrics_lines(str(tmp_path / name), "train")]
        scores[name] = json.loads((tmp_path / name / "eval_results.json").read_text())["loss"]
        predictions[name] = np.loadtxt(str(tmp_path / name / "test_results.tsv"), skiprows=1)
    np.testing.assert_allclose(predictions["two"], predictions["one"], atol=1e-3)
    assert scores["two"] == pytest.approx(scores["one"], rel=1e-4)
    np.testing.assert_allclose(losses["one"], losses["two"], rtol=1e-5)
    first, second = tensors(str(tmp_path / "one"), 20), tensors(str(tmp_path / "two"), 20)
    assert set(first) == set(second)
    for name, value in first.items():
        if value.dtype == np.float32:
            # a bias of keys has no gradient but rounding noise, which Adam scales up
            scale = max(np.abs(value).max(), 1e-2)
            assert np.abs(value - second[name]).max() <= 1e-3 * scale, name


def test_dry_run_prints_the_plan_and_starts_no_run(tiny, tmp_path, capsys):
    folder = tmp_path / "out"
    printed = succeed(tiny.flags(output_dir=str(folder), num_train_steps=None, dry_run="true"), capsys)
    assert "200 examples / 16 = 12.5 an epoch × 3 epochs → 37" in printed
    assert not folder.exists() or os.listdir(str(folder)) == ["learning_rate.png"]


@pytest.mark.parametrize(
    "changed, said",
    [
        (dict(nonsense=1), "nonsense"),
        (dict(num_train_steps="many"), "num_train_steps"),
        (dict(train_batch_size=0), "train_batch_size"),
        (dict(num_train_epochs=2), "--num_train_steps and --num_train_epochs"),
        (dict(data_dir="/nowhere"), "/nowhere"),
        (dict(vocab_file="/nowhere/vocab.txt"), "/nowhere/vocab.txt"),
        (dict(max_seq_length=64), "max_position_embeddings=32"),
        (dict(from_scratch=None), "--from_scratch"),
        (dict(from_scratch=None, init_checkpoint="/nowhere/model.ckpt"), "/nowhere/model.ckpt"),
        (dict(engine="estimator", xla="true"), "--xla is the session engine's"),
        (dict(distribution="multi_worker"), "TF_CONFIG"),
        (dict(devices="cpu:0,cpu:1"), "--distribution=mirrored"),
        (dict(best_metric="bleu"), "--best_metric=bleu"),
        (dict(do_train=None), "Nothing to do"),
        (dict(devices="gpu:7"), "TensorFlow finds no gpu:7"),
        (dict(do_predict="true", predict_file="/nowhere.tsv"), "/nowhere.tsv"),
        (dict(output_dir="/proc/none"), "--output_dir=/proc/none: cannot be written"),
    ],
)
def test_a_users_mistake_is_one_message_and_exit_2(tiny, changed, said, tmp_path, capsys):
    arguments = tiny.flags(**dict(dict(output_dir=str(tmp_path / "out"), do_train="true"), **changed))
    message = mistake(arguments, capsys)
    assert said in message
    assert message.count("\n") == 1


def test_a_second_run_in_the_same_folder_is_refused(tiny, tmp_path, capsys):
    folder = tmp_path / "out"
    folder.mkdir()
    with filelock.FileLock(str(folder / ".lock")):
        message = mistake(tiny.flags(output_dir=str(folder), do_train="true"), capsys)
    assert "another run is writing there" in message


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="this system does not show what a process has loaded")
@pytest.mark.parametrize("seconds", [0.5, 2.0])
def test_interrupt_before_training_exits_130(tiny, tmp_path, seconds):
    process = subprocess.Popen(
        command(tiny.flags(output_dir=str(tmp_path / "out"), do_train="true")),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    while "tensorflow" not in Path("/proc/{}/maps".format(process.pid)).read_text():
        time.sleep(0.01)
    time.sleep(seconds)  # while TensorFlow is imported, or between that and the first step
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130, errors.decode()
    assert b"Traceback" not in errors


def test_no_code_can_swallow_the_interrupt(tmp_path):
    """Import machinery, callbacks and destructors turn a raised exception into another one, or into none."""
    script = """
import os, signal
from steady_bert.base import tensorflow_setup
tensorflow_setup.exit_on_signals()
with tensorflow_setup.temporary_folder():
    print("flushed all the same")
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        pass
"""
    variables = dict(os.environ, TMPDIR=str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert (done.returncode, done.stdout) == (130, b"flushed all the same\n")
    assert done.stderr == b"Stopped by SIGINT; nothing was being trained.\n"
    assert os.listdir(str(tmp_path)) == []


def test_a_signal_after_the_end_changes_nothing():
    """When Python ends, it resets signal handlers before it destroys modules."""
    script = """
import os, signal
from steady_bert.base import tensorflow_setup
tensorflow_setup.exit_on_signals()
class Last:
    def __del__(self, kill=os.kill, pid=os.getpid(), number=signal.SIGTERM):
        kill(pid, number)
        print("taken down", flush=True)
last = Last()
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"taken down\n", b"")


def test_a_dry_run_draws_the_rates_and_trains_nothing(tiny, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    folder = str(tmp_path / "out")
    printed = succeed(
        tiny.flags(output_dir=folder, dry_run="true", num_warmup_steps=30, lr_schedule="constant"), capsys
    )
    assert "learning rate: constant, 0 at step 0, highest 0.001 at step 30" in printed
    rows = [line.split("│")[1] for line in printed.split("\n") if "│" in line]
    assert len(rows) == 10
    for level, row in zip(range(10, 0, -1), rows):  # column c stands for step c; the rate is a ramp, then flat
        assert row == "".join("█" if min(c / 30, 1.0) * 10 > level - 1 + 1e-9 else " " for c in range(60)).rstrip()
    with open(os.path.join(folder, "learning_rate.png"), "rb") as file:
        assert file.read(4) == b"\x89PNG"
    assert os.listdir(folder) == ["learning_rate.png"]


def test_schedules_are_drawn_in_one_figure_and_a_wrong_one_is_named(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(os.path.join(ROOT, "scripts"))
    import plot_schedule

    figure = str(tmp_path / "figure.png")
    schedule = "cosine:num_warmup_steps=10,decay_begin=warmup_end"
    monkeypatch.setattr(sys, "argv", ["plot_schedule.py", figure, "polynomial", schedule, "--steps=50"])
    plot_schedule.main()
    assert os.path.getsize(figure) > 1000
    for wrong, message in (("cosin", "'cosin' is none of"), ("cosine:power=2", "'power=2' is not a number")):
        monkeypatch.setattr(sys, "argv", ["plot_schedule.py", figure, wrong])
        with pytest.raises(SystemExit) as exit:
            program_end.run("plot_schedule", plot_schedule.main)
        assert exit.value.code == 2 and message in capsys.readouterr().err


def test_tensorflow_is_imported_without_keras_which_loads_when_it_is_used_and_its_notes_are_shown_if_asked_for():
    """That a run is silent otherwise is seen in test_closed_streams_…"""
    code = """
import sys
from steady_bert.base import tensorflow_setup
tensorflow_setup.start_program()
tensorflow_setup.import_tensorflow()
import tensorflow as tf
assert not any(name.startswith(("keras.", "tf_keras.")) for name in sys.modules)
assert tf.keras.layers.Dense(1)(tf.zeros([2, 3])).shape[0] == 2
print("ok")
"""
    variables = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="0")
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=variables, **pipes)
    assert process.stdout.endswith("ok\n") and process.stderr, process.stderr


@pytest.mark.usefixtures("graphs_as_built")
def test_plateau_lowers_the_rate_when_dev_stalls_and_its_state_is_resumed(tiny, tmp_path):
    """At so small a rate no score improves: every second evaluation halves the rate, down to end_learning_rate."""
    flags = dict(do_train="true", do_eval="true", lr_schedule="plateau", learning_rate=1e-9, plateau_factor=0.5)
    flags.update(end_learning_rate=2e-10, eval_every_steps=4, num_train_steps=40, log_every_steps=1)
    flags.update(save_checkpoints_steps=3, num_warmup_steps=2)
    whole, stopped = str(tmp_path / "whole"), str(tmp_path / "stopped")
    assert run_main(tiny.flags(output_dir=whole, keep_checkpoint_max=0, **flags)) == 0
    rates = [line["learning_rate"] for line in metrics_lines(whole, "train")]
    expected = [0.0, 0.5e-9]  # the first evaluation, after step 4, is the best; two later ones make a plateau
    for step in range(2, 40):
        expected.append(max(1e-9 * 0.5 ** max(0, (step // 4 - 1) // 2), 2e-10))
    np.testing.assert_allclose(rates, expected, rtol=1e-6)
    copy_as_stopped(whole, 21, stopped)  # exact_resume_test kills real processes
    assert run_main(tiny.flags(output_dir=stopped, **flags)) == 0
    resumed = metrics_lines(stopped, "train")
    assert [line["step"] for line in resumed] == list(range(22, 41))
    assert [line["learning_rate"] for line in resumed] == rates[21:]
    assert_bitwise_equal(tensors(whole, 40), tensors(stopped, 40))


@pytest.mark.usefixtures("graphs_as_built")
def test_grouped_batches_are_resumed_bitwise_within_a_block_and_in_the_next_epoch(tiny, tmp_path, capsys):
    """Batches of 3 of 200 examples: blocks of 50 and 16 batches, and one that two epochs share."""
    flags = dict(do_train="true", batching="grouped", train_batch_size=3, num_train_steps=80, save_checkpoints_steps=34)
    whole = str(tmp_path / "whole")
    assert "order: batches of similar length" in succeed(tiny.flags(output_dir=whole, **flags), capsys)
    for step in (34, 68):
        stopped = str(tmp_path / "from-{}".format(step))
        copy_as_stopped(whole, step, stopped)
        assert run_main(tiny.flags(output_dir=stopped, **flags)) == 0
        assert_bitwise_equal(tensors(whole, 80), tensors(stopped, 80))
    refused = mistake(tiny.flags(output_dir=whole, **dict(flags, batching=None)), capsys)
    assert "batching: grouped → permutation" in refused


def test_a_run_in_bfloat16_says_what_that_brings_and_stays_in_it(tiny, tmp_path, capsys):
    folder = str(tmp_path)
    assert run_main(tiny.flags(output_dir=folder, precision="bfloat16") + ["--do_train", "--do_eval"]) == 0
    captured = capsys.readouterr()
    assert "--precision=bfloat16: matrix products run" in captured.out + captured.err
    assert json.loads((tmp_path / "eval_results.json").read_text())["accuracy"] > 0.9
    refused = mistake(tiny.flags(output_dir=folder) + ["--do_train"], capsys)
    assert "precision: bfloat16 → float32" in refused


@pytest.mark.slow
def test_xla_compiles_the_step_and_learns_the_same(tiny, run_command, tmp_path, capsys):
    """From the same weights: XLA draws other random bits for initial values and dropout.

    XLA needs a process of its own: TensorFlow reads XLA's options once.
    """

    def losses(folder, *more):
        folder = str(tmp_path / folder)
        changed = dict(bert_config_file=tiny.without_dropout, log_every_steps=1, num_train_steps=3, from_scratch=None)
        given = tiny.flags(output_dir=folder, **changed)
        if "--xla" in more:
            done = run_command(given + ["--do_train", *more])
            assert done.returncode == 0, done.stderr
        else:
            assert run_main(given + ["--do_train", *more]) == 0
        return [line["loss"] for line in metrics_lines(folder, "train")]

    if "jit_compile" not in inspect.signature(tf.function).parameters:
        assert "--xla: TensorFlow 1.15" in mistake(tiny.flags(output_dir=tmp_path) + ["--do_train", "--xla"], capsys)
        return
    losses("start", "--from_scratch")
    start = "--init_checkpoint={}".format(tmp_path / "start")
    plain = losses("plain", start, "--padding=fixed")
    np.testing.assert_allclose(losses("xla", start, "--xla", "--profile_steps=2,2"), plain, rtol=1e-4)
    trace = (tmp_path / "xla" / "profile" / "step-2.json").read_text()
    assert "_XlaRun" in trace
