"""One run, from a job to artefacts: its folder, its plan, whether it starts or goes on, its phases.

A script makes the Job, which is all that a run knows of what is learned.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import shutil
import sys
import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

import filelock
import tensorflow.compat.v1 as tf

from ..base import files, tensorflow_setup
from ..base.errors import UserError
from ..tasks.task import Predictions
from . import (
    checkpoint,
    cluster,
    data_report,
    devices,
    estimator_engine,
    feature_cache,
    progress,
    reports,
    resume,
    session_engine,
)
from . import plan as plans
from .engine_config import EngineConfig
from .evaluation import Evaluation
from .feature_cache import RecordFile
from .job import Job, RunConfig
from .reports import say
from .session_engine import Engine

PLAN_FILE = "plan.json"


# --- phases -----------------------------------------------------------------------------------------------------------


def start(config: RunConfig, make_job: Callable[[Optional[str]], Job]) -> None:
    """Does what the command says. make_job(model_dir) reads labels from a trained model's folder where one is given."""
    if config.engine.engine == "estimator":
        estimator_engine.require_estimator(config.engine)
    if config.engine.xla:
        devices.prepare_xla()
    if config.check_data:
        check_data(config, choose_best_metric(make_job(config.weights.model_dir), config.best_metric))
    elif config.dry_run:
        dry_run(config, make_job(None))
    elif config.do_train:
        with linked(config) as link:
            train(config, make_job(None), link)
    else:
        use_trained_model(config, make_job)


def check_data(config: RunConfig, job: Job) -> None:
    """Prints what the data is like. Needs the tokenizer's file, but no weights."""
    splits = [split for split, path in job.task.files.items() if os.path.exists(path)]
    if not splits:
        raise UserError("None of {} exists. Check the paths.".format(", ".join(job.task.files.values())))
    with cache_folder(config) as cache:
        records = {split: feature_cache.open_or_build(job.task, split, cache) for split in splits}
        details, problems = data_report.look_at(job.task, records)
    print("\n".join(details))
    print("\n".join(["Worth a look:"] + ["  " + line for line in problems] if problems else ["Nothing stands out."]))


class Model(NamedTuple):
    """Trained weights, whichever engine holds them."""

    step: int
    evaluate: Callable[[str, RecordFile], Evaluation]
    predict: Callable[[RecordFile], Predictions]


def train(config: RunConfig, job: Job, link: cluster.Member) -> None:
    """Trains (or continues, or finds the run finished), then evaluates and predicts as asked.

    Of several workers all train; the chief alone writes to the run's folder, and does what comes after training.
    """
    folder = config.weights.output_dir
    assert folder is not None
    job = choose_best_metric(job, config.best_metric)
    with locked(folder) if link.is_chief else contextlib.nullcontext(), cache_folder(config) as cache:
        records, data_lines = open_records(config, job, cache)
        saved = saved_plan(folder)
        plan = make_plan(config, job, len(records["train"]), saved)
        if link.is_chief:
            checkpoint.remove_leftovers(folder)
        prefix, decision = decide(config, plan, saved)
        if not isinstance(link, cluster.Alone):
            link.agree(description(config, job, plan, prefix, decision))
        plan = with_lineage(config, plan, decision, saved)
        say(plans.describe(plan))
        say("Resume: {} ({})".format(decision.action, decision.reason))

        def begin() -> None:
            """What the chief writes once nothing can refuse the command any more."""
            record_decision(config, decision)
            write_run_files(plan, job, folder)
            with files.atomic_write(os.path.join(folder, "data_report.txt")) as file:
                file.write("\n".join(data_lines) + "\n")

        if decision.action == "finished":
            part(link)
            if link.is_chief:
                record_decision(config, decision)
                alone = config.engine
                if alone.distribution == "multi_worker":
                    alone = on_one_device(alone)
                use_own_model(dataclasses.replace(config, engine=alone), job, records, folder)
        elif config.engine.engine == "estimator":
            train_on_estimator(config, job, plan, prefix, begin, records, folder)
        else:
            engine = session_engine.build(job.task, config.engine, plan.seed, plan, config.optimizer, link)
            load_for_training(engine, config, plan, prefix)
            if link.is_chief:
                begin()
            session_engine.train(engine, plan, records["train"], records.get("dev"), folder)
            part(link)
            if link.is_chief and (config.do_eval or config.do_predict):
                model = loaded(engine, checkpoint.resolve(folder, config.weights.checkpoint))
                evaluate_and_predict(model, config, job, records, folder)
            session_engine.close(engine)


def use_own_model(config: RunConfig, job: Job, records: Dict[str, RecordFile], folder: str) -> None:
    """Evaluates and predicts as asked with what the run in `folder` has learned, in graphs of its own."""
    if config.do_eval or config.do_predict:
        prefix = checkpoint.resolve(folder, config.weights.checkpoint)
        with trained_model(config, job, prefix) as model:
            evaluate_and_predict(model, config, job, records, folder)


