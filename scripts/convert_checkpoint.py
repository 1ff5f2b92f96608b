"""Convert BERT weights: Hugging Face safetensors ↔ TensorFlow 1 checkpoint.

python scripts/convert_checkpoint.py --to=tf1 --source=FOLDER --output=FOLDER
    FOLDER has model.safetensors, config.json and vocab.txt; writes bert_model.ckpt.*, bert_config.json, vocab.txt.

python scripts/convert_checkpoint.py --to=safetensors --source=CHECKPOINT_PREFIX_OR_RUN --output=FOLDER
    writes model.safetensors, config.json and vocab.txt; optimizer slots are left out. A run with --ema_decay gives its
    averages, which are also what evaluation reads.
"""

import argparse
import json
import os
import re
import shutil
import sys
from typing import Dict, List, NamedTuple, Optional, Tuple

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from steady_bert.base import tensorflow_setup

if __name__ == "__main__":
    tensorflow_setup.start_program()

import numpy as np
import safetensors.numpy
import tensorflow.compat.v1 as tf

import modeling
from steady_bert.base import files
from steady_bert.base.errors import UserError
from steady_bert.tasks import model_files
from steady_bert.training import checkpoint, run_folder, weights

# Names within a layer: Hugging Face, TensorFlow 1.
_PARTS = [
    ("attention.self.query", "attention/self/query"),
    ("attention.self.key", "attention/self/key"),
    ("attention.self.value", "attention/self/value"),
    ("attention.output.dense", "attention/output/dense"),
    ("intermediate.dense", "intermediate/dense"),
    ("output.dense", "output/dense"),
]
_NORMS = [("attention.output.LayerNorm", "attention/output/LayerNorm"), ("output.LayerNorm", "output/LayerNorm")]

# Buffers and heads of pre-training, which fine-tuning does not read.
_IGNORED = re.compile(r"(^|\.)position_ids$|^cls\.|^lm_head\.")
_PRETRAINING_HEAD = "cls/"


class Report(NamedTuple):
    converted: int
    missing: List[str]
    left_out: List[str]
    averaged: bool = False  # whether the averages of --ema_decay were converted

    def __str__(self) -> str:
        lines = ["{} converted, {} missing, {} left out".format(self.converted, len(self.missing), len(self.left_out))]
        lines += ["  the weights are the averages of --ema_decay, as in evaluation"] * self.averaged
        lines += ["  missing: " + name for name in self.missing]
        lines += ["  left out: " + name for name in self.left_out[:10]]
        if len(self.left_out) > 10:
            lines.append("  left out: … and {} more".format(len(self.left_out) - 10))
        return "\n".join(lines)


def name_table(layers: int) -> "Dict[str, Tuple[str, bool]]":
    """Hugging Face name without `bert.` → (TensorFlow name, whether the matrix is transposed)."""
    table = {
        "embeddings.word_embeddings.weight": ("bert/embeddings/word_embeddings", False),
        "embeddings.token_type_embeddings.weight": ("bert/embeddings/token_type_embeddings", False),
        "embeddings.position_embeddings.weight": ("bert/embeddings/position_embeddings", False),
        "embeddings.LayerNorm.weight": ("bert/embeddings/LayerNorm/gamma", False),
        "embeddings.LayerNorm.bias": ("bert/embeddings/LayerNorm/beta", False),
        "pooler.dense.weight": ("bert/pooler/dense/kernel", True),
        "pooler.dense.bias": ("bert/pooler/dense/bias", False),
        "classifier.weight": ("output_weights", False),
        "classifier.bias": ("output_bias", False),
    }
    for layer in range(layers):
        source, target = "encoder.layer.{}.".format(layer), "bert/encoder/layer_{}/".format(layer)
        for theirs, ours in _PARTS:
            table[source + theirs + ".weight"] = (target + ours + "/kernel", True)
            table[source + theirs + ".bias"] = (target + ours + "/bias", False)
        for theirs, ours in _NORMS:
            table[source + theirs + ".weight"] = (target + ours + "/gamma", False)
            table[source + theirs + ".bias"] = (target + ours + "/beta", False)
    return table


_HEAD = ("classifier.weight", "classifier.bias")


def _shapes(config: modeling.BertConfig) -> Dict[str, Tuple[int, ...]]:
    """TensorFlow name → shape of every variable of the model."""
    with tf.Graph().as_default():
        modeling.BertModel(config, False, tf.placeholder(tf.int32, [None, None]))
        return {variable.op.name: tuple(variable.shape.as_list()) for variable in tf.trainable_variables()}


def _check_head(path: str, weights: Dict[str, np.ndarray], hidden_size: int) -> None:
    """Raises UserError if kernel and bias of the head do not agree on the number of labels."""
    kernel, bias = (np.shape(weights[name]) if name in weights else None for name in ("output_weights", "output_bias"))
    if kernel is None and bias is None:
        return
    if kernel is None or bias is None or kernel != bias + (hidden_size,):
        raise UserError(
            "{}: classifier.weight {} and classifier.bias {} do not fit a head on {} hidden units.".format(
                path, kernel or "is absent", bias or "is absent", hidden_size
            )
        )


