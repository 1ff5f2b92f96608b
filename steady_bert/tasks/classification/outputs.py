"""What is shown and written of predictions: tables, the scores of a labelled test file, the upload for GLUE."""

import itertools
import os
from typing import Any, Dict, Iterator, List, Sequence, Tuple

from ...base import files
from ...training import reports, trained_model
from ...training.reports import say
from ...training.run_files import Evaluated
from ..task import BadLines, Task
from .processor import DataProcessor
from .scores import Scored, Scorer


def describe(scorer: Scorer, scored: Scored) -> Tuple[Dict[str, Any], str]:
    """(details for eval_results.json, tables of the scores by class and of the confusions)."""
    by_class, confusion = scorer.by_class(scored), scorer.confusion(scored)
    details: Dict[str, Any] = {
        "examples": len(scored.values),  # texts; a record may be a window of one
        "confusion_matrix": confusion,
        "by_class": {label: scores._asdict() for label, scores in by_class.items()},
    }
    tables = []
    if by_class:
        rows = [["class", "precision", "recall", "f1", "support"]]
        for label, scores in by_class.items():
            rows.append([label] + ["{:.4f}".format(share) for share in scores[:3]] + ["{:,}".format(scores.support)])
        tables.append(reports.format_table(rows))
    if confusion:
        tables.append(reports.format_confusion_table(confusion, scorer.labels))
    if scorer.label_type == "multi":
        details["multi_label_threshold"] = scorer.threshold.value
        tuned = " (the best micro F1 on dev)" if scorer.threshold.tuned else ""
        tables.append("A label is predicted from a probability of {:.4g}{}".format(scorer.threshold.value, tuned))
    return details, "\n".join(tables)


def evaluated(task: Task, scorer: Scorer, scored: Scored, split: str, lines: Sequence[int]) -> Iterator[Evaluated]:
    """The examples of a split with their predictions. lines: those of the file that the split's records are made of."""
    chosen = set(lines)
    examples = (each for each in task.read(split, BadLines(task.skip_bad_lines)) if each.line in chosen)
    probabilities = itertools.repeat(None) if scored.probabilities is None else scored.probabilities
    for example, gold, value, of_labels in zip(examples, scored.gold, scored.values, probabilities):
        yield Evaluated(
            id=str(example.example_id),
            line=example.line,
            texts=[text for text in (example.text_a, example.text_b) if text is not None],
            gold=scorer.plain(gold),
            predicted=scorer.plain(value),
            probabilities=None if of_labels is None else [round(float(share), 6) for share in of_labels],
        )


def ids_and_labelled(task: Task, split: str) -> Tuple[List[str], List[bool]]:
    """(the ids of a split's examples, whether each has a label), in file order."""
    file_ids, labelled = [], []
    for example in task.read(split, BadLines(task.skip_bad_lines)):
        file_ids.append(str(example.example_id))
        labelled.append(example.label is not None)
    return file_ids, labelled


def write(scorer: Scorer, scored: Scored, file_ids: Sequence[str], path: str, split: str) -> None:
    """Writes the predictions of a split, and beside them their numbers in upstream's format."""
    header, rows = scorer.table(scored, file_ids)
    reports.write_table(path, header, rows)
    # Upstream's file has only the numbers, one line an example; here a header comes first.
    numbers = slice(2, None) if scorer.labels else slice(1, None)
    results = os.path.join(os.path.dirname(path) or os.curdir, trained_model.with_suffix("test_results.tsv", split))
    reports.write_table(results, header[numbers], [row[numbers] for row in rows])
    say("Wrote {:,} predictions to {}".format(len(rows), path))


def write_submission(
    scorer: Scorer, scored: Scored, file_ids: Sequence[str], processor: DataProcessor, split: str, folder: str
) -> None:
    """Writes the file of a split's predictions as GLUE or CLUE wants it; nothing if there is none."""
    official = processor.submission.get(split)
    if official is None:
        return
    upload = os.path.join(folder, "submission", official)
    rows = list(zip(file_ids, scorer.submission(scored)))
    if official.endswith(".json"):
        os.makedirs(os.path.dirname(upload), exist_ok=True)
        with files.atomic_write(upload) as file:
            file.writelines(files.json_text(processor.submission_object(*row)) + "\n" for row in rows)
        say("Wrote CLUE's file {}".format(upload))
        return
    reports.write_table(upload + ".tsv", ["index", "prediction"], rows)
    say("Wrote GLUE's file {}.tsv".format(upload))


def write_scores(scorer: Scorer, names: Sequence[str], scored: Scored, step: int, file: str, folder: str) -> None:
    """Writes the scores of the examples of a predicted file that have labels; those of dev are in another file."""
    metrics = scorer.metrics(names, scored)
    details, shown = describe(scorer, scored)
    text = "Scores of step {} on {:,} labelled examples of {}: {}"
    say(text.format(step, details["examples"], file, reports.format_metrics(metrics)))
    reports.write_test_results(folder, file, step, metrics, dict(labels=list(scorer.labels), **details), shown)