def train_on_estimator(
    config: RunConfig,
    job: Job,
    plan: plans.Plan,
    prefix: Optional[str],
    begin: Callable[[], None],
    records: Dict[str, RecordFile],
    folder: str,
) -> None:
    """Estimator continues the checkpoint in its folder: the session engine writes the first one, of step 0.

    So initial weights are read once, by one loader, with one report.
    """
    engine = estimator_engine.build(job.task, config.engine, plan.seed, plan, config.optimizer)
    first = session_engine.build(job.task, on_one_device(config.engine), plan.seed, plan, config.optimizer)
    load_for_training(first, config, plan, prefix)
    begin()
    session_engine.hand_over(first, folder, prefix)
    session_engine.close(first)
    estimator_engine.train(engine, plan, records["train"], records.get("dev"), folder)
    use_own_model(config, job, records, folder)


def on_one_device(config: EngineConfig) -> EngineConfig:
    return dataclasses.replace(config, distribution="one_device", devices=())


def dry_run(config: RunConfig, job: Job) -> None:
    """Prints the plan, and draws the learning rate of every step: on the terminal, and as learning_rate.png."""
    folder = config.weights.output_dir
    assert folder is not None
    job = choose_best_metric(job, config.best_metric)
    examples = feature_cache.count_records(job.task, "train", config.max_train_examples, config.plan.seed)
    plan = make_plan(config, job, examples, saved_plan(folder))
    print(plans.describe(plan))
    print("\n" + reports.sketch_curve(plans.rates(plan)))
    path = os.path.join(folder, "learning_rate.png")
    if reports.plot_curves(path, {plan.schedule.lr_schedule: plans.rates(plan)}):
        print("Wrote " + path)
    else:
        print("No figure was written: matplotlib is not installed.")


def use_trained_model(config: RunConfig, make_job: Callable[[Optional[str]], Job]) -> None:
    """Evaluates and predicts with a trained model; what it needs is in its folder."""
    model_dir = config.weights.model_dir or config.weights.output_dir
    assert model_dir is not None
    source = config.weights.init_checkpoint or model_dir
    prefix = checkpoint.resolve(source, config.weights.checkpoint)
    job = choose_best_metric(make_job(model_dir), config.best_metric)
    folder = config.weights.output_dir or os.curdir
    files.require_writable(folder, "--output_dir")
    with cache_folder(config) as cache:
        records, _ = open_records(config, job, cache)
        with trained_model(config, job, prefix) as model:
            say("Model: {} (step {})".format(prefix, model.step))
            evaluate_and_predict(model, config, job, records, folder)


@contextlib.contextmanager
def trained_model(config: RunConfig, job: Job, prefix: str) -> Iterator[Model]:
    """The model of a checkpoint, on the engine that the command names."""
    if config.engine.engine == "estimator":
        on_estimator = estimator_engine.build(job.task, config.engine, config.plan.seed)
        with estimator_engine.loaded(on_estimator, prefix) as served:
            evaluate = functools.partial(estimator_engine.evaluate, served)
            step = estimator_engine.step_of(served)
            yield Model(step, evaluate, functools.partial(estimator_engine.predict, served))
        return
    engine = session_engine.build(job.task, config.engine, config.plan.seed)
    yield loaded(engine, prefix)
    session_engine.close(engine)


def loaded(engine: Engine, prefix: str) -> Model:
    """An engine with the checkpoint's weights."""
    step = session_engine.load_trained(engine, prefix)
    evaluate = functools.partial(session_engine.evaluate, engine)
    return Model(step, evaluate, functools.partial(session_engine.predict, engine))


def evaluate_and_predict(
    model: Model, config: RunConfig, job: Job, records: Dict[str, RecordFile], folder: str
) -> None:
    if config.do_eval:
        evaluate(model, job, records, folder)
    if config.do_predict:
        output = config.predict_output or os.path.join(folder, job.predictions_file)
        for split in records:
            if split.startswith("test"):
                found = model.predict(records[split])
                job.write_predictions(split, found, model.step, with_suffix(output, split), folder)


def with_suffix(path: str, split: str) -> str:
    """predictions.tsv, test_mismatched → predictions_mismatched.tsv"""
    base, ending = os.path.splitext(path)
    return base + split[split.find("_") :] + ending if "_" in split else path


