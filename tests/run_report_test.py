"""The page of a run: its statistics in closed form, its figures, hostile data, a run that is not finished."""

import json
import os
import runpy
import shlex
import sys

import numpy as np
import pytest
from comparison_test import evaluated, predictions, write_run
from conftest import ROOT, parsed_page

from steady_bert.base.errors import UserError
from steady_bert.run_report import charts, contents, dev_split, mistakes, page
from steady_bert.run_report.calibration import calibration
from steady_bert.run_report.mistakes import Judge
from steady_bert.training import run_files
from steady_bert.training.run_files import Evaluated, Labels

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "{{ 7 * 191 }}{% raw %}",
    "a\x00b\u202e\tc\n&amp;",
]


# --- statistics -------------------------------------------------------------------------------------------------------


def test_calibration_error_has_its_closed_form():
    confidence = [0.95] * 10 + [0.65] * 10 + [1.0, 1.0, 0.0]
    correct = [True] * 8 + [False] * 2 + [True] * 7 + [False] * 3 + [True, False, False]
    result = calibration(confidence, correct)
    # bins: 0: one at 0, 6: ten at .65 with .7 correct, 9: ten at .95 and two at 1 with 9 of 12 correct
    expected = (1 * 0.0 + 10 * abs(0.7 - 0.65) + 12 * abs(9 / 12 - 11.5 / 12)) / 23
    assert result.error == pytest.approx(expected, abs=1e-12)
    assert [each.total for each in result.bins] == [1, 0, 0, 0, 0, 0, 10, 0, 0, 12] and result.total == 23
    assert (result.bins[6].confidence, result.bins[6].correct) == (pytest.approx(0.65), pytest.approx(0.7))
    assert (result.confidence, result.correct) == (pytest.approx(np.mean(confidence)), pytest.approx(16 / 23))
    generator = np.random.default_rng(0)
    drawn = generator.random(40_000)
    assert calibration(drawn, generator.random(40_000) < drawn).error < 0.02
    assert calibration(drawn, generator.random(40_000) < drawn**2).error == pytest.approx(1 / 6, abs=0.01)  # ∫p - p²


def test_plain_tags_have_scores_and_confusions_word_by_word():
    gold, predicted = [["N", "V", "N"], ["V", "A"]], [["N", "N", "N"], ["V", "V"]]
    rows, confusions = dev_split._of_tags(evaluated(gold, predicted))
    assert [tuple(row) for row in rows] == [
        ("A", 0.0, 0.0, 0.0, 1, 0),
        ("N", pytest.approx(2 / 3), 1.0, pytest.approx(0.8), 2, 3),
        ("V", 0.5, 0.5, 0.5, 2, 2),
    ]
    assert sorted(confusions) == [("A", "V", 1), ("V", "N", 1)]


def test_the_most_wrong_are_those_of_which_the_model_was_surest_and_the_doubtful_the_nearest():
    shares = [[0.9, 0.1], [0.4, 0.6], [0.51, 0.49], [0.2, 0.8]]
    examples = [
        Evaluated(str(n), n, ["t"], gold, "ab"[int(share[1] > share[0])], share)
        for n, (gold, share) in enumerate(zip("bbba", shares))
    ]
    judged = mistakes.judged("single", Judge(["a", "b"]), examples)
    assert [each.line for each in mistakes.most_wrong(judged, 9)] == [0, 3, 2]
    assert [each.line for each in mistakes.most_doubtful(judged, 2)] == [2, 1]
    assert judged[0].certainty == "probability 0.900, that of b 0.100"
    confidence, correct = mistakes.certainties("single", Judge(["a", "b"]), examples)
    assert (confidence, correct) == ([0.9, 0.6, 0.51, 0.8], [False, True, False, False])
    several = [Evaluated("x", 1, ["t"], ["a"], ["b"], [0.3, 0.8]), Evaluated("y", 2, ["t"], ["a"], ["a"], [0.55, 0.1])]
    of_several = mistakes.judged("multi", Judge(["a", "b"], 0.5), several)
    assert [each.is_wrong for each in of_several] == [True, False] and of_several[0].wrongness == 0.8
    assert mistakes.most_doubtful(of_several, 1)[0].id == "y"
    assert mistakes.certainties("multi", Judge(["a", "b"]), several[:1]) == ([0.3, 0.8], [True, False])
    scores = mistakes.judged("regression", Judge([]), evaluated([1.0, 2.0], [1.5, 4.0]))
    assert [each.certainty for each in mistakes.most_wrong(scores, 2)] == ["off by +2.000", "off by +0.500"]
    assert mistakes.most_doubtful(scores, 2) == []


# --- figures ----------------------------------------------------------------------------------------------------------


