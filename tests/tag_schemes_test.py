"""Tags and entities: every scheme reads what it writes, seqeval agrees, impossible tags are located."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steady_bert.tasks.tagging import schemes as tag_schemes
from steady_bert.tasks.tagging.schemes import Census, Entity

TYPES = ("PER", "LOC", "a-b")

NO_SEQEVAL = "seqeval does not build on Python 3.7"


@st.composite
def sentences(draw):
    """(entities that do not overlap, number of words)"""
    entities, word = [], 0
    for kind, gap, length in draw(
        st.lists(st.tuples(st.sampled_from(TYPES), st.integers(0, 2), st.integers(1, 4)), max_size=5)
    ):
        entities.append(Entity(kind, word + gap, word + gap + length))
        word += gap + length
    return entities, word + draw(st.integers(0 if word else 1, 2))


def written(entities, words, scheme):
    tags = ["O"] * words
    ends = {}
    for kind, start, end in entities:
        for word in range(start, end):
            if scheme == "iob1":
                prefix = "B" if word == start and ends.get(start) == kind else "I"
            elif scheme == "bio":
                prefix = "B" if word == start else "I"
            else:
                first, inside, last, single = scheme
                prefix = single if end - start == 1 else first if word == start else last if word == end - 1 else inside
            tags[word] = prefix + "-" + kind
        ends[end] = kind
    return tags


SCHEMES = {"iob1": "iob1", "bio": "bio", "BIES": "bioes", "BMES": "bioes", "BILU": "bioes"}


@settings(max_examples=200)
@given(sentences(), st.sampled_from(sorted(SCHEMES)))
def test_entities_are_read_as_they_were_written(sentence, style):
    entities, words = sentence
    tags = written(entities, words, style)
    assert tag_schemes.entities(tags) == entities
    assert tag_schemes.impossible(tags, SCHEMES[style]) == []
    bio = tag_schemes.to_bio(entities, words)
    assert bio == written(entities, words, "bio") and tag_schemes.strict_entities(bio) == entities


@settings(max_examples=200)
@given(st.lists(sentences(), min_size=1, max_size=6), st.sampled_from(sorted(SCHEMES)))
def test_a_file_shows_its_scheme_or_one_that_reads_it_the_same(file, style):
    census = Census()
    for entities, words in file:
        census.add(written(entities, words, style))
    scheme = census.scheme()
    for entities, words in file:
        tags = written(entities, words, style)
        assert tag_schemes.impossible(tags, scheme) == [] and tag_schemes.entities(tags) == entities
    if style == "bio" or any(entities for entities, _ in file):
        assert scheme == SCHEMES[style]


random_tags = st.lists(st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y"]), min_size=1, max_size=12)


@settings(max_examples=200)
@given(random_tags)
def test_lenient_and_strict_entities_equal_seqevals(tags):
    labeling = pytest.importorskip("seqeval.metrics.sequence_labeling", reason=NO_SEQEVAL)
    scheme = pytest.importorskip("seqeval.scheme", reason=NO_SEQEVAL)
    lenient = [Entity(kind, start, end + 1) for kind, start, end in labeling.get_entities(tags)]
    assert tag_schemes.entities(tags) == lenient
    strict = [Entity(e.tag, e.start, e.end) for e in scheme.Entities([tags], scheme.IOB2).entities[0]]
    assert tag_schemes.strict_entities(tags) == strict


@pytest.mark.parametrize(
    "tags, scheme, place",
    [
        ("O I-X", "bio", 1),
        ("I-X", "bio", 0),
        ("B-X I-Y", "bio", 1),
        ("B-X I-X O I-X", "bio", 3),
        ("B-X I-X B-X I-X", "bio", None),
        ("I-X B-X O", "iob1", None),
        ("I-X O B-X", "iob1", 2),
        ("I-X B-Y", "iob1", 1),
        ("B-X O", "bioes", 1),
        ("B-X E-X S-X", "bioes", None),
        ("B-X I-X", "bioes", 2),
        ("B-X M-X E-Y", "bioes", 2),
        ("E-X", "bioes", 0),
        ("S-X I-X E-X", "bioes", 1),
        ("B-X B-X E-X", "bioes", 1),
    ],
)
def test_the_first_impossible_tag_is_named(tags, scheme, place):
    assert next(iter(tag_schemes.impossible(tags.split(), scheme)), None) == place


def test_every_impossible_tag_is_found():
    assert tag_schemes.impossible(["I-X", "I-X", "O", "I-Y", "B-Y"], "bio") == [0, 3]
    assert tag_schemes.impossible(["B-X", "O", "E-X", "S-X", "B-X"], "bioes") == [1, 2, 5]


@pytest.mark.parametrize(
    "tags, scheme",
    [
        ("NOUN VERB DET", "plain"),
        ("O O", "bio"),
        ("O PER B-PER", "bio"),  # PER is then an error
        ("O X", "plain"),
        ("B-NP I-NP S-NP O", "bioes"),
    ],
)
def test_the_scheme_of_tags_is_recognized(tags, scheme):
    census = Census()
    census.add(tags.split())
    assert census.scheme() == scheme


def test_legal_is_what_is_possible():
    tags = tag_schemes.tags_of(("X", "Y"))
    assert tags == ["O", "B-X", "I-X", "B-Y", "I-Y"]
    follows, begins = tag_schemes.legal(tags)
    for a, b in itertools.product(range(5), repeat=2):
        possible = tag_schemes.impossible(["B-" + tags[a][2:] if a else "O", tags[a], tags[b]], "bio") == []
        assert follows[a, b] == possible
    assert begins.tolist() == [True, True, False, True, False] and follows.dtype == np.bool_
