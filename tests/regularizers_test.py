"""Label smoothing, focal loss, R-Drop, FGM and unfreezing: closed forms, what does not change them, exact resumes."""

import forked
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from session_engine_test import (  # noqa: F401 (two are fixtures)
    losses_and_norms,
    plan_of,
    records,
    run_and_resume,
    task,
    task_of,
)

from optimization import OptimizerConfig
from steady_bert import optimizers, rule_optimizer
from steady_bert.base.word_shift import WordShift
from steady_bert.rule_optimizer import RuleOptimizer
from steady_bert.tasks import losses
from steady_bert.tasks.losses import Distributions, LossForm
from steady_bert.training import checkpoint, passes, session_engine, towers

ALL_ON = dict(fgm_epsilon=0.5, rdrop_alpha=0.7)
FORM = LossForm(label_smoothing=0.1, focal_gamma=2.0)


def evaluated(*tensors):
    with tf.Session() as session:
        return session.run(tensors)


def test_the_losses_are_the_closed_forms():
    rng = np.random.RandomState(0)
    logits, gold = rng.normal(0, 3, (5, 4)).astype(np.float32), np.array([0, 1, 2, 3, 3])
    yes, weights = rng.randint(0, 2, (5, 4)).astype(np.float32), [1.0, 2.0, 0.5, 3.0]
    log_p = logits - np.log(np.exp(logits.astype(np.float64)).sum(axis=1, keepdims=True))
    log_s, log_not = -np.log1p(np.exp(-logits.astype(np.float64))), -np.log1p(np.exp(logits.astype(np.float64)))
    for smoothing, gamma in ((0.0, 0.0), (0.1, 0.0), (0.0, 0.5), (0.2, 2.0)):
        form = LossForm(smoothing, gamma)
        with tf.Graph().as_default():
            single = losses.softmax_loss(tf.constant(logits), tf.constant(gold), form)
            multi = losses.sigmoid_loss(tf.constant(logits), tf.constant(yes), weights, form)
            single, multi = evaluated(single, multi)
        q = (1 - smoothing) * np.eye(4)[gold] + smoothing / 4
        np.testing.assert_allclose(single, -(q * (1 - np.exp(log_p)) ** gamma * log_p).sum(axis=1), rtol=1e-5)
        y = (1 - smoothing) * yes + smoothing / 2
        by_hand = -(weights * y * np.exp(log_not) ** gamma * log_s + (1 - y) * np.exp(log_s) ** gamma * log_not)
        np.testing.assert_allclose(multi, by_hand, rtol=1e-5)


def test_a_certain_prediction_has_a_finite_gradient_of_the_focal_loss():
    with tf.Graph().as_default():
        logits = tf.constant([[200.0, 0.0], [0.0, 200.0]])
        loss = losses.softmax_loss(logits, tf.constant([0, 0]), LossForm(0.0, 0.5))
        both = losses.sigmoid_loss(logits, tf.constant([[1.0, 0.0], [0.0, 1.0]]), None, LossForm(0.0, 0.5))
        values = evaluated(loss, both, tf.gradients(loss, logits)[0], tf.gradients(both, logits)[0])
    assert all(np.isfinite(value).all() for value in values) and values[0].tolist() == [0.0, 200.0]


def test_the_divergence_is_the_mean_of_both_ways_weighted_and_summed():
    rng = np.random.RandomState(1)
    p, q = rng.normal(0, 2, (2, 3, 5, 4)).astype(np.float32)
    weight = rng.uniform(0, 2, (3, 5)).astype(np.float32)
    with tf.Graph().as_default():
        of_words = losses.divergence(Distributions(tf.constant(p), weight), Distributions(tf.constant(q), weight))
        of_labels = losses.divergence(*[losses.of_labels(tf.constant(x[:, 0])) for x in (p, q)])
        of_words, of_labels = evaluated(of_words, of_labels)

    def between(p, q):
        p, q = (np.exp(x.astype(np.float64)) / np.exp(x).sum(axis=-1, keepdims=True) for x in (p, q))
        return ((p * np.log(p / q)).sum(axis=-1) + (q * np.log(q / p)).sum(axis=-1)) / 2

    np.testing.assert_allclose(of_words, (between(p, q) * weight).sum(axis=1), rtol=1e-5)
    p, q = (np.stack([np.zeros_like(x[:, 0]), x[:, 0]], axis=-1) for x in (p, q))
    np.testing.assert_allclose(of_labels, between(p, q).mean(axis=1), rtol=1e-5)


