"""Word-level tagging as a Task: words → aligned pieces, windows over long sentences, model, head, scores.

A word's tag is learned and predicted at its first piece. A sentence that does not fit is cut into overlapping windows;
each word counts in one of them.
"""

from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import tensorflow.compat.v1 as tf

import modeling

from ...base import files
from ...base.compute import Compute
from ..heads import encoder
from ..losses import CROSS_ENTROPY, Distributions, LossForm
from ..task import NO_LABEL, BadLines, Column, Facts, Feature, Outputs, Predictions, Task, hash_of_text
from . import formats, layers, scores
from . import schemes as tag_schemes
from .heads import TaggingHead
from .predictions import Tagged, tagged
from .sentences import Layout, Sentence
from .windows import CONTEXT, COUNTED, NO_WORD, windows

# Fingerprinted: raise when the same text gives other features.
FEATURES = 1


class TaggingInputs(NamedTuple):
    """What a tagging task is assembled from.

    files: split → path. tags: in id order; plain ones if `plain`, else bio. tokenizer: encode, vocab and unk_id.
    vocab_fingerprint identifies the tokenizer.
    """

    files: Dict[str, str]
    layout: Layout
    tags: Sequence[str]
    plain: bool
    tokenizer: Any
    vocab_fingerprint: str
    bert_config: Optional[modeling.BertConfig]  # None if the data is only checked
    max_seq_length: int
    doc_stride: int  # pieces between the beginnings of windows; at most max_seq_length - 2
    head: TaggingHead
    constrained_decoding: bool = False
    skip_bad_lines: int = 0
    class_weights: Optional[Sequence[float]] = None  # [L] in the order of the tags; only training uses them
    loss_form: LossForm = CROSS_ENTROPY  # likewise


class Reader:
    """Reads the sentences of the splits. Those of a split that is scored stay in memory, as their predictions do."""

    def __init__(self, inputs: TaggingInputs) -> None:
        self._inputs = inputs
        self._kept: Dict[str, Dict[int, Sentence]] = {}

    def read(self, split: str, bad_lines: BadLines) -> Iterator[Sentence]:
        inputs = self._inputs
        needs_tags = not split.startswith("test")
        return formats.read_sentences(inputs.files[split], inputs.layout, inputs.tags, needs_tags, bad_lines)

    def by_number(self, split: str) -> Dict[int, Sentence]:
        if split not in self._kept:
            bad_lines = BadLines(self._inputs.skip_bad_lines)
            self._kept[split] = {sentence.number: sentence for sentence in self.read(split, bad_lines)}
        return self._kept[split]

    def tagged(self, split: str, predictions: Predictions) -> List[Tagged]:
        """The sentences that the predictions have windows of, in file order."""
        inputs = self._inputs
        return tagged(predictions, self.by_number(split), inputs.tags, inputs.constrained_decoding)

    def scores(self, split: str, tagged: Sequence[Tagged]) -> Dict[str, float]:
        return scores.scores(tagged, self._inputs.plain, self._has_text(split))

    def metric_names(self) -> Tuple[str, ...]:
        """The names of the metrics that dev has."""
        return scores.metric_names(self._inputs.plain, "dev" in self._inputs.files and self._has_text("dev"))

    def _has_text(self, split: str) -> bool:
        return formats.has_text(self._inputs.files[split], self._inputs.layout)


def tagging_task(inputs: TaggingInputs, reader: Reader) -> Task:
    """A Task that learns a tag for each word."""

    def fingerprint(split: str) -> Dict[str, Any]:
        return {
            "features": FEATURES,
            "layout": inputs.layout.identity(),
            "source": "+".join(map(files.sha256_of_file, formats.files_of(inputs.files[split], inputs.layout))),
            "format": formats.format_of(inputs.files[split], inputs.layout),
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
        build=lambda batch, is_training, compute: _build(inputs, batch, is_training, compute),
        score=lambda split, predictions: reader.scores(split, reader.tagged(split, predictions)),
        labels=tuple(inputs.tags),
        best_metric="accuracy" if inputs.plain else "f1",
        head_variables=("output_weights", "output_bias", "bilstm/", "crf/"),
        unread_variables=("bert/pooler/",),
        per_token_predictions=("tag_ids", "probabilities", "roles"),
        splits_examples=True,
        skip_bad_lines=inputs.skip_bad_lines,
        kinds=_kinds(inputs.tags, inputs.plain),
        kinds_in=lambda sentence: _kinds_in(sentence.tags or (), inputs.plain),
    )


def _kinds(tags: Sequence[str], plain: bool) -> Tuple[str, ...]:
    """The types of entities, or plain tags, in id order."""
    if plain:
        return tuple(tags)
    return tuple(dict.fromkeys(tag_schemes.split_tag(tag)[1] for tag in tags if tag != tag_schemes.OUTSIDE))


