"""Compares optimizers on one task, each at its own rate, and shows what naive implementations do to the score.

    python benchmarks/optimizer_table.py [--results=FILE] [--seeds=3] [--steps=100]

Run scripts/quickstart.sh first: this fine-tunes its model on its tweets, with batch 16, 10 % warm-up and linear decay.
Each optimizer runs the same grid of rates with the first seed. Its rate is chosen on 1,000 tweets of dev.tsv, and 1,000
tweets of test.tsv are scored with every seed. Then each naive version runs once, at the rate of the optimizer that it
spoils. Last, adamw and ranger run three times as long at their chosen rates. There are 62 runs of 40 seconds to two
minutes on 2 cores. FILE gets a line of JSON for each run; runs that it already has are not repeated.
"""

import argparse
import contextlib
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Type

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)


import tensorflow.compat.v1 as tf

import modeling
import tokenization
from optimization import OptimizerConfig
from steady_bert import rule_optimizer
from steady_bert.base import files
from steady_bert.tasks.classification import assembly as classification
from steady_bert.tasks.classification.own_text import TextProcessor
from steady_bert.tasks.task import Task
from steady_bert.training import feature_cache, session_engine
from steady_bert.training.feature_cache import RecordFile
from steady_bert.training.plan import PlanConfig, make_plan
from steady_bert.training.session_engine import EngineConfig

RATES = (5e-5, 2e-4, 8e-4, 3.2e-3, 1.28e-2)
LABELS = ["negative", "neutral", "positive"]
MODEL, DATA = (os.path.join(ROOT, "quickstart", name) for name in ("model", "data"))


# --- naive implementations --------------------------------------------------------------------------------------------


class ZeroSlowWeights(rule_optimizer.RuleOptimizer):
    """Slow weights start from the initial value of their variables, 0, instead of from the weights."""

    def _copy_of_weight(self, values: Dict[str, Any], slot: str, count: Any) -> tf.Tensor:
        return tf.identity(values[slot])


class FirstUpdateSynchronises(ZeroSlowWeights):
    """Slow weights of 0, and a synchronisation in the first update."""

    def _looked_ahead(self, values: Dict[str, Any], weight: Any, count: Any) -> Any:
        return super()._looked_ahead(values, weight, count - 1.0)


class ReadsPairsTwice(rule_optimizer.RuleOptimizer):
    """Reads grads_and_vars for its variables, then again for the update: a zip is empty by then."""

    def apply_gradients(self, grads_and_vars: Any, global_step: Any = None, name: Optional[str] = None) -> Any:
        for _ in grads_and_vars:
            pass
        if list(grads_and_vars):
            raise ValueError("grads_and_vars is not an iterator, so this defect has no effect.")
        self.grad_norm = tf.zeros([])
        return tf.assign_add(global_step, 1)


class CountsTwice(rule_optimizer.RuleOptimizer):
    """Both the optimizer and the script count the step."""

    def apply_gradients(self, grads_and_vars: Any, global_step: Any = None, name: Optional[str] = None) -> Any:
        with tf.control_dependencies([super().apply_gradients(grads_and_vars, global_step)]):
            return tf.assign_add(global_step, 1)


class Entry(NamedTuple):
    """A row of the table.

    defect: the class that replaces RuleOptimizer.
    rate_of: the row whose rate is used; None: the best of the grid.
    warmup: the share of the steps in which the schedule warms up.
    """

    config: OptimizerConfig
    defect: Optional[Type[rule_optimizer.RuleOptimizer]] = None
    rate_of: Optional[str] = None
    warmup: float = 0.1


_LOOKAHEAD = OptimizerConfig(lookahead_steps=5)
ENTRIES = {
    "adamw": Entry(OptimizerConfig()),
    "adam": Entry(OptimizerConfig(optimizer="adam")),
    "radam": Entry(OptimizerConfig(optimizer="radam")),
    "lookahead(adamw)": Entry(_LOOKAHEAD),
    "ranger": Entry(OptimizerConfig(optimizer="ranger")),
    "ranger, no warm-up but its own": Entry(OptimizerConfig(optimizer="ranger"), warmup=0.0),
    "lamb": Entry(OptimizerConfig(optimizer="lamb")),
    "radam at adamw's rate": Entry(OptimizerConfig(optimizer="radam"), rate_of="adamw"),
    "ranger at adamw's rate": Entry(OptimizerConfig(optimizer="ranger"), rate_of="adamw"),
    "lookahead(adamw), slow weights from 0": Entry(_LOOKAHEAD, ZeroSlowWeights, "lookahead(adamw)"),
    "lookahead(adamw), pairs read twice": Entry(_LOOKAHEAD, ReadsPairsTwice, "lookahead(adamw)"),
    "lookahead(adamw), step counted twice": Entry(_LOOKAHEAD, CountsTwice, "lookahead(adamw)"),
    "radam, step counted twice": Entry(OptimizerConfig(optimizer="radam"), CountsTwice, "radam"),
    "ranger, slow weights from 0, first update synchronises": Entry(
        OptimizerConfig(optimizer="ranger"), FirstUpdateSynchronises, "ranger"
    ),
}


