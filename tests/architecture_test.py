"""The floors of docs/architecture.md: what may import what, and where flags and TensorFlow may be imported."""

import ast
import os
import re
import runpy
import subprocess
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

LAYERS = [
    {"base.compute", "base.deferred_tensorflow", "base.errors", "base.packing", "base.processor"},
    {"base.disk", "base.json_files", "base.machine", "base.progress_bar", "base.tensorflow_setup"},
    {
        "base.files",
        "base.forms",
        "base.html_pages",
        "base.locks",
        "base.lone_sum",
        "base.program_end",
        "base.progress_lines",
        "base.randomness",
        "base.record_frames",
        "base.token_layout",
        "base.word_shift",
        "base.worker_processes",
        "interchange.names",
        "interchange.torch_to_safetensors",
        "loss_scale",
        "row_sums",
        "schedules",
        "serving.settings",
        "tasks.classification.label_cells",
        "tasks.classification.long_texts",
        "tasks.class_weights",
        "tasks.metrics",
        "tasks.questions.scores",
        "tasks.questions.windows",
        "tasks.reading.encodings",
        "tasks.tagging.heads",
        "tasks.tagging.schemes",
        "tasks.task",
        "training.cluster",
        "training.engine_config",
        "training.link_connection",
        "training.link_messages",
        "training.memory",
        "training.permutation",
        "unfreezing",
    },
    {"base.compiled_layer", "base.fast_attention", "interchange.torch_files", "tasks.losses", "training.regularizers"},
    {"base.compiled_pieces", "training.reports"},
    {
        "tokenization",
        "modeling",
        "optimizers",
        "tasks.tagging.crf",
        "tasks.tagging.entity_scores",
        "tasks.tagging.sentences",
        "tasks.tagging.windows",
        "tasks.reading.source",
        "training.matrix_rate",
        "training.plan",
        "training.worker_link",
    },
    {"tasks.questions.answers", "tasks.questions.contexts", "tasks.questions.features"},
    {"tasks.pretraining.corpus", "tasks.pretraining.instances", "tasks.reading.csv_rows", "tasks.reading.json_rows"},
    {"tasks.pretraining.config", "tasks.pretraining.records", "tasks.reading.text_files"},
    {
        "tasks.pretraining.upstream",
        "tasks.questions.squad_files",
        "tasks.tagging.column_check",
        "tasks.tagging.offsets",
        "tasks.tagging.tag_sequences",
    },
    {"tasks.tagging.spans", "tasks.tagging.word_lists"},
    {
        "optimizer_config",
        "training.resume",
        "rule_optimizer",
        "tasks.estimator_loops",
        "tasks.heads",
        "tasks.questions.heads",
        "tasks.classification.processor",
        "tasks.classification.scores",
        "tasks.model_files",
        "tasks.tagging.brat",
        "tasks.tagging.columns",
        "tasks.tagging.exports",
        "tasks.tagging.predictions",
        "tasks.tagging.token_lists",
        "tasks.tagging.word_tables",
    },
    {
        "optimization",
        "optimizer_movement",
        "tasks.tagging.formats",
        "tasks.tagging.layers",
        "tasks.tagging.scores",
        "keras_optimizers",
        "tasks.classification.features",
        "tasks.classification.clue",
        "tasks.classification.glue",
        "tasks.classification.own_text",
        "training.devices",
        "training.environment",
        "training.feature_cache",
        "training.manifest",
        "interchange.configurations",
        "tasks.pretraining.making",
    },
    {"training.run_files", "training.run_status"},
    {
        "comparison.measures",
        "training.job",
        "tasks.classification.registry",
        "tasks.classification.assembly",
        "tasks.questions.assembly",
        "tasks.tagging.assembly",
        "tasks.tagging.tag_lists",
        "tasks.classification.upstream",
        "training.checkpoint_files",
        "training.saver",
        "training.evaluation",
        "training.tracking",
        "interchange.safetensors_files",
        "interchange.tokenizer_files",
    },
    {"tasks.questions.upstream"},
    {
        "tasks.classification.config",
        "tasks.pretraining.training_config",
        "tasks.questions.config",
        "tasks.tagging.config",
        "command_line.training_flags",
    },
    {
        "command_line.pretraining_flags",
        "command_line.question_flags",
        "tasks.pretraining.examples",
        "tasks.pretraining.heads",
    },
    {"tasks.pretraining.assembly", "tasks.pretraining.training_upstream"},
    {
        "interchange.folders",
        "training.input_pipeline",
        "training.checkpoint",
        "training.data_report",
        "training.passes",
    },
    {
        "training.bucket",
        "training.failures",
        "training.progress",
        "training.run_folder",
        "training.towers",
        "training.weights",
        "training.workers",
    },
    {"interchange.hugging_face", "training.estimator_input", "training.updates"},
    {"interchange.activations", "interchange.converted", "interchange.to_safetensors"},
    {"training.estimator_engine", "training.session_engine"},
    {"interchange.in_use", "training.trained_model"},
    {"run_report.calibration", "run_report.charts", "run_report.mistakes"},
    {"run_report.dev_split"},
    {"run_report.contents"},
    {"run_report.page", "watching.standing"},
    {"training.run", "watching.screen"},
    {"tasks.classification.outputs", "tasks.questions.outputs", "tasks.tagging.outputs"},
    {"tasks.classification.job", "tasks.pretraining.job", "tasks.questions.job", "tasks.tagging.job"},
    {"extraction.config"},
    {"command_line.tool_flags"},
    {"command_line.flag_table"},
    {"command_line.help_screens", "command_line.list_flags"},
    {"command_line.model_flag"},
    {"command_line.relations"},
    {"command_line.configuration", "command_line.tool_configuration", "flags"},
    {"search.data_files", "search.folds", "search.processes", "search.pruning", "search.space"},
    {"search.again", "search.fold_tasks", "search.runs", "search.tpe"},
    {"search.record", "search.results"},
    {"search.conduct", "search.figure"},
    {"search.page"},
    {"search.command"},
    {"serving.saved_run"},
    {"diagnosis.facts", "diagnosis.graph_rate"},
    {"diagnosis.heads", "diagnosis.label_files", "diagnosis.rates"},
    {"diagnosis.findings", "diagnosis.tensors"},
    {"diagnosis.folder", "diagnosis.remedies"},
    {"diagnosis.report"},
    {"diagnosis.command"},
    {"serving.answers", "serving.graph"},
    {"serving.encoder"},
    {"serving.predictor"},
    {"extraction.lines"},
    {"extraction.json_lines", "extraction.upstream"},
    {"extraction.outputs"},
    {"extraction.job"},
    {"comparison.resampling", "comparison.sides"},
    {"comparison.compare"},
    {"comparison.text"},
    {"comparison.page"},
    {"export.output_folder"},
    {"export.elsewhere.huggingface", "export.elsewhere.saved_model", "export.elsewhere.tf1", "export.reference"},
    {"export.model_card", "export.proof", "export.saved_model", "export.tf1"},
    {"export.huggingface"},
    {"export.command"},
    {"serving.batching", "serving.messages"},
    {"serving.gate"},
    {"serving.application"},
    {"serving.server"},
    {
        "create_pretraining_data",
        "extract_features",
        "run_classifier",
        "run_ner",
        "run_pretraining",
        "run_squad",
        "serve",
    },
]
LAYER_OF = {module: number for number, layer in enumerate(LAYERS) for module in layer}
PURE = {
    "base.compute",
    "base.disk",
    "base.errors",
    "base.files",
    "base.html_pages",
    "base.json_files",
    "base.locks",
    "base.machine",
    "base.processor",
    "base.program_end",
    "base.progress_bar",
    "base.progress_lines",
    "base.record_frames",
    "base.worker_processes",
    "command_line.configuration",
    "command_line.flag_table",
    "command_line.help_screens",
    "command_line.list_flags",
    "command_line.model_flag",
    "command_line.pretraining_flags",
    "command_line.question_flags",
    "command_line.relations",
    "command_line.tool_configuration",
    "command_line.tool_flags",
    "command_line.training_flags",
    "comparison.compare",
    "comparison.measures",
    "comparison.page",
    "comparison.resampling",
    "comparison.sides",
    "comparison.text",
    "diagnosis.command",
    "diagnosis.facts",
    "diagnosis.findings",
    "diagnosis.folder",
    "diagnosis.graph_rate",
    "diagnosis.heads",
    "diagnosis.label_files",
    "diagnosis.rates",
    "diagnosis.remedies",
    "diagnosis.report",
    "export.output_folder",
    "extraction.config",
    "extraction.json_lines",
    "extraction.lines",
    "extraction.outputs",
    "flags",
    "interchange.configurations",
    "interchange.folders",
    "interchange.names",
    "interchange.safetensors_files",
    "interchange.tokenizer_files",
    "interchange.torch_files",
    "interchange.torch_to_safetensors",
    "optimizer_config",
    "optimizer_movement",
    "optimizers",
    "run_report.calibration",
    "run_report.charts",
    "run_report.contents",
    "run_report.dev_split",
    "run_report.mistakes",
    "run_report.page",
    "schedules",
    "search.again",
    "search.command",
    "search.conduct",
    "search.data_files",
    "search.figure",
    "search.fold_tasks",
    "search.folds",
    "search.page",
    "search.processes",
    "search.pruning",
    "search.record",
    "search.results",
    "search.runs",
    "search.space",
    "search.tpe",
    "serving.settings",
    "tokenization",
    "tasks.class_weights",
    "tasks.metrics",
    "tasks.task",
    "tasks.classification.clue",
    "tasks.classification.glue",
    "tasks.classification.long_texts",
    "tasks.classification.own_text",
    "tasks.classification.processor",
    "tasks.classification.registry",
    "tasks.classification.scores",
    "tasks.classification.config",
    "tasks.classification.label_cells",
    "tasks.model_files",
    "tasks.pretraining.config",
    "tasks.pretraining.training_config",
    "tasks.pretraining.corpus",
    "tasks.pretraining.instances",
    "tasks.pretraining.making",
    "tasks.pretraining.records",
    "tasks.pretraining.upstream",
    "tasks.tagging.config",
    "tasks.tagging.columns",
    "tasks.tagging.formats",
    "tasks.tagging.predictions",
    "tasks.tagging.scores",
    "tasks.tagging.sentences",
    "tasks.tagging.spans",
    "tasks.tagging.tag_lists",
    "tasks.tagging.windows",
    "tasks.tagging.entity_scores",
    "tasks.tagging.heads",
    "tasks.tagging.schemes",
    "tasks.questions.config",
    "tasks.questions.scores",
    "tasks.reading.encodings",
    "tasks.reading.csv_rows",
    "tasks.reading.json_rows",
    "tasks.reading.source",
    "tasks.reading.text_files",
    "training.checkpoint_files",
    "training.cluster",
    "training.engine_config",
    "training.job",
    "training.permutation",
    "training.plan",
    "training.manifest",
    "training.regularizers",
    "training.reports",
    "training.resume",
    "training.run_files",
    "training.run_status",
    "training.tracking",
    "training.environment",
    "watching.screen",
    "watching.standing",
    "unfreezing",
}
ENTRY_SCRIPTS = {
    "create_pretraining_data",
    "extract_features",
    "run_classifier",
    "run_ner",
    "run_pretraining",
    "run_squad",
    "serve",
}
PACKAGE = "steady_bert"


