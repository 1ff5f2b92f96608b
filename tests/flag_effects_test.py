"""Every flag changes something that can be seen: in the plan, a graph, the features, or what a phase is given.

A row of ROWS names a flag, a value, the flags that it needs beside it, and an observer: a function of the command whose
result must differ from that of the same command without the flag. A value that is refused shows nothing.
"""

import collections
import contextlib
import gzip
import io
import json
import os
import shutil
import tempfile
import types
from typing import Any, Callable, Dict, NamedTuple
from unittest import mock

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from absl.testing import flagsaver
from conftest import train_sentencepiece

import flags
import optimization
from steady_bert.base.errors import UserError
from steady_bert.command_line import configuration, relations
from steady_bert.tasks.classification import job as classifier_job
from steady_bert.tasks.pretraining import job as pretraining_job
from steady_bert.tasks.questions import job as questions_job
from steady_bert.tasks.reading import source
from steady_bert.tasks.tagging import job as tagger_job
from steady_bert.tasks.task import BadLines
from steady_bert.training import (
    checkpoint,
    devices,
    estimator_engine,
    feature_cache,
    input_pipeline,
    manifest,
    plan,
    run,
    run_files,
    run_folder,
    session_engine,
    towers,
    trained_model,
    updates,
    weights,
    worker_link,
    workers,
)
from steady_bert.training.job import Job, RunConfig


class Command(NamedTuple):
    config: RunConfig
    job: Callable[[], Job]
    identity: Any  # what config.data says, for rows on files


CONFIGURATIONS: Dict[str, Any] = {
    "run_classifier": (configuration.classifier_config, classifier_job.make_job),
    "run_ner": (configuration.tagging_config, tagger_job.make_job),
    "run_pretraining": (configuration.pretraining_config, pretraining_job.make_job),
    "run_squad": (configuration.questions_config, questions_job.make_job),
}


def parsed(arguments: Dict[str, Any], script: str) -> Command:
    """A command line as its script reads it, with the registry as it was before."""
    for known in flags.GROUPS:
        flags.register(known)
    saved = flagsaver.save_flag_values()
    try:
        flags.FLAGS([script + ".py"] + ["--{}={}".format(*pair) for pair in arguments.items()])
        values = flags.Values(script)
        configure, make_job = CONFIGURATIONS[script]
        config = configure(values)
        given, notes = values.given_flags(), relations.notes(values)
    finally:
        flagsaver.restore_flag_values(saved)
    return Command(config.run, lambda: make_job(config, None, given, notes), config.data)


# --- observers --------------------------------------------------------------------------------------------------------


def plan_of(command):
    job, config = command.job(), command.config
    examples, _ = feature_cache.count(job.task, "train", config.max_train_examples, config.plan.seed)
    return run.make_plan(config, job, examples, None, None)


def planned(command):
    """The plan's numbers, notes and rates, without the settings that it only records."""
    made = plan.to_json(plan_of(command))
    made.pop("identity")
    return made, plan.rates(plan_of(command)).tolist()


def update(command):
    """The graph of an update of variables named as a BERT's are."""
    names = ("embeddings/word_embeddings", "encoder/layer_0/dense/kernel", "encoder/layer_1/LayerNorm/gamma")
    with tf.Graph().as_default() as graph, tf.variable_scope("", use_resource=True):
        made = [tf.get_variable("bert/" + name, [2, 2]) for name in names] + [tf.get_variable("output_weights", [2, 2])]
        step = tf.train.get_or_create_global_step()
        config = command.config.optimizer
        variables = optimization.trained_variables(config)
        gradients = tf.gradients(tf.add_n([tf.reduce_sum(tf.square(variable)) for variable in made]), variables)
        optimization.create_update(gradients, variables, tf.constant(0.1), config, step)
        return graph.as_graph_def().SerializeToString(deterministic=True)


def tower(command):
    """The graph of evaluation: the model and its head."""
    task, engine = command.job().task, command.config.engine
    with tf.Graph().as_default() as graph, tf.variable_scope("", use_resource=True):
        batch = towers.parse(tf.placeholder(tf.string, [None]), task, engine)
        towers.inference_tower(task, engine, 0, batch, {})
        return graph.as_graph_def().SerializeToString(deterministic=True)


