"""Texts longer than the model reads: what is kept, windows over everything, and runs that need the end of a text."""

import json
import os
import random

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from classification_features_test import Words
from conftest import BAD, GOOD, WORDS, copy_as_stopped, evaluated_examples, mistake, succeed

from steady_bert.tasks.classification import long_texts
from steady_bert.tasks.classification.features import encode_pairs
from steady_bert.tasks.classification.long_texts import LongTexts
from steady_bert.tasks.classification.processor import InputExample
from steady_bert.tasks.classification.scores import Scorer, Threshold
from steady_bert.tasks.tagging import windows as word_windows
from steady_bert.training import checkpoint


def encoded(first, second, length, **long_text):
    """Words() numbers each word; a text is 1 2 3 …, the second one 1001 1002 …"""
    texts = [" ".join(map(str, range(start, start + count))) for start, count in ((1, first), (1001, second))]
    return encode_pairs(Words(), [InputExample("g", *texts)], length, LongTexts(**long_text))


@pytest.mark.parametrize(
    "length, pieces, head",
    [(512, 1000, 128), (512, 510, 510), (256, 700, 128), (128, 700, 64), (10, 12, 5), (5, 9, 2)],
)
def test_head_tail_keeps_128_first_pieces_or_half_and_the_last_ones(length, pieces, head):
    (kept,) = encoded(pieces, 0, length, mode="head_tail")
    tail = min(length - 2, pieces) - head
    expected = list(range(1, head + 1)) + list(range(pieces - tail + 1, pieces + 1))
    assert kept.input_ids == [101, *expected, 102] and kept.segment_ids == [0] * (len(expected) + 2)
    assert (kept.tokens, kept.pieces) == (pieces + 2, pieces)


def test_head_tail_shortens_the_longer_text_of_a_pair():
    (kept,) = encoded(3, 20, 13, mode="head_tail")
    assert kept.input_ids == [101, 1, 2, 3, 102, 1001, 1002, 1003, 1004, 1018, 1019, 1020, 102]
    (kept,) = encoded(20, 20, 13, mode="head_tail")  # the first of two equally long ones gets the smaller half
    assert kept.input_ids == [101, 1, 2, 3, 19, 20, 102, 1001, 1002, 1003, 1019, 1020, 102]


def test_windows_have_closed_forms():
    ids = [window.input_ids[1:-1] for window in encoded(11, 0, 6, mode="windows")]
    assert ids == [[1, 2, 3, 4], [3, 4, 5, 6], [5, 6, 7, 8], [7, 8, 9, 10], [9, 10, 11]]
    ids = [window.input_ids[1:-1] for window in encoded(11, 0, 6, mode="windows", stride=4)]
    assert ids == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11]]
    (whole,) = encoded(4, 0, 6, mode="windows")
    assert whole.input_ids == [101, 1, 2, 3, 4, 102] and whole.windows == 1
    pair = encoded(2, 7, 9, mode="windows")  # the shorter text is whole in all
    assert [window.input_ids for window in pair] == [
        [101, 1, 2, 102, 1001, 1002, 1003, 1004, 102],
        [101, 1, 2, 102, 1003, 1004, 1005, 1006, 102],
        [101, 1, 2, 102, 1005, 1006, 1007, 102],
    ]
    assert [window.segment_ids for window in pair][2] == [0] * 4 + [1] * 4


@hypothesis.given(
    first=st.integers(0, 60), second=st.integers(0, 60), length=st.integers(5, 40), stride=st.integers(1, 70)
)
def test_windows_cover_every_piece_of_both_texts_and_fit(first, second, length, stride):
    windows = encoded(first, second, length, mode="windows", stride=stride)
    shown = {piece for window in windows for piece in window.input_ids}
    assert shown - {101, 102} == set(range(1, first + 1)) - {101, 102} | set(range(1001, 1001 + second))
    assert max(len(window.input_ids) for window in windows) <= length
    assert [window.window for window in windows] == list(range(len(windows)))
    assert {window.windows for window in windows} == {len(windows)}
    for mode in ("cut", "head_tail"):  # the data report says how many windows there would be
        (kept,) = encoded(first, second, length, mode=mode, stride=stride)
        assert kept.windows == len(windows) and len(kept.input_ids) <= length


