"""--model: one folder for weights, configuration, vocabulary and case, for every kind of folder and both scripts."""

import contextlib
import io
import json
import os
import shutil

import numpy as np
import pytest
import safetensors.numpy
from conftest import mistake, run_main, succeed

import modeling
from steady_bert.export import huggingface
from steady_bert.interchange import names
from steady_bert.serving import saved_run
from steady_bert.training import checkpoint


@pytest.fixture(scope="module")
def published(tiny, tmp_path_factory):
    """A Hugging Face folder of tiny's sizes, without a head."""
    folder = tmp_path_factory.mktemp("published") / "hf"
    folder.mkdir()
    write_published(folder, tiny)
    return str(folder)


def write_published(folder, tiny, **changed):
    with open(tiny.bert_config_file) as file:
        config = dict(json.load(file), model_type="bert", hidden_act="gelu", layer_norm_eps=1e-12, **changed)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True}))
    shutil.copy(tiny.vocab_file, str(folder / "vocab.txt"))
    shapes = names.shapes_of(config)
    if "id2label" in changed:
        shapes.update(output_weights=(2, 32), output_bias=(2,))
    rng = np.random.RandomState(3)
    places = names.hugging_face_places(1)
    tensors = {}
    for variable, shape in sorted(shapes.items()):
        value = (0.1 * rng.randn(*shape)).astype(np.float32)
        tensors[places[variable].name] = np.ascontiguousarray(value.T if places[variable].transposed else value)
    safetensors.numpy.save_file(tensors, str(folder / "model.safetensors"))


def flags_of(tiny, **changed):
    without = dict(vocab_file=None, bert_config_file=None, from_scratch=None, num_train_steps=2)
    return tiny.flags(**dict(without, **changed))


@pytest.fixture(scope="module")
def trained(tiny, published, tmp_path_factory):
    """A run of two steps that --model=HUGGING_FACE_FOLDER started, and what it printed."""
    folder = str(tmp_path_factory.mktemp("trained") / "run")
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        assert run_main(flags_of(tiny, model=published, output_dir=folder, do_train="true")) == 0
    return folder, output.getvalue()


def test_training_from_a_published_folder_takes_its_weights_configuration_vocabulary_and_case(trained):
    folder, printed = trained
    assert "(Hugging Face; do_lower_case=true, by tokenizer_config.json)" in printed
    assert "23 loaded, 2 missing, 0 unused, 0 mismatched" in printed  # the head is new
    assert modeling.BertConfig.from_json_file(os.path.join(folder, "bert_config.json")).hidden_act == "gelu_erf"
    assert os.path.exists(os.path.join(folder, "vocab.txt"))
    with open(os.path.join(folder, "flags.txt")) as file:
        given = file.read()
    assert "--model=" in given and "--vocab_file" not in given


def test_the_same_command_goes_on_without_converting_again(tiny, published, trained, capsys):
    folder, _ = trained
    flags = flags_of(tiny, model=published, output_dir=folder, do_train="true")
    printed = succeed(flags, capsys)
    assert "Resume: finished" in printed and "Converted" not in printed


def test_init_checkpoint_takes_a_published_folder_with_the_folders_own_files(
    tiny, published, trained, tmp_path, capsys
):
    names_ = dict(bert_config_file="config.json", vocab_file="vocab.txt")
    given = {flag: os.path.join(published, name) for flag, name in names_.items()}
    output = str(tmp_path / "run")
    succeed(flags_of(tiny, init_checkpoint=published, output_dir=output, do_train="true", **given), capsys)
    prefixes = [checkpoint.prefix_of(folder, 2) for folder in (trained[0], output)]
    readers = [checkpoint.Reader(prefix) for prefix in prefixes]
    for name in checkpoint.shapes_in(prefixes[0]):
        assert np.array_equal(*(reader.tensor(name) for reader in readers)), name


