"""Faults at a random moment of a run: SIGKILL, signals, a second command, a full disk; and a very long run."""

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import time
from typing import List

from . import program
from .program import Job, Trial, last_words


def killed(job: Job, rng: random.Random) -> Trial:
    """Three SIGKILLs at random moments, each followed by the same command."""
    job.whole()
    folder, hits = job.fresh(), 0
    for _ in range(3):
        child = job.start(output_dir=folder)
        time.sleep(rng.uniform(0, job.seconds))
        child.send(signal.SIGKILL)
        ended = child.end()
        if ended.status not in (0, -signal.SIGKILL):
            return Trial("SIGKILL", "lost: a restart failed", last_words(ended), hits + 1, 1)
        hits += ended.status != 0
    trial = job.finish(folder, "SIGKILL")
    return trial._replace(faults=hits, failures=int(bool(trial.failure)))


_CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}


def signalled(job: Job, rng: random.Random) -> Trial:
    """SIGTERM or Ctrl-C at a random moment, half of the time a second one shortly after, then the same command."""
    job.whole()
    folder, number = job.fresh(), program.pick(rng, sorted(_CODES))
    twice = rng.random() < 0.5
    fault = "{}{}".format(signal.Signals(number).name, " twice" * twice)
    child = job.start(output_dir=folder)
    time.sleep(rng.uniform(0.2, job.seconds))
    child.send(number)
    if twice:
        time.sleep(rng.uniform(0, 0.05))
        child.send(number)
    ended = child.end()
    if ended.status not in (0, _CODES[number]) or "Traceback" in ended.output:
        return Trial(fault, "exit {}".format(ended.status), last_words(ended))
    return job.finish(folder, fault)


def raced(job: Job, rng: random.Random) -> Trial:
    """The same command twice on one folder, up to a second apart; at times the first has died and left its lock."""
    job.whole()
    folder, fault = job.fresh(), "a second command"
    if rng.random() < 0.3:
        fault += " after a killed one"
        first = job.start(output_dir=folder)
        time.sleep(rng.uniform(0.2, job.seconds))
        first.send(signal.SIGKILL)
        first.end()
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
    disk, left = job.folder("disk"), program.pick(rng, [0, 100, 5000, 50000])
    fault = "{:,} bytes are left".format(left)
    os.makedirs(disk, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", disk], check=True)
    try:
        folder, filler = os.path.join(disk, "run"), os.path.join(disk, "filler")
        child = job.start(output_dir=folder)
        time.sleep(rng.uniform(0, job.seconds))
        with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
            file.write(bytes(max(0, shutil.disk_usage(disk).free - left)))
        ended = child.end()
        os.unlink(filler)
        words = r"the disk is full|bytes are free|are free"
        if ended.status not in (0, 1, 2) or "Traceback" in ended.output:
            return Trial(fault, "exit {}".format(ended.status), last_words(ended))
        if ended.status and not re.search(words, ended.output):
            return Trial(fault, "another message than that of a full disk", last_words(ended))
        trial = job.finish(folder, fault)
        return trial if trial.failure or not ended.status else trial._replace(said=last_words(ended, words))
    finally:
        subprocess.run(["umount", disk], check=True)


def has_room_to_fill() -> str:
    """Why disk_filled cannot run here; "" if it can."""
    return "" if os.geteuid() == 0 and shutil.which("mount") else "mounting a small disk needs root on Linux"


def soaked(job: Job, rng: random.Random, steps: int) -> Trial:
    """A run of very many steps: its memory and its open files stay as they are after a fifth of them."""
    changed = dict(num_train_steps=steps, eval_every_steps=max(1, steps // 100), save_checkpoints_steps=steps // 50)
    child = job.start(output_dir=job.fresh(), lr_schedule="polynomial", log_every_steps=steps // 100, **changed)
    memory: List[int] = []
    handles: List[int] = []
    while not child.has_ended():
        try:
            with open("/proc/{}/statm".format(child.pid)) as file:
                resident = int(file.read().split()[1])
            opened = len(os.listdir("/proc/{}/fd".format(child.pid)))
        except (OSError, IndexError):
            break
        if resident and "step " in child.output():
            memory.append(resident)
            handles.append(opened)
        time.sleep(0.2)
    ended = child.end(36000)
    fault = "{:,} steps".format(steps)
    if ended.status:
        return Trial(fault, "exit {}".format(ended.status), last_words(ended), steps, 1)
    after, end = memory[len(memory) // 5 :], memory[-len(memory) // 10 :]
    growth = (sorted(end)[len(end) // 2] / sorted(after)[len(after) // 10]) - 1
    leaks = sorted(handles[-len(handles) // 10 :])[0] - max(handles[: len(handles) // 5 + 1])
    said = "memory {:+.2%}, files {:+d}".format(growth, leaks)
    return Trial(fault, said if growth >= 0.01 or leaks > 0 else "", said, steps, int(growth >= 0.01 or leaks > 0))
