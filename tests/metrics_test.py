"""Metrics against closed forms over random cases."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from steady_bert.tasks import metrics

PAIRS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40)
BINARY = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=40)


def counts(pairs, label):
    tp = sum(p == label and y == label for p, y in pairs)
    return tp, sum(p == label for p, _ in pairs) - tp, sum(y == label for _, y in pairs) - tp


def one_f1(pairs, label):
    tp, fp, fn = counts(pairs, label)
    return 2 * tp / (2 * tp + fp + fn) if tp else 0.0


@hypothesis.given(pairs=PAIRS)
@hypothesis.settings(max_examples=200)
def test_accuracy_macro_f1_and_confusion(pairs):
    p, y = np.array(pairs).T
    assert metrics.accuracy(p, y) == pytest.approx(sum(a == b for a, b in pairs) / len(pairs), abs=1e-9)
    present = sorted({*p, *y})
    assert metrics.macro_f1(p, y) == pytest.approx(sum(one_f1(pairs, c) for c in present) / len(present), abs=1e-9)
    expected = [[sum(b == row and a == column for a, b in pairs) for column in range(3)] for row in range(3)]
    assert metrics.confusion_matrix(p, y, 3).tolist() == expected


@hypothesis.given(pairs=BINARY)
@hypothesis.settings(max_examples=200)
def test_f1_and_matthews(pairs):
    p, y = np.array(pairs).T
    tp, fp, fn = counts(pairs, 1)
    tn = len(pairs) - tp - fp - fn
    assert metrics.f1(p, y) == pytest.approx(one_f1(pairs, 1), abs=1e-9)
    below = float((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)) ** 0.5
    assert metrics.matthews_correlation(p, y) == pytest.approx((tp * tn - fp * fn) / below if below else 0.0, abs=1e-9)


def ranks(values):
    return np.array([np.mean([sum(o < v for o in values) + 1, sum(o <= v for o in values)]) for v in values])


@hypothesis.given(pairs=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=30))
@hypothesis.settings(max_examples=200)
def test_correlations(pairs):
    p, y = np.array(pairs, float).T

    def correlation(a, b):
        a, b = a - a.mean(), b - b.mean()
        below = np.sqrt((a * a).sum() * (b * b).sum())
        return (a * b).sum() / below if below > 1e-12 else 0.0

    assert metrics.pearson(p, y) == pytest.approx(correlation(p, y), abs=1e-9)
    assert metrics.spearman(p, y) == pytest.approx(correlation(ranks(p), ranks(y)), abs=1e-9)


def test_a_constant_prediction_scores_0_not_nan():
    for name in ("pearson", "spearman", "matthews_correlation"):
        assert metrics.METRICS[name](np.ones(5), np.arange(5) % 2) == 0.0
