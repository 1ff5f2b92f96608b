"""The job of run_pretraining."""

import dataclasses
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from ...base.errors import UserError
from ...interchange import in_use
from ...training import run
from ...training.job import Job
from ...training.manifest import CONFIG_FILE
from .. import model_files
from ..task import Predictions
from . import assembly, examples
from .assembly import PretrainingInputs
from .training_config import PretrainingConfig


def start(config: PretrainingConfig, given_flags: List[str], notes: Dict[str, str]) -> None:
    """Does what the command says. given_flags: lines of flags.txt. notes: further lines of the plan."""
    with in_use.readable(config, head="cls/predictions/output_bias") as usable:
        run.start(usable.run, lambda model_dir: make_job(usable, model_dir, given_flags, notes))


def make_job(config: PretrainingConfig, model_dir: Optional[str], given_flags: List[str], notes: Dict[str, str]) -> Job:
    """The task with its files."""
    inputs = inputs_of(config, model_dir)
    # What lines of training text are, so are those that the folder evaluates later.
    settled = dataclasses.replace(config, data=dataclasses.replace(config.data, text_form=inputs.form))

    def describe_evaluation(split: str, predictions: Predictions) -> Tuple[Dict[str, Any], str]:
        return {"masked_pieces": int(round(float(np.sum(np.array(predictions["masked_lm"])[:, 2]))))}, ""

    def write_predictions(split: str, predictions: Predictions, step: int, path: str, folder: str) -> None:
        raise AssertionError("run_pretraining predicts nothing.")

    return Job(
        task=assembly.pretraining_task(inputs),
        metrics=assembly.METRICS if config.data.use_next_sentence_task else assembly.METRICS[:1],
        identity={"task": "pretraining", "bert_config": inputs.bert_config and inputs.bert_config.to_dict()},
        files=model_files.given_files(config.model),
        documents={CONFIG_FILE: dataclasses.asdict(settled)},
        flags=given_flags,
        predictions_file="",
        describe_evaluation=describe_evaluation,
        write_predictions=write_predictions,
        notes=dict(
            notes, **_notes_on_text(inputs, config.run.engine.tpu.use_tpu), **model_files.note_unread_keys(config.model)
        ),
        eval_prefix="",
    )


def inputs_of(config: PretrainingConfig, model_dir: Optional[str]) -> PretrainingInputs:
    """What the task is assembled from, files checked."""
    data, model = config.data, config.model
    records = {split: any(map(examples.is_record_file, paths)) for split, paths in data.files.items()}
    pieces, vocab_fingerprint, vocab_size = None, "", 0
    given = model.vocab_file or model.spm_model_file
    if given:
        tokenizer, vocab_fingerprint = model_files.load_tokenizer(model, model_dir)
        vocab_size = len(tokenizer.vocab)
        pieces = examples.TextPieces(tokenizer, given)
    texts = [split for split in data.files if not records[split]]
    form = data.text_form
    if texts:
        if not given:
            raise UserError("--vocab_file is needed: {} is text, not records.".format(data.files[texts[0]][0]))
        form = examples.form_of(data.files[texts[0]]) if form == "auto" else form
        if data.use_next_sentence_task:
            assembly.require_sentences(form, data.files[texts[0]][0])
    bert_config = None
    if not config.run.check_data:
        segments = 2 if data.use_next_sentence_task else 1
        bert_config = model_files.load_bert_config(model, vocab_size, segments)
    return PretrainingInputs(data, records, form, pieces, vocab_fingerprint, bert_config)


def _notes_on_text(inputs: PretrainingInputs, use_tpu: bool) -> Dict[str, str]:
    if inputs.records.get("train", True):
        return {}
    whole = "an empty line is between documents" if inputs.form == "sentence" else "no empty line is between lines"
    by = "--text_form" if inputs.data.text_form != "auto" else whole
    masks = "the same in every epoch: a TPU reads the record file itself" if use_tpu else "new in every epoch"
    return {
        "text": "a {} a line ({})".format(inputs.form, by),
        "masks": masks + (", of whole words" if inputs.data.do_whole_word_mask else ""),
    }
