"""Mutated inputs of a new run, and mutated files of the folder of one that was stopped, or has ended."""

import csv
import functools
import json
import os
import pathlib
import random
import re
import shutil
import socket
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

from . import mutations, program
from .mutations import pick
from .program import Ended, Job, Trial, from_tests, last_words

_UNREAD = ("two_layers.json", "without_dropout.json", "learning_rate.png")  # of the tests' small task
_READ = re.compile(r"\.(json|jsonl|txt|tsv|csv|conll|safetensors)$|(^|/)checkpoint$")
_READ_OF_RUN = r"(plan|config|labels|manifest)\.json$|(vocab|flags)\.txt$|metrics\.jsonl$|checkpoint$|cache/.*\.json$"
_SECS = 600  # a command that takes longer hangs, beside whatever other work
_LONGEST_MESSAGE = 5000


class _Case(NamedTuple):
    """A command, and the files of which one is mutated."""

    files: List[str]
    arguments: List[str]
    script: Any  # its name, or a function
    environment: bool = False  # the content of the file is that of TF_CONFIG


def fuzzed(job: Job, rng: random.Random) -> Trial:
    """One mutated file, and a command that reads it."""
    job.whole()
    folder = job.fresh()
    os.mkdir(folder)
    kind, make = pick(rng, _KINDS)
    case, command = make(job, rng, folder)
    path = pick(rng, case.files)
    with open(path, "rb") as file:
        content = file.read()
    how, content = mutations.mutated(content, os.path.splitext(path)[1], rng)
    with open(path, "wb") as file:
        file.write(content)
    if kind.startswith("run"):
        command += _sign(os.path.join(folder, "run"), os.path.basename(path), rng)
    ended = program.Child(case.script, case.arguments, functools.partial(_prepare, case, content)).end(_SECS)
    return verdict("{}, {}: {}, {}".format(kind, os.path.basename(path), how, command), ended)


def verdict(fault: str, ended: Ended) -> Trial:
    """Right are exit 0, and exit 2 with one message of a bearable length."""
    messages = re.findall(r"^\w+: error: .*", ended.output, re.M)
    if "Traceback" in ended.output or ended.status not in (0, 2):
        return Trial(fault, "exit {}".format(ended.status), last_words(ended))
    if ended.status == 2 and len(messages) != 1:
        return Trial(fault, "{} messages".format(len(messages)), last_words(ended))
    if messages and len(messages[0]) > _LONGEST_MESSAGE:
        return Trial(fault, "a message of {:,} characters".format(len(messages[0])), last_words(ended))
    return Trial(fault, "", last_words(ended) if ended.status else "goes on")


def _prepare(case: _Case, content: bytes) -> None:
    """In the child: the environment, and no picture, which takes longer than all else."""
    from steady_bert.training import reports

    drawing: Any = reports
    drawing.plot_curves = lambda *values: False
    if case.environment:
        os.environb[b"TF_CONFIG"] = content.split(b"\0")[0]  # as far as an environment can hold it


def _sign(run: str, name: str, rng: random.Random) -> str:
    """Makes the manifest of a run's folder fit the mutated file, that its reader meets it, or removes it; which."""
    from steady_bert.training import manifest

    path = os.path.join(run, manifest.FILE)
    chance = rng.random()
    if name == manifest.FILE or not os.path.exists(path) or chance < 0.2:
        return ""
    if chance < 0.4:
        os.unlink(path)
        return ", no manifest"
    with manifest.updated(run, {}):
        pass
    return ", signed"


# --- what is mutated --------------------------------------------------------------------------------------------------

Kind = Callable[[Job, random.Random, str], Tuple[_Case, str]]


def _inputs(job: Job, folder: str) -> str:
    shutil.copytree(job.folder("data"), os.path.join(folder, "data"))
    return os.path.join(folder, "data")


def _command(job: Job, rng: random.Random, folder: str, **changed: object) -> Tuple[List[str], str]:
    """(the flags of a command on the inputs in `folder`, its name): it looks at the data, plans, or trains one step."""
    name = pick(rng, ["data"] * 6 + ["dry run"] * 5 + ["1 step"])
    settings: Dict[str, object] = dict(output_dir=os.path.join(folder, "run"), num_train_steps=1, num_warmup_steps=0)
    settings.update({"data": dict(check_data="true"), "dry run": dict(dry_run="true")}.get(name, {}))
    if name == "dry run":
        settings["do_predict"] = None
    arguments = job.flags(**dict(settings, **changed))
    return [flag.replace(job.folder("data"), os.path.join(folder, "data")) for flag in arguments], name


def _files(folder: str, wanted: str = "") -> List[str]:
    names = [name for name in program.files_in(folder) if _READ.search(name) and os.path.basename(name) not in _UNREAD]
    return [os.path.join(folder, name) for name in names if re.search(wanted, name)]


