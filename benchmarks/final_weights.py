"""Trains five small runs through the command line and prints the sha256 of each one's final checkpoint.

    python benchmarks/final_weights.py [--checkout=FOLDER] [--started_by=OTHER_FOLDER]

The runs: a classifier, a tagger with a CRF, lookahead with moving averages and accumulation, plateau, and two mirrored
replicas; all with dropout. Two checkouts that print the same lines, on one machine and TensorFlow, compute the same
updates. With --started_by, that checkout trains the first half of each run and --checkout continues its folder.
About a minute and a half on 2 cores.
"""

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
from typing import List

import tensorflow.compat.v1 as tf

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SEED = 7
WORDS = ["".join("abcdefghij"[int(digit)] for digit in str(number)) for number in range(60)]
STEPS, HALF = 40, 20

_OPTIONS = {
    "classifier": [],
    "tagger": ["--head=crf"],
    "lookahead": [
        "--optimizer=radam",
        "--lookahead_steps=5",
        "--ema_decay=0.9",
        "--gradient_accumulation_steps=2",
    ],
    "plateau": ["--lr_schedule=plateau", "--plateau_patience=1", "--eval_every_steps=5"],
    "mirrored": ["--distribution=mirrored", "--devices=cpu:0,cpu:1"],
}


def write_inputs(folder: str) -> None:
    """Writes a two-layer model's configuration, its vocabulary, labelled sentences and tagged words."""
    config = dict(
        vocab_size=80,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        type_vocab_size=2,
    )
    with open(os.path.join(folder, "bert_config.json"), "w") as file:
        json.dump(config, file)
    with open(os.path.join(folder, "vocab.txt"), "w") as file:
        file.write("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + WORDS) + "\n")
    rng = random.Random(SEED)
    for split, count in (("train", 150), ("dev", 40)):
        sentences = [rng.choices(WORDS, k=rng.randint(2, 20)) for _ in range(count)]
        with open(os.path.join(folder, split + ".tsv"), "w") as file:
            file.write("text\tlabel\n")
            file.writelines("{}\t{}\n".format(" ".join(s), "even" if len(s) % 2 else "odd") for s in sentences)
        with open(os.path.join(folder, split + ".conll"), "w") as file:
            for sentence in sentences:
                file.writelines("{} {}\n".format(w, "B-TEN" if w.endswith("a") else "O") for w in sentence)
                file.write("\n")


def train(checkout: str, name: str, inputs: str, output: str, last_step: int) -> None:
    """Trains, or continues, the run `name` in `output` up to last_step, in a process of its own."""
    script = "run_ner.py" if name == "tagger" else "run_classifier.py"
    if name == "tagger":
        data = [
            "--train_file=" + os.path.join(inputs, "train.conll"),
            "--dev_file=" + os.path.join(inputs, "dev.conll"),
        ]
    else:
        data = ["--task_name=text", "--data_dir=" + inputs]
    command = [
        sys.executable,
        os.path.join(checkout, script),
        "--do_train",
        "--do_eval",
        "--from_scratch",
        "--bert_config_file=" + os.path.join(inputs, "bert_config.json"),
        "--vocab_file=" + os.path.join(inputs, "vocab.txt"),
        "--output_dir=" + output,
        "--max_seq_length=32",
        "--train_batch_size=16",
        "--learning_rate=1e-3",
        "--lr_decay_steps={}".format(STEPS) if name != "plateau" else "--num_warmup_steps=4",
        "--num_train_steps={}".format(last_step),
    ]
    finished = subprocess.run(
        command + data + _OPTIONS[name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True
    )
    if finished.returncode:
        sys.exit("{}: exit {}\n{}".format(name, finished.returncode, finished.stdout[-3000:]))


def checkpoint_sha256(folder: str) -> str:
    """A hash of the names and values of every tensor in the newest checkpoint of `folder`."""
    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(folder))
    digest = hashlib.sha256()
    for name in sorted(reader.get_variable_to_shape_map()):
        digest.update(name.encode())
        digest.update(reader.get_tensor(name).tobytes())
    return digest.hexdigest()


def main(arguments: List[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkout", default=ROOT)
    parser.add_argument("--started_by", help="the checkout that trains the first half")
    parsed = parser.parse_args(arguments)
    print("TensorFlow {}".format(tf.__version__), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        write_inputs(folder)
        for name in _OPTIONS:
            output = os.path.join(folder, name)
            if parsed.started_by:
                train(parsed.started_by, name, folder, output, HALF)
            train(parsed.checkout, name, folder, output, STEPS)
            print("{:<12} {}".format(name, checkpoint_sha256(output)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
