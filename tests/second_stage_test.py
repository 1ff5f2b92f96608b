"""Further training from the weights of a fine-tuned model (a second stage), through the command line."""

import json
import os
import re
import shutil
import signal
import time

import forked
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from conftest import command, mistake, run_main, succeed

STAGE_2 = dict(from_scratch=None, do_train="true", resume_mode="weights", learning_rate=5e-4, num_train_steps=20)


def tensors(folder, step):
    reader = tf.train.load_checkpoint(os.path.join(folder, "model.ckpt-{}".format(step)))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def read_plan(folder):
    with open(os.path.join(folder, "plan.json")) as file:
        return json.load(file)


def losses(folder):
    with open(os.path.join(folder, "metrics.jsonl")) as file:
        return [line["loss"] for line in map(json.loads, file) if line["split"] == "train"]


@pytest.fixture(scope="module")
def first_stage(tiny, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("stages") / "one")
    assert run_main(tiny.flags(output_dir=folder, do_train="true", num_train_steps=30, log_every_steps=5)) == 0
    return folder


def test_stock_continuation_of_a_finished_run_changes_no_bit(first_stage, tiny, capsys):
    before = tensors(first_stage, 30)
    printed = succeed(
        tiny.flags(output_dir=first_stage, do_train="true", num_train_steps=30, log_every_steps=5), capsys
    )
    assert "step 30 of 30 is done" in printed
    after = tensors(first_stage, 30)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_a_stage_starts_from_exactly_the_weights_and_follows_its_own_plan(first_stage, tiny, tmp_path, capsys):
    untouched = str(tmp_path / "rate0")
    flags = dict(STAGE_2, output_dir=untouched, init_checkpoint=first_stage, weight_decay_rate=0.0, num_train_steps=2)
    succeed(tiny.flags(**dict(flags, learning_rate=1e-30)), capsys)
    source, started = tensors(first_stage, 30), tensors(untouched, 2)
    weights = [name for name in source if name + "/adam_m" in source]
    assert weights and all(np.array_equal(source[name], started[name]) for name in weights)
    assert started["global_step"] == 2

    output = str(tmp_path / "two")
    printed = succeed(
        tiny.flags(**dict(STAGE_2, output_dir=output, init_checkpoint=first_stage, log_every_steps=1)), capsys
    )
    assert "Stage 2 beside the stage before:" in printed and "learning_rate: 0.001 → 0.0005" in printed
    assert "Resume: start (a further stage: weights alone, step 0, empty slots)" in printed
    notes = read_plan(output)["notes"]
    assert notes["stage"] == 2 and notes["weights from"].endswith("one/model.ckpt-30")
    assert len(losses(output)) == 20 and np.mean(losses(output)[-5:]) < np.mean(losses(output)[:5])
    third = str(tmp_path / "three")
    succeed(tiny.flags(**dict(STAGE_2, output_dir=third, init_checkpoint=output, num_train_steps=2)), capsys)
    assert read_plan(third)["notes"]["stage"] == 3


def test_a_stage_keeps_its_lineage_and_no_other_run_gets_one(first_stage, tiny, tmp_path, capsys):
    stage = str(tmp_path / "stage")
    flags = dict(STAGE_2, output_dir=stage, init_checkpoint=first_stage, num_train_steps=4)
    flags.update(lr_schedule="constant", num_warmup_steps=1)
    succeed(tiny.flags(**flags), capsys)
    lineage = {name: read_plan(stage)["notes"][name] for name in ("stage", "weights from")}
    succeed(tiny.flags(**dict(flags, resume_mode="auto", num_train_steps=6)), capsys)
    assert lineage.items() <= read_plan(stage)["notes"].items()
    # Continuing a run in another mode does not change its stage.
    other = str(tmp_path / "other")
    succeed(tiny.flags(**dict(flags, resume_mode="auto", output_dir=other)), capsys)
    printed = succeed(tiny.flags(**dict(flags, output_dir=other, num_train_steps=6)), capsys)
    assert "Resume: continue" in printed and "Stage " not in printed and "stage" not in read_plan(other)["notes"]


@pytest.mark.slow
def test_a_stage_that_was_killed_goes_on_with_the_same_command(first_stage, tiny, tmp_path):
    whole, killed = str(tmp_path / "whole"), str(tmp_path / "killed")
    flags = dict(STAGE_2, init_checkpoint=first_stage, save_checkpoints_steps=4, log_every_steps=1, num_train_steps=40)
    assert run_main(tiny.flags(**dict(flags, output_dir=whole))) == 0
    line = command(tiny.flags(**dict(flags, output_dir=killed)))
    process = forked.Program(line, tmp_path / "printed.log", as_built=True)
    while process.poll() is None and "\nstep 9/40" not in process.printed():
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL, process.printed()
    assert run_main(tiny.flags(**dict(flags, output_dir=killed))) == 0
    first, second = tensors(whole, 40), tensors(killed, 40)
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert read_plan(killed)["notes"] == read_plan(whole)["notes"]


def test_what_is_no_stage_is_refused(first_stage, tiny, tmp_path, capsys):
    def said(**changed):
        flags = dict(STAGE_2, output_dir=str(tmp_path / "out"), init_checkpoint=first_stage)
        return mistake(tiny.flags(**dict(flags, **changed)), capsys)

    assert "--resume_mode=weights needs --init_checkpoint" in said(init_checkpoint=None)
    assert "--init_checkpoint is in --output_dir" in said(output_dir=first_stage)
    from bad_input_test import write_without_head

    source = write_without_head(os.path.join(first_stage, "model.ckpt-30"), str(tmp_path / "x.ckpt"))
    assert "has no trained head" in said(init_checkpoint=source)
    shutil.rmtree(str(tmp_path / "out"))
    assert "--resume_mode=exact: --output_dir holds no run" in said(resume_mode="exact")
    shutil.copytree(first_stage, str(tmp_path / "copy"))
    assert "--resume_mode=fresh: --output_dir holds a run at step 30" in said(
        resume_mode="fresh", output_dir=str(tmp_path / "copy")
    )


def test_upstreams_trap_is_refused_and_the_printed_remedy_trains_on(tiny, tmp_path, capsys):
    """Three epochs, then the same command with twice the batch: upstream continues at rate 0, and no weight changes."""
    folder = str(tmp_path / "run")
    flags = dict(output_dir=folder, do_train="true", num_train_steps=None, num_train_epochs=3, log_every_steps=1)
    succeed(tiny.flags(**flags), capsys)  # 200 examples / 16 = 12.5 an epoch → 37 steps
    before = tensors(folder, 37)
    doubled = dict(flags, train_batch_size=32)
    message = mistake(tiny.flags(**doubled), capsys)
    assert "train_batch_size: 16 → 32" in message and "at step 37: lr 0 (the run ends at step 37) → 0" in message
    remedy = re.search(
        r"2.9 epochs of batch 32 end at step 18; this run is at step 37: pass --num_train_epochs=(\d+)", message
    )
    assert remedy, message
    after = tensors(folder, 37)
    assert all(np.array_equal(before[name], after[name]) for name in before)
    epochs = int(remedy.group(1))
    succeed(tiny.flags(**dict(doubled, num_train_epochs=epochs, allow_plan_change="true")), capsys)
    losses_after = losses(folder)
    assert len(losses_after) == int(200 / 32 * epochs) and np.mean(losses_after[-5:]) < np.mean(losses_after[30:37])
    changed = tensors(folder, len(losses_after))
    assert not np.array_equal(changed["output_weights"], before["output_weights"])
