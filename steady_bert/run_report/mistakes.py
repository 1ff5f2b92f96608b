"""The dev examples that a model has wrong, the most wrong of them, and those on which it is most in doubt. Pure."""

from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ..training.run_files import Evaluated

_SHARE = "{:.3f}"


class Word(NamedTuple):
    """A tagged word."""

    text: str
    gold: str
    predicted: str
    probability: float  # of the predicted tag

    @property
    def is_wrong(self) -> bool:
        return self.gold != self.predicted


class Judged(NamedTuple):
    """An example with how good its prediction is."""

    id: str
    line: int
    texts: List[str]
    gold: str
    predicted: str
    certainty: str  # in words: how probable which label was
    is_wrong: bool
    wrongness: float  # of a wrong one: the more, the worse
    doubt: Optional[float]  # the more, the nearer to another prediction; None where nothing says it
    words: Sequence[Word] = ()


class Judge(NamedTuple):
    """What the predictions of a kind of task need to be judged."""

    labels: Sequence[str]
    threshold: float = 0.5  # of several labels


# --- an example → how good its prediction is --------------------------------------------------------------------------


def _single(judge: Judge, example: Evaluated) -> Judged:
    shares = dict(zip(judge.labels, example.probabilities or []))
    others = [label for label in shares if label != example.predicted]
    rival = max(others, key=lambda label: shares[label], default="")
    first, second = shares.get(example.predicted, 0.0), shares.get(rival, 0.0)
    of_gold, is_wrong = shares.get(example.gold, 0.0), example.predicted != example.gold
    named = example.gold if is_wrong else rival
    certainty = "probability {}, that of {} {}".format(
        _SHARE.format(first), named, _SHARE.format(shares.get(named, 0.0))
    )
    return _judged(example, certainty, is_wrong, first - of_gold, second - first)


def _multi(judge: Judge, example: Evaluated) -> Judged:
    shares = dict(zip(judge.labels, example.probabilities or []))
    wrong = set(example.gold) ^ set(example.predicted)
    shown = ["{} {}".format(label, _SHARE.format(shares.get(label, 0.0))) for label in judge.labels if label in wrong]
    worst = max((abs(shares.get(label, 0.0) - (label in example.gold)) for label in wrong), default=0.0)
    nearest = min((abs(share - judge.threshold) for share in shares.values()), default=1.0)
    if not wrong:
        unsure = sorted(shares, key=lambda label: abs(shares[label] - judge.threshold))[:2]
        shown = ["{} {}".format(label, _SHARE.format(shares[label])) for label in unsure]
    return _judged(example, "probability of " + ", ".join(shown), bool(wrong), worst, -nearest)


def _regression(judge: Judge, example: Evaluated) -> Judged:
    error = example.predicted - example.gold
    return _judged(example, "off by {:+.3f}".format(error), True, abs(error), None)


def _tags(judge: Judge, example: Evaluated) -> Judged:
    words = [
        Word(*each) for each in zip(example.words or [], example.gold, example.predicted, example.probabilities or [])
    ]
    wrong = [word for word in words if word.is_wrong]
    worst = max(wrong, key=lambda word: word.probability, default=None)
    least = min(words, key=lambda word: word.probability, default=None)
    certainty = "{:,} of {:,} words wrong".format(len(wrong), len(words))
    for title, word in (("; surest of ", worst), ("; least sure of ", least)):
        if word is not None:
            certainty += title + "{} {}".format(word.text, _SHARE.format(word.probability))
    wrongness, doubt = worst.probability if worst else 0.0, -least.probability if least else None
    return _judged(example, certainty, bool(wrong), wrongness, doubt)._replace(words=words)


def _answers(judge: Judge, example: Evaluated) -> Judged:
    scores = example.scores or {}
    f1, is_exact = scores.get("f1", 0.0), scores.get("exact_match", 0.0) == 1.0
    return _judged(example, "F1 {:.2f}".format(f1), not is_exact, 1 - f1, None)


def _judged(example: Evaluated, certainty: str, is_wrong: bool, wrongness: float, doubt: Optional[float]) -> Judged:
    gold, predicted = shown(example.gold), shown(example.predicted)
    return Judged(
        example.id, example.line, example.texts, gold, predicted, certainty, is_wrong, float(wrongness), doubt
    )


