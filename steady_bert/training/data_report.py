"""Describes the data: lengths, truncated examples, unknown pieces, duplicates and conflicts, within and across splits.

The feature cache keeps a few facts about every example, so this takes a sort and reads no text again. Texts are
compared by a 64-bit hash of their exact characters.
"""

import os
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

import numpy as np

from ..tasks.task import NO_LABEL, Task
from .feature_cache import RecordFile

_NAMED = 5  # how many lines are named of each kind of problem
_BAR = 40  # characters of the longest bar of a histogram


class Places(NamedTuple):
    """How often something occurs, and the first few lines, or pairs of lines, where it does."""

    total: int
    first: List[Any]


class SplitReport(NamedTuple):
    """The facts about a split. Lines are numbered from 1, as in its file."""

    split: str
    file: str
    examples: int
    records: int  # more than examples if long ones are read in windows
    label_counts: Dict[str, int]  # examples by class, or counts of Task.kinds; empty if there are neither
    tokens: Dict[str, int]  # median, 95th percentile and maximum, before truncation
    histogram: List[Tuple[int, int]]  # (up to this many tokens, examples)
    max_tokens: int
    long_text: str  # what is done with examples of more tokens: cut, head_tail, windows
    truncated: Places  # examples of more tokens
    beyond: int  # how many tokens they have more, in all
    windows: int  # the number of records if long examples are read in windows
    empty: Places  # examples that consist of special tokens
    unknown_pieces: int
    pieces: int
    duplicates: Places  # (line, the line that has the same text and label)
    conflicts: Places  # (line, the line that has the same text and another label)
    skipped: List[str]
    mended: List[str]
    notes: List[str]


class DataReport(NamedTuple):
    """What is known of the data of a command."""

    details: List[str]  # the whole report
    problems: List[str]  # a line for each kind of problem
    splits: List[SplitReport]

    def as_json(self) -> Dict[str, Any]:
        """What data_report.json has: run_files.DataReportFile."""
        names = (
            "split",
            "file",
            "examples",
            "label_counts",
            "histogram",
            "max_tokens",
            "long_text",
            "beyond",
            "pieces",
        )
        splits = [
            dict({name: getattr(each, name) for name in names}, truncated=each.truncated.total) for each in self.splits
        ]
        return {"splits": splits}


class Overlap(NamedTuple):
    """Texts of a split that are in the training split too."""

    split: str
    same_label: Places  # (line in the split, line in train); includes unlabelled examples
    other_label: Places


def report(task: Task, split: str, records: RecordFile) -> SplitReport:
    lengths = np.zeros(0, np.int64)  # number of tokens → how many records have it
    labels = np.zeros(len(task.labels), np.int64)
    pieces = unknown = beyond = windows = 0
    truncated, empty = _PlacesCollector(), _PlacesCollector()
    for facts in _examples(records):
        tokens = facts["tokens"]
        counts = np.bincount(tokens, minlength=len(lengths))
        counts[: len(lengths)] += lengths
        lengths = counts
        known = facts["label"][facts["label"] < len(labels)]
        labels += np.bincount(known, minlength=len(labels))[: len(labels)]
        pieces += int(np.sum(facts["pieces"], dtype=np.int64))
        unknown += int(np.sum(facts["unknown"], dtype=np.int64))
        too_long = tokens > (task.max_tokens or tokens.max())
        truncated.add(facts["line"][too_long])
        beyond += int(np.sum(tokens[too_long], dtype=np.int64)) - task.max_tokens * int(np.sum(too_long))
        windows += int(np.sum(facts["windows"], dtype=np.int64))
        empty.add(facts["line"][facts["pieces"] == 0])
    up_to = np.cumsum(lengths)
    count = int(lengths.sum())
    duplicates, conflicts = _repeated(records)
    return SplitReport(
        split=split,
        file=task.files[split],
        examples=records.sources,
        records=len(records),
        label_counts=records.kinds or (dict(zip(task.labels, labels.tolist())) if labels.any() else {}),
        tokens={
            "median": int(np.searchsorted(up_to, 0.5 * count)),
            "95 %": int(np.searchsorted(up_to, 0.95 * count)),
            "longest": len(lengths) - 1,
        },
        histogram=_histogram(lengths),
        max_tokens=task.max_tokens or len(lengths) - 1,
        long_text=task.long_text,
        truncated=truncated.places(),
        beyond=beyond,
        windows=windows,
        empty=empty.places(),
        unknown_pieces=unknown,
        pieces=pieces,
        duplicates=duplicates,
        conflicts=conflicts,
        skipped=records.skipped,
        mended=records.mended,
        notes=records.notes,
    )


