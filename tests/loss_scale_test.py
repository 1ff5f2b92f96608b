"""float16: the loss scale follows overflows, which move nothing else, and a resumed run ends in the same bits."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from conftest import start_cheap_sessions
from session_engine_test import assert_equal, built, plan_of, records, run, task, trained_by  # noqa: F401  # fixtures
from sparse_and_compiled_updates_test import WAYS, assert_close, compiling

from optimization import OptimizerConfig
from steady_bert import loss_scale, rule_optimizer
from steady_bert.base.errors import UserError
from steady_bert.optimizers import RULES, lookahead
from steady_bert.rule_optimizer import RuleOptimizer
from steady_bert.training import checkpoint, session_engine, towers

needs_xla = pytest.mark.skipif(not rule_optimizer.has_xla(), reason="compiles from TF 2.15 on")


def test_the_scale_doubles_after_good_updates_and_halves_at_an_overflow_within_its_bounds(monkeypatch):
    monkeypatch.setattr(loss_scale, "GROWTH_UPDATES", 3)
    start = loss_scale.LossScale(2.0**23, 0, 0)
    with tf.Graph().as_default(), tf.Session() as session:
        fed = loss_scale.LossScale(*[tf.placeholder(dtype, []) for dtype in (tf.float32, tf.int64, tf.int64)])
        finite = tf.placeholder(tf.bool, [])
        after = loss_scale.after(fed, finite)

        def following(values, outcomes):
            seen = []
            for outcome in outcomes:
                values = session.run(after, {**dict(zip(fed, values)), finite: outcome == "+"})
                seen.append((np.log2(values.loss_scale), values.good_updates))
            return seen, values.overflows

        seen, overflows = following(start, "++++++-++-")
        assert seen == [(23, 1), (23, 2), (24, 0), (24, 1), (24, 2), (24, 0), (23, 0), (23, 1), (23, 2), (22, 0)]
        assert overflows == 2
        assert following(loss_scale.LossScale(2.0, 2, 5), "--+") == ([(0, 0), (0, 0), (0, 1)], 7)


def trained(way, gradients, scaled):
    """Everything that is kept, after updates by these gradients of a matrix, dense and of some of its rows."""
    with tf.Graph().as_default(), tf.Session() as session:
        with tf.variable_scope("", use_resource=True):
            dense = tf.get_variable("dense/kernel", initializer=np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3))
            table = tf.get_variable("table", initializer=np.linspace(1, 2, 12, dtype=np.float32).reshape(4, 3))
            scale = loss_scale.variables() if scaled else None
            fed = tf.placeholder(tf.float32, [4, 3])
            factor = scale.loss_scale if scaled else 1.0
            rows = tf.IndexedSlices(fed[:3] * factor, tf.constant([2, 0, 2]), tf.constant([4, 3]))
            rule = lookahead(RULES["radam"](), 2, 0.5)
            optimizer = RuleOptimizer(
                tf.constant(0.1), rule, 0.01, clip_norm=1.0, ema_decay=0.9, scale=scale, **compiling(way)
            )
            step = tf.train.get_or_create_global_step()
            train_op = optimizer.apply_gradients([(fed * factor, dense), (rows, table)], step)
        session.run(tf.global_variables_initializer())
        for gradient in gradients:
            norm = session.run([train_op, optimizer.grad_norm], {fed: gradient})[1]
        return session.run({v.op.name: v for v in tf.global_variables()}), norm


@pytest.mark.parametrize("way", WAYS)
def test_an_overflow_moves_nothing_but_the_step_and_a_scale_changes_no_bit(way):
    rng = np.random.RandomState(3)
    good = [rng.randn(4, 3).astype(np.float32) * size for size in (1.0, 0.01, 3.0, 0.1)]
    bad = good[0] * np.where(np.arange(3) == 1, np.inf, 1.0).astype(np.float32)
    plain, norm = trained(way, good, scaled=False)
    kept, norm_under_scale = trained(way, [bad, good[0], bad * np.nan, good[1], good[2], bad, good[3]], scaled=True)
    state = {name: kept.pop(name) for name in list(kept) if name.startswith("training_state/")}
    assert kept.pop("global_step") == 7 and plain.pop("global_step") == 4
    (updates,) = [value for name, value in kept.items() if name.endswith("/updates")]
    assert updates == 4
    if way:  # XLA may fuse the choice between before and after into the equation
        assert_close(kept, plain)
        assert norm == pytest.approx(norm_under_scale, rel=1e-6)
    else:
        assert_equal(plain, kept)
        assert norm == norm_under_scale
    assert list(state.values()) == [2.0**12, 1, 3]


def test_a_scale_changes_no_bit_of_gradients_that_are_summed_over_parts():
    """Of a batch whose size is no power of two."""
    rows = np.random.RandomState(4).randn(12, 5).astype(np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        weight = tf.get_variable("weight", initializer=np.linspace(-1, 1, 5, dtype=np.float32), use_resource=True)

        def build_part(part, shift):
            losses = tf.sigmoid(tf.linalg.matvec(rows[4 * part : 4 * part + 4], weight))
            return towers._Sums(tf.reduce_sum(losses), tf.constant(4.0))

        one_replica = SimpleNamespace(sum=tf.identity)
        making, first = towers._Gradients(build_part, [weight], 0.0), towers._Part(build_part(0, None), None)
        plain, scaled = (
            towers._accumulated(making, first, 3, one_replica, factor, 12)[1][0]
            for factor in (None, tf.constant(2.0**15))
        )
        session.run(weight.initializer)
        plain, scaled = session.run([plain, scaled])
    assert plain.any() and np.array_equal(plain * np.float32(2.0**15), scaled)


STATE = OptimizerConfig(lookahead_steps=3, optimizer="radam", ema_decay=0.9)


@pytest.mark.parametrize(
    "form",
    [
        "fast",
        pytest.param("compiled", marks=[needs_xla, pytest.mark.slow]),
    ],
)
def test_a_run_in_float16_resumes_bitwise_after_an_overflow_and_while_the_scale_grows(
    task,  # noqa: F811
    records,  # noqa: F811
    tmp_path,
    monkeypatch,
    form,
):
    """From a scale at which the first updates overflow, with everything that has a state."""
    monkeypatch.setattr(loss_scale, "INITIAL", 2.0**32)
    monkeypatch.setattr(loss_scale, "CEILING", 2.0**40)
    monkeypatch.setattr(loss_scale, "GROWTH_UPDATES", 4)
    plan = plan_of(records, save_checkpoints_steps=1, lr_schedule="plateau", plateau_patience=1, plateau_min_delta=0.5)
    settings = dict(optimizer=STATE, gradient_accumulation_steps=2, precision="float16", log_every_steps=1)
    settings["compute_form"] = form
    if form == "fast":  # compiled updates have tests above, and the other form
        monkeypatch.setattr(rule_optimizer, "_can_compile", lambda variables: False)
        start_cheap_sessions(monkeypatch)
    engine = built(task, plan, **settings)
    whole = trained_by(engine, records, tmp_path / "whole", plan)
    with open(str(tmp_path / "whole" / "metrics.jsonl")) as file:
        lines = [line for line in map(json.loads, file) if line["split"] == "train"]
    cancelled = [line["grad_norm"] == 0.0 for line in lines]
    assert cancelled[0] and not all(cancelled) and sum(cancelled) == lines[-1]["overflows"]
    assert any(later["loss_scale"] > line["loss_scale"] for line, later in zip(lines, lines[1:]))
    assert whole["global_step"] == 12 and whole["training_state/examples_consumed"] == 12 * 16
    (updates,) = [value for name, value in whole.items() if name.endswith("/updates")]
    assert updates == 12 - sum(cancelled)
    half = checkpoint.prefix_of(str(tmp_path / "whole"), cancelled.index(False) + 2)
    assert tf.train.load_checkpoint(half).get_tensor("training_state/good_updates") == 2
    assert_equal(whole, trained_by(engine, records, tmp_path / "resumed", plan, half))
    session_engine.close(engine)


def test_a_folder_goes_on_in_float16_and_an_overflow_at_the_floor_stops_before_anything_is_saved(
    task,  # noqa: F811
    records,  # noqa: F811
    tmp_path,
    monkeypatch,
):
    """The folder's checkpoints have no scale, so it starts at its initial value: updates 3 and 4 overflow above 2³⁸."""
    monkeypatch.setattr(loss_scale, "INITIAL", 2.0**40)
    monkeypatch.setattr(loss_scale, "FLOOR", 2.0**38)
    monkeypatch.setattr(rule_optimizer, "_can_compile", lambda variables: False)
    start_cheap_sessions(monkeypatch)
    plan = plan_of(records, save_checkpoints_steps=1, num_warmup_steps=1, early_stopping_patience=0, eval_every_steps=0)
    two = dataclasses.replace(plan, num_train_steps=2)
    run(task, records, tmp_path, two, compute_form="plain")
    half = checkpoint.prefix_of(str(tmp_path), 2)
    with pytest.raises(UserError) as error:
        run(task, records, tmp_path, plan, half, precision="float16", compute_form="plain")
    assert "grad_norm of the update from step 4 is not finite" in str(error.value)
    assert "--precision=bfloat16" in str(error.value)
    assert checkpoint.steps_in(str(tmp_path)) == [4, 3, 2, 1]
    state = checkpoint.state_in(checkpoint.prefix_of(str(tmp_path), 4))
    assert state.examples_consumed == 4 * plan.train_batch_size
    kept, before = (tf.train.load_checkpoint(checkpoint.prefix_of(str(tmp_path), step)) for step in (4, 2))
    assert kept.get_tensor("training_state/overflows") == 2
    assert np.array_equal(kept.get_tensor("output_weights"), before.get_tensor("output_weights"))
