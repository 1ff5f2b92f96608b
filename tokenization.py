"""text → pieces → ids: BERT's WordPiece tokenizer, with google-research/bert's names and results, and SentencePiece.

A text is cleaned, split at white space and punctuation (BasicTokenizer), and each word is cut into the longest pieces
that the vocabulary has (WordpieceTokenizer; Wu et al., https://arxiv.org/abs/1609.08144). What a character becomes and
the pieces of a word are remembered, so that a text costs little more than looking its words up.
"""

import collections
import functools
import itertools
import re
import unicodedata
import warnings
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Tuple

if __package__:  # cloned as a package: `from bert import tokenization`
    from .steady_bert.base.errors import UserError
else:
    from steady_bert.base.errors import UserError

_REQUIRED = ("[UNK]", "[CLS]", "[SEP]")
_CACHED_WORDS = 1 << 16  # bounds the memory of FullTokenizer's cache, with
_LONGEST_CACHED = 200  # characters of a word

# The folder that a published checkpoint is in, and whether that model's text is lower-cased.
_PUBLISHED_CASES = (
    (re.compile(r"(^|/)(wwm_)?(uncased|multilingual|chinese)_L-\d+_H-\d+_A-\d+/bert_model\.ckpt[^/]*$"), True),
    (re.compile(r"(^|/)((wwm|multi)_)?cased_L-\d+_H-\d+_A-\d+/bert_model\.ckpt[^/]*$"), False),
)


def validate_case_matches_checkpoint(do_lower_case: bool, init_checkpoint: Optional[str]) -> None:
    """Raises UserError (a ValueError) if do_lower_case contradicts the name of the checkpoint's own folder.

    Only the folders and the file name of published models count: any other checkpoint passes.
    """
    if not init_checkpoint:
        return
    for pattern, lower in _PUBLISHED_CASES:
        if lower != do_lower_case and pattern.search(init_checkpoint):
            raise UserError(
                "--do_lower_case={}, but --init_checkpoint={} is a{} model. Pass --do_lower_case={}.".format(
                    str(do_lower_case).lower(),
                    init_checkpoint,
                    "n uncased" if lower else " cased",
                    str(lower).lower(),
                )
            )


def check_case_against_vocab(vocab: Iterable[str], do_lower_case: bool) -> Optional[str]:
    """Says how the vocabulary's letters contradict do_lower_case; None if they do not.

    A cased vocabulary has thousands of pieces with upper-case letters, an uncased one none beside [UNK] and its like.
    Between them, and if few pieces have letters that come in two cases, the answer is None: such pieces are 18 % of the
    published Chinese vocabulary, which is used in both ways, and 91 % of the English uncased one.
    """
    words = [piece for piece in vocab if not (piece.startswith("[") and piece.endswith("]"))]
    upper = sum(piece != piece.lower() for piece in words)
    if do_lower_case and upper > 0.05 * len(words):
        return "{:,} of the vocabulary's {:,} pieces have upper-case letters, so it is a cased one.".format(
            upper, len(words)
        )
    letters = sum(piece != piece.upper() for piece in words)
    if not do_lower_case and not upper and letters > max(1000, 0.4 * len(words)):
        return "none of the vocabulary's {:,} pieces has an upper-case letter, so it is an uncased one.".format(
            len(words)
        )
    return None


def convert_to_unicode(text: Any) -> str:
    """str as it is, UTF-8 bytes decoded, undecodable bytes left out. Raises ValueError for another type."""
    if isinstance(text, str):
        return text
    if isinstance(text, bytes):
        return text.decode("utf-8", "ignore")
    raise ValueError("Text has type {}, not str or bytes.".format(type(text).__name__))


def printable_text(text: Any) -> str:
    """Text as print and logging want it."""
    return convert_to_unicode(text)


class Vocabulary(collections.OrderedDict):
    """piece → id, in file order. `edits` grows with every change, so that what depends on the pieces can follow."""

    edits = 0


def _counted(edit: Callable) -> Callable:
    @functools.wraps(edit)
    def counted(vocabulary: Vocabulary, *args: Any, **kwargs: Any) -> Any:
        vocabulary.edits += 1
        return edit(vocabulary, *args, **kwargs)

    return counted


