"""Compares entity F1 of a trained tagger with windows over long sentences, and with long sentences cut instead.

    python benchmarks/ner_windows.py MODEL_DIR TAGGED_FILE [--lengths=16,32,64] [--results=FILE]

TAGGED_FILE has columns, as run_ner.py reads them. A cut sentence keeps the first words that fit. The words beyond are
predicted as O, as scripts that truncate do, and they are scored too. Prints a table and writes JSON.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from typing import Any, Dict, List, Sequence

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

import tokenization
from steady_bert.tasks.tagging import entity_scores, formats
from steady_bert.tasks.tagging import schemes as tag_schemes
from steady_bert.tasks.tagging.sentences import Layout, Sentence
from steady_bert.tasks.task import BadLines


def words_that_fit(sentence: Sentence, tokenizer: Any, max_seq_length: int) -> int:
    """How many of the first words fit into a window."""
    pieces = 0
    for number, ids in enumerate(tokenizer.encode(sentence.words)):
        pieces += max(len(ids), 1)
        if pieces > max_seq_length - 2:
            return max(number, 1)
    return len(sentence.words)


def predicted(model_dir: str, path: str, max_seq_length: int, folder: str) -> List[List[str]]:
    """The predicted tags of each sentence of a file."""
    command = [sys.executable, os.path.join(ROOT, "run_ner.py"), "--do_predict", "--model_dir=" + model_dir]
    command += ["--predict_file=" + path, "--output_dir=" + folder, "--max_seq_length={}".format(max_seq_length)]
    command += ["--mend_tags", "--predict_batch_size=32", "--format=columns"]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    with open(os.path.join(folder, "predictions.conll"), encoding="utf-8") as file:
        blocks = file.read().strip("\n").split("\n\n")
    return [[row.split(" ")[-1].split("\t")[-1] for row in block.split("\n")] for block in blocks]


def f1(sentences: Sequence[Sentence], tags: Sequence[Sequence[str]]) -> float:
    gold = [tag_schemes.entities(sentence.tags or ()) for sentence in sentences]
    return entity_scores.total(entity_scores.count(gold, map(tag_schemes.entities, tags))).f1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir")
    parser.add_argument("tagged_file")
    parser.add_argument("--lengths", default="16,32,64")
    parser.add_argument("--results", default="ner_windows.json")
    arguments = parser.parse_args()
    with open(os.path.join(arguments.model_dir, "config.json"), encoding="utf-8") as file:
        model = json.load(file)["model"]
    vocabulary = os.path.join(arguments.model_dir, "vocab.txt")
    tokenizer = tokenization.FullTokenizer(vocabulary, do_lower_case=model["do_lower_case"])
    layout = Layout(format="columns", mend_tags=True)
    sentences = list(formats.read_sentences(arguments.tagged_file, layout, None, True, BadLines(0)))
    results: List[Dict[str, float]] = []
    print("| max_seq_length | sentences beyond it | F1 cut | F1 in windows |\n|---|---|---|---|")
    for length in map(int, arguments.lengths.split(",")):
        fitting = [words_that_fit(sentence, tokenizer, length) for sentence in sentences]
        with tempfile.TemporaryDirectory() as folder:
            cut = os.path.join(folder, "cut.conll")
            with open(cut, "w", encoding="utf-8") as file:
                for sentence, count in zip(sentences, fitting):
                    file.write("\n".join(sentence.words[:count]) + "\n\n")
            beginnings = predicted(arguments.model_dir, cut, length, folder)
            windows = predicted(arguments.model_dir, arguments.tagged_file, length, folder)
        whole = [tags + ["O"] * (len(s.words) - len(tags)) for tags, s in zip(beginnings, sentences)]
        assert [len(tags) for tags in windows] == [len(sentence.words) for sentence in sentences]
        beyond = sum(count < len(sentence.words) for count, sentence in zip(fitting, sentences))
        row = {"length": length, "beyond": beyond, "cut": f1(sentences, whole), "windows": f1(sentences, windows)}
        results.append(row)
        print("| {length} | {beyond:,} | {cut:.4f} | {windows:.4f} |".format(**row), flush=True)
    with open(arguments.results, "w", encoding="utf-8") as file:
        json.dump(results, file, indent=2)


if __name__ == "__main__":
    main()
