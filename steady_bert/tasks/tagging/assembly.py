"""Word-level tagging as a Task: words → aligned pieces, windows over long sentences, model, head, scores.

A word's tag is learned and predicted at its first piece. A sentence that does not fit is cut into overlapping windows;
a word counts in the one window that shows most of what is around it, so nothing is cut off and nothing counts twice.
"""

from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

import modeling

from ...base import files
from .. import metrics
from ..task import NO_LABEL, BadLines, Column, Compute, Facts, Feature, Outputs, Predictions, Task, hash_of_text
from . import data as tagging_data
from . import entity_scores, layers
from . import schemes as tag_schemes
from .data import Layout, Sentence
from .entity_scores import Counts
from .heads import TaggingHead

# Fingerprinted: raise when the same text gives other features.
FEATURES = 1

# What a position of a record is: not the first piece of a word; of one that counts in another window; of one of this.
_NO_WORD, _CONTEXT, _COUNTED = 0, 1, 2

ENTITY_METRICS = ("f1", "precision", "recall", "macro_f1", "strict_f1", "surface_macro_f1", "accuracy")
PLAIN_METRICS = ("accuracy", "macro_f1")


class Window(NamedTuple):
    """Words of a sentence, by number: those that it shows, and those of them that count in it. Ends are left out."""

    first: int
    end: int
    first_counted: int
    end_counted: int


def windows(pieces: Sequence[int], room: int, stride: int) -> List[Window]:
    """Windows of at most `room` pieces over words of so many pieces each (1 to room).

    A window begins at the first word that is `stride` pieces or more after the last one's beginning, or earlier where
    a word would be left out. A word counts where the fewer of the pieces before and after it are the most; in the
    earlier of windows that are equal.
    """
    places = np.concatenate([[0], np.cumsum(pieces)])
    words = len(pieces)
    shown: List[Tuple[int, int]] = []
    first = end = 0
    while end < words:
        if shown:
            first = min(max(int(np.searchsorted(places, places[first] + stride)), first + 1), end)
        while places[end + 1] - places[first] > room:  # another word has to be shown
            first += 1
        end = int(np.searchsorted(places, places[first] + room, side="right")) - 1
        shown.append((first, end))
    best = np.full(words, -1)
    owner = np.zeros(words, np.int64)
    for number, (first, end) in enumerate(shown):
        inside = np.arange(first, end)
        around = np.minimum(places[inside] - places[first], places[end] - places[inside + 1])
        better = around > best[inside]
        best[inside[better]], owner[inside[better]] = around[better], number
    counted = [np.flatnonzero(owner == number) for number in range(len(shown))]
    # One in which no word counts would be a record with nothing to learn.
    return [
        Window(first, end, int(mine[0]), int(mine[-1]) + 1) for (first, end), mine in zip(shown, counted) if len(mine)
    ]


class TaggingInputs(NamedTuple):
    """What a tagging task is assembled from.

    files: split → path. tags: in id order; bio, or plain where plain is true. tokenizer: encode, vocab and unk_id.
    vocab_fingerprint identifies the tokenizer.
    """

    files: Dict[str, str]
    layout: Layout
    tags: Sequence[str]
    plain: bool
    tokenizer: Any
    vocab_fingerprint: str
    bert_config: Optional[modeling.BertConfig]  # None where the data alone is looked at
    max_seq_length: int
    doc_stride: int  # pieces between the beginnings of windows; at most max_seq_length - 2
    head: TaggingHead
    constrained_decoding: bool = False
    skip_bad_lines: int = 0


class Reader:
    """The sentences of the splits. Those of a split that is scored are held in memory, as their predictions are."""

    def __init__(self, inputs: TaggingInputs) -> None:
        self._inputs = inputs
        self._kept: Dict[str, Dict[int, Sentence]] = {}

    def read(self, split: str, bad_lines: BadLines) -> Iterator[Sentence]:
        inputs = self._inputs
        needs_tags = not split.startswith("test")
        return tagging_data.read_sentences(inputs.files[split], inputs.layout, inputs.tags, needs_tags, bad_lines)

    def by_number(self, split: str) -> Dict[int, Sentence]:
        if split not in self._kept:
            bad_lines = BadLines(self._inputs.skip_bad_lines)
            self._kept[split] = {found.number: found for found in self.read(split, bad_lines)}
        return self._kept[split]


