"""Fine-tune BERT to give each word a tag: entities, or any word-level tagging; one run, from flags to artefacts."""

import dataclasses
import json
import os
import sys
from typing import Any, Dict, List, Optional, Sequence, Tuple

from steady_bert.base import tensorflow_setup

if __name__ == "__main__":
    tensorflow_setup.exit_on_signals()
    with tensorflow_setup.without_keras():
        import tensorflow.compat.v1  # noqa: F401

import flags
from steady_bert.base import files
from steady_bert.base.errors import UserError
from steady_bert.command_line import configuration
from steady_bert.command_line.configuration import TaggingConfig, TaggingDataConfig
from steady_bert.tasks import model_files
from steady_bert.tasks.reading import text_files
from steady_bert.tasks.tagging import assembly as tagging
from steady_bert.tasks.tagging import data as tagging_data
from steady_bert.tasks.tagging import entity_scores
from steady_bert.tasks.tagging import schemes as tag_schemes
from steady_bert.tasks.tagging.assembly import TaggingInputs
from steady_bert.tasks.tagging.data import Layout
from steady_bert.tasks.tagging.heads import HEADS, TaggingHead
from steady_bert.tasks.task import BadLines, Predictions
from steady_bert.training import reports, run
from steady_bert.training.job import Job
from steady_bert.training.reports import say

FLAGS = flags.FLAGS
flags.register("run_ner")

PREDICTIONS_FILE = "predictions.conll"
_CONFUSIONS_SHOWN = 10


def main() -> None:
    config = configuration.tagging_config()
    if config.data.predict_file != "-":
        start(config)
        return
    with run.standard_input(lambda path: ".jsonl" if text_files.is_json_lines(path) else ".txt") as path:
        data = dataclasses.replace(config.data, predict_file=path)
        if data.format == "auto" and path.endswith(".txt"):
            data = dataclasses.replace(data, format="text")
        start(dataclasses.replace(config, data=data))


def start(config: TaggingConfig) -> None:
    run.start(config.run, lambda model_dir: make_job(config, model_dir))


# --- the job ----------------------------------------------------------------------------------------------------------


def make_job(config: TaggingConfig, model_dir: Optional[str]) -> Job:
    """The task with its tags: those saved in model_dir where there is one, else the data's own."""
    config = with_units(config)
    data = config.data
    tokenizer, vocab_fingerprint = model_files.load_tokenizer(config.model, model_dir)
    bert_config = None
    if not config.run.check_data:
        bert_config = model_files.load_bert_config(config.model, len(tokenizer.vocab), segments=1)
    paths = split_files(data)
    layout = layout_of(data)
    require_other_files(config, paths)
    tags, scheme = choose_tags(data, layout, paths, model_dir)
    plain = scheme == "plain"
    if plain:
        layout = layout._replace(tag_scheme="plain")
        if data.constrained_decoding:
            raise UserError("--constrained_decoding: these tags mark no entities. Leave it out.")
    inputs = TaggingInputs(
        files=paths,
        layout=layout,
        tags=tags,
        plain=plain,
        tokenizer=tokenizer,
        vocab_fingerprint=vocab_fingerprint,
        bert_config=bert_config,
        max_seq_length=config.model.max_seq_length,
        doc_stride=data.doc_stride,
        head=head_of(data),
        constrained_decoding=data.constrained_decoding,
        skip_bad_lines=data.skip_bad_lines,
    )
    reader = tagging.Reader(inputs)
    task = tagging.tagging_task(inputs, reader)

    def describe_evaluation(split: str, predictions: Predictions) -> Tuple[Dict[str, Any], str]:
        return describe(inputs, tagging.tagged(inputs, reader, split, predictions))

    def write_predictions(split: str, predictions: Predictions, step: int, path: str, folder: str) -> None:
        found = tagging.tagged(inputs, reader, split, predictions)
        write(inputs, found, path)
        write_scores(step, inputs, split, found, folder)

    return Job(
        task=task,
        metrics=tagging.metric_names(inputs),
        identity={
            "task": "tagging",
            "bert_config": bert_config and bert_config.to_dict(),
            "head": list(inputs.head),
        },
        files=model_files.given_files(config.model),
        documents={
            model_files.LABELS_FILE: {"tag_scheme": scheme, "labels": list(tags)},
            "config.json": dataclasses.asdict(config),
        },
        flags=flags.given_flags("run_ner"),
        predictions_file=PREDICTIONS_FILE,
        notes=notes_on_rates(inputs.head, config.run.optimizer.lr_multipliers),
        describe_evaluation=describe_evaluation,
        write_predictions=write_predictions,
    )


