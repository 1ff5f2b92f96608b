"""Exports: what each holds, and its proof in a process of its own."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import types

import numpy as np
import pytest
import safetensors.numpy
import tensorflow.compat.v1 as tf
from conftest import ROOT, run_main
from convert_checkpoint_test import full_disk
from run_ner_test import Files, read_json

from steady_bert.base import files
from steady_bert.base.errors import RunError, UserError
from steady_bert.export import command, huggingface, output_folder, proof, reference, saved_model, tf1
from steady_bert.export.command import Options
from steady_bert.interchange import hugging_face
from steady_bert.serving import saved_run
from steady_bert.tasks.task import BadLines
from steady_bert.training import checkpoint, weights


@pytest.fixture(scope="module")
def classifier(tiny, tmp_path_factory):
    """A run with one label a text and the exact gelu; it keeps averages, which is what evaluation reads."""
    folder = tmp_path_factory.mktemp("classifier")
    config = dict(read_json(tiny.bert_config_file), hidden_act="gelu_erf")
    (folder / "config.json").write_text(json.dumps(config))
    more = dict(bert_config_file=str(folder / "config.json"), output_dir=str(folder / "run"), ema_decay=0.5)
    assert run_main(tiny.flags(do_train="true", num_train_steps=3, learning_rate=1e-2, **more)) == 0
    return str(folder / "run")


@pytest.fixture(scope="module")
def labeller(tiny, tmp_path_factory):
    """A run with several labels a text, read in windows."""
    folder = str(tmp_path_factory.mktemp("labeller") / "run")
    more = dict(label_type="multi", multi_label_threshold=0.4, long_text="windows", max_seq_length=8)
    assert run_main(tiny.flags(output_dir=folder, do_train="true", num_train_steps=3, **more)) == 0
    return folder


@pytest.fixture(scope="module")
def tagger(tmp_path_factory):
    """A run whose CRF matters, and whose sentences are cut into windows."""
    files = Files(str(tmp_path_factory.mktemp("tagger")))
    more = dict(head="crf", constrained_decoding="true", max_seq_length=12, lr_multipliers="crf/=10")
    assert run_main(files.flags(num_train_steps=30, **more), "run_ner") == 0
    return files


def exported(run, to, output, **more):
    command.export(Options(run, to, str(output), **more))
    return read_json(str(output), "export_check.json")


def proven(record, rows):
    assert record["proven"] and record["rows"] == rows and record["decisions_that_differ"] == 0
    assert 0 < record["largest_difference"] < 1e-5
    return True


def test_a_saved_model_decodes_a_crf_without_a_line_of_ours(tagger, tmp_path):
    record = exported(tagger.folder + "/out", "saved_model", tmp_path / "model")
    assert proven(record, record["rows"]) and record["rows"] > 60  # windows of 60 sentences
    assert record["outputs"] > sum(len(words) for words, _ in tagger.splits["dev"]), "words in two windows"
    assert record["signatures"] == ["words", "examples"]
    assert sorted(os.listdir(str(tmp_path))) == ["model"], "nothing is left beside it"
    assets = str(tmp_path / "model" / "assets")
    with open(assets + "/labels.txt") as file:
        assert file.read().split("\n")[:-1] == read_json(tagger.folder, "out", "labels.json")["labels"]
    with open(assets + "/vocab.txt") as file, open(tagger.folder + "/vocab.txt") as own:
        assert file.read() == own.read()
    run = saved_run.open_run(tagger.folder + "/out")
    sentence = ["anna", "smith", "met", "in", "rome"]
    pieces = run.inputs.tokenizer.encode(sentence)
    ids = [2] + sum(pieces, []) + [3]
    rows = {"input_ids": [ids], "input_mask": [[1] * len(ids)], "segment_ids": [[0] * len(ids)]}
    starts = [[0] + [int(n == 0) for of_word in pieces for n in range(len(of_word))] + [0]]
    told = {"input_ids": rows["input_ids"], "input_mask": rows["input_mask"], "word_starts": starts}
    padded = {name: [values[0] + [0] * 5] for name, values in rows.items()}
    told = dict(told, begins=[1], ends=[1])
    with loaded(tmp_path / "model") as call:
        guessed, known = call("serving_default", rows), call("words", told)
        assert guessed["word_counts"].tolist() == [5] and guessed["tags"].tolist() == known["tags"].tolist()
        assert np.allclose(call("serving_default", padded)["logits"][:, :5], guessed["logits"][:, :5])


@contextlib.contextmanager
def loaded(folder):
    """A function of (signature, inputs) that gives its outputs; TensorFlow 2 loads in its own way."""
    if tf.executing_eagerly():
        import tensorflow

        signatures = tensorflow.saved_model.load(str(folder)).signatures

        def call(signature, fed):
            inputs = {name: tensorflow.constant(values, tf.int32) for name, values in fed.items()}
            return {name: value.numpy() for name, value in signatures[signature](**inputs).items()}

        yield call
        return
    with tf.Graph().as_default(), tf.Session() as session:
        definitions = tf.saved_model.loader.load(session, ["serve"], str(folder)).signature_def

        def call(signature, fed):
            inputs, outputs = definitions[signature].inputs, definitions[signature].outputs
            feeds = {inputs[name].name: values for name, values in fed.items()}
            return session.run({name: info.name for name, info in outputs.items()}, feeds)

        yield call


def test_a_saved_model_says_labels_as_text_and_applies_the_threshold(tiny, classifier, labeller, tmp_path):
    rows = {"input_ids": [[2, 5, 6, 3], [2, 7, 3, 0]], "input_mask": [[1, 1, 1, 1], [1, 1, 1, 0]]}
    rows["segment_ids"] = [[0, 0, 0, 0]] * 2
    assert exported(classifier, "saved_model", tmp_path / "one", unchecked=True)["why"] == "--unchecked"
    with loaded(tmp_path / "one") as call:
        outputs = call("serving_default", rows)
    names = [[b"blame", b"praise"][number] for number in outputs["label_ids"]]
    assert outputs["labels"].tolist() == names
    assert np.allclose(outputs["probabilities"].sum(axis=1), 1)
    exported(labeller, "saved_model", tmp_path / "several", unchecked=True)
    with loaded(tmp_path / "several") as call:
        outputs = call("serving_default", rows)
    assert np.array_equal(outputs["predicted"], outputs["probabilities"] >= 0.4)


def test_the_originals_files_hold_the_weights_alone_averages_in_their_place(classifier, tmp_path, capsys):
    """The exact gelu, which the original does not know, is written as the one by tanh where that is asked for."""
    with pytest.raises(UserError, match="gelu_erf.*--activation=tanh"):
        exported(classifier, "tf1", tmp_path / "tf1")
    record = exported(classifier, "tf1", tmp_path / "tf1", activation="tanh")
    assert proven(record, 64) and record["activation"].startswith("gelu in place of gelu_erf")
    printed = capsys.readouterr().out
    assert "gelu_erf → gelu: logits differ by up to" in printed and "on 8 examples" in printed
    assert read_json(str(tmp_path / "tf1"), "bert_config.json")["hidden_act"] == "gelu"
    prefix = str(tmp_path / "tf1" / "bert_model.ckpt")
    shapes = checkpoint.shapes_in(prefix)
    assert {"output_weights", "output_bias", "bert/pooler/dense/kernel"} < set(shapes)
    assert "global_step" not in shapes and not any("adam" in name or "ema" in name for name in shapes)
    average = checkpoint.Reader(classifier + "/model.ckpt-3").tensor(weights.average_of("output_weights"))
    assert np.array_equal(checkpoint.Reader(prefix).tensor("output_weights"), average)


def test_without_an_interpreter_a_hugging_face_folder_stays_under_a_name_that_says_so(labeller, tmp_path):
    with pytest.raises(RunError, match="not proven: name an interpreter.*--check_python"):
        exported(labeller, "huggingface", str(tmp_path / "hf") + "/")  # as a shell completes it
    assert os.listdir(str(tmp_path)) == ["hf.unproven"]
    record = exported(labeller, "huggingface", tmp_path / "hf", unchecked=True)
    assert not record["proven"] and os.listdir(str(tmp_path)) == ["hf"]
    folder = str(tmp_path / "hf")
    config = read_json(folder, "config.json")
    assert config["architectures"] == ["BertForSequenceClassification"] and config["hidden_act"] == "gelu_new"
    assert config["problem_type"] == "multi_label_classification"
    assert config["id2label"] == {"0": "blame", "1": "praise"}
    tensors = safetensors.numpy.load_file(folder + "/model.safetensors")
    kernel = checkpoint.Reader(labeller + "/model.ckpt-3").tensor("bert/encoder/layer_0/intermediate/dense/kernel")
    assert np.array_equal(tensors["bert.encoder.layer.0.intermediate.dense.weight"], kernel.T)
    assert tensors["classifier.weight"].shape == (2, 32)
    tokenizer = read_json(folder, "tokenizer_config.json")
    assert tokenizer["do_lower_case"] is True and tokenizer["model_max_length"] == 8
    assert read_json(folder, "special_tokens_map.json")["mask_token"] == "[MASK]"
    assert read_json(folder, "tokenizer.json")["model"]["vocab"]["[SEP]"] == 3
    hugging_face.convert(folder, str(tmp_path / "back"))
    back = checkpoint.Reader(str(tmp_path / "back" / "bert_model.ckpt"))
    weights_of_run = weights.served_tensors(labeller + "/model.ckpt-3")
    assert all(np.array_equal(back.tensor(name), value) for name, value in weights_of_run.items())
    assert read_json(str(tmp_path), "back", "bert_config.json") == read_json(labeller, "bert_config.json")
    with open(folder + "/README.md") as file:
        card = file.read()
    assert "probability of 0.4 on" in card and "overlapping windows" in card


@pytest.mark.slow
def test_transformers_pipelines_give_the_runs_predictions(classifier, labeller, tmp_path):
    """A run with the exact gelu, one with several labels and windows, and a tagger of words with several pieces."""
    torch = os.path.join(ROOT, ".venv-torch", "bin", "python")
    if not os.path.exists(torch):
        pytest.skip("no .venv-torch, which benchmarks/export_proof.sh makes")
    files = Files(str(tmp_path))
    assert run_main(files.flags(num_train_steps=60, max_seq_length=12), "run_ner") == 0
    for run, texts in ((classifier, 64), (labeller, 0), (files.folder + "/out", 0)):
        record = exported(run, "huggingface", tmp_path / "hf", check_python=torch)
        assert proven(record, record["rows"]) and record["rows_with_other_ids"] == 0
        pipeline = record["pipeline"]
        assert pipeline["texts"] >= texts and pipeline["texts"] > 10 and pipeline["decisions_that_differ"] == 0
        assert (pipeline["texts_not_compared"] == 0) == (run == classifier)


def test_what_a_form_has_no_place_for_is_refused_by_its_name(tagger, classifier, tmp_path):
    run = tagger.folder + "/out"
    with pytest.raises(UserError, match="the head has a CRF.*--to=saved_model"):
        exported(run, "huggingface", tmp_path / "x")
    with pytest.raises(UserError, match="the head has a CRF.*--to=saved_model"):
        exported(run, "tf1", tmp_path / "x")
    with pytest.raises(UserError, match="is read with --to=tf1"):
        exported(classifier, "saved_model", tmp_path / "x", activation="tanh")
    with pytest.raises(UserError, match="--check_python: is read with --to=huggingface"):
        exported(classifier, "tf1", tmp_path / "x", check_python="python3")
    for more in (dict(check_file="dev.tsv"), dict(check_python="python3")):
        with pytest.raises(UserError, match="--unchecked: nothing is compared"):
            exported(classifier, "huggingface", tmp_path / "x", unchecked=True, **more)
    sentence_pieces = types.SimpleNamespace(
        script="run_classifier",
        folder="f",
        inputs=None,
        config=types.SimpleNamespace(model=types.SimpleNamespace(spm_model_file="m")),
    )
    for refuse in (huggingface.refuse, tf1.refuse):
        with pytest.raises(UserError, match="f: reads pieces of SentencePiece.*--to=saved_model"):
            refuse(sentence_pieces)
    with pytest.raises(UserError, match="no such file"):
        exported(classifier, "saved_model", tmp_path / "x", check_file=str(tmp_path / "none.tsv"))
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "thesis.tex").write_text("")
    with pytest.raises(UserError, match="no export of this program, so it is not replaced"):
        exported(classifier, "saved_model", tmp_path / "own")
    assert os.listdir(str(tmp_path)) == ["own"]


@pytest.mark.parametrize(
    "to, broken",
    [
        ("huggingface", (files, "rename_synced")),
        ("tf1", (checkpoint, "_write")),
        ("saved_model", (saved_model, "_signatures")),
        ("tf1", (output_folder, "write_record")),
    ],
)
def test_a_full_disk_names_the_export_not_the_folder_that_it_is_made_in(classifier, tmp_path, monkeypatch, to, broken):
    monkeypatch.setattr(*broken, full_disk)
    activation = "tanh" if to == "tf1" else None
    with pytest.raises(RunError, match="^{}: the disk is full. It takes more than ".format(tmp_path / "model")):
        exported(classifier, to, tmp_path / "model", unchecked=True, activation=activation)
    assert os.listdir(str(tmp_path)) == []


# --- the proof --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own(tagger):
    """(the tagger's run, its numbers for its dev file)."""
    run = saved_run.open_run(tagger.folder + "/out", precision="float32")
    return run, reference.reference(run, tagger.paths["dev"], is_dev=True)


def test_numbers_that_differ_are_no_proof(own):
    run, numbers = own
    for moved, holds in ((0.9e-4, True), (1.1e-4, False), (np.nan, False)):
        logits = numbers.logits.copy()
        logits[7, 1] += moved
        assert proof.compare(run, numbers, logits, numbers.decisions).holds == holds, moved
    with pytest.raises(RunError, match="bug of the export"):
        proof.compare(run, numbers, numbers.logits[1:], numbers.decisions[1:])


def test_a_decision_may_differ_only_where_the_runs_own_scores_tie(own):
    """The scores of tag sequences, transitions of the CRF and forbidden ones included."""
    run, numbers = own
    decisions = numbers.decisions.copy()
    decisions[0] = (decisions[0] + 1) % numbers.logits.shape[1]
    comparison = proof.compare(run, numbers, numbers.logits, decisions)
    assert (comparison.differing, comparison.ties, comparison.holds) == (1, 0, False)
    labels = list(run.task.labels)
    transitions = weights.served_tensors(run.prefix, ["crf/transitions"])["crf/transitions"]
    # Raise the logit of another legal tag of a record's first word until its sequence is as good. Any tag but I- may
    # stand before a second word that is not I-.
    places = np.cumsum(numbers.outputs) - numbers.outputs
    is_inside = np.array([label.startswith("I-") for label in labels])
    place = next(p for p, n in zip(places, numbers.outputs) if n > 1 and not is_inside[numbers.decisions[p + 1]])
    chosen, second = numbers.decisions[place : place + 2]
    other = next(n for n in range(len(labels)) if n != chosen and not is_inside[n])
    tied = numbers.logits.copy()
    tied[place, other] += tied[place, chosen] - tied[place, other]
    tied[place, other] += transitions[chosen, second] - transitions[other, second]
    decisions = numbers.decisions.copy()
    decisions[place] = other
    comparison = proof.compare(run, numbers._replace(logits=tied), tied, decisions)
    assert (comparison.differing, comparison.ties) == (0, 1)


def test_a_file_of_long_texts_alone_has_none_that_a_pipeline_reads_as_the_run_does(own):
    run, numbers = own
    numbers = numbers._replace(texts=[])
    compared = command._of_pipeline(run, numbers, {"predicted": np.zeros(0, np.int64)})
    assert (compared["texts"], compared["outputs"], compared["texts_not_compared"]) == (0, 0, numbers.examples)


def test_numbers_in_place_of_tags_mean_what_they_meant_in_training(own, tmp_path):
    run, _ = own
    saved = read_json(run.folder, "config.json")
    saved["data"]["tags_file"] = str(tmp_path / "tags.txt")
    for name, text in (
        ("config.json", json.dumps(saved)),
        ("tags.txt", "O\nI-PER\nB-PER\n"),
        ("dev.jsonl", '{"tokens": ["anna", "smith", "met"], "ner_tags": [2, 1, 0]}\n'),
    ):
        (tmp_path / name).write_text(text)
    run, split = reference.reading(run._replace(folder=str(tmp_path)), str(tmp_path / "dev.jsonl"), is_dev=True)
    (sentence,) = run.task.read(split, BadLines(0))
    assert sentence.tags == ("B-PER", "I-PER", "O")


# --- the folder -------------------------------------------------------------------------------------------------------


def test_an_export_replaces_an_export_and_leaves_nothing_beside_it(tmp_path):
    output = str(tmp_path / "model")
    for content in ("first", "second"):
        output_folder.require_free(output)
        with output_folder.scratch(output) as folder:
            os.makedirs(folder)
            output_folder.write_record(folder, {"exported": "tf1", "proven": True, "content": content})
            output_folder.move(folder, output)
        assert read_json(output, "export_check.json")["content"] == content
        assert os.listdir(str(tmp_path)) == ["model"]


def test_an_interrupted_export_leaves_nothing(tmp_path):
    code = """
import sys, time
sys.path.insert(0, {!r})
from steady_bert.base import tensorflow_setup
tensorflow_setup.start_program()
from steady_bert.export import output_folder
with output_folder.scratch({!r}) as folder:
    open(folder, "w").close()
    print("begun", flush=True)
    time.sleep(60)
""".format(ROOT, str(tmp_path / "model"))
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process = subprocess.Popen([sys.executable, "-c", code], **pipes)
    assert process.stdout.readline() == b"begun\n" and len(os.listdir(str(tmp_path))) == 1
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 130 and os.listdir(str(tmp_path)) == []


def test_the_other_process_ends_with_its_caller(tmp_path):
    """It would else go on with a model in memory after the export was killed."""
    code = "import os, sys, threading, time\n" + _end_with_caller() + "print(os.getpid(), flush=True)\ntime.sleep(60)\n"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline()
    started = time.time()
    process.stdin.close()
    assert process.wait() == 1 and time.time() - started < 30


def _end_with_caller():
    with open(os.path.join(ROOT, "steady_bert", "export", "elsewhere", "tf1.py")) as file:
        source = file.read()
    function = source[source.index("def _end_with_caller") : source.index("def _graph")]
    return function + "\nthreading.Thread(target=_end_with_caller, daemon=True).start()\n"