def test_another_configuration_than_the_published_one_is_warned_of(tiny, published, tmp_path, capsys):
    given = dict(bert_config_file=tiny.bert_config_file, vocab_file=tiny.vocab_file, init_checkpoint=published)
    printed = succeed(flags_of(tiny, output_dir=str(tmp_path), dry_run="true", **given), capsys)
    assert "has hidden_act=gelu, but the weights in" in printed and "with gelu_erf" in printed


def predictions(folder):
    with open(os.path.join(folder, "predictions.tsv")) as file:
        return file.read()


def test_a_run_is_used_by_model_as_by_model_dir_and_is_a_start_for_training(tiny, trained, tmp_path, capsys):
    test_file = os.path.join(tiny.data_dir, "test.tsv")
    shutil.copytree(trained[0], str(tmp_path / "model"))  # another run, whose folder gets the predictions
    for flag in ("model", "model_dir"):
        arguments = {flag: trained[0], "output_dir": str(tmp_path / flag), "predict_file": test_file}
        printed = succeed(["--do_predict"] + ["--{}={}".format(*pair) for pair in arguments.items()], capsys)
        assert "Model: " + os.path.join(trained[0], "model.ckpt-2") in printed
    assert predictions(str(tmp_path / "model")) == predictions(str(tmp_path / "model_dir"))
    next_run = dict(output_dir=str(tmp_path / "next"), do_train="true", num_train_steps=1)
    printed = succeed(flags_of(tiny, model=trained[0], **next_run), capsys)
    assert "(a run; do_lower_case=true, by config.json)" in printed
    assert "Initial weights from " + os.path.join(trained[0], "model.ckpt-2: 25 loaded, 0 missing") in printed


def test_the_command_that_trained_predicts_with_what_it_has_learned(tiny, published, trained, capsys):
    flags = flags_of(tiny, model=published, output_dir=trained[0], do_predict="true")
    printed = succeed(flags, capsys)
    assert "--init_checkpoint is not read" in printed and "Converted" not in printed


def test_a_fine_tuned_published_classifier_predicts_with_its_own_labels(tiny, published, tmp_path, capsys):
    """Also where the command still names the folder that another model starts from."""
    folder = tmp_path / "hf"
    folder.mkdir()
    labels = dict(id2label={"0": "cold", "1": "warm"}, architectures=["BertForSequenceClassification"])
    write_published(folder, tiny, **labels)
    test_file = os.path.join(tiny.data_dir, "test.tsv")
    models = ["--model_dir=" + str(folder), "--init_checkpoint=" + published]
    models.append("--bert_config_file=" + str(folder / "config.json"))
    arguments = ["--do_predict", "--predict_file=" + test_file, "--output_dir=" + str(tmp_path / "out")]
    said = "--init_checkpoint is not read: --model_dir={} is used.".format(folder)
    assert said in succeed(arguments + models + ["--max_seq_length=16"], capsys)
    rows = predictions(str(tmp_path / "out")).split("\n")
    assert {row.split("\t")[1] for row in rows[1:] if row} <= {"cold", "warm"}


def test_a_published_folder_without_a_head_predicts_nothing_and_is_not_written_to(tiny, published, tmp_path, capsys):
    arguments = ["--do_predict", "--model=" + published, "--task_name=text", "--labels=blame,praise"]
    arguments += ["--predict_file=" + os.path.join(tiny.data_dir, "test.tsv"), "--output_dir=" + str(tmp_path)]
    assert "hf: has no trained head (classifier.weight)" in mistake(arguments, capsys)
    same = flags_of(tiny, model=published, output_dir=published, do_train="true")
    assert "is the model's own folder" in mistake(same, capsys)


def test_a_run_goes_on_by_its_own_folder(tiny, trained, tmp_path, capsys):
    folder = str(tmp_path / "run")
    shutil.copytree(trained[0], folder)
    flags = flags_of(tiny, model=folder, output_dir=folder, do_train="true", num_train_steps=3)
    assert "lr_decay_steps: 2 → 3" in mistake(flags, capsys)
    assert "Resume: continue" in succeed(flags + ["--allow_plan_change"], capsys)


