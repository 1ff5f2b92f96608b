"""What a search keeps between commands, in state.json: its command, its settings, what became of each run. Pure.

The file is replaced whenever a run ends, so that a search that is killed goes on with what it knew last.
"""

import os
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple

from ..base import files, json_files
from ..base.errors import UserError
from .data_files import CONTENTS
from .runs import FAILED, FINISHED, STOPPED, Outcome, Place, Run
from .space import Setting

FILE = "state.json"
_REMEDY = "Restore it from a copy, or search in another folder."


@dataclass
class _OutcomeFile:
    trial: int
    seed: int
    fold: int
    end: str
    points: List[Tuple[int, float]]
    last_step: Optional[int]
    score: Optional[float]
    step: Optional[int]
    scores: Dict[str, float]
    metric: Optional[str]
    message: str


@dataclass
class _StateFile:
    search: Dict[str, Any]
    settings: List[Dict[str, str]]
    outcomes: List[_OutcomeFile]


class Record:
    """settings: of the trials from 1 on, as far as they are chosen."""

    def __init__(self, folder: str, search: Dict[str, Any]) -> None:
        self._path = os.path.join(folder, FILE)
        self.search = search
        self.settings: List[Setting] = []
        self.outcomes: Dict[Run, Outcome] = {}

    def write(self) -> None:
        outcomes = [
            dict(outcome._asdict(), trial=run.trial, **run.place._asdict())
            for run, outcome in sorted(self.outcomes.items())
        ]
        files.write_json(self._path, {"search": self.search, "settings": self.settings, "outcomes": outcomes})


def opened(folder: str, search: Dict[str, Any]) -> Record:
    """The record of the search in a folder, or a new one. Failed runs have no outcome: they are tried again.

    search: the command, by the names of its flags. Raises UserError with what differs if the folder's was begun with
    another; more trials may be asked for.
    """
    record = Record(folder, search)
    path = os.path.join(folder, FILE)
    if not os.path.lexists(path):
        return record
    content = json_files.read(path, _StateFile, _REMEDY)
    _require_same(folder, content["search"], search)
    record.settings = content["settings"]
    for fields in content["outcomes"]:
        json_files.require_choice(path, "end", fields["end"], (FINISHED, STOPPED, FAILED), _REMEDY)
        run = Run(fields.pop("trial"), Place(fields.pop("seed"), fields.pop("fold")))
        points = [(step, score) for step, score in fields.pop("points")]
        rest = {name: fields[name] for name in Outcome._fields if name != "points"}
        if fields["end"] != FAILED:
            record.outcomes[run] = Outcome(points=points, **rest)
    return record


def saved(folder: str) -> Dict[str, Any]:
    """The command of the search in a folder, by the names of its flags; empty if there is none."""
    path = os.path.join(folder, FILE)
    if not os.path.lexists(path):
        return {}
    search: Dict[str, Any] = json_files.read(path, _StateFile, _REMEDY)["search"]
    return search


def _require_same(folder: str, before: Dict[str, Any], now: Dict[str, Any]) -> None:
    differences = []
    for name in {**before, **now}:
        old, new = before.get(name), now.get(name)
        if name == "trials" and old is not None and new is not None and new > old and now.get("method") != "grid":
            continue
        if name.startswith(CONTENTS) and None in (old, new):  # of a file that only further trials read
            continue
        if old != new:
            differences.append("  {}: {} → {}".format(name, _shown(old), _shown(new)))
    if differences:
        raise UserError(
            "{}: holds a search that was begun with another command or other files:\n{}\nGive that command, with its "
            "files as they were, or another folder.".format(folder, "\n".join(differences))
        )


def _shown(value: Any) -> str:
    if value is None:
        return "(not given)"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
