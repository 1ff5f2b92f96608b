"""Compares training examples per second on windows of questions with PyTorch and transformers, on the same batches.

    python benchmarks/question_speed.py --questions=SQUAD.json --model=FOLDER --torch=PYTHON [--pairs=3] [--batches=6]
        [--precision=bfloat16]

FOLDER has bert_config.json and vocab.txt; weights are random. Windows of at most 384 tokens, batch 16, dropout as
configured, AdamW with decay and clipping. PyTorch pads to the longest of a batch, or to 384. The processes take turns
on the same rows, and a ratio is the median over the pairs.
"""

import argparse
import os
import statistics
import sys
import tempfile
from typing import Any, Dict, List

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

import speed_batches
from training_speed import Side, Worker

import modeling
import tokenization
from steady_bert.tasks.questions import answers, assembly, features
from steady_bert.tasks.task import BadLines

BATCH, LENGTH = 16, 384


def windows_of(questions: str, model: str) -> List[Any]:
    """The windows that run_squad makes by default, as speed_batches saves them."""
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
    task = assembly.questions_task(inputs, assembly.Reader(inputs))
    windows = [feature for feature, _ in task.featurize(list(task.read("train", BadLines(0))))]
    for window in windows:
        window["label_ids"] = [[window["start_position"][0], window["end_position"][0]]]
    return windows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--torch", required=True, help="a Python with PyTorch and transformers")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--batches", type=int, default=6, help="of a turn")
    parser.add_argument("--precision", default="bfloat16")
    arguments = parser.parse_args()
    pythons = {"ours": sys.executable, "torch": arguments.torch}
    windows = windows_of(arguments.questions, arguments.model)
    whole = len(windows) // speed_batches.BATCH * speed_batches.BATCH // BATCH
    if whole < max(2, arguments.batches):  # two warm each process up
        parser.error("--questions has {} batches of {} windows. Give more, or lower --batches.".format(whole, BATCH))
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "windows.npz")
        speed_batches.save(path, windows)
        options = ["--questions", "--batch={}".format(BATCH), "--length={}".format(LENGTH)]
        config = os.path.join(arguments.model, "bert_config.json")
        workers: Dict[str, Worker] = {}
        rates: Dict[str, List[float]] = {}
        for system, padding in (("ours", "none"), ("torch", "longest"), ("torch", "fixed")):
            workers[padding] = Worker(Side(system, padding, arguments.precision), path, config, pythons, options)
            rates[padding] = []
        for pair in range(arguments.pairs):
            first = pair * arguments.batches % (whole - arguments.batches + 1)
            for padding in sorted(workers, reverse=pair % 2 == 1):
                seconds, _ = workers[padding].train(first, arguments.batches)
                rates[padding].append(arguments.batches * BATCH / seconds)
        for worker in workers.values():
            worker.close()
    print("| PyTorch pads to | ours, examples/s | PyTorch, examples/s | ratio |\n|---|---|---|---|")
    for padding, name in (("longest", "the longest of the batch"), ("fixed", str(LENGTH))):
        ratio = statistics.median(a / b for a, b in zip(rates["none"], rates[padding]))
        medians = [statistics.median(rates[each]) for each in ("none", padding)]
        print("| {} | {:.1f} | {:.1f} | {:.2f} |".format(name, *medians, ratio))


if __name__ == "__main__":
    main()
