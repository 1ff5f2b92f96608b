"""Whole curves, against google-research/bert's own and against the formula written once more."""

import os

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

import schedules

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


def rate_by_hand(config, step):
    if step < config.num_warmup_steps:
        return config.learning_rate * step / config.num_warmup_steps
    left = max(0.0, (config.lr_decay_steps - step) / config.lr_decay_steps)
    return config.end_learning_rate + (config.learning_rate - config.end_learning_rate) * left**config.decay_power


@hypothesis.given(
    config=st.builds(
        schedules.ScheduleConfig,
        learning_rate=st.floats(1e-6, 1.0),
        num_warmup_steps=st.integers(0, 30),
        lr_decay_steps=st.integers(1, 60),
        end_learning_rate=st.sampled_from([0.0, 1e-7]),
        decay_power=st.sampled_from([0.5, 1.0, 2.0]),
    )
)
@hypothesis.settings(deadline=None)
def test_every_step_follows_the_formula(config):
    steps = np.arange(80)  # beyond the horizon too
    expected = [rate_by_hand(config, step) for step in steps]
    rates = schedules.learning_rates(config, steps)
    assert_curve(rates, expected, config.learning_rate)
    assert rates[-1] == pytest.approx(config.end_learning_rate, abs=1e-12)
    assert np.array_equal(schedules.learning_rates(config, steps.reshape(8, 10)), rates.reshape(8, 10))
