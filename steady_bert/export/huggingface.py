"""A run as a Hugging Face folder: BertForSequenceClassification or BertForTokenClassification with its tokenizer."""

import os
import shutil
from typing import Any, Dict

from ..base import files
from ..base.errors import UserError
from ..interchange import configurations, safetensors_files
from ..serving.saved_run import SavedRun
from ..training import weights
from . import model_card
from .tf1 import require_plain_head

_SPECIAL = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
_MOST_CHARACTERS = 200  # of a word that is cut into pieces, as tokenization.WordpieceTokenizer; transformers' own: 100


def refuse(run: SavedRun) -> None:
    """Raises UserError for a run that has no place in transformers' classes for BERT."""
    require_plain_head(run, "transformers' BertForTokenClassification has")
    if run.config.model.spm_model_file:
        raise UserError(
            "{}: reads pieces of SentencePiece, for which transformers has no tokenizer of BERT. Use "
            "--to=saved_model.".format(run.folder)
        )


def write(run: SavedRun, folder: str) -> None:
    """Writes the export into `folder`, which must not exist."""
    os.makedirs(folder)
    config = run.bert_config
    unread = "bert/pooler/" if run.script == "run_ner" else "-"  # BertForTokenClassification has no pooler
    tensors = {
        name: value
        for name, value in weights.served_tensors(run.prefix).items()
        if name in ("output_weights", "output_bias") or name.startswith("bert/") and not name.startswith(unread)
    }
    path = os.path.join(folder, "model.safetensors")
    safetensors_files.write_bert(path, tensors, config.num_hidden_layers, source=run.prefix)
    files.write_json(os.path.join(folder, "config.json"), _config(run))
    shutil.copyfile(run.config.model.vocab_file, os.path.join(folder, "vocab.txt"))
    for name, content in _tokenizer_files(run).items():
        files.write_json(os.path.join(folder, name), content)
    with files.atomic_write(os.path.join(folder, "README.md")) as file:
        file.write(model_card.text(run))


def _config(run: SavedRun) -> Dict[str, Any]:
    config = run.bert_config
    tagging = run.script == "run_ner"
    head = configurations.Head(tagging, list(run.task.labels), "single" if tagging else run.kind)
    return dict(
        configurations.hugging_face_settings(config.to_dict()),
        position_embedding_type="absolute",
        classifier_dropout=config.hidden_dropout_prob,
        pad_token_id=run.inputs.tokenizer.vocab.get("[PAD]", 0),
        dtype="float32",
        torch_dtype="float32",  # the key's name before transformers 5
        **configurations.head_settings(head),
    )


def _tokenizer_files(run: SavedRun) -> Dict[str, Any]:
    """The files of a tokenizer that cuts texts as the run's does, beside vocab.txt.

    tokenizer.json is what says it all: how long a word may be is in no other file.
    """
    vocab = run.inputs.tokenizer.vocab
    special = {name: piece for name, piece in _SPECIAL.items() if piece in vocab}
    lower = run.config.model.do_lower_case
    added = [
        {"id": vocab[piece], "content": piece, "single_word": False, "lstrip": False, "rstrip": False}
        for piece in special.values()
    ]
    added = [dict(token, normalized=False, special=True) for token in sorted(added, key=lambda token: token["id"])]
    return {
        "special_tokens_map.json": special,
        "tokenizer_config.json": dict(
            special,
            tokenizer_class="PreTrainedTokenizerFast",  # BertTokenizer would read vocab.txt and forget the rest
            do_lower_case=lower,
            strip_accents=None,  # as do_lower_case says
            tokenize_chinese_chars=True,
            model_max_length=run.inputs.max_seq_length,
            model_input_names=["input_ids", "token_type_ids", "attention_mask"],
            clean_up_tokenization_spaces=True,
        ),
        "tokenizer.json": {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": added,
            "normalizer": {
                "type": "BertNormalizer",
                "clean_text": True,
                "handle_chinese_chars": True,
                "strip_accents": None,
                "lowercase": lower,
            },
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": _template(vocab),
            "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
            "model": {
                "type": "WordPiece",
                "unk_token": "[UNK]",
                "continuing_subword_prefix": "##",
                "max_input_chars_per_word": _MOST_CHARACTERS,
                "vocab": dict(vocab),
            },
        },
    }


def _template(vocab: Dict[str, int]) -> Dict[str, Any]:
    """[CLS] a [SEP] and [CLS] a [SEP] b [SEP], with the segments 0 and 1."""

    def special(piece: str, segment: int) -> Dict[str, Any]:
        return {"SpecialToken": {"id": piece, "type_id": segment}}

    def text(name: str, segment: int) -> Dict[str, Any]:
        return {"Sequence": {"id": name, "type_id": segment}}

    single = [special("[CLS]", 0), text("A", 0), special("[SEP]", 0)]
    pieces = ("[CLS]", "[SEP]")
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": single + [text("B", 1), special("[SEP]", 1)],
        "special_tokens": {piece: {"id": piece, "ids": [vocab[piece]], "tokens": [piece]} for piece in pieces},
    }
