"""Fine-tune BERT to classify sentences or sentence pairs, or to score them: one run, from flags to artefacts."""

import contextlib
import dataclasses
import json
import os
import shutil
import sys
import time
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import tensorflow_setup

if __name__ == "__main__":
    tensorflow_setup.exit_on_signals()
    with tensorflow_setup.without_keras():
        import tensorflow.compat.v1  # noqa: F401

import filelock

import flags
import modeling
import tokenization
from errors import UserError
from tasks import classification, text_files
from tasks.classification_data import (
    PROCESSORS,
    ColaProcessor,
    DataProcessor,
    InputExample,
    InputFeatures,
    MnliProcessor,
    MrpcProcessor,
    PaddingInputExample,
    TextProcessor,
    XnliProcessor,
    is_number,
)
from tasks.classification_features import (
    convert_examples_to_features,
    convert_single_example,
    file_based_convert_examples_to_features,
)
from tasks.task import BadLines, Task
from tasks.upstream_classifier import (
    create_model,
    file_based_input_fn_builder,
    input_fn_builder,
    model_fn_builder,
)
from training import checkpoint, data_report, feature_cache, files, reports, session_engine
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


class Job(NamedTuple):
    """A task with the reader and the weights that it is made from."""

    task: Task
    processor: DataProcessor
    class_weights: Optional[List[float]]


def main() -> None:
    with standard_input_as_file(flags.classifier_config()) as config:
        if config.check_data:
            check_data(config)
        elif config.do_train or config.dry_run:
            train(config)
        else:
            use_trained_model(config)


# --- phases -----------------------------------------------------------------------------------------------------------


def check_data(config: flags.ClassifierConfig) -> None:
    """Prints what the data is like. Needs the tokenizer's file, but no weights."""
    job = make_job(config, model_dir=config.weights.model_dir)
    splits = [split for split, path in job.task.files.items() if os.path.exists(path)]
    if not splits:
        raise UserError("None of {} exists. Check --data_dir.".format(", ".join(job.task.files.values())))
    with cache_folder(config) as cache:
        records = {split: feature_cache.open_or_build(job.task, split, cache) for split in splits}
        details, problems = data_report.look_at(job.task, records)
    print("\n".join(details))
    print("\n".join(["Worth a look:"] + ["  " + line for line in problems] if problems else ["Nothing stands out."]))


def train(config: flags.ClassifierConfig) -> None:
    """Trains (or continues, or finds the run finished), then evaluates and predicts as asked."""
    folder = config.weights.output_dir
    assert folder is not None
    job = make_job(config, model_dir=None)
    if config.dry_run:
        examples = len(feature_cache.example_ids(job.task, "train", config.data.max_train_examples, config.plan.seed))
        plan = make_plan(config, job, examples, saved_plan(folder))
        print(plans.describe(plan))
        draw(plan, folder)
        return
    with locked(folder), cache_folder(config) as cache:
        records, data_lines = open_records(config, job, cache)
        saved = saved_plan(folder)
        plan = make_plan(config, job, len(records["train"]), saved)
        checkpoint.remove_leftovers(folder)
        prefix, decision = decide(config, plan, saved)
        plan = with_lineage(config, plan, decision, saved)
        say(plans.describe(plan))
        say("Resume: {} ({})".format(decision.action, decision.reason))
        engine = session_engine.build(job.task, config.engine, plan.seed, plan, config.optimizer)
        if decision.action != "finished":
            load_for_training(engine, config, plan, prefix)
        record_decision(config, decision)
        if decision.action != "finished":
            write_run_files(config, plan, job, folder)
            with files.atomic_write(os.path.join(folder, "data_report.txt")) as file:
                file.write("\n".join(data_lines) + "\n")
            session_engine.train(engine, plan, records["train"], records.get("dev"), folder)
        if config.do_eval or config.do_predict:
            session_engine.load_trained(engine, checkpoint.resolve(folder, config.weights.checkpoint))
        evaluate_and_predict(engine, config, job, records, folder)
        session_engine.close(engine)


def draw(plan: plans.Plan, folder: str) -> None:
    """The learning rate of every step, on the terminal and as learning_rate.png."""
    print("\n" + reports.sketch_curve(plans.rates(plan)))
    path = os.path.join(folder, "learning_rate.png")
    if reports.plot_curves(path, {plan.lr_schedule: plans.rates(plan)}):
        print("Wrote " + path)
    else:
        print("No figure was written: matplotlib is not installed.")


