"""The doctor's pure parts: facts → findings → commands, the rate of a saved graph, the order of labels."""

import json

import numpy as np
import pytest

from steady_bert.base.errors import UserError
from steady_bert.diagnosis import command, findings, folder, graph_rate, heads, label_files, rates, remedies
from steady_bert.diagnosis.facts import (
    CLASSES,
    ORIGINAL,
    OURS,
    PUBLISHED,
    TAGS,
    Checkpoint,
    Facts,
    Labels,
    LinearDecay,
    Numbers,
    Rate,
    Vocabulary,
)
from steady_bert.diagnosis.graph_rate import Node
from steady_bert.training.plan import PlanConfig, make_plan

WEIGHTS = {"bert/embeddings/word_embeddings": (40, 32), "output_weights": (2, 32), "output_bias": (2,)}
NUMBERS = Numbers(slots=6, encoder_norm=10.0, projection=1.01, cosine=0.99)
HEALTHY = Facts(
    folder="run",
    writer=ORIGINAL,
    checkpoint=Checkpoint("run/model.ckpt-40", 40, WEIGHTS, NUMBERS),
    rate=Rate("model.ckpt-40.meta", 3.05e-5, 3e-5, 100, LinearDecay(5e-5, 100, 10)),
    labels=Labels(("bad", "good"), "label_list.txt"),
    vocabulary=Vocabulary("run/vocab.txt", 40, False, True, None),
    config={"hidden_size": 32},
)


_OF_DECAY = ("glob", "Cons", "Poly", "hori", "one")


def original_graph(peak=5e-5, horizon=100, warmup=10):
    """The nodes of the schedule in google-research/bert's optimization.py, as TensorFlow 1.15 saves them."""
    number = np.float32
    warmed = {
        "global_step": Node("VariableV2", ()),
        "global_step/read": Node("Identity", ("global_step",)),
        "Const": Node("Const", (), number(peak)),
        "PolynomialDecay/Cast_2": Node("Cast", ("global_step/read",), None, "float32"),
        "horizon": Node("Const", (), number(horizon)),
        "PolynomialDecay/Minimum": Node("Minimum", ("PolynomialDecay/Cast_2", "horizon")),
        "PolynomialDecay/truediv": Node("RealDiv", ("PolynomialDecay/Minimum", "horizon")),
        "one": Node("Const", (), number(1)),
        "PolynomialDecay/sub_1": Node("Sub", ("one", "PolynomialDecay/truediv")),
        "PolynomialDecay": Node("Mul", ("Const", "PolynomialDecay/sub_1")),
        "Cast": Node("Cast", ("global_step/read",), None, "int32"),
        "Const_1": Node("Const", (), np.int32(warmup)),
        "Cast_1": Node("Cast", ("Cast",), None, "float32"),
        "Cast_2": Node("Cast", ("Const_1",), None, "float32"),
        "truediv": Node("RealDiv", ("Cast_1", "Cast_2")),
        "mul": Node("Mul", ("Const", "truediv")),
        "Less": Node("Less", ("Cast", "Const_1")),
        "Cast_3": Node("Cast", ("Less",), None, "float32"),
        "sub": Node("Sub", ("one", "Cast_3")),
        "mul_1": Node("Mul", ("sub", "PolynomialDecay")),
        "mul_2": Node("Mul", ("Cast_3", "mul")),
        "add": Node("AddV2", ("mul_1", "mul_2")),
        "gradient": Node("AddN", ("add",)),
        "update": Node("Mul", ("add", "gradient")),
    }
    # The original leaves the warm-up out of the graph if it has no steps.
    return warmed if warmup else {name: warmed[name] for name in warmed if name[:4] in _OF_DECAY}


def test_a_saved_graph_gives_the_rate_of_every_step():
    nodes = original_graph()
    assert graph_rate.rate_node(nodes) == "add"
    for step, expected in ((0, 0), (5, 2.5e-5), (10, 4.5e-5), (40, 3e-5), (99, 5e-7)):
        assert graph_rate.rate_at(nodes, step) == pytest.approx(expected, rel=1e-5, abs=1e-12)
    assert graph_rate.rate_at(nodes, 100) == graph_rate.rate_at(nodes, 150) == 0
    assert graph_rate.rate_node({"a": Node("Const", (), 1.0)}) is None


