"""Searches: settings, the median rule, folds, the table, and that no kill changes what is found."""

import collections
import json
import os
import random
import runpy
import shlex
import signal
import statistics
import subprocess
import sys
import time

import pytest

from steady_bert.base.errors import UserError
from steady_bert.search import command, figure, fold_tasks, folds, page, record, results, space, tpe
from steady_bert.search.again import Again
from steady_bert.search.pruning import Curve, verdicts
from steady_bert.search.runs import FAILED, FINISHED, Board, Design, Outcome, Place, Run
from steady_bert.tasks.classification.config import ClassifierDataConfig
from steady_bert.tasks.classification.own_text import TextProcessor
from steady_bert.tasks.tagging import formats
from steady_bert.tasks.tagging.config import TaggingDataConfig
from steady_bert.tasks.tagging.sentences import Layout
from steady_bert.tasks.task import BadLines
from steady_bert.training import plan as plans

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


# --- settings ---------------------------------------------------------------------------------------------------------


def test_the_default_grid_is_that_of_the_paper():
    settings = space.grid(space.dimensions([]))
    assert len(settings) == 18 == space.size(space.dimensions([])) == len({tuple(each.values()) for each in settings})
    assert settings[0] == {"train_batch_size": "16", "learning_rate": "5e-5", "num_train_epochs": "2"}
    assert settings[1]["num_train_epochs"] == "3" and settings[-1] == dict(
        train_batch_size="32", learning_rate="2e-5", num_train_epochs="4"
    )


def test_ranges_are_drawn_evenly_within_their_ends_and_the_first_draws_do_not_depend_on_their_number():
    parsed = space.dimensions(["learning_rate=log(1e-5, 1e-3)", "a=uniform(-1,3)", "--layers=int(1,4)", "b=x;y,z;"])
    drawn = space.random_settings(parsed, 7, 2000)
    assert drawn[:5] == space.random_settings(parsed, 7, 5) != space.random_settings(parsed, 8, 5)
    rates = sorted(float(each["learning_rate"]) for each in drawn)
    assert rates[0] >= 1e-5 and rates[-1] <= 1e-3 and rates[1000] == pytest.approx(1e-4, rel=0.2)  # the middle by log
    linear = [float(each["a"]) for each in drawn]
    assert min(linear) >= -1 and max(linear) <= 3 and statistics.mean(linear) == pytest.approx(1, abs=0.1)
    assert set(collections.Counter(each["layers"] for each in drawn)) == set("1234")
    assert {each["b"] for each in drawn} == {"x", "y,z", ""}
    few = space.dimensions(["a=1,2,3", "b=int(1,2)"])
    whole = space.random_settings(few, 0, 6)
    assert space.size(few) == 6 == len({tuple(each.values()) for each in whole})
    with pytest.raises(UserError, match="there are 6 settings"):
        space.random_settings(few, 0, 7)


@pytest.mark.parametrize(
    "text, message",
    [
        ("rate", "names no flag"),
        ("rate=", "a value is empty"),
        ("rate=1,1", "names a value twice"),
        ("rate=log(0,1)", "two numbers above 0"),
        ("rate=uniform(2,1)", "the smaller one first"),
        ("rate=int(1,x)", "are no numbers"),
        ("rate=normal(1,2)", "is no range"),
    ],
)
def test_what_cannot_be_varied_is_refused(text, message):
    with pytest.raises(UserError, match=message):
        space.dimensions([text])


def test_tpe_looks_at_the_trials_it_may_and_repeats_none():
    pytest.importorskip("optuna")
    parsed = space.dimensions(["rate=log(1e-5,1e-1)", "kind=a,b"])
    settings = space.random_settings(parsed, 3, 24)
    good = [tpe.Result(each, -abs(float(each["rate"]) - 1e-3) - (each["kind"] == "a")) for each in settings]
    near = [tpe.proposed(parsed, seed, settings, good) for seed in range(12)]
    assert near == [tpe.proposed(parsed, seed, settings, good) for seed in range(12)]
    assert sum(each["kind"] == "b" for each in near) >= 9
    assert sum(1e-4 < float(each["rate"]) < 1e-2 for each in near) >= 9
    other = [tpe.Result(each.setting, pruned=(10, each.score)) for each in good[:12]] + [tpe.Result(settings[12])]
    assert tpe.proposed(parsed, 0, settings, other)["kind"] in "ab"
    few = space.dimensions(["kind=a,b,c"])
    known = [tpe.Result({"kind": kind}, 1.0) for kind in "ab"]
    assert all(tpe.proposed(few, seed, [each.setting for each in known], known) == {"kind": "c"} for seed in range(5))


