"""Runs the program in children that can be killed, damaged and compared; the small tasks that they learn.

A child is forked from this process after TensorFlow is imported, for the import would be half of each try. This process
never starts TensorFlow itself, which a fork would not survive.
"""

import hashlib
import importlib
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from typing import Any, Callable, Dict, List, NamedTuple, Optional

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
STEPS = 24
_TIMEOUT_SECS = 300
# Dropout, averages, the best model, plateau's and early stopping's counters: each is a state that a resume may forget.
_FLAGS: Dict[str, object] = dict(
    do_train="true",
    do_eval="true",
    do_predict="true",
    num_train_steps=STEPS,
    ema_decay=0.9,
    num_warmup_steps=3,
    lr_schedule="plateau",
    plateau_patience=1,
    plateau_factor=0.5,
    early_stopping_patience=40,
    eval_every_steps=4,
    save_checkpoints_steps=2,
    keep_checkpoint_max=3,
    log_every_steps=1,
)


class Trial(NamedTuple):
    """One try, or several of a test file at once."""

    fault: str  # what was injected
    failure: str  # "" if nothing was silently wrong, lost or a traceback; else what happened
    said: str  # what the program said
    faults: int = 1  # how many
    failures: int = 0  # how many of them, where tests count them; 0 with a failure: one


class Ended(NamedTuple):
    status: int  # the exit code, or minus the signal
    output: str  # both streams


class Child:
    """A command of one of the scripts, or a call that ends by SystemExit, in a process of its own."""

    def __init__(self, script: Any, arguments: List[str], prepare: Callable[[], object] = lambda: None) -> None:
        """script: its name, or the call. prepare: called in the child before the command."""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (as long as the child)
        sys.stdout.flush()
        self.pid = os.fork()
        if not self.pid:
            status = 70
            try:
                for number in (1, 2):
                    os.dup2(self._log.fileno(), number)
                prepare()
                status = _command(script, arguments)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)

    def send(self, number: int) -> None:
        os.kill(self.pid, number)  # a child that has ended is a zombie until end(), so the number is no other's

    def output(self) -> str:
        self._log.flush()
        return os.pread(self._log.fileno(), 1 << 24, 0).decode("utf-8", "replace")

    def has_ended(self) -> bool:
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def end(self, timeout_secs: float = _TIMEOUT_SECS) -> Ended:
        """Waits for it; one that hangs is killed, and says so."""
        limit, hangs = time.time() + timeout_secs, False
        while not self.has_ended():
            if time.time() > limit and not hangs:
                hangs = True
                self.send(signal.SIGKILL)
            time.sleep(0.02)
        _, raw = os.waitpid(self.pid, 0)
        status = os.WEXITSTATUS(raw) if os.WIFEXITED(raw) else -os.WTERMSIG(raw)
        text = self.output() + "\nTraceback: hangs for {} s".format(timeout_secs) * hangs
        self._log.close()
        return Ended(status, text)


def _command(script: Any, arguments: List[str]) -> int:
    """Runs a command line, or calls; the exit code."""
    import flags
    from steady_bert import rule_optimizer
    from steady_bert.base import tensorflow_setup

    compiles: Any = rule_optimizer
    compiles._can_compile = lambda variables: False  # compiling the update is as long as all else
    tensorflow_setup.start_program()
    try:
        if callable(script):
            script()
            return 0
        main = importlib.import_module(script).main
        flags.run(script, main, [script + ".py"] + arguments, "")
    except SystemExit as stopped:
        return int(stopped.code or 0)


