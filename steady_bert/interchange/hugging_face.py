"""A Hugging Face folder of a BERT → a folder as google-research/bert publishes one.

What is written: bert_model.ckpt.*, bert_config.json, vocab.txt, tokenizer_config.json with the case, and labels.json
if the model was fine-tuned. Weights become float32. Rows of the word embeddings beyond the vocabulary are kept: they
are never looked up, and all numbers, and a way back, stay as they were.
"""

import os
import tempfile
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

import modeling

from ..base import files, machine
from ..base.errors import UserError
from ..tasks.model_files import LABELS_FILE, MODEL_FILES, require_size
from ..training import checkpoint
from . import configurations, folders, names, safetensors_files, tokenizer_files, torch_files
from .safetensors_files import Tensor

CHECKPOINT = "bert_model.ckpt"
# Where a tensor's name says which model it is from.
_OTHERS = {
    "roberta.": "RoBERTa",
    "distilbert.": "DistilBERT",
    "transformer.layer.": "DistilBERT",
    "electra.": "ELECTRA",
    "embeddings_project.": "ELECTRA",
    "albert.": "ALBERT",
    "encoder.albert_layer_groups.": "ALBERT",
}


class Report(NamedTuple):
    """What became of a model's weights."""

    converted: int
    missing: List[str]
    left_out: List[str]
    averaged: bool = False  # whether the averages of --ema_decay were converted
    notes: Tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = ["{} converted, {} missing, {} left out".format(self.converted, len(self.missing), len(self.left_out))]
        lines += ["  the weights are the averages of --ema_decay, as in evaluation"] * self.averaged
        lines += ["  missing: " + name for name in self.missing]
        lines += ["  left out: " + name for name in self.left_out[:10]]
        if len(self.left_out) > 10:
            lines.append("  left out: … and {} more".format(len(self.left_out) - 10))
        return "\n".join(lines + ["  " + note for note in self.notes])


def convert(source: str, output: str, torch_python: Optional[str] = None) -> Report:
    """Converts a folder (or its model.safetensors). torch_python: an interpreter with torch, for pytorch_model.bin.

    Raises UserError, which names the file and the key or tensor, for another model, for files that are damaged or do
    not belong together, and for an incomplete encoder.
    """
    if not os.path.exists(source):
        raise UserError("{}: no such folder. Check the path.".format(source))
    folder = _folder_of(source)
    if os.path.realpath(folder) == os.path.realpath(output):
        raise UserError("--output={}: is the model's own folder. Name another.".format(output))
    config_path = os.path.join(folder, configurations.CONFIG_FILE)
    kind = folders.kind_of(folder)
    if kind == folders.RUN:
        raise UserError(
            "{}: is the folder of a run, whose checkpoint is TensorFlow's already. scripts/export_model.py --to=tf1 "
            "exports a classifier or a tagger.".format(folder)
        )
    if kind == folders.CHECKPOINT and not os.path.exists(config_path):
        raise UserError("{}: is a TensorFlow checkpoint already. Use it as it is.".format(folder))
    folders.require_no_run(output)
    content = configurations.read(config_path)
    settings = configurations.bert_settings(config_path, content)
    try:
        config = modeling.BertConfig.from_dict(settings)
    except ValueError as error:
        raise UserError("{}: {}".format(config_path, error)) from None
    require_size(config_path, settings)
    tokenizer = tokenizer_files.read(folder)
    if tokenizer is not None and len(tokenizer.pieces) > config.vocab_size:
        raise UserError(
            "{}: vocab_size={}, but the vocabulary has {:,} pieces. Use files that belong together.".format(
                config_path, config.vocab_size, len(tokenizer.pieces)
            )
        )
    with tempfile.TemporaryDirectory() as scratch:
        tensors = _tensors_of(source, scratch, torch_python)
        weights, left_out = _weights(tensors, settings, config_path)
    missing = _missing(source, weights, settings)
    files.require_writable(output, "--output")
    checkpoint.write(os.path.join(output, CHECKPOINT), weights)
    files.write_json(os.path.join(output, MODEL_FILES["bert_config_file"]), settings)
    _write_tokenizer(tokenizer, output)
    _write_labels(content, weights, output)
    return Report(len(weights), missing, left_out, notes=_notes(config, tokenizer))


def _folder_of(source: str) -> str:
    return source if os.path.isdir(source) else os.path.dirname(source)


# --- weights ----------------------------------------------------------------------------------------------------------