def trained_operations(command):
    """How many operations of each kind the model and its loss have in training."""
    task, engine = command.job().task, command.config.engine
    with tf.Graph().as_default() as graph, tf.variable_scope("", use_resource=True):
        task.build(towers.parse(tf.placeholder(tf.string, [None]), task, engine), True, towers.compute_of(engine))
        return collections.Counter(op.type for op in graph.get_operations())


def compute(command):
    return towers.compute_of(command.config.engine)


def tensor_float_32(command):
    with mock.patch.object(devices, "tf") as fake:
        fake.config.list_physical_devices.return_value = []
        devices.make_strategy(command.config.engine)
    return [str(call) for call in fake.config.experimental.mock_calls]


def engine_graph(command):
    """The whole graph of the session engine, which trains and evaluates."""
    with mock.patch.object(session_engine, "_open_session"):
        engine = session_engine.build(
            command.job().task, command.config.engine, 0, plan_of(command), command.config.optimizer
        )
    return engine.records.graph.as_graph_def().SerializeToString(deterministic=True)


def features(split):
    def of_split(command):
        task = command.job().task
        read = list(task.read(split, BadLines(task.skip_bad_lines)))
        return [feature for feature, _ in task.featurize(read)], task.labels

    return of_split


def files(command):
    return command.job().task.files


def tags(command):
    job = command.job()
    return job.task.labels, job.metrics


class Answer(Exception):  # noqa: N818
    """What a command does, where no more of it is wanted."""


def unpacked(command):
    """Whether the command reads a gzip file that unpacks to more than the limits, which are lowered here."""

    def make_job(_):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "a.gz")
            with gzip.open(path, "wb") as file:
                file.write(b"a line\n" * 9)
            try:
                raise Answer(len(list(source.lines(path, BadLines(0)))))
            except UserError as error:
                raise Answer(error.args[0].rpartition("It")[2]) from None

    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("_RATIO_FROM_BYTES", 8), ("LARGEST_GZ_RATIO", 0), ("_LINES_A_LOOK", 1)):
            patch.setattr(source, name, value)
        with pytest.raises(Answer) as answer:
            run.start(command.config, make_job)
    return answer.value.args[0]


def records(command):
    """How many records of each split the command reads."""
    with run_folder.cache_folder(None, None) as cache:
        opened, _ = run.open_records(command.config, command.job(), cache)
        return {split: len(of_split) for split, of_split in opened.items()}


def cache(command):
    with run_folder.cache_folder(command.config.cache_dir, command.config.weights.output_dir) as folder:
        return folder, command.config.engine.bucket


def order(command):
    """The examples of the first updates, which are of two lengths in turn."""
    made = plan_of(command)
    records = mock.Mock(index=np.array([(0, 0, n % 2, 0) for n in range(made.examples)], feature_cache.INDEX_DTYPE))
    return input_pipeline.training_order(made, records, 0).numbers(0, 20).tolist()


def phase(command):
    """Which phase a command is, and its engine."""
    phases = ("check_data", "dry_run", "train", "use_trained_model")
    called = []
    with contextlib.ExitStack() as stack:
        for name in phases:
            patched = mock.Mock(side_effect=lambda *args, name=name: called.append(name))
            stack.enter_context(mock.patch.object(run, name, patched))
        for module, name in ((estimator_engine, "require_estimator"), (devices, "prepare_xla")):
            patched = mock.Mock(side_effect=lambda *args, name=name: called.append(name))
            stack.enter_context(mock.patch.object(module, name, patched))
        run.start(command.config, lambda model_dir: command.job())
    return called


def uses(command):
    """What is evaluated, and where predictions are written."""
    job = mock.Mock(predictions_file="predictions.tsv")
    with mock.patch.object(trained_model, "evaluate") as evaluate:
        trained_model.evaluate_and_predict(mock.Mock(), command.config, job, {"dev": [], "test": []}, "folder")
    return len(evaluate.mock_calls), [call[1][3] for call in job.write_predictions.mock_calls]


def model(command):
    """The checkpoint that evaluation and prediction use."""
    where = command.config.weights
    return run.model_to_use(where, where.model_dir or where.output_dir)


def initial(command):
    prefix = run.initial_checkpoint(command.config.weights)
    return prefix, run.weights_identity(command.config.weights, prefix)


