"""Measures training on a GPU beside PyTorch and transformers, alternating, on the same batches: one table, and JSON.

    python benchmarks/gpu_speed.py --data=GLUE_FOLDER --vocab_file=FILE [--torch=PYTHON] [--only=PART_OF_A_NAME]
        [--pairs=3] [--row_secs=300] [--results=gpu_speed.json] [--tiny]

Hardware: one GPU; 15 to 25 minutes, most of them compiling. BERT-base with random weights, bfloat16, dropout 0.1, AdamW
with clipping, at most 128 tokens unless a row says otherwise. --torch is a Python with PyTorch and transformers: bf16
autocast, sdpa, fused AdamW, no wait between updates; without it, those columns stay empty. A ratio is the median over
the pairs of turns, and above 1 if this program is faster. Each row is printed when it is measured, and is given up
after --row_secs.

A row that needs a GPU says so where there is none, and what is missing. --tiny tries this command itself, on a CPU too:
a tiny model and made-up texts, in rows that are named after it; --data and --vocab_file are not needed.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path.insert(0, ROOT)

import final_weights
import first_step
import numpy as np
import speed_batches
import tensorflow.compat.v1 as tf
from matrix_rate import step_operations
from training_speed import BERT_BASE, Side, Worker, write_inputs

from steady_bert.training import devices

TINY = dict(BERT_BASE, vocab_size=80, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
STEPS = 12  # of the runs whose bits are compared
PRODUCT_SIZE, PRODUCTS = 4096, 64


class Bench(NamedTuple):
    """The settings that all rows share."""

    gpu: str  # the card; empty: none
    tiny: bool
    torch: str  # a Python; empty: none
    pairs: int
    row_secs: float
    batches_files: Dict[str, str]
    config: Dict[str, int]
    config_file: str
    command: List[str]  # run_classifier.py's flags but for --output_dir
    folder: str
    measured: Dict[str, Dict[str, Any]]  # row's name → its numbers, of the rows before

    def length(self, tokens: int) -> int:
        """How many tokens stand for so many."""
        return tokens if not self.tiny else tokens // 4


class Process(NamedTuple):
    """A worker of a row."""

    name: str
    system: str  # "ours" or "torch"
    padding: str
    options: Tuple[str, ...] = ()


# --- rows -------------------------------------------------------------------------------------------------------------


def alternating(
    bench: Bench, task: str, processes: Sequence[Process], size: int, length: int, batches: int
) -> Dict[str, Any]:
    """Milliseconds an update and peak memory of each process, which take turns; the first one is ours."""
    common = ["--batch={}".format(size), "--length={}".format(length)]
    deadline = time.time() + bench.row_secs
    workers: List[Worker] = []
    with contextlib.ExitStack() as stack:
        for process in processes:
            side = Side(process.system, process.padding, "bfloat16")
            pythons = {"ours": sys.executable, "torch": bench.torch}
            worker = Worker(
                side,
                bench.batches_files[task],
                bench.config_file,
                pythons,
                common + list(process.options),
                max(1.0, deadline - time.time()),
            )
            workers.append(stack.enter_context(contextlib.closing(worker)))
            worker.train(0, batches)  # compiles for every shape
        turns: List[List[float]] = [[] for _ in workers]
        memory = [0.0] * len(workers)
        for pair in range(bench.pairs):
            for number in range(len(workers)) if pair % 2 == 0 else reversed(range(len(workers))):
                seconds, memory[number] = workers[number].train(0, batches)
                turns[number].append(seconds / batches * 1000)
    names = [process.name for process in processes]
    result: Dict[str, Any] = {
        "ms": {name: round(statistics.median(each), 2) for name, each in zip(names, turns)},
        "turns": dict(zip(names, turns)),
    }
    if bench.gpu:
        result["peak MB"] = {name: round(peak) for name, peak in zip(names, memory)}
    if len(workers) > 1:
        result["ratio"] = round(statistics.median(other / ours for ours, other in zip(*turns)), 2)
    return result


def ours(bench: Bench, padding: str, *options: str) -> Process:
    form = () if bench.gpu else ("--compute_form=compiled",)  # the form of a GPU, on a CPU
    return Process("ours", "ours", padding, form + options)


def beside_torch(
    task: str, padding: str, size: int, tokens: int, batches: int, *options: str, compiled: bool = False
) -> Callable[[Bench], Dict[str, Any]]:
    """A row of ours and PyTorch's. options: of ours alone."""

    def measure(bench: Bench) -> Dict[str, Any]:
        processes = [ours(bench, padding, *options)]
        if bench.torch:
            other = "fixed" if padding == "fixed" else "longest"
            processes.append(Process("PyTorch", "torch", other, ("--compile",) if compiled else ()))
        size_here, count = (size, batches) if not bench.tiny else (min(size, 16), 2)
        return alternating(bench, task, processes, size_here, bench.length(tokens), count)

    return measure


