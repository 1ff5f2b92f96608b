"""Where a run reports to (--report_to): TensorBoard, and MLflow where that is installed. Pure: no TensorFlow.

An MLflow run belongs to a run's folder, whose mlflow.json names it. A resumed run goes on with it. Everything that
MLflow is sent is in metrics.jsonl too, so it first gets what it lacks: the reports of commands that did not report to
it, or could not reach it. Steps that it has are not sent again: those after a checkpoint come twice where a run was
killed. So nothing is lost where MLflow fails, or a run that is stopped cannot wait for it.
"""

import contextlib
import os
import queue
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Mapping, Optional, Sequence, Tuple

from ..base import files, json_files, program_end, tensorflow_setup
from ..base.errors import UserError
from . import run_files
from .engine_config import EngineConfig
from .manifest import PLAN_FILE
from .plan import Plan
from .reports import Sink, TrainingReport, say, tensorboard

MLFLOW_FILE, FAILURE_FILE = "mlflow.json", "mlflow_failure.txt"
_STORE = "mlruns"  # in the working directory, where `mlflow ui` looks
_MOST_CHARACTERS = 250  # of a parameter, in every version
_MOST_PARAMETERS, _MOST_METRICS = 100, 1000  # sent at once
_CLOSING_SECS = 60.0
_STOPPING_SECS = 5.0  # clusters kill a program 10 to 30 seconds after the signal that stops it
_MOST_OF_ERROR = 500  # characters
_IN_EVERY_REPORT = {"train": "train/loss", "dev": "dev/evaluation_secs"}  # a metric of each group


def report(
    config: EngineConfig, plan: Plan, folder: str, step: int, peak_memory: Callable[[], Optional[int]]
) -> TrainingReport:
    """The report of a run from `step` on, to where the configuration says."""
    made = TrainingReport(
        folder,
        step,
        plan.num_train_steps,
        plan.train_batch_size,
        config.log_every_steps,
        peak_memory,
        config.log_every_secs,
    )
    if "tensorboard" in config.report_to:
        made.sinks.append(tensorboard(folder, step))
    if "mlflow" in config.report_to:
        made.sinks.append(_in_background(folder, step))
    return made


@contextlib.contextmanager
def ending(report_to: Sequence[str], folder: str, artifact: str) -> Iterator[None]:
    """Within it, a run is trained, evaluated and described. Then MLflow is told how it ended.

    artifact: a file of the folder that MLflow gets, if the run came to its end. A run that is stopped waits 5 s for
    MLflow, any other a minute.
    """
    if "mlflow" not in report_to:
        yield
        return
    status = "FAILED"
    try:
        with tensorflow_setup.before_exit(lambda number: _sender_of(folder).end("KILLED")):
            yield
        status = "FINISHED"
    except SystemExit as stopped:  # a signal: the same command goes on
        status = "KILLED" if stopped.code else "FINISHED"
        raise
    finally:
        _sender_of(folder).end(status, os.path.join(folder, artifact))


@dataclass
class _RunFile:
    """The schema of mlflow.json."""

    tracking_uri: str
    run_id: str
    folder: str  # where the run's folder was: a copy of it is another run


