"""A run that is stopped anywhere and continued by the same command ends in the bits of the uninterrupted run.

Everything with a state is on: dropout, gradient accumulation, RAdam inside Lookahead, averaged weights, plateau, early
stopping, best checkpoint. See scripts/test_slow.sh.
"""

import hashlib
import os
import random
import signal
import subprocess
import time

import forked
import pytest
import tensorflow.compat.v1 as tf
from conftest import command, copy_as_stopped, run_main, start_cheap_sessions, succeed

from steady_bert import rule_optimizer
from steady_bert.optimizers import RULES
from steady_bert.training import checkpoint

pytestmark = pytest.mark.slow

STEPS = 49
# 11 of 49 steps meets every place between two evaluations (4 steps) and between two moves of the slow weights (3).
RESUME_EVERY = int(os.environ.get("STEADY_BERT_RESUME_EVERY", "1"))
RESUMED = range(RESUME_EVERY, STEPS, RESUME_EVERY)
EVERYTHING = dict(
    do_train="true",
    do_eval="true",
    num_train_steps=STEPS,
    gradient_accumulation_steps=2,
    optimizer="radam",
    lookahead_steps=3,
    ema_decay=0.9,
    num_warmup_steps=5,
    lr_schedule="plateau",
    plateau_patience=1,
    plateau_min_delta=0.02,
    plateau_factor=0.5,
    early_stopping_patience=40,
    eval_every_steps=4,
    save_checkpoints_steps=1,
    checkpoint="last",
    log_every_steps=1,
)


def contents(prefix):
    """Name → sha256 of the value, for every variable of a checkpoint."""
    reader = tf.train.load_checkpoint(prefix)
    names = reader.get_variable_to_shape_map()
    return {name: hashlib.sha256(reader.get_tensor(name).tobytes()).hexdigest() for name in names}


def outcome(folder):
    """The results of a finished run: its state, the best weights, the scores."""
    best = checkpoint.best_in(folder)
    with open(os.path.join(folder, "eval_results.json")) as file:
        scores = file.read()
    last = os.path.join(folder, "model.ckpt-{}".format(STEPS))
    return contents(last), os.path.basename(best), contents(best), scores


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory):
    """The folder of an uninterrupted run, with a checkpoint of every step."""
    folder = str(tmp_path_factory.mktemp("whole") / "run")
    assert run_main(tiny.flags(output_dir=folder, keep_checkpoint_max=0, **EVERYTHING)) == 0
    state = outcome(folder)[0]
    assert any(name.endswith("/slow") for name in state) and any(name.endswith("/ema") for name in state)
    reader = tf.train.load_checkpoint(os.path.join(folder, "model.ckpt-{}".format(STEPS)))
    assert reader.get_tensor("training_state/plateau_scale") < 1.0
    return folder


@pytest.mark.parametrize("step", RESUMED)
def test_every_step_can_be_resumed_bitwise(whole, tiny, tmp_path, step):
    """In a fresh graph each time; every eighth, and the last, in a process of its own."""
    folder = str(tmp_path / "run")
    copy_as_stopped(whole, step, folder)
    arguments = tiny.flags(
        output_dir=folder, keep_checkpoint_max=1, cache_dir=os.path.join(whole, "cache"), **EVERYTHING
    )
    if step % 8 and step != RESUMED[-1]:
        assert run_main(arguments) == 0
    else:
        subprocess.run(command(arguments), check=True, stdout=subprocess.DEVNULL)
    assert outcome(folder) == outcome(whole)


