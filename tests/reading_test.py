"""Files as rows: separators, arrays of JSON, and the number of each record in its file."""

import gzip
import json

import pytest

from steady_bert.base.errors import UserError
from steady_bert.tasks.reading import source, text_files
from steady_bert.tasks.task import BadLines


def written(tmp_path, content, name):
    path = str(tmp_path / name)
    with open(path, "wb") as file:
        file.write(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def cells(tmp_path, content, name, allowed=0):
    return [row.cells for row in text_files.rows(written(tmp_path, content, name), BadLines(allowed))]


@pytest.mark.parametrize(
    "content, expected, note",
    [
        ("text,label\na;b,x\n", [["text", "label"], ["a;b", "x"]], []),
        ("text;label\na,b;x\n", [["text", "label"], ["a,b", "x"]], ["read as separated by semicolons"]),
        ("text\tlabel\na,b\tx\n", [["text", "label"], ["a,b", "x"]], ["read as separated by tabs"]),
        ('text;label\n"a;b";x\n', [["text", "label"], ["a;b", "x"]], ["read as separated by semicolons"]),
        ('text\n"a, b"\n', [["text"], ["a, b"]], []),
        ("a, b;x\nc;y\n", [["a, b", "x"], ["c", "y"]], ["read as separated by semicolons"]),
        ("a; b,x\nc,y\n", [["a; b", "x"], ["c", "y"]], []),
        ('text, label\na, x\n"b, c", y\n', [["text", "label"], ["a", "x"], ["b, c", "y"]], []),
        ('text, label\na, "x, y"\n', [["text", "label"], ["a", "x, y"]], []),
    ],
)
def test_a_csv_file_shows_its_separator(tmp_path, content, expected, note):
    bad_lines = BadLines(0)
    path = written(tmp_path, content, "a.csv")
    assert [row.cells for row in text_files.rows(path, bad_lines)] == expected
    assert bad_lines.notes == note


OBJECTS = [{"text": "a, [b] {c}"}, {"text": 'd "e" ]', "n": [1, {"x": []}]}, {"text": "\U0001f4a9é"}, {}]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_an_array_is_read_as_json_lines_are(tmp_path, indent, ascii_only):
    text = json.dumps(OBJECTS, indent=indent, ensure_ascii=ascii_only)
    for content in (text, "\ufeff" + text, " \n" + text + "\n\n"):
        assert cells(tmp_path, content, "a.json") == OBJECTS
    assert cells(tmp_path, gzip.compress(text.encode()), "a.json.gz") == OBJECTS
    path = written(tmp_path, text.encode("utf-16"), "b.json")
    assert [row.cells for row in text_files.rows(path, BadLines(0), "utf-16")] == OBJECTS


def test_an_array_gives_lines_and_values_of_any_kind(tmp_path):
    path = written(tmp_path, '[\n["a",\n {}],\n\n["b", {}]]', "a.json")
    rows = list(text_files.json_values(path, BadLines(0)))
    assert [(row.line, row.record, row.cells) for row in rows] == [(2, 0, ["a", {}]), (5, 1, ["b", {}])]
    path = written(tmp_path, '["a", {}]\n["b", {}]\n', "b.jsonl")
    assert [row.cells for row in text_files.json_values(path, BadLines(0))] == [["a", {}], ["b", {}]]
    assert cells(tmp_path, "[]", "c.json") == []


def test_an_array_is_read_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "LONGEST_LINE_BYTES", 7)
    assert cells(tmp_path, json.dumps(OBJECTS, indent=1), "a.json") == OBJECTS


@pytest.mark.parametrize(
    "content, problem",
    [
        ('[{"text": "a"},\n{"text": "b"', "a.json:2: not JSON .*An array is"),
        ('[{"text": "a"}', r"a.json:1: not JSON \(the file ends within the array\)"),
        ('[{"text": "a"}\n{"text": "b"}]', r"a.json:2: not JSON \(',' is missing\)"),
        ('[{"text": "a"},\n{"text": b}]', r"a.json:2: not JSON \(Expecting value"),
        ('[{"text": "a"}]\n{"text": "b"}', r"a.json:2: not JSON \(more follows after the array's end\)"),
        ('[{"text": "a"},\n7]', "a.json:2: int, not an object like"),
        ('["a", "b"]\n', "a.json:1: list, not an object like"),
        ('{\n"text": "a"\n}', r"a.json:1: not JSON \(.*the file is an array of objects"),
        ('[{"text": "\\ud800"}]', "a.json:1: has half of a surrogate pair"),
        (b'[{"text": "\xff"}]', "a.json:1: byte .* is not UTF-8"),
        (b'[{"text": "a"},\n' * 1 + b"{" + b" " * 3000000 + b"}x]", "a.json:2: not JSON"),
        ("[" * 100000, "a.json"),
    ],
)
def test_an_array_that_is_none_is_refused(tmp_path, content, problem):
    with pytest.raises(UserError, match=problem):
        cells(tmp_path, content, "a.json")


@pytest.mark.parametrize(
    "name, content, expected",
    [
        (
            "a.jsonl",
            '{"text":"one good"}\n{"text":"two bad"}\n{"text":"broken\n{"text":"four good"}\n{}\n',
            [0, 1, 3, 4],
        ),
        ("a.jsonl", '{}\n\n[1]\n{"a": 1}\n', [0, 3]),
        ("a.json", '[{},\n7, {},\n"x", {}]', [0, 2, 4]),
        ("a.csv", b"h,l\na,b\nc\xff,d\ne,f\n", [0, 1, 3]),
        ("a.csv", 'h,l\n"a\nb\nc",d\n\ne,f\n', [0, 1, 3]),
        ("a.csv", b'h,l\n"a\n\xff\nc",d\ne,f\n', [0, 2]),
        ("a.csv", 'h,l\n"b"c,d\ne,f\n', [0, 2]),
        ("a.txt", "one\n\nthree\n", [0, 2]),
        ("a.txt", b"one\n\xff\xff\nthree\n\n\n", [0, 2]),
        ("a.tsv", "h\tl\n\n\na\tb\nc\td\r\n", [0, 3, 4]),
    ],
)
def test_every_record_of_a_file_counts_also_those_that_cannot_be_read(tmp_path, name, content, expected):
    rows = text_files.rows(written(tmp_path, content, name), BadLines(9))
    assert [row.record for row in rows] == expected


@pytest.mark.parametrize(
    "content, ending",
    [
        ('{"text": "a"}\n', ".jsonl"),
        ('[{"text": "a"}]\n', ".jsonl"),
        ('[\n  {"text": "a"}\n]\n', ".jsonl"),
        ("[sic] a text\n", ".txt"),
        ("[[Berlin]] is a city\n", ".txt"),
        ("text,label\na,b\n", ".csv"),
    ],
)
def test_standard_input_shows_its_format(tmp_path, content, ending):
    path = written(tmp_path, content, "standard-input")
    assert text_files.ending_for(path, ()) == ending
    assert text_files.is_json_lines(path) == (ending == ".jsonl")
