"""Reports to MLflow, which a small package stands in for: one MLflow run a folder, whatever happens to the run."""

import contextlib
import json
import os
import sys
import textwrap
import threading
import time

import pytest
from comparison_test import write_run

from steady_bert.base import tensorflow_setup
from steady_bert.base.errors import UserError
from steady_bert.command_line import list_flags
from steady_bert.training import reports, tracking

STUB = """
    import json, os, urllib.parse
    from mlflow import Run
    class MlflowClient:
        def __init__(self, uri):
            path = urllib.parse.urlparse(uri).path
            if "broken" in path:
                raise OSError("the store is broken")
            if "unfit" in path:
                raise TypeError("got an unexpected keyword\\nargument")
            if "silent" in path:
                import mlflow; mlflow.silence.wait(60)
            os.makedirs(path, exist_ok=True)
            self.path = os.path.join(path, "runs.json")
            self.runs = json.load(open(self.path)) if os.path.exists(self.path) else {}
        def save(self):
            with open(self.path, "w") as file:
                json.dump(self.runs, file)
        def get_experiment_by_name(self, name):
            return None
        def create_experiment(self, name):
            return name
        def create_run(self, experiment, tags):
            name = "run{}".format(len(self.runs))
            self.runs[name] = dict(params={}, metrics=[], tags=tags, status="", files=[], experiment=experiment)
            self.save()
            return self.get_run(name)
        def get_run(self, name):
            return Run(name, self.existing(self.runs.get(name)))
        def get_metric_history(self, name, key):
            history = [Metric(*each) for each in self.runs[name]["metrics"] if each[0] == key]
            return self.existing(history)  # the last version for Python 3.7; later ones give an empty list
        def existing(self, value):
            if not value:
                error = Exception("is not there")
                error.error_code = "RESOURCE_DOES_NOT_EXIST"
                raise error
            return value
        def log_batch(self, name, metrics=(), params=(), tags=()):
            run = self.runs[name]
            assert len(params) <= 100 and len(metrics) <= 1000
            run["metrics"] += [(each.key, each.value, each.timestamp, each.step) for each in metrics]
            for each in params:
                assert each.key not in run["params"] and len(each.value) <= 250
                run["params"][each.key] = each.value
            run["tags"].update({each.key: each.value for each in tags})
            self.save()
        def log_artifact(self, name, path):
            self.runs[name]["files"].append(os.path.basename(path))
            self.save()
        def set_terminated(self, name, status):
            self.runs[name]["status"] = status
            self.save()
        update_run = set_terminated
    from mlflow.entities import Metric
"""
ENTITIES = """
    from collections import namedtuple
    Metric = namedtuple("Metric", "key value timestamp step")
    Param = RunTag = namedtuple("Param", "key value")
"""
PACKAGE = """
    import threading
    from types import SimpleNamespace
    silence = threading.Event()  # set: it is over
    def Run(name, content):
        info = SimpleNamespace(run_id=name, lifecycle_stage="active")
        return SimpleNamespace(info=info, data=SimpleNamespace(params=dict(content["params"])))
"""


@pytest.fixture
def store(tmp_path, monkeypatch):
    """The runs that MLflow has, by their names."""
    package = tmp_path / "packages" / "mlflow"
    package.mkdir(parents=True)
    for name, text in (("__init__", PACKAGE), ("tracking", STUB), ("entities", ENTITIES)):
        (package / (name + ".py")).write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(str(package.parent))
    for name in [name for name in sys.modules if name.split(".")[0] == "mlflow"]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "")
    monkeypatch.chdir(tmp_path)
    yield lambda: json.loads((tmp_path / "mlruns" / "runs.json").read_text())
    for name in [name for name in sys.modules if name.split(".")[0] == "mlflow"]:
        del sys.modules[name]