def large_batch(bench: Bench) -> Dict[str, Any]:
    """Batch 128 at fixed length, and its share of the rate that the card reaches in a large product."""
    result = beside_torch("mrpc", "fixed", 128, 128, 10, compiled=True)(bench)
    if bench.gpu:
        operations = step_operations([bench.length(128)] * 128, bench.config)
        rate = float(child("product_rate", bench.row_secs))
        reached = operations / (result["ms"]["ours"] / 1000)
        result.update(
            {"TFLOP/s": round(reached / 1e12, 1), "product, TFLOP/s": round(rate / 1e12, 1)},
            share=round(reached / rate, 3),
        )
    return result


def nodes(bench: Bench) -> Dict[str, Any]:
    """The nodes that an update in a GPU's form executes, and the kernels where there is a GPU."""
    inputs = (bench.batches_files["mrpc"], bench.config_file, str(bench.length(128)))
    counted = dict(zip(("nodes", "kernels"), map(int, child("count", bench.row_secs, *inputs).split())))
    return counted if bench.gpu else {"nodes": counted["nodes"], "no GPU": "kernels"}


def first_update(bench: Bench) -> Dict[str, Any]:
    """Seconds from the command to the end of the first update: without compiled code, then with what that run kept.

    Each has its own cache of records, so that compiling alone differs.
    """
    deadline = time.time() + bench.row_secs
    seconds = {}
    for name in ("not kept", "kept"):
        output, records = (os.path.join(bench.folder, kind + name) for kind in ("first ", "records "))
        command = bench.command + ["--do_train", "--output_dir=" + output, "--cache_dir=" + records]
        cache = os.path.join(bench.folder, "compiled")
        parts = first_step.one_run(command, max(1.0, deadline - time.time()), XDG_CACHE_HOME=cache)
        seconds[name] = round(sum(parts), 1)
    return {"seconds": seconds}


def bits(bench: Bench) -> Dict[str, Any]:
    """Whether the same command ends in the same bits a second time, and when it is stopped and continued."""
    deadline = time.time() + bench.row_secs

    def trained(name: str, *stops: int) -> str:
        output = os.path.join(bench.folder, name)
        for last in stops:
            run = [sys.executable, os.path.join(ROOT, "run_classifier.py"), "--do_train", "--output_dir=" + output]
            steps = [
                "--lr_decay_steps={}".format(STEPS),
                "--num_train_steps={}".format(last),
                "--keep_checkpoint_max=1",
            ]
            limited(run + bench.command + steps, deadline)
        return final_weights.checkpoint_sha256(output)

    sha = {
        "once": trained("once", STEPS),
        "again": trained("again", STEPS),
        "resumed": trained("half", STEPS // 2, STEPS),
    }
    return {"sha256": sha, "equal": len(set(sha.values())) == 1}


def stock_operations(bench: Bench) -> Dict[str, Any]:
    """The time of an update over that of the same update by TensorFlow's stock operations (--compute_form=plain)."""
    processes = [ours(bench, "none"), Process("stock", "ours", "none", ("--compute_form=plain",))]
    size, count = (32, 40) if not bench.tiny else (16, 2)
    result = alternating(bench, "mrpc", processes, size, bench.length(128), count)
    result["time over stock operations"] = round(1 / result["ratio"], 3)
    return result


def peak_memory(bench: Bench) -> Dict[str, Any]:
    """Ours over PyTorch's in the rows before that have both."""
    if not bench.gpu:
        return {"no GPU": "TensorFlow's statistics of its memory"}
    ratios = {}
    for name, result in bench.measured.items():
        peaks = result.get("peak MB", {})
        if set(peaks) == {"ours", "PyTorch"}:
            ratios[name] = round(peaks["ours"] / peaks["PyTorch"], 2)
    return {"over PyTorch's": ratios}


class Row(NamedTuple):
    name: str
    target: str
    needs: str  # what a machine without a GPU lacks; empty: nothing
    measure: Callable[[Bench], Dict[str, Any]]


ON_CARD = "the time and the memory of an update on the card"
ROWS = (
    Row("MRPC, batch 32, real lengths / eager", "≥ 2.2", ON_CARD, beside_torch("mrpc", "none", 32, 128, 40)),
    Row("SST-2, batch 32, real lengths / eager", "≥ 2.4", ON_CARD, beside_torch("sst-2", "none", 32, 128, 40)),
    Row("fixed 128, batch 32 / compiled", "≥ 2", ON_CARD, beside_torch("mrpc", "fixed", 32, 128, 40, compiled=True)),
    Row("fixed 128, batch 128 / compiled", "share ≥ .5", ON_CARD + ", and its rate in bfloat16", large_batch),
    Row("executed nodes an update", "≤ 1,200", "", nodes),
    Row("first update, s", "≤ 20 kept, ≤ 60 not", "code that is compiled for a GPU and kept", first_update),
    Row("bitwise repeat and resume", "equal", "the form of a GPU in a whole run", bits),
    Row("MRPC over stock operations", "≤ 1.05", ON_CARD, stock_operations),
    Row("peak memory over PyTorch's", "≤ 1.0", "TensorFlow's statistics of a GPU's memory", peak_memory),
    Row(
        "512 tokens, batch 32, --recompute / eager",
        "memory ≤ .5",
        ON_CARD,
        beside_torch("mrpc", "fixed", 32, 512, 10, "--recompute"),
    ),
)


# --- processes --------------------------------------------------------------------------------------------------------


def limited(command: List[str], deadline: float) -> str:
    """What a command prints. Raises SystemExit if it fails, and subprocess.TimeoutExpired after the deadline."""
    finished = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        timeout=max(1.0, deadline - time.time()),
    )
    if finished.returncode:
        raise SystemExit("exit {}: {}".format(finished.returncode, (finished.stdout + finished.stderr)[-1000:]))
    return finished.stdout


