"""Files whose columns are not what they seem: refused or doubted, with what helps; read if a flag says so."""

import json

import pytest

from steady_bert.base.errors import UserError
from steady_bert.tasks.tagging import formats, tag_lists
from steady_bert.tasks.tagging.sentences import Layout
from steady_bert.tasks.task import BadLines


def write(tmp_path, content, name="data.conll"):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    return str(path)


def read(path, needs_tags=True, **layout):
    bad_lines = BadLines(0)
    sentences = list(formats.read_sentences(path, Layout(**layout), None, needs_tags, bad_lines))
    return sentences, bad_lines


def tagged(path, **layout):
    return [(" ".join(s.words), " ".join(s.tags)) for s in read(path, **layout)[0]]


ANN = [("Ann left Paris", "B-PER O B-LOC")]

# What the file has, the words of the refusal, the flags with which it is read, and what is read then.
WRONG_COLUMNS = [
    (
        "1 Ann B-PER\n2 left O\n3 Paris B-LOC\n",
        "data.conll:1: column 0 is taken for the word, and every value is a number. Its columns: 0 (1 2 3), "
        "1 (Ann left Paris), 2 (B-PER O B-LOC). Pass --word_column=1 if that is the word's",
        dict(word_column="1"),
        ANN,
    ),
    ("s1 Ann B-PER\ns1 left O\ns1 Paris B-LOC\n", "looks like an id, as 's1'", dict(word_column="1"), ANN),
    ("a.txt Ann B-PER\na.txt left O\na.txt Paris B-LOC\n", "every value is 'a.txt'", dict(word_column="1"), ANN),
    ("x\tAnn\tB-PER\nx\tleft\tO\nx\tParis\tB-LOC\n", "every value is 'x'", dict(word_column="1"), ANN),
    (
        "news Ann B-PER\nnews left O\n\nblog Paris B-LOC\nblog burns O\n",
        "all values of a sentence are the same, such as 'news'",
        dict(word_column="1"),
        [("Ann left", "B-PER O"), ("Paris burns", "B-LOC O")],
    ),
    (
        "0 Ann B-PER\n1 left O\n\n0 Paris B-LOC\n",
        "number",
        dict(word_column="1"),
        [("Ann left", "B-PER O"), ("Paris", "B-LOC")],
    ),
    ("t1 O Ann B-PER\nt2 O left O\nt3 O Paris B-LOC\n", "Pass --word_column=2", dict(word_column="2"), ANN),
    (
        "1-1 0-3 Ann B-PER\n1-2 4-8 left O\n1-3 9-14 Paris B-LOC\n",
        "looks like an id, as '1-1' does. Its columns: 0 (1-1 1-2 1-3), 1 (0-3 4-8 9-14), 2 (Ann",
        dict(word_column="2"),
        ANN,
    ),
    (  # GermEval: two levels of tags
        "#\tn-tv.de vom 26.02.2005\n1\tAnn\tB-PER\tO\n2\tleft\tO\tO\n3\tParis\tB-LOC\tO\n",
        "every value is a number",
        dict(word_column="1", tag_column="2"),
        ANN,
    ),
    (  # OntoNotes
        "nw/x 0 0 Ann NNP (PERSON) B-PER\nnw/x 0 1 left VBD * O\nnw/x 0 2 Paris NNP (GPE) B-LOC\n",
        "every value is 'nw/x'. ",
        dict(word_column="3"),
        ANN,
    ),
    (  # CoNLL-U
        "# text = Ann left\n"
        + "".join(
            "\t".join(row.split()) + "\n"
            for row in (
                "1 Ann Ann PROPN NNP _ 2 nsubj _ _",
                "2-3 dunno _ _ _ _ _ _ _ _",
                "2 du do AUX VB _ 0 root _ _",
                "3 nno know VERB VB _ 2 x _ _",
                "3.1 left _ _ _ _ _ _ _ _",
            )
        ),
        "every value is a number",
        dict(word_column="1", tag_column="3"),
        [("Ann du nno", "PROPN AUX VERB")],
    ),
    ("1\tO\n2\tB-X\n3\tO\n", "Pass --word_column: 0 if it is right", dict(word_column="0"), [("1 2 3", "O B-X O")]),
    ("Ann 1 B-PER\nleft 2 O\nParis 3 B-LOC\n", None, {}, ANN),
    ("1999 B-DATE\n", None, {}, [("1999", "B-DATE")]),
    ("4 B-X\n1 I-X\n7 O\n", None, {}, [("4 1 7", "B-X I-X O")]),
    ("B 1 B-X\n52 1 I-X\n", None, {}, [("B 52", "B-X I-X")]),
    ("no no O\nno no O\n", None, {}, [("no no", "O O")]),
    (  # hardly a sentence has two words
        "Ann x B-PER\n\nleft y O\n\nha x O\nha y O\n\nno x O\nno y O\n\n" + "now z O\n\n" * 3,
        None,
        {},
        [("Ann", "B-PER"), ("left", "O"), ("ha ha", "O O"), ("no no", "O O")] + [("now", "O")] * 3,
    ),
    (
        "the cat sat\na dog ran\nit all ended.\n",
        "data.conll:1: the last column is taken for the tag, and has words, such as 'sat'. A line is a word and its "
        "tags; raw text needs --format=text, and has no tags to learn. If they are tags: --tag_column=2.",
        dict(tag_column="2"),
        [("the a it", "sat ran ended.")],
    ),
    ("word tag\nAnn B-PER\nleft O\n", "the line 'word tag' names the columns", None, None),
    ("Ann left\tB-PER O\nBob\tB-PER\n", "data.conll: a row is a whole sentence: 'Ann left'. Write", None, None),
    ("Ada Low\tB-Full Name\nleft\tO\n", None, {}, [("Ada Low left", "B-Full Name O")]),
    ("good movie\nbad film\n", "has words, such as 'movie'", dict(tag_scheme="plain"), [("good bad", "movie film")]),
    ("the DET\ncat NOUN\n", None, {}, [("the cat", "DET NOUN")]),
    ("a det\nb noun\nc det\nd noun\n", None, {}, [("a b c d", "det noun det noun")]),
    (
        "Ann B-PER _\nleft O _\nParis B-LOC _\n",
        "the last column is taken for the tag, and every value is '_'. Its columns: 0 (Ann left Paris), 1 (B-PER O "
        "B-LOC), 2 (_ …). Pass --tag_column=1.",
        dict(tag_column="1"),
        ANN,
    ),
    (
        "T1\tPER 0 7\tAda Low\nT2\tLOC 11 16\tParis\n",
        "data.conll: annotations of brat, not columns. Name the text, whose name ends in .txt",
        None,
        None,
    ),
    ("T1\tPER 0 7\tAda Low\n#1\tAnnotatorNotes T1\tyes\n", "annotations of brat", None, None),
    ('{"text": "Ann left", "entities": []}\n', "JSON, not columns. Name the file .json or .jsonl", None, None),
    ("Ann,B-PER\nleft,O\nParis,B-LOC\n", "commas separate its cells", None, None),
    ("Ann,x,B-PER\nleft the,y,O\n", "commas separate its cells. Name the file .csv, or give --format=csv", None, None),
    (
        "Ann b-per\nleft o\nParis b-loc\n",
        "the tags b-loc, b-per, o look like B-loc, B-per, O, with typing errors. Pass --mend_tags",
        dict(mend_tags=True),
        [("Ann left Paris", "B-per O B-loc")],
    ),
    ("Ann B_PER\nlow I_PER\nleft 0\n", "with typing errors", dict(mend_tags=True), [("Ann low left", "B-PER I-PER O")]),
    ("Ann B-PER\nleft 0\n", "the tags 0, B-PER look like B-PER, O", dict(mend_tags=True), [("Ann left", "B-PER O")]),
    (
        "Ann b-PER\nLow I-PER\nleft O\n",
        "'Ann' has the tag 'b-PER'. Write B-PER",
        dict(mend_tags=True),
        [("Ann Low left", "B-PER I-PER O")],
    ),
    ("Ann s-per\nleft o\n", "with typing errors", dict(tag_scheme="plain"), [("Ann left", "s-per o")]),
]