def use_trained_model(config: flags.ClassifierConfig) -> None:
    """Evaluates and predicts with a trained model; what it needs is in its folder."""
    model_dir = config.weights.model_dir or config.weights.output_dir
    assert model_dir is not None
    source = config.weights.init_checkpoint or model_dir
    prefix = checkpoint.resolve(source, config.weights.checkpoint)
    job = make_job(config, model_dir)
    folder = config.weights.output_dir or os.curdir
    files.require_writable(folder, "--output_dir")
    with cache_folder(config) as cache:
        records, _ = open_records(config, job, cache)
        engine = session_engine.build(job.task, config.engine, config.plan.seed)
        step = session_engine.load_trained(engine, prefix)
        say("Model: {} (step {})".format(prefix, step))
        evaluate_and_predict(engine, config, job, records, folder)
        session_engine.close(engine)


def evaluate_and_predict(
    engine: Engine, config: flags.ClassifierConfig, job: Job, records: Dict[str, RecordFile], folder: str
) -> None:
    if config.do_eval:
        evaluate(engine, job.processor.label_type, records, folder)
    if config.do_predict:
        output = config.data.predict_output or os.path.join(folder, "predictions.tsv")
        for split in records:
            if split.startswith("test"):
                predict(engine, config, job, split, records[split], with_suffix(output, split), folder)


def with_suffix(path: str, split: str) -> str:
    """predictions.tsv, test_mismatched → predictions_mismatched.tsv"""
    base, ending = os.path.splitext(path)
    return base + split[split.find("_") :] + ending if "_" in split else path


def evaluate(engine: Engine, label_type: str, records: Dict[str, RecordFile], folder: str) -> None:
    """Writes the scores of every dev split; those of dev_NAME end in _NAME."""
    step = int(engine.session.run(engine.global_step))
    metrics: Dict[str, float] = {}
    details: Dict[str, Any] = {"labels": list(engine.task.labels)}
    for split in [split for split in records if split.startswith("dev")]:
        suffix = split[len("dev") :]
        found = session_engine.evaluate(engine, split, records[split])
        metrics.update({name + suffix: value for name, value in found.metrics.items()})
        confusion = classification.confusion(label_type, engine.task.labels, found.predictions)
        details.update({"examples" + suffix: len(records[split]), "confusion_matrix" + suffix: confusion})
        text = "Evaluation of step {} on {:,} examples of {}: {}"
        say(text.format(step, len(records[split]), split, reports.format_metrics(found.metrics)))
        if confusion:
            say(reports.format_confusion_table(confusion, engine.task.labels))
    reports.write_eval_results(folder, metrics, step, details)
    say("Wrote {}".format(os.path.join(folder, "eval_results.json")))


def predict(
    engine: Engine,
    config: flags.ClassifierConfig,
    job: Job,
    split: str,
    records: RecordFile,
    path: str,
    folder: str,
) -> None:
    predictions = session_engine.predict(engine, records)
    ids = feature_cache.example_ids(engine.task, split)
    header, rows = engine.task.prediction_table(split, predictions, ids)
    reports.write_table(path, header, rows)
    # Upstream's file: the numbers alone, one line an example, here with a header.
    numbers = slice(2, None) if engine.task.labels else slice(1, None)
    results = os.path.join(os.path.dirname(path) or os.curdir, with_suffix("test_results.tsv", split))
    reports.write_table(results, header[numbers], [row[numbers] for row in rows])
    say("Wrote {:,} predictions to {}".format(len(rows), path))
    official = job.processor.submission.get(split)
    if official and config.data.predict_file is None:
        upload = os.path.join(folder, "submission", official + ".tsv")
        answers = classification.submission(job.processor.label_type, engine.task.labels, predictions)
        reports.write_table(upload, ["index", "prediction"], list(zip(ids, answers)))
        say("Wrote GLUE's file {}".format(upload))


