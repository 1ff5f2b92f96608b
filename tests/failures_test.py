"""Failures while TensorFlow runs: one message with the step and what to lower, exit 1, the traceback in a file."""

import os

import pytest
import tensorflow.compat.v1 as tf
from conftest import run_main

from steady_bert.base import disk
from steady_bert.training import estimator_engine, failures, reports, run_folder, trained_model, updates
from steady_bert.training.resume import Decision

GPU_OOM = tf.errors.InternalError(None, None, "CUDA runtime error: out of memory")
INTERNAL = tf.errors.InternalError(None, None, "Blas GEMM launch failed : a.shape=(2, 3)\n\t [[{{node MatMul}}]]")
AT_A_NODE = tf.errors.InvalidArgumentError(
    None,
    None,
    "Graph execution error:\n\nDetected at node 'a' defined at (most recent call last):\n    File \"x.py\", line 6\n"
    "Node: 'a'\nFrom /job:worker/replica:0/task:1:\nindices[0] = 5 is not in [0, 2)\n\t [[{{node a}}]]",
)
LOWER = "Compute the batch in smaller parts, with --gradient_accumulation_steps=2, or lower --train_batch_size=16 or "


def out_of_memory():
    return tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[16,32]\n[[node x]]")


def fail_at(monkeypatch, error, step):
    original = updates.step_runner

    def step_runner(engine, start):
        run = original(engine, start)

        def run_step(at, *rest):
            if at == step:
                raise error
            return run(at, *rest)

        return run_step

    monkeypatch.setattr(updates, "step_runner", step_runner)


@pytest.mark.parametrize(
    "error, said",
    [
        (out_of_memory(), "Out of memory at step 4, after 3 updates. " + LOWER),
        (GPU_OOM, "Out of memory at step 4, after 3 updates. " + LOWER),
        (MemoryError(), "Out of memory at step 4, after 3 updates. " + LOWER),
        (
            INTERNAL,
            "TensorFlow failed at step 4, after 3 updates (InternalError): Blas GEMM launch failed : a.shape=(2",
        ),
        (
            AT_A_NODE,
            "TensorFlow failed at step 4, after 3 updates (InvalidArgumentError): indices[0] = 5 is not in [0, 2)\n",
        ),
    ],
)
def test_a_failure_in_training_is_one_message(tiny, tmp_path, capsys, monkeypatch, error, said):
    folder = str(tmp_path / "out")
    fail_at(monkeypatch, error, 3)
    assert run_main(tiny.flags(output_dir=folder, do_train="true", num_train_steps=6, save_checkpoints_steps=2)) == 1
    message = capsys.readouterr().err
    assert message.startswith("run_classifier: " + said), message
    assert "Traceback" not in message and len(message.splitlines()) == 3
    traceback_file = os.path.join(folder, failures.TRACEBACK_FILE)
    assert "The traceback is in {}.".format(traceback_file) in message
    assert "The last checkpoint is {}; the command goes on".format(os.path.join(folder, "model.ckpt-2")) in message
    with open(traceback_file, encoding="utf-8") as file:
        assert "fail_at" not in message and "run_step" in file.read()


def test_the_command_goes_on_after_a_failure(tiny, tmp_path, capsys, monkeypatch):
    arguments = tiny.flags(
        output_dir=str(tmp_path / "out"), do_train="true", num_train_steps=4, save_checkpoints_steps=2
    )
    with monkeypatch.context() as patch:
        fail_at(patch, out_of_memory(), 3)
        assert run_main(arguments) == 1
    assert run_main(arguments + ["--gradient_accumulation_steps=2"]) == 0
    assert "model.ckpt-4.index" in os.listdir(str(tmp_path / "out"))


def test_a_failure_in_prediction_names_the_batches_of_evaluation(tiny, tmp_path, capsys, monkeypatch):
    def predict(engine, records):
        raise out_of_memory()

    folder = str(tmp_path / "out")
    monkeypatch.setattr(trained_model.session_engine, "predict", predict)
    arguments = dict(output_dir=folder, do_train="true", do_predict="true", num_train_steps=1, predict_batch_size=64)
    assert run_main(tiny.flags(**arguments)) == 1
    message = capsys.readouterr().err
    assert "Out of memory. Lower --eval_batch_size=32 and --predict_batch_size=64, or --max_seq_length=" in message


def test_a_batch_of_one_has_no_parts(tiny, tmp_path, capsys, monkeypatch):
    fail_at(monkeypatch, out_of_memory(), 0)
    arguments = dict(output_dir=str(tmp_path / "out"), do_train="true", num_train_steps=1, train_batch_size=1)
    assert run_main(tiny.flags(**arguments)) == 1
    message = capsys.readouterr().err
    assert "Out of memory at step 1, after 0 updates. Lower --train_batch_size=1 or --max_seq_length=" in message
    assert "checkpoint" not in message


@pytest.mark.skipif(not hasattr(tf, "estimator"), reason="TensorFlow without Estimator")
def test_a_failure_of_estimator_is_one_message(tiny, tmp_path, capsys, monkeypatch):
    def after_run(self, context, values):
        raise out_of_memory()

    monkeypatch.setattr(estimator_engine._Follow, "after_run", after_run)
    arguments = tiny.flags(output_dir=str(tmp_path / "out"), do_train="true", num_train_steps=4, engine="estimator")
    assert run_main(arguments) == 1
    message = capsys.readouterr().err
    assert "Out of memory at step 1, after 0 updates. " + LOWER in message and "Traceback" not in message


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux alone has this device")
def test_a_full_disk_under_a_log_names_the_log(tmp_path):
    path = str(tmp_path / "decisions.jsonl")
    os.symlink("/dev/full", path)
    with pytest.raises(disk.DiskFullError, match=path):
        run_folder.record_decision(str(tmp_path), Decision("start", "new"), "auto")
    with tf.Graph().as_default():
        report = reports.TrainingReport(str(tmp_path), 0, 9, 4, 1, lambda: None)
    report._lines.close()
    report._lines = open("/dev/full", "w")  # noqa: SIM115  (closed by the report)
    for action in (lambda: report.evaluation(1, {"accuracy": 0.5}, "accuracy", "", 1.0), report.close):
        with pytest.raises(disk.DiskFullError, match=str(tmp_path / "metrics.jsonl")):
            action()