for _name in ("__setitem__", "__delitem__", "__ior__", "clear", "pop", "popitem", "setdefault", "update"):
    if hasattr(collections.OrderedDict, _name):  # __ior__ from Python 3.9 on
        setattr(Vocabulary, _name, _counted(getattr(collections.OrderedDict, _name)))


# The largest published vocabularies have a million pieces.
_MOST_PIECES = 5000000
_MOST_VOCAB_BYTES = 128 << 20


def load_vocab(vocab_file: str, strict: bool = False) -> "collections.OrderedDict[str, int]":
    """piece → id, in file order: the id is the line number from 0. Blank lines at the end are no pieces.

    Warns of what a published vocabulary does not have: a duplicate, whose id is that of its last line; a blank line
    between pieces; no [UNK], [CLS] or [SEP]. With strict, that is a UserError, which names file and line.

    Raises UserError if the file cannot be read or is not UTF-8.
    """
    try:
        with open(vocab_file, "rb") as reader:
            content = reader.read(_MOST_VOCAB_BYTES + 1)
    except OSError as error:
        raise UserError("{}: cannot be read ({}). Check --vocab_file.".format(vocab_file, error.strerror)) from None
    if len(content) > _MOST_VOCAB_BYTES or content.count(b"\n") > _MOST_PIECES:
        raise UserError(
            "{}: has more than {:,} lines or {:,} bytes, the most for a vocabulary. Check --vocab_file.".format(
                vocab_file, _MOST_PIECES, _MOST_VOCAB_BYTES
            )
        )
    lines = content.split(b"\n")
    while lines and not lines[-1].strip():
        lines.pop()
    ids: Dict[str, int] = {}
    problems = []
    for number, line in enumerate(lines):
        place = "{}:{}".format(vocab_file, number + 1)
        try:
            piece = line.decode("utf-8").strip(" \t\r")  # the Chinese vocabulary has U+2028 as a piece
        except UnicodeDecodeError:
            raise UserError("{}: not UTF-8. Use the vocabulary file as published.".format(place)) from None
        if not piece:
            problems.append("{}: a blank line between pieces. Use the vocabulary file as published.".format(place))
        elif piece in ids:
            repeated = "{}: {!r} is on line {} too. Use the vocabulary file as published."
            problems.append(repeated.format(place, piece, ids[piece] + 1))
        ids[piece] = number
    for piece in _REQUIRED:
        if piece not in ids:
            problems.append("{}: has no {}. Is it a BERT vocabulary?".format(vocab_file, piece))
    if problems and strict:
        raise UserError(problems[0])
    if problems:
        more = " ({:,} more like this)".format(len(problems) - 1) if problems[1:] else ""
        warnings.warn(problems[0] + more, stacklevel=2)
    return Vocabulary(ids)


def convert_by_vocab(vocab: Dict[Any, Any], items: Iterable[Any]) -> List[Any]:
    """Each item looked up. Raises KeyError for one that is not there."""
    return list(map(vocab.__getitem__, items))


def convert_tokens_to_ids(vocab: Dict[str, int], tokens: Iterable[str]) -> List[int]:
    return convert_by_vocab(vocab, tokens)


def convert_ids_to_tokens(inv_vocab: Dict[int, str], ids: Iterable[int]) -> List[str]:
    return convert_by_vocab(inv_vocab, ids)


def whitespace_tokenize(text: str) -> List[str]:
    """The words between white space; none for an empty text."""
    return text.split()


