"""Comparisons: metrics are those of evaluation, intervals and p-values are right, folders of runs are read."""

import json
import os
import re
import sys

import numpy as np
import pytest
import scipy.stats

from steady_bert.base.errors import UserError
from steady_bert.comparison import compare, measures, page, resampling, sides, text
from steady_bert.comparison.compare import Settings
from steady_bert.comparison.measures import Counted
from steady_bert.tasks import metrics
from steady_bert.tasks.tagging import scores as tagging_scores
from steady_bert.tasks.tagging.predictions import Tagged
from steady_bert.tasks.tagging.sentences import Sentence
from steady_bert.training import plan as plans
from steady_bert.training import run_files
from steady_bert.training.plan import PlanConfig
from steady_bert.training.run_files import Evaluated

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
QUICK = Settings(resamples=500)


def evaluated(gold, predicted, **further):
    return [
        Evaluated(id=str(n), line=n + 1, texts=["text {}".format(n)], gold=g, predicted=p, **further)
        for n, (g, p) in enumerate(zip(gold, predicted))
    ]


def values_of(kind, examples, labels):
    counted = measures.KINDS[kind](examples, labels).metrics
    return {name: float(each.value(each.counts.sum(axis=0))) for name, each in counted.items()}


def of_correct(correct):
    """What accuracy is made from."""
    return Counted(measures._of_shares(np.asarray(correct)), measures._share)


# --- metrics ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 4])
def test_metrics_of_classes_are_those_of_evaluation(classes):
    generator = np.random.default_rng(classes)
    labels = ["abcd"[n] for n in range(classes)]
    gold = generator.integers(classes, size=60)
    predicted = np.where(generator.random(60) < 0.6, gold, generator.integers(classes, size=60))
    values = values_of("single", evaluated([labels[n] for n in gold], [labels[n] for n in predicted]), labels)
    assert len(values) == (4 if classes == 2 else 3)
    for name, value in values.items():
        assert value == pytest.approx(metrics.METRICS[name](predicted, gold), abs=1e-12), name
    constant = values_of("single", evaluated(["a", "b"], ["a", "a"]), labels)
    assert constant["matthews_correlation"] == 0.0
    assert constant["macro_f1"] == pytest.approx(metrics.macro_f1(np.array([0, 0]), np.array([0, 1])))


def test_metrics_of_several_labels_are_those_of_evaluation():
    generator, labels = np.random.default_rng(3), ["x", "y", "z", "never"]
    gold = generator.random((40, 4)) < [0.5, 0.3, 0.6, 0.0]
    predicted = gold ^ (generator.random((40, 4)) < [0.2, 0.3, 0.1, 0.0])

    def names(rows):
        return [[label for label, yes in zip(labels, row) if yes] for row in rows]

    values = values_of("multi", evaluated(names(gold), names(predicted)), labels)
    for name, value in values.items():
        expected = metrics.METRICS[name](predicted.astype(int), gold.astype(int))
        assert value == pytest.approx(expected, abs=1e-12), name
    assert set(values) == {"micro_f1", "macro_f1", "exact_match"}


def test_correlations_are_those_of_evaluation():
    generator = np.random.default_rng(4)
    gold = generator.integers(0, 11, size=50) / 2 + 1000.0  # with ties, far from 0
    predicted = gold + generator.normal(size=50)
    for scores in (predicted, np.full(50, 0.1), 3.25 + 1e-6 * predicted):  # scores that hardly differ are not constant
        values = values_of("regression", evaluated(gold.tolist(), scores.tolist()), [])
        for name in ("pearson", "spearman"):
            assert values[name] == pytest.approx(metrics.METRICS[name](scores, gold), abs=1e-9), name


def test_a_score_that_is_no_number_is_refused():
    with pytest.raises(UserError, match="line 2: a score is no number"):
        measures.counted("regression", evaluated([1.0, 2.0, 3.0], [0.5, None, 0.5]), [])  # NaN in JSON


