"""Tagged files: every format is read as it comes, every mistake is named with file and line."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tokenization
from steady_bert.base.errors import UserError
from steady_bert.tasks.tagging import formats, predictions, spans, tag_lists
from steady_bert.tasks.tagging import schemes as tag_schemes
from steady_bert.tasks.tagging.schemes import Entity
from steady_bert.tasks.tagging.sentences import Layout
from steady_bert.tasks.task import BadLines

AUTO = Layout()


def write(tmp_path, content, name="data.conll"):
    path = tmp_path / name
    path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return str(path)


def read(path, layout=AUTO, tags=None, needs_tags=True, allowed=0):
    bad_lines = BadLines(allowed)
    return list(formats.read_sentences(path, layout, tags, needs_tags, bad_lines)), bad_lines


def tagged(path, layout=AUTO):
    return [(" ".join(s.words), " ".join(s.tags)) for s in read(path, layout)[0]]


@pytest.mark.parametrize(
    "content, expected",
    [
        ("Ann B-PER\nsleeps O\n\nRome B-LOC\n", [("Ann sleeps", "B-PER O"), ("Rome", "B-LOC")]),
        ("Ann\tB-PER\nsleeps\tO", [("Ann sleeps", "B-PER O")]),  # no blank line, not even a line end, at the end
        ("\ufeffAnn O\r\n\r\n\r\nRome O\r\n", [("Ann", "O"), ("Rome", "O")]),
        (
            "-DOCSTART- -X- O\n\nEU I-NP I-ORG\nrejects I-VP O\n\n-DOCSTART- -X- O\n\nPeter I-NP I-PER\n",
            [("EU rejects", "B-ORG O"), ("Peter", "B-PER")],
        ),
        ("# a comment of several words\n# O\nAnn B-PER\n\n# id 7\nx O\n", [("# Ann", "O B-PER"), ("x", "O")]),
        ("#tag\tO\n#\tO\n\n# newdoc\nAnn\tB-PER\n", [("#tag #", "O O"), ("Ann", "B-PER")]),
        ("# newdoc id = 5\nNew York\tB-LOC\nx\tO\n", [("New York x", "B-LOC O")]),
        ("#Trump NNP B-PER\nwins VBZ O\n", [("#Trump wins", "B-PER O")]),
        ("# sent_id = 1\nAnn x y B-PER\n", [("Ann", "B-PER")]),
        ("a O\n-DOCSTART- O\nb O\n", [("a", "O"), ("b", "O")]),
        ("\u3000 O\n\xa0 B-X\n", [("\u3000 \xa0", "O B-X")]),  # white space that is a word
        ("a\tO\t\nb\tB-X\t\n", [("a b", "O B-X")]),
        ("New York\tB-LOC\n", [("New York", "B-LOC")]),  # a space within a word
        ("a B-X\nb M-X\nc E-X\nd S-Y\n", [("a b c d", "B-X I-X I-X B-Y")]),
        ("a I-X\nb B-X\nc I-X\n", [("a b c", "B-X B-X I-X")]),
        ("the DET\ncat NOUN\n", [("the cat", "DET NOUN")]),
    ],
)
def test_columns_as_they_come(tmp_path, content, expected):
    assert tagged(write(tmp_path, content)) == expected


def test_any_column_may_have_the_tags(tmp_path):
    path = write(tmp_path, "EU NNP B-NP B-ORG\nrejects VBZ B-VP O\n")
    assert tagged(path, Layout(tag_column="2"))[0][1] == "B-NP B-VP"
    assert tagged(path, Layout(tag_column="1"))[0][1] == "NNP VBZ"
    assert read(path, Layout(tag_column="none"), needs_tags=False)[0][0].tags is None
    with pytest.raises(UserError, match="--tag_column=4: the columns of .*data.conll are 0 to 3"):
        read(path, Layout(tag_column="4"))


MISTAKES = [
    ("a O\nb\n", "data.conll:2: 1 columns, where others have 2"),
    ("a O\n\nb O x\n", "data.conll:3: 3 columns, where others have 2"),
    ("a\tO\n\tO\n", "data.conll:2: column 0 is empty"),
    ("#MAGA\nis O\n", "data.conll:1: 1 columns, where others have 2"),
    ("a B-X\nb Y\nc O\n", "data.conll:2: 'b' has the tag 'Y', which is neither O nor like B-PER"),
    ("a O\nb O\nc I-X\nd B-X\ne O\nf B-X\n", "data.conll:3: I-X cannot follow O in bio"),
    ("a B-X\nb E-X\n\nc B-X\n", "data.conll:4: the sentence's end cannot follow B-X in bioes"),
    (b"a O\n\xff O\n", "data.conll:2: byte 1 is not UTF-8"),
    ("a O\nb\0 O\n", "data.conll:2: has a NUL character"),
    ("", "data.conll: has no sentence"),
    ("\n\n\n", "data.conll: has no sentence"),
    ("-DOCSTART- O\n", "data.conll: has no sentence"),
    ("a\nb\n", "data.conll:1: a line has a word and no tag"),
    ("x O\n".encode("utf-16"), "is in UTF-16"),
]


@pytest.mark.parametrize("content, message", MISTAKES)
def test_mistakes_are_named_with_file_and_line(tmp_path, content, message):
    with pytest.raises(UserError) as error:
        read(write(tmp_path, content))
    assert message in str(error.value)


def test_a_bad_line_takes_its_sentence_and_no_other_with_it(tmp_path):
    path = write(tmp_path, b"a B-X\n\nb O\n\xff O\nc O\n\nd O\ne\n\nf B-X\nf I-X\n\ng O\nh I-X\n")
    found, bad_lines = read(path, allowed=3)
    assert [(s.number, s.line, s.words) for s in found] == [(0, 1, ("a",)), (1, 10, ("f", "f"))]
    assert [message.split(": ")[0].rsplit(":", 1)[1] for message in bad_lines.messages] == ["4", "8", "14"]


def test_mend_tags_reads_impossible_tags_as_conlleval_does(tmp_path):
    path = write(tmp_path, "a O\nb I-X\nc I-Y\nd B-X\n")
    found, bad_lines = read(path, Layout(mend_tags=True, tag_scheme="bio"))
    assert found[0].tags == ("O", "B-X", "B-Y", "B-X")
    assert [message.split("data.conll:")[1] for message in bad_lines.mended] == [
        "2: I-X cannot follow O in bio.",
        "3: I-Y cannot follow I-X in bio.",
    ]


def test_a_tag_that_training_did_not_see_is_named(tmp_path):
    path = write(tmp_path, "a O\nb B-Y\n")
    with pytest.raises(UserError, match="data.conll:2: 'b' has the tag B-Y, which training did not see: O, B-X, I-X"):
        read(path, tags=["O", "B-X", "I-X"])


def test_tags_are_found_or_given(tmp_path):
    path = write(tmp_path, "a B-Y\nb O\n\nc B-X\n")
    assert tag_lists.find_tags(path, Layout(), BadLines(0)) == ["O", "B-X", "I-X", "B-Y", "I-Y"]
    assert tag_lists.find_tags(write(tmp_path, "a V\nb N\nc V\n"), Layout(), BadLines(0)) == ["N", "V"]
    given = write(tmp_path, "B-Y\nB-X\nI-X\nO\n", "tags.txt")
    assert tag_lists.read_tags_file(given, "auto") == ["B-Y", "B-X", "I-X", "O", "I-Y"]
    assert tag_lists.read_tags_file(write(tmp_path, "VERB\nNOUN\n", "tags.txt"), "auto") == ["VERB", "NOUN"]
    assert tag_lists.read_tags_file(write(tmp_path, "E-X\nO\n", "tags.txt"), "plain") == ["E-X", "O"]
    for content, message in (
        ("O\n", "names no tag"),
        ("B-X\nB-X\n", "stands at line 1 too"),
        ("O\nB-X\nY\n", ":3: 'Y'"),
    ):
        with pytest.raises(UserError, match=message):
            tag_lists.read_tags_file(write(tmp_path, content, "tags.txt"), "auto")


def test_weights_of_tags_are_given_or_balance_what_is_seen(tmp_path):
    found, _ = read(write(tmp_path, "a B-X\nb O\nc O\nd O\n"))
    tags = ["O", "B-X", "I-X"]
    assert tag_lists.tag_weights(["B-X=3", "O=.5"], tags, found) == (0.5, 3.0, 1.0)
    assert tag_lists.tag_weights(["balanced"], tags, found) == (4 / 6, 2.0, 1.0)
    for wrong in ("X=2", "O=-1", "O=0", "O=nan", "O=inf", "O", "O=x"):
        with pytest.raises(UserError, match="--class_weights: '{}' is not tag=weight, .* one of O, B-X".format(wrong)):
            tag_lists.tag_weights([wrong], tags, found)
    with pytest.raises(UserError, match="'O=2' is not"):
        tag_lists.tag_weights(["O=1", "O=2"], tags, found)


@pytest.mark.parametrize(
    "content, message",
    [
        ("a O\nb O\n", "no word has a tag but O"),
        ("a B\nb I\nc O\n", "the tags B, I, O name no type"),
        ("a ORG\nb O\n", "the tags O, ORG name no type"),
    ],
)
def test_tags_that_teach_nothing_are_refused(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        tag_lists.find_tags(write(tmp_path, content), AUTO, BadLines(0))


def test_raw_text_is_not_taken_for_columns_of_characters(tmp_path):
    path = write(tmp_path, "王安在北京\n", "x.txt")
    with pytest.raises(UserError, match="x.txt:1: a line is not a single character, which the model tags"):
        read(path, Layout(text_units="characters"), needs_tags=False)
    (found,), _ = read(write(tmp_path, "王\n安\n"), Layout(text_units="characters"), needs_tags=False)
    assert (found.text, found.offsets, found.tags) == ("王安", ((0, 1), (1, 2)), None)


# --- texts ------------------------------------------------------------------------------------------------------------


def lines(*objects):
    return "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in objects)


def test_spans_by_words(tmp_path):
    text = " Ann's at  Café Roma, NYC."
    entities = [dict(start=1, end=4, type="PER"), [11, 20, "LOC"], dict(start=22, end=25, type="LOC")]
    path = write(
        tmp_path, lines(dict(id="x", text=text, entities=entities), dict(text="none", entities=[])), "data.json"
    )
    (first, second), _ = read(path)
    assert first.words == ("Ann", "'", "s", "at", "Café", "Roma", ",", "NYC", ".")
    assert first.tags == ("B-PER", "O", "O", "O", "B-LOC", "I-LOC", "O", "B-LOC", "O")
    assert [text[start:end] for start, end in first.offsets] == list(first.words)
    assert (first.example_id, first.line, second.example_id, second.tags) == ("x", 1, "1", ("O",))
    assert predictions.json_entities(first, first.tags, [0.5] * 9)["entities"] == [
        dict(start=1, end=4, type="PER", text="Ann", score=0.5),
        dict(start=11, end=20, type="LOC", text="Café Roma", score=0.5),
        dict(start=22, end=25, type="LOC", text="NYC", score=0.5),
    ]


def test_cluener_by_characters(tmp_path):
    row = dict(text="浙商银行 叶老桂", label={"name": {"叶老桂": [[5, 7]]}, "company": {"浙商银行": [[0, 3]]}})
    path = write(tmp_path, lines(row), "train.json")
    assert formats.units_of(path, Layout(text_units="auto")) == "characters"
    (found,), _ = read(path, Layout(text_units="characters"))
    assert found.words == tuple("浙商银行叶老桂")
    assert found.tags == ("B-company",) + ("I-company",) * 3 + ("B-name", "I-name", "I-name")


@pytest.mark.parametrize(
    "row, message",
    [
        (dict(text="a b", entities=[[0, 4, "X"]]), "the entity 0 to 4 is not within the text of 3 characters"),
        (dict(text="a b", entities=[[1, 1, "X"]]), "the entity 1 to 1 is not within"),
        (dict(text="a b", entities=[[0, "1", "X"]]), "not two whole numbers and a name"),
        (dict(text="a b", entities=[[0, True, "X"]]), "not two whole numbers and a name"),
        (dict(text="a b", entities=[[0, 1, "X\tY"]]), "not two whole numbers and a name"),
        (dict(text="a b", entities=[[0, 1]]), "is not like"),
        (dict(text="a b", entities=[[1, 2, "X"]]), "X ' ' covers no word"),
        (dict(text="a b", entities={"a": 1}), '"entities" is not a list'),
        (dict(text="iPhone6", entities=[[0, 6, "X"]]), "X 'iPhone' ends or begins within a word"),
        (dict(text="a b c", entities=[[0, 3, "X"], [2, 5, "Y"]]), "share characters; a word has one tag"),
        (dict(text="a b", label={"X": {"b": [[0, 0]]}}), "the entity 0 to 1 is given as 'b', and 'a' stands there"),
        (dict(text="a b", label={"X": {"b": [[2]]}}), "the \"label\" of 'X' is not like"),
        (dict(text="a b", label={"X": 3}), "the \"label\" of 'X' is not like"),
        (dict(text="a b"), 'no tags: write "entities"'),
        (dict(words="a b", entities=[]), '"text" is missing'),
        (dict(text=" ", entities=[]), "the text has no word"),
    ],
)
def test_mistakes_in_json_are_named(tmp_path, row, message):
    path = write(tmp_path, lines(dict(text="fine", entities=[]), row), "data.json")
    with pytest.raises(UserError) as error:
        read(path)
    assert "data.json:2: " in str(error.value) and message in str(error.value)


def test_mend_tags_keeps_the_longer_of_entities_that_overlap(tmp_path):
    row = dict(text="a b c", entities=[[4, 5, "Y"], [0, 3, "X"], [2, 5, "Y"], [0, 3, "X"]])
    found, bad_lines = read(write(tmp_path, lines(row), "data.json"), Layout(mend_tags=True))
    assert found[0].tags == ("B-X", "I-X", "B-Y") and len(bad_lines.mended) == 1


def test_raw_text_is_a_text_a_line(tmp_path):
    path = write(tmp_path, "Ann sleeps.\n\n  Rome \n", "texts.txt")
    found, _ = read(path, Layout(format="text"), needs_tags=False)
    assert [(s.example_id, s.words, s.tags) for s in found] == [
        ("0", ("Ann", "sleeps", "."), None),
        ("2", ("Rome",), None),
    ]
    assert found[1].offsets == ((2, 6),)


@settings(max_examples=200)
@given(st.text("ab \u200b\u3000王.", min_size=1, max_size=12), st.data())
def test_spans_give_each_unit_a_tag_or_an_error(text, data):
    ends = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=6)))
    entities = [Entity("X", a, b) for a, b in zip(ends[::2], ends[1::2])]
    for units in ("words", "characters"):
        places = spans.units_in(text, units)
        try:
            tags = spans.tags_of_spans(entities, text, places)
        except UserError:
            continue
        assert len(tags) == len(places)
        found = [(places[a][0], places[b - 1][1]) for _, a, b in tag_schemes.entities(tags)]
        assert len(found) == len(entities)
        assert all(a >= span.start and b <= span.end for (a, b), span in zip(found, entities))


@settings(max_examples=200)
@given(st.text(max_size=30))
def test_words_of_a_text_are_the_tokenizers(text):
    """The words are in order, and the tokenizer splits them into the same words as the whole text."""
    places = tokenization.word_places(text)
    assert all(a < b for a, b in places) and all(b <= c for (_, b), (c, _) in zip(places, places[1:]))
    tokenizer = tokenization.BasicTokenizer(do_lower_case=False)
    assert [word for a, b in places for word in tokenizer.tokenize(text[a:b])] == tokenizer.tokenize(text)
    assert all(len(tokenizer.tokenize(text[a:b])) == 1 for a, b in places)


@settings(max_examples=100)
@given(st.binary(max_size=60))
def test_no_bytes_make_a_reader_crash(tmp_path_factory, content):
    for name in ("data.conll", "data.json"):
        path = str(tmp_path_factory.mktemp("fuzz") / name)
        with open(path, "wb") as file:
            file.write(content)
        try:
            read(path, allowed=2)
        except UserError as error:
            assert path in str(error)


@pytest.mark.parametrize(
    "content, tags, rows",
    [
        ("EU\tNNP\tB-ORG\nrejects\tVBZ\tO\n", ["B-LOC", "O"], ["EU\tNNP\tB-ORG\tB-LOC", "rejects\tVBZ\tO\tO"]),
        ("EU B-ORG\nrejects O\n", ["B-LOC", "O"], ["EU B-ORG B-LOC", "rejects O O"]),
        ("EU B-ORG\nrejects O\n", ["B-Full Name", "O"], ["EU\tB-ORG\tB-Full Name", "rejects\tO\tO"]),
    ],
)
def test_predicted_columns_keep_the_files_own_and_can_be_read(tmp_path, content, tags, rows):
    (found,), _ = read(write(tmp_path, content))
    separator = predictions.separator_of([predictions.Tagged(found, tags, None)])
    assert predictions.column_rows(found, tags, separator) == rows
    (again,), _ = read(write(tmp_path, "\n".join(rows)))
    assert (again.words, list(again.tags)) == (found.words, tags)


def test_a_format_is_recognized_by_the_first_readable_line(tmp_path):
    path = write(tmp_path, 'no\nnor this\n{"text": "ab", "label": {"x": {"a": [[0, 0]]}}}\n', "data.json")
    assert formats.format_of(path, AUTO) == "cluener"