# --- the median rule --------------------------------------------------------------------------------------------------


def curve(*scores, whole=True, end=40):
    return Curve([(10 * number, score) for number, score in enumerate(scores, 1)], whole, end)


def test_a_run_is_pruned_where_its_best_is_below_the_median_of_the_scores_at_that_step():
    others = [curve(0.2, 0.5, 0.8, 0.9), curve(0.4, 0.6, 0.7, 0.9), curve(0.3, 0.3, 0.9, 0.9)]
    found = verdicts([*others, curve(0.3, 0.1, 0.1, 0.1)], 3)
    assert [each.pruned for each in found] == [None, None, None, 20]  # at 10 its 0.3 is the median of 0.2 0.3 0.4
    assert found[3].points == [(10, 0.3), (20, 0.1)]
    assert verdicts([*others, curve(0.3, 0.1, 0.1, 0.1)], 4)[3].pruned is None  # too few others
    assert verdicts([*others, curve(0.5, 0.4, 0.4, 0.9)], 3)[3].pruned == 30  # its best, 0.5, is the median at 20
    assert verdicts([*others, curve(0.9, 0.9, 0.9, 0.1)], 3)[3].pruned is None  # its best counts
    assert verdicts([curve(0.9)] * 3 + [Curve([(15, 0.0)], True, 40)], 1)[3].pruned is None  # no other at this step
    assert verdicts([curve(0.1, 0.1, 0.1, 0.9), curve(0.2, 0.2, 0.2, 0.2)], 1)[1].pruned is None  # the end of a run
    assert verdicts([curve(0.1, 0.1, 0.1, 0.9), curve(0.2, 0.2, 0.2, 0.2, end=50)], 1)[1].pruned == 40


def test_early_stopping_changes_nothing_in_the_median_rule():
    stopped = curve(0.5, 0.5)  # at 20 of 40 steps
    assert verdicts([curve(0.3, 0.9, 0.9, 0.9), stopped], 1)[1].pruned == 20  # whoever judged it then did not know
    assert verdicts([stopped, curve(0.6, 0.6, 0.1, 0.1), curve(0.7, 0.4, 0.4, 0.4)], 2)[2].pruned is None  # one rival
    assert verdicts([stopped, curve(0.4, 0.6, 0.9, 0.1)], 1)[1].pruned == 10


def test_verdicts_do_not_depend_on_the_order_in_which_reports_arrive():
    """At any moment a verdict that is there is the one that all reports give, and in the end none is missing."""
    for seed in range(40):
        rng = random.Random(seed)
        whole = [curve(*[rng.random() for _ in range(rng.randint(1, 5))], end=rng.choice([30, 50])) for _ in range(7)]
        final = [each.pruned for each in verdicts(whole, 2)]
        shown = [0] * len(whole)
        while True:
            partial = [
                Curve(each.points[:count], count > len(each.points), each.end) for each, count in zip(whole, shown)
            ]
            found = verdicts(partial, 2)
            assert all(each.pruned is None or each.pruned == last for each, last in zip(found, final))
            assert all(each.pruned == last for each, last in zip(found, final) if each.is_final)
            late = [number for number, each in enumerate(whole) if shown[number] <= len(each.points)]
            if not late:
                break
            shown[rng.choice(late)] += 1
        assert [each.pruned for each in found] == final and all(each.is_final for each in found)
    assert any(final)