def head(command):
    """Which variables keep their initial values when a checkpoint of two classes is read for three."""
    prefix = run.initial_checkpoint(command.config.weights)
    shapes = {"bert/embeddings/word_embeddings": (4, 2), "output_weights": (3, 2)}
    return weights.match_weights(shapes, prefix, ("output_",), command.config.weights.reset_head).missing


def decision(command):
    """What the command does with a folder that holds a run."""
    folder = command.config.weights.output_dir
    saved = run_files.saved_plan(folder)
    prefix = run.initial_checkpoint(command.config.weights)
    return run.decide(command.config, plan_of(command), saved, folder, prefix)


def may_differ(command):
    """The files of the model's folder that may differ from its manifest."""
    with mock.patch.object(manifest, "verify", return_value=[]) as verify:
        run_folder.verify(command.config.weights.model_dir, command.config.weights)
    return verify.mock_calls[0][1][1]


def where_written(command):
    """The folder that a run is written to."""
    with mock.patch.object(run, "train") as train:
        run.start(command.config, lambda model_dir: command.job())
    return train.mock_calls[0][1][2]


def batches(function):
    def of_phase(command):
        engine = mock.Mock(config=command.config.engine)
        with mock.patch.object(session_engine, "_predict") as predict:
            function(engine)
        return predict.mock_calls[0][1][2]

    return of_phase


def kept(command):
    """How many checkpoints a save leaves."""
    with mock.patch.object(checkpoint, "save") as save, tf.Graph().as_default():
        engine = mock.Mock(config=command.config.engine)
        engine.session.graph = tf.get_default_graph()
        engine.session.run.return_value = 3
        session_engine.hand_over(engine, "folder", None)
    return save.mock_calls[0][1][4]


@contextlib.contextmanager
def report_of(command):
    engine = mock.Mock(config=command.config.engine)
    made = plan_of(command)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(run_folder.cache_folder(None, None))
        stack.enter_context(tf.Graph().as_default())
        yield stack.enter_context(contextlib.closing(session_engine._report(engine, made, 0, folder)))


def reported(command):
    """The steps whose loss is printed."""
    with contextlib.redirect_stdout(io.StringIO()) as printed, report_of(command) as report:
        for step in range(1, 12):
            report.update(step, 0.5, 1e-3, 1.0)
    return [line.split()[1] for line in printed.getvalue().split("\n") if line.startswith("step ")]


def sinks(command):
    """How many places get the numbers besides metrics.jsonl."""
    with report_of(command) as report:
        return len(report.sinks)


def traced(command):
    """The updates that are traced."""
    engine = mock.MagicMock(config=command.config.engine)
    engine.session.run.return_value = (None, []), 0.5
    run_step = updates.step_runner(engine, 0)
    return [step + 1 for step in range(5) if run_step(step, [], [])[1] is not None]


def strategy(command):
    """The devices of a strategy, and its kind."""
    with mock.patch.object(devices, "tf") as fake:
        fake.config.list_physical_devices.return_value = ["a CPU"]
        devices.make_strategy(command.config.engine)
    return [str(call) for call in fake.distribute.mock_calls]


def session(command):
    return devices.session_config(command.config.engine).SerializeToString()


def listening(command):
    """The address at which the first worker would wait."""
    config = {"cluster": {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}, "task": {"type": "worker", "index": 0}}
    with contextlib.ExitStack() as stack:
        link = stack.enter_context(mock.patch.object(worker_link, "Link"))
        stack.enter_context(mock.patch.dict(os.environ, TF_CONFIG=json.dumps(config)))
        stack.enter_context(workers.joined(command.config.engine))
        return link.call_args[1]["bind"]


def estimator(command):
    """The settings of a TPU that Estimator gets."""
    fake = mock.MagicMock()
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(estimator_engine, "tf", fake))
        stack.enter_context(mock.patch.object(estimator_engine, "_model_fn", lambda *args: None))
        fake.errors.OpError = tf.errors.OpError
        engine = types.SimpleNamespace(config=command.config.engine, plan=plan_of(command))
        estimator_engine._make_estimator(engine, "folder", {})
    kind = fake.estimator.tpu
    tpu = {name: value for name, value in kind.TPUConfig.call_args[1].items() if isinstance(value, int)}
    resolver = fake.distribute.cluster_resolver.TPUClusterResolver
    return resolver.mock_calls, tpu, kind.RunConfig.call_args[1]["master"]


