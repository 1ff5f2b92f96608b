"""The head of a checkpoint by the names and shapes of its weights. Pure: no TensorFlow."""

from typing import Mapping, NamedTuple, Optional, Tuple

from .facts import ANSWERS, CLASSES, PIECES, TAGS, UNKNOWN

ENCODER = "bert/"
_ANSWERS, _PIECES = "cls/squad/", "cls/"
_OUTPUTS = "output_bias"  # [outputs], of run_classifier and of taggers like it
_OWN, _OWN_SCOPES = ("output_weights", _OUTPUTS), ("crf/", "bilstm/")  # those that our heads have
# What taggers have beside it, or in its place: those of ours, then those of forks.
_TAGGERS = ("crf/", "bilstm/", "crf_loss/", "project/", "lstm_layer/", "rnn_layer/", "bidirectional_rnn/")


class Head(NamedTuple):
    kind: str  # of facts
    size: Optional[int]  # outputs; None: not known
    names: Tuple[str, ...]
    foreign: Tuple[str, ...]  # those of its weights that our heads do not have


def head_of(
    weights: Mapping[str, Tuple[int, ...]], script: Optional[str] = None, pooler_learned: Optional[bool] = None
) -> Optional[Head]:
    """The head among a checkpoint's weights; None if it has the encoder alone.

    script: what trained it, if known. pooler_learned: whether the optimizer has slots for the pooler, if it has any:
    the original creates the pooler for a tagger too, whose head does not read it.
    """
    names = tuple(sorted(name for name in weights if not name.startswith(ENCODER)))
    if not names:
        return None
    if any(name.startswith(_ANSWERS) for name in names):
        return Head(ANSWERS, _length(weights, _ANSWERS + _OUTPUTS), names, ())
    if all(name.startswith(_PIECES) for name in names):
        return Head(PIECES, _length(weights, "cls/predictions/" + _OUTPUTS), names, ())
    tagger = script == "run_ner" or any(name.startswith(_TAGGERS) for name in names)
    tagger = tagger or script is None and pooler_learned is False
    size = _length(weights, _OUTPUTS)
    if size is None:
        size = _tags_of_fork(weights)
    foreign = tuple(name for name in names if not (name in _OWN or name.startswith(_OWN_SCOPES)))
    kind = TAGS if tagger else CLASSES if _OUTPUTS in weights else UNKNOWN
    return Head(kind, size, names, foreign)


def _tags_of_fork(weights: Mapping[str, Tuple[int, ...]]) -> Optional[int]:
    """The number of tags by a square matrix of transitions, or a bias of logits."""
    for name, shape in sorted(weights.items()):
        last = name.rpartition("/")[2]
        if last == "transitions" and len(shape) == 2 and shape[0] == shape[1]:
            return shape[0]
        if name.startswith("project/logits/") and len(shape) == 1:
            return shape[0]
    return None


def _length(weights: Mapping[str, Tuple[int, ...]], name: str) -> Optional[int]:
    shape = weights.get(name)
    return shape[0] if shape else None
