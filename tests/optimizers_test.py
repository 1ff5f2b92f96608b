"""Every rule against a float64 twin, dense and sparse; properties of all rules; TensorFlow's own classes."""

import inspect
import itertools
from typing import Any, Dict, NamedTuple

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import optimization
from steady_bert import optimizer_config, optimizer_movement
from steady_bert.base.errors import UserError
from steady_bert.optimizers import RULES, Rule, lookahead
from steady_bert.rule_optimizer import RuleOptimizer

STEPS, SHAPE = 30, (7, 4)
ROWS = [[0, 2, 2, 5], [1, 1, 6], [3]]  # of a sparse gradient, by step; duplicates are summed


def adam_factor(t, beta_1, beta_2):
    return np.sqrt(1 - beta_2**t) / (1 - beta_1**t)


def averages(s, g, beta_1, beta_2):
    s["m"] = beta_1 * s.get("m", 0) + (1 - beta_1) * g
    s["v"] = beta_2 * s.get("v", 0) + (1 - beta_2) * g**2
    return s["m"], s["v"]


def twin_momentum(s, g, t, momentum=0.9):
    s["a"] = momentum * s.get("a", 0) + g
    return s["a"]


def twin_nag(s, g, t, momentum=0.9):
    return g + momentum * twin_momentum(s, g, t, momentum)


def twin_adagrad(s, g, t):
    s["s"] = s.get("s", 0.1) + g**2
    return g / np.sqrt(s["s"])


def twin_adadelta(s, g, t, rho=0.95, epsilon=1e-8):
    s["s"] = rho * s.get("s", 0) + (1 - rho) * g**2
    u = np.sqrt(s.get("d", 0) + epsilon) / np.sqrt(s["s"] + epsilon) * g
    s["d"] = rho * s.get("d", 0) + (1 - rho) * u**2
    return u


def twin_rmsprop(s, g, t, rho=0.9, epsilon=1e-10):
    s["s"] = rho * s.get("s", 1.0) + (1 - rho) * g**2
    return g / np.sqrt(s["s"] + epsilon)


def twin_adamw(s, g, t, beta_1=0.9, beta_2=0.999, epsilon=1e-6, bias_correction=False):
    m, v = averages(s, g, beta_1, beta_2)
    return m / (np.sqrt(v) + epsilon) * (adam_factor(t, beta_1, beta_2) if bias_correction else 1)


def twin_adam(s, g, t, beta_1=0.9, beta_2=0.999, epsilon=1e-8):
    return twin_adamw(s, g, t, beta_1, beta_2, epsilon, True)


def twin_amsgrad(s, g, t, beta_1=0.9, beta_2=0.999, epsilon=1e-8):
    m, v = averages(s, g, beta_1, beta_2)
    s["h"] = np.maximum(s.get("h", 0), v)
    return m / (np.sqrt(s["h"]) + epsilon) * adam_factor(t, beta_1, beta_2)


def twin_nadam(s, g, t, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    def mu(i):
        return beta_1 * (1 - 0.5 * 0.96 ** (0.004 * i))

    m, v = averages(s, g, beta_1, beta_2)
    product = np.prod([mu(i) for i in range(1, t + 1)])
    g_hat, m_hat = g / (1 - product), m / (1 - product * mu(t + 1))
    return ((1 - mu(t)) * g_hat + mu(t + 1) * m_hat) / (np.sqrt(v / (1 - beta_2**t)) + epsilon)


def twin_radam(s, g, t, beta_1=0.9, beta_2=0.999, epsilon=1e-8, early_steps=False):
    m, v = averages(s, g, beta_1, beta_2)
    rho_inf = 2 / (1 - beta_2) - 1
    rho = rho_inf - 2 * t * beta_2**t / (1 - beta_2**t)
    if rho < 5:
        return m / (1 - beta_1**t) if early_steps else np.zeros_like(g)
    r = np.sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho))
    return r * adam_factor(t, beta_1, beta_2) * m / (np.sqrt(v) + epsilon)


def twin_ranger(s, g, t):
    return twin_radam(s, g - g.mean(axis=0, keepdims=True), t, 0.95, 0.999, 1e-5)