def pooled(command):
    """The scores of one text of two windows that say different things."""
    predictions = dict(logits=[[3.0, 0.0], [-2.0, 2.0]], window=[0, 1], label_ids=[1, 1])
    return command.job().describe_evaluation("dev", predictions)


def tuned(command):
    """The labels that are predicted with probabilities of which none reaches 0.5."""
    predictions = dict(probabilities=[[0.3, 0.1], [0.1, 0.4]], label_ids=[[1, 0], [0, 1]])
    return command.job().describe_evaluation("dev", predictions)


def answered(command):
    """What is written of the answer to a question, whose pieces are not those of the text, its scores, what is printed.

    The model finds no answer most probable, then alpha to gamma, then delta.
    """
    start, end = np.zeros(9), np.zeros(9)  # [CLS] good [SEP] alpha beta gamma delta [UNK] [SEP]
    start[[0, 3, 7]], end[[0, 5, 7]] = (5.0, 4.0, 3.0), (5.0, 4.0, 3.0)
    predictions = dict(question=[0], window=[0], start_logits=[start], end_logits=[end])
    job = command.job()
    with run_folder.cache_folder(None, None) as folder, contextlib.redirect_stdout(io.StringIO()) as printed:
        scores_ = job.task.score("dev", predictions)
        job.write_predictions("test", predictions, 1, os.path.join(folder, "predictions.json"), folder)
        written = {}
        for name in sorted(os.listdir(folder)):
            with open(os.path.join(folder, name)) as file:
                written[name] = file.read()
    return scores_, written, printed.getvalue().replace(folder, "")


def best_metric(command):
    return run.with_best_metric(command.job(), command.config.best_metric).task.best_metric


# --- rows -------------------------------------------------------------------------------------------------------------


class Row(NamedTuple):
    value: Any
    seen: Callable[[Command], Any]
    companions: Dict[str, Any] = {}
    script: str = "run_classifier"
    instead: Any = None  # the value of the command without the flag, if it needs one


TAGGING = dict(script="run_ner")
PRETRAINING = dict(script="run_pretraining")
WORD_PIECES = dict(text_files="{chinese}", vocab_file="{word_pieces}")
WHOLE_WORDS = dict(WORD_PIECES, do_whole_word_mask="true")
QUESTIONS = dict(script="run_squad")
USING = dict(do_train="false", model_dir="{model}")
PLATEAU = dict(lr_schedule="plateau", do_eval="true")
PIECEWISE = dict(lr_schedule="piecewise", learning_rate=None, num_warmup_steps=0)
PUBLISHED = dict(bert_config_file=None, vocab_file=None, from_scratch=None)
BILSTM = dict(head="bilstm")
WINDOWS = dict(long_text="windows", max_seq_length=5)
TPU = dict(use_tpu="true", tpu_name="t", train_batch_size=16)

