"""Hugging Face folders as they are published: each naming, type and layout gives the weights of its twin."""

import json
import os
import stat
import sys
import threading

import numpy as np
import pytest
import safetensors.numpy
import tensorflow.compat.v1 as tf
from convert_checkpoint_test import CONFIG, full_disk, tensors_of, write_source

from steady_bert.base.errors import UserError
from steady_bert.interchange import activations, configurations, converted, folders, hugging_face, tokenizer_files
from steady_bert.training import checkpoint

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "ship", "a", "##s"]
LABELS = dict(id2label={"0": "no", "1": "yes", "2": "perhaps"}, architectures=["BertForSequenceClassification"])


def write(folder, tensors=None, config=None, **changed):
    """A folder with `tensors` (the twin's if None) under `bert.`, weight and bias."""
    source = write_source(folder, **changed)
    if tensors is not None:
        safetensors.numpy.save_file(tensors, str(folder / "model.safetensors"))
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n")
    return source


def convert(folder):
    """(variable → value, the report, the folder that was written) of a conversion."""
    output = str(folder) + "-converted"
    report = hugging_face.convert(str(folder), output)
    return tensors_of(os.path.join(output, "bert_model.ckpt")), report, output


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    """(published name → value, variable → value)"""
    folder = tmp_path_factory.mktemp("twin") / "hf"
    source = write(folder)
    return {name: value for name, value in source.items() if "position_ids" not in name}, convert(folder)[0]


def renamed(tensors, *pairs):
    for old, new in pairs:
        tensors = {name.replace(old, new): value for name, value in tensors.items()}
    return tensors


OLD = (("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta"))


def pretraining_heads(gamma="gamma", beta="beta"):
    rng = np.random.RandomState(5)
    shapes = {
        "cls.predictions.bias": (11,),
        "cls.predictions.transform.dense.weight": (8, 8),
        "cls.predictions.transform.dense.bias": (8,),
        "cls.predictions.transform.LayerNorm." + gamma: (8,),
        "cls.predictions.transform.LayerNorm." + beta: (8,),
        "cls.seq_relationship.weight": (2, 8),
        "cls.seq_relationship.bias": (2,),
    }
    return {name: rng.randn(*shape).astype(np.float32) for name, shape in shapes.items()}


def save_half(folder, tensors, dtype):
    """Writes F16 or BF16 tensors; NumPy has no type of the latter, so it is written as its bits."""
    if dtype == "F16":
        halves = {name: value.astype(np.float16) for name, value in tensors.items()}
        safetensors.numpy.save_file(halves, str(folder / "model.safetensors"))
        return {name: value.astype(np.float32) for name, value in halves.items()}
    bits = {name: (value.view(np.uint32) >> 16).astype(np.uint16) for name, value in tensors.items()}
    raw = safetensors.numpy.save(bits)
    size = int.from_bytes(raw[:8], "little")
    header = raw[8 : 8 + size].replace(b'"U16"', b'"BF16"')
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + raw[8 + size :])
    return {name: (value.astype(np.uint32) << 16).view(np.float32) for name, value in bits.items()}


NAMINGS = {
    "bert-base-uncased": lambda t: {
        **renamed(t, *OLD),
        **pretraining_heads(),
        "cls.predictions.decoder.weight": t["bert.embeddings.word_embeddings.weight"],
        "cls.predictions.decoder.bias": np.zeros(11, np.float32),
    },
    "sentence-transformers": lambda t: dict(
        renamed(t, ("bert.", "")), **{"embeddings.position_ids": np.arange(9)[None]}
    ),
    "weight and bias": lambda t: t,
    "gamma without bert.": lambda t: renamed(t, ("bert.", ""), *OLD),
}


