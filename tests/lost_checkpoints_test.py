"""Checkpoints and the best model that were removed, exchanged or never finished: found at the start, and said."""

import errno
import glob
import json
import os
import re
import shutil

import numpy as np
import pytest
from conftest import mistake, run_main, succeed

from steady_bert.base import disk
from steady_bert.base.errors import UserError
from steady_bert.training import checkpoint, checkpoint_files, manifest, run_folder
from steady_bert.training.checkpoint import TrainingState
from steady_bert.training.plan import PlanConfig, make_plan

NOTHING = -np.inf


def save(folder, step, best_step=0, value=None):
    """What a run does at `step`: the best first, if it is the best, then the checkpoint, of which two are kept."""

    def write(path):
        tensors = {"weight": np.full(4, value or step, np.float32), "global_step": np.asarray(step, np.int64)}
        checkpoint.write(path, tensors if "/best/" in path else dict(tensors, **checkpoint.state_tensors(state)))

    state = TrainingState(best_step=best_step, best_score=best_step / 10 if best_step else NOTHING)
    if best_step == step:
        checkpoint.save_best(folder, step, write)
    checkpoint.bring_in(folder, step, write)
    checkpoint.keep_newest(folder, 2, step)


def best_alone(folder, step):
    """An evaluation after which the process is killed before the next checkpoint."""
    tensors = {"weight": np.full(4, step, np.float32), "global_step": np.asarray(step, np.int64)}
    checkpoint.save_best(folder, step, lambda path: checkpoint.write(path, tensors))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A run with checkpoints at 4, 8 and 12, of which the first is gone; the best was made at 4, then at 12."""
    folder = str(tmp_path_factory.mktemp("saved"))
    with manifest.updated(folder, {}):
        pass
    for step, best_step in ((4, 4), (8, 4), (12, 12)):
        save(folder, step, best_step)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, str(tmp_path / "run"))


def files_of(folder, *steps, ending="*"):
    return [path for step in steps for path in glob.glob(checkpoint.prefix_of(folder, step) + "." + ending)]


def remove(paths):
    assert paths
    for path in paths:
        os.unlink(path)


def test_best_holds_what_the_kept_checkpoints_name_and_what_no_checkpoint_names_yet(folder):
    best = checkpoint.best_folder(folder)
    assert checkpoint.steps_in(folder) == [12, 8] and checkpoint.steps_in(best) == [12, 4]
    save(folder, 16, 12)
    assert checkpoint.steps_in(best) == [12]
    for step in (17, 18, 19):
        best_alone(folder, step)
    assert checkpoint.steps_in(best) == [19, 12]
    listed = manifest.listed_checkpoints(folder)
    assert sorted(listed) == ["best/model.ckpt-12", "best/model.ckpt-19", "model.ckpt-12", "model.ckpt-16"]


def test_a_kill_after_the_best_was_saved_leaves_score_step_and_weights_in_agreement(folder):
    """Whether the run goes on from the newest checkpoint or, that one being damaged, from the one before."""
    best_alone(folder, 14)
    assert checkpoint.best_in(folder) == checkpoint.prefix_of(checkpoint.best_folder(folder), 14)
    for damaged, best_step in (((), 12), ((12,), 4)):
        for step in damaged:
            os.truncate(files_of(folder, step, ending="data*")[0], 10)
        prefix, _ = checkpoint.newest_whole(folder)
        state = checkpoint.state_in(prefix)
        assert (state.best_step, state.best_score) == (best_step, best_step / 10)
        assert checkpoint.lost_best(prefix) is None
    checkpoint.discard_best_after(folder, 4)
    assert checkpoint.Reader(checkpoint.best_in(folder)).tensor("weight")[0] == 4


def test_a_best_of_the_same_step_that_its_checkpoint_does_not_name_is_discarded(folder):
    """Saved before an evaluation that a signal cut short; the resumed run was killed after it had saved the best."""
    save(folder, 16, 12)
    best_alone(folder, 16)
    checkpoint.discard_best_after(folder, checkpoint.state_in(checkpoint.prefix_of(folder, 16)).best_step)
    assert checkpoint.steps_in(checkpoint.best_folder(folder)) == [12]


BEST = "best/model.ckpt-12"
DAMAGE = {
    "removed": (lambda folder: shutil.rmtree(os.path.join(folder, "best")), "is gone"),
    "without index": (lambda folder: os.unlink(os.path.join(folder, BEST + ".index")), "is gone"),
    "cut": (lambda folder: os.truncate(os.path.join(folder, BEST + checkpoint.ENDINGS[0]), 3), r"3 bytes, not \d+"),
}


def exchange(folder):
    """Puts another run's weights of the same size in place of the best."""
    other = os.path.join(folder, "other")
    checkpoint.write(other, {"weight": np.full(4, 5, np.float32), "global_step": np.asarray(12, np.int64)})
    for ending in checkpoint.ENDINGS:
        os.replace(other + ending, os.path.join(folder, BEST + ending))