def child(what: str, limit_secs: float, *inputs: str) -> str:
    """The last line of this script in a process of its own.

    After it a GPU's memory is free again, and what it set in its environment concerns no other process.
    """
    command = [sys.executable, os.path.abspath(__file__), "--child=" + what, *inputs]
    return limited(command, time.time() + limit_secs).splitlines()[-1]


def count(batches_file: str, config_file: str, length: str) -> str:
    """The nodes and kernels of an update in a GPU's form."""
    import step_profile
    from speed_worker import prepared

    form = "auto" if devices.gpus() else "compiled"
    rows = speed_batches.load(batches_file)
    engine, records = prepared(rows, config_file, "none", "bfloat16", form, length=int(length))
    serialized = records[rows.batches["random"][0]]
    step_profile.traced(engine, serialized)  # compiles
    return "{} {}".format(*step_profile.counts(step_profile.traced(engine, serialized)))


def product_rate() -> str:
    """Operations a second of a chain of 4096³ products in bfloat16."""
    with tf.Graph().as_default():
        factor = tf.Variable(tf.fill([PRODUCT_SIZE, PRODUCT_SIZE], 1.0 / PRODUCT_SIZE), use_resource=True)
        rounded = tf.cast(factor, tf.bfloat16)
        result = rounded
        for _ in range(PRODUCTS):
            result = tf.matmul(result, rounded)
        number = tf.reduce_max(result)  # what is fetched has been computed
        with tf.Session() as session:
            session.run(factor.initializer)
            times = []
            for _ in range(6):  # the first one warms up
                started = time.perf_counter()
                session.run(number)
                times.append(time.perf_counter() - started)
    return str(2 * PRODUCT_SIZE**3 * PRODUCTS / min(times[1:]))


def card() -> str:
    """The name of the first GPU; empty if TensorFlow finds none."""
    if not devices.gpus():
        return ""
    details = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])
    return str(details.get("device_name", "a GPU"))


CHILDREN: Dict[str, Callable[..., str]] = {"card": card, "count": count, "product_rate": product_rate}


# --- inputs, table ----------------------------------------------------------------------------------------------------


