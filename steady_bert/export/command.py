"""Exports a run and proves the export: what scripts/export_model.py does."""

import functools
import os
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from ..base import disk, files, machine
from ..base.errors import RunError, UserError
from ..serving import saved_run
from ..serving.saved_run import SavedRun
from ..tasks import model_files
from ..tasks.tagging.assembly import TaggingInputs
from ..training.reports import say
from . import huggingface, output_folder, proof, reference, saved_model, tf1
from .proof import TOLERANCE, Comparison
from .reference import Reference

_SENTENCES = 8  # on which the difference between two activations is shown


class Options(NamedTuple):
    model_dir: str
    to: str
    output: str
    checkpoint: Optional[str] = None  # best or last; None: the best if there is one
    check_file: Optional[str] = None  # None: the run's dev file
    check_python: Optional[str] = None  # an interpreter with transformers
    unchecked: bool = False
    activation: Optional[str] = None


class Target(NamedTuple):
    """A form that a run is exported to."""

    refuse: Callable[[SavedRun], None]
    write: Callable[[SavedRun, str], None]
    # the run, its numbers, the folder, the interpreter → what export_check.json says, and what is wrong ("" if nothing)
    prove: Callable[[SavedRun, Reference, str, Optional[str]], Tuple[Dict[str, Any], str]]


def export(options: Options) -> None:
    """Writes and proves an export.

    Raises UserError for what cannot be exported, and RunError for an export that is not proven, which stays under a
    name that says so.
    """
    options = options._replace(output=options.output.rstrip(os.sep) or os.sep)  # names are made by adding to it
    target = TARGETS[options.to]
    _check(options)
    output_folder.require_free(options.output)
    original = run = saved_run.open_run(options.model_dir, options.checkpoint, precision="float32", tf32=False)
    if options.activation == "tanh" and _activation(run) == "gelu_erf":
        run = reference.with_activation(run, "gelu")
    target.refuse(run)
    check_file, is_dev = _check_file(options, run)
    if run is not original and check_file is not None:
        say(_activation_difference(original, run, check_file, is_dev))
    with output_folder.scratch(options.output) as folder:
        takes = functools.partial(_bytes_at_least, run, folder)
        with disk.writing(options.output, written_bytes=takes, is_renamed=True):
            target.write(run, folder)
        record = {"exported": options.to, "from": os.path.basename(run.prefix), "proven": False}
        if run is not original:
            record["activation"] = "gelu in place of gelu_erf; what is compared is the run with gelu"
        problem = ""
        if check_file is None:
            record["why"] = "--unchecked"
        else:
            problem = _prove(target, options, run, check_file, is_dev, folder, record)
        with disk.writing(options.output, written_bytes=takes, is_renamed=True):
            output_folder.write_record(folder, record)
        name = options.output + output_folder.UNPROVEN if problem else options.output
        output_folder.move(folder, name)
    if problem:
        raise RunError("{} The files are in {}.".format(problem, name))
    say("Wrote {}".format(name))


def _check(options: Options) -> None:
    if options.activation and options.to != "tf1":
        raise UserError("--activation: is read with --to=tf1. Leave it out.")
    if options.check_python and options.to != "huggingface":
        raise UserError("--check_python: is read with --to=huggingface. Leave it out.")
    if options.unchecked and (options.check_file or options.check_python):
        raise UserError("--unchecked: nothing is compared. Leave it, or --check_file and --check_python, out.")


def _bytes_at_least(run: SavedRun, folder: str) -> int:
    """What an export takes: its weights, or more if more is written."""
    return max(disk.bytes_in(folder), model_files.parameters(vars(run.bert_config)) * machine.FLOAT32_BYTES)


def _activation(run: SavedRun) -> str:
    return str(run.bert_config.hidden_act).lower()


def _check_file(options: Options, run: SavedRun) -> Tuple[Optional[str], bool]:
    """(the file to compare on, None with --unchecked; whether it is the run's dev file)."""
    if options.unchecked:
        return None, False
    if options.check_file:
        return options.check_file, False
    path = reference.check_file_of(run)
    if path is None:
        raise UserError(
            "{}: the run's dev file is not where training had it, or it had none, so there is nothing to compare on. "
            "Name a file with --check_file, or pass --unchecked.".format(options.model_dir)
        )
    return path, True


def _activation_difference(exact: SavedRun, approximate: SavedRun, path: str, is_dev: bool) -> str:
    """Says how far the approximation by tanh moves the logits of a few sentences."""
    first, second = (reference.reference(run, path, is_dev, _SENTENCES) for run in (exact, approximate))
    return "gelu_erf → gelu: logits differ by up to {:.2e} on {} examples of {}, {} of {} decisions are others".format(
        float(np.max(np.abs(first.logits - second.logits))),
        first.examples,
        path,
        int(np.sum(first.decisions != second.decisions)),
        len(first.decisions),
    )


def _prove(
    target: Target, options: Options, run: SavedRun, path: str, is_dev: bool, folder: str, record: Dict[str, Any]
) -> str:
    """Adds to the record what the comparison gives; returns what is wrong, "" if nothing is."""
    if options.to == "huggingface" and not options.check_python:
        record["why"] = "no --check_python"
        return (
            "The export is not proven: name an interpreter that has torch and transformers with --check_python, or "
            "pass --unchecked."
        )
    own = reference.reference(run, path, is_dev)
    record.update(
        file=path,
        file_sha256=files.sha256_of_file(path) if os.path.isfile(path) else None,
        rows=len(own.rows.lengths),
        precision="float32",
        tolerance=TOLERANCE,
    )
    try:
        details, problem = target.prove(run, own, folder, options.check_python)
    except RunError as error:
        details, problem = {}, str(error)
    record.update(details, proven=not problem)
    for name in ("largest_difference", "decisions_that_differ"):
        if name in record:
            say("{}: {}".format(name.replace("_", " "), record[name]))
    return problem


