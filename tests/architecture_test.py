"""The layers of docs/architecture.md: what may import what, where flags and TensorFlow may be named."""

import ast
import os
import re
import runpy
import subprocess

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

LAYERS = [
    {"errors"},
    {
        "randomness",
        "schedules",
        "tensorflow_setup",
        "tasks.metrics",
        "tasks.tag_schemes",
        "tasks.task",
        "token_layout",
        "training.cluster",
        "training.files",
        "training.permutation",
    },
    {
        "tokenization",
        "modeling",
        "tasks.crf",
        "tasks.entity_scores",
        "tasks.text_files",
        "training.matrix_rate",
        "training.plan",
    },
    {"optimizers", "tasks.heads", "tasks.classification_data", "tasks.model_files", "tasks.tagging_data"},
    {"optimization", "keras_optimizers", "tasks.classification_features", "training.devices", "training.feature_cache"},
    {"tasks.classification", "tasks.tagging", "tasks.upstream_classifier", "training.evaluation"},
    {"training.input_pipeline", "training.checkpoint", "training.data_report", "training.reports"},
    {"training.progress", "training.towers"},
    {"training.estimator_engine", "training.session_engine"},
    {"flags", "training.run"},
    {"configuration"},
    {"run_classifier", "run_ner"},
]
LAYER_OF = {module: number for number, layer in enumerate(LAYERS) for module in layer}
PURE = {
    "errors",
    "schedules",
    "tokenization",
    "tensorflow_setup",
    "tasks.metrics",
    "tasks.task",
    "tasks.classification_data",
    "tasks.entity_scores",
    "tasks.tag_schemes",
    "tasks.tagging_data",
    "tasks.text_files",
    "training.cluster",
    "training.files",
    "training.permutation",
    "training.plan",
}
ENTRY_SCRIPTS = {"run_classifier", "run_ner"}


def path_of(module):
    return os.path.join(ROOT, *module.split(".")) + ".py"


def project_modules():
    found = {name[:-3] for name in os.listdir(ROOT) if name.endswith(".py")}
    for package in ("tasks", "training"):
        names = os.listdir(os.path.join(ROOT, package))
        found |= {"{}.{}".format(package, n[:-3]) for n in names if n.endswith(".py") and n != "__init__.py"}
    return found


def imports_of(module):
    """Every module imported anywhere in the file; `from tasks import heads` counts as tasks.heads."""
    with open(path_of(module), encoding="utf-8") as file:
        tree = ast.parse(file.read())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module)
            found |= {"{}.{}".format(node.module, alias.name) for alias in node.names}
    return found


def test_every_module_has_a_layer():
    assert project_modules() == set(LAYER_OF)


@pytest.mark.parametrize("module", sorted(LAYER_OF))
def test_imports_go_down(module):
    wrong = [name for name in imports_of(module) & set(LAYER_OF) if LAYER_OF[name] >= LAYER_OF[module]]
    assert not wrong


@pytest.mark.parametrize("module", sorted(LAYER_OF))
def test_flags_and_tensorflow_stay_in_their_places(module):
    names = {name.split(".")[0] for name in imports_of(module)}
    assert "absl" not in names or module == "flags"
    assert "flags" not in names or module in ENTRY_SCRIPTS | {"configuration"}
    assert "tensorflow" not in names or module not in PURE


@pytest.mark.parametrize("module", sorted(LAYER_OF))
def test_the_syntax_is_that_of_python_3_7(module):
    with open(path_of(module), encoding="utf-8") as file:
        ast.parse(file.read(), feature_version=(3, 7))


def test_every_test_file_is_collected():
    names = [name for name in os.listdir(os.path.join(ROOT, "tests")) if name.endswith(".py")]
    assert all(name.endswith("_test.py") or name == "conftest.py" for name in names)


def test_tracked_text_names_no_machine():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, stdout=subprocess.PIPE, universal_newlines=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    forbidden = re.compile(r"/(work|root|home)/\w|pypi\.org|pythonhosted|deb\.debian|npmjs|\.\./shared")
    found = []
    for name in listed.stdout.split("\n"):
        path = os.path.join(ROOT, name)
        if name.endswith((".py", ".sh", ".md", ".txt", ".toml", "run")) and os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                found += ["{}:{}".format(name, n) for n, line in enumerate(file, 1) if forbidden.search(line)]
    allowed = (".ci/run:", "tests/architecture_test.py:")
    assert [place for place in found if not place.startswith(allowed)] == []


def test_no_placeholder_is_left():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, stdout=subprocess.PIPE, universal_newlines=True)
    found = []
    for name in listed.stdout.split():
        if name.endswith((".md", ".sh", ".py")) and os.path.exists(os.path.join(ROOT, name)):
            with open(os.path.join(ROOT, name), encoding="utf-8") as file:
                found += ["{}:{}".format(name, n) for n, line in enumerate(file, 1) if re.search("@[A-Z]{2,}@", line)]
    assert found == []


def test_every_planted_bug_has_its_place():
    """scripts/planted_bugs.py plants them, which takes minutes; where the source has moved on it has to follow."""
    bugs = runpy.run_path(os.path.join(ROOT, "scripts", "planted_bugs.py"))["BUGS"]
    for name, bug in bugs.items():
        with open(os.path.join(ROOT, bug.file), encoding="utf-8") as file:
            assert file.read().count(bug.right) == 1, name
