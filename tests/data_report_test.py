"""The data report, compared with counts by plain Python loops."""

import collections
import math

import hypothesis
import hypothesis.strategies as st
import numpy as np

from steady_bert.tasks.task import NO_LABEL, Facts
from steady_bert.training import data_report
from steady_bert.training.feature_cache import FACTS_DTYPE


class Records:
    skipped = []
    mended = []
    notes = []
    kinds = {}

    def __init__(self, facts):
        self._facts = np.array([tuple(fact) for fact in facts], FACTS_DTYPE)

    def __len__(self):
        return len(self._facts)

    sources = property(__len__)

    def fact_chunks(self):
        for start in range(0, len(self), 7):
            yield self._facts[start : start + 7]


class Task:
    labels = ("a", "b")
    max_tokens = 10
    long_text = "cut"
    files = {"train": "in/train.tsv", "dev": "in/dev.tsv"}


def facts_of(draws):
    return [
        Facts(number + 2, text, label, tokens, tokens - 2, tokens % 3)
        for number, (text, label, tokens) in enumerate(draws)
    ]


# Few texts and labels, so that they repeat; text keys over the whole range of a uint64.
DRAWS = st.lists(
    st.tuples(
        st.sampled_from([0, 5, 2**63, 2**64 - 1]), st.sampled_from([0, 1, 1 << 31, NO_LABEL]), st.integers(2, 70)
    ),
    min_size=1,
    max_size=30,
)


@hypothesis.given(draws=DRAWS)
def test_the_counts_of_a_split_are_those_of_plain_loops(draws):
    facts = facts_of(draws)
    report = data_report.report(Task, "train", Records(facts))
    first, duplicates, conflicts = {}, [], []
    for fact in facts:
        if fact.text not in first:
            first[fact.text] = fact
            continue
        other = first[fact.text]
        labelled = NO_LABEL not in (fact.label, other.label)
        (conflicts if labelled and fact.label != other.label else duplicates).append((fact.line, other.line))
    assert report.duplicates == (len(duplicates), duplicates[:5])
    assert report.conflicts == (len(conflicts), conflicts[:5])
    cut = [fact.line for fact in facts if fact.tokens > 10]
    assert report.truncated == (len(cut), cut[:5])
    assert report.empty == (sum(f.tokens == 2 for f in facts), [f.line for f in facts if f.tokens == 2][:5])
    counts = collections.Counter(fact.label for fact in facts)
    assert report.label_counts == ({"a": counts[0], "b": counts[1]} if counts[0] + counts[1] else {})
    assert report.unknown_pieces == sum(fact.tokens % 3 for fact in facts)
    assert report.pieces == sum(fact.tokens - 2 for fact in facts)
    lengths = sorted(fact.tokens for fact in facts)
    assert report.tokens["median"] == lengths[(len(facts) - 1) // 2] and report.tokens["longest"] == lengths[-1]
    assert report.tokens["95 %"] == lengths[math.ceil(0.95 * len(facts)) - 1]
    low = 0
    for edge, count in report.histogram:
        assert count == sum(low < fact.tokens <= edge for fact in facts)
        low = edge
    assert sum(count for _, count in report.histogram) == len(facts)
    text = "\n".join(data_report.problems(report))
    assert ("cut to --max_seq_length=10: {} of {}".format(len(cut), len(facts)) in text) == bool(cut)
    assert all("train.tsv:{} = train.tsv:{}".format(*pair) in text for pair in (duplicates[:5] + conflicts[:5]))


@hypothesis.given(train=DRAWS, dev=DRAWS)
def test_the_overlap_of_two_splits_is_that_of_plain_loops(train, dev):
    train, dev = facts_of(train), facts_of(dev)
    first = {}
    for fact in train:
        first.setdefault(fact.text, fact)
    same, other = [], []
    for fact in dev:
        if fact.text in first:
            differs = fact.label not in (NO_LABEL, first[fact.text].label)
            (other if differs else same).append((fact.line, first[fact.text].line))
    overlap = data_report.overlap("dev", Records(dev), Records(train))
    assert overlap.same_label == (len(same), same[:5])
    assert overlap.other_label == (len(other), other[:5])