def loss_and_gradient(task, records, shift):  # noqa: F811
    """(the sum of the losses of eight examples, its gradients by the word embeddings [8, S, H] and by the table)."""
    config = session_engine.EngineConfig(max_seq_length=16)
    with tf.Graph().as_default(), tf.variable_scope("", use_resource=True):
        batch = towers.parse(tf.constant(records["train"].read(np.arange(8))), task, config)
        given = WordShift(None if shift is None else tf.constant(shift, tf.float32))
        with towers.keyed_randomness(7, tf.constant(0, tf.int64)):
            outputs = passes.outputs(task, plan_of(records, fgm_epsilon=1.0), batch, towers.compute_of(config), given)
        loss = tf.reduce_sum(outputs.loss)
        (table,) = [variable for variable in tf.trainable_variables() if "word_embeddings" in variable.name]
        gradients = [tf.convert_to_tensor(gradient) for gradient in tf.gradients(loss, [given.value, table])]
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            return session.run([loss, *gradients])


def test_the_shift_is_epsilon_along_the_gradient_of_each_example(task, records):  # noqa: F811
    loss, gradient, of_table = loss_and_gradient(task, records, None)
    norms = np.sqrt((gradient.astype(np.float64) ** 2).sum(axis=(1, 2)))
    np.testing.assert_allclose(of_table.sum(axis=0), gradient.sum(axis=(0, 1)), atol=1e-5)
    with tf.Graph().as_default():
        (shift, without, of_tiny) = evaluated(
            passes.adversarial(tf.constant(gradient), 0.01).value,
            passes.adversarial(tf.zeros_like(gradient), 0.01).value,
            passes.adversarial(tf.constant(gradient * np.float32(1e-30)), 0.01).value,
        )
    np.testing.assert_allclose(shift, 0.01 * gradient / norms[:, None, None], atol=1e-7)
    np.testing.assert_allclose(of_tiny, shift, atol=1e-6)
    assert not without.any()
    # The loss rises by ε times the norm, as along no other direction: a finite difference, with the same masks.
    moved, back = (loss_and_gradient(task, records, sign * shift)[0] for sign in (1, -1))
    assert (moved - back) / 2 == pytest.approx(0.01 * norms.sum(), rel=0.01)


def test_a_vanishing_shift_doubles_the_gradient_and_leaves_the_loss(task, records):  # noqa: F811
    plain, moved = (
        losses_and_norms(task, plan_of(records, fgm_epsilon=epsilon), records, 1) for epsilon in (0.0, 1e-6)
    )
    np.testing.assert_allclose(moved, plain * [1, 2], rtol=1e-4)


def test_the_loss_of_r_drop_is_the_mean_of_two_passes_and_their_divergence(task, records):  # noqa: F811
    """The first pass has the masks of a run without, the second those of the dropouts that follow."""
    config = session_engine.EngineConfig(max_seq_length=16)
    compute = towers.compute_of(config)
    with tf.Graph().as_default(), tf.variable_scope("", use_resource=True, reuse=tf.AUTO_REUSE):
        batch = towers.parse(tf.constant(records["train"].read(np.arange(8))), task, config)

        def built_by(build):
            with towers.keyed_randomness(7, tf.constant(3, tf.int64)):
                return build()

        made = built_by(lambda: passes.outputs(task, plan_of(records, rdrop_alpha=5.0), batch, compute, WordShift()))
        both = built_by(lambda: [task.build(batch, True, compute) for _ in range(2)])
        plain = built_by(lambda: passes.outputs(task, plan_of(records), batch, compute, WordShift()))
        apart = losses.divergence(*[outputs.distributions for outputs in both])
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            fetched = session.run([made.loss, plain.loss, *[outputs.loss for outputs in both], apart])
    loss, without, first, second, apart = fetched
    np.testing.assert_array_equal(first, without)
    assert (first != second).all() and (apart > 0).all()
    np.testing.assert_allclose(loss, (first + second) / 2 + 5.0 * apart, rtol=1e-6)


