"""The job of run_ner: the task with its tags and files, and what is written of its predictions."""

import dataclasses
import os
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from ...base.errors import UserError
from ...interchange import in_use
from ...training import run, run_folder
from ...training.job import Job
from ...training.manifest import CONFIG_FILE
from ...training.run_files import Evaluated
from .. import model_files
from ..losses import LossForm
from ..reading import text_files
from ..task import BadLines, Predictions
from . import assembly as tagging
from . import formats, outputs, tag_lists
from . import schemes as tag_schemes
from .assembly import TaggingInputs
from .config import TaggingConfig, TaggingDataConfig
from .heads import HEADS, TaggingHead
from .sentences import Layout

PREDICTIONS_FILE = "predictions.conll"


def start(config: TaggingConfig, given_flags: List[str], notes: Dict[str, str]) -> None:
    """Does what the command says. given_flags: lines of flags.txt. notes: further lines of the plan."""
    if config.data.predict_file != "-":
        with in_use.readable(config) as usable:
            run.start(usable.run, lambda model_dir: make_job(usable, model_dir, given_flags, notes))
        return
    with run.standard_input(
        lambda path: ".jsonl" if text_files.is_json_lines(path, config.data.encoding) else ".txt"
    ) as path:
        data = dataclasses.replace(config.data, predict_file=path)
        if data.format == "auto" and path.endswith(".txt"):
            data = dataclasses.replace(data, format="text")
        start(dataclasses.replace(config, data=data), given_flags, notes)


def make_job(config: TaggingConfig, model_dir: Optional[str], given_flags: List[str], notes: Dict[str, str]) -> Job:
    """The task with its tags: those saved in model_dir if it is given, else those of the data."""
    config = with_units(config)
    inputs = inputs_of(config, model_dir)
    reader = tagging.Reader(inputs)
    task = tagging.tagging_task(inputs, reader)

    def describe_evaluation(split: str, predictions: Predictions) -> Tuple[Dict[str, Any], str]:
        return outputs.describe(inputs, reader.tagged(split, predictions))

    def evaluated(split: str, predictions: Predictions, lines: Sequence[int]) -> Iterator[Evaluated]:
        return outputs.evaluated(reader.tagged(split, predictions))

    def write_predictions(split: str, predictions: Predictions, step: int, path: str, folder: str) -> None:
        sentences = reader.tagged(split, predictions)
        outputs.write(inputs, sentences, path)
        outputs.write_scores(step, inputs, reader, split, sentences, folder)

    return Job(
        task=task,
        metrics=reader.metric_names(),
        identity={
            "task": "tagging",
            "bert_config": inputs.bert_config and inputs.bert_config.to_dict(),
            "head": list(inputs.head),
            **({} if inputs.class_weights is None else {"class_weights": list(inputs.class_weights)}),
        },
        files=model_files.given_files(config.model),
        documents={
            model_files.LABELS_FILE: {"tag_scheme": "plain" if inputs.plain else "bio", "labels": list(inputs.tags)},
            CONFIG_FILE: dataclasses.asdict(config),
        },
        flags=given_flags,
        predictions_file=PREDICTIONS_FILE,
        notes=dict(
            notes,
            **model_files.note_unread_keys(config.model),
            **notes_on_rates(inputs.head, config.run.optimizer.lr_multipliers),
        ),
        describe_evaluation=describe_evaluation,
        write_predictions=write_predictions,
        evaluated=evaluated,
    )