class MlflowRun:
    """The MLflow run of a run's folder: the one that mlflow.json names, else a new one.

    Raises whatever mlflow raises.
    """

    def __init__(self, folder: str) -> None:
        # The store in a folder, which recent versions ask to allow; and nothing is sent to where the user did not say.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import tracking

        self._folder = folder
        before = _named_in(folder)
        uri = os.environ.get("MLFLOW_TRACKING_URI") or (
            before.tracking_uri if before else Path(_STORE).resolve().as_uri()
        )
        self._client: Any = tracking.MlflowClient(uri)
        self._run = self._found(before)
        if self._run is None:
            self._run = self._created()
            named = _RunFile(uri, self._run.info.run_id, os.path.abspath(folder))
            files.write_json(os.path.join(folder, MLFLOW_FILE), vars(named))
            say("MLflow: run {} in {}".format(self._run.info.run_id, uri))
        self._id: str = self._run.info.run_id
        self._last = {group: self._last_step(group) for group in _IN_EVERY_REPORT}
        self._send_parameters()

    def _found(self, before: Optional[_RunFile]) -> Any:
        """The run that mlflow.json names; None if it is gone, or if the folder is a copy of that of the run."""
        if before is None:
            return None
        original = _named_in(before.folder) if before.folder != os.path.abspath(self._folder) else None
        if original is not None and original.run_id == before.run_id:
            return None
        run = _existing(self._client.get_run, before.run_id)
        return run if run is not None and run.info.lifecycle_stage == "active" else None

    def _created(self) -> Any:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "Default")
        experiment = self._client.get_experiment_by_name(name)
        number = os.environ.get("MLFLOW_EXPERIMENT_ID") or (
            self._client.create_experiment(name) if experiment is None else experiment.experiment_id
        )
        folder = os.path.abspath(self._folder)
        tags = {"mlflow.runName": os.path.basename(folder), "folder": folder}
        return self._client.create_run(number, tags=tags)

    def _last_step(self, group: str) -> int:
        """The last step of which MLflow has the numbers; -1: none."""
        history = _existing(self._client.get_metric_history, self._id, _IN_EVERY_REPORT[group])
        return max((metric.step for metric in history or ()), default=-1)

    def _send_parameters(self) -> None:
        """Sends plan and flags. MLflow's parameters never change: what differs on a resume becomes a tag."""
        from mlflow.entities import Param, RunTag

        known = self._run.data.params
        now = parameters(self._folder)
        new = [Param(name, value) for name, value in now.items() if name not in known]
        tags = [RunTag("changed/" + name, value) for name, value in now.items() if known.get(name, value) != value]
        for start in range(0, len(new), _MOST_PARAMETERS):
            self._client.log_batch(self._id, params=new[start : start + _MOST_PARAMETERS])
        for start in range(0, len(tags), _MOST_PARAMETERS):
            self._client.log_batch(self._id, tags=tags[start : start + _MOST_PARAMETERS])

    def send_what_it_lacks(self, until: float = float("inf")) -> None:
        """Sends what metrics.jsonl has up to a step and MLflow has not."""
        from mlflow.entities import Metric

        progress = run_files.progress_of(self._folder)
        lines = sorted(progress.train + progress.dev, key=lambda line: line["step"])
        metrics = [
            Metric("{}/{}".format(group, name), value, int(time.time() * 1000), step)
            for step, group, values in map(_report_in, lines)
            if self._last[group] < step <= until
            for name, value in values.items()
        ]
        for start in range(0, len(metrics), _MOST_METRICS):
            self._client.log_batch(self._id, metrics=metrics[start : start + _MOST_METRICS])
        for step, group, _ in map(_report_in, lines):
            if step <= until:
                self._last[group] = max(self._last[group], step)

    def send(self, step: int, group: str, values: Mapping[str, float]) -> None:
        """Sends the numbers of a step, unless MLflow has it."""
        from mlflow.entities import Metric

        if step > self._last[group]:
            now = int(time.time() * 1000)
            metrics = [Metric("{}/{}".format(group, name), value, now, step) for name, value in values.items()]
            self._client.log_batch(self._id, metrics=metrics)
            self._last[group] = step

    def add_file(self, path: str) -> None:
        self._client.log_artifact(self._id, path)

    def set_status(self, status: str) -> None:
        """status: RUNNING, FINISHED, FAILED or KILLED."""
        if status == "RUNNING":
            self._client.update_run(self._id, status)
        else:
            self._client.set_terminated(self._id, status)


def _existing(get: Callable[..., Any], *names: str) -> Any:
    """What MLflow has of these names; None if it has nothing."""
    try:
        return get(*names)
    except Exception as error:
        if getattr(error, "error_code", "") != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def _named_in(folder: str) -> Optional[_RunFile]:
    """What mlflow.json of a folder says; None if there is none."""
    path = os.path.join(folder, MLFLOW_FILE)
    if not os.path.lexists(path):
        return None
    content = json_files.read(path, _RunFile, "Remove it: the run then gets a new MLflow run.")
    return _RunFile(content["tracking_uri"], content["run_id"], content["folder"])


def _report_in(line: Mapping[str, Any]) -> Tuple[int, str, Dict[str, float]]:
    """A line of metrics.jsonl as step, group and numbers."""
    values = {name: value for name, value in line.items() if name != "step" and type(value) in (int, float)}
    return line["step"], line["split"], values


