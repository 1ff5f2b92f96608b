"""The files of a model, configuration, vocabulary and labels, and checks that they belong together."""

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple

import tokenization

from ..base import files
from ..base.errors import UserError

if TYPE_CHECKING:
    import modeling

# Flag → name of the file in a model's folder.
MODEL_FILES = {"bert_config_file": "bert_config.json", "vocab_file": "vocab.txt", "spm_model_file": "spiece.model"}
LABELS_FILE = "labels.json"
LABEL_KINDS = ("label_type", "tag_scheme")  # the key of labels.json beside the labels; each script has its own


@dataclass(frozen=True)
class ModelConfig:
    """The files of a model and its input. None if neither a flag nor the model's folder names a file."""

    bert_config_file: Optional[str]
    vocab_file: Optional[str]
    spm_model_file: Optional[str]
    do_lower_case: bool
    max_seq_length: int


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
    """Reads the configuration. Raises UserError if it is too small for the vocabulary, the length or the segments."""
    import modeling  # imports TensorFlow, which a command that only checks flags does not need

    if config.bert_config_file is None:
        raise UserError("--bert_config_file is needed: the model's folder has none.")
    bert_config = modeling.BertConfig.from_json_file(config.bert_config_file)
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


def given_files(config: ModelConfig) -> Dict[str, str]:
    """Name in a model's folder → path of the file, for the files that the configuration names."""
    given = {name: getattr(config, flag) for flag, name in MODEL_FILES.items()}
    return {name: path for name, path in given.items() if path is not None}


def saved_labels(folder: Optional[str], kind: str) -> Optional[Tuple[List[str], str]]:
    """(labels of the model in a folder, in id order; its label_type or tag_scheme, whichever `kind` names).

    None if the folder has no labels.json. Raises UserError if the model was trained by the other script.
    """
    path = os.path.join(folder or "", LABELS_FILE)
    if folder is None or not os.path.exists(path):
        return None
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
        labels = [str(label) for label in content["labels"]]
    except (ValueError, KeyError, TypeError):
        raise UserError("{}: not a list of labels. Restore it from a copy.".format(path)) from None
    if kind not in content and set(LABEL_KINDS) & set(content):
        raise UserError("{}: has no {}: the model was trained by the other script.".format(path, kind))
    return labels, str(content.get(kind, ""))
