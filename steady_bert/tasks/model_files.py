"""The files that belong to a model: its configuration and its vocabulary, and whether they belong together."""

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple

import tokenization

from ..base import files
from ..base.errors import UserError

if TYPE_CHECKING:
    import modeling

# The flags of a model's files, and what the files are called in its folder.
MODEL_FILES = {"bert_config_file": "bert_config.json", "vocab_file": "vocab.txt", "spm_model_file": "spiece.model"}
LABELS_FILE = "labels.json"
LABEL_KINDS = ("label_type", "tag_scheme")  # what labels.json says beside the labels, by script


@dataclass(frozen=True)
class ModelConfig:
    """What a model is made of and reads. None where neither a flag nor the model's folder says."""

    bert_config_file: Optional[str]
    vocab_file: Optional[str]
    spm_model_file: Optional[str]
    do_lower_case: bool
    max_seq_length: int


def load_tokenizer(config: ModelConfig, model_dir: Optional[str]) -> Tuple[Any, str]:
    """(tokenizer, what tells it from another). Raises UserError where it does not belong to the model or the case."""
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
        tokenizer = tokenization.FullTokenizer(given, do_lower_case=config.do_lower_case)
    wrong_case = tokenization.check_case_against_vocab(tokenizer.vocab, config.do_lower_case)
    if wrong_case:
        raise UserError("--do_lower_case={}: {}".format(str(config.do_lower_case).lower(), wrong_case))
    return tokenizer, "{}/{}/{}".format(flag, files.sha256_of_file(given), config.do_lower_case)


def load_bert_config(config: ModelConfig, vocab_size: int, segments: int) -> "modeling.BertConfig":
    """Raises UserError where the file is missing, or too small for the vocabulary, the length or so many segments."""
    import modeling  # and TensorFlow with it, which a command that only reads flags does without

    if config.bert_config_file is None:
        raise UserError("--bert_config_file is needed: the model's folder does not say it.")
    found = modeling.BertConfig.from_json_file(config.bert_config_file)
    if config.max_seq_length > found.max_position_embeddings:
        raise UserError(
            "--max_seq_length={}: {} has max_position_embeddings={}. Lower --max_seq_length.".format(
                config.max_seq_length, config.bert_config_file, found.max_position_embeddings
            )
        )
    if found.type_vocab_size < segments:
        raise UserError(
            "{}: type_vocab_size={}, but {} are needed. Use the model's own file.".format(
                config.bert_config_file, found.type_vocab_size, segments
            )
        )
    if vocab_size > found.vocab_size:
        raise UserError(
            "{}: {} pieces, but {} has vocab_size={}. Use the two files that belong together.".format(
                config.vocab_file or config.spm_model_file, vocab_size, config.bert_config_file, found.vocab_size
            )
        )
    return found


def given_files(config: ModelConfig) -> Dict[str, str]:
    """Name in a model's folder → the file that was given."""
    given = {name: getattr(config, flag) for flag, name in MODEL_FILES.items()}
    return {name: path for name, path in given.items() if path is not None}


def saved_labels(folder: Optional[str], kind: str) -> Optional[Tuple[List[str], str]]:
    """(the labels of the model in a folder, in id order; its label_type or tag_scheme, whichever `kind` names).

    None where it does not say. Raises UserError where it was trained by another script.
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
