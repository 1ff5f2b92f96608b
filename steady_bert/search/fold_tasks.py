"""What the folds of a task are made of: its training file, its examples with their labels, the flags of a run. Pure."""

import csv
import io
import os
from typing import Any, Callable, Dict, List, NamedTuple, Sequence

from ..base import files
from ..base.errors import UserError
from ..tasks.reading import text_files
from ..tasks.tagging import formats, tag_lists
from ..tasks.tagging import schemes as tag_schemes
from ..tasks.task import BadLines
from . import data_files, folds
from .folds import Example, FoldData

LABEL = "label"
# The flags that say how the training file is read, or that folds set. Folds are written once, so they cannot vary.
FIXED = {
    *("data_dir", "dev_file", "encoding", "format", "label_column", "label_separator", "label_type", "labels"),
    *("language", "skip_bad_lines", "tag_column", "tag_scheme", "tags_file", "task_name", "text_units", "train_file"),
    "word_column",
}


class FoldTask(NamedTuple):
    """flags: the folder of a fold → the flags that differ in its run, by name."""

    data: FoldData
    flags: Callable[[str], Dict[str, str]]


def of_classifier(data: Any, folder: str) -> FoldTask:
    """data: a ClassifierDataConfig."""
    processor = data_files.processor_of(data)
    source = processor.file_path(data.data_dir, "train")
    common = _common(data)
    if processor.known_labels() is None:  # a fold may lack one
        common["labels"] = _listed(processor.find_labels(source, BadLines(data.skip_bad_lines)))
    examples = []
    for example in processor.read_examples(source, "train", BadLines(data.skip_bad_lines)):
        label = example.label
        examples.append(Example(example.line, float(label) if processor.label_type == "regression" else label))
    names = {split: os.path.relpath(processor.file_path(folder, split), folder) for split in ("train", "dev")}
    if data.task_name == "text":
        names = {split: split + text_files.ending_of(source) for split in names}
    others = {os.path.relpath(p, data.data_dir): p for p in data_files.further_dev_files(processor, data.data_dir)}
    whole = FoldData(source, data.encoding, examples, names, others)
    return FoldTask(whole, lambda fold: dict(common, data_dir=fold))


def of_tagger(data: Any, folder: str) -> FoldTask:
    """data: a TaggingDataConfig. The label of a sentence is which types of entities it has."""
    layout = data_files.layout_of(data)
    source = data.train_file
    formats.require_path("train_file", source)
    format_name = formats.format_of(source, layout)
    if format_name == "brat":
        raise UserError(
            "--k_folds: {}: is a folder of brat's. Make one file of it, with an object a line.".format(source)
        )
    if data.tags_file and format_name == "tokens":
        layout = layout._replace(tag_names=tag_lists.names_in(data.tags_file, layout.encoding))
    common = _common(data)
    if not data.tags_file:
        tags = tag_lists.find_tags(source, layout, BadLines(data.skip_bad_lines))
        common["tags_file"] = os.path.join(folder, "tags.txt")
        files.write_bytes(common["tags_file"], ("\n".join(tags) + "\n").encode("utf-8"))
    examples = []
    for sentence in formats.read_sentences(source, layout, None, True, BadLines(data.skip_bad_lines)):
        kinds = {tag_schemes.split_tag(tag)[1] if tag_schemes.is_tag(tag) else tag for tag in sentence.tags or ()}
        examples.append(Example(sentence.line, tuple(sorted(kinds - {""}))))
    names = {split: split + text_files.ending_of(source) for split in ("train", "dev")}
    whole = FoldData(source, data.encoding, examples, names)
    return FoldTask(whole, lambda fold: dict(common, **{s + "_file": os.path.join(fold, names[s]) for s in names}))


_TASKS = {"run_classifier": of_classifier, "run_ner": of_tagger}


def require_folds(script: str) -> None:
    if script not in _TASKS:
        raise UserError("--k_folds: {}.py has no examples with labels or groups. Leave it out.".format(script))


def source_of(script: str, data: Any) -> str:
    """The training file that is split."""
    if script == "run_classifier":
        return data_files.processor_of(data).file_path(data.data_dir, "train")
    return str(data.train_file)


def write(script: str, data: Any, count: int, by: str, seed: int, folder: str) -> List[Dict[str, str]]:
    """Writes the folds of a command's training file into a folder. Returns the flags that differ in each fold's run.

    by: label, or the name or number of the column whose values stay together.
    """
    task = _TASKS[script](data, folder)
    if len(task.data.examples) < 2 * count:
        text = "--k_folds={}: {} has {:,} examples. Give fewer folds."
        raise UserError(text.format(count, task.data.source, len(task.data.examples)))
    if by == LABEL:
        fold_of = folds.by_label([example.key for example in task.data.examples], count, seed)
    else:
        fold_of = folds.by_group(_groups(script, data, task.data, by), count, seed)
    folds.write(task.data, fold_of, count, folder)
    return [task.flags(folds.fold_folder(folder, fold + 1)) for fold in range(count)]


def _groups(script: str, data: Any, whole: FoldData, column: str) -> Sequence[str]:
    is_json = text_files.ending_of(whole.source) in text_files.JSON_ENDINGS
    if script == "run_ner" and not is_json:
        text = "--fold_by={}: {} has columns of words. Groups need a file with an object a line."
        raise UserError(text.format(column, whole.source))
    has_header = not is_json and _has_header(data, whole.source)
    groups = folds.groups_of(whole, column, has_header)
    return [groups[example.line] for example in whole.examples]


def _has_header(data: Any, source: str) -> bool:
    processor = data_files.processor_of(data)
    first = next(text_files.rows(source, BadLines(1 << 62), data.encoding))
    return processor.columns(first.cells, source).header


def _common(data: Any) -> Dict[str, str]:
    return {} if data.encoding == text_files.AUTO else {"encoding": "utf-8"}


def _listed(items: Sequence[str]) -> str:
    """The value of a list flag, whose items are quoted where they have commas."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(items)
    return text.getvalue()
