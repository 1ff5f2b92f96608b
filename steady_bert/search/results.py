"""What a search found: trials in the order of their scores, as a table and as JSON. Pure.

Only what each run reports is shown, no time and no machine, so that a search that was stopped and went on shows the
same as one that was not.
"""

import statistics
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from . import runs
from .runs import FAILED, Board, Design, Outcome, Run
from .space import Setting
from .tpe import Result

FINISHED, PRUNED, UNFINISHED = "finished", "pruned", "unfinished"
_ORDER = (FINISHED, PRUNED, FAILED, UNFINISHED)


class TrialRun(NamedTuple):
    """A run of a trial. score: at the end, or the best one until it was pruned."""

    folder: str
    seed: int
    fold: int
    end: str
    score: Optional[float]
    step: Optional[int]  # of the weights that were scored; where the run was pruned
    scores: Dict[str, float]
    message: str


class Trial(NamedTuple):
    """A setting with the mean and the standard deviation of its scores. sd: None for one run."""

    number: int
    setting: Setting
    end: str
    mean: Optional[float]
    sd: Optional[float]
    runs: List[TrialRun]


class Found(NamedTuple):
    """trials: by score, the best first."""

    flags: List[str]
    metric: str
    trials: List[Trial]

    @property
    def best(self) -> Optional[Trial]:
        return self.trials[0] if self.trials and self.trials[0].end == FINISHED else None


def found(flags: Sequence[str], design: Design, settings: Sequence[Setting], outcomes: Dict[Run, Outcome]) -> Found:
    board = Board(design, outcomes)
    trials = [trial_of(number, setting, design, board, outcomes) for number, setting in enumerate(settings, 1)]
    trials.sort(key=lambda trial: (_ORDER.index(trial.end), -(trial.mean or 0.0), trial.number))
    metrics = [outcome.metric for outcome in outcomes.values() if outcome.metric]
    return Found(list(flags), metrics[0] if metrics else "score", trials)


def trial_of(number: int, setting: Setting, design: Design, board: Board, outcomes: Dict[Run, Outcome]) -> Trial:
    made: List[TrialRun] = []
    for place in design.places:
        run = Run(number, place)
        made.append(_run(run, runs.folder_name(run, setting), board, outcomes.get(run)))
        if made[-1].end == PRUNED:
            break
    ends = {each.end for each in made}
    end = next(name for name in (UNFINISHED, PRUNED, FAILED, FINISHED) if name in ends)
    scores = [
        each.score for each in made if each.score is not None and each.end == (PRUNED if end == PRUNED else FINISHED)
    ]
    mean = statistics.mean(scores) if scores else None
    return Trial(number, setting, end, mean, statistics.stdev(scores) if len(scores) > 1 else None, made)


def _run(run: Run, folder: str, board: Board, outcome: Optional[Outcome]) -> TrialRun:
    if outcome is None or not board.is_done(run):
        return TrialRun(folder, *run.place, end=UNFINISHED, score=None, step=None, scores={}, message="")
    pruned = board.pruned(run)
    if pruned is not None:
        best = max(score for _, score in board.counted(run))
        return TrialRun(folder, *run.place, end=PRUNED, score=best, step=pruned, scores={}, message="")
    end = FAILED if outcome.end == FAILED else FINISHED
    return TrialRun(folder, *run.place, end, outcome.score, outcome.step, outcome.scores, outcome.message)


def for_tpe(trial: Trial) -> Result:
    if trial.end == FINISHED:
        return Result(trial.setting, trial.mean)
    pruned = [(run.step, run.score) for run in trial.runs if run.end == PRUNED]
    if pruned and pruned[0][0] is not None and pruned[0][1] is not None:
        return Result(trial.setting, pruned=(pruned[0][0], pruned[0][1]))
    return Result(trial.setting)


def rows(search: Found) -> List[List[str]]:
    """The header and a row for each trial."""
    header = ["trial", *search.flags, search.metric, "runs", ""]
    return [header] + [
        [str(trial.number), *trial.setting.values(), score(trial), str(_counted(trial)), note(trial)]
        for trial in search.trials
    ]


def _counted(trial: Trial) -> int:
    return sum(run.end == FINISHED for run in trial.runs)


def score(trial: Trial) -> str:
    """Mean ± standard deviation; that of a pruned trial is in brackets, as it is of another step."""
    if trial.mean is None:
        return "-"
    text = "{:.4f}".format(trial.mean) + (" ± {:.4f}".format(trial.sd) if trial.sd is not None else "")
    return "({})".format(text) if trial.end == PRUNED else text


def note(trial: Trial) -> str:
    if trial.end == PRUNED:
        return "pruned at step {:,}".format(trial.runs[-1].step or 0)
    failed = sum(run.end == FAILED for run in trial.runs)
    if trial.end == FAILED and len(trial.runs) > 1:
        return "{} of {} runs failed".format(failed, len(trial.runs))
    return "" if trial.end == FINISHED else trial.end


def failures(search: Found) -> List[Tuple[str, str]]:
    """(folder, message) of each run that failed."""
    return [(run.folder, run.message) for trial in search.trials for run in trial.runs if run.end == FAILED]


def as_json(search: Found, command: Optional[str]) -> Dict[str, Any]:
    """command: that which trains the best setting."""
    return {
        "metric": search.metric,
        "best": None if search.best is None else {"trial": search.best.number, "command": command},
        "trials": [dict(trial._asdict(), runs=[run._asdict() for run in trial.runs]) for trial in search.trials],
    }
