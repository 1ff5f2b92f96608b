"""One run: what each command does, phase by phase.

A script makes the Job, which is all that a run knows of what is learned.
"""

import contextlib
import copy
import dataclasses
import json
import os
import shutil
import sys
from typing import Any, Callable, Dict, Iterator, NamedTuple, Optional, Tuple

from .. import optimizer_movement
from ..base import files, tensorflow_setup
from ..base.errors import UserError
from ..run_report import page as run_report
from ..tasks.model_files import LABELS_FILE
from ..tasks.reading import source
from . import (
    checkpoint,
    data_report,
    devices,
    estimator_engine,
    failures,
    feature_cache,
    progress,
    reports,
    resume,
    run_files,
    run_folder,
    run_status,
    session_engine,
    tracking,
    trained_model,
    updates,
    worker_link,
    workers,
)
from . import plan as plans
from .data_report import DataReport
from .engine_config import EngineConfig
from .feature_cache import RecordFile
from .job import Job, RunConfig, WeightsConfig
from .manifest import CONFIG_FILE
from .plan import Plan
from .reports import say
from .resume import Decision
from .session_engine import Engine


def start(config: RunConfig, make_job: Callable[[Optional[str]], Job]) -> None:
    """Does what the command asks for. make_job(model_dir) takes the labels from a trained model's folder, if given."""

    def job_for(model_dir: Optional[str]) -> Job:
        return with_best_metric(make_job(model_dir), config.best_metric)

    with failures.explained(config), source.large_gz(config.allow_large_gz):
        do(config, job_for)


def do(config: RunConfig, job_for: Callable[[Optional[str]], Job]) -> None:
    weights = config.weights
    if config.engine.engine == "estimator":
        estimator_engine.require_estimator(config.engine)
    if config.engine.xla:
        devices.prepare_xla()
    if config.check_data:
        check_data(config, job_for(weights.model_dir))
    elif config.dry_run:
        dry_run(config, job_for(None), run_folder.required(weights.output_dir, "--output_dir"))
    elif config.do_train:
        with workers.joined(config.engine) as link:
            train(config, job_for(None), run_folder.required(weights.output_dir, "--output_dir"), link)
    else:
        use_trained_model(config, job_for, run_folder.required(weights.model_dir or weights.output_dir, "--model_dir"))


def with_best_metric(job: Job, name: Optional[str]) -> Job:
    """The job with the metric that picks the best checkpoint. None: the task's own."""
    if name is None:
        return job
    if name not in job.metrics:
        raise UserError("--best_metric={}: this task has {}.".format(name, ", ".join(job.metrics)))
    return job._replace(task=job.task._replace(best_metric=name))


# --- commands ---------------------------------------------------------------------------------------------------------


def check_data(config: RunConfig, job: Job) -> None:
    """Prints what the data is like. Needs the tokenizer's file, but no weights."""
    splits = [split for split, path in job.task.files.items() if os.path.exists(path)]
    if not splits:
        raise UserError("None of {} exists. Check the paths.".format(", ".join(job.task.files.values())))
    with run_folder.cache_folder(config.cache_dir, config.weights.output_dir) as cache:
        records = {split: feature_cache.open_or_build(job.task, split, cache) for split in splits}
        report = data_report.look_at(job.task, records)
    problems = ["Worth a look:"] + ["  " + line for line in report.problems]
    print("\n".join(report.details))
    print("\n".join(problems if report.problems else ["Nothing stands out."]))