def test_evaluation_is_that_of_a_run_without(tiny, records):  # noqa: F811
    graphs = []
    for form in (losses.CROSS_ENTROPY, FORM):
        with tf.Graph().as_default() as graph, tf.variable_scope("", use_resource=True):
            of_form, config = task_of(tiny.bert_config_file, loss_form=form), session_engine.EngineConfig()
            towers.inference_tower(
                of_form, config, 0, towers.parse(tf.placeholder(tf.string, [None]), of_form, config), {}
            )
            definition = graph.as_graph_def()
        for node in definition.node:
            node.attr.pop("_gradient_op_type", None)  # its name has a running number
        graphs.append(definition)
    assert graphs[0] == graphs[1]


def test_everything_resumes_exactly_and_a_layer_rests_until_its_step(tiny, task, records, tmp_path):  # noqa: F811
    """With slots, slow weights and averages. The resume starts while layers rest."""
    shaped = task._replace(build=task_of(tiny.bert_config_file, loss_form=FORM).build)
    plan = plan_of(records, save_checkpoints_steps=1, unfreeze_schedule="3=1,7=all", **ALL_ON)
    optimizer = OptimizerConfig(lookahead_steps=2, optimizer="adam", ema_decay=0.9)
    run_and_resume(shaped, records, tmp_path, plan, (5,), optimizer=optimizer)
    prefixes = [checkpoint.prefix_of(str(tmp_path / "whole"), step) for step in range(1, 13)]
    readers = [tf.train.load_checkpoint(prefix) for prefix in prefixes]
    starts = {"output_weights": 0, "bert/pooler/dense/kernel": 0, "bert/embeddings/LayerNorm/gamma": 7}
    starts.update({"bert/encoder/layer_0/output/dense/kernel": 3, "bert/embeddings/word_embeddings": 7})
    for name, start in starts.items():
        values = {
            key: [reader.get_tensor(name + key) for reader in readers] for key in ("", "/adam_m", "/slow", "/ema")
        }
        for step in range(1, 13):
            weight, moment, slow, average = (of_key[step - 1] for of_key in values.values())
            rests = step <= start
            assert rests == (not moment.any()), (name, step)
            if rests:
                assert np.array_equal(weight, values[""][0]) and np.array_equal(slow, weight)
                assert np.array_equal(average, weight)
        assert not np.array_equal(values[""][start], values[""][max(start - 1, 0)]) or not start


def test_the_count_of_a_rule_begins_when_its_weight_is_trained():
    """A weight that is trained from step 3 on moves as one that is trained from the start, three updates later."""

    def trained(updates, thaw_steps, overflows=0):
        with tf.Graph().as_default(), tf.variable_scope("", use_resource=True):
            step = tf.train.get_or_create_global_step()
            weight = tf.get_variable("w", initializer=tf.constant([1.0, -2.0]))
            optimizer = RuleOptimizer(
                tf.constant(0.1), optimizers.RULES["radam"](), weight_decay_rate=0.1, thaw_steps=thaw_steps
            )
            update = optimizer.apply_gradients([(tf.constant([0.3, 0.1]), weight)], global_step=step)
            with tf.Session() as session:
                session.run(tf.global_variables_initializer())
                session.run(step.assign_add(overflows))  # steps that count for no rule
                for _ in range(updates):
                    session.run(update)
                return session.run([weight, step])

    late, early = trained(10, {"w": 3}), trained(7, {})
    assert (late[1], early[1]) == (10, 7)
    np.testing.assert_array_equal(late[0], early[0])
    np.testing.assert_array_equal(trained(8, {"w": 3}, overflows=2)[0], early[0])
    assert trained(3, {"w": 3})[0].tolist() == [1.0, -2.0]


@pytest.mark.slow
def test_replicas_parts_padding_and_the_compiled_form_change_nothing(tiny, records, request):  # noqa: F811
    """Without dropout; class weights give the shares of replicas and parts different weights.

    In a process of its own: TensorFlow 2 fixes the number of CPU devices when it starts.
    """
    if forked.passed_alone(request):
        return
    still = task_of(tiny.without_dropout, class_weights=[1.0, 5.0], loss_form=FORM)
    plan = plan_of(records, num_warmup_steps=0, unfreeze_schedule="2=all", **ALL_ON)
    two = dict(distribution="mirrored", devices=("cpu:0", "cpu:1"), gradient_accumulation_steps=2)
    forms = [two, dict(padding="fixed"), dict()] + [dict(compute_form="compiled")] * rule_optimizer.has_xla()
    first, *others = (losses_and_norms(still, plan, records, 4, **settings) for settings in forms)
    assert len(set(first[:, 0])) == 4
    for other in others:
        np.testing.assert_allclose(other, first, rtol=1e-4)
