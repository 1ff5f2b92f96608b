"""Shows which operations take the time of a training step, and counts them, from TensorFlow's own trace.

    python benchmarks/step_profile.py --data=GLUE_FOLDER --vocab_file=FILE [--task=mrpc] [--model=minilm|base]
        [--padding=none] [--precision=bfloat16] [--compute_form=compiled] [--batches=5] [--rows=15]

--compute_form=compiled builds the form of a GPU, on a CPU too: the number of operations is the same there, but what a
compiled function does counts as one, and its time says nothing of a GPU. A GPU's kernels can be counted on it alone.

Each batch runs once before it is traced, so that its shapes are known. Operations run side by side, and tracing itself
takes time. So the times add up to more than a step takes without a trace, which is printed too.
"""

import argparse
import collections
import os
import re
import sys
import tempfile
import time
from typing import Any, Dict, List, NamedTuple, Sequence

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))


import speed_batches
import tensorflow.compat.v1 as tf
from speed_worker import prepared
from training_speed import BERT_BASE, MINILM, ROWS, write_inputs

MODELS = {"minilm": MINILM, "base": BERT_BASE}
_OPERATION = re.compile(r" = ([^(]+)\(")  # of a label: name = Operation(inputs)


class Counts(NamedTuple):
    nodes: int  # operations that TensorFlow's executors ran; a compiled function is one
    kernels: int  # what a GPU ran, copies included; 0 without a GPU


def _nodes(step_stats: Any) -> List[Any]:
    """What the executors ran, on any device."""
    records = [device for device in step_stats.dev_stats if "/stream:" not in device.device]
    return [node for device in records if "/memcpy" not in device.device for node in device.node_stats]


def _kernels(step_stats: Any) -> List[Any]:
    """What GPUs ran. They are listed by stream and, as here, for all streams of a GPU together."""
    return [node for device in step_stats.dev_stats if "/stream:all" in device.device for node in device.node_stats]


def counts(step_stats: Any) -> Counts:
    return Counts(len(_nodes(step_stats)), len(_kernels(step_stats)))


def traced(engine: Any, serialized: Sequence[bytes]) -> Any:
    """The step_stats of an update as a run makes it: nothing but the loss is fetched, so that a GPU has finished."""
    options, metadata = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE), tf.RunMetadata()
    fetches = [engine.kept.keep, engine.training["loss"]]
    engine.session.run(fetches, {engine.records: serialized}, options, metadata)
    return metadata.step_stats


def times_by_operation(step_stats: Any) -> Dict[str, List[float]]:
    """Operation, or kernel on a GPU → the milliseconds of each of its runs."""
    times: Dict[str, List[float]] = collections.defaultdict(list)
    for node in _kernels(step_stats) or _nodes(step_stats):
        match = _OPERATION.search(node.timeline_label)
        name = match.group(1) if match else node.timeline_label or node.node_name
        times[name].append((node.op_end_rel_micros - node.op_start_rel_micros) / 1000)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--vocab_file", required=True)
    parser.add_argument("--task", choices=sorted(ROWS), default="mrpc")
    parser.add_argument("--model", choices=sorted(MODELS), default="minilm")
    parser.add_argument("--padding", default="none")
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--compute_form", choices=("auto", "plain", "fast", "compiled"), default="auto")
    parser.add_argument("--batches", type=int, default=5)
    parser.add_argument("--rows", type=int, default=15)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        batches_files, config_file = write_inputs(arguments.data, arguments.vocab_file, folder, MODELS[arguments.model])
        rows = speed_batches.load(batches_files[arguments.task])
        engine, records = prepared(rows, config_file, arguments.padding, arguments.precision, arguments.compute_form)
    run_step = engine.session.make_callable(engine.training, feed_list=[engine.records])
    times: Dict[str, List[float]] = collections.defaultdict(list)
    batches = rows.batches["random"][: arguments.batches]
    seconds = 0.0
    for numbers in batches:
        run_step(records[numbers])
        started = time.perf_counter()
        run_step(records[numbers])
        seconds += time.perf_counter() - started
        step_stats = traced(engine, records[numbers])
        for name, run_times in times_by_operation(step_stats).items():
            times[name] += run_times
    total = sum(map(sum, times.values()))
    milliseconds = seconds / len(batches) * 1000
    print("{0.task} {0.padding} {0.precision}, {1:.0f} ms a step without a trace".format(arguments, milliseconds))
    print("Last batch: {:,} nodes; {} kernels of a GPU.\n".format(*counts(step_stats)))
    print("| operation | ms a step | share | runs a step |\n|---|---|---|---|")
    by_time = sorted(times.items(), key=lambda item: -sum(item[1]))
    shown = [(name, sum(run_times), len(run_times)) for name, run_times in by_time[: arguments.rows]]
    rest = [run_times for _, run_times in by_time[arguments.rows :]]
    shown.append(("the rest", sum(map(sum, rest)), sum(map(len, rest))))
    for name, spent, runs in shown + [("together", total, sum(map(len, times.values())))]:
        milliseconds, share = spent / len(batches), spent / total
        print("| {} | {:.1f} | {:.0%} | {:.0f} |".format(name, milliseconds, share, runs / len(batches)))


if __name__ == "__main__":
    main()
