"""Hugging Face's config.json ↔ bert_config.json. Pure: no TensorFlow."""

from dataclasses import dataclass
from typing import Any, Dict, List, NamedTuple, Optional

from ..base import json_files
from ..base.errors import UserError
from ..tasks import model_files

CONFIG_FILE = "config.json"

# hidden_act: Hugging Face's name → ours. In bert_config.json, gelu is the approximation by tanh, as in the original.
_ACTIVATIONS = {
    "gelu": "gelu_erf",
    "gelu_python": "gelu_erf",
    "gelu_new": "gelu",
    "gelu_fast": "gelu",
    "gelu_pytorch_tanh": "gelu",
    "relu": "relu",
    "tanh": "tanh",
    "linear": "linear",
}
ACTIVATIONS_BACK = {"gelu": "gelu_new", "gelu_erf": "gelu", "relu": "relu", "tanh": "tanh", "linear": "linear"}
_SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
)
# What transformers takes for a key that config.json lacks.
_DEFAULTS = {
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "initializer_range": 0.02,
}
# Keys whose values change what is computed → the values that do not.
_ABSENT_OR = {"pruned_heads": ({}, None), "add_cross_attention": (False, None), "use_bfloat16": (False, None)}

# problem_type, as transformers writes it → label_type.
_PROBLEMS = {
    "single_label_classification": "single",
    "multi_label_classification": "multi",
    "regression": "regression",
}
_PROBLEMS_BACK = {label_type: problem for problem, label_type in _PROBLEMS.items()}


class Head(NamedTuple):
    """A fine-tuned head as config.json describes it."""

    tags_tokens: bool  # a tagger's, else a classifier's
    labels: List[str]  # in id order; none for a regression
    label_type: str  # single, multi or regression; single for a tagger


FETCH = "Fetch it again."  # what to do if a published file is damaged


@dataclass
class _ConfigFile:
    """The schema of config.json; the sizes are checked with the model's other numbers."""

    model_type: Optional[str] = None
    architectures: Optional[List[str]] = None
    id2label: Optional[Dict[str, Any]] = None
    problem_type: Optional[str] = None
    hidden_act: Optional[str] = None
    num_labels: Optional[int] = None


def read(path: str) -> Dict[str, Any]:
    """The object in a config.json. Raises UserError for what is none, or describes another model than BERT."""
    content = json_files.read(path, _ConfigFile, FETCH)
    model_files.require_bert(path, content)
    for name, allowed in _ABSENT_OR.items():
        if content.get(name) not in allowed:
            raise UserError("{}: {}={!r} is not supported. Use another model.".format(path, name, content[name]))
    return content


def bert_settings(path: str, content: Dict[str, Any]) -> Dict[str, Any]:
    """The keys of bert_config.json for the content of a config.json. Raises UserError naming `path` and the key."""
    lacking = [name for name in _SIZES if name not in content]
    if lacking:
        raise UserError("{}: lacks {}. Use the file that belongs to the weights.".format(path, ", ".join(lacking)))
    settings = {name: content[name] for name in _SIZES}
    settings.update({name: content.get(name, default) for name, default in _DEFAULTS.items()})
    activation = settings["hidden_act"]
    if not isinstance(activation, str) or activation not in _ACTIVATIONS:
        raise UserError(
            "{}: hidden_act {!r} is not one of {}. Use another model.".format(path, activation, ", ".join(_ACTIVATIONS))
        )
    settings["hidden_act"] = _ACTIVATIONS[activation]
    return settings


def hugging_face_settings(bert_config: Dict[str, Any]) -> Dict[str, Any]:
    """The keys of config.json for the keys of a bert_config.json. Raises UserError for an activation without a name."""
    activation = str(bert_config["hidden_act"] or "linear").lower()
    if activation not in ACTIVATIONS_BACK:
        raise UserError(
            "bert_config.json: hidden_act={!r} is not one of {}. Use the model's own file.".format(
                bert_config["hidden_act"], ", ".join(ACTIVATIONS_BACK)
            )
        )
    return dict(bert_config, model_type="bert", hidden_act=ACTIVATIONS_BACK[activation], layer_norm_eps=1e-12)


def head_of(content: Dict[str, Any], outputs: int) -> Optional[Head]:
    """The fine-tuned head with so many outputs that config.json describes; None if its kind has no place here."""
    architecture = " ".join(content.get("architectures") or ())
    names = content.get("id2label") or {}
    labels = [str(names.get(str(number), "LABEL_{}".format(number))) for number in range(outputs)]
    if "TokenClassification" in architecture:
        return Head(True, labels, "single")
    if "SequenceClassification" not in architecture:
        return None
    problem = _PROBLEMS.get(content.get("problem_type") or "", "regression" if outputs == 1 else "single")
    return Head(False, [] if problem == "regression" else labels, problem)


def head_settings(head: Head) -> Dict[str, Any]:
    """The keys of config.json for a fine-tuned head: what head_of reads."""
    labels = head.labels or ["LABEL_0"]  # transformers' name for a number
    settings = {
        "architectures": ["BertForTokenClassification" if head.tags_tokens else "BertForSequenceClassification"],
        "id2label": {str(number): label for number, label in enumerate(labels)},
        "label2id": {label: number for number, label in enumerate(labels)},
    }
    return settings if head.tags_tokens else dict(settings, problem_type=_PROBLEMS_BACK[head.label_type])