@contextlib.contextmanager
def dropped_in(defect: Optional[Type[rule_optimizer.RuleOptimizer]]) -> Iterator[None]:
    correct = rule_optimizer.RuleOptimizer
    rule_optimizer.RuleOptimizer = defect or correct  # type: ignore[misc]
    try:
        yield
    finally:
        rule_optimizer.RuleOptimizer = correct  # type: ignore[misc]


# --- runs -------------------------------------------------------------------------------------------------------------


def make_task() -> Task:
    if not os.path.exists(os.path.join(DATA, "train.tsv")):
        sys.exit("error: no quickstart/data. Run scripts/quickstart.sh first.")
    vocab = os.path.join(MODEL, "vocab.txt")
    return classification.classification_task(
        classification.TaskInputs(
            processor=TextProcessor(labels=LABELS),
            files={
                "train": os.path.join(DATA, "train.tsv"),
                "dev": os.path.join(DATA, "dev.tsv"),
                "dev_scored": os.path.join(DATA, "test.tsv"),
            },
            labels=LABELS,
            tokenizer=tokenization.FullTokenizer(vocab),
            vocab_fingerprint=files.sha256_of_file(vocab),
            bert_config=modeling.BertConfig.from_json_file(os.path.join(MODEL, "bert_config.json")),
            max_seq_length=64,
        )
    )


def run(task: Task, records: Dict[str, RecordFile], entry: Entry, rate: float, seed: int, steps: int) -> Dict[str, Any]:
    started = time.time()
    config = PlanConfig(
        train_batch_size=16,
        warmup_proportion=entry.warmup,
        learning_rate=rate,
        num_train_steps=steps,
        seed=seed,
        do_eval=False,
    )
    plan = make_plan(config, len(records["train"]), {}, {})
    engine_config = EngineConfig(max_seq_length=64, eval_batch_size=32, log_every_steps=0)
    folder = tempfile.mkdtemp()
    try:
        with dropped_in(entry.defect):
            engine = session_engine.build(task, engine_config, seed, plan, entry.config)
        session_engine.load_weights(engine, os.path.join(MODEL, "bert_model.ckpt"))
        session_engine.train(engine, plan, records["train"], None, folder)
        scores = {name: session_engine.evaluate(engine, name, records[name]).metrics for name in ("dev", "dev_scored")}
        session_engine.close(engine)
    finally:
        shutil.rmtree(folder)
    return {
        "chosen_on": scores["dev"]["accuracy"],
        "scored_on": scores["dev_scored"]["accuracy"],
        "seconds": round(time.time() - started, 1),
    }


class Results:
    """The results of all runs by name, in a file, so that a stopped command goes on where it was."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.by_name: Dict[str, Dict[str, Any]] = {}
        if os.path.exists(path):
            with open(path) as file:
                self.by_name = {line["run"]: line for line in map(json.loads, file)}

    def add(self, name: str, result: Dict[str, Any]) -> None:
        self.by_name[name] = dict(result, run=name)
        with open(self.path, "a") as file:
            file.write(json.dumps(self.by_name[name]) + "\n")
        print(json.dumps(self.by_name[name]), flush=True)


def mean_and_deviation(values: List[float]) -> str:
    spread = " ± {:.1f}".format(100 * statistics.stdev(values)) if len(values) > 1 else ""
    return "{:.1f}{}".format(100 * statistics.mean(values), spread)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", default=os.path.join(ROOT, "quickstart", "optimizer_table.jsonl"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args()
    task = make_task()
    cache = os.path.join(ROOT, "quickstart", "cache")
    limits = {"dev": 1000, "dev_scored": 1000}
    records = {split: feature_cache.open_or_build(task, split, cache, limits.get(split)) for split in task.files}
    results = Results(options.results)

    def result(name: str, rate: float, seed: int, times: int = 1) -> Dict[str, Any]:
        steps = options.steps * times
        key = "{} rate {:g} seed {} steps {}".format(name, rate, seed, steps)
        if key not in results.by_name:
            results.add(key, run(task, records, ENTRIES[name], rate, seed, steps))
        return results.by_name[key]

    chosen: Dict[str, float] = {}
    rows = []
    for name, entry in ENTRIES.items():
        if entry.rate_of is None:
            chosen[name] = max(RATES, key=lambda rate: result(name, rate, 1)["chosen_on"])
        rate = chosen[entry.rate_of or name]
        scores = [
            result(name, rate, seed)["scored_on"] for seed in range(1, 1 + (1 if entry.rate_of else options.seeds))
        ]
        grid = [100 * result(name, rate, 1)["chosen_on"] for rate in RATES] if entry.rate_of is None else []
        cells = ["{:.1f}".format(value) for value in grid] or [""] * len(RATES)
        rows.append("| {} | {} | {:g} | {} |".format(name, " | ".join(cells), rate, mean_and_deviation(scores)))
    for name in ("adamw", "ranger"):
        scores = [result(name, chosen[name], seed, 3)["scored_on"] for seed in range(1, options.seeds + 1)]
        cells = [""] * len(RATES) + ["{:g}".format(chosen[name]), mean_and_deviation(scores)]
        rows.append("| {}, {} updates | {} |".format(name, 3 * options.steps, " | ".join(cells)))
    print("| optimizer | " + " | ".join("dev at {:g}".format(rate) for rate in RATES) + " | rate | test |")
    print("|" + "---|" * (len(RATES) + 3))
    print("\n".join(rows))


if __name__ == "__main__":
    main()