def with_units(config: TaggingConfig) -> TaggingConfig:
    """What gets a tag each, settled: a training file says it, and the model's folder remembers it."""
    data = config.data
    if data.text_units != "auto":
        return config
    known = [path for path in (data.train_file, data.dev_file, data.test_file, data.predict_file) if path is not None]
    units = tagging_data.units_of(known[0], layout_of(data))
    return dataclasses.replace(config, data=dataclasses.replace(data, text_units=units))


def layout_of(data: TaggingDataConfig) -> Layout:
    return Layout(**{name: getattr(data, name) for name in Layout._fields})


def head_of(data: TaggingDataConfig) -> TaggingHead:
    kind = HEADS[data.head]
    return TaggingHead(
        crf=kind.crf,
        lstm_layers=data.lstm_layers if kind.recurrent else 0,
        lstm_size=data.lstm_size,
        lstm_cell=data.lstm_cell,
    )


def notes_on_rates(head: TaggingHead, lr_multipliers: Sequence[Tuple[str, float]]) -> Dict[str, str]:
    """What the plan says of a head that the encoder's rate is too low for."""
    if not head.lstm_layers or lr_multipliers:
        return {}
    advice = (
        "a BiLSTM learns little at an encoder's rate; give --lr_multipliers=bilstm/=10,output_=10 (docs/tagging.md)"
    )
    return {"head": advice}


def split_files(data: TaggingDataConfig) -> Dict[str, str]:
    """split → path, for the splits that the flags name. Raises UserError for a file that is not there."""
    test = "predict_file" if data.predict_file else "test_file"
    paths = {}
    for split, flag in (("train", "train_file"), ("dev", "dev_file"), ("test", test)):
        path = getattr(data, flag)
        if path is not None and not os.path.isfile(path):
            raise UserError("--{}={}: no such file. Check the path.".format(flag, path))
        if path is not None:
            paths[split] = path
    return paths


def require_other_files(config: TaggingConfig, paths: Dict[str, str]) -> None:
    """Raises UserError where predictions would be written over what is read, or over each other."""
    if not config.run.do_predict:
        return
    columns = config.run.predict_output
    if columns is None:
        columns = os.path.join(config.run.weights.output_dir or os.curdir, PREDICTIONS_FILE)
    objects = objects_beside(columns)
    taken = [os.path.abspath(path) for path in paths.values()] + [os.path.abspath(columns)]
    if os.path.abspath(objects) in taken or os.path.abspath(columns) in taken[:-1]:
        message = "Predictions go to {} as columns and to {} as JSON, where a file that is read, or the other, is. "
        raise UserError((message + "Give another --predict_output.").format(columns, objects))


def objects_beside(columns: str) -> str:
    return os.path.splitext(columns)[0] + ".jsonl"


