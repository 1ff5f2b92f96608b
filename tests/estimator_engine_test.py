"""Estimator and TPUEstimator train as the session engine does, and each continues what another one began."""

import dataclasses
import inspect
import json
import os
import re
import signal
import time
import types

import forked
import pytest
import session_engine_test
import tensorflow.compat.v1 as tf
from conftest import command, mistake, run_each, run_main
from run_classifier_test import metrics_lines

import tokenization
from steady_bert.base.errors import UserError
from steady_bert.training import (
    bucket,
    checkpoint,
    checkpoint_files,
    estimator_engine,
    estimator_input,
    feature_cache,
    session_engine,
)
from steady_bert.training.engine_config import EngineConfig, TpuConfig
from steady_bert.training.plan import PlanConfig, make_plan

HAS_ESTIMATOR = hasattr(tf, "estimator") and hasattr(tf.estimator, "tpu")
needs_estimator = pytest.mark.skipif(not HAS_ESTIMATOR, reason="this TensorFlow has no Estimator (2.15 was the last)")
TWO = ["--distribution=mirrored", "--devices=cpu:0,cpu:1"]
ON_ESTIMATOR = ["--engine=estimator"]
FOUR = ["--distribution=mirrored", "--devices=cpu:0,cpu:1,cpu:2,cpu:3"]
WAYS = {
    # First, since TensorFlow 2 fixes its logical devices once. On 1.15 four replicas take as long as all the rest.
    "session, replicas": FOUR if hasattr(tf.config, "list_physical_devices") else TWO,
    "session": [],
    "TPUEstimator": ON_ESTIMATOR,
    "Estimator, 1 replica": ON_ESTIMATOR + ["--distribution=mirrored", "--devices=cpu:0"],
    "Estimator, 2 replicas": ON_ESTIMATOR + TWO,
}


def flags(tiny, output_dir, **changed):
    values = dict(
        bert_config_file=tiny.without_dropout,
        output_dir=str(output_dir),
        do_train="true",
        num_train_steps=20,
        num_warmup_steps=2,  # the default is a proportion of the steps, which some tests change
        lr_schedule="constant",
        log_every_steps=1,
        save_checkpoints_steps=6,
        cache_dir=os.path.join(os.path.dirname(str(output_dir)), "cache"),
    )
    return tiny.flags(**dict(values, **changed))


def numbers(folder):
    """Split → step → the line of metrics.jsonl of a run."""
    by_split = {}
    for split in ("train", "dev"):
        lines = metrics_lines(str(folder), split)
        by_split[split] = {line["step"]: line for line in lines}
        assert len(by_split[split]) == len(lines)
    return by_split


def assert_same_updates(folder, expected, steps=20):
    actual, expected_lines = numbers(folder)["train"], numbers(expected)["train"]
    assert sorted(actual) == sorted(expected_lines) == list(range(1, steps + 1))
    for step, line in expected_lines.items():
        for name in ("loss", "learning_rate", "grad_norm"):
            assert actual[step][name] == pytest.approx(line[name], rel=1e-5, abs=1e-12), (folder, step, name)


@pytest.mark.parametrize("name", ["train", "evaluate", "predict"])
def test_both_engines_have_the_same_functions(name):
    in_session, on_estimator = (inspect.signature(getattr(m, name)) for m in (session_engine, estimator_engine))
    assert list(in_session.parameters) == list(on_estimator.parameters)
    results = [signature.return_annotation for signature in (in_session, on_estimator)]
    assert results[0] == results[1]


@pytest.fixture(scope="module")
def in_session(tiny, tmp_path_factory):
    """The folder of a run of 20 steps on one device in a session."""
    folder = tmp_path_factory.mktemp("in_session") / "run"
    assert run_each([flags(tiny, folder)]) == [0]
    return folder


@needs_estimator
def test_engines_and_numbers_of_replicas_learn_the_same(tiny, tmp_path):
    """With Lookahead, averaged weights and gradient accumulation."""
    settings = dict(gradient_accumulation_steps=2, lookahead_steps=3, ema_decay=0.9)
    settings.update(num_train_steps=9, save_checkpoints_steps=100)
    commands = [flags(tiny, tmp_path / name, **settings) + extra for name, extra in WAYS.items()]
    assert forked.call(run_each, commands) == [0] * len(WAYS)
    for name in WAYS:
        assert_same_updates(tmp_path / name, tmp_path / "session", 9)
        state = checkpoint.state_in(checkpoint.prefix_of(str(tmp_path / name), 9))
        assert state.examples_consumed == 9 * 16