class FullTokenizer:
    """text → pieces, pieces ↔ ids, for one vocabulary file. strict: as for load_vocab."""

    def __init__(self, vocab_file: str, do_lower_case: bool = True, strict: bool = False) -> None:
        self.vocab = load_vocab(vocab_file, strict)
        self.inv_vocab = {number: piece for piece, number in self.vocab.items()}
        self.basic_tokenizer = BasicTokenizer(do_lower_case=do_lower_case)
        self.wordpiece_tokenizer = WordpieceTokenizer(vocab=self.vocab)
        self.unk_id = self.vocab.get("[UNK]", -1)
        self._pieces_of_word: Dict[str, List[str]] = {}
        self._pieces_depend_on: Tuple[Any, ...] = ()

    def encode(self, texts: Sequence[str]) -> List[List[int]]:
        """The ids of each text's pieces."""
        return [self.convert_tokens_to_ids(self.tokenize(text)) for text in texts]

    def tokenize(self, text: Any) -> List[str]:
        known = self._remembered()
        pieces: List[str] = []
        for word in self.basic_tokenizer.tokenize(text):
            of_word = known.get(word)
            if of_word is None:
                of_word = self.wordpiece_tokenizer.tokenize(word)
                if len(known) < _CACHED_WORDS and len(word) <= _LONGEST_CACHED:
                    known[word] = of_word
            pieces += of_word
        return pieces

    def _remembered(self) -> Dict[str, List[str]]:
        """word → pieces of the words seen. Starts anew after a change of anything that the pieces depend on."""
        cutter = self.wordpiece_tokenizer
        if type(cutter) is not WordpieceTokenizer or type(cutter.vocab) is not Vocabulary:
            return {}  # a change would not be noticed
        depend_on = (cutter, cutter.vocab, cutter.vocab.edits, cutter.unk_token, cutter.max_input_chars_per_word)
        if depend_on != self._pieces_depend_on:
            self._pieces_of_word, self._pieces_depend_on = {}, depend_on
        return self._pieces_of_word

    def convert_tokens_to_ids(self, tokens: Iterable[str]) -> List[int]:
        return convert_by_vocab(self.vocab, tokens)

    def convert_ids_to_tokens(self, ids: Iterable[int]) -> List[str]:
        return convert_by_vocab(self.inv_vocab, ids)


class BasicTokenizer:
    """text → words: cleans, sets CJK characters apart, splits at white space and punctuation.

    With do_lower_case, words are lower-cased and lose their accents (Unicode's non-spacing marks, after NFD).
    """

    def __init__(self, do_lower_case: bool = True) -> None:
        self.do_lower_case = do_lower_case

    def tokenize(self, text: Any) -> List[str]:
        text = convert_to_unicode(text)
        if self._has_stock_steps():
            written = text.translate(_WRITTEN[bool(self.do_lower_case)])
            if _UNDECIDED not in written:
                return whitespace_tokenize(written)
        words: List[str] = []
        for word in whitespace_tokenize(self._tokenize_chinese_chars(self._clean_text(text))):
            words += self._run_split_on_punc(self._run_strip_accents(word.lower()) if self.do_lower_case else word)
        # Lower-casing and NFD can bring white space forth, as in U+2128.
        return whitespace_tokenize(" ".join(words))

    # The steps, under the original's names: scripts override them.

    def _clean_text(self, text: str) -> str:
        """Removes control characters, and makes every white space character a space."""
        return "".join(map(_cleaned, text))

    def _tokenize_chinese_chars(self, text: str) -> str:
        """Sets spaces around every CJK ideograph."""
        return "".join(" {} ".format(c) if self._is_chinese_char(ord(c)) else c for c in text)

    def _is_chinese_char(self, cp: int) -> bool:
        return _is_chinese(cp)

    def _run_strip_accents(self, text: str) -> str:
        """Decomposes characters (NFD) and removes non-spacing marks."""
        return _without_accents(text)

    def _run_split_on_punc(self, text: str) -> List[str]:
        """["what", "'", "s"] from "what's"."""
        runs = itertools.groupby(text, _is_punctuation)
        return [word for apart, run in runs for word in (run if apart else ["".join(run)])]

    def _has_stock_steps(self) -> bool:
        """Whether no step is replaced: in a subclass, in this object, in the class or in the module."""
        kind = type(self)
        return (
            kind._clean_text is _STOCK[0]
            and kind._tokenize_chinese_chars is _STOCK[1]
            and kind._is_chinese_char is _STOCK[2]
            and kind._run_strip_accents is _STOCK[3]
            and kind._run_split_on_punc is _STOCK[4]
            and _is_whitespace is _STOCK[5]
            and _is_control is _STOCK[6]
            and _is_punctuation is _STOCK[7]
            and (len(self.__dict__) == 1 or _STEPS.isdisjoint(self.__dict__))
        )


