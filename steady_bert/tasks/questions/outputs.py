"""What is shown and written of answers: the original's files, answers with their places, the scores of a file."""

import os
from typing import Any, Dict, Iterable, Iterator, List, Sequence, Tuple

from ...base import files
from ...training import reports
from ...training.reports import say
from ...training.run_files import Evaluated
from . import answers
from .answers import Rules
from .assembly import Answered, Reader
from .squad_files import Question
from .upstream import Written

PREDICTIONS_FILE = "predictions.json"
_NULL_ODDS_FILE = "null_odds.json"


def paths_beside(predictions: str) -> Tuple[str, str, str]:
    """The paths of the n-best lists, the null odds and the answers with their places."""
    folder, name = os.path.split(predictions)
    null_odds = _NULL_ODDS_FILE if name == PREDICTIONS_FILE else "null_odds_" + name
    lines = os.path.splitext(predictions)[0] + ".jsonl"
    return os.path.join(folder, "nbest_" + name), os.path.join(folder, null_odds), lines


def describe(reader: Reader, asked: Sequence[Question]) -> Tuple[Dict[str, Any], str]:
    """(details for eval_results.json, nothing more to show)."""
    details: Dict[str, Any] = {
        "examples": len(asked),  # questions; a record is a window
        "answerable": sum(not question.is_impossible for question in asked),
        "scored_by": reader.inputs.score_by,
    }
    if reader.inputs.rules.with_unanswerable:
        details["null_score_diff_threshold"] = reader.null_threshold
    return details, ""


def evaluated(reader: Reader, answered: Iterable[Answered]) -> Iterator[Evaluated]:
    """The questions of a split, whose answers are all known, with the answers that are chosen."""
    for each in answered:
        yield Evaluated(
            id=each.question.example_id,
            line=each.question.line,
            texts=[each.question.text],
            gold=[gold.text for gold in each.question.answers],
            predicted=answers.chosen(each.answers, reader.rules).text,
            scores=reader.scored(each)._asdict(),
        )


def write(rules: Rules, answered: Sequence[Answered], path: str) -> None:
    """Writes the answers to `path`, the original's further files and lines with the answers' places beside it."""
    written = Written()
    n_best, null_odds, lines = paths_beside(path)
    for each in answered:
        written.add(each.question.example_id, each.answers, rules)
    paths = written.write(path, n_best, null_odds)
    with files.atomic_write(lines) as file:
        for each in answered:
            file.write(files.json_text(_with_place(each, rules)) + "\n")
    say("Wrote {:,} answers to {}".format(len(answered), ", ".join(paths + [lines])))


def _with_place(each: Answered, rules: Rules) -> Dict[str, Any]:
    """The answer as its context writes it, [start, end) in characters; null if it is empty."""
    chosen = answers.chosen(each.answers, rules)
    start, end = chosen.place or (None, None)
    shares = answers.probabilities(answer.score for answer in each.answers.best)
    known = {answer.text.text: share for answer, share in zip(each.answers.best, shares)}
    line = {
        "id": each.question.example_id,
        "text": each.question.context.text[start:end] if chosen.place else "",
        "start": start,
        "end": end,
        "probability": round(known[chosen.text], 6) if chosen.text in known else None,
    }
    if each.answers.null_odds is not None:
        line["null_odds"] = each.answers.null_odds
    return line


def write_scores(step: int, reader: Reader, split: str, answered: List[Answered], folder: str) -> None:
    """Writes the scores of a predicted file that has answers; those of dev are in another file."""
    unknown = sum(each.question.is_impossible is None for each in answered)
    if unknown:
        if unknown < len(answered):
            say("Not scored: {:,} of {:,} questions have no answer.".format(unknown, len(answered)))
        return
    metrics = reader.scores_of(split, answered)
    source = reader.inputs.files[split]
    say("Scores of step {} on {}: {}".format(step, source, reports.format_metrics(metrics)))
    details, _ = describe(reader, [each.question for each in answered])
    reports.write_test_results(folder, source, step, metrics, details)
