"""A run started on one TensorFlow continues on another. scripts/test_compat.sh passes the other interpreters."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, copy_as_stopped

OTHERS = [path for path in os.environ.get("STEADY_BERT_OTHER_PYTHONS", "").split(os.pathsep) if path]

pytestmark = pytest.mark.skipif(not OTHERS, reason="STEADY_BERT_OTHER_PYTHONS names no other interpreter")


def losses(python, tiny, folder, steps):
    """Trains up to `steps` on a schedule of 40 steps, if need be on. Returns the losses of all updates of the run."""
    arguments = tiny.flags(
        output_dir=folder,
        do_train="true",
        num_train_steps=steps,
        lr_decay_steps=40,
        num_warmup_steps=4,
        log_every_steps=1,
        save_checkpoints_steps=20,
    )
    process = subprocess.run(
        [python, os.path.join(ROOT, "run_classifier.py")] + arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )
    assert process.returncode == 0, process.stderr
    with open(os.path.join(folder, "metrics.jsonl")) as file:
        return [line["loss"] for line in map(json.loads, file)]


@pytest.mark.parametrize("other", OTHERS)
def test_the_first_20_losses_agree_and_a_checkpoint_continues_either_way(tiny, tmp_path, other):
    folder, back = str(tmp_path / "whole"), str(tmp_path / "back")
    whole = losses(sys.executable, tiny, folder, 40)
    np.testing.assert_allclose(losses(other, tiny, str(tmp_path / "there"), 20), whole[:20], rtol=1e-4)
    np.testing.assert_allclose(losses(sys.executable, tiny, str(tmp_path / "there"), 40), whole, rtol=1e-3)
    copy_as_stopped(folder, 20, back)
    np.testing.assert_allclose(losses(other, tiny, back, 40), whole[20:], rtol=1e-3)
