"""Measures what evaluating on dev every 50 steps adds to training, compared with a bare loop over the same batches.

    python benchmarks/evaluation_overhead.py --data=GLUE_FOLDER --vocab_file=FILE [--pairs=5] [--results=FILE]

GLUE_FOLDER holds MRPC/train.tsv and MRPC/dev.tsv. The model has MiniLM's sizes and random weights; the engine trains
it. The cost of an evaluation is the engine's own `evaluation_secs`: batches, forward passes, scores, and the best
checkpoint, which is saved after the first evaluation only. The bare loop runs the same forward passes in the same
session, on records that are already in memory. The two take turns in going first. Prints a table and writes JSON.
"""

import argparse
import dataclasses
import json
import os
import statistics
import sys
import tempfile
import time
from typing import Any, Dict, List

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))


from speed_batches import BATCH, LENGTH, SEED
from training_speed import MINILM

import modeling
import tokenization
from optimization import OptimizerConfig
from steady_bert.base import files
from steady_bert.tasks.classification import assembly as classification
from steady_bert.tasks.classification.registry import PROCESSORS
from steady_bert.tasks.task import Task
from steady_bert.training import feature_cache, input_pipeline, session_engine
from steady_bert.training.feature_cache import RecordFile
from steady_bert.training.plan import PlanConfig, make_plan
from steady_bert.training.session_engine import Engine, EngineConfig

EVERY = 50  # steps


def make_task(data: str, vocabulary: str) -> Task:
    processor = PROCESSORS["mrpc"]()
    folder = os.path.join(data, "MRPC")
    return classification.classification_task(
        classification.TaskInputs(
            processor=processor,
            files={split: processor.file_path(folder, split) for split in ("train", "dev")},
            labels=processor.get_labels(),
            tokenizer=tokenization.FullTokenizer(vocabulary),
            vocab_fingerprint=files.sha256_of_file(vocabulary),
            bert_config=modeling.BertConfig.from_dict(MINILM),
            max_seq_length=LENGTH,
        )
    )


def lines_of(folder: str, split: str, step: int) -> List[Dict[str, Any]]:
    """The lines of metrics.jsonl for the last EVERY steps up to `step`."""
    with open(os.path.join(folder, "metrics.jsonl")) as file:
        lines = [json.loads(line) for line in file]
    return [line for line in lines if line["split"] == split and step - EVERY < line["step"] <= step]


def measure(engine: Engine, plan: Any, records: Dict[str, RecordFile], folder: str, pairs: int) -> Dict[str, Any]:
    size = engine.config.eval_batch_size
    batches = [records["dev"].read(n) for n in input_pipeline.length_sorted_batches(records["dev"], size)]
    run = engine.session.make_callable(engine.inference, feed_list=[engine.records])

    def bare_loop() -> float:
        started = time.perf_counter()
        for batch in batches:
            run(batch)
        return time.perf_counter() - started

    bare_loop()
    seconds: Dict[str, List[float]] = {"bare_secs": [], "added_secs": [], "training_secs": []}
    for pair in range(pairs):
        step = EVERY * (pair + 1)
        until = dataclasses.replace(plan, num_train_steps=step)
        session_engine.train(engine, until, records["train"], None, folder)
        training = lines_of(folder, "train", step)
        seconds["training_secs"].append(sum(plan.train_batch_size / line["examples_per_sec"] for line in training))
        for turn in (0, 1):
            if turn == pair % 2:
                seconds["bare_secs"].append(bare_loop())
            else:  # all steps are done, so this only evaluates
                session_engine.train(engine, until, records["train"], records["dev"], folder)
                seconds["added_secs"].append(lines_of(folder, "dev", step)[-1]["evaluation_secs"])
    ratios = [added / bare for added, bare in zip(seconds["added_secs"], seconds["bare_secs"])]
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return dict(seconds, medians=medians, ratios=ratios, ratio=statistics.median(ratios))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--vocab_file", required=True)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--eval_batch_size", type=int, default=8)
    parser.add_argument("--train_batch_size", type=int, default=BATCH)
    parser.add_argument("--results", default="evaluation_overhead.json")
    arguments = parser.parse_args()
    task = make_task(arguments.data, arguments.vocab_file)
    with tempfile.TemporaryDirectory() as folder:
        cache = os.path.join(folder, "cache")
        records = {split: feature_cache.open_or_build(task, split, cache) for split in ("train", "dev")}
        settings = PlanConfig(
            train_batch_size=arguments.train_batch_size,
            num_train_steps=EVERY * arguments.pairs,
            eval_every_steps=EVERY,
            learning_rate=1e-9,  # so that no evaluation after the first finds better weights to save
            seed=SEED,
        )
        plan = make_plan(settings, len(records["train"]), {}, {})
        config = EngineConfig(
            eval_batch_size=arguments.eval_batch_size,
            max_seq_length=LENGTH,
            log_every_steps=1,
            keep_checkpoint_max=1,
        )
        engine = session_engine.build(task, config, SEED, plan, OptimizerConfig())
        measured = measure(engine, plan, records, folder, arguments.pairs)
        session_engine.close(engine)
    measured.update(dev_examples=len(records["dev"]), eval_batch_size=arguments.eval_batch_size)
    print("\n| | {} | median |".format(" | ".join("pair {}".format(n + 1) for n in range(arguments.pairs))))
    print("|---" * (arguments.pairs + 2) + "|")
    rows = {
        "an evaluation adds, s": (measured["added_secs"], measured["medians"]["added_secs"]),
        "bare loop, s": (measured["bare_secs"], measured["medians"]["bare_secs"]),
        "ratio": (measured["ratios"], measured["ratio"]),
        "{} steps, s".format(EVERY): (measured["training_secs"], measured["medians"]["training_secs"]),
    }
    for name, (values, median) in rows.items():
        print("| {} | {} |".format(name, " | ".join("{:.2f}".format(value) for value in [*values, median])))
    files.write_json(arguments.results, measured)


if __name__ == "__main__":
    main()