@hypothesis.given(pieces=st.integers(1, 60), room=st.integers(1, 20), stride=st.integers(1, 20))
def test_windows_of_one_text_are_those_of_a_tagged_sentence_of_such_words(pieces, room, stride):
    hypothesis.assume(stride <= room)
    ours = long_texts.windows(list(range(pieces)), [], room, stride)
    theirs = {(window.first, window.end) for window in word_windows.windows([1] * pieces, room, stride)}
    assert theirs <= {(a[0], a[-1] + 1) for a, _ in ours}  # a window in which no word counts is left out there


@pytest.mark.parametrize("pooling, pool", [("mean", np.mean), ("max", np.max)])
@pytest.mark.parametrize("label_type", ["single", "multi", "regression"])
def test_pooled_logits_are_numpys_and_texts_keep_their_order(label_type, pooling, pool):
    rng = np.random.RandomState(3)
    counts = [1, 4, 2, 1, 7]
    width = 1 if label_type == "regression" else 3
    logits = rng.randn(sum(counts), width).astype(np.float32)
    window = np.concatenate([np.arange(count) for count in counts])
    gold = np.repeat(rng.rand(5, width) > 0.5 if label_type == "multi" else np.arange(5) % 3, counts, axis=0)
    labels = [] if label_type == "regression" else ["a", "b", "c"]
    scorer = Scorer(label_type, labels, LongTexts("windows", None, pooling), Threshold())
    scored = scorer.scored("dev", dict(logits=list(logits), window=list(window), label_ids=list(gold)))
    ends = np.cumsum(counts)
    expected = np.stack(
        [pool(logits[end - count : end].astype(np.float64), axis=0) for end, count in zip(ends, counts)]
    )
    if label_type == "single":
        exponentials = np.exp(expected)
        np.testing.assert_allclose(scored.probabilities, exponentials / exponentials.sum(-1, keepdims=True))
        assert scored.values.tolist() == expected.argmax(-1).tolist()
    elif label_type == "multi":
        np.testing.assert_allclose(scored.probabilities, 1 / (1 + np.exp(-expected)))
        assert scored.values.tolist() == (expected >= 0).tolist()
    else:
        np.testing.assert_allclose(scored.values, expected[:, 0])
    assert scored.gold.tolist() == gold[ends - 1].tolist()


# --- runs -------------------------------------------------------------------------------------------------------------


def write_texts(folder):
    """Texts of 14 to 22 words that end in praise or blame; every fourth is short."""
    rng = random.Random(5)
    for split, count in (("train", 240), ("dev", 60), ("test", 40)):
        rows = ["id\ttext\tlabel"]
        for number in range(count):
            praise = rng.random() < 0.5
            words = rng.choices(WORDS, k=rng.randint(3, 5) if number % 4 == 0 else rng.randint(14, 22))
            words.append(rng.choice(GOOD if praise else BAD))
            rows.append("t{}\t{}\t{}".format(number, " ".join(words), "praise" if praise else "blame"))
        (folder / (split + ".tsv")).write_text("\n".join(rows) + "\n")
    return str(folder)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_texts(tmp_path_factory.mktemp("long"))


def flags(tiny, data, output, **changed):
    values = dict(data_dir=data, output_dir=str(output), do_train="true", do_eval="true", eval_every_epochs=0)
    values.update(max_seq_length=10, bert_config_file=tiny.without_dropout)
    values.update(changed)
    return tiny.flags(**values)


def results(output):
    with open(os.path.join(str(output), "eval_results.json")) as file:
        return json.load(file)


def test_what_stands_at_the_end_is_learned_from_both_ends_but_not_from_the_beginning(tiny, data, tmp_path, capsys):
    text = succeed(flags(tiny, data, tmp_path / "cut"), capsys)
    assert results(tmp_path / "cut")["accuracy"] < 0.8  # only the short texts say anything
    assert "train.tsv: cut to --max_seq_length=10: 180 of 240" in text
    windows = sum(each.windows for each in encoded_texts(data) if not each.window)
    line = "--long_text=head_tail would keep beginning and end, --long_text=windows all, as {:,} examples"
    assert line.format(windows) in text
    text = succeed(flags(tiny, data, tmp_path / "ends", long_text="head_tail"), capsys)
    assert results(tmp_path / "ends")["accuracy"] > 0.95
    assert "train.tsv: shortened in the middle to --max_seq_length=10: 180 of 240" in text


