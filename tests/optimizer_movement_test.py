"""How far the optimizers move: closed forms, the rate that moves as far, and what the plan says of it."""

import dataclasses

import numpy as np
import pytest

from steady_bert import optimizer_movement, optimizers
from steady_bert.base.errors import UserError
from steady_bert.optimizer_config import OptimizerConfig
from steady_bert.optimizer_movement import automatic_rate, describe, of_run, reach
from steady_bert.optimizers import RULES, lookahead
from steady_bert.schedules import ScheduleConfig

STEPS = 400
LINEAR = ScheduleConfig(num_warmup_steps=STEPS // 10, lr_decay_steps=STEPS)  # the original's
T = np.arange(1, STEPS + 1)
MU, B1, B2 = 0.9, 0.9, 0.999


def adams(g, epsilon):
    return (1 - B1**T) * g / (np.sqrt(1 - B2**T) * g + epsilon)


CORRECTION = np.sqrt(1 - B2**T) / (1 - B1**T)
CLOSED_FORMS = {
    "sgd": lambda g: np.full(STEPS, g),
    "momentum": lambda g: g * (1 - MU**T) / (1 - MU),
    "nag": lambda g: g + MU * g * (1 - MU**T) / (1 - MU),
    "adagrad": lambda g: g / np.sqrt(0.1 + T * g**2),
    "rmsprop": lambda g: g / np.sqrt(0.9**T + (1 - 0.9**T) * g**2 + 1e-10),
    "adamw": lambda g: adams(g, 1e-6),
    "adam": lambda g: adams(g, 1e-8) * CORRECTION,
    "amsgrad": lambda g: adams(g, 1e-8) * CORRECTION,
    "lazyadam": lambda g: adams(g, 1e-8) * CORRECTION,
    # the weight's norm over that of u, where all gradients but this weight's are noise
    "lamb": lambda g: 0.04 * (1 - B1**T) / np.sqrt((1 - B1) / (1 + B1) * (1 - B1 ** (2 * T))),
}


@pytest.mark.parametrize("name", sorted(CLOSED_FORMS))
@pytest.mark.parametrize("gradient", [1e-4, 1.0])
def test_what_each_update_moves(name, gradient):
    expected = CLOSED_FORMS[name](gradient)
    assert reach(RULES[name](), STEPS, gradient, 0.04) == pytest.approx(expected, rel=1e-9)


def test_movements_that_can_be_counted_by_hand():
    """At a constant rate: sgd T g; momentum g/(1-μ) · (T - μ (1-μ^T)/(1-μ)); adam T, whatever the gradient."""
    assert np.sum(reach(RULES["sgd"](), 12, 0.5)) == 6.0
    expected = 0.5 / (1 - MU) * (12 - MU * (1 - MU**12) / (1 - MU))
    assert np.sum(reach(RULES["momentum"](), 12, 0.5)) == pytest.approx(expected)
    for gradient in (0.5, 50.0):
        assert np.sum(reach(RULES["adam"](), 12, gradient)) == pytest.approx(12, rel=1e-5)
    assert reach(RULES["adamw"](), 1, 1.0)[0] == pytest.approx(0.1 / np.sqrt(0.001), rel=1e-4)
    assert reach(RULES["lamb"](), 1, weight=0.3)[0] == pytest.approx(0.3)
    assert reach(RULES["lamb"](), 200, weight=0.3)[-1] == pytest.approx(0.3 * np.sqrt(1.9 / 0.1), rel=1e-6)
    assert not reach(RULES["radam"](), 5).any() and reach(RULES["radam"](), 6)[-1] > 0


def test_lookahead_keeps_its_share_of_what_was_moved_between_synchronisations():
    moved = np.sum(reach(lookahead(RULES["sgd"](), 5, 0.3), 12, 1.0))
    assert moved == pytest.approx(0.3 * 10 + 2)  # the last two updates come after the last synchronisation
    ranger = lookahead(optimizers.radam(0.95, 0.999, 1e-5), 6, 0.5)
    assert np.array_equal(reach(RULES["ranger"](), STEPS), reach(ranger, STEPS))


SCHEDULES = {
    "linear": LINEAR,
    "no warm-up": ScheduleConfig(lr_decay_steps=STEPS),
    "begin": dataclasses.replace(LINEAR, decay_begin="warmup_end", decay_power=2.0),
    "end": dataclasses.replace(LINEAR, end_learning_rate=1e-6),
    "cycle": dataclasses.replace(LINEAR, lr_decay_steps=90, decay_cycle=True, end_learning_rate=1e-6),
    "cosine": dataclasses.replace(LINEAR, lr_schedule="cosine", end_learning_rate=2e-6),
    "exponential": dataclasses.replace(LINEAR, lr_schedule="exponential", end_learning_rate=1e-7),
    "constant": ScheduleConfig(lr_schedule="constant", num_warmup_steps=30),
    "inverse_sqrt": ScheduleConfig(lr_schedule="inverse_sqrt", num_warmup_steps=30),
    "plateau": ScheduleConfig(lr_schedule="plateau", end_learning_rate=1e-7),
}


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_the_automatic_rate_moves_as_far(schedule):
    configs = [OptimizerConfig(optimizer=name) for name in RULES]
    configs.append(OptimizerConfig(lookahead_steps=7, lookahead_alpha=0.2, adam_beta1=0.5))
    for config in configs:
        rate = automatic_rate(config, SCHEDULES[schedule], STEPS)
        share = of_run(config, dataclasses.replace(SCHEDULES[schedule], learning_rate=rate), STEPS).share
        assert share == pytest.approx(1.0, abs=0.006), config.optimizer  # rounded to three digits


@pytest.mark.parametrize("steps", [1, 9, 120, 5000])
def test_the_measure_is_adamw_with_the_originals_numbers(steps):
    schedule = ScheduleConfig(num_warmup_steps=int(steps * 0.1), lr_decay_steps=steps, learning_rate=0.3)
    assert automatic_rate(OptimizerConfig(), schedule, steps) == 5e-5
    assert of_run(OptimizerConfig(), schedule, steps).share == pytest.approx(6000)


def test_what_the_rate_depends_on():
    def rate(schedule=LINEAR, **changed):
        return automatic_rate(OptimizerConfig(**changed), schedule, STEPS)

    linear, constant = rate(optimizer="sgd"), rate(ScheduleConfig(lr_schedule="constant"), optimizer="sgd")
    # the mean of a linear decay after n = T/10 updates of warm-up is (n/T)/2 + (1-n/T)²/2
    assert constant / linear == pytest.approx(0.05 + 0.9**2 / 2, rel=0.01)
    assert rate(optimizer="sgd", clip_norm=0.1) == pytest.approx(10 * linear, rel=0.01)
    assert rate(optimizer="sgd", clip_norm=7.0) == rate(optimizer="sgd", clip_norm=0.0) == linear
    assert rate(lookahead_steps=4, lookahead_alpha=0.25) == pytest.approx(2e-4)
    unmoved = dict(ema_decay=0.99, layerwise_lr_decay=0.9, lr_multipliers=(("bilstm", 10.0),), weight_decay_rate=0.1)
    assert rate(optimizer="radam", **unmoved) == rate(optimizer="radam")
    assert rate(optimizer="momentum", momentum=0.5) == pytest.approx(5 * rate(optimizer="momentum"), rel=0.1)


def test_a_fifth_is_the_least_that_is_not_warned_about():
    def said(rate, **changed):
        schedule = dataclasses.replace(LINEAR, learning_rate=rate)
        return describe(OptimizerConfig(**changed), schedule, STEPS)

    assert said(5e-5)[1] is None and said(1e-5)[1] is None
    assert "--learning_rate=5e-05, or auto" in said(0.99e-5)[1]
    line, warning = said(5e-5, optimizer="ranger")
    rate = automatic_rate(OptimizerConfig(optimizer="ranger"), LINEAR, STEPS)
    assert "ranger" in warning and "--learning_rate={:g}".format(rate) in warning and "400 updates" in warning
    assert "--learning_rate={:g}".format(rate) in line and said(rate, optimizer="ranger")[1] is None
    assert "lookahead(adamw)" in said(1e-6, lookahead_steps=5)[1]
    schedule = dataclasses.replace(LINEAR, learning_rate=1e-6)
    assert describe(OptimizerConfig(), schedule, STEPS, begun=True)[1].endswith("or auto, to a run in another folder.")


def test_the_plan_says_which_rules_move_by_the_size_of_gradients():
    said = {name for name in RULES if "by which" in describe(OptimizerConfig(optimizer=name), LINEAR, 120)[0]}
    assert said == {"sgd", "momentum", "nag", "adagrad", "rmsprop"}


def test_rates_of_piecewise_are_multiplied():
    values = dict(lr_schedule="piecewise", lr_boundaries=(200,), lr_values=(1e-6, 5e-7), learning_rate=1e-6)
    line, warning = describe(OptimizerConfig(optimizer="adam"), ScheduleConfig(**values), STEPS)
    factor = float(warning.split("Multiply --lr_values by ")[1].rstrip("."))
    raised = ScheduleConfig(**dict(values, lr_values=(1e-6 * factor, 5e-7 * factor), learning_rate=1e-6 * factor))
    assert of_run(OptimizerConfig(optimizer="adam"), raised, STEPS).share == pytest.approx(1.0, abs=0.006)
    assert "auto" not in line + warning


def test_where_no_rate_moves_as_far():
    radam = OptimizerConfig(optimizer="radam")
    with pytest.raises(UserError, match="auto: radam moves nothing in 5 updates"):
        automatic_rate(radam, ScheduleConfig(lr_decay_steps=5), 5)
    assert "Raise --num_train_steps" in describe(radam, ScheduleConfig(lr_decay_steps=5), 5)[1]
    high = dataclasses.replace(LINEAR, learning_rate=1.0, end_learning_rate=1.0)
    with pytest.raises(UserError, match="--end_learning_rate=1 moves adamw farther than .* Lower"):
        automatic_rate(OptimizerConfig(), high, STEPS)
    assert describe(OptimizerConfig(), high, STEPS)[1] is None
    still = ScheduleConfig(lr_decay_steps=5, end_learning_rate=1e-6)  # decayed before radam's first movement
    with pytest.raises(UserError, match="--end_learning_rate=1e-06 moves radam less far than .* Raise"):
        automatic_rate(radam, still, STEPS)
    assert "Raise --end_learning_rate." in describe(radam, still, STEPS)[1]


def test_a_long_run_is_planned_at_once():
    steps = 10**6
    schedule = ScheduleConfig(num_warmup_steps=steps // 10, lr_decay_steps=steps)
    assert automatic_rate(OptimizerConfig(optimizer="adadelta"), schedule, steps) < 1.0
    assert optimizer_movement.measure(steps) == pytest.approx(5e-5 * steps * 0.455, rel=0.02)
