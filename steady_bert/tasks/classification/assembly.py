"""Classification and regression of sentences and pairs as a Task: reader, features, model, head and scores."""

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import tensorflow.compat.v1 as tf

import modeling

from ...base import files
from ...base.compute import Compute
from .. import heads, losses
from ..losses import CROSS_ENTROPY, Distributions, LossForm
from ..reading import text_files
from ..task import NO_LABEL, BadLines, Column, Facts, Feature, Outputs, Predictions, Task, hash_of_text
from .features import encode_pairs
from .long_texts import LongTexts
from .processor import DataProcessor, InputExample
from .scores import Scorer, Threshold

# Fingerprinted: raise when the same text gives other features.
FEATURES = 2


class LabelType(NamedTuple):
    """How labels become numbers, and logits a loss. L labels · B batch"""

    column: Callable[[int], Column]  # L → the column of a record
    numbers: Callable[[Any, Dict[str, int]], List[Any]]  # an example's label, label → id → the column's numbers
    # logits [B, L], gold, class weights [L] or None, form → loss [B], weight [B], {prediction name: [B, …]}
    outputs: Callable[
        [tf.Tensor, tf.Tensor, Optional[Sequence[float]], LossForm], Tuple[tf.Tensor, tf.Tensor, Dict[str, Any]]
    ]
    distributions: Optional[Callable[[tf.Tensor], Distributions]] = None  # of logits [B, L]; None: these are numbers


def _single_outputs(
    logits: tf.Tensor, gold: tf.Tensor, class_weights: Optional[Sequence[float]], form: LossForm
) -> Any:
    loss, probabilities = heads.softmax_cross_entropy(logits, gold, form)
    weight = tf.ones_like(loss)
    if class_weights is not None:
        weight = tf.gather(tf.constant(class_weights, tf.float32), gold)
    return loss * weight, weight, {"probabilities": probabilities}


def _multi_outputs(logits: tf.Tensor, gold: tf.Tensor, class_weights: Optional[Sequence[float]], form: LossForm) -> Any:
    loss, probabilities = heads.sigmoid_cross_entropy(logits, gold, class_weights, form)
    return loss, tf.ones_like(loss), {"probabilities": probabilities}


def _regression_outputs(
    logits: tf.Tensor, gold: tf.Tensor, class_weights: Optional[Sequence[float]], form: LossForm
) -> Any:
    loss = heads.squared_error(logits, gold)
    return loss, tf.ones_like(loss), {"score": tf.squeeze(logits, axis=-1)}


LABEL_TYPES: Dict[str, LabelType] = {
    "single": LabelType(
        column=lambda labels: Column("int64"),
        numbers=lambda label, ids: [ids[label]],
        outputs=_single_outputs,
        distributions=lambda logits: Distributions(logits, tf.ones_like(logits[:, 0])),
    ),
    "multi": LabelType(
        column=lambda labels: Column("float32", size=labels),
        numbers=lambda label, ids: [float(name in label) for name in ids],
        outputs=_multi_outputs,
        distributions=losses.of_labels,
    ),
    "regression": LabelType(
        column=lambda labels: Column("float32"),
        numbers=lambda label, ids: [float(label)],
        outputs=_regression_outputs,
    ),
}


