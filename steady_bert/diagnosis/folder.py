"""A folder → facts. What names and small files say is read at once, TensorFlow's readers are imported when needed."""

import os
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, TypeVar

import tokenization

from ..base import json_files, tensorflow_setup
from ..base.errors import UserError
from ..command_line.flag_table import flags_of
from ..interchange import folders
from ..tasks.model_files import LABELS_FILE, MODEL_FILES
from ..training import checkpoint_files, manifest, run_files
from . import label_files, rates
from .facts import EMPTY, ORIGINAL, OURS, PUBLISHED, Checkpoint, Facts, Rate, Vocabulary

Result = TypeVar("Result")

SCRIPTS = ("run_classifier", "run_ner", "run_squad", "run_pretraining")
_EVENTS = "events.out.tfevents."
_PUBLISHED_ENDING = ".ckpt.index"
_SAVED_MODEL = "saved_model.pb"  # of an export, which is not a frozen graph


def read(folder: str, pretrained: Optional[str], given: Mapping[str, str]) -> Facts:
    """Everything that is known of a folder.

    pretrained: the checkpoint that training began with, as --init_checkpoint names one. given: flags that the user
    knows, of which those of vocabulary, configuration and case are read here. Raises UserError if the folder or one of
    these does not exist.
    """
    if not os.path.isdir(folder):
        raise UserError("{}: no such folder. Check the path.".format(folder))
    names = sorted(os.listdir(folder))
    problems: List[str] = []
    writer = _writer(folder, names)
    if writer != EMPTY or pretrained:
        tensorflow_setup.import_tensorflow()
    collected = _Collector(problems)
    flags = collected(lambda: run_files.given_flags(folder)) or {}
    labels = collected(lambda: label_files.read(folder, names))
    labels = labels if writer == OURS and labels else label_files.given(given) or labels
    facts = Facts(
        folder=folder,
        writer=writer,
        labels=labels,
        pickles=label_files.pickles_among(names),
        frozen=tuple(name for name in names if name.endswith(".pb") and name != _SAVED_MODEL),
        is_saved_model=_SAVED_MODEL in names,
        vocabulary=_or_refused(lambda: _vocabulary(folder, given), collected, given, ("vocab_file", "spm_model_file")),
        config=_or_refused(lambda: _config(folder, given), collected, given, ("bert_config_file",)),
        pretrained=_pretrained(pretrained, flags),
        flags=flags,
    )
    if writer == OURS:
        collected(lambda: manifest.verify(folder, (), by_flag=False))
        changed = collected(lambda: tuple(manifest.changed(folder))) or ()
        facts = facts._replace(script=_script(folder, facts), changed=changed)
    if writer != EMPTY:
        facts = _with_checkpoint(facts, names, problems)
    return facts._replace(problems=tuple(dict.fromkeys(problems)))


class _Collector:
    """Calls a function; what it refuses goes to a list of problems, and None comes back."""

    def __init__(self, problems: List[str]) -> None:
        self._problems = problems

    def __call__(self, function: Callable[[], Result]) -> Optional[Result]:
        try:
            return function()
        except UserError as error:
            self._problems.append(" ".join(str(error).split()))
            return None


def _or_refused(
    function: Callable[[], Optional[Result]], collected: _Collector, given: Mapping[str, str], flags: Sequence[str]
) -> Optional[Result]:
    """What a function reads of a file: a damaged one of the folder's is a problem, one that a flag names an error."""
    return function() if any(given.get(flag) for flag in flags) else collected(function)


def _writer(folder: str, names: Sequence[str]) -> str:
    if folders.kind_of(folder) == folders.HUGGING_FACE:
        raise UserError("{}: a folder of Hugging Face: --model={} trains from it.".format(folder, folder))
    if {manifest.PLAN_FILE, manifest.FILE} & set(names) or {manifest.CONFIG_FILE, LABELS_FILE} <= set(names):
        return OURS
    if checkpoint_files.steps_in(folder) or checkpoint_files.lost(folder):
        return ORIGINAL
    return PUBLISHED if _published_prefix(folder, names) else EMPTY


def _published_prefix(folder: str, names: Sequence[str]) -> Optional[str]:
    found = [name[: -len(".index")] for name in names if name.endswith(_PUBLISHED_ENDING)]
    return os.path.join(folder, found[0]) if len(found) == 1 else None


def _script(folder: str, facts: Facts) -> Optional[str]:
    """The script that trained one of our runs; None if the folder does not say it."""
    if facts.labels is not None and facts.labels.script:
        return facts.labels.script
    able = [script for script in SCRIPTS if facts.flags.keys() <= {flag.name for flag in flags_of(script)}]
    if facts.flags and len(able) == 1:
        return able[0]
    from ..serving import saved_run

    try:
        return None if saved_run.is_run(folder) else "run_pretraining"
    except UserError:  # manifest.verify says it
        return None


def _vocabulary(folder: str, given: Mapping[str, str]) -> Optional[Vocabulary]:
    named = given.get("vocab_file") or given.get("spm_model_file")
    own = [os.path.join(folder, MODEL_FILES[flag]) for flag in ("vocab_file", "spm_model_file")]
    path = named or next((each for each in own if os.path.exists(each)), None)
    if path is None:
        return None
    if not os.path.isfile(path):
        raise UserError("{}: no such file. Check the path.".format(path))
    pieces: Any
    if path.endswith(".model"):
        pieces = tokenization.SentencePieceTokenizer(path).vocab
    else:
        pieces = tokenization.load_vocab(path)
    check = tokenization.check_case_against_vocab
    cased = True if check(pieces, True) else False if check(pieces, False) else None
    lower = _stated_case(folder, given)
    return Vocabulary(path, len(pieces), cased, lower, None if lower is None else check(pieces, lower))


