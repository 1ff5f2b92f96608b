"""This project's side of training_speed.py and gpu_speed.py: trains on the batches that its standard input asks for.

speed_worker.py BATCHES_NPZ BERT_CONFIG PADDING PRECISION [OPTION…]

Prints `ready`, and then for each line `ORDER FIRST COUNT` that it reads a line `SECONDS PEAK_MEGABYTES`.
"""

import os
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
from steady_bert.training import devices, memory, session_engine
from steady_bert.training.plan import PlanConfig, make_plan
from steady_bert.training.session_engine import EngineConfig


def prepared(
    rows: speed_batches.Rows,
    config_file: str,
    padding: str,
    precision: str,
    compute_form: str = "auto",
    recompute: bool = False,
    batch: int = speed_batches.BATCH,
    length: int = speed_batches.LENGTH,
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
            max_seq_length=length,
        )
    )
    settings = PlanConfig(train_batch_size=batch, num_train_steps=10000, learning_rate=5e-5, num_warmup_steps=100)
    plan = make_plan(settings, len(rows.ids), {}, {})
    engine_config = EngineConfig(
        padding=padding,
        precision=precision,
        compute_form=compute_form,
        recompute=recompute,
        max_seq_length=length,
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
    parser = speed_batches.worker_arguments(__doc__)
    parser.add_argument("--compute_form", default="auto")
    parser.add_argument("--recompute", action="store_true")
    options = vars(parser.parse_args())
    rows, size = speed_batches.load(options.pop("batches_file")), options["batch"]
    engine, records = prepared(rows, **options)
    run_step = engine.session.make_callable(engine.kept.keep, feed_list=[engine.records])
    fetch = engine.session.make_callable(engine.kept.rows)

    def train(batches: np.ndarray) -> None:
        for done, numbers in enumerate(batches, 1):
            run_step(records[numbers])
            if done % engine.config.log_every_steps == 0 or done == len(batches):
                fetch()  # as a run does when it reports; what is fetched has been computed

    train(rows.of("random", 0, 2, size))
    print("ready", file=replies, flush=True)
    for line in sys.stdin:
        order, first, count = line.split()
        batches = rows.of(order, int(first), int(count), size)
        started = time.perf_counter()
        train(batches)
        seconds = time.perf_counter() - started
        peak = memory.peak_bytes(devices.used_gpus(engine.config)) or 0
        print(seconds, peak / 2**20, file=replies, flush=True)


if __name__ == "__main__":
    main()