def test_with_pruning_the_runs_of_a_trial_follow_one_another():
    places = [Place(1, 0), Place(2, 0)]
    design = Design(3, places, prune_after=1)
    board = Board(design, {})
    assert board.startable([1, 2, 3]) == [Run(trial, places[0]) for trial in (1, 2, 3)]
    good, bad = Outcome(FINISHED, [(10, 0.9), (20, 0.9)], 20, 0.9), Outcome(FINISHED, [(10, 0.1), (20, 0.1)], 20, 0.1)
    outcomes = {Run(2, places[0]): bad}
    assert not Board(design, outcomes).is_done(Run(2, places[0]))  # what the first trial reports decides
    outcomes[Run(1, places[0])] = good
    board = Board(design, outcomes)
    assert board.pruned(Run(2, places[0])) == 10 and board.is_trial_done(2) and not board.is_trial_done(1)
    assert board.startable([1, 2, 3]) == [Run(1, places[1]), Run(3, places[0])]
    assert Design(3, places).runs == Board(Design(3, places), {}).startable([1, 2, 3])
    assert [Board(Design(3, places, lag=2), {}).is_setting_due(trial) for trial in (1, 2, 3)] == [True, True, False]


# --- folds ------------------------------------------------------------------------------------------------------------


def test_folds_have_equal_sizes_and_shares_of_each_label_or_whole_groups():
    rng = random.Random(0)
    for count in (2, 3, 7):
        labels = rng.choices("aaabbc", k=100) + ["rare"]
        fold_of = folds.by_label(labels, count, 1)
        assert fold_of == folds.by_label(labels, count, 1) != folds.by_label(labels, count, 2)
        for chosen in (labels, *[[label] for label in "abc"]):
            sizes = collections.Counter(fold for fold, label in zip(fold_of, labels) if label in chosen)
            assert max(sizes.values()) - min(sizes.values()) <= 1 and len(sizes) == count
        groups = [str(int(rng.random() ** 2 * 12)) for _ in range(100)]
        fold_of = folds.by_group(groups, count, 1)
        assert len(set(zip(groups, fold_of))) == len(set(groups))
        sizes = collections.Counter(fold_of)
        assert max(sizes.values()) - min(sizes.values()) <= max(collections.Counter(groups).values())
    scores = [float(number) for number in range(90)]
    means = [
        statistics.mean(score for score, own in zip(scores, folds.by_label(scores, 3, 0)) if own == f) for f in range(3)
    ]
    assert max(means) - min(means) <= 2
    with pytest.raises(UserError, match="2 groups"):
        folds.by_group(["a", "b", "a"], 3, 0)


def classifier_data(folder, **changed):
    values = dict(task_name="text", text_columns=(), label_column=None, label_type="single", labels=())
    values.update(label_separator=None, class_weights=(), language="zh", skip_bad_lines=0, encoding="auto")
    return ClassifierDataConfig(data_dir=str(folder), predict_file=None, **dict(values, **changed))


ROWS = [{"text": "é {}".format(number), "label": "ab"[number % 2], "source": number % 4} for number in range(12)]
TABLES = {
    "train.tsv": "text\tlabel\tsource\n" + "".join("{text}\t{label}\t{source}\n".format(**row) for row in ROWS),
    "train.csv": "label,text,source\n"
    + "".join('{label},"of\nlines, {text}",{source}\n'.format(**row) for row in ROWS),
    "train.jsonl": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS),
}


@pytest.mark.parametrize("name", sorted(TABLES))
@pytest.mark.parametrize("by", ["label", "source"])
def test_the_files_of_folds_have_each_example_once_as_it_was(tmp_path, name, by):
    (tmp_path / name).write_bytes(TABLES[name].rstrip("\n").encode("utf-8"))
    flags = fold_tasks.write("run_classifier", classifier_data(tmp_path), 3, by, 0, str(tmp_path / "folds"))
    assert [each["labels"] for each in flags] == ["a,b"] * 3 and len({each["data_dir"] for each in flags}) == 3

    def texts(folder, split):
        processor = TextProcessor()
        path = processor.file_path(folder, split)
        return [(example.text_a, example.label) for example in processor.read_examples(path, split)]

    everything = texts(str(tmp_path), "train")
    devs = [texts(each["data_dir"], "dev") for each in flags]
    assert sorted(sum(devs, [])) == sorted(everything) and len(everything) == 12
    for dev, each in zip(devs, flags):
        assert texts(each["data_dir"], "train") == [example for example in everything if example not in dev]
        if by == "label":
            assert [label for _, label in dev].count("a") == 2
        else:
            sources = {everything.index(example) % 4 for example in dev}
            assert len(dev) == 3 * len(sources)
    with pytest.raises(UserError, match="no such column"):
        fold_tasks.write("run_classifier", classifier_data(tmp_path), 3, "topic", 0, str(tmp_path / "folds"))