TWINS = dict(sgd=lambda s, g, t: g, momentum=twin_momentum, nag=twin_nag, adagrad=twin_adagrad, adadelta=twin_adadelta)
TWINS.update(rmsprop=twin_rmsprop, adamw=twin_adamw, lamb=twin_adamw, adam=twin_adam, lazyadam=twin_adam)
TWINS.update(amsgrad=twin_amsgrad, nadam=twin_nadam, radam=twin_radam, ranger=twin_ranger)


def gradients_of(sparse):
    """[STEPS] dense gradients, and for sparse ones their (rows, values)."""
    rng = np.random.RandomState(3)
    dense, parts = [], []
    for step in range(STEPS):
        if not sparse:
            dense.append(rng.randn(*SHAPE))
            continue
        rows = ROWS[step % len(ROWS)]
        values = rng.randn(len(rows), SHAPE[1])
        gradient = np.zeros(SHAPE)
        np.add.at(gradient, rows, values)
        dense.append(gradient)
        parts.append((rows, values))
    return dense, parts


class Run(NamedTuple):
    """A weight, the rule that moves it, and how."""

    rule: Rule
    decay: float = 0.0
    sparse: bool = False
    use_resource: bool = True
    name: str = "dense/kernel"
    initial: Any = None
    options: Dict[str, Any] = {}


def train_all(runs, rates):
    """For each run, the weight after every update; all in one graph, each with variables of its own."""
    with tf.Graph().as_default(), tf.Session() as session:
        rate = tf.placeholder(tf.float32, [])
        weights, steps, train_ops, feeds = [], [], [], []
        for number, run in enumerate(runs):
            with tf.variable_scope("run{}".format(number), use_resource=run.use_resource):
                weight = tf.get_variable(run.name, initializer=start() if run.initial is None else run.initial)
                step = tf.get_variable("step", initializer=np.int64(0), trainable=False)
            optimizer = RuleOptimizer(rate, run.rule, run.decay, ["bias"], **run.options)
            if run.sparse:
                fed = [tf.placeholder(tf.int32, [None]), tf.placeholder(tf.float32, [None, SHAPE[1]])]
                gradient = tf.IndexedSlices(fed[1], fed[0], tf.constant(SHAPE))
            else:
                fed = [tf.placeholder(tf.float32, SHAPE)]
                gradient = fed[0]
            # zip: the pairs can be read only once.
            train_ops.append(optimizer.apply_gradients(zip([gradient], [weight]), global_step=step))
            weights.append(weight)
            steps.append(step)
            feeds.append(fed)
        session.run(tf.global_variables_initializer())
        gradients = {sparse: gradients_of(sparse) for sparse in (False, True)}
        trajectory = []
        for number, value in enumerate(rates):
            values = {rate: value}
            for run, fed in zip(runs, feeds):
                dense, parts = gradients[run.sparse]
                values.update(zip(fed, parts[number % STEPS] if run.sparse else [dense[number % STEPS]]))
            session.run(train_ops, values)
            trajectory.append(session.run(weights))
        assert session.run(steps) == [len(rates)] * len(runs)
    return [np.array(weight) for weight in zip(*trajectory)]


def train(rule, rates, decay=0.0, **fields):
    return train_all([Run(rule, decay, **fields)], rates)[0]


def start():
    return (1.0 + np.arange(np.prod(SHAPE)).reshape(SHAPE) / 8).astype(np.float32)


def train_twin(name, rates, decay=0.0, sparse=False, look=None):
    dense, parts = gradients_of(sparse)
    weight, slots = start().astype(np.float64), {}
    lazy = name == "lazyadam" and sparse
    by_row = [{} for _ in range(SHAPE[0])]
    if name == "ranger":
        look = (6, 0.5)
    slow, actual = weight.copy(), []
    for t, rate in enumerate(rates, 1):
        gradient = dense[t - 1]
        if lazy:
            for row in set(parts[t - 1][0]):
                u = TWINS[name](by_row[row], gradient[row], t)
                weight[row] -= rate * (u + decay * weight[row])
        else:
            u = TWINS[name](slots, gradient, t) + decay * weight
            if name == "lamb":
                u *= np.linalg.norm(weight) / np.linalg.norm(u) if np.linalg.norm(u) else 1.0
            weight = weight - rate * u
        if look and t % look[0] == 0:
            slow += look[1] * (weight - slow)
            weight = slow.copy()
        actual.append(weight.copy())
    return np.array(actual)


