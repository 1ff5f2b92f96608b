"""The tokenizer against google-research/bert's results, and a slow twin of its definition."""

import json
import os
import unicodedata

import hypothesis
import hypothesis.strategies as st
import pytest

import tokenization
from errors import UserError

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden", "tokenization.json")


@pytest.fixture(scope="module")
def golden():
    with open(GOLDEN, encoding="utf-8") as file:
        return json.load(file)


@pytest.fixture(scope="module")
def vocab_file(golden, tmp_path_factory):
    """The pieces that the golden strings give, at their own ids, between fillers that no text contains.

    Greedy matching would find longer pieces in the whole vocabulary only where the golden has them.
    """
    ids = {token: number for case in golden for token, number in zip(case["tokens"], case["ids"])}
    ids.update({"[UNK]": 100, "[CLS]": 101, "[SEP]": 102})
    at = {number: token for token, number in ids.items()}
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    lines = [at.get(number, "[filler {}]".format(number)) for number in range(max(at) + 1)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def test_golden_strings_give_upstreams_tokens_and_ids(golden, vocab_file):
    tokenizers = {lower: tokenization.FullTokenizer(vocab_file, do_lower_case=lower) for lower in (True, False)}
    assert len(golden) == 76
    for case in golden:
        tokenizer = tokenizers[case["do_lower_case"]]
        assert tokenizer.basic_tokenizer.tokenize(case["text"]) == case["basic"]
        assert tokenizer.tokenize(case["text"]) == case["tokens"]
        assert tokenizer.convert_tokens_to_ids(case["tokens"]) == case["ids"]
        assert tokenizer.convert_ids_to_tokens(case["ids"]) == case["tokens"]


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
@hypothesis.settings(max_examples=1500, deadline=None)
def test_any_text_is_split_as_the_definition_says(text, lower):
    assert tokenization.BasicTokenizer(do_lower_case=lower).tokenize(text) == slow_basic(text, lower)


PIECES = ["a", "b", "ab", "##a", "##b", "##ab", "##ba", "aba"]


@hypothesis.given(word=st.text(alphabet="abc", min_size=1, max_size=12))
@hypothesis.settings(deadline=None)
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


def test_words_above_the_limit_are_unknown():
    tokenizer = tokenization.WordpieceTokenizer({"a": 0, "##a": 1}, max_input_chars_per_word=5)
    assert tokenizer.tokenize("aaaaa aaaaaa") == ["a"] + ["##a"] * 4 + ["[UNK]"]


@pytest.mark.parametrize(
    "content, said",
    [
        (b"[UNK]\n[CLS]\n[SEP]\na\nb\na\n", ":6: 'a' stands at line 4 too"),
        (b"[UNK]\n[CLS]\n\n[SEP]\n", ":3: a blank line"),
        (b"[UNK]\n[CLS]\n\xff\n[SEP]\n", ":3: not UTF-8"),
        (b"[UNK]\n[CLS]\nx\n", "has no [SEP]"),
    ],
)
def test_a_bad_vocabulary_is_named_with_its_line(tmp_path, content, said):
    path = tmp_path / "vocab.txt"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        tokenization.load_vocab(str(path))
    assert str(error.value).startswith(str(path)) and said in str(error.value)


@pytest.mark.parametrize(
    "lower, path, wrong",
    [
        (True, "models/uncased_L-12_H-768_A-12/bert_model.ckpt", False),
        (False, "models/uncased_L-12_H-768_A-12/bert_model.ckpt", True),
        (True, "models/cased_L-12_H-768_A-12/bert_model.ckpt", True),
        (False, "models/cased_L-24_H-1024_A-16/bert_model.ckpt", False),
        (True, "models/multi_cased_L-12_H-768_A-12/bert_model.ckpt", True),
        (False, "models/multilingual_L-12_H-768_A-12/bert_model.ckpt", True),
        (True, "somewhere/model.ckpt-343", False),
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