def dry_run(config: RunConfig, job: Job, folder: str) -> None:
    """Prints the plan, and draws the learning rate of every step: on the terminal, and as learning_rate.png."""
    examples, sources = feature_cache.count(job.task, "train", config.max_train_examples, config.plan.seed)
    run_folder.verify(folder, config.weights)
    initial, saved = initial_checkpoint(config.weights), run_files.saved_plan(folder)
    if initial is not None and not checkpoint.steps_in(folder):  # it would start, not go on
        run_folder.verify_source(initial, job, config.weights)
    job = with_note_on_windows(job, examples, sources)
    plan = make_plan(config, job, examples, initial, saved, rate_of_run(folder, saved))
    print(plans.describe(plan))
    print("\n" + reports.sketch_curve(plans.rates(plan)))
    path = os.path.join(folder, "learning_rate.png")
    if reports.plot_curves(path, {plan.schedule.lr_schedule: plans.rates(plan)}):
        print("Wrote " + path)
    else:
        print("No figure was written: matplotlib is not installed.")


def use_trained_model(config: RunConfig, job_for: Callable[[Optional[str]], Job], model_dir: str) -> None:
    """Evaluates and predicts with a trained model. All that it needs is in its folder."""
    prefix, source = model_to_use(config.weights, model_dir)
    run_folder.verify(run_folder.run_folder_of(prefix), config.weights)
    job = job_for(source)
    run_folder.require_same_model(prefix, job, config.weights)
    folder = config.weights.output_dir or os.path.dirname(config.predict_output or "") or os.curdir
    run_folder.require_no_other_run(folder, prefix, job.settled() if config.do_eval else {})
    files.require_writable(folder, "--output_dir")
    with run_folder.cache_folder(config.cache_dir, config.weights.output_dir) as cache:
        records, _ = open_records(config, job, cache)
        with trained_model.opened(config, job, prefix) as model:
            say("Model: {} (step {})".format(prefix, model.step))
            trained_model.evaluate_and_predict(model, config, job, records, folder)
    if config.do_eval and run_folder.holds(folder, prefix) and run_files.saved_plan(folder) is not None:
        run_report.write_after_run(folder)


def model_to_use(weights: WeightsConfig, folder: str) -> Tuple[str, str]:
    """(the checkpoint to evaluate and predict with, the folder with its labels).

    The model in `folder` is used whatever --init_checkpoint says, so that the command that trained also predicts; that
    flag may name a step of the run. If the folder has no model, --init_checkpoint is used.
    """
    if weights.init_checkpoint is None:
        return checkpoint.resolve(folder, weights.checkpoint), folder
    if not (checkpoint.steps_in(folder) or checkpoint.steps_in(checkpoint.best_folder(folder))):
        run_folder.require_no_lost_run(folder, run_files.saved_plan(folder))
        prefix = checkpoint.resolve(weights.init_checkpoint, weights.checkpoint)
        source = run_folder.run_folder_of(prefix)
        return prefix, source if os.path.exists(os.path.join(source, LABELS_FILE)) else folder
    if run_folder.holds(folder, weights.init_checkpoint):
        return checkpoint.resolve(weights.init_checkpoint), folder
    say("--init_checkpoint is not read: {} has a trained model.".format(folder))
    return checkpoint.resolve(folder, weights.checkpoint), folder


def train(config: RunConfig, job: Job, folder: str, link: worker_link.Member) -> None:
    """Trains or continues the run in `folder`, or sees that it is finished; then evaluates and predicts as asked.

    All workers train. Only the chief writes to the folder and does what comes after training.
    """
    lock = run_folder.locked(folder) if link.is_chief else contextlib.nullcontext()
    with lock, run_folder.cache_folder(config.cache_dir, folder) as cache, run_status.Keeper(folder) as status:
        if link.is_chief:
            status.prepare()
        run = prepare(config, job, folder, link, cache, status)
        say(plans.describe(run.plan))
        say("Resume: {} ({})".format(*run.decision))
        report_to = config.engine.report_to if link.is_chief else ()
        # status.json says how the run ended before MLflow is waited for.
        with tracking.ending(report_to, folder, run_report.PAGE_FILE), status:
            if run.decision.action == "finished":
                use_finished(run)
            elif config.engine.engine == "estimator":
                train_on_estimator(run)
            else:
                train_in_session(run)
            if link.is_chief:
                run_report.write_after_run(folder)


