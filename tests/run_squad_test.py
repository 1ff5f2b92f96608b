"""run_squad.py: questions that are learned, answered with places and scored; resumes, thresholds, bad files."""

import json
import os
import random
import shutil
import subprocess
import sys

import estimator_engine_test
import flag_effects_test
import forked
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from conftest import (
    BAD,
    GOOD,
    ROOT,
    WORDS,
    copy_as_stopped,
    evaluated_examples,
    mistake,
    parsed_page,
    run_each,
    succeed,
)

import modeling
import tokenization
from steady_bert.base.errors import UserError
from steady_bert.interchange import safetensors_files
from steady_bert.tasks.questions import answers, assembly, features, heads, job, squad_files
from steady_bert.tasks.questions.squad_files import Wanted
from steady_bert.tasks.task import BadLines
from steady_bert.training import checkpoint

SCRIPT = "run_squad"
LENGTHS = dict(max_seq_length=24, doc_stride=8, max_query_length=4, max_answer_length=4)


def squad(count, seed, with_unanswerable=False, known=True):
    """Questions that ask for the words of praise in a context, which may have none."""
    rng = random.Random(seed)
    paragraphs = []
    for number in range(count):
        words = [word.capitalize() for word in rng.choices(WORDS, k=rng.randint(4, 40))]
        asked = {"id": "q{}".format(number), "question": rng.choice(BAD)}
        place = rng.randrange(len(words))
        answer = rng.choice(GOOD)
        impossible = with_unanswerable and rng.random() < 0.4
        if not impossible:
            words.insert(place, answer + ",")
        if known:
            start = len("  ".join(words[:place] + [""]))
            asked["answers"] = [] if impossible else [{"text": answer, "answer_start": start}]
            if with_unanswerable:
                asked["is_impossible"] = impossible
        paragraphs.append({"context": "  ".join(words), "qas": [asked]})
    return {"version": "1.1", "data": [{"title": "t", "paragraphs": paragraphs}]}


class Files:
    """Questions without and with unanswerable ones, and the commands on them."""

    def __init__(self, folder, tiny):
        self.folder, self._tiny = folder, tiny
        self.paths = {}
        sizes = (("train", 150, 1), ("dev", 40, 2), ("test", 40, 3))
        for version in ("v1", "v2"):
            for split, count, seed in sizes:
                content = squad(count, seed, version == "v2")
                self.paths[version + split] = self.write("{}.{}.json".format(version, split), content)
        self.paths["asked"] = self.write("asked.json", squad(40, 3, known=False))
        self.vocab_file = os.path.join(folder, "vocab.txt")
        with open(tiny.vocab_file) as source, open(self.vocab_file, "w") as target:
            target.write(source.read() + ",\n")

    def write(self, name, content):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(content if isinstance(content, str) else json.dumps(content))
        return path

    def flags(self, version="v1", **changed):
        values = dict(
            LENGTHS,
            train_file=self.paths[version + "train"],
            dev_file=self.paths[version + "dev"],
            vocab_file=self.vocab_file,
            bert_config_file=self._tiny.without_dropout,
            output_dir=os.path.join(self.folder, "out"),
            train_batch_size=16,
            eval_batch_size=32,
            predict_batch_size=32,
            learning_rate=3e-3,
            num_train_steps=120,
            from_scratch="true",
            do_train="true",
        )
        if version == "v2":
            values["version_2_with_negative"] = "true"
        values.update(changed)
        return ["--{}={}".format(name, value) for name, value in values.items() if value is not None]


@pytest.fixture(scope="module")
def files(tiny, tmp_path_factory):
    return Files(str(tmp_path_factory.mktemp("squad")), tiny)


