"""A TensorFlow 1 checkpoint → a Hugging Face folder: model.safetensors, config.json and vocab.txt."""

import os
from typing import Any, Dict, Optional

import modeling

from ..base import files, json_files, machine
from ..tasks.model_files import LABELS_FILE, MODEL_FILES, LabelsFile, require_size
from ..training import checkpoint, manifest, run_folder, weights
from . import configurations, folders, names, safetensors_files, tokenizer_files
from .hugging_face import Report

# Variable → the class of transformers for a model that has it; the first one counts.
_ARCHITECTURES = {
    "cls/squad/output_weights": "BertForQuestionAnswering",
    "cls/seq_relationship/output_weights": "BertForPreTraining",
    "cls/predictions/output_bias": "BertForMaskedLM",
}


def convert(source: str, output: str, config_file: Optional[str] = None) -> Report:
    """Converts the weights that evaluation reads, so the averages of a run with --ema_decay.

    Raises UserError if the checkpoint or the bert_config.json beside it cannot be read, or if files of its run have
    changed.
    """
    folders.require_no_run(output)
    prefix = checkpoint.resolve(source)
    folder = run_folder.run_folder_of(prefix)
    notes = manifest.verify(folder, (), by_flag=False) if run_folder.holds_run(folder) else []
    config_file = config_file or os.path.join(folder, MODEL_FILES["bert_config_file"])
    config = modeling.BertConfig.from_json_file(config_file)
    require_size(config_file, vars(config))
    everything = checkpoint.shapes_in(prefix)
    converted = weights.weights_among(everything)
    served = weights.served_names(prefix, converted)
    numbers = sum(safetensors_files.elements_of(everything[name]) for name in converted)
    needed_bytes = numbers * machine.FLOAT32_BYTES
    machine.require_memory(prefix, needed_bytes, "the {:,} numbers of its weights".format(numbers))
    tensors = weights.served_tensors(prefix, converted)
    settings = _settings(config.to_dict(), everything, folder)
    files.require_writable(output, "--output")
    safetensors_files.write_bert(
        os.path.join(output, "model.safetensors"), tensors, config.num_hidden_layers, source=prefix
    )
    files.write_json(os.path.join(output, configurations.CONFIG_FILE), settings)
    _write_tokenizer(folder, output)
    return Report(
        len(tensors),
        missing=sorted(name for name in names.shapes_of(config.to_dict()) if name not in everything),
        left_out=sorted(set(everything) - set(converted)),
        averaged=any(served[name] != name for name in converted),
        notes=tuple(notes),
    )


def _settings(bert_config: Dict[str, Any], variables: Dict[str, Any], folder: str) -> Dict[str, Any]:
    settings = configurations.hugging_face_settings(bert_config)
    head = variables.get("output_weights")
    if head:
        settings.update(_head_settings(head[0], os.path.join(folder, LABELS_FILE)))
        return settings
    architecture = next((name for variable, name in _ARCHITECTURES.items() if variable in variables), None)
    return dict(settings, architectures=[architecture]) if architecture else settings


def _head_settings(outputs: int, labels_file: str) -> Dict[str, Any]:
    """The keys of config.json for a head; without labels.json it is taken for a classifier's."""
    if not os.path.exists(labels_file):
        return {"architectures": ["BertForSequenceClassification"], "num_labels": outputs}
    content = json_files.read(labels_file, LabelsFile)
    tags = "tag_scheme" in content
    return configurations.head_settings(
        configurations.Head(tags, content["labels"], "single" if tags else content.get("label_type") or "single")
    )


def _write_tokenizer(folder: str, output: str) -> None:
    """Copies the vocabulary, and says its case: transformers takes lower case where nothing says it."""
    vocab_file = os.path.join(folder, MODEL_FILES["vocab_file"])
    settings = os.path.join(folder, tokenizer_files.SETTINGS_FILE)
    if os.path.exists(settings):
        files.copy(settings, os.path.join(output, tokenizer_files.SETTINGS_FILE))
    if os.path.exists(vocab_file):
        files.copy(vocab_file, os.path.join(output, tokenizer_files.VOCAB_FILE))
        lower, _ = folders.case_of(folder, vocab_file)
        if lower is not None and not os.path.exists(settings):
            files.write_json(os.path.join(output, tokenizer_files.SETTINGS_FILE), {"do_lower_case": lower})
