"""Damage to the files of a run's folder and of its cache, and files that belong to another model."""

import json
import os
import random
import re
import shutil
from typing import Any, Callable, Dict, List, Tuple

from . import program
from .mutations import BYTES, pick
from .program import Ended, Job, Trial, last_words

SAID_OLDER = r"is taken instead"  # an older checkpoint is used, and the program says so
_OUTPUTS = re.compile(r"eval_results\.json|.*predictions|test_results")  # of evaluation and prediction


def damage(path: str, rng: random.Random) -> str:
    """Damages a file in one of the ways; returns which."""
    how = pick(rng, sorted(BYTES) + ["a flipped bit", "removed", "a folder in its place"])
    with open(path, "rb") as file:
        content = file.read()
    if how in BYTES and content:
        with open(path, "wb") as file:
            file.write(BYTES[how](content, rng))
        return how
    os.unlink(path)
    if how == "a folder in its place":
        os.mkdir(path)
        return how
    return "removed"


def judged(
    fault: str, name: str, ended: Ended, actual: Dict[str, str], expected: Dict[str, str], may_be_older: bool
) -> Trial:
    """Whether a command on a folder whose file `name` is damaged did right.

    Right are a refusal with exit 2, a failure with exit 1 that names the file, and the result of an undamaged folder.
    may_be_older: so are other values in the same files, if the program says that it uses an older checkpoint.
    """
    if "Traceback" in ended.output:
        return Trial(fault, "a traceback", last_words(ended))
    if ended.status == 2:
        return Trial(fault, "", "refused: " + last_words(ended))
    if ended.status:
        named = ended.status == 1 and name in last_words(ended)
        failure = "" if named else "exit {}".format(ended.status)
        return Trial(fault, failure, last_words(ended))
    failure = program.difference(actual, expected)
    if failure and may_be_older and set(actual) == set(expected) and re.search(SAID_OLDER, ended.output):
        return Trial(fault, "", last_words(ended, SAID_OLDER))
    return Trial(fault, failure, "the same result")


def damaged(job: Job, rng: random.Random) -> Trial:
    """One file of a stopped run's folder, then its command; or of a finished run's, then evaluation and prediction."""
    job.whole()
    goes_on = rng.random() < 0.5
    folder = job.copied(job.half() if goes_on else job.folder("whole"))
    path = pick(rng, program.files_in(folder))
    how = damage(os.path.join(folder, path), rng)
    name, path = os.path.basename(path), re.sub(r"\d{5,}\S*|[0-9a-f]{8,}", "*", path)
    fault = "{}: {}, {}".format(path, how, "go on" if goes_on else "evaluate, predict")
    if goes_on:
        ended = job.run(output_dir=folder)
        # From any step, going on must reach the same weights.
        return judged(fault, name, ended, program.outcome(folder), job.whole(), may_be_older=False)
    _remove_outputs(folder)
    ended = job.run(output_dir=folder, do_train="false")
    actual, expected = ({n: o[n] for n in o if _OUTPUTS.match(n)} for o in (program.outcome(folder), job.whole()))
    return judged(fault, name, ended, actual, expected, may_be_older=True)


def _remove_outputs(folder: str) -> None:
    """Removes the scores and the predictions of a run's folder, so that those there later are the command's."""
    for name in program.files_in(folder):
        if _OUTPUTS.match(name):
            os.unlink(os.path.join(folder, name))


# --- pairs that do not belong together --------------------------------------------------------------------------------


def _vocabulary(path: str, mix: bool) -> None:
    with open(path) as file:
        lines = file.read().split()
    lines = lines[:5] + lines[:4:-1] if mix else lines + ["more"]
    with open(path, "w") as file:
        file.write("\n".join(lines) + "\n")


def _json(path: str, **changed: object) -> None:
    with open(path) as file:
        content = json.load(file)
    with open(path, "w") as file:
        json.dump(dict(content, **changed), file)


