"""Readers of classification data: official layouts, your own files, and errors that name file and line."""

import csv
import gzip
import io
import json
import os

import hypothesis
import hypothesis.strategies as st
import pytest

from steady_bert.base.errors import UserError
from steady_bert.tasks.classification.glue import ColaProcessor, MnliProcessor, MrpcProcessor, XnliProcessor
from steady_bert.tasks.classification.own_text import TextProcessor
from steady_bert.tasks.classification.registry import PROCESSORS

DATA = os.environ.get("STEADY_BERT_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="STEADY_BERT_DATA names no folder of data sets")

ROWS = [
    ("cola", "CoLA", 8551, 1043, 1063),
    ("sst-2", "SST-2", 67349, 872, 1821),
    ("mrpc", "MRPC", 3668, 408, 1725),
    ("rte", "RTE", 2490, 277, 3000),
    ("sts-b", "STS-B", 5749, 1500, 1379),
]


@needs_data
@pytest.mark.parametrize("task, folder, train, dev, test", ROWS)
def test_official_files_have_their_official_rows(task, folder, train, dev, test):
    processor = PROCESSORS[task]()
    for split, count in (("train", train), ("dev", dev)):
        path = os.path.join(DATA, folder, processor.file_name(split))
        examples = list(processor.read_examples(path, split))
        assert len(examples) == count
        assert all(example.label is not None and example.text_a for example in examples)
        pair = task in ("mrpc", "rte", "sts-b")
        assert all((example.text_b is not None) == pair for example in examples)
        assert [example.example_id for example in examples] == [str(n) for n in range(count)]
    examples = list(processor.read_examples(os.path.join(DATA, folder, "test.tsv"), "test"))
    assert len(examples) == test and all(example.label is None and example.text_a for example in examples)
    assert [example.example_id for example in examples] == [str(n) for n in range(test)]


@needs_data
@pytest.mark.parametrize("task, folder, train, dev, test", ROWS)
def test_a_labelled_file_may_be_predicted(task, folder, train, dev, test):
    processor = PROCESSORS[task]()
    path = os.path.join(DATA, folder, "dev.tsv")
    labelled = list(processor.read_examples(path, "dev"))
    unlabelled = list(processor.read_examples(path, "test"))
    assert [(e.text_a, e.text_b, e.example_id) for e in unlabelled] == [
        (e.text_a, e.text_b, e.example_id) for e in labelled
    ]
    assert all(example.label is None for example in unlabelled)
    with pytest.raises(UserError, match="test.tsv:1: has no column of labels"):
        list(processor.read_examples(os.path.join(DATA, folder, "test.tsv"), "dev"))


@needs_data
def test_official_rows_are_read_from_their_columns():
    example = PROCESSORS["mrpc"]().get_train_examples(os.path.join(DATA, "MRPC"))[0]
    assert (example.guid, example.label) == ("train-1", "1")
    assert example.text_a.startswith("Amrozi accused") and example.text_b.startswith("Referring to him")
    example = PROCESSORS["sts-b"]().get_train_examples(os.path.join(DATA, "STS-B"))[1]
    assert (example.label, example.text_a) == ("3.800", "A man is playing a large flute.")
    example = PROCESSORS["cola"]().get_dev_examples(os.path.join(DATA, "CoLA"))[3]
    assert (example.guid, example.example_id) == ("dev-3", "3")


def written(tmp_path, text, name="train.tsv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return str(path)


def test_your_own_text_with_bom_crlf_and_trailing_blank_lines(tmp_path):
    path = written(tmp_path, "\ufefflabel\ttext_a\ttext_b\tid\r\nyes\tone\ttwo\tx7\r\nno\tthree\t\tx8\r\n\r\n")
    processor = PROCESSORS["text"](labels=["no", "yes"])
    assert processor.find_labels(path) == ["no", "yes"]
    actual = [(e.example_id, e.text_a, e.text_b, e.label) for e in processor.read_examples(path, "train")]
    assert actual == [("x7", "one", "two", "yes"), ("x8", "three", "", "no")]


def table(*rows):
    return "\n".join("\t".join(row) for row in rows) + "\n"


@pytest.mark.parametrize("name, width, label", [("train", 12, 11), ("dev_matched", 16, 15), ("test_matched", 10, None)])
def test_mnli_is_read_as_upstream_reads_it(tmp_path, name, width, label):
    cells = ["77"] + [str(n) for n in range(1, width)]
    if label is not None:
        cells[label] = "neutral"
    written(tmp_path, table(["h{}".format(n) for n in range(width)], cells), name + ".tsv")
    split = name.split("_")[0]
    (example,) = getattr(MnliProcessor(), "get_{}_examples".format(split))(str(tmp_path))
    assert (example.guid, example.text_a, example.text_b) == ((name if split == "dev" else split) + "-77", "8", "9")
    assert example.label == ("contradiction" if label is None else "neutral")  # upstream gives the first one


def test_xnli_is_read_as_upstream_reads_it(tmp_path):
    (tmp_path / "multinli").mkdir()
    written(tmp_path / "multinli", "premise\thypo\tlabel\na\tb\tcontradictory\n", "multinli.train.zh.tsv")
    assert XnliProcessor().get_train_examples(str(tmp_path))[0].label == "contradiction"
    rows = [["en", "neutral"] + ["x"] * 17, ["zh", "entailment"] + [str(n) for n in range(2, 19)]]
    written(tmp_path, table(["language", "gold_label"] + ["c"] * 17, *rows), "xnli.dev.tsv")
    (example,) = XnliProcessor().get_dev_examples(str(tmp_path))
    assert (example.guid, example.text_a, example.text_b, example.label) == ("dev-2", "6", "7", "entailment")


def test_read_tsv_gives_all_rows_with_quoting_only_on_request(tmp_path):
    long = "x" * 200000  # above the csv module's own limit
    assert ColaProcessor._read_tsv(written(tmp_path, 'a\t"b\nc\t' + long + "\n")) == [["a", '"b'], ["c", long]]
    assert MrpcProcessor._read_tsv(written(tmp_path, 'a\t"b\tc' + long + '"\n'), '"') == [["a", "b\tc" + long]]


H = "text\tlabel\n"
BAD = [
    ("text", "train", "", "the file is empty"),
    ("text", "train", H, "has no rows below its header"),
    ("text", "train", "sentence\tlabel\na\tx\n", "it needs a column text"),
    ("text", "train", "text\ttext\na\tx\n", ":1: the header names 'text' twice"),
    ("text", "train", "text\tid\na\tx\n", ":1: has no column of labels"),
    ("text", "train", H + "a\tx\nb\n", ":3: columns: 1, not 2"),
    ("text", "train", H + "a\tx\nb\ty\tz\n", ":3: columns: 3, not 2"),
    ("text", "train", H + "a\tx\nb\tz\n", ":3: label 'z' is not one of x, y"),
    ("text", "train", H + "a\tx\n\nb\ty\n", ":3: a blank line within the data"),
    ("text", "train", H.encode() + b"caf\xe9\tx\n", ":2: byte 4 is not UTF-8"),
    ("text", "train", "text\tlabel\na\tx\n".encode("utf-16"), ": is in UTF-16"),
    ("text", "train", H + "a\0b\tx\n", ":2: has a NUL character"),
    ("cola", "train", "gj04\t1\tsentence\n", ":1: columns: 3, but a file of CoLA has 2 or 4"),
    ("cola", "train", "", "the file is empty"),
    ("cola", "train", "gj04\t1\t\ta\ngj04\t*\t\tb\n", ":2: label '*' is not one of 0, 1"),
    ("cola", "test", "index\tsentence\n0\ta\tb\n", ":2: columns: 3, not 2"),
    ("sst-2", "dev", "sentence\tlabel\nfine\t2\n", ":2: label '2' is not one of 0, 1"),
    ("mrpc", "train", "Quality\ta\n1\tb\n", ":1: columns: 2, but a file of MRPC has 5"),
    ("mrpc", "train", "1\t7\t8\ta\tb\n0\t7\t8\ta\tb\n", ":1: looks like data, not like a header"),
    ("sst-2", "test", "fine\t1\nbad\t0\n", ":1: looks like data, not like a header"),
    ("sts-b", "train", "\t".join("abcdefghij") + "\n" + "\t".join(["x"] * 9 + ["five"]) + "\n", ":2: score 'five'"),
    ("sts-b", "train", "\t".join("abcdefghij") + "\n" + "\t".join(["x"] * 9 + ["nan"]) + "\n", ":2: score 'nan'"),
    ("sts-b", "dev", "\t".join("abcdefghij") + "\n" + "\t".join(["x"] * 9 + ["inf"]) + "\n", ":2: score 'inf'"),
    ("sts-b", "dev", "\t".join("abcdefghij") + "\n" + "\t".join(["x"] * 9 + ["5.1"]) + "\n", ":2: score 5.1 is not"),
]


@pytest.mark.parametrize("task, split, content, message", BAD)
def test_bad_files_are_named_with_their_line(tmp_path, task, split, content, message):
    path = written(tmp_path, content)
    processor = PROCESSORS[task](labels=["x", "y"]) if task == "text" else PROCESSORS[task]()
    with pytest.raises(UserError) as error:
        list(processor.read_examples(path, split))
    assert str(error.value).startswith(path + ":") and message in str(error.value)


def test_missing_files_and_single_labels_are_named(tmp_path):
    with pytest.raises(UserError, match="nowhere.tsv: cannot be read"):
        list(PROCESSORS["mrpc"]().read_examples(str(tmp_path / "nowhere.tsv"), "train"))
    with pytest.raises(UserError, match="the one label 'x'"):
        PROCESSORS["text"]().find_labels(written(tmp_path, H + "a\tx\n"))
    with pytest.raises(UserError, match=r":2: the label is missing \(empty\)"):
        PROCESSORS["text"]().find_labels(written(tmp_path, H + "a\t\n"))


# Anything that JSON and the csv module write, except NUL, lone surrogates and texts of white space only.
ANY_TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=12).filter(str.strip)
EXAMPLES = st.lists(st.tuples(ANY_TEXT, ANY_TEXT, st.sampled_from(["a", "b, c", '"d"'])), min_size=1, max_size=8)


@hypothesis.given(rows=EXAMPLES, gzipped=st.booleans(), ending=st.sampled_from([".csv", ".jsonl"]))
def test_csv_and_json_are_read_back_exactly(tmp_path_factory, rows, gzipped, ending):
    text = io.StringIO(newline="")
    if ending == ".csv":
        csv.writer(text).writerows([("one", "two", "verdict")] + rows)
    else:
        text.writelines(json.dumps(dict(zip(("verdict", "two", "one"), reversed(row)))) + "\n" for row in rows)
    path = str(tmp_path_factory.mktemp("own") / ("train" + ending + ".gz" * gzipped))
    with (gzip.open if gzipped else open)(path, "wb") as file:
        file.write(text.getvalue().encode("utf-8"))
    processor = TextProcessor(text_columns=("one", "two"), label_column="verdict")
    assert [(e.text_a, e.text_b, e.label) for e in processor.read_examples(path, "train")] == rows


def test_a_row_over_several_lines_is_named_by_its_first(tmp_path):
    path = written(tmp_path, 'text,label\n"a\nb\n\nc",x\n"d",y\n"e\nf",z\n', "train.csv")
    examples = TextProcessor(labels=["x", "y", "z"]).read_examples(path, "train")
    assert [(e.line, e.text_a, e.example_id) for e in examples] == [
        (2, "a\nb\n\nc", "0"),
        (6, "d", "1"),
        (7, "e\nf", "2"),
    ]
    with pytest.raises(UserError, match="train.csv:7: label 'z' is not one of x, y"):
        list(TextProcessor(labels=["x", "y"]).read_examples(path, "train"))


@pytest.mark.parametrize(
    "columns, label, content, expected",
    [
        (("1",), "0", "x\tone\ny\ttwo\n", [("one", None, "x"), ("two", None, "y")]),
        (("2", "0"), "1", "b\tx\ta\n", [("a", "b", "x")]),
        (("body",), "class", "class\tbody\nx\tone\n", [("one", None, "x")]),
        ((), None, "text_b\tlabel\ttext_a\nb\tx\ta\n", [("a", "b", "x")]),
    ],
)
def test_columns_are_found_by_name_or_number(tmp_path, columns, label, content, expected):
    processor = TextProcessor(text_columns=columns, label_column=label)
    examples = processor.read_examples(written(tmp_path, content), "train")
    assert [(e.text_a, e.text_b, e.label) for e in examples] == expected


def test_plain_lines_are_texts_and_an_unlabelled_file_needs_no_labels(tmp_path):
    plain = written(tmp_path, "one, two\nthree\n", "new.txt")
    pairs = written(tmp_path, "one\ttwo\nthree\tfour\n", "pairs.txt")
    for processor in (TextProcessor(["x", "y"]), TextProcessor(["x", "y"], text_columns=("body",))):
        assert [e.text_a for e in processor.read_examples(plain, "test")] == ["one, two", "three"]
    actual = [(e.text_a, e.text_b) for e in TextProcessor(["x", "y"]).read_examples(pairs, "test")]
    assert actual == [("one", "two"), ("three", "four")]
    numbered = TextProcessor(["x", "y"], text_columns=("1",), label_column="0")
    assert [e.text_a for e in numbered.read_examples(plain, "test")] == ["one, two", "three"]


def test_labels_of_json_and_of_several_classes(tmp_path):
    lines = [dict(text="a", label=["x", "y"]), dict(text="b", label=[]), dict(text="c", label="y")]
    path = written(tmp_path, "\n".join(map(json.dumps, lines)), "train.json")
    processor = TextProcessor(label_type="multi")
    assert [e.label for e in processor.read_examples(path, "train")] == [("x", "y"), (), ("y",)]
    assert processor.find_labels(path) == ["x", "y"]
    lines = [dict(text="a", label=10), dict(text="b", label=9), dict(text="c", label=10)]
    path = written(tmp_path, "\n".join(map(json.dumps, lines)), "numbers.json")
    assert TextProcessor().find_labels(path) == ["9", "10"]
    lines = [dict(text="a", label=True), dict(text="b", label=False)]
    assert TextProcessor().find_labels(written(tmp_path, "\n".join(map(json.dumps, lines)), "b.json")) == [
        "false",
        "true",
    ]


def test_rows_of_empty_cells_at_the_end_are_examples(tmp_path):
    for name, content in (("new.tsv", "id\ttext\n1\tone\n\t\n"), ("new.csv", 'id,text\n1,one\n"",""\n\n')):
        examples = list(TextProcessor(["x", "y"]).read_examples(written(tmp_path, content, name), "test"))
        assert [e.text_a for e in examples] == ["one", ""]
