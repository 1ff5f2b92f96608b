"""Tagging through the command line: every head and format learns, no word is cut off, a folder is enough to predict."""

import io
import json
import os
import random
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from conftest import copy_as_stopped, evaluated_examples, mistake, page_of_run, run_main, succeed

from steady_bert.tasks.tagging import schemes as tag_schemes
from steady_bert.tasks.tagging.schemes import Entity
from steady_bert.training import checkpoint

NAMES = {"PER": ["anna", "bob smith", "anna smith"], "LOC": ["rome", "new york"]}
OTHERS = ["new car", "met", "in", "the", "is", "fast", "york car"]
CHARACTERS = {"name": ["王安", "李安"], "place": ["北京", "京"]}
OTHER_CHARACTERS = ["在", "去", "了", "安", "北"]
VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "an", "##na", "bob", "smi", "##th", "rome", "new", "york", "car"]
VOCAB += ["met", "in", "the", "is", "fast"] + list("王安李北京在去了")


def random_sentences(count, seed, names, others, longest=8):
    """[(words, entities)] of random phrases; some words are ambiguous without their neighbours."""
    rng = random.Random(seed)
    sentences = []
    for _ in range(count):
        words, entities = [], []
        for _ in range(rng.randint(1, longest)):
            if rng.random() < 0.4:
                kind = rng.choice(sorted(names))
                phrase = rng.choice(names[kind])
                phrase = phrase.split() if " " in phrase or phrase.isascii() else list(phrase)
                entities.append(Entity(kind, len(words), len(words) + len(phrase)))
            else:
                phrase = rng.choice(others).split()
            words += phrase
        sentences.append((words, entities))
    return sentences


def columns(sentences, scheme="bio"):
    blocks = []
    for words, entities in sentences:
        tags = tag_schemes.to_bio(entities, len(words))
        if scheme == "iob1":
            ends = {(entity.end, entity.type) for entity in entities}
            tags = ["I" + tag[1:] if tag[:1] == "B" and (n, tag[2:]) not in ends else tag for n, tag in enumerate(tags)]
        blocks.append("\n".join(map(" ".join, zip(words, tags))))
    return "\n\n".join(blocks)  # no line end after the last sentence


def spans(sentences):
    lines = []
    for words, entities in sentences:
        text = "  ".join(words)
        starts = [sum(map(len, words[:n])) + 2 * n for n in range(len(words))]
        ends = [start + len(word) for start, word in zip(starts, words)]
        lines.append({"text": text, "entities": [[starts[e.start], ends[e.end - 1], e.type] for e in entities]})
    return "\n".join(json.dumps(line) for line in lines)


def cluener(sentences):
    lines = []
    for words, entities in sentences:
        text, label = "".join(words), {}
        for kind, start, end in entities:
            label.setdefault(kind, {}).setdefault(text[start:end], []).append([start, end - 1])
        lines.append({"text": text, "label": label})
    return "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)


