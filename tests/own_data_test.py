"""Your own data through the command line: each format, each label type, files and standard input."""

import csv
import gzip
import io
import json
import os
import random
import sys

import numpy as np
import pytest
from conftest import BAD, GOOD, WORDS, evaluated_examples, mistake, page_of_run, succeed, train_sentencepiece


def examples(count, seed):
    """[(text, whether it praises, whether it blames)]"""
    rng = random.Random(seed)
    texts = []
    for _ in range(count):
        praises, blames = rng.random() < 0.5, rng.random() < 0.5
        words = rng.choices(WORDS, k=3) + [rng.choice(GOOD)] * praises + [rng.choice(BAD)] * blames
        rng.shuffle(words)
        texts.append((" ".join(words), praises, blames))
    return texts


SPLITS = (("train", 400, 1), ("dev", 60, 2), ("test", 20, 3))


def write_csv(folder):
    for split, count, seed in SPLITS:
        with open(os.path.join(folder, split + ".csv"), "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["key", "what was said", "verdict"][: 2 if split == "test" else 3])
            for number, (text, praises, _) in enumerate(examples(count, seed)):
                label = [['it\'s bad, "really"', "fine"][praises]]
                writer.writerow(["k{}".format(number), text.replace(" ", "\n", 1)] + label * (split != "test"))


def write_json(folder, label):
    for split, count, seed in SPLITS:
        with gzip.open(os.path.join(folder, split + ".jsonl.gz"), "wb") as file:
            for number, (text, praises, blames) in enumerate(examples(count, seed)):
                line = dict(id=number + 100, text=text)
                if split != "test":
                    line["label"] = label(praises, blames)
                file.write(json.dumps(line).encode("utf-8") + b"\n")


def train(tiny, folder, capsys, **changed):
    output = os.path.join(folder, "out")
    values = dict(data_dir=folder, output_dir=output, do_train="true", do_eval="true", do_predict="true")
    succeed(tiny.flags(**dict(dict(values, num_train_steps=120), **changed)), capsys)
    with open(os.path.join(output, "eval_results.json")) as file:
        return output, json.load(file)


def read_rows(path):
    with open(path, encoding="utf-8") as file:
        return [line.rstrip("\n").split("\t") for line in file]


def test_csv_with_its_own_column_names_and_balanced_weights(tiny, tmp_path, capsys):
    write_csv(str(tmp_path))
    flags = dict(text_columns="what was said", label_column="verdict", class_weights="balanced")
    output, scores = train(tiny, str(tmp_path), capsys, **flags)
    fine = sum(praises for _, praises, _ in examples(400, 1))
    with open(os.path.join(output, "plan.json")) as file:
        weights = json.load(file)["identity"]["class_weights"]
    assert weights == [400 / (2 * fine), 400 / (2 * (400 - fine))]
    assert scores["accuracy"] > 0.9 and scores["labels"] == ["fine", 'it\'s bad, "really"']
    wrong = sum(each.gold != each.predicted for each in evaluated_examples(output))
    assert "{} of 60 are wrong".format(wrong) in page_of_run(output).text
    rows = read_rows(os.path.join(output, "predictions.tsv"))
    assert rows[0] == ["id", "prediction", "fine", 'it\'s bad, "really"'] and len(rows) == 21
    assert np.mean([(row[1] == "fine") == praises for row, (_, praises, _) in zip(rows[1:], examples(20, 3))]) >= 0.9


def test_several_labels_from_gzipped_json_lines(tiny, tmp_path, capsys):
    write_json(str(tmp_path), lambda praises, blames: ["praise"] * praises + ["blame"] * blames)
    flags = dict(label_type="multi", num_train_steps=200)
    output, scores = train(tiny, str(tmp_path), capsys, **flags)
    assert scores["micro_f1"] > 0.9 and scores["exact_match"] > 0.8
    rows = read_rows(os.path.join(output, "predictions.tsv"))
    assert [row[0] for row in rows[1:]] == [str(number) for number in range(100, 120)]
    expected = [",".join(["blame"] * blames + ["praise"] * praises) for _, praises, blames in examples(20, 3)]
    assert np.mean([row[1] == names for row, names in zip(rows[1:], expected)]) > 0.8
    for row in rows[1:]:
        chosen = [name for name, value in zip(("blame", "praise"), row[2:]) if float(value) >= 0.5]
        assert row[1] == ",".join(chosen)


def test_a_number_is_learned(tiny, tmp_path, capsys):
    write_json(str(tmp_path), lambda praises, blames: 2.0 * praises - 2.0 * blames)
    output, scores = train(tiny, str(tmp_path), capsys, label_type="regression")
    assert scores["pearson"] > 0.8 and scores["confusion_matrix"] == []
    predicted = [float(row[1]) for row in read_rows(os.path.join(output, "predictions.tsv"))[1:]]
    assert np.corrcoef(predicted, [2.0 * p - 2.0 * b for _, p, b in examples(20, 3)])[0, 1] > 0.8


@pytest.fixture(scope="module")
def model(tiny, tmp_path_factory):
    from conftest import run_main

    output = str(tmp_path_factory.mktemp("model") / "out")
    assert run_main(tiny.flags(output_dir=output, do_train="true", num_train_steps=60)) == 0
    return output


class Bytes:
    def __init__(self, content):
        self.buffer = io.BytesIO(content)


@pytest.mark.parametrize(
    "content, ids",
    [
        (b"good alpha\nbad beta\n", ["0", "1"]),
        (b"id\ttext\nx7\tgood alpha\nx8\tbad beta", ["x7", "x8"]),
        (b'{"text": "good alpha"}\n{"text": "bad beta"}\n', ["0", "1"]),
        (b'\xef\xbb\xbf {"text": "good alpha"}\n{"text": "bad beta"}\n', ["0", "1"]),
        (b'id,text\n7,"good, alpha"\n8,"bad\nbeta"\n', ["7", "8"]),
        pytest.param(gzip.compress(b"good alpha\nbad beta\n"), ["0", "1"], id="gzip"),  # its bytes hold the time
        (b'{"text": "good alpha", "id": "first"}\n{"text": "bad beta", "id": 2}\n', ["first", "2"]),
    ],
)
def test_standard_input_is_predicted_in_its_order(model, tmp_path, capsys, monkeypatch, content, ids):
    monkeypatch.setattr(sys, "stdin", Bytes(content))
    arguments = ["--do_predict", "--predict_file=-", "--model_dir=" + model, "--output_dir=" + str(tmp_path)]
    succeed(arguments, capsys)
    rows = read_rows(str(tmp_path / "predictions.tsv"))
    assert [(row[0], row[1]) for row in rows[1:]] == list(zip(ids, ["praise", "blame"]))


def test_an_empty_standard_input_is_an_error(model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Bytes(b""))
    arguments = ["--do_predict", "--predict_file=-", "--model_dir=" + model, "--output_dir=" + str(tmp_path)]
    assert "standard-input.txt: the file is empty" in mistake(arguments, capsys)


def test_check_data_needs_no_model_and_reports_anomalies(tiny, tmp_path, capsys):
    rows = ["text\tlabel", "good alpha\tpraise", "good  alpha\tpraise", "good alpha\tblame", "bad beta\tblame"]
    rows += ["good alpha\tpraise", "\tblame", "alpha " * 20 + "bad\tblame", "unknown words here\tblame"]
    (tmp_path / "train.tsv").write_text("\n".join(rows) + "\n")
    (tmp_path / "dev.tsv").write_text("text\tlabel\nbad beta\tpraise\ngood alpha\tpraise\n")
    arguments = ["--check_data", "--task_name=text", "--data_dir=" + str(tmp_path), "--vocab_file=" + tiny.vocab_file]
    printed = succeed(arguments + ["--max_seq_length=12"], capsys)
    for line in (
        "train ({}): 8 examples".format(tmp_path / "train.tsv"),
        "  labels: blame 5, praise 3",
        "  length in tokens, special ones included: median 4, 95 % 23, longest 23",
        "     1-8          7 " + "#" * 40,
        "  unknown pieces: 3 of 34 (8.824%)",
        "train.tsv: cut to --max_seq_length=12: 1 of 8, the longest of 23 tokens (train.tsv:8)",
        "train.tsv: without text: 1 (train.tsv:7)",
        "train.tsv: repeat an earlier one: 1 (train.tsv:6 = train.tsv:2)",
        "train.tsv: repeat an earlier text with another label: 1 (train.tsv:4 = train.tsv:2)",
        "dev.tsv: also in train.tsv: 1 (dev.tsv:3 = train.tsv:2)",
        "dev.tsv: also in train.tsv with another label: 1 (dev.tsv:2 = train.tsv:5)",
    ):
        assert line in printed, printed


def test_a_bert_on_a_sentencepiece_vocabulary_is_trained_and_predicts_from_its_folder(tiny, tmp_path, capsys):
    lines = [text for text, _, _ in examples(500, 9)]
    symbols = "[CLS],[SEP],[MASK]"
    spm_model_file = train_sentencepiece(str(tmp_path / "my.model"), lines, vocab_size=38, control_symbols=symbols)
    output = str(tmp_path / "out")
    flags = dict(vocab_file=None, spm_model_file=spm_model_file, max_seq_length=32, num_train_steps=200)
    flags.update(output_dir=output, do_train="true", do_eval="true")
    succeed(tiny.flags(**flags), capsys)
    with open(os.path.join(output, "eval_results.json")) as file:
        assert json.load(file)["accuracy"] > 0.9
    assert os.path.exists(os.path.join(output, "spiece.model")) and not os.path.exists(
        os.path.join(output, "vocab.txt")
    )
    predicted = str(tmp_path / "predicted")
    test = os.path.join(tiny.data_dir, "test.tsv")
    succeed(["--do_predict", "--model_dir=" + output, "--predict_file=" + test, "--output_dir=" + predicted], capsys)
    assert len(read_rows(os.path.join(predicted, "predictions.tsv"))) == 31


def test_check_data_finds_labels_in_dev_where_there_is_no_train(tiny, tmp_path, capsys):
    (tmp_path / "dev.tsv").write_text("text\tlabel\nbad beta\tno\ngood alpha\tyes\n")
    arguments = ["--check_data", "--task_name=text", "--data_dir=" + str(tmp_path), "--vocab_file=" + tiny.vocab_file]
    assert "  labels: no 1, yes 1" in succeed(arguments, capsys)
    os.unlink(str(tmp_path / "dev.tsv"))
    assert "None of " in mistake(arguments, capsys)


def test_the_record_cache_depends_on_the_format_of_a_file(model, tmp_path, capsys):
    for name in ("new.txt", "new.tsv"):
        (tmp_path / name).write_text("text\nbad\n")
    counts = []
    for name in ("new.txt", "new.tsv"):
        arguments = ["--do_predict", "--predict_file=" + str(tmp_path / name), "--model_dir=" + model]
        arguments += ["--cache_dir=" + str(tmp_path / "cache"), "--output_dir=" + str(tmp_path / "out")]
        succeed(arguments, capsys)
        counts.append(len([n for n in os.listdir(str(tmp_path / "cache")) if n.endswith(".tfrecord")]))
    assert counts == [1, 2]


def test_equal_label_sets_and_equal_numbers_are_no_contradiction(tiny, tmp_path, capsys):
    arguments = ["--check_data", "--task_name=text", "--data_dir=" + str(tmp_path), "--vocab_file=" + tiny.vocab_file]
    (tmp_path / "train.tsv").write_text("text\tlabel\ngood\ta,b\ngood\tb,a\ngood\ta\n")
    printed = succeed(arguments + ["--label_type=multi"], capsys)
    assert "  labels: a 3, b 2" in printed
    assert "train.tsv: repeat an earlier one: 1 (" in printed and "an earlier text with another label: 1 (" in printed
    (tmp_path / "train.tsv").write_text("text\tlabel\ngood\t1\ngood\t1.0\n")
    assert "another label" not in succeed(arguments + ["--label_type=regression"], capsys)
