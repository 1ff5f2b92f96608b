"""A small task that a tiny BERT learns in seconds, and the command line run as a user runs it."""

import ast
import fcntl
import functools
import html.parser
import importlib
import json
import os
import pathlib
import pty
import random
import shutil
import struct
import subprocess
import sys
import termios
from typing import Any, List, NamedTuple, Set

import hypothesis
import pytest
from absl.testing import flagsaver

# No case fails because it takes long. In CI the cases are the same each time, so a failure there can be repeated here.
hypothesis.settings.register_profile(
    "steady",
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("steady")

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WORDS = ["alpha", "beta", "gamma", "delta", "eps", "zeta", "eta", "theta", "iota", "kappa"]
GOOD, BAD = ["good", "fine", "nice"], ["bad", "poor", "sad"]


# Without TensorFlow, but run on Python 3.7 too: it differs in Unicode, csv files and dataclasses.
DEPENDS_ON_PYTHON = {"classification_data_test.py", "plan_test.py", "reading_test.py", "tokenization_test.py"}
# They run the program, but their subject is messages, flags, files, folders and scores, the same on 2.15 as on 2.21;
# 1.15 has Python 3.7.
MESSAGES = {
    "automatic_rate_test.py",
    "bad_input_test.py",
    "bounds_test.py",
    "classification_scores_test.py",
    "convert_checkpoint_test.py",
    "data_report_test.py",
    "failures_test.py",
    "flags_test.py",
    "hugging_face_folders_test.py",
    "json_files_test.py",
    "labels_of_own_data_test.py",
    "long_texts_test.py",
    "lost_checkpoints_test.py",
    "manifest_test.py",
    "model_flag_test.py",
    "own_data_test.py",
    "progress_test.py",
    "second_stage_test.py",
    "serve_test.py",
    "serving_batches_test.py",
    "tagging_exports_test.py",
    "tracking_test.py",
    "use_without_training_test.py",
}
# The same on Python 3.7 too: what they read, train and write is in other files' tests there.
ON_ONE_TENSORFLOW = {
    "clue_test.py",
    "command_line_tables_test.py",
    "docs_commands_test.py",
    "glue_test.py",
    "serve_page_test.py",
    "tool_flags_test.py",
}
RUNS_THE_PROGRAM = {"conftest." + name for name in ("ROOT", "command", "mistake", "run_main", "succeed")}


@functools.lru_cache(maxsize=None)
def _imports(path: str) -> Set[str]:
    """The modules that a file imports, wherever in the file, and the names that it takes from them."""
    with open(path, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    folders = [name for name in os.path.relpath(os.path.dirname(path), ROOT).split(os.sep) if name != "."]
    names: Set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = folders[: len(folders) + 1 - node.level] if node.level else []
            module = ".".join(parents + ([node.module] if node.module else []))
            names |= {module} | {"{}.{}".format(module, alias.name) for alias in node.names}
    return names


def _needs_tensorflow(path: str) -> bool:
    """Whether a test file runs the program or imports TensorFlow, itself or through modules of the project."""
    seen: Set[str] = set()
    files = [path]
    while files:
        new = _imports(files.pop()) - seen
        seen |= new
        if new & RUNS_THE_PROGRAM or any(name.split(".")[0] == "tensorflow" for name in new):
            return True
        for name in new - {"conftest"}:
            modules = (os.path.join(ROOT, folder, *name.split(".")) + ".py" for folder in ("", "tests", "scripts"))
            files += [module for module in modules if os.path.exists(module)]
    return False


@pytest.hookimpl(tryfirst=True)  # before pytest selects by marks
def pytest_collection_modifyitems(items: List[pytest.Item]) -> None:
    """Marks the tests that TensorFlow's version cannot matter to, and puts the quick files first."""
    order = {}
    for path in {str(item.fspath) for item in items}:
        needed = _needs_tensorflow(path)
        order[path] = needed + bool(_imports(path) & RUNS_THE_PROGRAM)
        name = os.path.basename(path)
        left_out = name in MESSAGES or not needed
        on_python = sys.version_info >= (3, 8) or name not in MESSAGES | DEPENDS_ON_PYTHON
        if name in ON_ONE_TENSORFLOW or left_out and on_python:
            for item in items:
                if str(item.fspath) == path:
                    item.add_marker("without_tensorflow")
    # The longest tests have a limit of their own. They come first, so that no process is the only one at the end.
    items.sort(key=lambda item: (item.get_closest_marker("timeout") is None, order[str(item.fspath)]))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Notes what each test took in the file STEADY_BERT_DURATIONS, of which .ci/run shows the slowest."""
    path = os.environ.get("STEADY_BERT_DURATIONS")
    if path and "PYTEST_XDIST_WORKER" not in os.environ and report.duration >= 1:
        with open(path, "a", encoding="utf-8") as file:
            line = "{:6.1f} s  {}  {} ({})\n"
            file.write(line.format(report.duration, os.path.basename(sys.prefix), report.nodeid, report.when))


# Files whose subject is not the update of weights. Compiling it is 2 of the 5 seconds of a small run.
PLAIN_UPDATES = {
    "automatic_rate_test",
    "bad_input_test",
    "classification_scores_test",
    "clue_test",
    "command_line_tables_test",
    "convert_checkpoint_test",
    "crf_test",
    "doctor_folders_test",
    "drop_in_test",
    "estimator_engine_test",
    "export_model_test",
    "extract_features_test",
    "failures_test",
    "glue_test",
    "hugging_face_folders_test",
    "input_pipeline_test",
    "long_texts_test",
    "lost_checkpoints_test",
    "manifest_test",
    "model_flag_test",
    "modeling_test",
    "multi_worker_test",  # but for one pair of workers
    "own_data_test",
    "regularizers_test",
    "run_classifier_test",  # its command lines in processes of their own are compiled
    "run_ner_test",
    "run_pretraining_test",
    "run_squad_test",
    "second_stage_test",
    "serve_test",
    "serving_test",
    "session_engine_test",
    "tagging_exports_test",
    "tagging_test",
    "tensor_parts_test",
    "use_without_training_test",
}


# In these sessions run graphs as they were built, and their threads sleep where they would spin until there is work
# again: a fifth of a small run's time. The files of whole programs run graphs as TensorFlow rewrites them.
GRAPHS_AS_BUILT = {
    "classification_scores_test",
    "clue_test",
    "command_line_tables_test",
    "convert_checkpoint_test",
    "crf_test",
    "doctor_folders_test",
    "drop_in_test",
    "estimator_engine_test",
    "extract_features_test",
    "failures_test",
    "flag_effects_test",
    "glue_test",
    "hugging_face_folders_test",
    "input_pipeline_test",
    "long_texts_test",
    "model_flag_test",
    "optimizers_test",
    "own_data_test",
    "regularizers_test",
    "second_stage_test",
    "serving_test",
    "session_engine_test",
    "tagging_test",
    "tensor_parts_test",
}


def start_cheap_sessions(patch: pytest.MonkeyPatch) -> None:
    """Does what GRAPHS_AS_BUILT says."""
    from tensorflow.python.client import session  # no public module has the class behind all sessions
    from tensorflow.python.eager import context

    def start(self, target="", graph=None, config=None, start=session.BaseSession.__init__):
        options = type(context.context().config)()
        options.CopyFrom(context.context().config if config is None else config)
        options.graph_options.rewrite_options.disable_meta_optimizer = True
        options.experimental.disable_thread_spinning = True
        start(self, target, graph, options)

    patch.setattr(session.BaseSession, "__init__", start)


@pytest.fixture
def graphs_as_built(monkeypatch):
    """Does it for a test of a file that is not among GRAPHS_AS_BUILT."""
    start_cheap_sessions(monkeypatch)


@pytest.fixture(scope="module", autouse=True)
def cheap_runs(request):
    """Leaves out of all runs of a file, in pytest's own process, what is not its subject."""
    name = request.module.__name__
    with pytest.MonkeyPatch.context() as patch:
        if name in PLAIN_UPDATES:
            from steady_bert import rule_optimizer

            patch.setattr(rule_optimizer, "_can_compile", lambda variables: False)
        # A test in a process of its own is a slow one, which runs as for a user.
        if name in GRAPHS_AS_BUILT and "STEADY_BERT_TEST_IN_OWN_PROCESS" not in os.environ:
            import tensorflow.compat.v1 as tf

            if not tf.__version__.startswith("2.15.") or name == "estimator_engine_test":  # others were not tried there
                start_cheap_sessions(patch)
        yield


class Tiny(NamedTuple):
    """Files of the small task. Each text has one word of praise or blame, which decides its label."""

    data_dir: str
    vocab_file: str
    bert_config_file: str  # one layer: most of a test's time goes into building graphs
    without_dropout: str  # the same configuration with both dropouts 0
    two_layers: str  # without dropout, for tests that need more than one layer

    def flags(self, **changed: object) -> List[str]:
        values = dict(
            task_name="text",
            data_dir=self.data_dir,
            vocab_file=self.vocab_file,
            bert_config_file=self.bert_config_file,
            max_seq_length=16,
            train_batch_size=16,
            eval_batch_size=32,
            learning_rate=1e-3,
            num_train_steps=60,
            from_scratch="true",
        )
        values.update(changed)
        return ["--{}={}".format(name, value) for name, value in values.items() if value is not None]


def _rows(count: int, seed: int, labelled: bool = True) -> List[str]:
    rng = random.Random(seed)
    rows = ["id\ttext\tlabel" if labelled else "id\ttext"]
    for number in range(count):
        praise = rng.random() < 0.5
        words = rng.choices(WORDS, k=rng.randint(2, 9))
        words.insert(rng.randint(0, len(words)), rng.choice(GOOD if praise else BAD))
        row = ["r{}".format(number), " ".join(words)] + (["praise" if praise else "blame"] if labelled else [])
        rows.append("\t".join(row))
    return rows


def make_tiny(folder: str) -> Tiny:
    """Writes the files of the small task into an empty folder; scripts/reliability.py learns it too."""
    config = dict(
        vocab_size=40,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        hidden_act="gelu",
        hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.1,
        max_position_embeddings=32,
        type_vocab_size=2,
        initializer_range=0.1,
    )
    without_dropout = dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    two_layers = dict(without_dropout, num_hidden_layers=2)
    paths = []
    for name, changed in (
        ("bert_config", {}),
        ("without_dropout", without_dropout),
        ("two_layers", two_layers),
    ):
        paths.append(os.path.join(folder, name + ".json"))
        with open(paths[-1], "w") as file:
            json.dump(dict(config, **changed), file)
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + WORDS + GOOD + BAD
    contents = {"vocab.txt": vocab}
    for name, rows in (("train", _rows(200, 1)), ("dev", _rows(64, 2)), ("test", _rows(30, 3, labelled=False))):
        contents["data/{}.tsv".format(name)] = rows
    os.mkdir(os.path.join(folder, "data"))
    for name, lines in contents.items():
        with open(os.path.join(folder, name), "w") as file:
            file.write("\n".join(lines) + "\n")
    return Tiny(os.path.join(folder, "data"), os.path.join(folder, "vocab.txt"), *paths)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Tiny:
    return make_tiny(str(tmp_path_factory.mktemp("tiny")))


def command(arguments: List[str], script: str = "run_classifier") -> List[str]:
    return [sys.executable, os.path.join(ROOT, script + ".py")] + arguments


class Terminal:
    """Standard output and error on a terminal of so many columns. Make it in the test: pytest sets both before."""

    def __init__(self, monkeypatch, columns, kind="xterm"):
        self._master, self._slave = pty.openpty()
        self.resize(columns)
        monkeypatch.setenv("TERM", kind)
        for name in ("stdout", "stderr"):
            stream = os.fdopen(os.dup(self._slave), "w", 1, encoding="utf-8")
            monkeypatch.setattr(sys, name, stream)

    def resize(self, columns):
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24 if columns else 0, columns, 0, 0))

    def lines(self):
        """What the terminal shows of what was written since."""
        os.write(self._slave, b"\0")
        text = b""
        while not text.endswith(b"\0"):
            text += os.read(self._master, 1 << 16)
        lines = text[:-1].decode("utf-8").replace("\r\n", "\n").split("\n")
        return [line.split("\r\x1b[K")[-1].split("\r")[-1] for line in lines]