DAMAGE["exchanged"] = (exchange, "its index is not the one")


@pytest.mark.parametrize("how", DAMAGE)
def test_a_best_that_is_not_there_is_found_and_never_replaced(folder, how):
    damage, said = DAMAGE[how]
    damage(folder)
    for which in (None, "best"):
        with pytest.raises(UserError, match="{}: .*{}.*--checkpoint=last".format(BEST, said)):
            checkpoint.resolve(folder, which)
    newest = checkpoint.prefix_of(folder, 12)
    assert checkpoint.resolve(folder, "last") == newest
    with pytest.raises(UserError, match="{}, the best .*{}.*--allow_changed_files=best".format(BEST, said)):
        run_folder.require_best(newest, ("vocab.txt",), True)
    assert checkpoint.state_in(newest).best_step == 12
    run_folder.require_best(newest, ("best",), True)
    assert checkpoint.state_in(newest) == TrainingState()
    assert checkpoint.Reader(newest).tensor("weight")[0] == 12 and checkpoint.damage(newest) is None


def test_a_full_disk_while_the_best_is_forgotten_names_the_checkpoint_which_stays(folder, monkeypatch):
    prefix, before = checkpoint.prefix_of(folder, 12), sorted(os.listdir(folder))

    def write(path, tensors):
        with open(path + ".data-00000-of-00001", "w") as file:
            file.write("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "_write", write)
    with pytest.raises(disk.DiskFullError, match="^{}: the disk is full".format(prefix)):
        checkpoint.forget_best(prefix)
    assert checkpoint.damage(prefix) is None and sorted(os.listdir(folder)) == before


def test_a_folder_of_an_older_version_that_was_killed_goes_on(folder, capsys):
    """It had one best, which could be later than the newest checkpoint, and no checkpoint in the manifest."""
    best_alone(folder, 14)
    remove(files_of(checkpoint.best_folder(folder), 4, 12))
    os.unlink(os.path.join(folder, manifest.FILE))
    with manifest.updated(folder, {}):
        pass
    newest = checkpoint.prefix_of(folder, 12)
    run_folder.require_best(newest, (), True)
    assert "The evaluations that follow choose the best anew" in capsys.readouterr().out
    assert checkpoint.state_in(newest).best_step == 0


def test_a_checkpoint_of_another_run_is_not_continued(folder):
    remove(files_of(folder, 12))
    checkpoint.write(checkpoint.prefix_of(folder, 12), {"weight": np.ones(4, np.float32)})
    prefix, skipped = checkpoint.newest_whole(folder)
    assert prefix == checkpoint.prefix_of(folder, 8) and "model.ckpt-12 is damaged: its data has 16 bytes" in skipped[0]


@pytest.mark.parametrize(
    "ending, without, said",
    [
        ("index", ["manifest.json", "checkpoint"], "model.ckpt-12 has data but no index"),
        ("*", ["manifest.json"], r"model.ckpt-12 is gone \(`checkpoint` names it\)"),
        ("*", ["checkpoint"], r"model.ckpt-12 is gone \(manifest.json lists it\)"),
    ],
)
def test_a_newest_checkpoint_that_is_gone_is_said(folder, capsys, ending, without, said):
    remove(files_of(folder, 12, ending=ending) + [os.path.join(folder, name) for name in without])
    prefix, skipped = checkpoint.newest_whole(folder)
    assert prefix == checkpoint.prefix_of(folder, 8) and len(skipped) == 1
    assert checkpoint.resolve(folder, "last") == prefix
    assert "Step 8 is taken instead" in capsys.readouterr().out
    remove(files_of(folder, 8, ending="*") + files_of(checkpoint.best_folder(folder), 4, 12))
    with pytest.raises(UserError, match=said + r"(.|\n)*model.ckpt-8 |" + said):
        checkpoint.resolve(folder, "last")


# --- what no longer is an empty folder --------------------------------------------------------------------------------


def plan_of(**changed):
    return make_plan(PlanConfig(**dict(dict(num_train_steps=20, save_checkpoints_steps=4), **changed)), 100, {}, {})


def log(folder, step):
    with open(os.path.join(folder, "metrics.jsonl"), "a") as file:
        file.write(json.dumps({"step": step}) + "\n" + '{"step": ')


def left(folder, pointer=False, data=None, best=None, logged=None):
    os.makedirs(folder)
    with manifest.updated(folder, {}):
        pass
    if pointer:
        checkpoint.point_at(checkpoint.prefix_of(folder, 4))
    if data:
        open(checkpoint.prefix_of(folder, data) + checkpoint.ENDINGS[0], "wb").close()
    if best:
        best_alone(folder, best)
    if logged:
        log(folder, logged)


@pytest.mark.parametrize(
    "what, plan, said",
    [
        (dict(pointer=True), plan_of(), "model.ckpt-4 is gone"),
        (dict(data=4, pointer=True), plan_of(), "model.ckpt-4 has data but no index"),
        (dict(data=4), None, "model.ckpt-4 has data but no index"),
        (dict(data=5), plan_of(), "model.ckpt-5 has data but no index"),
        (dict(best=3), None, "best/model.ckpt-3 is there"),
        (dict(best=5), plan_of(), "best/model.ckpt-5 is there"),
        (dict(logged=3), None, "metrics.jsonl goes up to step 3"),
        (dict(logged=5), plan_of(), "metrics.jsonl goes up to step 5"),
        (dict(logged=3), plan_of(num_train_steps=2, num_warmup_steps=0), "metrics.jsonl goes up to step 3"),
        # A run that was killed before its first checkpoint, or while it saved it.
        (dict(), None, None),
        (dict(logged=4), plan_of(), None),
        (dict(data=4, best=4, logged=4), plan_of(), None),
    ],
)
def test_no_run_starts_over_what_is_left_of_another(tmp_path, capsys, what, plan, said):
    folder = str(tmp_path / "run")
    left(folder, **what)
    if said is None:
        run_folder.require_no_lost_run(folder, plan)
        assert bool(what) == ("stopped before its first checkpoint" in capsys.readouterr().out)
    else:
        with pytest.raises(UserError, match=r"none of its checkpoints:\n(.|\n)*{}(.|\n)*Restore".format(said)):
            run_folder.require_no_lost_run(folder, plan)


# --- commands ---------------------------------------------------------------------------------------------------------

FLAGS = dict(do_train="true", do_eval="true", num_train_steps=6, save_checkpoints_steps=4, eval_every_steps=3)


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("lost") / "run")
    assert run_main(tiny.flags(output_dir=folder, **FLAGS)) == 0
    assert len(manifest.listed_checkpoints(folder)) == 3
    return folder


