"""The tokenizer against google-research/bert's results, and a slow twin of its definition."""

import json
import os
import random
import sys
import unicodedata

import hypothesis
import hypothesis.strategies as st
import pytest
from conftest import train_sentencepiece

import tokenization
from steady_bert.base.errors import UserError

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden")
DATA = os.environ.get("STEADY_BERT_DATA", "")
ALBERT = os.path.join(DATA, "sentencepiece", "30k-clean.model")
VOCABULARIES = os.path.join(DATA, "vocabs")
WHOLE = os.path.join(VOCABULARIES, "bert-base-uncased-vocab.txt")


def read_golden(name):
    with open(os.path.join(GOLDEN, name), encoding="utf-8") as file:
        return json.load(file)


@pytest.fixture(scope="module")
def restricted(tmp_path_factory):
    """bert-base-uncased's vocabulary, with fillers in place of pieces that no golden text can meet; ids are the same.

    pieces.json has every piece that occurs anywhere within a golden word, so the search meets the same pieces.
    """
    at = {number: piece for piece, number in read_golden("pieces.json").items()}
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    lines = [at.get(number, "[filler {}]".format(number)) for number in range(max(at) + 1)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("vocabulary", ["restricted", "whole"])
def test_golden_strings_give_upstreams_tokens_and_ids(vocabulary, restricted):
    if vocabulary == "whole" and not os.path.exists(WHOLE):
        pytest.skip("STEADY_BERT_DATA has no vocabs/bert-base-uncased-vocab.txt")
    vocab_file = restricted if vocabulary == "restricted" else WHOLE
    tokenizers = {lower: tokenization.FullTokenizer(vocab_file, do_lower_case=lower) for lower in (True, False)}
    golden = read_golden("tokenization.json")
    assert len(golden) == 76
    for case in golden + golden:  # the second time from the cache
        tokenizer = tokenizers[case["do_lower_case"]]
        assert tokenizer.basic_tokenizer.tokenize(case["text"]) == case["basic"]
        assert tokenizer.tokenize(case["text"]) == case["tokens"]
        assert tokenizer.convert_tokens_to_ids(case["tokens"]) == case["ids"]
        assert tokenizer.encode([case["text"]]) == [case["ids"]]
        assert tokenizer.convert_ids_to_tokens(case["ids"]) == case["tokens"]


def test_a_full_cache_changes_no_result(restricted, monkeypatch):
    golden = read_golden("tokenization.json")
    monkeypatch.setattr(tokenization, "_CACHED_WORDS", 3)
    tokenizer = tokenization.FullTokenizer(restricted)
    for case in golden:
        if case["do_lower_case"]:
            assert tokenizer.tokenize(case["text"]) == case["tokens"]
    assert len(tokenizer._pieces_of_word) == 3


def slow_basic(text, lower):
    """The definition, character by character, without a shortcut or a cache."""
    spaced = ""
    for c in text:
        if ord(c) in (0, 0xFFFD) or tokenization._is_control(c):
            continue
        if tokenization._is_whitespace(c):
            c = " "
        elif any(low <= ord(c) <= high for low, high in tokenization._CHINESE):
            c = " " + c + " "
        spaced += c
    words = []
    for word in spaced.split():
        if lower:
            word = "".join(c for c in unicodedata.normalize("NFD", word.lower()) if unicodedata.category(c) != "Mn")
        words.append("".join(" " + c + " " if tokenization._is_punctuation(c) else c for c in word))
    return " ".join(words).split()


TEXT = st.text(
    alphabet=st.one_of(
        st.characters(),
        st.sampled_from(list("aAéİẞß.,!'-_ \t\n\r\u00a0\u2028\u3000\u200b\ufeff\u4e2d\U0002f800가\u0301#@½")),
    )
)


@hypothesis.given(text=TEXT, lower=st.booleans())
@hypothesis.settings(max_examples=200)
def test_any_text_is_split_as_the_definition_says(text, lower):
    assert tokenization.BasicTokenizer(do_lower_case=lower).tokenize(text) == slow_basic(text, lower)


PIECES = ["a", "b", "ab", "##a", "##b", "##ab", "##ba", "aba"]


@hypothesis.given(word=st.text(alphabet="abc", min_size=1, max_size=12))
def test_pieces_are_greedy_and_put_together_give_the_word(word):
    vocab = {piece: number for number, piece in enumerate(PIECES)}
    pieces = tokenization.WordpieceTokenizer(vocab).tokenize(word)
    if "c" in word:
        assert pieces == ["[UNK]"]
        return
    assert "".join(piece.replace("##", "") for piece in pieces) == word
    rest = word
    for number, piece in enumerate(pieces):
        prefix = "##" if number else ""
        longest = max((p for p in PIECES if p.startswith(prefix) and rest.startswith(p[len(prefix) :])), key=len)
        assert piece == longest
        rest = rest[len(piece) - len(prefix) :]


def test_a_piece_added_to_the_vocabulary_later_is_used():
    """As scripts written for upstream's tokenizer do."""
    vocab = {"a": 0, "##b": 1}
    tokenizer = tokenization.WordpieceTokenizer(vocab)
    assert tokenizer.tokenize("abba") == ["[UNK]"]
    vocab["abba"] = 2
    assert tokenizer.tokenize("abba") == ["abba"]


@pytest.fixture
def small_tokenizer(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(["[UNK]", "[CLS]", "[SEP]", "[unused1]", "a", "##b", "##c"]) + "\n")
    return tokenization.FullTokenizer(str(path))


def replace_an_unused_piece(tokenizer):
    tokenizer.vocab["abc"] = tokenizer.vocab.pop("[unused1]")


def forget_a_piece(tokenizer):
    del tokenizer.vocab["##c"]


def update_the_vocabulary(tokenizer):
    tokenizer.vocab.update({"abc": 9})


def use_another_vocabulary(tokenizer):
    tokenizer.wordpiece_tokenizer.vocab = {"ab": 0, "##c": 1}


def use_another_tokenizer(tokenizer):
    tokenizer.wordpiece_tokenizer = tokenization.WordpieceTokenizer(tokenizer.vocab, max_input_chars_per_word=2)


def name_the_unknown_piece(tokenizer):
    tokenizer.wordpiece_tokenizer.unk_token = "?"
    tokenizer.wordpiece_tokenizer.max_input_chars_per_word = 1


@pytest.mark.parametrize(
    "edit, pieces",
    [
        (replace_an_unused_piece, ["abc"]),
        (forget_a_piece, ["[UNK]"]),
        (update_the_vocabulary, ["abc"]),
        (use_another_vocabulary, ["ab", "##c"]),
        (use_another_tokenizer, ["[UNK]"]),
        (name_the_unknown_piece, ["?"]),
    ],
)
def test_an_edit_counts_for_words_already_seen(small_tokenizer, edit, pieces):
    assert small_tokenizer.tokenize("abc") == ["a", "##b", "##c"]
    edit(small_tokenizer)
    assert small_tokenizer.tokenize("abc") == pieces
    if edit is use_another_vocabulary:
        small_tokenizer.wordpiece_tokenizer.vocab["abc"] = 2
        assert small_tokenizer.tokenize("abc") == ["abc"]


def test_words_above_the_limit_are_unknown():
    tokenizer = tokenization.WordpieceTokenizer({"a": 0, "##a": 1}, max_input_chars_per_word=5)
    assert tokenizer.tokenize("aaaaa aaaaaa") == ["a"] + ["##a"] * 4 + ["[UNK]"]


@pytest.mark.parametrize(
    "content, said",
    [
        (b"[UNK]\n[CLS]\n[SEP]\na\nb\na\n", ":6: 'a' is on line 4 too"),
        (b"[UNK]\n[CLS]\n\n[SEP]\n", ":3: a blank line"),
        (b"[UNK]\n[CLS]\n\xff\n[SEP]\n", ":3: not UTF-8"),
        (b"[UNK]\n[CLS]\nx\n", "has no [SEP]"),
        (b"", "has no [UNK]"),
    ],
)
def test_a_bad_vocabulary_is_named_with_its_line(tmp_path, content, said):
    path = tmp_path / "vocab.txt"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        tokenization.load_vocab(str(path), strict=True)
    assert str(error.value).startswith(str(path)) and said in str(error.value)


def test_a_script_is_warned_of_an_unusual_vocabulary_and_gets_the_originals_ids(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_bytes(b"[UNK]\na\nb\na\n\nc\n")
    with pytest.warns(UserWarning, match=r":4: 'a' is on line 2 too.* \(3 more like this\)"):
        tokenizer = tokenization.FullTokenizer(str(path))
    assert list(tokenizer.vocab.items()) == [("[UNK]", 0), ("a", 3), ("b", 2), ("", 4), ("c", 5)]
    assert tokenizer.convert_tokens_to_ids(tokenizer.tokenize("a c x")) == [3, 5, 0]


def test_blank_lines_at_the_end_and_crlf_are_no_pieces(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_bytes("[UNK]\r\n[CLS]\r\n[SEP]\r\n\u2028\r\n\r\n \n".encode("utf-8"))
    assert list(tokenization.load_vocab(str(path)).items()) == [("[UNK]", 0), ("[CLS]", 1), ("[SEP]", 2), ("\u2028", 3)]


@pytest.mark.parametrize(
    "lower, path, wrong",
    [
        (True, "models/uncased_L-12_H-768_A-12/bert_model.ckpt", False),
        (False, "models/uncased_L-12_H-768_A-12/bert_model.ckpt", True),
        (True, "models/cased_L-12_H-768_A-12/bert_model.ckpt", True),
        (False, "models/cased_L-24_H-1024_A-16/bert_model.ckpt", False),
        (True, "models/multi_cased_L-12_H-768_A-12/bert_model.ckpt", True),
        (True, "models/wwm_cased_L-24_H-1024_A-16/bert_model.ckpt", True),
        (False, "models/wwm_uncased_L-24_H-1024_A-16/bert_model.ckpt", True),
        (False, "models/multilingual_L-12_H-768_A-12/bert_model.ckpt", True),
        (False, "models/chinese_L-12_H-768_A-12/bert_model.ckpt", True),
        (True, "chinese_L-12_H-768_A-12/bert_model.ckpt", False),
        (True, "somewhere/model.ckpt-343", False),
        (False, "/runs/uncased_L-12_H-768_A-12_ner/out/model.ckpt", False),
        (False, "/uncased_L-12_H-768_A-12/run/bert_model.ckpt", False),
        (False, "/runs/uncased_L-12_H-768_A-12_ner/bert_model.ckpt", False),
        (False, "/runs/uncased_L-12_H-768_A-12/model.ckpt-343", False),
        (False, None, False),
    ],
)
def test_the_case_of_published_models_is_checked(lower, path, wrong):
    if wrong:
        with pytest.raises(ValueError, match="--do_lower_case"):
            tokenization.validate_case_matches_checkpoint(lower, path)
    else:
        tokenization.validate_case_matches_checkpoint(lower, path)


def test_the_case_is_checked_against_the_vocabulary_itself():
    words = ["word{}".format(n) for n in range(2000)]
    cased = words + ["Word{}".format(n) for n in range(500)]
    assert tokenization.check_case_against_vocab(["[UNK]"] + words, True) is None
    assert "uncased" in tokenization.check_case_against_vocab(["[UNK]"] + words, False)
    assert "cased" in tokenization.check_case_against_vocab(cased, True)
    assert tokenization.check_case_against_vocab(cased, False) is None
    chinese = words + [chr(0x4E00 + n) for n in range(8000)]
    assert tokenization.check_case_against_vocab(chinese, False) is None


@pytest.mark.skipif(not os.path.isdir(VOCABULARIES), reason="STEADY_BERT_DATA has no folder vocabs")
def test_published_vocabularies_load_and_tell_their_case():
    cased = tokenization.load_vocab(os.path.join(VOCABULARIES, "bert-base-cased-vocab.txt"))
    chinese = tokenization.load_vocab(os.path.join(VOCABULARIES, "bert-base-chinese-vocab.txt"))
    assert (len(cased), len(chinese)) == (28996, 21128)
    assert tokenization.check_case_against_vocab(cased, do_lower_case=True)
    assert tokenization.check_case_against_vocab(cased, do_lower_case=False) is None
    assert tokenization.check_case_against_vocab(chinese, do_lower_case=True) is None


# --- characters looked up, and those that look at their neighbours --------------------------------------------------

SENTENCES = [
    'The film\'s (many) fans, all 1,234 of them, said: "again!"',
    "Größe, naïveté & crème brûlée — für 20 €",
    "北京是中国的首都，AI 2024年发展很快。",
    "Съешь ещё этих мягких французских булок, да выпей чаю.",
    "カタカナとひらがな、한국어도 있어요",
]


def odd_characters(rng):
    """Every kind of character: marks, signs, spaces, controls, private use, unassigned, lone surrogates."""
    by_category = {}
    for code in (
        list(range(0x3100)) + list(range(0x9FF0, 0x20100)) + list(range(0x2F800, 0x2FA20)) + [0xE0001, 0x10FFFF]
    ):
        by_category.setdefault(unicodedata.category(chr(code)), []).append(chr(code))
    chosen = {c for group in by_category.values() for c in rng.sample(group, min(len(group), 150))}
    return sorted(
        chosen | set("\u03a3\u03c3\u03c2\u0130\u0131\u1e9e\u212a\u2028\u0345\u302e\U0001d165\ue000\ufffd\xad\u200d")
    )


@pytest.fixture(scope="module")
def by_character(tmp_path_factory):
    """(a vocabulary whose pieces are odd characters and their forms, so that differences show; the characters)."""
    odd = odd_characters(random.Random(1))
    pieces = {}
    for c in odd + list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,[]中国ßéя"):
        for form in (c, c.lower(), unicodedata.normalize("NFD", c), unicodedata.normalize("NFD", c.lower())):
            for part in form:
                if part.strip(" \t\r\n") and unicodedata.category(part) != "Cs":
                    pieces.update({part: None, "##" + part: None})
    path = tmp_path_factory.mktemp("vocab") / "by_character.txt"
    path.write_bytes("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]"] + list(pieces)).encode("utf-8") + b"\n")
    return str(path), odd


def strange_text(rng, odd):
    def word():
        length = rng.choice([1, 2, 3, 5, 8]) if rng.random() < 0.99 else rng.randint(195, 205)
        return "".join(rng.choice("abcxyzABCXYZ019") for _ in range(length))

    parts = []
    for _ in range(rng.randint(1, 3)):
        c, kind = rng.choice(odd), rng.random()
        if kind < 0.5:
            parts.append(word())
        elif kind < 0.9:  # beside letters, signs, ideographs, marks and itself
            before = rng.choice(["", word(), ".", "中", "[SEP]", "e\u0301", "\u0327", c, "1", "Σ", "\n"])
            parts.append(before + c + rng.choice(["", word(), ",", "国", c, "\u0323\u0301", "ß", "Σ", "\u3000"]))
        else:
            parts.append("".join(rng.choice(odd) for _ in range(rng.randint(1, 6))))
    return rng.choice(["", " ", "\t"]).join(parts)


def defined_ids(tokenizer, text, lower):
    """By the definition, without the tokenizer's caches."""
    words = " ".join(slow_basic(text, lower))
    return [tokenizer.vocab[piece] for piece in tokenizer.wordpiece_tokenizer.tokenize(words)]


@pytest.mark.parametrize("lower", [True, False])
def test_encode_gives_the_definitions_ids_on_thousands_of_strange_strings(lower, by_character):
    count = 20000 if sys.version_info >= (3, 8) else 5000  # fewer where all is slower: its Unicode is another one
    vocab_file, odd = by_character
    tokenizer = tokenization.FullTokenizer(vocab_file, do_lower_case=lower)
    rng = random.Random(2)
    texts = [strange_text(rng, odd) for _ in range(count)]
    encoded = tokenizer.encode(texts)
    for text, ids in zip(texts, encoded):
        assert ids == defined_ids(tokenizer, text, lower), ascii(text)
    undecided = sum(tokenization._UNDECIDED in text.translate(tokenization._WRITTEN[lower]) for text in texts)
    assert 0.04 < undecided / count < 0.5 if lower else not undecided  # both ways were tried
    whole = sum(bool(ids) and tokenizer.unk_id not in ids for ids in encoded)
    assert whole > 0.5 * count  # and unknown pieces did not hide the differences


def test_the_strange_strings_tell_when_no_character_looks_at_its_neighbours(by_character, monkeypatch):
    vocab_file, odd = by_character
    tokenizer = tokenization.FullTokenizer(vocab_file)
    monkeypatch.setattr(tokenization, "_looks_at_neighbours", lambda c: False)
    monkeypatch.setattr(tokenization, "_WRITTEN", {True: tokenization._Written(True)})
    rng = random.Random(2)
    texts = [strange_text(rng, odd) for _ in range(2000)]
    assert sum(tokenizer.encode([text]) != [defined_ids(tokenizer, text, True)] for text in texts) > 10


def test_every_character_that_is_looked_up_is_written_as_defined():
    for lower in (True, False):
        tokenizer = tokenization.BasicTokenizer(do_lower_case=lower)
        for code in list(range(0x30000)) + list(range(0xE0000, 0xE0200)):  # beyond: unassigned and private use
            between = "a{}b".format(chr(code))
            if tokenization._UNDECIDED in between.translate(tokenization._WRITTEN[lower]):
                continue
            assert tokenizer.tokenize(between) == slow_basic(between, lower), hex(code)


def test_encode_follows_a_subclass_that_splits_in_its_own_way(by_character):
    class Characters(tokenization.FullTokenizer):
        def tokenize(self, text):
            return list(text)

    tokenizer = Characters(by_character[0])
    assert tokenizer.encode(["abc"]) == [[tokenizer.vocab[c] for c in "abc"]]
    assert tokenization.FullTokenizer(by_character[0]).encode(["abc"]) != tokenizer.encode(["abc"])


def test_texts_of_common_languages_are_looked_up(monkeypatch):
    calls = []
    monkeypatch.setattr(tokenization, "whitespace_tokenize", lambda text: calls.append(text) or text.split())
    for lower in (True, False):
        tokenizer = tokenization.BasicTokenizer(do_lower_case=lower)
        for text in SENTENCES:
            assert tokenizer.tokenize(text) == slow_basic(text, lower)
    assert len(calls) == 2 * len(SENTENCES)  # once a text; the steps would call it twice


# Step → (what replaces it, the words of "a-b中cÉx" then).
STEPS = {
    "_clean_text": (lambda self, text: text.replace("x", ""), "a - b 中 ce"),
    "_tokenize_chinese_chars": (lambda self, text: text, "a - b中cex"),
    "_is_chinese_char": (lambda self, code: chr(code) == "x", "a - b中ce x"),
    "_run_strip_accents": (lambda self, text: text, "a - b 中 céx"),
    "_run_split_on_punc": (lambda self, text: text.split("b"), "a- 中 cex"),
}


@pytest.mark.parametrize("step", sorted(STEPS))
@pytest.mark.parametrize("where", ["subclass", "object", "class"])
def test_a_step_that_a_script_replaces_counts(step, where, monkeypatch):
    replaced, expected = STEPS[step]
    plain = tokenization.BasicTokenizer()
    tokenizer = type("Own", (tokenization.BasicTokenizer,), {})()
    if where == "subclass":
        setattr(type(tokenizer), step, replaced)
    elif where == "class":
        monkeypatch.setattr(tokenization.BasicTokenizer, step, replaced)
    else:
        setattr(tokenizer, step, lambda text: replaced(None, text))
    assert tokenizer.tokenize("a-b中cÉx") == expected.split()
    if where != "class":
        assert plain.tokenize("a-b中cÉx") == ["a", "-", "b", "中", "cex"]


def test_the_steps_do_what_the_originals_do():
    tokenizer = tokenization.BasicTokenizer()
    assert tokenizer._clean_text("a\t\0b\ufffd\u3000c\u200d") == "a b c"
    assert tokenizer._tokenize_chinese_chars("ab中") == "ab 中 "
    assert tokenizer._is_chinese_char(0x4E2D) and not tokenizer._is_chinese_char(ord("あ"))
    assert tokenizer._run_strip_accents("Éa") == "Ea"
    assert tokenizer._run_split_on_punc("--what's up?") == ["-", "-", "what", "'", "s up", "?"]


def test_a_replaced_rule_of_punctuation_counts(monkeypatch):
    monkeypatch.setattr(tokenization, "_is_punctuation", lambda c: c == "b")
    assert tokenization.BasicTokenizer().tokenize("a-b.c") == ["a-", "b", ".c"]


def test_the_case_can_be_changed_afterwards_as_in_upstream():
    tokenizer = tokenization.BasicTokenizer(do_lower_case=True)
    assert tokenizer.tokenize("Größe") == ["große"]
    tokenizer.do_lower_case = False
    assert tokenizer.tokenize("Größe") == ["Größe"]


def test_a_cased_chinese_vocabulary_keeps_case(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text(
        "\n".join(["[UNK]", "[CLS]", "[SEP]", "北", "京", "A", "##I", "ai", "##片"]) + "\n", encoding="utf-8"
    )
    cased, uncased = (tokenization.FullTokenizer(str(path), do_lower_case=lower) for lower in (False, True))
    assert cased.tokenize("北京AI") == ["北", "京", "A", "##I"]
    assert uncased.tokenize("北京AI") == ["北", "京", "ai"]
    assert cased.encode(["北京AI"]) == [[3, 4, 5, 6]]


@pytest.mark.parametrize(
    "name, lower_case_wrong, cased_wrong", [("chinese", False, False), ("cased", True, False), ("uncased", False, True)]
)
def test_the_case_is_checked_against_published_vocabularies(name, lower_case_wrong, cased_wrong):
    path = os.path.join(VOCABULARIES, "bert-base-{}-vocab.txt".format(name))
    if not os.path.exists(path):
        pytest.skip("STEADY_BERT_DATA has no vocabs/bert-base-{}-vocab.txt".format(name))
    vocab = tokenization.load_vocab(path)
    assert bool(tokenization.check_case_against_vocab(vocab, True)) == lower_case_wrong
    assert bool(tokenization.check_case_against_vocab(vocab, False)) == cased_wrong


# --- SentencePiece ----------------------------------------------------------------------------------------------------

needs_albert = pytest.mark.skipif(not os.path.exists(ALBERT), reason="STEADY_BERT_DATA has no sentencepiece model")


@needs_albert
def test_alberts_pieces_and_ids_are_its_published_ones():
    tokenizer = tokenization.SentencePieceTokenizer(ALBERT)
    with open(ALBERT.replace(".model", ".vocab"), encoding="utf-8") as file:
        published = [line.rstrip("\n").split("\t")[0] for line in file]
    assert list(tokenizer.vocab) == published and list(tokenizer.vocab.values()) == list(range(30000))
    assert [tokenizer.vocab[piece] for piece in ("<pad>", "[CLS]", "[SEP]", "[MASK]")] == [0, 2, 3, 4]
    assert tokenizer.unk_id == 1
    assert tokenization.check_case_against_vocab(tokenizer.vocab, True) is None


@needs_albert
def test_alberts_rules_of_white_space_quotes_accents_and_commas():
    tokenizer = tokenization.SentencePieceTokenizer(ALBERT)
    assert tokenizer.tokenize("  Hello,\t world\n") == ["▁hello", ",", "▁world"]
    assert tokenizer.tokenize("``so'' he") == tokenizer.tokenize('"so" he')
    assert tokenizer.tokenize("Café naïve") == ["▁cafe", "▁naive"]
    # 9, is a piece of the model; it is cut again, and the comma stands for itself
    assert tokenizer.tokenize("in 1999, or 9, he") == ["▁in", "▁1999", ",", "▁or", "▁9", ",", "▁he"]
    pieces = tokenizer.tokenize("on 3,000, of 12,")
    assert "".join(pieces) == "▁on▁3,000,▁of▁12," and not [p for p in pieces if len(p) > 1 and p.endswith(",")]
    assert tokenizer.tokenize("") == [] and tokenizer.encode(["", " \0\ud800x"])[0] == []
    assert tokenizer.convert_tokens_to_ids(["▁hello", "☃"]) == [tokenizer.vocab["▁hello"], 1]
    (ids,) = tokenizer.encode(["Hello, world ☃"])
    assert tokenizer.convert_ids_to_tokens(ids)[:3] == ["▁hello", ",", "▁world"] and ids[-1] == 1


def test_a_model_of_ones_own_needs_the_pieces_of_bert(tmp_path):
    lines = ["the cat sat on the mat {}, it is 12, or 3".format(n) for n in range(50)]
    path = train_sentencepiece(str(tmp_path / "good.model"), lines, control_symbols="[CLS],[SEP],[MASK]")
    tokenizer = tokenization.SentencePieceTokenizer(path, do_lower_case=False)
    assert "".join(tokenizer.tokenize("The cat")).replace("▁", " ") == " The cat"
    assert [piece for piece in tokenizer.tokenize("it is 12, or 3,") if "," in piece] == [",", ","]
    assert tokenizer.encode(["[SEP]"]) != [[tokenizer.vocab["[SEP]"]]]  # what stands in a text is text
    with pytest.raises(UserError, match=r"has no \[CLS\] and no \[SEP\]. Train it"):
        tokenization.SentencePieceTokenizer(train_sentencepiece(str(tmp_path / "bare.model"), lines))
