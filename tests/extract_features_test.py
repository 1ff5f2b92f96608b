"""extract_features: the original's lines and numbers, arrays, vectors of texts, and going on after a stop."""

import copy
import dataclasses
import gzip
import json
import os
import shutil

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from conftest import ROOT, mistake, run_main, succeed

import extract_features
import flags
import tokenization
from steady_bert.base.errors import RunError, UserError
from steady_bert.command_line import flag_table
from steady_bert.extraction import job, json_lines, lines, outputs
from steady_bert.extraction.config import ExtractionConfig
from steady_bert.serving import Predictor

SCRIPT = "extract_features"
GOLDEN_FOLDER = os.path.join(ROOT, "tests", "golden")
with open(os.path.join(GOLDEN_FOLDER, "extract_features.json"), encoding="utf-8") as _file:
    GOLDEN = json.load(_file)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The folder of the golden model, with the golden text beside it."""
    folder = tmp_path_factory.mktemp("features") / "model"
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(GOLDEN["vocab"]) + "\n", encoding="utf-8")
    (folder / "bert_config.json").write_text(json.dumps(GOLDEN["config"]))
    (folder / ".." / "text.txt").write_text("\n".join(GOLDEN["input_lines"]) + "\n", encoding="utf-8")
    with tf.Graph().as_default(), tf.Session() as session, np.load(
        os.path.join(GOLDEN_FOLDER, "extract_features.npz"), allow_pickle=False
    ) as weights:
        for name in weights.files:
            tf.get_variable(name, initializer=weights[name])
        session.run(tf.global_variables_initializer())
        tf.train.Saver().save(session, str(folder / "bert_model.ckpt"))
    return folder


def arguments(folder, output, by_folder=False, **more):
    given = dict(input_file=folder.parent / "text.txt", output_file=output, max_seq_length=24, batch_size=3)
    if by_folder:
        given["model"] = folder
    else:
        given.update(
            vocab_file=folder / "vocab.txt",
            bert_config_file=folder / "bert_config.json",
            init_checkpoint=folder / "bert_model.ckpt",
        )
    given.update(more)
    return ["--{}={}".format(name, value) for name, value in given.items() if value is not None]


def values_of(line):
    """[tokens, K, H]"""
    return np.array([[layer["values"] for layer in token["layers"]] for token in line["features"]])


def test_golden_lines_and_numbers_are_the_originals(model, tmp_path, capsys):
    assert "Features of 7 lines" in succeed(arguments(model, tmp_path / "out"), capsys, SCRIPT)
    text = (tmp_path / "out").read_text()
    assert text.startswith(GOLDEN["first_line_prefix"].split('[{"index"')[0])
    lines = [json.loads(line) for line in text.splitlines()]
    assert len(lines) == len(GOLDEN["output"]) == 7
    for line, expected in zip(lines, GOLDEN["output"]):
        assert list(line) == list(expected) and line["linex_index"] == expected["linex_index"]
        assert [feature["token"] for feature in line["features"]] == [f["token"] for f in expected["features"]]
        assert [layer["index"] for layer in line["features"][0]["layers"]] == [-1, -2, -3, -4]
        np.testing.assert_allclose(values_of(line), values_of(expected), rtol=0, atol=1e-5)
    assert os.listdir(str(tmp_path)) == ["out"]  # the part of it is gone


def test_the_text_of_a_number_is_that_of_round():
    values = np.array([2**-7, -(2**-7), 3 * 2**-7, 1e-7, -1e-7, 2.5e-5, 123.4567891, 0.1, 30, -4.0625], np.float32)
    expected = "0.007812, -0.007812, 0.023438, 0.0, -0.0, 2.5e-05, 123.456787, 0.1, 30.0, -4.0625"
    assert json_lines.row_texts(values[None, :]) == [expected]
    rng = np.random.RandomState(0)
    many = (rng.randn(60, 50) * 10.0 ** rng.randint(-8, 2, (60, 50))).astype(np.float32)
    large = np.where(rng.rand(60, 50) < 0.01, np.float32(98765.4321), many)  # three digits before the point are usual
    for rows in (many, large, np.array([[999.9999999, 0.001, 0.000999, 1e-4, 9.9e-5]], np.float32)):
        as_original = [json.dumps([round(float(value), 6) for value in row])[1:-1] for row in rows]
        assert json_lines.row_texts(rows) == as_original


def test_arrays_and_vectors_are_the_same_numbers_for_any_batch(model, tmp_path, capsys):
    expected = [values_of(line) for line in GOLDEN["output"]]
    succeed(arguments(model, tmp_path / "tokens.npz", by_folder=True), capsys, SCRIPT)
    with np.load(str(tmp_path / "tokens.npz"), allow_pickle=False) as arrays:
        assert arrays["layers"].tolist() == [-1, -2, -3, -4]
        assert arrays["values"].dtype == np.float32 and arrays["values"].shape == (87, 4, 32)
        parts = np.split(arrays["values"], arrays["ends"][:-1])
        ids = np.split(arrays["token_ids"], arrays["ends"][:-1])
    for part, wanted in zip(parts, expected):
        np.testing.assert_allclose(part, wanted, rtol=0, atol=1e-5)
    assert [GOLDEN["vocab"][number] for number in ids[3]] == [f["token"] for f in GOLDEN["output"][3]["features"]]
    pooled = dict(by_folder=True, pooling="mean", layers="3,0", batch_size=7)
    succeed(arguments(model, tmp_path / "vectors.npz", **pooled), capsys, SCRIPT)
    with np.load(str(tmp_path / "vectors.npz"), allow_pickle=False) as arrays:
        wanted = [line[:, [0, 3]].mean(axis=0) for line in expected]  # layers -1 and -4
        np.testing.assert_allclose(arrays["vectors"], wanted, rtol=0, atol=1e-5)
        predictor = Predictor(str(model))
        np.testing.assert_allclose(arrays["vectors"][0, 0], predictor.embed([GOLDEN["input_lines"][0]])[0], atol=1e-5)
        predictor.close()
    (tmp_path / "text.gz").write_bytes(gzip.compress((model.parent / "text.txt").read_bytes()))
    succeed(arguments(model, tmp_path / "vectors", input_file=tmp_path / "text.gz", **pooled), capsys, SCRIPT)
    line = json.loads((tmp_path / "vectors").read_text().splitlines()[6])
    assert line["linex_index"] == 6 and [layer["index"] for layer in line["layers"]] == [3, 0]
    np.testing.assert_allclose([layer["values"] for layer in line["layers"]], wanted[6], rtol=0, atol=2e-5)


def test_a_dry_run_says_what_would_be_written_and_writes_nothing(model, tmp_path, capsys):
    given = dict(by_folder=True, pooling="mean", layers="3,0", max_seq_length=9, precision="bfloat16", dry_run="true")
    said = succeed(arguments(model, tmp_path / "vectors.npz", **given), capsys, SCRIPT)
    assert "4 layers of 32, texts up to 9 tokens, bfloat16\n" in said
    lengths = [len(line["features"]) for line in GOLDEN["output"]]  # one is cut at 24
    tokens = sum(min(length, 9) for length in lengths)
    cut = sum(length > 9 for length in lengths)
    unknown = sum(feature["token"] == "[UNK]" for line in GOLDEN["output"] for feature in line["features"])
    text = "text:   7 lines, {} tokens; cut lines: {}, empty ones: 1, unknown pieces: {}\n"
    assert text.format(tokens, cut, unknown) in said and cut and unknown
    assert "vectors.npz, layers 3,0, pooling mean: 14 vectors, about 0.0 MB" in said
    assert not os.listdir(str(tmp_path))


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("name", ["lines", "arrays.npz"])
def test_a_stopped_command_goes_on_to_the_same_bytes(model, tmp_path, capsys, monkeypatch, name):
    monkeypatch.setattr(job, "_CHUNK_TOKENS", 20)  # a chunk is one line, or a few
    monkeypatch.setattr(outputs, "_SAVE_SECS", 0.0)
    succeed(arguments(model, tmp_path / ("whole-" + name)), capsys, SCRIPT)
    add = outputs.Output.add

    def stopping(output, rows):
        add(output, rows)
        if output.lines >= 3:
            output._files[next(iter(output._files))].write(b"half of a line")  # written, but not saved
            raise StoppedError

    with monkeypatch.context() as patched, pytest.raises(StoppedError):
        patched.setattr(outputs.Output, "add", stopping)
        run_main(arguments(model, tmp_path / name), SCRIPT)
    assert not (tmp_path / name).exists()
    assert "Going on after 3 lines" in succeed(arguments(model, tmp_path / name), capsys, SCRIPT)
    assert (tmp_path / name).read_bytes() == (tmp_path / ("whole-" + name)).read_bytes()


def opened(folder, **more):
    """(the configuration that the flags give, the encoder that it opens)"""
    given = dict(
        input_file=str(folder.parent / "text.txt"),
        output_file="out",
        model=None,
        vocab_file=str(folder / "vocab.txt"),
        bert_config_file=str(folder / "bert_config.json"),
        init_checkpoint=str(folder / "bert_model.ckpt"),
        do_lower_case=True,
        max_seq_length=24,
        layers=(-1,),
        batch_size=3,
        pooling="none",
    )
    config = ExtractionConfig(**dict(given, **more))
    with job._opened(config) as encoder:
        return config, encoder


def test_whatever_decides_the_output_is_part_of_what_a_later_command_compares(model, tmp_path, monkeypatch):
    config, encoder = opened(model)
    before = job._identity(config, encoder)
    other = {name: str(tmp_path / name) for name in ("text", "vocab", "weights")}
    for path in other.values():
        with open(path, "w") as file:
            file.write("\n".join(GOLDEN["vocab"][:-1] + ["[another]"]))
    cased = opened(model, do_lower_case=False)[1]
    vocabulary = opened(model, vocab_file=other["vocab"])[1]
    bert_config = copy.copy(encoder.bert_config)
    bert_config.hidden_act = "relu"
    changes = [
        ("input", dataclasses.replace(config, input_file=other["text"]), encoder),
        ("checkpoint", config, encoder._replace(prefix=other["weights"])),
        ("vocabulary", config, cased),
        ("vocabulary", config, vocabulary),
        ("model", config, encoder._replace(bert_config=bert_config)),
        ("compute", config, encoder._replace(compute=encoder.compute._replace(form="other"))),
        ("max_seq_length", config, encoder._replace(max_seq_length=23)),
        ("layers", dataclasses.replace(config, layers=(-2,)), encoder),
        ("pooling", dataclasses.replace(config, pooling="cls"), encoder),
        ("batch_size", dataclasses.replace(config, batch_size=4), encoder),
    ]
    for name, *changed in changes:
        after = job._identity(*changed)
        assert [key for key in before if before[key] != after[key]] == [name]
    monkeypatch.setattr(job.tf, "__version__", "another")
    assert [key for key, value in job._identity(config, encoder).items() if value != before[key]] == ["tensorflow"]
    assert set(before) == {name for name, *_ in changes} | {"tensorflow"}


def test_a_run_gives_its_length_and_a_pre_trained_model_128_or_its_positions(model, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="--max_seq_length=128: "):
        opened(model, max_seq_length=None)
    assert opened(model, model=str(model), max_seq_length=None)[1].max_seq_length == 48
    assert opened(model, precision="bfloat16")[1].compute.precision == "bfloat16"
    of_run = opened(model, max_seq_length=20)[1]
    monkeypatch.setattr(job.saved_run, "is_run", lambda folder: True)
    monkeypatch.setattr(job.saved_run, "open_run", lambda folder: folder)
    monkeypatch.setattr(job.encoder, "of_run", lambda run: of_run)
    assert [opened(model, model="run", max_seq_length=given)[1].max_seq_length for given in (None, 40)] == [20, 40]
    with pytest.raises(UserError, match="--max_seq_length=49: the model has 48 positions"):
        opened(model, model="run", max_seq_length=49)
    questions = shutil.copytree(str(model), str(tmp_path / "run of run_squad"))
    with open(os.path.join(questions, "labels.json"), "w") as file:
        json.dump({"labels": [], "answers": "spans"}, file)
    assert opened(model, model=questions, max_seq_length=None)[1].max_seq_length == 48
    # What the run was trained with, unless the command says it.
    own = {"model": {"max_seq_length": 40}, "run": {"engine": {"precision": "bfloat16", "max_seq_length": 40}}}
    config = os.path.join(questions, "config.json")
    for given, length, precision in (
        ({}, 40, "bfloat16"),
        ({"max_seq_length": 30}, 30, "bfloat16"),
        ({"precision": "float32"}, 40, "float32"),
    ):
        with open(config, "w") as file:
            json.dump(own, file)
        encoder = opened(model, model=questions, **{"max_seq_length": None, **given})[1]
        assert (encoder.max_seq_length, encoder.compute.precision) == (length, precision)
    for part, wrong, said in (
        ("model", {"max_seq_length": -1}, 'model.max_seq_length": found -1, expected 1 to '),
        ("model", {"max_seq_length": 1.0}, 'model.max_seq_length": found 1.0, expected a whole number'),
        ("run", {"engine": {"precision": "half"}}, 'run.engine.precision": found "half", expected one of float32, '),
    ):
        with open(config, "w") as file:
            json.dump(dict(own, **{part: wrong}), file)
        with pytest.raises(UserError, match='config.json: key "' + said):
            opened(model, model=questions)


def lines_of(*numbers):
    return [
        (lines.Encoded(number, ["[CLS]", "[SEP]"], [2, 3], [0, 0]), np.zeros((2, 1, 4), np.float32))
        for number in numbers
    ]


@pytest.mark.parametrize("name", ["out", "out.npz"])
def test_an_output_is_written_by_one_command_that_goes_on_with_its_own_part_alone(tmp_path, monkeypatch, name):
    def output(identity):
        return outputs.Output(str(tmp_path / name), {"layers": identity}, [-1], 4, pooled=False)

    part = output(1)
    part.add(lines_of(0, 1))
    part.save()
    with pytest.raises(UserError, match="another process is writing it"):
        output(1)
    part.close()
    part = output(1)
    assert part.lines == 2
    part.close()
    part = output(2)
    assert part.lines == 0
    part.add(lines_of(0))
    not_finite = lines_of(1)
    not_finite[0][1][1, 0, 2] = np.inf
    with pytest.raises(RunError, match="Line 2 of the input"):
        part.add(not_finite)
    rmtree = outputs.shutil.rmtree

    def removing(folder):
        assert part._lock.is_locked  # or it would be another command's by now
        rmtree(folder)

    monkeypatch.setattr(outputs.shutil, "rmtree", removing)
    part.finish()
    part.close()
    assert not part._lock.is_locked and os.listdir(str(tmp_path)) == [name]
    if name == "out":
        assert [json.loads(line)["linex_index"] for line in (tmp_path / name).read_text().splitlines()] == [0]
    else:
        with np.load(str(tmp_path / name), allow_pickle=False) as arrays:
            assert arrays["ends"].tolist() == [2]


def test_progress_counts_the_bytes_of_the_file(model, tmp_path, monkeypatch):
    calls = []

    class Progress:
        def __init__(self, what, total, unit):
            self.skip = lambda done: calls.append(("skip", done))
            self.update = lambda done: calls.append(("update", done, total))

    monkeypatch.setattr(job, "ProgressLines", Progress)
    (tmp_path / "text").write_bytes("é\n好吃\n".encode("utf-8"))
    config, encoder = opened(model, input_file=str(tmp_path / "text"))
    assert [line.unique_id for line in job._lines(config, encoder, done=1)] == [1]
    assert calls == [("skip", 3), ("update", 10, 10)]


@pytest.mark.parametrize(
    "more, said",
    [
        (dict(layers="-1,4"), "--layers: 4 is not a layer. There are 0 to 3, or -1 (the last) to -4."),
        (dict(layers="x"), "--layers=x: not a list of numbers"),
        (dict(layers="1,1"), "names a layer twice"),
        (dict(max_seq_length=49), "--max_seq_length=49"),
        (dict(max_seq_length=49, by_folder=True), "--max_seq_length=49: the model has 48 positions"),
        (dict(vocab_file=None), "--vocab_file is needed"),
        (dict(model="folder"), "--model and --vocab_file were both given"),
        (dict(input_file="nowhere"), "--input_file=nowhere: there is no such file"),
        (dict(input_file="{latin}"), "latin.txt:2: is not UTF-8"),
        (dict(output_file="{latin}", input_file="{latin}"), "is an input file"),
        (dict(use_tpu="true"), "--use_tpu: features are computed on this machine"),
        (dict(model="no/such", by_folder=True), "--model=no/such: "),
        (dict(seed=1), "--seed: is a flag of run_classifier.py"),
    ],
)
def test_mistakes_are_said(model, tmp_path, capsys, more, said):
    latin = tmp_path / "latin.txt"
    latin.write_bytes(b"fine\ncaf\xe9\n")
    more = {name: value.format(latin=latin) if isinstance(value, str) else value for name, value in more.items()}
    flags.register("run_classifier")
    assert said in mistake(arguments(model, tmp_path / "out", **more), capsys, SCRIPT)
    assert not (tmp_path / "out").exists()


def test_what_scripts_import_has_the_originals_shapes(model):
    examples = extract_features.read_examples(str(model.parent / "text.txt"))
    assert [(e.unique_id, e.text_a, e.text_b) for e in examples[3:]] == [
        (3, "好吃 means tasty.", None),
        (4, "", None),
        (5, "left ||| middle", "right"),
        (6, "no|||split |||", None),
    ]
    tokenizer = tokenization.FullTokenizer(str(model / "vocab.txt"))
    features = extract_features.convert_examples_to_features(examples, 24, tokenizer)
    assert [f.tokens for f in features] == [[f["token"] for f in line["features"]] for line in GOLDEN["output"]]
    assert all(len(f.input_ids) == len(f.input_mask) == len(f.input_type_ids) == 24 for f in features)
    assert features[5].input_mask == [1] * 9 + [0] * 15 and sum(features[5].input_type_ids) == 2
    with tf.Graph().as_default(), tf.Session() as session:
        batch = tf.data.make_one_shot_iterator(
            extract_features.input_fn_builder(features, 24)(dict(batch_size=4))
        ).get_next()
        assert session.run(batch)["unique_ids"].tolist() == [0, 1, 2, 3]
    assert len(flag_table.REGISTERED_BY_IMPORT[SCRIPT]) == 13
