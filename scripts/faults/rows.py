"""The rows of the table: what is injected, and how often. row_bugs has a bug for each."""

import functools
import random
import re
import subprocess
import sys
from typing import Any, Callable, Dict, NamedTuple, Optional

from . import damage, fuzz, moments
from .program import ROOT, Job, Trial, classifier, tagger


class Row(NamedTuple):
    what: str  # is injected
    attempt: Callable[..., Trial]  # of the job, if the row has one, and random numbers
    task: Optional[Callable[[str], Job]] = None  # makes the job in a folder
    tries: int = 1  # by default
    short: int = 0  # tries of --short; 0: not among them
    unavailable: Callable[[], str] = lambda: ""  # why the row cannot be run here
    numbered: bool = False  # the attempt gets the number of the try too
    tests: str = ""  # pytest's arguments, where tests inject the faults
    place: str = ""  # a regular expression that finds in the text of a fault where it hit


def _tests(arguments: str) -> Callable[[Any, random.Random], Trial]:
    """A row whose faults a test injects: each test is one."""

    def attempt(job: None, rng: random.Random) -> Trial:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "slow or not slow"]
        command += arguments.split()
        pipes: Dict[str, Any] = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
        ended = subprocess.run(command, cwd=ROOT, **pipes)
        if ended.returncode not in (0, 1):
            raise RuntimeError("The tests could not be run:\n" + ended.stdout)
        passed, failed = (int((re.findall(r"(\d+) " + word, ended.stdout) or [0])[-1]) for word in ("passed", "failed"))
        failed += int(ended.returncode != 0 and not failed)  # errors alone
        said = re.findall(r"^(?:FAILED|ERROR|E  ) .*", ended.stdout, re.M)
        failure = "tests fail" if failed else ""
        return Trial("tests/" + arguments, failure, (said or ["as expected"])[0][:200], passed + failed, failed)

    return attempt


def _long_run(steps: int) -> Row:
    attempt = functools.partial(moments.soaked, steps=steps)
    return Row("a run of {:,} steps".format(steps), attempt, classifier, unavailable=moments.cannot_look_inside)


def _of_tests(what: str, arguments: str) -> Row:
    return Row(what, _tests(arguments), tests=arguments)


_in_stages = functools.partial(moments.killed, in_stages=True)
_STAGE, _FILE, _KIND = r"(?<=[:,] )[^,]+", r"^[^:]+(?=:)", r"^[^,:]+(?=,)"

ROWS: Dict[str, Row] = {
    "kill": Row("SIGKILL at a random moment, classifier", moments.killed, classifier, 35, place=_STAGE),
    "kill_tagger": Row("SIGKILL at a random moment, tagger", moments.killed, tagger, 35, place=_STAGE),
    "kill_stage": Row("SIGKILL within a stage of the run, classifier", _in_stages, classifier, 20, 1, place=_STAGE),
    "kill_stage_tagger": Row("SIGKILL within a stage of the run, tagger", _in_stages, tagger, 20, place=_STAGE),
    "signal": Row("SIGTERM and Ctrl-C at a random moment, also twice", moments.signalled, classifier, 55, 1),
    "damage": Row("one file of folder or cache damaged, classifier", damage.damaged, classifier, 300, 4, place=_FILE),
    "damage_tagger": Row("one file of folder or cache damaged, tagger", damage.damaged, tagger, 100, place=_FILE),
    "full_disk": Row("the disk is full", moments.disk_filled, classifier, 50, 1, unavailable=moments.has_room_to_fill),
    "fuzz": Row(
        "mutated data, configurations and files of a run, classifier", fuzz.fuzzed, classifier, 700, 6, place=_KIND
    ),
    "fuzz_tagger": Row(
        "mutated data, configurations and files of a run, tagger", fuzz.fuzzed, tagger, 300, place=_KIND
    ),
    "pairs": Row("files and flags of another model, classifier", damage.mismatched, classifier, 36, 6, numbered=True),
    "pairs_tagger": Row("files and flags of another model, tagger", damage.mismatched, tagger, 36, numbered=True),
    "race": Row("two commands on one folder", moments.raced, classifier, 100, 1),
    "soak": _long_run(50000),
    "soak_short": _long_run(3000),
    "resume": _of_tests("resumed from each step", "tests/exact_resume_test.py -k every_step"),
    "position": _of_tests("any position of the data", "tests/input_pipeline_test.py"),
    "replicas": _of_tests("another number of replicas", "tests/run_classifier_test.py -k two_replicas"),
    "worker": _of_tests("a worker is killed, late or another", "tests/multi_worker_test.py -k killed"),
    "link": _of_tests("strangers and liars on the link between workers", "tests/link_strangers_test.py"),
    "non_finite": _of_tests(
        "infinite losses, weights, scores, scales",
        "tests/session_engine_test.py tests/split_outputs_test.py tests/loss_scale_test.py -k finite",
    ),
    "rate": _of_tests("the learning rate against its formula", "tests/schedules_test.py tests/plan_test.py"),
    "second_stage": _of_tests("a second stage, killed within", "tests/second_stage_test.py"),
    "bad_input": _of_tests("bad files, models and flags", "tests/bad_input_test.py"),
    "tokenizer": _of_tests("strings against the reference tokenizer", "tests/tokenization_test.py"),
    "coverage": _of_tests("long texts: each word once", "tests/long_texts_test.py tests/tagging_test.py"),
    "malicious": _of_tests(
        "pickles, paths, sizes",
        "tests/model_files_test.py tests/hugging_face_folders_test.py tests/files_test.py tests/bounds_test.py",
    ),
    "metrics": _of_tests("scores against the oracle libraries", "tests/metrics_test.py tests/entity_scores_test.py"),
}


def run(name: str, number: int, job: Optional[Job]) -> Trial:
    """Try `number` of a row; the same number is the same fault."""
    row = ROWS[name]
    rng = random.Random("{}/{}".format(name, number))
    return row.attempt(job, rng, number) if row.numbered else row.attempt(job, rng)