def word_places(text: str) -> List[Tuple[int, int]]:
    """[start, end) of each word that BasicTokenizer splits cased text into, with the control characters in it."""
    places: List[Tuple[int, int]] = []
    start = end = 0  # of the word that is being read; equal between words
    for number, character in enumerate(text + " "):
        written = _apart(_cleaned(character))
        if not written:
            continue
        if not written[0].isspace():
            start, end = (start if start < end else number), number + 1
            continue
        if start < end:
            places.append((start, end))
            start = end
        if written.strip():
            places.append((number, number + 1))
    return places


_UNDECIDED = "\ufffd"  # cleaning removes this character, so it is free to mean: the neighbours decide


class _Written(Dict[int, str]):
    """Character code → the result of BasicTokenizer's steps, for str.translate; an entry is made at its first use."""

    def __init__(self, lower: bool) -> None:
        super().__init__()
        self._lower = lower

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if self._lower and _looks_at_neighbours(character):
            written = _UNDECIDED
        else:
            written = _cleaned(character)
            written = _apart(_without_accents(written.lower()) if self._lower else written)
        self[code] = written
        return written


_WRITTEN = {lower: _Written(lower) for lower in (True, False)}


def _looks_at_neighbours(character: str) -> bool:
    """Whether the result of lower-casing or NFD may depend on the characters around this one.

    str.lower writes a capital sigma by its place in the word. NFD sorts combining characters, which matters for those
    that are not removed as non-spacing marks.
    """
    decomposed = unicodedata.normalize("NFD", character) + unicodedata.normalize("NFD", character.lower())
    stays = any(unicodedata.combining(c) and unicodedata.category(c) != "Mn" for c in decomposed)
    return stays or character == "\u03a3"


def _cleaned(character: str) -> str:
    """Nothing for a control character, a space for white space."""
    if ord(character) in (0, 0xFFFD) or _is_control(character):
        return ""
    return " " if _is_whitespace(character) else character


