"""Classification and regression of sentences and pairs as a Task: reader, features, model, head and scores."""

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

import modeling

from ...base import files
from ...base.compute import Compute
from .. import heads, metrics
from ..reading import text_files
from ..task import NO_LABEL, BadLines, Column, Facts, Feature, Outputs, Predictions, Task, hash_of_text
from .features import encode_pairs
from .processor import DataProcessor, InputExample

# Fingerprinted: raise when the same text gives other features.
FEATURES = 2


class LabelType(NamedTuple):
    """How labels become numbers, and predictions become labels. L labels · B batch · N examples of a split."""

    column: Callable[[int], Column]  # L → the column of a record
    numbers: Callable[[Any, Dict[str, int]], List[Any]]  # an example's label, label → id → the column's numbers
    # logits [B, L], gold, class weights [L] or None → loss [B], weight [B], {prediction name: [B, …]}
    outputs: Callable[[tf.Tensor, tf.Tensor, Optional[Sequence[float]]], Tuple[tf.Tensor, tf.Tensor, Dict[str, Any]]]
    predicted: Callable[[Predictions], np.ndarray]  # [N] label ids or scores; [N, L] booleans for several labels
    shown: Callable[[Any, Sequence[str]], str]  # an element of `predicted`, labels → the text in prediction files


def _single_outputs(logits: tf.Tensor, gold: tf.Tensor, class_weights: Optional[Sequence[float]]) -> Any:
    loss, probabilities = heads.softmax_cross_entropy(logits, gold)
    weight = tf.ones_like(loss)
    if class_weights is not None:
        weight = tf.gather(tf.constant(class_weights, tf.float32), gold)
    return loss * weight, weight, {"probabilities": probabilities}


def _multi_outputs(logits: tf.Tensor, gold: tf.Tensor, class_weights: Optional[Sequence[float]]) -> Any:
    loss, probabilities = heads.sigmoid_cross_entropy(logits, gold, class_weights)
    return loss, tf.ones_like(loss), {"probabilities": probabilities}


def _regression_outputs(logits: tf.Tensor, gold: tf.Tensor, class_weights: Optional[Sequence[float]]) -> Any:
    loss = heads.squared_error(logits, gold)
    return loss, tf.ones_like(loss), {"score": tf.squeeze(logits, axis=-1)}


LABEL_TYPES: Dict[str, LabelType] = {
    "single": LabelType(
        column=lambda labels: Column("int64"),
        numbers=lambda label, ids: [ids[label]],
        outputs=_single_outputs,
        predicted=lambda predictions: np.argmax(np.array(predictions["probabilities"]), axis=-1),
        shown=lambda label_id, labels: labels[label_id],
    ),
    "multi": LabelType(
        column=lambda labels: Column("float32", size=labels),
        numbers=lambda label, ids: [float(name in label) for name in ids],
        outputs=_multi_outputs,
        predicted=lambda predictions: np.array(predictions["probabilities"]) >= 0.5,
        shown=lambda chosen, labels: ",".join(label for label, yes in zip(labels, chosen) if yes),
    ),
    "regression": LabelType(
        column=lambda labels: Column("float32"),
        numbers=lambda label, ids: [float(label)],
        outputs=_regression_outputs,
        predicted=lambda predictions: np.array(predictions["score"]),
        shown=lambda score, labels: "{:.4f}".format(score),
    ),
}


class TaskInputs(NamedTuple):
    """What a classification task is assembled from.

    files: split → path. tokenizer: encode, vocab and unk_id. vocab_fingerprint identifies the tokenizer.
    class_weights: [L] in label order; only training uses them.
    """

    processor: DataProcessor
    files: Dict[str, str]
    labels: Sequence[str]
    tokenizer: Any
    vocab_fingerprint: str
    bert_config: Optional[modeling.BertConfig]  # None if the data is only checked
    max_seq_length: int
    class_weights: Optional[Sequence[float]] = None
    skip_bad_lines: int = 0


def classification_task(inputs: TaskInputs) -> Task:
    """A Task that learns from [CLS], in the way of the processor's label_type.

    single: softmax over `labels`. multi: a sigmoid for each label, which is predicted from 0.5 on. regression: squared
    error of one number.
    """
    label_type = LABEL_TYPES[inputs.processor.label_type]

    def read(split: str, bad_lines: BadLines) -> Any:
        return inputs.processor.read_examples(inputs.files[split], split, bad_lines)

    def featurize(examples: Sequence[InputExample]) -> List[Tuple[Feature, Facts]]:
        return _featurize(inputs, examples)

    def fingerprint(split: str) -> Dict[str, Any]:
        encoding = inputs.processor.encoding
        return {
            "features": FEATURES,
            "task": inputs.processor.identity(),
            "source": files.sha256_of_file(inputs.files[split]),
            "format": text_files.ending_of(inputs.files[split]),
            "vocabulary": inputs.vocab_fingerprint,
            "max_seq_length": inputs.max_seq_length,
            "labels": list(inputs.labels),
            **({} if encoding == text_files.AUTO else {"encoding": encoding}),
        }

    def build(batch: Dict[str, Any], is_training: bool, compute: Compute) -> Outputs:
        return _build(inputs, batch, is_training, compute)

    def score(split: str, predictions: Predictions) -> Dict[str, float]:
        predicted = label_type.predicted(predictions)
        gold = np.array(predictions["label_ids"]).astype(predicted.dtype)
        return {name: float(metrics.METRICS[name](predicted, gold)) for name in inputs.processor.metrics}

    return Task(
        name=type(inputs.processor).__name__,
        columns={
            "input_ids": Column("int64", per_token=True),
            "segment_ids": Column("int64", per_token=True),
            "label_ids": label_type.column(len(inputs.labels)),
        },
        files=inputs.files,
        read=read,
        featurize=featurize,
        fingerprint=fingerprint,
        build=build,
        score=score,
        labels=tuple(inputs.labels),
        best_metric=inputs.processor.best_metric,
        head_variables=("output_weights", "output_bias"),
        max_tokens=inputs.max_seq_length,
        skip_bad_lines=inputs.skip_bad_lines,
    )