def _examples(records: RecordFile) -> Iterator[np.ndarray]:
    """The facts of all examples, without those of further windows of the same text."""
    for facts in records.fact_chunks():
        yield facts[facts["windows"] > 0]


class _PlacesCollector:
    """Collects Places from chunks of a file, in the file's order."""

    def __init__(self) -> None:
        self._total = 0
        self._first: List[int] = []

    def add(self, lines: np.ndarray) -> None:
        self._total += len(lines)
        self._first += lines[: _NAMED - len(self._first)].tolist()

    def places(self) -> Places:
        return Places(self._total, self._first)


def _histogram(lengths: np.ndarray) -> List[Tuple[int, int]]:
    """Buckets of up to 8, 16, 32 … tokens."""
    buckets: List[Tuple[int, int]] = []
    low, high = 0, 8
    while low < len(lengths) - 1 or not buckets:
        buckets.append((high, int(lengths[low + 1 : high + 1].sum())))
        low, high = high, 2 * high
    return buckets


def _texts(records: RecordFile) -> np.ndarray:
    return np.concatenate(
        [facts["text"].copy() for facts in _examples(records)]
    )  # a view would keep its whole chunk in memory


def _with_texts(records: RecordFile, texts: np.ndarray) -> np.ndarray:
    """The facts of the examples whose text is one of `texts`, in file order."""
    return np.concatenate([facts[np.isin(facts["text"], texts)] for facts in _examples(records)])


def _places(pairs: np.ndarray, lines: np.ndarray, other_lines: np.ndarray) -> Places:
    """The pairs that the mask `pairs` chooses, in file order."""
    first = zip(lines[pairs][:_NAMED].tolist(), other_lines[pairs][:_NAMED].tolist())
    return Places(int(np.sum(pairs)), list(first))


def _repeated(records: RecordFile) -> Tuple[Places, Places]:
    """(duplicates, conflicts): examples that repeat an earlier text, each with the first line that has it."""
    texts = _texts(records)
    texts.sort()
    texts = np.unique(texts[1:][texts[1:] == texts[:-1]])
    facts = _with_texts(records, texts)  # few in most data sets
    _, first, which = np.unique(facts["text"], return_index=True, return_inverse=True)
    first = first[which]  # for each example, the first one that has its text
    labels, first_labels = facts["label"], facts["label"][first]
    repeats = first != np.arange(len(facts))
    conflicts = (labels != first_labels) & (labels != NO_LABEL) & (first_labels != NO_LABEL)
    lines, first_lines = facts["line"], facts["line"][first]
    return _places(repeats & ~conflicts, lines, first_lines), _places(repeats & conflicts, lines, first_lines)


def overlap(split: str, records: RecordFile, train: RecordFile) -> Overlap:
    """The texts of a split that are in the training split too, each with the first line that has it there."""
    common = np.intersect1d(_texts(records), _texts(train))
    facts, train_facts = _with_texts(records, common), _with_texts(train, common)
    texts, first = np.unique(train_facts["text"], return_index=True)
    train_facts = train_facts[first[np.searchsorted(texts, facts["text"])]]  # one for each of `facts`
    conflicts = (facts["label"] != train_facts["label"]) & (facts["label"] != NO_LABEL)
    lines, train_lines = facts["line"], train_facts["line"]
    return Overlap(split, _places(~conflicts, lines, train_lines), _places(conflicts, lines, train_lines))


# --- as text ----------------------------------------------------------------------------------------------------------


def problems(split_report: SplitReport) -> List[str]:
    """A line for each kind of problem that a user may want to fix."""
    file = os.path.basename(split_report.file)
    lines = []
    if split_report.skipped:
        lines.append("{}: bad lines left out: {:,}".format(file, len(split_report.skipped)))
        lines += ["  " + message for message in split_report.skipped]
    if split_report.mended:
        lines.append("{}: lines with mistakes that were read all the same: {:,}".format(file, len(split_report.mended)))
        lines += ["  " + message for message in split_report.mended]
    lines += ["{}: {}".format(file, note) for note in split_report.notes]
    if split_report.truncated.total:
        lines += _on_long_examples(split_report, file)
    if split_report.empty.total:
        lines.append(
            "{}: without text: {:,} ({})".format(file, split_report.empty.total, _named(split_report.empty, file))
        )
    absent = [label for label, count in split_report.label_counts.items() if not count]
    if absent and split_report.split == "train":
        lines.append("{}: labels without an example: {}".format(file, ", ".join(absent)))
    if split_report.duplicates.total:
        named = _named(split_report.duplicates, file, file)
        lines.append("{}: repeat an earlier one: {:,} ({})".format(file, split_report.duplicates.total, named))
    if split_report.conflicts.total:
        text = "{}: repeat an earlier text with another label: {:,} ({})"
        lines.append(text.format(file, split_report.conflicts.total, _named(split_report.conflicts, file, file)))
    return lines