def assert_close(actual, expected, tolerance=2e-6):
    assert np.abs(actual - expected).max() <= tolerance * np.abs(expected).max()


RATES = 0.05 * (1.0 - np.arange(STEPS) / 40.0)


def test_every_rule_has_a_twin():
    assert set(TWINS) == set(RULES)


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_rule_follows_its_float64_twin(name):
    rates = 20 * RATES if name == "adadelta" else RATES  # whose paper has a rate of 1
    cases = list(itertools.product((0.0, 0.01), (False, True), (False, True)))
    runs = [Run(RULES[name](), decay, sparse, use_resource) for decay, sparse, use_resource in cases]
    for (decay, sparse, _), weights in zip(cases, train_all(runs, rates)):
        assert_close(weights, train_twin(name, rates, decay, sparse))
        assert np.abs(weights[-1] - start()).max() > 1e-3  # it moved


@pytest.mark.parametrize("name", sorted(RULES))
def test_rate_0_and_decay_0_change_nothing(name):
    rules = [RULES[name](), lookahead(RULES[name](), 3)]
    for weights in train_all([Run(rule, sparse=sparse) for rule in rules for sparse in (False, True)], np.zeros(20)):
        assert np.array_equal(weights, np.broadcast_to(start(), weights.shape))


@pytest.mark.parametrize("name", ["adamw", "sgd", "lazyadam", "radam"])
def test_lookahead_moves_slow_weights_towards_fast_ones(name):
    settings = [(5, 0.3), (10, 0.7), (25, 0.5)]
    runs = [Run(lookahead(RULES[name](), steps, alpha), 0.01) for steps, alpha in settings]
    fast, *trained = train_all([Run(RULES[name](), 0.01)] + runs, RATES)
    for (steps, alpha), weights in zip(settings, trained):
        assert_close(weights, train_twin(name, RATES, 0.01, look=(steps, alpha)))
        assert np.array_equal(weights[: steps - 1], fast[: steps - 1])
        slow = start() + alpha * (fast[steps - 1].astype(np.float64) - start())  # from the weights that were loaded
        assert_close(weights[steps - 1], slow)


def test_radam_has_the_numbers_of_the_literature():
    for decay, expected in (
        (0.0, ([0.985769, 1.985269], [2.986119, 3.986068])),
        (0.01, ([0.984775, 1.983276], [2.983125, 3.982076])),
    ):
        with tf.Graph().as_default(), tf.Session() as session:
            weights = [
                tf.get_variable("w{}".format(n), initializer=np.float32(v)) for n, v in ((0, [1, 2]), (1, [3, 4]))
            ]
            gradients = [tf.constant([0.1, 0.2]), tf.constant([0.03, 0.04])]
            optimizer = RuleOptimizer(1e-3, RULES["radam"](epsilon=1e-7, early_steps=True), weight_decay_rate=decay)
            train_op = optimizer.apply_gradients(zip(gradients, weights))
            session.run(tf.global_variables_initializer())
            for _ in range(100):
                session.run(train_op)
            np.testing.assert_allclose(session.run(weights), expected, atol=2e-6)