# --- training ---------------------------------------------------------------------------------------------------------


class Run(NamedTuple):
    """A run that trains: what the command gives it, and what is settled before anything is built."""

    config: RunConfig
    job: Job
    folder: str
    link: worker_link.Member
    records: Dict[str, RecordFile]  # split → its records
    data_report: DataReport
    plan: Plan
    decision: Decision
    continued: Optional[str]  # the checkpoint that the run goes on from; None: it starts
    initial: Optional[str]  # the checkpoint of the initial weights, if the command gives one
    status: run_status.Keeper


def prepare(
    config: RunConfig, job: Job, folder: str, link: worker_link.Member, cache: str, status: run_status.Keeper
) -> Run:
    """Settles everything that can refuse the command before a graph is built, on all workers alike."""
    run_folder.verify(folder, config.weights)
    records, report = open_records(config, job, cache)
    job = with_note_on_windows(job, len(records["train"]), records["train"].sources)
    initial, saved = initial_checkpoint(config.weights), run_files.saved_plan(folder)
    plan = make_plan(config, job, len(records["train"]), initial, saved, rate_of_run(folder, saved))
    job = with_number_for_auto(job, plan)
    if link.is_chief:
        checkpoint.remove_leftovers(folder)
        files.remove_temporaries(folder)
    continued, decision = decide(config, plan, saved, folder, initial)
    if continued is not None and decision.action == "continue":
        run_folder.require_best(continued, config.weights.allow_changed_files, link.is_chief)
    if decision.action == "start" and initial is not None:
        run_folder.verify_source(initial, job, config.weights)
    if not isinstance(link, worker_link.Alone):
        link.agree(workers.in_common(config, job, plan, continued, decision))
    plan = with_lineage(config, plan, decision, saved, initial)
    return Run(config, job, folder, link, records, report, plan, decision, continued, initial, status)


def begin(run: Run) -> None:
    """Writes the chief's files, once nothing can refuse the command any more."""
    run_folder.record_decision(run.folder, run.decision, run.config.weights.resume_mode)
    run_folder.write_run_files(run.folder, run.plan, run.job, run.data_report)
    run.status.enter(run_status.TRAINING)


def train_in_session(run: Run) -> None:
    """Trains in one graph and session, in which the chief then evaluates and predicts."""
    config = run.config
    engine = session_engine.build(run.job.task, config.engine, run.plan.seed, run.plan, config.optimizer, run.link)
    load_for_training(engine, run)
    if run.link.is_chief:
        begin(run)
    session_engine.train(engine, run.plan, run.records["train"], run.records.get("dev"), run.folder)
    workers.leave(run.link)
    if run.link.is_chief and (config.do_eval or config.do_predict):
        run.status.enter(use_of(config))
        model = trained_model.loaded(engine, checkpoint.resolve(run.folder, config.weights.checkpoint))
        trained_model.evaluate_and_predict(model, config, run.job, run.records, run.folder)
    session_engine.close(engine)


def train_on_estimator(run: Run) -> None:
    """Estimator continues the checkpoint in its folder, so the session engine writes the first one, of step 0.

    Initial weights are thus read by one loader, with one report.
    """
    config, plan, task = run.config, run.plan, run.job.task
    engine = estimator_engine.build(task, config.engine, plan.seed, plan, config.optimizer)
    first = session_engine.build(task, on_one_device(config.engine), plan.seed, plan, config.optimizer)
    load_for_training(first, run)
    begin(run)
    session_engine.hand_over(first, run.folder, run.continued)
    session_engine.close(first)
    estimator_engine.train(engine, plan, run.records["train"], run.records.get("dev"), run.folder)
    use_own_model(run, config)