@needs_estimator
def test_evaluations_on_estimator_reduce_the_rate_and_keep_the_best_as_in_a_session(tiny, tmp_path):
    settings = dict(do_eval="true", eval_every_steps=8, lr_schedule="plateau", plateau_patience=1, ema_decay=0.5)
    settings.update(plateau_min_delta=0.9)
    commands = [
        flags(tiny, tmp_path / name, **settings) + extra for name, extra in (("session", []), ("moved", ON_ESTIMATOR))
    ]
    assert run_each(commands) == [0, 0]
    assert_same_updates(tmp_path / "moved", tmp_path / "session")
    actual, expected = numbers(tmp_path / "moved"), numbers(tmp_path / "session")
    assert actual["train"][20]["learning_rate"] < actual["train"][10]["learning_rate"], "plateau was not tested"
    assert sorted(actual["dev"]) == sorted(expected["dev"]) == [8, 16, 20]
    for step, line in expected["dev"].items():
        for name in ("loss", "accuracy"):
            assert actual["dev"][step][name] == pytest.approx(line[name], abs=1e-6), (step, name)
    best = [checkpoint.steps_in(str(tmp_path / name / "best")) for name in ("moved", "session")]
    assert best[0] == best[1] and best[0]


@needs_estimator
def test_a_run_moved_between_engines_and_replicas_continues_with_the_same_examples(in_session, tiny, tmp_path):
    """The losses show the order of examples; then both engines evaluate and predict alike."""
    moves = [(7, TWO), (11, ON_ESTIMATOR), (15, ON_ESTIMATOR + TWO), (20, [])]  # TWO first, as above
    settings = dict(save_checkpoints_steps=100)
    commands = [flags(tiny, tmp_path / "moved", num_train_steps=until, **settings) + extra for until, extra in moves]
    use = ["--do_eval", "--do_predict", "--model_dir=" + str(tmp_path / "moved"), "--data_dir=" + tiny.data_dir]
    commands += [use + ["--output_dir=" + str(tmp_path / "on session")]]
    commands += [use + ["--output_dir=" + str(tmp_path / "on Estimator")] + ON_ESTIMATOR]
    assert forked.call(run_each, commands) == [0] * len(commands)
    assert_same_updates(tmp_path / "moved", in_session)
    folders = [tmp_path / name for name in ("on session", "on Estimator")]
    on_session, on_estimator = [json.loads((folder / "eval_results.json").read_text()) for folder in folders]
    assert on_session["accuracy"] == on_estimator["accuracy"]
    assert on_session["global_step"] == on_estimator["global_step"] == 20
    assert on_session["loss"] == pytest.approx(on_estimator["loss"], rel=1e-5)
    tables = [(folder / "predictions.tsv").read_text().splitlines() for folder in folders]
    chosen = [[line.split("\t")[:2] for line in table] for table in tables]
    assert chosen[0] == chosen[1] and len(chosen[0]) == 31


@needs_estimator
def test_records_and_checkpoints_go_through_the_bucket_and_back(in_session, tiny, tmp_path):
    bucket = tmp_path / "bucket"
    settings = dict(do_eval="true", do_predict="true", eval_every_steps=10, cache_dir="file://" + str(bucket))
    settings.update(keep_checkpoint_max=2)
    assert run_each([flags(tiny, tmp_path / "through", **settings) + ON_ESTIMATOR]) == [0]
    assert_same_updates(tmp_path / "through", in_session)
    assert checkpoint.steps_in(str(tmp_path / "through")) == [20, 16]
    (folder,) = bucket.glob("checkpoints-*")  # the run's; that of prediction is removed
    names = ["model.ckpt-16" + ending for ending in checkpoint.ENDINGS]  # 20 is rewritten after its evaluation
    for name in names:
        assert (tmp_path / "through" / name).read_bytes() == (folder / name).read_bytes()
    assert sorted(path.name.split("-")[0] for path in bucket.glob("*.tfrecord")) == ["dev", "test"]
    assert checkpoint.steps_in(str(bucket)) == []


def test_checkpoints_copied_back_from_the_bucket_are_limited_too(tmp_path):
    remote, folder = tmp_path / "bucket", tmp_path / "run"
    remote.mkdir()
    folder.mkdir()
    listener = bucket.CopyingBack(str(remote), str(folder), keep=1)  # and the one before, in case this one is bad
    for step in (5, 10, 15):
        for ending in checkpoint.ENDINGS:
            (remote / "model.ckpt-{}{}".format(step, ending)).write_text(str(step))
        listener.after_save(None, step)
    assert checkpoint.steps_in(str(folder)) == [15, 10]


