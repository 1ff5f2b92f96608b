"""Questions as a Task: question and context → windows, model, head, scores.

A record is a window of a question's context. An answer is learned in the windows that hold it, and in the others [CLS]
stands for it, as for a question that has none.
"""

import collections
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

import modeling

from ...base import files
from ...base.compute import Compute
from ..heads import encoder
from ..losses import Distributions
from ..reading.encodings import AUTO
from ..task import NO_LABEL, BadLines, Column, Facts, Feature, Outputs, Predictions, Task, hash_of_text
from . import answers, features, heads, scores, squad_files
from .answers import Answers, Rules, Text, WindowLogits
from .contexts import Context
from .features import Lengths, Pieces, Window
from .scores import Scored
from .squad_files import Question, Wanted

# Fingerprinted: raise when the same file gives other features.
FEATURES = 1
KINDS = ("answerable", "unanswerable")


class QuestionsInputs(NamedTuple):
    """What a task of questions is assembled from.

    files: split → path. tokenizer: tokenize, convert_tokens_to_ids and unk_id. vocab_fingerprint identifies it.
    score_by: a name in scores.SCORED_BY.
    """

    files: Dict[str, str]
    tokenizer: Any
    vocab_fingerprint: str
    do_lower_case: bool
    bert_config: Optional[modeling.BertConfig]  # None if the data is only checked
    lengths: Lengths
    rules: Rules
    tune_threshold: bool
    score_by: str
    encoding: str = AUTO
    skip_bad_lines: int = 0
    verbose: bool = False  # whether answers whose text is not found are printed


class Answered(NamedTuple):
    """A question with its best answers."""

    question: Question
    answers: Answers


class Reader:
    """Reads the questions of the splits, and answers them. Those of a split that is scored stay in memory."""

    def __init__(self, inputs: QuestionsInputs) -> None:
        self.inputs = inputs
        self.null_threshold = inputs.rules.null_threshold  # the tuned one once there is one
        self._kept: Dict[str, Dict[int, Question]] = {}
        self._pieces: Tuple[Optional[Context], Optional[Pieces]] = (None, None)
        self._writing = answers.writing_of(inputs.tokenizer, inputs.do_lower_case)

    @property
    def rules(self) -> Rules:
        return self.inputs.rules._replace(null_threshold=self.null_threshold)

    def read(self, split: str, bad_lines: BadLines) -> Iterator[Question]:
        inputs = self.inputs
        wanted = Wanted(
            answers=not split.startswith("test"),
            learnable=split == "train",
            with_unanswerable=inputs.rules.with_unanswerable,
        )
        return squad_files.read(inputs.files[split], wanted, bad_lines, inputs.encoding)

    def windows(self, question: Question) -> Tuple[Pieces, List[Window]]:
        """The context in pieces, and the question's windows, at least one."""
        tokenizer = self.inputs.tokenizer
        if self._pieces[0] is not question.context:  # the questions of a context follow each other
            self._pieces = (question.context, features.pieces_of(question.context.words, tokenizer))
        pieces = self._pieces[1]
        assert pieces is not None
        return pieces, features.windows_of(tokenizer.tokenize(question.text), pieces, self.inputs.lengths)

    def answered(self, split: str, predictions: Predictions, texts: Optional[int] = None) -> Iterator[Answered]:
        """The questions that the predictions have windows of, in file order. texts: as for answers.answers_of."""
        rows: Dict[int, List[int]] = collections.defaultdict(list)  # question → its windows
        for row, of_question in enumerate(predictions["question"]):
            rows[int(of_question)].append(row)
        kept = self._questions(split)
        for number in sorted(rows):
            question = kept[number]
            in_order = sorted(rows[number], key=lambda row: int(predictions["window"][row]))
            _, windows = self.windows(question)
            if len(windows) != len(in_order):
                raise ValueError("Question {!r} lacks predictions of windows.".format(question.example_id))
            logits = [
                WindowLogits(
                    window.tokens,
                    window.words,
                    window.is_best,
                    np.asarray(predictions["start_logits"][row], np.float64),
                    np.asarray(predictions["end_logits"][row], np.float64),
                )
                for window, row in zip(windows, in_order)
            ]
            yield Answered(question, answers.answers_of(logits, self._final_text(question), self.inputs.rules, texts))

    def asked(self, split: str, predictions: Predictions) -> List[Question]:
        """The questions that the predictions have windows of, in file order."""
        kept = self._questions(split)
        return [kept[number] for number in np.unique(predictions["question"]).tolist()]

    def _questions(self, split: str) -> Dict[int, Question]:
        if split not in self._kept:
            bad_lines = BadLines(self.inputs.skip_bad_lines)
            self._kept[split] = {question.number: question for question in self.read(split, bad_lines)}
        return self._kept[split]

    def _final_text(self, question: Question) -> answers.FinalText:
        context = question.context

        def final_text(first: int, last: int, pieces: Sequence[str]) -> Text:
            original, written = context.joined(first, last), self._writing.joined(pieces)
            place = answers.aligned(written, original, self._writing.tokenize)
            if place is None:
                if self.inputs.verbose:
                    print("{}: {}".format(question.example_id, answers.NOT_FOUND.format(written, original)))
                place = (0, len(original))
            start, end = (context.offset_of(first, offset) for offset in (place[0], place[1] - 1))
            return Text(original[place[0] : place[1]], (start, end + 1))

        return final_text

    def scores(self, split: str, predictions: Predictions) -> Dict[str, float]:
        """The metrics of a split whose questions all have an answer or are known to have none.

        With tune_threshold, the threshold that is best on dev is taken from here on.
        """
        return self.scores_of(split, list(self.answered(split, predictions, texts=1)))

    def scores_of(self, split: str, answered: Sequence[Answered]) -> Dict[str, float]:
        if self.inputs.tune_threshold and split == "dev":
            golds = [self._gold(each.question) for each in answered]
            score = scores.SCORED_BY[self.inputs.score_by]
            with_text = [
                score(each.answers.best_text.text.text if each.answers.best_text else "", gold).f1
                for each, gold in zip(answered, golds)
            ]
            without = [score("", gold).f1 for gold in golds]
            null_odds = [each.answers.null_odds or 0.0 for each in answered]
            self.null_threshold = scores.best_threshold(null_odds, with_text, without)
        scored = [self.scored(each) for each in answered]
        return scores.summary(scored, [not each.question.is_impossible for each in answered])

    def scored(self, each: Answered) -> Scored:
        """The scores of the answer that is chosen, by the threshold in use."""
        score = scores.SCORED_BY[self.inputs.score_by]
        return score(answers.chosen(each.answers, self.rules).text, self._gold(each.question))

    def _gold(self, question: Question) -> List[str]:
        texts = [gold.text for gold in question.answers]
        return [text for text in texts if scores.has_words(text)] if self.inputs.rules.with_unanswerable else texts


