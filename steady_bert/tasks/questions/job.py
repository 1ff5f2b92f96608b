"""The job of run_squad: the task with its files, and what is written of its answers."""

import dataclasses
import itertools
import os
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from ...base import json_files
from ...base.errors import UserError
from ...interchange import in_use
from ...training import run, run_folder
from ...training.job import Job
from ...training.manifest import CONFIG_FILE
from ...training.run_files import Evaluated
from .. import model_files
from ..model_files import THRESHOLD_FILE, RunConfigFile
from ..task import Predictions
from . import assembly as questions
from . import outputs, scores, squad_files
from .answers import Rules
from .assembly import QuestionsInputs
from .config import QuestionsConfig, QuestionsDataConfig
from .features import Lengths

_HEAD = "answers"  # the key of labels.json that says which script trained
_LOOKED_AT = 1000  # answers by which --score_by=auto decides


def start(config: QuestionsConfig, given_flags: List[str], notes: Dict[str, str]) -> None:
    """Does what the command says. given_flags: lines of flags.txt. notes: further lines of the plan."""
    if config.data.predict_file != "-":
        with in_use.readable(config, head="cls/squad/output_weights") as usable:
            run.start(usable.run, lambda model_dir: make_job(usable, model_dir, given_flags, notes))
        return
    with run.standard_input(lambda path: ".json") as path:
        data = dataclasses.replace(config.data, predict_file=path)
        start(dataclasses.replace(config, data=data), given_flags, notes)


def make_job(config: QuestionsConfig, model_dir: Optional[str], given_flags: List[str], notes: Dict[str, str]) -> Job:
    """The task, with the threshold that was saved in model_dir if it is given."""
    inputs = inputs_of(config, model_dir)
    reader = questions.Reader(inputs)

    def describe_evaluation(split: str, predictions: Predictions) -> Tuple[Dict[str, Any], str]:
        return outputs.describe(reader, reader.asked(split, predictions))

    def evaluated(split: str, predictions: Predictions, lines: Sequence[int]) -> Iterator[Evaluated]:
        return outputs.evaluated(reader, reader.answered(split, predictions, texts=1))

    def write_predictions(split: str, predictions: Predictions, step: int, path: str, folder: str) -> None:
        answered = list(reader.answered(split, predictions))
        outputs.write(reader.rules, answered, path)
        outputs.write_scores(step, reader, split, answered, folder)

    return Job(
        task=questions.questions_task(inputs, reader),
        metrics=("f1", "exact_match"),
        identity={
            "task": "questions",
            "bert_config": inputs.bert_config and inputs.bert_config.to_dict(),
            "rules": list(inputs.rules),
            "tune_null_threshold": inputs.tune_threshold,
            **({"score_by": inputs.score_by} if config.run.do_eval else {}),
        },
        files=model_files.given_files(config.model),
        documents={model_files.LABELS_FILE: {_HEAD: "spans", "labels": []}, CONFIG_FILE: dataclasses.asdict(config)},
        flags=given_flags,
        predictions_file=outputs.PREDICTIONS_FILE,
        describe_evaluation=describe_evaluation,
        write_predictions=write_predictions,
        evaluated=evaluated,
        notes=dict(notes, **model_files.note_unread_keys(config.model)),
        settled=lambda: {THRESHOLD_FILE: {"threshold": reader.null_threshold}} if inputs.tune_threshold else {},
    )


def inputs_of(config: QuestionsConfig, model_dir: Optional[str]) -> QuestionsInputs:
    """What the task is assembled from, files checked."""
    data, max_seq_length = config.data, config.model.max_seq_length
    tokenizer, vocab_fingerprint = model_files.load_tokenizer(config.model, model_dir)
    model_files.saved_labels(model_dir, _HEAD)  # raises for the folder of another script
    bert_config = None
    if not config.run.check_data:
        bert_config = model_files.load_bert_config(config.model, len(tokenizer.vocab), segments=2)
    paths = split_files(data)
    run_folder.require_other_files(config.run, outputs.PREDICTIONS_FILE, outputs.paths_beside, paths.values())
    return QuestionsInputs(
        files=paths,
        tokenizer=tokenizer,
        vocab_fingerprint=vocab_fingerprint,
        do_lower_case=config.model.do_lower_case,
        bert_config=bert_config,
        lengths=Lengths(max_seq_length, data.doc_stride, data.max_query_length),
        rules=Rules(
            data.n_best_size, data.max_answer_length, data.version_2_with_negative, null_threshold(data, model_dir)
        ),
        tune_threshold=data.tune_null_threshold,
        score_by=score_by(data, used_of(config, paths)) if data.score_by == "auto" else data.score_by,
        encoding=data.encoding,
        skip_bad_lines=data.skip_bad_lines,
        verbose=data.verbose_logging,
    )


def split_files(data: QuestionsDataConfig) -> Dict[str, str]:
    """split → path, for the splits that the flags name. Raises UserError for a file that is not there."""
    paths = {}
    for split, flag in (("train", "train_file"), ("dev", "dev_file"), ("test", "predict_file")):
        path = getattr(data, flag)
        if path is not None:
            if not os.path.isfile(path):
                raise UserError("--{}={}: there is no such file. Check the path.".format(flag, path))
            paths[split] = path
    return paths


def used_of(config: QuestionsConfig, paths: Dict[str, str]) -> List[str]:
    """The files that the command reads, those that it evaluates first."""
    run = config.run
    wanted = {"dev": run.do_eval, "train": run.do_train or run.dry_run, "test": run.do_predict}
    return [paths[split] for split in wanted if split in paths and (wanted[split] or run.check_data)]


def null_threshold(data: QuestionsDataConfig, model_dir: Optional[str]) -> float:
    """That of --null_score_diff_threshold, else the one that the model in model_dir was saved with, else 0."""
    if data.null_score_diff_threshold is not None:
        return data.null_score_diff_threshold
    if model_dir is None or not data.version_2_with_negative or data.tune_null_threshold:
        return 0.0
    path = os.path.join(model_dir, CONFIG_FILE)
    tuned = os.path.lexists(path) and json_files.read(path, RunConfigFile)["data"].get("tune_null_threshold")
    if not tuned and not os.path.lexists(os.path.join(model_dir, THRESHOLD_FILE)):
        return 0.0
    remedy = (
        "It is tuned at the end of training: give the command that trained again, or a number with "
        "--null_score_diff_threshold."
    )
    return model_files.saved_threshold(model_dir, remedy)


def score_by(data: QuestionsDataConfig, paths: Sequence[str]) -> str:
    """What F1 compares, by the first answers of the first file that has any."""
    of_files = (list(itertools.islice(squad_files.gold_texts(path, data.encoding), _LOOKED_AT)) for path in paths)
    return scores.scored_by(next(filter(None, of_files), []))