def choose_tags(
    data: TaggingDataConfig, layout: Layout, paths: Dict[str, str], model_dir: Optional[str]
) -> Tuple[List[str], str]:
    """(the tags in id order, bio or plain). A trained model's are those that it was trained with."""
    saved = model_files.saved_labels(model_dir, "tag_scheme")
    given = tagging_data.read_tags_file(data.tags_file, layout.tag_scheme) if data.tags_file else None
    if saved is not None:
        if given is not None and given != saved[0]:
            known = ", ".join(saved[0])
            raise UserError("--tags_file: the model in {} knows {}. Leave the flag out.".format(model_dir, known))
        return saved[0], saved[1] or scheme_told_by(saved[0])
    if model_dir and given is None:
        raise UserError("{}: lacks {}. Pass --tags_file.".format(model_dir, model_files.LABELS_FILE))
    if given is None:
        source = next(paths[split] for split in ("train", "dev", "test") if split in paths)
        given = tagging_data.find_tags(source, layout, BadLines(data.skip_bad_lines))
    return given, "plain" if layout.tag_scheme == "plain" else scheme_told_by(given)


def scheme_told_by(tags: Sequence[str]) -> str:
    return "bio" if all(map(tag_schemes.is_tag, tags)) else "plain"


# --- what people are shown --------------------------------------------------------------------------------------------


def describe(inputs: TaggingInputs, found: List[tagging.Tagged]) -> Tuple[Dict[str, Any], str]:
    """(details for eval_results.json, two tables: by type, and what is taken for what)."""
    words = sum(len(each.tags) for each in found)
    if inputs.plain:
        return {"examples": len(found), "words": words}, ""
    by_type = tagging.counts_by_type(found)
    rows = [["type", "precision", "recall", "f1", "right", "found", "there"]]
    for kind, counts in list(by_type.items()) + [("all", entity_scores.total(by_type))]:
        shares = ["{:.4f}".format(share) for share in (counts.precision, counts.recall, counts.f1)]
        rows.append([kind] + shares + ["{:,}".format(count) for count in counts])
    shown = reports.format_table(rows)
    confused = tagging.confusions(found)
    if confused:
        rows = [["times", "there", "found"]]
        rows += [["{:,}".format(times), there, taken] for there, taken, times in confused[:_CONFUSIONS_SHOWN]]
        shown += "\nMost frequent confusions:\n" + reports.format_table(rows)
    details = {
        "examples": len(found),  # sentences; a record is a window of one
        "words": words,
        "by_type": {
            kind: dict(counts._asdict(), precision=counts.precision, recall=counts.recall, f1=counts.f1)
            for kind, counts in by_type.items()
        },
        "confusions": [{"there": there, "found": taken, "times": times} for there, taken, times in confused],
    }
    return details, shown


def write(inputs: TaggingInputs, found: List[tagging.Tagged], path: str) -> None:
    """Columns at `path`, a JSON object a sentence beside it."""
    with files.atomic_write(path) as file:
        for sentence, tags, _ in found:
            file.write("\n".join(tagging_data.column_rows(sentence, tags)) + "\n\n")
    objects = objects_beside(path)
    to_object = tagging_data.json_tags if inputs.plain else tagging_data.json_object
    with files.atomic_write(objects) as file:
        for each in found:
            file.write(
                json.dumps(to_object(each.sentence, each.tags, each.probabilities.tolist()), ensure_ascii=False) + "\n"
            )
    words = sum(len(each.tags) for each in found)
    say("Wrote {:,} words of {:,} sentences to {} and {}".format(words, len(found), path, objects))


def write_scores(step: int, inputs: TaggingInputs, split: str, found: List[tagging.Tagged], folder: str) -> None:
    """Of a file to predict that has tags: its scores, apart from dev's. An earlier file's stay: they name it."""
    untagged = sum(each.sentence.tags is None for each in found)
    if untagged:
        if untagged < len(found):
            say("Not scored: {:,} of {:,} sentences have no tags.".format(untagged, len(found)))
        return
    path = os.path.join(folder, "test_results.json")
    metrics = tagging.scores(inputs, split, found)
    details, shown = describe(inputs, found)
    say("Scores of step {} on {}: {}".format(step, inputs.files[split], reports.format_metrics(metrics)))
    if shown:
        say(shown)
    files.write_json(path, dict(metrics, step=step, file=inputs.files[split], **details))
    say("Wrote {}".format(path))


if __name__ == "__main__":
    flags.run("run_ner", main, sys.argv, __doc__)