def read_json(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return json.load(file)


def test_questions_are_learned_scored_and_answered_with_places_and_by_the_folder_alone(files, tmp_path, capsys):
    output, again = str(tmp_path / "out"), str(tmp_path / "again")
    used = dict(do_eval="true", do_predict="true", eval_every_steps=60, predict_file=files.paths["v1test"])
    printed = succeed(files.flags(output_dir=output, **used), capsys, SCRIPT)
    assert "windows of 150 texts" in printed
    result = read_json(output, "eval_results.json")
    assert result["f1"] > 0.9 and result["exact_match"] > 0.9 and result["examples"] == 40
    of_dev = evaluated_examples(output)
    assert all(example.texts and example.gold for example in of_dev)
    wrong = sum(example.scores["exact_match"] < 1 for example in of_dev)
    assert (
        "Worst answers" in parsed_page(output).text and "{} of 40 are wrong".format(wrong) in parsed_page(output).text
    )
    assert read_json(output, "test_results.json")["f1"] > 0.9
    with open(files.paths["v1test"]) as file:
        paragraphs = json.load(file)["data"][0]["paragraphs"]
    predictions, n_best = read_json(output, "predictions.json"), read_json(output, "nbest_predictions.json")
    assert list(predictions) == ["q{}".format(number) for number in range(40)] == list(n_best)
    assert not os.path.exists(os.path.join(output, "null_odds.json"))
    with open(os.path.join(output, "predictions.jsonl")) as file:
        lines = [json.loads(line) for line in file]
    for line, paragraph in zip(lines, paragraphs):
        assert paragraph["context"][line["start"] : line["end"]] == line["text"]
        assert " ".join(line["text"].split()) == predictions[line["id"]] == n_best[line["id"]][0]["text"]
        assert abs(line["probability"] - n_best[line["id"]][0]["probability"]) < 1e-5
    using = ["--do_predict", "--model_dir=" + output, "--output_dir=" + again, "--predict_batch_size=7"]
    succeed(using + ["--predict_file=" + files.paths["asked"]], capsys, SCRIPT)
    assert read_json(again, "predictions.json") == predictions  # the questions are the same, without their answers
    assert not os.path.exists(os.path.join(again, "test_results.json"))
    message = mistake(using + ["--predict_file=" + files.paths["asked"], "--predict_output=x.jsonl"], capsys, SCRIPT)
    assert "Give another --predict_output" in message
    classifier = ["--do_predict", "--model_dir=" + output, "--task_name=text", "--predict_file=" + files.vocab_file]
    assert "was trained by another script" in mistake(classifier, capsys)
    shown = "step {global_step}: exact match {exact_match:.2%}, F1 {f1:.2%}\n".format(**result)
    assert shown_by_run_squad_sh(files, output, tmp_path) == shown


def shown_by_run_squad_sh(files, output, folder):
    """What scripts/run_squad.sh prints after a run in `output`, which it takes for its own."""
    python = folder / "python"
    python.write_text('#!/bin/sh\n[ "$1" = run_squad.py ] || exec "{}" "$@"\n'.format(sys.executable))
    python.chmod(0o755)
    (folder / "environment.sh").write_text("ROOT='{}'\nneed_environment() {{ PYTHON='{}'; }}\n".format(ROOT, python))
    shutil.copy(os.path.join(ROOT, "scripts", "run_squad.sh"), str(folder / "run_squad.sh"))
    hugging_face = str(folder)  # the script looks into no model: run_squad.py does
    command = ["bash", str(folder / "run_squad.sh"), files.paths["v1train"], files.paths["v1dev"], hugging_face, output]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.decode()


def test_a_published_model_of_questions_answers_and_one_without_its_head_is_refused(files, tmp_path, capsys):
    config = read_json(files._tiny.without_dropout)
    (tmp_path / "config.json").write_text(json.dumps(dict(config, model_type="bert", hidden_act="gelu_new")))
    shutil.copy(files.vocab_file, str(tmp_path))
    with tf.Graph().as_default():
        ids = tf.zeros([1, 4], tf.int32)
        model = modeling.BertModel(modeling.BertConfig.from_dict(config), False, ids, scope="bert")
        heads.span_logits(model.get_sequence_output())
        shapes = {variable.op.name: variable.shape.as_list() for variable in tf.trainable_variables()}
    weights = {name: np.full(shape, 0.01, np.float32) for name, shape in shapes.items()}
    given = dict(LENGTHS, do_predict="true", model=tmp_path, predict_file=files.paths["asked"])
    using = ["--{}={}".format(*pair) for pair in dict(given, output_dir=tmp_path / "out").items()]
    path = str(tmp_path / "model.safetensors")
    safetensors_files.write_bert(path, weights, 1, "here")
    succeed(using, capsys, SCRIPT)
    assert len(read_json(str(tmp_path), "out", "predictions.json")) == 40
    replaced = ["--predict_output={}".format(tmp_path / "out" / "test_results.json")]  # by the scores
    assert "Give another --predict_output" in mistake(using + replaced, capsys, SCRIPT)
    headless = {name: value for name, value in weights.items() if not name.startswith("cls/")}
    safetensors_files.write_bert(path, headless, 1, "here")
    assert "has no trained head (qa_outputs.weight)" in mistake(using, capsys, SCRIPT)


def test_a_threshold_is_tuned_on_dev_saved_and_used_by_the_folder_alone(files, tmp_path, capsys):
    output, again = str(tmp_path / "out"), str(tmp_path / "again")
    # Most answers are wrong: a threshold of 0, which finds them, is not the best.
    content = squad(40, 2, with_unanswerable=True)
    asked = [paragraph["qas"][0] for paragraph in content["data"][0]["paragraphs"]]
    for question in [question for question in asked if question["answers"]][5:]:
        question.update(answers=[], is_impossible=True)
    dev = files.write("doubted.json", content)
    used = dict(do_eval="true", tune_null_threshold="true", num_train_steps=90, dev_file=dev)
    succeed(files.flags("v2", output_dir=output, **used), capsys, SCRIPT)
    result = read_json(output, "eval_results.json")
    threshold = read_json(output, "threshold.json")["threshold"]
    assert result["null_score_diff_threshold"] == threshold and result["answerable"] == 5
    share = result["answerable"] / 40.0
    mean = share * result["f1_answerable"] + (1 - share) * result["f1_unanswerable"]
    assert abs(result["f1"] - mean) < 1e-9 and result["f1"] > 0.8
    using = ["--do_predict", "--model_dir=" + output, "--predict_output=" + os.path.join(again, "predictions.json")]
    using += ["--predict_batch_size=32", "--predict_file=" + dev]
    succeed(using, capsys, SCRIPT)
    assert read_json(again, "test_results.json")["f1"] == result["f1"]
    odds, predictions = read_json(again, "null_odds.json"), read_json(again, "predictions.json")
    assert {name: odds[name] > threshold for name in odds} == {name: not text for name, text in predictions.items()}
    assert any(threshold < value <= 0 for value in odds.values())  # what a threshold of 0 would answer
    succeed(using + ["--null_score_diff_threshold=-1000"], capsys, SCRIPT)
    assert set(read_json(again, "predictions.json").values()) == {""}


def test_the_threshold_is_the_flags_or_the_one_that_the_folder_was_tuned_to(files, tmp_path):
    def threshold(**given):
        command = dict(do_predict="true", model_dir=tmp_path, predict_file=files.paths["v2test"], **given)
        data = flag_effects_test.parsed(dict(command, vocab_file=files.vocab_file), SCRIPT).identity
        return job.null_threshold(data, str(tmp_path))

    def write(name, content):
        (tmp_path / name).write_text(json.dumps(content))

    of_run = dict(version_2_with_negative=True, null_score_diff_threshold=-3.0, tune_null_threshold=False)
    write("config.json", {"data": of_run})
    assert threshold() == -3.0 and threshold(null_score_diff_threshold=2) == 2.0
    write("threshold.json", {"threshold": 1.5})  # by a later evaluation
    assert threshold() == 1.5 and threshold(null_score_diff_threshold=2) == 2.0
    os.remove(str(tmp_path / "threshold.json"))
    write("config.json", {"data": dict(of_run, null_score_diff_threshold=None)})
    assert threshold() == 0.0
    write("config.json", {"data": dict(of_run, null_score_diff_threshold=None, tune_null_threshold=True)})
    with pytest.raises(UserError, match="threshold.json.*a number with --null_score_diff_threshold"):
        threshold()


def test_what_f1_compares_is_seen_in_the_files_that_a_command_reads_and_compared_on_resume(files):
    def identity(**changed):
        paths = {name: files.write(name + ".json", changed.pop(name)) for name in ("train_file", "dev_file")}
        given = (flag[2:].split("=") for flag in files.flags(**dict(paths, **changed)))
        return flag_effects_test.parsed(dict(given), SCRIPT).job().identity

    chinese = one(answers=[{"text": "\u5317\u4eac", "answer_start": 0}])
    assert identity(train_file=one(), dev_file=chinese, do_eval="true")["score_by"] == "characters"
    assert identity(train_file=chinese, dev_file=one(), do_eval="true")["score_by"] == "words"
    assert "score_by" not in identity(train_file=chinese, dev_file="no JSON")


def test_whatever_decides_the_records_is_part_of_the_name_of_their_cache(files):
    tokenizer = tokenization.FullTokenizer(files.vocab_file)
    given = ({"train": files.paths["v1train"]}, tokenizer, "v", True, None, features.Lengths(24, 8, 4), answers.Rules())
    inputs = assembly.QuestionsInputs(*given, tune_threshold=False, score_by="words")

    def known(**changed):
        changed = inputs._replace(**changed)
        return assembly.questions_task(changed, assembly.Reader(changed)).fingerprint("train")

    before = known()
    for name, changed in (
        ("source", dict(files={"train": files.paths["v1dev"]})),
        ("vocabulary", dict(vocab_fingerprint="other")),
        ("encoding", dict(encoding="cp1252")),
        ("with_unanswerable", dict(rules=answers.Rules(with_unanswerable=True))),
        ("max_seq_length", dict(lengths=features.Lengths(23, 8, 4))),
        ("doc_stride", dict(lengths=features.Lengths(24, 7, 4))),
        ("max_query_length", dict(lengths=features.Lengths(24, 8, 3))),
    ):
        after = known(**changed)
        assert [key for key in {**before, **after} if before.get(key) != after.get(key)] == [name]


@pytest.mark.usefixtures("graphs_as_built")
def test_a_run_resumes_exactly(files, tmp_path, capsys):
    whole, parts = str(tmp_path / "whole"), str(tmp_path / "parts")
    flags = dict(save_checkpoints_steps=5, num_train_steps=10)
    succeed(files.flags(output_dir=whole, **flags), capsys, SCRIPT)
    copy_as_stopped(whole, 5, parts)
    assert "Resume: continue" in succeed(files.flags(output_dir=parts, **flags), capsys, SCRIPT)
    readers = [tf.train.load_checkpoint(checkpoint.resolve(folder, "last")) for folder in (whole, parts)]
    names = sorted(readers[0].get_variable_to_shape_map())
    assert names == sorted(readers[1].get_variable_to_shape_map()) and "cls/squad/output_weights" in names
    assert all(np.array_equal(*[reader.get_tensor(name) for reader in readers]) for name in names)
    message = mistake(files.flags(output_dir=parts, **dict(flags, doc_stride=5)), capsys, SCRIPT)
    assert "doc_stride" in message and "--allow_plan_change" in message


@pytest.mark.usefixtures("graphs_as_built")
def test_padding_and_parts_change_no_loss(files, tmp_path, capsys):
    losses = {}
    variants = dict(
        none={},
        fixed=dict(padding="fixed"),
        parts=dict(gradient_accumulation_steps=2),
    )
    for name, changed in variants.items():
        output = str(tmp_path / name)
        succeed(files.flags(output_dir=output, num_train_steps=3, log_every_steps=1, **changed), capsys, SCRIPT)
        with open(os.path.join(output, "metrics.jsonl")) as file:
            losses[name] = [line["loss"] for line in map(json.loads, file) if "loss" in line]
    for name in variants:
        np.testing.assert_allclose(losses[name], losses["none"], rtol=2e-5, err_msg=name)


@estimator_engine_test.needs_estimator
def test_estimator_and_two_devices_learn_and_answer_the_same(files, tmp_path):
    ways = dict(
        devices=dict(distribution="mirrored", devices="cpu:0,cpu:1"), session={}, estimator=dict(engine="estimator")
    )
    commands = [
        files.flags(
            output_dir=str(tmp_path / name),
            num_train_steps=3,
            log_every_steps=1,
            do_eval="true",
            eval_every_steps=0,
            do_predict="true",
            predict_file=files.paths["asked"],
            **way,
        )
        for name, way in ways.items()
    ]
    assert forked.call(run_each, commands, SCRIPT) == [0, 0, 0]
    results = {}
    for name in ways:
        losses = [line["loss"] for line in estimator_engine_test.numbers(tmp_path / name)["train"].values()]
        nbest = read_json(str(tmp_path / name), "nbest_predictions.json")
        logits = [each["start_logit"] for best in nbest.values() for each in best]
        results[name] = losses + [read_json(str(tmp_path / name), "eval_results.json")["loss"]] + logits
    assert len(results["session"]) > 3 + 1 + 40
    for name in ("devices", "estimator"):
        np.testing.assert_allclose(results[name], results["session"], rtol=1e-4, atol=1e-4, err_msg=name)


def test_dry_run_and_check_data_say_what_the_files_hold(files, tmp_path, capsys):
    printed = succeed(files.flags(do_train=None, dry_run="true", output_dir=str(tmp_path)), capsys, SCRIPT)
    assert "windows of 150 texts" in printed and not os.path.exists(str(tmp_path / "plan.json"))
    check = dict(do_train=None, check_data="true", output_dir=None, bert_config_file=None)
    printed = succeed(files.flags("v2", **check), capsys, SCRIPT)
    assert "labels: answerable" in printed and "unanswerable" in printed


def one(**changed):
    """A file of one question, with changes to it."""
    asked = {"id": "n1", "question": "good ?", "answers": [{"text": "beta", "answer_start": 6}]}
    asked.update(changed)
    asked = {name: value for name, value in asked.items() if value is not None}
    return {"data": [{"paragraphs": [{"context": "alpha beta gamma", "qas": [asked]}]}]}


@pytest.mark.parametrize(
    "content, said",
    [
        ("{", "not JSON"),
        ("[]", 'has no list "data"'),
        ({"data": [{}]}, 'article 1: has no list "paragraphs"'),
        ({"data": [{"paragraphs": [{"qas": []}]}]}, 'article 1, paragraph 1: has no text "context"'),
        (one(id=None), 'article 1, paragraph 1, question 1: has no "id"'),
        (one(question=None), "question 'n1': has no text \"question\""),
        (one(answers=[]), "question 'n1': has no answer. Add it, or pass --version_2_with_negative"),
        (one(answers=[], is_impossible=True), "question 'n1': has no answer. Pass --version_2_with_negative"),
        (one(answers=[{"text": "beta", "answer_start": 60}]), "question 'n1': the answer 'beta' at 60 ends outside"),
        (one(answers=[{"text": "beta"}]), "the answer 'beta' has no whole number \"answer_start\""),
        (one(answers=[{"text": "", "answer_start": 0}]), "question 'n1': an answer has no \"text\""),
        (one(answers=3), "question 'n1': \"answers\" is no list"),
        (one(is_impossible="no"), "question 'n1': is_impossible is 'no'"),
        (one(is_impossible=0), "question 'n1': is_impossible is 0, not true or false"),
        (one(id="\ud800"), "question '\\ud800': its id, text or context has half of a surrogate pair"),
        (json.dumps(one()).replace("gamma", "\\ud800"), "question 'n1': its id, text or context has half"),
        (one(question="good \udc00"), "question 'n1': its id, text or context has half of a surrogate pair"),
        (one(answers=[{"text": "beta", "answer_start": 0}]), "(questions left out, for their answers are not in the "),
    ],
)
def test_a_bad_file_is_named_with_its_question(files, content, said, capsys):
    path = files.write("bad.json", content)
    message = mistake(files.flags(train_file=path), capsys, SCRIPT)
    assert "bad.json" in message and said in message and "Traceback" not in message


def test_repeated_ids_are_refused_and_answers_that_are_not_there_are_counted(files, tmp_path):
    twice = one()
    twice["data"] *= 2
    wanted = Wanted(answers=True, learnable=True)
    with pytest.raises(ValueError, match="question 'n1': its id is that of an earlier question"):
        list(squad_files.read(files.write("twice.json", twice), wanted, BadLines(0)))
    skipping = BadLines(1)
    assert len(list(squad_files.read(files.write("twice.json", twice), wanted, skipping))) == 1
    moved = files.write("moved.json", one(answers=[{"text": "beta", "answer_start": 0}]))
    notes = BadLines(0)
    assert list(squad_files.read(moved, wanted, notes)) == []
    assert notes.notes == ["questions left out, for their answers are not in the context at answer_start: 1 (n1)"]
    assert len(list(squad_files.read(moved, Wanted(answers=True), BadLines(0)))) == 1  # dev asks it all the same


def test_a_question_without_answers_that_is_not_said_to_be_impossible_has_no_gold_answer(files):
    for said, impossible in ((False, None), (None, None), (True, True)):
        path = files.write("said.json", one(answers=[], is_impossible=said))
        for with_unanswerable in (False, True):
            wanted = Wanted(answers=False, with_unanswerable=with_unanswerable)
            (question,) = squad_files.read(path, wanted, BadLines(0))
            assert question.is_impossible is impossible and question.answers == ()
        wanted = Wanted(answers=True, with_unanswerable=True)
        if said is False:
            with pytest.raises(ValueError, match="question 'n1': has no answer. Add it"):
                list(squad_files.read(path, wanted, BadLines(0)))
        else:
            (question,) = squad_files.read(path, wanted, BadLines(0))
            assert question.is_impossible is True