@pytest.mark.parametrize(
    "kind, labels", [("bio", ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]), ("plain", ["N", "V", "A"])]
)
def test_metrics_of_tags_are_those_of_evaluation(kind, labels):
    generator = np.random.default_rng(5)
    lengths = generator.integers(1, 9, size=30)
    gold = [[labels[n] for n in generator.integers(len(labels), size=length)] for length in lengths]
    predicted = [
        [tag if generator.random() < 0.8 else labels[generator.integers(len(labels))] for tag in row] for row in gold
    ]
    sentences = [Sentence(0, 0, "", (), tuple(row), "", ()) for row in gold]
    tagged = [Tagged(sentence, row, np.zeros(0)) for sentence, row in zip(sentences, predicted)]
    expected = tagging_scores.scores(tagged, kind == "plain", with_surfaces=False)
    assert values_of(kind, evaluated(gold, predicted), labels) == pytest.approx(expected, abs=1e-12)


# --- intervals and tests ----------------------------------------------------------------------------------------------


def test_interval_and_p_of_accuracy_have_their_closed_forms():
    """The randomization test of accuracy is the sign test; the interval is nearly the normal one."""
    only_a, only_b, total = 30, 52, 1000
    a, b = np.ones(total), np.ones(total)
    b[:only_a] = 0
    a[only_a : only_a + only_b] = 0
    result = resampling.paired([of_correct(a)], [of_correct(b)], 20_000, 0.95, np.random.default_rng(0))
    assert (result.a, result.b) == pytest.approx((0.948, 0.970))
    exact = resampling.mcnemar(a == 1, b == 1)
    assert exact == (only_a, only_b, pytest.approx(scipy.stats.binom.cdf(30, 82, 0.5) * 2))
    assert result.p_value == pytest.approx(exact.p_value, abs=4 * np.sqrt(exact.p_value / 20_000))
    difference = (only_b - only_a) / total
    error = np.sqrt((only_a + only_b) / total - difference**2) / np.sqrt(total)
    assert (result.low, result.high) == pytest.approx(
        (difference - 1.96 * error, difference + 1.96 * error), abs=0.0012
    )


def test_f1_has_the_interval_and_the_p_of_scipy():
    generator = np.random.default_rng(6)
    gold = generator.random(150) < 0.3
    a, b = (gold ^ (generator.random(150) < rate) for rate in (0.2, 0.13))
    labels = ["no", "yes"]
    counted = [
        measures.KINDS["single"](
            evaluated([labels[int(g)] for g in gold], [labels[int(p)] for p in side]), labels
        ).metrics["f1"]
        for side in (a, b)
    ]
    result = resampling.paired(counted[:1], counted[1:], 10_000, 0.9, np.random.default_rng(0))

    def f1(codes, axis):
        g, p = codes // 2, codes % 2
        return 2 * np.sum(g * p, axis=axis) / (np.sum(g, axis=axis) + np.sum(p, axis=axis))

    def difference(of_a, of_b, axis):
        return f1(of_b, axis) - f1(of_a, axis)

    codes = tuple(2 * gold.astype(int) + side for side in (a, b))
    of_scipy = scipy.stats.bootstrap(
        codes,
        difference,
        paired=True,
        vectorized=True,
        n_resamples=2000,
        method="percentile",
        confidence_level=0.9,
        random_state=np.random.RandomState(0),
    ).confidence_interval
    assert (result.low, result.high) == pytest.approx(tuple(of_scipy), abs=0.012)
    if hasattr(scipy.stats, "permutation_test"):  # SciPy 1.8, Python 3.8
        test = scipy.stats.permutation_test(
            codes, difference, permutation_type="samples", vectorized=True, n_resamples=3000
        )
        assert result.p_value == pytest.approx(test.pvalue, abs=0.03)