def test_the_schedule_is_found_again_from_its_rates():
    for peak, horizon, warmup in ((5e-5, 100, 10), (3e-5, 2345, 234), (2e-5, 50, 0), (1e-4, 64, 1)):
        found = rates.of_graph(original_graph(peak, horizon, warmup), horizon // 2, "graph")
        assert found.zero_from == horizon and found.linear == LinearDecay(peak, horizon, warmup)
    late = rates.of_graph(original_graph(), 130, "graph")
    assert (late.before, late.following, late.zero_from) == (0, 0, 100)
    assert rates.linear_decay(lambda step: 5e-5 * (1 - step / 100) ** 2, 100) is None
    with np.errstate(all="ignore"):
        assert rates.of_graph(original_graph(peak=np.nan), 40, "graph") is None


def test_a_plan_gives_the_rates_before_and_after_its_step():
    plan = make_plan(PlanConfig(num_train_steps=100, num_warmup_steps=0), 320, {}, {})
    found = rates.of_plan(plan, 100, 1.0, "plan.json")
    assert found.before == pytest.approx(5e-7) and found.following == 0 and found.zero_from == 100


def diagnosed(**changed):
    facts = HEALTHY._replace(**changed)
    found = findings.findings(facts)
    return {finding.name: finding.level for finding in found}, remedies.remedies(facts, found, {})


def checkpoint_with(**changed):
    return HEALTHY.checkpoint._replace(numbers=NUMBERS._replace(**changed))


@pytest.mark.parametrize(
    "name, changed, purposes",
    [
        ("rate", {}, ["continue", "further stage", "predict"]),
        ("rate_zero", dict(rate=Rate("graph", 0.0, 0.0, 37)), ["further stage", "predict"]),
        ("halved", dict(checkpoint=checkpoint_with(projection=0.503)), ["start again"]),
        ("unrelated", dict(checkpoint=checkpoint_with(cosine=0.1)), ["start again"]),
        ("labels_lost", dict(labels=None), ["continue", "further stage", "predict"]),
        ("pickle", dict(pickles=("label2id.pkl",)), ["continue", "further stage", "predict"]),
        ("frozen_graph", dict(frozen=("model.pb",)), ["continue", "further stage", "predict"]),
        ("damaged", dict(unusable=("run/model.ckpt-50 is damaged: x",)), ["continue", "further stage", "predict"]),
        ("not_finite", dict(not_finite=("run/model.ckpt-50 (w)",)), ["further stage", "predict"]),
        ("no_checkpoint", dict(checkpoint=None, unusable=("all",)), ["start again"]),
        ("other_head", dict(labels=Labels(("a", "b", "c"), "label_list.txt")), ["further stage"]),
        ("empty_slots", dict(checkpoint=checkpoint_with(slots_of_zeros=6)), ["further stage", "predict"]),
        ("finished", dict(writer=OURS, end=40, flags={"do_train": "True"}), ["predict", "further stage"]),
        ("unfinished", dict(writer=OURS, end=90, flags={"do_train": "True"}), ["continue", "further stage", "predict"]),
        (
            "wrong_case",
            dict(vocabulary=Vocabulary("run/vocab.txt", 40, True, True, "9 have upper-case letters.")),
            ["start again"],
        ),
    ],
)
def test_each_fault_has_its_finding_and_its_commands(name, changed, purposes):
    levels, commands = diagnosed(**changed)
    assert name in levels
    assert [remedy.purpose for remedy in commands] == purposes
    healthy, _ = diagnosed()
    assert "WRONG" not in healthy.values()


def test_the_command_that_continues_the_originals_folder_has_its_schedule_and_labels():
    _, commands = diagnosed()
    flags = commands[0].flags
    assert flags["learning_rate"] == "5e-05" and flags["num_train_steps"] == "100" and flags["num_warmup_steps"] == "10"
    assert flags["labels"] == "bad,good" and flags["output_dir"] == "run" and "allow_plan_change" in flags
    assert commands[0].missing == ("DATA_DIR",)
    _, commands = diagnosed(labels=None)
    assert commands[0].flags["labels"] == "LABELS_IN_ORDER"


def test_a_whole_best_model_is_used_where_the_newest_checkpoint_is_damaged():
    """Runs of fewer steps than save_checkpoints_steps have one checkpoint beside the best."""
    best = HEALTHY.checkpoint._replace(prefix="run/best/model.ckpt-40", numbers=Numbers(encoder_norm=10.0))
    flags = {"do_train": "True"}
    changed = dict(checkpoint=best, best=best.prefix, unusable=("x",), writer=OURS, end=90, flags=flags)
    levels, (stage, predict) = diagnosed(**changed)
    assert "damaged" in levels and "no_checkpoint" not in levels
    assert (stage.flags["init_checkpoint"], predict.purpose) == (best.prefix, "predict")


def test_the_command_that_predicts_does_not_train_whatever_flags_txt_says():
    _, commands = diagnosed(flags={"do_train": "True", "do_eval": "True", "task_name": "text"})
    predict = next(command for command in commands if command.purpose == "predict")
    assert not {"do_train", "do_eval"} & set(predict.flags)


def test_a_published_model_with_its_labels_predicts():
    published = HEALTHY.checkpoint._replace(prefix="run/bert_model.ckpt", step=None)
    for source, purposes in (("labels.json", ["predict", "start again"]), ("--labels", ["start again"])):
        labels = Labels(("bad", "good"), source)
        _, commands = diagnosed(writer=PUBLISHED, checkpoint=published, rate=None, labels=labels)
        assert [command.purpose for command in commands] == purposes
        assert all(command.flags["model"] == "run" for command in commands)


def test_an_export_is_said_to_be_one(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"x")
    said = command.diagnosis(str(tmp_path), None, {}, False)
    assert "an exported model" in said and "WRONG" not in said


def test_a_wrong_case_is_set_right_in_the_command():
    vocabulary = Vocabulary("run/vocab.txt", 40, True, True, "9 have upper-case letters.")
    assert diagnosed(vocabulary=vocabulary)[1][0].flags["do_lower_case"] == "false"


def test_labels_are_read_from_lists_and_maps_and_never_from_pickles(tmp_path):
    def read(name, text):
        (tmp_path / name).write_text(text)
        return label_files.read(str(tmp_path), [name]).names

    assert read("label_list.txt", "neg\npos\n") == ("neg", "pos")
    assert read("labels.txt", "pos\t1\nneg\t0\n") == ("neg", "pos")
    assert read("label2id.json", json.dumps({"pos": 2, "neg": 1})) == ("neg", "pos")
    assert read("id2label.json", json.dumps({"1": "pos", "0": "neg"})) == ("neg", "pos")
    with pytest.raises(UserError, match="label_map.json: does not give each label an id"):
        read("label_map.json", json.dumps({"pos": 5, "neg": 1}))
    assert read("eval_results.json", json.dumps({"accuracy": 0.5, "labels": ["a", "b"]})) == ("a", "b")
    (tmp_path / "label2id.pkl").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    assert label_files.read(str(tmp_path), ["label2id.pkl"]) is None
    assert label_files.pickles_among(["a.txt", "label2id.pkl"]) == ("label2id.pkl",)


def test_labels_are_those_that_a_flag_or_a_task_says():
    assert label_files.given({"labels": 'bad,"good, or fine"', "task_name": "mrpc"}).names == ("bad", "good, or fine")
    assert label_files.given({"task_name": "MNLI"}).names == ("contradiction", "entailment", "neutral")
    assert label_files.given({"task_name": "sts-b"}).kind == "regression"
    assert label_files.given({"task_name": "text"}) is label_files.given({}) is None


def test_a_damaged_file_of_the_folder_is_a_finding_and_one_that_a_flag_names_an_error(tmp_path):
    config = tmp_path / "bert_config.json"
    config.write_text("{")
    (problem,) = folder.read(str(tmp_path), None, {}).problems
    assert problem.startswith(str(config))
    with pytest.raises(UserError, match="bert_config.json"):
        folder.read(str(tmp_path), None, {"bert_config_file": str(config)})


def test_a_head_on_tokens_is_known_by_a_pooler_that_does_not_learn():
    kinds = [heads.head_of(WEIGHTS, None, learned).kind for learned in (True, None, False)]
    assert kinds == [CLASSES, CLASSES, TAGS]
    assert heads.head_of(WEIGHTS, "run_classifier", False).kind == CLASSES
    assert diagnosed(checkpoint=HEALTHY.checkpoint._replace(pooler_learned=False))[1][0].script == "run_ner"


def test_a_flag_that_no_script_has_is_refused_with_the_nearest_name():
    assert command.given_flags(["--data_dir=d", "--do_eval"]) == {"data_dir": "d", "do_eval": "True"}
    with pytest.raises(UserError, match="--data_dri: neither .* Did you mean --data_dir?"):
        command.given_flags(["--data_dri=d"])
