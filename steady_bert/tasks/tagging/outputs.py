"""What is shown and written of predicted tags: tables of scores, columns and JSON, the scores of a predicted file."""

import os
from typing import Any, Dict, Iterable, Iterator, List, Tuple

from ...base import files
from ...training import reports
from ...training.reports import say
from ...training.run_files import Evaluated
from . import entity_scores, predictions, scores
from .assembly import Reader, TaggingInputs
from .predictions import Tagged

_CONFUSIONS_SHOWN = 10


def objects_beside(columns: str) -> str:
    """The path of the JSON lines that go with a file of columns."""
    return os.path.splitext(columns)[0] + ".jsonl"


def describe(inputs: TaggingInputs, sentences: List[Tagged]) -> Tuple[Dict[str, Any], str]:
    """(details for eval_results.json, two tables: scores by type, and the most frequent confusions)."""
    words = sum(len(each.tags) for each in sentences)
    if inputs.plain:
        return {"examples": len(sentences), "words": words}, ""
    by_type = scores.counts_by_type(sentences)
    rows = [["type", "precision", "recall", "f1", "correct", "predicted", "gold"]]
    for kind, counts in list(by_type.items()) + [("all", entity_scores.total(by_type))]:
        shares = ["{:.4f}".format(share) for share in (counts.precision, counts.recall, counts.f1)]
        rows.append([kind] + shares + ["{:,}".format(count) for count in counts])
    shown = reports.format_table(rows)
    confused = scores.confusions(sentences)
    if confused:
        rows = [["times", "gold", "predicted"]]
        rows += [["{:,}".format(times), gold, predicted] for gold, predicted, times in confused[:_CONFUSIONS_SHOWN]]
        shown += "\nMost frequent confusions:\n" + reports.format_table(rows)
    details = {
        "examples": len(sentences),  # sentences; a record is a window of one
        "words": words,
        "by_type": {
            kind: dict(counts._asdict(), precision=counts.precision, recall=counts.recall, f1=counts.f1)
            for kind, counts in by_type.items()
        },
        "confusions": [{"gold": gold, "predicted": predicted, "times": times} for gold, predicted, times in confused],
    }
    return details, shown


def evaluated(sentences: Iterable[Tagged]) -> Iterator[Evaluated]:
    """The sentences of a split, all of which have tags, with their predictions."""
    for sentence, tags, probabilities in sentences:
        yield Evaluated(
            id=sentence.example_id,
            line=sentence.line,
            texts=[sentence.text],
            gold=list(sentence.tags or ()),
            predicted=tags,
            probabilities=[round(float(share), 6) for share in probabilities],
            words=list(sentence.words),
        )


def write(inputs: TaggingInputs, sentences: List[Tagged], path: str) -> None:
    """Writes columns to `path`, and beside it a file with a JSON object for each sentence."""
    separator = predictions.separator_of(sentences)
    with files.atomic_write(path) as file:
        for sentence, tags, _ in sentences:
            file.write("\n".join(predictions.column_rows(sentence, tags, separator)) + "\n\n")
    objects = objects_beside(path)
    to_object = predictions.json_tags if inputs.plain else predictions.json_entities
    with files.atomic_write(objects) as file:
        for each in sentences:
            file.write(files.json_text(to_object(each.sentence, each.tags, each.probabilities.tolist())) + "\n")
    words = sum(len(each.tags) for each in sentences)
    say("Wrote {:,} words of {:,} sentences to {} and {}".format(words, len(sentences), path, objects))


def write_scores(
    step: int, inputs: TaggingInputs, reader: Reader, split: str, sentences: List[Tagged], folder: str
) -> None:
    """Writes the scores of a predicted file that has tags; those of dev are in another file."""
    untagged = sum(each.sentence.tags is None for each in sentences)
    if untagged:
        if untagged < len(sentences):
            say("Not scored: {:,} of {:,} sentences have no tags.".format(untagged, len(sentences)))
        return
    metrics = reader.scores(split, sentences)
    details, shown = describe(inputs, sentences)
    say("Scores of step {} on {}: {}".format(step, inputs.files[split], reports.format_metrics(metrics)))
    reports.write_test_results(folder, inputs.files[split], step, metrics, details, shown)
