"""The same numbers whichever way an update is computed: compiled or not, from sparse gradients or dense ones."""

import forked
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from steady_bert import loss_scale
from steady_bert.optimizers import RULES, lookahead
from steady_bert.rule_optimizer import RuleOptimizer
from steady_bert.training import devices

COMPILES = hasattr(tf.config, "list_physical_devices") and not tf.config.list_physical_devices("GPU")
TOGETHER = "together"
WAYS = [False, True] + [TOGETHER] * COMPILES  # to compile: not at all, each weight, all weights in one function
TABLE = (9, 4)
# Looked up by each update. All have one length, since XLA compiles for each length again; but for one rule.
ROWS = [[0, 2, 2, 5], [1, 1, 6, 6], [3, 3, 3, 3], [2, 5, 7, 7], [0, 6, 0, 0], [8, 0, 8, 8], [4, 2, 4, 4]]
OF_ANY_LENGTH = {"lazyadam": [[0, 2, 2, 5], [3], [1, 1, 6, 6], [2, 5, 7, 7], [0], [8, 0, 8, 8], [4]]}
UPDATES = len(ROWS)
TABLES = ("words/embeddings", "bias/embeddings")  # one decayed, one not
DENSE = {
    "head/kernel": TABLE,
    "head/bias": (5,),
    "norm/gamma": TABLE,  # a shape that shares the compilation of head/kernel, unless gradients are centralised
    "top/gamma": TABLE,  # as norm/gamma, at another rate
}
FEW = {name: shape for name, shape in DENSE.items() if name.startswith("head/")}
FACTORS = {"top/gamma": 3.0, "bias/embeddings": 0.5}
EVERYTHING = dict(
    weight_decay_rate=0.1,
    exclude_from_weight_decay=["bias"],
    clip_norm=3.0,  # above the norm of every other update
    rate_multiplier=lambda name: FACTORS.get(name, 1.0),
    ema_decay=0.9,
)


def values_of(shape, number, size=1.0):
    return np.array(size * np.random.RandomState(number).randn(*shape), np.float32)


def start_of(shape, number):
    return np.array(1.0 + values_of(shape, number), np.float32)


def updates(looked_up_rows):
    """(rate, table → values of the rows looked up, name → dense gradient) of each update."""
    for step, rows in enumerate(looked_up_rows):
        size = 1.0 if step % 2 else 0.05
        looked_up = {name: values_of((len(rows), TABLE[1]), 10 * step + n, size) for n, name in enumerate(TABLES)}
        dense = {name: values_of(shape, 10 * step + n, size) for n, (name, shape) in enumerate(DENSE.items(), 2)}
        yield 0.05 * (1.0 - step / 10.0), looked_up, dense


def compiling(way):
    return dict(together=True) if way == TOGETHER else dict(compiled=way)


def train(rule, sparse, compiled, use_resource=True, shapes=DENSE, rows_of_updates=ROWS, **options):
    """Every variable after every update: name → [UPDATES, …]."""
    with tf.Graph().as_default(), tf.variable_scope("", use_resource=use_resource), tf.Session() as session:
        rate, rows = tf.placeholder(tf.float32, []), tf.placeholder(tf.int32, [None])
        weights, gradients, fed = {}, {}, {}
        for number, (name, shape) in enumerate([(name, TABLE) for name in TABLES] + list(shapes.items())):
            weights[name] = tf.get_variable(name, initializer=start_of(shape, number))
            gradients[name] = fed[name] = tf.placeholder(tf.float32, shape)
            if sparse and name in TABLES:
                fed[name] = tf.placeholder(tf.float32, [None, TABLE[1]])
                loss = tf.reduce_sum(tf.gather(weights[name], rows) * fed[name])
                (gradients[name],) = tf.gradients(loss, weights[name])
                assert isinstance(gradients[name], tf.IndexedSlices)
        optimizer = RuleOptimizer(rate, rule, **compiling(compiled), **options)
        train_op = optimizer.apply_gradients([(gradients[name], weights[name]) for name in weights])
        assert (compiled_functions() != []) == bool(compiled and COMPILES)
        if compiled == TOGETHER:  # on a GPU it adds in any order
            assert "UnsortedSegmentSum" not in {op.type for op in tf.get_default_graph().get_operations()}
        session.run(tf.global_variables_initializer())
        found = []
        for value, looked_up, dense in updates(rows_of_updates):
            feeds = {fed[name]: dense[name] for name in shapes}
            step_rows = rows_of_updates[len(found)]
            for name, factors in looked_up.items():
                whole = np.zeros(TABLE, np.float32)
                np.add.at(whole, step_rows, factors)
                feeds[fed[name]] = factors if sparse else whole
            feeds.update({rate: value, rows: step_rows})
            session.run(train_op, feeds)
            found.append(session.run({v.op.name: v for v in tf.global_variables()}))
        return {name: np.array([values[name] for values in found]) for name in found[0]}


