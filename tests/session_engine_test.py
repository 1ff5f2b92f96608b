"""One graph, one session: nothing is rebuilt, a run resumes from any step, damage and bad numbers are caught."""

import dataclasses
import json
import os
import shutil
import signal
import threading
import time

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from conftest import Terminal

import modeling
import tokenization
from optimization import OptimizerConfig
from steady_bert.base.errors import UserError
from steady_bert.tasks.classification import assembly as classification
from steady_bert.tasks.classification.own_text import TextProcessor
from steady_bert.training import (
    checkpoint,
    feature_cache,
    input_pipeline,
    memory,
    progress,
    saver,
    session_engine,
    updates,
    weights,
)
from steady_bert.training.plan import PlanConfig, make_plan
from steady_bert.training.session_engine import EngineConfig


def task_of(bert_config_file, **changed):
    inputs = classification.TaskInputs(
        processor=TextProcessor(labels=["blame", "praise"]),
        files={},
        labels=["blame", "praise"],
        tokenizer=None,
        vocab_fingerprint="tiny",
        bert_config=modeling.BertConfig.from_json_file(bert_config_file),
        max_seq_length=16,
    )
    return classification.classification_task(inputs._replace(**changed))


@pytest.fixture(scope="module")
def task(tiny):
    files = {split: os.path.join(tiny.data_dir, split + ".tsv") for split in ("train", "dev", "test")}
    return task_of(tiny.bert_config_file, files=files, tokenizer=tokenization.FullTokenizer(tiny.vocab_file))


@pytest.fixture(scope="module")
def records(task, tmp_path_factory):
    cache = str(tmp_path_factory.mktemp("cache"))
    return {split: feature_cache.open_or_build(task, split, cache) for split in ("train", "dev", "test")}


def plan_of(records, **changed):
    config = dict(
        train_batch_size=16,
        num_train_steps=12,
        learning_rate=1e-3,
        num_warmup_steps=2,
        eval_every_steps=4,
        save_checkpoints_steps=100,
        early_stopping_patience=3,
        seed=7,
    )
    return make_plan(PlanConfig(**dict(config, **changed)), len(records["train"]), {}, {})


def built(task, plan=None, optimizer=None, **config):
    settings = dict(max_seq_length=16, eval_batch_size=32, log_every_steps=0, keep_checkpoint_max=0)
    optimizer = optimizer or OptimizerConfig()
    return session_engine.build(task, EngineConfig(**dict(settings, **config)), seed=7, plan=plan, optimizer=optimizer)


def run(task, records, folder, plan, resume=None, **settings):
    """Trains in a fresh graph; gives the tensors of the last checkpoint."""
    engine = built(task, plan, **settings)
    tensors = trained_by(engine, records, folder, plan, resume)
    session_engine.close(engine)
    return tensors


def trained_by(engine, records, folder, plan, resume=None):
    """Trains, from the checkpoint `resume` if there is one, whatever the engine holds; gives the last tensors."""
    if resume is not None:
        session_engine.load_run(engine, resume, plan.train_batch_size)
    step = session_engine.train(engine, plan, records["train"], records["dev"], str(folder))
    reader = tf.train.load_checkpoint(checkpoint.prefix_of(str(folder), step))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def run_and_resume(task, records, folder, plan, steps, **settings):
    """The last tensors of a run that saves each step, once they are seen to be those of the runs resumed at `steps`.

    One graph serves all, which is most of the time: what a resume forgets has its value of the end.
    """
    engine = built(task, plan, **settings)
    whole = trained_by(engine, records, folder / "whole", plan)
    for step in steps:
        prefix = checkpoint.prefix_of(str(folder / "whole"), step)
        assert_equal(whole, trained_by(engine, records, folder / "from-{}".format(step), plan, prefix))
    session_engine.close(engine)
    return whole


def losses_and_norms(task, plan, records, steps, **config):
    """[steps, 2]: the loss and the gradient norm of each update, on the training file's examples in order."""
    engine = built(task, plan, **config)
    step = engine.session.make_callable(engine.training, feed_list=[engine.records])
    results = [step(records["train"].read(np.arange(n * 16, n * 16 + 16))) for n in range(steps)]
    session_engine.close(engine)
    return np.array([[result["loss"], result["grad_norm"]] for result in results])