def tiny_inputs(folder: str) -> Tuple[Dict[str, str], str, List[str]]:
    """As `inputs`, of a tiny model and made-up texts."""
    final_weights.write_inputs(folder)
    config_file, rng = os.path.join(folder, "bert_config.json"), np.random.RandomState(speed_batches.SEED)
    with open(config_file, "w") as file:
        json.dump(dict(TINY, max_position_embeddings=128), file)
    files = {}
    for task, longest in (("mrpc", 30), ("sst-2", 12)):
        features = [
            {"input_ids": rng.randint(5, 65, size), "segment_ids": np.zeros(size, int), "label_ids": [size % 2]}
            for size in rng.randint(2, longest, 64)
        ]
        files[task] = os.path.join(folder, task + ".npz")
        speed_batches.save(files[task], features)
    data = ["--task_name=text", "--data_dir=" + folder, "--max_seq_length=32"]
    return files, config_file, data + ["--vocab_file=" + os.path.join(folder, "vocab.txt")]


def inputs(data: str, vocabulary: str, folder: str) -> Tuple[Dict[str, str], str, List[str]]:
    """(task → file of batches, configuration file, run_classifier.py's flags of the data)."""
    files, config_file = write_inputs(data, vocabulary, folder, BERT_BASE)
    mrpc = ["--task_name=mrpc", "--data_dir=" + os.path.join(data, "MRPC"), "--max_seq_length=128"]
    return files, config_file, mrpc + ["--vocab_file=" + vocabulary]


def measured(row: Row, bench: Bench) -> Dict[str, Any]:
    """The numbers of a row, or why it has none."""
    if row.needs and not bench.gpu and not bench.tiny:
        return {"no GPU": row.needs}
    started = time.time()
    try:
        return row.measure(bench)
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError, SystemExit) as error:
        if time.time() - started >= bench.row_secs:  # a worker that was ended for it fails too
            return {"given up": "after {:.0f} s".format(bench.row_secs)}
        return {"failed": str(error)}


def shown(result: Dict[str, Any]) -> str:
    """A row's numbers in words."""

    def words(value: Any) -> str:
        if isinstance(value, dict):
            return ", ".join("{} {}".format(name, words(each)) for name, each in value.items())
        text = "{:,}".format(value) if isinstance(value, int) and not isinstance(value, bool) else str(value)
        return text.replace("\n", " ")[:200]

    return "; ".join("{}: {}".format(name, words(v)) for name, v in result.items() if name not in ("turns", "sha256"))


@contextlib.contextmanager
def prepared_bench(arguments: argparse.Namespace) -> Iterator[Bench]:
    with tempfile.TemporaryDirectory() as folder:
        if arguments.tiny:
            files, config_file, data = tiny_inputs(folder)
        else:
            files, config_file, data = inputs(arguments.data, arguments.vocab_file, folder)
        with open(config_file) as file:
            config = json.load(file)
        command = data + ["--from_scratch", "--precision=bfloat16", "--bert_config_file=" + config_file]
        command.append("--cache_dir=" + os.path.join(folder, "cache"))
        yield Bench(
            child("card", arguments.row_secs),
            arguments.tiny,
            arguments.torch,
            arguments.pairs,
            arguments.row_secs,
            files,
            config,
            config_file,
            command,
            folder,
            {},
        )


def main(arguments: Optional[List[str]] = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="")
    parser.add_argument("--vocab_file", default="")
    parser.add_argument("--torch", default="")
    parser.add_argument("--only", default="")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--row_secs", type=float, default=300.0)
    parser.add_argument("--results", default="gpu_speed.json")
    parser.add_argument("--tiny", action="store_true")
    parsed = parser.parse_args(arguments)
    if not parsed.tiny and not (parsed.data and parsed.vocab_file):
        parser.error("give --data and --vocab_file, or --tiny")
    with prepared_bench(parsed) as bench:
        machine = bench.gpu or "no GPU"
        model = "a tiny model: no figures of BERT-base" if bench.tiny else "BERT-base"
        print("{}, TensorFlow {}, {}\n".format(machine, tf.__version__, model), flush=True)
        print("| row | measured | target, H200 | s |\n|---|---|---|---|", flush=True)
        for row in ROWS:
            if parsed.only not in row.name:
                continue
            started = time.time()
            name = row.name if not bench.tiny else "tiny: " + row.name
            bench.measured[name] = measured(row, bench)
            secs = time.time() - started
            print("| {} | {} | {} | {:.0f} |".format(name, shown(bench.measured[name]), row.target, secs), flush=True)
        results = {"card": bench.gpu, "tensorflow": tf.__version__, "tiny": bench.tiny, "rows": bench.measured}
    with open(parsed.results, "w") as file:
        json.dump(results, file, indent=2, ensure_ascii=False)


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1].startswith("--child="):
        print(CHILDREN[sys.argv[1].split("=", 1)[1]](*sys.argv[2:]))
    else:
        main()