@pytest.fixture
def copied(trained, tmp_path):
    return shutil.copytree(trained, str(tmp_path / "run"), ignore=shutil.ignore_patterns("cache"))


def test_every_command_finds_that_the_best_is_gone(tiny, trained, copied, capsys):
    shutil.rmtree(os.path.join(copied, "best"))
    cache = os.path.join(trained, "cache")
    training = dict(FLAGS, output_dir=copied, cache_dir=cache)
    using = dict(do_predict="true", model_dir=copied, from_scratch=None, output_dir=copied + "2", cache_dir=cache)
    source = dict(training, output_dir=copied + "3", init_checkpoint=copied, from_scratch=None)
    for flags in (training, using):
        assert "is gone" in mistake(tiny.flags(**flags), capsys)
    assert "is gone" in mistake(tiny.flags(**source), capsys)
    assert not os.path.exists(os.path.join(copied + "2", "predictions.tsv"))
    assert "model.ckpt-6 (step 6)" in succeed(tiny.flags(**using, checkpoint="last"), capsys)
    more = dict(training, num_train_steps=9, allow_plan_change="true", allow_changed_files="best")
    assert "step 9/9  dev: accuracy" in succeed(tiny.flags(**more), capsys)
    assert checkpoint_files.home_of(checkpoint.best_in(copied))[1] == "best/model.ckpt-9"


def test_the_plan_knows_the_dev_file_and_an_older_plan_learns_it(tiny, trained, copied, tmp_path, capsys):
    data = shutil.copytree(tiny.data_dir, str(tmp_path / "data"))
    with open(os.path.join(data, "dev.tsv"), "a") as file:
        file.write("r64\tgood\tpraise\n")
    flags = tiny.flags(**dict(FLAGS, output_dir=copied, cache_dir=os.path.join(trained, "cache"), data_dir=data))
    killed_writer = os.path.join(copied, ".predictions.tsv.ab_cd3f9.tmp")
    open(killed_writer, "w").close()
    assert re.search(r"finished .*; changed: dev.source: \w+ → \w+\)", succeed(flags, capsys))
    assert not os.path.exists(killed_writer)
    path = os.path.join(copied, "plan.json")
    with open(path) as file:
        plan = json.load(file)
    assert set(plan["identity"].pop("dev")) == {"source", "max_eval_examples"}
    remove([os.path.join(copied, "manifest.json")] + files_of(copied, 6))
    with open(path, "w") as file:
        json.dump(plan, file)
    printed = succeed(flags, capsys)
    assert "changed" not in printed and "The dev file is used unverified" in printed
    with open(path) as file:
        assert "dev" in json.load(file)["identity"]
    assert len(manifest.listed_checkpoints(copied)) >= 3


def test_a_folder_that_lost_its_checkpoints_is_not_trained_anew(tiny, copied, capsys):
    remove(files_of(copied, 4, 6))
    for mode in ("auto", "exact", "fresh"):
        message = mistake(tiny.flags(**dict(FLAGS, output_dir=copied, resume_mode=mode)), capsys)
        assert "model.ckpt-6 is gone" in message and "Restore them from a copy" in message
