"""Sentences → instances for pre-training: two segments, some pieces masked, and whether the second follows the first.

The rules and the order of the random numbers are google-research/bert's, so an instance is a function of the documents
and of the generator's state. A piece is a string or an id, whichever the documents hold. Pure: no TensorFlow.
"""

import random
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Sequence, Tuple

import tokenization

MASKED = 0.8  # the probability that a chosen piece becomes [MASK]
KEPT = 0.5  # the probability that one that does not stays as it is; else it becomes a random piece
SPECIAL_PIECES = 3  # [CLS] a [SEP] b [SEP]
SHORTEST = 5  # of max_seq_length: a segment has a piece at least

Document = Sequence[Sequence[Any]]  # sentences, each a list of pieces; none is empty


class Pieces(NamedTuple):
    """What instances need to know of the vocabulary."""

    words: Sequence[Any]  # all pieces, in order; random ones are drawn from here, special ones too
    cls: Any
    sep: Any
    mask: Any
    continues_word: Callable[[Any], bool]  # whether a piece begins with ##


class Settings(NamedTuple):
    max_seq_length: int
    short_seq_prob: float
    masked_lm_prob: float
    max_predictions_per_seq: int
    do_whole_word_mask: bool = False


def settings_of(config: Any) -> Settings:
    """The settings among a configuration's fields."""
    return Settings(**{name: getattr(config, name) for name in Settings._fields})


class TrainingInstance:
    """A pair of segments with masks. is_random_next: whether the second was drawn instead of following the first."""

    def __init__(
        self,
        tokens: List[Any],
        segment_ids: List[int],
        masked_lm_positions: List[int],
        masked_lm_labels: List[Any],
        is_random_next: bool,
    ) -> None:
        self.tokens = tokens
        self.segment_ids = segment_ids
        self.is_random_next = is_random_next
        self.masked_lm_positions = masked_lm_positions
        self.masked_lm_labels = masked_lm_labels

    def __str__(self) -> str:
        columns: Dict[str, Sequence[Any]] = {
            "tokens": [tokenization.printable_text(token) for token in self.tokens],
            "segment_ids": self.segment_ids,
            "is_random_next": [self.is_random_next],
            "masked_lm_positions": self.masked_lm_positions,
            "masked_lm_labels": [tokenization.printable_text(label) for label in self.masked_lm_labels],
        }
        return "".join("{}: {}\n".format(name, " ".join(map(str, values))) for name, values in columns.items()) + "\n"

    __repr__ = __str__


def pieces_of(words: Sequence[str]) -> Pieces:
    """The vocabulary of documents that hold strings."""
    return Pieces(words, "[CLS]", "[SEP]", "[MASK]", lambda piece: piece.startswith("##"))


def instances_of_document(
    documents: Sequence[Document], number: int, settings: Settings, pieces: Pieces, rng: random.Random
) -> Iterator[TrainingInstance]:
    """The instances of documents[number] in one pass.

    Sentences are collected until they fill the instance; with probability short_seq_prob the document is cut into
    shorter ones. A random number of the sentences is the first segment. The second is the rest, or, half of the time
    and always after a single sentence, sentences of a random document; the rest then begins the next instance.
    """
    document = documents[number]
    room = settings.max_seq_length - SPECIAL_PIECES
    target = room
    if rng.random() < settings.short_seq_prob:
        target = rng.randint(2, room)
    start, count = 0, len(document)
    while start < count:
        chunk = _chunk(document, start, count, target)
        split = rng.randint(1, len(chunk) - 1) if len(chunk) > 1 else 1
        first = _joined(chunk[:split])
        is_random_next = len(chunk) == 1 or rng.random() < 0.5
        if is_random_next:
            second = _random_segment(documents, number, target - len(first), rng)
            start += split
        else:
            second = _joined(chunk[split:])
            start += len(chunk)
        first, second = shortened(first, second, room, rng)
        tokens = [pieces.cls, *first, pieces.sep, *second, pieces.sep]
        segment_ids = [0] * (len(first) + 2) + [1] * (len(second) + 1)
        tokens, positions, labels = masked(tokens, settings, pieces, rng)
        yield TrainingInstance(tokens, segment_ids, positions, labels, is_random_next)


def _chunk(document: Document, start: int, end: int, target: int) -> List[Sequence[Any]]:
    """The sentences from `start` on that together have `target` pieces or more, or are the last ones."""
    chunk: List[Sequence[Any]] = []
    length = 0
    while start < end and length < target:
        chunk.append(document[start])
        length += len(chunk[-1])
        start += 1
    return chunk


def _joined(sentences: Sequence[Sequence[Any]]) -> List[Any]:
    return [piece for sentence in sentences for piece in sentence]


def _random_segment(documents: Sequence[Document], number: int, target: int, rng: random.Random) -> List[Any]:
    """Sentences of another document from a random one on, until there are `target` pieces.

    Of the same document after ten draws that gave no other.
    """
    for _ in range(10):
        other = rng.randint(0, len(documents) - 1)
        if other != number:
            break
    document = documents[other]
    count = len(document)
    segment: List[Any] = []
    for sentence in range(rng.randint(0, count - 1), count):
        segment += document[sentence]
        if len(segment) >= target:
            break
    return segment


def shortened(first: List[Any], second: List[Any], room: int, rng: random.Random) -> Tuple[List[Any], List[Any]]:
    """Two segments of at most `room` pieces together: the longer one loses a piece at either end, by chance."""
    a, b = [0, len(first)], [0, len(second)]
    while a[1] - a[0] + b[1] - b[0] > room:
        longer = a if a[1] - a[0] > b[1] - b[0] else b
        if rng.random() < 0.5:
            longer[0] += 1
        else:
            longer[1] -= 1
    return first[slice(*a)], second[slice(*b)]


def masked(
    tokens: List[Any], settings: Settings, pieces: Pieces, rng: random.Random
) -> Tuple[List[Any], List[int], List[Any]]:
    """(the tokens with some replaced, the positions of these in order, what stood there).

    The number of pieces to predict is masked_lm_prob of all tokens, special ones too, rounded as Python 3 rounds. A
    whole word that no longer fits into it is passed over.
    """
    words = _maskable(tokens, settings.do_whole_word_mask, pieces)
    rng.shuffle(words)
    wanted = min(settings.max_predictions_per_seq, max(1, int(round(len(tokens) * settings.masked_lm_prob))))
    output = list(tokens)
    positions: List[int] = []
    for word in words:
        if len(positions) >= wanted:
            break
        if len(positions) + len(word) > wanted:
            continue
        for position in word:
            output[position] = _replacement(tokens[position], pieces, rng)
        positions += word
    positions.sort()
    return output, positions, [tokens[position] for position in positions]


def _maskable(tokens: List[Any], whole_words: bool, pieces: Pieces) -> List[List[int]]:
    """The positions that are masked together: of each piece, or of each word."""
    words: List[List[int]] = []
    for position, piece in enumerate(tokens):
        if piece == pieces.cls or piece == pieces.sep:
            continue
        if whole_words and words and pieces.continues_word(piece):
            words[-1].append(position)
        else:
            words.append([position])
    return words


def _replacement(piece: Any, pieces: Pieces, rng: random.Random) -> Any:
    if rng.random() < MASKED:
        return pieces.mask
    if rng.random() < KEPT:
        return piece
    return pieces.words[rng.randint(0, len(pieces.words) - 1)]
