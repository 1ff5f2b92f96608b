"""AdamWarmup in Keras' own training against a float64 twin, and schedules.py's curves inside Keras."""

import json
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from steady_bert import keras_optimizers, schedules
from steady_bert.keras_optimizers import AdamWarmup, LearningRate, calc_train_steps, keras

STEPS, BATCH, WORDS, WIDTH = 30, 4, 7, 4
RATE = dict(decay_steps=25, warmup_steps=6, min_lr=0.002, learning_rate=0.02)
NAMES = ["words/embeddings", "head/kernel", "head/bias"]
TRACE = [1 / 3, 2 / 3, 1.0, 0.64, 0.55, 0.46, 0.37, 0.28, 0.19, 0.1, 0.1, 0.1]  # keras-bert's, for its own arguments


def data():
    """ids [steps, B, 3], where an id is often twice in a batch and the last never; targets, large in the first."""
    rng = np.random.RandomState(5)
    ids, targets = rng.randint(0, WORDS - 1, [STEPS, BATCH, 3]), rng.randn(STEPS, BATCH, 2)
    targets[:4] *= 30.0
    return ids, targets.astype(np.float32)


def initial_weights():
    rng = np.random.RandomState(6)
    return [rng.randn(*shape).astype(np.float32) for shape in ((WORDS, WIDTH), (WIDTH, 2), (2,))]


def new_model(optimizer):
    """mean of the words' vectors → dense"""
    model = keras.Sequential(
        [
            keras.layers.Embedding(WORDS, WIDTH, input_length=3, name="words"),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(2, name="head"),
        ]
    )
    model.build((None, 3))
    model.compile(optimizer, "mse")
    model.set_weights(initial_weights())
    return model


def fit(model, begin=0, end=STEPS):
    """The weights after each update by model.fit, a list of arrays an update."""
    ids, targets = (array[begin:end].reshape((-1,) + array.shape[2:]) for array in data())
    actual = []
    callback = keras.callbacks.LambdaCallback(on_batch_end=lambda batch, logs: actual.append(model.get_weights()))
    model.fit(ids, targets, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[callback])
    return actual


def rate_of(t, decay_steps, warmup_steps, min_lr, learning_rate):
    if t <= warmup_steps:
        return learning_rate * t / warmup_steps
    return min_lr + (learning_rate - min_lr) * (1 - min(t, decay_steps) / decay_steps)


