"""What a run's folder says of the run, read back: plan, flags, progress, predictions on dev … Pure: no TensorFlow."""

import dataclasses
import os
from dataclasses import dataclass
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple

from ..base import files, json_files
from ..base.errors import UserError
from ..tasks.model_files import LABEL_KINDS, LABELS_FILE, LabelsFile
from . import plan as plans
from .manifest import PLAN_FILE
from .plan import Plan
from .reports import METRICS_FILE

DATA_REPORT_FILE, DATA_REPORT_TEXT = "data_report.json", "data_report.txt"
DECISIONS_FILE = "decisions.jsonl"
FLAGS_FILE = "flags.txt"
LOCK_FILE = ".lock"
EVALUATED_FILE = "eval_predictions.jsonl"  # that of dev; those of dev_NAME end in _NAME
RESULTS_FILE = "eval_results.json"


@dataclass(frozen=True)
class Evaluated:
    """An example of the dev file with what the evaluation at the end predicted: a line of eval_predictions.jsonl.

    gold and predicted are a label, a list of labels, a number, or a tag for each word. For questions gold is a list of
    answers, predicted a text.
    """

    id: str
    line: int  # in its file, from 1; the number of a question
    texts: List[str]
    gold: Any
    predicted: Any
    # [L] in the order of labels.json, or [words] those of the predicted tags.
    probabilities: Optional[List[float]] = None
    words: Optional[List[str]] = None  # those that have tags
    scores: Optional[Dict[str, float]] = None  # of this example alone, if the metrics are means of these


def write_evaluated(path: str, examples: Iterable[Evaluated]) -> None:
    """Writes one JSON object a line, without the fields that an example lacks."""
    with files.atomic_write(path) as file:
        for example in examples:
            fields = {name: value for name, value in vars(example).items() if value is not None}
            file.write(files.json_text(fields) + "\n")


def read_evaluated(path: str) -> List[Evaluated]:
    """The examples of a file, in its order. Raises UserError that names the line of a damaged one."""
    names = {field.name for field in dataclasses.fields(Evaluated)}
    remedy = "Evaluate the run again with --do_eval --model_dir."
    examples = []
    for number, line in enumerate(files.read_bytes(path).splitlines(), 1):
        fields = json_files.parse(line, "{}:{}".format(path, number), Evaluated, remedy)
        examples.append(Evaluated(**{name: value for name, value in fields.items() if name in names}))
    return examples


def saved_plan(folder: str) -> Optional[Plan]:
    """The plan of the run in the folder, None if there is none."""
    path = os.path.join(folder, PLAN_FILE)
    if not os.path.lexists(path):
        return None
    return plans.from_json(json_files.read(path, remedy="Restore it from a copy, or use another --output_dir."), path)


def given_flags(folder: str) -> Dict[str, str]:
    """The flags that the run's command gave: name → value as text. Empty if the folder does not say."""
    path = os.path.join(folder, FLAGS_FILE)
    if not os.path.lexists(path):
        return {}
    return flags_among(files.read_bytes(path).decode("utf-8", "replace").split("\n"))


def flags_among(lines: Iterable[str]) -> Dict[str, str]:
    """Name → value as text of lines like --name=value, --name and --noname; other lines are ignored."""
    pairs = [line[2:].partition("=") for line in lines if line.startswith("--")]
    return {
        name[2:] if not equals and name.startswith("no") else name: value if equals else str(not name.startswith("no"))
        for name, equals, value in pairs
    }


@dataclass
class _SplitFacts:
    split: str
    file: str
    examples: int
    label_counts: Dict[str, int]
    histogram: List[Tuple[int, int]]  # (up to this many tokens, examples)
    max_tokens: int
    long_text: str
    truncated: int  # examples of more tokens
    beyond: int  # how many tokens they have more, in all
    pieces: int


@dataclass
class DataReportFile:
    """The schema of data_report.json: the numbers of data_report.txt that a figure needs."""

    splits: List[_SplitFacts]


class Labels(NamedTuple):
    """What a run's labels.json says: what is predicted, and of which labels."""

    script: str  # that trained
    kind: str  # single, multi, regression, bio, plain, spans
    labels: List[str]


def labels_of(folder: str) -> Optional[Labels]:
    """What the run in the folder predicts; None if it does not say so, as that of a pre-training."""
    path = os.path.join(folder, LABELS_FILE)
    if not os.path.lexists(path):
        return None
    content = json_files.read(path, LabelsFile)
    key = next((name for name in LABEL_KINDS if content.get(name) is not None), None)
    if key is None:
        return None
    return Labels(LABEL_KINDS[key] + ".py", content[key], content["labels"])


class Progress(NamedTuple):
    """metrics.jsonl: its lines on training and on dev, and how many are damaged."""

    train: List[Dict[str, Any]]
    dev: List[Dict[str, Any]]
    damaged: int


def progress_of(folder: str) -> Progress:
    """The numbers that a run has reported so far. Damaged lines are counted and left out: the file is a log."""
    lines = list(_lines(os.path.join(folder, METRICS_FILE)))
    whole = [line for line in lines if line is not None and type(line.get("step")) is int]
    train, dev = ([line for line in whole if line.get("split") == split] for split in ("train", "dev"))
    return Progress(train, dev, len(lines) - len(train) - len(dev))


def decisions_in(folder: str) -> List[Dict[str, Any]]:
    """What each command did with the folder, the first one first. Damaged lines are left out."""
    return [line for line in _lines(os.path.join(folder, DECISIONS_FILE)) if line is not None]


def _lines(path: str) -> Iterator[Optional[Dict[str, Any]]]:
    """The objects in a file of JSON lines; None for a damaged line. Nothing if there is no such file."""
    if os.path.isfile(path):
        for line in files.read_bytes(path).splitlines():
            try:
                yield json_files.parse(line, path)
            except UserError:
                yield None
