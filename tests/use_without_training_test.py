"""The command that trained, with --do_train=false: it uses the model of its folder, whatever --init_checkpoint says."""

import json
import os
import shutil

import pytest
import tensorflow.compat.v1 as tf
from conftest import mistake, run_main, succeed

from steady_bert.base.errors import UserError
from steady_bert.tasks.classification import job
from steady_bert.tasks.classification.own_text import TextProcessor

STEPS = 3


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("use") / "run")
    assert run_main(tiny.flags(output_dir=folder, do_train="true", num_train_steps=STEPS, seed=7)) == 0
    return folder


@pytest.fixture(scope="module")
def pre_trained(trained, tmp_path_factory):
    """A checkpoint without a head, as published ones are."""
    reader = tf.train.load_checkpoint(os.path.join(trained, "model.ckpt-{}".format(STEPS)))
    with tf.Graph().as_default(), tf.Session() as session:
        for name in reader.get_variable_to_shape_map():
            if name.startswith("bert/") and "/adam_" not in name:
                tf.get_variable(name, initializer=reader.get_tensor(name))
        session.run(tf.global_variables_initializer())
        return tf.train.Saver().save(session, str(tmp_path_factory.mktemp("published") / "bert_model.ckpt"))


def read(folder):
    with open(os.path.join(folder, "predictions.tsv"), encoding="utf-8") as file:
        return file.read()


def command(tiny, folder, **changed):
    values = dict(do_train="false", do_predict="true", output_dir=folder, from_scratch=None, num_train_steps=STEPS)
    return tiny.flags(**dict(values, **changed))


def test_the_folders_model_is_used_in_a_folder_of_ours_and_of_the_originals(
    tiny, trained, pre_trained, tmp_path, capsys
):
    succeed(command(tiny, str(tmp_path / "expected"), model_dir=trained), capsys)
    expected = read(str(tmp_path / "expected"))
    ours, originals = str(tmp_path / "ours"), str(tmp_path / "originals")
    shutil.copytree(trained, ours)
    os.makedirs(originals)
    for name in os.listdir(trained):
        if name.startswith("model.ckpt") or name == "checkpoint":
            shutil.copy(os.path.join(trained, name), originals)
    for folder in (ours, originals):
        changed = dict(init_checkpoint=pre_trained, labels="blame,praise")
        printed = succeed(command(tiny, folder, **changed), capsys)
        assert "--init_checkpoint is not read: {} has a trained model".format(folder) in printed
        assert read(folder) == expected


def test_a_folder_without_a_model_uses_the_initial_checkpoint_if_it_is_trained(
    tiny, trained, pre_trained, tmp_path, capsys
):
    folder = str(tmp_path / "new")
    succeed(command(tiny, folder, init_checkpoint=trained), capsys)
    assert read(folder).startswith("id\t")
    changed = dict(init_checkpoint=pre_trained, labels="blame,praise")
    assert "has no trained head" in mistake(command(tiny, str(tmp_path / "other"), **changed), capsys)


def test_a_step_of_the_run_may_be_named(tiny, trained, tmp_path, capsys):
    folder = str(tmp_path / "run")
    shutil.copytree(trained, folder)
    named = os.path.join(folder, "model.ckpt-{}".format(STEPS))
    printed = succeed(command(tiny, folder, init_checkpoint=named), capsys)
    assert "Model: {} (step {})".format(named, STEPS) in printed and "is not read" not in printed


def test_flags_of_a_tpu_are_accepted_without_one_and_the_plan_says_that_they_are_not_read(tiny, tmp_path, capsys):
    given = dict(iterations_per_loop=1000, num_tpu_cores=8, tpu_zone="z", tpu_name="", master="", gcp_project="p")
    printed = succeed(tiny.flags(output_dir=str(tmp_path / "out"), dry_run="true", **given), capsys)
    assert (
        "not read: --tpu_name, --tpu_zone, --gcp_project, --master, --num_tpu_cores, --iterations_per_loop" in printed
    )
    assert "not read" not in succeed(tiny.flags(output_dir=str(tmp_path / "out"), dry_run="true"), capsys)


def test_a_head_of_several_labels_is_not_read_as_one_of_classes(tmp_path):
    """A folder with labels.json alone, as of a converted model, says nothing that the flag could be compared with."""
    (tmp_path / "labels.json").write_text(json.dumps({"label_type": "multi", "labels": ["a", "b"]}))
    with pytest.raises(UserError, match="trained with label_type=multi, and the command's task has single. Pass --l"):
        job.choose_labels(None, TextProcessor(), {}, str(tmp_path), check_only=False)
    processor = TextProcessor(label_type="multi")
    assert job.choose_labels(None, processor, {}, str(tmp_path), check_only=False) == ["a", "b"]
