"""Whole curves, against google-research/bert's own and against the formula written once more."""

import math
import os

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from steady_bert import schedules

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden", "optimizer_trajectories.npz")


def assert_curve(rates, expected, peak):
    """Within 1e-6 of the peak, and non-zero where the formula is: a curve of zeros is close to small rates."""
    assert rates.dtype == np.float64
    assert np.abs(rates - expected).max() <= 1e-6 * peak
    assert np.all((rates > 0) == (np.asarray(expected) > 0))


@pytest.mark.parametrize("case", ["warmup10_of_50", "no_warmup", "all_warmup", "bert_mrpc"])
def test_curves_equal_upstreams(case):
    golden = np.load(GOLDEN)
    peak, steps, warmup, count = golden[case + "/hparams"]
    config = schedules.ScheduleConfig(learning_rate=peak, num_warmup_steps=int(warmup), lr_decay_steps=int(steps))
    assert_curve(schedules.learning_rates(config, np.arange(int(count))), golden[case + "/learning_rate"], peak)


def decay_by_hand(config, step, horizon):
    peak, end = config.learning_rate, config.end_learning_rate
    done = min(step, horizon) / horizon
    if config.lr_schedule == "polynomial":
        if config.decay_cycle:
            stretched = horizon
            while stretched < step:
                stretched += horizon
            done = step / stretched
        return end + (peak - end) * (1 - done) ** config.decay_power
    if config.lr_schedule == "cosine":
        return end + (peak - end) * (1 + math.cos(math.pi * done)) / 2
    if config.lr_schedule == "exponential":
        return math.exp(math.log(peak) + done * (math.log(end) - math.log(peak)))
    return peak


def rate_by_hand(config, step):
    warmup = config.num_warmup_steps
    if step < warmup:
        return config.learning_rate * step / warmup
    if config.lr_schedule == "inverse_sqrt":
        return config.learning_rate if step < max(warmup, 1) else config.learning_rate * (max(warmup, 1) / step) ** 0.5
    if config.lr_schedule == "piecewise":
        return config.lr_values[sum(boundary < step for boundary in config.lr_boundaries)]
    if config.decay_begin == "warmup_end" and config.lr_schedule not in ("constant", "plateau"):
        return decay_by_hand(config, step - warmup, max(config.lr_decay_steps - warmup, 1))
    return decay_by_hand(config, step, config.lr_decay_steps)


@hypothesis.given(
    config=st.builds(
        schedules.ScheduleConfig,
        learning_rate=st.floats(1e-6, 1.0),
        num_warmup_steps=st.integers(0, 30),
        lr_decay_steps=st.integers(1, 60),
        end_learning_rate=st.sampled_from([0.0, 1e-7]),
        decay_power=st.sampled_from([0.5, 1.0, 2.0]),
        lr_schedule=st.sampled_from(sorted(schedules.SCHEDULES)),
        decay_begin=st.sampled_from(schedules.DECAY_BEGINS),
        decay_cycle=st.booleans(),
        lr_boundaries=st.just((10, 40)),
        lr_values=st.just((0.5, 0.25, 0.125)),
    )
)
@hypothesis.settings(max_examples=200)
def test_every_step_follows_the_formula(config):
    hypothesis.assume(config.lr_schedule != "exponential" or config.end_learning_rate)
    steps = np.arange(80)  # beyond the horizon too
    expected = [rate_by_hand(config, step) for step in steps]
    rates = schedules.learning_rates(config, steps)
    assert_curve(rates, expected, max(config.learning_rate, max(config.lr_values)))
    assert np.array_equal(schedules.learning_rates(config, steps.reshape(8, 10)), rates.reshape(8, 10))


@pytest.mark.parametrize(
    "name, options",
    [
        ("polynomial", dict(decay_power=2.0)),
        ("polynomial", dict(decay_cycle=True)),
        ("cosine", {}),
        ("exponential", {}),
        ("piecewise", dict(lr_boundaries=(10, 40), lr_values=(0.5, 0.25, 0.125))),
    ],
)
def test_tensorflows_own_schedules_agree(name, options):
    peak, end, horizon = 0.5, 0.05, 30
    config = schedules.ScheduleConfig(peak, end, lr_decay_steps=horizon, lr_schedule=name, **options)
    with tf.Graph().as_default(), tf.Session() as session:
        step = tf.placeholder(tf.int32, [])
        rate = {
            "polynomial": lambda: tf.train.polynomial_decay(
                peak, step, horizon, end, power=config.decay_power, cycle=config.decay_cycle
            ),
            "cosine": lambda: tf.train.cosine_decay(peak, step, horizon, alpha=end / peak),
            "exponential": lambda: tf.train.exponential_decay(peak, tf.minimum(step, horizon), horizon, end / peak),
            "piecewise": lambda: tf.train.piecewise_constant(step, [10, 40], [0.5, 0.25, 0.125]),
        }[name]()
        expected = [session.run(rate, {step: number}) for number in range(80)]
    assert_curve(schedules.learning_rates(config, np.arange(80)), expected, peak)


def test_decay_from_the_end_of_warmup_reaches_the_peak_and_ends_at_the_horizon():
    for name in schedules.WITH_HORIZON:
        config = schedules.ScheduleConfig(
            1.0, 0.01, num_warmup_steps=10, lr_decay_steps=50, lr_schedule=name, decay_begin="warmup_end"
        )
        rates = schedules.learning_rates(config, np.arange(60))
        assert (
            rates[10] == rates.max() == 1.0 and rates[50] == pytest.approx(0.01) and np.all(np.diff(rates[10:51]) < 0)
        )


def test_plateau_reduces_after_so_many_evaluations_that_are_not_better_enough():
    scores = [0.5, 0.6, 0.6003, 0.6001, 0.59, 0.7, 0.7, 0.7, 0.7, 0.7, 0.71]
    scales, state = [], schedules.Plateau()
    for score in scores:
        state = schedules.reduced(state, score, factor=0.5, patience=2, min_delta=4e-4)
        scales.append(state.scale)
    assert scales == [1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]
    assert state.best == 0.71 and state.evaluations == 0