class TaskInputs(NamedTuple):
    """What a classification task is assembled from.

    files: split → path. tokenizer: encode, vocab and unk_id. vocab_fingerprint identifies the tokenizer.
    class_weights: [L] in label order; only training uses them, as it does loss_form. long_text: what is done with texts
    that are too long.
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
    long_text: LongTexts = LongTexts()
    threshold: Optional[Threshold] = None  # None: 0.5
    loss_form: LossForm = CROSS_ENTROPY


def scorer_of(inputs: TaskInputs) -> Scorer:
    return Scorer(inputs.processor.label_type, inputs.labels, inputs.long_text, inputs.threshold or Threshold())


def classification_task(inputs: TaskInputs) -> Task:
    """A Task that learns from [CLS], in the way of the processor's label_type.

    single: softmax over `labels`. multi: a sigmoid for each label, which is predicted from 0.5 on. regression: squared
    error of one number.
    """
    label_type, scorer = LABEL_TYPES[inputs.processor.label_type], scorer_of(inputs)

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
            **_identity_of(inputs.long_text),
            **({"scored": True} if split.startswith("test") and inputs.processor.test_has_labels else {}),
        }

    def build(batch: Dict[str, Any], is_training: bool, compute: Compute) -> Outputs:
        return _build(inputs, batch, is_training, compute)

    def score(split: str, predictions: Predictions) -> Dict[str, float]:
        return scorer.metrics(inputs.processor.metrics, scorer.scored(split, predictions))

    windowed = inputs.long_text.mode == "windows"
    several = inputs.processor.label_type == "multi"
    return Task(
        name=type(inputs.processor).__name__,
        columns={
            "input_ids": Column("int64", per_token=True),
            "segment_ids": Column("int64", per_token=True),
            "label_ids": label_type.column(len(inputs.labels)),
            # A window's number in its text, from 0, and how many the text has.
            **({"window": Column("int64"), "windows": Column("int64")} if windowed else {}),
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
        long_text=inputs.long_text.mode,
        splits_examples=windowed,
        skip_bad_lines=inputs.skip_bad_lines,
        kinds=tuple(inputs.labels) if several else (),
        kinds_in=(lambda example: example.label or ()) if several else None,
    )


def _identity_of(long_text: LongTexts) -> Dict[str, Any]:
    """What the fingerprint says of long texts. Cutting was all that there was once, so it has no name there."""
    return {} if long_text.mode == "cut" else {"long_text": long_text.mode, "window_stride": long_text.stride}


def _featurize(inputs: TaskInputs, examples: Sequence[InputExample]) -> List[Tuple[Feature, Facts]]:
    label_type = LABEL_TYPES[inputs.processor.label_type]
    ids = {label: number for number, label in enumerate(inputs.labels)}
    windowed = inputs.long_text.mode == "windows"
    features = []
    for encoded in encode_pairs(inputs.tokenizer, examples, inputs.max_seq_length, inputs.long_text):
        example = examples[encoded.pair]
        if example.label is None:  # an unlabelled file: the numbers are not read
            numbers, label = [0] * label_type.column(len(ids)).size, NO_LABEL
        else:
            numbers = label_type.numbers(example.label, ids)
            label = numbers[0] if isinstance(numbers[0], int) else 1 << 31 | hash_of_text(repr(numbers)) >> 33
        feature = {"input_ids": encoded.input_ids, "segment_ids": encoded.segment_ids, "label_ids": numbers}
        if windowed:
            feature.update(window=[encoded.window], windows=[encoded.windows])
        text = hash_of_text("{}\0{}".format(example.text_a, example.text_b or ""))
        windows = 0 if encoded.window else encoded.windows
        facts = Facts(example.line, text, label, encoded.tokens, encoded.pieces, encoded.unknown, windows)
        features.append((feature, facts))
    return features


def _build(inputs: TaskInputs, batch: Dict[str, Any], is_training: bool, compute: Compute) -> Outputs:
    assert inputs.bert_config is not None
    first_token_only = compute.padding_free or compute.form == "compiled"
    model = heads.encoder(inputs.bert_config, batch, is_training, compute, first_token_only)
    # Upstream's head always uses a dropout rate of 0.1, which is that of the published configurations too.
    dropout_prob = inputs.bert_config.hidden_dropout_prob if is_training else 0.0
    labels = max(len(inputs.labels), 1)
    logits = heads.classification_logits(model.get_pooled_output(), labels, dropout_prob, compute)
    gold = batch["label_ids"]
    label_type = LABEL_TYPES[inputs.processor.label_type]
    of_training = (inputs.class_weights, inputs.loss_form) if is_training else (None, CROSS_ENTROPY)
    loss, weight, predictions = label_type.outputs(logits, gold, *of_training)
    if inputs.long_text.mode == "windows":  # all windows of a text weigh as much as one text
        share = 1.0 / tf.cast(batch["windows"], tf.float32)
        loss, weight = loss * share, weight * share
        predictions = {"logits": tf.cast(logits, tf.float32), "window": batch["window"]}
    outputs = Outputs(loss, weight, dict(predictions, label_ids=gold), tf.cast(logits, tf.float32))
    if not is_training or label_type.distributions is None:
        return outputs
    compared = label_type.distributions(outputs.logits)  # each example's divergence weighs as its loss does
    of_example = tf.reshape(weight, [-1] + [1] * (compared.weight.shape.ndims - 1))
    return outputs._replace(distributions=compared._replace(weight=compared.weight * of_example))


def balanced_weights(label_type: str, labels: Sequence[str], counts: Dict[str, int], examples: int) -> List[float]:
    """[L] weights that make up for unequal counts. Each label has a positive example, for multi also a negative one.

    single: N / (L · count), scikit-learn's "balanced": each class has the same share of the loss. multi: negatives /
    positives of each label: its ones weigh as much as its zeros.
    """
    if label_type == "multi":
        return [(examples - counts[label]) / counts[label] for label in labels]
    return [examples / (len(labels) * counts[label]) for label in labels]