def exported(folder, to):
    huggingface.write(saved_run.open_run(str(folder)), str(to))
    return str(to)


def test_a_run_comes_back_from_a_hugging_face_folder_with_its_predictions(tiny, trained, tmp_path, capsys):
    test_file = os.path.join(tiny.data_dir, "test.tsv")
    for name, model in (("own", trained[0]), ("exported", exported(trained[0], tmp_path / "hf"))):
        arguments = ["--do_predict", "--model=" + model, "--predict_file=" + test_file, "--max_seq_length=16"]
        succeed(arguments + ["--output_dir=" + str(tmp_path / name)], capsys)
    assert predictions(str(tmp_path / "own")) == predictions(str(tmp_path / "exported"))


def test_a_tagger_starts_from_a_published_folder_and_comes_back_from_one(published, tmp_path, capsys):
    (tmp_path / "train.txt").write_text("alpha\tB-A\nbeta\tO\n\ngood\tO\n\n")
    arguments = dict(train_file=str(tmp_path / "train.txt"), model=published, output_dir=str(tmp_path / "run"))
    values = dict(arguments, max_seq_length=16, num_train_steps=1, train_batch_size=2, do_train="true")
    printed = succeed(["--{}={}".format(*pair) for pair in values.items()], capsys, "run_ner")
    assert "23 loaded" in printed
    own = str(tmp_path / "run")
    tagged = []
    for model in (own, exported(own, tmp_path / "hf")):  # the latter has no pooler, which a tagger does not read
        output = str(tmp_path / "tagged-{}".format(len(tagged)))
        values = dict(predict_file=str(tmp_path / "train.txt"), model=model, output_dir=output, max_seq_length=16)
        succeed(["--do_predict"] + ["--{}={}".format(*pair) for pair in values.items()], capsys, "run_ner")
        with open(os.path.join(output, "predictions.conll")) as file:
            tagged.append(file.read())
    assert tagged[0] == tagged[1]


def test_data_is_checked_with_the_vocabulary_of_a_tokenizer_json(tiny, published, tmp_path, capsys):
    folder = tmp_path / "hf"
    shutil.copytree(published, str(folder))
    with open(tiny.vocab_file) as file:
        vocab = {piece: number for number, piece in enumerate(file.read().split())}
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"type": "WordPiece", "vocab": vocab}}))
    (folder / "vocab.txt").unlink()
    data = ["--task_name=text", "--data_dir=" + tiny.data_dir, "--check_data", "--max_seq_length=16"]
    assert "Converted" not in succeed(data + ["--model=" + str(folder)], capsys)


@pytest.mark.parametrize("flag", ["vocab_file", "bert_config_file", "init_checkpoint", "model_dir", "from_scratch"])
@pytest.mark.parametrize("script", ["run_classifier", "run_ner"])
def test_model_and_a_flag_that_it_stands_for_are_refused_by_both_names(published, capsys, script, flag):
    arguments = ["--do_train", "--model=" + published, "--{}=true".format(flag)]
    assert "--model and --{} were both given".format(flag) in mistake(arguments, capsys, script)


def test_the_case_may_not_be_given_beside_a_model(published, capsys):
    assert "--model and --do_lower_case" in mistake(["--do_train", "--model=" + published, "--nodo_lower_case"], capsys)


@pytest.mark.parametrize(
    "changed, message",
    [
        (dict(model_type="roberta"), "config.json: model_type='roberta': this is RoBERTa"),
        (dict(layer_norm_eps=1e-5), "layer_norm_eps=1e-05"),
    ],
)
def test_another_model_is_refused_before_anything_is_read(tiny, published, tmp_path, capsys, changed, message):
    with open(os.path.join(published, "config.json")) as file:
        content = dict(json.load(file), **changed)
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert message in mistake(flags_of(tiny, model=str(tmp_path), output_dir=str(tmp_path), do_train="true"), capsys)