@pytest.mark.parametrize("content, message, flags, expected", WRONG_COLUMNS)
def test_a_wrong_column_is_refused_and_read_with_the_flag_that_names_another(
    tmp_path, content, message, flags, expected
):
    path = write(tmp_path, content)
    if message is not None:
        with pytest.raises(UserError) as error:
            tag_lists.find_tags(path, Layout(), BadLines(0))
        assert message in str(error.value)
    if expected is not None:
        assert tagged(path, **flags) == expected


def test_a_doubtful_column_is_read_and_noted(tmp_path):
    rows = ["{} w{} B-X".format(word, n % 3) for n, word in enumerate(["17"] * 13 + list("abcdefghi"))]
    path = write(tmp_path, "\n".join(rows))
    (note,) = read(path)[1].notes
    assert note == (
        "59% of the first 22 words are numbers or ids, such as '17'. If column 0 is not the word's, pass --word_column."
    )
    assert read(path, word_column="0")[1].notes == []
    rows = ["{} B-X".format(word) for word in ["ha"] * 13 + list("abcdefghi")]
    assert "are the same, such as 'ha'" in read(write(tmp_path, "\n".join(rows)))[1].notes[0]
    path = write(tmp_path, "the O DT\nUN B-ORG NNP\nis O VB\nthe O DT\n")
    assert "column 1 has tags of entities" in read(path)[1].notes[0]
    assert "Pass --tag_column=1 for the other." in read(path)[1].notes[0]


