"""Scores by class, the tuned threshold, and a test file that has labels, through the command line too."""

import json
import os

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from conftest import evaluated_examples, mistake, page_of_run, succeed
from own_data_test import examples

from steady_bert.tasks import metrics
from steady_bert.tasks.classification.scores import best_threshold
from steady_bert.training import reports, run_status


def test_the_confusions_of_many_classes_are_the_most_frequent_and_those_of_few_a_matrix():
    few, many = (reports.format_confusion_table(np.diag([9] * n) + 1, list(map(str, range(n)))) for n in (3, 100))
    assert few.split("\n")[1].split() == ["0", "10", "1", "1"]
    assert many.startswith("Most frequent confusions\ntimes") and len(many.split("\n")) == 22


@hypothesis.given(pairs=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
def test_scores_by_class_are_counts_of_plain_loops(pairs):
    predicted, gold = np.array(pairs).T
    each = metrics.class_scores(predicted, gold, 4)
    several = metrics.class_scores(np.eye(4)[predicted], np.eye(4)[gold], 4)
    assert each == several  # [N, L] says the same
    for label, scores in enumerate(each):
        correct = sum(p == g == label for p, g in pairs)
        chosen, support = sum(p == label for p, _ in pairs), sum(g == label for _, g in pairs)
        expected = (
            correct / max(chosen, 1),
            correct / max(support, 1),
            2 * correct / max(chosen + support, 1),
            support,
        )
        assert scores == pytest.approx(expected)
    present = [scores.f1 for label, scores in enumerate(each) if label in np.array(pairs)]
    assert metrics.macro_f1(predicted, gold) == pytest.approx(np.mean(present))


PROBABILITIES = hnp.arrays(np.float32, (6, 3), elements=st.sampled_from([0.0, 0.125, 0.25, 0.46875, 0.5, 0.75, 1.0]))


@hypothesis.settings(max_examples=50)
@hypothesis.given(
    probabilities=PROBABILITIES, gold=hnp.arrays(np.float32, (6, 3), elements=st.sampled_from([0.0, 1.0]))
)
def test_no_threshold_is_better_than_the_tuned_one_and_none_as_good_is_nearer_to_a_half(probabilities, gold):
    def micro_f1(threshold):
        return metrics.micro_f1(np.asarray(probabilities, np.float64) >= threshold, gold.astype(bool))

    best = best_threshold(probabilities, gold)
    highest = micro_f1(best)
    for other in np.linspace(0.0, 1.0, 21):
        assert micro_f1(other) <= highest + 1e-12
    if micro_f1(0.5) == highest:
        assert best == 0.5 or not gold.any()


def test_a_threshold_has_a_closed_form():
    probabilities = [[0.9, 0.2], [0.3, 0.1], [0.25, 0.05]]
    assert best_threshold(np.array(probabilities), np.array([[1, 0], [1, 0], [0, 0]])) == pytest.approx(0.275)
    assert best_threshold(np.array(probabilities), np.array([[1, 0], [0, 0], [0, 0]])) == 0.5


def write(folder, split, count, seed, labels):
    """labels: how each of praise and blame is written, joined by commas."""
    with open(os.path.join(str(folder), split + ".tsv"), "w") as file:
        file.write("text\tlabel\n")
        for text, praises, blames in examples(count, seed):
            file.write("{}\t{}\n".format(text, labels(praises, blames)))


def results(folder, name):
    with open(os.path.join(str(folder), name)) as file:
        return json.load(file)


def both(praises, blames):
    return ",".join(["blame"] * blames + ["praise"] * praises)


def test_a_tuned_threshold_is_saved_with_the_model_and_used_by_prediction(tiny, tmp_path, capsys):
    for split, count, seed in (("train", 200, 1), ("dev", 60, 2), ("test", 40, 3)):
        write(tmp_path, split, count, seed, both)
    run = tmp_path / "run"
    given = dict(data_dir=str(tmp_path), output_dir=str(run), label_type="multi")
    training = dict(given, do_train="true", num_train_steps=25, multi_label_threshold="tune")
    assert "Give --do_eval too" in mistake(tiny.flags(**training), capsys)
    text = succeed(tiny.flags(**dict(training, do_eval="true", do_predict="true")), capsys)
    threshold = results(run, "threshold.json")["threshold"]
    scores, of_test = results(run, "eval_results.json"), results(run, "test_results.json")
    of_dev = evaluated_examples(str(run))
    assert sum(example.gold == ["blame", "praise"] for example in of_dev)
    assert scores["multi_label_threshold"] == threshold != 0.5 and "the best micro F1 on dev" in text
    assert of_test["examples"] == 40 and of_test["multi_label_threshold"] == threshold
    assert "120 predictions with a" in page_of_run(str(run)).text  # of each text whether it has each label
    with open(str(run / "errors.tsv")) as file:
        listed = [line.rstrip("\n").split("\t") for line in file][1:]
    wrong = [example for example in of_dev if example.gold != example.predicted]
    assert wrong and [(row[2], row[3], row[5]) for row in listed] == [
        (", ".join(each.gold) or "(none)", ", ".join(each.predicted) or "(none)", each.texts[0]) for each in wrong
    ]
    # A folder says it; dev and test are scored alike; a number given takes its place.
    using = dict(given, from_scratch=None, model_dir=str(run), do_predict="true", output_dir=str(tmp_path / "again"))
    succeed(tiny.flags(**using), capsys)
    again = results(tmp_path / "again", "test_results.json")
    assert again == of_test and not (tmp_path / "again" / "threshold.json").exists()
    with open(str(tmp_path / "again" / "predictions.tsv")) as file:
        for row in [line.rstrip("\n").split("\t") for line in file][1:]:
            chosen = [name for name, value in zip(("blame", "praise"), row[2:]) if float(value) >= threshold]
            assert row[1] == ",".join(chosen)
    at_half = dict(using, do_eval="true", do_predict="false", multi_label_threshold=0.5)
    succeed(tiny.flags(**at_half), capsys)
    half = results(tmp_path / "again", "eval_results.json")
    assert half["multi_label_threshold"] == 0.5 and half["micro_f1"] <= scores["micro_f1"]
    other = tmp_path / "other"
    other.mkdir()
    (other / "plan.json").write_text("{}")
    tuning = dict(at_half, output_dir=str(other), multi_label_threshold="tune")
    assert "is the folder of another run than" in mistake(tiny.flags(**tuning), capsys)
    assert os.listdir(str(other)) == ["plan.json"]
    os.unlink(str(run / "threshold.json"))
    assert "threshold.json: is gone" in mistake(tiny.flags(**using), capsys)
    allowed = tiny.flags(**using, allow_changed_files="threshold.json")
    assert "threshold.json: cannot be read (No such file or directory)" in mistake(allowed, capsys)


def test_a_test_file_with_labels_is_scored_like_dev_and_one_without_is_not(tiny, tmp_path, capsys, monkeypatch):
    entered, enter = [], run_status.Keeper.enter
    monkeypatch.setattr(run_status.Keeper, "enter", lambda self, state: [entered.append(state), enter(self, state)])
    for split, count, seed in (("train", 200, 1), ("dev", 60, 2), ("test", 60, 2)):
        write(tmp_path, split, count, seed, lambda praises, blames: "praise" if praises else "blame")
    run = tmp_path / "run"
    given = dict(data_dir=str(tmp_path), output_dir=str(run), do_train="true", do_eval="true", do_predict="true")
    text = succeed(tiny.flags(**dict(given, num_train_steps=40)), capsys)
    assert entered == ["training", "evaluating and predicting"] and run_status.read(str(run)).state == "finished"
    scores, of_test = results(run, "eval_results.json"), results(run, "test_results.json")
    assert of_test["by_class"] == scores["by_class"] and of_test["accuracy"] == scores["accuracy"]
    assert of_test["confusion_matrix"] == scores["confusion_matrix"] and of_test["step"] == scores["global_step"]
    by_class = scores["by_class"]
    assert sum(each["support"] for each in by_class.values()) == 60
    assert np.mean([each["f1"] for each in by_class.values()]) == pytest.approx(scores["macro_f1"])
    row = "praise {precision:.4f} {recall:.4f} {f1:.4f} {support}".format(**by_class["praise"])
    assert " ".join(text.split()).count(row) == 2  # dev and test
    # Labels that cannot be read are named, and their examples predicted alone.
    (tmp_path / "some.tsv").write_text("text\tlabel\ngood alpha\tpraise\nbad beta\t\ngood beta\tnone\n")
    (tmp_path / "none.tsv").write_text("text\ngood alpha\nbad beta\n")
    using = dict(given, do_train="false", do_eval="false", from_scratch=None, model_dir=str(run))
    for name, scored in (("some", True), ("none", False)):
        values = dict(using, predict_file=str(tmp_path / (name + ".tsv")), output_dir=str(tmp_path / name))
        text = succeed(tiny.flags(**values), capsys)
        assert ("on 1 labelled examples of " in text) == scored
        assert ("labels that are not scored: 2, the first " in text) == scored
        assert ("some.tsv:3: the label is missing (empty)" in text) == scored
        assert (tmp_path / name / "test_results.json").exists() == scored
    with open(str(tmp_path / "some" / "predictions.tsv")) as file:
        assert len(file.readlines()) == 4
