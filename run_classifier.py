"""Fine-tune BERT to classify sentences or sentence pairs, or to score them: one run, from flags to artefacts."""

import contextlib
import dataclasses
import json
import os
import shutil
import sys
import tempfile
from typing import Any, Dict, Iterator, List, Optional, Tuple

import tensorflow_setup

if __name__ == "__main__":
    tensorflow_setup.exit_on_signals()

import filelock

import flags
import modeling
import tokenization
from errors import UserError
from tasks import classification
from tasks.classification_data import (
    PROCESSORS,
    ColaProcessor,
    DataProcessor,
    InputExample,
    InputFeatures,
    MnliProcessor,
    MrpcProcessor,
    PaddingInputExample,
    XnliProcessor,
)
from tasks.classification_features import (
    convert_examples_to_features,
    convert_single_example,
    file_based_convert_examples_to_features,
)
from tasks.task import Task
from tasks.upstream_classifier import (
    create_model,
    file_based_input_fn_builder,
    input_fn_builder,
    model_fn_builder,
)
from training import checkpoint, feature_cache, files, reports, session_engine
from training import plan as plans
from training.feature_cache import RecordFile
from training.reports import say
from training.session_engine import Engine

# What scripts written for google-research/bert import from here.
__all__ = [
    "ColaProcessor",
    "DataProcessor",
    "FLAGS",
    "InputExample",
    "InputFeatures",
    "MnliProcessor",
    "MrpcProcessor",
    "PaddingInputExample",
    "XnliProcessor",
    "convert_examples_to_features",
    "convert_single_example",
    "create_model",
    "file_based_convert_examples_to_features",
    "file_based_input_fn_builder",
    "input_fn_builder",
    "model_fn_builder",
]

FLAGS = flags.FLAGS
flags.register("run_classifier")

PLAN_FILE = "plan.json"
LABELS_FILE = "labels.json"


def main() -> None:
    config = flags.classifier_config()
    if config.do_train or config.dry_run:
        train(config)
    else:
        use_trained_model(config)


# --- phases -----------------------------------------------------------------------------------------------------------


def train(config: flags.ClassifierConfig) -> None:
    """Trains (or continues, or finds the run finished), then evaluates and predicts as asked."""
    folder = config.weights.output_dir
    assert folder is not None
    task = make_task(config, labels_folder=None)
    if config.dry_run:
        examples = len(feature_cache.example_ids(task, "train", config.data.max_train_examples, config.plan.seed))
        print(plans.describe(make_plan(config, task, examples, saved_plan(folder))))
        return
    with locked(folder):
        records = open_records(config, task, config.data.cache_dir or os.path.join(folder, "cache"))
        saved = saved_plan(folder)
        plan = make_plan(config, task, len(records["train"]), saved)
        say(plans.describe(plan))
        checkpoint.remove_leftovers(folder)
        prefix, decision = decide(config, plan, saved)
        say("Resume: {} ({})".format(decision.action, decision.reason))
        engine = session_engine.build(task, config.engine, plan.seed, plan, config.optimizer)
        if decision.action != "finished":
            load_for_training(engine, config, plan, prefix)
            write_run_files(config, plan, task, folder)
            session_engine.train(engine, plan, records["train"], records.get("dev"), folder)
        if config.do_eval or config.do_predict:
            session_engine.load_trained(engine, checkpoint.resolve(folder, config.weights.checkpoint))
        evaluate_and_predict(engine, config, records, folder)
        session_engine.close(engine)


def use_trained_model(config: flags.ClassifierConfig) -> None:
    """Evaluates and predicts with a trained model; what it needs is in its folder."""
    model_dir = config.weights.model_dir or config.weights.output_dir
    assert model_dir is not None
    source = config.weights.init_checkpoint or model_dir
    prefix = checkpoint.resolve(source, config.weights.checkpoint)
    task = make_task(config, labels_folder=model_dir)
    folder = config.weights.output_dir or os.curdir
    with cache_folder(config) as cache:
        records = open_records(config, task, cache)
        engine = session_engine.build(task, config.engine, config.plan.seed)
        step = session_engine.load_trained(engine, prefix)
        say("Model: {} (step {})".format(prefix, step))
        evaluate_and_predict(engine, config, records, folder)
        session_engine.close(engine)


