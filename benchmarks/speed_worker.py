"""This project's side of benchmarks/training_speed.py: trains on the batches that its standard input asks for.

speed_worker.py BATCHES_NPZ BERT_CONFIG PADDING PRECISION

Prints `ready`, and then for each line `ORDER FIRST COUNT` that it reads a line `SECONDS PEAK_MEGABYTES`.
"""

import os
import resource
import sys
import time
from typing import Any, Tuple

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


import numpy as np
import speed_batches
import tensorflow.compat.v1 as tf

import modeling
from optimization import OptimizerConfig
from steady_bert.tasks.classification import assembly as classification
from steady_bert.tasks.classification.own_text import TextProcessor
from steady_bert.training import session_engine
from steady_bert.training.plan import PlanConfig, make_plan
from steady_bert.training.session_engine import EngineConfig


def prepared(
    rows: speed_batches.Rows, config_file: str, padding: str, precision: str, compute_form: str = "auto"
) -> Tuple[Any, np.ndarray]:
    """(an engine that trains, the serialized record of each row)."""
    labels = ["0", "1"]
    task = classification.classification_task(
        classification.TaskInputs(
            processor=TextProcessor(labels=labels),
            files={},
            labels=labels,
            tokenizer=None,
            vocab_fingerprint="",
            bert_config=modeling.BertConfig.from_json_file(config_file),
            max_seq_length=speed_batches.LENGTH,
        )
    )
    settings = PlanConfig(
        train_batch_size=speed_batches.BATCH, num_train_steps=10000, learning_rate=5e-5, num_warmup_steps=100
    )
    plan = make_plan(settings, len(rows.ids), {}, {})
    engine_config = EngineConfig(
        padding=padding, precision=precision, compute_form=compute_form, max_seq_length=speed_batches.LENGTH
    )
    engine = session_engine.build(task, engine_config, 1, plan, OptimizerConfig())

    def record(number: int) -> bytes:
        feature = {
            "input_ids": tf.train.Feature(int64_list=tf.train.Int64List(value=rows.ids[number])),
            "segment_ids": tf.train.Feature(int64_list=tf.train.Int64List(value=rows.segments[number])),
            "label_ids": tf.train.Feature(int64_list=tf.train.Int64List(value=[rows.labels[number]])),
        }
        return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()

    return engine, np.array([record(number) for number in range(len(rows.ids))], object)


def main() -> None:
    replies, sys.stdout = sys.stdout, sys.stderr  # what the engine prints must not mix with the replies
    batches_file, config_file, padding, precision = sys.argv[1:]
    rows = speed_batches.load(batches_file)
    engine, records = prepared(rows, config_file, padding, precision)
    run_step = engine.session.make_callable(engine.training, feed_list=[engine.records])
    for numbers in rows.batches["random"][:2]:
        run_step(records[numbers])
    print("ready", file=replies, flush=True)
    for line in sys.stdin:
        order, first, count = line.split()
        batches = rows.batches[order][int(first) : int(first) + int(count)]
        started = time.perf_counter()
        for numbers in batches:
            run_step(records[numbers])
        seconds = time.perf_counter() - started
        print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, file=replies, flush=True)


if __name__ == "__main__":
    main()
