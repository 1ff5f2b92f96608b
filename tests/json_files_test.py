"""Files of JSON, against their schemas: whatever is wrong with one is one message that names it, never a traceback."""

import contextlib
import copy
import json
import os
import random

import pytest

import flags
from steady_bert.base import json_files
from steady_bert.base.errors import UserError
from steady_bert.command_line import configuration
from steady_bert.interchange import folders, safetensors_files, tokenizer_files
from steady_bert.tasks import model_files
from steady_bert.tasks.classification import job
from steady_bert.tasks.classification.config import ClassifierDataConfig
from steady_bert.training import cluster, manifest, reports, run_files
from steady_bert.training import plan as plans

GOOD = {"labels": ["a", "b"], "label_type": "single"}


@pytest.mark.parametrize(
    "content, said",
    [
        ("", "not JSON (Expecting value"),
        ("[1]", "holds a list, expected an object"),
        ("true", "holds true, expected an object"),
        ("[" * 100000, "is nested too deeply"),
        ('{"labels": [[[1]]]}', 'key "labels.0": found a list, expected a text'),
        ('{"labels": ["a"], "more": ' + "[" * 500 + "]" * 500 + "}", "is nested too deeply"),
        ('{"labels": NaN}', "not JSON (NaN is not a number in JSON)"),
        ('{"labels": 1e999}', "not JSON (1e999 is beyond the range of numbers)"),
        ('{"labels": 1' + "0" * 1000 + "}", "not JSON (a number of 1,001 digits)"),
        ('{"label_type": "single"}', 'lacks the key "labels"'),
        ('{"labels": null}', 'key "labels": found null, expected a list'),
        ('{"labels": "a"}', 'key "labels": found "a", expected a list'),
        ('{"labels": ["a", true]}', 'key "labels.1": found true, expected a text'),
        ('{"labels": ["\\ud800"]}', "not JSON ("),
        ('{"labels": [], "label_type": 1.5}', 'key "label_type": found 1.5, expected a text'),
    ],
)
def test_what_is_wrong_with_an_object_is_named(tmp_path, content, said):
    path = tmp_path / "labels.json"
    path.write_text(content)
    with pytest.raises(UserError) as error:
        json_files.read(str(path), model_files.LabelsFile)
    message = str(error.value)
    assert message.startswith("{}: {}".format(path, said)), message
    assert message.endswith(" Restore it from a copy.") and "\n" not in message


def test_what_is_no_file_is_named(tmp_path):
    fifo, loop, dangling = (str(tmp_path / name) for name in ("fifo", "loop", "dangling"))
    os.mkfifo(fifo)  # to open it would wait for ever
    os.symlink(loop, loop)
    os.symlink("nowhere", dangling)
    for path, said in (
        (str(tmp_path), "it is a folder"),
        (fifo, "it is not a file"),
        (loop, "Too many levels of symbolic links"),
        (dangling, "No such file"),
        ("/dev/zero", "it is not a file"),
    ):
        with pytest.raises(UserError, match="{}: cannot be read .{}".format(path, said)):
            json_files.read(path)
    with open(str(tmp_path / "large"), "wb") as file:
        file.truncate(json_files.MOST_BYTES + 1)
    with pytest.raises(UserError, match="it has 268,435,457 bytes, and 268,435,456 are the most"):
        json_files.read(str(tmp_path / "large"))


def test_whole_numbers_are_numbers_and_further_keys_are_allowed(tmp_path):
    text = '\ufeff{"threshold": 1, "more": [{"a": null}]}'
    (tmp_path / "threshold.json").write_text(text, encoding="utf-8")
    assert json_files.read(str(tmp_path / "threshold.json"), model_files.ThresholdFile)["threshold"] == 1


# --- every file that a command reads ---------------------------------------------------------------------------------

