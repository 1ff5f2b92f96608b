"""CLUE's tasks: examples of their official layouts, one that is learned, and the files to upload."""

import json
import os
import subprocess
import sys
import zipfile

import pytest
from conftest import BAD, GOOD, ROOT, succeed

from steady_bert.base.errors import UserError
from steady_bert.tasks.classification import clue
from steady_bert.tasks.classification.registry import PROCESSORS
from steady_bert.tasks.task import BadLines

sys.path.insert(0, os.path.join(ROOT, "scripts"))

import glue_results

PAIR = dict(sentence1="花呗怎么还", sentence2="怎么还花呗")
TARGET = dict(span1_text="床", span1_index=5, span2_text="它们", span2_index=9)
WSC = dict(target=TARGET, idx=261, label="false", text="这里有两张床，而且它们很高")
# task → (an object of a training file, its texts, its label, the labels that must exist in this order).
LAYOUTS = {
    "afqmc": (dict(PAIR, label="0"), ["花呗怎么还", "怎么还花呗"], "0", ["0", "1"]),
    "tnews": (
        dict(label="108", label_desc="news_edu", sentence="上课时", keywords=""),
        ["上课时", None],
        "108",
        ["100", "101", "102", "103", "104", "106", "107", "108", "109", "110", "112", "113", "114", "115", "116"],
    ),
    "iflytek": (
        dict(label=110, label_des="社区超市", sentence="朴朴"),
        ["朴朴", None],
        "110",
        list(map(str, range(119))),
    ),
    "cmnli": (
        dict(sentence1="a", sentence2="b", label="neutral"),
        ["a", "b"],
        "neutral",
        ["contradiction", "entailment", "neutral"],
    ),
    "wsc": (WSC, ["这里有两张_床_，而且[它们]很高", None], "false", ["true", "false"]),
    "csl": (dict(id=7, abst="摘要", keyword=["水稻", "产量"], label="1"), ["水稻 产量", "摘要"], "1", ["0", "1"]),
}


def write(folder, split, *objects):
    path = folder / (split + ".json")
    path.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in objects), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("task", sorted(LAYOUTS))
def test_a_line_of_the_official_files_is_an_example(task, tmp_path):
    content, texts, label, labels = LAYOUTS[task]
    processor = PROCESSORS[task]()
    assert processor.get_labels() == labels
    (example,) = processor.read_examples(write(tmp_path, "train", content), "train")
    assert [example.text_a, example.text_b] == texts and example.label == label
    assert example.example_id == str(content.get("id", 0))
    del content["label"]
    tested = [dict(content, id=number) for number in (5, 6)]
    found = list(processor.read_examples(write(tmp_path, "test", *tested), "test"))
    assert [(each.example_id, each.text_a, each.label) for each in found] == [(n, texts[0], None) for n in "56"]
    with pytest.raises(UserError, match=r"train.json:1: has no column of labels"):
        list(processor.read_examples(write(tmp_path, "train", *tested), "train"))
    with pytest.raises(UserError, match=r"train.json:1: has no .* Is it the right file for"):
        list(processor.read_examples(write(tmp_path, "train", dict(other="x", label=label)), "train"))


def test_examples_without_an_agreed_label_are_left_out_and_counted(tmp_path):
    labels = ["-", "neutral", "-", "entailment"]
    lines = [dict(sentence1=str(number), sentence2="b", label=label) for number, label in enumerate(labels)]
    bad_lines = BadLines(0)
    found = list(PROCESSORS["cmnli"]().read_examples(write(tmp_path, "dev", *lines), "dev", bad_lines))
    assert [(each.example_id, each.label) for each in found] == [("1", "neutral"), ("3", "entailment")]
    assert bad_lines.notes == ["examples without an agreed label, which are left out: 2"]
    assert len(list(PROCESSORS["cmnli"]().read_examples(write(tmp_path, "test", *lines), "test"))) == 4


@pytest.mark.parametrize(
    "target, message",
    [
        (None, "target has no span1_text"),
        (dict(TARGET, span1_index=4), "span1 '床' is not at 4"),
        (dict(TARGET, span2_index=-4), "span2 '它们' is not at -4"),
        (dict(TARGET, span1_text=WSC["text"][:2], span1_index=-1), "is not at -1"),
        (dict(TARGET, span1_text="它们很", span1_index=9), "overlap"),
        ({key: value for key, value in TARGET.items() if key != "span2_index"}, "target has no span2_text and"),
    ],
)
def test_spans_that_the_text_does_not_have_are_refused(target, message):
    with pytest.raises(UserError, match=message):
        clue.with_marks(WSC["text"], target)


def test_the_pronoun_may_come_first():
    target = dict(span1_text="李", span1_index=3, span2_text="他", span2_index=0)
    assert clue.with_marks("他问小李", target) == "[他]问小_李_"


