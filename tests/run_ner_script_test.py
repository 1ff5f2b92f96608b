"""scripts/run_ner.sh and its table, with files in the published layouts and a tiny BERT from random weights."""

import json
import os
import random
import subprocess
import sys

import pytest
from conftest import ROOT

SCRIPT = os.path.join(ROOT, "scripts", "run_ner.sh")
VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + list("王安李北京在去了今天")
TINY = dict(
    vocab_size=len(VOCAB),
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=32,
    max_position_embeddings=64,
    type_vocab_size=2,
)
pytestmark = pytest.mark.skipif(
    not sys.executable.startswith(os.path.join(ROOT, ".venv", "")), reason="run_ner.sh has an environment of its own"
)


def run(arguments, **variables):
    environment = dict(
        {name: value for name, value in os.environ.items() if not name.endswith(("_DIR", "_VOCAB"))}, **variables
    )
    return subprocess.run(
        [SCRIPT] + arguments,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
    )


def write_data(folder):
    """Writes CLUENER's people as JSON, and times as columns."""
    rng = random.Random(5)
    (folder / "CLUENER-json").mkdir(parents=True)
    (folder / "time" / "split-with-dev").mkdir(parents=True)
    for split in ("train", "dev", "test"):
        people, times = [], []
        for _ in range(20):
            text, more = rng.choice(["王安", "李安"]), rng.choice(["去了北京", "在北京"])
            people.append(json.dumps({"text": text + more, "label": {"name": {text: [[0, 1]]}}}, ensure_ascii=False))
            times.append("今 B-TIME\n天 I-TIME\n" + "".join(character + " O\n" for character in more))
        (folder / "CLUENER-json" / (split + ".json")).write_text("\n".join(people) + "\n", encoding="utf-8")
        times_file = folder / "time" / "split-with-dev" / "time.{}".format(split)
        times_file.write_text("\n".join(times), encoding="utf-8")


@pytest.mark.slow
def test_a_second_stage_begins_with_the_weights_of_the_first(tmp_path):
    write_data(tmp_path / "ner")
    (tmp_path / "vocab.txt").write_text("\n".join(VOCAB) + "\n", encoding="utf-8")
    (tmp_path / "tiny.json").write_text(json.dumps(TINY))
    variables = dict(
        NER_DIR=str(tmp_path / "ner"), RUNS_DIR=str(tmp_path / "runs"), CHINESE_VOCAB=str(tmp_path / "vocab.txt")
    )
    flags = ["--bert_config_file=" + str(tmp_path / "tiny.json"), "--num_train_epochs=2", "--max_seq_length=16"]
    early = run(["time-after-cluener", "1"] + flags, **variables)
    assert "SKIPPED time-after-cluener" in early.stdout and "Run cluener first" in early.stdout
    result = run(["cluener time-after-cluener wnut17", "1"] + flags, **variables)
    assert result.returncode == 0, result.stdout
    assert "SKIPPED wnut17" in result.stdout
    for row in ("| cluener | dev |", "| time-after-cluener | dev |", "| time-after-cluener | test |"):
        assert row in result.stdout, result.stdout
    plan = json.loads((tmp_path / "runs" / "time-after-cluener-seed1" / "plan.json").read_text())
    assert plan["notes"]["stage"] == 2 and "cluener-seed1" in plan["notes"]["weights from"]
    again = run(["cluener time-after-cluener", "1"] + flags, **variables)
    assert again.stdout.count("is done.") == 2, again.stdout


def test_mistakes_in_a_command_are_named(tmp_path):
    absent = run(["time"], NER_DIR=str(tmp_path / "nothing"), RUNS_DIR=str(tmp_path / "runs"))
    assert absent.returncode == 2 and "is not a folder. Set NER_DIR" in absent.stdout
    write_data(tmp_path / "ner")
    variables = dict(NER_DIR=str(tmp_path / "ner"), RUNS_DIR=str(tmp_path / "runs"))
    unknown = run(["times"], **variables)
    assert unknown.returncode == 2 and "times is not a task" in unknown.stdout
    without = run(["time"], **variables)
    assert without.returncode == 2 and "set CHINESE_VOCAB, or CHINESE_BERT_DIR" in without.stdout


def test_a_row_of_the_table_is_the_mean_over_the_seeds(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(os.path.join(ROOT, "scripts"))
    import ner_results

    for seed, f1 in ((1, 0.5), (2, 0.7), (3, 0.9)):
        folder = tmp_path / "crf" / "time-seed{}".format(seed)
        folder.mkdir(parents=True)
        (folder / "seconds").write_text("90\n")
        scores = {"f1": f1, "precision": 0.5, "recall": 0.5, "macro_f1": 0.25}
        (folder / "test_results.json").write_text(json.dumps(scores))
        if seed != 3:  # not finished
            (folder / "done").write_text("--flags\n")
    row = "| time | test | 0.600 ± 0.141 | 0.500 ± 0.000 | 0.500 ± 0.000 | 0.250 ± 0.000 |  | 2 | 1.5 |"
    assert ner_results.rows(str(tmp_path / "crf"), "") == [row]
    monkeypatch.setattr(sys, "argv", ["ner_results.py", str(tmp_path / "crf"), str(tmp_path / "none")])
    (tmp_path / "none").mkdir()
    ner_results.main()
    assert "| crf " + row in capsys.readouterr().out
