"""What google-research/bert's run_classifier offered to scripts with an Estimator loop of their own.

Estimator ended with TF 2.15; the session engine, which run_classifier.py uses, runs on every TensorFlow.
"""

from typing import Any, Callable, Dict, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

import modeling
import optimization

from .. import heads
from ..estimator_loops import load_initial_weights, require_estimator
from .processor import InputFeatures

# The record files of a run are written in one fixed permutation, so a buffer of this many mixes well.
_SHUFFLE_BUFFER = 10000


def create_model(
    bert_config: modeling.BertConfig,
    is_training: bool,
    input_ids: tf.Tensor,
    input_mask: tf.Tensor,
    segment_ids: tf.Tensor,
    labels: tf.Tensor,
    num_labels: int,
    use_one_hot_embeddings: bool,
) -> Tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """(mean loss, loss of each example [B], logits [B, L], probabilities [B, L])"""
    model = modeling.BertModel(
        config=bert_config,
        is_training=is_training,
        input_ids=input_ids,
        input_mask=input_mask,
        token_type_ids=segment_ids,
        use_one_hot_embeddings=use_one_hot_embeddings,
    )
    dropout_prob = bert_config.hidden_dropout_prob if is_training else 0.0
    with tf.name_scope("loss"):  # scripts fetch loss/Softmax and loss/LogSoftmax
        logits = heads.classification_logits(model.get_pooled_output(), num_labels, dropout_prob)
        probabilities = tf.nn.softmax(logits)
        log_probabilities = tf.nn.log_softmax(logits)
        one_hot = tf.one_hot(labels, depth=num_labels, dtype=logits.dtype)
        per_example_loss = -tf.reduce_sum(one_hot * log_probabilities, axis=-1)
        return tf.reduce_mean(per_example_loss), per_example_loss, logits, probabilities


def model_fn_builder(
    bert_config: modeling.BertConfig,
    num_labels: int,
    init_checkpoint: Optional[str],
    learning_rate: float,
    num_train_steps: int,
    num_warmup_steps: int,
    use_tpu: bool,
    use_one_hot_embeddings: bool,
) -> Callable:
    """A model_fn for TPUEstimator (TF ≤ 2.15): features, labels, mode, params → TPUEstimatorSpec.

    init_checkpoint is read where Estimator's folder has no checkpoint yet.

    Raises UserError where the installed TensorFlow has no Estimator.
    """
    estimator = require_estimator()

    def model_fn(features: Dict[str, tf.Tensor], labels: Any, mode: str, params: Any, config: Any = None) -> Any:
        label_ids = features["label_ids"]
        if "is_real_example" in features:
            is_real = tf.cast(features["is_real_example"], tf.float32)
        else:
            is_real = tf.ones(tf.shape(label_ids), tf.float32)
        loss, per_example_loss, logits, probabilities = create_model(
            bert_config,
            mode == estimator.ModeKeys.TRAIN,
            features["input_ids"],
            features["input_mask"],
            features["segment_ids"],
            label_ids,
            num_labels,
            use_one_hot_embeddings,
        )
        scaffold_fn = load_initial_weights(init_checkpoint, use_tpu, config)
        if mode == estimator.ModeKeys.TRAIN:
            train_op = optimization.create_optimizer(loss, learning_rate, num_train_steps, num_warmup_steps, use_tpu)
            return estimator.tpu.TPUEstimatorSpec(mode=mode, loss=loss, train_op=train_op, scaffold_fn=scaffold_fn)
        if mode == estimator.ModeKeys.EVAL:

            def metric_fn(per_example_loss: Any, label_ids: Any, logits: Any, is_real: Any) -> Dict[str, Any]:
                predicted = tf.argmax(logits, axis=-1, output_type=tf.int32)
                return {
                    "eval_accuracy": tf.metrics.accuracy(label_ids, predicted, weights=is_real),
                    "eval_loss": tf.metrics.mean(per_example_loss, weights=is_real),
                }

            eval_metrics = (metric_fn, [per_example_loss, label_ids, logits, is_real])
            return estimator.tpu.TPUEstimatorSpec(
                mode=mode, loss=loss, eval_metrics=eval_metrics, scaffold_fn=scaffold_fn
            )
        predictions = {"probabilities": probabilities}
        return estimator.tpu.TPUEstimatorSpec(mode=mode, predictions=predictions, scaffold_fn=scaffold_fn)

    return model_fn


def input_fn_builder(
    features: Sequence[InputFeatures], seq_length: int, is_training: bool, drop_remainder: bool
) -> Callable:
    """An input_fn over features in memory; training repeats a permutation of all of them. params: batch_size."""
    columns = {
        "input_ids": np.array([feature.input_ids for feature in features], np.int32).reshape(-1, seq_length),
        "input_mask": np.array([feature.input_mask for feature in features], np.int32).reshape(-1, seq_length),
        "segment_ids": np.array([feature.segment_ids for feature in features], np.int32).reshape(-1, seq_length),
        "label_ids": np.array([feature.label_id for feature in features], np.int32),
        "is_real_example": np.array([int(feature.is_real_example) for feature in features], np.int32),
    }

    def input_fn(params: Dict[str, Any]) -> tf.data.Dataset:
        data = tf.data.Dataset.from_tensor_slices(columns)
        if is_training:
            data = data.shuffle(len(features)).repeat()
        return data.batch(params["batch_size"], drop_remainder=drop_remainder)

    return input_fn


def file_based_input_fn_builder(input_file: str, seq_length: int, is_training: bool, drop_remainder: bool) -> Callable:
    """An input_fn over a record file, padded to seq_length; training shuffles and repeats. params: batch_size.

    Reads both the records of file_based_convert_examples_to_features and those of a run's cache, which hold the real
    tokens alone.
    """
    tokens = ("input_ids", "input_mask", "segment_ids")
    specs = {name: tf.VarLenFeature(tf.int64) for name in tokens}
    specs["label_ids"] = tf.FixedLenFeature([], tf.int64)
    specs["is_real_example"] = tf.FixedLenFeature([], tf.int64, default_value=1)

    def parse(record: tf.Tensor) -> Dict[str, tf.Tensor]:
        stored = tf.parse_single_example(record, specs)
        columns = {name: stored[name].values for name in tokens}
        real, stored_mask = tf.ones_like(columns["input_ids"]), columns["input_mask"]
        columns["input_mask"] = tf.cond(tf.size(stored_mask) > 0, lambda: stored_mask, lambda: real)
        parsed = {}
        for name, values in columns.items():
            values = tf.pad(values, [[0, seq_length - tf.size(values)]])
            values.set_shape([seq_length])
            parsed[name] = tf.cast(values, tf.int32)
        for name in ("label_ids", "is_real_example"):
            parsed[name] = tf.cast(stored[name], tf.int32)
        return parsed

    def input_fn(params: Dict[str, Any]) -> tf.data.Dataset:
        data = tf.data.TFRecordDataset(input_file)
        if is_training:
            data = data.shuffle(_SHUFFLE_BUFFER).repeat()
        return data.map(parse).batch(params["batch_size"], drop_remainder=drop_remainder)

    return input_fn
