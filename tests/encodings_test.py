"""Encodings: read as --encoding says; without it, what is not UTF-8 is refused with the encoding that it looks like."""

import gzip

import pytest

from steady_bert.base.errors import UserError
from steady_bert.tasks.reading import encodings, text_files
from steady_bert.tasks.task import BadLines

CHINESE = "今天天气很好，我们去公园玩。\t正面\n这家餐厅的菜太难吃了，再也不来。\t负面\n"
JAPANESE = "今日は天気がいいですね\tはい\n"
RUSSIAN = "Сегодня хорошая погода\tда\n"
FRENCH = "L'été dernier, où étiez-vous ?\tnon\nLe garçon a mangé à la fenêtre.\toui\n"


def texts(tmp_path, content, encoding="auto", name="a.tsv"):
    path = str(tmp_path / name)
    with open(path, "wb") as file:
        file.write(content)
    return [row.cells for row in text_files.rows(path, BadLines(0), encoding)]


@pytest.mark.parametrize("text", [CHINESE, FRENCH, "a\tb\n\U0001f4a9\tc"])
@pytest.mark.parametrize(
    "encoding", ["utf-8", "UTF8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "utf-7", "gb18030"]
)
def test_a_named_encoding_is_read(tmp_path, text, encoding):
    expected = [line.split("\t") for line in text.rstrip("\n").split("\n")]
    assert texts(tmp_path, text.encode(encoding), encoding) == expected
    assert texts(tmp_path, gzip.compress(text.encode(encoding)), encoding, "a.tsv.gz") == expected


@pytest.mark.parametrize(
    "text, encoding",
    [(CHINESE, "gbk"), (CHINESE, "gb2312"), (JAPANESE, "cp932"), (RUSSIAN, "koi8-r"), (FRENCH, "latin-1")],
)
def test_csv_and_json_lines_are_read_in_a_named_encoding(tmp_path, text, encoding):
    first = text.split("\n")[0].replace("\t", ",")
    assert texts(tmp_path, "{}\r\n".format(first).encode(encoding), encoding, "a.csv")[-1][-1] == first.split(",")[-1]
    line = '{{"text": "{}"}}\n'.format(first)
    assert texts(tmp_path, line.encode(encoding), encoding, "a.jsonl") == [{"text": first}]


def test_marks_of_utf_8_are_left_out_and_marks_of_others_name_the_encoding(tmp_path):
    for encoding in ("auto", "utf-8"):
        assert texts(tmp_path, "a\té\n".encode("utf-8-sig"), encoding) == [["a", "é"]]
    for encoding in ("utf-16", "utf-32"):
        with pytest.raises(UserError, match="a.tsv: is in {}. Pass --encoding={}".format(encoding.upper(), encoding)):
            texts(tmp_path, "a\té\n".encode(encoding))
    for encoding in ("utf-16-le", "utf-16-be"):
        with pytest.raises(UserError, match="has a NUL character. .*--encoding={}".format(encoding)):
            texts(tmp_path, "abc\tdef\n".encode(encoding))


@pytest.mark.parametrize(
    "content, problem",
    [
        (CHINESE.encode("gbk"), "a.tsv:1: byte 1 is not UTF-8. The file looks like gb18030: pass --encoding=gb18030"),
        (JAPANESE.encode("cp932") * 3, "The file looks like cp932: pass --encoding=cp932"),
        (RUSSIAN.encode("cp1251") * 9, "The file looks like cp1251: pass --encoding=cp1251"),
        (CHINESE.replace("天", "灣").encode("big5", "ignore"), "The file looks like big5: pass"),
        (FRENCH.encode("latin-1"), r"The file looks like cp1252 \(Western Europe\) or cp1250"),
        ("café\tyes\n".encode("latin-1"), r"a.tsv:1: byte 4 is not UTF-8. The file looks like cp1252"),
        (b"plain\tx\n" * 9 + CHINESE.encode("gbk"), "a.tsv:10: .*gb18030"),
        ("é\ta\n".encode() * 3 + b"\xff\tb\n", "a.tsv:4: byte 1 is not UTF-8. Other lines are UTF-8: fix this one."),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "a.tsv:1: byte 1 is not UTF-8. Is it a text file"),
    ],
)
def test_a_file_that_is_not_utf_8_is_told_its_likely_encoding(tmp_path, content, problem):
    pytest.importorskip("charset_normalizer")
    with pytest.raises(UserError, match=problem):
        texts(tmp_path, content)


def test_without_charset_normalizer_examples_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(encodings, "_likely", lambda sample: None)
    with pytest.raises(UserError, match="byte 1 is not UTF-8. .*such as --encoding=gb18030 or --encoding=cp1252"):
        texts(tmp_path, CHINESE.encode("gbk"))


@pytest.mark.parametrize(
    "content, encoding, problem",
    [
        (CHINESE.encode()[:-3], "auto", "a.tsv:2: the file ends within a character: it was cut off. Copy it again."),
        ("a\té".encode()[:-1], "auto", "a.tsv:1: byte 3 is not UTF-8: the file was cut off within a character, or is"),
        ("é\té".encode()[:-1], "auto", "a.tsv:1: the file ends within a character: it was cut off"),
        ("a\tb\nc\t天".encode("gbk")[:-1], "gbk", "a.tsv:2: the file ends within a character: it was cut off"),
        (CHINESE.encode("utf-16")[:-1], "utf-16", r"a.tsv: is not in utf-16 \(truncated data\).*copy the file again"),
        (CHINESE.encode("gbk"), "ascii", "a.tsv:1: byte 1 is not ascii. Fix the line, or name another --encoding."),
        ("é\t".encode() + b"\xff\n", "utf-8", "a.tsv:1: byte 4 is not utf-8. Fix the line, or name another"),
    ],
)
def test_a_file_that_is_cut_off_or_not_in_the_named_encoding_is_said_to_be(tmp_path, content, encoding, problem):
    with pytest.raises(UserError, match=problem):
        texts(tmp_path, content, encoding)


@pytest.mark.parametrize("name", ["auto", "gbk", "latin-1", "UTF8", "cp1252", "utf-16"])
def test_names_of_encodings_are_known(name):
    encodings.require_known(name)


@pytest.mark.parametrize("name", ["hex", "rot13", "base64", "undefined", "klingon", "", "a\0b"])
def test_names_of_no_encoding_are_refused(name):
    with pytest.raises(UserError, match="--encoding=.*: no encoding of text"):
        encodings.require_known(name)
