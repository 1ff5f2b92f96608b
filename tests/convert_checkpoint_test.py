"""Conversion of weights in both directions: names, transposes, a run's own checkpoints, refusals."""

import json
import os
import runpy
import sys

import numpy as np
import pytest
import safetensors.numpy
import tensorflow.compat.v1 as tf

import modeling
import optimization
from steady_bert import optimizers
from steady_bert.base import program_end
from steady_bert.base.errors import UserError
from steady_bert.interchange import hugging_face, names, to_safetensors
from steady_bert.training import checkpoint, manifest, saver, weights

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
GOLDEN = os.path.join(ROOT, "tests", "golden", "tiny_bert")
CONFIG = dict(
    vocab_size=11,
    hidden_size=8,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=12,
    max_position_embeddings=9,
    type_vocab_size=2,
    model_type="bert",
    transformers_version="4",
)


def tensors_of(prefix):
    reader = tf.train.load_checkpoint(prefix)
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def write_source(folder, prefix="bert.", pooler=True, head=False, config=CONFIG, **changed):
    """Random weights under Hugging Face's names."""
    rng = np.random.RandomState(0)
    h, i = 8, 12
    tensors = {
        "embeddings.word_embeddings.weight": (11, h),
        "embeddings.position_embeddings.weight": (9, h),
        "embeddings.token_type_embeddings.weight": (2, h),
    }
    norms = ["embeddings.LayerNorm"]
    dense = {"pooler.dense": (h, h)} if pooler else {}
    for n in range(2):
        layer = "encoder.layer.{}.".format(n)
        norms += [layer + "attention.output.LayerNorm", layer + "output.LayerNorm"]
        for name in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            dense[layer + name] = (h, h)
        dense[layer + "intermediate.dense"] = (i, h)  # PyTorch keeps [out, in]
        dense[layer + "output.dense"] = (h, i)
    for name in norms:
        tensors.update({name + ".weight": (h,), name + ".bias": (h,)})
    for name, shape in dense.items():
        tensors.update({name + ".weight": shape, name + ".bias": shape[:1]})
    source = {prefix + name: rng.randn(*shape).astype(np.float32) for name, shape in tensors.items()}
    source[prefix + "embeddings.position_ids"] = np.arange(9)[None]
    if head:
        source.update(
            {"classifier.weight": rng.randn(3, h).astype(np.float32), "classifier.bias": np.ones(3, np.float32)}
        )
    source.update(changed)
    folder.mkdir(exist_ok=True)
    safetensors.numpy.save_file(source, str(folder / "model.safetensors"))
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.txt").write_text("[UNK]\n")
    return source


@pytest.mark.parametrize("prefix", ["", "bert."])
@pytest.mark.parametrize("pooler, head", [(True, False), (False, False), (True, True)])
def test_there_and_back_is_bitwise(tmp_path, prefix, pooler, head):
    source = write_source(tmp_path / "hf", prefix, pooler, head)
    report = hugging_face.convert(str(tmp_path / "hf"), str(tmp_path / "tf1"))
    assert report.missing == ([] if pooler else ["bert/pooler/dense/bias", "bert/pooler/dense/kernel"])
    converted = tensors_of(str(tmp_path / "tf1" / "bert_model.ckpt"))
    golden = [name for name, _ in tf.train.list_variables(os.path.join(GOLDEN, "bert_model.ckpt"))]
    names = {name for name in golden if "layer_2/" not in name and (pooler or "pooler" not in name)}
    assert set(converted) == names | ({"output_weights", "output_bias"} if head else set())
    kernel = source[prefix + "encoder.layer.1.intermediate.dense.weight"]
    assert np.array_equal(converted["bert/encoder/layer_1/intermediate/dense/kernel"], kernel.T)
    to_safetensors.convert(str(tmp_path / "tf1" / "bert_model.ckpt"), str(tmp_path / "back"))
    back = safetensors.numpy.load_file(str(tmp_path / "back" / "model.safetensors"))
    expected = {
        ("" if name.startswith("classifier") else "bert.")
        + name[len(prefix) if name.startswith(prefix) else 0 :]: value
        for name, value in source.items()
        if "position_ids" not in name
    }
    assert set(back) == set(expected)
    assert all(np.array_equal(back[name], value) for name, value in expected.items())


def test_a_tf1_checkpoint_survives_the_round_trip(tmp_path):
    to_safetensors.convert(os.path.join(GOLDEN, "bert_model.ckpt"), str(tmp_path / "hf"))
    hugging_face.convert(str(tmp_path / "hf"), str(tmp_path / "tf1"))
    before = tensors_of(os.path.join(GOLDEN, "bert_model.ckpt"))
    after = tensors_of(str(tmp_path / "tf1" / "bert_model.ckpt"))
    assert set(before) == set(after)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_slots_of_any_optimizer_steps_and_counters_are_not_weights():
    kept = ["bert/pooler/dense/kernel", "cls/predictions/output_bias", "output_bias"]
    slots = ["adam_m", "adam_v_1", "Adam", "LAMBOptimizer_1", "slow", "ema", "ExponentialMovingAverage", "updates"]
    others = ["{}/{}".format(name, slot) for name in kept for slot in slots]
    assert weights.weights_among(kept + others + ["global_step", "training_state/best_step"]) == kept