def test_columns_that_flags_name_exist(tmp_path):
    path = write(tmp_path, "a x O\nb y B-X\n")
    for flags, message in (
        (dict(word_column="3"), "--word_column=3: the columns of .*data.conll are 0 to 2"),
        (dict(word_column="Word"), "--word_column=Word: .*data.conll has no line that names its columns"),
        (dict(tag_column="Tag"), "--tag_column=Tag: .*data.conll has no line that names its columns"),
    ):
        with pytest.raises(UserError, match=message):
            read(path, **flags)
    sentences, _ = read(write(tmp_path, "1 Ann\n2 left\n"), needs_tags=False, word_column="1")
    assert [(s.words, s.tags) for s in sentences] == [(("Ann", "left"), None)]


def test_mended_typing_errors_are_counted_by_tag(tmp_path):
    path = write(tmp_path, "Ann b-per\nLow i-per\nleft o\n\nBob b-per\n")
    _, bad_lines = read(path, mend_tags=True)
    assert bad_lines.mended == [
        path + ": 2 words have the tag 'b-per', which is read as B-per.",
        path + ": 1 words have the tag 'i-per', which is read as I-per.",
        path + ": 1 words have the tag 'o', which is read as O.",
    ]


def test_ids_count_refused_sentences_too(tmp_path):
    path = write(tmp_path, "# first = 1\na B-X\n\nb O x\n\n-DOCSTART- O\n\nc O\nd I-X\n\n\n\ne B-X\n")
    bad_lines = BadLines(2)
    sentences = formats.read_sentences(path, Layout(tag_scheme="bio"), None, True, bad_lines)
    assert [(s.example_id, s.number) for s in sentences] == [("0", 0), ("3", 1)]


def test_the_identity_of_a_layout_survives_json():
    """A resume compares it with what plan.json holds."""
    changed = Layout(word_column="form", overlaps="longest", tag_names=("O", "B-X")).identity()
    assert json.loads(json.dumps(changed)) == changed != Layout().identity()
    assert Layout().identity() == ["auto", "last", "auto", "words", False]