def test_folds_of_tagged_sentences_keep_their_lines_and_know_all_tags(tmp_path):
    sentences = [
        ["Ann B-PER", "sleeps O"],
        ["in O", "Rome B-LOC"],
        ["no O"],
        ["Bob B-PER"],
        ["a O", "b O"],
        ["x B-ORG"],
    ]
    (tmp_path / "train.conll").write_text("\n\n".join("\n".join(each) for each in sentences))  # no empty line ends it
    fields = {name: getattr(Layout(), name) for name in Layout._fields if name != "tag_names"}
    others = dict(class_weights=(), tags_file=None, doc_stride=8, head="softmax", lstm_size=1, lstm_layers=1)
    others.update(lstm_cell="lstm", constrained_decoding=False, skip_bad_lines=0, predict_file=None, test_file=None)
    data = TaggingDataConfig(train_file=str(tmp_path / "train.conll"), dev_file=None, **fields, **others)
    flags = fold_tasks.write("run_ner", data, 2, "label", 0, str(tmp_path / "folds"))
    assert (tmp_path / "folds" / "tags.txt").read_text().split() == ["O"] + [
        prefix + kind for kind in ("LOC", "ORG", "PER") for prefix in ("B-", "I-")
    ]

    def rows(path):
        return [list(each.rows) for each in formats.read_sentences(path, Layout(), None, True, BadLines(0))]

    both = [rows(each["dev_file"]) for each in flags]
    assert sorted(sum(both, [])) == sorted(sentences) and [len(each) for each in both] == [3, 3]
    assert [rows(each["train_file"]) for each in flags] == both[::-1]


# --- the table --------------------------------------------------------------------------------------------------------


def test_the_table_has_means_and_deviations_and_what_is_not_finished_comes_last(tmp_path):
    design = Design(4, [Place(1, 0), Place(2, 0)])
    outcomes = {
        Run(trial, place): Outcome(FINISHED, [], 10, score, 10, {"f1": score}, "f1")
        for trial, scores in ((1, (0.5, 0.7)), (2, (0.8, 0.9)), (3, (0.95, None)))
        for place, score in zip(design.places, scores)
        if score is not None
    }
    outcomes[Run(3, design.places[1])] = Outcome(FAILED, message="run_ner: the loss is <not> finite")
    settings = [{"rate": value, "kind": "a&b"} for value in ("1e-5", "2e-5", "3e-5", "4e-5")]
    found = results.found(["rate", "kind"], design, settings, outcomes)
    assert results.rows(found) == [
        ["trial", "rate", "kind", "f1", "runs", ""],
        ["2", "2e-5", "a&b", "0.8500 ± 0.0707", "2", ""],
        ["1", "1e-5", "a&b", "0.6000 ± 0.1414", "2", ""],
        ["3", "3e-5", "a&b", "0.9500", "1", "1 of 2 runs failed"],
        ["4", "4e-5", "a&b", "-", "0", "unfinished"],
    ]
    assert results.failures(found) == [("003-rate=3e-5-kind=a_b-seed2", "run_ner: the loss is <not> finite")]
    drawn = figure.figure(found)
    assert len(drawn.lines) == 3 and drawn.lines[-1].share == 1 and [axis.name for axis in drawn.axes][-1] == "f1"
    downs = [float(line.points.split()[-1].split(",")[1]) for line in drawn.lines]
    assert downs[2] < downs[1] and drawn.top <= min(downs) and max(downs) <= drawn.bottom  # a higher score is higher up
    page.write(str(tmp_path / "search.html"), found, Again("Again", "python run_ner.py --x='<a>'"), "note")
    html = (tmp_path / "search.html").read_text(encoding="utf-8")
    assert html.count("<polyline") == 3 and "&lt;not&gt;" in html and "<not>" not in html and "a&amp;b" in html
    assert "A dashed one has runs that failed (drawn at the mean of the others)." in html
    assert "--x=&#39;&lt;a&gt;&#39;" in html and "bracket" not in html and "pruned (" not in html
    assert "http" not in html and "url(" not in html and "prefers-color-scheme: dark" in html


