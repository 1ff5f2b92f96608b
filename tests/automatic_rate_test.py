"""--learning_rate=auto: the number that it becomes, in the plan, in flags.txt, and when a run goes on."""

import hashlib
import json
import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from conftest import copy_as_stopped, mistake, run_main, succeed

STEPS = 12
RUN = dict(do_train="true", optimizer="radam", num_train_steps=STEPS, save_checkpoints_steps=1, learning_rate="auto")


def plan_in(folder):
    with open(os.path.join(folder, "plan.json")) as file:
        return json.load(file)


def weights(folder):
    reader = tf.train.load_checkpoint(os.path.join(folder, "model.ckpt-{}".format(STEPS)))
    names = sorted(reader.get_variable_to_shape_map())
    return {name: hashlib.sha256(np.asarray(reader.get_tensor(name)).tobytes()).hexdigest() for name in names}


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("auto") / "run")
    assert run_main(tiny.flags(output_dir=folder, keep_checkpoint_max=0, **RUN)) == 0
    return folder


def test_the_folder_holds_the_number(whole):
    rate = plan_in(whole)["learning_rate"]
    assert 5e-4 < rate < 5e-2
    with open(os.path.join(whole, "flags.txt")) as file:
        flags = file.read().split("\n")
    assert "--learning_rate={!r}".format(rate) in flags and "--learning_rate=auto" not in flags
    with open(os.path.join(whole, "config.json")) as file:
        assert json.load(file)["run"]["plan"]["learning_rate"] == rate


def test_a_run_that_was_interrupted_ends_in_the_same_bits(whole, tiny, tmp_path, capsys):
    folder, number = str(tmp_path / "run"), plan_in(whole)["learning_rate"]
    copy_as_stopped(whole, 7, folder)
    assert run_main(tiny.flags(output_dir=folder, **RUN)) == 0
    assert weights(folder) == weights(whole) and plan_in(folder)["learning_rate"] == number
    with_number = tiny.flags(output_dir=folder, **dict(RUN, learning_rate=number))
    assert "step 12 of 12 is done" in succeed(with_number, capsys)


def test_a_run_that_goes_on_keeps_its_number(whole, tiny, tmp_path, capsys):
    """The number of a longer run would be another: that it is not asked for anew is what lets the run be lengthened."""
    folder = str(tmp_path / "run")
    copy_as_stopped(whole, 7, folder)
    more = dict(RUN, num_train_steps=STEPS + 3, lr_decay_steps=STEPS + 3)
    refused = mistake(tiny.flags(output_dir=folder, **more), capsys)
    assert "lr_decay_steps: 12 → 15" in refused and "learning_rate:" not in refused
    planned = succeed(tiny.flags(output_dir=folder, dry_run="true", **more), capsys)
    assert "--learning_rate=auto: {:g}, as the run in the folder has".format(plan_in(whole)["learning_rate"]) in planned


def test_what_has_no_rate_is_refused(tiny, tmp_path, capsys):
    short = dict(RUN, num_train_steps=5, output_dir=str(tmp_path / "run"))
    assert "radam moves nothing in 5 updates" in mistake(tiny.flags(**short), capsys)
    assert "moves the weights 0 × as far" in succeed(
        tiny.flags(**dict(short, learning_rate=0.1, dry_run="true")), capsys
    )
    assert "learning_rate" in mistake(tiny.flags(**dict(short, learning_rate="automatic")), capsys)