# --- what is compared, by target --------------------------------------------------------------------------------------


def _of_comparisons(comparisons: List[Comparison], outputs: Dict[str, np.ndarray]) -> Tuple[Dict[str, Any], str]:
    """(what export_check.json says, what is wrong) of comparisons with what one process gave."""
    largest = max(comparison.largest_difference for comparison in comparisons)
    differing = sum(comparison.differing for comparison in comparisons)
    details = {
        "by": str(outputs["by"]),
        "outputs": comparisons[0].outputs,
        "largest_difference": largest,
        "decisions_that_differ": differing,
        "ties": sum(comparison.ties for comparison in comparisons),
    }
    if all(comparison.holds for comparison in comparisons):
        return details, ""
    return details, (
        "The export gives other numbers than the run: logits differ by up to {:.2e} ({:g} is allowed), and {} "
        "decisions are others.".format(largest, TOLERANCE, differing)
    )


def _prove_saved_model(run: SavedRun, own: Reference, folder: str, _: Optional[str]) -> Tuple[Dict[str, Any], str]:
    outputs = proof.run_elsewhere("saved_model.py", folder, own)
    names = [name[len("logits ") :] for name in outputs if name.startswith("logits ")]
    comparisons = [proof.compare(run, own, outputs["logits " + name], outputs["decisions " + name]) for name in names]
    details, problem = _of_comparisons(comparisons, outputs)
    return dict(details, signatures=names), problem


def _prove_tf1(run: SavedRun, own: Reference, folder: str, _: Optional[str]) -> Tuple[Dict[str, Any], str]:
    outputs = proof.run_elsewhere("tf1.py", folder, own, with_project=True)
    run, own = _without_constraint(run, own)
    decisions = reference.decided(run)(outputs["logits"])
    return _of_comparisons([proof.compare(run, own, outputs["logits"], decisions)], outputs)


def _prove_huggingface(
    run: SavedRun, own: Reference, folder: str, interpreter: Optional[str]
) -> Tuple[Dict[str, Any], str]:
    outputs = proof.run_elsewhere("huggingface.py", folder, own, interpreter)
    run, own = _without_constraint(run, own)
    decisions = reference.decided(run)(outputs["logits"])
    details, problem = _of_comparisons([proof.compare(run, own, outputs["logits"], decisions)], outputs)
    pipeline = _of_pipeline(run, own, outputs)
    if not problem and pipeline["decisions_that_differ"]:
        problem = "transformers' pipeline decides {} of {} otherwise than the run.".format(
            pipeline["decisions_that_differ"], pipeline["outputs"]
        )
    return dict(details, rows_with_other_ids=int(np.sum(~outputs["same_ids"])), pipeline=pipeline), problem


def _without_constraint(run: SavedRun, own: Reference) -> Tuple[SavedRun, Reference]:
    """A tagger and its decisions as they are without --constrained_decoding, which the export has no place for."""
    inputs = run.inputs
    if not isinstance(inputs, TaggingInputs):
        return run, own
    run = run._replace(inputs=inputs._replace(constrained_decoding=False))
    return run, own._replace(decisions=reference.decided(run)(own.logits))


def _of_pipeline(run: SavedRun, own: Reference, outputs: Dict[str, np.ndarray]) -> Dict[str, Any]:
    """How the pipeline's decisions compare, on the texts that it reads as the run does."""
    ends = np.cumsum(own.outputs)
    chosen = [np.zeros(0, np.int64)]  # the places of the texts' outputs among all; a file may have long texts alone
    for text in own.texts:
        chosen.append(np.arange(ends[text.record] - own.outputs[text.record], ends[text.record]))
    reads_whole = isinstance(run.inputs, TaggingInputs) or run.inputs.long_text.mode == "cut"
    compared = np.array([text.whole or reads_whole for text in own.texts], bool)
    of_output = np.repeat(compared, [len(places) for places in chosen[1:]])
    places = np.concatenate(chosen)[of_output]
    predicted, decisions = outputs["predicted"][of_output], own.decisions[places]
    logits = own.logits[places]
    if run.script == "run_ner":
        others = (predicted != decisions) & (predicted >= 0)  # -1: a word of which no piece is left
        margin = _margin(logits, decisions, np.maximum(predicted, 0))
    elif run.kind == "single":
        others = np.argmax(predicted, axis=-1) != decisions
        margin = _margin(logits, decisions, np.argmax(predicted, axis=-1))
    elif run.kind == "multi":
        others = (predicted >= reference.threshold_of(run)) != decisions
        margin = np.abs(logits - reference.threshold_logit(run))
    else:
        others, margin = np.abs(predicted - logits) > TOLERANCE, np.full(logits.shape, np.inf)
    return {
        "texts": int(np.sum(compared)),
        "outputs": int(others.size - np.sum(predicted < 0) if run.script == "run_ner" else others.size),
        "decisions_that_differ": int(np.sum(others & (margin > 2 * TOLERANCE))),
        "texts_not_compared": own.examples - int(np.sum(compared)),  # longer ones
    }


def _margin(logits: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """[N] by how much the logit of one label is above that of another."""
    numbers = np.arange(len(logits))
    return logits[numbers, first] - logits[numbers, second]


TARGETS = {
    "huggingface": Target(huggingface.refuse, huggingface.write, _prove_huggingface),
    "saved_model": Target(lambda run: None, saved_model.write, _prove_saved_model),
    "tf1": Target(tf1.refuse, tf1.write, _prove_tf1),
}
