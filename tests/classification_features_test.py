"""Features against google-research/bert's, and records that its readers and ours understand."""

import json
import os

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tasks.classification_data import InputExample, PaddingInputExample
from tasks.classification_features import (
    convert_examples_to_features,
    convert_single_example,
    encode_pair,
    file_based_convert_examples_to_features,
)

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden")


class Words:
    """A tokenizer of one piece a word."""

    def tokenize(self, text):
        return text.split()

    def convert_tokens_to_ids(self, tokens):
        return [{"[CLS]": 101, "[SEP]": 102}.get(token) or int(token) for token in tokens]


@pytest.fixture(scope="module")
def golden():
    with open(os.path.join(GOLDEN, "classifier_features.json"), encoding="utf-8") as file:
        return json.load(file)


def test_golden_features_are_exact(golden):
    """Whole sequences at the longest length give each text's ids; the rest is layout and truncation."""
    longest = max(case["max_seq_length"] for case in golden)
    texts = {}
    for case in golden:
        if case["max_seq_length"] == longest:
            real = case["input_ids"][: sum(case["input_mask"])]
            ends = [n for n, piece in enumerate(real) if piece == 102]
            texts[case["text_a"]] = real[1 : ends[0]]
            if case["text_b"]:
                texts[case["text_b"]] = real[ends[0] + 1 : ends[1]]
    checked = 0
    for case in golden:
        ids = [texts.get(case["text_a"], []), texts.get(case["text_b"] or "", [])]
        if len(ids[0]) + len(ids[1]) + 3 > longest:
            continue  # cut at the longest length too: its whole pieces are not known here
        text_a, text_b = (" ".join(map(str, one)) for one in ids)
        example = InputExample("g", text_a, text_b if case["text_b"] is not None else None, case["label"])
        feature = convert_single_example(0, example, ["0", "1"], case["max_seq_length"], Words())
        for name in ("input_ids", "input_mask", "segment_ids", "label_id"):
            assert getattr(feature, name) == case[name], (name, case)
        checked += 1
    assert checked >= 12


@pytest.mark.skipif(
    not os.environ.get("STEADY_BERT_VOCAB"), reason="STEADY_BERT_VOCAB names no vocab.txt of bert-base-uncased"
)
def test_golden_features_are_exact_from_text(golden):
    import tokenization

    tokenizer = tokenization.FullTokenizer(os.environ["STEADY_BERT_VOCAB"])
    for case in golden:
        example = InputExample("g", case["text_a"], case["text_b"], case["label"])
        feature = convert_single_example(0, example, ["0", "1"], case["max_seq_length"], tokenizer)
        for name in ("input_ids", "input_mask", "segment_ids", "label_id"):
            assert getattr(feature, name) == case[name]


@hypothesis.given(a=st.integers(0, 40), b=st.one_of(st.none(), st.integers(0, 40)), length=st.integers(5, 32))
@hypothesis.settings(deadline=None)
def test_truncation_takes_from_the_longer_text(a, b, length):
    first = " ".join(["1"] * a)
    second = None if b is None else " ".join(["2"] * b)
    encoded = encode_pair(Words(), first, second, length)
    ones, twos = encoded.input_ids.count(1), encoded.input_ids.count(2)
    room = length - (3 if b else 2)
    assert encoded.truncated == (a + (b or 0) > room)
    assert len(encoded.input_ids) == len(encoded.segment_ids) == ones + twos + (3 if b else 2) <= length
    if not b:
        assert ones == min(a, room) and set(encoded.segment_ids) == {0}
    elif a + b > room:
        assert ones + twos == room
        # Only the longer was cut, or both were cut to the same length, the second first.
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
