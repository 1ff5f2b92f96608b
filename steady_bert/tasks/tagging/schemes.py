"""Tags ↔ entities: IOB1, BIO (IOB2), BIOES and its kin, and tags that mark no entities.

A tag is O or PREFIX-TYPE. What each scheme writes for the entities PER(1-2), PER(3), LOC(4):

    word    0   1      2      3      4
    iob1    O   I-PER  I-PER  B-PER  I-LOC     B where an entity of the same type ends just before
    bio     O   B-PER  I-PER  B-PER  B-LOC
    bioes   O   B-PER  E-PER  S-PER  S-LOC     also as BMES (M for I) and BILOU (L for E, U for S)
    plain   any other word-level tagging, such as NOUN VERB: no prefixes, no entities

Models are trained on bio or plain.
"""

import re
from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence, Set, Tuple

import numpy as np

SCHEMES = ("bio", "bioes", "iob1", "plain")
OUTSIDE = "O"
BARE = tuple("OBIMELSU")  # prefixes without a type
_PREFIXES = {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S"}
_TAG = re.compile(r"([{}])-(.+)".format("".join(_PREFIXES)), re.DOTALL)
# The prefixes after which the entity goes on: the next tag has I or E and the same type.
_UNFINISHED = {"bioes": ("B", "I")}


class Entity(NamedTuple):
    type: str
    start: int  # the first word's number
    end: int  # the last word's number + 1


def split_tag(tag: str) -> Tuple[str, str]:
    """(B, I, E, S or O; type, empty for O). Raises ValueError if the tag is neither O nor prefixed."""
    if tag == OUTSIDE:
        return OUTSIDE, ""
    match = _TAG.fullmatch(tag)
    if match is None:
        raise ValueError(tag)
    return _PREFIXES[match.group(1)], match.group(2)


def is_tag(tag: str) -> bool:
    """Whether the tag is O or prefixed."""
    return tag == OUTSIDE or _TAG.fullmatch(tag) is not None


_MISTYPED = re.compile(
    r"([{0}{1}])[-_:\u2010-\u2015](.+)".format("".join(_PREFIXES), "".join(_PREFIXES).lower()), re.DOTALL
)


def retyped(tag: str) -> str:
    """The tag that is meant by one with a typing error: B-per for b-per, B-PER for B_PER, O for o and 0.

    The type stays as it is, and so does any other tag.
    """
    if tag in ("o", "0"):
        return OUTSIDE
    match = _MISTYPED.fullmatch(tag)
    return tag if match is None else "{}-{}".format(match.group(1).upper(), match.group(2))


def entities(tags: Sequence[str]) -> List[Entity]:
    """The entities by the rules of conlleval (CoNLL-2000), which fit every scheme but plain.

    An entity ends where the type changes, after E and S, and before O, B and S; any other tag but O begins or continues
    one. So an I that follows no entity of its type begins one.
    """
    result = []
    start, before, type_before = 0, OUTSIDE, ""
    for number, tag in enumerate(list(tags) + [OUTSIDE]):
        prefix, kind = split_tag(tag)
        is_open = before not in (OUTSIDE, "E", "S")
        goes_on = is_open and prefix in ("I", "E") and kind == type_before
        if before != OUTSIDE and not goes_on:
            result.append(Entity(type_before, start, number))
        if not goes_on:
            start = number
        before, type_before = prefix, kind
    return result


def strict_entities(tags: Sequence[str]) -> List[Entity]:
    """The entities of bio tags by its letter: B begins one, I of its type continues it, any other I is ignored."""
    result = []
    start: Optional[int] = None
    type_before = ""
    for number, tag in enumerate(list(tags) + [OUTSIDE]):
        prefix, kind = split_tag(tag)
        if start is not None and not (prefix == "I" and kind == type_before):
            result.append(Entity(type_before, start, number))
            start = None
        if prefix == "B":
            start, type_before = number, kind
    return result


def to_bio(non_overlapping: Iterable[Entity], words: int) -> List[str]:
    """The bio tags of a sentence of so many words with these entities."""
    tags = [OUTSIDE] * words
    for kind, start, end in non_overlapping:
        assert start < end <= words, (kind, start, end)
        tags[start:end] = ["B-" + kind] + ["I-" + kind] * (end - start - 1)
    return tags


def impossible(tags: Sequence[str], scheme: str) -> List[int]:
    """The numbers of the words whose tags cannot follow the tags before them.

    The number of words is among them if the sentence ends within an entity.
    """
    numbers = []
    before, type_before = OUTSIDE, ""
    for number, tag in enumerate(list(tags) + [OUTSIDE]):
        prefix, kind = split_tag(tag)
        unfinished = before in _UNFINISHED.get(scheme, ())
        same = kind == type_before
        if unfinished:
            wrong = prefix not in ("I", "E") or not same
        elif prefix in ("I", "E"):
            wrong = scheme == "bioes" or (scheme == "bio" and (before == OUTSIDE or not same))
        else:
            wrong = scheme == "iob1" and prefix == "B" and not same
        if wrong:
            numbers.append(number)
        before, type_before = prefix, kind
    return numbers


class Census:
    """Collects what the tags of a file look like, and names the scheme that fits them."""

    def __init__(self, retypes: bool = False) -> None:
        self._retypes = retypes  # whether tags with typing errors count as those that they mean
        self.prefixes: Set[str] = set()
        self.plain: Set[str] = set()  # tags that are neither O nor prefixed
        self.outside = False
        self._inside_begins = False  # whether an I stands after a tag of another type or O
        self._begin_begins = False  # whether a B stands there

    def add(self, tags: Sequence[str]) -> None:
        type_before = ""
        for tag in map(retyped, tags) if self._retypes else tags:
            match = _TAG.fullmatch(tag)
            if match is None:
                self.outside |= tag == OUTSIDE
                self.plain |= {tag} - {OUTSIDE}
                type_before = ""
                continue
            prefix, kind = match.groups()
            self.prefixes.add(prefix)
            if kind != type_before:
                self._inside_begins |= prefix == "I"
                self._begin_begins |= prefix == "B"
            type_before = kind

    def scheme(self) -> str:
        """plain if no tag has a prefix, or some have none and none is O; bioes if one has E, S or a synonym of them;
        else iob1 or bio.
        """
        if not self.prefixes or (self.plain and not self.outside):
            return "plain" if self.plain else "bio"
        if self.prefixes - {"B", "I"}:
            return "bioes"
        return "iob1" if self._inside_begins and not self._begin_begins else "bio"


def tags_of(types: Iterable[str]) -> List[str]:
    """The tags of bio for these types: O, then B and I of each type in order."""
    return [OUTSIDE] + [prefix + "-" + kind for kind in types for prefix in "BI"]


def legal(tags: Sequence[str]) -> Tuple[np.ndarray, np.ndarray]:
    """For bio tags: ([L, L] whether the column's tag may follow the row's, [L] whether a tag may begin a sentence)."""
    kinds: Dict[int, Tuple[str, str]] = dict(enumerate(map(split_tag, tags)))
    follows = [
        [prefix != "I" or (before != OUTSIDE and kind == type_before) for prefix, kind in kinds.values()]
        for before, type_before in kinds.values()
    ]
    return np.array(follows), np.array([prefix != "I" for prefix, _ in kinds.values()])
