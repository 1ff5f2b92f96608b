"""Each cell of two tables through the command line: how long a run is and at what rates; and what a command does with a
folder that holds no run, an unfinished one or a finished one."""

import json
import os
import re
import shutil

import pytest
from conftest import mistake, run_main, succeed

PEAK = "highest 0.001 at step"

# 200 examples, batches of 16: flags → what the plan says, or the mistake. None takes back the tests' own 60 steps.
PLANNED = [
    (dict(num_train_steps=None), "steps: 200 examples / 16 = 12.5 an epoch × 3 epochs → 37 "),
    (dict(num_train_steps=None, num_train_epochs=2.5), "12.5 an epoch × 2.5 epochs → 31 "),
    (dict(num_train_steps=None, train_batch_size=64), "200 examples / 64 = 3.1 an epoch × 3 epochs → 9 "),
    (dict(num_train_steps=25), "steps: 25 (--num_train_steps) = 2.00 epochs of 200 examples / 16"),
    (dict(), "horizon 60 steps"),
    (
        dict(lr_decay_steps=30, end_learning_rate=1e-5),
        "WARNING: The learning rate is 1e-05 from step 30 to the end at step 60",
    ),
    (dict(lr_decay_steps=118), "0.0005 in the last update; horizon 118 steps"),  # .001 · (1 - 59/118)
    (dict(), "warm-up: 6 steps (0.1 of the horizon)"),
    (dict(lr_decay_steps=100), "warm-up: 10 steps (0.1 of the horizon)"),
    (dict(warmup_proportion=0.5), "warm-up: 30 steps (0.5 of the horizon)"),
    (dict(num_warmup_steps=20), "warm-up: 20 steps (--num_warmup_steps)"),
    (dict(), "--learning_rate=0.001 itself is not reached"),
    (dict(decay_begin="warmup_end"), "learning rate: polynomial, 0 at step 0, " + PEAK + " 6"),
    (dict(lr_schedule="constant"), "learning rate: constant, 0 at step 0, " + PEAK + " 6, 0.001 in the last update"),
    (dict(lr_schedule="cosine", num_warmup_steps=0, lr_decay_steps=118), PEAK + " 0, 0.0005 in the last update"),
    (
        dict(lr_schedule="exponential", num_warmup_steps=0, lr_decay_steps=118, end_learning_rate=1e-5),
        PEAK + " 0, 0.0001 in the last update",  # half of the way from 1e-3 to 1e-5
    ),
    (dict(lr_schedule="inverse_sqrt", num_warmup_steps=15), PEAK + " 15, 0.000504 in the last update"),  # √(15/59)
    (
        dict(
            lr_schedule="piecewise",
            learning_rate=None,
            num_warmup_steps=0,
            lr_boundaries="20,40",
            lr_values="1e-3,4e-4,2e-4",
        ),
        "learning rate: piecewise, 0.001 at step 0, " + PEAK + " 0, 0.0002 in the last update",
    ),
    (
        dict(lr_schedule="plateau", do_eval="true", end_learning_rate=1e-6),
        "× 0.1 after 2 evaluations without a score better by 0.0004, down to 1e-06",
    ),
    (dict(learning_rate=0.02, num_warmup_steps=0), "learning rate: polynomial, 0.02 at step 0"),
    (dict(end_learning_rate=4e-4, num_warmup_steps=0, lr_decay_steps=118), "0.0007 in the last update"),
    (dict(decay_power=2.0, num_warmup_steps=0, lr_decay_steps=118), "0.00025 in the last update"),
    (
        # past the horizon of 20, tf.train.polynomial_decay's next of 40 and 60: 1e-3 · (1 - 59/60)
        dict(decay_cycle="true", num_warmup_steps=0, lr_decay_steps=20),
        "1.67e-05 in the last update",
    ),
    (dict(gradient_accumulation_steps=4), "parts of a batch: 4"),
    (dict(optimizer="radam", learning_rate="auto"), "movement: as far as google-research/bert's adamw at 5e-05"),
    (dict(train_batch_size=8), "steps: 60 (--num_train_steps) = 2.40 epochs of 200 examples / 8"),
]
MISTAKEN = [
    (dict(gradient_accumulation_steps=3), "--train_batch_size=16 does not divide by 3 parts"),
    (dict(num_train_epochs=2), "--num_train_steps and --num_train_epochs were both given"),
    (dict(lr_decay_steps=30), "--lr_decay_steps=30 is shorter than the run"),
    (dict(lr_decay_steps=90, lr_schedule="constant"), "--lr_decay_steps: --lr_schedule=constant does not read it"),
    (
        dict(lr_decay_steps=90, lr_schedule="inverse_sqrt"),
        "--lr_decay_steps: --lr_schedule=inverse_sqrt does not read it",
    ),
    (dict(lr_decay_steps=90, lr_schedule="plateau"), "--lr_decay_steps: --lr_schedule=plateau does not read it"),
    (dict(num_warmup_steps=20, warmup_proportion=0.5), "--num_warmup_steps and --warmup_proportion were both given"),
    (dict(num_warmup_steps=60), "Warm-up of 60 steps (--num_warmup_steps) is not shorter than the run of 60"),
    (dict(warmup_proportion=0.5, lr_decay_steps=120), "Warm-up of 60 steps (0.5 of the horizon) is not shorter"),
    (dict(lr_schedule="piecewise", learning_rate=None), "--lr_schedule=piecewise: give --lr_boundaries"),
    (dict(lr_schedule="plateau"), "--lr_schedule=plateau follows the scores on dev"),
]


