"""What pages say that commands write and print, compared with what they wrote and printed on the twins."""

import json
import os
import re
from typing import Any, Callable, Dict, Iterator, List, Sequence

import numpy as np

from . import pages, twins
from .pages import Command

_DIFFERS = "the page shows\n{}\nand it prints\n{}"
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*(?:e-?\d+)?")


def of_command(folder: str, command: Command, output: str) -> str:
    """What a command failed to write or to print; "" if nothing."""
    problems = [
        promise(folder, output)
        for begin, promise in _PROMISES.items()
        if (command.page + ": " + command.text).startswith(begin)
    ]
    return "; ".join(filter(None, problems))


def of_page(place: Any, page: str) -> List[str]:
    """What is wrong with the output that a page shows, where it does not follow the command."""
    return list(filter(None, _PAGES[page](place))) if page in _PAGES else []


def same_but_for_numbers(shown: Sequence[str], printed: str) -> str:
    """Whether the words of the lines are the output's, numbers and line ends apart: "" or what is wrong."""
    expected, actual = (_NUMBER.sub("0", " ".join(text.split())) for text in (" ".join(shown), printed))
    return "" if expected == actual else _DIFFERS.format("\n".join(shown), printed.strip())


# --- what commands write and print ------------------------------------------------------------------------------------


def _writes(*names: str) -> Callable[[str, str], str]:
    def problem(folder: str, output: str) -> str:
        missing = [name for name in names if not os.path.exists(os.path.join(folder, name))]
        return "has not written " + ", ".join(missing) if missing else ""

    return problem


def _run_folder(folder: str, output: str) -> str:
    """The guide's list of what is in the folder of a run."""
    paragraph = re.search(r"\nA run's folder holds (.*?)\n\n", pages.read("docs/guide.md"), re.S)
    names = re.findall(r"`([\w.]+[./]\w*)`", paragraph.group(1) if paragraph else "")
    if len(names) < 6:
        return "the guide no longer says what a run's folder holds"
    return _writes(*("runs/reviews/" + name for name in [*names, "errors.tsv", "eval_results.json"]))(folder, output)


def _question_files(folder: str, output: str) -> str:
    """The files in the table of docs/questions.md, but for those of SQuAD 2.0 and of a predicted file with answers."""
    table = re.search(r"\n\| file \| holds \|\n(.*?)\n\n", pages.read("docs/questions.md"), re.S)
    names = re.findall(r"\w+\.jsonl?", " ".join(re.findall(r"^\| (.*?) \|", table.group(1) if table else "", re.M)))
    left_out = {"null_odds.json", "threshold.json", "test_results.json", "eval_results.json"}
    found = {name for parent in ("answers", "runs/squad") for name in os.listdir(os.path.join(folder, parent))}
    missing = set(names) - left_out - found
    return "has not written " + ", ".join(sorted(missing)) if missing or len(names) < 6 else ""


def _proven(name: str) -> Callable[[str, str], str]:
    def problem(folder: str, output: str) -> str:
        with open(os.path.join(folder, name, "export_check.json"), encoding="utf-8") as file:
            return "" if json.load(file)["proven"] else "the export is not proven"

    return problem


def _vectors(folder: str, output: str) -> str:
    with np.load(os.path.join(folder, "vectors.npz"), allow_pickle=False) as arrays:
        vectors, layers = arrays["vectors"], arrays["layers"]
    with open(os.path.join(folder, "sentences.txt"), encoding="utf-8") as file:
        lines = len(file.readlines())
    expected = (lines, len(layers), vectors.shape[-1])
    return "" if vectors.shape == expected and vectors.dtype == np.float32 else "vectors: {}".format(vectors.shape)


def _says(text: str) -> Callable[[str, str], str]:
    return lambda folder, output: "" if text in output else "has not printed {!r}".format(text)


def _answers(*keys: str) -> Callable[[str, str], str]:
    def problem(folder: str, output: str) -> str:
        missing = [key for key in keys if '"{}"'.format(key) not in output]
        return "the answer has no {}: {}".format(", ".join(missing), output) if missing else ""

    return problem


def _diagnosis(folder: str, output: str) -> str:
    return same_but_for_numbers(pages.outputs("docs/doctor.md")[0], output)


