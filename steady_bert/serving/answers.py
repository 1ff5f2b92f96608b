"""Texts → features → predictions → answers: what is asked of a run, and the answer as JSON has it.

An answer has the numbers of the files that --do_predict writes.
"""

import functools
from typing import AbstractSet, Any, Callable, Dict, Iterable, List, Mapping, NamedTuple, Sequence, Union

import numpy as np

from ..base.errors import UserError
from ..tasks.classification import assembly as classification
from ..tasks.classification.assembly import TaskInputs
from ..tasks.classification.processor import InputExample
from ..tasks.classification.scores import KINDS
from ..tasks.tagging import predictions as tagging_predictions
from ..tasks.tagging import spans, word_lists
from ..tasks.tagging.assembly import TaggingInputs
from ..tasks.tagging.predictions import Tagged
from ..tasks.tagging.sentences import Sentence
from ..tasks.task import Feature, Predictions
from .saved_run import SavedRun

Text = Union[str, Sequence[str]]  # a text; a pair of texts; for a tagger, a list of words
Answer = Dict[str, Any]


class Question(NamedTuple):
    """Texts as a run reads them. examples: InputExample or Sentence. features: of all records, in order."""

    examples: List[Any]
    features: List[Feature]


def question(run: SavedRun, texts: Sequence[Text]) -> Question:
    """Raises UserError, with the number of the text, for a text that is none of this run's."""
    inputs = run.inputs
    if isinstance(inputs, TaggingInputs):
        examples = each_text(texts, functools.partial(_sentence, inputs))
    else:
        examples = each_text(texts, functools.partial(pair_of, counts=inputs.processor.text_counts))
    asked = [example for example in examples if not isinstance(example, Sentence) or example.words]
    return Question(examples, [feature for feature, _ in run.task.featurize(asked)])


def each_text(texts: Sequence[Text], read: Callable[[int, Text], Any]) -> List[Any]:
    """read(number, text) of each text. Raises UserError, with the number of the text, where read does."""
    if isinstance(texts, str):
        raise UserError("texts is a string. Give a list: [text].")
    results = []
    for number, text in enumerate(texts):
        try:
            if not isinstance(text, Iterable) or isinstance(text, (AbstractSet, Mapping)):
                raise UserError("is a {}, not a text.".format(type(text).__name__))
            results.append(read(number, text))
        except UserError as error:
            raise UserError("texts[{}]: {}".format(number, error)) from None
    return results


def pair_of(number: int, text: Text, counts: Sequence[int] = (1, 2)) -> InputExample:
    """A text or a pair as an example. counts: how many texts there may be."""
    texts = (text,) if isinstance(text, str) else tuple(text)
    if not all(isinstance(each, str) for each in texts):
        raise UserError("is neither a string nor a pair of strings.")
    if len(texts) not in counts:
        wanted = " or ".join({1: "a string", 2: "a pair of strings"}[count] for count in counts)
        raise UserError("has {} texts; this model reads {}.".format(len(texts), wanted))
    return InputExample(str(number), texts[0], texts[1] if len(texts) == 2 else None)


def answers(run: SavedRun, asked: Question, predictions: Predictions) -> List[Answer]:
    """predictions: name → one array for each of the features."""
    if isinstance(run.inputs, TaggingInputs):
        return _of_words(run.inputs, asked, predictions)
    return _of_texts(run.inputs, asked, predictions)


# --- classification ---------------------------------------------------------------------------------------------------


def _of_texts(inputs: TaskInputs, asked: Question, predictions: Predictions) -> List[Answer]:
    if not asked.examples:
        return []
    features = asked.features
    records: Dict[str, Any] = dict(predictions, label_ids=[np.zeros(1)] * len(features))
    if "window" in features[0]:
        records["window"] = [feature["window"][0] for feature in features]
    scored = classification.scorer_of(inputs).scored("test", records)
    rows = [None] * len(scored.values) if scored.probabilities is None else scored.probabilities
    return [_of_text(inputs, value, row) for value, row in zip(scored.values, rows)]


def _of_text(inputs: TaskInputs, value: Any, probabilities: Any) -> Answer:
    kind = inputs.processor.label_type
    if kind == "regression":
        return {"score": float(value)}
    by_label = {label: float(probability) for label, probability in zip(inputs.labels, probabilities)}
    if kind == "multi":
        return {"labels": [label for label, yes in zip(inputs.labels, value) if yes], "probabilities": by_label}
    label = KINDS[kind].shown(value, inputs.labels)
    return {"label": label, "score": by_label[label], "probabilities": by_label}


# --- tagging ----------------------------------------------------------------------------------------------------------


def _sentence(inputs: TaggingInputs, number: int, text: Text) -> Sentence:
    if isinstance(text, str):
        offsets = tuple(spans.units_in(text, inputs.layout.text_units))
        return Sentence(number, number, str(number), tuple(text[a:b] for a, b in offsets), None, text, offsets)
    words = tuple(text)
    if not all(isinstance(word, str) and word.strip() for word in words):
        raise UserError("is neither a string nor a list of words, each with a character.")
    gap = "" if inputs.layout.text_units == "characters" else " "
    return Sentence(number, number, str(number), words, None, gap.join(words), word_lists.joined_offsets(words, gap))


def _of_words(inputs: TaggingInputs, asked: Question, predictions: Predictions) -> List[Answer]:
    records = dict(predictions)
    for name in ("sentence", "first_word"):
        records[name] = [feature[name][0] for feature in asked.features]
    records["roles"] = [np.array([role for role in feature["roles"] if role]) for feature in asked.features]
    by_number = {sentence.number: sentence for sentence in asked.examples}
    tagged = tagging_predictions.tagged(records, by_number, inputs.tags, inputs.constrained_decoding)
    by_sentence: Dict[int, Tagged] = {each.sentence.number: each for each in tagged}
    return [_of_sentence(inputs, s, by_sentence.get(s.number, Tagged(s, [], np.zeros(0)))) for s in asked.examples]


def _of_sentence(inputs: TaggingInputs, sentence: Sentence, tagged: Tagged) -> Answer:
    to_object = tagging_predictions.json_tags if inputs.plain else tagging_predictions.json_entities
    answer = to_object(sentence, tagged.tags, tagged.probabilities.tolist())
    del answer["id"]
    return answer