def twin(decayed=(), decay=0.0, amsgrad=False, keeps_maximum=True, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    """The same in float64, gradients by hand."""
    weights = [array.astype(np.float64) for array in initial_weights()]
    m, v, h = ([np.zeros_like(array) for array in weights] for _ in range(3))
    actual = []
    for t, (ids, targets) in enumerate(zip(*data()), 1):
        embeddings, kernel, bias = weights
        mean = embeddings[ids].mean(axis=1)  # [B, D]
        d = 2 * (mean @ kernel + bias - targets) / targets.size
        of_embeddings = np.zeros_like(embeddings)
        np.add.at(of_embeddings, ids, np.repeat((d @ kernel.T / 3)[:, None], 3, axis=1))
        for n, g in enumerate([of_embeddings, mean.T @ d, d.sum(axis=0)]):
            m[n] = beta_1 * m[n] + (1 - beta_1) * g
            v[n] = beta_2 * v[n] + (1 - beta_2) * g**2
            h[n] = np.maximum(h[n] if keeps_maximum else 0, v[n])
            u = m[n] / (np.sqrt(h[n] if amsgrad else v[n]) + epsilon) * np.sqrt(1 - beta_2**t) / (1 - beta_1**t)
            u += decay * weights[n] * (NAMES[n] in decayed)
            weights[n] = weights[n] - rate_of(t, **RATE) * u
        actual.append([array.copy() for array in weights])
    return actual


def difference(actual, expected):
    """The largest difference over all updates and weights, in units of the largest weight of the same name."""
    assert len(actual) == len(expected) == STEPS
    return max(np.abs(a - b).max() / np.abs(b).max() for step in zip(actual, expected) for a, b in zip(*step))


@pytest.fixture(autouse=True)
def clean_session():
    keras.backend.clear_session()


@pytest.mark.parametrize("make", [AdamWarmup, keras.optimizers.Adam])
def test_a_constant_gradient_moves_the_weight_by_the_rate_of_each_update(make):
    """AdamWarmup's are keras-bert's; Keras' own Adam takes LearningRate's, and rounds in float32."""
    if make is AdamWarmup:
        optimizer = AdamWarmup(10, 3, 0.1, 1.0, epsilon=1e-9)
        expected = TRACE
    else:
        fields = dict(num_warmup_steps=3, lr_decay_steps=10, end_learning_rate=0.1, decay_begin="warmup_end")
        optimizer = make(LearningRate(10, learning_rate=1.0, **fields), epsilon=1e-9)
        expected = schedules.learning_rates(
            schedules.ScheduleConfig(1.0, 0.1, num_warmup_steps=3, lr_decay_steps=10, decay_begin="warmup_end"),
            range(10),
        )
        expected = list(expected) + [expected[-1]] * 2  # beyond the end
        assert 0 < expected[-1] < expected[1]
    model = keras.Sequential([keras.layers.Dense(1, use_bias=False, name="head")])
    model.build((None, 1))
    model.compile(optimizer, lambda y_true, y_pred: keras.backend.mean(y_true * y_pred))
    model.set_weights([np.array([[5.0]])])
    actual = [5.0]
    callback = keras.callbacks.LambdaCallback(
        on_batch_end=lambda batch, logs: actual.append(model.get_weights()[0].item())
    )
    ones = np.ones([12, 1], np.float32)
    model.fit(ones, ones, batch_size=1, verbose=0, callbacks=[callback])
    np.testing.assert_allclose(-np.diff(actual), expected, atol=3e-6 if make is AdamWarmup else 2e-5)


@pytest.mark.parametrize(
    "pattern, decayed",
    [(None, NAMES), ([], []), (["kernel"], NAMES[1:2]), (["no such", "embed", "head/b"], [NAMES[0], NAMES[2]])],
)
def test_fit_follows_the_float64_twin(pattern, decayed):
    actual = fit(new_model(AdamWarmup(weight_decay=0.1, weight_decay_pattern=pattern, **RATE)))
    assert difference(actual, twin(decayed, 0.1)) <= 2e-6
    for other in NAMES:  # the decay of each variable shows
        assert difference(actual, twin(set(decayed) ^ {other}, 0.1)) > 1e-3


def test_amsgrad_keeps_its_maximum():
    options = dict(amsgrad=True, beta_1=0.8, beta_2=0.9, epsilon=1e-5)
    actual = fit(new_model(AdamWarmup(**dict(options, **RATE))))
    assert difference(actual, twin(**options)) <= 2e-6
    for bug in (
        dict(keeps_maximum=False),
        dict(amsgrad=False),
        dict(beta_1=0.9),
        dict(beta_2=0.999),
        dict(epsilon=1e-2),
    ):
        assert difference(actual, twin(**dict(options, **bug))) > 1e-3


@pytest.mark.parametrize("amsgrad", [False, True])
def test_rate_0_changes_nothing_and_the_old_name_of_the_rate_is_read(amsgrad):
    model = new_model(AdamWarmup(100, 3, lr=0.0, weight_decay=0.1, amsgrad=amsgrad))
    for weights in fit(model):
        assert all(map(np.array_equal, weights, initial_weights()))
    keras.backend.set_value(model.optimizer.lr, 0.01)  # as a callback does
    assert not np.array_equal(fit(model, 0, 1)[0][0], initial_weights()[0])


@pytest.mark.parametrize("get_updates", [False, True])
def test_a_graph_and_a_session_follow_the_twin(get_updates):
    with tf.Graph().as_default(), tf.Session() as session:
        variables = [
            tf.get_variable(name, initializer=array, use_resource=True) for name, array in zip(NAMES, initial_weights())
        ]
        ids, targets = tf.placeholder(tf.int32, [None, 3]), tf.placeholder(tf.float32, [None, 2])

        def loss():
            mean = tf.reduce_mean(tf.gather(variables[0], ids), axis=1)
            return tf.reduce_mean(tf.square(tf.matmul(mean, variables[1]) + variables[2] - targets))

        optimizer = AdamWarmup(weight_decay=0.1, weight_decay_pattern=["kernel"], **RATE)
        assert isinstance(tf.gradients(loss(), variables)[0], tf.IndexedSlices)
        update = optimizer.get_updates(loss(), variables) if get_updates else optimizer.minimize(loss, variables)
        session.run(tf.global_variables_initializer())
        actual = []
        for fed in zip(*data()):
            session.run(update, dict(zip([ids, targets], fed)))
            actual.append(session.run(variables))
    assert difference(actual, twin(NAMES[1:2], 0.1)) <= 2e-6


@pytest.mark.parametrize("how", ["get_weights", "save_weights", "save"])
def test_a_run_goes_on_where_it_stopped(how, tmp_path):
    def new_optimizer():
        return AdamWarmup(weight_decay=0.1, weight_decay_pattern=["kernel"], amsgrad=True, **RATE)

    uninterrupted = fit(new_model(new_optimizer()))
    keras.backend.clear_session()
    model = new_model(new_optimizer())
    actual = fit(model, 0, 10)
    path = str(tmp_path / ("model.h5" if how == "save" else "weights"))
    if how == "save":
        model.save(path)
    elif how == "save_weights":
        model.save_weights(path, save_format="tf")
    else:
        weights, state = model.get_weights(), model.optimizer.get_weights()
        assert len(state) == 1 + 3 * 3  # updates; m, v and h of each
    keras.backend.clear_session()
    if how == "save":
        model = keras.models.load_model(path, custom_objects={"AdamWarmup": AdamWarmup})
    else:
        model = new_model(new_optimizer())
    if how == "save_weights":
        model.load_weights(path)
    elif how == "get_weights":
        fit(model, 0, 1)  # Keras makes an optimizer's variables in its first update
        model.set_weights(weights)
        model.optimizer.set_weights(state)
    actual += fit(model, 10)
    assert difference(actual, uninterrupted) == 0.0


def test_a_configuration_survives_json():
    given = dict(decay_steps=10, warmup_steps=3, min_lr=0.1, learning_rate=0.5, beta_1=0.8, beta_2=0.99, epsilon=1e-4)
    given.update(weight_decay=0.2, weight_decay_pattern=["kernel"], amsgrad=True, name="Mine", clipnorm=3.0, decay=0.01)
    config = AdamWarmup(**given).get_config()
    assert config == given
    assert AdamWarmup.from_config(json.loads(json.dumps(config))).get_config() == given
    assert AdamWarmup(1, 0).get_config()["epsilon"] == keras.backend.epsilon()
    # With a schedule as its peak.
    schedule = LearningRate(50, learning_rate=0.5, lr_schedule="cosine")
    config = json.loads(json.dumps(AdamWarmup(10, 3, learning_rate=schedule).get_config()))
    read = AdamWarmup.from_config(config, custom_objects={"LearningRate": LearningRate})
    assert read.get_config() == AdamWarmup(10, 3, learning_rate=schedule).get_config()


CURVES = {
    "constant": {},
    "cosine": dict(end_learning_rate=0.01, decay_begin="warmup_end"),
    "exponential": dict(end_learning_rate=0.01),
    "inverse_sqrt": {},
    "piecewise": dict(lr_boundaries=[20, 40], lr_values=[0.5, 0.25, 0.125]),
    "polynomial": dict(end_learning_rate=0.01, decay_power=2.0, decay_cycle=True, lr_decay_steps=25),
}


def test_every_schedule_but_plateau_has_a_curve_here():
    assert set(CURVES) | {"plateau"} == set(schedules.SCHEDULES)


@pytest.mark.parametrize("name", sorted(CURVES))
def test_a_schedule_in_keras_is_that_of_schedules(name):
    fields = dict(dict(learning_rate=0.5, num_warmup_steps=7, lr_schedule=name), **CURVES[name])
    schedule = LearningRate(60, **fields)
    for lists in ("lr_boundaries", "lr_values"):
        fields[lists] = tuple(fields.get(lists, ()))
    config = schedules.ScheduleConfig(**dict(dict(lr_decay_steps=60), **fields))
    expected = schedules.learning_rates(config, np.minimum(np.arange(70), 59)).astype(np.float32)
    assert np.all(expected[1:] > 0)
    read = LearningRate.from_config(json.loads(json.dumps(schedule.get_config())))
    for made in (schedule, read):
        with tf.Graph().as_default(), tf.Session() as session:
            step = tf.placeholder(tf.float32, [])  # what Keras gives
            rate = made(step)
            assert np.array_equal([session.run(rate, {step: number}) for number in range(70)], expected)
    assert read.get_config() == schedule.get_config()


def test_train_steps_are_those_of_keras_bert():
    assert calc_train_steps(1024, 32, 10, 0.1) == (320, 32)
    assert calc_train_steps(np.int64(3668), 32, 3) == (345, 34)  # 114.6 an epoch
    assert calc_train_steps(1, 32, 1, 1.0) == (1, 1)
    assert calc_train_steps(num_example=33, batch_size=32, epochs=2, warmup_proportion=0) == (4, 0)


@pytest.mark.parametrize(
    "mistake, said",
    [
        (lambda: calc_train_steps(0, 32, 3), "num_example=0"),
        (lambda: calc_train_steps(10, 3.5, 3), "batch_size=3.5"),
        (lambda: calc_train_steps(10, 2, -1), "epochs=-1"),
        (lambda: calc_train_steps(10, 2, 1, 1.5), "warmup_proportion=1.5"),
        (lambda: calc_train_steps(10, 2, 1, float("nan")), "warmup_proportion=nan"),
        (lambda: AdamWarmup(0, 0), "decay_steps=0"),
        (lambda: AdamWarmup(10, -1), "warmup_steps=-1"),
        (lambda: AdamWarmup(10, 1, weight_decay=-0.1), "weight_decay=-0.1"),
        (lambda: AdamWarmup(10, 1, weight_decay_pattern="kernel"), r"give a list, \['kernel'\]"),
        (lambda: fit(new_model(AdamWarmup(10, 1, weight_decay=0.1, weight_decay_pattern=["x"]))), "head/kernel"),
        (
            lambda: AdamWarmup(10, 1)._create_slots([tf.Variable([1.0, 2.0], dtype=tf.float64)]),
            "only float32 variables",
        ),
        (lambda: LearningRate(10, learning_rate=1.0, lr_schedule="plateau"), "ReduceLROnPlateau"),
        (lambda: LearningRate(10, learning_rate=1.0, lr_schedule="linear"), "'linear' is none of constant, cosine"),
        (
            lambda: LearningRate(10, learning_rate=1.0, decay_begin="end"),
            "decay_begin='end' is none of warmup_end, zero",
        ),
        (lambda: LearningRate(0, learning_rate=1.0), "num_train_steps"),
        (lambda: LearningRate(10, learning_rate=1.0, lr_schedule="exponential"), "end_learning_rate"),
        (
            lambda: LearningRate(10, lr_schedule="piecewise", lr_boundaries=[5], lr_values=[1.0]),
            "lr_values with one rate more",
        ),
        (lambda: LearningRate(10, lr_schedule="piecewise", lr_boundaries=[5, 5], lr_values=[3, 2, 1]), "rising"),
    ],
)
def test_a_mistake_is_named(mistake, said):
    with pytest.raises(ValueError, match=said):
        mistake()


def test_where_tf_keras_is_missing_the_error_says_what_to_install(monkeypatch):
    if keras.__name__.split(".")[0] != "tf_keras":
        pytest.skip("this TensorFlow's own Keras is used")
    monkeypatch.setitem(sys.modules, "tf_keras", None)  # the import fails
    with pytest.raises(ImportError) as error:
        keras_optimizers._keras()
    version = tf.__version__.rsplit(".", 1)[0]
    assert "pip install --no-deps 'tf-keras=={}.*'".format(version) in str(error.value)
