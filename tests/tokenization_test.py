"""The tokenizer against google-research/bert's results, and a slow twin of its definition."""

import json
import os
import unicodedata

import hypothesis
import hypothesis.strategies as st
import pytest

import tokenization
from errors import UserError

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden")
VOCABULARIES = os.path.join(os.environ.get("STEADY_BERT_DATA", ""), "vocabs")
WHOLE = os.path.join(VOCABULARIES, "bert-base-uncased-vocab.txt")


def read_golden(name):
    with open(os.path.join(GOLDEN, name), encoding="utf-8") as file:
        return json.load(file)


@pytest.fixture(scope="module")
def restricted(tmp_path_factory):
    """bert-base-uncased, but for what no golden text can meet: fillers stand in its place, so the ids are its own.

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
        (b"", "has no [UNK]"),
    ],
)
def test_a_bad_vocabulary_is_named_with_its_line(tmp_path, content, said):
    path = tmp_path / "vocab.txt"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        tokenization.load_vocab(str(path))
    assert str(error.value).startswith(str(path)) and said in str(error.value)


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


@pytest.mark.skipif(not os.path.isdir(VOCABULARIES), reason="STEADY_BERT_DATA has no folder vocabs")
def test_published_vocabularies_load_and_tell_their_case():
    cased = tokenization.load_vocab(os.path.join(VOCABULARIES, "bert-base-cased-vocab.txt"))
    chinese = tokenization.load_vocab(os.path.join(VOCABULARIES, "bert-base-chinese-vocab.txt"))
    assert (len(cased), len(chinese)) == (28996, 21128)
    assert tokenization.check_case_against_vocab(cased, do_lower_case=True)
    assert tokenization.check_case_against_vocab(cased, do_lower_case=False) is None
    assert tokenization.check_case_against_vocab(chinese, do_lower_case=True) is None
