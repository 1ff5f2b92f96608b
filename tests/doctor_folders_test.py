"""The doctor on twelve folders as people have them: each has the right diagnosis and commands that work."""

import glob
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from conftest import ROOT, run_main, succeed

from steady_bert.diagnosis import command
from steady_bert.diagnosis.remedies import AGAIN, CONTINUE, PREDICT, STAGE
from steady_bert.training import checkpoint, checkpoint_files

STEPS, HALF = 20, 10
PEAK, WARMUP = 1e-3, 2
HIDDEN, TAGS = 32, 5


class Folders:
    """What the folders are made of: a run of 20 steps, its encoder as a published model, and that model's weights."""

    def __init__(self, root, tiny):
        self.root, self.tiny = str(root), tiny
        self.run = self.path("run")
        flags = dict(bert_config_file=tiny.without_dropout, num_train_steps=STEPS, save_checkpoints_steps=HALF)
        assert run_main(tiny.flags(output_dir=self.run, do_train="true", **flags)) == 0
        reader = tf.train.load_checkpoint(checkpoint_files.prefix_of(self.run, STEPS))
        names = [name for name in reader.get_variable_to_shape_map() if name.startswith("bert/")]
        self.encoder = {name: reader.get_tensor(name) for name in names if not name.endswith(("/adam_m", "/adam_v"))}
        self.published = self.path("published")
        os.mkdir(self.published)
        checkpoint.write(os.path.join(self.published, "bert_model.ckpt"), self.encoder)
        for name in ("bert_config.json", "vocab.txt"):
            shutil.copy(os.path.join(self.run, name), self.published)
        self.tagged = self.path("train.conll")
        with open(self.tagged, "w") as file:
            file.write("\n\n".join(["alpha O\ngood B-X\nfine I-X\nbeta O", "poor B-Y\ngamma O"] * 16) + "\n")

    def path(self, name):
        return os.path.join(self.root, name)

    def copy(self, name):
        return shutil.copytree(self.run, self.path(name))

    def original(self, name, step, head=None, scale=1.0, horizon=STEPS):
        """A folder as google-research/bert's Estimator leaves it: checkpoint, graph, event file, and nothing else."""
        rng = np.random.RandomState(1)
        noise = {key: rng.normal(0, 0.01, value.shape) for key, value in sorted(self.encoder.items())}
        weights = {key: (scale * (self.encoder[key] + noise[key])).astype(np.float32) for key in noise}
        weights.update(head or outputs(2))
        slots = {key + slot: np.full_like(weights[key], 1e-3) for key in weights for slot in ("/adam_m", "/adam_v")}
        folder = self.path(name)
        with tf.Graph().as_default(), tf.Session() as session:
            variables = {key: tf.get_variable(key, initializer=value) for key, value in {**weights, **slots}.items()}
            count = tf.train.get_or_create_global_step()
            tf.identity(scheduled_rate(count, horizon) * variables["bert/pooler/dense/bias"], "update")
            session.run(tf.global_variables_initializer())
            session.run(tf.assign(count, step))
            tf.summary.FileWriter(folder, session.graph).close()
            tf.train.Saver().save(session, os.path.join(folder, "model.ckpt"), step)
        return folder

    def flags(self, **changed):
        """The flags of data and model that whoever trained the original's folder knows."""
        values = dict(
            task_name="text",
            data_dir=self.tiny.data_dir,
            vocab_file=self.tiny.vocab_file,
            bert_config_file=self.tiny.without_dropout,
            max_seq_length=16,
            train_batch_size=16,
        )
        values.update(changed)
        return ["--{}={}".format(name, value) for name, value in values.items() if value is not None]


def outputs(labels):
    rng = np.random.RandomState(2)
    return {
        "output_weights": rng.normal(0, 0.1, (labels, HIDDEN)).astype(np.float32),
        "output_bias": np.zeros(labels, np.float32),
    }


def scheduled_rate(count, horizon):
    """Warm-up, then linear decay to 0: the schedule of the original's create_optimizer."""
    peak = tf.constant(PEAK, tf.float32)
    decayed = tf.train.polynomial_decay(peak, count, horizon, end_learning_rate=0.0, power=1.0, cycle=False)
    done, warmup = tf.cast(count, tf.int32), tf.constant(WARMUP, tf.int32)
    warm = tf.cast(done < warmup, tf.float32)
    return (1.0 - warm) * decayed + warm * peak * tf.cast(done, tf.float32) / tf.cast(warmup, tf.float32)


@pytest.fixture(scope="module")
def folders(tmp_path_factory, tiny):
    return Folders(tmp_path_factory.mktemp("folders"), tiny)


# --- the twelve folders: each gives its path and the flags that its owner knows --------------------------------------


def finished(folders):
    return folders.copy("finished"), []


