"""Each GLUE task from official files to official scores and upload, with a tiny model."""

import json
import os
import random
import subprocess
import sys
import zipfile

import pytest
from conftest import ROOT, mistake, run_main, succeed

from steady_bert.tasks.classification.registry import PROCESSORS

sys.path.insert(0, os.path.join(ROOT, "scripts"))

DATA = os.environ.get("STEADY_BERT_DATA", "")
SAMPLES = os.path.join(DATA, "glue-samples")
BINARY, ENTAILMENT = ["0", "1"], ["entailment", "not_entailment"]
THREE = ["contradiction", "entailment", "neutral"]


def indexed(a, b):
    return "index\t{}\t{}\tlabel".format(a, b), lambda n, a, b, label: [n, a, b, label]


MRPC = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String"
STSB = "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore"
MNLI = "index\tpromptID\tpairID\tgenre\tp1\tp2\tp3\tp4\tsentence1\tsentence2\t{}gold_label"

# task → (labels, labelled header or None, its row, unlabelled header, its row); a row gets (index, a, b, label).
LAYOUTS = {
    "cola": (BINARY, None, lambda n, a, b, y: ["src", y, "", a], "index\tsentence", lambda n, a, b: [n, a]),
    "sst-2": (BINARY, "sentence\tlabel", lambda n, a, b, y: [a, y], "index\tsentence", lambda n, a, b: [n, a]),
    "mrpc": (
        BINARY,
        MRPC,
        lambda n, a, b, y: [y, "7", "8", a, b],
        "index\t#1 ID\t#2 ID\t#1 String\t#2 String",
        lambda n, a, b: [n, "7", "8", a, b],
    ),
    "qqp": (
        BINARY,
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
        lambda n, a, b, y: [n, "7", "8", a, b, y],
        "id\tquestion1\tquestion2",
        lambda n, a, b: [n, a, b],
    ),
    "sts-b": (
        None,
        STSB,
        lambda n, a, b, y: [n] + ["x"] * 6 + [a, b, y],
        STSB.replace("\tscore", ""),
        lambda n, a, b: [n] + ["x"] * 6 + [a, b],
    ),
    "qnli": (ENTAILMENT,) + indexed("question", "sentence") + ("index\tq\ts", lambda n, a, b: [n, a, b]),
    "rte": (ENTAILMENT,) + indexed("sentence1", "sentence2") + ("index\ts1\ts2", lambda n, a, b: [n, a, b]),
    "wnli": (BINARY,) + indexed("sentence1", "sentence2") + ("index\ts1\ts2", lambda n, a, b: [n, a, b]),
    "mnli": (
        THREE,
        MNLI.format("label1\t"),
        lambda n, a, b, y: [n] + ["x"] * 7 + [a, b, "neutral", y],
        MNLI.replace("\t{}gold_label", ""),
        lambda n, a, b: [n] + ["x"] * 7 + [a, b],
    ),
}
UPLOADS = dict(cola=["CoLA"], mrpc=["MRPC"], qqp=["QQP"], qnli=["QNLI"], rte=["RTE"], wnli=["WNLI"])
UPLOADS.update({"sst-2": ["SST-2"], "sts-b": ["STS-B"], "mnli": ["MNLI-m", "MNLI-mm"]})


def write_task(folder, task):
    """Writes files in the official layout; a word of the first text decides the label, and quotes are not closed."""
    os.makedirs(folder, exist_ok=True)
    labels, header, labelled, test_header, unlabelled = LAYOUTS[task]
    rng = random.Random(task)
    for split in PROCESSORS[task].splits:
        lines = [test_header if split.startswith("test") else header]
        for number in range({"train": 96, "dev": 24}.get(split.split("_")[0], 12)):
            which = rng.randrange(len(labels) if labels else 3)
            words = ["good", "bad", "nice"][which] + ' " ' + " ".join(rng.choices(["alpha", "beta", "eta"], k=3))
            cells = [str(number), words, "gamma delta"]
            if split.startswith("test"):
                row = unlabelled(*cells)
            else:
                row = labelled(*(cells + [labels[which] if labels else "{:.3f}".format(which * 2.5)]))
            if task == "mnli" and split.startswith("dev"):
                row = row[:10] + ["neutral"] * 5 + row[-1:]
            lines.append("\t".join(row))
        if task == "mnli" and split.startswith("dev"):
            lines[0] = MNLI.format("label1\tlabel2\tlabel3\tlabel4\tlabel5\t")
        with open(os.path.join(folder, PROCESSORS[task]().file_name(split)), "w", encoding="utf-8") as file:
            file.write("\n".join(line for line in lines if line is not None) + "\n")
    return folder


def run(tiny, task, folder, output, capsys, **changed):
    values = dict(task_name=task, data_dir=folder, output_dir=output, do_eval="true", num_train_steps=90)
    values.update(dict(do_train="true", do_predict="true"), **changed)
    return succeed(tiny.flags(**values), capsys)


