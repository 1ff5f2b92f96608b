"""The model against google-research/bert's own numbers, and what must hold for any input."""

import os

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import modeling
from steady_bert.base.compute import PLAIN, Compute
from steady_bert.base.errors import UserError
from steady_bert.base.randomness import keyed_randomness

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden")
CHECKPOINT = os.path.join(GOLDEN, "tiny_bert", "bert_model.ckpt")


@pytest.fixture(scope="module")
def golden():
    return dict(np.load(os.path.join(GOLDEN, "model_forward.npz")))


def config(**changed):
    altered = modeling.BertConfig.from_json_file(os.path.join(GOLDEN, "tiny_bert", "bert_config.json"))
    for name, value in changed.items():
        setattr(altered, name, value)
    return altered


def assert_close(actual, expected, tolerance):
    """By the array's scale: single elements of a gradient can be rounding noise."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= max(tolerance * np.abs(expected).max(), 1e-7)


FAST = Compute("fast")


@pytest.mark.parametrize(
    "compute, use_resource, one_hot",
    [(PLAIN, False, False), (PLAIN, True, False), (PLAIN, False, True), (FAST, True, False), (FAST, False, True)],
)
def test_forward_and_gradients_equal_upstreams(golden, compute, use_resource, one_hot):
    with tf.Graph().as_default(), tf.variable_scope("", use_resource=use_resource):
        ids, mask, segments = (
            tf.placeholder(tf.int32, [None, None]) for _ in ("input_ids", "input_mask", "segment_ids")
        )
        model = modeling.BertModel(config(), False, ids, mask, segments, one_hot, compute=compute)
        logits = tf.matmul(model.get_pooled_output(), tf.constant(golden["classifier_weights"]), transpose_b=True)
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.constant(golden["labels"]), logits=logits)
        )
        variables = tf.trainable_variables()
        gradients = [tf.convert_to_tensor(gradient) for gradient in tf.gradients(loss, variables)]
        assignment, initialized = modeling.get_assignment_map_from_checkpoint(variables, CHECKPOINT)
        assert {variable.name for variable in variables} <= set(initialized)
        tf.train.init_from_checkpoint(CHECKPOINT, assignment)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            fetched = session.run(
                {
                    "embedding_output": model.get_embedding_output(),
                    "embedding_table": model.get_embedding_table(),
                    "layers": model.get_all_encoder_layers(),
                    "sequence_output": model.get_sequence_output(),
                    "pooled_output": model.get_pooled_output(),
                    "loss": loss,
                    "gradients": gradients,
                },
                {ids: golden["input_ids"], mask: golden["input_mask"], segments: golden["segment_ids"]},
            )
    for name in ("embedding_output", "embedding_table", "sequence_output", "pooled_output", "loss"):
        assert_close(fetched[name], golden[name], 1e-5)
    for number, layer in enumerate(fetched["layers"]):
        assert_close(layer, golden["encoder_layer_{}".format(number)], 1e-5)
    assert {v.op.name for v in variables} == {k[len("gradients/") :] for k in golden if k.startswith("gradients/")}
    for variable, gradient in zip(variables, fetched["gradients"]):
        assert_close(gradient, golden["gradients/" + variable.op.name], 1e-4)


def test_a_model_built_from_the_public_parts_equals_upstreams(golden):
    """As scripts build it that take BertModel apart."""
    sizes = config()
    with tf.Graph().as_default(), tf.Session() as session:
        ids, mask, segments = (tf.constant(golden[name]) for name in ("input_ids", "input_mask", "segment_ids"))
        with tf.variable_scope("bert"):
            with tf.variable_scope("embeddings"):
                words, _ = modeling.embedding_lookup(ids, sizes.vocab_size, sizes.hidden_size)
                embedded = modeling.embedding_postprocessor(
                    words,
                    use_token_type=True,
                    token_type_ids=segments,
                    token_type_vocab_size=sizes.type_vocab_size,
                    max_position_embeddings=sizes.max_position_embeddings,
                    dropout_prob=0.0,
                )
            with tf.variable_scope("encoder"):
                layers = modeling.transformer_model(
                    embedded,
                    modeling.create_attention_mask_from_input_mask(ids, mask),
                    sizes.hidden_size,
                    sizes.num_hidden_layers,
                    sizes.num_attention_heads,
                    sizes.intermediate_size,
                    modeling.get_activation(sizes.hidden_act),
                    hidden_dropout_prob=0.0,
                    attention_probs_dropout_prob=0.0,
                    do_return_all_layers=True,
                )
        assignment, _ = modeling.get_assignment_map_from_checkpoint(tf.trainable_variables(), CHECKPOINT)
        tf.train.init_from_checkpoint(CHECKPOINT, assignment)
        session.run(tf.global_variables_initializer())
        for number, layer in enumerate(session.run(layers)):
            assert_close(layer, golden["encoder_layer_{}".format(number)], 1e-5)


def test_padding_changes_nothing_at_real_positions():
    with tf.Graph().as_default(), tf.Session() as session:
        fed_ids, fed_mask = tf.placeholder(tf.int32, [None, None]), tf.placeholder(tf.int32, [None, None])
        output = modeling.BertModel(config(), False, fed_ids, fed_mask).get_sequence_output()
        session.run(tf.global_variables_initializer())

        @hypothesis.given(
            lengths=st.lists(st.integers(1, 12), min_size=1, max_size=4),
            more=st.integers(0, 5),
            seed=st.integers(0, 2**32 - 1),
        )
        def check(lengths, more, seed):
            rng = np.random.RandomState(seed)
            longest = max(lengths)
            mask = np.array([[1] * n + [0] * (longest - n) for n in lengths])
            ids = rng.randint(1, 100, mask.shape) * mask
            noise = rng.randint(1, 100, (len(lengths), longest + more))
            noise[:, :longest] = np.where(mask, ids, noise[:, :longest])
            short = session.run(output, {fed_ids: ids, fed_mask: mask})
            padded = np.pad(mask, ((0, 0), (0, more)), "constant")
            long = session.run(output, {fed_ids: noise, fed_mask: padded})[:, :longest]
            np.testing.assert_allclose(short * mask[:, :, None], long * mask[:, :, None], atol=2e-5)

        check()


@pytest.mark.usefixtures("graphs_as_built")  # rewriting so many models takes longer than all runs
def test_padding_free_and_fast_are_the_plain_padded_computation():
    """Vectors and gradients, whatever the lengths, for heads that read every token and for those that read [CLS]."""
    small = config(num_hidden_layers=2)  # the last layer differs from the others if it has the first tokens alone
    with tf.Graph().as_default(), tf.variable_scope("", reuse=tf.AUTO_REUSE), tf.Session() as session:
        fed = [tf.placeholder(tf.int32, [None, None]) for _ in range(3)]
        factors = tf.placeholder(tf.float32, [None, None, None])
        forms = [Compute(form, padding_free) for form in ("plain", "fast") for padding_free in (False, True)]
        packed = Compute("fast", padding_free=True, packed_attention=True)
        forms.append(packed)
        whole = [modeling.BertModel(small, False, *fed, scope="bert", compute=form) for form in forms]
        first = [
            modeling.BertModel(small, False, *fed, scope="bert", first_token_only=True, compute=form)
            for form in [*forms[:2], packed]
        ]
        with pytest.raises(ValueError, match="first_token_only"):
            first[0].get_sequence_output()
        real = tf.cast(fed[1], tf.float32)[:, :, None]
        variables = tf.trainable_variables()

        def gradients(loss):
            taken = tf.gradients(loss, variables)
            return {v.op.name: tf.convert_to_tensor(g) for v, g in zip(variables, taken) if g is not None}

        def of_tokens(model):
            layers = [layer * real for layer in [model.get_embedding_output()] + model.get_all_encoder_layers()]
            return layers, gradients(tf.add_n([tf.reduce_sum(layer * factors) for layer in layers]))

        def of_first(model):
            pooled = model.get_pooled_output()
            return pooled, gradients(tf.reduce_sum(pooled * factors[:, 0]))

        tokens = [of_tokens(model) for model in whole]
        pooled = [of_first(model) for model in whole + first]
        at_padding = whole[1].get_sequence_output() * (1.0 - real)
        session.run(tf.global_variables_initializer())

        @hypothesis.given(
            lengths=st.one_of(
                st.lists(st.integers(1, 12), min_size=1, max_size=5),
                st.lists(st.integers(1, 12), min_size=20, max_size=30),  # rows are rounded up
                st.tuples(st.integers(1, 12), st.integers(1, 5)).map(lambda full: [full[0]] * full[1]),
            ),
            more=st.integers(0, 2),
            seed=st.integers(0, 2**32 - 1),
        )
        @hypothesis.settings(max_examples=25)
        def check(lengths, more, seed):
            rng = np.random.RandomState(seed)
            mask = np.array([[1] * n + [0] * (max(lengths) + more - n) for n in lengths])
            values = [rng.randint(1, 100, mask.shape), mask, rng.randint(0, 2, mask.shape)]
            feeds = dict(zip(fed, values))
            feeds[factors] = rng.normal(size=mask.shape + (small.hidden_size,))
            results = session.run([tokens, pooled, at_padding], feeds)
            for expected, *others in results[:2]:
                for other in others:
                    assert_all_close(other, expected, 2e-5)
            assert not results[2].any()

        check()


def test_what_the_padded_model_returns_is_on_the_way_to_the_loss():
    """As upstream's: saliency and adversarial training differentiate by it."""
    with tf.Graph().as_default():
        model = modeling.BertModel(config(), False, tf.ones([2, 3], tf.int32))
        between = [model.embedding_output, model.get_sequence_output()]
        assert all(gradient is not None for gradient in tf.gradients(model.get_pooled_output(), between))
        tf.get_default_graph().finalize()
        assert model.get_all_encoder_layers()[-1] is model.sequence_output


