"""Answers → exact match and F1, as the official scripts of SQuAD 1.1, SQuAD 2.0 and CMRC 2018 compute them. Pure.

A score is between 0 and 1; the scripts print percentages.
"""

import collections
import re
import string
from typing import Callable, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
# What CMRC's script removes.
_CHINESE_PUNCTUATION = frozenset("-:_*^/\\~`+=，。：？！“”；’《》……·、「」（）－～『』")
_IDEOGRAPH = re.compile("[\u4e00-\u9fa5]")
_WORD_OR_SIGN = re.compile(r"\w+|[^\w\s]")


class Scored(NamedTuple):
    """The scores of an answer: the best over the gold answers."""

    exact_match: float
    f1: float


def by_words(answer: str, gold: Sequence[str]) -> Scored:
    """SQuAD's: words in lower case without punctuation and articles; F1 of the two bags of words.

    gold: none for a question that has no answer.
    """
    words = _words(answer)
    if not gold:
        return Scored(*[float(not words)] * 2)
    return _best([(words == of_gold, _f1_of_bags(words, of_gold)) for of_gold in map(_words, gold)])


def has_words(text: str) -> bool:
    """Whether anything is left to score by words; SQuAD 2.0's script drops gold answers without."""
    return bool(_words(text))


def _words(text: str) -> List[str]:
    return _ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split()


def _f1_of_bags(words: List[str], gold: List[str]) -> float:
    return _f1(sum((collections.Counter(words) & collections.Counter(gold)).values()), len(words), len(gold))


def _f1(common: int, predicted: int, gold: int) -> float:
    if not common:
        return 0.0
    precision, recall = common / predicted, common / gold
    return 2 * precision * recall / (precision + recall)


def by_characters(answer: str, gold: Sequence[str]) -> Scored:
    """CMRC 2018's: ideographs and words of other scripts; F1 of their longest common run.

    Differs from its script: other scripts are cut at white space and signs, not by NLTK.
    """
    if not gold:
        return Scored(*[float(not _without_signs(answer))] * 2)
    units = _units(answer)
    pairs = []
    for text in gold:
        of_gold = _units(text)
        f1 = _f1(_longest_common_run(units, of_gold), len(units), len(of_gold))
        pairs.append((_without_signs(answer) == _without_signs(text), f1))
    return _best(pairs)


def _without_signs(text: str) -> str:
    return "".join(c for c in text.lower().strip() if c not in _CHINESE_PUNCTUATION)


def _units(text: str) -> List[str]:
    apart = _IDEOGRAPH.sub(lambda match: " {} ".format(match.group()), _without_signs(text))
    return _WORD_OR_SIGN.findall(apart)


def _longest_common_run(first: Sequence[str], second: Sequence[str]) -> int:
    longest = 0
    lengths = [0] * (len(second) + 1)  # of the common run that ends at each unit of `second`
    for unit in first:
        lengths = [0] + [lengths[place] + 1 if unit == other else 0 for place, other in enumerate(second)]
        longest = max(longest, *lengths)
    return longest


def _best(pairs: Sequence[Tuple[bool, float]]) -> Scored:
    return Scored(float(max(exact for exact, _ in pairs)), max(f1 for _, f1 in pairs))


SCORED_BY: Dict[str, Callable[[str, Sequence[str]], Scored]] = {"characters": by_characters, "words": by_words}


def scored_by(answers: Sequence[str]) -> str:
    """characters if most letters of gold answers are Chinese, else words."""
    letters = [character for answer in answers for character in answer if character.isalpha()]
    chinese = sum(_IDEOGRAPH.match(letter) is not None for letter in letters)
    return "characters" if 2 * chinese > len(letters) else "words"


def summary(scored: Sequence[Scored], answerable: Sequence[bool]) -> Dict[str, float]:
    """The means over all questions; also over those with and without an answer if there are both."""
    values = np.array(scored, np.float64).reshape(-1, 2)
    has_answer = np.asarray(answerable, bool)
    kinds = [("", np.ones(len(values), bool))]
    if has_answer.any() and not has_answer.all():
        kinds += [("_answerable", has_answer), ("_unanswerable", ~has_answer)]
    metrics: Dict[str, float] = {}
    for suffix, chosen in kinds:
        metrics["exact_match" + suffix], metrics["f1" + suffix] = map(float, values[chosen].mean(axis=0))
    return metrics


def best_threshold(null_odds: Sequence[float], with_text: Sequence[float], without: Sequence[float]) -> float:
    """The threshold with the best mean: a question counts `without` if its odds are above it, else `with_text`.

    It lies halfway between two odds that occur; of equally good ones it is the nearest to 0.
    """
    odds = np.asarray(null_odds, np.float64)
    order = np.argsort(odds, kind="stable")
    odds = odds[order]
    answered, empty = np.asarray(with_text, np.float64)[order], np.asarray(without, np.float64)[order]
    # [N + 1]: if the first 0, 1, … of them are answered
    totals = np.append(0.0, np.cumsum(answered)) + np.append(np.cumsum(empty[::-1])[::-1], 0.0)
    between = (odds[:-1] + odds[1:]) / 2
    thresholds = np.concatenate([[odds[0] - 1.0], between, [odds[-1] + 1.0]])
    totals[1:-1][odds[:-1] == odds[1:]] = -1.0  # equal odds are answered together
    lows, highs = np.append(-np.inf, odds), np.append(odds, np.inf)
    thresholds = np.where((lows <= 0) & (highs > 0), 0.0, thresholds)
    best = np.flatnonzero(totals >= totals.max() - 1e-9)
    return float(thresholds[best[np.argmin(np.abs(thresholds[best]))]])