def test_axes_have_round_numbers_and_all_points_lie_within():
    assert charts.ticks(0, 1, 5) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert charts.ticks(0, 250, 5) == [0, 50, 100, 150, 200, 250]
    assert [charts.label_of(value) for value in (0.0, 5e-5, 1.2e-4, 0.25, 12000.0, 3e6)] == [
        "0",
        "5e-5",
        "1.2e-4",
        "0.25",
        "12,000",
        "3e+06",
    ]
    noisy = [(step, float(np.sin(step)) - 1.5) for step in range(0, 5000, 10)] + [(5000, float("nan"))]
    for from_zero in (True, False):
        chart = charts.curves("t", {"a": noisy, "empty": []}, 5000, from_zero, [(4000, "here")])
        points = np.array([list(map(float, pair.split(","))) for pair in chart.lines[0].path.split()])
        assert chart.names == ["a"] and len(points) <= 240
        assert points[:, 0].min() >= chart.left and points[:, 0].max() <= chart.right
        assert points[:, 1].min() >= chart.top and points[:, 1].max() <= chart.bottom
        assert chart.marks[0].to_the_left and chart.left < chart.marks[0].at < chart.right
    assert charts.thinned([(float(x), 2.0 * x) for x in range(480)])[:2] == [(0.5, 1.0), (2.5, 5.0)]
    assert charts.curves("t", {"a": [(1, float("inf"))]}, 5) is None
    flat = charts.curves("t", {"a": [(0, 0.0), (5, 0.0)]}, 5)
    assert flat.lines[0].dots == [(flat.left, flat.bottom), (flat.right, flat.bottom)]
    bars = charts.histogram("t", "tokens", {"train": [(8, 30), (16, 10)], "dev": [(8, 5)]}, 12).bars
    assert [bar.text for bar in bars][:2] == ["train: 75.0% of 1 to 8 tokens", "train: 25.0% of 9 to 16 tokens"]
    assert bars[0].height / bars[2].height == pytest.approx(0.75, abs=0.01)


# --- pages ------------------------------------------------------------------------------------------------------------


def test_hostile_data_is_shown_as_it_is_and_runs_nothing(tmp_path):
    """The page has the same elements whatever the labels, texts, flags and file names are."""
    folders = [tmp_path / "benign", tmp_path / "<i>hostile"]
    for folder, labels, texts in zip(folders, (("bad", "good"), HOSTILE[:2]), (["fine"] * 4, HOSTILE)):
        name = labels[0]
        write_run(folder, predictions(range(20)), labels=labels, flags=["--model=" + name])
        confusion = {"examples": 200, "confusion_matrix": [[90, 10], [10, 90]], "labels": labels}
        by_class = {label: dict(precision=0.9, recall=0.9, f1=0.9, support=100) for label in labels}
        results = dict(confusion, by_class=by_class, accuracy=0.9, global_step=20)
        (folder / "eval_results.json").write_text(json.dumps(results))
        of_train = dict(split="train", file=name, examples=640, label_counts={name: 640}, histogram=[(8, 640)])
        data = {"splits": [dict(of_train, max_tokens=4, long_text="cut", truncated=9, beyond=9, pieces=999)]}
        (folder / "data_report.json").write_text(json.dumps(data))
        (folder / "data_report.txt").write_text("\n".join(texts))
        (folder / "decisions.jsonl").write_text(json.dumps({"action": name, "reason": name}) + "\n")
        golds = [labels[n % 2] for n in range(200)]
        given = [labels[n] for n in predictions(range(20))]
        examples = [
            each.__class__(**dict(vars(each), texts=[texts[n % 4]], probabilities=[0.6, 0.4]))
            for n, each in enumerate(evaluated(golds, given))
        ]
        run_files.write_evaluated(str(folder / "eval_predictions.jsonl"), examples)
        page.write(str(folder))
    benign, hostile = (parsed_page(str(folder)) for folder in folders)
    assert hostile.tags == benign.tags and not {"script", "img", "i"} & set(hostile.tags)
    for text in HOSTILE:
        assert text.replace("\x00", "\ufffd") in hostile.text
    assert "1337" not in hostile.text and "<i>hostile" in hostile.text
    rows = (folders[1] / "errors.tsv").read_text(encoding="utf-8").split("\n")
    assert len(rows) == 22 and all(row.count("\t") == 5 for row in rows[:21])


