"""The files of a model, configuration, vocabulary and labels, and checks that they belong together."""

import difflib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple

import tokenization

from ..base import files, json_files, machine
from ..base.errors import UserError

if TYPE_CHECKING:
    import modeling

# Flag → name of the file in a model's folder.
MODEL_FILES = {"bert_config_file": "bert_config.json", "vocab_file": "vocab.txt", "spm_model_file": "spiece.model"}
LABELS_FILE, THRESHOLD_FILE = "labels.json", "threshold.json"
# The key of labels.json beside the labels → the script that writes it.
LABEL_KINDS = {"label_type": "run_classifier", "tag_scheme": "run_ner", "answers": "run_squad"}

# The keys of bert_config.json that decide the model: the arguments of modeling.BertConfig.
_READ = {
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_act",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "max_position_embeddings",
    "type_vocab_size",
    "initializer_range",
}
# Keys of Google's bert_config.json files that no BERT code reads.
_KNOWN_UNREAD = {
    "directionality",
    "pooler_fc_size",
    "pooler_num_attention_heads",
    "pooler_num_fc_layers",
    "pooler_size_per_head",
    "pooler_type",
}
# model_type of what is often taken for a BERT → its name.
_RELATIVES = {
    "albert": "ALBERT",
    "big_bird": "BigBird",
    "camembert": "CamemBERT",
    "deberta": "DeBERTa",
    "deberta-v2": "DeBERTa",
    "distilbert": "DistilBERT",
    "electra": "ELECTRA",
    "ernie": "ERNIE",
    "mobilebert": "MobileBERT",
    "modernbert": "ModernBERT",
    "mpnet": "MPNet",
    "nomic_bert": "Nomic BERT",
    "roberta": "RoBERTa",
    "roformer": "RoFormer",
    "squeezebert": "SqueezeBERT",
    "xlm-roberta": "XLM-RoBERTa",
}
# Keys that decide what a model computes and no variable's shape → their values in BertConfig where a file lacks them.
_IN_NO_SHAPE = {"hidden_act": "gelu", "num_attention_heads": 12}
# Key → (the one value that this model has, what another means), for keys of Hugging Face's files and of ALBERT's.
_NOT_BERT = "this program trains BERT alone. Use the files of a BERT."
_ONLY_VALUES = {
    "num_hidden_groups": (None, "this is an ALBERT, and " + _NOT_BERT),
    "position_embedding_type": ("absolute", "this program has absolute positions alone. Use another model."),
    "layer_norm_eps": (1e-12, "LayerNorm has 1e-12 here, and the model would give other numbers. Use another model."),
    "is_decoder": (False, "attention is to both sides here. Use a model that is no decoder."),
}


@dataclass(frozen=True)
class ModelConfig:
    """The files of a model and its input. None if neither a flag nor the model's folder names a file."""

    bert_config_file: Optional[str]
    vocab_file: Optional[str]
    spm_model_file: Optional[str]
    do_lower_case: bool
    max_seq_length: int


@dataclass
class LabelsFile:
    """The schema of labels.json."""

    labels: List[str]
    label_type: Optional[str] = None
    tag_scheme: Optional[str] = None
    answers: Optional[str] = None


@dataclass
class ThresholdFile:
    """The schema of threshold.json."""

    threshold: float


@dataclass
class _InputSettings:
    do_lower_case: Optional[bool] = None
    max_seq_length: Optional[int] = None


@dataclass
class InputsFile:
    """The part of the schema of config.json that says how text was read; older folders lack it."""

    model: Optional[_InputSettings] = None


@dataclass
class RunConfigFile:
    """The schema of config.json in a run's folder. What the settings of its task are depends on the script."""

    data: Dict[str, Any]
    model: Optional[_InputSettings] = None


