"""Labels, ids and columns of one's own data as people have them: read, or refused by name."""

import json

import pytest

from steady_bert.base.errors import UserError
from steady_bert.tasks.classification.glue import ColaProcessor, MrpcProcessor
from steady_bert.tasks.classification.own_text import TextProcessor
from steady_bert.tasks.task import BadLines

WEATHER = ("weather", "safety")


def written(tmp_path, content, name="train.csv"):
    path = str(tmp_path / name)
    if not isinstance(content, (str, bytes)):
        content = "\n".join(json.dumps(line) for line in content)
    with open(path, "wb") as file:
        file.write(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def read(tmp_path, content, name="train.csv", split="train", allowed=0, **options):
    return list(TextProcessor(**options).read_examples(written(tmp_path, content, name), split, BadLines(allowed)))


def labels(tmp_path, cell, **options):
    """The labels of a row of CSV."""
    content = 'text,label\nx,"{}"\n'.format(cell.replace('"', '""'))
    return read(tmp_path, content, label_type="multi", **options)[0].label


# --- several labels in a cell -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cell, expected",
    [
        ("['weather', 'safety']", WEATHER),
        ('["weather", "safety"]', WEATHER),
        ("('weather', 'safety')", WEATHER),
        ("{'weather', 'safety'}", WEATHER),
        ("['weather']", ("weather",)),
        ("[]", ()),
        ("", ()),
        ("weather,safety", WEATHER),
        (" weather , safety ", WEATHER),
        ('["it\'s", "a;b"]', None),
        ("['it\\'s']", ("it's",)),
        ("[1, 2]", ("1", "2")),
        ("[3]", ("3",)),
        ("[sic", ("[sic",)),
    ],
)
def test_a_list_as_text_is_its_labels(tmp_path, cell, expected):
    if expected is None:
        with pytest.raises(UserError, match="the label 'a;b' has ';'"):
            labels(tmp_path, cell)
    else:
        assert labels(tmp_path, cell) == expected


@pytest.mark.parametrize(
    "cell, separator, expected",
    [
        ("a;b", ";", ("a", "b")),
        ("a|b", "|", ("a", "b")),
        ("a; b;", ";", ("a", "b")),
        ("a / b", "/", ("a", "b")),
        ("a b", " ", ("a", "b")),
        ("a||b", "||", ("a", "b")),
        ("['a', 'b']", ";", ("a", "b")),
        ("a|b", ";", ("a|b",)),
    ],
)
def test_a_separator_can_be_named(tmp_path, cell, separator, expected):
    assert labels(tmp_path, cell, label_separator=separator) == expected


@pytest.mark.parametrize(
    "cell, options, problem",
    [
        ("a;b", {}, "train.csv:2: the label 'a;b' has ';'. .* pass --label_separator=';'; if not, name all labels"),
        ("a|b", {}, r"the label 'a\|b' has '\|'"),
        ("a;b", {"labels": ["a", "b"]}, "the label 'a;b' has ';'"),
        ("a;c", {"labels": ["a", "b"], "label_separator": ";"}, "label 'c' is not one of a, b"),
        ("a,b", {"label_separator": ";"}, "the label 'a,b' has a tab, comma or line end"),
        ("[a, b]", {}, r"the label '\[a, b\]' looks like a list and cannot be read as one. Write \['a', 'b'\]"),
        ("['a' 'b']", {}, "looks like a list and cannot be read as one"),
        ("['a', ['b']]", {}, "looks like a list and cannot be read as one"),
        ("[" * 5000 + "]", {}, "looks like a list and cannot be read"),
        ("['a', __import__('os')]", {}, "looks like a list and cannot be read"),
        ("a,a", {}, "names a label twice: a, a"),
        ("['a', 'a']", {}, "names a label twice"),
        ("['a', None]", {}, r"the label is missing \(null\)"),
        ("[1, 0, 1]", {}, "0 and 1 for each class do not say which classes. Name them, in that order, with --labels"),
        ("[1 0 1]", {}, "0 and 1 for each class"),
        ("1,0,1", {}, "0 and 1 for each class"),
        ("[1, 0, 1]", {"labels": ["a", "b"]}, r"the label \[1, 0, 1\]: 3 times 0 or 1, but the classes are a, b"),
    ],
)
def test_what_is_not_surely_a_list_is_refused_by_name(tmp_path, cell, options, problem):
    with pytest.raises(UserError, match=problem):
        labels(tmp_path, cell, **options)


