"""Features equal google-research/bert's; records have its layout."""

import json
import os

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import tokenization
from steady_bert.tasks.classification.features import (
    convert_examples_to_features,
    convert_single_example,
    encode_pairs,
    file_based_convert_examples_to_features,
)
from steady_bert.tasks.classification.processor import InputExample, PaddingInputExample

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden")


class Words:
    """A tokenizer that makes one piece of each word."""

    vocab = {"[CLS]": 101, "[SEP]": 102}
    unk_id = 100

    def encode(self, texts):
        return [self.convert_tokens_to_ids(self.tokenize(text)) for text in texts]

    def tokenize(self, text):
        return text.split()

    def convert_tokens_to_ids(self, tokens):
        return [self.vocab.get(token) or int(token) for token in tokens]


def encode_pair(first, second, length):
    (encoded,) = encode_pairs(Words(), [InputExample("g", first, second)], length)
    return encoded


def read_golden(name):
    with open(os.path.join(GOLDEN, name), encoding="utf-8") as file:
        return json.load(file)


def test_golden_features_are_exact(tmp_path):
    at = {number: piece for piece, number in read_golden("pieces.json").items()}  # see tokenization_test.py
    lines = [at.get(number, "[filler {}]".format(number)) for number in range(max(at) + 1)]
    (tmp_path / "vocab.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    tokenizer = tokenization.FullTokenizer(str(tmp_path / "vocab.txt"))
    golden = read_golden("classifier_features.json")
    assert len(golden) == 18
    for case in golden:
        example = InputExample("g", case["text_a"], case["text_b"], case["label"])
        feature = convert_single_example(0, example, ["0", "1"], case["max_seq_length"], tokenizer)
        for name in ("input_ids", "input_mask", "segment_ids", "label_id"):
            assert getattr(feature, name) == case[name], (name, case)
        (encoded,) = encode_pairs(tokenizer, [example], case["max_seq_length"])
        assert encoded.input_ids == case["input_ids"][: sum(case["input_mask"])]
        assert encoded.segment_ids == case["segment_ids"][: sum(case["input_mask"])]


@pytest.mark.parametrize("text_b", [None, "", " \t"])
def test_a_second_text_without_pieces_is_like_none(text_b):
    assert encode_pair("1 2 100 4", text_b, 5)[:5] == ([101, 1, 2, 100, 102], [0] * 5, 6, 4, 1)
    assert encode_pair("1 2 3", text_b, 5)[:5] == ([101, 1, 2, 3, 102], [0] * 5, 5, 3, 0)


@hypothesis.given(a=st.integers(0, 40), b=st.one_of(st.none(), st.integers(0, 40)), length=st.integers(5, 32))
def test_truncation_takes_from_the_longer_text(a, b, length):
    first = " ".join(["1"] * a)
    second = None if b is None else " ".join(["2"] * b)
    encoded = encode_pair(first, second, length)
    ones, twos = encoded.input_ids.count(1), encoded.input_ids.count(2)
    room = length - (3 if b else 2)
    assert encoded.tokens == a + (b or 0) + (3 if b else 2)
    assert len(encoded.input_ids) == len(encoded.segment_ids) == ones + twos + (3 if b else 2) <= length
    if not b:
        assert ones == min(a, room) and set(encoded.segment_ids) == {0}
    elif a + b > room:
        assert ones + twos == room
        # Either only the longer text was cut, or both were cut to the same length, the second first.
        assert (twos == b and ones >= b) or (ones == a and twos >= a - 1) or ones - twos in (0, 1)
    else:
        assert (ones, twos) == (a, b)


def test_records_have_upstreams_layout(tmp_path):
    examples = [InputExample("x", "1 2 3", "4", "b"), PaddingInputExample()]
    path = str(tmp_path / "out.tf_record")
    file_based_convert_examples_to_features(examples, ["a", "b"], 10, Words(), path)
    features = convert_examples_to_features(examples, ["a", "b"], 10, Words())
    records = [tf.train.Example.FromString(r) for r in tf.python_io.tf_record_iterator(path)]
    for record, feature in zip(records, features):
        found = {name: list(value.int64_list.value) for name, value in record.features.feature.items()}
        assert found == {
            "input_ids": feature.input_ids,
            "input_mask": feature.input_mask,
            "segment_ids": feature.segment_ids,
            "label_ids": [feature.label_id],
            "is_real_example": [int(feature.is_real_example)],
        }
    assert features[0].input_ids == [101, 1, 2, 3, 102, 4, 102, 0, 0, 0] and features[0].label_id == 1
    assert not features[1].is_real_example and not np.any(features[1].input_ids)