def shown(value: Any) -> str:
    """A label, several, a score or an answer as a person reads it."""
    if isinstance(value, list):
        return ", ".join(dict.fromkeys(map(str, value))) or "(none)"
    return "{:.4g}".format(value) if isinstance(value, float) else str(value) or "(none)"


KINDS: Dict[str, Callable[[Judge, Evaluated], Judged]] = {
    "single": _single,
    "multi": _multi,
    "regression": _regression,
    "bio": _tags,
    "plain": _tags,
    "spans": _answers,
}


def judged(kind: str, judge: Judge, examples: Sequence[Evaluated]) -> List[Judged]:
    return [KINDS[kind](judge, example) for example in examples]


def most_wrong(examples: Sequence[Judged], most: int) -> List[Judged]:
    """The wrong examples, those first of whose prediction the model was surest."""
    wrong = [example for example in examples if example.is_wrong]
    return sorted(wrong, key=lambda example: -example.wrongness)[:most]


def most_doubtful(examples: Sequence[Judged], most: int) -> List[Judged]:
    """The examples, correct or wrong, that are nearest to another prediction."""
    doubted = [(example.doubt, example) for example in examples if example.doubt is not None]
    return [example for _, example in sorted(doubted, key=lambda pair: -pair[0])[:most]]


# --- what calibration is about ----------------------------------------------------------------------------------------


def certainties(kind: str, judge: Judge, examples: Sequence[Evaluated]) -> Tuple[List[float], List[bool]]:
    """(confidence, whether it is correct) of each prediction; of each label's presence where there may be several."""
    pairs = list(_pairs(kind, judge, examples))
    return [confidence for confidence, _ in pairs], [is_correct for _, is_correct in pairs]


def _pairs(kind: str, judge: Judge, examples: Sequence[Evaluated]) -> Iterator[Tuple[float, bool]]:
    places = {label: number for number, label in enumerate(judge.labels)}
    for example in examples:
        shares = example.probabilities or []
        if kind == "single" and shares:
            yield shares[places[example.predicted]], example.predicted == example.gold
        elif kind == "multi":
            yield from ((share, label in example.gold) for label, share in zip(judge.labels, shares))
        elif kind in ("bio", "plain"):
            yield from ((share, gold == mine) for share, gold, mine in zip(shares, example.gold, example.predicted))


# --- errors.tsv -------------------------------------------------------------------------------------------------------


def rows(kind: str, judge: Judge, examples: Sequence[Evaluated]) -> Iterator[List[str]]:
    """The header and a row for each wrong example, in the order of the file; of tagged ones, for each wrong word."""
    if kind in ("bio", "plain"):
        yield ["id", "line", "word", "gold", "predicted", "probability", "position", "text"]
        for example in examples:
            for place, word in enumerate(_tags(judge, example).words, 1):
                if word.is_wrong:
                    of_word = [word.text, word.gold, word.predicted, _SHARE.format(word.probability), str(place)]
                    yield [example.id, str(example.line), *of_word, " ".join(example.words or [])]
        return
    texts = max((len(example.texts) for example in examples), default=1)
    yield ["id", "line", "gold", "predicted", _COLUMN.get(kind, "probability"), *["text", "text_b"][:texts]]
    for example in examples:
        each = KINDS[kind](judge, example)
        if each.is_wrong:
            yield [each.id, str(each.line), each.gold, each.predicted, _number(kind, judge, example), *each.texts]


_COLUMN = {"regression": "error", "spans": "f1"}  # in place of a probability


def _number(kind: str, judge: Judge, example: Evaluated) -> str:
    """How sure of its prediction the model was: a probability; an error or a score where there is none."""
    if kind == "regression":
        return "{:.4f}".format(example.predicted - example.gold)
    if kind == "spans":
        return _SHARE.format((example.scores or {}).get("f1", 0.0))
    shares = dict(zip(judge.labels, example.probabilities or []))
    if kind == "multi":
        wrong = [label for label in judge.labels if (label in example.gold) != (label in example.predicted)]
        return ", ".join("{} {}".format(label, _SHARE.format(shares[label])) for label in wrong if label in shares)
    return _SHARE.format(shares[example.predicted]) if example.predicted in shares else ""
