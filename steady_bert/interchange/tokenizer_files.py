"""The vocabulary and the case of a Hugging Face folder. Pure: no TensorFlow.

tokenizer_config.json says how text is read, tokenizer.json repeats it beside the vocabulary, and older folders have
vocab.txt alone. What this program's tokenizer would do otherwise is refused by its key.
"""

import os
from dataclasses import dataclass
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import tokenization

from ..base import files, json_files
from ..base.errors import UserError
from .configurations import FETCH

VOCAB_FILE = "vocab.txt"
SETTINGS_FILE = "tokenizer_config.json"
WHOLE_FILE = "tokenizer.json"
# tokenizer_class of those that cut text as BERT's does; the last two do what tokenizer.json says.
_CLASSES = {
    *("BertTokenizer", "BertTokenizerFast", "DistilBertTokenizer", "DistilBertTokenizerFast"),
    *("ElectraTokenizer", "ElectraTokenizerFast", "PreTrainedTokenizerFast", "TokenizersBackend"),
}
_OTHER = "{}: {}={!r}: this program reads text in another way. Use another model."


@dataclass
class SettingsFile:
    """The schema of tokenizer_config.json."""

    tokenizer_class: Optional[str] = None
    do_lower_case: Optional[bool] = None
    tokenize_chinese_chars: Optional[bool] = None
    do_basic_tokenize: Optional[bool] = None
    strip_accents: Optional[bool] = None


@dataclass
class _Normalizer:
    type: Optional[str] = None
    lowercase: Optional[bool] = None
    strip_accents: Optional[bool] = None
    clean_text: Optional[bool] = None
    handle_chinese_chars: Optional[bool] = None


@dataclass
class _Splitter:
    type: Optional[str] = None


@dataclass
class _Model:
    type: Optional[str] = None
    continuing_subword_prefix: Optional[str] = None
    vocab: Any = None  # a list, with scores, in other kinds of models


@dataclass
class _AddedToken:
    id: int
    content: str


@dataclass
class _WholeFile:
    """The schema of tokenizer.json."""

    normalizer: Optional[_Normalizer] = None
    pre_tokenizer: Optional[_Splitter] = None
    model: Optional[_Model] = None
    added_tokens: Optional[List[_AddedToken]] = None


class Tokenizer(NamedTuple):
    vocab_file: Optional[str]  # None: the vocabulary is in tokenizer.json
    pieces: List[str]  # in id order
    do_lower_case: bool
    case_from: str  # the file that says it


def read(folder: str) -> Optional[Tokenizer]:
    """The tokenizer of a folder, None without a vocabulary. Raises UserError if it cuts text otherwise than BERT's."""
    settings = _optional(os.path.join(folder, SETTINGS_FILE), SettingsFile)
    whole = _optional(os.path.join(folder, WHOLE_FILE), _WholeFile)
    _require_bert_tokenizer(os.path.join(folder, SETTINGS_FILE), settings)
    normalizer = _normalizer_of(os.path.join(folder, WHOLE_FILE), whole) if whole else {}
    path = os.path.join(folder, VOCAB_FILE)
    if os.path.exists(path):
        vocab_file: Optional[str] = path
        pieces = list(tokenization.load_vocab(path, strict=False))
    elif whole:
        vocab_file, pieces = None, _pieces_in(os.path.join(folder, WHOLE_FILE), whole)
    else:
        return None
    lower, case_from = _case(settings, normalizer, pieces)
    _require_accents(folder, settings, normalizer, lower)
    return Tokenizer(vocab_file, pieces, lower, case_from)


def write_vocabulary(tokenizer: Tokenizer, target: str) -> None:
    """Writes a vocabulary file: the folder's own as it is, or one made of tokenizer.json."""
    if tokenizer.vocab_file is not None:
        files.copy(tokenizer.vocab_file, target)
        return
    with files.atomic_write(target) as file:
        file.writelines(piece + "\n" for piece in tokenizer.pieces)


def _case(settings: Dict[str, Any], normalizer: Dict[str, Any], pieces: List[str]) -> Tuple[bool, str]:
    """(do_lower_case, the file that says it). Some cased models say it nowhere: their vocabulary shows it."""
    for value, name in ((settings.get("do_lower_case"), SETTINGS_FILE), (normalizer.get("lowercase"), WHOLE_FILE)):
        if value is not None:
            return value, name
    return tokenization.check_case_against_vocab(pieces, True) is None, VOCAB_FILE


def _optional(path: str, schema: type) -> Dict[str, Any]:
    return json_files.read(path, schema, FETCH) if os.path.lexists(path) else {}


def _require_bert_tokenizer(path: str, settings: Dict[str, Any]) -> None:
    """Raises UserError for a setting of tokenizer_config.json under which text is cut in another way."""
    kind = settings.get("tokenizer_class") or "BertTokenizer"
    if kind not in _CLASSES:
        raise UserError("{}: tokenizer_class={!r} is not BERT's WordPiece. Use another model.".format(path, kind))
    for key in ("tokenize_chinese_chars", "do_basic_tokenize"):
        if settings.get(key) is False:
            raise UserError(_OTHER.format(path, key, False))


def _normalizer_of(path: str, whole: Dict[str, Any]) -> Dict[str, Any]:
    """The settings of the normalizer in a tokenizer.json. Raises UserError if text is cut otherwise than by BERT's."""
    model = whole.get("model") or {}
    kind, prefix = model.get("type") or "WordPiece", model.get("continuing_subword_prefix") or "##"
    if kind != "WordPiece" or prefix != "##":
        raise UserError("{}: model {!r} with prefix {!r} is no WordPiece. Use a BERT.".format(path, kind, prefix))
    for name, expected in (("normalizer", "BertNormalizer"), ("pre_tokenizer", "BertPreTokenizer")):
        step = whole.get(name, {})
        kind = step.get("type", expected) if isinstance(step, dict) else step  # null: text passes as it is
        if kind != expected:
            raise UserError(_OTHER.format(path, name, kind))
    normalizer: Dict[str, Any] = whole.get("normalizer", {})
    for key in ("clean_text", "handle_chinese_chars"):
        if normalizer.get(key) is False:
            raise UserError(_OTHER.format(path, key, False))
    return normalizer


def _require_accents(folder: str, settings: Dict[str, Any], normalizer: Dict[str, Any], lower: bool) -> None:
    """Accents are removed where letters are lower-cased, and only there."""
    for name, values in ((SETTINGS_FILE, settings), (WHOLE_FILE, normalizer)):
        strip = values.get("strip_accents")
        if strip is not None and strip != lower:
            raise UserError(_OTHER.format(os.path.join(folder, name), "strip_accents", strip))


def _pieces_in(path: str, whole: Dict[str, Any]) -> List[str]:
    """The vocabulary in a tokenizer.json, in id order, with the tokens that were added at its end."""
    try:
        ids = dict(whole["model"]["vocab"])
        ids.update((entry["content"], entry["id"]) for entry in whole.get("added_tokens") or ())
        pieces = sorted(ids, key=lambda piece: int(ids[piece]))
        whole_numbers = [ids[piece] for piece in pieces] == list(range(len(pieces)))
    except (KeyError, TypeError, ValueError):
        raise UserError("{}: has no vocabulary. Fetch it again.".format(path)) from None
    if not whole_numbers or any(not piece or piece != piece.strip() or "\n" in piece for piece in pieces):
        raise UserError("{}: a piece is blank, or an id has none or two. Give vocab.txt beside it.".format(path))
    return pieces