def evaluate_and_predict(
    engine: Engine, config: flags.ClassifierConfig, records: Dict[str, RecordFile], folder: str
) -> None:
    if config.do_eval:
        evaluate(engine, records["dev"], folder)
    if config.do_predict:
        predict(engine, records["test"], config.data.predict_output or os.path.join(folder, "predictions.tsv"))


def evaluate(engine: Engine, dev: RecordFile, folder: str) -> None:
    found = session_engine.evaluate(engine, "dev", dev)
    step = int(engine.session.run(engine.global_step))
    details: Dict[str, Any] = {"examples": len(dev), "labels": list(engine.task.labels)}
    details["confusion_matrix"] = classification.confusion(engine.task, found.predictions)
    reports.write_eval_results(folder, found.metrics, step, details)
    say("Evaluation of step {} on {:,} examples: {}".format(step, len(dev), reports.format_metrics(found.metrics)))
    if engine.task.labels:
        say(reports.format_confusion_table(details["confusion_matrix"], engine.task.labels))
    say("Wrote {}".format(os.path.join(folder, "eval_results.json")))


def predict(engine: Engine, records: RecordFile, path: str) -> None:
    predictions = session_engine.predict(engine, records)
    ids = feature_cache.example_ids(engine.task, "test")
    header, rows = engine.task.prediction_table("test", predictions, ids)
    reports.write_table(path, header, rows)
    # Upstream's file: the numbers alone, one line an example, here with a header.
    numbers = slice(2, None) if engine.task.labels else slice(1, None)
    results = os.path.join(os.path.dirname(path) or os.curdir, "test_results.tsv")
    reports.write_table(results, header[numbers], [row[numbers] for row in rows])
    say("Wrote {:,} predictions to {}".format(len(rows), path))


# --- parts ------------------------------------------------------------------------------------------------------------


def make_task(config: flags.ClassifierConfig, labels_folder: Optional[str]) -> Task:
    """The task with its labels: those saved in labels_folder where there are any, else the data's own."""
    data = config.data
    for name in ("task_name", "bert_config_file", "vocab_file"):
        if getattr(data, name) is None:
            raise UserError("--{} is needed: the model's folder does not say it.".format(name))
    assert data.task_name is not None and data.bert_config_file is not None and data.vocab_file is not None
    bert_config = modeling.BertConfig.from_json_file(data.bert_config_file)
    tokenizer = tokenization.FullTokenizer(data.vocab_file, do_lower_case=data.do_lower_case)
    check_sizes(data, bert_config, len(tokenizer.vocab))
    wrong_case = tokenization.check_case_against_vocab(tokenizer.vocab, data.do_lower_case)
    if wrong_case:
        raise UserError("--do_lower_case={}: {}".format(str(data.do_lower_case).lower(), wrong_case))
    paths = split_files(data)
    processor = PROCESSORS[data.task_name]()
    labels = saved_labels(labels_folder)
    if labels is None:
        labels = processor.find_labels(paths["train"]) if processor.finds_labels else processor.get_labels()
    if processor.finds_labels:
        processor = PROCESSORS[data.task_name](labels=labels)
    task = classification.classification_task(
        classification.TaskInputs(
            processor=processor,
            files=paths,
            labels=labels,
            tokenizer=tokenizer,
            vocab_fingerprint="{}/{}".format(files.sha256_of_file(data.vocab_file), data.do_lower_case),
            source_fingerprint=files.sha256_of_file,
            bert_config=bert_config,
            max_seq_length=data.max_seq_length,
        )
    )
    return choose_best_metric(task, config.best_metric, processor.metrics)


