"""Failures of TensorFlow while it runs: one message for the user, and the traceback in a file of the run's folder."""

import contextlib
import os
import re
from typing import Callable, Iterator, Optional

import tensorflow.compat.v1 as tf

from ..base import disk, program_end
from ..base.errors import RunError
from . import checkpoint, devices
from .job import RunConfig

TRACEBACK_FILE = "failure.txt"
_FAILURES = (tf.errors.OpError, OSError, RecursionError, MemoryError)
# What TensorFlow 2 puts before the reason: the lines of Python that made the failing nodes, and the worker.
_WHERE = re.compile(
    r"\A(?:Graph execution error:\s*(?:Detected at node .*?\nNode: '[^\n]*'\n)*)?(?:From /job:\S+\n)?", re.DOTALL
)
_COMPILER = re.compile(r"xla|jit|libdevice|ptxas|nvvm|nvlink|\bDNN\b|[Cc]ompil")
_OUT_OF_MEMORY = re.compile(r"out of memory|out_of_memory|\bOOM\b|bad_alloc|[Ff]ailed to allocate")


@contextlib.contextmanager
def noting_step(step: Callable[[], int]) -> Iterator[None]:
    """Within it, a failure remembers how many updates were made."""
    try:
        yield
    except _FAILURES as error:
        error.updates = step()  # type: ignore[union-attr]
        raise


@contextlib.contextmanager
def explained(config: RunConfig) -> Iterator[None]:
    """Turns a failure into a RunError, and writes its traceback to the run's folder."""
    try:
        yield
    except BrokenPipeError:  # nobody reads what is printed
        raise
    except _FAILURES as error:
        folder = config.weights.output_dir or os.curdir
        raise RunError("\n".join(filter(None, [_problem(error, config), _remains(folder, error)]))) from error


def _problem(error: BaseException, config: RunConfig) -> str:
    """What happened, and what to do about it."""
    updates: Optional[int] = getattr(error, "updates", None)
    when = "" if updates is None else " at step {:,}, after {:,} updates".format(updates + 1, updates)
    if disk.is_full(error) or isinstance(error, (OSError, RecursionError)):
        return program_end.reason_of(error)
    if is_out_of_memory(error):
        return "Out of memory{}. {}".format(when, _less_memory(config, updates is not None))
    text = str(getattr(error, "message", error)).strip()
    kind = type(error).__name__
    reason = " ".join(_WHERE.sub("", text).split("\n")[0].split())[:500] or "no reason"
    return "TensorFlow failed{} ({}): {}{}".format(when, kind, reason, _without_xla(config, reason))


def _without_xla(config: RunConfig, reason: str) -> str:
    """What to do if XLA cannot compile for this GPU."""
    if devices.compute_form(config.engine) != "compiled" or not _COMPILER.search(reason):
        return ""
    return (
        "\nOn a GPU, XLA compiles the model. If it cannot do so here, --compute_form=plain computes without it, more "
        "slowly (docs/gpu.md)."
    )


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (MemoryError, tf.errors.ResourceExhaustedError)):
        return True
    return _OUT_OF_MEMORY.search(str(error)) is not None


def _less_memory(config: RunConfig, in_training: bool) -> str:
    engine = config.engine
    if not in_training:
        batches = "--eval_batch_size={} and --predict_batch_size={}".format(
            engine.eval_batch_size, engine.predict_batch_size
        )
        return "Lower {}, or --max_seq_length={}.".format(batches, engine.max_seq_length)
    size, parts = config.plan.train_batch_size, engine.gradient_accumulation_steps
    more = next((number for number in range(parts + 1, size + 1) if size % number == 0), None)
    smaller = more and "Compute the batch in smaller parts, with --gradient_accumulation_steps={}, or lower ".format(
        more
    )
    less = "{}--train_batch_size={} or --max_seq_length={}.".format(smaller or "Lower ", size, engine.max_seq_length)
    could_recompute = devices.compute_form(engine) == "compiled" and not engine.recompute
    return less + " --recompute saves memory too." * could_recompute


def _remains(folder: str, error: BaseException) -> str:
    """Where the traceback is, which is written now, and from where the run can go on."""
    lines = []
    if os.path.isdir(folder) and not disk.is_full(error):
        path = program_end.keep_traceback(os.path.join(folder, TRACEBACK_FILE))
        if path is not None:
            lines.append("The traceback is in {}.".format(path))
    steps = checkpoint.steps_in(folder)
    if steps:
        text = (
            "The last checkpoint is {}; the command goes on from it (a changed batch or length: --allow_plan_change)."
        )
        lines.append(text.format(checkpoint.prefix_of(folder, steps[0])))
    return "\n".join(lines)
