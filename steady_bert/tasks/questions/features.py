"""Questions and contexts → pieces → windows: what a record holds, and what maps a piece back to its word."""

from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from . import windows
from .windows import Span

SPECIAL_TOKENS = 3  # [CLS] question [SEP] context [SEP]


class Lengths(NamedTuple):
    """All in pieces."""

    max_seq_length: int  # special tokens included
    doc_stride: int  # from the beginning of a window to that of the next
    max_query_length: int  # of a question; the rest is cut


class Pieces(NamedTuple):
    """The words of a context in pieces."""

    pieces: List[str]
    words: np.ndarray  # [pieces] the word of each piece
    firsts: List[int]  # the first piece of each word, or where it would be if it has none


class Window(NamedTuple):
    """[CLS] question [SEP] a part of the context [SEP], not padded."""

    span: Span  # the part
    tokens: List[str]
    segment_ids: List[int]
    offset: int  # the part's place among the tokens
    words: np.ndarray  # [tokens] the word of each; -1 outside the context
    is_best: np.ndarray  # [tokens] whether an answer may begin there, in this window


def pieces_of(words: Sequence[str], tokenizer: Any) -> Pieces:
    pieces: List[str] = []
    of_piece: List[int] = []
    firsts: List[int] = []
    for number, word in enumerate(words):
        firsts.append(len(pieces))
        of_word = tokenizer.tokenize(word)
        pieces += of_word
        of_piece += [number] * len(of_word)
    return Pieces(pieces, np.array(of_piece, np.int64), firsts)


def windows_of(question: List[str], context: Pieces, lengths: Lengths) -> List[Window]:
    """The windows of a question's pieces with its context, in order. Without any pieces a context has one window."""
    question = question[: lengths.max_query_length]
    room = lengths.max_seq_length - len(question) - SPECIAL_TOKENS
    parts = windows.spans(len(context.pieces), room, lengths.doc_stride) or [Span(0, 0)]
    before = ["[CLS]"] + question + ["[SEP]"]
    result = []
    for part, is_best in zip(parts, windows.best_windows(parts)):
        end = part.start + part.length
        tokens = before + context.pieces[part.start : end] + ["[SEP]"]
        words = np.full(len(tokens), -1, np.int64)
        words[len(before) : -1] = context.words[part.start : end]
        best = np.zeros(len(tokens), bool)
        best[len(before) : -1] = is_best
        segment_ids = [0] * len(before) + [1] * (part.length + 1)
        result.append(Window(part, tokens, segment_ids, len(before), words, best))
    return result


def answer_pieces(context: Pieces, first_word: int, last_word: int, answer: str, tokenizer: Any) -> Tuple[int, int]:
    """(first, last) piece of an answer in the words from first_word to last_word.

    They are the answer's own pieces where these words have them, else all pieces of the words.
    """
    first = context.firsts[first_word]
    last = (context.firsts + [len(context.pieces)])[last_word + 1] - 1
    return within(context.pieces, first, last, tokenizer.tokenize(answer))


def within(pieces: Sequence[str], first: int, last: int, own: List[str]) -> Tuple[int, int]:
    """(first, last) of the first place between first and last where `pieces` are `own`; these two if there is none."""
    for start in range(first, last + 2 - len(own)) if own else ():
        if pieces[start : start + len(own)] == own:
            return start, start + len(own) - 1
    return first, last


def positions_in(window: Window, answer: Optional[Tuple[int, int]]) -> Tuple[int, int]:
    """The answer's (first, last) token in a window; 0, 0 if it is not inside, or there is none. answer: its pieces."""
    start, length = window.span
    if answer is None or not (answer[0] >= start and answer[1] < start + length):
        return 0, 0
    return answer[0] - start + window.offset, answer[1] - start + window.offset