@pytest.mark.parametrize("naming", sorted(NAMINGS))
def test_each_naming_gives_the_weights_of_its_twin(tmp_path, twin, naming):
    published, expected = twin
    tensors = NAMINGS[naming](published)
    write(tmp_path / "hf", tensors)
    weights, report, _ = convert(tmp_path / "hf")
    heads = {name: weights.pop(name) for name in list(weights) if name.startswith("cls/")}
    assert set(weights) == set(expected) and report.missing == []
    assert all(np.array_equal(weights[name], value) for name, value in expected.items())
    assert len(heads) == (7 if naming == "bert-base-uncased" else 0)
    for name, value in heads.items():
        of = {"output_weights": "weight", "output_bias": "bias", "kernel": "weight"}
        published_name = name.replace("cls/predictions/output_bias", "cls.predictions.bias").replace("/", ".")
        published_name = ".".join(of.get(part, part) for part in published_name.split("."))
        there = tensors[published_name]
        assert np.array_equal(value, there.T if name.endswith("kernel") else there), name


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_tensors_of_two_bytes_become_float32(tmp_path, twin, dtype):
    published, _ = twin
    write(tmp_path / "hf")
    exact = save_half(tmp_path / "hf", published, dtype)
    weights, _, _ = convert(tmp_path / "hf")
    assert {value.dtype for value in weights.values()} == {np.dtype(np.float32)}
    name = "encoder.layer.1.intermediate.dense.weight"
    assert np.array_equal(weights["bert/encoder/layer_1/intermediate/dense/kernel"], exact["bert." + name].T)
    assert np.abs(exact["bert." + name] - published["bert." + name]).max() < 0.02


def shard(folder, tensors, ending=".safetensors"):
    names = sorted(tensors)
    parts = {"model-0000{}-of-00002{}".format(n + 1, ending): names[n::2] for n in range(2)}
    for file, part in parts.items():
        safetensors.numpy.save_file({name: tensors[name] for name in part}, str(folder / file))
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    os.unlink(str(folder / "model.safetensors"))
    return sorted(parts)


def test_shards_are_read_by_their_index_and_an_absent_one_is_named(tmp_path, twin):
    published, expected = twin
    write(tmp_path / "hf")
    files = shard(tmp_path / "hf", published)
    weights, _, _ = convert(tmp_path / "hf")
    assert all(np.array_equal(weights[name], value) for name, value in expected.items())
    os.unlink(str(tmp_path / "hf" / files[1]))
    with pytest.raises(UserError, match="index.json: names {}, which is not beside it. Fetch".format(files[1])):
        convert(tmp_path / "hf")


def test_rows_beyond_the_vocabulary_are_kept_and_a_longer_vocabulary_is_refused(tmp_path, twin):
    write(tmp_path / "hf")
    weights, report, output = convert(tmp_path / "hf")
    assert weights["bert/embeddings/word_embeddings"].shape == (11, 8)
    assert "2 rows of the word embeddings are beyond the vocabulary of 9 pieces" in str(report)
    (tmp_path / "hf" / "vocab.txt").write_text("\n".join(PIECES + ["x", "y", "z"]))
    with pytest.raises(UserError, match="vocab_size=11, but the vocabulary has 12 pieces"):
        convert(tmp_path / "hf")


@pytest.mark.parametrize(
    "settings, written",
    [
        (LABELS, {"label_type": "single", "labels": ["no", "yes", "perhaps"]}),
        (dict(LABELS, problem_type="multi_label_classification"), {"label_type": "multi"}),
        (dict(LABELS, architectures=["BertForTokenClassification"]), {"tag_scheme": ""}),
        (dict(LABELS, architectures=["BertForMultipleChoice"]), None),
    ],
)
def test_a_fine_tuned_head_brings_its_labels(tmp_path, settings, written):
    write(tmp_path / "hf", head=True, config=dict(CONFIG, **settings))
    weights, _, output = convert(tmp_path / "hf")
    assert weights["output_weights"].shape == (3, 8)
    path = os.path.join(output, "labels.json")
    if written is None:
        assert not os.path.exists(path)
        return
    with open(path) as file:
        content = json.load(file)
    assert {name: content[name] for name in written} == written and len(content["labels"]) == 3


