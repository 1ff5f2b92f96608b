"""Pre-training as a Task: records or text, masks that differ by epoch, model, heads and scores."""

import math
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

import modeling

from ...base import files
from ...base.compute import Compute
from ...base.errors import UserError
from ..heads import encoder
from ..task import NO_LABEL, BadLines, Column, Facts, Feature, Outputs, Predictions, Task, hash_of_text
from . import examples, heads
from .examples import Bounds, Example, TextPieces
from .training_config import DOCUMENT, PretrainingInput

# Fingerprinted: raise when the same files give other features.
FEATURES = 1
_HEADS = ("cls/predictions/", "cls/seq_relationship/")


class PretrainingInputs(NamedTuple):
    """What a pre-training task is assembled from. pieces: None for records alone."""

    data: PretrainingInput
    records: Dict[str, bool]  # split → whether its files hold records
    form: str  # what a line of a text is
    pieces: Optional[TextPieces]
    vocab_fingerprint: str
    bert_config: Optional[modeling.BertConfig]  # None if the data is only checked


def pretraining_task(inputs: PretrainingInputs) -> Task:
    """A Task that learns masked words, and whether a segment follows another."""
    data = inputs.data

    def read(split: str, bad_lines: BadLines) -> Iterator[Example]:
        if inputs.records[split]:
            return examples.of_records(data.files[split], _bounds(inputs))
        assert inputs.pieces is not None
        return examples.of_text(data, split, inputs.form, inputs.pieces)

    def loss_weights(batch: Dict[str, Any]) -> tf.Tensor:
        return heads.loss_weights(batch, data.use_next_sentence_task)

    places = data.max_predictions_per_seq
    marked = data.segmentation_suffix is not None
    on_text = not inputs.records.get("train", True)
    return Task(
        name="pretraining",
        columns={
            "input_ids": Column("int64", per_token=True),
            "segment_ids": Column("int64", per_token=True),
            "masked_lm_positions": Column("int64", size=places),
            "masked_lm_ids": Column("int64", size=places),
            "masked_lm_weights": Column("float32", size=places),
            "next_sentence_labels": Column("int64"),
            **({"continues": Column("int64", per_token=True)} if marked else {}),
        },
        files={split: paths[0] for split, paths in data.files.items()},
        read=read,
        featurize=lambda of_split: [_featurized(inputs, example) for example in of_split],
        fingerprint=lambda split: _fingerprint(inputs, split),
        build=lambda batch, is_training, compute: _build(inputs, batch, is_training, compute),
        score=lambda split, predictions: scores(predictions),
        labels=(),
        best_metric="masked_lm_accuracy",
        head_variables=_HEADS if data.use_next_sentence_task else _HEADS[:1],
        unread_variables=() if data.use_next_sentence_task else ("bert/pooler/",),
        max_tokens=data.max_seq_length,
        loss_weights=loss_weights,
        in_epoch=MasksOfEpoch(inputs) if on_text else None,
    )


def _bounds(inputs: PretrainingInputs) -> Bounds:
    config, data = inputs.bert_config, inputs.data
    sizes = (config.vocab_size, config.type_vocab_size) if config is not None else (1 << 31, 1 << 31)
    return Bounds(data.max_seq_length, data.max_predictions_per_seq, *sizes, data.use_next_sentence_task)


def _fingerprint(inputs: PretrainingInputs, split: str) -> Dict[str, Any]:
    data = inputs.data
    known: Dict[str, Any] = {
        "features": FEATURES,
        "source": "+".join(map(files.sha256_of_file, data.files[split])),
        "max_seq_length": data.max_seq_length,
        "max_predictions_per_seq": data.max_predictions_per_seq,
        "next_sentence": data.use_next_sentence_task,
    }
    if inputs.records[split]:  # they were made elsewhere, and are checked when they are read
        known.update(bounds=list(_bounds(inputs)))
        return known
    known.update(
        form=inputs.form,
        vocabulary=inputs.vocab_fingerprint,
        masked_lm_prob=data.masked_lm_prob,
        whole_words=data.do_whole_word_mask,
    )
    if data.use_next_sentence_task:
        known.update(short_seq_prob=data.short_seq_prob)
    if data.segmentation_suffix is not None:
        known.update(
            words="+".join(files.sha256_of_file(path + data.segmentation_suffix) for path in data.files[split])
        )
    return known


# --- features ---------------------------------------------------------------------------------------------------------