def _without_accents(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")


def _apart(word: str) -> str:
    """Each punctuation character and each CJK ideograph between spaces."""
    return "".join(" {} ".format(c) if _is_punctuation(c) or _is_chinese(ord(c)) else c for c in word)


class WordpieceTokenizer:
    """word → pieces: greedily the longest piece of the vocabulary, then the longest that continues it ("##…")."""

    def __init__(self, vocab: Dict[str, int], unk_token: str = "[UNK]", max_input_chars_per_word: int = 200) -> None:
        self.vocab = vocab
        self.unk_token = unk_token
        self.max_input_chars_per_word = max_input_chars_per_word

    def tokenize(self, text: Any) -> List[str]:
        """Pieces of each word; unk_token for a word that cannot be cut, or is too long."""
        pieces: List[str] = []
        for word in whitespace_tokenize(convert_to_unicode(text)):
            pieces += self._cut(word) or [self.unk_token]
        return pieces

    def _cut(self, word: str) -> Optional[List[str]]:
        if len(word) > self.max_input_chars_per_word:
            return None
        pieces = []
        start = 0
        while start < len(word):
            prefix = "##" if start else ""
            for end in range(len(word), start, -1):
                piece = prefix + word[start:end]
                if piece in self.vocab:
                    break
            else:
                return None
            pieces.append(piece)
            start = end
        return pieces


class SentencePieceTokenizer:
    """text → pieces of a SentencePiece model (Kudo and Richardson, https://arxiv.org/abs/1808.06226), as in ALBERT.

    White space is collapsed, `` and '' become ", accents are removed (NFKD without combining characters), and letters
    lower-cased with do_lower_case. A piece that ends in a digit and a comma is cut again without the comma.
    """

    def __init__(self, spm_model_file: str, do_lower_case: bool = True) -> None:
        """Raises UserError for a file that is no SentencePiece model, or has no [CLS], [SEP] or unknown piece."""
        import sentencepiece

        self.do_lower_case = do_lower_case
        self._model = sentencepiece.SentencePieceProcessor()
        try:
            with open(spm_model_file, "rb") as file:
                content = file.read(_MOST_VOCAB_BYTES + 1)
            if len(content) > _MOST_VOCAB_BYTES:
                raise RuntimeError("it is too large")
            if not content or not self._model.LoadFromSerializedProto(content):
                raise RuntimeError("it is empty")
        except OSError as error:
            raise UserError(
                "{}: cannot be read ({}). Check --spm_model_file.".format(spm_model_file, error.strerror)
            ) from None
        except RuntimeError:
            raise UserError("{}: not a SentencePiece model. Check --spm_model_file.".format(spm_model_file)) from None
        pieces = [self._model.IdToPiece(number) for number in range(self._model.GetPieceSize())]
        self.vocab = collections.OrderedDict((piece, number) for number, piece in enumerate(pieces))
        self.inv_vocab = dict(enumerate(pieces))
        self.unk_id = self._model.unk_id()
        missing = [piece for piece in ("[CLS]", "[SEP]") if piece not in self.vocab]
        if missing or self.unk_id < 0:
            raise UserError(
                "{}: has no {}. Train it with --control_symbols=[CLS],[SEP],[MASK].".format(
                    spm_model_file, " and no ".join(missing) or "unknown piece"
                )
            )

    def tokenize(self, text: Any) -> List[str]:
        pieces: List[str] = []
        for piece in self._model.EncodeAsPieces(self._prepared(convert_to_unicode(text))):
            if len(piece) > 1 and piece[-1] == "," and piece[-2].isdigit():
                pieces += self._without_comma(piece) + [","]
            else:
                pieces.append(piece)
        return pieces

    def _without_comma(self, piece: str) -> List[str]:
        """Cuts the piece again without its final comma; the result starts a word only if the piece does."""
        again = self._model.EncodeAsPieces(piece[:-1].replace(_WORD_START, ""))
        if not piece.startswith(_WORD_START) and again and again[0].startswith(_WORD_START):
            again = ([again[0][1:]] if len(again[0]) > 1 else []) + again[1:]
        return again

    def _prepared(self, text: str) -> str:
        text = " ".join(_SURROGATES.sub("\ufffd", text).split()).replace("``", '"').replace("''", '"')
        text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
        return text.lower() if self.do_lower_case else text

    def encode(self, texts: Sequence[str]) -> List[List[int]]:
        """The ids of each text's pieces."""
        return [self.convert_tokens_to_ids(self.tokenize(text)) for text in texts]

    def convert_tokens_to_ids(self, tokens: Iterable[str]) -> List[int]:
        """A piece that the model lacks, which tokenize gives as it stands in the text, has the unknown piece's id."""
        return [self.vocab.get(token, self.unk_id) for token in tokens]

    def convert_ids_to_tokens(self, ids: Iterable[int]) -> List[str]:
        return convert_by_vocab(self.inv_vocab, ids)


_WORD_START = "\u2581"
_SURROGATES = re.compile("[\ud800-\udfff]")  # lone ones: UTF-8, which SentencePiece reads, has none


def _is_whitespace(char: str) -> bool:
    """Space, tab, newline, carriage return, and Unicode's space separators."""
    return char in " \t\n\r" or unicodedata.category(char) == "Zs"


def _is_control(char: str) -> bool:
    """Unicode's control and format characters, but tab, newline and carriage return."""
    return char not in "\t\n\r" and unicodedata.category(char) in ("Cc", "Cf")


def _is_punctuation(char: str) -> bool:
    """Every ASCII character that is no letter, digit or space, and Unicode's punctuation."""
    code = ord(char)
    if 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126:
        return True
    return unicodedata.category(char).startswith("P")


# CJK ideographs are words of their own. Hangul, Hiragana and Katakana are written with spaces or in words, and are not.
_CHINESE: Tuple[Tuple[int, int], ...] = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


def _is_chinese(code: int) -> bool:
    return code >= 0x3400 and any(low <= code <= high for low, high in _CHINESE)


_STEPS = frozenset(name for name in vars(BasicTokenizer) if re.match("_[a-z]", name)) - {"_has_stock_steps"}
_STOCK = (
    BasicTokenizer._clean_text,
    BasicTokenizer._tokenize_chinese_chars,
    BasicTokenizer._is_chinese_char,
    BasicTokenizer._run_strip_accents,
    BasicTokenizer._run_split_on_punc,
    _is_whitespace,
    _is_control,
    _is_punctuation,
)