def assert_all_close(actual, expected, tolerance):
    """By the largest gradient: that of a key's bias is 0 but for rounding."""
    np.testing.assert_allclose(np.asarray(actual[0]), np.asarray(expected[0]), atol=tolerance)
    assert set(actual[1]) == set(expected[1])
    scale = max(np.abs(gradient).max() for gradient in expected[1].values())
    for name, gradient in expected[1].items():
        np.testing.assert_allclose(actual[1][name], gradient, atol=tolerance * scale, err_msg=name)


def keyed_outputs(seed, step, place="a", replica=0, before=False):
    """Dropout of ones, and initial values, in a fresh graph."""
    with tf.Graph().as_default(), tf.Session() as session:
        clock = tf.constant(step, tf.int64)
        with keyed_randomness(seed, clock, replica):
            if before:
                tf.get_variable("earlier", [3], initializer=modeling.create_initializer())
            with tf.variable_scope(place):
                first = modeling.dropout(tf.ones([50, 20]), 0.3)
                second = modeling.dropout(tf.ones([50, 20]), 0.3)
            weights = tf.get_variable("w", [40, 10], initializer=modeling.create_initializer(0.5))
        session.run(tf.global_variables_initializer())
        return session.run((first, second, weights))


def test_dropout_is_a_function_of_seed_step_place_and_replica():
    first, second, _ = keyed_outputs(1, 5)
    again, _, _ = keyed_outputs(1, 5, before=True)
    assert np.array_equal(first, again)
    dropped = round(0.3 * 65536)  # of what 16 bits can be, so that the mean stays 1
    assert set(np.unique(first)) == {np.float32(0), np.float32(65536 / (65536 - dropped))}
    assert abs(np.mean(first == 0) - 0.3) < 0.06
    others = [second] + [
        keyed_outputs(**dict(dict(seed=1, step=5), **changed))[0]
        for changed in (dict(seed=2), dict(step=6), dict(place="b"), dict(replica=1))
    ]
    assert all(np.mean(first != other) > 0.3 for other in others)