def parameters(folder: str) -> Dict[str, str]:
    """The plan and the flags of a run as MLflow's parameters: plan.schedule.learning_rate, flags.max_seq_length …"""
    plan = json_files.read(os.path.join(folder, PLAN_FILE))
    flat: Dict[str, str] = {}
    _flatten("plan", {name: value for name, value in plan.items() if name not in ("derivation", "warnings")}, flat)
    _flatten("flags", run_files.given_flags(folder), flat)
    return flat


def _flatten(name: str, value: Any, into: Dict[str, str]) -> None:
    """Adds a value under its name, and each part of an object under a name of its own."""
    if isinstance(value, dict):
        for key, item in value.items():
            _flatten("{}.{}".format(name, "".join(c if c.isalnum() or c in "_-. " else "_" for c in key)), item, into)
    elif value not in (None, "", [], ()):
        text = str(value)
        into[name] = text if len(text) <= _MOST_CHARACTERS else text[: _MOST_CHARACTERS - 1] + "…"


class _Sender:
    """Sends the numbers of a run from a thread of its own: importing mlflow takes seconds, and a server may be slow.

    The run goes on whatever mlflow raises, as its store does: files, databases, HTTP; or as a version that does not fit
    does. The first error is said. At the end everything is tried once more.
    """

    def __init__(self, folder: str, step: Optional[int] = None) -> None:
        """step: where the run starts whose reports follow; None: there are none."""
        self._folder = folder
        self._step = step
        # The simple one, since a signal's handler may come within a call of it.
        self._reports: "queue.SimpleQueue[Optional[Tuple[int, str, Dict[str, float]]]]" = queue.SimpleQueue()
        self._run: Optional[MlflowRun] = None  # once it has everything that was reported so far
        self._has_failed = False
        self._over = threading.Event()
        self._status, self._artifact = "FAILED", ""
        self._thread = threading.Thread(target=self._send_all, name="mlflow", daemon=True)
        self._thread.start()

    def sink(self) -> Sink:
        return Sink(lambda at, group, values: self._reports.put((at, group, values)), lambda: self._reports.put(None))

    def end(self, status: str, artifact: str = "") -> None:
        """Says how the run ended, and waits until MLflow has everything, or as long as can be waited for it."""
        _senders.pop(os.path.abspath(self._folder), None)
        self._status, self._artifact = status, artifact
        self._over.set()
        self._reports.put(None)
        secs = _STOPPING_SECS if status == "KILLED" else _CLOSING_SECS
        self._thread.join(secs)
        if self._thread.is_alive() and not self._has_failed:
            text = (
                "WARNING: MLflow did not get all of {} within {:g} s: the next command on this run sends it the rest."
            )
            say(text.format(self._folder, secs))

    def _send_all(self) -> None:
        if self._step is not None:
            with self._saying_what_fails():
                self._follow(self._step)
        self._over.wait()
        with self._saying_what_fails():
            self._finish()

    def _follow(self, step: int) -> None:
        run = MlflowRun(self._folder)
        run.set_status("RUNNING")
        run.send_what_it_lacks(until=step)
        for report in iter(self._reports.get, None):
            run.send(*report)
        self._run = run

    def _finish(self) -> None:
        run = self._run
        if run is None:
            run = MlflowRun(self._folder)
            run.send_what_it_lacks()
        if self._status == "FINISHED" and os.path.isfile(self._artifact):
            run.add_file(self._artifact)
        run.set_status(self._status)
        if self._has_failed:
            say("MLflow has all of {} now.".format(self._folder))

    @contextlib.contextmanager
    def _saying_what_fails(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if self._has_failed:
                return
            self._has_failed = True
            if isinstance(error, UserError):
                problem, place = str(error), None
            else:
                problem = "{}: {}".format(type(error).__name__, " ".join(str(error).split())[:_MOST_OF_ERROR])
                place = program_end.keep_traceback(os.path.join(self._folder, FAILURE_FILE))
            say(
                "WARNING: MLflow gets no reports of {}: {}{} It is tried again at the end, and by the next command on "
                "this run.".format(
                    self._folder,
                    problem if problem.endswith(".") else problem + ".",
                    " The traceback is in {}.".format(place) if place else "",
                )
            )


_senders: Dict[str, _Sender] = {}  # by the run's folder, so that a run has one


def _sender_of(folder: str) -> _Sender:
    return _senders.get(os.path.abspath(folder)) or _Sender(folder)


def _in_background(folder: str, step: int) -> Sink:
    sender = _senders[os.path.abspath(folder)] = _Sender(folder, step)
    return sender.sink()