@pytest.mark.parametrize(
    "published, ours",
    [("gelu", "gelu_erf"), ("gelu_new", "gelu"), ("gelu_pytorch_tanh", "gelu"), (None, "gelu_erf"), ("relu", "relu")],
)
def test_gelu_is_the_exact_one_unless_its_name_says_otherwise(tmp_path, published, ours):
    settings = {"hidden_act": published} if published else {}
    write(tmp_path / "hf", config=dict(CONFIG, **settings))
    _, _, output = convert(tmp_path / "hf")
    with open(os.path.join(output, "bert_config.json")) as file:
        assert json.load(file)["hidden_act"] == ours


def test_an_activation_that_has_no_name_there_is_refused_on_the_way_back():
    with pytest.raises(UserError, match="hidden_act=3 is not one of .*relu"):
        configurations.hugging_face_settings({"hidden_act": 3})


def test_the_tanh_form_is_written_with_the_difference_that_it_makes(tmp_path):
    write(tmp_path / "hf")
    _, _, output = convert(tmp_path / "hf")
    assert "largest difference" in activations.use_tanh(output)
    with open(os.path.join(output, "bert_config.json")) as file:
        assert json.load(file)["hidden_act"] == "gelu"
    assert "gelu already" in activations.use_tanh(output)


# --- vocabulary and case ----------------------------------------------------------------------------------------------


def whole_tokenizer(**changed):
    """A tokenizer.json with the pieces and a token that was added."""
    content = {
        "model": {"type": "WordPiece", "vocab": {piece: number for number, piece in enumerate(PIECES)}},
        "normalizer": {"type": "BertNormalizer", "lowercase": False, "strip_accents": None},
        "added_tokens": [{"content": "[PAD]", "id": 0}, {"content": "[NEW]", "id": 9}],
    }
    for name, value in changed.items():
        content[name] = dict(content[name], **value)
    return content


def write_tokenizer(folder, settings=None, whole=None, pieces=PIECES):
    folder.mkdir()
    for name, content in (("tokenizer_config.json", settings), ("tokenizer.json", whole)):
        if content is not None:
            (folder / name).write_text(json.dumps(content))
    if pieces is not None:
        (folder / "vocab.txt").write_text("\n".join(pieces) + "\n")
    return str(folder)


CASED = PIECES + ["Ship", "The"]


@pytest.mark.parametrize(
    "files, lower, case_from",
    [
        (dict(settings={"do_lower_case": False}), False, "tokenizer_config.json"),
        (dict(settings={}, whole=whole_tokenizer()), False, "tokenizer.json"),
        (dict(settings={"tokenizer_class": "BertTokenizer"}), True, "vocab.txt"),
        (dict(pieces=CASED), False, "vocab.txt"),
        (dict(settings={"do_lower_case": True, "strip_accents": True}), True, "tokenizer_config.json"),
    ],
)
def test_the_case_is_that_of_the_first_file_that_says_it(tmp_path, files, lower, case_from):
    tokenizer = tokenizer_files.read(write_tokenizer(tmp_path / "hf", **files))
    assert (tokenizer.do_lower_case, tokenizer.case_from) == (lower, case_from)


def test_a_vocabulary_in_tokenizer_json_alone_is_written_as_vocab_txt(tmp_path):
    tokenizer = tokenizer_files.read(write_tokenizer(tmp_path / "hf", whole=whole_tokenizer(), pieces=None))
    tokenizer_files.write_vocabulary(tokenizer, str(tmp_path / "vocab.txt"))
    assert (tmp_path / "vocab.txt").read_text() == "\n".join(PIECES + ["[NEW]"]) + "\n"