ROWS: Dict[str, Row] = {
    "do_train": Row("true", phase, dict(do_train=None, do_eval="true", output_dir="{model}")),
    "do_eval": Row("true", uses, dict(USING, do_predict="true")),
    "do_predict": Row("true", uses, dict(USING, do_eval="true")),
    "dry_run": Row("true", phase),
    "check_data": Row("true", phase),
    "task_name": Row("sst-2", features("train"), dict(data_dir="{sst}")),
    "data_dir": Row("{sst}", features("train"), dict(text_columns="sentence")),
    "text_columns": Row("other", features("train")),
    "label_column": Row("mark", features("train")),
    "label_type": Row("multi", features("train")),
    "labels": Row("praise,blame", features("train")),
    "class_weights": Row("balanced", engine_graph),
    "long_text": Row("head_tail", features("train"), dict(max_seq_length=5)),
    "window_stride": Row(3, features("train"), WINDOWS),
    "window_pooling": Row("max", pooled, WINDOWS),
    "multi_label_threshold": Row("tune", tuned, dict(label_type="multi", do_eval="true")),
    "language": Row("de", files, dict(task_name="xnli")),
    "bert_config_file": Row("{wide}", tower),
    "vocab_file": Row("{reversed}", features("train")),
    "spm_model_file": Row("{spm}", features("train"), dict(vocab_file=None)),
    "do_lower_case": Row("false", features("train")),
    "max_seq_length": Row(4, features("train")),
    "max_train_examples": Row(5, records),
    "max_eval_examples": Row(5, records, dict(do_eval="true")),
    "cache_dir": Row("{cache}", cache),
    "label_separator": Row("i", features("train"), dict(label_type="multi")),
    "encoding": Row("cp1252", features("train"), dict(data_dir="{cp1252}")),
    "allow_large_gz": Row("true", unpacked),
    "skip_bad_lines": Row(1, records, dict(data_dir="{bad}")),
    "predict_file": Row("{data}/dev.tsv", features("test"), dict(USING, do_predict="true")),
    "predict_output": Row("{cache}/elsewhere.tsv", uses, dict(USING, do_predict="true")),
    "num_train_steps": Row(7, planned, dict(num_train_steps=None)),
    "num_train_epochs": Row(7, planned, dict(num_train_steps=None)),
    "lr_decay_steps": Row(90, planned),
    "num_warmup_steps": Row(9, planned),
    "warmup_proportion": Row(0.4, planned),
    "learning_rate": Row(2e-5, planned),
    "lr_schedule": Row("cosine", planned),
    "end_learning_rate": Row(1e-4, planned),
    "decay_power": Row(2, planned),
    "decay_cycle": Row("true", planned, dict(lr_decay_steps=20, end_learning_rate=1e-4)),
    "decay_begin": Row("warmup_end", planned),
    "lr_boundaries": Row("20,40", planned, dict(PIECEWISE, lr_values="1e-3,1e-4,1e-5")),
    "lr_values": Row("1e-3,1e-4,1e-5", planned, dict(PIECEWISE, lr_boundaries="20,40")),
    "gradient_accumulation_steps": Row(2, engine_graph),
    "plateau_factor": Row(0.5, planned, PLATEAU),
    "plateau_patience": Row(5, planned, PLATEAU),
    "plateau_min_delta": Row(0.01, planned, PLATEAU),
    "train_batch_size": Row(8, planned, dict(num_train_steps=None)),
    "optimizer": Row("lamb", update),
    "lookahead_steps": Row(3, update),
    "lookahead_alpha": Row(0.25, update, dict(lookahead_steps=3)),
    "weight_decay_rate": Row(0.1, update),
    "no_decay_patterns": Row("embeddings", update),
    "momentum": Row(0.5, update, dict(optimizer="momentum")),
    "adam_beta1": Row(0.5, update),
    "adam_beta2": Row(0.9, update),
    "adam_epsilon": Row(0.1, update),
    "bias_correction": Row("true", update),
    "lr_multipliers": Row("output_=10", update),
    "layerwise_lr_decay": Row(0.9, update),
    "ema_decay": Row(0.9, update),
    "freeze": Row("embeddings", update),
    "unfreeze_schedule": Row("9=1", planned),
    "label_smoothing": Row(0.1, trained_operations),
    "focal_gamma": Row(2, trained_operations),
    "fgm_epsilon": Row(1, planned),
    "rdrop_alpha": Row(1, planned),
    "clip_norm": Row(0.5, update),
    "model": Row("{published}", tower, PUBLISHED, instead="{narrow}"),
    "init_checkpoint": Row("{model}/model.ckpt-3", initial, dict(from_scratch=None)),
    "from_scratch": Row("true", initial, dict(from_scratch=None)),
    "output_dir": Row("{cache}", where_written),
    "model_dir": Row("{model}", model, dict(do_train="false", do_eval="true", output_dir="{cache}")),
    "checkpoint": Row("last", model, dict(USING, do_eval="true")),
    "resume_mode": Row("weights", decision, dict(from_scratch=None, init_checkpoint="{model}", output_dir="{cache}")),
    "allow_plan_change": Row("true", decision, dict(output_dir="{model}", learning_rate=0.5)),
    "allow_changed_files": Row("vocab.txt", may_differ, dict(USING, do_eval="true")),
    "reset_head": Row("true", head, dict(from_scratch=None, init_checkpoint="{model}/model.ckpt-3")),
    "seed": Row(1, order),
    "shuffle": Row("false", order),
    "batching": Row("grouped", order),
    "padding": Row("longest", tower),
    "precision": Row("bfloat16", tower),
    "xla": Row("true", session),
    "compute_form": Row("plain", tower),
    "recompute": Row("true", compute),
    "tf32": Row("false", tensor_float_32),
    "gpu_memory_fraction": Row(0.5, session),
    "eval_batch_size": Row(4, batches(lambda engine: session_engine.evaluate(engine, "dev", None))),
    "predict_batch_size": Row(4, batches(lambda engine: session_engine.predict(engine, None))),
    "eval_every_steps": Row(7, planned, dict(do_eval="true")),
    "eval_every_epochs": Row(2, planned, dict(do_eval="true")),
    "best_metric": Row("macro_f1", best_metric, dict(do_eval="true")),
    "early_stopping_patience": Row(2, planned, dict(do_eval="true")),
    "save_checkpoints_steps": Row(7, planned),
    "keep_checkpoint_max": Row(2, kept),
    "log_every_steps": Row(3, reported),
    "log_every_secs": Row(60, reported, dict(log_every_steps=1)),
    "report_to": Row("none", sinks),
    "profile_steps": Row("2,3", traced),
    "engine": Row("estimator", phase),
    "distribution": Row("mirrored", strategy, dict(devices="cpu:0")),
    "cluster_bind": Row("127.0.0.1", listening, dict(distribution="multi_worker")),
    "devices": Row("cpu:0,cpu:1", strategy, dict(distribution="mirrored"), instead="cpu:0"),
    "use_tpu": Row("true", phase, dict(tpu_name="t")),
    "tpu_name": Row("other", estimator, TPU, instead="t"),
    "tpu_zone": Row("z", estimator, TPU),
    "gcp_project": Row("p", estimator, TPU),
    "master": Row("m", estimator, dict(TPU, tpu_name=None), instead="n"),
    "num_tpu_cores": Row(4, estimator, TPU),
    "iterations_per_loop": Row(7, estimator, TPU),
    "train_file": Row("{tags3}", features("train"), **TAGGING),
    "dev_file": Row("{tags3}", files, dict(dev_file=None), **TAGGING),
    "test_file": Row("{tags3}", files, dict(test_file=None), **TAGGING),
    "format": Row("columns", features("train"), dict(train_file="{columns}"), **TAGGING),
    "word_column": Row(1, features("train"), dict(train_file="{pos}"), **TAGGING),
    "overlaps": Row("longest", features("train"), dict(train_file="{overlaps}"), **TAGGING),
    "offset_unit": Row("bytes", features("train"), dict(train_file="{accents}"), **TAGGING),
    "tag_column": Row(1, features("train"), dict(train_file="{tags3}"), **TAGGING),
    "tag_scheme": Row("plain", tags, **TAGGING),
    "tags_file": Row("{tag_list}", tags, **TAGGING),
    "mend_tags": Row("true", features("train"), dict(train_file="{impossible}"), **TAGGING),
    "text_units": Row("characters", features("train"), dict(train_file="{spans}"), **TAGGING),
    "head": Row("crf", tower, **TAGGING),
    "lstm_size": Row(5, tower, BILSTM, **TAGGING),
    "lstm_layers": Row(2, tower, BILSTM, **TAGGING),
    "lstm_cell": Row("gru", tower, BILSTM, **TAGGING),
    "constrained_decoding": Row("true", tower, dict(head="crf"), **TAGGING),
    "doc_stride": Row(1, features("train"), dict(max_seq_length=6), **TAGGING),
    "input_file": Row("{records2}", files, dict(text_files=None), **PRETRAINING, instead="{records}"),
    "text_files": Row("{sentences}", files, **PRETRAINING, instead="{chinese}"),
    "text_form": Row("document", features("train"), **PRETRAINING),
    "use_next_sentence_task": Row("true", tower, dict(use_next_sentence_task=None), **PRETRAINING, instead="false"),
    "max_predictions_per_seq": Row(1, features("train"), **PRETRAINING),
    "masked_lm_prob": Row(0.5, features("train"), **PRETRAINING),
    "do_whole_word_mask": Row("true", features("train"), WORD_PIECES, **PRETRAINING),
    "segmentation_suffix": Row(".words", features("train"), WHOLE_WORDS, **PRETRAINING),
    "short_seq_prob": Row(1.0, features("train"), dict(use_next_sentence_task="true"), **PRETRAINING),
    "max_eval_steps": Row(1, records, dict(do_eval="true", eval_batch_size=1), **PRETRAINING),
    "version_2_with_negative": Row("true", answered, **QUESTIONS),
    "null_score_diff_threshold": Row(4, answered, dict(version_2_with_negative="true"), **QUESTIONS),
    "tune_null_threshold": Row("true", answered, dict(version_2_with_negative="true", do_eval="true"), **QUESTIONS),
    "max_query_length": Row(1, features("train"), dict(train_file="{questions2}"), instead=8, **QUESTIONS),
    "n_best_size": Row(1, answered, **QUESTIONS),
    "max_answer_length": Row(2, answered, **QUESTIONS),
    "score_by": Row("characters", answered, **QUESTIONS),
    "verbose_logging": Row("true", answered, **QUESTIONS),
}


