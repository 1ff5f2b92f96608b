"""Processes forked from one that has imported TensorFlow, for the import takes as long as a small run."""

import importlib
import multiprocessing
import multiprocessing.forkserver
import os
import subprocess
import sys
import tempfile

import conftest
import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["imported"])


class Program:
    """A command line of one of the scripts. It is waited for, stopped and killed as a process of subprocess is."""

    def __init__(self, line, log, variables=None, compiled=False, as_built=False):
        """line: as of conftest.command. log: the file that gets both its streams. variables: of the environment.

        compiled: whether XLA compiles its updates. as_built: whether its graphs run as in files of GRAPHS_AS_BUILT.
        """
        self._log = str(log)
        open(self._log, "w").close()  # so that it can be read at once
        self._process = _start(_run, line[1:], self._log, variables or {}, compiled, as_built)
        self.pid = self._process.pid

    def printed(self):
        with open(self._log, encoding="utf-8") as file:
            return file.read()

    def poll(self):
        return self._process.exitcode

    def wait(self, timeout=None):
        self._process.join(timeout)
        if self.poll() is None:
            raise subprocess.TimeoutExpired(self._log, timeout)
        return self.poll()

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self._process.kill()


def call(function, *arguments, compiled=False):
    """Calls a function of a test file in a new process. Returns its result.

    compiled: whether updates and graphs are compiled and rewritten as for a user; else they run as built.
    """
    receiving, sending = _CONTEXT.Pipe(duplex=False)
    with tempfile.NamedTemporaryFile(mode="r", encoding="utf-8") as log:
        process = _start(_call, function, arguments, sending, log.name, compiled)
        sending.close()
        try:
            return receiving.recv()
        except EOFError:
            process.join()
            raise AssertionError(log.read()[-3000:]) from None


def passed_alone(request):
    """Runs a slow test in a pytest of its own. False there, where the test has to go on."""
    own_process = "STEADY_BERT_TEST_IN_OWN_PROCESS"
    if own_process in os.environ:
        return False
    this = "{}::{}".format(request.path, request.node.name)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "slow", this]
    variables = dict(os.environ, **{own_process: "1"})
    done = subprocess.run(command, env=variables, stdout=subprocess.PIPE, universal_newlines=True)
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout[-3000:]
    return True


def _start(function, *arguments):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join((ROOT, os.path.join(ROOT, "tests"))))
        multiprocessing.forkserver.ensure_running()
    process = _CONTEXT.Process(target=function, args=arguments)
    process.start()
    return process


def _run(line, log, variables, compiled, as_built):
    """Does in the new process what `python line` does."""
    os.environ.update(variables)
    _print_to(log)
    from steady_bert.base import tensorflow_setup

    tensorflow_setup.start_program()
    if not compiled:
        _compile_no_updates()
    if as_built:
        conftest.start_cheap_sessions(pytest.MonkeyPatch())
    import flags

    script = os.path.splitext(os.path.basename(line[0]))[0]
    flags.run(script, importlib.import_module(script).main, line, "")


def _call(function, arguments, sending, log, compiled):
    _print_to(log)
    if not compiled:
        _compile_no_updates()
        conftest.start_cheap_sessions(pytest.MonkeyPatch())
    sending.send(function(*arguments))


def _print_to(log):
    file = os.open(log, os.O_WRONLY | os.O_APPEND)
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        stream.flush()
        os.dup2(file, number)


def _compile_no_updates():
    from steady_bert import rule_optimizer

    rule_optimizer._can_compile = lambda variables: False
