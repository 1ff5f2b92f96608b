"""Faults at a random moment of a run: SIGKILL, signals, a second command, a full disk; and a very long run."""

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time
from typing import List, Tuple

from . import program, stages
from .mutations import pick
from .program import Job, Trial, last_words

# A full disk, in a message that names a file or a folder; or the check before step 1.
DISK_FULL = (
    r"[^.\s]: the disk is full\..* bytes are free\. Free some: the same command then goes on"
    r"|: the checkpoints need .* are free\."
)
TRAINS = re.compile(r"^step \d+/", re.M)  # in what a run prints; before, its memory grows as it builds the graph
_SIGKILL = "SIGKILL at: "
_KILLS = 3
_MOST_RUNS = 20  # half of all signals at random moments come too late on a busy machine
_TOO_LATE = "{} runs, which nearly all ended before their signal".format(_MOST_RUNS)
_SOON_SECS = 0.01  # about as long as saving takes
_SOAK_SECS_A_STEP = 0.1  # several times what a step takes on one core


def killed(job: Job, rng: random.Random, in_stages: bool = False) -> Trial:
    """Three SIGKILLs, each followed by the same command: at random moments, or each soon after a stage has begun.

    A run that ends before its signal is compared as any other, and the next one starts in a new folder.
    """
    whole, folder = job.whole(), job.fresh()
    hits: List[str] = []
    for _ in range(_MOST_RUNS):
        watch, seconds, stage, times = stages.Watch(), rng.uniform(0, job.seconds), "", 0
        if in_stages:
            seconds, stage = rng.expovariate(1 / _SOON_SECS), pick(rng, _stages_of(folder))
            times = rng.randint(1, stages.STAGES[stage].times)
        child = program.Child(job.script, job.flags(output_dir=folder), watch.prepare)
        if stage:
            watch.wait_for(child, stage, times)
        time.sleep(seconds)
        reached = watch.stage()
        child.send(signal.SIGKILL)
        ended = child.end()
        hits += [reached] * (ended.status == -signal.SIGKILL)
        fault = _SIGKILL + ", ".join(hits)
        if ended.status not in (0, -signal.SIGKILL):
            return Trial(fault, "lost: a restart failed", last_words(ended), len(hits))
        if len(hits) == _KILLS:
            return job.finish(folder, fault)._replace(faults=_KILLS)
        if ended.status == 0:
            failure = program.difference(program.outcome(folder), whole)
            if failure:
                return Trial(fault, failure, last_words(ended), len(hits))
            folder = job.fresh()
    return Trial(fault, _TOO_LATE, "{} of {} kills hit".format(len(hits), _KILLS), len(hits))


