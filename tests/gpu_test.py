"""On a machine with a GPU: two logical ones of a card give the losses and norms of one. Skipped without a GPU."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

from steady_bert.training import devices

pytestmark = pytest.mark.skipif(not devices.gpus(), reason="TensorFlow finds no GPU")

SPLIT = """
import runpy, sys
import tensorflow as tf
card = tf.config.list_physical_devices("GPU")[0]
halves = [tf.config.LogicalDeviceConfiguration(memory_limit=4000) for _ in range(2)]
tf.config.set_logical_device_configuration(card, halves)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_two_logical_gpus_learn_what_one_gpu_learns(tiny, tmp_path):
    """Without dropout, with clipping in force; parts of different lengths, so that the replicas' rows differ."""
    lines = []
    for name, devices_used in (("one", "gpu:0"), ("two", "gpu:0,gpu:1")):
        flags = tiny.flags(
            bert_config_file=tiny.without_dropout,
            output_dir=str(tmp_path / name),
            do_train="true",
            num_train_steps=8,
            log_every_steps=1,
            clip_norm=0.1,
            tf32="false",
            distribution="mirrored",
            devices=devices_used,
        )
        command = [sys.executable, "-c", SPLIT, os.path.join(ROOT, "run_classifier.py")] + flags
        process = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
        assert process.returncode == 0, process.stdout[-3000:]
        with open(str(tmp_path / name / "metrics.jsonl")) as file:
            lines.append([[line["loss"], line["grad_norm"]] for line in map(json.loads, file)])
    assert min(norm for _, norm in lines[0]) > 0.1
    np.testing.assert_allclose(lines[0], lines[1], rtol=1e-4)