def compiled_functions():
    """The name of the function of each call that XLA compiles, in the default graph."""
    calls = [op for op in tf.get_default_graph().get_operations() if op.type.endswith("PartitionedCall")]
    return [op.get_attr("f").name for op in calls if op.get_attr("_XlaMustCompile")]


def assert_close(found, expected, tolerance=2e-6):
    """Each variable by its own scale."""
    assert set(found) == set(expected)
    for name, values in expected.items():
        assert np.abs(found[name] - values).max() <= tolerance * np.abs(values).max(), name


@pytest.mark.parametrize("name", sorted(RULES))
def test_an_update_is_the_same_dense_or_sparse_compiled_or_not(name):
    """Weights, slots, slow weights and averages; by reference variables too."""
    rule = lookahead(RULES[name](), 3, 0.4)
    every_way = name in ("adamw", "lazyadam")
    rows = OF_ANY_LENGTH.get(name, ROWS)
    options = dict(EVERYTHING, shapes=DENSE if every_way else FEW, rows_of_updates=rows)
    expected = train(rule, sparse=rule.lazy, compiled=False, **options)
    assert {"words/embeddings/slow", "words/embeddings/ema"} <= set(expected)
    # XLA sees the same operations of a rule in both compiled ways; the rest of a way is the same for all rules.
    for way in WAYS if every_way else (False, WAYS[-1]):
        assert_close(train(rule, True, way, use_resource=bool(way), **options), expected)


@pytest.mark.parametrize(
    "name, compiled", [("sgd", False)] + [(name, way) for name in ("adagrad", "lazyadam") for way in WAYS]
)
def test_rows_without_a_gradient_and_their_slots_stay_bitwise(name, compiled):
    """Those of a table that is not decayed, and lazyadam's of any. Averaged weights still move towards the weights."""
    for options in ({}, EVERYTHING) if not compiled or name == "lazyadam" else ({},):
        found = train(RULES[name](), True, compiled, **options)
        tables = [table for table in TABLES if not options or name == "lazyadam" or "bias" in table]
        assert tables
        for table in tables:
            for variable in [table] + [table + "/" + slot for slot in RULES[name]().slots]:
                for step in range(1, UPDATES):
                    moved = (found[variable][step] != found[variable][step - 1]).any(axis=1)
                    assert np.flatnonzero(moved).tolist() == sorted(set(ROWS[step])), variable


@pytest.mark.skipif(not COMPILES, reason="this TensorFlow, or this device, does not compile updates")
def test_weights_of_a_shape_share_a_compilation_unless_one_alone_is_decayed():
    weights = {}
    with tf.Graph().as_default(), tf.variable_scope("", use_resource=True):
        for name in ("a/gamma", "b/gamma", "a/bias", "b/bias"):
            weights[name] = tf.get_variable(name, initializer=np.ones(5, np.float32))
        options = dict(weight_decay_rate=0.1, exclude_from_weight_decay=["bias"], compiled=True)
        optimizer = RuleOptimizer(tf.constant(0.1), RULES["adamw"](), **options)
        optimizer.apply_gradients([(tf.ones([5]), weight) for weight in weights.values()])
        functions = compiled_functions()
    assert len(functions) == 4 and len(set(functions)) == 2


@pytest.mark.skipif(not COMPILES, reason="this TensorFlow, or this device, does not compile updates")
@pytest.mark.parametrize("name, passes", [("adamw", 1), ("sgd", 0), ("adagrad", 0), ("lazyadam", 0)])
def test_a_table_whose_rows_rest_is_not_passed_over(name, passes):
    with tf.Graph().as_default(), tf.variable_scope("", use_resource=True):
        table = tf.get_variable("table", initializer=start_of(TABLE, 0))
        (gradient,) = tf.gradients(tf.gather(table, ROWS[0]), table)
        RuleOptimizer(tf.constant(0.1), RULES[name](), compiled=True).apply_gradients([(gradient, table)])
        assert len(compiled_functions()) == passes


