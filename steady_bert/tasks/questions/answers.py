"""The logits of a question's windows → its best answers, by the rules of google-research/bert's run_squad."""

import math
from typing import Any, Callable, Iterable, List, NamedTuple, Optional, Sequence, Set, Tuple

import numpy as np

import tokenization

NOT_FOUND = "Unable to find text: {!r} in {!r}"
NO_ANSWER_AT_ALL = 1000000.0  # the null odds of a question for which no span qualifies


class Rules(NamedTuple):
    n_best_size: int = 20
    max_answer_length: int = 30  # in pieces
    with_unanswerable: bool = False  # SQuAD 2.0: the empty answer competes
    null_threshold: float = 0.0  # the answer is empty if its score is above the best other one by more


class WindowLogits(NamedTuple):
    """A window with its logits, which may be longer: those of padding come last. Arrays are as in features.Window."""

    tokens: Sequence[str]
    words: np.ndarray
    is_best: np.ndarray
    start_logits: np.ndarray  # float64
    end_logits: np.ndarray


class Candidate(NamedTuple):
    """A span of a window, or, with `start` 0, no answer."""

    window: int
    start: int
    end: int  # the last token
    start_logit: float
    end_logit: float


class Text(NamedTuple):
    """The text of an answer, and its [start, end) in the context's own text; None where that is not known."""

    text: str
    place: Optional[Tuple[int, int]] = None


class Answer(NamedTuple):
    text: Text
    start_logit: float
    end_logit: float

    @property
    def score(self) -> float:
        return self.start_logit + self.end_logit


class Answers(NamedTuple):
    best: List[Answer]  # of equal texts the first
    null_odds: Optional[float]  # score of no answer less that of the best answer; None unless some have none
    best_text: Optional[Answer]  # the best that is not empty


# (first word, last word, pieces) → the answer's text
FinalText = Callable[[int, int, Sequence[str]], Text]


def candidates(windows: Sequence[WindowLogits], rules: Rules) -> Tuple[List[Candidate], Optional[Candidate]]:
    """(the candidates, best first; that for no answer). Of equal scores the one that is met first comes first."""
    met: List[Candidate] = []
    scores: List[np.ndarray] = []
    for number, window in enumerate(windows):
        starts, ends = _spans(window, rules)
        start_logits, end_logits = window.start_logits[starts], window.end_logits[ends]
        met += map(
            Candidate,
            [number] * len(starts),
            starts.tolist(),
            ends.tolist(),
            start_logits.tolist(),
            end_logits.tolist(),
        )
        scores.append(start_logits + end_logits)
    null = _null(windows) if rules.with_unanswerable else None
    if null is not None:
        met.append(null)
        scores.append(np.array([null.start_logit + null.end_logit]))
    if not met:
        return [], null
    return [met[number] for number in np.argsort(-np.concatenate(scores), kind="stable")], null


def best_indexes(logits: np.ndarray, number: int) -> np.ndarray:
    """The places of the largest logits, of equal ones the first first."""
    return np.argsort(-logits, kind="stable")[:number]


def _spans(window: WindowLogits, rules: Rules) -> Tuple[np.ndarray, np.ndarray]:
    """(first tokens, last tokens) of the spans of a window that qualify, by start logit, then by end logit."""
    tokens = len(window.tokens)
    starts, ends = (best_indexes(logits, rules.n_best_size) for logits in (window.start_logits, window.end_logits))
    starts = starts[starts < tokens]
    starts = starts[window.is_best[starts] & (window.words[starts] >= 0)]
    ends = ends[ends < tokens]
    ends = ends[window.words[ends] >= 0]
    lengths = ends[None, :] - starts[:, None] + 1
    of_starts, of_ends = np.nonzero((lengths > 0) & (lengths <= rules.max_answer_length))
    return starts[of_starts], ends[of_ends]


def _null(windows: Sequence[WindowLogits]) -> Candidate:
    """No answer, with the lowest score that a window gives it, which [CLS] stands for."""
    lowest = Candidate(0, 0, 0, 0.0, 0.0)
    score = NO_ANSWER_AT_ALL
    for number, window in enumerate(windows):
        start_logit, end_logit = float(window.start_logits[0]), float(window.end_logits[0])
        if start_logit + end_logit < score:
            lowest, score = Candidate(number, 0, 0, start_logit, end_logit), start_logit + end_logit
    return lowest


