"""The order of examples, their batches, and records as tensors."""

import collections
import itertools
import threading
import tracemalloc
import types

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.stats
import tensorflow.compat.v1 as tf

from steady_bert.tasks.task import Column
from steady_bert.training import feature_cache, input_pipeline
from steady_bert.training import plan as plans
from steady_bert.training.permutation import Permutation, epoch_permutation


@hypothesis.given(n=st.integers(1, 257), key=st.text(max_size=8))
def test_a_permutation_is_a_bijection(n, key):
    assert sorted(Permutation(n, key)(np.arange(n))) == list(range(n))


def test_an_image_does_not_depend_on_the_other_positions_of_the_call():
    whole = epoch_permutation(1000003, 7, 2)
    positions = np.array([0, 5, 999999, 1000002])
    assert [int(whole(np.array([p]))[0]) for p in positions] == whole(positions).tolist()


@pytest.mark.parametrize("n", [2, 3, 4])
def test_all_orders_of_a_small_set_are_equally_likely(n):
    orders = collections.Counter(tuple(epoch_permutation(n, seed, 0)(np.arange(n))) for seed in range(800))
    counts = [orders[order] for order in itertools.permutations(range(n))]
    assert scipy.stats.chisquare(counts).pvalue > 1e-4


def test_images_and_gaps_are_uniform():
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
@hypothesis.settings(max_examples=50)
def test_batches_are_slices_of_one_stream_whatever_their_sizes(n, position, sizes):
    order = input_pipeline.TrainingOrder(n, seed=11)
    whole = input_pipeline.TrainingOrder(n, seed=11).numbers(position, sum(sizes))
    start, batches = position, []
    for size in sizes:
        batches.append(order.numbers(start, size))
        start += size
    assert np.concatenate(batches).tolist() == whole.tolist()


@pytest.mark.parametrize("n", [1, 2, 31, 257, 5000])
def test_each_epoch_is_a_permutation_of_the_whole_set(n):
    numbers = input_pipeline.TrainingOrder(n, seed=5).numbers(0, 3 * n).reshape(3, n)
    assert all(sorted(epoch) == list(range(n)) for epoch in numbers)
    in_order = input_pipeline.TrainingOrder(n, seed=5, shuffle=False).numbers(0, 3 * n).reshape(3, n)
    assert all(list(epoch) == list(range(n)) for epoch in in_order)
    assert n < 31 or not np.array_equal(numbers[0], numbers[1])


def grouped_order(lengths, batch_size, position=0, seed=11):
    plan = plans.make_plan(
        plans.PlanConfig(train_batch_size=batch_size, num_train_steps=20, seed=seed, batching="grouped"),
        len(lengths),
        {},
        {},
    )
    return input_pipeline.training_order(plan, with_lengths(lengths), position)