@pytest.mark.parametrize(
    "name, stock",
    [
        ("sgd", lambda rate: tf.train.GradientDescentOptimizer(rate)),
        ("momentum", lambda rate: tf.train.MomentumOptimizer(rate, 0.9)),
        ("nag", lambda rate: tf.train.MomentumOptimizer(rate, 0.9, use_nesterov=True)),
        ("adagrad", lambda rate: tf.train.AdagradOptimizer(rate)),
        ("adadelta", lambda rate: tf.train.AdadeltaOptimizer(rate, 0.95, 1e-8)),
        ("rmsprop", lambda rate: tf.train.RMSPropOptimizer(rate, 0.9, 0.0, 1e-10)),
        ("adam", lambda rate: tf.train.AdamOptimizer(rate)),
    ],
)
def test_tensorflows_own_optimizers_agree(name, stock):
    dense, _ = gradients_of(False)
    with tf.Graph().as_default(), tf.Session() as session:
        weight = tf.get_variable("w", initializer=start(), use_resource=True)
        rate, gradient = tf.placeholder(tf.float32, []), tf.placeholder(tf.float32, SHAPE)
        train_op = stock(rate).apply_gradients([(gradient, weight)])
        session.run(tf.global_variables_initializer())
        expected = []
        for value, fed in zip(RATES, dense):
            session.run(train_op, {rate: value, gradient: fed})
            expected.append(session.run(weight))
    assert_close(train(RULES[name](), RATES), np.array(expected))


def test_lamb_takes_ratio_1_for_names_that_are_not_decayed_and_for_weights_of_0():
    for name, initial in (("dense/bias", None), ("dense/kernel", np.zeros(SHAPE, np.float32))):
        plain = train(RULES["adamw"](), RATES[:1], name=name, initial=initial)
        assert_close(train(RULES["lamb"](), RATES[:1], name=name, initial=initial), plain)


def test_ranger_centralizes_kernels_alone():
    for name, expected in (("dense/kernel", False), ("bert/embeddings/word_embeddings", True)):
        rule = RULES["ranger"]()
        actual = train(rule, RATES, name=name)
        plain = train(rule._replace(centralizes=False), RATES, name=name)
        assert np.array_equal(actual, plain) == expected


def test_lazyadam_leaves_rows_without_a_gradient_alone():
    actual = train(RULES["lazyadam"](), RATES, decay=0.01, sparse=True)
    assert np.array_equal(actual[-1][4], start()[4])  # no step has row 4
    assert not np.array_equal(train(RULES["adam"](), RATES, decay=0.01, sparse=True)[-1][4], start()[4])


def test_multipliers_scale_the_rate_and_layers_are_counted_from_the_top():
    names = ["bert/embeddings/word_embeddings", "bert/pooler/dense/kernel", "output_weights"]
    names += ["bert/encoder/layer_{}/output/dense/kernel".format(n) for n in range(3)]
    config = optimization.OptimizerConfig(layerwise_lr_decay=0.5, lr_multipliers=(("output_", 10.0), ("layer_1", 3.0)))
    actual = optimization.rate_multipliers(config, names)
    assert [actual[name] for name in names] == [0.5**4, 1.0, 10.0, 0.5**3, 3.0 * 0.5**2, 0.5]
    doubled = train(RULES["adamw"](), RATES, options=dict(rate_multiplier=lambda name: 2.0))
    assert_close(doubled, train(RULES["adamw"](), 2 * RATES))


def test_frozen_variables_have_no_slots_and_stay_and_patterns_must_match():
    def built(**config):
        a, b = (tf.get_variable(name, initializer=np.ones(3, np.float32)) for name in ("encoder/a", "head/b"))
        loss = tf.reduce_sum(tf.square(a) + b)
        step = tf.train.get_or_create_global_step()
        config = optimization.OptimizerConfig(**config)
        variables = optimization.trained_variables(config)
        gradients = tf.gradients(loss, variables)
        return a, b, optimization.create_update(gradients, variables, tf.constant(0.1), config, step)

    with tf.Graph().as_default(), tf.Session() as session:
        a, b, update = built(freeze=("^encoder/",))
        session.run(tf.global_variables_initializer())
        session.run(update.train_op)
        assert session.run(a).tolist() == [1.0] * 3 and session.run(b)[0] < 1.0
        assert not [v for v in tf.global_variables() if v.op.name.startswith("encoder/a/")]
    for config, said in (
        (dict(freeze=("nothing",)), "--freeze: 'nothing' matches no variable"),
        (dict(freeze=(".",)), "--freeze=.: nothing is left to train"),
        (dict(lr_multipliers=(("nothing", 2.0),)), "--lr_multipliers: 'nothing' matches no variable"),
    ):
        with tf.Graph().as_default(), pytest.raises(UserError) as error:
            built(**config)
        assert said in str(error.value)


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_number_that_the_rule_does_not_read_is_refused(name):
    read = inspect.signature(RULES[name]).parameters
    for flag, argument in optimizer_config._ARGUMENTS.items():
        config = optimization.OptimizerConfig(optimizer=name, **{flag: 0.75})
        if argument in read:
            optimizer_config.rule_of(config)
        else:
            with pytest.raises(UserError, match="--{}: --optimizer={} does not read it".format(flag, name)):
                optimizer_config.rule_of(config)