def _stages_of(folder: str) -> List[str]:
    """The stages that the command of this folder has next."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    runs = stages.ON if any(name.startswith("model.ckpt-") for name in names) else stages.NEW
    if "model.ckpt-{}.index".format(program.STEPS) in names:
        runs = stages.ENDED
    return [name for name, stage in stages.STAGES.items() if runs in stage.runs]


_CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}


def signalled(job: Job, rng: random.Random) -> Trial:
    """SIGTERM or Ctrl-C at a random moment, half of the time a second one shortly after, then the same command.

    A run that ends before its signal is left out.
    """
    job.whole()
    number, twice = pick(rng, sorted(_CODES)), rng.random() < 0.5
    fault = "{}{}".format(signal.Signals(number).name, " twice" * twice)
    for _ in range(_MOST_RUNS):
        folder = job.fresh()
        child = job.start(output_dir=folder)
        time.sleep(rng.uniform(0.2, job.seconds))
        child.send(number)
        if twice:
            time.sleep(rng.uniform(0, 0.05))
            child.send(number)
        ended = child.end()
        if ended.status not in (0, _CODES[number]) or "Traceback" in ended.output:
            return Trial(fault, "exit {}".format(ended.status), last_words(ended))
        if ended.status:
            return job.finish(folder, fault)
    return Trial(fault, _TOO_LATE, last_words(ended), 0)


def raced(job: Job, rng: random.Random) -> Trial:
    """The same command twice on one folder, up to a second apart; at times the first has died and left its lock."""
    job.whole()
    folder, fault = job.fresh(), "a second command"
    if rng.random() < 0.3:
        first = job.start(output_dir=folder)
        time.sleep(rng.uniform(0.2, job.seconds))
        first.send(signal.SIGKILL)
        fault += " after {} one".format("a killed" if first.end().status else "an ended")
    children = [job.start(output_dir=folder)]
    time.sleep(rng.uniform(0, 1) if rng.random() < 0.5 else 0)
    children.append(job.start(output_dir=folder))
    ended = [child.end() for child in children]
    refused = [one for one in ended if one.status]
    for one in refused:
        if one.status != 2 or "Traceback" in one.output or not re.search(r"another (run|process|command)", one.output):
            return Trial(fault, "exit {}".format(one.status), last_words(one))
    if len(refused) == 2:
        return Trial(fault, "both refused", last_words(refused[0]))
    failure = program.difference(program.outcome(folder), job.whole())
    return Trial(fault, failure, last_words(refused[0]) if refused else "one after the other")


def disk_filled(job: Job, rng: random.Random) -> Trial:
    """The disk, one of memory, is full at a random moment but for a few bytes; later there is room again."""
    job.whole()
    disk, left = job.folder("disk"), pick(rng, [0, 100, 5000, 50000])
    fault = "{:,} bytes are left".format(left)
    os.makedirs(disk, exist_ok=True)
    _mount(disk).check_returncode()
    try:
        folder, filler = os.path.join(disk, "run"), os.path.join(disk, "filler")
        child = job.start(output_dir=folder)
        time.sleep(rng.uniform(0, job.seconds))
        with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
            file.write(bytes(max(0, shutil.disk_usage(disk).free - left)))
        ended = child.end()
        os.unlink(filler)
        if ended.status not in (0, 1, 2) or "Traceback" in ended.output:
            return Trial(fault, "exit {}".format(ended.status), last_words(ended))
        if ended.status and not re.search(DISK_FULL, ended.output):
            return Trial(fault, "another message than that of a full disk", last_words(ended))
        trial = job.finish(folder, fault)
        return trial if trial.failure or not ended.status else trial._replace(said=last_words(ended, DISK_FULL))
    finally:
        subprocess.run(["umount", disk], check=True)


def has_room_to_fill() -> str:
    """Why disk_filled cannot run here; "" if it can."""
    with tempfile.TemporaryDirectory() as disk:
        if not shutil.which("mount") or _mount(disk).returncode:  # root of a container may not mount either
            return "mounting a small disk needs root on Linux"
        subprocess.run(["umount", disk], check=True)
    return ""


def _mount(disk: str) -> "subprocess.CompletedProcess[bytes]":
    """Mounts a disk of 64 MiB in memory on a folder."""
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", disk]
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def soaked(job: Job, rng: random.Random, steps: int) -> Trial:
    """A run of very many steps: its memory and its open files stay as they are after a fifth of them."""
    # A constant number of steps: neither the rate nor the scores may end the run early.
    settings = dict(lr_schedule="polynomial", plateau_patience=None, plateau_factor=None, early_stopping_patience=None)
    often, fault = max(1, steps // 100), "{:,} steps".format(steps)
    cadence = dict(eval_every_steps=often, log_every_steps=often, save_checkpoints_steps=2 * often)
    child = job.start(output_dir=job.fresh(), num_train_steps=steps, **settings, **cadence)
    memory: List[int] = []
    handles: List[int] = []
    limit = time.time() + 300 + steps * _SOAK_SECS_A_STEP
    while not child.has_ended() and time.time() < limit:
        try:
            with open("/proc/{}/statm".format(child.pid)) as file:
                resident = int(file.read().split()[1])
            opened = len(os.listdir("/proc/{}/fd".format(child.pid)))
        except (OSError, IndexError):  # it ends now
            break
        if resident and TRAINS.search(child.output()):
            memory.append(resident)
            handles.append(opened)
        time.sleep(0.2)
    ended = child.end(max(60.0, limit - time.time()))
    if ended.status == 2:
        raise RuntimeError("The long run was refused:\n" + ended.output)
    if ended.status:
        return Trial(fault, "exit {}".format(ended.status), last_words(ended), steps)
    grows, said = growth(memory, handles)
    return Trial(fault, said if grows else "", said, steps)


def growth(memory: List[int], handles: List[int]) -> Tuple[bool, str]:
    """(whether memory grows by 1% or files stay open after a fifth of the samples, both in words)."""
    if len(memory) < 20:
        return True, "{} samples are too few".format(len(memory))
    after, end = memory[len(memory) // 5 :], memory[-len(memory) // 10 :]
    more = (sorted(end)[len(end) // 2] / sorted(after)[len(after) // 10]) - 1
    leaks = min(handles[-len(handles) // 10 :]) - max(handles[: len(handles) // 5 + 1])
    return more >= 0.01 or leaks > 0, "memory {:+.2%}, files {:+d}".format(more, leaks)


def cannot_look_inside() -> str:
    """Why soaked cannot run here; "" if it can."""
    return "" if os.path.isdir("/proc/self/fd") else "memory and open files are read from /proc, which Linux has"