def test_a_task_is_learned_and_predicted_for_upload(tiny, tmp_path, capsys):
    folder = tmp_path / "tnews"
    folder.mkdir()
    texts = [word + " alpha" for word in GOOD + BAD]
    labelled = [dict(sentence=text, label="103" if n < 3 else "116") for n, text in enumerate(texts)] * 8
    for split in ("train", "dev"):
        write(folder, split, *labelled)
    write(folder, "test", *(dict(id=10 + n, sentence=text) for n, text in enumerate(texts)))
    output = str(tmp_path / "tnews-seed1")
    flags = dict(task_name="tnews", data_dir=str(folder), do_train="true", do_eval="true", do_predict="true")
    succeed(tiny.flags(output_dir=output, num_train_steps=60, learning_rate=5e-3, **flags), capsys)
    with open(os.path.join(output, "eval_results.json")) as file:
        assert json.load(file)["accuracy"] == 1.0
    with open(os.path.join(output, "submission", "tnews11_predict.json")) as file:
        lines = [json.loads(line) for line in file]
    expected = [("103", "news_sports")] * 3 + [("116", "news_game")] * 3
    assert lines == [dict(id=10 + n, label=label, label_desc=kind) for n, (label, kind) in enumerate(expected)]


def test_the_upload_has_cluener_in_its_own_layout(tmp_path):
    run = tmp_path / "cluener-seed1"
    run.mkdir()
    entity = dict(type="name", text="王安", score=0.9)
    found = dict(id="3", text="王安和王安", entities=[dict(entity, start=0, end=2), dict(entity, start=3, end=5)])
    write(run, "predictions", found, dict(id="4", text="去", entities=[]))
    os.rename(str(run / "predictions.json"), str(run / "predictions.jsonl"))
    archive = str(tmp_path / "submission.zip")
    missing = glue_results.write_submission([("cluener", 1, str(run))], archive, "clue")
    assert missing == [name for name in glue_results.UPLOADS["clue"] if name != "cluener_predict.json"]
    with zipfile.ZipFile(archive) as files:
        lines = files.read("cluener_predict.json").decode("utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [
        dict(id=3, text="王安和王安", label=dict(name={"王安": [[0, 1], [3, 4]]})),
        dict(id=4, text="去", label={}),
    ]


def test_run_clue_is_described_and_refuses_before_it_makes_a_folder_or_trains(tmp_path):
    environment = dict(os.environ, CLUE_DIR=str(tmp_path / "nowhere"), RUNS_DIR=str(tmp_path / "runs"))
    for arguments, code, said in (
        (["--help"], 0, "CLUE_DIR      folders with train.json"),
        (["csl clse"], 2, "error: clse is not a task of this script."),
        (["csl"], 2, "nowhere is not a folder. Set CLUE_DIR"),
    ):
        command = [os.path.join(ROOT, "scripts", "run_clue.sh"), *arguments]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode == code and said in done.stdout.decode("utf-8")
        assert os.listdir(str(tmp_path)) == []


@pytest.mark.slow
@pytest.mark.skipif(
    not sys.executable.startswith(os.path.join(ROOT, ".venv", "")), reason="run_clue.sh has an environment of its own"
)
def test_run_clue_trains_both_kinds_of_tasks_and_makes_the_upload(tmp_path):
    csl, cluener = tmp_path / "clue" / "csl_public", tmp_path / "clue" / "cluener"
    for folder in (csl, cluener):
        folder.mkdir(parents=True)
    for split in ("train", "dev", "test"):
        keywords = [
            dict(id=n, abst="王安去了北京", keyword=[["王安"], ["今天"]][n % 2], label=str(n % 2)) for n in range(20)
        ]
        people = [dict(id=n, text="王安在北京", label=dict(name={"王安": [[0, 1]]})) for n in range(20)]
        for folder, lines in ((csl, keywords), (cluener, people)):
            for line in lines if split == "test" else []:
                del line["label"]
            write(folder, split, *lines)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"王安北京在去了今天"]
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    variables = dict(CLUE_DIR=tmp_path / "clue", RUNS_DIR=tmp_path / "runs", CHINESE_VOCAB=tmp_path / "vocab.txt")
    environment = dict(os.environ, **{name: str(value) for name, value in variables.items()})
    command = [os.path.join(ROOT, "scripts", "run_clue.sh"), "csl cluener wsc", "1", "--num_train_epochs=2"]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    printed = done.stdout.decode("utf-8")
    assert done.returncode == 0, printed
    assert "SKIPPED wsc" in printed and "needs these too: afqmc_predict.json, cluewsc11_predict.json, cmnli" in printed
    for row in ("| csl | accuracy |", "| cluener | f1 |", "| cluener | surface_macro_f1 |"):
        assert row in printed
    with zipfile.ZipFile(str(tmp_path / "runs" / "submission.zip")) as files:
        assert files.namelist() == ["cluener_predict.json", "csl_predict.json"]
        for name in files.namelist():
            assert [json.loads(line)["id"] for line in files.read(name).decode("utf-8").splitlines()] == list(range(20))
