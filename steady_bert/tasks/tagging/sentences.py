"""Tagged sentences and the layout of their files: what every format is read into."""

from typing import Any, List, NamedTuple, Optional, Tuple

from . import schemes as tag_schemes

SCHEMES = ("auto",) + tag_schemes.SCHEMES
UNITS = ("auto", "words", "characters")
OFFSET_UNITS = ("characters", "utf16", "bytes")
OVERLAPS = ("error", "longest", "first")


_FIRST_FIELDS = 5  # of Layout; the plans of earlier runs hold these


class Layout(NamedTuple):
    """How to read files of sentences; "auto" if a file shows it itself."""

    format: str = "auto"
    tag_column: str = "last"  # or "none", a number from 0, or the name of a column or key
    tag_scheme: str = "auto"
    text_units: str = "words"  # what gets one tag in texts
    mend_tags: bool = False
    encoding: str = "auto"  # of the files: UTF-8
    word_column: Optional[str] = None  # a number from 0, or a name; None: not given, so that a look at the file decides
    offset_unit: str = "characters"  # what the ends of entities are counted in
    overlaps: str = "error"  # which of two overlapping entities is kept
    tag_names: Tuple[str, ...] = ()  # of --tags_file: what numbers in place of tags mean

    def identity(self) -> List[Any]:
        """What distinguishes the layout from others, as plan.json gives it back.

        Fields that were added later count only if they were set.
        """
        later = dict(zip(self._fields[_FIRST_FIELDS:], self[_FIRST_FIELDS:]))
        added = [[k, v] for k, v in later.items() if v != self._field_defaults[k]]
        return list(self[:_FIRST_FIELDS]) + [[k, list(v) if isinstance(v, tuple) else v] for k, v in added]


class Sentence(NamedTuple):
    number: int  # among the sentences that are read of its file, from 0
    line: int  # in its file, from 1
    example_id: str  # its own id, or its number among all records of the file, from 0
    words: Tuple[str, ...]
    tags: Optional[Tuple[str, ...]]  # bio or plain; None if the file has none
    text: str  # for columns: the words joined by spaces, or characters joined by nothing
    offsets: Tuple[Tuple[int, int], ...]  # [start, end) of each word in text
    rows: Tuple[str, ...] = ()  # for columns: the lines without their ends
