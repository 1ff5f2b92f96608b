"""The folder of a run: its lock, its record cache, its plan, its decisions, and the files that make it complete."""

import contextlib
import json
import os
import time
from typing import Any, Callable, Iterable, Iterator, Mapping, Optional, Sequence

from ..base import disk, files, locks, tensorflow_setup
from ..base.errors import UserError
from ..tasks import model_files
from . import checkpoint, checkpoint_files, environment, manifest, reports
from . import plan as plans
from .data_report import DataReport
from .job import Job, RunConfig, WeightsConfig
from .manifest import CONFIG_FILE, PLAN_FILE
from .plan import Plan
from .reports import say
from .resume import Decision
from .run_files import DATA_REPORT_FILE, DATA_REPORT_TEXT, DECISIONS_FILE, FLAGS_FILE, LOCK_FILE


def required(path: Optional[str], flag: str) -> str:
    """The path. Raises UserError if it was not given."""
    if path is None:
        raise UserError("{} is needed. Name a folder.".format(flag))
    return path


def require_other_files(
    config: RunConfig, predictions_file: str, beside: Callable[[str], Sequence[str]], inputs: Iterable[str]
) -> None:
    """Raises UserError if predictions, the files beside them or their scores would replace an input file or each other.

    beside(path): what is written besides the predictions at a path.
    """
    if not config.do_predict:
        return
    folder = config.weights.output_dir or os.path.dirname(config.predict_output or "") or os.curdir
    target = config.predict_output or os.path.join(folder, predictions_file)
    written = [target, *beside(target), os.path.join(folder, reports.TEST_RESULTS_FILE)]
    places = set(map(os.path.abspath, written))
    if len(places) < len(written) or places & set(map(os.path.abspath, inputs)):
        raise UserError(
            "Predictions and scores go to {}: one would overwrite an input file or another. Give another "
            "--predict_output.".format(", ".join(written))
        )


@contextlib.contextmanager
def locked(folder: str) -> Iterator[None]:
    """Refuses a second run in the same folder."""
    files.require_writable(folder, "--output_dir")
    lock = locks.acquired(
        os.path.join(folder, LOCK_FILE),
        "--output_dir={}: another run is writing there. Wait for it, or use another folder.".format(folder),
    )
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def cache_folder(cache_dir: Optional[str], output_dir: Optional[str]) -> Iterator[str]:
    """The folder of the record cache: cache_dir, else output_dir/cache, else a temporary folder."""
    if cache_dir:
        files.require_writable(cache_dir, "--cache_dir")
        yield cache_dir
    elif output_dir:
        files.require_writable(output_dir, "--output_dir")
        yield os.path.join(output_dir, "cache")
    else:
        with tensorflow_setup.temporary_folder() as folder:
            yield folder


def run_folder_of(prefix: str) -> str:
    """The folder of the run that a checkpoint belongs to; the checkpoint may be in its best/."""
    return checkpoint_files.home_of(prefix)[0]


def holds(folder: str, prefix: str) -> bool:
    """Whether the checkpoint is of the run in the folder."""
    return os.path.abspath(run_folder_of(prefix)) == os.path.abspath(folder)


def holds_run(folder: str) -> bool:
    """Whether a run was written to the folder, by this program or by the original."""
    names = (PLAN_FILE, manifest.FILE)
    return any(os.path.exists(os.path.join(folder, name)) for name in names) or bool(checkpoint.steps_in(folder))


def verify(folder: str, weights: WeightsConfig) -> None:
    """Raises UserError if files of the run in the folder are not as it wrote them; nothing where there is no run."""
    if holds_run(folder):
        for line in manifest.verify(folder, weights.allow_changed_files):
            say(line)


def require_no_lost_run(folder: str, saved: Optional[Plan]) -> None:
    """Raises UserError if a folder without a checkpoint is what is left of a run that had one.

    A run that was killed before its first checkpoint starts again. saved: its plan, by which this is known.
    """
    lost = checkpoint_files.lost(folder)
    best, logged = checkpoint.steps_in(checkpoint.best_folder(folder)), reports.last_step(folder)
    remains = list(lost.values())
    remains += [checkpoint.prefix_of(checkpoint.best_folder(folder), step) + " is there" for step in best]
    if logged is not None:
        remains.append("{} goes up to step {}".format(os.path.join(folder, reports.METRICS_FILE), logged))
    if not remains:
        return
    listed = [name for name in manifest.listed_checkpoints(folder) or {} if not os.path.dirname(name)]  # without best/
    saved_none = checkpoint_files.pointed_step(folder) is None and not listed
    if (
        saved is not None
        and saved_none
        and max([*lost, *best, logged or 0]) <= min(saved.save_checkpoints_steps, saved.num_train_steps)
    ):
        say("The run in {} was stopped before its first checkpoint: it starts again.".format(folder))
        return
    raise UserError(
        "{}: holds what is left of a run, but none of its checkpoints:\n  {}\nRestore them from a copy, or use another "
        "folder. To start again in this one, empty it first.".format(folder, "\n  ".join(remains))
    )