@pytest.mark.parametrize(
    "files, message",
    [
        (dict(settings={"tokenizer_class": "XLMRobertaTokenizer"}), "tokenizer_class='XLMRobertaTokenizer'"),
        (dict(settings={"do_lower_case": True, "strip_accents": False}), "strip_accents=False"),
        (dict(settings={"do_lower_case": False, "strip_accents": True}), "strip_accents=True"),
        (dict(settings={"tokenize_chinese_chars": False}), "tokenize_chinese_chars=False"),
        (dict(whole=whole_tokenizer(normalizer={"handle_chinese_chars": False})), "handle_chinese_chars=False"),
        (dict(whole=whole_tokenizer(normalizer={"strip_accents": True})), "tokenizer.json: strip_accents=True"),
        (dict(whole=dict(whole_tokenizer(), pre_tokenizer={"type": "Whitespace"})), "pre_tokenizer='Whitespace'"),
        (dict(whole=dict(whole_tokenizer(), pre_tokenizer=None)), "pre_tokenizer=None"),
        (dict(whole=dict(whole_tokenizer(), normalizer=None)), "normalizer=None"),
        (dict(whole=whole_tokenizer(model={"type": "BPE"})), "'BPE' .*no WordPiece"),
        (dict(whole=whole_tokenizer(model={"vocab": {"a": 0, "b": 7}}), pieces=None), "an id has none or two"),
        (dict(whole=whole_tokenizer(model={"vocab": 3}), pieces=None), "has no vocabulary"),
    ],
)
def test_a_tokenizer_that_cuts_text_otherwise_is_refused_by_its_key(tmp_path, files, message):
    with pytest.raises(UserError, match=message):
        tokenizer_files.read(write_tokenizer(tmp_path / "hf", **files))


# --- what is refused --------------------------------------------------------------------------------------------------


def cut(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-20])


def no_header(folder):
    (folder / "model.safetensors").write_bytes(b"\xff" * 40)


def in_place_of_weights(name, **keys):
    def change(folder):
        with_keys(**keys)(folder)
        os.rename(str(folder / "model.safetensors"), str(folder / name))

    return change


def without_key(key):
    def change(folder):
        config = {name: value for name, value in CONFIG.items() if name != key}
        (folder / "config.json").write_text(json.dumps(config))

    return change


def with_tensor(name, shape):
    def change(folder):
        write(folder, **{name: np.ones(shape, np.float32)})

    return change


def with_keys(**keys):
    def change(folder):
        (folder / "config.json").write_text(json.dumps(dict(CONFIG, **keys)))

    return change


