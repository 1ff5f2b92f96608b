"""Alignment and windows: every word has its tag at its first piece, and counts once, whatever the length."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import modeling
from steady_bert.base.compute import Compute
from steady_bert.base.randomness import keyed_randomness
from steady_bert.rule_optimizer import has_xla
from steady_bert.tasks.tagging import assembly as tagging
from steady_bert.tasks.tagging import layers
from steady_bert.tasks.tagging import schemes as tag_schemes
from steady_bert.tasks.tagging.heads import CELLS, TaggingHead
from steady_bert.tasks.tagging.predictions import legal_at_seams
from steady_bert.tasks.tagging.sentences import Layout, Sentence
from steady_bert.tasks.tagging.windows import COUNTED, windows

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"] + ["w{}".format(number) for number in range(30)] + ["##x"]
TAGS = ["O", "B-X", "I-X"]


class Tokenizer:
    """w3xx has three pieces; a dot has none."""

    vocab = {piece: number for number, piece in enumerate(PIECES)}
    unk_id = 1

    def encode(self, words):
        return [
            [] if word == "." else [self.vocab[word.rstrip("x")]] + [self.vocab["##x"]] * word.count("x")
            for word in words
        ]


def inputs_of(max_seq_length=16, stride=None, head=None, config=None, **changed):
    return tagging.TaggingInputs(
        files={"dev": "dev.conll"},
        layout=Layout(format="columns"),
        tags=TAGS,
        plain=False,
        tokenizer=Tokenizer(),
        vocab_fingerprint="",
        bert_config=config,
        max_seq_length=max_seq_length,
        doc_stride=stride or max((max_seq_length - 2) // 2, 1),
        head=head or TaggingHead(),
        **changed,
    )


def sentence(number, words, tags):
    return Sentence(number, 10 * number + 1, str(number), tuple(words), tags and tuple(tags), " ".join(words), ())


@settings(max_examples=200)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=60), st.integers(9, 20), st.data())
def test_every_word_counts_in_the_one_window_that_shows_most_around_it(pieces, room, data):
    stride = data.draw(st.integers(1, room))
    cut = windows(pieces, room, stride)
    places = np.concatenate([[0], np.cumsum(pieces)])
    assert [w for window in cut for w in range(window.first_counted, window.end_counted)] == list(range(len(pieces)))
    best = np.full(len(pieces), -1)
    for window in cut:
        assert window.first <= window.first_counted < window.end_counted <= window.end
        assert places[window.end] - places[window.first] <= room
        for word in range(window.first, window.end):
            around = min(places[word] - places[window.first], places[window.end] - places[word + 1])
            best[word] = max(best[word], around)
    for window in cut:
        for word in range(window.first_counted, window.end_counted):
            assert best[word] == min(places[word] - places[window.first], places[window.end] - places[word + 1])
    if places[-1] <= room:
        assert cut == [(0, len(pieces), 0, len(pieces))]


words = st.lists(
    st.tuples(st.integers(0, 29), st.integers(0, 20), st.integers(0, 2)).map(
        lambda t: ("." if t[0] == 0 else "w{}{}".format(t[0], "x" * t[1]), TAGS[t[2]])
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=100)
@given(st.lists(words, min_size=1, max_size=3), st.integers(5, 20))
def test_records_hold_each_words_tag_at_its_first_piece_once(sentences, length):
    inputs = inputs_of(length)
    examples = [sentence(n, *zip(*pairs)) for n, pairs in enumerate(sentences)]
    seen = {}
    for feature, facts in tagging._featurize(inputs, examples):
        ids, roles, tags = (feature[name] for name in ("input_ids", "roles", "tag_ids"))
        assert len(ids) == len(roles) == len(tags) == facts.tokens <= length
        assert ids[0] == 2 and ids[-1] == 3
        example = examples[feature["sentence"][0]]
        places = np.flatnonzero(roles)
        for word, place in enumerate(places, feature["first_word"][0]):
            text, tag = example.words[word], example.tags[word]
            assert ids[place] == (1 if text == "." else Tokenizer.vocab[text.rstrip("x")])
            assert TAGS[tags[place]] == tag
            if roles[place] == COUNTED:
                assert (example.number, word) not in seen
                seen[example.number, word] = True
        others = np.delete(np.arange(1, len(ids) - 1), places - 1)
        assert all(ids[place] == Tokenizer.vocab["##x"] for place in others)
        assert feature["ends"] == [int(feature["first_word"][0] + len(places) == len(example.words))]
    assert len(seen) == sum(len(example.words) for example in examples)


def config_of():
    return modeling.BertConfig(
        len(PIECES), 16, 1, 2, 32, hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.3, max_position_embeddings=32
    )


HEADS = {
    "softmax": TaggingHead(),
    "crf": TaggingHead(crf=True),
    "bilstm_crf": TaggingHead(crf=True, lstm_layers=1, lstm_size=5),
}


def batch_of(features, length=None):
    """Pads features as the input pipeline does."""
    length = length or max(len(feature["input_ids"]) for feature in features)
    batch = {}
    for name in ("input_ids", "roles", "tag_ids"):
        rows = [feature[name] + [0] * (length - len(feature[name])) for feature in features]
        batch[name] = np.array(rows, np.int32)
    batch["input_mask"] = np.array([[int(p < len(f["input_ids"])) for p in range(length)] for f in features], np.int32)
    for name in ("sentence", "first_word", "ends"):
        batch[name] = np.array([feature[name][0] for feature in features], np.int32)
    return batch


FAST = Compute("fast")


def run_tower(inputs, batches, compute=FAST, length=None, change=None, with_gradients=False, is_training=False):
    """[(outputs, gradients by weight) of each batch of features] of one graph.

    change: weights → the values of those that are not to be the initial ones. length: pads all batches to it.
    """
    batches = [batch_of(features, length) for features in batches]
    with tf.Graph().as_default(), keyed_randomness(7, tf.constant(3, tf.int64)):
        fixed = length is not None
        holders = {
            name: tf.placeholder(tf.int32, value.shape if fixed else [None] * value.ndim)
            for name, value in batches[0].items()
        }
        outputs = tagging._build(inputs, holders, is_training, compute)
        weights = {v.op.name: v for v in tf.trainable_variables()}
        gradients = {}
        if with_gradients:
            loss = tf.reduce_sum(outputs.loss) / tf.reduce_sum(outputs.weight)
            taken = zip(weights, tf.gradients(loss, list(weights.values())))
            gradients = {name: tf.convert_to_tensor(g) for name, g in taken if g is not None}
        config = tf.ConfigProto()
        config.graph_options.rewrite_options.disable_meta_optimizer = True  # it takes longer than the run
        with tf.Session(config=config) as session:
            session.run(tf.global_variables_initializer())
            for name, value in (change(session.run(weights)) if change else {}).items():
                weights[name].load(value, session)
            return [session.run((outputs, gradients), {holders[n]: v for n, v in batch.items()}) for batch in batches]


def outputs_of(inputs, features, is_training=False, change=None):
    return run_tower(inputs, [features], change=change, is_training=is_training)[0][0]


def random_features(inputs, count, seed, longest=20):
    rng = np.random.RandomState(seed)
    examples = []
    for number in range(count):
        size = rng.randint(1, longest)
        text = ["w{}{}".format(rng.randint(30), "x" * rng.randint(3)) for _ in range(size)]
        examples.append(sentence(number, text, [TAGS[rng.randint(3)] for _ in range(size)]))
    return examples, [feature for feature, _ in tagging._featurize(inputs, examples)]


def near(actual, expected, tolerance=2e-5):
    # The gradient of a key's bias is 0 but for rounding.
    assert np.abs(np.asarray(actual) - expected).max() <= tolerance * np.abs(expected).max() + 1e-7


@pytest.mark.parametrize("name", ["bilstm_crf", "softmax"])
def test_padding_free_fixed_and_alone_are_the_same(name):
    """Losses, predictions and gradients are equal; no example's depend on the rest of the batch."""
    inputs = inputs_of(16, head=HEADS[name], config=config_of())
    _, features = random_features(inputs, 6, seed=1)

    def shaken(weights):
        random = np.random.RandomState(2)
        return {n: v + random.normal(size=v.shape, scale=0.3).astype(np.float32) for n, v in weights.items()}

    (padded, gradients), (alone, _) = run_tower(inputs, [features, features[3:4]], change=shaken, with_gradients=True)
    counts = np.array([np.count_nonzero(feature["roles"]) for feature in features])
    computes = [(Compute("fast", padding_free=True), None), (FAST, 16)]
    if name == "softmax" and has_xla():
        computes.append((Compute("compiled", padding_free=True, row_length=32), None))
    for compute, length in computes:
        ((other, other_gradients),) = run_tower(inputs, [features], compute, length, shaken, with_gradients=True)
        near(other.loss, padded.loss)
        assert set(other_gradients) == set(gradients)
        for name, gradient in gradients.items():
            near(other_gradients[name], gradient, 1e-4)
        for row, count in enumerate(counts):
            for prediction, tolerance in (("tag_ids", 0), ("probabilities", 2e-5)):
                expected = padded.predictions[prediction][row, :count]
                np.testing.assert_allclose(other.predictions[prediction][row, :count], expected, 0, tolerance)
    near(alone.loss, padded.loss[3:4])
    assert np.array_equal(alone.predictions["tag_ids"][0], padded.predictions["tag_ids"][3, : counts[3]])