# --- processes --------------------------------------------------------------------------------------------------------

# A run that learns nothing: 8 steps with a score each, saved every second step, in the files of a real one.
FAKE_RUN = """
import fcntl, json, os, shutil, signal, sys, time
folder, rate, seed = sys.argv[2:]
signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
os.makedirs(folder, exist_ok=True)
lock = open(os.path.join(folder, ".lock"), "w")
fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # as filelock does
log, saved = os.path.join(folder, "metrics.jsonl"), os.path.join(folder, "checkpoint")
if not os.path.exists(os.path.join(folder, "plan.json")):
    shutil.copy(sys.argv[1], os.path.join(folder, ".plan"))
    os.rename(os.path.join(folder, ".plan"), os.path.join(folder, "plan.json"))
step = int(open(saved).read().split("-")[1].split(chr(34))[0]) if os.path.exists(saved) else 0
lines = open(log).read().splitlines(True) if os.path.exists(log) else []
with open(log, "w") as file:
    file.writelines(line for line in lines if line.endswith(chr(10)) and json.loads(line)["step"] <= step)
def score(step):
    return round(step / 8 * (1 - (float(rate) - 0.3) ** 2) - 0.01 * int(seed) * float(rate), 6)
while step < 8:
    time.sleep(0.03 + 0.01 * (int(seed) % 2))
    step += 1
    if rate == "0.9":
        sys.exit("fake: the loss is not finite")
    with open(log, "a") as file:
        file.write(json.dumps({"step": step, "split": "dev", "accuracy": score(step)}) + chr(10))
    if step % 2 == 0:
        with open(saved + ".new", "w") as file:
            file.write('model_checkpoint_path: "model.ckpt-%d"' % step)
        os.replace(saved + ".new", saved)
with open(os.path.join(folder, "eval_results.json"), "w") as file:
    json.dump({"accuracy": score(8), "global_step": 8}, file)
"""


# Searches with it, and writes the table.
DRIVER = """
import json, os, sys
folder, at_once, lag = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) or None
from steady_bert.search import conduct, processes, record, results, space
from steady_bert.search.runs import Design, Place
rates = ["0.5", "0.2", "0.9", "0.0", "0.3", "0.7"]
varied = space.dimensions(["rate=uniform(0,0.8)" if lag else "rate=" + ",".join(rates)])
design = Design(len(rates), [Place(1, 0), Place(2, 0)], lag=lag, prune_after=2)
kept = record.opened(folder, {"method": "tpe" if lag else "grid"})
if not lag:
    kept.settings = space.grid(varied)
kept.write()

def fake(run, setting):
    place = search.folder_of(run, setting)
    return ["-S", folder + "/fake.py", folder + "/plan.json", place, setting["rate"], str(run.place.seed)]

slots = [processes.own_cores()[:1]] * at_once
search = conduct.Search(folder, "fake", varied, design, 0, slots, fake, lambda setting: None)
stopped = conduct.conduct(search, kept)
if stopped is not None:
    sys.exit(128 + stopped)
with open(folder + "/table.json", "w") as file:
    json.dump(results.as_json(results.found(["rate"], design, kept.settings, kept.outcomes), None), file, indent=1)
"""


def started(folder, at_once, lag):
    command = [sys.executable, str(folder / "drive.py"), str(folder), str(at_once), str(lag or 0)]
    with open(str(folder / "log"), "ab") as log:
        return subprocess.Popen(command, env=dict(os.environ, PYTHONPATH=ROOT), stdout=log, stderr=subprocess.STDOUT)


def prepared(folder):
    os.makedirs(str(folder))
    plan = plans.make_plan(plans.PlanConfig(num_train_steps=8, num_warmup_steps=0), 64, {"best_metric": "accuracy"}, {})
    (folder / "plan.json").write_text(json.dumps(plans.to_json(plan)))
    (folder / "fake.py").write_text(FAKE_RUN)
    (folder / "drive.py").write_text(DRIVER)
    return folder