def encoded_texts(data):
    with open(os.path.join(data, "train.tsv")) as file:
        texts = [line.split("\t")[1] for line in file][1:]
    numbered = [InputExample("g", " ".join("7" for _ in text.split())) for text in texts]
    return encode_pairs(Words(), numbered, 10, LongTexts("windows"))


def test_windows_learn_the_end_predict_each_text_once_and_resume_exactly(tiny, data, tmp_path, capsys):
    whole = tmp_path / "whole"
    given = dict(long_text="windows", num_train_steps=150, save_checkpoints_steps=100, keep_checkpoint_max=10)
    text = succeed(flags(tiny, data, whole, do_predict="true", **given), capsys)
    windows = encoded_texts(data)
    assert "examples: {:,} windows of 240 texts".format(len(windows)) in text
    assert "= {:.2f} epochs of {:,} examples / 16".format(150 * 16 / len(windows), len(windows)) in text
    assert results(whole)["accuracy"] > 0.95 and results(whole)["examples"] == 60
    with open(whole / "predictions.tsv") as file:
        rows = [line.split("\t") for line in file][1:]
    assert [row[0] for row in rows] == ["t{}".format(number) for number in range(40)]
    of_dev = evaluated_examples(str(whole))
    assert [example.line for example in of_dev] == list(range(2, 62))
    # A folder of step 100 goes on to the same bits.
    copy_as_stopped(str(whole), 100, str(tmp_path / "continued"))
    assert "from step 100" in succeed(flags(tiny, data, tmp_path / "continued", **given), capsys)
    first, second = (checkpoint.prefix_of(str(folder), 150) for folder in (whole, tmp_path / "continued"))
    with open(first + ".data-00000-of-00001", "rb") as a, open(second + ".data-00000-of-00001", "rb") as b:
        assert a.read() == b.read()
    # The folder says how its texts are read; another stride is another data set.
    again = tmp_path / "again"
    using = dict(do_train="false", do_eval="false", do_predict="true", model_dir=str(whole), from_scratch=None)
    some = dict(do_eval="true", max_eval_examples=25, max_seq_length=None)
    succeed(flags(tiny, data, again, **dict(using, **some)), capsys)
    assert (again / "predictions.tsv").read_bytes() == (whole / "predictions.tsv").read_bytes()
    sample = evaluated_examples(str(whole), str(again))
    assert len(sample) == 25 and all(
        one.predicted == of_dev[one.line - 2].predicted and one.texts == of_dev[one.line - 2].texts for one in sample
    )
    if hasattr(tf, "estimator") and hasattr(tf.estimator, "tpu"):
        succeed(flags(tiny, data, tmp_path / "estimator", **dict(using, engine="estimator")), capsys)
        with open(str(tmp_path / "estimator" / "predictions.tsv")) as file:
            others = [line.split("\t") for line in file][1:]
        assert [row[:2] for row in others] == [row[:2] for row in rows]
        numbers = [[float(value) for value in row[2:]] for row in rows]
        np.testing.assert_allclose([[float(value) for value in row[2:]] for row in others], numbers, atol=1e-4)
    assert "data" in mistake(flags(tiny, data, whole, **dict(given, window_stride=3)), capsys)
    assert "window_pooling" in mistake(flags(tiny, data, whole, **dict(given, window_pooling="max")), capsys)


@pytest.mark.parametrize(
    "changed, said",
    [
        (dict(window_stride=3), "--window_stride: is read with --long_text=windows"),
        (dict(long_text="head_tail", window_pooling="max"), "--window_pooling: is read with --long_text=windows"),
        (dict(long_text="windows", window_stride=9), "--window_stride=9: tokens would be left out"),
        (dict(long_text="head_tail", max_seq_length=4), "Give 5 or more"),
    ],
)
def test_flags_that_contradict_each_other_are_refused(tiny, data, changed, said, tmp_path, capsys):
    values = dict(max_seq_length=10, data_dir=data, output_dir=str(tmp_path), do_train="true")
    assert said in mistake(tiny.flags(**dict(values, **changed)), capsys)