PLAN = plans.to_json(plans.make_plan(plans.PlanConfig(num_train_steps=9, do_eval=True), 64, {"seed": 1}, {"stage": 2}))
CONFIG = {
    "data": {"task_name": "text", "text_columns": ["text"], "label_type": "single", "long_text": "cut"},
    "model": {"do_lower_case": True, "max_seq_length": 16},
}
BERT = {
    "vocab_size": 40,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 32,
    "type_vocab_size": 2,
    "initializer_range": 0.02,
}
HUGGING_FACE = dict(BERT, model_type="bert", architectures=["BertForSequenceClassification"], id2label={"0": "a"})
TOKENIZER = {
    "normalizer": {"type": "BertNormalizer", "lowercase": True},
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "model": {"type": "WordPiece", "vocab": {"[PAD]": 0, "[UNK]": 1, "a": 2}},
    "added_tokens": [{"id": 3, "content": "[CLS]"}],
}
MANIFEST = {"files": {"plan.json": {"bytes": 3, "sha256": "0" * 64}}, "being_written": {}}
TASK = {"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, "task": {"type": "worker", "index": 0}}


def read_config(folder):
    given = flags.Values("run_classifier")
    names = configuration._SAVED_OF_CLASSIFIER
    return configuration._from_model(given, folder, names)


def read_bert_config(folder):
    path = os.path.join(folder, "bert_config.json")
    config = model_files.ModelConfig(path, None, None, True, 16)
    model_files.note_unread_keys(config)
    return model_files.load_bert_config(config, 20, 2)


def read_tf_config(folder):
    with open(os.path.join(folder, "TF_CONFIG"), "rb") as file:
        environment = {"TF_CONFIG": os.fsdecode(file.read())}
    cluster.tasks_in(environment)
    return cluster.from_environment(environment)


def read_metrics(folder):
    reports._drop_after(os.path.join(folder, "metrics.jsonl"), 5)


def read_threshold(folder):
    data = flags.Values("run_classifier")
    names = [field.name for field in ClassifierDataConfig.__dataclass_fields__.values()]
    values = {name: getattr(data, name) for name in names}
    return job.choose_threshold(ClassifierDataConfig(**dict(values, multi_label_threshold="saved")), folder)


FILES = {
    "plan.json": (PLAN, run_files.saved_plan),
    "config.json": (CONFIG, read_config),
    "labels.json": (GOOD, lambda folder: model_files.saved_labels(folder, "label_type")),
    "threshold.json": ({"threshold": 0.5}, read_threshold),
    "manifest.json": (MANIFEST, lambda folder: manifest.verify(folder, ())),
    "bert_config.json": (BERT, read_bert_config),
    "metrics.jsonl": ({"step": 3, "loss": 0.5}, read_metrics),
    "TF_CONFIG": (TASK, read_tf_config),
    "config.json ": (HUGGING_FACE, folders.described),  # of Hugging Face
    "tokenizer.json": (TOKENIZER, tokenizer_files.read),
    "tokenizer_config.json": ({"do_lower_case": True, "tokenizer_class": "BertTokenizer"}, tokenizer_files.read),
    "model.safetensors.index.json": (
        {"weight_map": {"a": "one.safetensors"}},
        lambda folder: list(safetensors_files.shards_of(os.path.join(folder, "model.safetensors.index.json"))),
    ),
}
DEEP = json.loads("[" * 300 + "]" * 300)
ODD = [None, True, -1, 0, 0.5, 1.0, 10**30, -(10**299), 1e308, 0.999999999999, "", "x", "a\u0000b", [], {}, [[1]], DEEP]
ODD += [float("nan"), float("inf"), "é" * 500, {"a": {"b": [None]}}]


def places_in(value, at=()):
    """The paths of all values in a tree."""
    yield at
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places_in(value[key], at + (key,))


def mutated(content, rng):
    """The bytes of a JSON file with one to three things that are odd."""
    tree = copy.deepcopy(content)
    for _ in range(rng.randint(1, 3)):
        place = rng.choice(list(places_in(tree)))
        if not place:
            continue
        parent = tree
        for key in place[:-1]:
            parent = parent[key]
        if rng.random() < 0.2:
            parent.pop(place[-1])
        elif rng.random() < 0.2 and isinstance(parent, dict):
            parent[str(rng.choice(ODD))[:20]] = parent.pop(place[-1])
        else:
            parent[place[-1]] = copy.deepcopy(rng.choice(ODD))
    raw = json.dumps(tree).encode()
    if rng.random() < 0.3:
        at = rng.randrange(len(raw))
        kinds = (raw[:at], raw[:at] + bytes([raw[at] ^ 1 << rng.randrange(8)]) + raw[at + 1 :], raw + raw, raw[at:])
        raw = rng.choice(kinds)
    return raw


def placed(folder, name, raw):
    """Puts the file in place, with the others that its reader wants."""
    beside = {"config.json": HUGGING_FACE} if name.startswith(("tokenizer", "config.json ")) else {}
    for other, content in beside.items():
        (folder / other).write_text(json.dumps(content))
    if beside:
        (folder / "model.safetensors").write_bytes(b"")
        (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n") if name != "tokenizer.json" else None
    (folder / name.strip()).write_bytes(raw)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", sorted(FILES))
def test_no_mutation_of_a_file_is_more_than_one_message(tmp_path, name, capsys):
    content, read = FILES[name]
    rng = random.Random(name)
    placed(tmp_path, name, json.dumps(content).encode())
    if name not in ("model.safetensors.index.json", "manifest.json"):  # they name files that are not there
        read(str(tmp_path))
    refused = 0
    for _ in range(int(os.environ.get("STEADY_BERT_MUTATIONS", 40))):
        raw = mutated(content, rng)
        placed(tmp_path, name, raw)
        try:
            read(str(tmp_path))
        except UserError as error:
            refused += 1
            assert len(str(error)) < 2500, error
        except Exception as error:
            raise AssertionError("{!r}: {!r}".format(raw[:500], error)) from error
        for other in tmp_path.glob("metrics.jsonl.damaged*"):
            other.unlink()
    assert refused or name == "metrics.jsonl"


def test_a_damaged_log_is_kept_aside(tmp_path, capsys):
    path = tmp_path / "metrics.jsonl"
    whole = b'{"step": 1, "loss": 2}\n'
    path.write_bytes(whole + b'{"step": 9}\n{"step": tru')  # what a kill leaves
    reports._drop_after(str(path), 5)
    assert path.read_bytes() == whole and capsys.readouterr().out == ""
    damaged = b'\x00\xff\n[1]\n{"step": true}\n{"loss": 1}\n' + whole
    for number in (1, 2):
        path.write_bytes(damaged)
        reports._drop_after(str(path), 5)
        assert path.read_bytes() == whole
        aside = tmp_path / ("metrics.jsonl.damaged" + (".2" if number == 2 else ""))
        assert aside.read_bytes() == damaged
        assert "{}: lines of it are damaged. It is kept as {}.".format(path, aside.name) in capsys.readouterr().out
    path.unlink()
    path.mkdir()
    with contextlib.suppress(FileNotFoundError):
        reports._drop_after(str(path), 5)
    assert path.read_bytes() == b""