def use_finished(run: Run) -> None:
    """Evaluates and predicts as asked with a run that is finished. The chief does it alone."""
    workers.leave(run.link)
    if run.link.is_chief:
        run_folder.record_decision(run.folder, run.decision, run.config.weights.resume_mode)
        run_folder.complete_manifest(run.folder)
        run.status.enter(run_status.TRAINING)
        engine = run.config.engine
        if engine.distribution == "multi_worker":
            engine = on_one_device(engine)
        use_own_model(run, dataclasses.replace(run.config, engine=engine))


def use_own_model(run: Run, config: RunConfig) -> None:
    """Evaluates and predicts as asked with what the run has learned, in graphs of its own."""
    if config.do_eval or config.do_predict:
        run.status.enter(use_of(config))
        prefix = checkpoint.resolve(run.folder, config.weights.checkpoint)
        with trained_model.opened(config, run.job, prefix) as model:
            trained_model.evaluate_and_predict(model, config, run.job, run.records, run.folder)


def use_of(config: RunConfig) -> str:
    """What follows the training, for people."""
    return " and ".join(["evaluating"] * config.do_eval + ["predicting"] * config.do_predict)


def on_one_device(config: EngineConfig) -> EngineConfig:
    return dataclasses.replace(config, distribution="one_device", devices=())


def load_for_training(engine: Engine, run: Run) -> None:
    """Restores the run that is continued, or loads the initial weights."""
    weights = run.config.weights
    if run.continued is not None:
        session_engine.load_run(engine, run.continued, run.plan.train_batch_size)
    elif run.initial is not None:
        report = session_engine.load_weights(engine, run.initial, weights.reset_head)
        head = [name for name in report.missing if name.startswith(engine.task.head_variables)]
        if weights.resume_mode == "weights" and head and not weights.reset_head:
            raise UserError(
                "--resume_mode=weights: {} has no trained head, so it is not a stage to go on from. Use "
                "--resume_mode=auto, or --reset_head.".format(run.initial)
            )
        say("Initial weights from {}: {}".format(run.initial, report))
    else:
        say("Initial weights: random (--from_scratch)")


# --- what is settled before -------------------------------------------------------------------------------------------