def unfinished(folders):
    folder = folders.copy("unfinished")
    checkpoint.discard_after(folder, HALF)
    checkpoint.point_at(checkpoint_files.prefix_of(folder, HALF))
    return folder, []


def second_stage(folders):
    """Made by the command that the doctor prints for the finished run."""
    stage = purposes_of(diagnosis(folders.copy("first"), []))[STAGE]
    assert run_main(stage["arguments"], stage["script"]) == 0
    return folders.path("first-stage2"), []


def rate_zero(folders):
    return folders.original("rate-0", STEPS), folders.flags(labels="blame,praise", num_train_steps=4)


def halved(folders):
    """What a Lookahead leaves whose slow weights start from 0."""
    return folders.original("halved", HALF, scale=0.5), folders.flags(pretrained=folders.published, num_train_steps=4)


def lost_labels(folders):
    folder = folders.copy("lost-labels")
    os.unlink(os.path.join(folder, "labels.json"))
    return folder, ["--labels=blame,praise"]


def damaged(folders):
    folder = folders.copy("damaged")
    os.truncate(os.path.join(folder, "model.ckpt-20.data-00000-of-00001"), 1000)
    return folder, []


def other_head(folders):
    folder = folders.original("other-head", HALF, outputs(3))
    write(folder, "label_list.txt", "blame\npraise\n")
    return folder, folders.flags(num_train_steps=4)


def wrong_case(folders):
    folder = folders.original("wrong-case", HALF)
    with open(folders.tiny.vocab_file) as file:
        write(folder, "vocab.txt", "".join(line if line.startswith("[") else line.title() for line in file))
    known = dict(vocab_file=None, do_lower_case="true", labels="blame,praise", pretrained=folders.published)
    return folder, folders.flags(num_train_steps=4, **known)


def original(folders):
    return folders.original("original", HALF), folders.flags(labels="blame,praise")


def fork_with_pickles(folders):
    """A tagger's; whoever opens its pickles makes the folder `opened`."""
    weight = np.random.RandomState(3).normal(0, 0.1, (HIDDEN, TAGS)).astype(np.float32)
    head = {"project/logits/W": weight, "project/logits/b": weight[0], "crf_loss/transitions": weight[:TAGS]}
    folder = folders.original("pickles", HALF, head)
    for name in ("label2id.pkl", "label_list.pkl"):
        write(folder, name, "cos\nmkdir\n(S'{}'\ntR.".format(folders.path("opened")))
    return folder, folders.flags(task_name=None, data_dir=None, train_file=folders.tagged, num_train_steps=4)


def fork_with_frozen_graph(folders):
    """Its event file has the graph."""
    folder = folders.original("frozen", HALF)
    os.unlink(os.path.join(folder, "model.ckpt-10.meta"))
    write(folder, "classification_model.pb", "frozen")
    write(folder, "label_list.txt", "blame\npraise\n")
    return folder, folders.flags()


def write(folder, name, text):
    with open(os.path.join(folder, name), "w") as file:
        file.write(text)


# Folder → what is wrong with it; further findings, each with a part of its text; the purpose of the first command.
CASES = {
    finished: ([], {"finished": "step 20 of 20", "rate_zero": "0 in the next (plan.json)"}, PREDICT),
    unfinished: (
        [],
        {"unfinished": "step 10 of 20", "rate": "0.0005 in the next (plan.json); 0 from step 20"},
        CONTINUE,
    ),
    second_stage: ([], {"finished": "step 20 of 20 of stage 2", "labels": "blame, praise (labels.json"}, PREDICT),
    rate_zero: (["rate_zero"], {"rate_zero": "it is 0 from step 20 on"}, STAGE),
    halved: (["labels_lost", "halved"], {"halved": " 0.5 times the pre-trained weights"}, AGAIN),
    lost_labels: (["changed_file"], {"changed_file": "labels.json: is gone", "labels": "(--labels"}, PREDICT),
    damaged: (["damaged"], {"damaged": "has 1,000 bytes", "unfinished": "step 10"}, CONTINUE),
    other_head: (["other_head"], {"other_head": "3 outputs", "labels": "(label_list.txt"}, STAGE),
    wrong_case: (["wrong_case"], {"wrong_case": "16 of the vocabulary's 16 pieces", "norm": "cosine 0.99"}, AGAIN),
    original: ([], {"rate": "0.0005 in the next (model.ckpt-10.meta)", "slots": "50, filled"}, CONTINUE),
    fork_with_pickles: (
        ["other_head", "labels_lost"],
        {"other_head": "a tagger's, 5 outputs", "pickle": "is not opened"},
        STAGE,
    ),
    fork_with_frozen_graph: (
        [],
        {"frozen_graph": "classification_model.pb", "rate": "0.0005 in the next (events", "labels": "(label_list.txt"},
        CONTINUE,
    ),
}


