"""The update against google-research/bert's own trajectories, and what upstream got wrong."""

import os

import forked
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import optimization
from steady_bert import optimizers, rule_optimizer, schedules
from steady_bert.base.errors import UserError

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden", "optimizer_trajectories.npz")
CASES = ("warmup10_of_50", "no_warmup", "all_warmup")


@pytest.fixture(scope="module")
def golden():
    return dict(np.load(GOLDEN))


def assert_close(actual, expected, tolerance):
    """By scale: float32 twins of these trajectories differ by 1e-4 in single elements, 2e-7 of the scale."""
    assert np.abs(np.asarray(actual) - expected).max() <= max(tolerance * np.abs(expected).max(), 1e-7)


def build_regression(golden, case, use_resource=True):
    """The small regression of the golden file, with its initial weights."""
    scope = tf.variable_scope("", use_resource=use_resource)
    with scope:
        kernel = tf.get_variable("dense/kernel", initializer=golden[case + "/kernel0"])
        bias = tf.get_variable("dense/bias", initializer=golden[case + "/bias0"])
        gamma = tf.get_variable("LayerNorm/gamma", initializer=golden[case + "/gamma0"])
        x, y = tf.constant(golden[case + "/X"]), tf.constant(golden[case + "/Y"])
        loss = tf.reduce_mean(tf.square((tf.matmul(x, kernel) + bias) * gamma - y))
    return {"kernel": kernel, "bias": bias, "gamma": gamma}, loss


def update_of(loss, rate, config, step=None):
    variables = optimization.trained_variables(config)
    step = tf.train.get_or_create_global_step() if step is None else step
    return optimization.create_update(tf.gradients(loss, variables), variables, rate, config, step)


