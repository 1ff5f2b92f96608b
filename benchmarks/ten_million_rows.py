"""Measures featurizing, seeking and training at random positions on data that is larger than memory.

    python benchmarks/ten_million_rows.py FOLDER [ROWS]

Hardware: 2 cores (AVX-512), other jobs running. Minutes: 17. Result: 10,996 rows/s; 609 MB after imports, 942 at most;
seek 4.2 ms, 8.2 at most; p = 0.92.

FOLDER takes about 180 bytes a row: 1.8 GB for 10,000,000 rows, the default. Prints JSON:

    featurize_rows_per_sec       from the text file to the closed record file
    resident_mb_*                the process's memory: after imports, its peak up to the end of featurizing, in training
    seek_ms_median, seek_ms_max  from a new stream at a random position to its batch of 32 serialized records
    position_chi_square_p        p-value of the hypothesis that positions are uniform: consecutive examples, 1 % of an
                                 epoch, counted in 1,000 equal parts of the file
"""

import json
import os
import resource
import sys
import time
from typing import Any, Dict

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import numpy as np
import scipy.stats

import modeling
import optimization
import tokenization
from steady_bert.base import files
from steady_bert.tasks.classification import assembly as classification
from steady_bert.tasks.classification.own_text import TextProcessor
from steady_bert.tasks.task import Task
from steady_bert.training import data_report, feature_cache, input_pipeline, session_engine
from steady_bert.training import plan as plans

WORDS, SEEKS, STEPS, BATCH, SEED = 2000, 200, 100, 32, 1


def write_rows(path: str, rows: int) -> None:
    """Texts of 3 to 8 words, some of two pieces, and two labels, sorted by label."""
    rng = np.random.RandomState(SEED)
    names = np.array(["w{}".format(n) for n in range(WORDS)])
    with files.atomic_write(path) as file:
        file.write("text\tlabel\n")
        for start in range(0, rows, 100000):
            count = min(100000, rows - start)
            lengths = rng.randint(3, 9, count)
            words = np.split(names[rng.randint(0, WORDS, lengths.sum())], np.cumsum(lengths)[:-1])
            label = "first" if start < rows / 2 else "second"
            file.writelines("{}\t{}\n".format(" ".join(text), label) for text in words)


def make_task(folder: str) -> Task:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "w"] + ["##{}".format(n) for n in range(WORDS)]
    with files.atomic_write(os.path.join(folder, "vocab.txt")) as file:
        file.write("\n".join(pieces + ["w{}".format(n) for n in range(0, WORDS, 2)]) + "\n")
    sizes: Dict[str, Any] = dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=256)
    return classification.classification_task(
        classification.TaskInputs(
            processor=TextProcessor(labels=["first", "second"]),
            files={"train": os.path.join(folder, "train.tsv")},
            labels=["first", "second"],
            tokenizer=tokenization.FullTokenizer(os.path.join(folder, "vocab.txt")),
            vocab_fingerprint="benchmark",
            bert_config=modeling.BertConfig(vocab_size=8000, **sizes),
            max_seq_length=32,
        )
    )


def resident_mb() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def chi_square_p(rows: int) -> float:
    order = input_pipeline.TrainingOrder(rows, SEED)
    counts = np.bincount(order.numbers(rows // 3, rows // 100) * 1000 // rows, minlength=1000)
    return float(scipy.stats.chisquare(counts).pvalue)


def main() -> None:
    folder = sys.argv[1]
    rows = int(sys.argv[2]) if len(sys.argv) > 2 else 10000000
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "train.tsv")
    if not os.path.exists(path):
        write_rows(path, rows)
    results: Dict[str, Any] = {"rows": rows, "resident_mb_after_imports": resident_mb()}
    task = make_task(folder)
    started = time.time()
    records = feature_cache.open_or_build(task, "train", os.path.join(folder, "cache"))
    results["featurize_rows_per_sec"] = len(records) / (time.time() - started)
    data_report.look_at(task, {"train": records})
    results["resident_mb_peak_featurizing"] = peak_mb()

    rng = np.random.RandomState(SEED)
    seeks = []
    for position in rng.randint(0, 3 * rows, SEEKS):
        started = time.time()
        order = input_pipeline.TrainingOrder(rows, SEED)
        records.read(order.numbers(int(position), BATCH))
        seeks.append((time.time() - started) * 1000)
    results.update(seek_ms_median=float(np.median(seeks)), seek_ms_max=float(np.max(seeks)))

    plan = plans.make_plan(plans.PlanConfig(num_train_steps=STEPS, do_eval=False), rows, {}, {})
    engine = session_engine.build(task, session_engine.EngineConfig(), SEED, plan, optimization.OptimizerConfig())
    assert engine.training is not None
    run_step = engine.session.make_callable(engine.training, feed_list=[engine.records])
    order = input_pipeline.TrainingOrder(rows, SEED)
    losses = [
        float(run_step(records.read(order.numbers(int(position), BATCH)))["loss"])
        for position in rng.randint(0, 3 * rows, STEPS)
    ]
    assert np.all(np.isfinite(losses))
    results.update(resident_mb_training=resident_mb(), resident_mb_peak=peak_mb(), losses=[losses[0], losses[-1]])
    results["position_chi_square_p"] = chi_square_p(rows)
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