@pytest.mark.parametrize("changed, said", PLANNED)
def test_how_long_and_at_what_rates(tiny, tmp_path, capsys, changed, said):
    assert said in succeed(tiny.flags(output_dir=str(tmp_path / "out"), dry_run="true", **changed), capsys)


@pytest.mark.parametrize("changed, said", MISTAKEN)
def test_what_cannot_be_planned_is_refused(tiny, tmp_path, capsys, changed, said):
    assert said in mistake(tiny.flags(output_dir=str(tmp_path / "out"), dry_run="true", **changed), capsys)


RUN = dict(do_train="true", num_train_steps=12, save_checkpoints_steps=5, lr_schedule="constant", num_warmup_steps=2)
REFUSED = "--resume_mode={}: --output_dir holds "


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("table") / "run")
    assert run_main(tiny.flags(output_dir=folder, **RUN)) == 0
    return folder


@pytest.fixture
def folder_of(finished, tmp_path):
    """State → a folder in it."""

    def make(state):
        folder = str(tmp_path / "run")
        if state != "no run":
            shutil.copytree(finished, folder)
            os.unlink(os.path.join(folder, "decisions.jsonl"))
        if state == "unfinished":
            for ending in (".index", ".data-00000-of-00001"):
                os.unlink(os.path.join(folder, "model.ckpt-12" + ending))
        return folder

    return make


def decisions(folder):
    with open(os.path.join(folder, "decisions.jsonl")) as file:
        return [(line["resume_mode"], line["action"], line["reason"]) for line in map(json.loads, file)]


@pytest.mark.parametrize(
    "mode, state, expected",
    [
        ("auto", "no run", ("start", "the folder holds no checkpoint")),
        ("auto", "unfinished", ("continue", "from step 10 of 12")),
        ("auto", "finished", ("finished", "step 12 of 12 is done")),
        ("exact", "no run", REFUSED + "no run to continue"),
        ("exact", "unfinished", ("continue", "from step 10 of 12")),
        ("exact", "finished", ("finished", "step 12 of 12 is done")),
        ("weights", "no run", ("start", "a further stage: weights alone, step 0, empty slots")),
        ("weights", "unfinished", ("continue", "from step 10 of 12")),
        ("weights", "finished", ("finished", "step 12 of 12 is done")),
        ("fresh", "no run", ("start", "the folder holds no checkpoint")),
        ("fresh", "unfinished", REFUSED + "a run at step 10"),
        ("fresh", "finished", REFUSED + "a run at step 12"),
    ],
)
def test_what_a_command_does_with_a_folder(tiny, finished, folder_of, tmp_path, capsys, mode, state, expected):
    if mode == "weights":  # the state is that of a second stage
        if state != "no run":
            return check_second_stage(tiny, finished, tmp_path, capsys, state, expected)
        source = dict(from_scratch=None, init_checkpoint=finished)
    else:
        source = dict(from_scratch="true")
    folder = folder_of(state)
    flags = tiny.flags(output_dir=folder, resume_mode=mode, **dict(RUN, **source))
    if isinstance(expected, str):
        assert expected.format(mode) in mistake(flags, capsys)
        assert not os.path.exists(os.path.join(folder, "decisions.jsonl"))
        return None
    printed = succeed(flags, capsys)
    assert "Resume: {} ({})".format(*expected) in printed
    assert decisions(folder) == [(mode,) + expected]
    trained = re.findall(r"^step (\d+)/12", printed, flags=re.MULTILINE)
    assert bool(trained) == (expected[0] != "finished")
    return None


