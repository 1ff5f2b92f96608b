"""What scripts/search.py does: its arguments, the runs that they ask for, and what is written at the end."""

import argparse
import os
import sys
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..base import files, locks
from ..base.errors import UserError
from ..command_line.flag_table import GROUPS, flags_of
from ..training import reports, run_files
from ..training.plan import PlanConfig
from ..training.reports import say
from . import again, conduct, data_files, fold_tasks, page, processes, record, results, space, tpe
from .again import Again
from .conduct import Search
from .record import Record
from .results import Found
from .runs import Design, Place, Run
from .space import Dimension, Setting

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GRID, RANDOM, TPE = "grid", "random", "tpe"
SCRIPTS = [script for script in GROUPS if script != "serve"]
RESULTS_FILE, PAGE_FILE = "search.json", "search.html"
_OWN = {"do_train": "True", "do_eval": "True"}  # what every run does
_EVERY = ("eval_every_steps", "eval_every_epochs")
_REFUSED = {
    "output_dir": "each run has a folder of its own within the search's. Leave it out.",
    "dry_run": "a search trains. Leave it out.",
    "check_data": "a search trains. Leave it out.",
    "do_predict": "a search does not predict. Leave it out, and predict with the best run's folder.",
}


class Scripts(NamedTuple):
    """How the flags of a script are read: (script, arguments) → lines like --name=value, or its configuration."""

    given: Callable[[str, Sequence[str]], List[str]]
    config: Callable[[str, Sequence[str]], Any]