@pytest.mark.parametrize("name", ["bilstm_crf", "softmax"])
def test_dropout_is_off_at_evaluation(name):
    inputs = inputs_of(16, head=HEADS[name], config=config_of())
    _, features = random_features(inputs, 4, seed=1)
    without_dropout = inputs._replace(bert_config=config_of())
    without_dropout.bert_config.hidden_dropout_prob = without_dropout.bert_config.attention_probs_dropout_prob = 0.0
    evaluated = outputs_of(inputs, features)
    trained = outputs_of(inputs, features, is_training=True)
    trained_without = outputs_of(without_dropout, features, is_training=True)
    near(evaluated.loss, trained_without.loss)
    assert np.abs(trained.loss - trained_without.loss).max() > 1e-3


def test_probabilities_are_those_of_logits_without_a_squashing_function():
    """With output weights of 0 the logits are the bias: a tanh on them would show."""
    inputs = inputs_of(16, config=config_of())
    _, features = random_features(inputs, 2, seed=3)
    outputs = outputs_of(
        inputs,
        features,
        change=lambda weights: {
            "output_weights": np.zeros_like(weights["output_weights"]),
            "output_bias": np.array([0.0, 5.0, -5.0]),
        },
    )
    expected = np.exp([0.0, 5.0, -5.0]) / np.exp([0.0, 5.0, -5.0]).sum()
    np.testing.assert_allclose(outputs.predictions["probabilities"][0, 0], expected, rtol=1e-5)
    gold = np.array([tag for f in features for role, tag in zip(f["roles"], f["tag_ids"]) if role == COUNTED])
    assert outputs.loss.sum() == pytest.approx(-np.log(expected)[gold].sum(), rel=1e-5)
    assert outputs.weight.sum() == len(gold)