def _featurized(inputs: PretrainingInputs, example: Example) -> Tuple[Feature, Facts]:
    missing = [0] * (inputs.data.max_predictions_per_seq - len(example.positions))
    feature: Feature = {
        "input_ids": list(example.input_ids),
        "segment_ids": list(example.segment_ids),
        "masked_lm_positions": [*example.positions, *missing],
        "masked_lm_ids": [*example.labels, *missing],
        "masked_lm_weights": [*example.weights, *missing],
        "next_sentence_labels": [example.is_random_next],
    }
    if inputs.data.segmentation_suffix is not None:
        feature["continues"] = list(example.continues) or [0] * len(example.input_ids)
    tokens = len(example.input_ids)
    specials = 3 if any(example.segment_ids) else 2
    # A text is the same whatever its masks; records that differ by their masks alone are wanted.
    text = hash_of_text(repr(list(example.unmasked) or [list(example.input_ids), list(example.labels)]))
    unknown = 0
    if inputs.pieces is not None:
        unk = inputs.pieces.tokenizer.unk_id
        unknown = list(example.unmasked or [*example.input_ids, *example.labels]).count(unk)
    return feature, Facts(example.line, text, NO_LABEL, tokens, max(tokens - specials, 0), unknown)


class MasksOfEpoch:
    """Task.in_epoch: each record with masks that depend on seed, epoch and the example's number alone."""

    def __init__(self, inputs: PretrainingInputs) -> None:
        assert inputs.pieces is not None
        self._data, self._pieces = inputs.data, inputs.pieces

    def __call__(self, records: List[bytes], numbers: np.ndarray, epochs: np.ndarray, seed: int) -> List[bytes]:
        keys = ["{}/{}/{}".format(seed, epoch, number) for epoch, number in zip(epochs, numbers)]
        return list(map(self._masked, records, keys))

    def _masked(self, record: bytes, key: str) -> bytes:
        example = tf.train.Example.FromString(record)
        columns = example.features.feature
        names = ("input_ids", "masked_lm_positions", "masked_lm_ids")
        ids, positions, labels = (columns[name].int64_list for name in names)
        weights = columns["masked_lm_weights"].float_list
        marks = list(columns["continues"].int64_list.value) if self._data.segmentation_suffix is not None else []
        count = sum(1 for weight in weights.value if weight)
        places = len(weights.value)
        drawn = examples.drawn_again(
            list(ids.value), positions.value[:count], labels.value[:count], marks, self._data, self._pieces, key
        )
        missing = [0] * (places - len(drawn[1]))
        for column, values in zip((ids, positions, labels), (drawn[0], drawn[1] + missing, drawn[2] + missing)):
            column.value[:] = values
        weights.value[:] = [1.0] * len(drawn[1]) + [0.0] * len(missing)
        return example.SerializeToString(deterministic=True)


# --- graph ------------------------------------------------------------------------------------------------------------


def _build(inputs: PretrainingInputs, batch: Dict[str, Any], is_training: bool, compute: Compute) -> Outputs:
    config, with_sentences = inputs.bert_config, inputs.data.use_next_sentence_task
    assert config is not None
    model = encoder(config, batch, is_training, compute)
    weights = heads.loss_weights(batch, with_sentences)
    loss, right = heads.masked_lm(config, model, batch, compute)
    losses, predictions = [loss], {"masked_lm": tf.stack([right, loss, weights[:, 0]], axis=1)}
    if with_sentences:
        loss, right = heads.next_sentence(config, model, batch, compute)
        losses.append(loss)
        predictions["next_sentence"] = tf.stack([right, loss], axis=1)
    return Outputs(tf.stack(losses, axis=1), weights, predictions)


# --- scores -----------------------------------------------------------------------------------------------------------

METRICS = ("masked_lm_accuracy", "next_sentence_accuracy")  # that may pick the best checkpoint: larger is better


def scores(predictions: Predictions) -> Dict[str, float]:
    """Masked words are counted one by one, by their weights; second segments example by example."""
    right, loss, weight = np.sum(np.array(predictions["masked_lm"], np.float64), axis=0)
    metrics = {"masked_lm_accuracy": right / weight, "masked_lm_loss": loss / weight}
    metrics["perplexity"] = math.exp(min(loss / weight, 700.0))
    if "next_sentence" in predictions:
        right, loss = np.mean(np.array(predictions["next_sentence"], np.float64), axis=0)
        metrics.update(next_sentence_accuracy=right, next_sentence_loss=loss)
    return {name: float(value) for name, value in metrics.items()}


def require_sentences(form: str, path: str) -> None:
    """Raises UserError for text in which no second segment can follow a first one. path: of the text."""
    if form == DOCUMENT:
        raise UserError(
            "{}: each line is a document, in which no sentence follows another. Give "
            "--use_next_sentence_task=false, or a sentence a line with an empty line between documents "
            "(--text_form=sentence).".format(path)
        )
