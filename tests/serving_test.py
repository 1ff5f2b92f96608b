"""A run's folder in a program: its inference graph, its Predictor and its vectors, with the numbers of --do_predict."""

import json
import os
import random
import re
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from conftest import BAD, GOOD, ROOT, WORDS, run_main
from run_ner_test import Files

import modeling
from steady_bert.base.errors import UserError
from steady_bert.interchange import to_safetensors
from steady_bert.serving import Predictor, graph, saved_run
from steady_bert.tasks.tagging.windows import COUNTED, NO_WORD
from steady_bert.training import checkpoint, weights


def padded(rows):
    length = max(map(len, rows))
    return np.array([row + [0] * (length - len(row)) for row in rows])


@pytest.fixture(scope="module")
def classifier(tiny, tmp_path_factory):
    """A run that keeps averages, which is what evaluation reads."""
    folder = str(tmp_path_factory.mktemp("classifier"))
    arguments = tiny.flags(output_dir=folder, do_train="true", do_predict="true", num_train_steps=3, ema_decay=0.5)
    assert run_main(arguments) == 0
    return folder


@pytest.fixture(scope="module")
def tagger(tmp_path_factory):
    files = Files(str(tmp_path_factory.mktemp("tagger")))
    more = dict(num_train_steps=60, head="crf", test_file=files.paths["test"], do_predict="true")
    assert run_main(files.flags(**more), "run_ner") == 0
    return files


@pytest.mark.parametrize("stock_ops", [False, True])
def test_a_classifier_answers_as_do_predict_does(tiny, classifier, stock_ops):
    with open(classifier + "/predictions.tsv") as file:
        expected = [[float(number) for number in line.split("\t")[2:]] for line in list(file)[1:]]
    with open(tiny.data_dir + "/test.tsv") as file:
        texts = [line.rstrip("\n").split("\t")[1] for line in list(file)[1:]]
    run = saved_run.open_run(classifier)
    assert (run.script, run.kind, list(run.inputs.labels)) == ("run_classifier", "single", ["blame", "praise"])
    built = graph.build(run, stock_ops)
    vocab = run.inputs.tokenizer.vocab
    ids = padded([[vocab["[CLS]"], *of_text, vocab["[SEP]"]] for of_text in run.inputs.tokenizer.encode(texts)])
    feeds = {built.inputs["input_ids"]: ids, built.inputs["segment_ids"]: np.zeros_like(ids)}
    actual = built.session.run(built.outputs, feeds)
    assert list(actual) == ["probabilities"]
    np.testing.assert_allclose(actual["probabilities"], expected, atol=2e-6)
    stock = {"XlaLaunch", "PartitionedCall", "StatefulPartitionedCall", "PyFunc", "SymbolicGradient"}
    assert not stock_ops or not stock & {node.op for node in built.session.graph.as_graph_def().node}


def test_a_tagger_answers_as_do_predict_does_by_viterbi(tagger):
    folder = tagger.folder + "/out"
    with open(folder + "/predictions.conll") as file:
        blocks = [block.split("\n") for block in file.read().strip().split("\n\n")]
    expected = [[line.split(" ")[-1] for line in block] for block in blocks]
    run = saved_run.open_run(folder)
    built = graph.build(run, stock_ops=True)
    vocab = run.inputs.tokenizer.vocab
    ids, roles = [], []
    for words, _ in tagger.splits["test"]:
        pieces = run.inputs.tokenizer.encode(words)
        ids.append([vocab["[CLS]"]] + sum(pieces, []) + [vocab["[SEP]"]])
        roles.append([NO_WORD] + sum(([COUNTED] + [NO_WORD] * (len(word) - 1) for word in pieces), []) + [NO_WORD])
    feeds = {built.inputs["input_ids"]: padded(ids), built.inputs["roles"]: padded(roles)}
    actual = built.session.run(built.outputs, feeds)
    tags = [[run.inputs.tags[t] for t in row[: len(e)]] for row, e in zip(actual["tag_ids"], expected)]
    assert tags == expected and run.kind == "bio" and len({tag for row in tags for tag in row}) > 2
    np.testing.assert_allclose(actual["probabilities"].sum(-1), actual["roles"] == COUNTED, atol=1e-5)