def train_sentencepiece(path: str, lines: List[str], **options: object) -> str:
    """Makes a small SentencePiece model, in a new process: its trainer and TensorFlow 1.15 crash in one process."""
    values = dict(vocab_size=40, hard_vocab_limit=False, pad_id=0, unk_id=1, bos_id=-1, eos_id=-1, minloglevel=2)
    values.update(options)
    code = (
        "import json, sys, sentencepiece; path, lines, values = json.load(sys.stdin);"
        "train = sentencepiece.SentencePieceTrainer.train;"
        "train(sentence_iterator=iter(lines), model_writer=open(path, 'wb'), **values)"
    )
    subprocess.run([sys.executable, "-c", code], input=json.dumps([path, lines, values]).encode(), check=True)
    return path


def run_main(arguments: List[str], script: str = "run_classifier") -> int:
    """Runs the command line in this process, which saves the start of another one. Returns the exit code."""
    import flags

    module = importlib.import_module(script)
    flags.register(script)  # before, for restoring would take them away
    saved = flagsaver.save_flag_values()
    try:
        with pytest.raises(SystemExit) as exit:
            flags.run(script, module.main, [script + ".py"] + arguments, "")
    finally:
        flagsaver.restore_flag_values(saved)
    return exit.value.code


def mistake(arguments: List[str], capsys, script: str = "run_classifier") -> str:
    """Runs a command line with a user's mistake, which must exit 2. Returns its message."""
    code = run_main(arguments, script)
    captured = capsys.readouterr()
    assert code == 2, captured
    return captured.err


