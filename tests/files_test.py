"""Whole files: what is written to them can be read by any program."""

import json
import os

from steady_bert.base import files


def test_a_json_file_never_holds_a_bare_nan(tmp_path):
    path = str(tmp_path / "results.json")
    value = {"loss": float("nan"), "by_type": [{"f1": float("inf")}, (-float("inf"), 1.5)], "step": 3, "é": None}
    files.write_json(path, value)
    with open(path, encoding="utf-8") as file:
        text = file.read()
    expected = {"loss": None, "by_type": [{"f1": None}, [None, 1.5]], "step": 3, "é": None}
    assert json.loads(text, parse_constant=lambda name: name) == expected
    assert "é" in text and files.json_text({"a": 1}) == '{"a": 1}'


def test_what_a_killed_writer_leaves_is_removed_and_nothing_else(tmp_path):
    kept = ["predictions.jsonl", ".lock", ".notes.tmp", "x.abcdefgh.tmp"]
    for name in kept:
        (tmp_path / name).write_text("")
    child = os.fork()
    if not child:
        with files.atomic_write(str(tmp_path / "predictions.jsonl")):
            os._exit(9)
    os.waitpid(child, 0)
    assert len(os.listdir(str(tmp_path))) == len(kept) + 1
    files.remove_temporaries(str(tmp_path))
    files.remove_temporaries(str(tmp_path / "absent"))
    assert sorted(os.listdir(str(tmp_path))) == sorted(kept)