def open_records(config: flags.ClassifierConfig, task: Task, cache: str) -> Dict[str, RecordFile]:
    """The records of every split that the command needs, so that a bad file is found before the first step."""
    limits = {"train": config.data.max_train_examples, "dev": config.data.max_eval_examples, "test": None}
    wanted = {"train": config.do_train, "dev": config.do_eval, "test": config.do_predict}
    return {
        split: feature_cache.open_or_build(task, split, cache, limits[split], config.plan.seed)
        for split in limits
        if wanted[split]
    }


def choose_best_metric(task: Task, name: Optional[str], metrics: Tuple[str, ...]) -> Task:
    if name is None:
        return task
    if name not in metrics:
        raise UserError("--best_metric={}: this task has {}.".format(name, ", ".join(metrics)))
    return task._replace(best_metric=name)


def check_sizes(data: flags.DataConfig, bert_config: modeling.BertConfig, vocab_size: int) -> None:
    if data.max_seq_length > bert_config.max_position_embeddings:
        raise UserError(
            "--max_seq_length={}: {} has max_position_embeddings={}. Lower --max_seq_length.".format(
                data.max_seq_length, data.bert_config_file, bert_config.max_position_embeddings
            )
        )
    if vocab_size > bert_config.vocab_size:
        raise UserError(
            "{}: {} pieces, but {} has vocab_size={}. Use the two files that belong together.".format(
                data.vocab_file, vocab_size, data.bert_config_file, bert_config.vocab_size
            )
        )


def split_files(data: flags.DataConfig) -> Dict[str, str]:
    """split → path, for the splits that the flags say something of."""
    assert data.task_name is not None
    processor = PROCESSORS[data.task_name]()
    paths = {}
    if data.data_dir is not None:
        paths = {split: os.path.join(data.data_dir, processor.file_name(split)) for split in ("train", "dev", "test")}
    if data.predict_file is not None:
        paths["test"] = data.predict_file
    return paths


def saved_labels(folder: Optional[str]) -> Optional[List[str]]:
    path = os.path.join(folder or "", LABELS_FILE)
    if folder is None or not os.path.exists(path):
        return None
    try:
        with open(path, encoding="utf-8") as file:
            return [str(label) for label in json.load(file)["labels"]]
    except (ValueError, KeyError, TypeError):
        raise UserError("{}: not a list of labels. Restore it from a copy.".format(path)) from None


def make_plan(config: flags.ClassifierConfig, task: Task, examples: int, saved: Optional[plans.Plan]) -> plans.Plan:
    """The plan, with everything that decides this run's numbers under its own name.

    saved: the plan of the run in the folder. It says what the initial weights were where the command does not.
    """
    assert config.data.bert_config_file is not None
    identity = {
        "task": config.data.task_name,
        "max_train_examples": config.data.max_train_examples,
        "data": task.fingerprint("train"),
        "bert_config": modeling.BertConfig.from_json_file(config.data.bert_config_file).to_dict(),
        "optimizer": json.loads(json.dumps(dataclasses.asdict(config.optimizer))),  # as plan.json gives it back
        "best_metric": task.best_metric,
        "init_checkpoint": initial_weights_identity(config) or (saved and saved.identity.get("init_checkpoint")),
    }
    notes = {"padding": config.engine.padding, "distribution": config.engine.distribution}
    return plans.make_plan(config.plan, examples, identity, notes)


def initial_weights_identity(config: flags.ClassifierConfig) -> Optional[str]:
    """What tells these initial weights from others; None where the command does not say (a resume need not)."""
    if config.weights.from_scratch:
        return "from scratch"
    if config.weights.init_checkpoint is None:
        return None
    prefix = checkpoint.resolve(config.weights.init_checkpoint, config.weights.checkpoint)
    return "sha256 of index " + files.sha256_of_file(prefix + ".index")  # the index has a checksum of each tensor


