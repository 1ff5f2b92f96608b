"""JSON objects with a list of words and one of tags, as datasets has them, and our own predictions of plain tags.

{"tokens": ["Ann", "left"], "ner_tags": ["B-PER", "O"]}, or numbers that --tags_file names
{"text": "Ann left", "tags": [{"start": 0, "end": 3, "tag": "NOUN"}, …]}
"""

from typing import Any, Dict, Iterator, List, Optional

from ...base.errors import UserError
from ..reading import text_files
from ..reading.text_files import Row
from ..task import BadLines
from .offsets import is_whole
from .sentences import Layout
from .word_lists import WordList

_BLANK = " \t\r\n"  # other white space may be a word
_WORD_KEYS = ("tokens", "words")
_TAG_KEYS = ("ner_tags", "tags", "ner", "labels", "label", "pos_tags", "upos", "pos")


def fits(value: Any) -> bool:
    """Whether a value of JSON shows that its file has lists of words."""
    if not isinstance(value, dict):
        return False
    return _are_placed(value.get("tags")) or any(_are_strings(value.get(name)) for name in _WORD_KEYS)


def lists(path: str, layout: Layout, bad_lines: BadLines) -> Iterator[WordList]:
    """The sentences of a file."""
    for row in text_files.json_values(path, bad_lines, layout.encoding):
        try:
            if not isinstance(row.cells, dict):
                raise UserError("not a JSON object. Fix the line.")
            yield _placed(row) if _are_placed(row.cells.get("tags")) else _word_list(row, layout)
        except UserError as error:
            bad_lines.add(UserError("{}: {}".format(row.place, error)))


def _are_strings(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(isinstance(item, str) for item in value)


def _are_placed(value: Any) -> bool:
    return (
        isinstance(value, list) and len(value) > 0 and all(isinstance(item, dict) and "tag" in item for item in value)
    )


def _id_of(row: Row) -> str:
    own_id = row.cells.get("id")
    return str(row.record if own_id is None else own_id)


def _placed(row: Row) -> WordList:
    """The words of a text by their places."""
    text, tags = row.cells.get("text"), row.cells["tags"]
    offsets = [(item.get("start"), item.get("end")) for item in tags]
    before = 0
    for start, end in offsets:
        if not (isinstance(text, str) and is_whole(start) and is_whole(end) and before <= start < end <= len(text)):
            raise UserError(
                "the word {} to {} is not within the text, after the one before. Fix it.".format(start, end)
            )
        before = end
    words = tuple(text[start:end] for start, end in offsets)
    names = [str(item["tag"]) for item in tags]
    return WordList([row.place] * len(words), row.line, _id_of(row), words, names, text, tuple(offsets))


def _word_list(row: Row, layout: Layout) -> WordList:
    cells = row.cells
    word_key = _key_of(cells, "word_column", layout.word_column, _WORD_KEYS)
    words: Any = cells.get(word_key) if word_key else None
    if not _are_strings(words):
        message = 'no list of words under "tokens" or "words". Its keys: {}. Name one with --word_column.'
        raise UserError(message.format(", ".join(cells)))
    blank = next((number for number, word in enumerate(words) if not word.strip(_BLANK)), None)
    if blank is not None:
        raise UserError("word {} is blank. Remove it and its tag.".format(blank))
    tags = None
    if layout.tag_column != "none":
        given = None if layout.tag_column == "last" else layout.tag_column
        tag_key = _key_of(cells, "tag_column", given, _TAG_KEYS)
        tags = _named(cells[tag_key], tag_key, len(words), layout) if tag_key else None
    return WordList([row.place] * len(words), row.line, _id_of(row), tuple(words), tags)


def _key_of(cells: Dict[str, Any], flag: str, given: Optional[str], usual: Any) -> Optional[str]:
    if given is not None:
        if given not in cells:
            raise UserError("--{}={}: the object has the keys {}. Name one.".format(flag, given, ", ".join(cells)))
        return given
    return next((name for name in usual if isinstance(cells.get(name), list)), None)


def _named(tags: Any, key: str, words: int, layout: Layout) -> List[str]:
    """The tags by name."""
    if not isinstance(tags, list) or len(tags) != words:
        count = len(tags) if isinstance(tags, list) else "no list of"
        raise UserError('{} words and {} tags in "{}". Fix the line.'.format(words, count, key))
    if all(isinstance(tag, str) for tag in tags):
        return tags
    if not all(is_whole(tag) for tag in tags):
        raise UserError('the tags in "{}" are neither names nor numbers. Name others with --tag_column.'.format(key))
    if not layout.tag_names:
        raise UserError(
            'the tags in "{}" are numbers. Pass --tags_file: a file with their names, one a line.'.format(key)
        )
    for tag in tags:
        if not 0 <= tag < len(layout.tag_names):
            message = "the tag {} is not one of 0 to {}, the lines of --tags_file. Add its name."
            raise UserError(message.format(tag, len(layout.tag_names) - 1))
    return [layout.tag_names[tag] for tag in tags]