def train(folder, start, end, dev=(), to=("mlflow",), stop=None):
    """A command that trains from one step to another; stop: raised at its end."""
    with tracking.ending(to, folder, "report.html"):
        report = reports.TrainingReport(folder, start, 20, 32, 1, lambda: None)
        report.sinks += [tracking._in_background(folder, start)] if "mlflow" in to else []
        for step in range(start + 1, end + 1):
            report.update(step, 1 / step, 1e-3, 1.0)
            if step in dev:
                report.evaluation(step, {"accuracy": 0.5}, "accuracy", "", 1.0)
        report.close()
        if stop is not None:
            raise stop
        with open(os.path.join(folder, "report.html"), "w"):
            pass


def steps_of(run, name):
    return [step for key, _, _, step in run["metrics"] if key == name]


def test_an_mlflow_run_goes_on_where_its_run_was_killed_and_doubles_nothing(store, tmp_path):
    folder = write_run(tmp_path / "run", [0] * 10, flags=["--labels=" + "a" * 400])
    with pytest.raises(SystemExit):
        train(folder, 0, 8, dev=(4, 8), stop=SystemExit(143))
    (run,) = store().values()
    assert run["status"] == "KILLED" and run["experiment"] == "Default" and run["files"] == []
    assert run["tags"] == {"mlflow.runName": "run", "folder": folder}
    params = run["params"]
    assert (params["plan.train_batch_size"], params["plan.learning_rate"]) == ("32", "5e-05")
    assert params["plan.identity.task"] == "text" and params["flags.output_dir"][-3:] == "run"
    assert params["flags.labels"] == "a" * 249 + "…"
    train(folder, 5, 12, dev=(8, 12), to=())  # from the checkpoint of step 5, without reports to MLflow
    with pytest.raises(RuntimeError):
        train(folder, 12, 14, stop=RuntimeError())
    (run,) = store().values()
    assert run["status"] == "FAILED" and steps_of(run, "train/loss") == list(range(1, 15))
    (tmp_path / "run" / "flags.txt").write_text("--labels=b\n")
    train(folder, 10, 20, dev=(12, 16, 20))
    (run,) = store().values()
    assert run["status"] == "FINISHED" and run["files"] == ["report.html"]
    assert steps_of(run, "train/loss") == list(range(1, 21)) and steps_of(run, "dev/accuracy") == [4, 8, 12, 16, 20]
    assert {key: value for key, value, _, step in run["metrics"] if step == 20}["train/loss"] == pytest.approx(0.05)
    assert run["tags"]["changed/flags.labels"] == "b" and run["params"] == params


def test_a_copied_folder_is_another_mlflow_run_and_a_moved_one_the_same(store, tmp_path):
    folder = write_run(tmp_path / "run", [0] * 10)
    train(folder, 0, 2)
    os.makedirs(str(tmp_path / "copy"))
    for name in os.listdir(folder):
        (tmp_path / "copy" / name).write_bytes((tmp_path / "run" / name).read_bytes())
    train(str(tmp_path / "copy"), 2, 3)
    os.rename(folder, str(tmp_path / "moved"))
    train(str(tmp_path / "moved"), 2, 4)
    assert {name: steps_of(run, "train/loss") for name, run in store().items()} == {
        "run0": [1, 2, 3, 4],
        "run1": [1, 2, 3],
    }


def test_a_store_that_fails_is_a_warning_and_gets_everything_later(store, tmp_path, monkeypatch, capsys):
    folder = write_run(tmp_path / "run", [0] * 10)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:///broken")
    train(folder, 0, 3)
    printed = capsys.readouterr().out
    assert "WARNING: MLflow gets no reports of {}: OSError: the store is broken.".format(folder) in printed
    assert printed.count("broken") == 1
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "tweets")
    train(folder, 3, 3)  # a finished run that is evaluated again
    (run,) = store().values()
    assert steps_of(run, "train/loss") == [1, 2, 3] and run["experiment"] == "tweets"