def read_rows(path):
    with open(path, encoding="utf-8") as file:
        return [line.rstrip("\n").split("\t") for line in file]


def scores_of(output):
    with open(os.path.join(output, "eval_results.json")) as file:
        return json.load(file)


@pytest.mark.parametrize("task", sorted(LAYOUTS))
def test_a_task_is_learned_scored_and_predicted_for_upload(task, tiny, tmp_path, capsys):
    output = str(tmp_path / "out")
    run(tiny, task, write_task(str(tmp_path / "data"), task), output, capsys)
    scores = scores_of(output)
    assert all(scores[metric] > 0.8 for metric in PROCESSORS[task].metrics)
    assert sorted(os.listdir(os.path.join(output, "submission"))) == [name + ".tsv" for name in UPLOADS[task]]
    for name in UPLOADS[task]:
        rows = read_rows(os.path.join(output, "submission", name + ".tsv"))
        assert rows[0] == ["index", "prediction"]
        assert [row[0] for row in rows[1:]] == [str(number) for number in range(12)]
        predicted = {row[1] for row in rows[1:]}
        if task == "sts-b":
            assert all(0 <= float(score) <= 5 and len(score) == 5 for score in predicted)
        else:
            assert predicted <= set(LAYOUTS[task][0]) and len(predicted) > 1


def test_mnli_scores_both_dev_sets_and_its_model_predicts_ax(tiny, tmp_path, capsys):
    output = str(tmp_path / "out")
    folder = write_task(str(tmp_path / "data"), "mnli")
    wrong = os.path.join(folder, "dev_mismatched.tsv")  # has the next label in each row, so that the score must differ
    rows = read_rows(wrong)
    lines = [rows[0]] + [row[:-1] + [THREE[(THREE.index(row[-1]) + 1) % 3]] for row in rows[1:]]
    with open(wrong, "w") as file:
        file.write("\n".join("\t".join(row) for row in lines) + "\n")
    run(tiny, "mnli", folder, output, capsys)
    scores = scores_of(output)
    assert scores["accuracy"] > 0.8 and scores["accuracy_mismatched"] < 0.2
    assert scores["examples_mismatched"] == 24 and scores["confusion_matrix_mismatched"] != scores["confusion_matrix"]
    assert os.path.exists(os.path.join(output, "predictions_mismatched.tsv"))
    ax = tmp_path / "AX"
    ax.mkdir()
    (ax / "diagnostic.tsv").write_text("index\tsentence1\tsentence2\n0\tgood eta\tgamma\n1\tbad eta\tgamma\n")
    full = ["\t".join("abcdefgh"), "\t".join(["x"] * 5 + ["good eta", "gamma", THREE[0]])]
    full.append("\t".join(["x"] * 5 + ["bad eta", "gamma", THREE[1]]))
    (ax / "diagnostic-full.tsv").write_text("\n".join(full) + "\n")
    predicted = str(tmp_path / "ax-out")
    arguments = ["--task_name=ax", "--data_dir=" + str(ax), "--model_dir=" + output, "--output_dir=" + predicted]
    succeed(arguments + ["--do_predict", "--do_eval"], capsys)
    rows = read_rows(os.path.join(predicted, "submission", "AX.tsv"))
    assert rows == [["index", "prediction"], ["0", THREE[0]], ["1", THREE[1]]]
    assert scores_of(predicted)["matthews_correlation"] == 1.0
    message = mistake(["--do_predict", "--task_name=rte", "--data_dir=" + folder, "--model_dir=" + output], capsys)
    assert (
        "the model predicts contradiction, entailment, neutral; the command asks for entailment, not_entailment"
        in message
    )


def test_xnli_is_read_in_the_given_language(tiny, tmp_path, capsys):
    (tmp_path / "multinli").mkdir()
    rng = random.Random(1)

    def row(language):
        which = rng.randrange(3)
        return (
            language,
            ["good", "bad", "nice"][which] + " alpha",
            "gamma",
            ["contradictory", "entailment", "neutral"][which],
        )

    train = ["premise\thypo\tlabel"] + ["\t".join(row("de")[1:]) for _ in range(96)]
    (tmp_path / "multinli" / "multinli.train.de.tsv").write_text("\n".join(train) + "\n")
    for split in ("dev", "test"):
        lines = ["\t".join(["language", "gold_label"] + ["c"] * 17)]
        for number in range(40):
            language, a, b, label = row("de" if number % 4 else "zh")
            label = label.replace("contradictory", "contradiction")
            lines.append("\t".join([language, label] + ["x"] * 4 + [a, b, "x", "id{}".format(number)] + ["x"] * 9))
        (tmp_path / "xnli.{}.tsv".format(split)).write_text("\n".join(lines) + "\n")
    output = str(tmp_path / "out")
    run(tiny, "xnli", str(tmp_path), output, capsys, language="de")
    scores = scores_of(output)
    assert scores["examples"] == 30 and scores["accuracy"] > 0.8
    ids = [row[0] for row in read_rows(os.path.join(output, "predictions.tsv"))[1:]]
    assert ids == ["id{}".format(number) for number in range(40) if number % 4]
    assert "none of its 40 rows is an example of this task" in mistake(
        ["--do_predict", "--model_dir=" + output, "--data_dir=" + str(tmp_path), "--language=ur"], capsys
    )