_DONE = {"cut": "cut to", "head_tail": "shortened in the middle to", "windows": "read in windows of"}


def _on_long_examples(split_report: SplitReport, file: str) -> List[str]:
    """What is done with examples that are too long, and what the other values of --long_text would do."""
    line = "{}: {} --max_seq_length={}: {:,} of {:,}, the longest of {:,} tokens ({})".format(
        file,
        _DONE[split_report.long_text],
        split_report.max_tokens,
        split_report.truncated.total,
        split_report.examples,
        split_report.tokens["longest"],
        _named(split_report.truncated, file),
    )
    share = split_report.beyond / max(split_report.pieces, 1)
    left_out = "{:,} tokens ({:.1%} of all)".format(split_report.beyond, share)
    if split_report.long_text == "windows":
        others = "--long_text=cut and --long_text=head_tail would leave out {}".format(left_out)
    else:
        other, ends = (
            ("head_tail", "beginning and end") if split_report.long_text == "cut" else ("cut", "the beginning alone")
        )
        others = "left out are {}; --long_text={} would keep {}, --long_text=windows all, as {:,} examples".format(
            left_out, other, ends, split_report.windows
        )
    return [line, "  " + others]


def overlap_problems(shared: Overlap, file: str, train_file: str) -> List[str]:
    lines = []
    file, train_file = os.path.basename(file), os.path.basename(train_file)
    for places, what in ((shared.same_label, ""), (shared.other_label, " with another label")):
        if places.total:
            named = _named(places, file, train_file)
            lines.append("{}: also in {}{}: {:,} ({})".format(file, train_file, what, places.total, named))
    return lines


def describe(split_report: SplitReport) -> List[str]:
    """The whole report of a split."""
    windows = " in {:,} windows".format(split_report.records) * (split_report.records > split_report.examples)
    lines = ["{} ({}): {:,} examples{}".format(split_report.split, split_report.file, split_report.examples, windows)]
    if any(split_report.label_counts.values()):
        counts = ["{} {:,}".format(label, count) for label, count in split_report.label_counts.items()]
        lines.append("  labels: " + ", ".join(counts[:50] + ["…"] * (len(counts) > 50)))
    lengths = ", ".join("{} {:,}".format(name, value) for name, value in split_report.tokens.items())
    lines.append("  length in tokens, special ones included: " + lengths)
    highest = max(count for _, count in split_report.histogram)
    low = 1
    for edge, count in split_report.histogram:
        bar = "#" * int(np.ceil(_BAR * count / highest))
        lines.append("  {:>7} {:>10,} {}".format("{}-{}".format(low, edge), count, bar).rstrip())
        low = edge + 1
    rate = split_report.unknown_pieces / max(split_report.pieces, 1)
    lines.append(
        "  unknown pieces: {:,} of {:,} ({:.3%})".format(split_report.unknown_pieces, split_report.pieces, rate)
    )
    return lines


def _named(places: Places, *file_names: str) -> str:
    """file:line of the first places; "file:line = file:line" of pairs."""
    pairs = [place if isinstance(place, tuple) else (place,) for place in places.first]
    named = [" = ".join("{}:{}".format(*half) for half in zip(file_names, pair)) for pair in pairs]
    return ", ".join(named + ["…"] * (places.total > len(pairs)))


def look_at(task: Task, records: Dict[str, RecordFile]) -> DataReport:
    """The report of the splits, each compared with the training split too."""
    split_reports = [report(task, split, records[split]) for split in records]
    details = [line for split_report in split_reports for line in describe(split_report)]
    lines = [line for split_report in split_reports for line in problems(split_report)]
    for split in records:
        if split != "train" and "train" in records:
            shared = overlap(split, records[split], records["train"])
            lines += overlap_problems(shared, task.files[split], task.files["train"])
    return DataReport(details, lines, split_reports)