def _tensors_of(source: str, scratch: str, torch_python: Optional[str]) -> Dict[str, Tensor]:
    """Published name → tensor, of all the files that hold a folder's weights, or of one file."""
    paths = folders.weight_files(source) if os.path.isdir(source) else [source]
    if paths[0].endswith(".bin"):
        paths = [os.path.join(scratch, "model.safetensors")]
        torch_files.to_safetensors(_folder_of(source), paths[0], torch_python)
    tensors: Dict[str, Tensor] = {}
    for path in paths:
        tensors.update(safetensors_files.tensors_in(path))
    return tensors


def _weights(
    tensors: Dict[str, Tensor], settings: Dict[str, Any], config_path: str
) -> Tuple[Dict[str, np.ndarray], List[str]]:
    """(variable → value, names of the tensors that are left out). Raises UserError for a tensor with no place."""
    floats = sum(tensor.elements for tensor in tensors.values() if tensor.is_float)
    needed_bytes = floats * machine.FLOAT32_BYTES
    machine.require_memory(os.path.dirname(config_path), needed_bytes, "the {:,} numbers of its tensors".format(floats))
    places = names.tensorflow_places(settings["num_hidden_layers"])
    shapes = dict(names.shapes_of(settings), **names.shapes_of_pretraining(settings))
    weights: Dict[str, np.ndarray] = {}
    left_out = []
    for published, tensor in tensors.items():
        name = names.plain_name(published)
        if name is None or not tensor.is_float:
            left_out.append(published)
            continue
        if name not in places:
            raise UserError("{}: tensor {} is not part of BERT. {}".format(tensor.path, published, _kind_of(published)))
        place = places[name]
        value = safetensors_files.load(tensor)
        value = value.T if place.transposed else value
        expected = shapes.get(place.name, value.shape)
        if value.shape != expected:
            raise UserError(
                "{}: tensor {} gives {}, but {} says {}. Use files that belong together.".format(
                    tensor.path, published, value.shape, config_path, expected
                )
            )
        weights[place.name] = value
    return weights, left_out


def _kind_of(published: str) -> str:
    for beginning, kind in _OTHERS.items():
        if published.startswith(beginning):
            return "This is {}. Use the files of a BERT.".format(kind)
    return "Is it another architecture?"


def _missing(source: str, weights: Dict[str, np.ndarray], settings: Dict[str, Any]) -> List[str]:
    """The variables of the model that there are no weights for. Raises UserError if one is not the pooler's."""
    missing = sorted(name for name in names.shapes_of(settings) if name not in weights)
    hidden_size = settings["hidden_size"]
    absent = [name for name in missing if not name.startswith("bert/pooler/")]
    if absent:
        raise UserError("{}: lacks {} ({} in all). Fetch the whole folder.".format(source, absent[0], len(missing)))
    kernel, bias = (np.shape(weights[name]) if name in weights else None for name in ("output_weights", "output_bias"))
    if (kernel or bias) and (kernel is None or bias is None or kernel != (*bias, hidden_size)):
        raise UserError(
            "{}: classifier.weight {} and classifier.bias {} do not fit a head on {} hidden units. Use files that "
            "belong together.".format(source, kernel or "is absent", bias or "is absent", hidden_size)
        )
    return missing


# --- what is beside them ----------------------------------------------------------------------------------------------


def _write_tokenizer(tokenizer: Optional[tokenizer_files.Tokenizer], output: str) -> None:
    if tokenizer is None:
        return
    tokenizer_files.write_vocabulary(tokenizer, os.path.join(output, tokenizer_files.VOCAB_FILE))
    files.write_json(os.path.join(output, tokenizer_files.SETTINGS_FILE), {"do_lower_case": tokenizer.do_lower_case})


def _write_labels(content: Dict[str, Any], weights: Dict[str, np.ndarray], output: str) -> None:
    """Writes labels.json, as a run's folder has it, for a head of a kind that a run has too."""
    head = configurations.head_of(content, len(weights.get("output_bias", ())))
    if head is None or "output_bias" not in weights:
        return
    kind = {"tag_scheme": ""} if head.tags_tokens else {"label_type": head.label_type}
    files.write_json(os.path.join(output, LABELS_FILE), dict(kind, labels=head.labels))


def _notes(config: modeling.BertConfig, tokenizer: Optional[tokenizer_files.Tokenizer]) -> Tuple[str, ...]:
    notes = []
    if tokenizer is None:
        notes.append("no vocabulary beside the weights")
    elif len(tokenizer.pieces) < config.vocab_size:
        notes.append(
            "{:,} rows of the word embeddings are beyond the vocabulary of {:,} pieces; they are kept".format(
                config.vocab_size - len(tokenizer.pieces), len(tokenizer.pieces)
            )
        )
    return tuple(notes)
