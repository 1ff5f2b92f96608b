"""facts → diagnosis: what is right in a folder, what is worth knowing, and what is wrong. Pure: no TensorFlow.

Each function looks at one thing, and gives a finding with a name by which a program knows it.
"""

import os
from typing import Callable, List, NamedTuple, Optional, Tuple

from . import heads
from .facts import ANSWERS, CLASSES, EMPTY, ORIGINAL, OURS, PIECES, PUBLISHED, TAGS, UNKNOWN, Facts
from .heads import Head

RIGHT, NOTE, WRONG = "ok", "note", "WRONG"
WRONG_CASE = "wrong_case"

# The weights of a fine-tuned encoder keep this much of the pre-trained ones. Fine-tuning moves them by some percent.
_HALVES = (0.4, 0.6)  # what a projection on the pre-trained weights is where they were halved
_RELATED = 0.7  # the cosine between them from which one descends from the other
_NEAR = (0.8, 1.25)
_HEADS = {
    CLASSES: "a classifier's",
    TAGS: "a tagger's",
    ANSWERS: "run_squad's",
    PIECES: "of pre-training",
    UNKNOWN: "of an unknown program",
}


class Finding(NamedTuple):
    name: str
    level: str  # RIGHT, NOTE or WRONG
    about: str  # the part of the folder, for a table
    text: str


def findings(facts: Facts) -> List[Finding]:
    """All that is said of a folder, in the order in which a person reads it."""
    steps: Tuple[Callable[[Facts], List[Finding]], ...] = (
        _checkpoint,
        _unusable,
        _best,
        _rate,
        _head,
        _labels,
        _slots,
        _norm,
        _vocabulary,
        _sizes,
        _files,
    )
    return [finding for look in steps for finding in look(facts)]


def names(found: List[Finding]) -> Tuple[str, ...]:
    return tuple(finding.name for finding in found)


def head(facts: Facts) -> Optional[Head]:
    if facts.checkpoint is None:
        return None
    return heads.head_of(facts.checkpoint.weights, facts.script, facts.checkpoint.pooler_learned)


def finished(facts: Facts) -> bool:
    """Whether the plan has no step left, or early stopping ended the run."""
    step = facts.checkpoint.step if facts.checkpoint else None
    return facts.stopped_early or facts.end is not None and step is not None and step >= facts.end


def learns_nothing(facts: Facts) -> bool:
    """Whether the next update would have a rate of 0."""
    return facts.rate is not None and facts.rate.following == 0


def only_best(facts: Facts) -> bool:
    """Whether the best on dev is the one checkpoint that can be used."""
    return facts.checkpoint is not None and facts.checkpoint.prefix == facts.best


def labels_fit(facts: Facts) -> bool:
    """Whether there is a label for each output of the head, in the order of the outputs."""
    of_model = head(facts)
    if facts.labels is None or of_model is None:
        return False
    number = not facts.labels.names and facts.labels.kind == "regression"
    return of_model.size == (1 if number else len(facts.labels.names))


# --- what is looked at --------------------------------------------------------------------------------------------


def _checkpoint(facts: Facts) -> List[Finding]:
    if facts.checkpoint is None and facts.is_saved_model:
        return []
    if facts.checkpoint is None:
        text = "none that can be used" if facts.unusable or facts.not_finite else "there is none"
        return [Finding("no_checkpoint", WRONG, "checkpoint", text)]
    name = os.path.relpath(facts.checkpoint.prefix, facts.folder)
    step = facts.checkpoint.step
    if facts.writer == PUBLISHED or step is None:
        text = "{}: without a step, as a published model".format(name)
        return [Finding("pretrained_model", RIGHT, "checkpoint", text)]
    if facts.end is None:
        return [Finding("stopped_somewhere", RIGHT, "checkpoint", "{}, step {:,}".format(name, step))]
    text = "{}, step {:,} of {:,}".format(name, step, facts.end)
    if facts.stage > 1:
        text += " of stage {}".format(facts.stage)
    if finished(facts):
        return [Finding("finished", RIGHT, "checkpoint", text + ": the run is finished")]
    return [Finding("unfinished", NOTE, "checkpoint", text + ": the run is not finished")]


def _unusable(facts: Facts) -> List[Finding]:
    instead = ""
    if facts.checkpoint:
        instead = "; the best is taken" if only_best(facts) else "; an older one is taken"
    lines = [Finding("damaged", WRONG, "checkpoint", why + instead) for why in facts.unusable]
    text = "{}: NaN or infinity: the training that wrote it went wrong{}"
    return lines + [Finding("not_finite", WRONG, "numbers", text.format(name, instead)) for name in facts.not_finite]


def _best(facts: Facts) -> List[Finding]:
    if facts.best_lost is not None:
        text = facts.best_lost.rstrip(".") + ". It is the best model of the run, with which it would predict"
        return [Finding("best_lost", WRONG, "checkpoint", text)]
    if facts.best is None:
        return []
    text = "{}: the best on dev, with which the run predicts".format(os.path.relpath(facts.best, facts.folder))
    return [Finding("best", RIGHT, "checkpoint", text)]


