"""Readers: the official layouts, and one message with file and line for what is wrong."""

import os

import pytest

from errors import UserError
from tasks.classification_data import PROCESSORS, ColaProcessor, MnliProcessor, MrpcProcessor, XnliProcessor

DATA = os.environ.get("STEADY_BERT_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="STEADY_BERT_DATA names no folder of data sets")

ROWS = [
    ("cola", "CoLA", 8551, 1043),
    ("sst-2", "SST-2", 67349, 872),
    ("mrpc", "MRPC", 3668, 408),
    ("sts-b", "STS-B", 5749, 1500),
]


@needs_data
@pytest.mark.parametrize("task, folder, train, dev", ROWS)
def test_official_files_have_their_official_rows(task, folder, train, dev):
    processor = PROCESSORS[task]()
    for split, count in (("train", train), ("dev", dev)):
        path = os.path.join(DATA, folder, processor.file_name(split))
        examples = list(processor.read_examples(path, split))
        assert len(examples) == count
        assert all(example.label is not None and example.text_a for example in examples)
        pair = task in ("mrpc", "sts-b")
        assert all((example.text_b is not None) == pair for example in examples)
    test = list(processor.read_examples(os.path.join(DATA, folder, "test.tsv"), "test"))
    assert test and all(example.label is None for example in test)
    assert [example.example_id for example in test] == [str(n) for n in range(len(test))]


@needs_data
def test_an_official_row_is_read_where_it_stands():
    example = PROCESSORS["mrpc"]().get_train_examples(os.path.join(DATA, "MRPC"))[0]
    assert (example.guid, example.label) == ("train-0", "1")
    assert example.text_a.startswith("Amrozi accused") and example.text_b.startswith("Referring to him")
    example = PROCESSORS["sts-b"]().get_train_examples(os.path.join(DATA, "STS-B"))[1]
    assert (example.label, example.text_a) == ("3.800", "A man is playing a large flute.")


def written(tmp_path, text, name="train.tsv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return str(path)


def test_your_own_text_with_bom_crlf_and_trailing_blank_lines(tmp_path):
    path = written(tmp_path, "\ufefflabel\ttext_a\ttext_b\tid\r\nyes\tone\ttwo\tx7\r\nno\tthree\t\tx8\r\n\r\n")
    processor = PROCESSORS["text"](labels=["no", "yes"])
    assert processor.find_labels(path) == ["no", "yes"]
    found = [(e.example_id, e.text_a, e.text_b, e.label) for e in processor.read_examples(path, "train")]
    assert found == [("x7", "one", "two", "yes"), ("x8", "three", "", "no")]


def test_upstreams_processors_read_their_files(tmp_path):
    cells = [str(n) for n in range(16)]
    header = "\t".join("h" + c for c in cells)
    dev = cells[:15] + ["neutral"]
    written(tmp_path, "\n".join([header, "\t".join(dev)]) + "\n", "dev_matched.tsv")
    example = MnliProcessor().get_dev_examples(str(tmp_path))[0]
    assert (example.text_a, example.text_b, example.label) == ("8", "9", "neutral")
    (tmp_path / "multinli").mkdir()
    written(tmp_path / "multinli", "premise\thypo\tlabel\na\tb\tcontradictory\n", "multinli.train.zh.tsv")
    assert XnliProcessor().get_train_examples(str(tmp_path))[0].label == "contradiction"
    rows = [["language", "gold_label"] + ["c"] * 8, ["en", "neutral"] + ["x"] * 8, ["zh", "entailment"] + ["y"] * 8]
    written(tmp_path, "\n".join("\t".join(row) for row in rows) + "\n", "xnli.dev.tsv")
    assert [example.text_a for example in XnliProcessor().get_dev_examples(str(tmp_path))] == ["y"]
    assert ColaProcessor._read_tsv(written(tmp_path, 'a\t"b\nc\td\n', "q.tsv")) == [["a", '"b'], ["c", "d"]]
    assert MrpcProcessor._read_tsv(written(tmp_path, 'a\t"b\tc"\n', "q.tsv"), '"') == [["a", "b\tc"]]


H = "text\tlabel\n"
BAD = [
    ("text", "train", "", "the file is empty"),
    ("text", "train", H, "has no rows below its header"),
    ("text", "train", "sentence\tlabel\na\tx\n", "it needs a column text"),
    ("text", "train", "text\ttext\na\tx\n", "each name once"),
    ("text", "train", "text\tid\na\tx\n", "no column label"),
    ("text", "train", H + "a\tx\nb\n", ":3: has 1 columns, not 2"),
    ("text", "train", H + "a\tx\nb\ty\tz\n", ":3: has 3 columns, not 2"),
    ("text", "train", H + "a\tx\nb\tz\n", ":3: label 'z' is not one of x, y"),
    ("text", "train", H + "a\tx\n\nb\ty\n", ":3: a blank line within the data"),
    ("text", "train", H.encode() + b"caf\xe9\tx\n", ":2: byte 4 is not UTF-8"),
    ("text", "train", "text\tlabel\na\tx\n".encode("utf-16"), ":1: byte 1 is not UTF-8"),
    ("text", "train", H + "a\0b\tx\n", ":2: has a NUL character"),
    ("cola", "train", "gj04\t1\tsentence\n", "has 3 columns; a CoLA file has 4"),
    ("cola", "train", "", "has no rows"),
    ("cola", "test", "index\tsentence\n0\ta\tb\n", ":2: has 3 columns, not 2"),
    ("sst-2", "dev", "sentence\tlabel\nfine\t2\n", ":2: label '2' is not one of 0, 1"),
    ("mrpc", "train", "Quality\ta\n1\tb\n", "has 2 columns; a MRPC file has 5"),
    ("sts-b", "train", "\t".join("abcdefghij") + "\n" + "\t".join(["x"] * 9 + ["five"]) + "\n", ":2: score 'five'"),
    ("sts-b", "train", "\t".join("abcdefghij") + "\n" + "\t".join(["x"] * 9 + ["nan"]) + "\n", ":2: score 'nan'"),
]


@pytest.mark.parametrize("task, split, content, said", BAD)
def test_bad_files_are_named_with_their_line(tmp_path, task, split, content, said):
    path = written(tmp_path, content)
    processor = PROCESSORS[task](labels=["x", "y"]) if task == "text" else PROCESSORS[task]()
    with pytest.raises(UserError) as error:
        list(processor.read_examples(path, split))
    assert str(error.value).startswith(path) and said in str(error.value)


def test_missing_files_and_single_labels_are_named(tmp_path):
    with pytest.raises(UserError, match="nowhere.tsv: cannot be read"):
        list(PROCESSORS["mrpc"]().read_examples(str(tmp_path / "nowhere.tsv"), "train"))
    with pytest.raises(UserError, match="the one label 'x'"):
        PROCESSORS["text"]().find_labels(written(tmp_path, H + "a\tx\n"))
    with pytest.raises(UserError, match=":2: the label is empty"):
        PROCESSORS["text"]().find_labels(written(tmp_path, H + "a\t\n"))