def answers_of(
    windows: Sequence[WindowLogits], final_text: FinalText, rules: Rules, texts: Optional[int] = None
) -> Answers:
    """The best answers of a question. texts: stop after so many that are not empty.

    With unanswerable questions the empty answer is one of them, also beyond n_best_size. Without, a question for which
    no span qualifies has the answer "empty".
    """
    ordered, null = candidates(windows, rules)
    best: List[Answer] = []
    seen: Set[str] = set()
    for candidate in ordered:
        if len(best) >= rules.n_best_size or (texts is not None and len(seen - {""}) >= texts):
            break
        text = Text("")
        if candidate.start > 0:
            text = _text_of(windows[candidate.window], candidate, final_text)
            if text.text in seen:
                continue
        seen.add(text.text)
        best.append(Answer(text, candidate.start_logit, candidate.end_logit))
    if null is not None and "" not in seen:
        best.append(Answer(Text(""), null.start_logit, null.end_logit))
    if not best:
        best.append(Answer(Text("empty"), 0.0, 0.0))
    best_text = next((answer for answer in best if answer.text.text), None)
    null_odds = None
    if null is not None:
        null_score = null.start_logit + null.end_logit
        null_odds = NO_ANSWER_AT_ALL
        if best_text is not None:
            null_odds = null_score - best_text.start_logit - best_text.end_logit
    return Answers(best, null_odds, best_text)


def _text_of(window: WindowLogits, candidate: Candidate, final_text: FinalText) -> Text:
    pieces = window.tokens[candidate.start : candidate.end + 1]
    return final_text(int(window.words[candidate.start]), int(window.words[candidate.end]), pieces)


def chosen(answers: Answers, rules: Rules) -> Text:
    """The answer that is given."""
    if answers.null_odds is None:
        return answers.best[0].text
    if answers.best_text is None or answers.null_odds > rules.null_threshold:
        return Text("")
    return answers.best_text.text


def probabilities(scores: Iterable[float]) -> List[float]:
    """The softmax of scores, [] for none."""
    scores = list(scores)
    if not scores:
        return []
    largest = max(scores)
    exponentials = [math.exp(score - largest) for score in scores]
    total = 0.0
    for exponential in exponentials:  # not sum(), which rounds otherwise from Python 3.12 on
        total += exponential
    return [exponential / total for exponential in exponentials]


# --- the text of pieces in the context's own writing ------------------------------------------------------------------


class Writing(NamedTuple):
    """How a tokenizer writes a text."""

    joined: Callable[[Sequence[str]], str]  # pieces → text
    tokenize: Callable[[str], List[str]]  # text → words as `joined` gives them


def writing_of(tokenizer: Any, do_lower_case: bool) -> Writing:
    if not isinstance(tokenizer, tokenization.SentencePieceTokenizer):
        return Writing(joined_word_pieces, tokenization.BasicTokenizer(do_lower_case=do_lower_case).tokenize)
    # Without spaces: each word is cut apart, so that ideographs, which no space separates, start a word each.
    return Writing(_joined_sentence_pieces, lambda text: [_joined_sentence_pieces(tokenizer.tokenize(text))])


def joined_word_pieces(pieces: Sequence[str]) -> str:
    return " ".join(" ".join(pieces).replace(" ##", "").replace("##", "").split())


def _joined_sentence_pieces(pieces: Sequence[str]) -> str:
    return "".join(pieces).replace(tokenization._WORD_START, "")


def aligned(written: str, original: str, tokenize: Callable[[str], List[str]]) -> Optional[Tuple[int, int]]:
    """[start, end) in `original` of what its tokenizer writes as `written`: case and accents come back.

    The tokenized text and the original must have the same characters but for spaces; None if they do not, or the
    tokenized text lacks `written`.
    """
    tokenized = " ".join(tokenize(original))
    start = tokenized.find(written)
    end = start + len(written) - 1
    if start < 0 or end < start:
        return None
    places = [place for place, character in enumerate(original) if character != " "]
    of_tokenized = [place for place, character in enumerate(tokenized) if character != " "]
    if len(places) != len(of_tokenized) or " " in (tokenized[start], tokenized[end]):
        return None
    before = tokenized.count(" ", 0, start), tokenized.count(" ", 0, end)
    return places[start - before[0]], places[end - before[1]] + 1