def _data(job: Job, rng: random.Random, folder: str) -> Tuple[_Case, str]:
    """The files of examples, in one of the formats that the task has."""
    inputs = _inputs(job, folder)
    arguments, command = _command(job, rng, folder)
    if job.script == "run_classifier":
        written = _table(os.path.join(inputs, "data"), pick(rng, [".tsv", ".csv", ".jsonl"]))
    else:
        tests = from_tests("run_ner_test")
        write, ending = pick(rng, [(tests.columns, ".conll"), (tests.spans, ".jsonl"), (tests.cluener, ".jsonl")])
        written = list(tests.Files(inputs, write=write, ending=ending).paths.values())
        arguments = [flag.replace(".conll", ending) for flag in arguments]
        chosen = os.path.join(inputs, "tags.txt")
        if rng.random() < 0.3:
            with open(chosen, "w") as file:
                file.write("\n".join(["O"] + [b + kind for kind in sorted(tests.NAMES) for b in ("B-", "I-")]) + "\n")
            arguments, written = arguments + ["--tags_file=" + chosen], [*written, chosen]
    return _Case(written, arguments, job.script), command


def _table(folder: str, ending: str) -> List[str]:
    """Writes the files of rows in another format, in place of their own; returns their paths."""
    paths = []
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name)) as file:
            rows = [line.split("\t") for line in file.read().splitlines()]
        os.unlink(os.path.join(folder, name))
        paths.append(os.path.join(folder, os.path.splitext(name)[0] + ending))
        with open(paths[-1], "w") as file:
            if ending == ".jsonl":
                file.writelines(json.dumps(dict(zip(rows[0], row))) + "\n" for row in rows[1:])
            elif ending == ".csv":
                csv.writer(file).writerows(rows)
            else:
                file.writelines("\t".join(row) + "\n" for row in rows)
    return paths


def _model(job: Job, rng: random.Random, folder: str) -> Tuple[_Case, str]:
    inputs = _inputs(job, folder)
    arguments, command = _command(job, rng, folder)
    return _Case(_files(inputs, r"vocab|config"), arguments, job.script), command


def _flag_file(job: Job, rng: random.Random, folder: str) -> Tuple[_Case, str]:
    _inputs(job, folder)
    arguments, command = _command(job, rng, folder)
    path = os.path.join(folder, "flags.txt")
    with open(path, "w") as file:
        file.write("\n".join(arguments) + "\n")
    return _Case([path], ["--flagfile=" + path], job.script), command


def _cluster(job: Job, rng: random.Random, folder: str) -> Tuple[_Case, str]:
    """TF_CONFIG of a job of one worker."""
    _inputs(job, folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = min(free.getsockname()[1], 65000)
    cluster = {"cluster": {"worker": ["127.0.0.1:{}".format(port)]}, "task": {"type": "worker", "index": 0}}
    path = os.path.join(folder, "tf_config.json")
    with open(path, "w") as file:
        json.dump(cluster, file)
    arguments, command = _command(job, rng, folder, distribution="multi_worker")
    if command == "data":  # which would not read it
        arguments, command = [flag for flag in arguments if not flag.startswith("--check_data")], "1 step"
    return _Case([path], arguments, job.script, environment=True), command


def _hugging_face(job: Job, rng: random.Random, folder: str) -> Tuple[_Case, str]:
    """A folder as Hugging Face's library writes it, as --model."""
    _inputs(job, folder)
    published, tests = pathlib.Path(folder, "published"), from_tests("hugging_face_folders_test")
    tests.write(published)
    content = {
        "tokenizer_config.json": {"do_lower_case": True, "model_max_length": 9, "tokenizer_class": "BertTokenizer"}
    }
    content["tokenizer.json"] = tests.whole_tokenizer(normalizer=dict(lowercase=True))
    for name, value in content.items():
        if rng.random() < 0.7:
            (published / name).write_text(json.dumps(value))
    own = dict(from_scratch=None, vocab_file=None, bert_config_file=None, model=str(published), max_seq_length=8)
    arguments, command = _command(job, rng, folder, **own)
    return _Case(_files(str(published)), arguments, job.script), command


def _stopped(job: Job, rng: random.Random, folder: str) -> Tuple[_Case, str]:
    """A run that was stopped is planned anew, or goes on for one step."""
    run = os.path.join(folder, "run")
    shutil.copytree(job.half(), run)
    arguments, command = job.flags(output_dir=run, num_train_steps=program.STEPS // 2 + 1), "1 step"
    if rng.random() < 0.85:
        arguments = job.flags(output_dir=run, do_predict=None, dry_run="true")
        command = "dry run"
    return _Case(_of_run(run, rng), arguments, job.script), command


def _ended(job: Job, rng: random.Random, folder: str) -> Tuple[_Case, str]:
    """A run that has ended evaluates and predicts, or the doctor looks at it."""
    run = os.path.join(folder, "run")
    shutil.copytree(job.folder("whole"), run)
    if rng.random() < 0.5:
        return _Case(_of_run(run, rng), [], functools.partial(_doctor, run)), "doctor"
    return _Case(_of_run(run, rng), job.flags(output_dir=run, do_train="false"), job.script), "evaluate, predict"


def _of_run(run: str, rng: random.Random) -> List[str]:
    """Mostly the files that a command reads, not those that it writes for people."""
    return _files(run, _READ_OF_RUN if rng.random() < 0.8 else "")


def _doctor(run: str) -> None:
    from steady_bert.base import program_end
    from steady_bert.diagnosis import command

    program_end.run("doctor", lambda: command.main("", [run]))


_KINDS: List[Tuple[str, Kind]] = [
    ("cluster", _cluster),
    ("data", _data),
    ("data", _data),  # twice as often
    ("flag file", _flag_file),
    ("model", _model),
    ("published", _hugging_face),
    ("run that has ended", _ended),
    ("run that was stopped", _stopped),
]