@pytest.mark.parametrize(
    "cell", ["[1, 0, 1]", "[1 0 1]", "1,0,1", "1 0 1", "['1', '0', '1']", "(1, 0, 1)", "[1.0, 0.0, 1.0]"]
)
def test_zeros_and_ones_are_read_with_labels(tmp_path, cell):
    assert labels(tmp_path, cell, labels=["a", "b", "c"]) == ("a", "c")
    lines = [{"text": "x", "label": [1, 0, 1]}, {"text": "y", "label": [0, 0, 0]}, {"text": "z", "label": ["b"]}]
    examples = read(tmp_path, lines, "a.jsonl", label_type="multi", labels=["a", "b", "c"])
    assert [example.label for example in examples] == [("a", "c"), (), ("b",)]
    ids = read(tmp_path, [{"text": "x", "label": [1, 0]}], "a.jsonl", label_type="multi", labels=["0", "1", "2"])
    assert ids[0].label == ("1", "0")


@pytest.mark.parametrize("one, zero", [(1, 0), (1.0, 0.0)])
def test_zeros_and_ones_of_two_classes_are_no_labels(tmp_path, one, zero):
    path = written(tmp_path, [{"text": "x", "label": [one, zero]}, {"text": "y", "label": [zero, one]}], "a.jsonl")
    with pytest.raises(UserError, match="a.jsonl: 0 and 1 for each class do not say which"):
        TextProcessor(label_type="multi").find_labels(path)


def test_one_label_in_a_list_is_it_and_several_ask_for_multi(tmp_path):
    lines = [{"text": "x", "label": ["a"]}, {"text": "y", "label": "['b']"}, {"text": "z", "label": "[sic]"}]
    assert [example.label for example in read(tmp_path, lines, "a.json")] == ["a", "b", "[sic]"]
    assert read(tmp_path, [{"text": "x", "label": "[1]"}], "a.json", labels=["[1]", "2"])[0].label == "[1]"
    for cell in (["a", "b"], "['a', 'b']", []):
        with pytest.raises(UserError, match="is a list of [02]. Learn it with --label_type=multi"):
            read(tmp_path, [{"text": "x", "label": cell}], "a.json")


# --- a column for each class ------------------------------------------------------------------------------------------

TOXIC = "id,comment_text,toxic,obscene\n7,you,1,0\n8,they,0,0\n9,we,1,1\n"
EXPECTED = [("7", "you", ("toxic",)), ("8", "they", ()), ("9", "we", ("toxic", "obscene"))]
COLUMNS = [
    {"id": example_id, "comment_text": text, "toxic": int("toxic" in classes), "obscene": "obscene" in classes}
    for example_id, text, classes in EXPECTED
]
OBJECTS = [
    {"id": row["id"], "comment_text": row["comment_text"], "label": {name: row[name] for name in ("toxic", "obscene")}}
    for row in COLUMNS
]


@pytest.mark.parametrize(
    "content, name, options",
    [
        (TOXIC, "a.csv", {}),
        (TOXIC, "a.csv", {"label_column": "toxic,obscene"}),
        (TOXIC, "a.csv", {"labels": ["obscene", "toxic"]}),
        (TOXIC.replace(",", "\t"), "a.tsv", {}),
        (TOXIC.replace(",", ";"), "a.csv", {}),
        (TOXIC.replace(",0", ",0.0").replace("1", "True"), "a.csv", {}),
        (TOXIC.replace(",toxic", ", toxic").replace(",obscene", ", obscene"), "a.csv", {}),
        (COLUMNS, "a.json", {}),
        (OBJECTS, "b.json", {}),
    ],
)
def test_columns_of_zeros_and_ones_are_classes(tmp_path, content, name, options):
    processor = TextProcessor(text_columns=["comment_text"], label_type="multi", **options)
    path = written(tmp_path, content, name)
    examples = [
        (example.example_id, example.text_a, example.label) for example in processor.read_examples(path, "train")
    ]
    assert examples == EXPECTED
    if "labels" not in options and name != "b.json":
        assert processor.find_labels(path) == ["toxic", "obscene"]
    unlabelled = written(tmp_path, "id,comment_text\n1,new\n", "test.csv")
    assert [example.label for example in processor.read_examples(unlabelled, "test")] == [None]


