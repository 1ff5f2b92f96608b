"""Entity scores against seqeval in both of its modes, worked examples, and the rule of CLUENER's scorer."""

import random

import pytest

from steady_bert.tasks.tagging import entity_scores
from steady_bert.tasks.tagging import schemes as tag_schemes
from steady_bert.tasks.tagging.schemes import Entity

TAGS = ["O", "O", "B-X", "I-X", "B-Y", "I-Y", "B-Z", "I-Z"]

NO_SEQEVAL = "seqeval does not build on Python 3.7"


def cases(count):
    rng = random.Random(5)
    for _ in range(count):
        gold = [[rng.choice(TAGS) for _ in range(rng.randint(1, 9))] for _ in range(rng.randint(1, 6))]
        predicted = [[tag if rng.random() < 0.7 else rng.choice(TAGS) for tag in tags] for tags in gold]
        yield gold, predicted


def counted(gold, predicted, read):
    return entity_scores.count([read(tags) for tags in gold], [read(tags) for tags in predicted])


def test_random_cases_equal_seqeval_in_both_modes():
    seqeval = pytest.importorskip("seqeval.metrics", reason=NO_SEQEVAL)
    scheme = pytest.importorskip("seqeval.scheme", reason=NO_SEQEVAL).IOB2
    for gold, predicted in cases(200):
        for read, mode in (
            (tag_schemes.entities, {}),
            (tag_schemes.strict_entities, dict(mode="strict", scheme=scheme)),
        ):
            by_type = counted(gold, predicted, read)
            total = entity_scores.total(by_type)
            options = dict(mode, zero_division=0)
            for name in ("precision", "recall", "f1"):
                score = getattr(seqeval, name + "_score")
                assert getattr(total, name) == pytest.approx(score(gold, predicted, **options), abs=1e-9)
                of_types = score(gold, predicted, average=None, **options)
                assert [getattr(counts, name) for counts in by_type.values()] == pytest.approx(list(of_types), abs=1e-9)
            macro = seqeval.f1_score(gold, predicted, average="macro", **options)
            assert entity_scores.macro_f1(by_type) == pytest.approx(macro if by_type else 0.0, abs=1e-9)


def test_a_worked_example():
    gold = [["B-X", "I-X", "O", "B-Y"], ["B-X", "O"]]
    predicted = [["B-X", "I-X", "O", "B-X"], ["O", "I-X"]]
    lenient = counted(gold, predicted, tag_schemes.entities)
    # X: predicted 0-2, 3-4 and the I that begins an entity; correct is 0-2; gold are 0-2 and 0-1.
    assert lenient == {"X": (1, 3, 2), "Y": (0, 0, 1)}
    total = entity_scores.total(lenient)
    assert (total.precision, total.recall, total.f1) == (1 / 3, 1 / 3, 1 / 3)
    assert entity_scores.macro_f1(lenient) == (2 / 5 + 0) / 2
    strict = entity_scores.total(counted(gold, predicted, tag_schemes.strict_entities))
    assert strict == (1, 2, 3) and strict.f1 == 2 / 5


def test_no_gold_and_no_predicted_entities_score_0():
    assert entity_scores.total({}).f1 == entity_scores.macro_f1({}) == 0.0


def test_surfaces_count_a_name_once_a_sentence():
    text = "Ann met Ann in Rome"
    offsets = [(0, 3), (4, 7), (8, 11), (12, 14), (15, 19)]
    gold = entity_scores.surfaces([Entity("name", 0, 1), Entity("name", 2, 3), Entity("scene", 4, 5)], text, offsets)
    predicted = entity_scores.surfaces([Entity("name", 2, 3), Entity("name", 4, 5)], text, offsets)
    assert gold == {("name", "Ann"), ("scene", "Rome")}
    assert entity_scores.count([gold], [predicted]) == {"name": (1, 2, 1), "scene": (0, 0, 1)}


def test_confusions_pair_gold_and_predicted_types():
    gold = [[Entity("X", 0, 2), Entity("Y", 3, 4), Entity("X", 5, 6)]]
    predicted = [[Entity("X", 0, 1), Entity("X", 3, 4), Entity("Z", 7, 8)]]
    assert entity_scores.confusions(gold, predicted) == [
        (entity_scores.NOTHING, "Z", 1),
        ("X", entity_scores.NOTHING, 1),
        ("X", "X (other ends)", 1),
        ("Y", "X", 1),
    ]