def _read_config(path: str) -> modeling.BertConfig:
    """Reads Hugging Face's config.json; its other keys concern other programs."""
    try:
        with open(path, encoding="utf-8") as file:
            settings = json.load(file)
    except OSError as error:
        raise UserError("{}: cannot be read ({}).".format(path, error.strerror)) from None
    except ValueError as error:
        raise UserError("{}: not JSON ({}).".format(path, error)) from None
    if not isinstance(settings, dict):
        raise UserError("{}: holds {}, not an object of settings.".format(path, type(settings).__name__))
    model_files.require_bert(path, settings)
    known = modeling.BertConfig(vocab_size=0).to_dict()
    if settings.get("hidden_act") in ("gelu_new", "gelu_pytorch_tanh"):
        settings["hidden_act"] = "gelu"
    try:
        return modeling.BertConfig.from_dict({key: value for key, value in settings.items() if key in known})
    except ValueError as error:
        raise UserError("{}: {}".format(path, error)) from None


def convert_to_tf1(source: str, output: str) -> Report:
    """Hugging Face → TensorFlow 1. Raises UserError for an unknown tensor, a wrong shape, or an incomplete encoder."""
    path = os.path.join(source, "model.safetensors") if os.path.isdir(source) else source
    folder = os.path.dirname(path)
    config = _read_config(os.path.join(folder, "config.json"))
    try:
        tensors = safetensors.numpy.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError("{}: cannot be read as safetensors ({}).".format(path, error)) from None
    table = name_table(config.num_hidden_layers)
    shapes = _shapes(config)
    converted: Dict[str, np.ndarray] = {}
    left_out = []
    for full_name, tensor in tensors.items():
        name = full_name[len("bert.") :] if full_name.startswith("bert.") else full_name
        if _IGNORED.search(full_name):
            left_out.append(full_name)
            continue
        if name not in table:
            raise UserError("{}: tensor {} is not part of BERT. Is it another architecture?".format(path, full_name))
        target, transposed = table[name]
        value = np.asarray(tensor, np.float32)
        value = value.T if transposed else value
        if target in shapes and value.shape != shapes[target]:
            raise UserError(
                "{}: tensor {} gives {}, but config.json says {}.".format(path, full_name, value.shape, shapes[target])
            )
        converted[target] = value
    missing = sorted(name for name in shapes if name not in converted)
    if any(not name.startswith("bert/pooler/") for name in missing):
        raise UserError("{}: lacks {} ({} in all).".format(path, missing[0], len(missing)))
    _check_head(path, converted, config.hidden_size)
    os.makedirs(output, exist_ok=True)
    checkpoint.write(os.path.join(output, "bert_model.ckpt"), converted)
    with files.atomic_write(os.path.join(output, "bert_config.json")) as file:
        file.write(config.to_json_string())
    _copy_vocabulary(folder, output)
    return Report(len(converted), missing, left_out)


def convert_to_safetensors(source: str, output: str, config_file: Optional[str] = None) -> Report:
    """TensorFlow 1 → Hugging Face: the weights that evaluation reads, so the averages of a run with --ema_decay.

    Raises UserError if the checkpoint or the bert_config.json beside it cannot be read.
    """
    prefix = checkpoint.resolve(source)
    folder = run_folder.run_folder_of(prefix)
    config = modeling.BertConfig.from_json_file(config_file or os.path.join(folder, "bert_config.json"))
    everything = checkpoint.shapes_in(prefix)
    names = weights.weights_among(everything)
    served = weights.served_names(prefix, names)
    back = {target: (name, transposed) for name, (target, transposed) in name_table(config.num_hidden_layers).items()}
    tensors = {}
    converted = [name for name in names if not name.startswith(_PRETRAINING_HEAD)]
    for name, value in weights.served_tensors(prefix, converted).items():
        if name not in back:
            raise UserError("{}: variable {} is not part of BERT.".format(prefix, name))
        theirs, transposed = back[name]
        key = theirs if theirs in _HEAD else "bert." + theirs
        tensors[key] = np.ascontiguousarray(value.T if transposed else value)
    left_out = sorted(set(everything) - set(converted))
    missing = sorted(name for name in _shapes(config) if name not in everything)
    os.makedirs(output, exist_ok=True)
    with files.atomic_write(os.path.join(output, "model.safetensors"), "wb") as file:
        file.write(safetensors.numpy.save(tensors, metadata={"format": "pt"}))
    head = everything.get("output_weights")
    details = dict(config.to_dict(), model_type="bert", hidden_act="gelu_new", layer_norm_eps=1e-12)
    if head:
        details.update(architectures=["BertForSequenceClassification"], num_labels=head[0])
    files.write_json(os.path.join(output, "config.json"), details)
    _copy_vocabulary(folder, output)
    averaged = any(served[name] != name for name in converted)
    return Report(len(tensors), missing, left_out, averaged)


def _copy_vocabulary(folder: str, output: str) -> None:
    source, target = os.path.join(folder, "vocab.txt"), os.path.join(output, "vocab.txt")
    if os.path.exists(source) and os.path.abspath(source) != os.path.abspath(target):
        with open(source, "rb") as file, files.atomic_write(target, "wb") as copy:
            shutil.copyfileobj(file, copy)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", choices=("tf1", "safetensors"), required=True)
    parser.add_argument("--source", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--bert_config_file", help="with --to=safetensors, if it is not beside the checkpoint")
    arguments = parser.parse_args()
    try:
        if arguments.to == "tf1":
            report = convert_to_tf1(arguments.source, arguments.output)
        else:
            report = convert_to_safetensors(arguments.source, arguments.output, arguments.bert_config_file)
    except UserError as error:
        print("convert_checkpoint: error: {}".format(error), file=sys.stderr)
        sys.exit(2)
    print("{}: {}".format(arguments.output, report))


if __name__ == "__main__":
    main()