def tagging_task(inputs: TaggingInputs, reader: Reader) -> Task:
    """A Task that learns a tag for each word."""

    def fingerprint(split: str) -> Dict[str, Any]:
        return {
            "features": FEATURES,
            "layout": list(inputs.layout),
            "source": files.sha256_of_file(inputs.files[split]),
            "format": tagging_data.format_of(inputs.files[split], inputs.layout),
            "vocabulary": inputs.vocab_fingerprint,
            "max_seq_length": inputs.max_seq_length,
            "doc_stride": inputs.doc_stride,
            "labels": list(inputs.tags),
        }

    return Task(
        name="tagging",
        columns={
            "input_ids": Column("int64", per_token=True),
            "roles": Column("int64", per_token=True),
            "tag_ids": Column("int64", per_token=True),
            "sentence": Column("int64"),
            "first_word": Column("int64"),
            "ends": Column("int64"),  # whether the last word is the sentence's
        },
        files=inputs.files,
        read=reader.read,
        featurize=lambda examples: _featurize(inputs, examples),
        fingerprint=fingerprint,
        build=lambda batch, compute: _build(inputs, batch, compute),
        score=lambda split, predictions: scores(inputs, split, tagged(inputs, reader, split, predictions)),
        labels=tuple(inputs.tags),
        best_metric="accuracy" if inputs.plain else "f1",
        head_variables=("output_weights", "output_bias", "bilstm/", "crf/"),
        per_token_predictions=("tag_ids", "probabilities", "roles"),
        splits_examples=True,
        skip_bad_lines=inputs.skip_bad_lines,
        kinds=_kinds(inputs.tags, inputs.plain),
        kinds_in=lambda sentence: _kinds_in(sentence.tags or (), inputs.plain),
    )


def _kinds(tags: Sequence[str], plain: bool) -> Tuple[str, ...]:
    """The types of entities, or the tags that are none, in id order."""
    if plain:
        return tuple(tags)
    return tuple(dict.fromkeys(tag_schemes.parts(tag)[1] for tag in tags if tag != tag_schemes.OUTSIDE))


def _kinds_in(tags: Sequence[str], plain: bool) -> Sequence[str]:
    return tags if plain else [entity.type for entity in tag_schemes.entities(tags)]


# --- features ---------------------------------------------------------------------------------------------------------


def _featurize(inputs: TaggingInputs, examples: Sequence[Sentence]) -> List[Tuple[Feature, Facts]]:
    """Of each sentence, those of its windows."""
    encoded = iter(inputs.tokenizer.encode([word for sentence in examples for word in sentence.words]))
    ids = {tag: number for number, tag in enumerate(inputs.tags)}
    found: List[Tuple[Feature, Facts]] = []
    for sentence in examples:
        pieces = [next(encoded) for _ in sentence.words]
        found += _windows_of(inputs, sentence, pieces, ids)
    return found


def _windows_of(
    inputs: TaggingInputs, sentence: Sentence, pieces: List[List[int]], ids: Dict[str, int]
) -> Iterator[Tuple[Feature, Facts]]:
    tokenizer, room = inputs.tokenizer, inputs.max_seq_length - 2
    # A word that is nothing to the tokenizer has a tag too, and of one beyond all room the beginning is looked at.
    pieces = [(found or [tokenizer.unk_id])[:room] for found in pieces]
    tag_ids = [0] * len(pieces) if sentence.tags is None else [ids[tag] for tag in sentence.tags]
    for window in windows([len(found) for found in pieces], room, inputs.doc_stride):
        input_ids, roles, tags = [tokenizer.vocab["[CLS]"]], [_NO_WORD], [0]
        for word in range(window.first, window.end):
            counted = window.first_counted <= word < window.end_counted
            more = [0] * (len(pieces[word]) - 1)
            input_ids += pieces[word]
            roles += [_COUNTED if counted else _CONTEXT] + more
            tags += [tag_ids[word]] + more
        feature = {
            "input_ids": input_ids + [tokenizer.vocab["[SEP]"]],
            "roles": roles + [_NO_WORD],
            "tag_ids": tags + [0],
            "sentence": [sentence.number],
            "first_word": [window.first],
            "ends": [int(window.end == len(pieces))],
        }
        # A repeated sentence is told by its first window; others are like none.
        text = "\0".join(sentence.words) + "\0{}:{}".format(sentence.line, window.first) * (window.first > 0)
        label = NO_LABEL if sentence.tags is None else 1 << 31 | hash_of_text("\0".join(sentence.tags)) >> 33
        count = len(input_ids) - 1
        unknown = input_ids.count(tokenizer.unk_id)
        yield feature, Facts(sentence.line, hash_of_text(text), label, count + 2, count, unknown)


