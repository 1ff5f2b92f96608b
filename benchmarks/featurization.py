"""Measures rows per second from a source file to the closed record file, and how long each part of the work takes.

    python benchmarks/featurization.py DATA_DIR VOCAB_FILE [--task_name=sst-2] [--repetitions=5] [--results=FILE]

DATA_DIR holds the task's train.tsv. Every repetition starts cold, with an empty cache folder and a
tokenizer that has seen no word. The parts are timed within the run whose total is shown:

    read        lines → rows → examples
    tokenize    text → ids
    assemble    ids → features and facts
    write       features → serialized records, index and facts, synced
    shuffle     the training file's fixed order on disk

Then every record is read once, in batches of 32 at random places, and its checksum verified.

Prints a table of the repetition with the median total, and the best total; writes all repetitions as JSON. All work is
done in one thread; where the processor time of a repetition is below its seconds, other jobs or the disk took the rest.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from typing import Any, Callable, Dict, Iterator, List, Sequence

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import tokenization
from steady_bert.base.errors import UserError
from steady_bert.tasks.classification import assembly as classification
from steady_bert.tasks.classification.registry import PROCESSORS
from steady_bert.tasks.task import BadLines
from steady_bert.training import feature_cache

PARTS = ("read", "tokenize", "assemble", "write", "shuffle")


class Clock:
    """Adds up the seconds of each part."""

    def __init__(self) -> None:
        self.secs = dict.fromkeys(PARTS, 0.0)

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args)
            finally:
                self.secs[part] += time.perf_counter() - start

        return call

    def iterated(self, part: str, items: Iterator[Any]) -> Iterator[Any]:
        following = self.timed(part, lambda: next(items, None))  # no example is None
        return iter(following, None)


class TimedTokenizer:
    """The attributes of a tokenizer that a task reads, with `encode` timed."""

    def __init__(self, tokenizer: tokenization.FullTokenizer, clock: Clock) -> None:
        self.vocab = tokenizer.vocab
        self.unk_id = tokenizer.unk_id
        self.encode: Callable[[Sequence[str]], List[List[int]]] = clock.timed("tokenize", tokenizer.encode)


def featurize_once(arguments: argparse.Namespace) -> Dict[str, Any]:
    """One cold run: its rows, tokens, rows per second, and seconds of each part and in total."""
    clock = Clock()
    tokenizer = tokenization.FullTokenizer(arguments.vocab_file, do_lower_case=not arguments.cased)
    processor = PROCESSORS[arguments.task_name]()
    task = classification.classification_task(
        classification.TaskInputs(
            processor=processor,
            files={"train": processor.file_path(arguments.data_dir, "train")},
            labels=processor.get_labels(),
            tokenizer=TimedTokenizer(tokenizer, clock),
            vocab_fingerprint="benchmark",
            bert_config=None,
            max_seq_length=arguments.max_seq_length,
        )
    )

    def read(split: str, bad_lines: BadLines) -> Iterator[Any]:
        return clock.iterated("read", task.read(split, bad_lines))

    timed = task._replace(read=read, featurize=clock.timed("assemble", task.featurize))
    shuffle = feature_cache._shuffle
    feature_cache._shuffle = clock.timed("shuffle", shuffle)
    try:
        with tempfile.TemporaryDirectory() as folder:
            start, processor_start = time.perf_counter(), time.process_time()
            records = feature_cache.open_or_build(timed, "train", folder)
            total = time.perf_counter() - start
            processor_secs = time.process_time() - processor_start
            rows, tokens = len(records), int(records.index["tokens"].sum())
            read_back_secs = read_back(records)
            records.close()
    finally:
        feature_cache._shuffle = shuffle
    secs = dict(clock.secs, assemble=clock.secs["assemble"] - clock.secs["tokenize"])  # featurize calls encode
    secs["write"] = total - sum(secs.values())
    return {
        "rows": rows,
        "tokens": tokens,
        "secs": secs,
        "total_secs": total,
        "processor_secs": processor_secs,
        "rows_per_sec": rows / total,
        "read_back_secs": read_back_secs,
    }


def read_back(records: feature_cache.RecordFile) -> float:
    """Seconds to read all records as training does."""
    order = np.random.RandomState(1).permutation(len(records))
    start = time.perf_counter()
    for first in range(0, len(order), 32):
        records.read(order[first : first + 32])
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_dir")
    parser.add_argument("vocab_file")
    parser.add_argument("--task_name", default="sst-2", choices=sorted(set(PROCESSORS) - {"ax", "text"}))
    parser.add_argument("--max_seq_length", type=int, default=128)
    parser.add_argument("--cased", action="store_true", help="do not lower-case")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--results", default="featurization.json", help="where the JSON goes")
    arguments = parser.parse_args()
    try:
        runs = [featurize_once(arguments) for _ in range(arguments.repetitions)]
    except UserError as error:
        sys.exit(str(error))
    median = sorted(runs, key=lambda run: run["total_secs"])[len(runs) // 2]
    best = max(run["rows_per_sec"] for run in runs)
    processor_secs = min(run["processor_secs"] for run in runs)
    rows = median["rows"]
    print("{:,} rows of {:.1f} tokens, {} cores".format(rows, median["tokens"] / rows, os.cpu_count()))
    print("| part | seconds | share | rows/s, this part alone |\n|---|---|---|---|")
    for part in PARTS:
        secs = median["secs"][part]
        print("| {} | {:.2f} | {:.0%} | {:,.0f} |".format(part, secs, secs / median["total_secs"], rows / secs))
    print("| all, median of {} | {:.2f} | | {:,.0f} |".format(len(runs), median["total_secs"], median["rows_per_sec"]))
    print("| all, best | {:.2f} | | {:,.0f} |".format(rows / best, best))
    print("| processor time, least | {:.2f} | | {:,.0f} |".format(processor_secs, rows / processor_secs))
    read_back_secs = min(run["read_back_secs"] for run in runs)
    print(
        "| reading the records, verified, best | {:.2f} | {:.1%} of all, median | {:,.0f} |".format(
            read_back_secs, read_back_secs / median["total_secs"], rows / read_back_secs
        )
    )
    summary = {
        "rows": rows,
        "cores": os.cpu_count(),
        "rows_per_sec_median": statistics.median(run["rows_per_sec"] for run in runs),
        "rows_per_sec_best": best,
        "runs": runs,
    }
    with open(arguments.results, "w", encoding="utf-8") as file:
        json.dump(summary, file, indent=2)


if __name__ == "__main__":
    main()