def test_class_weights_weigh_the_loss_of_each_word_in_training_alone():
    config = config_of()
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    inputs = inputs_of(16, config=config)
    _, features = random_features(inputs, 3, seed=3)
    features = features[:1]
    tags = [tag for role, tag in zip(features[0]["roles"], features[0]["tag_ids"]) if role == COUNTED]
    with_one = [outputs_of(inputs._replace(class_weights=row), features, True) for row in np.eye(3) + 1e-6]
    plain = outputs_of(inputs, features, True)
    near(sum(outputs.loss for outputs in with_one), plain.loss, 1e-4)
    assert [round(float(outputs.weight[0])) for outputs in with_one] == np.bincount(tags, minlength=3).tolist()
    evaluated = outputs_of(inputs._replace(class_weights=[9.0, 1.0, 1.0]), features, False)
    near(evaluated.loss, plain.loss)


@pytest.mark.parametrize("name", ["softmax", "crf"])
def test_constrained_decoding_is_legal_in_windows_and_over_their_seams(name):
    inputs = inputs_of(9, head=HEADS[name], config=config_of(), constrained_decoding=True)
    examples, features = random_features(inputs, 12, seed=4, longest=30)

    def loud(weights):
        random = np.random.RandomState(5)  # makes words very different
        names = ("bert/embeddings/word_embeddings", "output_weights")
        return {name: random.normal(size=weights[name].shape) for name in names}

    follows, begins = tag_schemes.legal(TAGS)

    def tags_of(inputs):
        predictions = {k: list(v) for k, v in outputs_of(inputs, features, change=loud).predictions.items()}
        reader = tagging.Reader(inputs)
        reader._kept["dev"] = {example.number: example for example in examples}
        return [np.array([TAGS.index(t) for t in each.tags]) for each in reader.tagged("dev", predictions)]

    def is_legal(tags):
        return begins[tags[0]] and follows[tags[:-1], tags[1:]].all()

    constrained = tags_of(inputs)
    assert all(map(is_legal, constrained))
    assert not all(map(is_legal, tags_of(inputs._replace(constrained_decoding=False))))
    assert [len(tags) for tags in constrained] == [len(example.words) for example in examples]