def test_a_folder_that_is_no_run_and_a_flag_that_is_none_are_refused(classifier, tmp_path):
    with pytest.raises(UserError, match="not the folder of a trained run"):
        saved_run.open_run(str(tmp_path))
    with pytest.raises(UserError, match="precision='int8'"):
        saved_run.open_run(classifier, precision="int8")
    assert saved_run.open_run(classifier, precision="bfloat16").engine.precision == "bfloat16"


# --- Predictor --------------------------------------------------------------------------------------------------------


def lines_of(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return file.read().rstrip("\n").split("\n")


def texts_of(tiny):
    return [line.split("\t")[1] for line in lines_of(tiny.data_dir, "test.tsv")[1:]]


def pairs_file(path, rows, seed, label):
    """A file with pairs of texts, some of them long. label(praise, blame) gives the label of a row."""
    rng = random.Random(seed)
    lines = ["text_a\ttext_b\tlabel"]
    for _ in range(rows):
        first, second = (rng.choices(WORDS + GOOD + BAD, k=rng.choice([2, 5, 20])) for _ in range(2))
        lines.append("{}\t{}\t{}".format(" ".join(first), " ".join(second), label(*(set(first) & set(GOOD), second))))
    with open(path, "w") as file:
        file.write("\n".join(lines) + "\n")


def pair_run(tiny, folder, label, **changed):
    os.makedirs(folder)
    for split, rows in (("train", 40), ("test", 20)):
        pairs_file(os.path.join(folder, split + ".tsv"), rows, rows, label)
    flags = dict(data_dir=folder, output_dir=folder + "/run", do_train="true", do_predict="true", num_train_steps=3)
    assert run_main(tiny.flags(**dict(flags, **changed))) == 0
    pairs = [tuple(line.split("\t")[:2]) for line in lines_of(folder, "test.tsv")[1:]]
    written = [line.split("\t") for line in lines_of(folder, "run", "predictions.tsv")[1:]]
    return Predictor(folder + "/run"), pairs, written


def test_a_classifier_answers_with_the_numbers_of_its_prediction_file(tiny, classifier):
    written = [line.split("\t") for line in lines_of(classifier, "predictions.tsv")[1:]]
    predictor = Predictor(classifier, batch_tokens=64)
    answers = predictor.predict(texts_of(tiny))
    assert [answer["label"] for answer in answers] == [row[1] for row in written]
    actual = [[answer["probabilities"][label] for label in ("blame", "praise")] for answer in answers]
    np.testing.assert_allclose(actual, [[float(cell) for cell in row[2:]] for row in written], atol=2e-6)
    assert [answer["score"] for answer in answers] == [max(row) for row in actual]
    assert predictor.predict([]) == [] and len(predictor.predict(["", ("alpha", "beta")])) == 2
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda text: predictor.predict([text])[0]["label"], texts_of(tiny))) == [
            answer["label"] for answer in answers
        ]


def test_scores_of_pairs_that_are_read_in_windows_are_those_of_the_prediction_file(tiny, tmp_path):
    predictor, pairs, written = pair_run(
        tiny,
        str(tmp_path / "pairs"),
        lambda praise, second: len(praise),
        label_type="regression",
        long_text="windows",
        window_pooling="max",
        text_columns="text_a,text_b",
    )
    actual = [answer["score"] for answer in predictor.predict(pairs)]
    np.testing.assert_allclose(actual, [float(row[1]) for row in written], atol=6e-5)
    with pytest.raises(UserError, match=r"texts\[1\]: has 1 texts; this model reads a pair of strings"):
        predictor.predict([pairs[0], "alpha"])


def test_several_labels_are_those_of_the_prediction_file(tiny, tmp_path):
    predictor, pairs, written = pair_run(
        tiny,
        str(tmp_path / "multi"),
        lambda praise, second: ",".join(["good"] * bool(praise) + ["long"] * (len(second) > 4)),
        label_type="multi",
        long_text="head_tail",
        multi_label_threshold="0.4",
    )
    answers = predictor.predict(pairs)
    assert [",".join(answer["labels"]) for answer in answers] == [row[1] for row in written]
    actual = [list(answer["probabilities"].values()) for answer in answers]
    np.testing.assert_allclose(actual, [[float(cell) for cell in row[2:]] for row in written], atol=2e-6)


