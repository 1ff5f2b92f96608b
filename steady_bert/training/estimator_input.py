"""The input functions of Estimator, for training and prediction."""

from typing import Any, Callable, Dict, Iterator

import tensorflow.compat.v1 as tf

from ..base.errors import UserError
from ..tasks.task import Task
from . import bucket, input_pipeline, towers
from .engine_config import EngineConfig
from .feature_cache import RecordFile
from .plan import Plan


def training_input(
    task: Task, config: EngineConfig, plan: Plan, records: RecordFile, position: int
) -> Callable[..., Any]:
    """Batches from a stream position on: those of the session engine, except on a TPU, which reads in sequence."""

    def computed_order() -> tf.data.Dataset:
        order = input_pipeline.training_order(plan, records, position)
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        replica_batch_size = plan.train_batch_size // replicas

        def batches() -> Iterator[Dict[str, Any]]:
            stream = input_pipeline.training_batches(records, order, position, plan.train_batch_size, task.in_epoch)
            for _, serialized in stream:
                for start in range(0, plan.train_batch_size, replica_batch_size):  # a replica takes one at a time
                    yield {"records": serialized[start : start + replica_batch_size]}

        shapes = {"records": [replica_batch_size]}
        return tf.data.Dataset.from_generator(batches, {"records": tf.string}, shapes).prefetch(2 * replicas)

    def in_sequence(params: Any) -> tf.data.Dataset:
        _require_one_host(config, params)
        path = bucket.staged_file(config, records.verified_path())
        batches = input_pipeline.sequential_batches(
            path, len(records), params["batch_size"], plan.seed, plan.shuffle, position
        )

        def parsed(number: tf.Tensor, serialized: tf.Tensor) -> Dict[str, tf.Tensor]:
            replica = tf.cast(tf.floormod(number, config.tpu.num_tpu_cores), tf.int32)
            batch = _static(towers.parse(serialized, task, config), params["batch_size"])
            return dict(batch, replica=tf.fill([params["batch_size"]], replica))

        return tf.data.Dataset.zip((tf.data.experimental.Counter(), batches)).map(parsed).prefetch(2)

    if config.tpu.use_tpu:
        return in_sequence
    return computed_order if config.distribution == "mirrored" else lambda params: computed_order()


def prediction_input(task: Task, config: EngineConfig, records: RecordFile, batch_size: int) -> Callable[..., Any]:
    """Batches in file order; shapes are static, so the last batch is filled up with the first examples."""

    def batches(size: int) -> tf.data.Dataset:
        filled = -(-len(records) // batch_size) * batch_size
        data = (
            tf.data.TFRecordDataset(bucket.staged_file(config, records.verified_path()))
            .repeat()
            .take(filled)
            .batch(size, drop_remainder=True)
        )
        if config.tpu.use_tpu:
            return data.map(lambda serialized: _static(towers.parse(serialized, task, config), size))
        return data.map(lambda serialized: {"records": serialized})

    def on_tpu(params: Any) -> tf.data.Dataset:
        _require_one_host(config, params)
        return batches(params["batch_size"])

    if config.tpu.use_tpu:
        return on_tpu
    if config.distribution == "mirrored":
        return lambda: batches(batch_size)
    return lambda params: batches(batch_size)


def _require_one_host(config: EngineConfig, params: Any) -> None:
    """Raises UserError for a TPU of several hosts: each would feed the same examples, and only one can predict."""
    hosts = params["context"].num_hosts if "context" in params else 1
    if hosts > 1:
        text = "--num_tpu_cores={}: these cores are on {} hosts. Use a TPU with one host, such as one with 8 cores."
        raise UserError(text.format(config.tpu.num_tpu_cores, hosts))


def _static(batch: towers.Batch, size: int) -> towers.Batch:
    for value in batch.values():
        value.set_shape([size] + value.shape.as_list()[1:])
    return batch