def test_at_a_seam_only_the_words_of_the_entity_without_a_beginning_are_decoded_again():
    tag_ids = np.array([0, 1, 2, 0, 2, 2, 0, 1, 2])
    probabilities = np.full((9, 3), 0.1)
    probabilities[4], probabilities[5] = [0.3, 0.2, 0.5], [0.1, 0.1, 0.8]
    # O O is .3 · .1, O B .3 · .1, B I .2 · .8
    assert legal_at_seams(tag_ids, probabilities, TAGS).tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2]
    probabilities[4], probabilities[5] = [0.9, 0.05, 0.05], [0.5, 0.1, 0.4]
    assert legal_at_seams(tag_ids, probabilities, TAGS).tolist() == [0, 1, 2, 0, 0, 0, 0, 1, 2]


def test_a_window_in_mid_sentence_neither_begins_nor_ends_it():
    """A CRF adds its start and end scores only at the sentence's own first and last word."""
    inputs = inputs_of(9, head=HEADS["crf"], config=config_of())
    _, features = random_features(inputs, 3, seed=6, longest=30)

    def start_with_b_end_with_i(weights):
        zeros = {name: np.zeros_like(weights[name]) for name in ("output_weights", "crf/transitions")}
        return dict(zeros, **{"crf/start": np.array([0.0, 4.0, 0.0]), "crf/end": np.array([0.0, 0.0, 4.0])})

    outputs = outputs_of(inputs, features, change=start_with_b_end_with_i)
    last = [np.count_nonzero(feature["roles"]) - 1 for feature in features]
    for row, feature in enumerate(features):
        first_tag, last_tag = outputs.predictions["tag_ids"][row, [0, last[row]]]
        assert last[row] > 0 and (first_tag == 1) == (feature["first_word"] == [0])
        assert (last_tag == 2) == (feature["ends"] == [1])
    assert {feature["ends"][0] for feature in features} == {0, 1}


def test_a_recurrent_cell_is_its_equation():
    rng = np.random.RandomState(0)
    vectors, lengths = rng.normal(size=(3, 5, 4)).astype(np.float32), [5, 2, 1]
    for name in CELLS:
        head = TaggingHead(lstm_layers=1, lstm_size=3, lstm_cell=name)
        with tf.Graph().as_default(), tf.variable_scope("", use_resource=True):
            output = layers._bidirectional(tf.constant(vectors), tf.constant(lengths), head)
            variables = {v.op.name: v for v in tf.trainable_variables()}
            with tf.Session() as session:
                session.run(tf.global_variables_initializer())
                for variable in variables.values():
                    variable.load(rng.normal(size=variable.shape.as_list()), session)
                outputs, values = session.run((output, variables))
        for row, length in enumerate(lengths):
            for direction, order in (("forward", range(length)), ("backward", reversed(range(length)))):
                kernel, recurrent, bias = (values[direction + "/" + n] for n in ("kernel", "recurrent_kernel", "bias"))
                h, c = np.zeros(3), np.zeros(3)
                for k in order:
                    x = vectors[row, k] @ kernel + bias
                    h, c = _by_hand(name, x, h, c, recurrent)
                    at = slice(0, 3) if direction == "forward" else slice(3, 6)
                    np.testing.assert_allclose(outputs[row, k, at], h, rtol=1e-4, atol=1e-5)


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _by_hand(name, x, h, c, recurrent):
    if name == "lstm":
        i, f, g, o = np.split(x + h @ recurrent, 4)
        c = _sigmoid(f + 1) * c + _sigmoid(i) * np.tanh(g)
        return _sigmoid(o) * np.tanh(c), c
    z, r = np.split(_sigmoid(x[:6] + h @ recurrent[:, :6]), 2)
    return z * h + (1 - z) * np.tanh(x[6:] + (r * h) @ recurrent[:, 6:]), c