def test_a_taggers_entities_are_those_of_the_prediction_file_for_words_and_for_texts(tagger):
    written = [json.loads(line) for line in lines_of(tagger.folder, "out", "predictions.jsonl")]
    predictor = Predictor(tagger.folder + "/out", batch_tokens=64)
    sentences = [words for words, _ in tagger.splits["test"]]
    for asked in (sentences, [" ".join(words) for words in sentences]):
        for answer, expected in zip(predictor.predict(asked), written):
            assert answer["text"] == expected["text"]
            spans = [(e["start"], e["end"], e["type"], e["text"]) for e in answer["entities"]]
            assert spans == [(e["start"], e["end"], e["type"], e["text"]) for e in expected["entities"]]
            scores = [e["score"] for e in answer["entities"]]
            np.testing.assert_allclose(scores, [e["score"] for e in expected["entities"]], atol=3e-6)
    assert predictor.predict(["", [], " \n"]) == [{"text": text, "entities": []} for text in ("", "", " \n")]
    long = predictor.predict(["anna met bob smith in rome " * 20])[0]  # read in windows
    assert all(long["text"][e["start"] : e["end"]] == e["text"] for e in long["entities"])
    with pytest.raises(UserError, match=r"texts\[0\]: is neither a string nor a list of words"):
        predictor.predict([["anna", ""]])


# --- vectors ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pre_trained(classifier, tmp_path_factory):
    """A folder as google-research/bert's models are published, with the weights of the run."""
    folder = str(tmp_path_factory.mktemp("pre-trained"))
    tensors = weights.served_tensors(saved_run.open_run(classifier).prefix)
    encoder = {name: value for name, value in tensors.items() if name.startswith("bert/")}
    checkpoint.write(folder + "/bert_model.ckpt", encoder)
    for name in ("bert_config.json", "vocab.txt"):
        shutil.copy(os.path.join(classifier, name), folder)
    return folder


def test_vectors_of_a_run_and_of_a_pre_trained_folder_are_the_models_own(tiny, classifier, pre_trained, tmp_path):
    run = saved_run.open_run(classifier)
    texts = [*texts_of(tiny)[:5], "alpha", ("beta good", "eta")]
    states = hidden_states(run, texts)
    of_run, of_folder = Predictor(classifier), Predictor(pre_trained)
    for pooling, reduce in (("mean", np.mean), ("max", np.max), ("cls", lambda rows, axis: rows[0])):
        expected = [np.concatenate([reduce(state[layer], axis=0) for layer in (1, 0)]) for state in states]
        for predictor in (of_run, of_folder):
            actual = predictor.embed(texts, pooling=pooling, layers=(-1, 0))
            assert actual.dtype == np.float32 and actual.shape == (7, 64)
            np.testing.assert_allclose(actual, expected, atol=2e-6)
    operations = len(of_folder._session.graph.get_operations())  # a client may ask for any list of layers
    repeated = of_folder.embed(texts, pooling="cls", layers=(1, 1))
    np.testing.assert_allclose(repeated, [np.tile(state[1][0], 2) for state in states], atol=2e-6)
    assert len(of_folder._session.graph.get_operations()) == operations
    np.testing.assert_allclose(of_folder.embed(texts), [np.mean(state[-1], axis=0) for state in states], atol=2e-6)
    assert of_folder.embed(["alpha " * 100]).shape == (1, 32)  # cut at the 32 positions that the model has
    (tmp_path / "texts").write_text("\n".join([*texts[:-1], " ||| ".join(texts[-1])]))
    flags = dict(model=classifier, input_file=tmp_path / "texts", output_file=tmp_path / "vectors.npz", layers=0)
    assert run_main(["--pooling=mean", *("--{}={}".format(*pair) for pair in flags.items())], "extract_features") == 0
    with np.load(str(tmp_path / "vectors.npz"), allow_pickle=False) as arrays:
        expected = [np.mean(state[1], axis=0) for state in states]  # extract_features counts layers without embeddings
        np.testing.assert_allclose(arrays["vectors"][:, 0], expected, atol=2e-6)
    with pytest.raises(UserError, match="a pre-trained model predicts nothing"):
        of_folder.predict(["alpha"])
    for wrong in (dict(pooling="sum"), dict(layers=2), dict(layers=()), dict(layers=[True])):
        with pytest.raises(UserError):
            of_folder.embed(["alpha"], **wrong)
    for wrong, kind in ((None, "NoneType"), (3, "int"), ({"text": "a"}, "dict")):
        with pytest.raises(UserError, match=r"texts\[1\]: is a {}, not a text".format(kind)):
            of_run.predict(["alpha", wrong])
    for given in ({}, {"checkpoint": "last"}):
        with pytest.raises(UserError, match="is not the folder of a model"):
            Predictor(str(tmp_path), **given)
    for name, value in (("checkpoint", "last"), ("precision", "bfloat16")):
        with pytest.raises(UserError, match="a pre-trained model, so {} would not be read".format(name)):
            Predictor(pre_trained, **{name: value})