def _featurize(inputs: TaskInputs, examples: Sequence[InputExample]) -> List[Tuple[Feature, Facts]]:
    label_type = LABEL_TYPES[inputs.processor.label_type]
    ids = {label: number for number, label in enumerate(inputs.labels)}
    features = []
    for example, encoded in zip(examples, encode_pairs(inputs.tokenizer, examples, inputs.max_seq_length)):
        if example.label is None:  # an unlabelled file: the numbers are not read
            numbers, label = [0] * label_type.column(len(ids)).size, NO_LABEL
        else:
            numbers = label_type.numbers(example.label, ids)
            label = numbers[0] if isinstance(numbers[0], int) else 1 << 31 | hash_of_text(repr(numbers)) >> 33
        feature = {"input_ids": encoded.input_ids, "segment_ids": encoded.segment_ids, "label_ids": numbers}
        text = hash_of_text("{}\0{}".format(example.text_a, example.text_b or ""))
        features.append((feature, Facts(example.line, text, label, encoded.tokens, encoded.pieces, encoded.unknown)))
    return features


def _build(inputs: TaskInputs, batch: Dict[str, Any], is_training: bool, compute: Compute) -> Outputs:
    assert inputs.bert_config is not None
    model = modeling.BertModel(
        config=inputs.bert_config,
        is_training=is_training,
        input_ids=batch["input_ids"],
        input_mask=batch["input_mask"],
        token_type_ids=batch["segment_ids"],
        scope="bert",  # by name, so that the inference tower finds the training tower's variables
        first_token_only=compute.padding_free,
        compute=compute,
    )
    # Upstream's head always uses a dropout rate of 0.1, which is that of the published configurations too.
    dropout_prob = inputs.bert_config.hidden_dropout_prob if is_training else 0.0
    logits = heads.classification_logits(model.get_pooled_output(), max(len(inputs.labels), 1), dropout_prob)
    gold = batch["label_ids"]
    label_type = LABEL_TYPES[inputs.processor.label_type]
    loss, weight, predictions = label_type.outputs(logits, gold, inputs.class_weights if is_training else None)
    return Outputs(loss=loss, weight=weight, predictions=dict(predictions, label_ids=gold))


def prediction_table(
    label_type: str, labels: Sequence[str], predictions: Predictions, file_ids: Sequence[str]
) -> Tuple[List[str], List[List[str]]]:
    """(header, rows) of the prediction file; `file_ids` are the examples' ids in file order."""
    kind = LABEL_TYPES[label_type]
    rows = [[i, kind.shown(value, labels)] for i, value in zip(file_ids, kind.predicted(predictions))]
    for row, probabilities in zip(rows, predictions.get("probabilities", [])):
        row += ["{:.6f}".format(probability) for probability in probabilities]
    return ["id", "prediction"] + list(labels), rows


def confusion(label_type: str, labels: Sequence[str], predictions: Predictions) -> List[List[int]]:
    """[labels, labels] counts; rows are gold labels. Empty unless each example has exactly one label."""
    if label_type != "single":
        return []
    predicted = LABEL_TYPES[label_type].predicted(predictions)
    return metrics.confusion_matrix(predicted, np.array(predictions["label_ids"]), len(labels)).tolist()


def submission(label_type: str, labels: Sequence[str], predictions: Predictions) -> List[str]:
    """The predictions as GLUE's evaluation server wants them: classes, or scores within 0 to 5."""
    predicted = LABEL_TYPES[label_type].predicted(predictions)
    if label_type == "regression":
        return ["{:.3f}".format(value) for value in np.clip(predicted, 0, 5)]
    return [labels[value] for value in predicted]


def balanced_weights(label_type: str, labels: Sequence[str], counts: Dict[str, int], examples: int) -> List[float]:
    """[L] weights that make up for unequal counts. Each label has a positive example, for multi also a negative one.

    single: N / (L · count), scikit-learn's "balanced": each class has the same share of the loss. multi: negatives /
    positives of each label: its ones weigh as much as its zeros.
    """
    if label_type == "multi":
        return [(examples - counts[label]) / counts[label] for label in labels]
    return [examples / (len(labels) * counts[label]) for label in labels]
