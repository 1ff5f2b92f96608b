"""Which example is in which batch, and records as tensors."""

import collections
import itertools

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.stats
import tensorflow.compat.v1 as tf

from tasks.task import Column
from training import feature_cache, input_pipeline
from training.permutation import Permutation, epoch_permutation


@hypothesis.given(n=st.integers(1, 257), key=st.text(max_size=8))
@hypothesis.settings(deadline=None)
def test_a_permutation_is_a_bijection(n, key):
    assert sorted(Permutation(n, key)(np.arange(n))) == list(range(n))


def test_a_position_does_not_depend_on_what_else_is_asked():
    whole = epoch_permutation(1000003, 7, 2)
    positions = np.array([0, 5, 999999, 1000002])
    assert [int(whole(np.array([p]))[0]) for p in positions] == whole(positions).tolist()


@pytest.mark.parametrize("n", [2, 3, 4])
def test_all_orders_of_a_small_set_are_equally_likely(n):
    orders = collections.Counter(tuple(epoch_permutation(n, seed, 0)(np.arange(n))) for seed in range(2400))
    counts = [orders[order] for order in itertools.permutations(range(n))]
    assert scipy.stats.chisquare(counts).pvalue > 1e-4


def test_images_and_neighbours_are_uniform():
    n, bins = 10007, 16
    images = np.concatenate([epoch_permutation(n, seed, 1)(np.arange(64)) for seed in range(60)])
    assert scipy.stats.chisquare(np.bincount(images * bins // n, minlength=bins)).pvalue > 1e-4
    order = epoch_permutation(n, 3, 0)(np.arange(n))
    gaps = (np.diff(order) % n) * bins // n
    assert scipy.stats.chisquare(np.bincount(gaps, minlength=bins)).pvalue > 1e-4


def test_seeds_and_epochs_share_no_order():
    orders = {tuple(epoch_permutation(50, seed, epoch)(np.arange(50))) for seed in range(5) for epoch in range(3)}
    assert len(orders) == 15


@hypothesis.given(
    n=st.integers(3, 257), position=st.integers(0, 20000), sizes=st.lists(st.integers(1, 64), min_size=1, max_size=20)
)
@hypothesis.settings(max_examples=50, deadline=None)
def test_batches_are_slices_of_one_stream_whatever_their_sizes(n, position, sizes):
    order = input_pipeline.TrainingOrder(n, seed=11)
    whole = input_pipeline.TrainingOrder(n, seed=11).numbers(position, sum(sizes))
    at, parts = position, []
    for size in sizes:
        parts.append(order.numbers(at, size))
        at += size
    assert np.concatenate(parts).tolist() == whole.tolist()


@pytest.mark.parametrize("n", [1, 2, 31, 257, 5000])
def test_each_epoch_is_a_permutation_of_the_whole_set(n):
    numbers = input_pipeline.TrainingOrder(n, seed=5).numbers(0, 3 * n).reshape(3, n)
    assert all(sorted(epoch) == list(range(n)) for epoch in numbers)
    in_order = input_pipeline.TrainingOrder(n, seed=5, shuffle=False).numbers(0, 3 * n).reshape(3, n)
    assert all(list(epoch) == list(range(n)) for epoch in in_order)
    assert n < 31 or not np.array_equal(numbers[0], numbers[1])


def test_label_sorted_data_gives_mixed_batches():
    labels = np.arange(1000) >= 500
    batches = labels[input_pipeline.TrainingOrder(1000, seed=1).numbers(0, 960).reshape(-1, 32)]
    assert not any(batch.all() or not batch.any() for batch in batches)
    control = labels[input_pipeline.TrainingOrder(1000, seed=1, shuffle=False).numbers(0, 960).reshape(-1, 32)]
    assert sum(batch.all() or not batch.any() for batch in control) >= 29


COLUMNS = {
    "input_ids": Column("int64", per_token=True),
    "tag_ids": Column("int64", per_token=True, padding=-1),
    "score": Column("float32"),
    "classes": Column("int64", size=3),
}


@hypothesis.given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5), fixed=st.booleans())
@hypothesis.settings(max_examples=20, deadline=None)
def test_records_become_padded_tensors(lengths, fixed):
    rng = np.random.RandomState(sum(lengths))
    features = [
        {
            "input_ids": rng.randint(1, 99, length).tolist(),
            "tag_ids": rng.randint(0, 9, length).tolist(),
            "score": [float(length) / 2],
            "classes": rng.randint(0, 2, 3).tolist(),
        }
        for length in lengths
    ]
    with tf.Graph().as_default(), tf.Session() as session:
        records = [feature_cache.serialize(feature, COLUMNS, len(feature["input_ids"])) for feature in features]
        batch, mask = input_pipeline.parse_batch(tf.constant(records), COLUMNS, 12 if fixed else None)
        assert not fixed or batch["input_ids"].shape.as_list()[1] == 12
        batch, mask = session.run((batch, mask))
    size = 12 if fixed else max(lengths)
    assert mask.tolist() == [[1] * length + [0] * (size - length) for length in lengths]
    for name in ("input_ids", "tag_ids"):
        padding = COLUMNS[name].padding
        assert batch[name].tolist() == [f[name] + [padding] * (size - len(f[name])) for f in features]
    assert batch["score"].tolist() == [length / 2 for length in lengths]
    assert batch["classes"].tolist() == [feature["classes"] for feature in features]
