"""Files in the layout of SQuAD 1.1 and 2.0 → questions, with the question's id and the file in every error."""

import json
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Set, Tuple

from ...base.errors import UserError
from ..reading.encodings import AUTO
from ..reading.json_rows import is_encodable
from ..reading.source import Source
from ..task import BadLines
from . import contexts
from .contexts import Context

_NAMED = 5  # how many questions a note names


class Gold(NamedTuple):
    """An answer that the file gives."""

    text: str
    start: int  # its first character in the context


class Question(NamedTuple):
    number: int  # among the questions of its file that are read, from 0
    example_id: str
    text: str
    context: Context
    answers: Tuple[Gold, ...]  # none for one that has no answer, or whose answer is not known
    is_impossible: Optional[bool]  # None: the file does not say, and gives no answer

    @property
    def line(self) -> int:
        """Its number from 1: what the data report names."""
        return self.number + 1


class Wanted(NamedTuple):
    """What a split needs of its questions."""

    answers: bool  # whether each must have one, or be unanswerable
    learnable: bool = False  # whether those whose answer is not in the context are left out
    with_unanswerable: bool = False  # whether questions without an answer are expected


def articles(path: str, encoding: str = AUTO) -> List[Dict[str, Any]]:
    """The list of articles of a file. Raises UserError if it is no SQuAD file."""
    text = "".join(Source(path, encoding).characters())
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError("{}: not JSON ({}). Copy the file again.".format(path, error)) from None
    data = content.get("data") if isinstance(content, dict) else None
    if not isinstance(data, list):
        raise UserError('{}: has no list "data" as files of SQuAD have. Check the path.'.format(path))
    return data


def read(path: str, wanted: Wanted, bad_lines: BadLines, encoding: str = AUTO) -> Iterator[Question]:
    """The questions of a file, in order.

    A question that is not well formed goes to bad_lines, which raises UserError unless it may be skipped.
    """
    notes = _Notes()
    seen: Set[str] = set()
    number = 0
    for context_text, content, place in _contents(path, encoding):
        context = contexts.split(context_text)
        for position, item in enumerate(_items(content, "qas", place)):
            try:
                question = _question(item, context, number, "{}, question {}".format(place, position + 1), path, wanted)
                if question.example_id in seen:
                    raise _bad(path, question.example_id, "its id is that of an earlier question. Give each its own")
            except UserError as error:
                bad_lines.add(error)
                continue
            seen.add(question.example_id)
            if wanted.learnable and not notes.is_learnable(question):
                continue
            yield question
            number += 1
    bad_lines.notes += notes.lines()


def _contents(path: str, encoding: str) -> Iterator[Tuple[str, Dict[str, Any], str]]:
    """(context, the paragraph it is in, where that is) of every paragraph."""
    for article_number, article in enumerate(articles(path, encoding)):
        place = "{}: article {}".format(path, article_number + 1)
        for number, paragraph in enumerate(_items(article, "paragraphs", place)):
            of_paragraph = "{}, paragraph {}".format(place, number + 1)
            context = paragraph.get("context") if isinstance(paragraph, dict) else None
            if not isinstance(context, str):
                raise UserError('{}: has no text "context". Add it.'.format(of_paragraph))
            yield context, paragraph, of_paragraph


def _items(content: Any, name: str, place: str) -> List[Any]:
    items = _list_in(content, name)
    if items is None:
        raise UserError('{}: has no list "{}". Add it.'.format(place, name))
    return items


def _list_in(content: Any, name: str) -> Optional[List[Any]]:
    items = content.get(name) if isinstance(content, dict) else None
    return items if isinstance(items, list) else None


def gold_texts(path: str, encoding: str = AUTO) -> Iterator[str]:
    """The texts of a file's answers; what is not well formed is left out. Raises UserError if it is no SQuAD file."""
    for article in articles(path, encoding):
        for paragraph in _list_in(article, "paragraphs") or ():
            for question in _list_in(paragraph, "qas") or ():
                for answer in _list_in(question, "answers") or ():
                    text = answer.get("text") if isinstance(answer, dict) else None
                    if isinstance(text, str) and question.get("is_impossible") is not True:
                        yield text


