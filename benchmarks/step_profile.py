"""Shows which operations take the time of a training step, from TensorFlow's own trace.

    python benchmarks/step_profile.py --data=GLUE_FOLDER --vocab_file=FILE [--task=mrpc] [--padding=none]
        [--precision=bfloat16] [--compute_form=compiled] [--batches=5] [--rows=15]

--compute_form=compiled builds the form of a GPU, on a CPU too: the number of operations is the same there, but what a
compiled function does counts as one, and its time says nothing of a GPU.

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
from typing import Any, Dict, List

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))


import speed_batches
import tensorflow.compat.v1 as tf
from speed_worker import prepared
from training_speed import ROWS, write_inputs

_OPERATION = re.compile(r" = ([^(]+)\(")  # of a label: name = Operation(inputs)


def times_by_operation(step_stats: Any) -> Dict[str, List[float]]:
    """Operation → the milliseconds of each of its runs."""
    times: Dict[str, List[float]] = collections.defaultdict(list)
    for device in step_stats.dev_stats:
        for node in device.node_stats:
            match = _OPERATION.search(node.timeline_label)
            name = match.group(1) if match else node.timeline_label or node.node_name
            times[name].append((node.op_end_rel_micros - node.op_start_rel_micros) / 1000)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--vocab_file", required=True)
    parser.add_argument("--task", choices=sorted(ROWS), default="mrpc")
    parser.add_argument("--padding", default="none")
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--compute_form", choices=("auto", "plain", "fast", "compiled"), default="auto")
    parser.add_argument("--batches", type=int, default=5)
    parser.add_argument("--rows", type=int, default=15)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        batches_files, config_file = write_inputs(arguments.data, arguments.vocab_file, folder)
        rows = speed_batches.load(batches_files[arguments.task])
        engine, records = prepared(rows, config_file, arguments.padding, arguments.precision, arguments.compute_form)
    options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
    run_step = engine.session.make_callable(engine.training, feed_list=[engine.records])
    times: Dict[str, List[float]] = collections.defaultdict(list)
    batches = rows.batches["random"][: arguments.batches]
    seconds = 0.0
    for numbers in batches:
        run_step(records[numbers])
        started = time.perf_counter()
        run_step(records[numbers])
        seconds += time.perf_counter() - started
        metadata = tf.RunMetadata()
        engine.session.run(engine.training, {engine.records: records[numbers]}, options, metadata)
        for name, run_times in times_by_operation(metadata.step_stats).items():
            times[name] += run_times
    total = sum(map(sum, times.values()))
    print(
        "{} {} {}, {:.0f} ms a step without a trace:\n".format(
            arguments.task, arguments.padding, arguments.precision, seconds / len(batches) * 1000
        )
    )
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