def path_of(module):
    top = os.path.join(ROOT, module + ".py")
    return top if os.path.exists(top) else os.path.join(ROOT, PACKAGE, *module.split(".")) + ".py"


def project_modules():
    """The names of all modules; those in the package are without the package's name."""
    modules = {name[:-3] for name in os.listdir(ROOT) if name.endswith(".py")}
    package = os.path.join(ROOT, PACKAGE)
    for folder, _, names in os.walk(package):
        prefix = os.path.relpath(folder, package).replace(os.sep, ".").replace(".", "", folder == package)
        modules |= {".".join(filter(None, (prefix, n[:-3]))) for n in names if n.endswith(".py") and n != "__init__.py"}
    return modules


def imports_of(module):
    """The modules that a file imports anywhere, by their names in LAYERS: `from .tasks import heads` is tasks.heads."""
    path = path_of(module)
    with open(path, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    folder = os.path.relpath(os.path.dirname(path), ROOT).split(os.sep)
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = folder[: len(folder) + 1 - node.level] if node.level else []
            full = ".".join([name for name in base if name != "."] + ([node.module] if node.module else []))
            names.add(full)
            names |= {"{}.{}".format(full, alias.name) for alias in node.names}
    return {name[len(PACKAGE) + 1 :] if name.startswith(PACKAGE + ".") else name for name in names}


def test_every_module_has_a_layer():
    assert project_modules() == set(LAYER_OF)


@pytest.mark.parametrize("module", sorted(LAYER_OF))
def test_imports_go_down(module):
    wrong = [name for name in imports_of(module) & set(LAYER_OF) if LAYER_OF[name] >= LAYER_OF[module]]
    assert not wrong


@pytest.mark.parametrize("module", sorted(LAYER_OF))
def test_flags_stay_in_their_places(module):
    names = {name.split(".")[0] for name in imports_of(module)}
    assert "absl" not in names or module == "flags"
    assert "flags" not in names or module in ENTRY_SCRIPTS


@pytest.mark.parametrize("module", sorted(PURE))
def test_importing_a_pure_module_imports_no_tensorflow(module):
    """A function may import it when it is called."""
    with open(path_of(module), encoding="utf-8") as file:
        assert not re.search("^(import|from) tensorflow", file.read(), re.MULTILINE)


def test_pure_modules_import_nothing_that_imports_tensorflow():
    names = [os.path.relpath(path_of(name), ROOT)[: -len(".py")].replace(os.sep, ".") for name in sorted(PURE)]
    code = "import sys, importlib\nfor name in {!r}:\n    importlib.import_module(name)\n".format(names)
    code += "    assert 'tensorflow' not in sys.modules, name"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize("module", sorted(LAYER_OF))
def test_the_syntax_is_that_of_python_3_7(module):
    with open(path_of(module), encoding="utf-8") as file:
        ast.parse(file.read(), feature_version=(3, 7))


def test_sessions_say_what_they_take_of_a_gpu():
    """A session without options takes all memory of a GPU. Processes of exports let it grow by their environment."""
    modules = [name for name in sorted(LAYER_OF) if not name.startswith("export.elsewhere")]
    assert "training.checkpoint" in modules
    for module in modules:
        with open(path_of(module), encoding="utf-8") as file:
            assert "Session()" not in file.read(), module


def test_every_test_file_is_collected():
    names = [name for name in os.listdir(os.path.join(ROOT, "tests")) if name.endswith(".py")]
    used_by_tests = {"conftest.py", "forked.py", "imported.py"}
    assert all(name.endswith("_test.py") or name in used_by_tests for name in names)


def test_tracked_text_names_no_machine():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, stdout=subprocess.PIPE, universal_newlines=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    forbidden = re.compile(r"/(work|root|home)/\w|pypi\.org|pythonhosted|deb\.debian|npmjs|\.\./shared")
    places = []
    for name in listed.stdout.split("\n"):
        path = os.path.join(ROOT, name)
        if name.endswith((".py", ".sh", ".md", ".txt", ".toml", "run")) and os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                places += ["{}:{}".format(name, n) for n, line in enumerate(file, 1) if forbidden.search(line)]
    allowed = (".ci/run:", "tests/architecture_test.py:")
    assert [place for place in places if not place.startswith(allowed)] == []


def test_no_placeholder_is_left():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, stdout=subprocess.PIPE, universal_newlines=True)
    places = []
    for name in listed.stdout.split():
        if name.endswith((".md", ".sh", ".py")) and os.path.exists(os.path.join(ROOT, name)):
            with open(os.path.join(ROOT, name), encoding="utf-8") as file:
                places += ["{}:{}".format(name, n) for n, line in enumerate(file, 1) if re.search("@[A-Z]{2,}@", line)]
    assert places == []


def test_every_planted_bug_has_its_place():
    """scripts/planted_bugs.py plants them, in minutes. This test checks that the place of each is in the source."""
    bugs = runpy.run_path(os.path.join(ROOT, "scripts", "planted_bugs.py"))["BUGS"]
    for name, bug in bugs.items():
        with open(os.path.join(ROOT, bug.file), encoding="utf-8") as file:
            assert file.read().count(bug.original) == 1, name