def test_rank_correlations_of_each_resample_have_ranks_of_their_own():
    generator = np.random.default_rng(7)
    gold = generator.integers(0, 6, size=60).astype(float)
    a, b = gold + generator.normal(size=60) * 2, gold + generator.normal(size=60)
    runs = [measures.KINDS["regression"](evaluated(gold.tolist(), side.tolist()), []).metrics for side in (a, b)]
    of_spearman = [[run["spearman"]] for run in runs]
    differences = resampling._ranked_differences(*of_spearman, 4, np.random.default_rng(1))
    drawn = np.random.default_rng(1).integers(60, size=(4, 60))
    expected = [metrics.spearman(b[row], gold[row]) - metrics.spearman(a[row], gold[row]) for row in drawn]
    assert differences == pytest.approx(expected, abs=1e-12)
    result = resampling.paired(*of_spearman, 500, 0.95, np.random.default_rng(0))
    assert result.low < result.difference < result.high and result.p_value < 0.05


def test_sides_without_a_difference_have_p_1():
    same = of_correct(np.arange(50) % 3 > 0)
    assert resampling.paired([same], [same, same], 200, 0.95, np.random.default_rng(0))[2:] == (0.0, 0.0, 1.0)
    assert resampling.mcnemar(np.ones(3, bool), np.ones(3, bool)) == (0, 0, 1.0)


def called_different(pairs, seed, resamples=300):
    """How many of the pairs (a, b) of correct examples have p ≤ 5 %."""
    generator = np.random.default_rng(seed)
    results = (resampling.paired([of_correct(a)], [of_correct(b)], resamples, 0.95, generator) for a, b in pairs)
    return sum(result.p_value <= 0.05 for result in results)


def test_at_most_65_of_1000_pairs_from_one_distribution_are_called_different():
    """Examples are of very different difficulty, as real ones are."""
    generator = np.random.default_rng(8)
    difficulty = generator.beta(3, 0.5, size=400)
    pairs = ((generator.random(400) < difficulty, generator.random(400) < difficulty) for _ in range(1000))
    assert 25 <= called_different(pairs, 9) <= 65


def test_2_points_on_1800_examples_with_6_percent_discordant_are_found_in_85_of_100_pairs():
    generator = np.random.default_rng(10)

    def pair():
        discordant, better = generator.random(1800) < 0.06, generator.random(1800) < 2 / 3  # 4 % against 2 %
        both = generator.random(1800) < 0.85
        return np.where(discordant, ~better, both), np.where(discordant, better, both)

    assert called_different((pair() for _ in range(100)), 11) >= 85


def test_seeds_are_compared_by_the_t_tests():
    a, b = [0.861, 0.853, 0.870, 0.858], [0.869, 0.866, 0.872, 0.871]
    shared = resampling.over_seeds(a, b, True, 0.95)
    assert shared.p_value == pytest.approx(scipy.stats.ttest_rel(b, a).pvalue)
    welch = resampling.over_seeds(a, b[:3], False, 0.95)
    assert welch.p_value == pytest.approx(scipy.stats.ttest_ind(b[:3], a, equal_var=False).pvalue)
    at_limit = resampling.over_seeds(a, b, True, 1 - shared.p_value)  # where the interval ends at 0
    assert min(abs(at_limit.low), abs(at_limit.high)) == pytest.approx(0, abs=1e-12)
    assert resampling.over_seeds([0.5, 0.5], [0.6, 0.6], True, 0.95).p_value == 1.0


# --- folders ----------------------------------------------------------------------------------------------------------