def succeed(arguments: List[str], capsys, script: str = "run_classifier") -> str:
    """Runs a command line that must exit 0. Returns what it prints."""
    code = run_main(arguments, script)
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return captured.out


def evaluated_examples(model: str, output: str = "") -> List[Any]:
    """The examples of eval_predictions.jsonl, once they are seen to have the scores of eval_results.json.

    output: the folder of the evaluation, if it is not the model's.
    """
    from steady_bert.comparison import measures
    from steady_bert.training import run_files

    results = json.loads((pathlib.Path(output or model) / "eval_results.json").read_text(encoding="utf-8"))
    labels = run_files.labels_of(model)
    assert labels is not None
    examples = run_files.read_evaluated(os.path.join(output or model, "eval_predictions.jsonl"))
    for name, counted in measures.KINDS[labels.kind](examples, labels.labels).metrics.items():
        if name in results:
            assert counted.value(counted.counts.sum(axis=0)) == pytest.approx(results[name], abs=1e-6), name
    assert len(examples) == results["examples"]
    return examples


class Page(NamedTuple):
    """What a page holds: its elements in order, its text, and the rows of cells in its tables."""

    tags: List[str]
    text: str
    rows: List[List[str]]


class _PageParser(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: List[str] = []
        self.open: List[str] = []
        self.texts: List[str] = []
        self.rows: List[List[str]] = []

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        self.tags.append(tag)
        assert not any(name.startswith("on") or name in ("src", "srcset") for name, _ in attributes), attributes
        assert tag != "link" or ("href", "data:,") in attributes
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attributes: Any) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.texts.append(data)
        if self.rows and self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def parsed_page(folder: str) -> Page:
    """The report.html of a run's folder, once it is seen to be well formed and to need nothing from elsewhere."""
    content = (pathlib.Path(folder) / "report.html").read_text(encoding="utf-8")
    parser = _PageParser()
    parser.feed(content)
    parser.close()
    assert parser.open == [] and content.startswith("<!doctype html>")
    style = content[content.index("<style>") : content.index("</style>")]
    assert "@import" not in style and "url(" not in style
    return Page(parser.tags, "".join(parser.texts), parser.rows)