def trained_checkpoint(folder, **config):
    """A run's folder with a checkpoint after one update of a one-layer model: weights, slots, averages and counters."""
    folder.mkdir()
    sizes = {name: size for name, size in CONFIG.items() if isinstance(size, int)}
    model = modeling.BertConfig(**dict(sizes, num_hidden_layers=1))
    (folder / "bert_config.json").write_text(model.to_json_string())
    with tf.Graph().as_default(), tf.variable_scope("", use_resource=True):
        modeling.BertModel(model, False, tf.constant([[3, 4, 5]]))
        tf.get_variable("output_weights", [3, 8])
        tf.get_variable("output_bias", [3])
        checkpoint.training_state_variables()
        optimizer = optimization.OptimizerConfig(**config)
        variables = optimization.trained_variables(optimizer)
        gradients, step = [0.5 * v + 0.1 for v in variables], tf.train.get_or_create_global_step()  # any will do
        update = optimization.create_update(gradients, variables, tf.constant(0.1), optimizer, step)
        writes = saver.saver({variable.op.name: variable for variable in tf.global_variables()})
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            session.run(update.train_op)
            checkpoint.save(writes, session, str(folder), 1, keep=0)
    return tensors_of(str(folder / "model.ckpt-1"))


def assert_exported(folder, tensors, suffix=""):
    """The exported weights are the variables of these names and suffix, and nothing else."""
    places = names.tensorflow_places(layers=1)
    exported = safetensors.numpy.load_file(str(folder / "model.safetensors"))
    assert len(exported) == len(places) - len(names.HEADS) + 2  # the head of a classifier
    for name, value in exported.items():
        target, transposed = places[names.plain_name(name)]
        assert np.array_equal(value.T if transposed else value, tensors[target + suffix])


@pytest.mark.parametrize("rule", sorted(optimizers.RULES))
def test_a_runs_own_checkpoint_is_exported_whatever_slots_it_has(tmp_path, rule):
    """Lookahead's copies and the averages included, which are exported as evaluation reads them."""
    tensors = trained_checkpoint(tmp_path / "run", optimizer=rule, lookahead_steps=2, ema_decay=0.9)
    assert "output_weights/slow" in tensors
    assert not np.array_equal(tensors["output_weights"], tensors["output_weights/ema"])
    report = to_safetensors.convert(str(tmp_path / "run"), str(tmp_path / "out"))
    assert report.missing == [] and "the weights are the averages of --ema_decay" in str(report)
    assert_exported(tmp_path / "out", tensors, "/ema")


def test_without_averages_the_weights_themselves_are_exported(tmp_path):
    tensors = trained_checkpoint(tmp_path / "run", optimizer="amsgrad", lookahead_steps=2)
    report = to_safetensors.convert(str(tmp_path / "run"), str(tmp_path / "out"))
    assert (report.missing, report.averaged) == ([], False)
    assert_exported(tmp_path / "out", tensors)


def test_labels_and_case_of_a_run_come_along(tmp_path):
    """Without them transformers gives softmax where several labels may hold, and lower case."""
    trained_checkpoint(tmp_path / "run", optimizer="sgd")
    (tmp_path / "run" / "plan.json").write_text("{}")
    (tmp_path / "run" / "config.json").write_text(json.dumps({"data": {}, "model": {"do_lower_case": False}}))
    (tmp_path / "run" / "vocab.txt").write_text("[UNK]\n")
    (tmp_path / "run" / "labels.json").write_text(json.dumps({"label_type": "multi", "labels": ["a", "b", "c"]}))
    to_safetensors.convert(str(tmp_path / "run"), str(tmp_path / "out"))
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["problem_type"] == "multi_label_classification"
    assert config["id2label"] == {"0": "a", "1": "b", "2": "c"}
    assert json.loads((tmp_path / "out" / "tokenizer_config.json").read_text()) == {"do_lower_case": False}
    with manifest.updated(str(tmp_path / "run"), {}):
        pass
    (tmp_path / "run" / "labels.json").write_text(json.dumps({"label_type": "multi", "labels": ["b", "a", "c"]}))
    with pytest.raises(UserError, match=r"labels.json: was changed\nRestore it from a copy\.$"):
        to_safetensors.convert(str(tmp_path / "run"), str(tmp_path / "out"))