def require_best(prefix: str, allowed: Sequence[str], is_chief: bool) -> None:
    """Raises UserError if the best weights that a run's checkpoint names are gone or damaged.

    If that is allowed, the checkpoint forgets them; also if an older version was killed between two checkpoints, which
    left a later best alone.
    """
    problem = checkpoint.lost_best(prefix)
    if problem is None:
        return
    remedy = "The evaluations that follow choose the best anew"
    folder = run_folder_of(prefix)
    best = checkpoint.steps_in(checkpoint.best_folder(folder))
    older = manifest.listed_checkpoints(folder) is None and max(best, default=0) > checkpoint.state_in(prefix).best_step
    if not older and manifest.BEST not in allowed:
        raise UserError(
            "{}. Restore it from a copy, or go on with --allow_changed_files={}. {} then.".format(
                problem, manifest.BEST, remedy
            )
        )
    say("WARNING: {}. {}.".format(problem, remedy))
    if is_chief:
        checkpoint.forget_best(prefix)


def verify_source(prefix: str, job: Job, weights: WeightsConfig) -> None:
    """Raises UserError if initial weights are of a run whose files have changed, or whose model is not `job`'s."""
    verify(run_folder_of(prefix), weights)
    require_same_model(prefix, job, weights)


def require_same_model(prefix: str, job: Job, weights: WeightsConfig) -> None:
    """Raises UserError if a checkpoint is of a run that has another model than `job`, by a difference in no shape.

    That is other pieces, another case of the text, or another activation.
    """
    folder = run_folder_of(prefix)
    if not holds_run(folder):
        return
    differences = model_files.differences_no_shape_shows(folder, job.files)
    case = manifest.saved_case(folder)
    given_case = job.documents.get(CONFIG_FILE, {}).get("model", {}).get("do_lower_case")
    if None not in (case, given_case) and case != given_case:
        text = "do_lower_case={} there, {} in this command"
        differences[CONFIG_FILE] = text.format(json.dumps(case), json.dumps(given_case))
    for name, difference in differences.items():
        text = "{}: its weights were trained with another model: {}".format(os.path.join(folder, name), difference)
        if name not in weights.allow_changed_files:
            raise UserError(
                "{}. Give the run's own files, or go on with --allow_changed_files={}.".format(
                    text, ",".join(differences)
                )
            )
        say(text + " (--allow_changed_files)")


def require_no_other_run(folder: str, prefix: str, settled: Mapping[str, Any]) -> None:
    """Raises UserError if what the evaluation of a checkpoint settles would replace verified files of another run."""
    if settled and holds_run(folder) and not holds(folder, prefix):
        raise UserError(
            "--output_dir={}: is the folder of another run than {}, whose {} would be replaced. Name another.".format(
                folder, prefix, ", ".join(settled)
            )
        )


def write_run_files(folder: str, plan: Plan, job: Job, data_report: DataReport) -> None:
    """Writes all that prediction, a resume and people need beside the checkpoints."""
    texts = ((FLAGS_FILE, job.flags), (DATA_REPORT_TEXT, data_report.details + data_report.problems))
    for name, lines in texts:
        files.write_bytes(os.path.join(folder, name), ("\n".join(lines) + "\n").encode("utf-8"))
    files.write_json(os.path.join(folder, DATA_REPORT_FILE), data_report.as_json())
    contents = {name: files.read_bytes(source) for name, source in job.files.items()}
    _write_verified(folder, contents, dict(job.documents, **{PLAN_FILE: plans.to_json(plan)}))
    checkpoint_files.list_in_manifest(folder)


def complete_manifest(folder: str) -> None:
    """Gives a run's folder a manifest that lists its checkpoints, if it has none yet."""
    if manifest.listed_checkpoints(folder) is None:
        _write_verified(folder, {}, {})
        checkpoint_files.list_in_manifest(folder)


def write_settled(folder: str, documents: Mapping[str, Any]) -> None:
    """Writes what an evaluation has settled; where the folder is that of the run, its manifest follows."""
    if holds_run(folder):
        _write_verified(folder, {}, documents)
    else:
        for name, document in documents.items():
            files.write_json(os.path.join(folder, name), document)


def _write_verified(folder: str, contents: Mapping[str, bytes], documents: Mapping[str, Any]) -> None:
    """Writes files that the manifest lists. Those that hold the same already stay as they are."""
    contents = dict(contents, **{name: files.json_bytes(document) for name, document in documents.items()})
    with manifest.updated(folder, contents):
        for name, content in contents.items():
            path = os.path.join(folder, name)
            if not (os.path.isfile(path) and files.read_bytes(path) == content):
                files.write_bytes(path, content)


def record_decision(folder: str, decision: Decision, resume_mode: str) -> None:
    """Adds a line to decisions.jsonl: what this command does with the folder, why, and in which environment."""
    line = dict(
        decision._asdict(), resume_mode=resume_mode, time=round(time.time(), 3), environment=environment.described()
    )
    path = os.path.join(folder, DECISIONS_FILE)
    with disk.writing(path), open(path, "a", encoding="utf-8") as file:
        file.write(files.json_text(line) + "\n")