@pytest.mark.parametrize(
    "change, message",
    [
        (cut, "model.safetensors: cannot be read as safetensors .*Fetch it again"),
        (no_header, "model.safetensors: cannot be read as safetensors"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json: not JSON"),
        (lambda folder: (folder / "model.safetensors").unlink(), "has neither model.safetensors nor pytorch_model.bin"),
        (in_place_of_weights("tf_model.h5"), "tf_model.h5: such weights are not read. Make safetensors .*from_tf=True"),
        (
            in_place_of_weights("flax_model.msgpack", architectures=["BertForTokenClassification"]),
            r'import BertForTokenClassification; BertForTokenClassification\..*from_flax=True\).*/hf-safetensors"\)',
        ),
        (without_key("type_vocab_size"), "config.json: lacks type_vocab_size"),
        (with_tensor("bert.pooler.dense.weight", (8, 5)), "pooler.dense.weight gives .*config.json says"),
        (with_tensor("cls.seq_relationship.weight", (3, 8)), "cls.seq_relationship.weight gives .*says"),
        (with_tensor("roberta.embeddings.x", (3,)), "roberta.embeddings.x is not part of BERT. This is RoBERTa"),
        (with_tensor("transformer.layer.0.attention.q_lin.weight", (3,)), "This is DistilBERT"),
        (with_keys(model_type="electra"), "model_type='electra': this is ELECTRA"),
        (with_keys(model_type="albert"), "this is ALBERT"),
        (with_keys(model_type="distilbert"), "this is DistilBERT"),
        (with_keys(pruned_heads={"0": [1]}), "pruned_heads="),
        (with_keys(hidden_act="quick_gelu"), "hidden_act 'quick_gelu' is not one of gelu"),
    ],
)
def test_a_folder_that_cannot_be_computed_is_refused_with_its_file_and_a_remedy(tmp_path, change, message):
    write(tmp_path / "hf")
    change(tmp_path / "hf")
    with pytest.raises(UserError, match=message):
        convert(tmp_path / "hf")


# --- PyTorch's files --------------------------------------------------------------------------------------------------

FAKE_TORCH = """
import numpy
__version__ = {version!r}
class Tensor:
    def __init__(self, value): self.value = value
    def is_floating_point(self): return self.value.dtype.kind == "f"
    def detach(self): return self
    float = contiguous = detach
    def numpy(self): return self.value
def load(path, map_location, weights_only):
    assert (map_location, weights_only) == ("cpu", True)
    content = numpy.load(open(path, "rb"))
    return dict({{name: Tensor(content[name]) for name in content.files}}, step=7)
"""


def fake_python(folder, version):
    """An interpreter with a module torch that keeps its weights in NumPy's format."""
    folder.mkdir()
    (folder / "torch.py").write_text(FAKE_TORCH.format(version=version))
    path = folder / "python"
    path.write_text('#!/bin/sh\nPYTHONPATH="{}" exec "{}" "$@"\n'.format(folder, sys.executable))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_a_pytorch_file_is_read_by_torch_in_a_process_of_its_own(tmp_path, twin):
    published, expected = twin
    write(tmp_path / "hf")
    os.unlink(str(tmp_path / "hf" / "model.safetensors"))
    whole = dict(published, **{"bert.embeddings.position_ids": np.arange(9)[None]})
    names = sorted(whole)
    index = {"weight_map": {name: "shard-{}.bin".format(number % 2) for number, name in enumerate(names)}}
    python = fake_python(tmp_path / "new", "2.13.0+cpu")
    for file, content in (
        ("shard-0.bin", {name: whole[name] for name in names[0::2]}),
        ("shard-1.bin", {name: whole[name] for name in names[1::2]}),
        ("pytorch_model.bin", whole),
    ):
        with open(str(tmp_path / "hf" / file), "wb") as output:
            np.savez(output, **content)
        if file == "shard-0.bin":
            (tmp_path / "hf" / "pytorch_model.bin.index.json").write_text(json.dumps(index))
            with pytest.raises(UserError, match="names shard-1.bin, which is not beside it"):
                convert(tmp_path / "hf")
            continue
        hugging_face.convert(str(tmp_path / "hf"), str(tmp_path / "out"), python)
        weights = tensors_of(str(tmp_path / "out" / "bert_model.ckpt"))
        assert set(weights) == set(expected)
        assert all(np.array_equal(weights[name], value) for name, value in expected.items())
    for python in (fake_python(tmp_path / "old", "2.5.1"), fake_python(tmp_path / "broken", "2.13") + "x"):
        with pytest.raises(UserError, match=r"2\.6 or newer is needed.*run once:\s+python .*hf|cannot be run"):
            hugging_face.convert(str(tmp_path / "hf"), str(tmp_path / "out"), python)


# --- the cache --------------------------------------------------------------------------------------------------------


@pytest.fixture
def conversions(monkeypatch):
    """The folders that are converted, as they are."""
    made = []
    convert = hugging_face.convert
    monkeypatch.setattr(hugging_face, "convert", lambda *args: made.append(args[0]) or convert(*args))
    return made


def flip(path):
    with open(path, "r+b") as file:
        file.seek(os.path.getsize(path) // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 0x55]))


def test_a_folder_is_converted_once_and_again_if_its_entry_is_lost_or_damaged(tmp_path, conversions):
    source, cache = str(tmp_path / "hf"), str(tmp_path / "cache")
    write(tmp_path / "hf")
    entry = converted.entry_of(source, cache)
    first = tensors_of(os.path.join(entry, "bert_model.ckpt"))
    assert converted.entry_of(source, cache) == entry and len(conversions) == 1
    damages = [
        lambda: flip(os.path.join(entry, "bert_model.ckpt.data-00000-of-00001")),
        lambda: flip(os.path.join(entry, "vocab.txt")),
        lambda: os.unlink(os.path.join(entry, "bert_model.ckpt.index")),
        lambda: os.unlink(os.path.join(entry, "converted_from.json")),
    ]
    for number, damage in enumerate(damages):
        damage()
        assert converted.entry_of(source, cache) == entry and len(conversions) == number + 2
        again = tensors_of(os.path.join(entry, "bert_model.ckpt"))
        assert all(np.array_equal(again[name], value) for name, value in first.items())
    weights = str(tmp_path / "hf" / "model.safetensors")
    times = os.stat(weights)
    flip(weights)
    os.utime(weights, (times.st_atime, times.st_mtime))
    assert converted.entry_of(source, cache) != entry  # other weights of the same size and time
    assert not [name for name in os.listdir(cache) if "building" in name]


def test_a_full_disk_ends_a_conversion_in_the_cache_with_a_message(tmp_path, monkeypatch):
    write(tmp_path / "hf")
    monkeypatch.setattr(checkpoint, "_write", full_disk)
    with pytest.raises(
        UserError, match=r"hf cannot be .*No space left on device\)\. Free space, or name another --cache_dir"
    ):
        converted.entry_of(str(tmp_path / "hf"), str(tmp_path / "cache"))
    assert not [name for name in os.listdir(str(tmp_path / "cache")) if not name.endswith(".lock")]


def test_processes_that_start_together_convert_once(tmp_path, conversions):
    write(tmp_path / "hf")
    entries = []
    threads = [
        threading.Thread(target=lambda: entries.append(converted.entry_of(str(tmp_path / "hf"), str(tmp_path / "c"))))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(entries)) == 1 and len(entries) == 4 and len(conversions) == 1
    assert checkpoint.damage(os.path.join(entries[0], "bert_model.ckpt")) is None


# --- kinds of folder --------------------------------------------------------------------------------------------------


def test_each_kind_of_folder_is_told_by_its_own_file(tmp_path):
    write(tmp_path / "hf")
    _, _, published = convert(tmp_path / "hf")
    assert folders.kind_of(str(tmp_path / "hf")) == folders.HUGGING_FACE
    assert folders.kind_of(published) == folders.CHECKPOINT
    described = folders.described(published)
    assert (described.do_lower_case, described.case_from) == (True, "tokenizer_config.json")
    os.unlink(os.path.join(published, "tokenizer_config.json"))
    assert folders.described(published).case_from == "vocab.txt"
    os.unlink(os.path.join(published, "vocab.txt"))
    with pytest.raises(UserError, match="--model=.*lacks vocab.txt. Put it there"):
        folders.described(published)
    for folder in (str(tmp_path), str(tmp_path / "none")):
        with pytest.raises(UserError, match="is not the folder of a model"):
            folders.described(folder)


def test_the_original_reads_a_converted_checkpoint_of_pretraining_by_its_own_names(tmp_path, twin):
    published, _ = twin
    write(tmp_path / "hf", {**published, **pretraining_heads("weight", "bias")})
    _, _, output = convert(tmp_path / "hf")
    names = {name for name, _ in tf.train.list_variables(os.path.join(output, "bert_model.ckpt"))}
    assert {name for name in names if name.startswith("cls/")} == {
        "cls/predictions/output_bias",
        "cls/predictions/transform/dense/kernel",
        "cls/predictions/transform/dense/bias",
        "cls/predictions/transform/LayerNorm/gamma",
        "cls/predictions/transform/LayerNorm/beta",
        "cls/seq_relationship/output_weights",
        "cls/seq_relationship/output_bias",
    }
