"""The job of run_classifier: the task with its labels and files, and what is written of its predictions."""

import dataclasses
import os
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from ...base.errors import UserError
from ...interchange import in_use
from ...training import run, run_folder
from ...training.job import Job
from ...training.manifest import CONFIG_FILE
from ...training.run_files import Evaluated
from .. import model_files
from ..class_weights import given_weights
from ..losses import LossForm
from ..model_files import THRESHOLD_FILE
from ..reading import text_files
from ..task import BadLines, Predictions
from . import assembly as classification
from . import outputs
from .assembly import TaskInputs
from .config import ClassifierConfig, ClassifierDataConfig
from .long_texts import LongTexts
from .processor import DataProcessor
from .registry import PROCESSORS
from .scores import Threshold

PREDICTIONS_FILE = "predictions.tsv"


def start(config: ClassifierConfig, given_flags: List[str], notes: Dict[str, str]) -> None:
    """Does what the command says. given_flags: lines of flags.txt. notes: further lines of the plan."""
    if config.data.predict_file != "-":
        with in_use.readable(config) as usable:
            run.start(usable.run, lambda model_dir: make_job(usable, model_dir, given_flags, notes))
        return
    with run.standard_input(
        lambda path: text_files.ending_for(path, config.data.text_columns, config.data.encoding)
    ) as path:
        data = dataclasses.replace(config.data, predict_file=path)
        start(dataclasses.replace(config, data=data), given_flags, notes)


def make_job(config: ClassifierConfig, model_dir: Optional[str], given_flags: List[str], notes: Dict[str, str]) -> Job:
    """The task with its labels: those saved in model_dir if it is given, else those of the data."""
    data, inputs = config.data, inputs_of(config, model_dir)
    processor, long_text, weights = inputs.processor, inputs.long_text, inputs.class_weights
    task, scorer = classification.classification_task(inputs), classification.scorer_of(inputs)

    def describe_evaluation(split: str, predictions: Predictions) -> Tuple[Dict[str, Any], str]:
        return outputs.describe(scorer, scorer.scored(split, predictions))

    def evaluated(split: str, predictions: Predictions, lines: Sequence[int]) -> Iterator[Evaluated]:
        return outputs.evaluated(task, scorer, scorer.scored(split, predictions), split, lines)

    def write_predictions(split: str, predictions: Predictions, step: int, path: str, folder: str) -> None:
        scored = scorer.scored(split, predictions)
        file_ids, labelled = outputs.ids_and_labelled(task, split)
        outputs.write(scorer, scored, file_ids, path, split)
        if data.predict_file is None:
            outputs.write_submission(scorer, scored, file_ids, processor, split, folder)
        if any(labelled):
            names = processor.metrics
            outputs.write_scores(scorer, names, scored.only(np.array(labelled)), step, task.files[split], folder)

    return Job(
        task=task,
        metrics=processor.metrics,
        identity={
            "task": data.task_name,
            "bert_config": inputs.bert_config and inputs.bert_config.to_dict(),
            "class_weights": weights,
            **({"window_pooling": long_text.pooling} if long_text.mode == "windows" else {}),
            **({} if data.multi_label_threshold == "0.5" else {"multi_label_threshold": data.multi_label_threshold}),
        },
        files=model_files.given_files(config.model),
        documents={
            model_files.LABELS_FILE: {"label_type": processor.label_type, "labels": list(task.labels)},
            CONFIG_FILE: dataclasses.asdict(config),
        },
        flags=given_flags,
        predictions_file=PREDICTIONS_FILE,
        describe_evaluation=describe_evaluation,
        write_predictions=write_predictions,
        evaluated=evaluated,
        settled=lambda: {THRESHOLD_FILE: {"threshold": scorer.threshold.value}} if scorer.threshold.tuned else {},
        notes=dict(notes, **model_files.note_unread_keys(config.model)),
    )


