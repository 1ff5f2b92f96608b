"""What scripts written for google-research/bert import from run_pretraining, for an Estimator loop of their own."""

from typing import Any, Callable, Dict, Optional, Sequence, Tuple

import tensorflow.compat.v1 as tf

import modeling
import optimization

from ..estimator_loops import load_initial_weights, require_estimator
from . import heads
from .heads import gather_indexes

_SHUFFLE_BUFFER = 10000
_Losses = Tuple[tf.Tensor, tf.Tensor, tf.Tensor]


def get_masked_lm_output(
    bert_config: modeling.BertConfig,
    input_tensor: tf.Tensor,
    output_weights: Any,
    positions: tf.Tensor,
    label_ids: tf.Tensor,
    label_weights: tf.Tensor,
) -> _Losses:
    """(mean loss over the weights, loss of each place [B · P], log-probabilities [B · P, V])"""
    logits = heads.masked_lm_logits(bert_config, gather_indexes(input_tensor, positions), output_weights)
    label_ids, label_weights = tf.reshape(label_ids, [-1]), tf.reshape(label_weights, [-1])
    log_probs, loss_of_each = _cross_entropy(logits, label_ids)
    return tf.reduce_sum(label_weights * loss_of_each) / (tf.reduce_sum(label_weights) + 1e-5), loss_of_each, log_probs


def get_next_sentence_output(bert_config: modeling.BertConfig, input_tensor: tf.Tensor, labels: tf.Tensor) -> _Losses:
    """(mean loss, loss of each example [B], log-probabilities [B, 2]); label 1: a random second segment."""
    logits = heads.next_sentence_logits(bert_config, input_tensor)
    log_probs, loss_of_each = _cross_entropy(logits, tf.reshape(labels, [-1]))
    return tf.reduce_mean(loss_of_each), loss_of_each, log_probs


def _cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
    """(log-probabilities, loss of each row)"""
    log_probs = tf.nn.log_softmax(logits, axis=-1)
    one_hot = tf.one_hot(labels, depth=logits.shape.as_list()[-1], dtype=tf.float32)
    return log_probs, -tf.reduce_sum(log_probs * one_hot, axis=-1)


def model_fn_builder(
    bert_config: modeling.BertConfig,
    init_checkpoint: Optional[str],
    learning_rate: float,
    num_train_steps: int,
    num_warmup_steps: int,
    use_tpu: bool,
    use_one_hot_embeddings: bool,
) -> Callable:
    """A model_fn for TPUEstimator (TF ≤ 2.15): features, labels, mode, params → TPUEstimatorSpec.

    Raises UserError where the installed TensorFlow has no Estimator, ValueError for the mode of prediction.
    """
    estimator = require_estimator()

    def model_fn(features: Dict[str, tf.Tensor], labels: Any, mode: str, params: Any, config: Any = None) -> Any:
        is_training = mode == estimator.ModeKeys.TRAIN
        model = modeling.BertModel(
            config=bert_config,
            is_training=is_training,
            input_ids=features["input_ids"],
            input_mask=features["input_mask"],
            token_type_ids=features["segment_ids"],
            use_one_hot_embeddings=use_one_hot_embeddings,
        )
        masked = [features["masked_lm_" + name] for name in ("positions", "ids", "weights")]
        masked_lm = get_masked_lm_output(bert_config, model.get_sequence_output(), model.get_embedding_table(), *masked)
        next_sentence_labels = features["next_sentence_labels"]
        next_sentence = get_next_sentence_output(bert_config, model.get_pooled_output(), next_sentence_labels)
        loss = masked_lm[0] + next_sentence[0]
        scaffold_fn = load_initial_weights(init_checkpoint, use_tpu, config)
        if is_training:
            train_op = optimization.create_optimizer(loss, learning_rate, num_train_steps, num_warmup_steps, use_tpu)
            return estimator.tpu.TPUEstimatorSpec(mode=mode, loss=loss, train_op=train_op, scaffold_fn=scaffold_fn)
        if mode != estimator.ModeKeys.EVAL:
            raise ValueError("Only TRAIN and EVAL are modes of pre-training, not {}.".format(mode))
        tensors = [*masked_lm[1:], *masked[1:], *next_sentence[1:], next_sentence_labels]
        return estimator.tpu.TPUEstimatorSpec(
            mode=mode, loss=loss, eval_metrics=(_metrics, tensors), scaffold_fn=scaffold_fn
        )

    return model_fn


def _metrics(
    masked_lm_loss: tf.Tensor,
    masked_lm_log_probs: tf.Tensor,
    masked_lm_ids: tf.Tensor,
    masked_lm_weights: tf.Tensor,
    next_sentence_loss: tf.Tensor,
    next_sentence_log_probs: tf.Tensor,
    next_sentence_labels: tf.Tensor,
) -> Dict[str, Any]:
    """The metrics of evaluation. Those of masked words are means over all predictions, not over batches."""
    ids, weights = tf.reshape(masked_lm_ids, [-1]), tf.reshape(masked_lm_weights, [-1])

    def best(log_probs: tf.Tensor) -> tf.Tensor:
        return tf.argmax(log_probs, axis=-1, output_type=tf.int32)

    return {
        "masked_lm_accuracy": tf.metrics.accuracy(ids, best(masked_lm_log_probs), weights=weights),
        "masked_lm_loss": tf.metrics.mean(masked_lm_loss, weights=weights),
        "next_sentence_accuracy": tf.metrics.accuracy(
            tf.reshape(next_sentence_labels, [-1]), best(next_sentence_log_probs)
        ),
        "next_sentence_loss": tf.metrics.mean(next_sentence_loss),
    }


def input_fn_builder(
    input_files: Sequence[str],
    max_seq_length: int,
    max_predictions_per_seq: int,
    is_training: bool,
    num_cpu_threads: int = 4,
) -> Callable:
    """An input_fn over record files, again and again; training shuffles files and records. params: batch_size."""

    def input_fn(params: Dict[str, Any]) -> tf.data.Dataset:
        if is_training:
            files = tf.data.Dataset.from_tensor_slices(tf.constant(list(input_files)))
            files = files.repeat().shuffle(len(input_files))
            data = files.interleave(
                tf.data.TFRecordDataset, cycle_length=min(num_cpu_threads, len(input_files)), block_length=1
            ).shuffle(_SHUFFLE_BUFFER)
        else:
            data = tf.data.TFRecordDataset(list(input_files)).repeat()
        parse = _parser(max_seq_length, max_predictions_per_seq)
        return data.map(parse, num_parallel_calls=num_cpu_threads).batch(params["batch_size"], drop_remainder=True)

    return input_fn


def _parser(max_seq_length: int, max_predictions_per_seq: int) -> Callable:
    """record → name → tensor; integers as int32, which a TPU has."""
    tokens = ("input_ids", "input_mask", "segment_ids")
    specs: Dict[str, Any] = {name: tf.FixedLenFeature([max_seq_length], tf.int64) for name in tokens}
    for name in ("masked_lm_positions", "masked_lm_ids"):
        specs[name] = tf.FixedLenFeature([max_predictions_per_seq], tf.int64)
    specs["masked_lm_weights"] = tf.FixedLenFeature([max_predictions_per_seq], tf.float32)
    specs["next_sentence_labels"] = tf.FixedLenFeature([1], tf.int64)

    def parse(record: tf.Tensor) -> Dict[str, tf.Tensor]:
        columns = tf.parse_single_example(record, specs)
        return {name: tf.cast(value, tf.int32) if value.dtype == tf.int64 else value for name, value in columns.items()}

    return parse
