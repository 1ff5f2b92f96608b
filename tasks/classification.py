"""Sentence classification and regression as a Task: assembles reader, features, model, head and scores."""

from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

import modeling
from tasks import heads, metrics
from tasks.classification_data import DataProcessor, InputExample
from tasks.classification_features import encode_pair
from tasks.task import Column, Feature, Outputs, Predictions, Task

# Fingerprinted: raise when the same text gives other features.
FEATURES = 1


class TaskInputs(NamedTuple):
    """What a classification task is assembled from.

    files: split → path. tokenizer: tokenize and convert_tokens_to_ids. source_fingerprint(path) identifies a file's
    bytes; vocab_fingerprint identifies the tokenizer.
    """

    processor: DataProcessor
    files: Dict[str, str]
    labels: Sequence[str]
    tokenizer: Any
    vocab_fingerprint: str
    source_fingerprint: Callable[[str], str]
    bert_config: modeling.BertConfig
    max_seq_length: int


def classification_task(inputs: TaskInputs) -> Task:
    """A Task that learns from [CLS]: softmax over `labels`, or squared error on one number where there are none."""
    regression = inputs.processor.label_type == "regression"
    label_ids = {label: number for number, label in enumerate(inputs.labels)}
    columns = {
        "input_ids": Column("int64", per_token=True),
        "segment_ids": Column("int64", per_token=True),
        "label_ids": Column("float32" if regression else "int64"),
    }

    def read(split: str) -> Any:
        return inputs.processor.read_examples(inputs.files[split], split)

    def featurize(example: InputExample) -> Feature:
        encoded = encode_pair(inputs.tokenizer, example.text_a, example.text_b, inputs.max_seq_length)
        if example.label is None:  # an unlabelled file: nothing reads the number
            label: Any = 0
        else:
            label = float(example.label) if regression else label_ids[example.label]
        return {"input_ids": encoded.input_ids, "segment_ids": encoded.segment_ids, "label_ids": [label]}

    def fingerprint(split: str) -> Dict[str, Any]:
        return {
            "features": FEATURES,
            "task": type(inputs.processor).__name__,
            "source": inputs.source_fingerprint(inputs.files[split]),
            "vocabulary": inputs.vocab_fingerprint,
            "max_seq_length": inputs.max_seq_length,
            "labels": list(inputs.labels),
        }

    def build(batch: Dict[str, Any], is_training: bool) -> Outputs:
        model = modeling.BertModel(
            config=inputs.bert_config,
            is_training=is_training,
            input_ids=batch["input_ids"],
            input_mask=batch["input_mask"],
            token_type_ids=batch["segment_ids"],
            scope="bert",  # by name, so that the inference tower finds the training tower's variables
        )
        pooled = model.get_pooled_output()
        # Upstream's head drops out 0.1 whatever the configuration says; published configurations say 0.1 too.
        dropout_prob = inputs.bert_config.hidden_dropout_prob if is_training else 0.0
        logits = heads.classification_logits(pooled, 1 if regression else len(inputs.labels), dropout_prob)
        predictions = {"label_ids": batch["label_ids"]}
        if regression:
            loss = heads.squared_error(logits, batch["label_ids"])
            predictions["score"] = tf.squeeze(logits, axis=-1)
        else:
            loss, probabilities = heads.softmax_cross_entropy(logits, batch["label_ids"])
            predictions["probabilities"] = probabilities
        return Outputs(loss=loss, weight=tf.ones_like(loss), predictions=predictions)

    def predicted(predictions: Predictions) -> np.ndarray:
        if regression:
            return np.array(predictions["score"])
        return np.argmax(np.array(predictions["probabilities"]), axis=-1)

    def score(split: str, predictions: Predictions) -> Dict[str, float]:
        gold = np.array(predictions["label_ids"])
        return {name: float(metrics.METRICS[name](predicted(predictions), gold)) for name in inputs.processor.metrics}

    def prediction_table(
        split: str, predictions: Predictions, file_ids: Sequence[str]
    ) -> Tuple[List[str], List[List[str]]]:
        values = predicted(predictions)
        if regression:
            return ["id", "prediction"], [[i, "{:.4f}".format(value)] for i, value in zip(file_ids, values)]
        rows = [
            [i, inputs.labels[value]] + ["{:.6f}".format(probability) for probability in probabilities]
            for i, value, probabilities in zip(file_ids, values, predictions["probabilities"])
        ]
        return ["id", "prediction"] + list(inputs.labels), rows

    return Task(
        name=type(inputs.processor).__name__,
        columns=columns,
        read=read,
        featurize=featurize,
        fingerprint=fingerprint,
        build=build,
        score=score,
        prediction_table=prediction_table,
        labels=tuple(inputs.labels),
        best_metric=inputs.processor.best_metric,
        head_variables=("output_weights", "output_bias"),
    )


def confusion(task: Task, predictions: Predictions) -> List[List[int]]:
    """[labels, labels] counts; rows are true labels. Empty for regression."""
    if not task.labels:
        return []
    predicted = np.argmax(np.array(predictions["probabilities"]), axis=-1)
    return metrics.confusion_matrix(predicted, np.array(predictions["label_ids"]), len(task.labels)).tolist()
