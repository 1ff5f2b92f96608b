"""text → pieces → ids: BERT's WordPiece tokenizer, with google-research/bert's names and results, and SentencePiece.

A text is cleaned, split at white space and punctuation (BasicTokenizer), and each word is cut into the longest pieces
that the vocabulary has (WordpieceTokenizer; Wu et al., https://arxiv.org/abs/1609.08144). That is the reference;
`encode` gives the same ids over all cores where the `tokenizers` package, in Rust, is known to agree.
"""

import collections
import re
import unicodedata
from typing import Any, Dict, Iterable, List, Optional, Sequence, Set, Tuple

from errors import UserError

_REQUIRED = ("[UNK]", "[CLS]", "[SEP]")
_CACHED_WORDS = 1 << 16  # bounds the memory of FullTokenizer's cache

# Folder names of the published models, and whether their text is lower-cased.
_PUBLISHED_CASES = (
    (re.compile(r"(^|[_/])(uncased|multilingual|chinese)_L-\d+"), True),
    (re.compile(r"(^|[_/])cased_L-\d+"), False),
)


def validate_case_matches_checkpoint(do_lower_case: bool, init_checkpoint: Optional[str]) -> None:
    """Raises UserError (a ValueError) where a published model's folder name contradicts do_lower_case."""
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
    """What is wrong where the vocabulary's own letters contradict do_lower_case; None where nothing is.

    A cased vocabulary has thousands of pieces with upper-case letters, an uncased one none beside [UNK] and its like.
    Between them, and where few pieces have letters that come in two cases, nothing is said: they are 18 % of the
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


def load_vocab(vocab_file: str) -> "collections.OrderedDict[str, int]":
    """piece → id, in file order: the id is the line number from 0.

    Raises UserError naming file and line: unreadable, not UTF-8, a duplicate or blank line (either shifts the ids of
    all that follow), or no [UNK], [CLS], [SEP]. Blank lines at the end are no pieces.
    """
    vocab: "collections.OrderedDict[str, int]" = collections.OrderedDict()
    try:
        with open(vocab_file, "rb") as reader:
            lines = reader.read().split(b"\n")
    except OSError as error:
        raise UserError("{}: cannot be read ({}). Check --vocab_file.".format(vocab_file, error.strerror)) from None
    while lines and not lines[-1].strip():
        lines.pop()
    for number, line in enumerate(lines):
        place = "{}:{}".format(vocab_file, number + 1)
        try:
            piece = line.decode("utf-8").strip(" \t\r")  # the Chinese vocabulary has U+2028 as a piece
        except UnicodeDecodeError:
            raise UserError("{}: not UTF-8. Use the vocabulary file as published.".format(place)) from None
        if not piece:
            raise UserError("{}: a blank line, which shifts the ids that follow. Remove it.".format(place))
        if piece in vocab:
            raise UserError(
                "{}: {!r} stands at line {} too; ids would shift. Remove one.".format(place, piece, vocab[piece] + 1)
            )
        vocab[piece] = number
    for piece in _REQUIRED:
        if piece not in vocab:
            raise UserError("{}: has no {}. Is it a BERT vocabulary?".format(vocab_file, piece))
    return vocab


def convert_by_vocab(vocab: Dict[Any, Any], items: Iterable[Any]) -> List[Any]:
    """Each item looked up. Raises KeyError for one that is not there."""
    return [vocab[item] for item in items]


def convert_tokens_to_ids(vocab: Dict[str, int], tokens: Iterable[str]) -> List[int]:
    return convert_by_vocab(vocab, tokens)


def convert_ids_to_tokens(inv_vocab: Dict[int, str], ids: Iterable[int]) -> List[str]:
    return convert_by_vocab(inv_vocab, ids)


def whitespace_tokenize(text: str) -> List[str]:
    """The words between white space; none for an empty text."""
    return text.split()


class FullTokenizer:
    """text → pieces, pieces ↔ ids, for one vocabulary file."""

    def __init__(self, vocab_file: str, do_lower_case: bool = True) -> None:
        self.vocab = load_vocab(vocab_file)
        self.inv_vocab = {number: piece for piece, number in self.vocab.items()}
        self.basic_tokenizer = BasicTokenizer(do_lower_case=do_lower_case)
        self.wordpiece_tokenizer = WordpieceTokenizer(vocab=self.vocab)
        self._pieces_of_word: Dict[str, List[str]] = {}

        self.unk_id = self.vocab["[UNK]"]
        # A subclass may split in its own way, which encode then has to follow.
        own_way = type(self).tokenize is not FullTokenizer.tokenize
        self._fast = None if own_way else _FastPath.make(self.vocab, self.basic_tokenizer)

    def encode(self, texts: Sequence[str]) -> List[List[int]]:
        """The ids of each text's pieces, as tokenize and convert_tokens_to_ids give them; over all cores."""
        fast = [number for number, text in enumerate(texts) if self._fast is not None and self._fast.takes(text)]
        ids: List[List[int]] = [[]] * len(texts)
        if self._fast is not None:
            for number, found in zip(fast, self._fast.encode([texts[number] for number in fast])):
                ids[number] = found
        for number in set(range(len(texts))).difference(fast):
            ids[number] = self.convert_tokens_to_ids(self.tokenize(texts[number]))
        return ids

    def tokenize(self, text: Any) -> List[str]:
        pieces: List[str] = []
        for word in self.basic_tokenizer.tokenize(text):
            known = self._pieces_of_word.get(word)
            if known is None:
                known = self.wordpiece_tokenizer.tokenize(word)
                if len(self._pieces_of_word) < _CACHED_WORDS:
                    self._pieces_of_word[word] = known
            pieces += known
        return pieces

    def convert_tokens_to_ids(self, tokens: Iterable[str]) -> List[int]:
        return convert_by_vocab(self.vocab, tokens)

    def convert_ids_to_tokens(self, ids: Iterable[int]) -> List[str]:
        return convert_by_vocab(self.inv_vocab, ids)


