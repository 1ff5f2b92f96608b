"""Sentence classification and regression as a Task: assembles reader, features, model, head and scores."""

import hashlib
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

import modeling
from tasks import heads, metrics
from tasks.classification_data import DataProcessor, InputExample
from tasks.classification_features import encode_pairs
from tasks.task import NO_LABEL, BadLines, Column, Facts, Feature, Outputs, Predictions, Task

# Fingerprinted: raise when the same text gives other features.
FEATURES = 2


class TaskInputs(NamedTuple):
    """What a classification task is assembled from.

    files: split → path. tokenizer: encode, vocab and unk_id. source_fingerprint(path) identifies a file's bytes;
    vocab_fingerprint identifies the tokenizer. class_weights: [L] in label order; training alone weighs.
    """

    processor: DataProcessor
    files: Dict[str, str]
    labels: Sequence[str]
    tokenizer: Any
    vocab_fingerprint: str
    source_fingerprint: Callable[[str], str]
    bert_config: Optional[modeling.BertConfig]  # None where the data alone is looked at
    max_seq_length: int
    class_weights: Optional[Sequence[float]] = None
    skip_bad_lines: int = 0


def classification_task(inputs: TaskInputs) -> Task:
    """A Task that learns from [CLS], by the processor's label_type.

    single: softmax over `labels`; multi: a sigmoid a label, predicted from 0.5 on; regression: squared error on one
    number.
    """
    label_type = inputs.processor.label_type
    label_ids = {label: number for number, label in enumerate(inputs.labels)}
    label_column = {
        "single": Column("int64"),
        "multi": Column("float32", size=len(inputs.labels)),
        "regression": Column("float32"),
    }[label_type]
    columns = {
        "input_ids": Column("int64", per_token=True),
        "segment_ids": Column("int64", per_token=True),
        "label_ids": label_column,
    }

    def read(split: str, bad_lines: BadLines) -> Any:
        return inputs.processor.read_examples(inputs.files[split], split, bad_lines)

    def label_numbers(label: Any) -> List[Any]:
        if label is None:  # an unlabelled file: nothing reads the numbers
            return [0] * label_column.size
        if label_type == "multi":
            return [float(name in label) for name in inputs.labels]
        return [float(label) if label_type == "regression" else label_ids[label]]

    def featurize(examples: Sequence[InputExample]) -> List[Tuple[Feature, Facts]]:
        found = []
        for example, encoded in zip(examples, encode_pairs(inputs.tokenizer, examples, inputs.max_seq_length)):
            feature = {
                "input_ids": encoded.input_ids,
                "segment_ids": encoded.segment_ids,
                "label_ids": label_numbers(example.label),
            }
            text = _hash("{}\0{}".format(example.text_a, example.text_b or ""))
            if example.label is None:
                label = NO_LABEL
            elif label_type == "single":
                label = label_ids[example.label]
            else:
                label = 1 << 31 | _hash(repr(example.label)) >> 33
            found.append((feature, Facts(example.line, text, label, encoded.tokens, encoded.unknown)))
        return found

    def fingerprint(split: str) -> Dict[str, Any]:
        return {
            "features": FEATURES,
            "task": inputs.processor.identity(),
            "source": inputs.source_fingerprint(inputs.files[split]),
            "vocabulary": inputs.vocab_fingerprint,
            "max_seq_length": inputs.max_seq_length,
            "labels": list(inputs.labels),
        }

    def build(batch: Dict[str, Any], is_training: bool) -> Outputs:
        assert inputs.bert_config is not None
        model = modeling.BertModel(
            config=inputs.bert_config,
            is_training=is_training,
            input_ids=batch["input_ids"],
            input_mask=batch["input_mask"],
            token_type_ids=batch["segment_ids"],
            scope="bert",  # by name, so that the inference tower finds the training tower's variables
        )
        # Upstream's head drops out 0.1 whatever the configuration says; published configurations say 0.1 too.
        dropout_prob = inputs.bert_config.hidden_dropout_prob if is_training else 0.0
        width = 1 if label_type == "regression" else len(inputs.labels)
        logits = heads.classification_logits(model.get_pooled_output(), width, dropout_prob)
        class_weights = inputs.class_weights if is_training else None
        gold = batch["label_ids"]
        weight = None
        if label_type == "regression":
            loss = heads.squared_error(logits, gold)
            predictions = {"score": tf.squeeze(logits, axis=-1)}
        elif label_type == "multi":
            loss, probabilities = heads.sigmoid_cross_entropy(logits, gold, class_weights)
            predictions = {"probabilities": probabilities}
        else:
            loss, probabilities = heads.softmax_cross_entropy(logits, gold)
            predictions = {"probabilities": probabilities}
            if class_weights is not None:
                weight = tf.gather(tf.constant(class_weights, tf.float32), gold)
                loss = loss * weight
        weight = tf.ones_like(loss) if weight is None else weight
        return Outputs(loss=loss, weight=weight, predictions=dict(predictions, label_ids=gold))

    def score(split: str, predictions: Predictions) -> Dict[str, float]:
        gold = np.array(predictions["label_ids"])
        gold = gold > 0.5 if label_type == "multi" else gold
        found = predicted(label_type, predictions)
        return {name: float(metrics.METRICS[name](found, gold)) for name in inputs.processor.metrics}

    def prediction_table(
        split: str, predictions: Predictions, file_ids: Sequence[str]
    ) -> Tuple[List[str], List[List[str]]]:
        values = predicted(label_type, predictions)
        if label_type == "regression":
            return ["id", "prediction"], [[i, "{:.4f}".format(value)] for i, value in zip(file_ids, values)]
        if label_type == "multi":
            names = [",".join(np.array(inputs.labels)[row]) for row in values]
        else:
            names = [inputs.labels[value] for value in values]
        rows = [
            [i, name] + ["{:.6f}".format(probability) for probability in probabilities]
            for i, name, probabilities in zip(file_ids, names, predictions["probabilities"])
        ]
        return ["id", "prediction"] + list(inputs.labels), rows

    return Task(
        name=type(inputs.processor).__name__,
        columns=columns,
        files=inputs.files,
        read=read,
        featurize=featurize,
        fingerprint=fingerprint,
        build=build,
        score=score,
        prediction_table=prediction_table,
        labels=tuple(inputs.labels),
        best_metric=inputs.processor.best_metric,
        head_variables=("output_weights", "output_bias"),
        max_tokens=inputs.max_seq_length,
        skip_bad_lines=inputs.skip_bad_lines,
    )


