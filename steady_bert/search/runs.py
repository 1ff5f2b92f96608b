"""The runs of a search: which there are, what became of each, and which may start. Pure.

A trial is a setting with a number from 1. It is one run, or one for each seed and fold.
"""

import re
from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from . import pruning
from .pruning import Curve, Verdict
from .space import Setting

FINISHED, STOPPED, FAILED = "finished", "stopped", "failed"
_MOST_CHARACTERS = 120  # of the part of a folder's name that says the setting


class Place(NamedTuple):
    """What the runs of a trial differ in. fold: from 1; 0 if there are none."""

    seed: int
    fold: int

    @property
    def name(self) -> str:
        return "seed{}".format(self.seed) + "-fold{}".format(self.fold) * bool(self.fold)


class Run(NamedTuple):
    trial: int
    place: Place


class Outcome(NamedTuple):
    """What became of a run. end: finished; stopped, because it was pruned; or failed, as the message says.

    points: its dev scores by step; last_step: where it was to end by its plan; scores: those of eval_results.json.
    """

    end: str
    points: Sequence[Tuple[int, float]] = ()
    last_step: Optional[int] = None
    score: Optional[float] = None
    step: Optional[int] = None
    scores: Dict[str, float] = {}
    metric: Optional[str] = None
    message: str = ""

    @property
    def curve(self) -> Curve:
        """A run that was stopped could report more, as it will if rivals that failed turn out to score otherwise."""
        return Curve(self.points, self.end != STOPPED, self.last_step)


class Design(NamedTuple):
    """What is run, and in which order.

    lag: the setting of a trial is chosen when all trials but the last `lag` - 1 before it are done; None: the settings
    are known from the start. prune_after: the number of rivals from which runs are pruned; None: none is.
    """

    trials: int
    places: Sequence[Place]
    lag: Optional[int] = None
    prune_after: Optional[int] = None

    @property
    def runs(self) -> List[Run]:
        return [Run(trial, place) for trial in range(1, self.trials + 1) for place in self.places]


def folder_name(run: Run, setting: Setting) -> str:
    """A name that people can read and a shell needs no quotes for."""
    values = "-".join("{}={}".format(name, value) for name, value in setting.items())
    readable = re.sub(r"[^\w.=+-]+", "_", values)[:_MOST_CHARACTERS]
    return "{:03}-{}-{}".format(run.trial, readable, run.place.name)


class Board:
    """The state of all runs, from their outcomes and what those under way have reported."""

    def __init__(self, design: Design, outcomes: Dict[Run, Outcome], reported: Optional[Dict[Run, Curve]] = None):
        self._design = design
        self._outcomes = outcomes
        self._verdicts = self._judged(reported or {}) if design.prune_after is not None else {}

    def _judged(self, reported: Dict[Run, Curve]) -> Dict[Run, Verdict]:
        """By place in order, since a trial that is pruned at one place has no run at those that follow."""
        found: Dict[Run, Verdict] = {}
        ended: Dict[int, bool] = {}  # the trials that are pruned
        for place in self._design.places:
            runs = [Run(trial, place) for trial in range(1, self._design.trials + 1)]
            curves = []
            for run in runs:
                outcome = self._outcomes.get(run)
                if ended.get(run.trial):
                    curves.append(Curve((), True))
                else:
                    curves.append(outcome.curve if outcome else reported.get(run, Curve((), False)))
            for run, verdict in zip(runs, pruning.verdicts(curves, self._design.prune_after or 0)):
                found[run] = verdict
                ended[run.trial] = ended.get(run.trial, False) or verdict.pruned is not None
        return found

    def pruned(self, run: Run) -> Optional[int]:
        """The step at which a run is pruned; None if it is not, or not yet."""
        verdict = self._verdicts.get(run)
        return verdict.pruned if verdict else None

    def counted(self, run: Run) -> Sequence[Tuple[int, float]]:
        """The reports of a run that count: those up to the step at which it is pruned."""
        verdict = self._verdicts.get(run)
        return verdict.points if verdict else self._outcomes[run].points

    def is_done(self, run: Run) -> bool:
        """Whether the run has an outcome that no other run can change."""
        if run not in self._outcomes:
            return False
        verdict = self._verdicts.get(run)
        return verdict is None or verdict.is_final

    def is_withdrawn(self, run: Run) -> bool:
        """Whether the run was stopped, but is not pruned by what its rivals have reported since: it has to go on."""
        outcome, verdict = self._outcomes.get(run), self._verdicts.get(run)
        is_stopped = outcome is not None and outcome.end == STOPPED
        return is_stopped and (verdict is None or not verdict.is_final and not verdict.waits)

    def is_trial_done(self, trial: int) -> bool:
        for place in self._design.places:
            run = Run(trial, place)
            if not self.is_done(run):
                return False
            if self.pruned(run) is not None:
                return True
        return True

    def is_setting_due(self, trial: int) -> bool:
        """Whether all trials are done that the choice of this one's setting may look at."""
        lag = self._design.lag
        return lag is None or all(self.is_trial_done(before) for before in range(1, trial - lag + 1))

    def startable(self, known: Iterable[int]) -> List[Run]:
        """The runs that may run now, in order. known: the trials whose settings are chosen.

        With pruning, the runs of a trial follow one another, and none follows one that is pruned.
        """
        found = []
        for trial in sorted(known):
            for place in self._design.places:
                run = Run(trial, place)
                if run not in self._outcomes or self.is_withdrawn(run):
                    found.append(run)
                if self._design.prune_after is not None and (not self.is_done(run) or self.pruned(run) is not None):
                    break
        return found