def test_a_run_that_is_not_finished_says_where_it_stands(tmp_path, capsys, monkeypatch):
    folder = write_run(
        tmp_path / "a run", predictions(range(20)), scores={"examples": 200, "accuracy": 0.5, "global_step": 10}
    )
    lines = [{"step": step, "split": "train", "loss": 1 / step, "grad_norm": 1.0} for step in range(1, 13)]
    lines += [{"step": 10, "split": "dev", "accuracy": 0.75, "loss": 0.5}]
    (tmp_path / "a run" / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"step": 1')
    script = os.path.join(ROOT, "scripts", "report.py")
    monkeypatch.setattr(sys, "argv", [script, folder])
    runpy.run_path(script)["main"]()
    assert capsys.readouterr().out == "Wrote {}\n".format(os.path.join(folder, "report.html"))
    shown = parsed_page(folder).text
    for part in (
        "At step 12 of 20; the next update has a rate of 2e-05.",  # 5e-5 · (1 - 12/20)
        "metrics.jsonl: 1 damaged lines",
        "is of another evaluation",
        "step 12",
        "--flagfile={} ".format(shlex.quote(os.path.join(folder, "flags.txt"))),
    ):
        assert part in shown, part
    assert [chart.title for chart in contents.contents_of(folder).training] == ["Loss", "Gradient norm before clipping"]
    with pytest.raises(UserError, match="has no plan.json"):
        page.write(str(tmp_path))
    with pytest.raises(UserError, match="nowhere: no such folder"):
        page.write(str(tmp_path / "nowhere"))
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(UserError, match="a run: cannot be written to. Make the report of a copy"):
        page.write(folder)


def test_a_pre_training_shows_its_scores_and_no_accuracy_beside_a_perplexity(tmp_path):
    scores = {"masked_lm_accuracy": 0.25, "perplexity": 30000.0, "masked_lm_loss": 10.3}
    folder = write_run(tmp_path / "run", predictions([]), scores=dict(scores, examples=64, global_step=10))
    os.remove(os.path.join(folder, "labels.json"))
    (tmp_path / "run" / "metrics.jsonl").write_text(json.dumps(dict(scores, step=10, split="dev")))
    page.write(folder)
    assert "Scores on dev: 64 examples" in parsed_page(folder).text and "30000.0000" in parsed_page(folder).text
    titles = [(chart.title, chart.names) for chart in contents.contents_of(folder).dev_scores]
    assert titles == [
        ("Scores on dev", ["masked lm accuracy"]),
        ("Perplexity on dev", ["perplexity"]),
        ("Losses on dev", ["masked lm loss"]),
    ]


def test_predictions_without_probabilities_and_a_score_that_is_no_number_have_a_page(tmp_path):
    results = {"examples": 200, "accuracy": None, "global_step": 10}  # NaN in JSON
    folder = write_run(tmp_path / "run", predictions(range(20)), scores=results)
    page.write(folder)
    assert "accuracy is not a number" in parsed_page(folder).text
    with open(os.path.join(folder, "errors.tsv")) as file:
        assert len(file.readlines()) == 21
    os.remove(os.path.join(folder, "eval_predictions.jsonl"))
    page.write(folder)
    assert not os.path.exists(os.path.join(folder, "errors.tsv"))  # it listed what is no longer known


def test_a_run_that_went_on_otherwise_is_not_said_to_be_repeated_by_one_command(tmp_path):
    folder = write_run(tmp_path / "run", predictions(range(20)))
    start = {"action": "start", "environment": {"threads": "2"}}
    for then, said in (
        ({"plan_changed": False, "environment": {"threads": "2"}}, ""),
        ({"plan_changed": True, "environment": {"threads": "2"}}, "went on with another plan"),
        ({"plan_changed": False, "environment": {"threads": "4"}}, "went on in another environment"),
    ):
        killed = {"action": "start", "environment": {"threads": "16"}}
        lines = [killed, start, dict(then, action="continue"), {"action": "finished", "environment": {"threads": "8"}}]
        (tmp_path / "run" / "decisions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        note = contents.contents_of(folder).command_note
        assert said in note and bool(said) == bool(note)


def test_what_prevents_a_report_is_said_and_fails_no_run(tmp_path, capsys, monkeypatch):
    page.write_after_run(str(tmp_path))
    assert "WARNING: no report.html was written: {}: has no plan.json".format(tmp_path) in capsys.readouterr().out
    monkeypatch.setattr(contents, "contents_of", lambda folder: 1 / 0)
    page.write_after_run(str(tmp_path))
    assert "WARNING: no report.html was written: ZeroDivisionError" in capsys.readouterr().out


def test_a_sentence_of_tags_shows_its_wrong_words(tmp_path):
    labels = Labels("run_ner.py", "bio", ["O", "B-x", "I-x"])
    examples = [
        Evaluated("s", 3, ["a b"], ["B-x", "O"], ["B-x", "B-x"], [0.9, 0.7], ["a", "b\tb"]),
        Evaluated("t", 6, ["c"], ["O"], ["O"], [0.6], ["c"]),
    ]
    run_files.write_evaluated(str(tmp_path / "eval_predictions.jsonl"), examples)
    split = dev_split.splits_of(str(tmp_path), {"examples": 2, "f1": 2 / 3}, labels)[0]
    assert (split.note, split.wrong_count, [each.id for each in split.most_doubtful]) == ("", 1, ["t", "s"])
    assert split.error_rows[1:] == [["s", "3", "b\tb", "O", "B-x", "0.700", "2", "a b\tb"]]
    assert split.calibration.correct == pytest.approx(2 / 3)
    assert "is of another evaluation" in dev_split.splits_of(str(tmp_path), {"examples": 3}, labels)[0].note
    run_files.write_evaluated(str(tmp_path / "eval_predictions.jsonl"), [Evaluated("s", 3, ["a"], 5, 5)])
    note = dev_split.splits_of(str(tmp_path), {"examples": 1}, labels)[0].note
    assert "lines are not those of a run of this kind (bio)" in note and note.count("Evaluate it again") == 1
    assert page.joiner(["我", "们"]) == "" and page.joiner(["我", "us"]) == " "