def test_columns_with_other_numbers_or_without_a_value_are_told(tmp_path):
    options = {"text_columns": ["comment_text"], "label_type": "multi"}
    with pytest.raises(UserError, match="a.csv:3: the column 'obscene' has '2', not 0 or 1"):
        read(tmp_path, TOXIC.replace("8,they,0,0", "8,they,0,2"), "a.csv", label_column="toxic,obscene", **options)
    with pytest.raises(UserError, match=r"a.csv:3: the label is missing \(empty\)"):
        read(tmp_path, TOXIC.replace("8,they,0,0", "8,they,0,"), "a.csv", **options)
    with pytest.raises(UserError, match="a.csv:1: has no column of labels. .*'rating'.*--label_column=toxic,obscene"):
        read(tmp_path, TOXIC.replace("\n", ",5\n").replace("obscene,5", "obscene,rating"), "a.csv", **options)


# --- missing values ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["nan", "NaN", "NA", "N/A", "<NA>", "None", "null", ""])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl"])
def test_a_missing_label_is_counted_and_refused_unless_it_is_a_class(tmp_path, value, name):
    rows = [("x", "good"), ("y", value), ("z", "bad"), ("w", value)]
    separator = "," if name == "a.csv" else "\t"
    content = "\n".join(map(separator.join, [("text", "label"), *rows])) + "\n"
    if name == "a.jsonl":
        content = [{"text": text, "label": label} for text, label in rows]
    line, shown = 2 + (name != "a.jsonl"), value or "empty"
    problem = r"{}:{}: the label is missing \({}\). .* Rows without a label: 2 \({} 2\). --skip_bad_lines"
    with pytest.raises(UserError, match=problem.format(name, line, shown, shown)):
        read(tmp_path, content, name)
    assert [example.example_id for example in read(tmp_path, content, name, allowed=2)] == ["0", "2"]
    if value:
        assert len(read(tmp_path, content, name, labels=["good", "bad", value])) == 4


@pytest.mark.parametrize("label_type", ["single", "multi", "regression"])
@pytest.mark.parametrize(
    "line, shown", [('{"text": "x", "label": null}', "null"), ('{"text": "x", "label": NaN}', "NaN")]
)
def test_null_and_nan_of_json_are_missing(tmp_path, line, shown, label_type):
    content = '{"text": "x", "label": 1}\n' + line + "\n"
    with pytest.raises(UserError, match=r"a.jsonl:2: the label is missing \({}\).*: 1 \({} 1\)".format(shown, shown)):
        read(tmp_path, content, "a.jsonl", label_type=label_type)


def test_none_is_a_class_and_texts_without_value_are_counted(tmp_path):
    bad_lines = BadLines(0)
    path = written(tmp_path, "text,label\nnan,none\nNone,some\nfine,none\n")
    examples = list(TextProcessor().read_examples(path, "train", bad_lines))
    assert [example.text_a for example in examples] == ["nan", "None", "fine"]
    assert bad_lines.notes == ["texts that read like missing values: 2, the first nan in line 2"]
    for value in ("null", "NaN"):
        content = '{{"text": {}, "label": "a"}}\n'.format(value)
        assert [example.text_a for example in read(tmp_path, content, "a.jsonl")] == [""]


def test_files_of_glue_have_no_missing_values(tmp_path):
    bad_lines = BadLines(0)
    path = written(tmp_path, "x\t1\t\tNone\ny\t0\t*\tNA\n", "train.tsv")
    assert [example.text_a for example in ColaProcessor().read_examples(path, "train", bad_lines)] == ["None", "NA"]
    assert not bad_lines.notes
    with pytest.raises(UserError, match="label 'nan' is not one of 0, 1"):
        list(ColaProcessor().read_examples(written(tmp_path, "x\tnan\t\ta\n", "dev.tsv"), "dev"))