class Job:
    """A small task: its command, and what its undisturbed run leaves."""

    def __init__(self, script: str, flags_of: Callable[..., List[str]], place: str) -> None:
        self.script, self._flags_of, self.place = script, flags_of, place
        self.seconds = 0.0  # of the undisturbed run
        self._whole: Dict[str, str] = {}

    def flags(self, **changed: object) -> List[str]:
        return self._flags_of(**{**_FLAGS, **changed})

    def whole(self) -> Dict[str, str]:
        """The outcome of the undisturbed run, in the folder `whole`."""
        if not self._whole:
            started = time.time()
            ended = self.run(output_dir=self.folder("whole"))
            if ended.status:
                raise RuntimeError("The undisturbed run failed:\n" + ended.output)
            self.seconds = time.time() - started
            self._whole = outcome(self.folder("whole"))
        return self._whole

    def half(self) -> str:
        """The folder of a run that SIGTERM has stopped in its middle."""
        folder = self.folder("half")
        if not os.path.exists(folder):
            child = Child(self.script, self.flags(output_dir=folder))
            while not child.has_ended() and "step {}/".format(STEPS // 2) not in child.output():
                time.sleep(0.002)
            child.send(signal.SIGTERM)
            ended = child.end()
            if ended.status != 143:
                raise RuntimeError("The run that was to be stopped ended by itself:\n" + ended.output)
        return folder

    def folder(self, name: str) -> str:
        return os.path.join(self.place, name)

    def copied(self, source: str) -> str:
        """A fresh copy of a run's folder, in place of the copy before."""
        folder = self.fresh()
        shutil.copytree(source, folder)
        return folder

    def fresh(self) -> str:
        """The folder of this try, which does not exist yet."""
        folder = self.folder("try")
        shutil.rmtree(folder, ignore_errors=True)
        return folder

    def start(self, **changed: object) -> Child:
        return Child(self.script, self.flags(**changed))

    def run(self, **changed: object) -> Ended:
        return self.start(**changed).end()

    def finish(self, folder: str, fault: str) -> Trial:
        """Runs the command to its end, and compares what it leaves with the undisturbed run's."""
        ended = self.run(output_dir=folder)
        if ended.status or "Traceback" in ended.output:
            return Trial(fault, "lost: the same command does not go on", last_words(ended))
        return Trial(fault, difference(outcome(folder), self.whole()), "goes on, and ends in the same bits")


def classifier(place: str) -> Job:
    _preload("steady_bert.tasks.classification.job")
    conftest = from_tests("conftest")
    os.makedirs(os.path.join(place, "data"))
    tiny = conftest.make_tiny(os.path.join(place, "data"))
    return Job("run_classifier", tiny.flags, place)


def tagger(place: str) -> Job:
    _preload("steady_bert.tasks.tagging.job")
    os.makedirs(os.path.join(place, "data"))
    files = from_tests("run_ner_test").Files(os.path.join(place, "data"))
    return Job("run_ner", lambda **changed: files.flags(predict_file=files.paths["test"], **changed), place)


def _preload(job: str) -> None:
    """Imports what each child would import anew: a third of a second."""
    for module in (job, "steady_bert.interchange.in_use", "steady_bert.diagnosis.command"):
        importlib.import_module(module)


def from_tests(module: str) -> Any:
    tests = os.path.join(ROOT, "tests")
    if tests not in sys.path:
        sys.path.append(tests)
    return importlib.import_module(module)


def outcome(folder: str) -> Dict[str, str]:
    """File → sha256 of what a finished run is judged by: its last and best weights, its scores, its predictions."""
    wanted = re.compile(
        r"model\.ckpt-{}\.data|best/.*\.data|eval_results\.json|.*predictions|test_results".format(STEPS)
    )
    found = {}
    for path in files_in(folder):
        if wanted.match(path):
            with open(os.path.join(folder, path), "rb") as file:
                found[path] = hashlib.sha256(file.read()).hexdigest()
    return found


def difference(actual: Dict[str, str], expected: Dict[str, str]) -> str:
    """What is wrong with an outcome; "" if nothing is."""
    names = sorted(name for name in set(actual) | set(expected) if actual.get(name) != expected.get(name))
    return "silently another result: " + ", ".join(names) if names else ""


def files_in(folder: str) -> List[str]:
    """All files below a folder, relative to it, sorted."""
    return sorted(
        os.path.relpath(os.path.join(parent, name), folder)
        for parent, _, names in os.walk(folder)
        for name in names
        if not name.endswith(".lock")
    )


def last_words(ended: Ended, pattern: Optional[str] = None) -> str:
    """The message of a command that failed, or the first line that the pattern matches, without folders' names."""
    lines = [line.strip() for line in ended.output.splitlines() if line.strip()]
    wanted = [line for line in lines if re.search(pattern or r"^(run_\w+|doctor): |Error\b", line)]
    line = (wanted or lines[-1:] or ["nothing"])[0 if pattern else -1]
    return re.sub(r"/\S*/", "", line)[:200]