@pytest.mark.parametrize("name", ["radam", "ranger"])
def test_a_rectification_that_never_begins_is_refused(name):
    """At β2 = 2/3, ρ∞ is 5: ρ_t stays below it, and no update would move anything."""
    optimizer_config.rule_of(optimization.OptimizerConfig(optimizer=name, adam_beta2=0.67))
    with pytest.raises(UserError, match="never moves at beta_2=0.66 "):
        optimizer_config.rule_of(optimization.OptimizerConfig(optimizer=name, adam_beta2=0.66))


# --- the closed form of a steady gradient -----------------------------------------------------------------------------

STEADY = dict(
    RULES,
    **{
        "adamw, corrected": lambda: RULES["adamw"](bias_correction=True),
        "radam, early": lambda: RULES["radam"](early_steps=True),
        "momentum 0.5": lambda: RULES["momentum"](0.5),
        "lookahead": lambda: lookahead(RULES["adamw"](), 4, 0.3),
    },
)


def test_closed_forms_of_a_steady_gradient_are_what_the_rules_do():
    """Row 0 of each weight has the steady gradient; the rows below undo it where gradients are centralised."""
    size, rates = 1e-4, np.linspace(1.0, 0.1, STEPS)
    names = [name for name in STEADY if name != "lamb"]
    rules = [STEADY[name]() for name in names]
    weights = train_steady(rules, size, rates)
    for name, rule, weight in zip(names, rules, weights):
        expected = -np.sum(rates * optimizer_movement.reach(rule, STEPS, size))
        assert weight[0, 0] == pytest.approx(expected, rel=2e-5), name


def train_steady(rules, size, rates):
    """The weights [2, 1] after an update at each rate, with the gradients size and -size."""
    with tf.Graph().as_default(), tf.Session() as session:
        rate = tf.placeholder(tf.float32, [])
        weights = [
            tf.get_variable("w{}/kernel".format(n), initializer=np.zeros([2, 1], np.float32)) for n in range(len(rules))
        ]
        gradient = tf.constant([[size], [-size]], tf.float32)
        updates = [
            RuleOptimizer(rate, rule, name="r{}".format(n)).apply_gradients([(gradient, weight)])
            for n, (rule, weight) in enumerate(zip(rules, weights))
        ]
        session.run(tf.global_variables_initializer())
        for value in rates:
            session.run(updates, {rate: value})
        return session.run(weights)


def test_lamb_moves_a_steady_gradient_among_noise_as_far_as_its_closed_form_says():
    """The first 5 of 5,000 weights have a steady gradient, the others noise of its size; the norm stays."""
    count, size = 5000, 1e-4
    rng = np.random.RandomState(0)
    start = np.full([count], 0.04, np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        fed = tf.placeholder(tf.float32, [count])
        weight = tf.get_variable("w/kernel", initializer=start)
        update = RuleOptimizer(1e-4, RULES["lamb"]()).apply_gradients([(fed, weight)])
        session.run(tf.global_variables_initializer())
        for _ in range(STEPS):
            session.run(update, {fed: np.where(np.arange(count) < 5, 1.0, rng.choice([-1.0, 1.0], count)) * size})
        moved = float(np.mean(start[:5] - session.run(weight)[:5])) / 1e-4
    assert moved == pytest.approx(np.sum(optimizer_movement.reach(RULES["lamb"](), STEPS, size, 0.04)), rel=0.05)