def _hash(text: str) -> int:
    """64 bits."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def predicted(label_type: str, predictions: Predictions) -> np.ndarray:
    """[N] label ids or scores; [N, L] booleans where there may be several labels an example."""
    if label_type == "regression":
        return np.array(predictions["score"])
    probabilities = np.array(predictions["probabilities"])
    return probabilities >= 0.5 if label_type == "multi" else np.argmax(probabilities, axis=-1)


def confusion(label_type: str, labels: Sequence[str], predictions: Predictions) -> List[List[int]]:
    """[labels, labels] counts; rows are true labels. Empty where an example has not exactly one label."""
    if label_type != "single":
        return []
    gold = np.array(predictions["label_ids"])
    return metrics.confusion_matrix(predicted(label_type, predictions), gold, len(labels)).tolist()


def submission(label_type: str, labels: Sequence[str], predictions: Predictions) -> List[str]:
    """What GLUE's evaluation server wants of each example: the class, or a score within 0 to 5."""
    found = predicted(label_type, predictions)
    if label_type == "regression":
        return ["{:.3f}".format(value) for value in np.clip(found, 0, 5)]
    return [labels[value] for value in found]


def balanced_weights(label_type: str, labels: Sequence[str], counts: Dict[str, int], examples: int) -> List[float]:
    """Weights that give every class the same share of the loss, [L].

    single: N / (L · count), scikit-learn's "balanced"; multi: negatives / positives of each label.
    """
    if label_type == "multi":
        return [(examples - counts[label]) / counts[label] for label in labels]
    return [examples / (len(labels) * counts[label]) for label in labels]