def arguments_of(description: str, given: Sequence[str]) -> Tuple[argparse.Namespace, List[str]]:
    """(the search's own arguments, the command after --)."""
    parser = argparse.ArgumentParser(
        "search.py", description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("folder", help="where the search is kept; the same command goes on there")
    parser.add_argument("--vary", action="append", default=[], metavar="FLAG=VALUES", help="what to try; see above")
    parser.add_argument("--method", choices=(GRID, RANDOM, TPE), default=GRID, help="default: grid, all combinations")
    parser.add_argument("--trials", type=int, metavar="N", help="settings to try, with random and tpe")
    parser.add_argument("--seeds", metavar="N,N,…", help="each setting is trained with each; default: the script's own")
    parser.add_argument("--k_folds", type=int, default=0, metavar="K", help="train K times, each part once as dev")
    parser.add_argument("--fold_by", default="label", metavar="COLUMN", help="label, or a column kept together")
    parser.add_argument("--prune", action="store_true", help="stop runs below the median of the others at their step")
    parser.add_argument("--prune_after", type=int, default=4, metavar="N", help="others that must be known (4)")
    parser.add_argument("--at_once", type=int, default=1, metavar="N", help="runs at a time (1)")
    parser.add_argument("--cores_each", type=int, metavar="N", help="cores of a run; default: all, divided by at_once")
    parser.add_argument("--search_seed", type=int, default=0, help="of random, tpe and the folds (0)")
    own = list(given)
    command: List[str] = []
    if "--" in own:
        place = own.index("--")
        own, command = own[:place], own[place + 1 :]
    return parser.parse_args(own), command


def main(description: str, scripts: Scripts, given: Optional[Sequence[str]] = None) -> None:
    options, command = arguments_of(description, sys.argv[1:] if given is None else given)
    _require_sensible(options)
    script, arguments = script_of(command)
    job = Job(options, script, scripts.given(script, arguments), scripts)
    files.require_writable(options.folder, "SEARCH_FOLDER")
    taken = "{}: another search is going on there. Wait for it, or use another folder.".format(options.folder)
    lock = locks.acquired(os.path.join(options.folder, ".lock"), taken)
    try:
        stopped, found = job.run()
    finally:
        lock.release()
    if stopped is not None:
        say("Stopped. The same command goes on.")
        sys.exit(128 + stopped)
    sys.exit(1 if results.failures(found) else 0)


def _require_sensible(options: argparse.Namespace) -> None:
    for name, least in (("at_once", 1), ("prune_after", 1), ("search_seed", 0), ("cores_each", 1), ("trials", 1)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise UserError("--{}={}: expected at least {}.".format(name, value, least))
    if options.k_folds not in (0, *range(2, 101)):
        raise UserError("--k_folds={}: expected 2 to 100.".format(options.k_folds))
    if options.method == GRID and options.trials is not None:
        raise UserError("--trials: a grid tries every combination. Leave it out, or give --method=random or tpe.")
    if options.method != GRID and options.trials is None:
        raise UserError("--method={}: needs --trials, the number of settings to try.".format(options.method))
    if options.fold_by != fold_tasks.LABEL and not options.k_folds:
        raise UserError("--fold_by={}: has no meaning without --k_folds.".format(options.fold_by))
    if options.cores_each and not processes.has_affinity():
        raise UserError("--cores_each: this system does not bind processes to cores. Leave it out.")
    if options.method == TPE:
        tpe.require_optuna()


def script_of(command: Sequence[str]) -> Tuple[str, List[str]]:
    """(the script's name, its arguments). `python` before it is accepted, as a command that was pasted has it."""
    words = list(command)
    if words and os.path.basename(words[0]).startswith("python"):
        del words[0]
    name = os.path.splitext(os.path.basename(words[0]))[0] if words else ""
    if name not in SCRIPTS:
        what = "{!r} is none of {}".format(words[0], ", ".join(SCRIPTS)) if words else "no script is named"
        raise UserError("{}. After the search's own arguments write -- run_classifier.py --flag=value …".format(what))
    return name, words[1:]


class Job:
    """A search as its command asks for it."""

    def __init__(self, options: argparse.Namespace, script: str, given: List[str], scripts: Scripts) -> None:
        self._options, self._script, self._scripts = options, script, scripts
        self._given = run_files.flags_among(given)
        self._lines = [line for line in given if "seed" not in run_files.flags_among([line])]
        self._space = space.dimensions(options.vary)
        self._fold_flags: List[Dict[str, str]] = []
        self._require_flags()
        self._places = [
            Place(seed, fold)
            for seed in self._seeds()
            for fold in (range(1, options.k_folds + 1) if options.k_folds else [0])
        ]

    # --- what is asked for --------------------------------------------------------------------------------------------

    def _require_flags(self) -> None:
        known = {flag.name for flag in flags_of(self._script)}
        for dimension in self._space:
            name = dimension.flag
            if name not in known:
                raise UserError(
                    "--vary {0}=…: {1}.py has no flag --{0}. Its --helpfull shows all.".format(name, self._script)
                )
            if name in self._given:
                raise UserError("--vary {0}=…: --{0} is given too. Leave one out.".format(name))
            if self._options.k_folds and name in fold_tasks.FIXED:
                raise UserError("--vary {}=…: with --k_folds all runs read one training file, in one way.".format(name))
            if name in _REFUSED or name in _OWN or name == "seed":
                remedy = " Give --seeds." if name == "seed" else ""
                raise UserError("--vary {}=…: is not a setting of a search.{}".format(name, remedy))
        for name, reason in _REFUSED.items():
            if self._given.get(name, "False") != "False":
                raise UserError("--{}: {}".format(name, reason))
        if self._given.get("resume_mode") in ("exact", "fresh"):
            raise UserError("--resume_mode: runs that were stopped go on where they were saved. Leave it out.")
        for name in _OWN:
            if self._given.get(name) == "False":
                raise UserError("--{}=false: every run of a search trains and evaluates. Leave it out.".format(name))
        if self._options.prune and any(self._given.get(name) in ("0", "0.0") for name in _EVERY):
            raise UserError("--prune: runs are compared where they are evaluated, and these are not until they end.")
        if self._options.seeds and "seed" in self._given:
            raise UserError("--seeds and --seed were both given. Give --seeds alone.")
        if self._options.k_folds:
            fold_tasks.require_folds(self._script)
            if "dev_file" in self._given:
                raise UserError("--dev_file: with --k_folds each part of the training data is dev once. Leave it out.")

    def _seeds(self) -> List[int]:
        text = self._options.seeds or self._given.get("seed") or str(PlanConfig.seed)
        try:
            seeds = [int(item) for item in text.split(",")]
        except ValueError:
            seeds = []
        if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
            raise UserError("--seeds={}: expected different whole numbers from 0, such as 1,2,3.".format(text))
        return seeds

    def flags(self, setting: Setting, place: Place, folder: str) -> List[str]:
        """The flags of a run. What comes later counts."""
        flags = dict(_OWN, cache_dir=os.path.join(self._options.folder, "cache"), keep_checkpoint_max="2")
        flags = {name: value for name, value in flags.items() if name not in self._given}
        flags.update(setting, seed=str(place.seed), output_dir=folder)
        if place.fold and self._fold_flags:
            flags.update(self._fold_flags[place.fold - 1])
        return self._lines + ["--{}={}".format(name, value) for name, value in flags.items()]

    def _check(self, setting: Setting) -> Any:
        """The configuration of a run with a setting. Raises UserError if its flags are wrong."""
        flags = self.flags(setting, Place(self._places[0].seed, 0), os.path.join(self._options.folder, "trials", "1"))
        if self._script == "run_ner" and self._options.k_folds and "train_file" in self._given:
            flags.append("--dev_file=" + self._given["train_file"])
        try:
            return self._scripts.config(self._script, flags)
        except UserError as error:
            raise UserError("{} (with {})".format(error, space.described(setting))) from None

    def _settings(self) -> Tuple[List[Setting], List[Any]]:
        """(all settings, checked, their configurations). Those of TPE are chosen later: their values are checked."""
        options = self._options
        if options.method == TPE:
            space.require_room(self._space, options.trials)
            checked, settings = space.one_at_a_time(self._space), []
        elif options.method == RANDOM:
            checked = settings = space.random_settings(self._space, options.search_seed, options.trials)
        else:
            checked = settings = space.grid(self._space)
        return settings, [self._check(setting) for setting in checked]

    def identity(self, cores_each: int, source: Optional[str], contents: Dict[str, str]) -> Dict[str, Any]:
        """What a command must have in common with that which began the search. at_once may change, but for TPE.

        source: the file that is split into folds. contents: hashes of the other files that are read.
        """
        options = self._options
        own: Dict[str, Any] = {
            "script": self._script + ".py",
            **{"--" + name: value for name, value in self._given.items() if name not in _OWN},
            **{"--vary " + dimension.flag: _shown(dimension) for dimension in self._space},
            "order of --vary": [dimension.flag for dimension in self._space],  # trials are numbered by it
            "method": options.method,
            "trials": options.trials,
            "seeds": list(dict.fromkeys(place.seed for place in self._places)),
            "k_folds": options.k_folds,
            "fold_by": options.fold_by if options.k_folds else None,
            "training file": files.sha256_of_file(source) if source else None,
            "prune_after": options.prune_after if options.prune else None,
            "cores_each": cores_each,
            "search_seed": options.search_seed,
            "at_once": options.at_once if options.method == TPE else None,
            **contents,
        }
        return {name: value for name, value in own.items() if value is not None}

    def _cores_each(self) -> int:
        """The cores of a run: as given, else as the search in the folder has it, else an equal share."""
        cores, at_once = len(processes.own_cores()), self._options.at_once
        if not processes.has_affinity():
            return cores
        saved = record.saved(self._options.folder).get("cores_each")
        each = self._options.cores_each or (saved if isinstance(saved, int) else max(cores // at_once, 1))
        if each * at_once > cores:
            text = "--at_once={}: so many runs with --cores_each={} need {} cores, and there are {}. Lower one of them."
            raise UserError(text.format(at_once, each, each * at_once, cores))
        return each

    # --- running ------------------------------------------------------------------------------------------------------

    def run(self) -> Tuple[Optional[int], Found]:
        """(the signal that stopped the search, what it has found so far)."""
        options = self._options
        (settings, configs), cores_each = self._settings(), self._cores_each()
        config = configs[0]
        source = fold_tasks.source_of(self._script, config.data) if options.k_folds else None
        contents = data_files.contents(self._script, configs, in_folds=bool(options.k_folds))
        kept = record.opened(options.folder, self.identity(cores_each, source, contents))
        if options.k_folds:
            where = os.path.join(options.folder, "folds")
            by = (options.k_folds, options.fold_by, options.search_seed)
            self._fold_flags = fold_tasks.write(self._script, config.data, *by, where)
        if options.method != TPE:
            kept.settings = settings
        kept.write()
        design = Design(
            options.trials or len(settings),
            self._places,
            lag=options.at_once if options.method == TPE else None,
            prune_after=options.prune_after if options.prune else None,
        )
        cores = processes.own_cores()
        slots = [cores[cores_each * n : cores_each * (n + 1)] for n in range(options.at_once)]
        if not processes.has_affinity():
            slots = [cores] * options.at_once
        search = Search(
            options.folder,
            self._script,
            self._space,
            design,
            options.search_seed,
            slots,
            lambda run, setting: self._command(search, run, setting),
            self._check,
        )
        done = " ({:,} of {:,} runs are done)".format(len(kept.outcomes), len(design.runs)) if kept.outcomes else ""
        say("{}; {:,} at once: {:,} runs{}".format(self._described(kept), options.at_once, len(design.runs), done))
        stopped = conduct.conduct(search, kept)
        return stopped, self._write(design, kept)

    def _command(self, search: Search, run: Run, setting: Setting) -> List[str]:
        flags = self.flags(setting, run.place, search.folder_of(run, setting))
        return [os.path.join(ROOT, self._script + ".py"), *flags]

    def _write(self, design: Design, kept: Record) -> Found:
        """Shows and writes what was found."""
        folder = self._options.folder
        found = results.found([dimension.flag for dimension in self._space], design, kept.settings, kept.outcomes)
        say("\n" + reports.format_table(results.rows(found)))
        for name, message in results.failures(found):
            say("{}: {}".format(name, message))
        best = None
        if found.best is not None:
            run = max(found.best.runs, key=lambda run: run.score or 0.0)
            place = os.path.join(folder, "trials", run.folder)
            gone = "" if os.path.isdir(place) else ", which has been removed"
            say("\nBest: trial {}, trained in {}{}".format(found.best.number, place, gone))
            best = self.again(found.best.setting, run.seed, kept.search["cores_each"])
            say("{}: {}".format(best.what, best.command))
            if best.note:
                say(best.note)
        content = results.as_json(found, best.command if best else None)
        files.write_json(os.path.join(folder, RESULTS_FILE), dict(content, search=kept.search))
        page.write(os.path.join(folder, PAGE_FILE), found, best, self._described(kept))
        say("Wrote {} and {} in {}".format(RESULTS_FILE, PAGE_FILE, folder))
        return found

    def again(self, setting: Setting, seed: int, cores_each: int) -> Again:
        """The command that trains a setting with a seed in FOLDER/best."""
        flags = self.flags(setting, Place(seed, 0), os.path.join(self._options.folder, "best"))
        if self._options.k_folds:
            return again.on_everything(ROOT, self._script, flags)
        return again.to_the_bit(ROOT, self._script, flags, processes.own_cores()[:cores_each])

    def _described(self, kept: Record) -> str:
        options = self._options
        count = options.trials or len(kept.settings)
        parts = ["{}.py, {}, {:,} settings".format(self._script, options.method, count)]
        parts.append("seeds " + ", ".join(map(str, kept.search["seeds"])))
        if options.k_folds:
            parts.append("{} folds by {}".format(options.k_folds, options.fold_by))
        if options.prune:
            parts.append("pruned by the median of at least {}".format(options.prune_after))
        parts.append("{} a run".format(_cores(kept)))
        return "; ".join(parts)


def _cores(kept: Record) -> str:
    count = kept.search["cores_each"]
    return "1 core" if count == 1 else "{} cores".format(count)


def _shown(dimension: Dimension) -> str:
    if dimension.kind == space.CHOICE:
        return ";".join(dimension.values)
    return "{}({},{})".format(dimension.kind, *dimension.ends)