def write_run(folder, predicted, seed=1, rate=5e-5, gold=None, flags=(), scores=None, labels=("bad", "good")):
    """A folder with what a comparison reads. predicted: [N] of 0 and 1; gold is 0 and 1 in turn."""
    gold = [n % 2 for n in range(len(predicted))] if gold is None else gold
    config = PlanConfig(learning_rate=rate, seed=seed, num_train_epochs=1.0)
    plan = plans.make_plan(config, 640, {"task": "text", "best_metric": "accuracy"}, {})
    os.makedirs(str(folder))
    accuracy = float(np.mean(np.array(predicted) == gold))
    contents = {
        "plan.json": plans.to_json(plan),
        "labels.json": {"labels": list(labels), "label_type": "single"},
        "eval_results.json": scores or {"accuracy": accuracy, "global_step": 20},
    }
    for name, content in contents.items():
        (folder / name).write_text(json.dumps(content))
    (folder / "flags.txt").write_text("\n".join(["--do_eval", "--output_dir={}".format(folder), *flags]) + "\n")
    examples = evaluated([labels[n] for n in gold], [labels[n] for n in predicted])
    run_files.write_evaluated(str(folder / "eval_predictions.jsonl"), examples)
    return str(folder)


def predictions(wrong, total=200):
    """Those of a run that is wrong at these examples."""
    return [n % 2 if n not in wrong else 1 - n % 2 for n in range(total)]


def compared(*arguments, settings=QUICK):
    return compare.compare(*map(sides.side_of, arguments), settings)


def test_two_settings_differ_with_their_examples_and_flags(tmp_path):
    a = write_run(tmp_path / "a", predictions(range(40)), flags=["--learning_rate=5e-05", "--nodo_lower_case"])
    b = write_run(
        tmp_path / "b", predictions(range(38, 50)), rate=1e-4, flags=["--learning_rate=0.0001", "--log_every_steps=5"]
    )
    result = compared(a, b)
    assert result.verdict.answer == "different" and result.main == "accuracy" and result.examples == 200
    assert result.metrics[0].pooled.difference == pytest.approx(28 / 200)
    assert list(result.mcnemar[:2]) == [10, 38] and "with one seed" not in result.verdict.text
    assert (result.flips.better_count, result.flips.worse_count) == (38, 10)
    flip = result.flips.worse[0]
    assert (flip.line, flip.texts, flip.gold, flip.a, flip.b) == (41, ["text 40"], "bad", ["bad"], ["good"])
    names = {each.name: (each.a, each.b, each.is_setting) for each in result.differences}
    assert names == {
        "learning_rate": ("5e-05", "0.0001", True),
        "--do_lower_case": ("False", None, False),
        "--log_every_steps": (None, "5", False),
    }
    shown = text.described(result)
    for part in (
        "accuracy",
        "+0.1400",
        "Better in b: 38 examples",
        "learning_rate: 5e-05 → 0.0001",
        "line 41: text 40",
    ):
        assert part in shown, shown
    assert len(compared(a, b, settings=QUICK._replace(examples=3)).flips.better) == 3


def test_seeds_of_one_setting_are_said_to_be_one_setting(tmp_path):
    a = write_run(tmp_path / "a", predictions(range(20)), seed=1)
    b = write_run(tmp_path / "b", predictions(range(16)), seed=2)
    result = compared(a, b)
    assert result.verdict.answer == "one setting"
    assert "Over its 2 seeds, accuracy is 0.9100 ± 0.0141." in result.verdict.text  # .90 and .92
    assert "same seeds: the sides predict the same" in compared(a, a).verdict.text
    other_machine = write_run(tmp_path / "e", predictions(range(19)), seed=1)
    assert "same seeds: predictions differ" in compared(a, other_machine).verdict.text
    again = write_run(tmp_path / "c", predictions(range(20)), seed=3, rate=1e-4)
    assert compared(a, again).verdict.answer == "same predictions"
    no_better = write_run(tmp_path / "d", predictions(range(1, 22)), rate=1e-4)
    assert compared(a, no_better).verdict.answer == "not shown to differ"