def load_tokenizer(config: ModelConfig, model_dir: Optional[str]) -> Tuple[Any, str]:
    """(tokenizer, its fingerprint). Raises UserError if it does not fit the model, or do_lower_case does not fit it."""
    given = config.vocab_file or config.spm_model_file
    assert given is not None
    flag = "vocab_file" if config.vocab_file else "spm_model_file"
    for name in ("vocab_file", "spm_model_file") if model_dir else ():
        own = os.path.join(model_dir or "", MODEL_FILES[name])
        if os.path.exists(own) and files.sha256_of_file(own) != files.sha256_of_file(given):
            raise UserError("--{}={}: the model was trained with {}. Leave the flag out.".format(flag, given, own))
    tokenizer: Any
    if config.spm_model_file:
        tokenizer = tokenization.SentencePieceTokenizer(config.spm_model_file, do_lower_case=config.do_lower_case)
    else:
        tokenizer = tokenization.FullTokenizer(given, do_lower_case=config.do_lower_case, strict=True)
    wrong_case = tokenization.check_case_against_vocab(tokenizer.vocab, config.do_lower_case)
    if wrong_case:
        raise UserError("--do_lower_case={}: {}".format(str(config.do_lower_case).lower(), wrong_case))
    return tokenizer, "{}/{}/{}".format(flag, files.sha256_of_file(given), config.do_lower_case)


def load_bert_config(config: ModelConfig, vocab_size: int, segments: int) -> "modeling.BertConfig":
    """Reads the configuration, without keys that are not read.

    Raises UserError for a model that is no BERT, a misspelt key, or a configuration that is too small for the
    vocabulary, the length or the segments.
    """
    import modeling  # imports TensorFlow, which a command that only checks flags does not need

    if config.bert_config_file is None:
        raise UserError("--bert_config_file is needed: the model's folder has none.")
    content = _json_object(config.bert_config_file)
    require_bert(config.bert_config_file, content)
    _refuse_misspelt_keys(config.bert_config_file, content)
    bert_config = modeling.BertConfig.from_json_file(config.bert_config_file)
    require_size(config.bert_config_file, vars(bert_config))
    for name in set(vars(bert_config)) - _READ:
        delattr(bert_config, name)  # a resume compares only what decides the model
    if config.max_seq_length > bert_config.max_position_embeddings:
        raise UserError(
            "--max_seq_length={}: {} has max_position_embeddings={}. Lower --max_seq_length.".format(
                config.max_seq_length, config.bert_config_file, bert_config.max_position_embeddings
            )
        )
    if bert_config.type_vocab_size < segments:
        raise UserError(
            "{}: type_vocab_size={}, but {} are needed. Use the model's own file.".format(
                config.bert_config_file, bert_config.type_vocab_size, segments
            )
        )
    if vocab_size > bert_config.vocab_size:
        raise UserError(
            "{}: {} pieces, but {} has vocab_size={}. Use the two files that belong together.".format(
                config.vocab_file or config.spm_model_file, vocab_size, config.bert_config_file, bert_config.vocab_size
            )
        )
    return bert_config


MOST_LAYERS = 1000  # of a model whose graph can be built; published ones have up to 48


def require_size(path: str, sizes: Dict[str, int]) -> None:
    """Raises UserError if a BERT of these sizes, by the keys of bert_config.json, cannot be held or built here."""
    if sizes["num_hidden_layers"] > MOST_LAYERS:
        text = "{}: num_hidden_layers={:,}: {:,} are the most. Use the file that belongs to the model."
        raise UserError(text.format(path, sizes["num_hidden_layers"], MOST_LAYERS))
    count = parameters(sizes)
    machine.require_memory(path, count * machine.FLOAT32_BYTES, "the {:,} weights of its model".format(count))


def parameters(sizes: Dict[str, int]) -> int:
    """The number of weights of an encoder with its pooler."""
    width, inner = sizes["hidden_size"], sizes["intermediate_size"]
    rows = sizes["vocab_size"] + sizes["max_position_embeddings"] + sizes["type_vocab_size"]
    attention = 4 * (width * width + width)
    feed_forward = 2 * width * inner + inner + width
    norm = 2 * width
    layer = attention + feed_forward + 2 * norm
    return rows * width + norm + sizes["num_hidden_layers"] * layer + width * width + width


def note_unread_keys(config: ModelConfig) -> Dict[str, str]:
    """Notes for the plan: keys of bert_config.json that are not read, and a gelu that Hugging Face means otherwise."""
    content = _json_object(config.bert_config_file) if config.bert_config_file else {}
    unread = sorted(set(content) - _READ - _KNOWN_UNREAD)
    notes = {"keys of bert_config.json that are not read": ", ".join(unread)} if unread else {}
    if "model_type" in content and content.get("hidden_act") == "gelu":
        notes["hidden_act"] = (
            "gelu is the approximation by tanh here, the exact function in Hugging Face's config.json; --model=FOLDER "
            "takes the latter (docs/weights.md)"
        )
    return notes