def questions_task(inputs: QuestionsInputs, reader: Reader) -> Task:
    """A Task that learns where in its context the answer of a question begins and ends."""

    def fingerprint(split: str) -> Dict[str, Any]:
        return {
            "features": FEATURES,
            "source": files.sha256_of_file(inputs.files[split]),
            "vocabulary": inputs.vocab_fingerprint,
            "with_unanswerable": inputs.rules.with_unanswerable,
            "encoding": inputs.encoding,
            **inputs.lengths._asdict(),
        }

    return Task(
        name="questions",
        columns={
            "input_ids": Column("int64", per_token=True),
            "segment_ids": Column("int64", per_token=True),
            "start_position": Column("int64"),
            "end_position": Column("int64"),
            "question": Column("int64"),
            "window": Column("int64"),
        },
        files=inputs.files,
        read=reader.read,
        featurize=lambda examples: _featurize(reader, examples),
        fingerprint=fingerprint,
        build=lambda batch, is_training, compute: _build(inputs, batch, is_training, compute),
        score=reader.scores,
        labels=(),
        best_metric="f1",
        head_variables=("cls/squad/",),
        unread_variables=("bert/pooler/",),
        per_token_predictions=("start_logits", "end_logits"),
        splits_examples=True,
        skip_bad_lines=inputs.skip_bad_lines,
        kinds=KINDS if inputs.rules.with_unanswerable else (),
        kinds_in=_kinds_in if inputs.rules.with_unanswerable else None,
    )


def _kinds_in(question: Question) -> Sequence[str]:
    return [] if question.is_impossible is None else [KINDS[question.is_impossible]]


# --- features ---------------------------------------------------------------------------------------------------------

_UNKNOWN = -1  # the position of an answer that is not in the context: its loss does not count


def _featurize(reader: Reader, examples: Sequence[Question]) -> List[Tuple[Feature, Facts]]:
    """The features of the windows of each question, in order."""
    made: List[Tuple[Feature, Facts]] = []
    for question in examples:
        made += _windows_of(reader, question)
    return made


def _windows_of(reader: Reader, question: Question) -> Iterator[Tuple[Feature, Facts]]:
    tokenizer = reader.inputs.tokenizer
    context, windows = reader.windows(question)
    words = squad_files.words_of(question.answers[0], question.context) if question.answers else None
    answer = None
    if words is not None:
        answer = features.answer_pieces(context, *words, question.answers[0].text, tokenizer)
    has_position = answer is not None or bool(question.is_impossible)
    asked = windows[0].offset - 2
    unknown = tokenizer.convert_tokens_to_ids(windows[0].tokens[1 : asked + 1] + context.pieces).count(tokenizer.unk_id)
    pieces = asked + len(context.pieces)
    text = hash_of_text("{}\0{}".format(question.text, question.context.text))
    label = NO_LABEL if question.is_impossible is None else 1 << 31 | hash_of_text(repr(question.answers[:1])) >> 33
    for number, window in enumerate(windows):
        start, end = features.positions_in(window, answer) if has_position else (_UNKNOWN, _UNKNOWN)
        feature = {
            "input_ids": tokenizer.convert_tokens_to_ids(window.tokens),
            "segment_ids": window.segment_ids,
            "start_position": [start],
            "end_position": [end],
            "question": [question.number],
            "window": [number],
        }
        counted = len(windows) if number == 0 else 0
        yield feature, Facts(question.line, text, label, pieces + features.SPECIAL_TOKENS, pieces, unknown, counted)


# --- graph ------------------------------------------------------------------------------------------------------------


def _build(inputs: QuestionsInputs, batch: Dict[str, Any], is_training: bool, compute: Compute) -> Outputs:
    assert inputs.bert_config is not None
    model = encoder(inputs.bert_config, batch, is_training, compute)
    both = heads.span_logits(model.get_sequence_output(), compute)
    known = tf.cast(batch["start_position"] >= 0, tf.float32)
    losses = [
        heads.position_loss(logits, tf.maximum(batch[name], 0), batch["input_mask"])
        for logits, name in zip(both, ("start_position", "end_position"))
    ]
    loss = known * (losses[0] + losses[1]) / 2.0
    predictions = {name: batch[name] for name in ("question", "window")}
    predictions.update(start_logits=both[0], end_logits=both[1])
    outputs = Outputs(loss, known, {} if is_training else predictions, tf.stack(both, axis=-1))
    if not is_training:
        return outputs
    places = tf.stack([heads.of_tokens(logits, batch["input_mask"]) for logits in both], axis=1)
    return outputs._replace(distributions=Distributions(places, tf.stack([known, known], axis=1) / 2.0))
