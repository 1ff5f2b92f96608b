"""What workers compare before they train together."""

import os
import shutil

from steady_bert.training.workers import code_fingerprint

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