@pytest.mark.parametrize("use_resource", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_create_optimizer_follows_upstreams_trajectory(golden, case, use_resource):
    peak, steps, warmup, count = golden[case + "/hparams"]
    with tf.Graph().as_default(), tf.Session() as session:
        variables, loss = build_regression(golden, case, use_resource)
        with tf.variable_scope("", use_resource=use_resource):
            train_op = optimization.create_optimizer(loss, peak, int(steps), int(warmup), False)
        norm = tf.global_norm(tf.gradients(loss, list(variables.values())))
        rate = session.graph.get_tensor_by_name("learning_rate:0")
        session.run(tf.global_variables_initializer())
        for step in range(int(count)):
            assert session.run(tf.train.get_global_step()) == step
            assert_close(session.run(rate), golden[case + "/learning_rate"][step], 1e-6)
            assert_close(session.run(loss), golden[case + "/loss"][step], 1e-6)
            assert_close(session.run(norm), golden[case + "/grad_norm"][step], 1e-6)
            session.run(train_op)
            for name, value in session.run(variables).items():
                assert_close(value, golden["{}/{}".format(case, name)][step], 1e-6)


@pytest.mark.parametrize("case", CASES)
def test_the_slots_equal_upstreams_after_the_whole_trajectory(golden, case):
    """Fed upstream's float32 rates: the last bit of a rate alone moves a slot by up to 1.8e-6 of its scale."""
    rates = golden[case + "/learning_rate"].astype(np.float64)
    with tf.Graph().as_default(), tf.Session() as session:
        _, loss = build_regression(golden, case)
        config = optimization.OptimizerConfig()
        step = tf.train.get_or_create_global_step()
        update = update_of(loss, tf.gather(tf.constant(rates, tf.float32), step), config, step)
        session.run(tf.global_variables_initializer())
        for _ in rates:
            session.run(update.train_op)
        slots = {v.op.name: session.run(v) for v in tf.global_variables() if "adam_" in v.op.name}
    assert sorted(slots) == sorted(k[len(case) + 1 :] for k in golden if k.startswith(case) and "adam_" in k)
    for name, slot in slots.items():
        assert_close(slot, golden["{}/{}".format(case, name)], 1e-6)


def test_the_first_update_of_a_warm_up_uses_rate_0_every_time(golden):
    with tf.Graph().as_default():
        variables, loss = build_regression(golden, "warmup10_of_50")
        train_op = optimization.create_optimizer(loss, 0.05, 50, 10, False)
        initialize = tf.global_variables_initializer()
        for _ in range(20):
            with tf.Session() as session:
                session.run(initialize)
                before = session.run(variables)
                session.run(train_op)
                after = session.run(variables)
                assert all(np.array_equal(before[name], after[name]) for name in before)
                session.run(train_op)
                assert not np.array_equal(before["kernel"], session.run(variables["kernel"]))


def test_rate_0_and_decay_0_change_nothing_over_20_steps(golden):
    with tf.Graph().as_default(), tf.Session() as session:
        variables, loss = build_regression(golden, "no_warmup")
        config = optimization.OptimizerConfig(weight_decay_rate=0.0)
        step = tf.train.get_or_create_global_step()
        update = update_of(loss, tf.zeros([]), config, step)
        session.run(tf.global_variables_initializer())
        before = session.run(variables)
        for _ in range(20):
            session.run(update.train_op)
        assert session.run(step) == 20
        assert all(np.array_equal(before[name], value) for name, value in session.run(variables).items())


@pytest.mark.parametrize("use_resource", [False, True])
def test_no_weight_moves_while_a_gradient_is_still_being_computed(use_resource):
    """With the clip off, nothing else makes an update wait, and reference variables are read where they lie."""

    def trained():
        rng = np.random.RandomState(0)
        with tf.Graph().as_default(), tf.variable_scope("", use_resource=use_resource), tf.Session() as session:
            layer = tf.constant(rng.randn(64, 256).astype(np.float32))
            for number in range(6):
                initial = 0.06 * rng.randn(256, 256).astype(np.float32)
                layer = tf.tanh(tf.matmul(layer, tf.get_variable("w{}".format(number), initializer=initial)))
            loss = tf.reduce_sum(tf.square(layer))
            config = optimization.OptimizerConfig(clip_norm=0.0)
            step = tf.train.get_or_create_global_step()
            update = update_of(loss, tf.constant(0.05), config, step)
            session.run(tf.global_variables_initializer())
            for _ in range(20):
                session.run(update.train_op)
            return session.run(tf.trainable_variables())

    first, second = trained(), trained()
    assert all(np.array_equal(a, b) for a, b in zip(first, second))


def test_apply_gradients_reads_a_one_shot_iterator_and_leaves_global_step_alone(golden):
    with tf.Graph().as_default(), tf.Session() as session:
        variables, loss = build_regression(golden, "no_warmup")
        step = tf.train.get_or_create_global_step()
        optimizer = optimization.AdamWeightDecayOptimizer(
            0.01, weight_decay_rate=0.01, exclude_from_weight_decay=["bias"]
        )
        train_op = optimizer.apply_gradients(
            zip(tf.gradients(loss, tf.trainable_variables()), tf.trainable_variables()), step
        )
        assert optimizer._do_use_weight_decay("dense/kernel") and not optimizer._do_use_weight_decay("dense/bias")
        assert optimizer._get_variable_name("dense/kernel:0") == "dense/kernel"
        session.run(tf.global_variables_initializer())
        before = session.run(variables)
        for _ in range(3):
            session.run(train_op)
        assert session.run(step) == 0
        assert all(not np.array_equal(before[name], value) for name, value in session.run(variables).items())


def test_attributes_set_after_construction_count(golden):
    changed = dict(learning_rate=0.02, weight_decay_rate=0.3, beta_1=0.5, beta_2=0.7, epsilon=1e-2)
    changed["exclude_from_weight_decay"] = ["kernel"]

    def trained(optimizer):
        with tf.Graph().as_default(), tf.Session() as session:
            variables, loss = build_regression(golden, "no_warmup")
            train_op = optimizer.apply_gradients(zip(tf.gradients(loss, tf.trainable_variables()), variables.values()))
            session.run(tf.global_variables_initializer())
            for _ in range(5):
                session.run(train_op)
            return session.run(variables["kernel"])

    default = dict(learning_rate=0.01, weight_decay_rate=0.1)
    unchanged = trained(optimization.AdamWeightDecayOptimizer(**default))
    for name, value in changed.items():
        optimizer = optimization.AdamWeightDecayOptimizer(**default)
        setattr(optimizer, name, value)
        weights = trained(optimizer)
        given = trained(optimization.AdamWeightDecayOptimizer(**dict(default, **{name: value})))
        assert np.array_equal(weights, given), name
        assert not np.array_equal(weights, unchanged), name


def test_the_rates_of_ten_million_steps_are_not_in_the_graph(golden):
    with tf.Graph().as_default() as graph, tf.Session() as session:
        _, loss = build_regression(golden, "no_warmup")
        optimization.create_optimizer(loss, 0.01, 10**7, 10**5, False)
        assert graph.as_graph_def().ByteSize() < 10**6
        session.run(tf.global_variables_initializer())
        step = tf.train.get_global_step()
        for number, rate in [(0, 0.0), (1, 1e-7), (10**5, 0.0099), (10**7 - 1, 1e-9), (10**7 + 5, 0.0)]:
            session.run(tf.assign(step, number))
            assert session.run("learning_rate:0") == pytest.approx(rate, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize(
    "fields",
    [
        dict(lr_schedule="constant"),
        dict(lr_schedule="cosine", decay_begin="warmup_end"),
        dict(lr_schedule="exponential", end_learning_rate=1e-3),
        dict(lr_schedule="inverse_sqrt"),
        dict(lr_schedule="piecewise", lr_boundaries=(7000, 90000), lr_values=(1.0, 0.5, 0.1)),
        dict(lr_schedule="polynomial"),
        dict(lr_schedule="polynomial", decay_cycle=True, decay_power=2.0, end_learning_rate=0.01),
    ],
    ids=lambda fields: fields["lr_schedule"] + "_cycle" * ("decay_cycle" in fields),
)
def test_a_graph_computes_the_rates_of_a_long_run_as_numpy_does(fields):
    """Every step, and some beyond the last. Float32 rates may differ in the last bit, where float64 ones do."""
    steps, horizon = 150000, 60000 if "decay_cycle" in fields else 150000
    numbers = dict(learning_rate=0.5, num_warmup_steps=5000, lr_decay_steps=horizon)
    config = schedules.ScheduleConfig(**numbers, **fields)
    expected = schedules.learning_rates(config, np.minimum(np.arange(steps + 9), steps - 1)).astype(np.float32)
    with tf.Graph().as_default() as graph, tf.Session() as session:
        rate = schedules.rate_in_graph(config, tf.constant(np.arange(steps + 9)), steps - 1)
        assert not [op for op in graph.get_operations() if op.type.startswith("Gather")]
        np.testing.assert_allclose(session.run(rate), expected, rtol=1.2e-7)
    assert np.count_nonzero(expected) == steps + 8


def test_a_second_optimizer_in_one_graph_has_slots_of_its_own(golden):
    with tf.Graph().as_default(), tf.Session() as session:
        _, loss = build_regression(golden, "no_warmup")
        first = optimization.create_optimizer(loss, 0.01, 10, 0, False)
        second = optimization.create_optimizer(loss, 0.01, 10, None, False)  # upstream's other way to say no warm-up
        session.run(tf.global_variables_initializer())
        session.run(first)
        session.run(second)
        assert session.run(tf.train.get_global_step()) == 2
        assert len([v for v in tf.global_variables() if "adam_m" in v.op.name]) == 6


def numpy_adamw(w, gradients, rate, decay, correct, b1=0.9, b2=0.999, epsilon=1e-6):
    """A float64 twin of the rule."""
    m = v = np.zeros_like(w)
    for t, g in enumerate(gradients, 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        u = m / (np.sqrt(v) + epsilon)
        if correct:
            u = u * np.sqrt(1 - b2**t) / (1 - b1**t)
        w = w - rate * (u + decay * w)
    return w


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("correct", [False, True])
def test_the_rule_equals_its_float64_twin_over_30_random_steps(sparse, correct):
    rng = np.random.RandomState(3)
    w0 = rng.randn(6, 4)
    rows = np.array([0, 2, 2, 5, 2])  # with duplicates
    values = rng.randn(30, 5, 4)
    dense = np.zeros((30, 6, 4))
    for step in range(30):
        np.add.at(dense[step], rows, values[step])
    with tf.Graph().as_default(), tf.Session() as session:
        w = tf.get_variable("w", initializer=w0.astype(np.float32), use_resource=True)
        fed = tf.placeholder(tf.float32, [5, 4] if sparse else [6, 4])
        gradient = tf.IndexedSlices(fed, tf.constant(rows), tf.constant([6, 4])) if sparse else fed
        rule = optimizers.adamw(bias_correction=correct)
        optimizer = rule_optimizer.RuleOptimizer(0.01, rule, weight_decay_rate=0.1)
        train_op = optimizer.apply_gradients([(gradient, w)])
        session.run(tf.global_variables_initializer())
        for step in range(30):
            session.run(train_op, {fed: values[step] if sparse else dense[step]})
        actual = session.run(w)
    expected = numpy_adamw(w0, dense, 0.01, 0.1, correct)
    assert np.abs(actual - expected).max() <= 2e-6 * np.abs(expected).max()


def test_the_clip_counts_duplicate_rows_as_one():
    """Four lookups of one row: the dense gradient has norm 5.66, upstream's clip saw 2.83."""
    with tf.Graph().as_default(), tf.Session() as session:
        table = tf.get_variable("table", initializer=np.ones((3, 2), np.float32), use_resource=True)
        loss = tf.reduce_sum(tf.gather(table, [1, 1, 1, 1]))
        update = update_of(loss, tf.ones([]), optimization.OptimizerConfig())
        session.run(tf.global_variables_initializer())
        assert session.run(update.grad_norm) == pytest.approx(np.sqrt(2 * 16), rel=1e-6)


def test_a_given_pattern_that_matches_nothing_is_refused(golden):
    with tf.Graph().as_default():
        _, loss = build_regression(golden, "no_warmup")
        config = optimization.OptimizerConfig(no_decay_patterns=("LayerNrom",), no_decay_patterns_given=True)
        with pytest.raises(UserError, match="'LayerNrom' matches no variable"):
            update_of(loss, tf.ones([]), config)


DATA = np.random.RandomState(0).randn(8, 3).astype(np.float32) * np.float32([[30]] + [[1]] * 7)
CLIPPED = [(0.0, {}), (1.0, {})] + [(1.0, dict(optimizer=name)) for name in optimizers.RULES]
CLIPPED += [(1.0, dict(optimizer=name, lookahead_steps=2)) for name in ("adamw", "lazyadam", "sgd")]


def norm_of_update(clip, options):
    """The norm of a replica's gradients, once the weight has moved."""
    context = tf.distribute.get_replica_context()
    n = 8 // context.num_replicas_in_sync
    step = tf.get_variable(
        "step",
        [],
        tf.int64,
        initializer=tf.zeros_initializer(),
        trainable=False,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )
    x = tf.slice(tf.constant(DATA), tf.stack([context.replica_id_in_sync_group * n, 0]), [n, 3])
    w = tf.get_variable("w", initializer=np.eye(3, dtype=np.float32))
    loss = tf.reduce_sum(tf.square(tf.matmul(x, w) - 1.0)) / 8
    config = optimization.OptimizerConfig(clip_norm=clip, **options)
    rate = tf.gather(tf.constant(np.linspace(0.1, 0.01, 10), tf.float32), tf.identity(step))
    update = optimization.create_update(tf.gradients(loss, [w]), [w], rate, config, step)
    with tf.control_dependencies([update.train_op]):
        return tf.identity(update.grad_norm)


def trained_on_replicas(devices):
    """(the weight, the norms of its gradients) of each case, all in one graph."""
    if hasattr(tf.config, "set_logical_device_configuration"):
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    one = len(devices) == 1
    strategy = tf.distribute.OneDeviceStrategy(devices[0]) if one else tf.distribute.MirroredStrategy(devices)

    def replica():
        norms = []
        for number, case in enumerate(CLIPPED):
            with tf.variable_scope("case{}".format(number), use_resource=True, reuse=tf.AUTO_REUSE):
                norms.append(norm_of_update(*case))
        return tf.stack(norms)

    with tf.Graph().as_default(), strategy.scope():
        run = strategy.run if hasattr(strategy, "run") else strategy.experimental_run_v2
        norms = strategy.experimental_local_results(run(replica))
        with tf.Session(config=tf.ConfigProto(device_count=dict(CPU=2))) as session:
            session.run(tf.global_variables_initializer())
            history = [session.run(norms)[0] for _ in range(5)]
            values = session.run({v.op.name: v for v in tf.global_variables()})
    assert all(values["case{}/step".format(number)] == 5 for number in range(len(CLIPPED)))
    return [(values["case{}/w".format(number)], norm) for number, norm in enumerate(np.transpose(history))]


def test_two_replicas_sum_then_clip_and_equal_one():
    """One replica has all the large gradients: clipping per replica, or before the sum, would show."""
    one, two = (forked.call(trained_on_replicas, ["/cpu:0", "/cpu:1"][:count]) for count in (1, 2))
    for case, (weight, norms), (other_weight, other_norms) in zip(CLIPPED, one, two):
        np.testing.assert_allclose(weight, other_weight, rtol=1e-5, atol=1e-6, err_msg=str(case))
        np.testing.assert_allclose(norms, other_norms, rtol=1e-5, err_msg=str(case))


def test_create_optimizer_takes_the_numbers_of_update_and_schedule_by_keyword(golden):
    """The rule's slots, the rates and the averages show that each is read; an unknown name is refused."""
    numbers = dict(optimizer="ranger", lookahead_steps=2, ema_decay=0.5, weight_decay_rate=0.0)
    schedule = dict(lr_schedule="cosine", decay_begin="warmup_end", end_learning_rate=0.001, lr_decay_steps=40)
    with tf.Graph().as_default(), tf.Session() as session:
        _, loss = build_regression(golden, CASES[0])
        train_op = optimization.create_optimizer(loss, 0.01, 50, 10, False, **numbers, **schedule)
        session.run(tf.global_variables_initializer())
        rates = []
        for step in range(46):
            assert session.run(tf.train.get_global_step()) == step
            rates.append(session.run("learning_rate:0"))
            session.run(train_op)
        names = {variable.op.name for variable in tf.global_variables()}
    by_hand = [0.01 * t / 10 if t < 10 else 0.001 + 0.009 * (1 + np.cos(np.pi * (t - 10) / 30)) / 2 for t in range(40)]
    np.testing.assert_allclose(rates, by_hand + [0.001] * 6, rtol=1e-6)
    assert {"dense/kernel/slow", "dense/kernel/ema", "dense/kernel/adam_v"} <= names
    with tf.Graph().as_default():
        _, loss = build_regression(golden, CASES[0])
        for wrong in (dict(learning_rate=0.1), dict(optimiser="adam")):
            with pytest.raises(TypeError):
                optimization.create_optimizer(loss, 0.01, 50, 10, False, **wrong)
        with pytest.raises(ValueError, match="init_lr='auto': give a number"):
            optimization.create_optimizer(loss, "auto", 50, 10, False)
        for wrong, said in [
            (dict(lr_schedule="plateau"), "follows evaluations"),
            (dict(lr_schedule="exponential"), "give an end_learning_rate"),
            (dict(lr_schedule="piecewise"), "give lr_boundaries as rising steps"),
            (dict(lr_schedule="linear"), "'linear' is none of constant, "),
            (dict(decay_begin="x"), "'x' is none of "),
            (dict(lr_decay_steps=20), "shorter than the run: the learning rate is 0 from step 20"),
            (dict(optimizer="adamax"), "'adamax' is none of adadelta, "),
            (dict(no_decay_patterns="kernel"), "give a list of patterns"),
        ]:
            with pytest.raises(ValueError, match=said):
                optimization.create_optimizer(loss, 0.01, 50, 10, False, **wrong)