MIRRORED = ("adamw", "lazyadam")
SCALE = loss_scale.LossScale._fields


OVERFLOW = 1  # the update of train_replicas whose last row is not finite


def train_replicas(name, compiled, names, scaled=False, updates=(0, 1, 2, 3)):
    """The table and its slots on every replica after the updates, each replica with its part of the rows.

    scaled: under a loss scale, of which nothing is given; one replica overflows in one update.
    """
    config = devices.EngineConfig(distribution="mirrored", devices=names)
    with tf.Graph().as_default():
        strategy = devices.make_strategy(config)
        with strategy.scope(), tf.variable_scope("", use_resource=True, reuse=tf.AUTO_REUSE):
            rows, factors = tf.placeholder(tf.int32, [None]), tf.placeholder(tf.float32, [None, TABLE[1]])

            def update():
                place = tf.distribute.get_replica_context().replica_id_in_sync_group
                count = tf.shape(rows)[0]
                mine = slice(place * count // len(names), (place + 1) * count // len(names))
                table = tf.get_variable("table", initializer=start_of(TABLE, 0))
                (gradient,) = tf.gradients(tf.reduce_sum(tf.gather(table, rows[mine]) * factors[mine]), table)
                scale = loss_scale.variables() if scaled else None
                if scaled:
                    gradient = tf.IndexedSlices(
                        gradient.values * scale.loss_scale, gradient.indices, gradient.dense_shape
                    )
                optimizer = RuleOptimizer(
                    tf.constant(0.05),
                    RULES[name](),
                    0.1,
                    clip_norm=1.0,
                    ema_decay=0.9,
                    scale=scale,
                    **compiling(compiled),
                )
                train_op = optimizer.apply_gradients([(gradient, table)])
                with tf.control_dependencies([train_op]):
                    return tf.identity(optimizer.grad_norm)

            done = strategy.experimental_local_results(devices.on_replicas(strategy, update))
        with tf.Session(config=tf.ConfigProto(device_count={"CPU": len(names)})) as session:
            session.run(tf.global_variables_initializer())
            # A row twice within a replica, and one on both: 2 and 5.
            for step, step_rows in enumerate(([2, 2, 5, 1], [5, 0, 5, 2], [7, 3, 8, 8], [2, 5, 5, 2])):
                values = values_of((4, TABLE[1]), step)
                if step not in updates:
                    continue
                if scaled and step == OVERFLOW:
                    values[-1] = np.inf
                if len(names) == 1:  # summed here, so that it is right whatever the optimizer does
                    step_rows, places = np.unique(step_rows, return_inverse=True)
                    values = np.eye(len(step_rows), dtype=np.float32)[places].T.dot(values)
                session.run(done, {rows: step_rows, factors: values})
            mirrored = {v.op.name: strategy.experimental_local_results(v) for v in tf.global_variables()}
            if scaled:
                for mirrors, expected in zip((mirrored.pop("training_state/" + n) for n in SCALE), (2.0**14, 2, 1)):
                    assert [session.run(v) for v in mirrors] == [expected] * len(names)
            return {name: [session.run(v).tolist() for v in mirrors] for name, mirrors in mirrored.items()}


def two_replicas():
    names, ends = ("cpu:0", "cpu:1"), (WAYS[0], WAYS[-1])
    adamw, lazyadam = MIRRORED
    found = [[train_replicas(adamw, way, names) for way in WAYS]]
    found.append([train_replicas(lazyadam, way, names) for way in ends])
    found.append([train_replicas(adamw, way, names, scaled=True) for way in ends])
    return found


def test_rows_of_two_replicas_are_summed_before_they_move_the_table_and_an_overflow_of_one_moves_neither():
    """In a process of its own: TensorFlow 2 fixes its devices once."""
    without = [update for update in range(4) if update != OVERFLOW]
    alone = [train_replicas(name, False, ("cpu:0",)) for name in MIRRORED]
    alone.append(train_replicas(MIRRORED[0], False, ("cpu:0",), updates=without))
    for one, pair in zip(alone, forked.call(two_replicas, compiled=True)):
        for two in pair:
            assert set(two) == set(one)
            for variable, (expected,) in one.items():
                assert len(two[variable]) == 2
                for mirror in two[variable]:
                    assert_close({variable: np.array(mirror)}, {variable: np.array(expected)})