KILLS = int(os.environ.get("STEADY_BERT_KILLS", "50"))
SEEDS = min(4, -(-KILLS // 2))
SIGNALS = {signal.SIGKILL: (-9,), signal.SIGTERM: (143,), signal.SIGINT: (130,)}


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_signals_at_random_moments_lose_nothing(whole, tiny, tmp_path, seed):
    """Sends SIGKILLs, SIGTERMs and SIGINTs, over as many runs as needed; every restart works, the last as a command."""
    rng = random.Random(seed)
    sent = dict.fromkeys(SIGNALS, 0)
    finished = 0
    arguments = tiny.flags(keep_checkpoint_max=2, cache_dir=os.path.join(whole, "cache"), **EVERYTHING)
    longest = 6.0
    while sent[signal.SIGKILL] < -(-KILLS // SEEDS):
        folder = str(tmp_path / "run-{}".format(finished))
        number = signal.SIGKILL if rng.random() < 0.7 else rng.choice([signal.SIGTERM, signal.SIGINT])
        started = time.time()
        line = command(arguments + ["--output_dir=" + folder])
        process = forked.Program(line, tmp_path / "printed.log", compiled=True)
        if rng.random() < 0.3:
            time.sleep(rng.uniform(0.0, longest))
        else:  # while it trains
            reached = rng.randint(1, 12)
            while process.poll() is None and process.printed().count("\nstep ") < reached:
                time.sleep(0.01)
            time.sleep(rng.uniform(0.0, 0.1))
        process.send_signal(number)
        assert process.wait() in SIGNALS[number] + (0,), process.printed()
        if process.wait():
            assert "Traceback" not in process.printed()
            sent[number] += 1
        else:
            longest = max(longest, time.time() - started)
            assert outcome(folder) == outcome(whole)
            finished += 1
    subprocess.run(command(arguments + ["--output_dir=" + folder]), check=True, stdout=subprocess.DEVNULL)
    assert outcome(folder) == outcome(whole)
    print("{} signals, {} runs: {}".format(sum(sent.values()), finished + 1, sent))


def test_a_run_that_stops_early_stops_there_from_any_step(tiny, tmp_path, capsys):
    """The count of evaluations without improvement is state: without it a resumed run would train longer."""
    flags = dict(EVERYTHING, early_stopping_patience=3, learning_rate=1e-5, num_warmup_steps=0)
    whole = str(tmp_path / "whole")
    printed = succeed(tiny.flags(output_dir=whole, keep_checkpoint_max=0, **flags), capsys)
    assert "Early stopping: no better accuracy in 3 evaluations" in printed
    stopped = max(checkpoint.steps_in(whole))
    assert stopped < STEPS
    for step in range(stopped - 1, 0, -max(3, RESUME_EVERY)):
        folder = str(tmp_path / "from-{}".format(step))
        copy_as_stopped(whole, step, folder)
        succeed(tiny.flags(output_dir=folder, cache_dir=os.path.join(whole, "cache"), **flags), capsys)
        assert max(checkpoint.steps_in(folder)) == stopped
        last = "model.ckpt-{}".format(stopped)
        assert contents(os.path.join(folder, last)) == contents(os.path.join(whole, last))


@pytest.mark.parametrize("optimizer", sorted(RULES))
def test_every_optimizer_with_every_option_resumes_bitwise(tiny, tmp_path, capsys, monkeypatch, optimizer):
    """The subject is each rule's slots. XLA, which the runs above have, would take longer than all the rest."""
    monkeypatch.setattr(rule_optimizer, "_can_compile", lambda variables: False)
    start_cheap_sessions(monkeypatch)
    flags = dict(
        do_train="true",
        num_train_steps=8,
        optimizer=optimizer,
        lookahead_steps=3,
        lookahead_alpha=0.4,
        ema_decay=0.9,
        weight_decay_rate=0.1,
        no_decay_patterns="bias",
        clip_norm=0.5,
        lr_multipliers="output_=2",
        layerwise_lr_decay=0.9,
        freeze="position_embeddings",
        save_checkpoints_steps=4,
        log_every_steps=1,
    )
    whole, resumed = str(tmp_path / "whole"), str(tmp_path / "resumed")
    succeed(tiny.flags(output_dir=whole, **flags), capsys)
    copy_as_stopped(whole, 4, resumed)
    assert "from step 4 of 8" in succeed(tiny.flags(output_dir=resumed, **flags), capsys)
    first, last = (contents(os.path.join(whole, "model.ckpt-{}".format(step))) for step in (4, 8))
    assert contents(os.path.join(resumed, "model.ckpt-8")) == last
    changed = {name for name in first if first[name] != last[name]}
    assert {"output_weights", "output_weights/slow", "output_weights/ema"} <= changed
    assert not any("position_embeddings" in name for name in changed)