def assert_equal(first, second):
    assert set(first) == set(second)
    assert not [name for name in first if not np.array_equal(first[name], second[name])]


@pytest.fixture(scope="module")
def trained(task, records, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    run(task, records, folder, plan_of(records, save_checkpoints_steps=4))
    return folder


@pytest.fixture(scope="module")
def undisturbed(trained):
    """The tensors at the end of plan_of(records), at whose evaluations this run saved too."""
    reader = tf.train.load_checkpoint(checkpoint.prefix_of(str(trained), 12))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def test_a_run_resumed_at_an_evaluation_or_between_two_ends_in_the_same_bits(task, records, tmp_path):
    """With dropout, evaluation and early stopping. exact_resume_test.py resumes every step with every kind of state."""
    whole = run_and_resume(task, records, tmp_path, plan_of(records, save_checkpoints_steps=1), (3, 8))
    assert whole["training_state/examples_consumed"] == 12 * 16
    assert whole["training_state/evaluated_step"] == 12


def test_every_replica_gets_an_example_of_the_last_batch(task, records):
    """The last batch may have fewer examples than there are replicas."""
    engine = built(task)
    whole = session_engine.evaluate(engine, "dev", records["dev"])

    class OfThreeReplicas:
        def run(self, inference, feeds):
            (serialized,) = feeds.values()
            ends = [place * len(serialized) // 3 for place in range(4)]
            parts = [serialized[start:end] for start, end in zip(ends, ends[1:])]
            assert all(parts)
            return [engine.session.run(engine.inference[0], {engine.records: part}) for part in parts]

    replicas = engine._replace(inference=engine.inference * 3, session=OfThreeReplicas())
    size = len(records["dev"]) - 1
    assert session_engine._predict(replicas, records["dev"], size).evaluation("dev").metrics == pytest.approx(
        whole.metrics
    )
    session_engine.close(engine)


def test_an_evaluation_cut_short_by_a_signal_is_repeated(task, records, tmp_path, monkeypatch, undisturbed):
    """The first evaluation and the last one, in a run that goes on from what the first left."""
    plan, prefix = plan_of(records), None
    engine = built(task, plan)
    for cut in (0, 2):
        calls = []

        def stopped(*args, original=session_engine._predict, cut=cut, calls=calls):
            calls.append(args)
            if len(calls) == cut + 1:
                os.kill(os.getpid(), signal.SIGTERM)
            return original(*args)

        folder = tmp_path / "cut-{}".format(cut)
        with monkeypatch.context() as patch:
            patch.setattr(session_engine, "_predict", stopped)
            with pytest.raises(SystemExit) as exit:
                trained_by(engine, records, folder, plan, prefix)
        assert exit.value.code == 143
        prefix, _ = checkpoint.newest_whole(str(folder))
        assert checkpoint.state_in(prefix).evaluated_step == 4 * cut
        assert_equal(undisturbed, trained_by(engine, records, folder, plan, prefix))
    session_engine.close(engine)


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_after_the_current_step(task, records, tmp_path, monkeypatch, capsys, number, code):
    """A second signal during the save changes nothing. The last report is a line, before the message."""
    plan = plan_of(records)
    threads = threading.active_count()
    read_ahead, save = input_pipeline.read_ahead, checkpoint.save

    def read_under_signal(batches):
        for count, batch in enumerate(read_ahead(batches), 1):
            if count == 6:
                os.kill(os.getpid(), number)
            yield batch

    def save_under_signal(*args):
        os.kill(os.getpid(), number)
        return save(*args)

    with monkeypatch.context() as patch:
        patch.setattr(input_pipeline, "read_ahead", read_under_signal)
        patch.setattr(checkpoint, "save", save_under_signal)
        engine = built(task, plan, log_every_steps=2)
        with pytest.raises(SystemExit) as exit:
            session_engine.train(engine, plan, records["train"], None, str(tmp_path))
        session_engine.close(engine)
    assert exit.value.code == code
    assert checkpoint.steps_in(str(tmp_path)) == [6]
    *reports, stopped = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in reports] == ["step 2/12", "step 6/12"]
    assert stopped.startswith("Stopped by signal {:d} at step 6, saved.".format(number))
    assert threading.active_count() == threads


def test_reading_ahead_changes_nothing_that_is_learned(task, records, tmp_path, monkeypatch, undisturbed):
    monkeypatch.setattr(input_pipeline, "read_ahead", lambda batches: batches)
    assert_equal(undisturbed, run(task, records, tmp_path, plan_of(records)))


def test_the_report_has_the_time_of_a_step_and_the_proportion_of_waiting(task, records, tmp_path, monkeypatch):
    """On a terminal. Only reading, updating and evaluating advance the clock; evaluations are not training time."""
    now = [0.0]

    def taking(seconds, call):
        def later(*arguments):
            now[0] += seconds
            return call(*arguments)

        return later

    def step_runner(*arguments, make=updates.step_runner):
        return taking(1.0, make(*arguments))

    def one_by_one(batches):
        for batch in batches:
            now[0] += 3.0
            yield batch

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(input_pipeline, "read_ahead", one_by_one)
    monkeypatch.setattr(updates, "step_runner", step_runner)
    monkeypatch.setattr(
        session_engine, "_evaluate_on_all_workers", taking(50.0, session_engine._evaluate_on_all_workers)
    )
    monkeypatch.setattr(memory, "peak_bytes", lambda gpus: 1500000000 + len(gpus))
    terminal = Terminal(monkeypatch, 80)
    run(task, records, tmp_path, plan_of(records, num_train_steps=6, eval_every_steps=2), log_every_steps=3)
    shown = terminal.lines()
    assert [line[:14] for line in shown[-5:-2]] == ["step {}/6  dev:".format(step) for step in (2, 4, 6)]
    assert shown[-2].startswith("step: 100%|███") and "| 6/6  in 00:" in shown[-2] and shown[-1] == ""
    with open(str(tmp_path / "metrics.jsonl")) as file:
        lines = [json.loads(line) for line in file]
    assert [line.get("peak_memory_bytes") for line in lines if line["split"] == "train"] == [1500000000] * 2
    speeds = [(line["examples_per_sec"], line["input_wait_proportion"]) for line in lines if line["split"] == "train"]
    assert speeds == [(16 / 4.0, 3.0 / 4.0)] * 2
    assert [line["evaluation_secs"] for line in lines if line["split"] == "dev"] == [50.0] * 3


def test_an_error_in_reading_ends_the_run_and_the_reading_thread(task, records, tmp_path, monkeypatch):
    read = feature_cache.RecordFile.read

    def broken(self, numbers, calls=[]):  # noqa: B006  (counts the calls)
        calls.append(1)
        if len(calls) == 4:
            raise OSError("the disk is gone")
        return read(self, numbers)

    monkeypatch.setattr(feature_cache.RecordFile, "read", broken)
    threads = threading.active_count()
    engine = built(task, plan_of(records))
    with pytest.raises(OSError, match="the disk is gone"):
        session_engine.train(engine, plan_of(records), records["train"], None, str(tmp_path))
    assert engine.session.run(engine.global_step) == 3
    session_engine.close(engine)
    assert threading.active_count() == threads


def test_profile_steps_are_traced_and_learn_the_same(task, records, tmp_path, trained, undisturbed):
    plan = plan_of(records)
    assert not (trained / "profile").exists()
    assert_equal(undisturbed, run(task, records, tmp_path / "traced", plan, profile_steps=(3, 4)))
    profile = tmp_path / "traced" / "profile"
    assert sorted(os.listdir(str(profile))) == ["step-3.json", "step-4.json"]
    events = json.loads((profile / "step-3.json").read_text())["traceEvents"]
    timed = [event for event in events if event["ph"] == "X" and "MatMul" in event["args"]["op"]]
    assert len(timed) >= 6 and all(event["dur"] >= 0 for event in timed)
    with pytest.raises(UserError, match="--profile_steps=12,13: the run ends at step 12"):
        updates.require_traceable(EngineConfig(profile_steps=(12, 13)), plan)


def test_evaluating_and_predicting_build_nothing(task, records, tmp_path, monkeypatch):
    plan = plan_of(records, eval_every_steps=2, early_stopping_patience=0)
    engine = built(task, plan)
    counts = []
    original = session_engine._predict

    def counted(*args, **what):
        outputs = original(*args, **what)
        counts.append(len(engine.session.graph.get_operations()))
        return outputs

    monkeypatch.setattr(session_engine, "_predict", counted)
    before = len(engine.session.graph.get_operations())
    session_engine.train(engine, plan, records["train"], records["dev"], str(tmp_path))
    session_engine.load_trained(engine, checkpoint.resolve(str(tmp_path)))
    session_engine.evaluate(engine, "dev", records["dev"])
    session_engine.predict(engine, records["test"])
    assert len(counts) == 8 and set(counts) == {before}
    session_engine.close(engine)


def test_predictions_do_not_depend_on_batch_size_or_padding(task, records):
    probabilities = []
    for padding, batch_sizes in (("none", (7, 30)), ("longest", (7,)), ("fixed", (7,))):
        engine = built(task, padding=padding)
        for size in batch_sizes:
            sized = engine._replace(config=dataclasses.replace(engine.config, predict_batch_size=size))
            probabilities.append(np.array(session_engine.predict(sized, records["test"])["probabilities"]))
        session_engine.close(engine)
    assert probabilities[0].shape == (30, 2)
    for other in probabilities[1:]:
        np.testing.assert_allclose(probabilities[0], other, atol=1e-5)


def tokens_of(record):
    return list(tf.train.Example.FromString(record).features.feature["input_ids"].int64_list.value)


@pytest.mark.parametrize("padding", ["none", "longest", "fixed"])
def test_predictions_are_in_file_order_and_the_loss_does_not_depend_on_batches(task, records, padding):
    """With predictions and a loss that identify their example."""

    def build(batch, is_training, compute):
        outputs = task.build(batch, is_training, compute)
        ids = batch["input_ids"]
        loss = tf.reduce_sum(tf.cast(ids, tf.float32), axis=1) * 0.1
        return outputs._replace(loss=loss, weight=loss * 0.0 + 1.0, predictions=dict(outputs.predictions, ids=ids))

    test = records["test"]
    expected = [tokens_of(record) for record in test.read(np.arange(len(test)))]
    assert [len(ids) for ids in expected] != sorted((len(ids) for ids in expected), reverse=True)
    identifying = task._replace(build=build, per_token_predictions=("ids",), score=lambda split, predictions: {})
    loss = np.mean([np.float32(sum(ids)) * np.float32(0.1) for ids in expected], dtype=np.float64)
    engine = built(identifying, padding=padding)
    for batch_size in (1, 7, 64):
        sized = engine._replace(config=dataclasses.replace(engine.config, eval_batch_size=batch_size))
        evaluation = session_engine.evaluate(sized, "test", test)
        assert [ids.tolist() for ids in evaluation.predictions["ids"]] == expected
        assert evaluation.metrics["loss"] == loss
    session_engine.close(engine)


def test_fixed_padding_is_a_static_shape(task, records):
    shapes = []
    watched = task._replace(
        build=lambda batch, *how: shapes.append(batch["input_ids"].shape.as_list()) or task.build(batch, *how)
    )
    session_engine.close(built(watched, padding="fixed"))
    session_engine.close(built(watched))
    assert shapes == [[None, 16], [None, None]]


def test_the_best_checkpoint_holds_only_weights_and_early_stopping_ends_the_run(task, records, tmp_path):
    """With a metric that falls after the first evaluation."""
    scores = iter([0.5, 0.4, 0.3, 0.2, 0.1])
    falling = task._replace(score=lambda split, predictions: {"accuracy": next(scores)})
    plan = plan_of(records, num_train_steps=40, early_stopping_patience=2)
    engine = built(falling, plan)
    assert session_engine.train(engine, plan, records["train"], records["dev"], str(tmp_path)) == 12
    session_engine.close(engine)
    assert checkpoint.steps_in(str(tmp_path / "best")) == [4]
    names = set(checkpoint.shapes_in(checkpoint.resolve(str(tmp_path))))
    assert names == set(engine.weights) | {"global_step"}
    state = checkpoint.state_in(checkpoint.prefix_of(str(tmp_path), 12))
    assert (state.best_step, state.best_score, state.evaluations_without_improvement) == (4, 0.5, 2)
    assert progress.stopped_early(state, 2)


def test_a_loss_that_is_not_finite_stops_before_any_checkpoint(task, records, tmp_path):
    def poisoned(batch, is_training, compute):
        outputs = task.build(batch, is_training, compute)
        if not is_training:
            return outputs
        bad = tf.cast(tf.equal(tf.train.get_global_step(), 3), tf.float32)
        return outputs._replace(loss=outputs.loss / (1.0 - bad))

    plan = plan_of(records, eval_every_steps=0, save_checkpoints_steps=1)
    engine = built(task._replace(build=poisoned), plan)
    with pytest.raises(UserError) as error:
        session_engine.train(engine, plan, records["train"], None, str(tmp_path))
    session_engine.close(engine)
    assert "from step 3 is not finite" in str(error.value) and "at these lines of the training file: " in str(
        error.value
    )
    assert checkpoint.steps_in(str(tmp_path))[0] == 3


def test_the_first_bad_loss_is_found_later_but_before_anything_is_saved(task, records, tmp_path, monkeypatch):
    """Numbers are read at reports, evaluations and saves: here at step 10, although the loss of update 4 is bad."""

    def poisoned(batch, is_training, compute):
        outputs = task.build(batch, is_training, compute)
        bad = tf.cast(tf.equal(tf.train.get_global_step(), 3), tf.float32)
        return outputs._replace(loss=outputs.loss / (1.0 - bad)) if is_training else outputs

    plan = plan_of(records, eval_every_steps=11, save_checkpoints_steps=11)
    engine = built(task._replace(build=poisoned), plan, log_every_steps=10)
    wrong = []
    monkeypatch.setattr(feature_cache.RecordFile, "lines", lambda self, numbers: wrong.extend(numbers) or [])
    with pytest.raises(UserError, match="from step 3 is not finite"):
        session_engine.train(engine, plan, records["train"], records["dev"], str(tmp_path))
    assert engine.session.run(engine.global_step) == 10 and not checkpoint.steps_in(str(tmp_path))
    session_engine.close(engine)
    order = input_pipeline.training_order(plan, records["train"], 0)
    assert wrong == list(order.numbers(3 * 16, 16))


def test_weights_that_an_update_made_infinite_are_never_saved_nor_the_best(task, records, tmp_path):
    """The loss and the gradient of that update are finite: its rate is too high."""
    plan = plan_of(records, learning_rate=3e38, lr_schedule="constant", num_warmup_steps=0, save_checkpoints_steps=1)
    engine, folder, best = built(task, plan), str(tmp_path), str(tmp_path / "best")
    wrong = r"The weights at step 1 are not finite \(in \d+ of \d+ variables, the first is "
    with pytest.raises(UserError, match=wrong):
        session_engine.train(engine, plan, records["train"], records["dev"], folder)
    with pytest.raises(UserError, match=wrong):
        checkpoint.save(engine.full_saver, engine.session, folder, 1, 0)
    with pytest.raises(UserError, match=wrong):
        checkpoint.save_best(folder, 1, saver.writer(engine.weights_saver, engine.session, 1))
    session_engine.close(engine)
    assert not [name for place in (folder, best) for name in os.listdir(place) if "model.ckpt" in name]


def test_what_is_finite_is_saved_though_its_sum_is_not(tmp_path):
    with tf.Graph().as_default(), tf.Session() as session:
        variables = {name: tf.get_variable(name, initializer=[3e38, 1.0], use_resource=True) for name in "ab"}
        variables["training_state/best_score"] = tf.get_variable("c", initializer=-np.inf, use_resource=True)
        saves = saver.saver(variables)
        session.run(tf.global_variables_initializer())
        checkpoint.save(saves, session, str(tmp_path), 1, keep=0)
        session.run(variables["b"].assign([1.0, np.nan]))
        with pytest.raises(UserError, match=r"step 2 are not finite \(in 1 of 2 variables, the first is b\)"):
            checkpoint.save(saves, session, str(tmp_path), 2, keep=0)
    assert checkpoint.steps_in(str(tmp_path)) == [1]
    assert checkpoint.Reader(str(tmp_path / "model.ckpt-1")).tensor("b").tolist() == [np.float32(3e38), 1.0]


def test_numbers_that_are_not_finite_are_read_from_no_checkpoint(tmp_path):
    prefix = str(tmp_path / "model.ckpt-1")
    state = checkpoint.state_tensors(checkpoint.TrainingState())  # the best score is -inf at first
    checkpoint.write(prefix, dict(state, good=np.ones(2, np.float32), bad=np.array([1, np.nan], np.float32)))
    reader = checkpoint.Reader(prefix)
    assert reader.tensor("good").tolist() == [1, 1]
    assert reader.tensor("training_state/best_score") == -np.inf
    with pytest.raises(UserError, match="model.ckpt-1: bad has numbers that are not finite"):
        reader.tensor("bad")
    checkpoint.write(str(tmp_path / "model.ckpt-0"), dict(state, good=np.ones(2, np.float32)))
    folder = str(tmp_path)
    assert checkpoint.discard_if_not_finite(folder, 0) is None and checkpoint.steps_in(folder) == [1, 0]
    assert "bad has numbers" in checkpoint.discard_if_not_finite(folder, 1)  # Estimator saves before anybody looks
    assert tf.train.latest_checkpoint(folder) == str(tmp_path / "model.ckpt-0")
    data = tmp_path / ("model.ckpt-0" + checkpoint.ENDINGS[0])
    data.write_bytes(bytes(len(data.read_bytes())))
    with pytest.raises(UserError, match="is damaged at"):
        checkpoint.discard_if_not_finite(folder, 0)
    assert checkpoint.steps_in(folder) == [0]


def test_the_checkpoint_before_the_newest_is_kept_and_named_if_nothing_goes_on_from_the_newest(records):
    assert [checkpoint.kept_in_training(keep) for keep in (0, 1, 2, 5)] == [0, 2, 2, 5]
    bad = {"loss": np.nan, "grad_norm": 1.0}
    for saved, before in (([8, 4], 4), ([8], 0)):
        advice = r"move model.ckpt-8.\* away, and the command goes on from step {}\.$".format(before)
        with pytest.raises(UserError, match=advice):
            progress.require_finite(bad, 8, records["train"], None, saved)
    for step, saved in ((9, [8, 4]), (0, [])):
        with pytest.raises(UserError) as error:
            progress.require_finite(bad, step, records["train"], None, saved)
        assert "away" not in str(error.value)


@pytest.mark.parametrize("ending", [".data-00000-of-00001", ".index"])
@pytest.mark.parametrize("how", ["flip", "cut", "empty", "delete"])
def test_a_damaged_checkpoint_is_skipped(trained, tmp_path, ending, how):
    folder = str(tmp_path / "copy")
    shutil.copytree(str(trained), folder)
    assert checkpoint.newest_whole(folder) == (checkpoint.prefix_of(folder, 12), [])
    path = checkpoint.prefix_of(folder, 12) + ending
    content = bytearray(open(path, "rb").read())  # noqa: SIM115
    if how == "flip":
        content[len(content) // 2] ^= 0x10
    os.unlink(path)
    if how != "delete":
        with open(path, "wb") as file:
            file.write({"flip": content, "cut": content[: len(content) // 2], "empty": b""}[how])
    prefix, skipped = checkpoint.newest_whole(folder)
    assert prefix == checkpoint.prefix_of(folder, 8)
    assert skipped or (how == "delete" and ending == ".index")


def test_if_all_checkpoints_are_damaged_nothing_starts_at_step_0(trained, tmp_path):
    folder = str(tmp_path / "copy")
    shutil.copytree(str(trained), folder)
    for step in checkpoint.steps_in(folder):
        with open(checkpoint.prefix_of(folder, step) + ".data-00000-of-00001", "wb"):
            pass
    with pytest.raises(UserError, match="No checkpoint in .* can be read"):
        checkpoint.newest_whole(folder)


def test_only_the_newest_checkpoints_are_kept_and_the_state_file_names_the_last(task, records, tmp_path):
    plan = plan_of(records, save_checkpoints_steps=2, eval_every_steps=0)
    # A checkpoint before the newest is kept too, in case nothing goes on from the newest.
    engine = built(task, plan, keep_checkpoint_max=1, log_every_steps=1)
    assert engine.kept.rows.shape[0] == 100  # for workers that differ in log_every_steps, whose variables may not
    session_engine.train(engine, plan, records["train"], None, str(tmp_path))
    session_engine.hand_over(engine, str(tmp_path), None)  # to the Estimator engine
    session_engine.close(engine)
    assert checkpoint.steps_in(str(tmp_path)) == [12, 10]
    assert tf.train.latest_checkpoint(str(tmp_path)) == checkpoint.prefix_of(str(tmp_path), 12)
    assert not [name for name in os.listdir(str(tmp_path)) if name.startswith(".saving")]


def test_weights_are_matched_by_name_and_shape_and_reported(task, records, trained, tmp_path):
    engine = built(task)
    prefix = checkpoint.prefix_of(str(trained), 12)
    report = session_engine.load_weights(engine, prefix)
    assert str(report) == "{} loaded, 0 missing, 0 unused, 0 mismatched".format(len(engine.weights))
    report = session_engine.load_weights(engine, prefix, reset_head=True)
    assert report.missing == ["output_bias", "output_weights"]
    session_engine.close(engine)
    shapes = {name: tuple(v.shape.as_list()) for name, v in engine.weights.items()}
    with pytest.raises(UserError, match="--reset_head"):
        weights.match_weights(dict(shapes, output_weights=(5, 32)), prefix, ("output_",), False)
    with pytest.raises(UserError, match="bert_config.json that belongs"):
        weights.match_weights(dict(shapes, **{"bert/pooler/dense/bias": (8,)}), prefix, ("output_",), False)
    with pytest.raises(UserError, match="none of its"):
        weights.match_weights({"other/" + name: s for name, s in shapes.items()}, prefix, ("output_",), False)


def test_a_model_without_a_trained_head_predicts_nothing(task, records, tmp_path, trained):
    engine = built(task)
    without_head = [v for name, v in engine.weights.items() if not name.startswith("output_")]
    with engine.session.graph.as_default():
        prefix = tf.train.Saver(without_head).save(engine.session, str(tmp_path / "pretrained.ckpt"))
    with pytest.raises(UserError, match="no trained head"):
        session_engine.load_trained(engine, prefix)
    assert session_engine.load_trained(engine, checkpoint.prefix_of(str(trained), 12)) == 12
    session_engine.close(engine)


def test_a_batch_in_parts_equals_the_whole_batch(tiny, task, records):
    """Without dropout; class weights give the parts different weights."""
    weighted = task_of(tiny.without_dropout, class_weights=[1.0, 5.0])
    plan = plan_of(records)
    by_parts = {
        parts: losses_and_norms(weighted, plan, records, 10, gradient_accumulation_steps=parts) for parts in (1, 4)
    }
    np.testing.assert_allclose(by_parts[4], by_parts[1], rtol=1e-5)
    with pytest.raises(UserError, match="16 does not divide by 1 replicas × 3 parts"):
        built(weighted, plan_of(records), gradient_accumulation_steps=3)


def test_a_resume_with_parts_lookahead_averages_and_plateau_is_exact(task, records, tmp_path):
    plan = plan_of(records, save_checkpoints_steps=1, lr_schedule="plateau", plateau_patience=1, plateau_min_delta=0.5)
    optimizer = OptimizerConfig(lookahead_steps=3, optimizer="radam", ema_decay=0.9)
    settings = dict(optimizer=optimizer, gradient_accumulation_steps=2)
    # Between two evaluations and two of Lookahead's steps.
    whole = run_and_resume(task, records, tmp_path, plan, (5,), **settings)
    assert whole["training_state/plateau_scale"] < 1.0 and any(name.endswith("/slow") for name in whole)


def test_averaged_weights_are_evaluated_and_exported(task, records, tmp_path):
    """Compared with the average of the checkpoints' weights in float64."""
    plan = plan_of(records, save_checkpoints_steps=1, eval_every_steps=12)
    optimizer = OptimizerConfig(ema_decay=0.8, freeze=("embeddings",))
    engine = built(task, plan, optimizer)
    start = {name: value.astype(np.float64) for name, value in engine.session.run(engine.weights).items()}
    session_engine.train(engine, plan, records["train"], records["dev"], str(tmp_path))
    steps = [tf.train.load_checkpoint(checkpoint.prefix_of(str(tmp_path), step)) for step in range(1, 13)]
    best = checkpoint.resolve(str(tmp_path), "best")
    exported = tf.train.load_checkpoint(best)
    for name, average in start.items():
        for t, reader in enumerate(steps, 1):
            decay = min(0.8, (1 + t) / (10 + t))
            average = decay * average + (1 - decay) * reader.get_tensor(name)
        assert abs(exported.get_tensor(name) - average).max() <= 2e-6 * abs(average).max()
        frozen = "embeddings" in name
        assert steps[-1].has_tensor(name + "/ema") != frozen
        assert np.array_equal(exported.get_tensor(name), steps[-1].get_tensor(name)) == frozen
    # The best checkpoint, the last one in the graph that trained, and the last one in a new graph are the same model.
    last = checkpoint.resolve(str(tmp_path), "last")
    losses = []
    for prefix in (best, last):
        session_engine.load_trained(engine, prefix)
        losses.append(session_engine.evaluate(engine, "dev", records["dev"]).metrics["loss"])
    session_engine.close(engine)
    engine = built(task)
    session_engine.load_trained(engine, last)
    losses.append(session_engine.evaluate(engine, "dev", records["dev"]).metrics["loss"])
    session_engine.load_weights(engine, last)
    losses.append(session_engine.evaluate(engine, "dev", records["dev"]).metrics["loss"])
    session_engine.close(engine)
    assert losses == pytest.approx([losses[0]] * 4, rel=1e-5)
    with open(os.path.join(str(tmp_path), "metrics.jsonl")) as file:
        assert json.loads(file.readlines()[-1])["loss"] == pytest.approx(losses[0], rel=1e-5)


def test_padding_changes_nothing_that_is_learned(tiny, task, records):
    """Without dropout, with a layer over all tokens and one for [CLS] alone. The batches differ in their padding."""
    plan, still = plan_of(records, num_warmup_steps=0), task_of(tiny.two_layers)
    by_padding = {
        padding: losses_and_norms(still, plan, records, 5, padding=padding) for padding in ("none", "longest", "fixed")
    }
    losses = by_padding["none"][:, 0]
    assert len(set(losses)) == 5 and np.ptp(losses) > 0.01  # it learns
    np.testing.assert_allclose(by_padding["longest"], by_padding["none"], rtol=1e-5)
    np.testing.assert_allclose(by_padding["fixed"], by_padding["none"], rtol=1e-5)


def test_each_part_of_a_batch_has_its_own_dropout_masks(task, records):
    """Two parts with the same examples: with the same masks, the loss would be that of one part."""
    engine = built(task, plan_of(records), gradient_accumulation_steps=2)
    half = records["train"].read(np.arange(8))
    both = engine.session.run(engine.training, {engine.records: half + half})
    session_engine.close(engine)
    engine = built(task, plan_of(records, train_batch_size=8))
    alone = engine.session.run(engine.training, {engine.records: half})
    session_engine.close(engine)
    assert both["loss"] != pytest.approx(alone["loss"], rel=1e-4)
