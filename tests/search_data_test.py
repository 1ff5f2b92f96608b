"""The data of a search: folds of every task, files that may not change, and the command of the best, which works."""

import json
import os
import runpy
import shlex

import pytest

from steady_bert.base.errors import UserError
from steady_bert.search import again, command, conduct, fold_tasks, processes, record
from steady_bert.tasks.classification.registry import PROCESSORS
from steady_bert.training import plan as plans

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MODEL = ["--vocab_file=vocab.txt", "--bert_config_file=bert_config.json", "--from_scratch"]


@pytest.fixture(scope="module")
def scripts():
    return runpy.run_path(os.path.join(ROOT, "scripts", "search.py"))["SCRIPTS"]


# --- folds ------------------------------------------------------------------------------------------------------------

# task → (columns of its training file, the label's)
TABLES = {
    "cola": (4, 1),
    "mnli": (12, 11),
    "mrpc": (5, 0),
    "qnli": (4, 3),
    "qqp": (6, 5),
    "rte": (4, 3),
    "sst-2": (2, 1),
    "sts-b": (10, 9),
    "text": (2, 1),
    "wnli": (4, 3),
    "xnli": (3, 2),
}


def training_lines(task):
    """A header, if the task has one, and 30 examples in the official layout."""
    processor = PROCESSORS[task]()
    labels = ["b", "a"] if task == "text" else processor.get_labels()[:3]
    if task not in TABLES:
        return [json.dumps(json_example(processor, number, labels), ensure_ascii=False) for number in range(30)]
    width, place = TABLES[task]
    header = ["text", "label"] if task == "text" else ["name{}".format(column) for column in range(width)]
    rows = [] if task == "cola" else [header]
    for number in range(30):
        row = ["é {} {}".format(number, column) for column in range(width)]
        row[place] = labels[number % len(labels)] if labels else str(number / 10)
        rows.append(row)
    return ["\t".join(row) for row in rows]


def json_example(processor, number, labels):
    example = {key: "é {} {}".format(number, key) for key in processor.keys}
    example["label"] = labels[number % len(labels)]
    if processor.what == "CLUEWSC2020":
        example["target"] = dict(span1_text="é", span1_index=0, span2_text="text", span2_index=len(example["text"]) - 4)
    if processor.what == "CMNLI" and number == 7:
        example["label"] = "-"
    return example


def data_config(scripts, script, *flags):
    return scripts.config(script, ["--do_train", "--do_eval", "--output_dir=o", *MODEL, *flags]).data


@pytest.mark.parametrize("task", sorted(PROCESSORS))
def test_every_task_with_training_data_has_folds_that_its_runs_can_read(task, tmp_path, scripts):
    processor = PROCESSORS[task]()
    flags = ["--task_name=" + task, "--data_dir=" + str(tmp_path)]
    if "train" not in processor.splits:
        with pytest.raises(UserError, match="has no training data"):
            data_config(scripts, "run_classifier", *flags)
        return
    source = processor.file_path(str(tmp_path), "train")
    os.makedirs(os.path.dirname(source), exist_ok=True)
    for split in processor.splits:
        if split == "train" or split.startswith("dev_"):  # there is no other dev file
            with open(processor.file_path(str(tmp_path), split), "w", encoding="utf-16") as file:
                file.write("\n".join(training_lines(task)) + "\n")
    config = data_config(scripts, "run_classifier", *flags, "--encoding=utf-16")
    made = fold_tasks.write("run_classifier", config, 3, "label", 0, str(tmp_path / "folds"))

    def texts(folder, split):
        found = processor.read_examples(processor.file_path(folder, split), split)
        return [(example.text_a, example.text_b, example.label) for example in found]

    devs = [texts(each["data_dir"], "dev") for each in made]
    everything = sum(devs, [])
    assert len(set(everything)) == len(everything) == (29 if task == "cmnli" else 30)
    for dev, each in zip(devs, made):
        assert 9 <= len(dev) <= 11 and each["encoding"] == "utf-8"
        assert sorted(texts(each["data_dir"], "train") + dev) == sorted(everything)
        for split in (split for split in processor.splits if split.startswith("dev_")):
            assert sorted(texts(each["data_dir"], split)) == sorted(everything)


def test_what_cannot_be_split_is_refused_before_anything_starts(tmp_path, scripts):
    data = tmp_path / "data"
    data.mkdir()
    (data / "train.tsv").write_text("\n".join(training_lines("mnli")) + "\n")
    words = ["--", "run_classifier.py", "--data_dir=" + str(data), *MODEL]
    own = [str(tmp_path / "search"), "--k_folds=3"]
    with pytest.raises(UserError, match="dev_mismatched.tsv: cannot be read .No such file"):
        command.main("", scripts, [*own, *words, "--task_name=mnli"])
    with pytest.raises(UserError, match="--vary data_dir=…: with --k_folds all runs read one training file"):
        varied = [word for word in words if "data_dir" not in word]
        command.main("", scripts, [*own, "--vary", "data_dir=a,b", *varied, "--task_name=mnli"])
    assert os.listdir(str(tmp_path / "search")) in ([], [".lock"])
    for text in ('[{"text": "a", "label": "x"},\n {"text": "b", "label": "y"},\n', "[\n"):
        rest = ",\n".join(json.dumps({"text": str(n), "label": "xy"[n % 2]}) for n in range(8))
        (tmp_path / "train.json").write_text(text + rest + "]\n")
        flags = ["--task_name=text", "--data_dir=" + str(tmp_path)]
        with pytest.raises(UserError, match="train.json: is one JSON value"):
            fold_tasks.write("run_classifier", data_config(scripts, "run_classifier", *flags), 2, "label", 0, str(data))


