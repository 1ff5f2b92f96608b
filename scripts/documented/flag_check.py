"""Whether the flags of a command are those of its program, with values that it takes; the program itself is not run."""

import argparse
import contextlib
import functools
import io
import os
import re
import runpy
import sys
from typing import Any, Callable, Dict, Iterator, List, Set

from absl.testing import flagsaver

import flags
from steady_bert.base.errors import UserError

from . import pages

_OTHERS = re.compile("help$|helpfull$|flagfile$|xla_gpu_")  # of all scripts, and of TensorFlow's XLA_FLAGS
_PLACEHOLDER = re.compile(r"[^\W\d_]$|[A-Z_]+$|…$")
_PROGRAM = re.compile(r"(?:(?:scripts|benchmarks)/)?\w+\.(?:py|sh)$")
# The scripts whose options are defined elsewhere.
_COMMANDS = {
    "scripts/doctor.py": "steady_bert/diagnosis/command.py",
    "scripts/search.py": "steady_bert/search/command.py",
}


class _ParsedError(Exception):
    """Ends a main once its arguments are parsed."""


def problem(words: List[str]) -> str:
    """What is wrong with the words of a command, where it is a program of this project; "" if nothing is."""
    places = [place for place, word in enumerate(words) if _PROGRAM.match(word)]
    for place in places:
        if not os.path.exists(os.path.join(pages.ROOT, words[place])):
            return "there is no {}".format(words[place])
    if not places:
        return ""
    ends = [*places[1:], len(words)]  # scripts/launch_local_cluster.sh 2 run_classifier.py …
    problems = [_problem_of_program(words[place], words[place + 1 : end]) for place, end in zip(places, ends)]
    return next(filter(None, problems), "")


def _problem_of_program(program: str, arguments: List[str]) -> str:
    if program.endswith(".sh"):
        can_run = os.access(os.path.join(pages.ROOT, program), os.X_OK)
        return "" if can_run else "{} cannot be executed".format(program)
    return _problem_of_script(program, arguments)


def _problem_of_script(script: str, arguments: List[str]) -> str:
    name = script[: -len(".py")]
    if name in flags.SCRIPTS:
        return _problem_of_flags(name, arguments)
    options = parsed_options()[_COMMANDS.get(script, script)]
    if not options or script.startswith("benchmarks/"):  # no parser, or imports that take seconds
        wrong = [word for word in arguments if word.startswith("--") and word.split("=")[0] not in options]
        return "there is no option " + ", ".join(wrong) if wrong else ""
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), _arguments([script, *arguments]):
        try:
            _main(script)()
        except _ParsedError:
            return ""
        except SystemExit:
            return errors.getvalue().strip().split("\n")[-1]
    return ""


def _problem_of_flags(script: str, arguments: List[str]) -> str:
    flags.register(script)
    with flagsaver.flagsaver():
        try:
            flags._parse(script, [script, *arguments])
        except (UserError, flags.absl_flags.Error) as error:
            return str(error)
    return ""


@functools.lru_cache(maxsize=None)
def _main(script: str) -> Callable[[], Any]:
    names = runpy.run_path(os.path.join(pages.ROOT, script), run_name="documented")
    given = [names["__doc__"]] + [names[name] for name in ("SCRIPTS",) if name in names]
    return names["main"] if "main" in names else lambda: names["command"].main(*given)


@contextlib.contextmanager
def _arguments(argv: List[str]) -> Iterator[None]:
    """Within it, a main parses these arguments, and raises _ParsedError."""
    methods = {name: getattr(argparse.ArgumentParser, name) for name in ("parse_args", "parse_known_args")}
    before = sys.argv
    sys.argv = argv

    def parse(name: str, parser: argparse.ArgumentParser, *given: Any) -> None:
        for other, method in methods.items():  # parse_args calls parse_known_args
            setattr(argparse.ArgumentParser, other, method)
        methods[name](parser, *given)
        raise _ParsedError

    for name in methods:
        setattr(argparse.ArgumentParser, name, functools.partialmethod(_call, parse, name))
    try:
        yield
    finally:
        sys.argv = before
        for name, method in methods.items():
            setattr(argparse.ArgumentParser, name, method)


def _call(parser: Any, parse: Callable[..., None], name: str, *given: Any) -> None:
    parse(name, parser, *given)


@functools.lru_cache(maxsize=None)
def parsed_options() -> Dict[str, Set[str]]:
    """Script → the options of its parser, for the scripts that have one."""
    files = list(_COMMANDS.values())
    for folder in ("scripts", "benchmarks"):
        names = sorted(os.listdir(os.path.join(pages.ROOT, folder)))
        files += ["{}/{}".format(folder, name) for name in names if name.endswith((".py", ".sh"))]
    pattern = re.compile(r"""["'](--\w[\w-]*)["']|^ *(--\w[\w-]*)\)""", re.M)
    return {file: {a or b for a, b in pattern.findall(pages.read(file))} for file in files}


def problem_of_option(option: str) -> str:
    """What is wrong with --name or --name=value; "" if a script takes it."""
    name, _, value = option[2:].partition("=")
    if _OTHERS.match(name):
        return ""
    problems: List[str] = []
    for script in flags.SCRIPTS:
        for flag in flags.flags_of(script):
            if flag.name == name or flag.kind == "boolean" and name == "no" + flag.name:
                is_whole = flag.kind == "boolean" or value and not _PLACEHOLDER.match(value)
                problems.append(_problem_of_flags(script, [option]) if is_whole else "")
    if not problems:
        known = any("--" + name in options for options in parsed_options().values())
        return "" if known else "no script has the flag --" + name
    return "" if "" in problems else problems[0]
