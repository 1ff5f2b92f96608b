"""Searches whose runs fail, are killed and are tried again end with the table of an undisturbed one. No run is real."""

import json
import os
import random
import shutil

import pytest

from steady_bert.search import conduct, record, results, space
from steady_bert.search.runs import FAILED, FINISHED, STOPPED, Board, Design, Outcome, Place, Run
from steady_bert.training import checkpoint_files
from steady_bert.training import plan as plans

STEPS = 6


class Trainings:
    """What the runs of a search would score, and by chance how they end before it."""

    def __init__(self, seed):
        self.scores = random.Random(seed)
        self.known = {}
        self.rng = random.Random(-seed - 1)
        self.failing = 0.0  # probability that a run of the first three trials fails at a look

    def score(self, name, step):
        for number in range(1, STEPS + 1):
            self.known.setdefault((name, number), self.scores.random())
        return self.known[name, step]


def fake_process(trainings):
    class Process:
        """A run of STEPS steps, or 4, which are saved when it is stopped, and every second one."""

        def __init__(self, command, log, cores):
            self.cores, self._folder, self._code, self._stopped = cores, command[0], None, False
            self._name = os.path.basename(self._folder)
            open(log, "w").close()
            self._path = os.path.join(self._folder, "metrics.jsonl")
            self._saved = os.path.join(self._folder, "checkpoint")
            plan = plans.PlanConfig(num_train_steps=STEPS, num_warmup_steps=0)
            identity = {"best_metric": "accuracy"}
            with open(os.path.join(self._folder, "plan.json"), "w") as file:
                json.dump(plans.to_json(plans.make_plan(plan, 64, identity, {})), file)
            self._step = checkpoint_files.pointed_step(self._folder) or 0
            self._write("w", range(1, self._step + 1))

        def _write(self, mode, steps):
            with open(self._path, mode) as file:
                for step in steps:
                    score = trainings.score(self._name, step)
                    file.write(json.dumps({"step": step, "split": "dev", "accuracy": score}) + "\n")

        def _save(self):
            with open(self._saved, "w") as file:
                file.write('model_checkpoint_path: "model.ckpt-{}"'.format(self._step))

        def ended(self):
            if self._code is None:
                self._code = self._next()
            return self._code

        def _next(self):
            last = 4 if self._name.endswith("seed2") and "003" in self._name else STEPS  # it stops early
            if self._step == last:
                scores = {"accuracy": trainings.score(self._name, last), "global_step": last}
                with open(os.path.join(self._folder, "eval_results.json"), "w") as file:
                    json.dump(scores, file)
                return 0
            if self._stopped:
                self._save()
                return 143
            if trainings.rng.random() < trainings.failing and self._name < "004":
                return 1
            if trainings.rng.random() < 0.5:
                self._step += 1
                self._write("a", [self._step])
                if self._step % 2 == 0:
                    self._save()
            return None

        def stop(self, number=0):
            self._stopped = True

    return Process


def searched(folder, at_once):
    """One command of a search of 7 settings and 2 seeds. Returns what it found."""
    varied = space.dimensions(["rate=1,2,3,4,5,6,7"])
    design = Design(7, [Place(1, 0), Place(2, 0)], prune_after=2)
    kept = record.opened(folder, {})
    kept.settings = space.grid(varied)
    kept.write()
    search = conduct.Search(
        folder, "fake", varied, design, 0, [[0]] * at_once, lambda run, setting: [search.folder_of(run, setting)], None
    )
    assert conduct.conduct(search, kept) is None
    return results.found(["rate"], design, kept.settings, kept.outcomes)


@pytest.mark.parametrize("seed", [1, 3])
def test_failures_that_are_tried_again_leave_the_table_of_an_undisturbed_search(tmp_path, monkeypatch, seed):
    trainings = Trainings(seed)
    monkeypatch.setattr(conduct, "Process", fake_process(trainings))
    monkeypatch.setattr(conduct, "_LOOK_SECS", 0)
    undisturbed = results.as_json(searched(str(tmp_path / "undisturbed"), 1), None)
    ends = {run["end"] for trial in undisturbed["trials"] for run in trial["runs"]}
    assert ends <= {"finished", "pruned"}
    folder = tmp_path / "disturbed"
    for failing in (0.3, 0.1, 0.0):
        trainings.failing = failing
        found = searched(str(folder), trainings.rng.choice([1, 2, 4]))
    assert results.as_json(found, None) == undisturbed


def test_a_folder_that_is_removed_or_damaged_meanwhile_is_a_failure_of_its_run_alone(tmp_path, monkeypatch):
    class Process(fake_process(Trainings(0))):
        def ended(self):
            rate = os.path.basename(self._folder)[:3]
            if rate == "001":
                shutil.rmtree(self._folder)
                return 0
            if rate == "002":
                os.remove(self._folder + ".log")
                return 1
            if rate == "003":
                with open(os.path.join(self._folder, "plan.json"), "w") as file:
                    file.write("{")
            return super().ended()

    monkeypatch.setattr(conduct, "Process", Process)
    monkeypatch.setattr(conduct, "_LOOK_SECS", 0)
    messages = dict(results.failures(searched(str(tmp_path), 2)))
    assert {name[:3] for name in messages} == {"001", "002", "003"}
    assert "eval_results.json: cannot be read" in messages["001-rate=1-seed1"]
    assert messages["002-rate=2-seed1"].endswith("seed1.log: was removed during the run")
    assert "no plan.json that can be read" in messages["003-rate=3-seed1"]


def test_a_run_that_is_pruned_no_more_goes_on_when_its_rivals_have_come_to_its_step():
    place = Place(1, 0)
    design = Design(4, [place], prune_after=2)
    first, second, third, fourth = (Run(trial, place) for trial in (1, 2, 3, 4))
    outcomes = {
        first: Outcome(FINISHED, [(1, 0.9), (2, 0.9)], 3, 0.9),
        third: Outcome(FINISHED, [(1, 0.8), (2, 0.8)], 3, 0.8),
        fourth: Outcome(STOPPED, [(1, 0.82)], 3),
    }
    failed = Board(design, {**outcomes, second: Outcome(FAILED, [], 3)})
    assert failed.pruned(fourth) == 1 and failed.startable([1, 2, 3, 4]) == []
    again = Board(design, outcomes)
    assert not again.is_done(fourth) and again.startable([1, 2, 3, 4]) == [second]  # it waits
    low = {**outcomes, second: Outcome(FINISHED, [(1, 0.1), (2, 0.1)], 3, 0.1)}
    assert Board(design, low).startable([1, 2, 3, 4]) == [fourth] and not Board(design, low).is_done(fourth)
    finished = Board(design, {**low, fourth: Outcome(FINISHED, [(1, 0.82), (2, 0.9)], 3, 0.9)})
    assert finished.startable([1, 2, 3, 4]) == [] and finished.pruned(fourth) is None and finished.is_done(fourth)