def page_of_run(folder: str) -> Page:
    """The page of a finished run, once it is seen to have the numbers that the evaluation wrote."""
    page = parsed_page(folder)
    results = json.loads((pathlib.Path(folder) / "eval_results.json").read_text(encoding="utf-8"))
    of_classes = results.get("by_class") or results["by_type"]
    for name, of_class in of_classes.items():
        shares = ["{:.4f}".format(of_class[column]) for column in ("precision", "recall", "f1")]
        support = of_class.get("support", of_class.get("gold"))
        assert any(row[:5] == [name, *shares, "{:,}".format(support)] for row in page.rows), (name, page.rows)
    for row in results.get("confusion_matrix", []):
        assert any(cells[1:] == ["{:,}".format(count) for count in row] for cells in page.rows), row
    for part in ("Finished: ", "Expected calibration error", "Lengths before truncation", "TensorFlow ", "sha256"):
        assert part in page.text, part
    assert page.tags.count("svg") == 6  # rate, loss, norm, scores, reliability, lengths
    return page


def run_each(commands: List[List[str]], script: str = "run_classifier") -> List[int]:
    """Runs command lines one after the other in this process. Returns their exit codes."""
    return [run_main(arguments, script) for arguments in commands]


def copy_as_stopped(whole: str, step: int, folder: str) -> None:
    """Makes a folder with what decides how a run goes on that was stopped at `step`."""
    os.makedirs(folder)
    for name in os.listdir(whole):
        if name == "plan.json" or name.startswith("model.ckpt-{}.".format(step)):
            shutil.copy(os.path.join(whole, name), folder)
    if os.path.isdir(os.path.join(whole, "best")):
        shutil.copytree(os.path.join(whole, "best"), os.path.join(folder, "best"))  # later ones too, as after a kill


@pytest.fixture(scope="session")
def run_command():
    """Runs the command line in a new process. Returns the finished process with its output."""

    def run(arguments: List[str], cwd: str = ROOT) -> subprocess.CompletedProcess:
        pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
        return subprocess.run(command(arguments), cwd=cwd, **pipes)

    return run