def _exchanged_best(run: str) -> None:
    """The newest weights lie in place of the best, under their name."""
    best = os.path.join(run, "best")
    newest = "model.ckpt-{}.".format(max(_steps(run)))
    for name in os.listdir(best):
        if name.startswith("model.ckpt-"):
            shutil.copy(os.path.join(run, newest + name.split(".")[-1]), os.path.join(best, name))


# Name → (what is done to the run's folder; what is done to the inputs' folder; flags that differ).
_Change = Callable[[str], object]


def _nothing(folder: str) -> None:
    pass


def _of(name: str, change: Callable[..., object], *values: Any, **changed: object) -> _Change:
    return lambda folder: change(os.path.join(folder, name), *values, **changed)


def _pairs() -> Dict[str, Tuple[_Change, _Change, Dict[str, object]]]:
    vocabulary, config = "vocab.txt", "bert_config.json"
    pairs: Dict[str, Tuple[_Change, _Change, Dict[str, object]]] = {}
    changes: Dict[str, Tuple[str, Callable[..., object], Tuple[Any, ...], Dict[str, object]]] = {
        "vocabulary in another order": (vocabulary, _vocabulary, (True,), {}),
        "longer vocabulary": (vocabulary, _vocabulary, (False,), {}),
        "other activation": (config, _json, (), {"hidden_act": "relu"}),
        "other heads": (config, _json, (), {"num_attention_heads": 4}),
        "other width": (config, _json, (), {"hidden_size": 16}),
        "more layers": (config, _json, (), {"num_hidden_layers": 2}),
        "fewer positions": (config, _json, (), {"max_position_embeddings": 16}),
    }
    for name, (path, change, values, changed) in changes.items():
        pairs[name + " in the run"] = (_of(path, change, *values, **changed), _nothing, {})
        pairs[name + " in the command"] = (_nothing, _of(path, change, *values, **changed), {})
    pairs["other case"] = (_nothing, _nothing, {"do_lower_case": "false"})
    pairs["the newest weights in place of the best"] = (_exchanged_best, _nothing, {})
    pairs["labels of another model"] = (_of("labels.json", _json, labels=["x", "y"]), _nothing, {})
    pairs["longer texts than positions"] = (_nothing, _nothing, {"max_seq_length": 128})
    return pairs


def mismatched(job: Job, rng: random.Random, number: int) -> Trial:
    """Vocabulary, configuration, weights, case or labels of another model, in the folder or in the command.

    All pairs in turn, on a finished run's folder, then on a stopped one's.
    """
    job.whole()
    folder = job.fresh()
    inputs, run = os.path.join(folder, "data"), os.path.join(folder, "run")
    shutil.copytree(job.folder("data"), inputs)
    pairs = _pairs()
    goes_on, name = number // len(pairs) % 2 == 1, sorted(pairs)[number % len(pairs)]
    shutil.copytree(job.half() if goes_on else job.folder("whole"), run)
    _remove_outputs(run)
    change_run, change_inputs, changed = pairs[name]
    change_run(run)
    change_inputs(inputs)
    before = max(_steps(run))
    arguments = job.flags(output_dir=run, do_train=str(goes_on).lower(), **changed)
    ended = program.Child(job.script, [flag.replace(job.folder("data"), inputs) for flag in arguments]).end()
    fault = "{}, {}".format(name, "go on" if goes_on else "evaluate, predict")
    if "Traceback" in ended.output or ended.status not in (0, 2):
        return Trial(fault, "exit {}".format(ended.status), last_words(ended))
    if ended.status == 2:
        failure = "" if max(_steps(run)) == before else "refused after step 1"
        return Trial(fault, failure, last_words(ended))
    failure = program.difference(program.outcome(run), job.whole())
    return Trial(fault, failure, "the run's own is used: the same result")


def _steps(run: str) -> List[int]:
    return [int(found) for found in re.findall(r"model\.ckpt-(\d+)\.index", " ".join(os.listdir(run)))]
