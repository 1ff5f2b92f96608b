"""Runs a search: starts its runs, looks at what they report, stops those that are pruned, keeps what became of each.

Every run is an ordinary command in a folder of its own, so one that was killed goes on where it was saved. Pure.
"""

import os
import signal
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..base import json_files
from ..base.errors import UserError
from ..training import checkpoint_files, reports, run_files
from ..training.reports import say
from . import processes, results, runs, space, tpe
from .processes import Process
from .pruning import Curve
from .record import Record
from .runs import FAILED, FINISHED, STOPPED, Board, Design, Outcome, Run
from .space import Dimension, Setting

_LOOK_SECS = 0.2
_MOST_KILLS = 5  # of a run that gets no further between them
_KILLED = (128 + signal.SIGINT, 128 + signal.SIGTERM)  # exit codes of a run that was stopped and has saved
_MISTAKE = 2


class Search(NamedTuple):
    """What is searched. command: a run and its setting → script and flags. check raises UserError for a bad setting."""

    folder: str
    program: str  # the script's name in its messages
    space: Sequence[Dimension]
    design: Design
    seed: int
    slots: Sequence[Sequence[int]]  # the cores of each run that goes on at once
    command: Callable[[Run, Setting], List[str]]
    check: Callable[[Setting], Any]

    def folder_of(self, run: Run, setting: Setting) -> str:
        return os.path.join(self.folder, "trials", runs.folder_name(run, setting))