def test_groups_are_those_of_the_examples_where_bad_rows_are_left_out(tmp_path, scripts):
    rows = ["text\tlabel\tauthor"] + ["t{}\t{}\t{}".format(n, "xy"[n % 2], n % 4) for n in range(16)] + ["short\tx"]
    (tmp_path / "train.tsv").write_text("\n".join(rows) + "\n")
    flags = ["--task_name=text", "--data_dir=" + str(tmp_path), "--skip_bad_lines=1"]
    config = data_config(scripts, "run_classifier", *flags)
    made = fold_tasks.write("run_classifier", config, 2, "author", 0, str(tmp_path / "folds"))
    for each in made:
        with open(os.path.join(each["data_dir"], "dev.tsv")) as file:
            authors = {line.split("\t")[2] for line in file.read().splitlines()[1:] if line.count("\t") == 2}
        assert len(authors) == 2


# --- files ------------------------------------------------------------------------------------------------------------

COMMANDS = {
    "run_classifier": ["--task_name=text", "--data_dir=."],
    "run_ner": ["--train_file=train.tsv", "--dev_file=dev.tsv"],
    "run_squad": ["--train_file=train.tsv", "--dev_file=dev.tsv"],
    "run_pretraining": ["--text_files=train.tsv", "--dev_file=dev.tsv"],
}


@pytest.mark.parametrize("script", sorted(COMMANDS))
def test_a_search_whose_files_have_changed_does_not_go_on(script, tmp_path, monkeypatch, scripts):
    monkeypatch.setattr(conduct, "conduct", lambda search, kept: None)
    monkeypatch.chdir(str(tmp_path))
    names = ["train.tsv", "dev.tsv", "vocab.txt", "bert_config.json", "first.index"]
    for name in names:
        (tmp_path / name).write_text("word\tO\n" + name)
    model = [*MODEL[:2], "--init_checkpoint=first"]
    own = ["searched", "--vary", "learning_rate=1e-4,1e-5"]

    def searched():
        with pytest.raises(SystemExit) as ended:
            command.main("", scripts, [*own, "--", script + ".py", *COMMANDS[script], *model])
        assert ended.value.code == 0

    searched()
    for name in names:
        before = (tmp_path / name).read_text()
        (tmp_path / name).write_text(before + "x")
        with pytest.raises(UserError, match="or other files:\n  contents of .*{}: \\w+ → \\w+\nGive".format(name)):
            searched()
        (tmp_path / name).write_text(before)
    searched()
    state = tmp_path / "searched" / record.FILE
    content = json.loads(state.read_text())
    content["search"] = {key: value for key, value in content["search"].items() if not key.startswith("contents of")}
    state.write_text(json.dumps(content))  # as written before files were compared
    searched()
    assert sum(name.startswith("contents of") for name in json.loads(state.read_text())["search"]) == len(names)


# --- the command of the best ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flags, left_out",
    [
        (["--early_stopping_patience=2", "--eval_every_steps=5"], "--early_stopping_patience=2 --eval_every_steps=5"),
        (
            ["--lr_schedule=plateau", "--plateau_patience=3", "--plateau_factor=0.5", "--end_learning_rate=1e-6"],
            "--lr_schedule=plateau --plateau_patience=3 --plateau_factor=0.5 --end_learning_rate=1e-06",
        ),
        (["--label_type=multi", "--multi_label_threshold=tune"], "--multi_label_threshold=tune"),
        (["--best_metric=macro_f1", "--max_eval_examples=7"], "--best_metric=macro_f1 --max_eval_examples=7"),
        (["--label_type=multi", "--multi_label_threshold=0.4", "--decay_power=2"], ""),
    ],
)
def test_after_folds_the_command_of_the_best_needs_no_dev_set(tmp_path, scripts, flags, left_out):
    varied = ["learning_rate=1e-3,1e-4"]
    given = [str(tmp_path), "--k_folds=2", "--vary", *varied, "--", "run_classifier.py", "--task_name=text"]
    options, words = command.arguments_of("", [*given, "--data_dir=d", *MODEL, *flags])
    script, arguments = command.script_of(words)
    job = command.Job(options, script, scripts.given(script, arguments), scripts)
    best = job.again({"learning_rate": "1e-3"}, 12345, 1)
    words = shlex.split(best.command)
    assert words[0] == "python" and os.path.samefile(words[1], os.path.join(ROOT, "run_classifier.py"))
    config = scripts.config("run_classifier", words[2:])
    plan = plans.make_plan(config.run.plan, 1000, {}, {})
    assert plan.schedule.learning_rate == 1e-3 and config.run.do_train and not config.run.do_eval
    assert best.what == "On all of the training data"
    said = set(best.note[best.note.index("--") : -1].split()) if best.note else set()
    assert said == set(left_out.split()) and not said & set(words)


def test_the_command_of_the_best_is_bound_to_as_many_cores_as_the_trial_had(monkeypatch, tmp_path):
    monkeypatch.chdir(str(tmp_path))
    script = os.path.join(ROOT, "run_ner.py")
    monkeypatch.setattr(processes, "has_affinity", lambda: True)
    monkeypatch.setattr(again.shutil, "which", lambda name: "/bin/" + name)
    for cores, listed in (([3], "3"), ([0, 1, 2], "0-2"), ([0, 2, 3], "0,2,3")):
        expected = again.Again("Again, to the bit", "taskset -c {} python {} --x=1".format(listed, shlex.quote(script)))
        assert again.to_the_bit(ROOT, "run_ner", ["--x=1"], cores) == expected
    monkeypatch.setattr(processes, "has_affinity", lambda: False)
    expected = again.Again("Again, to the bit on 2 cores", "python {} --x=1".format(shlex.quote(script)))
    assert again.to_the_bit(ROOT, "run_ner", ["--x=1"], [0, 1]) == expected