def table_of(folder):
    assert "Traceback" not in (folder / "log").read_text(), (folder / "log").read_text()
    return (folder / "table.json").read_text()


@pytest.mark.parametrize("lag", [None, 2])
def test_a_search_that_is_killed_again_and_again_finds_what_an_undisturbed_one_finds(tmp_path, lag):
    if lag:
        pytest.importorskip("optuna")
    whole = prepared(tmp_path / "whole")
    assert started(whole, lag or 1, lag).wait(60) == 0
    expected = table_of(whole)
    content = json.loads(expected)
    ends = collections.Counter(trial["end"] for trial in content["trials"])
    assert ends["pruned"] >= 2 and ends["finished"] >= 2 and (lag or ends["failed"] == 1)
    rng, killed = random.Random(5), prepared(tmp_path / "killed")
    for _ in range(3):
        before, process = (killed / "log").stat().st_size if (killed / "log").exists() else 0, started(killed, 2, lag)
        while process.poll() is None and (killed / "log").stat().st_size == before:  # until it starts a run
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.8))
        process.send_signal(rng.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT]))
        assert process.wait(20) in (0, -signal.SIGKILL, 143, 130)
    assert started(killed, 2, lag).wait(60) == 0
    assert table_of(killed) == expected


def test_a_run_is_on_its_cores_and_does_not_outlive_its_search(tmp_path):
    if not command.processes.has_affinity():
        pytest.skip("not Linux")
    core = command.processes.own_cores()[-1]
    run = "import os, time; print(os.getpid(), os.sched_getaffinity(0), flush=True); time.sleep(100)"
    code = "import sys, time; sys.path.insert(0, {!r})\nfrom steady_bert.search.processes import Process\n"
    code += "Process(['-c', {!r}], {!r}, [{}]); time.sleep(100)"
    log = tmp_path / "log"
    search = subprocess.Popen([sys.executable, "-c", code.format(ROOT, run, str(log), core)])
    while not log.exists() or not log.read_text().endswith("\n"):
        assert search.poll() is None
        time.sleep(0.01)
    pid, _, cores = log.read_text().partition(" ")
    assert cores.strip() == "{{{}}}".format(core)
    search.kill()
    search.wait()
    deadline = time.time() + 20
    while is_running(int(pid)):
        assert time.time() < deadline
        time.sleep(0.01)


def is_running(pid):
    status = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], stdout=subprocess.PIPE).stdout.decode().strip()
    return bool(status) and not status.startswith("Z")  # nobody may be there to ask a dead one for its exit code


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scripts():
    return runpy.run_path(os.path.join(ROOT, "scripts", "search.py"))["SCRIPTS"]


TRAINING = [
    "--",
    "run_ner.py",
    "--train_file=t",
    "--dev_file=d",
    "--vocab_file=v",
    "--bert_config_file=b",
    "--from_scratch",
]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--vary", "learning_rate=1e-5,fast", *TRAINING], "--learning_rate=fast.*with .*learning_rate=fast"),
        (["--vary", "optimizer=adamw,sgdd", *TRAINING], "optimizer=sgdd"),
        (["--vary", "optimizer=sgd", "--vary", "adam_beta1=0.8", *TRAINING], "adam_beta1.*with optimizer=sgd"),
        (["--vary", "task_name=mrpc,cola", *TRAINING], "run_ner.py has no flag --task_name"),
        (["--vary", "seed=1,2", *TRAINING], "Give --seeds"),
        (["--vary", "head=crf,softmax", *TRAINING, "--head=crf"], "--head is given too"),
        (["--vary", "learning_rate=log(1e-5,1e-3)", *TRAINING], "a grid needs values"),
        (["--method=random", *TRAINING], "needs --trials"),
        (["--method=random", "--trials=19", *TRAINING], "there are 18 settings"),
        (["--seeds=1,1", *TRAINING], "different whole numbers"),
        ([*TRAINING, "--output_dir=x"], "--output_dir: each run has a folder of its own"),
        ([*TRAINING, "--nodo_eval"], "every run of a search trains and evaluates"),
        (["--prune", *TRAINING, "--eval_every_steps=0"], "--prune: runs are compared where"),
        ([*TRAINING, "--resume_mode=fresh"], "--resume_mode"),
        (["--k_folds=3", *TRAINING], "--dev_file: with --k_folds"),
        (["--k_folds=1", *TRAINING], "expected 2 to 100"),
        (["--at_once=2", "--cores_each=4096", *TRAINING], "8192"),
        (["--k_folds=3", "--", "run_squad.py"], "no examples with labels"),
        (["--", "serve.py"], "is none of run_classifier"),
        ([], "no script is named"),
        ([*TRAINING, "--num_train_steps=5"], "--num_train_epochs.*with train_batch_size=16"),
    ],
)
def test_a_command_that_cannot_be_searched_is_refused_before_anything_starts(tmp_path, scripts, arguments, message):
    with pytest.raises(UserError, match=message):
        command.main("", scripts, [str(tmp_path / "search"), *arguments])
    assert sorted(os.listdir(str(tmp_path))) in ([], ["search"])
    assert not (tmp_path / "search" / "trials").exists() and not (tmp_path / "search" / record.FILE).exists()