@pytest.fixture(scope="module")
def places(tiny, tmp_path_factory):
    """Name → path of the files that rows name."""
    root = tmp_path_factory.mktemp("effects")

    def write(name, text):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    rows = ["{} {}\t{}\t{}\t{}".format(*row) for row in [("Good", "alpha", "beta", "praise", "up")] * 6]
    rows += ["bad gamma delta zeta\tkappa\tblame\tdown"] * 5
    for split in ("train", "dev", "test"):
        write("data/{}.tsv".format(split), "\n".join(["text\tother\tlabel\tmark"] + rows[len(split) - 3 :]) + "\n")
    write("sst/train.tsv", "sentence\tlabel\ngood alpha\t1\nbad\t0\n")
    write("bad/train.tsv", "text\tlabel\ngood\tx\nbad\ty\nbroken\n")
    os.makedirs(str(root / "cp1252"))
    (root / "cp1252" / "train.tsv").write_bytes(b"text\tlabel\ngood caf\xe9\tx\nbad\ty\n")
    with open(tiny.bert_config_file) as file:
        wide = dict(json.load(file), intermediate_size=48)
    with open(tiny.vocab_file) as file:
        pieces = file.read().split()
    words = "alpha\tB-A\nbeta\tO\ngamma\tO\ndelta\tO\nzeta\tO\n\ngood\tO\nbad\tB-A\n\n"
    three_columns = "alpha\tB-A\tO\nbeta\tO\tB-A\ngamma\tO\tI-A\n\ngood\tO\tO\nbad\tB-A\tB-A\n\n"
    symbols = "[CLS],[SEP],[MASK]"
    lines = ["good alpha beta", "bad gamma delta zeta"] * 9
    paths = dict(
        data=str(root / "data"),
        sst=str(root / "sst"),
        bad=str(root / "bad"),
        cp1252=str(root / "cp1252"),
        cache=str(root / "cache"),
        model=str(root / "model"),
        wide=write("wide.json", json.dumps(wide)),
        reversed=write("vocab.txt", "\n".join(pieces[:5] + pieces[:4:-1]) + "\n"),
        spm=train_sentencepiece(str(root / "spm.model"), lines, control_symbols=symbols),
        tags=write("tags.txt", words),
        columns=write("tags.json", words),
        tags3=write("tags3.txt", three_columns),
        impossible=write("impossible.txt", "alpha\tO\nbeta\tI-A\n\ngood\tB-A\n\n"),
        spans=write("spans.json", entities("alpha beta", (0, 5))),
        overlaps=write("overlaps.json", entities("alpha beta", (0, 5), (0, 10))),
        accents=write("accents.json", entities("caf\u00e9s alpha", (7, 12))),
        pos=write("pos.txt", "alpha\tbeta\tB-A\ngood\tbad\tO\n\n"),
        questions=write("questions.json", question("good")),
        questions2=write("questions2.json", question("good bad")),
        tag_list=write("tag_list.txt", "I-A\nB-A\nO\n"),
        word_pieces=write("pieces.txt", "\n".join(pieces + ["##x", "##y", "\u8bed", "\u8a00"]) + "\n"),
        sentences=write("sentences.txt", "good alpha\nbad beta gamma\n\nalpha delta\nzeta\n" * 6),
        chinese=write("chinese.txt", "alphaxy \u8bed\u8a00 good\n" * 6),
        records=write("one.tfrecord", "12340000".replace("0", "\0")),
        records2=write("two.tfrecord", "12350000".replace("0", "\0")),
    )
    write("chinese.txt.words", "alphaxy \u8bed\u8a00 good\n" * 6)
    write_model(paths, tiny)
    for name, config in (("published", paths["wide"]), ("narrow", tiny.bert_config_file)):
        paths[name] = str(root / name)
        os.makedirs(paths[name])
        for given, target in ((config, "bert_config.json"), (tiny.vocab_file, "vocab.txt")):
            shutil.copy(given, os.path.join(paths[name], target))
        open(os.path.join(paths[name], "bert_model.ckpt.index"), "w").close()
    return paths


