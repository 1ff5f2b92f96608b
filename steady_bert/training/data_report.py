"""What the data is like: lengths, what is cut, unknown pieces, duplicates and contradictions, within and across splits.

Made from the facts that the feature cache keeps of every example, so it costs a sort and reads no text again. Texts are
told apart by a 64-bit hash of their exact characters.
"""

import os
from typing import Any, Dict, List, NamedTuple, Tuple

import numpy as np

from ..tasks.task import NO_LABEL, Task
from .feature_cache import RecordFile

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
    records: int  # more than examples, where long ones are cut into windows; lengths and pieces are of records
    label_counts: Dict[str, int]  # of examples by class, or of Task.kinds; empty where there are neither
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
    mended: List[str]


class Overlap(NamedTuple):
    """Texts of a split that the training split has too."""

    split: str
    same_label: Places  # (line in the split, line in train); unlabelled examples too
    other_label: Places


def report(task: Task, split: str, records: RecordFile) -> SplitReport:
    lengths = np.zeros(0, np.int64)  # how many examples have so many tokens
    labels = np.zeros(len(task.labels), np.int64)
    pieces = unknown = 0
    truncated, empty = _Finder(), _Finder()
    for facts in records.fact_chunks():
        tokens = facts["tokens"]
        counts = np.bincount(tokens, minlength=len(lengths))
        counts[: len(lengths)] += lengths
        lengths = counts
        known = facts["label"][facts["label"] < len(labels)]
        labels += np.bincount(known, minlength=len(labels))[: len(labels)]
        pieces += int(np.sum(facts["pieces"], dtype=np.int64))
        unknown += int(np.sum(facts["unknown"], dtype=np.int64))
        truncated.add(facts["line"][tokens > (task.max_tokens or tokens.max())])
        empty.add(facts["line"][facts["pieces"] == 0])
    up_to = np.cumsum(lengths)
    count = len(records)
    duplicates, conflicts = _repeated(records)
    return SplitReport(
        split=split,
        file=task.files[split],
        examples=records.sources,
        records=count,
        label_counts=records.kinds or (dict(zip(task.labels, labels.tolist())) if labels.any() else {}),
        tokens={
            "median": int(np.searchsorted(up_to, 0.5 * count)),
            "95 %": int(np.searchsorted(up_to, 0.95 * count)),
            "longest": len(lengths) - 1,
        },
        histogram=_histogram(lengths),
        max_tokens=task.max_tokens or len(lengths) - 1,
        truncated=truncated.places(),
        empty=empty.places(),
        unknown_pieces=unknown,
        pieces=pieces,
        duplicates=duplicates,
        conflicts=conflicts,
        skipped=records.skipped,
        mended=records.mended,
    )


class _Finder:
    """Collects Places from parts of a file, in its order."""

    def __init__(self) -> None:
        self._total = 0
        self._first: List[int] = []

    def add(self, lines: np.ndarray) -> None:
        self._total += len(lines)
        self._first += lines[: _NAMED - len(self._first)].tolist()

    def places(self) -> Places:
        return Places(self._total, self._first)


def _histogram(lengths: np.ndarray) -> List[Tuple[int, int]]:
    """Buckets that double: up to 8, 16, 32 … tokens."""
    buckets: List[Tuple[int, int]] = []
    low, high = 0, 8
    while low < len(lengths) - 1 or not buckets:
        buckets.append((high, int(lengths[low + 1 : high + 1].sum())))
        low, high = high, 2 * high
    return buckets


def _texts(records: RecordFile) -> np.ndarray:
    return np.concatenate([facts["text"].copy() for facts in records.fact_chunks()])  # a view would hold its chunk


def _with_texts(records: RecordFile, texts: np.ndarray) -> np.ndarray:
    """The facts of the examples whose text is one of `texts`, in file order."""
    return np.concatenate([facts[np.isin(facts["text"], texts)] for facts in records.fact_chunks()])


def _places(pairs: np.ndarray, lines: np.ndarray, other_lines: np.ndarray) -> Places:
    """Of the chosen pairs (a mask), in file order."""
    first = zip(lines[pairs][:_NAMED].tolist(), other_lines[pairs][:_NAMED].tolist())
    return Places(int(np.sum(pairs)), list(first))


def _repeated(records: RecordFile) -> Tuple[Places, Places]:
    """(duplicates, conflicts): examples whose text an earlier example has, each with the line of the first such."""
    texts = _texts(records)
    texts.sort()
    texts = np.unique(texts[1:][texts[1:] == texts[:-1]])
    facts = _with_texts(records, texts)  # few, in most data
    _, first, which = np.unique(facts["text"], return_index=True, return_inverse=True)
    first = first[which]  # of each, the first with its text
    labels, there = facts["label"], facts["label"][first]
    again = first != np.arange(len(facts))
    other = (labels != there) & (labels != NO_LABEL) & (there != NO_LABEL)
    lines, first_lines = facts["line"], facts["line"][first]
    return _places(again & ~other, lines, first_lines), _places(again & other, lines, first_lines)


def overlap(split: str, records: RecordFile, train: RecordFile) -> Overlap:
    """Which texts of a split are in the training split too, each with the first line that has it there."""
    common = np.intersect1d(_texts(records), _texts(train))
    here, there = _with_texts(records, common), _with_texts(train, common)
    texts, first = np.unique(there["text"], return_index=True)
    there = there[first[np.searchsorted(texts, here["text"])]]
    other = (here["label"] != there["label"]) & (here["label"] != NO_LABEL)
    return Overlap(split, _places(~other, here["line"], there["line"]), _places(other, here["line"], there["line"]))


# --- as text ----------------------------------------------------------------------------------------------------------


def problems(found: SplitReport) -> List[str]:
    """A line for each kind of thing that a user may want to mend; empty where there is none."""
    file = os.path.basename(found.file)
    lines = []
    if found.skipped:
        lines.append("{}: bad lines left out: {:,}".format(file, len(found.skipped)))
        lines += ["  " + message for message in found.skipped]
    if found.mended:
        lines.append("{}: read otherwise than they are written: {:,}".format(file, len(found.mended)))
        lines += ["  " + message for message in found.mended]
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
    windows = " in {:,} windows".format(found.records) * (found.records > found.examples)
    lines = ["{} ({}): {:,} examples{}".format(found.split, found.file, found.examples, windows)]
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


def look_at(task: Task, records: Dict[str, RecordFile]) -> Tuple[List[str], List[str]]:
    """(the whole report, a line for each kind of problem) of the splits, and of each against the training split."""
    found = [report(task, split, records[split]) for split in records]
    details = [line for split_report in found for line in describe(split_report)]
    lines = [line for split_report in found for line in problems(split_report)]
    for split in records:
        if split != "train" and "train" in records:
            shared = overlap(split, records[split], records["train"])
            lines += overlap_problems(shared, task.files[split], task.files["train"])
    return details, lines