def _rate(facts: Facts) -> List[Finding]:
    step = facts.checkpoint.step if facts.checkpoint else None
    if step is None:
        return []
    rate = facts.rate
    if rate is None:
        text = "not known: there is no plan, and no graph or event file tells it"
        return [Finding("rate_unknown", NOTE, "rate", text)]
    before = "at the start" if rate.before is None else "{:.3g} in the last update".format(rate.before)
    text = "{}, {} in the next ({})".format(before, _next(rate.following), rate.source)
    if rate.following == 0 and not finished(facts):
        start = "from here" if rate.zero_from is None else "from step {:,}".format(rate.zero_from)
        text += ": it is 0 {} on, and nothing more is learned".format(start)
        return [Finding("rate_zero", WRONG, "rate", text)]
    if rate.following == 0:
        return [Finding("rate_zero", NOTE, "rate", text + ": with this plan nothing more would be learned")]
    if rate.zero_from is not None:
        text += "; 0 from step {:,} on".format(rate.zero_from)
    return [Finding("rate", RIGHT, "rate", text)]


def _next(rate: Optional[float]) -> str:
    return "not known" if rate is None else "0" if rate == 0 else "{:.3g}".format(rate)


def _head(facts: Facts) -> List[Finding]:
    if facts.checkpoint is None:
        return []
    of_model = head(facts)
    if of_model is None:
        level = WRONG if facts.writer in (OURS, ORIGINAL) else NOTE
        return [Finding("no_head", level, "head", "none: this model predicts nothing before it is fine-tuned")]
    size = "" if of_model.size is None else ", {:,} output{}".format(of_model.size, "s" * (of_model.size != 1))
    text = "{}{} ({})".format(_HEADS[of_model.kind], size, _few(of_model.names))
    if of_model.kind == PIECES:
        return [Finding("pretraining_head", NOTE, "head", text + ": this model predicts no labels")]
    if of_model.foreign and of_model.kind != ANSWERS:
        text += ": this program has no head with {}. A further stage starts with a new one".format(
            _few(of_model.foreign)
        )
        return [Finding("other_head", WRONG, "head", text)]
    if facts.labels is not None and not labels_fit(facts) and of_model.kind in (CLASSES, TAGS):
        text += ": {} lists {:,} labels".format(facts.labels.source, len(facts.labels.names))
        if of_model.size == len(facts.labels.names) + 1:
            text += ". Programs that count from 1 have an output more, for padding"
        return [Finding("other_head", WRONG, "head", text + ". The list is another model's, or the head is")]
    return [Finding("head", RIGHT, "head", text)]


def _few(every: Tuple[str, ...]) -> str:
    return ", ".join(every[:3]) + ", …" * (len(every) > 3)


def _labels(facts: Facts) -> List[Finding]:
    of_model = head(facts)
    lines = []
    if facts.labels is not None and facts.labels.names:
        text = "{} ({}, in this order)".format(_few(facts.labels.names), facts.labels.source)
        lines.append(Finding("labels", RIGHT, "labels", text))
    elif facts.labels is None and of_model is not None and of_model.kind in (CLASSES, TAGS):
        text = "lost: no file says which output is which label. It is the order of the program that trained, in the "
        text += "original the one of its processor's get_labels()"
        lines.append(Finding("labels_lost", WRONG, "labels", text))
    for name in facts.pickles:
        text = "{} is a pickle: it is not opened, since reading a pickle runs what is in it".format(name)
        lines.append(Finding("pickle", NOTE, "files", text))
    return lines


def _slots(facts: Facts) -> List[Finding]:
    if facts.checkpoint is None or facts.checkpoint.step is None:
        return []
    numbers = facts.checkpoint.numbers
    if not numbers.slots:
        text = "none: the checkpoint has weights alone; if the optimizer has averages, training on is a further stage"
        return [Finding("no_slots", NOTE, "slots", text)]
    if numbers.slots_of_zeros == numbers.slots:
        text = "{:,}, all of them zeros: no update has filled them".format(numbers.slots)
        return [Finding("empty_slots", WRONG if facts.checkpoint.step else NOTE, "slots", text)]
    text = "{:,}, filled".format(numbers.slots)
    if numbers.slots_of_zeros:
        text += " but for {:,}, whose weights have had no gradient".format(numbers.slots_of_zeros)
    return [Finding("slots", RIGHT, "slots", text)]


