"""What the data is like: lengths, what is cut, unknown pieces, duplicates and contradictions, within and across splits.

Made from the facts that the feature cache keeps of every example, so it costs a sort and reads no text again. Texts are
told apart by a 64-bit hash of their exact characters.
"""

import os
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from tasks.task import NO_LABEL, Task
from training.feature_cache import RecordFile

_NAMED = 5  # lines of a kind that are named one by one
_BAR = 40  # characters of the longest bar of a histogram


class Places(NamedTuple):
    """Where something occurs: how often, and the first few lines, or pairs of lines."""

    total: int
    first: List[Any]


class SplitReport(NamedTuple):
    """What is known of a split. Lines are those of its file, from 1."""

    split: str
    file: str
    examples: int
    label_counts: Dict[str, int]  # empty where a label is not one of several classes
    tokens: Dict[str, int]  # median, 95th percentile and maximum, before anything is cut
    histogram: List[Tuple[int, int]]  # (up to this many tokens, examples)
    max_tokens: int
    truncated: Places
    empty: Places  # examples of special tokens alone
    unknown_pieces: int
    pieces: int
    duplicates: Places  # (line, the line that has the same text and label)
    conflicts: Places  # (line, the line that has the same text and another label)
    skipped: List[str]


class Overlap(NamedTuple):
    """Texts of a split that the training split has too."""

    split: str
    same_label: Places  # (line in the split, line in train); unlabelled examples too
    other_label: Places


def report(task: Task, split: str, records: RecordFile) -> SplitReport:
    facts = records.facts
    tokens = np.array(facts["tokens"])
    labels = np.array(facts["label"])
    lines = np.array(facts["line"])
    known = labels[labels < len(task.labels)]
    counts = np.bincount(known, minlength=len(task.labels)).tolist() if len(known) else []
    limit = task.max_tokens or int(tokens.max())
    duplicates, conflicts = _repeated(np.array(facts["text"]), labels, lines)
    return SplitReport(
        split=split,
        file=task.files[split],
        examples=len(facts),
        label_counts=dict(zip(task.labels, counts)),
        tokens={
            "median": int(np.median(tokens)),
            "95 %": int(np.percentile(tokens, 95)),
            "longest": int(tokens.max()),
        },
        histogram=_histogram(tokens),
        max_tokens=limit,
        truncated=_places(lines[tokens > limit]),
        empty=_places(lines[tokens <= 2]),
        unknown_pieces=int(np.sum(facts["unknown"], dtype=np.int64)),
        pieces=int(np.sum(tokens, dtype=np.int64)) - 2 * len(facts),
        duplicates=duplicates,
        conflicts=conflicts,
        skipped=records.skipped,
    )


def _histogram(tokens: np.ndarray) -> List[Tuple[int, int]]:
    """Buckets that double: up to 8, 16, 32 … tokens."""
    edges = 2 ** np.arange(3, max(4, int(np.ceil(np.log2(tokens.max()))) + 1))
    counts = np.bincount(np.searchsorted(edges, tokens), minlength=len(edges))
    return [(int(edge), int(count)) for edge, count in zip(edges, counts)]


def _places(*lines: np.ndarray) -> Places:
    """Of the lines, or the pairs of lines, in the order of the first."""
    order = np.argsort(lines[0], kind="stable")[:_NAMED]
    first = [column[order].tolist() for column in lines]
    return Places(len(lines[0]), first[0] if len(lines) == 1 else list(zip(*first)))


def _repeated(texts: np.ndarray, labels: np.ndarray, lines: np.ndarray) -> Tuple[Places, Places]:
    """(duplicates, conflicts): examples whose text an earlier example has, each with the line of the first such."""
    order = np.argsort(texts, kind="stable")
    sorted_texts = texts[order]
    starts = np.flatnonzero(np.concatenate([[True], sorted_texts[1:] != sorted_texts[:-1]]))
    first = np.repeat(order[starts], np.diff(np.append(starts, len(order))))  # of each, the first with its text
    again = first != order
    here, there = order[again], first[again]
    conflicting = (labels[here] != labels[there]) & (labels[here] != NO_LABEL) & (labels[there] != NO_LABEL)
    duplicates = _places(lines[here[~conflicting]], lines[there[~conflicting]])
    return duplicates, _places(lines[here[conflicting]], lines[there[conflicting]])