@hypothesis.given(
    n=st.integers(1, 1500),
    batch_size=st.integers(1, 40),
    seed=st.integers(0, 2**31),
    start=st.integers(0, 4000),
    cut=st.floats(0, 1),
)
@hypothesis.settings(max_examples=40, deadline=None)
def test_grouped_batches_hold_each_example_once_an_epoch_from_any_position(n, batch_size, seed, start, cut):
    lengths = np.random.RandomState(seed).randint(2, 129, n)
    phase = start % batch_size
    whole = grouped_order(lengths, batch_size, start, seed).numbers(phase, 2 * n + 3 * batch_size)
    first = -phase % n  # of the first whole epoch
    assert sorted(whole[first : first + n]) == list(range(n))
    batch = int(cut * (2 * n // batch_size))  # of any batch, an order made there gives the same
    position = phase + batch * batch_size
    resumed = grouped_order(lengths, batch_size, position, seed).numbers(position, 2 * batch_size)
    assert resumed.tolist() == whole[batch * batch_size :][: 2 * batch_size].tolist()


def test_grouped_batches_are_those_of_each_50_of_the_permutation_by_length_in_permuted_order():
    n, size = 1000, 7  # blocks of 50, 50 and 42 batches; the last 6 examples share a batch with the next epoch
    lengths = np.random.RandomState(1).randint(2, 129, n)
    grouped = grouped_order(lengths, size).numbers(0, 2 * n)
    plain = input_pipeline.TrainingOrder(n, seed=11).numbers(0, 2 * n)
    assert grouped[994:1001].tolist() == plain[994:1001].tolist()
    for start, end in ((0, 350), (350, 700), (700, 994), (1001, 1351)):
        batches, block = grouped[start:end].reshape(-1, size), plain[start:end]
        by_length = block[np.argsort(-lengths[block], kind="stable")].reshape(-1, size)
        assert sorted(batches.tolist()) == sorted(by_length.tolist()) and not np.array_equal(batches, by_length)
        longest = lengths[batches].max(axis=1)
        assert abs(scipy.stats.spearmanr(np.arange(len(longest)), longest)[0]) < 0.5
        padded = [size * lengths[rows.reshape(-1, size)].max(axis=1).sum() for rows in (batches, block)]
        assert padded[0] < 0.7 * padded[1]


def test_a_seek_of_grouped_batches_reads_the_lengths_of_one_block():
    class Lengths:
        asked = 0

        def __getitem__(self, key):
            self.asked += len(key)
            return key % 128

    lengths = Lengths()
    order = input_pipeline.TrainingOrder(10**7, 1, grouping=input_pipeline.Grouping(lengths, 32))
    order.numbers(123456 * 32, 32)
    assert lengths.asked == 50 * 32


def test_label_sorted_data_gives_mixed_batches():
    labels = np.arange(1000) >= 500
    batches = labels[input_pipeline.TrainingOrder(1000, seed=1).numbers(0, 960).reshape(-1, 32)]
    assert not any(batch.all() or not batch.any() for batch in batches)
    control = labels[input_pipeline.TrainingOrder(1000, seed=1, shuffle=False).numbers(0, 960).reshape(-1, 32)]
    assert sum(batch.all() or not batch.any() for batch in control) >= 29


def test_the_next_item_is_made_while_the_caller_works_on_this_one():
    made = [threading.Event() for _ in range(3)]

    def items():
        for number, event in enumerate(made):
            event.set()
            yield number

    threads = threading.active_count()
    ahead = input_pipeline.read_ahead(items())
    assert next(ahead) == 0 and made[1].wait(60) and not made[2].is_set()
    assert list(ahead) == [1, 2]
    assert threading.active_count() == threads


def test_an_error_is_raised_in_its_place_and_closing_ends_the_thread():
    def items():
        yield 1
        yield 2
        raise OSError("no more")

    threads = threading.active_count()
    ahead = input_pipeline.read_ahead(items())
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(OSError, match="no more"):
        next(ahead)
    endless = input_pipeline.read_ahead(itertools.count())
    assert next(endless) == 0
    endless.close()
    assert threading.active_count() == threads


def test_batches_follow_the_order_from_any_position():
    class Records:
        def read(self, numbers):
            return [b"%d" % number for number in numbers]

    order = input_pipeline.TrainingOrder(50, seed=3)
    batches = input_pipeline.training_batches(Records(), order, 40, 16)
    for start in (40, 56, 72):
        numbers, serialized = next(batches)
        assert numbers.tolist() == input_pipeline.TrainingOrder(50, seed=3).numbers(start, 16).tolist()
        assert serialized == [b"%d" % number for number in numbers]


@pytest.mark.parametrize("batch_size", [1, 7, 64, 1000])
def test_evaluation_batches_hold_each_example_once_by_length_then_in_file_order(batch_size):
    lengths = np.random.RandomState(1).randint(1, 9, 300)
    batches = list(input_pipeline.length_sorted_batches(with_lengths(lengths), batch_size))
    assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    numbers = np.concatenate(batches)
    assert numbers.tolist() == sorted(range(300), key=lambda number: (-lengths[number], number))


def test_evaluation_batches_of_millions_of_rows_take_little_memory():
    rows = 2000000
    records = with_lengths(np.random.RandomState(1).randint(1, 129, rows))
    tracemalloc.start()
    batches = input_pipeline.length_sorted_batches(records, 8)
    next(batches)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40 * rows  # a list of integers would take 36 bytes a row


def with_lengths(lengths):
    index = np.zeros(len(lengths), feature_cache.INDEX_DTYPE)
    index["tokens"] = lengths
    return types.SimpleNamespace(index=index)


COLUMNS = {
    "input_ids": Column("int64", per_token=True),
    "tag_ids": Column("int64", per_token=True, padding=-1),
    "score": Column("float32"),
    "classes": Column("int64", size=3),
}


@hypothesis.given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5), fixed=st.booleans())
@hypothesis.settings(max_examples=20)
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


@hypothesis.given(lengths=st.lists(st.integers(1, 29), min_size=1, max_size=5), round_below=st.integers(1, 40))
@hypothesis.settings(max_examples=30)
def test_lengths_are_rounded_up_to_a_multiple_of_8_or_to_the_limit(lengths, round_below):
    """The content of the batch stays the same."""
    longest = max(lengths)
    with tf.Graph().as_default(), tf.Session() as session:
        tokens = [
            {"input_ids": range(1, n + 1), "tag_ids": range(n), "score": [0.5], "classes": [1, 2, 3]} for n in lengths
        ]
        records = tf.constant(
            [feature_cache.serialize(feature, COLUMNS, len(feature["tag_ids"])) for feature in tokens]
        )
        plain, plain_mask = session.run(input_pipeline.parse_batch(records, COLUMNS))
        batch, mask = session.run(input_pipeline.parse_batch(records, COLUMNS, round_below=round_below))
    size = mask.shape[1]
    if round_below >= longest:  # always so in the engines
        assert size == min(-(-longest // 8) * 8, round_below)
    else:
        assert size == longest  # nothing is truncated
    for name, column in COLUMNS.items():
        if column.per_token:
            assert batch[name].shape == (len(lengths), size)
            assert np.array_equal(batch[name][:, :longest], plain[name])
            assert (batch[name][:, longest:] == column.padding).all()
        else:
            assert np.array_equal(batch[name], plain[name])
    assert np.array_equal(mask[:, :longest], plain_mask) and not mask[:, longest:].any()
    assert mask.sum(axis=1).tolist() == lengths
