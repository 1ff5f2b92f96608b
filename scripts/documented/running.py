"""Runs the commands of pages, in their order, in a folder of twins: children that are forked after imports."""

import importlib
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
from typing import Any, Callable, Dict, List, Tuple

from faults.program import Child, Ended

from . import pages, promises, twins
from .pages import Command

_MIRRORED = " --distribution=mirrored --devices=cpu:0,cpu:1 --task_name=mrpc --data_dir=glue/MRPC --model=uncased "
_MIRRORED += "--output_dir=runs/mirrored --do_train"
# What is changed before a command is run. Training takes 3 updates, README's long run apart.
_LENGTHS: Tuple[Tuple[str, str], ...] = ((r" --num_(train_epochs|train_steps|warmup_steps)=\S+", ""),)
_CHANGES: Tuple[Tuple[str, str], ...] = (
    (r" --distribution=mirrored --train_batch_size=128 --task_name=mnli …", _MIRRORED),
    (r" --check_python=\S+", " --unchecked"),  # transformers is in an environment of its own
)
# The runs of earlier pages that a page begins with.
NEEDED = {
    "docs/export.md": ["runs/mrpc"],
    "docs/features.md": ["runs/reviews"],
    "docs/serving.md": ["runs/reviews"],
}
MADE_BY = "docs/guide.md"


# Half of what a command of these sizes takes is Python's imports.
_SHARED: Tuple[str, ...] = (
    "sklearn.metrics",
    "scipy.stats",
    "jinja2",
    "modeling",
    "optimization",
    "steady_bert.training.run",
)
_SHARED += (
    "flags",
    "steady_bert.command_line.configuration",
    "steady_bert.training.session_engine",
    "steady_bert.training.matrix_rate",
    "steady_bert.run_report.page",
)
_SHARED += tuple(
    "steady_bert.tasks.{}.job".format(kind) for kind in ("classification", "pretraining", "questions", "tagging")
)


class Place:
    """A folder with the twins, in which the commands of a page are run, and the server that one of them started."""

    def __init__(self, root: str) -> None:
        self.folder, self._store, self._runs = (os.path.join(root, name) for name in ("folder", "store", "runs"))
        self.servers: List[Child] = []
        self.port = str(20000 + os.getpid() % 20000)
        os.makedirs(self.folder)
        os.makedirs(self._runs)
        for module in _SHARED:
            importlib.import_module(module)
        _from_tests("conftest").start_cheap_sessions(_from_tests("pytest").MonkeyPatch())
        twins.write(self.folder)
        self._succeed("twins.write_weights", self.in_child(lambda: twins.write_weights(self.folder)))
        for text in twins.PREPARATION:
            self._succeed(text, self.run(Command("twins.py", 0, text)))
        for name in ("base", "ranger"):
            runs = os.path.join(self.folder, "runs")
            shutil.copytree(os.path.join(runs, name + "-seed1"), os.path.join(runs, name))
        os.rename(self.folder, self._store)

    @staticmethod
    def _succeed(what: str, ended: Ended) -> None:
        if ended.status:
            raise RuntimeError("{} failed:\n{}".format(what, ended.output))

    def begin(self, page: str) -> None:
        """Makes the folder as it is before a page's first command."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self._store, self.folder)
        for run in NEEDED.get(page, []):
            shutil.copytree(os.path.join(self._runs, run), os.path.join(self.folder, run))

    def end(self, page: str) -> None:
        """Keeps the runs of a page for later ones, and stops its server."""
        while self.servers:
            server = self.servers.pop()
            server.send(signal.SIGTERM)
            server.end(30)
        for run in sum(NEEDED.values(), []) if page == MADE_BY else []:
            if not os.path.exists(os.path.join(self._runs, run)):
                shutil.copytree(os.path.join(self.folder, run), os.path.join(self._runs, run))

    def run(self, command: Command) -> Ended:
        """Runs a pipeline whose last part may be one of our programs; all before it is bash's."""
        text = command.text.replace(":8080", ":" + self.port).replace("--port=8080", "--port=" + self.port)
        shorten = "--do_train" in text and "--num_train_epochs=2" not in text  # which is the quickstart's twin
        for pattern, replacement in _LENGTHS * shorten + _CHANGES:
            text = re.sub(pattern, replacement, text)
        changed = command._replace(text=text)
        words = changed.stages()[-1]
        if words[0] != "python" or not words[1].endswith(".py"):
            return self._bash(text)
        if shorten:
            words += ["--num_train_steps=3", *["--num_warmup_steps=1"] * (words[1] == "run_pretraining.py")]
        before = self._bash(" | ".join(re.split(r" \| ", text)[:-1])).output if len(changed.stages()) > 1 else ""
        if words[1] == "serve.py":
            return self._serve(words[1:])
        return self.python(words[1:], before)

    def python(self, words: List[str], standard_input: str = "") -> Ended:
        """Runs one of our programs."""
        return self.in_child(lambda: _as_main(words), standard_input)

    def run_until(self, words: List[str], file: str) -> None:
        """Runs one of our programs until it has written a file, then kills it."""
        child, path = self._child(lambda: _as_main(words)), os.path.join(self.folder, file)
        while not os.path.exists(path) and not child.has_ended():
            time.sleep(0.02)
        child.send(signal.SIGKILL)
        child.end()

    def in_child(self, call: Callable[[], Any], standard_input: str = "") -> Ended:
        return self._child(call, standard_input).end()

    def _child(self, call: Callable[[], Any], standard_input: str = "") -> Child:
        def prepare() -> None:
            os.chdir(self.folder)
            reading, writing = os.pipe()
            os.write(writing, standard_input.encode())  # less than a pipe holds
            os.close(writing)
            os.dup2(reading, 0)

        return Child(call, [], prepare)

    def _serve(self, words: List[str]) -> Ended:
        server = self._child(lambda: _as_main(words))
        self.servers.append(server)
        limit = time.time() + 60
        while "http://" not in server.output() and not server.has_ended() and time.time() < limit:
            time.sleep(0.05)
        return Ended(1 if server.has_ended() else 0, server.output())

    def _bash(self, text: str) -> Ended:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", re.sub("^scripts/", pages.ROOT + "/scripts/", text)],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
        )
        return Ended(done.returncode, done.stdout + (done.stderr if done.returncode else ""))


