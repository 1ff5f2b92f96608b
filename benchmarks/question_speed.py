"""Compares training examples per second on windows of questions with PyTorch and transformers, on the same batches.

    python benchmarks/question_speed.py --questions=SQUAD.json --model=FOLDER --torch=PYTHON [--pairs=3] [--batches=6]
        [--precision=bfloat16]

FOLDER has bert_config.json and vocab.txt; weights are random. Windows of at most 384 tokens, batch 16, dropout as
configured, AdamW with decay and clipping. PyTorch pads to the longest of a batch, or to 384. The processes take turns
on the same rows, and a ratio is the median over the pairs.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any, Callable, List

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

BATCH, LENGTH, SEED = 16, 384, 1
# The columns of a window, as the task names them.
TOKENS, POSITIONS = ("input_ids", "segment_ids"), ("start_position", "end_position")


def task_of(questions: str, model: str) -> Any:
    """The task of run_squad with its defaults."""
    import modeling
    import tokenization
    from steady_bert.tasks.questions import answers, assembly, features

    inputs = assembly.QuestionsInputs(
        files={"train": questions},
        tokenizer=tokenization.FullTokenizer(os.path.join(model, "vocab.txt")),
        vocab_fingerprint="",
        do_lower_case=True,
        bert_config=modeling.BertConfig.from_json_file(os.path.join(model, "bert_config.json")),
        lengths=features.Lengths(LENGTH, 128, 64),
        rules=answers.Rules(),
        tune_threshold=False,
        score_by="words",
    )
    return assembly.questions_task(inputs, assembly.Reader(inputs))


def write_windows(questions: str, model: str, path: str) -> int:
    """Writes the windows in a random order; their number."""
    from steady_bert.tasks.task import BadLines

    task = task_of(questions, model)
    windows = [feature for feature, _ in task.featurize(list(task.read("train", BadLines(0))))]
    windows = [windows[number] for number in np.random.RandomState(SEED).permutation(len(windows))]
    arrays: Any = {name: np.concatenate([window[name] for window in windows]) for name in (*TOKENS, *POSITIONS)}
    np.savez(path, lengths=np.array([len(window["input_ids"]) for window in windows]), **arrays)
    return len(windows)


def windows_in(path: str) -> List[Any]:
    """The windows of a file: column → numbers."""
    with np.load(path, allow_pickle=False) as arrays:
        columns = dict(arrays)
    ends = np.cumsum(columns["lengths"])
    starts = ends - columns["lengths"]
    return [
        dict(
            {name: columns[name][start:end] for name in TOKENS},
            **{name: columns[name][number : number + 1] for name in POSITIONS},
        )
        for number, (start, end) in enumerate(zip(starts, ends))
    ]


def our_trainer(windows: List[Any], questions: str, model: str, precision: str) -> Callable[[List[int]], None]:
    from optimization import OptimizerConfig
    from steady_bert.training import feature_cache, session_engine
    from steady_bert.training.plan import PlanConfig, make_plan
    from steady_bert.training.session_engine import EngineConfig

    task = task_of(questions, model)
    settings = PlanConfig(train_batch_size=BATCH, num_train_steps=10000, learning_rate=5e-5, num_warmup_steps=100)
    config = EngineConfig(max_seq_length=LENGTH, precision=precision)
    engine = session_engine.build(task, config, SEED, make_plan(settings, len(windows), {}, {}), OptimizerConfig())
    records = np.array(
        [
            feature_cache.serialize(dict(window, question=[0], window=[0]), task.columns, len(window["input_ids"]))
            for window in windows
        ],
        object,
    )
    assert engine.kept is not None
    run_step = engine.session.make_callable(engine.kept.keep, feed_list=[engine.records])
    fetch = engine.session.make_callable(engine.kept.rows)

    def train(numbers: List[int]) -> None:
        for start in range(0, len(numbers), BATCH):
            run_step(records[numbers[start : start + BATCH]])
        fetch()

    return train


def torch_trainer(windows: List[Any], model: str, precision: str, fixed: bool) -> Callable[[List[int]], None]:
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    torch.manual_seed(SEED)
    with open(os.path.join(model, "bert_config.json")) as file:
        sizes = json.load(file)
    sizes["hidden_act"] = {"gelu": "gelu_new", "gelu_erf": "gelu"}[sizes["hidden_act"]]  # their names
    network = transformers.BertForQuestionAnswering(transformers.BertConfig(**sizes))
    network.train()
    excluded = ("bias", "LayerNorm.weight")
    groups: List[Any] = [
        {
            "params": [w for name, w in network.named_parameters() if any(e in name for e in excluded) == without],
            "weight_decay": 0.0 if without else 0.01,
        }
        for without in (False, True)
    ]
    optimizer = torch.optim.AdamW(groups, lr=5e-5, eps=1e-6)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, 100, 10000)

    def step(batch: List[Any]) -> None:
        length = LENGTH if fixed else max(len(window["input_ids"]) for window in batch)
        padded = np.zeros((3, len(batch), length), np.int64)
        for place, window in enumerate(batch):
            ids = window["input_ids"]
            padded[:, place, : len(ids)] = ids, window["segment_ids"], np.ones_like(ids)
        ids, segments, mask = map(torch.from_numpy, padded)
        starts, ends = (torch.tensor([int(window[name][0]) for window in batch]) for name in POSITIONS)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bfloat16"):
            loss = network(
                input_ids=ids, attention_mask=mask, token_type_ids=segments, start_positions=starts, end_positions=ends
            ).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()

    def train(numbers: List[int]) -> None:
        for start in range(0, len(numbers), BATCH):
            step([windows[number] for number in numbers[start : start + BATCH]])

    return train


def work(arguments: argparse.Namespace) -> None:
    """Prints `ready`, and for each line `FIRST COUNT` that it reads the seconds that these batches take."""
    replies, sys.stdout = sys.stdout, sys.stderr
    windows = windows_in(arguments.windows)
    if arguments.worker == "ours":
        train = our_trainer(windows, arguments.questions, arguments.model, arguments.precision)
    else:
        train = torch_trainer(windows, arguments.model, arguments.precision, arguments.worker == "fixed")
    train(list(range(2 * BATCH)))
    print("ready", file=replies, flush=True)
    for line in sys.stdin:
        first, count = map(int, line.split())
        started = time.perf_counter()
        train(list(range(first * BATCH, (first + count) * BATCH)))
        print(time.perf_counter() - started, file=replies, flush=True)


class Worker:
    """A process that trains on the batches it is asked to."""

    def __init__(self, python: str, kind: str, windows: str, arguments: argparse.Namespace) -> None:
        command = [python, os.path.abspath(__file__), "--worker=" + kind, "--windows=" + windows]
        command += ["--{}={}".format(name, getattr(arguments, name)) for name in ("questions", "model", "precision")]
        pipes: Any = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, universal_newlines=True)
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  (open as long as the process)
        self._process: Any = subprocess.Popen(command, stderr=self._errors, **pipes)
        self._line()

    def _line(self) -> str:
        line: str = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            raise SystemExit("A worker ended: {}\n{}".format(self._process.args, self._errors.read()[-2000:]))
        return line

    def seconds(self, first: int, count: int) -> float:
        print(first, count, file=self._process.stdin, flush=True)
        return float(self._line())

    def close(self) -> None:
        self._process.communicate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--torch", default="")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--batches", type=int, default=6, help="of a turn")
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
    parser.add_argument("--windows", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "windows.npz")
        whole = write_windows(arguments.questions, arguments.model, path) // BATCH
        pythons = {"ours": sys.executable, "longest": arguments.torch, "fixed": arguments.torch}
        workers = {kind: Worker(python, kind, path, arguments) for kind, python in pythons.items()}
        rates: Any = {kind: [] for kind in workers}
        for pair in range(arguments.pairs):
            first = pair * arguments.batches % max(whole - arguments.batches + 1, 1)
            for kind in sorted(workers, reverse=pair % 2 == 1):
                seconds = workers[kind].seconds(first, arguments.batches)
                rates[kind].append(arguments.batches * BATCH / seconds)
        for worker in workers.values():
            worker.close()
    print("| PyTorch pads to | ours, examples/s | PyTorch, examples/s | ratio |\n|---|---|---|---|")
    for kind, name in (("longest", "the longest of the batch"), ("fixed", str(LENGTH))):
        ratio = statistics.median(a / b for a, b in zip(rates["ours"], rates[kind]))
        medians = [statistics.median(rates[each]) for each in ("ours", kind)]
        print("| {} | {:.1f} | {:.1f} | {:.2f} |".format(name, *medians, ratio))


if __name__ == "__main__":
    main()
