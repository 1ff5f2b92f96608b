"""Copies records and checkpoints to a bucket, where a TPU's machine reads and writes, and brings checkpoints back."""

import contextlib
import hashlib
import os
from typing import Any, Iterator

import tensorflow.compat.v1 as tf

from . import checkpoint
from .engine_config import EngineConfig


def staged_file(config: EngineConfig, path: str) -> str:
    """The path where the machine that computes finds a file: that of a copy in the bucket, if one is configured."""
    if config.bucket is None:
        return path
    target = os.path.join(config.bucket, os.path.basename(path))
    if not (tf.io.gfile.exists(target) and tf.io.gfile.stat(target).length == os.path.getsize(path)):
        tf.io.gfile.makedirs(config.bucket)
        tf.io.gfile.copy(path, target + ".copying", overwrite=True)
        tf.io.gfile.rename(target + ".copying", target, overwrite=True)
    return target


def staged_checkpoint(config: EngineConfig, prefix: str) -> str:
    """Copies a checkpoint to the bucket and gives the copy's prefix; without a bucket, the checkpoint's own.

    The copy's folder holds nothing else, and its name is the run's own, since runs share a bucket.
    """
    if config.bucket is None:
        return prefix
    run = hashlib.sha256(os.path.dirname(os.path.abspath(prefix)).encode("utf-8")).hexdigest()[:16]
    folder = os.path.join(config.bucket, "checkpoints-" + run)
    if tf.io.gfile.exists(folder):
        tf.io.gfile.rmtree(folder)
    tf.io.gfile.makedirs(folder)
    staged = os.path.join(folder, os.path.basename(prefix))
    for ending in checkpoint.ENDINGS:
        tf.io.gfile.copy(prefix + ending, staged + ending)
    with tf.io.gfile.GFile(os.path.join(folder, "checkpoint"), "w") as file:
        file.write(checkpoint.pointer_text(prefix))
    return staged


@contextlib.contextmanager
def briefly_staged(config: EngineConfig, prefix: str) -> Iterator[str]:
    """staged_checkpoint, removed from the bucket at the end, unless a signal ends the process first."""
    staged = staged_checkpoint(config, prefix)
    try:
        yield staged
    finally:
        if config.bucket is not None:
            with contextlib.suppress(tf.errors.OpError):  # the work is done: a leftover does no harm
                tf.io.gfile.rmtree(os.path.dirname(staged))


class CopyingBack(tf.train.CheckpointSaverListener):
    """Copies every checkpoint that Estimator writes in the bucket into the run's own folder."""

    def __init__(self, bucket_folder: str, folder: str, keep: int) -> None:
        self._bucket_folder = bucket_folder
        self._folder = folder
        self._keep = keep

    def after_save(self, session: Any, global_step_value: int) -> None:
        source = checkpoint.prefix_of(self._bucket_folder, global_step_value)

        def copy(temporary: str) -> None:
            for ending in checkpoint.ENDINGS:
                tf.io.gfile.copy(source + ending, temporary + ending, overwrite=True)

        checkpoint.bring_in(self._folder, global_step_value, copy)
        checkpoint.keep_newest(self._folder, checkpoint.kept_in_training(self._keep), global_step_value)