def test_the_class_that_reads_a_head_is_named(tmp_path):
    """What transformers loads by config.json otherwise lacks the head, or has one that is random."""
    model = {name: size for name, size in CONFIG.items() if isinstance(size, int)}
    (tmp_path / "bert_config.json").write_text(json.dumps(model))
    encoder = {name: np.zeros(shape, np.float32) for name, shape in names.shapes_of(model).items()}
    of_pretraining = {name: np.zeros(shape, np.float32) for name, shape in names.shapes_of_pretraining(model).items()}
    masks = {name: value for name, value in of_pretraining.items() if name.startswith("cls/predictions/")}
    spans = {"cls/squad/output_weights": np.zeros((2, 8), np.float32), "cls/squad/output_bias": np.zeros(2, np.float32)}
    for head, expected in (
        (spans, ["BertForQuestionAnswering"]),
        (of_pretraining, ["BertForPreTraining"]),
        (masks, ["BertForMaskedLM"]),
        ({}, None),
    ):
        checkpoint.write(str(tmp_path / "bert_model.ckpt"), dict(encoder, **head))
        to_safetensors.convert(str(tmp_path / "bert_model.ckpt"), str(tmp_path / "out"))
        assert json.loads((tmp_path / "out" / "config.json").read_text()).get("architectures") == expected


def test_a_conversion_replaces_no_files_of_a_run_or_of_its_source(tmp_path):
    write_source(tmp_path / "hf")
    trained_checkpoint(tmp_path / "run", optimizer="sgd")
    (tmp_path / "run" / "plan.json").write_text("{}")
    (tmp_path / "hf" / "model.safetensors").write_bytes(b"")  # refused before weights are read
    for source in ("hf", "run"):
        convert = hugging_face.convert if source == "hf" else to_safetensors.convert
        with pytest.raises(UserError, match="is the folder of a run. Name another"):
            convert(str(tmp_path / source), str(tmp_path / "run"))
    with pytest.raises(UserError, match="is the model's own folder"):
        hugging_face.convert(str(tmp_path / "hf"), str(tmp_path / "hf"))
    with pytest.raises(UserError, match="none: no such folder"):
        hugging_face.convert(str(tmp_path / "none"), str(tmp_path / "out"))
    for source, message in ((str(tmp_path / "run"), "export_model.py --to=tf1"), (GOLDEN, "checkpoint already")):
        with pytest.raises(UserError, match=message):
            hugging_face.convert(source, str(tmp_path / "out"))


@pytest.mark.parametrize(
    "changed, message",
    [
        (
            dict(config=dict(CONFIG, model_type="roberta")),
            "model_type='roberta': this is RoBERTa, and this program trains BERT alone",
        ),
        (dict(config=dict(CONFIG, hidden_size=10, num_attention_heads=1)), "config.json says"),
        ({"bert.something.weight": np.ones(2, np.float32)}, "tensor bert.something.weight is not part of BERT"),
        (dict(config=dict(CONFIG, num_hidden_layers=3)), "lacks bert/encoder/layer_2/"),
        (
            dict(config=dict(CONFIG, num_attention_heads=3)),
            "config.json: hidden_size=8 is not a multiple of num_attention_heads=3",
        ),
        (dict(config=dict(CONFIG, hidden_act="swish")), "config.json: hidden_act 'swish'"),
        (dict(config=dict(CONFIG, layer_norm_eps=1e-5)), "config.json: layer_norm_eps=1e-05: LayerNorm has 1e-12 here"),
        (dict(config=[CONFIG]), "config.json: holds a list, expected an object"),
        (dict(config={}), "config.json: .*vocab_size"),
        (
            dict(head=True, **{"classifier.weight": np.ones((3, 5), np.float32)}),
            r"weight \(3, 5\) and .* do not fit a head on 8",
        ),
        ({"classifier.weight": np.ones((3, 8), np.float32)}, "classifier.bias is absent"),
    ],
)
def test_other_models_are_refused_by_name(tmp_path, changed, message):
    write_source(tmp_path / "hf", **changed)
    with pytest.raises(UserError, match=message):
        hugging_face.convert(str(tmp_path / "hf"), str(tmp_path / "tf1"))


def full_disk(*arguments):
    """As TensorFlow says it."""
    raise tf.errors.ResourceExhaustedError(None, None, "out/model.ckpt; No space left on device\n\t [[save]]")


def test_the_command_prints_errors_without_a_traceback(tmp_path, monkeypatch, capsys):
    write_source(tmp_path / "hf")
    main = runpy.run_path(os.path.join(ROOT, "scripts", "convert_checkpoint.py"))["main"]
    written = tmp_path / "out" / "bert_config.json"
    for source, writes, message, code in (
        ("none", full_disk, "error: {}/none: no such folder", 2),
        ("hf", full_disk, "{}/out/bert_model.ckpt: the disk is full. ", 1),
        ("hf", lambda *_: written.mkdir(), "{}/out/bert_config.json: Is a directory", 1),
    ):
        monkeypatch.setattr(checkpoint, "_write", writes)
        paths = ["--source=" + str(tmp_path / source), "--output=" + str(tmp_path / "out")]
        monkeypatch.setattr(sys, "argv", ["convert_checkpoint.py", "--to=tf1"] + paths)
        with pytest.raises(SystemExit, match=str(code)):
            program_end.run("convert_checkpoint", main)
        printed = capsys.readouterr().err
        assert printed.startswith("convert_checkpoint: " + message.format(tmp_path)), printed
        assert "Traceback" not in printed and len(printed.splitlines()) <= 2
