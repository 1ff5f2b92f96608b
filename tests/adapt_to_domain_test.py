"""scripts/adapt_to_domain.sh: what it holds out, and the whole of it with a tiny BERT."""

import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT
from run_pretraining_test import CONFIG, WEIGHTS

from steady_bert.base.errors import UserError
from steady_bert.interchange import safetensors_files

sys.path.insert(0, os.path.join(ROOT, "scripts"))

import hold_out

SENTENCES = [["sentence {} of {}".format(m, n) for m in range(1 + n % 3)] for n in range(1, 45)]
LINES = [sentences[0] for sentences in SENTENCES]


def read(path):
    return path.read_bytes().decode("utf-8")


@pytest.mark.parametrize(
    "text, documents, end",
    [
        ("\n".join(LINES), LINES, "\n"),
        ("\ufeff" + "\r\n".join(LINES) + "\r\n\r\n", LINES, "\n"),
        (" \n" + "\n".join(LINES) + "\n\n\n", LINES, "\n"),
        ("\n\n".join(map("\n".join, SENTENCES)), list(map("\n".join, SENTENCES)), "\n\n"),
        ("\r\n \t\r\n".join(map("\r\n".join, SENTENCES)), list(map("\n".join, SENTENCES)), "\n\n"),
    ],
)
def test_every_twentieth_document_is_held_out_whatever_separates_them(tmp_path, text, documents, end):
    (tmp_path / "text").write_bytes(text.encode("utf-8"))
    for _ in range(2):  # the same command goes on
        hold_out.split(str(tmp_path / "text"), str(tmp_path))
        assert read(tmp_path / "dev.txt") == documents[19] + end + documents[39] + end
        rest = documents[:19] + documents[20:39] + documents[40:]
        assert read(tmp_path / "train.txt") == "".join(document + end for document in rest)
        assert sorted(os.listdir(str(tmp_path))) == ["dev.txt", "text", "train.txt"]


def test_a_folder_is_for_one_text_that_has_enough_documents(tmp_path):
    path = str(tmp_path / "text")
    for content, said in (("", "0 documents"), ("\n".join(LINES[:19]), "19 documents")):
        (tmp_path / "text").write_text(content)
        with pytest.raises(UserError, match=said):
            hold_out.split(path, str(tmp_path))
        assert os.listdir(str(tmp_path)) == ["text"]
    (tmp_path / "text").write_text("\n".join(LINES))
    hold_out.split(path, str(tmp_path))
    before = [read(tmp_path / name) for name in ("dev.txt", "train.txt")]
    for number, name in ((19, "dev.txt"), (20, "train.txt")):
        (tmp_path / "text").write_text("\n".join([*LINES[:number], "another", *LINES[number + 1 :]]))
        with pytest.raises(UserError, match=name + ": is of another text"):
            hold_out.split(path, str(tmp_path))
    assert [read(tmp_path / name) for name in ("dev.txt", "train.txt")] == before


def test_a_folder_that_is_not_there_is_said(tmp_path):
    (tmp_path / "text").write_text("")
    command = [
        os.path.join(ROOT, "scripts", "adapt_to_domain.sh"),
        str(tmp_path / "text"),
        str(tmp_path / "no" / "data"),
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    assert done.returncode == 2 and done.stdout.startswith("error: {}/train.tsv is missing.".format(command[2]))


@pytest.mark.slow
@pytest.mark.skipif(
    not sys.executable.startswith(os.path.join(ROOT, ".venv", "")), reason="the script has an environment of its own"
)
def test_the_script_prints_the_scores_of_both(tmp_path):
    (tmp_path / "text").write_text("\n".join(LINES))
    for name in ("train.tsv", "dev.tsv"):
        (tmp_path / name).write_text("text\tlabel\n" + "sentence 1\tyes\nanother 2\tno\n" * 8)
    variables = dict(os.environ, SEEDS="1", EXAMPLES="16", EPOCHS="2", TEXT_EPOCHS="1", LENGTH="16")
    model = tmp_path / "model"  # Hugging Face's
    model.mkdir()
    config = dict(CONFIG, model_type="bert", architectures=["BertForPreTraining"])
    (model / "config.json").write_text(json.dumps(config))
    safetensors_files.write_bert(str(model / "model.safetensors"), WEIGHTS, CONFIG["num_hidden_layers"], "here")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "sentence", "another", "of", *map(str, range(50))]
    (model / "vocab.txt").write_text("\n".join(words) + "\n")
    command = [os.path.join(ROOT, "scripts", "adapt_to_domain.sh")]
    command += [str(tmp_path / name) for name in ("text", "", "model", "out")]
    done = subprocess.run(
        command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True
    )
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()[-3:]
    assert lines[0].startswith("masked words of held-out text after pre-training: accuracy ")
    assert lines[1].startswith("fine-tuned alone: accuracy ") and lines[2].startswith("pre-trained on the text, then")