def diagnosis(folder, flags):
    """What the doctor says of a folder, as JSON has it."""
    pretrained = [flag.split("=")[1] for flag in flags if flag.startswith("--pretrained=")]
    given = command.given_flags([flag for flag in flags if not flag.startswith("--pretrained=")])
    return json.loads(command.diagnosis(folder, pretrained[0] if pretrained else None, given, json_wanted=True))


def purposes_of(said):
    """Purpose → command, in the doctor's order."""
    return {each["purpose"]: each for each in said["commands"]}


def contents(folder):
    return {path: os.stat(path).st_mtime_ns for path in glob.glob(folder + "/**", recursive=True)}


# What TensorFlow's version can change: the graph beside a checkpoint, that of an event file, and the checkpoint.
ON_EVERY_TENSORFLOW = (original, fork_with_frozen_graph)


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(build, marks=[] if build in ON_EVERY_TENSORFLOW else pytest.mark.without_tensorflow)
        for build in CASES
    ],
    ids=lambda build: build.__name__,
)
def test_a_folder_has_its_diagnosis_and_its_commands_work(build, folders, capsys):
    wrong, texts, purpose = CASES[build]
    folder, flags = build(folders)
    before = contents(folder)
    said = diagnosis(folder, flags)
    assert contents(folder) == before  # it only reads
    assert [finding["name"] for finding in said["findings"] if finding["level"] == "WRONG"] == wrong
    found = {finding["name"]: finding["text"] for finding in said["findings"]}
    for name, text in texts.items():
        assert text in found[name]

    commands = purposes_of(said)
    assert next(iter(commands)) == purpose
    for each in commands.values():
        assert each["missing"] == []
        if each["purpose"] in (purpose, PREDICT):
            succeed(each["arguments"], capsys, each["script"])
    if PREDICT in commands:
        with open(folder + "-predictions/predictions.tsv") as file:
            assert len(file.readlines()) == 31
    if purpose in (CONTINUE, STAGE, AGAIN):
        trained = {CONTINUE: folder, STAGE: folder + "-stage2", AGAIN: folder + "-again"}[purpose]
        after = diagnosis(trained, [])
        assert [finding["name"] for finding in after["findings"] if finding["level"] == "WRONG"] == []
        assert "finished" in {finding["name"] for finding in after["findings"]}
    if build in (unfinished, damaged):
        assert same_tensors(folder, folders.run)
    assert not os.path.exists(folders.path("opened"))


def same_tensors(first, second):
    readers = [tf.train.load_checkpoint(checkpoint_files.prefix_of(folder, STEPS)) for folder in (first, second)]
    names = readers[0].get_variable_to_shape_map()
    return all(np.array_equal(*[reader.get_tensor(name) for reader in readers]) for name in names)


@pytest.mark.without_tensorflow
def test_a_continued_original_follows_the_schedule_that_its_graph_had(folders):
    said = diagnosis(folders.original("schedule", HALF, horizon=123), folders.flags(labels="blame,praise"))
    assert said["rate"]["linear"] == [pytest.approx(PEAK, rel=1e-4), 123, WARMUP]
    arguments = purposes_of(said)[CONTINUE]["arguments"]
    assert {"--learning_rate=0.001", "--num_train_steps=123", "--num_warmup_steps=2"} <= set(arguments)


@pytest.mark.without_tensorflow
def test_a_run_without_its_best_model_predicts_with_the_last_and_goes_on_all_the_same(folders, tiny, capsys):
    folder = folders.copy("best")
    state = checkpoint.state_in(checkpoint_files.prefix_of(folder, HALF))
    named = checkpoint.state_tensors(state._replace(best_step=5, best_score=0.9))
    checkpoint.discard_after(folder, HALF)
    checkpoint.rewrite(checkpoint_files.prefix_of(folder, HALF), named)
    said = diagnosis(folder, [])
    assert [finding["name"] for finding in said["findings"] if finding["level"] == "WRONG"] == ["best_lost"]
    commands = purposes_of(said)
    assert "--allow_changed_files=best" in commands[CONTINUE]["arguments"]
    for purpose in (PREDICT, CONTINUE):
        succeed(commands[purpose]["arguments"], capsys)
    assert same_tensors(folder, folders.run)


@pytest.mark.without_tensorflow
def test_the_script_says_the_text_and_a_mistake(folders, capsys):
    command.main("", [folders.run])
    printed = capsys.readouterr().out
    assert printed.startswith(folders.run + ": a run of run_classifier.py\n  ok     checkpoint")
    assert "To predict:\n  python run_classifier.py --do_predict --model_dir=" + folders.run in printed
    process = subprocess.run(
        [sys.executable, os.path.join(ROOT, "scripts/doctor.py"), folders.path("nowhere")], stderr=subprocess.PIPE
    )
    assert process.returncode == 2
    assert process.stderr.decode().strip().endswith("nowhere: no such folder. Check the path.")
