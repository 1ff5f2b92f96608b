"""The job of run_squad: the task with its files, and what is written of its answers."""

import dataclasses
import os
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from ...base import json_files
from ...base.errors import UserError
from ...interchange import in_use
from ...training import run
from ...training.job import Job
from ...training.manifest import CONFIG_FILE, THRESHOLD_FILE
from ...training.run_files import Evaluated
from .. import model_files
from ..task import BadLines, Predictions
from . import assembly as questions
from . import outputs, scores, squad_files
from .answers import Rules
from .assembly import QuestionsInputs
from .config import QuestionsConfig, QuestionsDataConfig
from .features import Lengths
from .squad_files import Wanted

_HEAD = "answers"  # the key of labels.json that says which script trained
_LOOKED_AT = 1000  # questions by whose answers --score_by=auto decides


def start(config: QuestionsConfig, given_flags: List[str], notes: Dict[str, str]) -> None:
    """Does what the command says. given_flags: lines of flags.txt. notes: further lines of the plan."""
    if config.data.predict_file != "-":
        with in_use.readable(config) as usable:
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
    require_other_files(config, paths)
    threshold = data.null_score_diff_threshold
    if threshold is None:
        threshold = saved_threshold(model_dir) if data.version_2_with_negative else 0.0
    return QuestionsInputs(
        files=paths,
        tokenizer=tokenizer,
        vocab_fingerprint=vocab_fingerprint,
        do_lower_case=config.model.do_lower_case,
        bert_config=bert_config,
        lengths=Lengths(max_seq_length, data.doc_stride, data.max_query_length),
        rules=Rules(data.n_best_size, data.max_answer_length, data.version_2_with_negative, threshold),
        tune_threshold=data.tune_null_threshold,
        score_by=score_by(data, paths) if data.score_by == "auto" else data.score_by,
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


def require_other_files(config: QuestionsConfig, paths: Dict[str, str]) -> None:
    """Raises UserError if answers would overwrite an input file, or each other."""
    if not config.run.do_predict:
        return
    target = config.run.predict_output
    if target is None:
        target = os.path.join(config.run.weights.output_dir or os.curdir, outputs.PREDICTIONS_FILE)
    written = [os.path.abspath(path) for path in (target, *outputs.paths_beside(target))]
    inputs = {os.path.abspath(path) for path in paths.values()}
    if len(set(written)) < len(written) or inputs & set(written):
        raise UserError(
            "Answers go to {}: one would overwrite an input file or another. Give another --predict_output.".format(
                ", ".join(written)
            )
        )


def saved_threshold(model_dir: Optional[str]) -> float:
    """The threshold that was tuned for a trained model; 0 if none was."""
    path = os.path.join(model_dir or "", THRESHOLD_FILE)
    if model_dir is None or not os.path.exists(path):
        return 0.0
    return float(json_files.read(path, _ThresholdFile, "Give --null_score_diff_threshold.")["threshold"])


@dataclasses.dataclass
class _ThresholdFile:
    threshold: float


def score_by(data: QuestionsDataConfig, paths: Dict[str, str]) -> str:
    """What F1 compares, by the answers of a file."""
    gold: List[str] = []
    for split in ("dev", "train", "test"):
        if split in paths and len(gold) < _LOOKED_AT:
            wanted = Wanted(answers=False, with_unanswerable=True)
            for question in squad_files.read(paths[split], wanted, BadLines(data.skip_bad_lines), data.encoding):
                gold += [answer.text for answer in question.answers]
                if len(gold) >= _LOOKED_AT:
                    break
    return scores.scored_by(gold)