def _bad(path: str, example_id: str, problem: str) -> UserError:
    return UserError("{}: question {!r}: {}.".format(path, example_id, problem))


def _question(item: Any, context: Context, number: int, place: str, path: str, wanted: Wanted) -> Question:
    example_id = item.get("id") if isinstance(item, dict) else None
    if isinstance(example_id, int) and not isinstance(example_id, bool):
        example_id = str(example_id)
    if not isinstance(example_id, str) or not example_id:
        raise UserError('{}: has no "id". Give each question one.'.format(place))
    text = item.get("question")
    if not isinstance(text, str):
        raise _bad(path, example_id, 'has no text "question". Add it')
    if not is_encodable([example_id, text, context.text]):
        problem = "its id, text or context has half of a surrogate pair (such as \\ud800). Fix it"
        raise _bad(path, example_id, problem)
    said = item.get("is_impossible")
    if not (said is None or isinstance(said, bool)):
        raise _bad(path, example_id, "is_impossible is {!r}, not true or false. Fix it".format(said))
    answers = () if said else _answers(item, context, example_id, path)
    impossible = True if said else False if answers else None
    if wanted.answers:
        if not answers and not said and not (wanted.with_unanswerable and said is None and "answers" in item):
            raise _bad(
                path, example_id, "has no answer. Add it, or pass --version_2_with_negative and say is_impossible"
            )
        if not answers and not wanted.with_unanswerable:
            raise _bad(path, example_id, "has no answer. Pass --version_2_with_negative, as for SQuAD 2.0")
        impossible = not answers
    return Question(number, example_id, text, context, answers, impossible)


def _answers(item: Dict[str, Any], context: Context, example_id: str, path: str) -> Tuple[Gold, ...]:
    answers = item.get("answers", [])
    if not isinstance(answers, list):
        raise _bad(path, example_id, '"answers" is no list. Fix it')
    result = []
    for answer in answers:
        text = answer.get("text") if isinstance(answer, dict) else None
        start = answer.get("answer_start") if isinstance(answer, dict) else None
        if not isinstance(text, str) or not text:
            raise _bad(path, example_id, 'an answer has no "text". Add it')
        if not isinstance(start, int) or isinstance(start, bool):
            raise _bad(path, example_id, 'the answer {!r} has no whole number "answer_start". Add it'.format(text))
        if start < 0 or start + len(text) > len(context.text):
            raise _bad(
                path,
                example_id,
                "the answer {!r} at {} ends outside of its context of {} characters. Fix answer_start, which counts "
                "characters".format(text, start, len(context.text)),
            )
        result.append(Gold(text, start))
    return tuple(result)


def words_of(gold: Gold, context: Context) -> Optional[Tuple[int, int]]:
    """(first, last) word of an answer; None if the words at its place do not hold its text."""
    first, last = context.word_at(gold.start), context.word_at(gold.start + len(gold.text) - 1)
    if first < 0 or " ".join(gold.text.split()) not in context.joined(first, last):
        return None
    return first, last


class _Notes:
    """What the data report says of questions that are left out, or of whose answers one is taken."""

    def __init__(self) -> None:
        self._not_there: List[str] = []
        self._several: List[str] = []

    def is_learnable(self, question: Question) -> bool:
        """Whether the question is learned: its first answer is at its place in the context, or it has none."""
        if len(question.answers) > 1:
            self._several.append(question.example_id)
        if question.answers and words_of(question.answers[0], question.context) is None:
            self._not_there.append(question.example_id)
            return False
        return True

    def lines(self) -> List[str]:
        kinds = (
            (self._not_there, "left out, for their answers are not in the context at answer_start"),
            (self._several, "with several answers, the first of which is learned"),
        )
        return ["questions {}: {:,} ({})".format(what, len(ids), _named(ids)) for ids, what in kinds if ids]


def _named(ids: List[str]) -> str:
    return ", ".join(ids[:_NAMED] + ["…"] * (len(ids) > _NAMED))