def inputs_of(config: TaggingConfig, model_dir: Optional[str]) -> TaggingInputs:
    """What the task is assembled from, files checked and tags read."""
    data = config.data
    tokenizer, vocab_fingerprint = model_files.load_tokenizer(config.model, model_dir)
    bert_config = None
    if not config.run.check_data:
        bert_config = model_files.load_bert_config(config.model, len(tokenizer.vocab), segments=1)
    paths = split_files(data)
    layout = layout_of(data)
    run_folder.require_other_files(
        config.run, PREDICTIONS_FILE, lambda columns: [outputs.objects_beside(columns)], paths.values()
    )
    tags, scheme = choose_tags(data, layout, paths, model_dir)
    plain = scheme == "plain"
    if plain:
        layout = layout._replace(tag_scheme="plain")
        if data.constrained_decoding:
            raise UserError("--constrained_decoding: these tags mark no entities. Leave it out.")
    weights = None
    if data.class_weights and not config.run.check_data:
        sentences = formats.read_sentences(paths["train"], layout, tags, True, BadLines(data.skip_bad_lines))
        weights = tag_lists.tag_weights(data.class_weights, tags, sentences)
    return TaggingInputs(
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
        class_weights=weights,
        loss_form=LossForm(config.run.plan.label_smoothing, config.run.plan.focal_gamma),
    )


def with_units(config: TaggingConfig) -> TaggingConfig:
    """The configuration with text_units decided, by a file if the command says auto."""
    data = config.data
    if data.text_units != "auto":
        return config
    known = [path for path in (data.train_file, data.dev_file, data.test_file, data.predict_file) if path is not None]
    units = formats.units_of(known[0], layout_of(data))
    return dataclasses.replace(config, data=dataclasses.replace(data, text_units=units))


def layout_of(data: TaggingDataConfig) -> Layout:
    names = [name for name in Layout._fields if name != "tag_names"]
    layout = Layout(**{name: getattr(data, name) for name in names})
    paths = [path for path in (data.train_file, data.dev_file, data.test_file, data.predict_file) if path is not None]
    return with_tag_names(layout, data.tags_file, paths)


def with_tag_names(layout: Layout, tags_file: Optional[str], paths: Sequence[str]) -> Layout:
    """The layout with what numbers in place of tags mean, if a file may have them."""
    if tags_file and any(os.path.isfile(path) and formats.format_of(path, layout) == "tokens" for path in paths):
        return layout._replace(tag_names=tag_lists.names_in(tags_file, layout.encoding))
    return layout


def head_of(data: TaggingDataConfig) -> TaggingHead:
    kind = HEADS[data.head]
    return TaggingHead(
        crf=kind.crf,
        lstm_layers=data.lstm_layers if kind.recurrent else 0,
        lstm_size=data.lstm_size,
        lstm_cell=data.lstm_cell,
    )


def notes_on_rates(head: TaggingHead, lr_multipliers: Sequence[Tuple[str, float]]) -> Dict[str, str]:
    """A line of the plan that warns of a head for which the encoder's learning rate is too low."""
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
        if path is not None:
            formats.require_path(flag, path)
            paths[split] = path
    return paths


def choose_tags(
    data: TaggingDataConfig, layout: Layout, paths: Dict[str, str], model_dir: Optional[str]
) -> Tuple[List[str], str]:
    """(tags in id order, bio or plain): those of the model in model_dir, else of --tags_file, else of a file."""
    saved = model_files.saved_labels(model_dir, "tag_scheme")
    given = None
    if data.tags_file:
        given = tag_lists.read_tags_file(data.tags_file, layout.tag_scheme, data.encoding)
    if saved is not None:
        if given is not None and given != saved[0]:
            known = ", ".join(saved[0])
            raise UserError("--tags_file: the model in {} knows {}. Leave the flag out.".format(model_dir, known))
        return saved[0], saved[1] or scheme_of_tags(saved[0])
    if model_dir and given is None:
        raise UserError("{}: lacks {}. Pass --tags_file.".format(model_dir, model_files.LABELS_FILE))
    if given is None:
        source = next(paths[split] for split in ("train", "dev", "test") if split in paths)
        given = tag_lists.find_tags(source, layout, BadLines(data.skip_bad_lines))
    return given, "plain" if layout.tag_scheme == "plain" else scheme_of_tags(given)


def scheme_of_tags(tags: Sequence[str]) -> str:
    return "bio" if all(map(tag_schemes.is_tag, tags)) else "plain"
