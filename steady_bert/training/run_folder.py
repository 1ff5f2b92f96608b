"""The folder of a run: its lock, its record cache, its plan, its decisions, and the files that make it complete."""

import contextlib
import json
import os
import time
from typing import Iterable, Iterator, Optional

import filelock

from ..base import files, tensorflow_setup
from ..base.errors import UserError
from . import checkpoint
from . import plan as plans
from .job import Job
from .plan import Plan
from .resume import Decision

PLAN_FILE = "plan.json"


def required(path: Optional[str], flag: str) -> str:
    """The path. Raises UserError if it was not given."""
    if path is None:
        raise UserError("{} is needed. Name a folder.".format(flag))
    return path


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
    folder = os.path.dirname(prefix)
    return os.path.dirname(folder) if os.path.basename(folder) == checkpoint.BEST_FOLDER else folder


def holds(folder: str, prefix: str) -> bool:
    """Whether the checkpoint is of the run in the folder."""
    return os.path.abspath(run_folder_of(prefix)) == os.path.abspath(folder)


def saved_plan(folder: str) -> Optional[Plan]:
    """The plan of the run in the folder, None if there is none."""
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


def write_run_files(folder: str, plan: Plan, job: Job, data_report: Iterable[str]) -> None:
    """Writes all that prediction, a resume and people need beside the checkpoints."""
    for name, source in job.files.items():
        files.copy(source, os.path.join(folder, name))
    for name, document in job.documents.items():
        files.write_json(os.path.join(folder, name), document)
    for name, lines in (("flags.txt", job.flags), ("data_report.txt", data_report)):
        with files.atomic_write(os.path.join(folder, name)) as file:
            file.write("\n".join(lines) + "\n")
    files.write_json(os.path.join(folder, PLAN_FILE), plans.to_json(plan))


def record_decision(folder: str, decision: Decision, resume_mode: str) -> None:
    """Adds a line to decisions.jsonl: what this command does with the folder, and why."""
    line = dict(decision._asdict(), resume_mode=resume_mode, time=round(time.time(), 3))
    with open(os.path.join(folder, "decisions.jsonl"), "a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
