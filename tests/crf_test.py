"""The conditional random field against brute force over all sequences of tags."""

import itertools

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from steady_bert.tasks.tagging import crf


class Graph:
    """One graph for all cases with a number of tags; the batch size and the number of words are dynamic."""

    def __init__(self, tags):
        self.graph = tf.Graph()
        with self.graph.as_default():
            self.emissions = tf.placeholder(tf.float32, [None, None, tags])
            self.tags = tf.placeholder(tf.int32, [None, None])
            self.lengths = tf.placeholder(tf.int32, [None])
            self.transitions = tf.placeholder(tf.float32, [tags, tags])
            likelihood = crf.log_likelihood(self.emissions, self.tags, self.lengths, self.transitions)
            inputs = [self.emissions, self.transitions]
            self.outputs = {
                "likelihood": likelihood,
                "partition": crf.log_partition(self.emissions, self.lengths, self.transitions),
                "marginals": crf.marginals(self.emissions, self.lengths, self.transitions),
                "viterbi": crf.viterbi(self.emissions, self.lengths, self.transitions),
                "gradients": tf.gradients(likelihood, inputs),
            }
            config = tf.ConfigProto()
            config.graph_options.rewrite_options.disable_meta_optimizer = True  # it takes longer than the runs
            self.session = tf.Session(config=config)

    def run(self, emissions, tags, lengths, transitions):
        feeds = {self.emissions: emissions, self.tags: tags, self.lengths: lengths, self.transitions: transitions}
        return self.session.run(self.outputs, feeds)


GRAPHS = {}


def graph(tags):
    if tags not in GRAPHS:
        GRAPHS[tags] = Graph(tags)
    return GRAPHS[tags]


def score(emissions, tags, transitions):
    total = sum(emissions[k, tag] for k, tag in enumerate(tags))
    return total + sum(transitions[a, b] for a, b in zip(tags, tags[1:]))


@settings(max_examples=40)
@given(st.integers(1, 4), st.lists(st.integers(0, 4), min_size=1, max_size=5), st.integers(0, 10**6))
def test_everything_equals_brute_force(count, lengths, seed):
    rng = np.random.RandomState(seed)
    words = max(lengths + [1])
    emissions = rng.normal(size=(len(lengths), words, count), scale=2.0)
    transitions = rng.normal(size=(count, count))
    tags = rng.randint(count, size=(len(lengths), words))
    outputs = graph(count).run(emissions, tags, lengths, transitions)
    for row, length in enumerate(lengths):
        sequences = list(itertools.product(range(count), repeat=length))
        scores = np.array([score(emissions[row], sequence, transitions) for sequence in sequences], np.float64)
        partition = np.logaddexp.reduce(scores)
        np.testing.assert_allclose(outputs["partition"][row], partition, rtol=1e-5, atol=1e-5)
        gold = score(emissions[row], tuple(tags[row, :length]), transitions) - partition
        np.testing.assert_allclose(outputs["likelihood"][row], gold, rtol=1e-5, atol=2e-5)
        assert tuple(outputs["viterbi"][row, :length]) == sequences[int(np.argmax(scores))]
        assert not outputs["viterbi"][row, length:].any()
        probabilities = np.exp(scores - partition)
        marginals = np.zeros((words, count))
        for sequence, probability in zip(sequences, probabilities):
            for k, tag in enumerate(sequence):
                marginals[k, tag] += probability
        np.testing.assert_allclose(outputs["marginals"][row], marginals, atol=1e-5)


@pytest.mark.parametrize("length", [1, 2, 3, 4])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_gradient_of_each_score_is_gold_minus_expected(count, length):
    rng = np.random.RandomState(100 * count + length)
    emissions = rng.normal(size=(1, length + 1, count))  # a word beyond the length
    transitions = rng.normal(size=(count, count))
    gold = tuple(rng.randint(count, size=length))
    tags = [list(gold) + [0]]
    gradients = graph(count).run(emissions, tags, [length], transitions)["gradients"]
    sequences = list(itertools.product(range(count), repeat=length))
    scores = np.array([score(emissions[0], s, transitions) for s in sequences])
    weights = -np.exp(scores - np.logaddexp.reduce(scores))
    weights[sequences.index(gold)] += 1.0
    expected = [np.zeros((1, length + 1, count)), np.zeros((count, count))]
    for sequence, weight in zip(sequences, weights):
        for k, tag in enumerate(sequence):
            expected[0][0, k, tag] += weight
        for a, b in zip(sequence, sequence[1:]):
            expected[1][a, b] += weight
    for actual, wanted in zip(gradients, expected):
        np.testing.assert_allclose(actual, wanted, atol=1e-5)


def test_a_forbidden_transition_is_never_taken_however_large_the_emissions():
    emissions = np.array([[[0.0, 500.0], [60.0, 0.0], [0.0, 70.0]]])
    transitions = np.zeros((2, 2))
    transitions[1, 0] = crf.FORBIDDEN
    outputs = graph(2).run(emissions, np.zeros((1, 3), int), [3], transitions)
    assert outputs["viterbi"].tolist() == [[1, 1, 1]]