@pytest.mark.skipif(not os.path.isdir(SAMPLES), reason="STEADY_BERT_DATA has no glue-samples")
@pytest.mark.parametrize("folder", ["CoLA", "MRPC", "QNLI", "QQP", "RTE", "SST-2", "STS-B", "WNLI"])
def test_the_official_samples_run_from_end_to_end(folder, tiny, tmp_path, capsys):
    output = str(tmp_path / "out")
    task = folder.lower()
    run(tiny, task, os.path.join(SAMPLES, folder), output, capsys, num_train_steps=2, train_batch_size=2)
    rows = read_rows(os.path.join(output, "submission", folder + ".tsv"))
    assert [row[0] for row in rows] == ["index", "0"]
    assert set(PROCESSORS[task].metrics) <= set(scores_of(output))


def test_results_are_a_table_and_one_zip(tmp_path, capsys, monkeypatch):
    import glue_results

    for task, seed, scores, name in (
        ("mrpc", 1, dict(accuracy=0.8, f1=0.7), "MRPC"),
        ("mrpc", 2, dict(accuracy=0.9, f1=0.7), "MRPC"),
        ("mnli", 1, dict(accuracy=0.5, accuracy_mismatched=0.25), "MNLI-mm"),
        ("rte", 1, dict(accuracy=0.1), "RTE"),
    ):
        folder = tmp_path / "{}-seed{}".format(task, seed)
        (folder / "submission").mkdir(parents=True)
        (folder / "submission" / (name + ".tsv")).write_text("seed {}".format(seed))
        (folder / "eval_results.json").write_text(json.dumps(scores))
        if task != "rte":  # not finished
            (folder / "done").write_text("--flags\n")
            (folder / "seconds").write_text("90\n")
    monkeypatch.setattr(sys, "argv", ["glue_results.py", str(tmp_path)])
    glue_results.main()
    table = (tmp_path / "results.md").read_text()
    assert "| mrpc | accuracy | 0.850 ± 0.071 | 2 | 1.5 |" in table and "| mrpc | f1 | 0.700 ± 0.000 | 2 |" in table
    assert "| mnli | accuracy_mismatched | 0.250 | 1 |" in table and "rte" not in table
    with zipfile.ZipFile(str(tmp_path / "submission.zip")) as archive:
        assert archive.namelist() == ["MNLI-mm.tsv", "MRPC.tsv"] and archive.read("MRPC.tsv") == b"seed 1"
    assert (
        "An upload to GLUE needs these too: AX.tsv, CoLA.tsv, MNLI-m.tsv, QNLI.tsv, QQP.tsv, RTE.tsv"
        in capsys.readouterr().out
    )


@pytest.mark.slow
@pytest.mark.skipif(
    not sys.executable.startswith(os.path.join(ROOT, ".venv", "")), reason="run_glue.sh has an environment of its own"
)
def test_run_glue_skips_missing_data_and_continues_where_it_stopped(tiny, tmp_path):
    glue, model = tmp_path / "glue", tmp_path / "model"
    write_task(str(glue / "RTE"), "rte")
    model.mkdir()
    output = str(tmp_path / "pretrained")
    assert run_main(tiny.flags(do_train="true", num_train_steps=1, output_dir=output)) == 0
    for name in ("vocab.txt", "bert_config.json"):
        os.rename(os.path.join(output, name), str(model / name))
    for ending in (".index", ".data-00000-of-00001"):
        os.rename(os.path.join(output, "model.ckpt-1" + ending), str(model / ("bert_model.ckpt" + ending)))
    environment = dict(os.environ, GLUE_DIR=str(glue), BERT_DIR=str(model), RUNS_DIR=str(tmp_path / "runs"))
    script = os.path.join(ROOT, "scripts", "run_glue.sh")
    arguments = [script, "rte cola", "1", "--max_seq_length=16", "--num_train_steps=3", "--reset_head"]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    first = subprocess.run(arguments, env=environment, **pipes)
    assert first.returncode == 0, first.stdout
    assert "SKIPPED cola" in first.stdout and "| rte | accuracy | " in first.stdout
    again = subprocess.run(arguments, env=environment, **pipes)
    assert "rte-seed1 is done." in again.stdout and "| rte | accuracy | " in again.stdout
    other = subprocess.run(
        arguments[:-3] + ["--max_seq_length=8", "--num_train_steps=3", "--reset_head"], env=environment, **pipes
    )
    assert other.returncode == 2 and "data.max_seq_length: 16 → 8" in other.stdout
