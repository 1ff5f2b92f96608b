"""Speed of extract_features.py beside the original's way on the same texts.

    python benchmarks/features.py --texts=SENTENCES.txt --vocab_file=BERT/vocab.txt [--lines=2000] [--turns=3]

The original's way: this project's own plain graph, texts in the order of the file, each padded to 128, a call for 32 of
them; its values are written as the original writes them, or as an array. The command is taken whole: it reads,
tokenizes, builds its graph and writes. Of the original's way a tenth of the lines is measured, without the graph. Both
take turns in one process; a ratio is the median of the turns', by the clock and by the processor's time, which other
jobs on the machine change little. MiniLM's sizes, random weights.
"""

import argparse
import collections
import contextlib
import io
import json
import os
import sys
import tempfile
import time
from typing import Any, Callable, Dict, List

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import numpy as np
import tensorflow.compat.v1 as tf

import modeling
import tokenization
from steady_bert.extraction import job
from steady_bert.extraction.config import ExtractionConfig
from steady_bert.extraction.lines import Encoded, encoded, examples_of

SIZES = {"num_hidden_layers": 6, "hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536}
LENGTH, BATCH = 128, 32
# name → (file's ending, layers, pooling)
OUTPUTS = {
    "vectors, .npz": (".npz", (-1,), "mean"),
    "tokens of a layer, .npz": (".npz", (-1,), "none"),
    "tokens of four layers, JSON": (".json", (-1, -2, -3, -4), "none"),
}


class Original:
    """The original's way, on a graph that is padded."""

    def __init__(self, folder: str) -> None:
        self._tokenizer = tokenization.FullTokenizer(os.path.join(folder, "vocab.txt"))
        self._session = tf.Session(graph=tf.Graph())
        with self._session.graph.as_default():
            names = ("input_ids", "input_mask", "token_type_ids")
            self._inputs = {name: tf.placeholder(tf.int32, [None, LENGTH], name) for name in names}
            config = modeling.BertConfig.from_json_file(os.path.join(folder, "bert_config.json"))
            model = modeling.BertModel(config=config, is_training=False, **self._inputs)
            self._layers = model.get_all_encoder_layers()
            tf.train.Saver().restore(self._session, os.path.join(folder, "bert_model.ckpt"))

    def extract(self, texts: str, output: str, layers: Any, pooling: str) -> None:
        lines = [encoded(example, LENGTH, self._tokenizer) for example in examples_of(texts)]
        arrays: List[np.ndarray] = []
        with open(output, "w") as file:
            for start in range(0, len(lines), BATCH):
                batch = lines[start : start + BATCH]
                feeds = {self._inputs[name]: array for name, array in self._padded(batch).items()}
                states = self._session.run([self._layers[layer] for layer in layers], feeds)
                for number, line in enumerate(batch):
                    if output.endswith(".json"):
                        file.write(json.dumps(self._as_json(line, [state[number] for state in states], layers)) + "\n")
                        continue
                    of_line = np.stack([state[number, : len(line.tokens)] for state in states], axis=1)
                    arrays.append(of_line.mean(axis=0, keepdims=True) if pooling == "mean" else of_line)
        if arrays:
            np.savez(output, values=np.concatenate(arrays))

    def _padded(self, lines: List[Encoded]) -> Dict[str, np.ndarray]:
        arrays = {name: np.zeros((len(lines), LENGTH), np.int32) for name in self._inputs}
        for row, line in enumerate(lines):
            size = len(line.input_ids)
            arrays["input_ids"][row, :size] = line.input_ids
            arrays["input_mask"][row, :size] = 1
            arrays["token_type_ids"][row, :size] = line.input_type_ids
        return arrays

    @staticmethod
    def _as_json(line: Encoded, states: List[np.ndarray], layers: Any) -> Dict[str, Any]:
        content: Dict[str, Any] = collections.OrderedDict(linex_index=line.unique_id)
        content["features"] = [
            {
                "token": token,
                "layers": [
                    {"index": layer, "values": [round(float(value), 6) for value in state[place]]}
                    for layer, state in zip(layers, states)
                ],
            }
            for place, token in enumerate(line.tokens)
        ]
        return content


def make_model(folder: str, vocab_file: str) -> None:
    with open(vocab_file, encoding="utf-8") as file:
        vocab = file.read()
    with open(os.path.join(folder, "vocab.txt"), "w", encoding="utf-8") as file:
        file.write(vocab)
    path = os.path.join(folder, "bert_config.json")
    with open(path, "w") as file:
        json.dump(dict(SIZES, vocab_size=len(vocab.rstrip("\n").split("\n")), max_position_embeddings=512), file)
    with tf.Graph().as_default(), tf.Session() as session:
        ids = tf.zeros([1, 2], tf.int32)
        modeling.BertModel(config=modeling.BertConfig.from_json_file(path), is_training=False, input_ids=ids)
        session.run(tf.global_variables_initializer())
        tf.train.Saver().save(session, os.path.join(folder, "bert_model.ckpt"))


def rates(texts: int, function: Callable[..., Any], *arguments: Any) -> np.ndarray:
    """[2] texts a second: by the clock, and by the processor's time."""
    start = np.array([time.perf_counter(), time.process_time()])
    with contextlib.redirect_stdout(io.StringIO()):
        function(*arguments)
    return texts / (np.array([time.perf_counter(), time.process_time()]) - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("texts", "vocab_file"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--lines", type=int, default=2000)
    parser.add_argument("--turns", type=int, default=3)
    given = parser.parse_args()
    print("| output | texts/s | the original's way, texts/s | ratio | by processor time |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        make_model(folder, given.vocab_file)
        with open(given.texts, encoding="utf-8") as file:
            lines = [line.strip() for line in file][: given.lines]
        few = len(lines) // 10
        paths = [os.path.join(folder, name) for name in ("all.txt", "few.txt")]
        for path, some in zip(paths, (lines, lines[:: len(lines) // few][:few])):
            with open(path, "w", encoding="utf-8") as file:
                file.write("".join(line + "\n" for line in some))
        original = Original(folder)
        for name, (ending, layers, pooling) in OUTPUTS.items():
            output = os.path.join(folder, "features" + ending)
            files = [os.path.join(folder, file) for file in ("vocab.txt", "bert_config.json", "bert_model.ckpt")]
            vocab, sizes, weights = files
            config = ExtractionConfig(
                paths[0], output, None, vocab, sizes, weights, True, LENGTH, layers, BATCH, pooling
            )
            turns = [
                (
                    rates(len(lines), job.extract, config),
                    rates(few, original.extract, paths[1], output, layers, pooling),
                )
                for _ in range(given.turns)
            ]
            (ours, _), (others, _) = np.median(turns, axis=0)
            by_clock, by_processor = np.median([one / other for one, other in turns], axis=0)
            row = "| {} | {:.1f} | {:.1f} | {:.2f} | {:.2f} |"
            print(row.format(name, ours, others, by_clock, by_processor), flush=True)


if __name__ == "__main__":
    main()