def _stated_case(folder: str, given: Mapping[str, str]) -> Optional[bool]:
    if "do_lower_case" in given:
        return given["do_lower_case"].lower() not in ("false", "0", "f", "no")
    try:
        lower, source = folders.case_of(folder, None)
    except UserError:  # of a damaged config.json, which manifest.verify names
        return None
    return None if source == "the default" else lower


def _config(folder: str, given: Mapping[str, str]) -> Optional[Dict[str, int]]:
    """The sizes in bert_config.json; None if there is none, or it cannot be read."""
    path = given.get("bert_config_file") or os.path.join(folder, MODEL_FILES["bert_config_file"])
    if not os.path.exists(path) and "bert_config_file" not in given:
        return None
    content = json_files.read(path)
    return {key: value for key, value in content.items() if isinstance(value, int)}


def _pretrained(named: Optional[str], flags: Mapping[str, str]) -> Optional[str]:
    """The prefix of the checkpoint that training began with; None if neither the user nor flags.txt names one."""
    path = named or flags.get("init_checkpoint") or flags.get("model")
    if path is None:
        return None
    from ..training import checkpoint

    try:
        return checkpoint.resolve(path)
    except UserError:
        if named:
            raise
        return None  # it was elsewhere, or is Hugging Face's


# --- the checkpoint, with what follows from its step ------------------------------------------------------------------


def _with_checkpoint(facts: Facts, names: Sequence[str], problems: List[str]) -> Facts:
    from . import tensors

    folder = facts.folder
    published = _published_prefix(folder, names) if facts.writer == PUBLISHED else None
    prefixes = [checkpoint_files.prefix_of(folder, step) for step in checkpoint_files.steps_in(folder)]

    def examine(prefix: str) -> Checkpoint:
        return tensors.examine(prefix, facts.pretrained)

    chosen, unusable, not_finite = _newest(published or "", prefixes, examine)
    if chosen is None and facts.writer == OURS:
        chosen = _newest("", list(filter(None, _best(folder)[:1])), examine)[0]
    step = chosen.step if chosen else None
    if not published:
        unusable = [why for other, why in checkpoint_files.lost(folder).items() if other > (step or 0)] + unusable
    facts = facts._replace(checkpoint=chosen, unusable=tuple(unusable), not_finite=tuple(not_finite))
    if chosen is None or step is None:
        return facts
    if facts.writer == OURS:
        facts = _Collector(problems)(lambda: _planned(facts, chosen, step)) or facts
    if facts.rate is None:
        events = [os.path.join(folder, name) for name in names if name.startswith(_EVENTS)]
        facts = facts._replace(rate=_Collector(problems)(lambda: _rate(chosen.prefix, step, events)))
    return facts


def _newest(
    published: str, prefixes: Sequence[str], examine: Callable[[str], Checkpoint]
) -> Tuple[Optional[Checkpoint], List[str], List[str]]:
    """(the newest checkpoint that is whole and finite, why newer ones are damaged, which newer ones are not finite)."""
    unusable: List[str] = []
    not_finite: List[str] = []
    for prefix in [published] if published else prefixes:
        try:
            found = examine(prefix)
        except UserError as error:
            unusable.append(str(error))
            continue
        if not found.numbers.not_finite:
            return found, unusable, not_finite
        not_finite.append("{} ({})".format(prefix, ", ".join(found.numbers.not_finite[:3])))
    return None, unusable, not_finite


def _planned(facts: Facts, chosen: Checkpoint, step: int) -> Facts:
    """What the plan of one of our runs says."""
    from ..training import checkpoint, progress

    plan = run_files.saved_plan(facts.folder)
    if plan is None:
        return facts
    state = checkpoint.state_in(chosen.prefix)
    best, best_lost = _best(facts.folder)
    return facts._replace(
        best=best,
        best_lost=best_lost,
        end=plan.num_train_steps,
        stage=int(plan.notes.get("stage", 1)),
        rate=rates.of_plan(plan, step, state.plateau_scale, manifest.PLAN_FILE),
        stopped_early=bool(progress.stopped_early(state, plan.early_stopping_patience)),
    )


def _best(folder: str) -> Tuple[Optional[str], Optional[str]]:
    """(the best checkpoint of one of our runs if there is one, why it cannot be used)."""
    from ..training import checkpoint

    try:
        best = checkpoint.best_in(folder)
    except UserError as error:
        return None, str(error)
    problem = best and checkpoint.damage(best)
    return best, problem and "{} is damaged: {}".format(best, problem)


def _rate(prefix: str, step: int, event_files: Sequence[str]) -> Optional[Rate]:
    """The rate by the graph beside the checkpoint, else by event files."""
    from . import tensors

    meta = prefix + ".meta"
    if os.path.exists(meta):
        found = rates.of_graph(tensors.nodes_of_meta(meta), step, os.path.basename(meta))
        if found is not None:
            return found
    events = tensors.Events(event_files)
    found = rates.of_graph(events.nodes, step, os.path.basename(events.graph_from)) if events.nodes else None
    return found or rates.of_log(events.rates, step, "event files")