def evaluate(model: Model, job: Job, records: Dict[str, RecordFile], folder: str) -> None:
    """Writes the scores of every dev split; those of dev_NAME end in _NAME."""
    metrics: Dict[str, float] = {}
    details: Dict[str, Any] = {"labels": list(job.task.labels)}
    for split in [split for split in records if split.startswith("dev")]:
        suffix = split[len("dev") :]
        found = model.evaluate(split, records[split])
        metrics.update({name + suffix: value for name, value in found.metrics.items()})
        of_split, shown = job.describe_evaluation(split, found.predictions)
        of_split = dict({"examples": len(records[split])}, **of_split)
        details.update({name + suffix: value for name, value in of_split.items()})
        text = "Evaluation of step {} on {:,} examples of {}: {}"
        say(text.format(model.step, of_split["examples"], split, reports.format_metrics(found.metrics)))
        if shown:
            say(shown)
    reports.write_eval_results(folder, metrics, model.step, details)
    say("Wrote {}".format(os.path.join(folder, "eval_results.json")))


# --- parts ------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def standard_input(ending: Callable[[str], str]) -> Iterator[str]:
    """The path of a temporary file with what standard input gives; ending(path) names the format of the copy there."""
    with tensorflow_setup.temporary_folder() as folder:
        copy = os.path.join(folder, "standard-input")
        with open(copy, "wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        path = copy + ending(copy)
        os.rename(copy, path)
        yield path


def open_records(config: RunConfig, job: Job, cache: str) -> Tuple[Dict[str, RecordFile], List[str]]:
    """(the records of every split that the command needs, the report of what they are like).

    All are opened before the first step, so that a bad file is found there.
    """
    limits = {"train": config.max_train_examples, "dev": config.max_eval_examples}
    wanted = {"train": config.do_train, "dev": config.do_eval, "test": config.do_predict}
    output = config.predict_output
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


def choose_best_metric(job: Job, name: Optional[str]) -> Job:
    if name is None:
        return job
    if name not in job.metrics:
        raise UserError("--best_metric={}: this task has {}.".format(name, ", ".join(job.metrics)))
    return job._replace(task=job.task._replace(best_metric=name))


def make_plan(config: RunConfig, job: Job, examples: int, saved: Optional[plans.Plan]) -> plans.Plan:
    """The plan, with everything that decides this run's numbers under its own name.

    saved: the plan of the run in the folder. It says what the initial weights were where the command does not.
    """
    identity = {
        "max_train_examples": config.max_train_examples,
        "data": job.task.fingerprint("train"),
        "optimizer": json.loads(json.dumps(dataclasses.asdict(config.optimizer))),  # as plan.json gives it back
        "best_metric": job.task.best_metric,
        "precision": config.engine.precision,
        "xla": config.engine.xla,  # has random bits of its own
        "init_checkpoint": initial_weights_identity(config) or (saved and saved.identity.get("init_checkpoint")),
        **job.identity,
    }
    notes: Dict[str, Any] = {"padding": config.engine.padding, "distribution": config.engine.distribution}
    if config.engine.engine != "session":
        notes["engine"] = config.engine.engine
    if config.engine.tpu.use_tpu:
        notes["order"] = "record files in sequence, shuffled by seed and epoch; not the computed permutation"
    notes.update(job.notes)
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


def initial_weights_identity(config: RunConfig) -> Optional[str]:
    """What tells these initial weights from others; None where the command does not say (a resume need not)."""
    if config.weights.from_scratch:
        return "from scratch"
    if config.weights.init_checkpoint is None:
        return None
    prefix = checkpoint.resolve(config.weights.init_checkpoint, config.weights.checkpoint)
    return "sha256 of index " + files.sha256_of_file(prefix + ".index")  # the index has a checksum of each tensor


def decide(config: RunConfig, plan: plans.Plan, saved: Optional[plans.Plan]) -> Tuple[Optional[str], resume.Decision]:
    """The checkpoint to continue (None to start), and why."""
    folder = config.weights.output_dir
    assert folder is not None
    prefix, passed_over = checkpoint.newest_whole(folder)
    for line in passed_over:
        say("WARNING: {}. An older checkpoint is taken.".format(line))
    if prefix is None:
        folder_state = resume.FolderState(step=None, plan=saved)
    else:
        step, state = checkpoint.step_of(prefix), checkpoint.state_in(prefix)
        folder_state = resume.FolderState(
            step=step,
            plan=saved,
            stopped_early=progress.stopped_early(state, plan.early_stopping_patience),
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
    return prefix, resume.decide(folder_state, plan, has_weights, weights.allow_plan_change, weights.resume_mode)


def with_lineage(
    config: RunConfig, plan: plans.Plan, decision: resume.Decision, saved: Optional[plans.Plan]
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
    plan, lines = resume.next_stage(plan, saved_plan(source), prefix, corrected)
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


def load_for_training(engine: Engine, config: RunConfig, plan: plans.Plan, prefix: Optional[str]) -> None:
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


def write_run_files(plan: plans.Plan, job: Job, folder: str) -> None:
    """What makes the folder self-contained."""
    for name, source in job.files.items():
        target = os.path.join(folder, name)
        if os.path.abspath(source) != os.path.abspath(target):
            with open(source, "rb") as file, files.atomic_write(target, "wb") as copy:
                shutil.copyfileobj(file, copy)
    for name, document in job.documents.items():
        files.write_json(os.path.join(folder, name), document)
    with files.atomic_write(os.path.join(folder, "flags.txt")) as file:
        file.write("\n".join(job.flags) + "\n")
    files.write_json(os.path.join(folder, PLAN_FILE), plans.to_json(plan))


def record_decision(config: RunConfig, decision: resume.Decision) -> None:
    """Adds a line to decisions.jsonl: what this command does with the folder, and why."""
    assert config.weights.output_dir is not None
    line = dict(decision._asdict(), resume_mode=config.weights.resume_mode, time=round(time.time(), 3))
    with open(os.path.join(config.weights.output_dir, "decisions.jsonl"), "a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def linked(config: RunConfig) -> Iterator[cluster.Member]:
    """The link to the other workers, before anything is read: an error of this process is told to them."""
    if config.engine.distribution != "multi_worker":
        yield cluster.Alone()
        return
    workers = cluster.from_environment(os.environ)
    say("Waiting for the {} workers of TF_CONFIG".format(len(workers.members)))
    try:
        link = cluster.Link(workers, {"TensorFlow": tf.__version__, "code": code_fingerprint()})
    except RuntimeError as error:  # a worker is lost that had joined
        cluster.stop_now(str(error), 1)
    say("All workers have joined")
    try:
        yield link
    except SystemExit:  # on all of them, after the same step
        part(link)
        raise
    except cluster.RefusedError:
        raise
    except tf.errors.OpError as error:
        # TensorFlow may notice before the link that a worker is gone; the link says it better, and ends the process.
        time.sleep(cluster.LOST_SECS + 2 * cluster.BEAT_SECS)
        link.fail("{}: {}".format(type(error).__name__, error.message), 1)
        raise
    except UserError as error:
        link.fail(str(error), 2)
        raise
    except BaseException as error:
        link.fail("{}: {}".format(type(error).__name__, error), 1)
        raise
    finally:
        link.close()


def part(link: cluster.Member) -> None:
    """Where the workers need each other no longer."""
    with contextlib.suppress(RuntimeError):  # what is lost now does no harm
        link.share("done")
    link.close()


# What each worker may have to itself.
_OWN_SETTINGS = {
    "cache_dir",
    "init_checkpoint",  # its content is compared
    "keep_checkpoint_max",
    "log_every_steps",
    "output_dir",  # what is in it is compared
    "predict_output",
    "profile_steps",
}


def description(
    config: RunConfig, job: Job, plan: plans.Plan, prefix: Optional[str], decision: resume.Decision
) -> Dict[str, str]:
    """What all workers of a run must have in common, by name."""
    settings = dataclasses.asdict(config)
    for section in ("plan", "optimizer", "weights", "engine"):
        settings.update(settings.pop(section))
    parts = {"--" + name: json.dumps(value) for name, value in settings.items() if name not in _OWN_SETTINGS}
    parts.update({name: json.dumps(value, sort_keys=True) for name, value in plan.identity.items()})
    parts["dev data"] = json.dumps(job.task.fingerprint("dev") if config.do_eval else None, sort_keys=True)
    parts["run in --output_dir"] = "{} from {}".format(
        decision.action, files.sha256_of_file(prefix + ".index")[:16] if prefix else "nothing"
    )
    parts["number of GPUs"] = str(len(devices.gpus()))
    return parts


def code_fingerprint() -> str:
    """A hash of the program's own modules, wherever they stand."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    paths = [os.path.join(root, name) for name in os.listdir(root)]
    for folder, _, names in os.walk(os.path.join(root, "steady_bert")):
        paths += [os.path.join(folder, name) for name in names]
    modules = sorted(os.path.relpath(path, root) for path in paths if path.endswith(".py"))
    digests = [name + files.sha256_of_file(os.path.join(root, name)) for name in modules]
    return hashlib.sha256("".join(digests).encode()).hexdigest()[:16]


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
def cache_folder(config: RunConfig) -> Iterator[str]:
    """The record cache; a temporary one where no folder was given to write to."""
    if config.cache_dir:
        files.require_writable(config.cache_dir, "--cache_dir")
        yield config.cache_dir
    elif config.weights.output_dir:
        files.require_writable(config.weights.output_dir, "--output_dir")
        yield os.path.join(config.weights.output_dir, "cache")
    else:
        with tensorflow_setup.temporary_folder() as folder:
            yield folder