def _norm(facts: Facts) -> List[Finding]:
    numbers = facts.checkpoint.numbers if facts.checkpoint else None
    if numbers is None or numbers.encoder_norm is None:
        return []
    text = "norm of the encoder {:.4g}".format(numbers.encoder_norm)
    if numbers.projection is None or numbers.cosine is None:
        if facts.writer == PUBLISHED:
            return [Finding("norm", RIGHT, "weights", text)]
        return [Finding("norm", NOTE, "weights", text + "; --pretrained=CHECKPOINT compares it with its start")]
    text += ", {:.3g} times the pre-trained weights, cosine {:.3f}".format(numbers.projection, numbers.cosine)
    if numbers.cosine < _RELATED:
        text += ": these weights do not descend from {}".format(facts.pretrained)
        return [Finding("unrelated", WRONG, "weights", text)]
    if _HALVES[0] <= numbers.projection <= _HALVES[1]:
        text += ": halved, as by a Lookahead whose slow weights started from 0. What was pre-trained is lost"
        return [Finding("halved", WRONG, "weights", text)]
    if not _NEAR[0] <= numbers.projection <= _NEAR[1]:
        return [Finding("scaled", WRONG, "weights", text + ": fine-tuning does not scale weights so")]
    return [Finding("norm", RIGHT, "weights", text)]


def _vocabulary(facts: Facts) -> List[Finding]:
    vocabulary = facts.vocabulary
    if vocabulary is None:
        if facts.checkpoint is None:
            return []
        text = "none in the folder; --vocab_file=FILE checks one"
        return [Finding("no_vocabulary", NOTE, "vocabulary", text)]
    lines = []
    rows = _rows(facts)
    if rows is not None and rows < vocabulary.pieces:
        text = "{}: {:,} pieces, but the checkpoint has {:,}: the vocabulary is another model's"
        lines.append(
            Finding("other_vocabulary", WRONG, "vocabulary", text.format(vocabulary.path, vocabulary.pieces, rows))
        )
    else:
        text = "{}: {:,} pieces".format(vocabulary.path, vocabulary.pieces)
        level = RIGHT
        if facts.writer != OURS and rows is not None and rows > vocabulary.pieces:
            text, level = text + ", and the checkpoint has {:,}: is it the one of training?".format(rows), NOTE
        lines.append(Finding("vocabulary", level, "vocabulary", text))
    if vocabulary.contradiction:
        stated = str(vocabulary.stated_lower_case).lower()
        text = "do_lower_case={}, but {}".format(stated, vocabulary.contradiction.rstrip("."))
        lines.append(Finding(WRONG_CASE, WRONG, "case", text + ": every such word was read as [UNK] or in pieces"))
    elif vocabulary.stated_lower_case is None:
        text = "nothing says which do_lower_case training had"
        letters = {True: ", but the vocabulary is cased", False: ", but the vocabulary is uncased", None: ""}
        lines.append(Finding("case_not_said", NOTE, "case", text + letters[vocabulary.cased]))
    else:
        text = "do_lower_case={}".format(str(vocabulary.stated_lower_case).lower())
        text += ", as the vocabulary's letters" if vocabulary.cased is not None else ""
        lines.append(Finding("case", RIGHT, "case", text))
    return lines


def _rows(facts: Facts) -> Optional[int]:
    """The pieces of the checkpoint."""
    shape = facts.checkpoint.weights.get("bert/embeddings/word_embeddings") if facts.checkpoint else None
    return shape[0] if shape else None


def _sizes(facts: Facts) -> List[Finding]:
    """Sizes of bert_config.json that are not the checkpoint's."""
    if facts.config is None or facts.checkpoint is None:
        return []
    weights = facts.checkpoint.weights
    expected = {"num_hidden_layers": _layers(facts)}
    for key, name, axis in (
        ("vocab_size", "bert/embeddings/word_embeddings", 0),
        ("hidden_size", "bert/embeddings/word_embeddings", 1),
        ("max_position_embeddings", "bert/embeddings/position_embeddings", 0),
        ("type_vocab_size", "bert/embeddings/token_type_embeddings", 0),
        ("intermediate_size", "bert/encoder/layer_0/intermediate/dense/kernel", 1),
    ):
        if name in weights:
            expected[key] = weights[name][axis]
    different = [
        "{}={:,}, {:,} in the checkpoint".format(key, facts.config[key], number)
        for key, number in sorted(expected.items())
        if key in facts.config and facts.config[key] != number
    ]
    if not different:
        return []
    return [Finding("other_config", WRONG, "configuration", "bert_config.json: " + "; ".join(different))]


def _layers(facts: Facts) -> int:
    start = "bert/encoder/layer_"
    weights = facts.checkpoint.weights if facts.checkpoint else {}
    numbers = [name[len(start) :].split("/")[0] for name in weights if name.startswith(start)]
    return len(set(numbers))


def _files(facts: Facts) -> List[Finding]:
    lines = [Finding("changed_file", WRONG, "files", text.rstrip(".")) for text in facts.problems]
    for name in facts.frozen:
        text = "{}: a frozen graph: it predicts with the weights of some step, and cannot be trained".format(name)
        lines.append(Finding("frozen_graph", NOTE, "files", text))
    if facts.is_saved_model:
        text = (
            "saved_model.pb: a SavedModel: TensorFlow predicts with it, and nothing trains it. Go on from the run of "
        )
        lines.append(Finding("saved_model", NOTE, "files", text + "which it is an export"))
    elif facts.writer == EMPTY and not facts.frozen:
        lines.append(Finding("no_model", WRONG, "files", "no file is one of a model or a run"))
    return lines