class Files:
    """The files of a small task in one format, and the flags of a run on them."""

    def __init__(self, folder, write=columns, ending=".conll", names=NAMES, others=OTHERS):
        self.folder = folder
        self.paths = {}
        self.splits = {}
        for split, count, seed in (("train", 300, 1), ("dev", 60, 2), ("test", 40, 3)):
            self.splits[split] = random_sentences(count, seed, names, others)
            self.paths[split] = os.path.join(folder, split + ending)
            with open(self.paths[split], "w", encoding="utf-8") as file:
                file.write(write(self.splits[split]))
        config = dict(vocab_size=40, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
        config.update(max_position_embeddings=64, type_vocab_size=2, initializer_range=0.1)
        for name, content in (("bert_config.json", json.dumps(config)), ("vocab.txt", "\n".join(VOCAB))):
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(content)

    def flags(self, **changed):
        values = dict(
            train_file=self.paths["train"],
            dev_file=self.paths["dev"],
            bert_config_file=os.path.join(self.folder, "bert_config.json"),
            vocab_file=os.path.join(self.folder, "vocab.txt"),
            output_dir=os.path.join(self.folder, "out"),
            max_seq_length=32,
            train_batch_size=16,
            eval_batch_size=32,
            learning_rate=3e-3,
            num_train_steps=160,
            from_scratch="true",
            do_train="true",
        )
        values.update(changed)
        return ["--{}={}".format(name, value) for name, value in values.items() if value is not None]


def read_json(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return json.load(file)


def read_lines(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return file.read().split("\n")


CASES = {
    "softmax": dict(write=columns),
    "crf": dict(write=spans, ending=".jsonl"),
    "bilstm": dict(write=cluener, ending=".json", names=CHARACTERS, others=OTHER_CHARACTERS),
    "bilstm_crf": dict(write=lambda sentences: columns(sentences, "iob1")),
}
HEAD_FLAGS = {
    "softmax": dict(num_train_steps=300),
    "crf": dict(precision="bfloat16", constrained_decoding="true", lr_multipliers="crf/=10,output_=2"),
    "bilstm": dict(lstm_cell="gru", lstm_layers=2, lstm_size=16),
    "bilstm_crf": dict(lstm_size=16, lookahead_steps=5),
}


@pytest.mark.parametrize("head", sorted(CASES))
def test_every_head_and_format_is_learned_scored_and_predicted(head, tmp_path, capsys):
    files = Files(str(tmp_path), **CASES[head])
    flags = dict(
        head=head, do_eval="true", do_predict="true", test_file=files.paths["test"], **HEAD_FLAGS.get(head, {})
    )
    printed = succeed(files.flags(**flags), capsys, "run_ner")
    output = str(tmp_path / "out")
    scores, test = read_json(output, "eval_results.json"), read_json(output, "test_results.json")
    assert scores["f1"] > 0.9 and test["f1"] > 0.9, (scores["f1"], test["f1"])
    for example, (words, entities) in zip(evaluated_examples(output), files.splits["dev"]):
        assert example.words == list(words) and tag_schemes.entities(example.gold) == list(entities)
    assert "By type of entity" in page_of_run(output).text
    assert ("surface_macro_f1" in scores) == (head in ("crf", "bilstm"))
    assert "precision  recall      f1  correct  predicted  gold" in printed
    words = sum(len(words) for words, _ in files.splits["test"])
    assert test["words"] == words and test["examples"] == 40
    rows = [line for line in read_lines(output, "predictions.conll") if line]
    assert len(rows) == words
    objects = [json.loads(line) for line in read_lines(output, "predictions.jsonl") if line]
    correct = predicted = 0
    for item_of_text, (words, entities) in zip(objects, files.splits["test"]):
        surfaces = [item_of_text["text"][item["start"] : item["end"]] for item in item_of_text["entities"]]
        assert surfaces == [item["text"] for item in item_of_text["entities"]]
        assert all(0 <= item["score"] <= 1 for item in item_of_text["entities"])
        joined = {"".join(words[e.start : e.end]) for e in entities}
        correct += sum("".join(surface.split()) in joined for surface in surfaces)
        predicted += len(surfaces)
    assert correct > 0.8 * predicted
    # The folder alone predicts the same again.
    again = str(tmp_path / "again")
    arguments = [
        "--do_predict",
        "--model_dir=" + output,
        "--predict_file=" + files.paths["test"],
        "--output_dir=" + again,
    ]
    arguments += ["--precision=" + HEAD_FLAGS.get(head, {}).get("precision", "float32"), "--predict_batch_size=8"]
    succeed(arguments, capsys, "run_ner")
    assert read_lines(again, "predictions.jsonl") == read_lines(output, "predictions.jsonl")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return Files(str(tmp_path_factory.mktemp("tagged")))


@pytest.fixture(scope="module")
def model(files):
    assert run_main(files.flags(do_eval="true"), "run_ner") == 0
    return os.path.join(files.folder, "out")


@pytest.mark.usefixtures("graphs_as_built")
def test_every_word_is_predicted_once_however_short_the_windows(files, model, tmp_path, capsys):
    long = [(sum((words for words, _ in files.splits["test"]), []), [])] + files.splits["test"]
    path = str(tmp_path / "long.conll")
    with open(path, "w") as file:
        file.write(columns(long))
    total = sum(len(words) for words, _ in long)
    for length in (8, 16, 32):
        output = str(tmp_path / str(length))
        arguments = ["--do_predict", "--model_dir=" + model, "--predict_file=" + path, "--output_dir=" + output]
        succeed(arguments + ["--max_seq_length={}".format(length)], capsys, "run_ner")
        rows = [line.split(" ")[0] for line in read_lines(output, "predictions.conll") if line]
        assert rows == [word for words, _ in long for word in words] and len(rows) == total


@pytest.mark.usefixtures("graphs_as_built")
def test_windows_score_better_than_truncation(files, tmp_path, capsys):
    """With truncation, the entities in the part that is cut off would count as missed."""
    output = str(tmp_path / "out")
    succeed(files.flags(do_eval="true", max_seq_length=10, num_train_steps=120, output_dir=output), capsys, "run_ner")
    windows = read_json(output, "eval_results.json")
    gold = files.splits["dev"]
    assert windows["words"] == sum(len(words) for words, _ in gold)
    reachable = total = 0
    for words, entities in gold:
        pieces = np.cumsum([2 if word in ("anna", "smith") else 1 for word in words])
        reachable += sum(pieces[e.end - 1] <= 8 for e in entities)
        total += len(entities)
    assert reachable < 0.9 * total  # sentences are cut
    best_of_truncation = 2 * reachable / (total + reachable)
    assert windows["f1"] > best_of_truncation


class Bytes:
    def __init__(self, content):
        self.buffer = io.BytesIO(content)


def test_raw_text_comes_from_standard_input_with_its_characters(model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Bytes("  anna met bob\tsmith\n\nthe new york car\n".encode("utf-8")))
    arguments = ["--do_predict", "--predict_file=-", "--model_dir=" + model, "--output_dir=" + str(tmp_path)]
    succeed(arguments, capsys, "run_ner")
    objects = [json.loads(line) for line in read_lines(str(tmp_path), "predictions.jsonl") if line]
    assert [(item["id"], item["text"]) for item in objects] == [
        ("0", "  anna met bob\tsmith"),
        ("2", "the new york car"),
    ]
    places = [(item["start"], item["end"], item["type"]) for item in objects[0]["entities"]]
    assert places == [(2, 6, "PER"), (11, 20, "PER")]


def weights_of(folder):
    reader = tf.train.load_checkpoint(checkpoint.resolve(folder, "last"))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


@pytest.mark.usefixtures("graphs_as_built")
def test_a_run_resumes_exactly_and_a_second_stage_starts_from_it(files, tmp_path, capsys):
    flags = dict(head="crf", lr_schedule="constant", num_warmup_steps=0, save_checkpoints_steps=7)
    whole, parts = str(tmp_path / "whole"), str(tmp_path / "parts")
    succeed(files.flags(output_dir=whole, num_train_steps=14, **flags), capsys, "run_ner")
    copy_as_stopped(whole, 7, parts)
    printed = succeed(files.flags(output_dir=parts, num_train_steps=14, **flags), capsys, "run_ner")
    assert "Resume: continue" in printed
    resumed, straight = weights_of(parts), weights_of(whole)
    assert set(resumed) == set(straight)
    assert all(np.array_equal(resumed[name], straight[name]) for name in straight)
    stage = dict(output_dir=str(tmp_path / "stage"), init_checkpoint=whole, from_scratch=None, resume_mode="weights")
    assert "Stage 2" in succeed(files.flags(num_train_steps=3, **dict(flags, **stage)), capsys, "run_ner")
    other = dict(flags, head="softmax", output_dir=str(tmp_path / "other"), init_checkpoint=whole, from_scratch=None)
    tags = str(tmp_path / "tags.txt")
    with open(tags, "w") as file:
        file.write("O\nB-PER\nB-LOC\nB-TIME\n")
    message = mistake(files.flags(num_train_steps=3, tags_file=tags, **other), capsys, "run_ner")
    assert "--reset_head" in message and "output_bias" in message


@pytest.mark.parametrize(
    "changed, content, message",
    [
        (dict(do_eval="true"), "anna B-ORG\n", ":1: 'anna' has the tag B-ORG, which training did not see"),
        (dict(do_eval="true", tag_scheme="bio"), "in O\nanna I-PER\n", ":2: I-PER cannot follow O in bio"),
        (dict(do_eval="true"), "anna\n", ":1: a line has a word and no tag"),
        (dict(best_metric="accurracy"), "anna B-PER\n", "this task has f1, precision, recall"),
        (dict(do_eval="true", dev_file="nowhere.conll"), "", "--dev_file=nowhere.conll: no such file"),
        (dict(vocab_file="nowhere.txt"), "", "nowhere.txt: cannot be read"),
        (dict(head="crf", lstm_size=3), "", "--lstm_size is read with --head=bilstm"),
        (dict(max_seq_length=65), "anna B-PER\n", "--max_seq_length=65"),
        (
            dict(best_metric="surface_macro_f1"),
            "anna B-PER\n",
            "f1, precision, recall, macro_f1, strict_f1, acc",
        ),
        (dict(train_file=None, dry_run="true"), "", "--train_file is needed to train"),
    ],
)
def test_mistakes_are_one_message(files, tmp_path, capsys, changed, content, message):
    path = tmp_path / "wrong.conll"
    path.write_text(content)
    flags = dict(dict(dev_file=str(path), output_dir=str(tmp_path / "out")), **changed)
    assert message in mistake(files.flags(**flags), capsys, "run_ner")


def test_each_file_may_have_its_own_scheme(files, tmp_path, capsys):
    path = tmp_path / "dev.conll"
    path.write_text("in O\nanna I-PER\n")
    flags = dict(dev_file=str(path), do_eval="true", num_train_steps=1, output_dir=str(tmp_path / "out"))
    succeed(files.flags(**flags), capsys, "run_ner")
    assert read_json(str(tmp_path), "out", "eval_results.json")["by_type"]["PER"]["gold"] == 1


def test_input_files_are_not_overwritten_and_the_other_scripts_models_are_refused(files, model, tiny, tmp_path, capsys):
    path, default = tmp_path / "in.jsonl", tmp_path / "predictions.jsonl"
    for each in (path, default):
        each.write_text('{"text": "anna met bob"}\n')
    use = ["--do_predict", "--model_dir=" + model, "--predict_file=" + str(path)]
    for name in ("in.conll", "other.jsonl", "in.jsonl", "test_results.json"):
        message = mistake(use + ["--predict_output=" + str(tmp_path / name)], capsys, "run_ner")
        assert "Give another --predict_output" in message and path.read_text().startswith('{"text"')
    own = use[:2] + ["--predict_file=" + str(default), "--output_dir=" + str(tmp_path)]
    assert "Give another --predict_output" in mistake(own, capsys, "run_ner")
    assert default.read_text().startswith('{"text"')
    succeed(use + ["--predict_output=" + str(tmp_path / "out.conll")], capsys, "run_ner")
    assert json.loads(read_lines(str(tmp_path), "out.jsonl")[0])["entities"][0]["text"] == "anna"
    classifier = str(tmp_path / "classifier")
    assert run_main(tiny.flags(output_dir=classifier, do_train="true", num_train_steps=1)) == 0
    message = mistake(["--do_predict", "--model_dir=" + classifier, "--predict_file=" + str(path)], capsys, "run_ner")
    assert "labels.json: has no tag_scheme: the model was trained by another script" in message
    message = mistake(
        ["--do_predict", "--model_dir=" + model, "--predict_file=" + str(path), "--task_name=text"], capsys
    )
    assert "labels.json: has no label_type" in message


def test_a_trained_folder_keeps_doc_stride(files, tmp_path, capsys):
    output, again = str(tmp_path / "out"), str(tmp_path / "again")
    flags = dict(do_eval="true", max_seq_length=8, doc_stride=2, num_train_steps=30, output_dir=output)
    succeed(files.flags(**flags), capsys, "run_ner")
    arguments = ["--do_eval", "--model_dir=" + output, "--dev_file=" + files.paths["dev"], "--output_dir=" + again]
    succeed(arguments + ["--eval_batch_size=32", "--checkpoint=best"], capsys, "run_ner")
    names = ("f1", "accuracy", "loss")
    first, second = (read_json(folder, "eval_results.json") for folder in (output, again))
    assert [first[name] for name in names] == [second[name] for name in names]


def test_check_data_reports_anomalies(files, tmp_path, capsys):
    path = tmp_path / "train.conll"
    path.write_text("anna B-PER\n\nanna O\n\nquux O\nin I-PER\n\nanna B-PER\n\nrome B-LOC\n")
    arguments = ["--check_data", "--train_file=" + str(path), "--vocab_file=" + os.path.join(files.folder, "vocab.txt")]
    assert ":6: I-PER cannot follow O" in mistake(arguments, capsys, "run_ner")
    printed = succeed(arguments + ["--mend_tags", "--dev_file=" + files.paths["dev"]], capsys, "run_ner")
    for line in (
        "train.conll: lines with mistakes that were read all the same: 1",
        "train.conll: repeat an earlier one: 1 (train.conll:8 = train.conll:1)",
        "train.conll: repeat an earlier text with another label: 1 (train.conll:3 = train.conll:1)",
        "unknown pieces: 1 of 9",
        "  labels: LOC 1, PER 3",
    ):
        assert line in printed, printed
    windows = succeed(arguments + ["--mend_tags", "--max_seq_length=3"], capsys, "run_ner")
    assert "): 5 examples in 6 windows" in windows and "train.conll: repeat an earlier one: 1 " in windows
    path.write_text("met O\nrome B-LOC\n\n" * 2)  # a repeated sentence is reported once, not once for each window
    repeated = succeed(arguments + ["--max_seq_length=3"], capsys, "run_ner")
    assert "): 2 examples in 4 windows" in repeated and "train.conll: repeat an earlier one: 1 " in repeated


def test_the_plan_advises_a_higher_rate_for_a_bilstm(files, tmp_path, capsys):
    for head, given, said in (
        ("bilstm_crf", None, True),
        ("bilstm", "bilstm/=10,output_=10", False),
        ("crf", None, False),
    ):
        flags = files.flags(do_train=None, dry_run="true", head=head, lr_multipliers=given, output_dir=str(tmp_path))
        assert ("--lr_multipliers=bilstm/=10,output_=10" in succeed(flags, capsys, "run_ner")) == said


def test_plain_word_tags(files, tmp_path, capsys):
    def part_of_speech(sentences):
        kinds = {"in": "ADP", "the": "DET", "met": "VERB", "is": "VERB", "new": "ADJ", "fast": "ADJ"}
        return "\n\n".join("\n".join(w + "\t" + kinds.get(w, "NOUN") for w in words) for words, _ in sentences)

    tagged = Files(str(tmp_path), write=part_of_speech)
    flags = dict(do_eval="true", do_predict="true", test_file=tagged.paths["test"], num_train_steps=60)
    succeed(tagged.flags(**flags), capsys, "run_ner")
    scores = read_json(str(tmp_path), "out", "eval_results.json")
    assert scores["accuracy"] > 0.95 and "f1" not in scores
    first = json.loads(read_lines(str(tmp_path), "out", "predictions.jsonl")[0])
    assert [item["text"] for item in first["tags"]] == first["text"].split()
    message = mistake(tagged.flags(constrained_decoding="true", output_dir=str(tmp_path / "o2")), capsys, "run_ner")
    assert "these tags mark no entities" in message