# --- parts ------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def standard_input_as_file(config: flags.ClassifierConfig) -> Iterator[flags.ClassifierConfig]:
    """With --predict_file=-, the same configuration with a file of what standard input gave."""
    if config.data.predict_file != "-":
        yield config
        return
    with tensorflow_setup.temporary_folder() as folder:
        copy = os.path.join(folder, "standard-input")
        with open(copy, "wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        path = copy + text_files.ending_for(copy, config.data.text_columns)
        os.rename(copy, path)
        yield dataclasses.replace(config, data=dataclasses.replace(config.data, predict_file=path))


def make_job(config: flags.ClassifierConfig, model_dir: Optional[str]) -> Job:
    """The task with its labels: those saved in model_dir where there is one, else the data's own."""
    data = config.data
    bert_config = None
    tokenizer, vocab_fingerprint = make_tokenizer(data, model_dir)
    if not config.check_data:
        if data.bert_config_file is None:
            raise UserError("--bert_config_file is needed: the model's folder does not say it.")
        bert_config = modeling.BertConfig.from_json_file(data.bert_config_file)
        check_sizes(data, bert_config, len(tokenizer.vocab))
    processor = make_processor(data, None)
    paths = split_files(data, processor)
    labels = choose_labels(data, processor, paths, model_dir, config.check_data)
    if labels is not None:
        processor = make_processor(data, labels)
    weights = class_weights(data, processor, paths) if data.class_weights else None
    task = classification.classification_task(
        classification.TaskInputs(
            processor=processor,
            files=paths,
            labels=labels or [],
            tokenizer=tokenizer,
            vocab_fingerprint=vocab_fingerprint,
            source_fingerprint=files.sha256_of_file,
            bert_config=bert_config,
            max_seq_length=data.max_seq_length,
            class_weights=weights,
            skip_bad_lines=data.skip_bad_lines,
        )
    )
    return Job(choose_best_metric(task, config.best_metric, processor.metrics), processor, weights)


def make_tokenizer(data: flags.DataConfig, model_dir: Optional[str]) -> Tuple[Any, str]:
    """(tokenizer, what tells it from another). Raises UserError where it does not belong to the model or the case."""
    given = data.vocab_file or data.spm_model_file
    assert given is not None
    flag = "vocab_file" if data.vocab_file else "spm_model_file"
    for name in ("vocab_file", "spm_model_file") if model_dir else ():
        own = os.path.join(model_dir or "", flags.MODEL_FILES[name])
        if os.path.exists(own) and files.sha256_of_file(own) != files.sha256_of_file(given):
            raise UserError("--{}={}: the model was trained with {}. Leave the flag out.".format(flag, given, own))
    tokenizer: Any
    if data.spm_model_file:
        tokenizer = tokenization.SentencePieceTokenizer(data.spm_model_file, do_lower_case=data.do_lower_case)
    else:
        tokenizer = tokenization.FullTokenizer(given, do_lower_case=data.do_lower_case)
    wrong_case = tokenization.check_case_against_vocab(tokenizer.vocab, data.do_lower_case)
    if wrong_case:
        raise UserError("--do_lower_case={}: {}".format(str(data.do_lower_case).lower(), wrong_case))
    return tokenizer, "{}/{}/{}".format(flag, files.sha256_of_file(given), data.do_lower_case)


def make_processor(data: flags.DataConfig, labels: Optional[Sequence[str]]) -> DataProcessor:
    assert data.task_name is not None
    if data.task_name == "text":
        return TextProcessor(labels, data.text_columns, data.label_column, data.label_type)
    processor = PROCESSORS[data.task_name]()
    if data.task_name == "xnli":
        processor.language = data.language
    return processor


def choose_labels(
    data: flags.DataConfig,
    processor: DataProcessor,
    paths: Dict[str, str],
    model_dir: Optional[str],
    check_only: bool,
) -> Optional[List[str]]:
    """The labels in id order; None where the data is only checked and nothing says them.

    A trained model's are those that it was trained with.
    """
    saved = saved_labels(model_dir)
    given = list(data.labels) or (None if processor.finds_labels else processor.get_labels())
    if saved is not None:
        if given is not None and given != saved:
            raise UserError(
                "{}: the model tells apart {}; the command, {}. Name the task and labels of its training.".format(
                    model_dir, ", ".join(saved) or "numbers", ", ".join(given) or "numbers"
                )
            )
        return saved
    if given is not None or processor.label_type == "regression":
        return given or []
    if model_dir:
        raise UserError("{}: lacks {}. Pass --labels, in the order of its training.".format(model_dir, LABELS_FILE))
    assert isinstance(processor, TextProcessor)
    for split in ("train", "dev") if check_only else ("train",):
        if split in paths and (os.path.exists(paths[split]) or not check_only):
            return processor.find_labels(paths[split], BadLines(data.skip_bad_lines))
    return None


def class_weights(data: flags.DataConfig, processor: DataProcessor, paths: Dict[str, str]) -> List[float]:
    """In label order."""
    labels = processor.get_labels()
    if data.class_weights == ("balanced",):
        counts, examples = processor.count_labels(paths["train"], BadLines(data.skip_bad_lines))
        for label in labels:
            if counts[label] in (0, examples):
                which = "every" if counts[label] else "no"
                raise UserError("--class_weights=balanced: {} training example is {}.".format(which, label))
        return classification.balanced_weights(processor.label_type, labels, counts, examples)
    weights = {}
    for part in data.class_weights:
        label, equals, weight = part.rpartition("=")
        if not equals or label not in labels or label in weights or not (is_number(weight) and float(weight) > 0):
            raise UserError(
                "--class_weights: {!r} is not label=weight with a positive weight and a label, once, of {}. "
                "Or write balanced.".format(part, ", ".join(labels))
            )
        weights[label] = float(weight)
    return [weights.get(label, 1.0) for label in labels]


def open_records(config: flags.ClassifierConfig, job: Job, cache: str) -> Tuple[Dict[str, RecordFile], List[str]]:
    """(the records of every split that the command needs, the report of what they are like).

    All are opened before the first step, so that a bad file is found there.
    """
    limits = {"train": config.data.max_train_examples, "dev": config.data.max_eval_examples}
    wanted = {"train": config.do_train, "dev": config.do_eval, "test": config.do_predict}
    output = config.data.predict_output
    if config.do_predict and output:
        if os.path.isdir(output):
            raise UserError("--predict_output={}: is a folder. Name a file in it.".format(output))
        files.require_writable(os.path.dirname(output) or os.curdir, "--predict_output")
    records = {}
    for split in job.task.files:
        kind = split.split("_")[0]
        if wanted[kind]:
            records[split] = feature_cache.open_or_build(job.task, split, cache, limits.get(kind), config.plan.seed)
    details, problems = data_report.look_at(job.task, records)
    for line in problems:
        say("Data: " + line)
    return records, details + problems


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
    if bert_config.type_vocab_size < 2:
        raise UserError(
            "{}: type_vocab_size={}, but a pair of texts needs 2. Use the model's own file.".format(
                data.bert_config_file, bert_config.type_vocab_size
            )
        )
    if vocab_size > bert_config.vocab_size:
        raise UserError(
            "{}: {} pieces, but {} has vocab_size={}. Use the two files that belong together.".format(
                data.vocab_file or data.spm_model_file, vocab_size, data.bert_config_file, bert_config.vocab_size
            )
        )


def split_files(data: flags.DataConfig, processor: DataProcessor) -> Dict[str, str]:
    """split → path, for the splits that the flags say something of."""
    paths = {}
    if data.data_dir is not None:
        if not os.path.isdir(data.data_dir):
            raise UserError("--data_dir={}: no such folder. Check the path.".format(data.data_dir))
        paths = {split: processor.file_path(data.data_dir, split) for split in processor.splits}
    if data.predict_file is not None:
        paths = {split: path for split, path in paths.items() if not split.startswith("test")}
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


def make_plan(config: flags.ClassifierConfig, job: Job, examples: int, saved: Optional[plans.Plan]) -> plans.Plan:
    """The plan, with everything that decides this run's numbers under its own name.

    saved: the plan of the run in the folder. It says what the initial weights were where the command does not.
    """
    assert config.data.bert_config_file is not None
    identity = {
        "task": config.data.task_name,
        "max_train_examples": config.data.max_train_examples,
        "data": job.task.fingerprint("train"),
        "bert_config": modeling.BertConfig.from_json_file(config.data.bert_config_file).to_dict(),
        "optimizer": json.loads(json.dumps(dataclasses.asdict(config.optimizer))),  # as plan.json gives it back
        "best_metric": job.task.best_metric,
        "class_weights": job.class_weights,
        "precision": config.engine.precision,
        "xla": config.engine.xla,  # has random bits of its own
        "init_checkpoint": initial_weights_identity(config) or (saved and saved.identity.get("init_checkpoint")),
    }
    notes: Dict[str, Any] = {"padding": config.engine.padding, "distribution": config.engine.distribution}
    if config.engine.gradient_accumulation_steps > 1:
        notes["parts of a batch"] = config.engine.gradient_accumulation_steps
    if config.optimizer.optimizer in ("radam", "ranger"):
        notes["optimizer"] = (
            "{} has a warm-up of its own: under one of the schedule too it moves several times less than adamw at the "
            "same rate (docs/optimization.md)".format(config.optimizer.optimizer)
        )
    if config.optimizer.ema_decay:
        notes["evaluated"] = "the average of the weights (--ema_decay={:g})".format(config.optimizer.ema_decay)
    plan = plans.make_plan(config.plan, examples, identity, notes)
    session_engine.require_traceable(config.engine, plan)
    return plan


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
    if config.weights.resume_mode == "weights":
        assert config.weights.init_checkpoint is not None
        source = checkpoint.resolve(config.weights.init_checkpoint, config.weights.checkpoint)
        if os.path.abspath(run_folder_of(source)) == os.path.abspath(folder):
            raise UserError(
                "--resume_mode=weights: --init_checkpoint is in --output_dir. Write the stage to another folder."
            )
    has_weights = bool(config.weights.init_checkpoint or config.weights.from_scratch)
    weights = config.weights
    return prefix, plans.decide(folder_state, plan, has_weights, weights.allow_plan_change, weights.resume_mode)


def with_lineage(
    config: flags.ClassifierConfig, plan: plans.Plan, decision: plans.Decision, saved: Optional[plans.Plan]
) -> plans.Plan:
    """The plan with the lineage of a further stage: the run's own where it goes on, else a new one.

    A new one says whose weights the stage starts from; what differs from that run's plan is printed.
    """
    if decision.action != "start":
        known = saved.notes if saved else {}
        lineage = {name: known[name] for name in ("stage", "weights from") if name in known}
        return dataclasses.replace(plan, notes=dict(plan.notes, **lineage))
    if config.weights.resume_mode != "weights":
        return plan
    assert config.weights.init_checkpoint is not None
    prefix = checkpoint.resolve(config.weights.init_checkpoint, config.weights.checkpoint)
    source = run_folder_of(prefix)
    corrected = config.optimizer.optimizer not in ("adamw", "lamb") or bool(config.optimizer.bias_correction)
    plan, lines = plans.next_stage(plan, saved_plan(source), prefix, corrected)
    say("Stage {} beside the stage before:\n  {}".format(plan.notes["stage"], "\n  ".join(lines) or "the same"))
    return plan


def run_folder_of(prefix: str) -> str:
    """The run's folder that a checkpoint is in, which may be its best/."""
    folder = os.path.dirname(prefix)
    return os.path.dirname(folder) if os.path.basename(folder) == checkpoint.BEST_FOLDER else folder


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
        head = [name for name in report.missing if name.startswith(engine.task.head_variables)]
        if config.weights.resume_mode == "weights" and head and not config.weights.reset_head:
            raise UserError(
                "--resume_mode=weights: {} has no trained head, so it is not a stage to go on from. Use "
                "--resume_mode=auto, or --reset_head.".format(initial)
            )
        say("Initial weights from {}: {}".format(initial, report))
    else:
        say("Initial weights: random (--from_scratch)")


def write_run_files(config: flags.ClassifierConfig, plan: plans.Plan, job: Job, folder: str) -> None:
    """What makes the folder self-contained."""
    for flag, name in flags.MODEL_FILES.items():
        source, target = getattr(config.data, flag), os.path.join(folder, name)
        if source is not None and os.path.abspath(source) != os.path.abspath(target):
            with open(source, "rb") as file, files.atomic_write(target, "wb") as copy:
                shutil.copyfileobj(file, copy)
    labels = {"label_type": job.processor.label_type, "labels": list(job.task.labels)}
    files.write_json(os.path.join(folder, LABELS_FILE), labels)
    files.write_json(os.path.join(folder, "config.json"), dataclasses.asdict(config))
    with files.atomic_write(os.path.join(folder, "flags.txt")) as file:
        file.write("\n".join(flags.given_flags()) + "\n")
    files.write_json(os.path.join(folder, PLAN_FILE), plans.to_json(plan))


def record_decision(config: flags.ClassifierConfig, decision: plans.Decision) -> None:
    """Adds a line to decisions.jsonl: what this command does with the folder, and why."""
    assert config.weights.output_dir is not None
    line = dict(decision._asdict(), resume_mode=config.weights.resume_mode, time=round(time.time(), 3))
    with open(os.path.join(config.weights.output_dir, "decisions.jsonl"), "a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def locked(folder: str) -> Iterator[None]:
    """Refuses a second run in the same folder. The operating system frees the lock of a run that died."""
    files.require_writable(folder, "--output_dir")
    lock = filelock.FileLock(os.path.join(folder, ".lock"))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise UserError(
            "--output_dir={}: another run is writing there. Wait for it, or use another folder.".format(folder)
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def cache_folder(config: flags.ClassifierConfig) -> Iterator[str]:
    """The record cache; a temporary one where no folder was given to write to."""
    if config.data.cache_dir:
        files.require_writable(config.data.cache_dir, "--cache_dir")
        yield config.data.cache_dir
    elif config.weights.output_dir:
        files.require_writable(config.weights.output_dir, "--output_dir")
        yield os.path.join(config.weights.output_dir, "cache")
    else:
        with tensorflow_setup.temporary_folder() as folder:
            yield folder


if __name__ == "__main__":
    flags.run(main, sys.argv, __doc__)
