"""Lines of a text file → examples → pieces, by google-research/bert's rules. Pure: no TensorFlow.

A line is a text, or a pair that the last " ||| " in it separates; an empty line is an empty text.
"""

from typing import Any, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ..base.errors import UserError
from ..tasks.classification import long_texts
from ..tasks.reading.source import LONGEST_LINE_BYTES, opened, too_long

_SEPARATOR = " ||| "


class InputExample:
    """A text or a pair. unique_id: the number of its line, from 0."""

    def __init__(self, unique_id: int, text_a: str, text_b: Optional[str]) -> None:
        self.unique_id = unique_id
        self.text_a = text_a
        self.text_b = text_b


class Encoded(NamedTuple):
    """[CLS] a [SEP] or [CLS] a [SEP] b [SEP], without padding."""

    unique_id: int
    tokens: List[str]
    input_ids: List[int]
    input_type_ids: List[int]


def examples_of(path: str) -> Iterator[InputExample]:
    """The example of each line. Raises UserError, with the line, for text that is not UTF-8."""
    with opened(path) as file:
        for number, raw in enumerate(iter(lambda: file.readline(LONGEST_LINE_BYTES + 1), b"")):
            if len(raw) > LONGEST_LINE_BYTES:
                raise too_long(path, number + 1)
            try:
                text = raw.decode("utf-8").strip()
            except UnicodeDecodeError:
                raise UserError("{}:{}: is not UTF-8. Convert the file.".format(path, number + 1)) from None
            first, separator, second = text.rpartition(_SEPARATOR)
            yield InputExample(number, first, second) if separator else InputExample(number, text, None)


def encoded(example: Any, max_seq_length: int, tokenizer: Any) -> Encoded:
    """The longer text of a pair that is too long is cut; of two that are as long, the second."""
    pieces = pieces_of(example, tokenizer)
    first: Any
    second: Any
    first, second = long_texts.cut(*pieces, max_seq_length - specials(pieces[1]))
    tokens: List[str] = ["[CLS]", *first, "[SEP]"]
    types = [0] * len(tokens)
    if second:
        tokens += [*second, "[SEP]"]
        types += [1] * (len(second) + 1)
    return Encoded(example.unique_id, tokens, tokenizer.convert_tokens_to_ids(tokens), types)


def pieces_of(example: Any, tokenizer: Any) -> Tuple[Any, Any]:
    """The pieces of the text, or of both; [] for a second one that there is none of."""
    return tokenizer.tokenize(example.text_a), tokenizer.tokenize(example.text_b) if example.text_b else []


def specials(second: Sequence[str]) -> int:
    """How many tokens stand around the pieces."""
    return 3 if second else 2