def question(text):
    """A file of one question whose answer is alpha beta gamma."""
    answer = {"text": "beta gamma", "answer_start": 6}
    asked = {"context": "alpha beta gamma delta \u2603", "qas": [{"id": "q", "question": text, "answers": [answer]}]}
    return json.dumps({"data": [{"paragraphs": [asked]}]})


def entities(text, *ends):
    """A line of JSON with entities between those ends."""
    marked = [{"start": start, "end": end, "type": "A"} for start, end in ends]
    return json.dumps({"text": text, "entities": marked}) + "\n"


def write_model(paths, tiny):
    """A folder with a checkpoint of step 3, a best one of step 2, and the plan of a run."""
    for folder, step in ((paths["model"], 3), (os.path.join(paths["model"], "best"), 2)):
        os.makedirs(folder)
        with tf.Graph().as_default(), tf.Session() as session_:
            tf.get_variable("bert/embeddings/word_embeddings", [4, 2])
            tf.get_variable("output_weights", [2, 2])
            tf.get_variable("global_step", initializer=np.int64(step))
            session_.run(tf.global_variables_initializer())
            tf.train.Saver().save(session_, os.path.join(folder, "model.ckpt-{}".format(step)), write_meta_graph=False)
    command = parsed(arguments_of(paths, tiny, Row(None, planned)), "run_classifier")
    with open(os.path.join(paths["model"], "plan.json"), "w") as file:
        json.dump(plan.to_json(plan_of(command)), file)