# --- graph ------------------------------------------------------------------------------------------------------------


def _build(inputs: TaggingInputs, batch: Dict[str, Any], compute: Compute) -> Outputs:
    assert inputs.bert_config is not None
    model = modeling.BertModel(
        config=inputs.bert_config,
        is_training=compute.is_training,
        input_ids=batch["input_ids"],
        input_mask=batch["input_mask"],
        scope="bert",  # by name, so that the inference tower finds the training tower's variables
        padding_free=compute.padding_free,
        matmul_dtype=tf.as_dtype(compute.precision),
    )
    words = layers.chains(batch["roles"] > _NO_WORD, tf.equal(batch["first_word"], 0), tf.equal(batch["ends"], 1))
    real = tf.sequence_mask(words.lengths, tf.shape(words.places)[1], tf.int32)
    roles = words.gather(batch["roles"]) * real
    tag_ids = words.gather(batch["tag_ids"]) * real
    dropout_prob = inputs.bert_config.hidden_dropout_prob if compute.is_training else 0.0
    vectors = words.gather(model.get_sequence_output())
    scores = layers.tag_scores(vectors, words, len(inputs.tags), inputs.head, dropout_prob)
    counted = tf.cast(tf.equal(roles, _COUNTED), tf.float32)
    loss, weight = layers.tagging_loss(scores, words, tag_ids, counted)
    if compute.is_training:
        return Outputs(loss=loss, weight=weight, predictions={})
    legal = tag_schemes.legal(inputs.tags) if inputs.constrained_decoding else None
    best, probabilities = layers.tagging_predictions(scores, words, legal)
    predictions = {name: batch[name] for name in ("sentence", "first_word")}
    predictions.update(tag_ids=best, probabilities=probabilities, roles=roles)
    return Outputs(loss=loss, weight=weight, predictions=predictions)


# --- predictions ------------------------------------------------------------------------------------------------------


class Tagged(NamedTuple):
    """A sentence and what is predicted of its words."""

    sentence: Sentence
    tags: List[str]
    probabilities: np.ndarray  # [words], of the tags


def tagged(inputs: TaggingInputs, reader: Reader, split: str, predictions: Predictions) -> List[Tagged]:
    """The sentences that the predictions have windows of, in file order. Each word has exactly one prediction."""
    sentences = reader.by_number(split)
    tags = {number: np.full(len(sentences[number].words), -1) for number in map(int, predictions["sentence"])}
    chosen = {number: np.zeros(len(found)) for number, found in tags.items()}
    of_all: Dict[int, np.ndarray] = {}  # [words, tags]; kept where a tag may still be changed for another
    if inputs.constrained_decoding:
        of_all = {number: np.zeros((len(found), len(inputs.tags))) for number, found in tags.items()}
    names = ("sentence", "first_word", "roles", "tag_ids", "probabilities")
    for sentence, first, roles, tag_ids, of_tags in zip(*(predictions[name] for name in names)):
        number, counted = int(sentence), np.flatnonzero(roles == _COUNTED)
        # Roles have an entry a word, in order.
        words = counted + int(first)
        if np.any(tags[number][words] != -1):
            raise ValueError("A word of sentence {} is predicted twice.".format(number))
        tags[number][words], chosen[number][words] = tag_ids[counted], of_tags[counted, tag_ids[counted]]
        if of_all:
            of_all[number][words] = of_tags[counted]
    found = []
    for number in sorted(tags):
        mine = tags[number]
        if np.any(mine == -1):
            raise ValueError("A word of sentence {} is not predicted.".format(number))
        if of_all:
            mine = _legal_at_seams(mine, of_all[number], inputs.tags)
            chosen[number] = of_all[number][np.arange(len(mine)), mine]
        found.append(Tagged(sentences[number], [inputs.tags[tag] for tag in mine], chosen[number]))
    return found