def check_second_stage(tiny, finished, tmp_path, capsys, state, expected):
    folder = str(tmp_path / "stage")
    flags = tiny.flags(
        output_dir=folder, resume_mode="weights", **dict(RUN, from_scratch=None, init_checkpoint=finished)
    )
    succeed(flags, capsys)
    if state == "unfinished":
        for ending in (".index", ".data-00000-of-00001"):
            os.unlink(os.path.join(folder, "model.ckpt-12" + ending))
    printed = succeed(flags, capsys)
    assert "Resume: {} ({})".format(*expected) in printed
    assert bool(re.findall(r"^step (\d+)/12", printed, flags=re.MULTILINE)) == (expected[0] == "continue")
    assert [line[1] for line in decisions(folder)] == ["start", expected[0]]


def test_a_finished_run_is_evaluated_if_asked_and_goes_on_for_more_steps(tiny, folder_of, capsys):
    folder = folder_of("finished")
    printed = succeed(tiny.flags(output_dir=folder, do_eval="true", **RUN), capsys)
    assert "Resume: finished (step 12 of 12 is done" in printed and "Evaluation of step 12 on 64 examples" in printed
    longer = dict(RUN, num_train_steps=14)
    assert "Resume: continue (from step 12 of 14" in succeed(tiny.flags(output_dir=folder, **longer), capsys)
    # Its warm-up is over, so that of a longer plan, a tenth of more steps, moves no rate.
    longer = dict(RUN, num_train_steps=40, num_warmup_steps=None)
    assert "num_warmup_steps: 2 → 4" in succeed(tiny.flags(output_dir=folder, **longer), capsys)
    # With a horizon the rate would jump: 0 at its end, above 0 in the longer plan.
    other = dict(RUN, num_train_steps=50, lr_schedule="polynomial")
    message = mistake(tiny.flags(output_dir=folder, **other), capsys)
    assert "lr_schedule: constant → polynomial" in message and "at step 40: lr " in message


def test_init_checkpoint_of_a_continued_run_must_be_the_one_recorded(tiny, finished, folder_of, capsys):
    folder = folder_of("unfinished")
    other = tiny.flags(output_dir=folder, **dict(RUN, from_scratch=None, init_checkpoint=finished))
    assert "init_checkpoint: from scratch → sha256 of index " in mistake(other, capsys)
    without = tiny.flags(output_dir=folder, **dict(RUN, from_scratch=None))
    assert "Resume: continue (from step 10 of 12)" in succeed(without, capsys)


def test_a_folder_of_upstreams_goes_on_when_allowed(tiny, folder_of, capsys):
    folder = folder_of("unfinished")
    for name in ("plan.json", "manifest.json"):
        os.unlink(os.path.join(folder, name))
    flags = dict(RUN, from_scratch=None, output_dir=folder)
    assert "but no plan.json (google-research/bert writes none)" in mistake(tiny.flags(**flags), capsys)
    printed = succeed(tiny.flags(allow_plan_change="true", **flags), capsys)
    assert "Resume: continue (from step 10; the folder has no plan, so nothing could be checked)" in printed
