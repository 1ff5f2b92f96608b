"""What workers compare before they train together, and what they send each other."""

import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from steady_bert.base.errors import UserError
from steady_bert.training.environment import code_fingerprint
from steady_bert.training.evaluation import SplitOutputs

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def test_the_code_fingerprint_covers_a_module_in_any_folder(tmp_path):
    copy = str(tmp_path / "copy")
    os.mkdir(copy)
    for name in os.listdir(ROOT):
        if name.endswith(".py"):
            shutil.copy(os.path.join(ROOT, name), copy)
    package = os.path.join(copy, "steady_bert")
    shutil.copytree(os.path.join(ROOT, "steady_bert"), package, ignore=shutil.ignore_patterns("__pycache__"))
    assert code_fingerprint(copy) == code_fingerprint()
    folders = [copy] + [folder for folder, _, _ in os.walk(package)]
    assert len(folders) > 7
    fingerprints = {code_fingerprint(copy)}
    for folder in folders:
        with open(os.path.join(folder, "added.py"), "w") as file:
            file.write("ADDED = 1\n")
        fingerprints.add(code_fingerprint(copy))
    assert len(fingerprints) == len(folders) + 1


class Records:
    """Two examples, of three tokens and of one."""

    index = np.array([(3,), (1,)], [("tokens", "<u4")])

    def __len__(self):
        return 2


def test_outputs_of_examples_of_different_lengths_reach_another_worker():
    task = SimpleNamespace(per_token_predictions=("probabilities",))
    padded = np.array([[0.1, 0.2, 0.3], [0.4, 0.0, 0.0]], np.float32)
    sender, receiver = SplitOutputs(task, Records()), SplitOutputs(task, Records())
    sender.add(np.array([0, 1]), np.ones(2), np.ones(2), {"probabilities": padded, "label": np.array([5, 6])})
    receiver.unpack(sender.packed())
    rows = receiver.predictions["probabilities"]
    assert [row.tolist() for row in rows] == [padded[0].tolist(), padded[1, :1].tolist()]
    assert receiver.predictions["label"] == [5, 6]
    with pytest.raises(UserError, match="probabilities are not finite"):
        sender.add(np.array([1]), np.ones(1), np.ones(1), {"probabilities": [np.array([np.nan], np.float32)]})
