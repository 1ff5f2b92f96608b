"""The inference graph of a run's folder: from ids, with the numbers of --do_predict."""

import numpy as np
import pytest
from conftest import run_main
from run_ner_test import Files

from steady_bert.base.errors import UserError
from steady_bert.serving import graph, saved_run
from steady_bert.tasks.tagging.windows import COUNTED, NO_WORD


def padded(rows):
    length = max(map(len, rows))
    return np.array([row + [0] * (length - len(row)) for row in rows])


@pytest.fixture(scope="module")
def classifier(tiny, tmp_path_factory):
    """A run that keeps averages, which is what evaluation reads."""
    folder = str(tmp_path_factory.mktemp("classifier"))
    arguments = tiny.flags(output_dir=folder, do_train="true", do_predict="true", num_train_steps=3, ema_decay=0.5)
    assert run_main(arguments) == 0
    return folder


@pytest.fixture(scope="module")
def tagger(tmp_path_factory):
    files = Files(str(tmp_path_factory.mktemp("tagger")))
    more = dict(num_train_steps=60, head="crf", test_file=files.paths["test"], do_predict="true")
    assert run_main(files.flags(**more), "run_ner") == 0
    return files


@pytest.mark.parametrize("stock_ops", [False, True])
def test_a_classifier_answers_as_do_predict_does(tiny, classifier, stock_ops):
    with open(classifier + "/predictions.tsv") as file:
        expected = [[float(number) for number in line.split("\t")[2:]] for line in list(file)[1:]]
    with open(tiny.data_dir + "/test.tsv") as file:
        texts = [line.rstrip("\n").split("\t")[1] for line in list(file)[1:]]
    run = saved_run.open_run(classifier)
    assert (run.script, run.kind, list(run.inputs.labels)) == ("run_classifier", "single", ["blame", "praise"])
    built = graph.build(run, stock_ops)
    vocab = run.inputs.tokenizer.vocab
    ids = padded([[vocab["[CLS]"], *of_text, vocab["[SEP]"]] for of_text in run.inputs.tokenizer.encode(texts)])
    feeds = {built.inputs["input_ids"]: ids, built.inputs["segment_ids"]: np.zeros_like(ids)}
    actual = built.session.run(built.outputs, feeds)
    assert list(actual) == ["probabilities"]
    np.testing.assert_allclose(actual["probabilities"], expected, atol=2e-6)
    stock = {"XlaLaunch", "PartitionedCall", "StatefulPartitionedCall", "PyFunc", "SymbolicGradient"}
    assert not stock_ops or not stock & {node.op for node in built.graph.as_graph_def().node}


def test_a_tagger_answers_as_do_predict_does_by_viterbi(tagger):
    folder = tagger.folder + "/out"
    with open(folder + "/predictions.conll") as file:
        blocks = [block.split("\n") for block in file.read().strip().split("\n\n")]
    expected = [[line.split(" ")[-1] for line in block] for block in blocks]
    run = saved_run.open_run(folder)
    built = graph.build(run, stock_ops=True)
    vocab = run.inputs.tokenizer.vocab
    ids, roles = [], []
    for words, _ in tagger.splits["test"]:
        pieces = run.inputs.tokenizer.encode(words)
        ids.append([vocab["[CLS]"]] + sum(pieces, []) + [vocab["[SEP]"]])
        roles.append([NO_WORD] + sum(([COUNTED] + [NO_WORD] * (len(word) - 1) for word in pieces), []) + [NO_WORD])
    feeds = {built.inputs["input_ids"]: padded(ids), built.inputs["roles"]: padded(roles)}
    actual = built.session.run(built.outputs, feeds)
    tags = [[run.inputs.tags[t] for t in row[: len(e)]] for row, e in zip(actual["tag_ids"], expected)]
    assert tags == expected and run.kind == "bio" and len({tag for row in tags for tag in row}) > 2
    np.testing.assert_allclose(actual["probabilities"].sum(-1), actual["roles"] == COUNTED, atol=1e-5)


def test_a_folder_that_is_no_run_and_a_flag_that_is_none_are_refused(classifier, tmp_path):
    with pytest.raises(UserError, match="not the folder of a trained run"):
        saved_run.open_run(str(tmp_path))
    with pytest.raises(UserError, match="precision='int8'"):
        saved_run.open_run(classifier, precision="int8")
    assert saved_run.open_run(classifier, precision="bfloat16").engine.precision == "bfloat16"
