"""The order of a head's labels by the files that lie beside a checkpoint, or by flags. Pure: no TensorFlow.

Pickles are named and never opened: reading one runs whatever program is in it.
"""

import csv
import os
import re
from typing import Dict, Iterable, List, Mapping, Optional, Tuple

from ..base import json_files
from ..base.errors import UserError
from ..tasks import model_files
from ..tasks.classification.own_text import TextProcessor
from ..tasks.classification.registry import PROCESSORS
from ..training import run_files
from .facts import Labels

PICKLES = (".pkl", ".pickle", ".p", ".joblib")
_LISTS = ("label_list.txt", "labels.txt", "label.txt", "tags.txt", "classes.txt")  # as forks name them
_MAPS = ("label2id.json", "id2label.json", "label_map.json")
_NUMBERED = re.compile(r"^(\S.*?)[\t ,:]+(\d+)$")
_MOST_BYTES = 1 << 20


def read(folder: str, names: Iterable[str]) -> Optional[Labels]:
    """The labels that one of the folder's files, whose names are given, lists; None if none does.

    Raises UserError for a file that should and cannot be read.
    """
    present = set(names)
    if model_files.LABELS_FILE in present:
        return _own(os.path.join(folder, model_files.LABELS_FILE))
    for name in _LISTS:
        if name in present:
            return Labels(_listed(os.path.join(folder, name)), name)
    for name in _MAPS:
        if name in present:
            return Labels(_mapped(os.path.join(folder, name)), name)
    if run_files.RESULTS_FILE in present:
        return _scored(os.path.join(folder, run_files.RESULTS_FILE))
    return None


def given(flags: Mapping[str, str]) -> Optional[Labels]:
    """The labels that the user's flags say: those of --labels, else those of --task_name; None if they say none."""
    if flags.get("labels"):
        return Labels(tuple(next(csv.reader([flags["labels"]]))), "--labels")
    task = flags.get("task_name", "").lower()
    if task not in PROCESSORS or PROCESSORS[task] is TextProcessor:
        return None
    processor = PROCESSORS[task]()
    return Labels(tuple(processor.get_labels()), "--task_name={}".format(task), processor.label_type)


def pickles_among(names: Iterable[str]) -> Tuple[str, ...]:
    return tuple(sorted(name for name in names if name.lower().endswith(PICKLES)))


def _own(path: str) -> Labels:
    content = json_files.read(path, model_files.LabelsFile)
    key = next((name for name in model_files.LABEL_KINDS if name in content), None)
    kind, script = (content[key], model_files.LABEL_KINDS[key]) if key else (None, None)
    return Labels(tuple(content["labels"]), model_files.LABELS_FILE, kind, script)


def _scored(path: str) -> Optional[Labels]:
    """The labels in eval_results.json, by whose order its tables are arranged."""
    names = json_files.read(path).get("labels")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        return None
    return Labels(tuple(names), run_files.RESULTS_FILE)


def _listed(path: str) -> Tuple[str, ...]:
    """One label a line, in the order of the ids; or each with its id."""
    if os.path.getsize(path) > _MOST_BYTES:
        raise UserError("{}: more than {:,} bytes: it lists no labels. Remove it.".format(path, _MOST_BYTES))
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        lines = [line.strip() for line in file if line.strip()]
    matches = [_NUMBERED.match(line) for line in lines]
    numbered = [(int(match.group(2)), match.group(1)) for match in matches if match]
    if lines and len(numbered) == len(lines):
        ordered = _in_order(numbered)
        if ordered is not None:
            return ordered
    return tuple(lines)


def _mapped(path: str) -> Tuple[str, ...]:
    """{"label": id} or {"id": "label"}."""
    content = json_files.read(path)
    pairs: List[Tuple[int, str]] = []
    for key, value in content.items():
        if isinstance(value, int) and not isinstance(value, bool):
            pairs.append((value, key))
        elif isinstance(value, str) and key.isdigit():
            pairs.append((int(key), value))
    ordered = _in_order(pairs) if len(pairs) == len(content) else None
    if ordered is None:
        raise UserError("{}: does not give each label an id from 0 or 1 on. Restore it from a copy.".format(path))
    return ordered


def _in_order(pairs: List[Tuple[int, str]]) -> Optional[Tuple[str, ...]]:
    """The labels by their ids, which are all numbers from 0 or 1 on; None if they are not."""
    by_id: Dict[int, str] = dict(pairs)
    first = min(by_id, default=0)
    if first > 1 or len(by_id) != len(pairs) or sorted(by_id) != list(range(first, first + len(by_id))):
        return None
    return tuple(by_id[number] for number in sorted(by_id))