def test_several_seeds_a_side_are_compared_by_seed_and_pooled(tmp_path):
    generator = np.random.default_rng(12)
    for seed in range(1, 5):
        for name, rate, share in (("base", 5e-5, 0.2), ("fast", 1e-4, 0.1)):
            wrong = set(np.flatnonzero(generator.random(200) < share))
            write_run(tmp_path / "{}-seed{}".format(name, seed), predictions(wrong), seed=seed, rate=rate)
    result = compared(str(tmp_path / "base-seed*"), str(tmp_path / "fast-seed*"))
    metric = result.metrics[0]
    assert list(metric.by_seed) == [1, 2, 3, 4] and result.mcnemar is None
    assert [paired.a for paired in metric.by_seed.values()] == pytest.approx(metric.a)
    for each in result.metrics:  # F1 and Matthews' too: the difference is that of the means that are shown
        assert (each.pooled.a, each.pooled.b) == pytest.approx((np.mean(each.a), np.mean(each.b)))
    assert metric.seeds.shared and metric.seeds.p_value == pytest.approx(
        scipy.stats.ttest_rel(metric.b, metric.a).pvalue
    )
    single_reach = np.mean([paired.high - paired.low for paired in metric.by_seed.values()])
    assert metric.pooled.high - metric.pooled.low < 0.7 * single_reach  # four times the predictions
    assert result.verdict.answer == "different" and "over seeds" in result.verdict.text
    assert len(result.flips.better[0].a) == 4 and result.flips.better[0].change == 1.0
    shown = text.described(result)
    assert "accuracy by seed:" in shown and "p over seeds" in shown and "4 × " in shown
    three = ",".join(str(tmp_path / "fast-seed{}".format(seed)) for seed in (2, 3, 4))
    of_three = compared(str(tmp_path / "base-seed*"), three)
    assert not [each for each in of_three.differences if each.name == "seed"]  # both have seed 2
    uneven = of_three.metrics[1]
    assert not uneven.seeds.shared and list(uneven.by_seed) == [2, 3, 4]
    assert (uneven.pooled.a, uneven.pooled.b) == pytest.approx((np.mean(uneven.a), np.mean(uneven.b)))


def test_the_page_and_the_json_file_have_all_of_it_and_nothing_from_outside(tmp_path, capsys, monkeypatch):
    labels = ("<b>bad</b>", "good")
    a = write_run(tmp_path / "a", predictions(range(20)), labels=labels)
    b = write_run(tmp_path / "b", predictions(range(10)), rate=1e-4, labels=labels)
    c = write_run(tmp_path / "c", predictions(range(30)), rate=2e-4, labels=labels)
    sys.path.insert(0, os.path.join(ROOT, "scripts"))
    try:
        import compare_runs
    finally:
        sys.path.pop(0)
    html, numbers = tmp_path / "page.html", tmp_path / "numbers.json"
    command = ["compare_runs.py", a, b, c, "--html=" + str(html), "--json=" + str(numbers), "--resamples=200"]
    monkeypatch.setattr(sys, "argv", command)
    compare_runs.main()
    assert capsys.readouterr().out.count("Verdict: ") == 2
    written = html.read_text(encoding="utf-8")
    assert "&lt;b&gt;bad" in written and "<b>bad" not in written
    assert not re.search(r"<script|<link(?! rel=\"icon\" href=\"data:,\")|https?:|url\(|@import", written)
    assert written.count("<section") == 2 and "text 12" in written and written.count("<svg") == 8
    first = json.loads(numbers.read_text())["comparisons"][0]
    assert first["verdict"]["answer"] == "different" and first["mcnemar"] == {
        "only_a": 0,
        "only_b": 10,
        "p_value": 2**-9,
    }
    assert first["a"]["runs"] == [{"folder": a, "seed": 1, "step": 20}]
    assert first["metrics"][0]["pooled"]["difference"] == pytest.approx(0.05)
    for wrong in ("--resamples=5", "--confidence=1", "--examples=-1", "--metric=f2"):
        monkeypatch.setattr(sys, "argv", command + [wrong])
        with pytest.raises(UserError, match=wrong[:7]):
            compare_runs.main()