def decide(
    config: flags.ClassifierConfig, plan: plans.Plan, saved: Optional[plans.Plan]
) -> Tuple[Optional[str], plans.Decision]:
    """The checkpoint to continue (None to start), and why."""
    folder = config.weights.output_dir
    assert folder is not None
    prefix, passed_over = checkpoint.newest_whole(folder)
    for line in passed_over:
        say("WARNING: {}. An older checkpoint is taken.".format(line))
    if prefix is None:
        folder_state = plans.FolderState(step=None, plan=saved)
    else:
        step, state = checkpoint.step_of(prefix), checkpoint.state_in(prefix)
        folder_state = plans.FolderState(
            step=step,
            plan=saved,
            stopped_early=session_engine.stopped_early(state, plan.early_stopping_patience),
            evaluated=state.evaluated_step == step or saved is None or not (saved.eval_every_steps and config.do_eval),
        )
    has_weights = bool(config.weights.init_checkpoint or config.weights.from_scratch)
    return prefix, plans.decide(folder_state, plan, has_weights, config.weights.allow_plan_change)


def saved_plan(folder: str) -> Optional[plans.Plan]:
    path = os.path.join(folder, PLAN_FILE)
    if not os.path.exists(path):
        return None
    try:
        with open(path, encoding="utf-8") as file:
            return plans.from_json(json.load(file), path)
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        raise UserError("{}: not JSON ({}). Restore it, or use another --output_dir.".format(path, error)) from None


def load_for_training(engine: Engine, config: flags.ClassifierConfig, plan: plans.Plan, prefix: Optional[str]) -> None:
    if prefix is not None:
        session_engine.load_run(engine, prefix, plan.train_batch_size)
    elif config.weights.init_checkpoint is not None:
        initial = checkpoint.resolve(config.weights.init_checkpoint, config.weights.checkpoint)
        report = session_engine.load_weights(engine, initial, config.weights.reset_head)
        say("Initial weights from {}: {}".format(initial, report))
    else:
        say("Initial weights: random (--from_scratch)")


def write_run_files(config: flags.ClassifierConfig, plan: plans.Plan, task: Task, folder: str) -> None:
    """What makes the folder self-contained."""
    assert config.data.vocab_file is not None and config.data.bert_config_file is not None
    for source, name in ((config.data.vocab_file, "vocab.txt"), (config.data.bert_config_file, "bert_config.json")):
        target = os.path.join(folder, name)
        if os.path.abspath(source) != os.path.abspath(target):
            with open(source, "rb") as file, files.atomic_write(target, "wb") as copy:
                shutil.copyfileobj(file, copy)
    files.write_json(os.path.join(folder, LABELS_FILE), {"labels": list(task.labels)})
    files.write_json(os.path.join(folder, "config.json"), dataclasses.asdict(config))
    with files.atomic_write(os.path.join(folder, "flags.txt")) as file:
        file.write("\n".join(flags.given_flags()) + "\n")
    files.write_json(os.path.join(folder, PLAN_FILE), plans.to_json(plan))


@contextlib.contextmanager
def locked(folder: str) -> Iterator[None]:
    """Refuses a second run in the same folder. The operating system frees the lock of a run that died."""
    lock = filelock.FileLock(os.path.join(folder, ".lock"))
    try:
        os.makedirs(folder, exist_ok=True)
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise UserError(
            "--output_dir={}: another run is writing there. Wait for it, or use another folder.".format(folder)
        ) from None
    except OSError as error:
        raise UserError("--output_dir={}: cannot be written ({}).".format(folder, error.strerror)) from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def cache_folder(config: flags.ClassifierConfig) -> Iterator[str]:
    """The record cache; a temporary one where no folder was given to write to."""
    if config.data.cache_dir:
        yield config.data.cache_dir
    elif config.weights.output_dir:
        yield os.path.join(config.weights.output_dir, "cache")
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield folder


if __name__ == "__main__":
    flags.run(main, sys.argv, __doc__)