def _legal_at_seams(mine: np.ndarray, probabilities: np.ndarray, tags: Sequence[str]) -> np.ndarray:
    """The same tags where they may follow each other.

    Where two windows meet and they may not, an entity goes on that none begins: its words there get the most probable
    sequence that may follow the word before, each taken for itself. Others stay.
    """
    follows, _ = tag_schemes.legal(tags)
    inside = np.array([tag_schemes.parts(tag)[0] == "I" for tag in tags])
    found = mine.copy()
    for word in range(1, len(found)):
        if follows[found[word - 1], found[word]]:
            continue
        end = word + 1
        while end < len(found) and inside[mine[end]]:
            end += 1
        found[word:end] = _most_probable(probabilities[word:end], follows[found[word - 1]], follows)
    return found


def _most_probable(probabilities: np.ndarray, begins: np.ndarray, follows: np.ndarray) -> List[int]:
    """The sequence of tags with the largest product of probabilities [words, tags] among those allowed."""
    scores = np.log(np.maximum(probabilities, 1e-30))
    best = np.where(begins, scores[0], -np.inf)
    pointers = []
    for score in scores[1:]:
        paths = np.where(follows, best[:, None], -np.inf)
        pointers.append(np.argmax(paths, axis=0))
        best = np.max(paths, axis=0) + score
    sequence = [int(np.argmax(best))]
    for pointer in reversed(pointers):
        sequence.append(int(pointer[sequence[-1]]))
    return sequence[::-1]


# --- scores -----------------------------------------------------------------------------------------------------------


def metric_names(inputs: TaggingInputs) -> Tuple[str, ...]:
    """Those that dev has; surfaces are scored in files that have texts."""
    if inputs.plain:
        return PLAIN_METRICS
    has_text = "dev" in inputs.files and tagging_data.format_of(inputs.files["dev"], inputs.layout) != "columns"
    return tuple(name for name in ENTITY_METRICS if has_text or name != "surface_macro_f1")


def scores(inputs: TaggingInputs, split: str, found: Sequence[Tagged]) -> Dict[str, float]:
    """PLAIN_METRICS, or ENTITY_METRICS, of sentences that have tags; surfaces where the file has texts."""
    gold = np.array([tag for sentence, _, _ in found for tag in sentence.tags or ()])
    mine = np.array([tag for _, tags, _ in found for tag in tags])
    values = {"accuracy": metrics.accuracy(mine, gold)}
    if inputs.plain:
        return dict(values, macro_f1=metrics.macro_f1(mine, gold))
    by_type = counts_by_type(found)
    overall = entity_scores.total(by_type)
    strict = entity_scores.count(*_of_each(found, tag_schemes.strict_entities))
    values.update(
        f1=overall.f1,
        precision=overall.precision,
        recall=overall.recall,
        macro_f1=entity_scores.macro_f1(by_type),
        strict_f1=entity_scores.total(strict).f1,
    )
    if tagging_data.format_of(inputs.files[split], inputs.layout) != "columns":
        surfaces = [
            [
                entity_scores.surfaces(entities, each.sentence.text, each.sentence.offsets)
                for entities, each in zip(side, found)
            ]
            for side in _of_each(found, tag_schemes.entities)
        ]
        values["surface_macro_f1"] = entity_scores.macro_f1(entity_scores.count(*surfaces))
    return {name: values[name] for name in ENTITY_METRICS if name in values}


def counts_by_type(found: Sequence[Tagged]) -> Dict[str, Counts]:
    """By conlleval's rules."""
    return entity_scores.count(*_of_each(found, tag_schemes.entities))


def confusions(found: Sequence[Tagged]) -> List[Tuple[str, str, int]]:
    return entity_scores.confusions(*_of_each(found, tag_schemes.entities))


def _of_each(found: Sequence[Tagged], entities_in: Callable[[Sequence[str]], Any]) -> Tuple[List[Any], List[Any]]:
    """(gold, predicted) entities of each sentence."""
    gold = [entities_in(each.sentence.tags or ()) for each in found]
    return gold, [entities_in(each.tags) for each in found]