def test_intervals_are_drawn_within_the_figure_around_zero(tmp_path):
    a = write_run(tmp_path / "a", predictions(range(20)))
    b = write_run(tmp_path / "b", predictions(range(5)), rate=1e-4)
    for place, metric in zip(page.intervals(compared(a, b)), compared(a, b).metrics):
        assert place["zero"] == 50 and 0 < place["low"] <= place["middle"] <= place["high"] < 100
        assert (place["middle"] > 50) == (metric.pooled.difference > 0)


def test_runs_that_cannot_be_compared_are_refused_by_name(tmp_path):
    a = write_run(tmp_path / "a", predictions(range(20)))
    same_seed = write_run(tmp_path / "b", predictions(range(10)))
    other_rate = write_run(tmp_path / "c", predictions(range(10)), seed=2, rate=1e-4)
    other_gold = write_run(tmp_path / "d", predictions(range(10)), gold=[1 - n % 2 for n in range(200)], seed=3)
    other_labels = write_run(tmp_path / "e", predictions(range(10)), labels=("x", "y"), seed=4)
    stale = write_run(tmp_path / "f", predictions(range(10)), scores={"accuracy": 0.5, "global_step": 9}, seed=5)
    without = write_run(tmp_path / "g", predictions(range(10)), seed=6)
    os.unlink(os.path.join(without, "eval_predictions.jsonl"))
    damaged = write_run(tmp_path / "h", predictions(range(10)), seed=7)
    with open(os.path.join(damaged, "eval_predictions.jsonl"), "a") as file:
        file.write('{"id": "1"')
    unknown = write_run(tmp_path / "i", predictions(range(10)), seed=8)
    with open(os.path.join(unknown, "eval_predictions.jsonl"), "a") as file:
        file.write('{"id": "x", "line": 999, "texts": [], "gold": "neither", "predicted": "bad"}\n')
    twice = write_run(tmp_path / "k", predictions(range(10)), seed=10)
    with open(os.path.join(twice, "eval_predictions.jsonl"), "r+") as file:
        file.write("".join(2 * file.readlines()))
    pretrained = write_run(tmp_path / "j", predictions(range(10)), seed=9)
    os.unlink(os.path.join(pretrained, "labels.json"))
    for arguments, said in (
        ((a, str(tmp_path / "nowhere*")), "nowhere.*: there is no such folder"),
        ((a, str(tmp_path)), "has no plan.json"),
        (("{},{}".format(a, same_seed), a), "are both of seed 1"),
        (("{},{}".format(a, other_rate), a), r"are not seeds of one setting \(learning_rate\)"),
        ((a, other_gold), "different dev files: line 1 differs"),
        ((a, other_labels), "predict different things"),
        ((a, stale), "eval_predictions.jsonl has accuracy 0.9500, eval_results.json has 0.5000"),
        ((a, without), "was not written by the evaluation of this run. Evaluate it again"),
        ((a, damaged), "eval_predictions.jsonl:201: not JSON"),
        ((a, twice), "eval_predictions.jsonl has an example twice"),
        ((a, pretrained), "has no labels.json, .* Compare runs of a task"),
        ((a, unknown), "line 201: gold 'neither' is no label of the run"),
    ):
        with pytest.raises(UserError, match=said):
            compared(*arguments)


def test_runs_with_other_dev_examples_are_compared_on_those_in_common(tmp_path):
    a = write_run(tmp_path / "a", predictions(range(20)))
    b = write_run(tmp_path / "b", predictions(range(10), total=150), rate=1e-4)
    result = compared(a, b)
    assert (result.examples, result.left_out) == (150, 50)
    assert result.metrics[0].a == [pytest.approx(130 / 150)] and "50 others" in text.examples_line(result)