def arguments_of(paths, tiny, row):
    """The flags of a row's command without its own flag."""
    common = dict(
        do_train="true",
        vocab_file=tiny.vocab_file,
        bert_config_file=tiny.bert_config_file,
        max_seq_length=16,
        train_batch_size=4,
        learning_rate=1e-3,
        num_train_steps=60,
        from_scratch="true",
        output_dir=os.path.join(paths["cache"], "out"),
    )
    if row.script == "run_classifier":
        common.update(task_name="text", data_dir="{data}")
    elif row.script == "run_pretraining":
        common.update(text_files="{sentences}", dev_file="{sentences}", use_next_sentence_task="false")
    elif row.script == "run_squad":
        files_ = dict.fromkeys(("train_file", "dev_file", "predict_file"), "{questions}")
        common.update(max_query_length=8, **files_)
    else:
        common.update(train_file="{tags}", dev_file="{tags}", test_file="{tags}")
    common.update(row.companions)
    return {name: str(value).format(**paths) for name, value in common.items() if value is not None}


_OUTCOMES: Dict[Any, Any] = {}


def outcome(arguments, row):
    """The outcome of a command, which several rows may share."""
    key = (row.script, row.seen, tuple(sorted(arguments.items())))
    if key not in _OUTCOMES:
        _OUTCOMES[key] = fresh_outcome(arguments, row)
    return _OUTCOMES[key]


def fresh_outcome(arguments, row):
    """(what the observer sees, None), or (None, why the command is refused)."""
    try:
        return row.seen(parsed(arguments, row.script)), None
    except UserError as error:
        return None, str(error)


def test_every_flag_has_a_row():
    """Those of serve.py are shown by serve_test.py."""
    assert set(ROWS) == {flag.name for script in CONFIGURATIONS for flag in flags.flags_of(script)}


@pytest.mark.parametrize("name", sorted(ROWS))
def test_the_flag_has_an_effect(places, tiny, name):
    row = ROWS[name]
    without = arguments_of(places, tiny, row)
    without.pop(name, None)
    if row.instead is not None:
        without[name] = row.instead
    with_flag = dict(without, **{name: str(row.value).format(**places)})
    seen, refused = outcome(with_flag, row)
    assert refused is None
    assert seen != outcome(without, row)[0]