_CURL = "docs/serving.md: curl http://127.0.0.1:8080/"
# The beginning of "page: command" → what it must have written or printed.
_PROMISES: Dict[str, Callable[[str, str], str]] = {
    "docs/guide.md: python run_classifier.py --task_name=text": _run_folder,
    "docs/guide.md: python run_classifier.py --do_predict": _writes(
        "predicted/predictions.tsv", "predicted/test_results.json"
    ),
    "docs/guide.md: python scripts/report.py": _writes("runs/reviews/report.html", "runs/reviews/errors.tsv"),
    "docs/guide.md: python scripts/watch.py": _says("finished: 3 steps"),
    "docs/guide.md: python scripts/compare_runs.py 'runs/": _writes("comparison.html", "comparison.json"),
    "docs/guide.md: python run_ner.py --train_file": _writes(
        "runs/ner/predictions.conll", "runs/ner/predictions.jsonl"
    ),
    "docs/guide.md: python scripts/convert_checkpoint.py --to=tf1": _writes("uncased/bert_model.ckpt.index"),
    "docs/guide.md: python scripts/convert_checkpoint.py --to=safe": _writes("exported/model.safetensors"),
    "docs/recipes.md: python run_classifier.py": _writes("runs/tnews/submission/tnews11_predict.json"),
    "docs/recipes.md: scripts/second_stage.sh": _writes("stages/stage1/eval_results.json", "stages/stage2/plan.json"),
    "README.md: python run_classifier.py": _writes("runs/reviews/best", "runs/reviews/report.html"),
    "README.md: echo": _writes("predicted/predictions.tsv"),
    "docs/weights.md: python run_classifier.py --model": _writes("predicted/predictions.tsv"),
    "docs/export.md: python scripts/export_model.py --model_dir=runs/mrpc --to=saved": _proven("exports/mrpc"),
    "docs/export.md: python scripts/export_model.py --model_dir=runs/mrpc --to=tf1": _proven("exports/mrpc-tf1"),
    "docs/features.md: python extract_features.py": _vectors,
    "docs/pretraining.md: python run_pretraining.py": _writes("RUN/eval_results.txt"),
    "docs/pretraining.md: python create_pretraining_data.py": _writes("a.tfrecord", "b.tfrecord"),
    "docs/questions.md: python run_squad.py --do_predict": _question_files,
    "docs/doctor.md: python scripts/doctor.py": _diagnosis,
    _CURL + "v1/predict -H 'Content-Type: application/json' -d '{\"texts": _answers(
        "model", "predictions", "label", "score", "probabilities"
    ),
    _CURL + "v1/embed": _answers("embeddings"),
    _CURL + "v2": _answers("outputs", "datatype"),
}


# --- what pages show apart from a command -----------------------------------------------------------------------------


def _readme(place: Any) -> Iterator[str]:
    yield _writes("quickstart/run/report.html")(place.folder, "")
    summary = "scripts/summarize_run.py quickstart/run quickstart/sentences.tsv quickstart/predictions/predictions.tsv"
    printed = place.python(summary.split()).output.split("=== Where")[0]
    label = re.compile(r"^(negative|neutral|positive) +(?=0\.\d\d  )", re.M)  # the twin predicts by chance
    shown = [label.sub("", line) for line in pages.outputs("README.md")[0]]
    yield same_but_for_numbers(shown, label.sub("", printed))
    ((command, shown),) = pages.transcripts("README.md")
    place.begin("README.md")
    twins.write_long(place.folder)
    data = ["--task_name=text", "--data_dir=long", "--model=uncased"]
    training = ["run_classifier.py", *data, "--do_train", "--num_train_epochs=4"]
    first = [*training, "--save_checkpoints_steps=500", "--output_dir=runs/reviews"]
    place.run_until(first, "runs/reviews/model.ckpt-500.index")
    again = place.python(training + Command("README.md", 0, command).stages()[0][2:])
    if again.status != 2 or "\n".join(shown) not in again.output:
        yield _DIFFERS.format("\n".join(shown), again.output)


def _optimization(place: Any) -> Iterator[str]:
    """The example is of 120 updates with ranger at the rate that is not given."""
    command = "run_classifier.py --task_name=text --data_dir=DATA --model=uncased --output_dir=runs/x --dry_run "
    command += "--optimizer=ranger --num_train_steps=120"
    printed = place.python(command.split()).output
    for shown in pages.outputs("docs/optimization.md"):
        parts = " ".join(" ".join(shown).split()).split(" … ")
        if any(part not in " ".join(printed.split()) for part in parts):
            yield _DIFFERS.format("\n".join(shown), printed)


_PAGES: Dict[str, Callable[[Any], Iterator[str]]] = {"README.md": _readme, "docs/optimization.md": _optimization}