def _json_object(path: str) -> Dict[str, Any]:
    """The object in a bert_config.json. Raises UserError where there is none."""
    return json_files.read(path, remedy="Use the file that belongs to the model.")


def require_bert(path: str, content: Dict[str, Any]) -> None:
    """Raises UserError if a key of a configuration says that the model is none that this program can compute."""
    kind = content.get("model_type", "bert")
    if kind != "bert":
        known = _RELATIVES.get(str(kind))
        meaning = "this is {}, and {}".format(known, _NOT_BERT) if known else _NOT_BERT
        raise UserError("{}: model_type={!r}: {}".format(path, kind, meaning))
    for name, (expected, meaning) in _ONLY_VALUES.items():
        if content.get(name, expected) != expected:
            raise UserError("{}: {}={!r}: {}".format(path, name, content[name], meaning))
    if content.get("embedding_size", content.get("hidden_size", 768)) != content.get("hidden_size", 768):
        raise UserError(
            "{}: embedding_size={!r} is not hidden_size: this is an ALBERT or ELECTRA, not a BERT. Use the files of "
            "a BERT.".format(path, content["embedding_size"])
        )


def _refuse_misspelt_keys(path: str, content: Dict[str, Any]) -> None:
    for name in sorted(set(content) - _READ - _KNOWN_UNREAD):
        near = difflib.get_close_matches(name, sorted(_READ), n=1, cutoff=0.9)
        near = near or difflib.get_close_matches(name, sorted(_READ - set(content)), n=1, cutoff=0.8)
        if near:
            raise UserError("{}: unknown key {!r}. Did you mean {!r}?".format(path, name, near[0]))


def given_files(config: ModelConfig) -> Dict[str, str]:
    """Name in a model's folder → path of the file, for the files that the configuration names."""
    given = {name: getattr(config, flag) for flag, name in MODEL_FILES.items()}
    return {name: path for name, path in given.items() if path is not None}


def differences_no_shape_shows(folder: str, given: Dict[str, str]) -> Dict[str, str]:
    """Name of a model's file → how what is given instead of it would make another model of the folder's weights.

    given: as given_files returns it. Other differences show when weights are loaded, or may be wanted, as dropout is.
    """
    differences = {}
    own = {name: os.path.join(folder, name) for name in MODEL_FILES.values()}
    own = {name: path for name, path in own.items() if os.path.exists(path)}
    config = MODEL_FILES["bert_config_file"]
    vocabularies = [name for name in own if name != config]
    if vocabularies:
        hashes = {files.sha256_of_file(own[name]) for name in vocabularies}
        for name in set(given) - {config}:
            if files.sha256_of_file(given[name]) not in hashes:
                differences[name] = "{} has other pieces".format(given[name])
    if config in own and config in given:
        before, after = _json_object(own[config]), _json_object(given[config])
        texts = [
            "{}={!r} there, {!r} in {}".format(key, before.get(key, default), after.get(key, default), given[config])
            for key, default in _IN_NO_SHAPE.items()
            if before.get(key, default) != after.get(key, default)
        ]
        if texts:
            differences[config] = "; ".join(texts)
    return differences


def saved_labels(folder: Optional[str], kind: str) -> Optional[Tuple[List[str], str]]:
    """(labels of the model in a folder, in id order; its label_type or tag_scheme, whichever `kind` names).

    None if the folder has no labels.json. Raises UserError if the model was trained by the other script.
    """
    path = os.path.join(folder or "", LABELS_FILE)
    if folder is None or not os.path.lexists(path):
        return None
    content = json_files.read(path, LabelsFile)
    labels = content["labels"]
    if kind not in content and set(LABEL_KINDS) & set(content):
        raise UserError("{}: has no {}: the model was trained by another script.".format(path, kind))
    return labels, str(content.get(kind, ""))


def saved_threshold(folder: str, remedy: str) -> float:
    """The threshold that was tuned for the model in a folder. Raises UserError, with the remedy, if there is none."""
    return float(json_files.read(os.path.join(folder, THRESHOLD_FILE), ThresholdFile, remedy)["threshold"])