@contextlib.contextmanager
def standard_input(ending: Callable[[str], str]) -> Iterator[str]:
    """The path of a temporary copy of standard input. ending(path) gives the file ending of the copy's format."""
    with tensorflow_setup.temporary_folder() as folder:
        copy = os.path.join(folder, "standard-input")
        with open(copy, "wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        path = copy + ending(copy)
        os.rename(copy, path)
        yield path


def open_records(config: RunConfig, job: Job, cache: str) -> Tuple[Dict[str, RecordFile], DataReport]:
    """(the records of every split that the command needs, the data report).

    All are opened before the first step, so that a bad file ends the command at its beginning.
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
    report = data_report.look_at(job.task, records)
    for line in report.problems:
        say("Data: " + line)
    return records, report


def initial_checkpoint(weights: WeightsConfig) -> Optional[str]:
    """The checkpoint that --init_checkpoint names, which may be a run's folder."""
    return weights.init_checkpoint and checkpoint.resolve(weights.init_checkpoint, weights.checkpoint)


def rate_of_run(folder: str, saved: Optional[Plan]) -> Optional[float]:
    """The peak rate of the run in the folder, None if it has no step to go on from: it may then be computed anew."""
    return saved.schedule.learning_rate if saved and checkpoint.steps_in(folder) else None


def make_plan(
    config: RunConfig,
    job: Job,
    examples: int,
    initial: Optional[str],
    saved: Optional[Plan],
    rate: Optional[float] = None,
) -> Plan:
    """The plan, with everything that decides this run's numbers under its own name.

    initial: the checkpoint of the initial weights. saved: the plan of the run in the folder; it says what the initial
    weights were if the command does not. rate: of that run if it has begun, which --learning_rate=auto then is.
    """
    identity = {
        "max_train_examples": config.max_train_examples,
        "data": job.task.fingerprint("train"),
        "optimizer": dataclasses.asdict(config.optimizer),
        "best_metric": job.task.best_metric,
        "precision": config.engine.precision,
        "xla": config.engine.xla,  # has random bits of its own
        "init_checkpoint": weights_identity(config.weights, initial)
        or (saved and saved.identity.get("init_checkpoint")),
        **job.identity,
    }
    dev = dev_identity(config, job) or (saved and saved.identity.get(resume.DEV))
    if dev:
        identity[resume.DEV] = dev
    identity = json.loads(json.dumps(identity))  # as plan.json gives it back: a resume compares the two
    plan = with_movement(config, plans.make_plan(config.plan, examples, identity, notes_of(config, job)), rate)
    updates.require_traceable(config.engine, plan)
    return plan


def with_movement(config: RunConfig, plan: Plan, begun_at: Optional[float]) -> Plan:
    """The plan with --learning_rate=auto as a number, and a line on how far the optimizer goes.

    begun_at: the peak rate of the run in the folder; None if the run has not begun.
    """
    optimizer, steps, lines = config.optimizer, plan.num_train_steps, []
    if config.plan.auto_rate:
        rate = begun_at or optimizer_movement.automatic_rate(optimizer, plan.schedule, steps)
        numbers = dataclasses.replace(config.plan, auto_rate=False, learning_rate=rate)
        plan = plans.make_plan(numbers, plan.examples, plan.identity, plan.notes)
        lines.append("--learning_rate=auto: {:g}{}".format(rate, ", as the run in the folder has" if begun_at else ""))
    line, warning = optimizer_movement.describe(optimizer, plan.schedule, steps, begun=begun_at is not None)
    warnings = plan.warnings + ((warning,) if warning else ())
    return dataclasses.replace(plan, derivation=(*plan.derivation, *lines, line), warnings=warnings)


def with_number_for_auto(job: Job, plan: Plan) -> Job:
    """The job whose flags.txt and config.json say which number --learning_rate=auto was."""
    rate = plan.schedule.learning_rate
    flags = ["--learning_rate={!r}".format(rate) if flag == "--learning_rate=auto" else flag for flag in job.flags]
    documents = copy.deepcopy(job.documents)
    numbers = documents.get(CONFIG_FILE, {}).get("run", {}).get("plan")
    if numbers and numbers["auto_rate"]:
        numbers.update(auto_rate=False, learning_rate=rate)
    return job._replace(flags=flags, documents=documents)


def dev_identity(config: RunConfig, job: Job) -> Optional[Dict[str, Any]]:
    """What tells the dev split from others, beside what it shares with the training split; None without evaluation.

    Plateau, early stopping and the choice of the best follow its scores.
    """
    if not config.do_eval or "dev" not in job.task.files:
        return None
    of_train, of_dev = (job.task.fingerprint(split) for split in ("train", "dev"))
    own = {name: value for name, value in of_dev.items() if value != of_train.get(name)}
    return dict(own, max_eval_examples=config.max_eval_examples)


def with_note_on_windows(job: Job, records: int, sources: int) -> Job:
    """The job with a line of the plan on its examples, if these are windows of the file's examples."""
    if records == sources:
        return job
    return job._replace(notes=dict(job.notes, examples="{:,} windows of {:,} texts".format(records, sources)))


def notes_of(config: RunConfig, job: Job) -> Dict[str, Any]:
    """What the plan says beside its numbers."""
    notes: Dict[str, Any] = {"padding": config.engine.padding, "distribution": config.engine.distribution}
    if config.engine.engine != "session":
        notes["engine"] = config.engine.engine
    if config.engine.tpu.use_tpu:
        notes["order"] = "record files in sequence, shuffled by seed and epoch; not the computed permutation"
    notes.update(devices.notes_of_form(config.engine))
    notes.update(job.notes)
    if config.engine.gradient_accumulation_steps > 1:
        notes["parts of a batch"] = config.engine.gradient_accumulation_steps
    if config.optimizer.ema_decay:
        notes["evaluated"] = "the average of the weights (--ema_decay={:g})".format(config.optimizer.ema_decay)
    return notes


def weights_identity(weights: WeightsConfig, initial: Optional[str]) -> Optional[str]:
    """What distinguishes these initial weights from others. None: the command does not say, as a resume need not."""
    if weights.from_scratch:
        return "from scratch"
    if initial is None:
        return None
    return "sha256 of index " + files.sha256_of_file(initial + ".index")  # the index has a checksum of each tensor


def decide(
    config: RunConfig, plan: Plan, saved: Optional[Plan], folder: str, initial: Optional[str]
) -> Tuple[Optional[str], Decision]:
    """(the checkpoint to continue, None to start; what to do with the folder, and why)."""
    weights = config.weights
    prefix, damaged = checkpoint.newest_whole(folder)
    state = resume.FolderState(step=None, plan=saved)
    if prefix is None:
        run_folder.require_no_lost_run(folder, saved)
    else:
        step, counters = checkpoint.step_of(prefix), checkpoint.state_in(prefix)
        for line in damaged:
            say("WARNING: {}. Step {} is taken instead.".format(line, step))
        state = resume.FolderState(
            step=step,
            plan=saved,
            stopped_early=progress.stopped_early(counters, plan.early_stopping_patience),
            evaluated=counters.evaluated_step == step
            or saved is None
            or not (saved.eval_every_steps and config.do_eval),
        )
    if weights.resume_mode == "weights" and initial is not None and run_folder.holds(folder, initial):
        raise UserError(
            "--resume_mode=weights: --init_checkpoint is in --output_dir. Write the stage to another folder."
        )
    if prefix is not None and saved is not None:
        say_changed_form(saved.notes, plan.notes)
        if resume.DEV in plan.identity and resume.DEV not in saved.identity:
            say("The dev file is used unverified: the run's plan.json does not say what it was. The new plan does.")
    has_weights = initial is not None or weights.from_scratch
    return prefix, resume.decide(state, plan, has_weights, weights.allow_plan_change, weights.resume_mode)


def say_changed_form(before: Dict[str, Any], after: Dict[str, Any]) -> None:
    """Says what differs in how a run computes its numbers, by the notes of its plan before and after."""
    forms = [notes.get("compute_form", "fast") for notes in (before, after)]
    if forms[0] != forms[1]:
        say("compute_form: {} → {}. The numbers are the same but for rounding and dropout's masks.".format(*forms))
    elif "attention" in after and "attention" not in before:  # a folder from before there was the note
        say("attention: {}, which changes the masks of dropout on its scores.".format(after["attention"]))
    products = [notes.get("products") for notes in (before, after)]
    if None not in products and products[0] != products[1]:
        say("products: {} → {}. The numbers are the same but for rounding.".format(*products))


def with_lineage(
    config: RunConfig, plan: Plan, decision: Decision, saved: Optional[Plan], initial: Optional[str]
) -> Plan:
    """The plan with the lineage of a further stage: the run's own if it is continued, else a new one.

    A new stage records whose weights it starts from, and prints what differs from the plan of that run.
    """
    if decision.action != "start":
        known = saved.notes if saved else {}
        lineage = {name: known[name] for name in ("stage", "weights from") if name in known}
        return dataclasses.replace(plan, notes=dict(plan.notes, **lineage))
    if config.weights.resume_mode != "weights" or initial is None:
        return plan
    source = run_files.saved_plan(run_folder.run_folder_of(initial))
    bias_correction = config.optimizer.optimizer not in ("adamw", "lamb") or bool(config.optimizer.bias_correction)
    plan, lines = resume.next_stage(plan, source, initial, bias_correction)
    say("Stage {} beside the stage before:\n  {}".format(plan.notes["stage"], "\n  ".join(lines) or "the same"))
    return plan