def _from_tests(module: str) -> Any:
    tests = os.path.join(pages.ROOT, "tests")
    if tests not in sys.path:
        sys.path.append(tests)
    return importlib.import_module(module)


def _as_main(words: List[str]) -> None:
    sys.argv = words
    sys.path.insert(0, os.path.dirname(os.path.join(pages.ROOT, words[0])))
    runpy.run_path(os.path.join(pages.ROOT, words[0]), run_name="__main__")


def check(chosen: List[str], root: str) -> int:
    """Runs the commands of the pages and prints a line for each. Returns the exit code."""
    started = time.process_time()
    place = Place(root)
    counts: Dict[str, int] = {"ok": 0, "not run": 0, "WRONG": 0}
    needing = [page for page in chosen if page in NEEDED]
    for page in pages.pages():
        if page not in chosen and not (page == MADE_BY and needing):
            continue
        place.begin(page)
        for command in pages.commands(page):
            begun, reason = time.time(), command.reason()
            problem = "" if reason else _problem(place, command)
            result = "not run" if reason else "WRONG" if problem else "ok"
            counts[result] += 1
            print("{:7} {:4.1f} s  {}{}".format(result, time.time() - begun, command.place, reason and " # " + reason))
            print(problem and "    " + problem.replace("\n", "\n    ") + "\n", end="", flush=True)
        for problem in promises.of_page(place, page):
            counts["WRONG"] += 1
            print("WRONG          {}: {}".format(page, problem), flush=True)
        place.end(page)
    times = os.times()
    seconds = time.process_time() - started + times.children_user + times.children_system
    print(
        "commands: {ok} ok, {not run} not run; {WRONG} wrong; {seconds:.0f} s of processor time".format(
            seconds=seconds, **counts
        )
    )
    return 1 if counts["WRONG"] else 0


def _problem(place: Place, command: Command) -> str:
    ended = place.run(command)
    if ended.status or "Traceback" in ended.output:
        return "exit {}:\n{}".format(ended.status, ended.output[-3000:])
    return promises.of_command(place.folder, command, ended.output)