def test_initial_values_depend_on_seed_and_name_not_on_what_was_built_before():
    weights = keyed_outputs(1, 5)[2]
    assert np.array_equal(weights, keyed_outputs(1, 9, before=True)[2])
    assert not np.array_equal(weights, keyed_outputs(2, 5)[2])
    assert 0.35 < weights.std() < 0.5 and np.abs(weights).max() <= 1.0  # truncated at two deviations
    # Pinned, so that no TensorFlow changes what a seed means.
    np.testing.assert_allclose(weights[0, :4], PINNED, rtol=1e-5)


PINNED = [-0.388957, -0.703474, -0.281084, 0.225195]


def test_towers_share_variables_and_slots_of_scopes():
    """The same names whether built once or twice: the engine builds a training and an inference tower."""
    with tf.Graph().as_default(), tf.variable_scope("", reuse=tf.AUTO_REUSE):
        for is_training in (False, True):
            ids = tf.placeholder(tf.int32, [None, None])
            modeling.BertModel(config(), is_training, ids, scope="bert")
        names = [variable.op.name for variable in tf.trainable_variables()]
    assert sorted(names) == sorted(name for name, _ in tf.train.list_variables(CHECKPOINT))


@pytest.mark.parametrize(
    "text, said",
    [
        ("{", "bert_config.json"),
        ("[5]", "holds a list, expected an object"),
        ('{"hidden_size": 8}', "'vocab_size' is missing"),
        ('{"vocab_size": 8, "hidden_size": 0}', "hidden_size=0 is not a positive whole number"),
    ],
)
def test_a_bad_configuration_is_named(tmp_path, text, said):
    path = tmp_path / "bert_config.json"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        modeling.BertConfig.from_json_file(str(path))
    assert said in str(error.value) and str(path) in str(error.value)


def test_published_configurations_with_unread_keys_load(tmp_path):
    path = tmp_path / "bert_config.json"
    path.write_text('{"vocab_size": 8, "directionality": "bidi", "layer_norm_eps": 1e-12, "architectures": ["Bert"]}')
    read = modeling.BertConfig.from_json_file(str(path))
    assert (read.hidden_size, read.directionality, read.layer_norm_eps) == (768, "bidi", 1e-12)
    assert read.to_dict()["architectures"] == ["Bert"] and "architectures" not in config().to_dict()
    with pytest.raises(UserError, match="nowhere"):
        modeling.BertConfig.from_json_file(str(tmp_path / "nowhere.json"))
