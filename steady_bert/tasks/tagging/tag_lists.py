"""The tags that a model tells apart: those of a training file, or of a file that lists them."""

import collections
from typing import Iterable, List, Sequence, Set, Tuple

from ...base.errors import UserError
from ..class_weights import given_weights
from ..reading import text_files
from ..task import BadLines
from . import formats
from . import schemes as tag_schemes
from .sentences import Layout, Sentence


def find_tags(path: str, layout: Layout, bad_lines: BadLines) -> List[str]:
    """The tags of a training file: O, then B and I of each type, sorted; plain tags as they are, sorted."""
    tags: Set[str] = set()
    for sentence in formats.read_sentences(path, layout, None, True, bad_lines):
        tags.update(sentence.tags or ())
    if formats.scheme_of(path, layout) == "plain":
        mistyped = all(tag_schemes.is_tag(tag_schemes.retyped(tag)) for tag in tags)
        if layout.tag_scheme == "auto" and mistyped and len(tags) > 1:
            raise UserError(
                "{}: the tags {} look like {}, with typing errors. Pass --mend_tags to read them so, or "
                "--tag_scheme=plain if they mark no entities.".format(
                    path, _named(tags), _named({tag_schemes.retyped(tag) for tag in tags})
                )
            )
        has_outside = tag_schemes.OUTSIDE in tags  # then the other tags mark entities
        if layout.tag_scheme == "auto" and (has_outside or tags <= set(tag_schemes.BARE)):
            raise UserError(
                "{}: the tags {} name no type as B-PER does. Write them so, or give --tag_scheme=plain: then words "
                "are scored, not entities.".format(path, _named(tags))
            )
        return sorted(tags)
    if tags <= {tag_schemes.OUTSIDE}:
        raise UserError("{}: no word has a tag but O. Is --tag_column right?".format(path))
    return tag_schemes.tags_of(sorted({tag_schemes.split_tag(tag)[1] for tag in tags} - {""}))


def _named(tags: Set[str]) -> str:
    return ", ".join(sorted(tags)[:10]) + ", …" * (len(tags) > 10)


def names_in(path: str, encoding: str = text_files.AUTO) -> Tuple[str, ...]:
    """The lines of a file of tags: what numbers in place of tags mean."""
    return tuple(text.strip() for _, text in text_files.lines(path, BadLines(0), encoding))


def read_tags_file(path: str, scheme: str, encoding: str = text_files.AUTO) -> List[str]:
    """One tag a line, in the order of their ids. B and I tags that the types need and the file lacks are appended."""
    tags = list(names_in(path, encoding))
    for number, tag in enumerate(tags):
        if tag in tags[:number]:
            message = "{}:{}: {!r} stands at line {} too. Remove one."
            raise UserError(message.format(path, number + 1, tag, tags.index(tag) + 1))
    census = tag_schemes.Census()
    census.add(tags)
    if not tags or tags == [tag_schemes.OUTSIDE]:
        raise UserError("{}: names no tag. Write one a line.".format(path))
    if scheme == "plain" or (scheme == "auto" and census.scheme() == "plain"):
        return tags
    for number, tag in enumerate(tags):
        if not tag_schemes.is_tag(tag):
            raise UserError("{}:{}: {!r} is neither O nor like B-PER, as the others are.".format(path, number + 1, tag))
    types = dict.fromkeys(tag_schemes.split_tag(tag)[1] for tag in tags if tag != tag_schemes.OUTSIDE)
    needed = tag_schemes.tags_of(types)
    return [tag for tag in tags if tag in needed] + [tag for tag in needed if tag not in tags]


def tag_weights(settings: Sequence[str], tags: Sequence[str], sentences: Iterable[Sentence]) -> Tuple[float, ...]:
    """The weights of --class_weights in the order of the tags. sentences: those trained on, for balanced."""
    if tuple(settings) == ("balanced",):
        counts = collections.Counter(tag for sentence in sentences for tag in sentence.tags or ())
        words, seen = sum(counts.values()), len(counts)
        # scikit-learn's "balanced": each tag that occurs has the same share of the loss.
        return tuple(words / (seen * counts[tag]) if counts[tag] else 1.0 for tag in tags)
    return tuple(given_weights(settings, tags, "tag"))