def inputs_of(config: ClassifierConfig, model_dir: Optional[str]) -> TaskInputs:
    """What the task is assembled from, files checked and labels read."""
    data = config.data
    tokenizer, vocab_fingerprint = model_files.load_tokenizer(config.model, model_dir)
    bert_config = None
    if not config.run.check_data:
        bert_config = model_files.load_bert_config(config.model, len(tokenizer.vocab), segments=2)
    assert data.task_name is not None
    processor = PROCESSORS[data.task_name].from_options(dataclasses.asdict(data))
    processor.encoding = data.encoding
    paths = split_files(data, processor)
    run_folder.require_other_files(config.run, PREDICTIONS_FILE, lambda path: [], paths.values())
    labels = choose_labels(data, processor, paths, model_dir, config.run.check_data)
    if labels is not None:
        processor = processor.with_labels(labels)
    weights = None
    if data.class_weights and not config.run.check_data:
        weights = class_weights(data, processor, paths)
    return TaskInputs(
        processor=processor,
        files=paths,
        labels=labels or [],
        tokenizer=tokenizer,
        vocab_fingerprint=vocab_fingerprint,
        bert_config=bert_config,
        max_seq_length=config.model.max_seq_length,
        class_weights=weights,
        skip_bad_lines=data.skip_bad_lines,
        long_text=LongTexts(data.long_text, data.window_stride, data.window_pooling),
        threshold=choose_threshold(data, None if config.run.check_data else model_dir),
        loss_form=LossForm(config.run.plan.label_smoothing, config.run.plan.focal_gamma),
    )


def choose_labels(
    data: ClassifierDataConfig,
    processor: DataProcessor,
    paths: Dict[str, str],
    model_dir: Optional[str],
    check_only: bool,
) -> Optional[List[str]]:
    """The labels in id order; None if the data is only checked and has no labels.

    The labels of the model in model_dir come first, then those of the task or of --labels, then those of the data.
    """
    saved_labels = model_files.saved_labels(model_dir, "label_type")
    given = processor.known_labels()
    if saved_labels is not None:
        saved, label_type = saved_labels
        if label_type not in ("", processor.label_type):
            raise UserError(
                "{}: the model was trained with label_type={}, and the command's task has {}. Pass --label_type={}, or "
                "name the task of its training.".format(model_dir, label_type, processor.label_type, label_type)
            )
        if given is not None and given != saved:
            raise UserError(
                "{}: the model predicts {}; the command asks for {}. Name the task and labels of its training.".format(
                    model_dir, ", ".join(saved) or "numbers", ", ".join(given) or "numbers"
                )
            )
        return saved
    if given is not None:
        return given
    if model_dir:
        raise UserError(
            "{}: lacks {}. Pass --labels, in the order of its training.".format(model_dir, model_files.LABELS_FILE)
        )
    for split in ("train", "dev") if check_only else ("train",):
        if split in paths and (os.path.exists(paths[split]) or not check_only):
            return processor.find_labels(paths[split], BadLines(data.skip_bad_lines))
    return None


def choose_threshold(data: ClassifierDataConfig, model_dir: Optional[str]) -> Threshold:
    """That of --multi_label_threshold, or the one that the model in model_dir was saved with."""
    if data.multi_label_threshold == "tune":
        return Threshold(tuned=True)
    if data.multi_label_threshold != "saved":
        return Threshold(float(data.multi_label_threshold))
    if model_dir is None:
        return Threshold()
    remedy = (
        "It is tuned at the end of training: give the command that trained again, or a number with "
        "--multi_label_threshold."
    )
    return Threshold(model_files.saved_threshold(model_dir, remedy))


def class_weights(data: ClassifierDataConfig, processor: DataProcessor, paths: Dict[str, str]) -> List[float]:
    """The weights of --class_weights in label order."""
    labels = processor.get_labels()
    if data.class_weights == ("balanced",):
        counts, examples = processor.count_labels(paths["train"], BadLines(data.skip_bad_lines))
        for label in labels:
            if counts[label] in (0, examples):
                which = "every" if counts[label] else "no"
                raise UserError("--class_weights=balanced: {} training example is {}.".format(which, label))
        return classification.balanced_weights(processor.label_type, labels, counts, examples)
    return given_weights(data.class_weights, labels, "label")


def split_files(data: ClassifierDataConfig, processor: DataProcessor) -> Dict[str, str]:
    """split → path, for the splits of data_dir, and the test split for predict_file."""
    paths = {}
    if data.data_dir is not None:
        if not os.path.isdir(data.data_dir):
            raise UserError("--data_dir={}: no such folder. Check the path.".format(data.data_dir))
        paths = {split: processor.file_path(data.data_dir, split) for split in processor.splits}
    if data.predict_file is not None:
        paths = {split: path for split, path in paths.items() if not split.startswith("test")}
        paths["test"] = data.predict_file
    return paths