def test_a_tpu_reads_in_sequence_static_shapes_and_no_python(tiny, tmp_path):
    """Every example once an epoch, each epoch in another order, from any position; each core knows its number."""
    task = session_engine_test.task_of(
        tiny.without_dropout,
        files={"train": os.path.join(tiny.data_dir, "train.tsv")},
        tokenizer=tokenization.FullTokenizer(tiny.vocab_file),
    )
    records = feature_cache.open_or_build(task, "train", str(tmp_path))
    plan = make_plan(PlanConfig(train_batch_size=40, num_train_steps=10, num_warmup_steps=1), len(records), {}, {})
    config = EngineConfig("estimator", padding="fixed", max_seq_length=16, bucket="file://" + str(tmp_path / "bucket"))
    config = dataclasses.replace(config, tpu=TpuConfig(use_tpu=True, num_tpu_cores=4))
    pod = dict(batch_size=10, context=types.SimpleNamespace(num_hosts=2))
    for input_fn in (
        estimator_input.training_input(task, config, plan, records, 0),
        estimator_input.prediction_input(task, config, records, 40),
    ):
        with pytest.raises(UserError, match="--num_tpu_cores=4: these cores are on 2 hosts"):
            input_fn(pod)

    def batches(position, count, plan=plan):
        with tf.Graph().as_default() as graph, tf.Session() as session:
            data = estimator_input.training_input(task, config, plan, records, position)(dict(batch_size=10))
            batch = tf.data.make_one_shot_iterator(data).get_next()
            assert {name: column.shape.as_list() for name, column in batch.items()} == {
                "input_ids": [10, 16],
                "input_mask": [10, 16],
                "segment_ids": [10, 16],
                "label_ids": [10],
                "replica": [10],
            }
            assert "PyFunc" not in str(graph.as_graph_def())
            return [session.run(batch) for _ in range(count)]

    def rows(batches):
        return [tuple(row) for batch in batches for row in batch["input_ids"].tolist()]

    read = batches(0, 60)  # three epochs of 200
    epochs = [rows(read[start : start + 20]) for start in (0, 20, 40)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(epochs[2]) and len(set(map(tuple, epochs))) == 3
    assert [set(batch["replica"]) for batch in read[:5]] == [{0}, {1}, {2}, {3}, {0}]
    assert rows(batches(280, 3)) == rows(read[28:31])
    other = dataclasses.replace(plan, seed=plan.seed + 1)
    assert rows(batches(0, 20, other)) not in epochs


@needs_estimator
def test_a_signal_saves_and_the_same_command_continues(tiny, tmp_path):
    arguments = flags(tiny, tmp_path / "run", num_train_steps=2000) + ON_ESTIMATOR
    process = forked.Program(command(arguments), tmp_path / "printed.log")
    path = tmp_path / "run" / "metrics.jsonl"
    while process.poll() is None and not (path.exists() and path.stat().st_size):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 143, process.printed()
    step = checkpoint.steps_in(str(tmp_path / "run"))[0]
    assert "Stopped by signal 15 at step {}, saved".format(step) in process.printed()
    commands = [flags(tiny, tmp_path / "run", num_train_steps=step + 3) + ON_ESTIMATOR]
    commands += [flags(tiny, tmp_path / "whole", num_train_steps=step + 3)]
    assert run_each(commands) == [0, 0]
    actual, expected = numbers(tmp_path / "run")["train"], numbers(tmp_path / "whole")["train"]
    assert sorted(actual) == sorted(expected)
    assert actual[step + 3]["loss"] == pytest.approx(expected[step + 3]["loss"], rel=1e-3)


@needs_estimator
def test_a_loss_that_is_not_finite_ends_the_run_and_leaves_the_good_checkpoint(tiny, tmp_path, capsys):
    changed = dict(learning_rate=1e30, num_warmup_steps=0, save_checkpoints_steps=1, keep_checkpoint_max=1)
    arguments = flags(tiny, tmp_path / "run", **changed)
    message = mistake(arguments + ON_ESTIMATOR, capsys)
    assert "is not finite" in message and "Nothing was saved after step" in message
    assert len(re.search(r"lines of the training file: ([\d, ]+)\.", message).group(1).split(", ")) == 16
    steps = checkpoint.steps_in(str(tmp_path / "run"))
    assert "from step {} is".format(steps[0]) in message
    assert checkpoint.damage(checkpoint.prefix_of(str(tmp_path / "run"), steps[0])) is None


@pytest.mark.parametrize(
    "error, expected",
    [
        (
            tf.errors.NotFoundError(None, None, "No session factory registered for the given session options"),
            "no TPU ans",
        ),
        (
            tf.errors.UnavailableError(None, None, "failed to connect to all addresses"),
            "no TPU answers at grpc://there",
        ),
        (RuntimeError("Cannot find any TPU cores in the system (master address )."), "or --master."),
        (ValueError("TPUConfig.num_shards is not set correctly. There are 8."), "--num_tpu_cores=4: TPUConfig.num_sha"),
        (tf.errors.ResourceExhaustedError(None, None, "Ran out of memory in memory space hbm"), None),
        (ValueError("Shapes (2,) and (3,) are incompatible"), None),
    ],
)
def test_the_errors_of_an_absent_tpu_are_user_errors_and_others_are_not(error, expected):
    config = EngineConfig("estimator", tpu=TpuConfig(use_tpu=True, master="grpc://there", num_tpu_cores=4))
    with pytest.raises(
        type(error) if expected is None else UserError, match=expected
    ), estimator_engine._reaching_the_tpu(config):
        raise error


@needs_estimator
def test_a_damaged_newest_checkpoint_is_skipped_and_the_good_ones_stay(tiny, tmp_path):
    folder = tmp_path / "run"
    first = [flags(tiny, folder, num_train_steps=12, keep_checkpoint_max=2)]
    assert run_each(first) == [0]
    with open(str(folder / "model.ckpt-12.data-00000-of-00001"), "r+b") as file:
        file.truncate(100)
    again = [flags(tiny, folder, num_train_steps=10, keep_checkpoint_max=1) + ON_ESTIMATOR]
    assert run_each(again) == [0]
    assert checkpoint.damage(checkpoint.prefix_of(str(folder), 10)) is None
    assert sorted(numbers(folder)["train"]) == list(range(1, 11))


@needs_estimator
def test_estimator_refuses_tf_config(tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": {"worker": ["127.0.0.1:2222"]}}))
    assert "TF_CONFIG is set, and --engine=estimator" in mistake(flags(tiny, tmp_path / "run") + ON_ESTIMATOR, capsys)


@pytest.mark.skipif(HAS_ESTIMATOR, reason="this TensorFlow has Estimator")
def test_without_estimator_the_message_says_what_to_use_instead(tiny, tmp_path, capsys):
    for extra in (ON_ESTIMATOR, ["--use_tpu", "--tpu_name=local"]):
        message = mistake(flags(tiny, tmp_path / "run") + extra, capsys)
        assert "has no Estimator; 2.15 was the last. Leave the flag out (the session engine" in message
    assert not (tmp_path / "run").exists()


@needs_estimator
def test_a_tagger_without_a_pooler_predicts_the_same_on_both_engines(tiny, tmp_path):
    """A tagger does not read the pooler, so a published one has none; Estimator restores all variables."""
    (tmp_path / "train.txt").write_text("alpha\tB-A\nbeta\tO\n\ngood\tO\n\n")
    settings = dict(train_file=str(tmp_path / "train.txt"), train_batch_size=2, num_train_steps=1, max_seq_length=16)
    files = dict(vocab_file=tiny.vocab_file, bert_config_file=tiny.bert_config_file, from_scratch="true")
    run = str(tmp_path / "run")
    assert run_ner(output_dir=run, do_train="true", **settings, **files) == 0
    prefix = checkpoint.prefix_of(run, 1)
    tensors = {name: checkpoint.Reader(prefix).tensor(name) for name in checkpoint.shapes_in(prefix)}
    checkpoint_files.unlist(run)  # the manifest would refuse another one
    checkpoint.write(prefix, {name: value for name, value in tensors.items() if not name.startswith("bert/pooler/")})
    written = []
    for engine in ("session", "estimator"):
        output = str(tmp_path / engine)
        using = dict(do_predict="true", predict_file=settings["train_file"], model_dir=run)
        assert run_ner(engine=engine, output_dir=output, **using) == 0
        with open(os.path.join(output, "predictions.conll")) as file:
            written.append(file.read())
    assert written[0] == written[1]


def run_ner(**values):
    return run_main(["--{}={}".format(*pair) for pair in values.items()], "run_ner")
