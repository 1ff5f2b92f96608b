"""Whole files: what is written to them can be read by any program."""

import json

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