def test_a_pasted_command_is_run_with_a_setting_a_seed_and_a_folder(tmp_path, scripts):
    pasted = ["--", "python3", "./run_ner.py", *TRAINING[2:], "--do_train", "--do_eval=true", "--seed", "7"]
    given = [str(tmp_path), "--vary", "lr_multipliers=crf=10,output=2;output=3", *pasted]
    options, words = command.arguments_of("", given)
    script, arguments = command.script_of(words)
    job = command.Job(options, script, scripts.given(script, arguments), scripts)
    flags = scripts.given(script, job.flags({"lr_multipliers": "crf=10,output=2"}, Place(7, 0), "run"))
    expected = [
        "--train_file=t",
        "--dev_file=d",
        "--vocab_file=v",
        "--bert_config_file=b",
        "--from_scratch",
        "--seed=7",
    ]
    expected += ["--do_train", "--do_eval", "--output_dir=run", "--lr_multipliers=crf=10,output=2"]
    expected += ["--cache_dir=" + os.path.join(str(tmp_path), "cache"), "--keep_checkpoint_max=2"]
    assert sorted(flags) == sorted(expected)
    best_folder = os.path.join(str(tmp_path), "best")
    best = shlex.split(job.again({"lr_multipliers": "crf=10,output=2"}, 7, 1).command)
    assert sorted(best[best.index("python") + 2 :]) == sorted(
        job.flags({"lr_multipliers": "crf=10,output=2"}, Place(7, 0), best_folder)
    )


def test_another_command_is_refused_with_what_differs(tmp_path):
    begun = {"script": "run_ner.py", "method": "random", "trials": 5, "--head": "crf", "seeds": [1, 2]}
    record.opened(str(tmp_path), begun).write()
    assert record.opened(str(tmp_path), dict(begun, trials=7)).search["trials"] == 7
    for changed, message in (
        ({"trials": 4}, "trials: 5 → 4"),
        ({"seeds": [1]}, "seeds: 1 2 → 1"),
        ({"--head": "softmax", "--lstm_size": "8"}, "--head: crf → softmax\n  --lstm_size: .not given. → 8"),
    ):
        with pytest.raises(UserError, match=message):
            record.opened(str(tmp_path), dict(begun, **changed))


def test_flags_varied_in_another_order_are_another_search(tmp_path, scripts):
    """Trials are numbered by their settings: an outcome would be shown as that of another setting."""
    varied = ["--vary", "learning_rate=1e-5,2e-5"], ["--vary", "train_batch_size=16,32"]
    searches = []
    for order in (varied, varied[::-1]):
        options, words = command.arguments_of(
            "", [str(tmp_path), *order[0], *order[1], "--", "run_ner.py", *TRAINING[2:]]
        )
        script, arguments = command.script_of(words)
        searches.append(command.Job(options, script, scripts.given(script, arguments), scripts).identity(1, None, {}))
    record.opened(str(tmp_path), searches[0]).write()
    with pytest.raises(UserError, match="order of --vary"):
        record.opened(str(tmp_path), searches[1])