# --- ids --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, content, expected",
    [
        ("a.jsonl", '{"text":"1 good"}\n{"text":"2 bad"}\n{"text":"broken\n{"text":"4 good"}\n{"text":"5"}', "0 1 3 4"),
        ("a.jsonl", '{"text":"1"}\n{"txt":"2"}\n\n{"text":"4"}\n', "0 3"),
        ("a.json", '[{"text":"1"},\n{"txt":"2"},\n{"text":"3"}]', "0 2"),
        ("a.csv", b"text,b\none,1\nb\xffd,2\nthree,3\n", "0 2"),
        ("a.csv", 'text,b\n"one\nand\nmore",1\nshort\n\nfour,4\n', "0 3"),
        ("a.tsv", "text\tb\n\na\t1\nb\nc\t3\n", "1 3"),
        ("a.txt", "one\n\nthree\n", "0 2"),
        ("a.txt", b"one\n\xff\nthree\n", "0 2"),
        ("a.csv", "id,text\n7,a\nbroken\n9,c\n", "7 9"),
    ],
)
def test_ids_stay_when_lines_are_skipped(tmp_path, name, content, expected):
    examples = read(tmp_path, content, name, "test", allowed=9)
    assert " ".join(example.example_id for example in examples) == expected


def test_an_index_of_glue_is_the_id(tmp_path):
    content = "index\ta\tb\tsentence1\tsentence2\n5\t0\t0\tone\ttwo\nbroken\n9\t0\t0\tone\ttwo\n"
    path = written(tmp_path, content, "test.tsv")
    assert [e.example_id for e in MrpcProcessor().read_examples(path, "test", BadLines(1))] == ["5", "9"]


# --- errors about columns ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, content, options, problem",
    [
        (
            "a.csv",
            "text,class\na,x\n",
            {},
            "a.csv:1: has no column of labels. The header is 'text', 'class'. .*--label_col",
        ),
        ("a.csv", "text,Label\na,x\n", {"label_column": "label"}, "The header is 'text', 'Label'. Name the column"),
        (
            "a.jsonl",
            '{"text": "a", "class": "x"}\n',
            {},
            "The keys are 'text', 'class'. Name the column with --label_column",
        ),
        ("a.csv", TOXIC, {"text_columns": ["comment_text"]}, "--label_type=multi --label_column=toxic,obscene"),
        (
            "a.tsv",
            "text,label\na,x\n",
            {},
            "a.tsv:1: the header is 'text,label'; .* If it is separated by commas, name the",
        ),
        ("a.tsv", "text;label\na;x\n", {}, "If it is separated by semicolons, name the file .csv"),
        ("a.csv", "great film,good\nbad film,bad\n", {}, "Without a header, number the columns: --text_columns=0"),
        (
            "a.tsv",
            "great film\tgood\n",
            {"text_columns": ["body"]},
            "--text_columns names 'body'. Without a header, num",
        ),
        ("a.tsv", "great\tgood\n", {"text_columns": ["0"]}, "has no column of labels. Number it with --label_column"),
    ],
)
def test_an_error_about_columns_names_them_and_the_flag(tmp_path, name, content, options, problem):
    with pytest.raises(UserError, match=problem):
        read(tmp_path, content, name, **options)


@pytest.mark.parametrize(
    "name, content",
    [
        ("a.csv", "text, label\na b, x\n"),
        ("a.csv", " text , label \na b,x\n"),
        ("a.csv", 'text, label\n"a b", "x"\n'),
        ("a.tsv", "text \t label\na b\tx\n"),
        ("a.csv", "text;label\na b;x\n"),
        ("a.csv", "text\tlabel\na b\tx\n"),
        ("a.json", '[{"text": "a b", "label": "x"}]'),
        ("a.jsonl", '{"id": 0, "text": "a b", "label": ["x"]}'),
    ],
)
def test_spaces_separators_and_exports_of_annotators_are_read(tmp_path, name, content):
    assert [(example.text_a, example.label) for example in read(tmp_path, content, name)] == [("a b", "x")]