def overlap(split: str, records: RecordFile, train: RecordFile) -> Overlap:
    """Which texts of a split are in the training split too, each with the first line that has it there."""
    _, in_split, in_train = np.intersect1d(records.facts["text"], train.facts["text"], return_indices=True)
    # intersect1d names a text once; every example of the split that has it counts.
    texts = np.array(records.facts["text"])
    common = np.array(train.facts["text"])[in_train]
    here = np.flatnonzero(np.isin(texts, common))
    there = in_train[np.searchsorted(common, texts[here])]
    labels, train_labels = np.array(records.facts["label"])[here], np.array(train.facts["label"])[there]
    other = (labels != train_labels) & (labels != NO_LABEL)
    lines, train_lines = np.array(records.facts["line"])[here], np.array(train.facts["line"])[there]
    return Overlap(split, _places(lines[~other], train_lines[~other]), _places(lines[other], train_lines[other]))


# --- as text ----------------------------------------------------------------------------------------------------------


def problems(found: SplitReport) -> List[str]:
    """A line for each kind of thing that a user may want to mend; empty where there is none."""
    file = os.path.basename(found.file)
    lines = []
    if found.skipped:
        lines.append("{}: bad lines left out: {:,}".format(file, len(found.skipped)))
        lines += ["  " + message for message in found.skipped]
    if found.truncated.total:
        text = "{}: cut to --max_seq_length={}: {:,} of {:,}, the longest of {:,} tokens ({})"
        longest, named = found.tokens["longest"], _named(found.truncated, file)
        lines.append(text.format(file, found.max_tokens, found.truncated.total, found.examples, longest, named))
    if found.empty.total:
        lines.append("{}: without text: {:,} ({})".format(file, found.empty.total, _named(found.empty, file)))
    absent = [label for label, count in found.label_counts.items() if not count]
    if absent and found.split == "train":
        lines.append("{}: labels without an example: {}".format(file, ", ".join(absent)))
    if found.duplicates.total:
        named = _named(found.duplicates, file, file)
        lines.append("{}: repeat an earlier one: {:,} ({})".format(file, found.duplicates.total, named))
    if found.conflicts.total:
        text = "{}: have the text of an earlier one and another label: {:,} ({})"
        lines.append(text.format(file, found.conflicts.total, _named(found.conflicts, file, file)))
    return lines


def overlap_problems(found: Overlap, file: str, train_file: str) -> List[str]:
    lines = []
    file, train_file = os.path.basename(file), os.path.basename(train_file)
    for places, what in ((found.same_label, ""), (found.other_label, " with another label")):
        if places.total:
            named = _named(places, file, train_file)
            lines.append("{}: are in {} too{}: {:,} ({})".format(file, train_file, what, places.total, named))
    return lines


def describe(found: SplitReport) -> List[str]:
    """The whole report of a split."""
    lines = ["{} ({}): {:,} examples".format(found.split, found.file, found.examples)]
    if any(found.label_counts.values()):
        counts = ["{} {:,}".format(label, count) for label, count in found.label_counts.items()]
        lines.append("  labels: " + ", ".join(counts[:50] + ["…"] * (len(counts) > 50)))
    lengths = ", ".join("{} {:,}".format(name, value) for name, value in found.tokens.items())
    lines.append("  length in tokens, special ones included: " + lengths)
    highest = max(count for _, count in found.histogram)
    low = 1
    for edge, count in found.histogram:
        bar = "#" * int(np.ceil(_BAR * count / highest))
        lines.append("  {:>7} {:>10,} {}".format("{}-{}".format(low, edge), count, bar).rstrip())
        low = edge + 1
    rate = found.unknown_pieces / max(found.pieces, 1)
    lines.append("  unknown pieces: {:,} of {:,} ({:.3%})".format(found.unknown_pieces, found.pieces, rate))
    return lines


def _named(places: Places, *file_names: str) -> str:
    """file:line of the first places; "file:line = file:line" of pairs."""
    pairs = [place if isinstance(place, tuple) else (place,) for place in places.first]
    named = [" = ".join("{}:{}".format(*half) for half in zip(file_names, pair)) for pair in pairs]
    return ", ".join(named + ["…"] * (places.total > len(pairs)))


def all_problems(
    task: Task, records: Dict[str, RecordFile], reports: Optional[Dict[str, SplitReport]] = None
) -> List[str]:
    """Of every split, and of each against the training split."""
    reports = reports or {split: report(task, split, found) for split, found in records.items()}
    lines = [line for found in reports.values() for line in problems(found)]
    for split, found in records.items():
        if split != "train" and "train" in records:
            lines += overlap_problems(overlap(split, found, records["train"]), task.files[split], task.files["train"])
    return lines