def _kinds_in(tags: Sequence[str], plain: bool) -> Sequence[str]:
    return tags if plain else [entity.type for entity in tag_schemes.entities(tags)]


# --- features ---------------------------------------------------------------------------------------------------------


def _featurize(inputs: TaggingInputs, examples: Sequence[Sentence]) -> List[Tuple[Feature, Facts]]:
    """The features of the windows of each sentence, in order."""
    encoded = iter(inputs.tokenizer.encode([word for sentence in examples for word in sentence.words]))
    ids = {tag: number for number, tag in enumerate(inputs.tags)}
    features: List[Tuple[Feature, Facts]] = []
    for sentence in examples:
        pieces = [next(encoded) for _ in sentence.words]
        features += _windows_of(inputs, sentence, pieces, ids)
    return features


def _windows_of(
    inputs: TaggingInputs, sentence: Sentence, pieces: List[List[int]], ids: Dict[str, int]
) -> Iterator[Tuple[Feature, Facts]]:
    tokenizer, room = inputs.tokenizer, inputs.max_seq_length - 2
    # A word without pieces still has a tag; a word longer than a whole window is cut.
    pieces = [(of_word or [tokenizer.unk_id])[:room] for of_word in pieces]
    tag_ids = [0] * len(pieces) if sentence.tags is None else [ids[tag] for tag in sentence.tags]
    for window in windows([len(of_word) for of_word in pieces], room, inputs.doc_stride):
        input_ids, roles, tags = [tokenizer.vocab["[CLS]"]], [NO_WORD], [0]
        for word in range(window.first, window.end):
            counted = window.first_counted <= word < window.end_counted
            after_first = [0] * (len(pieces[word]) - 1)
            input_ids += pieces[word]
            roles += [COUNTED if counted else CONTEXT] + after_first
            tags += [tag_ids[word]] + after_first
        feature = {
            "input_ids": input_ids + [tokenizer.vocab["[SEP]"]],
            "roles": roles + [NO_WORD],
            "tag_ids": tags + [0],
            "sentence": [sentence.number],
            "first_word": [window.first],
            "ends": [int(window.end == len(pieces))],
        }
        # Duplicate sentences are recognized by their first windows; the text of any other window is unique.
        text = "\0".join(sentence.words) + "\0{}:{}".format(sentence.line, window.first) * (window.first > 0)
        label = NO_LABEL if sentence.tags is None else 1 << 31 | hash_of_text("\0".join(sentence.tags)) >> 33
        num_pieces = len(input_ids) - 1  # without [CLS]
        unknown = input_ids.count(tokenizer.unk_id)
        yield feature, Facts(sentence.line, hash_of_text(text), label, num_pieces + 2, num_pieces, unknown)


# --- graph ------------------------------------------------------------------------------------------------------------


def _build(inputs: TaggingInputs, batch: Dict[str, Any], is_training: bool, compute: Compute) -> Outputs:
    assert inputs.bert_config is not None
    model = encoder(inputs.bert_config, batch, is_training, compute)
    words = layers.chains(batch["roles"] > NO_WORD, tf.equal(batch["first_word"], 0), tf.equal(batch["ends"], 1))
    real = tf.sequence_mask(words.lengths, tf.shape(words.places)[1], tf.int32)
    roles = words.gather(batch["roles"]) * real
    tag_ids = words.gather(batch["tag_ids"]) * real
    dropout_prob = inputs.bert_config.hidden_dropout_prob if is_training else 0.0
    vectors = words.gather(model.get_sequence_output())
    tag_scores = layers.tag_scores(vectors, words, len(inputs.tags), inputs.head, dropout_prob, compute)
    counted = tf.cast(tf.equal(roles, COUNTED), tf.float32)
    if inputs.class_weights is not None and is_training:
        counted *= tf.gather(tf.constant(inputs.class_weights, tf.float32), tag_ids)
    form = inputs.loss_form if is_training else CROSS_ENTROPY
    loss, weight = layers.tagging_loss(tag_scores, words, tag_ids, counted, form)
    if is_training:
        compared = () if inputs.head.crf else Distributions(tag_scores.logits, counted)
        return Outputs(loss=loss, weight=weight, predictions={}, distributions=compared)
    legal = tag_schemes.legal(inputs.tags) if inputs.constrained_decoding else None
    best, probabilities = layers.tagging_predictions(tag_scores, words, legal)
    predictions = {name: batch[name] for name in ("sentence", "first_word")}
    predictions.update(tag_ids=best, probabilities=probabilities, roles=roles)
    return Outputs(loss=loss, weight=weight, predictions=predictions, logits=tag_scores.logits)