def test_vectors_of_a_hugging_face_folder_are_those_of_its_twin(tiny, pre_trained, tmp_path):
    folder, cache = str(tmp_path / "published"), str(tmp_path / "cache")
    to_safetensors.convert(pre_trained, folder)
    expected = Predictor(pre_trained).embed(texts_of(tiny))
    for _ in range(2):  # the second time, the conversion is in the cache
        np.testing.assert_allclose(Predictor(folder, cache_dir=cache).embed(texts_of(tiny)), expected, atol=1e-6)
        assert len([name for name in os.listdir(cache) if name.startswith("weights-")]) == 2  # with its lock


def hidden_states(run, texts):
    """[L + 1, tokens, H] of each text, by a bare call of modeling."""
    vocab, states = run.inputs.tokenizer.vocab, []
    with tf.Graph().as_default(), tf.Session() as session:
        ids, segments = tf.placeholder(tf.int32, [1, None]), tf.placeholder(tf.int32, [1, None])
        model = modeling.BertModel(run.inputs.bert_config, False, ids, None, segments, scope="bert")
        fetched = [model.get_embedding_output(), *model.get_all_encoder_layers()]
        session.run(tf.global_variables_initializer())
        for variable in tf.global_variables():
            variable.load(weights.served_tensors(run.prefix, [variable.op.name])[variable.op.name], session)
        for text in texts:
            parts = run.inputs.tokenizer.encode([text] if isinstance(text, str) else text)
            row, kinds = [vocab["[CLS]"]], [0]
            for number, part in enumerate(parts):
                row += part + [vocab["[SEP]"]]
                kinds += [number] * (len(part) + 1)
            states.append([state[0] for state in session.run(fetched, {ids: [row], segments: [kinds]})])
    return states


# --- docs/serving.md --------------------------------------------------------------------------------------------------


def test_the_documentations_lines_run(classifier, tagger, pre_trained, tmp_path, monkeypatch, capsys):
    with open(os.path.join(ROOT, "docs", "serving.md"), encoding="utf-8") as file:
        blocks = re.findall("^```python\n(.*?)^```", file.read(), re.S | re.M)
    os.makedirs(str(tmp_path / "runs"))
    for name, folder in (("reviews", classifier), ("mrpc", classifier), ("ner", tagger.folder + "/out")):
        os.symlink(folder, str(tmp_path / "runs" / name))
    os.symlink(pre_trained, str(tmp_path / "uncased"))
    monkeypatch.chdir(tmp_path)
    with open(pre_trained + "/bert_config.json") as file:
        assert json.load(file)["num_hidden_layers"] == 1  # so layers=(-1, -2) are the last and the embeddings
    names = {}
    for block in blocks:
        exec(compile(block, "docs/serving.md", "exec"), names)
    assert len(blocks) == 3 and names["vectors"].shape == (2, 32)
    printed = capsys.readouterr().out.split("\n")
    assert printed[0].split()[0] in ("blame", "praise") and len(printed) == 4