def test_a_version_that_does_not_fit_is_said_once_with_where_its_traceback_is(store, tmp_path, monkeypatch, capsys):
    folder = write_run(tmp_path / "run", [0] * 10)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:///unfit")
    train(folder, 0, 3)
    path = os.path.join(folder, "mlflow_failure.txt")
    said = "gets no reports of {}: TypeError: got an unexpected keyword argument. The traceback is in {}."
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "MLflow" in line]
    assert said.format(folder, path) in line
    with open(path) as file:
        assert 'raise TypeError("got' in file.read()


def test_a_store_that_recovers_has_everything_at_the_end(store, tmp_path, monkeypatch, capsys):
    folder = write_run(tmp_path / "run", [0] * 10)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:///broken")
    with tracking.ending(("mlflow",), folder, "report.html"):
        train(folder, 0, 3, to=())
        tracking._in_background(folder, 3)
        while "broken" not in capsys.readouterr().out:
            time.sleep(0.01)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    (run,) = store().values()
    assert steps_of(run, "train/loss") == [1, 2, 3] and run["status"] == "FINISHED"
    assert "MLflow has all of {} now.".format(folder) in capsys.readouterr().out


@pytest.mark.parametrize("ending", [SystemExit(143), None])
def test_a_silent_store_holds_up_no_run_and_is_asked_by_one_thread(store, tmp_path, monkeypatch, capsys, ending):
    """A stopped run waits for a shorter time."""
    from mlflow import silence

    folder = write_run(tmp_path / "run", [0] * 10)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "silent").as_uri())
    monkeypatch.setattr(tracking, "_STOPPING_SECS", 0.05)
    monkeypatch.setattr(tracking, "_CLOSING_SECS", 30.0 if ending else 0.1)
    with contextlib.suppress(SystemExit):
        train(folder, 0, 3, stop=ending)
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "mlflow"]  # else it was waited for
    limit = "0.05" if ending else "0.1"
    assert "MLflow did not get all of {} within {} s: the next".format(folder, limit) in capsys.readouterr().out
    silence.set()
    thread.join()
    with open(str(tmp_path / "silent" / "runs.json")) as file:
        (run,) = json.load(file).values()
    assert run["status"] == ("KILLED" if ending else "FINISHED") and steps_of(run, "train/loss") == [1, 2, 3]


def test_a_signal_that_ends_the_process_after_training_is_told_too(store, tmp_path):
    folder = write_run(tmp_path / "run", [0] * 10)
    with contextlib.suppress(SystemExit), tracking.ending(("mlflow",), folder, "report.html"):
        tensorflow_setup._before_exit[-1](15)
        (run,) = store().values()
        assert run["status"] == "KILLED"
        raise SystemExit(143)
    assert tensorflow_setup._before_exit == []


def test_a_second_signal_ends_the_process_at_once(monkeypatch):
    """The first has said how the run ended, and waits for MLflow, whose block is the outer one."""
    acts = []

    def wait(number):
        acts.append("wait")
        tensorflow_setup._exit(number, None)

    monkeypatch.setattr(tensorflow_setup, "_before_exit", [wait, lambda number: acts.append("say")])
    monkeypatch.setattr(tensorflow_setup, "_temporary_folders", set())
    monkeypatch.setattr(tensorflow_setup.os, "_exit", acts.append)
    tensorflow_setup._exit(15, None)
    assert acts == ["say", "wait", 143, 143]


def test_where_to_report_is_a_list_of_names(monkeypatch):
    class Given:
        do_train = True

        def __init__(self, value):
            self.report_to = value.split(",")

    assert list_flags.report_to(Given("none")) == () and list_flags.report_to(Given("tensorboard")) == ("tensorboard",)
    for value in ("wandb", "none,tensorboard", "tensorboard,"):
        with pytest.raises(UserError, match="--report_to={}: not tensorboard or mlflow, or none alone".format(value)):
            list_flags.report_to(Given(value))
    monkeypatch.setattr(list_flags.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="the package mlflow is not installed. Install it"):
        list_flags.report_to(Given("tensorboard,mlflow"))