class _FastPath:
    """The `tokenizers` package, for texts whose every character it treats as the reference does.

    Both sides write each character for itself (nothing, a space, or some characters), then cut at white space and
    punctuation, character by character. So they agree on every text of characters that they treat alike between two
    letters. Two steps look at the neighbours, and what they can touch is never taken: str.lower writes a capital sigma
    by its place in the word, and NFD sorts marks, which shows where a mark is not removed. Nor is a character that
    Python's Unicode does not know yet: Rust's may know it as a mark. What both know is a mark in both, for ever
    (https://www.unicode.org/policies/stability_policy.html).
    """

    @classmethod
    def make(cls, vocab: Dict[str, int], reference: "BasicTokenizer") -> "Optional[_FastPath]":
        """None where the package is not installed."""
        try:
            import tokenizers
        except ImportError:
            return None
        lower = reference.do_lower_case
        model = tokenizers.models.WordPiece(vocab=dict(vocab), unk_token="[UNK]", max_input_chars_per_word=200)
        tokenizer = tokenizers.Tokenizer(model)
        tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(
            clean_text=True, handle_chinese_chars=True, strip_accents=lower, lowercase=lower
        )
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
        return cls(tokenizer, reference)

    def __init__(self, tokenizer: Any, reference: "BasicTokenizer") -> None:
        self._tokenizer = tokenizer
        self._reference = reference
        self._encode_batch = getattr(tokenizer, "encode_batch_fast", tokenizer.encode_batch)  # without offsets
        self._alike: Set[str] = set()
        self._different: Set[str] = set()
        self._takes_ascii = all(self._is_alike(chr(code)) for code in range(128))

    def takes(self, text: Any) -> bool:
        """Whether the text is all of characters that both sides treat alike; each is compared when it first occurs."""
        if not isinstance(text, str):
            return False
        if self._takes_ascii and _is_ascii(text):
            return True
        for character in set(text) - self._alike:
            if character in self._different:
                return False
            if not self._is_alike(character):
                self._different.add(character)
                return False
            self._alike.add(character)
        return True

    def _is_alike(self, character: str) -> bool:
        if unicodedata.category(character) in ("Cs", "Cn") or character == "\u03a3":
            return False  # a lone surrogate, unknown to Python, or capital sigma
        written = unicodedata.normalize("NFD", character) + unicodedata.normalize("NFD", character.lower())
        if any(unicodedata.combining(c) and unicodedata.category(c) != "Mn" for c in written):
            return False
        between = "a{}b".format(character)
        normalized = self._tokenizer.normalizer.normalize_str(between)
        words = [word for word, _ in self._tokenizer.pre_tokenizer.pre_tokenize_str(normalized)]
        return words == self._reference.tokenize(between)

    def encode(self, texts: List[str]) -> List[List[int]]:
        return [found.ids for found in self._encode_batch(texts, add_special_tokens=False)]


class BasicTokenizer:
    """text → words: cleans, sets CJK characters apart, splits at white space and punctuation.

    With do_lower_case, words are lower-cased and lose their accents (Unicode's non-spacing marks, after NFD).
    """

    def __init__(self, do_lower_case: bool = True) -> None:
        self.do_lower_case = do_lower_case
        self._kinds: Dict[str, str] = {}  # character → what _cleaned writes for it

    def tokenize(self, text: Any) -> List[str]:
        words: List[str] = []
        for word in whitespace_tokenize(self._cleaned(convert_to_unicode(text))):
            if self.do_lower_case:
                word = word.lower()
                if not _is_ascii(word):
                    word = _without_accents(word)
            words += _split_at_punctuation(word)
        # Lower-casing and NFD can bring white space forth, as in U+2128.
        return whitespace_tokenize(" ".join(words))

    def _cleaned(self, text: str) -> str:
        """Control characters removed, white space made plain, CJK characters between spaces."""
        kinds = self._kinds
        for character in set(text):
            if character not in kinds:
                kinds[character] = _written(character)
        return "".join([kinds[character] for character in text])


def _written(character: str) -> str:
    code = ord(character)
    if code in (0, 0xFFFD) or _is_control(character):
        return ""
    if _is_whitespace(character):
        return " "
    return " {} ".format(character) if _is_chinese(code) else character


def _is_ascii(text: str) -> bool:
    try:
        text.encode("ascii")
    except UnicodeEncodeError:
        return False
    return True


def _without_accents(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")


def _split_at_punctuation(word: str) -> List[str]:
    """Each punctuation character is a word of its own."""
    if word.isalnum():  # no letter or digit is punctuation
        return [word]
    parts: List[List[str]] = []
    in_word = False
    for character in word:
        if _is_punctuation(character):
            parts.append([character])
            in_word = False
        elif in_word:
            parts[-1].append(character)
        else:
            parts.append([character])
            in_word = True
    return ["".join(part) for part in parts]


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
                content = file.read()
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
        """The piece before its final comma, cut anew; it starts a word only where it did before."""
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