class _Signals:
    """Within it, SIGINT and SIGTERM are noted; number: the first of them."""

    def __init__(self) -> None:
        self.number: Optional[int] = None
        self.count = 0

    def __enter__(self) -> "_Signals":
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _note(self, number: int, frame: Any) -> None:
        self.number, self.count = self.number or number, self.count + 1

    def __exit__(self, *error: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def conduct(search: Search, record: Record) -> Optional[int]:
    """Runs what has not been run. Returns the signal that stopped the search; None if everything is done."""
    with _Signals() as signals:
        conductor = _Conductor(search, record)
        try:
            conductor.wait_for_leftovers(signals)
            while signals.number is None and conductor.go_on():
                time.sleep(_LOOK_SECS)
        finally:
            conductor.stop(signals)
        return signals.number


class _Conductor:
    def __init__(self, search: Search, record: Record) -> None:
        self._search, self._record = search, record
        self._running: Dict[Run, Process] = {}
        self._free = [list(cores) for cores in search.slots]
        self._pruned: Dict[Run, int] = {}  # the runs that are being stopped
        self._kills: Dict[Run, Tuple[int, Optional[int]]] = {}  # how often, and at which step
        self._curves: Dict[str, Tuple[Tuple[int, int], Curve]] = {}  # by path, with time and size of the file

    def _folder(self, run: Run) -> str:
        return self._search.folder_of(run, self._record.settings[run.trial - 1])

    def _pending(self) -> List[Run]:
        known = len(self._record.settings)
        return [run for run in self._search.design.runs if run.trial <= known and run not in self._record.outcomes]

    def wait_for_leftovers(self, signals: _Signals) -> None:
        """Waits for runs of a search that died: they are saving, or go on where the system did not end them."""
        for run in self._pending():
            folder, said = self._folder(run), False
            while processes.is_locked(folder) and signals.number is None:
                if not said:
                    say("{}: a run of an earlier search is still there. Waiting for its end.".format(folder))
                    said = True
                time.sleep(_LOOK_SECS)

    def go_on(self) -> bool:
        """Does what can be done now. False: everything is done."""
        self._collect()
        board = self._board()
        for run in list(self._running):
            step = board.pruned(run)
            if step is not None and run not in self._pruned:
                self._pruned[run] = step
                self._running[run].stop()
        board = self._choose_settings(board)
        for run in board.startable(range(1, len(self._record.settings) + 1)):
            if run in self._running:
                continue
            step = board.pruned(run)
            if step is not None:  # by what it reported before the search was stopped
                self._keep(run, self._outcome(run, STOPPED))
                return True
            if not self._free:
                break
            self._start(run)
        all_chosen = len(self._record.settings) == self._search.design.trials
        return bool(self._running) or not all_chosen or bool(board.startable(range(1, self._search.design.trials + 1)))

    def _board(self) -> Board:
        return Board(self._search.design, self._record.outcomes, {run: self._curve(run) for run in self._pending()})

    # --- settings -----------------------------------------------------------------------------------------------------

    def _choose_settings(self, board: Board) -> Board:
        design, settings = self._search.design, self._record.settings
        if design.lag is None:
            return board
        while len(settings) < design.trials and board.is_setting_due(len(settings) + 1):
            seen = settings[: max(len(settings) + 1 - design.lag, 0)]
            known = [
                results.for_tpe(results.trial_of(number, setting, design, board, self._record.outcomes))
                for number, setting in enumerate(seen, 1)
            ]
            setting = tpe.proposed(self._search.space, self._search.seed, settings, known)
            self._search.check(setting)
            settings.append(setting)
            self._record.write()
        return self._board()

    # --- runs ---------------------------------------------------------------------------------------------------------

    def _start(self, run: Run) -> None:
        setting, folder = self._record.settings[run.trial - 1], self._folder(run)
        self._record.outcomes.pop(run, None)  # of a run that was pruned, and is not any more
        self._pruned.pop(run, None)
        os.makedirs(folder, exist_ok=True)
        self._running[run] = Process(self._search.command(run, setting), folder + ".log", self._free.pop())
        again = " again" if run in self._kills else ""
        say("Start{} {}".format(again, self._named(run)))

    def _named(self, run: Run) -> str:
        setting = space.described(self._record.settings[run.trial - 1])
        return "trial {} of {}, {}: {}".format(run.trial, self._search.design.trials, run.place.name, setting)

    def _collect(self) -> None:
        """Keeps what became of the runs that have ended."""
        for run, process in list(self._running.items()):
            code = process.ended()
            if code is None:
                continue
            del self._running[run]
            self._free.append(process.cores)
            if code == 0:
                self._keep(run, self._finished(run))
            elif run in self._pruned:
                self._keep(run, self._outcome(run, STOPPED))
            elif code < 0 or code in _KILLED:
                self._note_kill(run, code)
            elif code != _MISTAKE or not processes.is_locked(self._folder(run)):  # else it goes on when it is alone
                self._keep(run, self._failed(run))

    def _note_kill(self, run: Run, code: int) -> None:
        count, before = self._kills.get(run, (0, None))
        step = checkpoint_files.pointed_step(self._folder(run))
        count = count + 1 if step == before else 1
        self._kills[run] = (count, step)
        if count >= _MOST_KILLS:
            text = "was killed {} times (exit code {}), as it is when memory does not suffice"
            self._keep(run, self._failed(run)._replace(message=text.format(count, code)))

    def _keep(self, run: Run, outcome: Outcome) -> None:
        self._record.outcomes[run] = outcome
        self._record.write()
        if outcome.end == FINISHED:
            text = "Done {}: {} {:.4f}".format(self._named(run), outcome.metric, outcome.score or 0.0)
        elif outcome.end == STOPPED:
            text = "Pruned {}".format(self._named(run))
        else:
            text = "FAILED {}: {}".format(self._named(run), outcome.message)
        say(text)

    def stop(self, signals: _Signals) -> None:
        """Makes all runs save and stop, and waits for them; a further signal kills them."""
        for process in self._running.values():
            process.stop()
        while any(process.ended() is None for process in self._running.values()):
            if signals.count > 1:
                for process in self._running.values():
                    process.stop(signal.SIGKILL)
            time.sleep(_LOOK_SECS)

    # --- what a run's folder says -------------------------------------------------------------------------------------

    def _curve(self, run: Run) -> Curve:
        """What a run without an outcome has reported so far."""
        if self._search.design.prune_after is None:
            return Curve((), False)
        folder = self._folder(run)
        path = os.path.join(folder, reports.METRICS_FILE)
        try:
            status = os.stat(path)
        except OSError:
            return Curve((), False)
        stamp = (status.st_mtime_ns, status.st_size)
        if path not in self._curves or self._curves[path][0] != stamp:
            outcome = self._outcome(run, STOPPED)
            self._curves[path] = (stamp, Curve(outcome.points, False, outcome.last_step))
        return self._curves[path][1]

    def _outcome(self, run: Run, end: str) -> Outcome:
        folder = self._folder(run)
        try:
            plan = run_files.saved_plan(folder)
        except UserError:  # the run says what is wrong with it, and fails
            plan = None
        if plan is None:
            return Outcome(end)
        metric = str(plan.identity.get("best_metric"))
        reported = {line["step"]: line.get(metric) for line in run_files.progress_of(folder).dev}
        points = sorted((step, score) for step, score in reported.items() if isinstance(score, (int, float)))
        return Outcome(end, points, plan.num_train_steps, metric=metric)

    def _finished(self, run: Run) -> Outcome:
        outcome = self._outcome(run, FINISHED)
        try:
            content = json_files.read(os.path.join(self._folder(run), run_files.RESULTS_FILE))
        except UserError as error:
            return outcome._replace(end=FAILED, message=str(error))
        scores = {name: float(value) for name, value in content.items() if type(value) in (int, float)}
        if outcome.metric is None:
            return outcome._replace(end=FAILED, message="its folder has no plan.json that can be read")
        if outcome.metric not in scores:
            return outcome._replace(end=FAILED, message="its dev score, {}, is no number".format(outcome.metric))
        return outcome._replace(score=scores[outcome.metric], step=int(scores.get("global_step", 0)), scores=scores)

    def _failed(self, run: Run) -> Outcome:
        message = processes.last_words(self._folder(run) + ".log", self._search.program)
        return self._outcome(run, FAILED)._replace(message=message)
