"""Record files, or text itself, → examples of pre-training.

An example has fixed masks, which is what evaluation sees. In training on text, `drawn_again` masks it anew in each
epoch. Pure: TensorFlow, which reads record files, is imported when it is first used.

A piece is an id. While text is read, a piece that continues a Chinese word has the vocabulary's size added to it, so
that it stays known through the making of instances; `TextPieces` adds and removes it.
"""

import array
import contextlib
import math
import random
import re
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import tokenization

from ...base import tensorflow_setup
from ...base.deferred_tensorflow import tf
from ...base.errors import UserError
from .corpus import BLANK, Corpus, CorpusWriter, Tokenized, blocks_of, lines_of, texts_of
from .instances import Pieces, TrainingInstance, instances_of_document, masked
from .training_config import DOCUMENT, SENTENCE, PretrainingInput

_WORD_START = tokenization._WORD_START
_CHINESE = re.compile("([{}])".format("".join("{}-{}".format(*map(chr, ends)) for ends in tokenization._CHINESE)))

_GZIP = b"\x1f\x8b\x08"  # how a gzip file begins


class Example(NamedTuple):
    example_id: str
    line: int  # of the text, or number of the record, from 1, counted through all files
    input_ids: Sequence[int]  # with the masks
    segment_ids: Sequence[int]
    positions: Sequence[int]  # of what is predicted, in order
    labels: Sequence[int]  # what stood there
    weights: Sequence[float]
    is_random_next: int
    continues: Sequence[int] = ()  # of text: 1 for a piece that continues a Chinese word
    unmasked: Sequence[int] = ()  # of text: the ids without the masks


class Bounds(NamedTuple):
    """The sizes that a record must fit."""

    max_seq_length: int
    max_predictions: int
    vocab_size: int
    segments: int
    next_sentence: bool


# --- records ----------------------------------------------------------------------------------------------------------


def of_records(paths: Sequence[str], bounds: Bounds) -> Iterator[Example]:
    """The records of files that create_pretraining_data made. Raises UserError, with file and record."""
    number = 0
    for path in paths:
        records = tf.python_io.tf_record_iterator(path)
        in_file = 0
        while True:
            place = "{}: record {}".format(path, in_file + 1)
            try:
                record = next(records)
            except StopIteration:
                break
            except tf.errors.OpError as error:
                raise UserError("{}: cannot be read ({}). Make the file again.".format(place, error.message)) from None
            in_file += 1
            number += 1
            yield _of_record(record, number, place, bounds)


def _of_record(record: bytes, number: int, place: str, bounds: Bounds) -> Example:
    from google.protobuf.message import DecodeError  # not for --help

    other = UserError("{}: not a record of create_pretraining_data.py.".format(place))
    try:
        columns = tf.train.Example.FromString(record).features.feature
    except DecodeError:
        raise other from None
    names = ("input_ids", "input_mask", "segment_ids", "masked_lm_positions", "masked_lm_ids")
    values = {name: columns[name].int64_list.value for name in names}
    mask, weights = values["input_mask"], columns["masked_lm_weights"].float_list.value
    tokens = list(mask).count(1)
    predicted = [at for at, weight in enumerate(weights) if weight]
    labels = columns["next_sentence_labels"].int64_list.value
    lengths = {len(values[name]) for name in names[:3]}, {len(values[name]) for name in names[3:]} | {len(weights)}
    is_one = bool(tokens) and list(mask) == [1] * tokens + [0] * (len(mask) - tokens)
    if not is_one or any(len(each) > 1 for each in lengths) or not all(0 <= weight < math.inf for weight in weights):
        raise other
    if bounds.next_sentence and not labels:
        raise UserError("{}: no next_sentence_labels. Give --use_next_sentence_task=false.".format(place))
    example = Example(
        example_id=str(number - 1),
        line=number,
        input_ids=values["input_ids"][:tokens],
        segment_ids=values["segment_ids"][:tokens],
        positions=[values["masked_lm_positions"][each] for each in predicted],
        labels=[values["masked_lm_ids"][each] for each in predicted],
        weights=[weights[each] for each in predicted],
        is_random_next=labels[0] if labels else 0,
    )
    _require_fitting(example, place, bounds)
    return example


def _require_fitting(example: Example, place: str, bounds: Bounds) -> None:
    tokens, predictions = len(example.input_ids), len(example.positions)
    if tokens > bounds.max_seq_length or predictions > bounds.max_predictions:
        raise UserError(
            "{}: has {} tokens and {} predictions; --max_seq_length={} and --max_predictions_per_seq={} are less. Give "
            "what the file was made with.".format(
                place, tokens, predictions, bounds.max_seq_length, bounds.max_predictions
            )
        )
    for what, values, end in (
        ("id", [*example.input_ids, *example.labels], bounds.vocab_size),
        ("segment", example.segment_ids, bounds.segments),
        ("position", example.positions, tokens),
        ("next_sentence_labels", [example.is_random_next], 2),
    ):
        wrong = [value for value in values if not 0 <= value < end]
        if wrong:
            raise UserError(
                "{}: {} {} is not from 0 to below {}. Give the bert_config.json of the vocabulary that the file was "
                "made with.".format(place, what, wrong[0], end)
            )


# --- text -------------------------------------------------------------------------------------------------------------


class TextPieces:
    """The pieces of a tokenizer, marked where a segmentation says that they continue a word."""

    def __init__(self, tokenizer: Any, vocab_file: str) -> None:
        self.tokenizer = tokenizer
        vocab: Dict[str, int] = tokenizer.vocab
        if "[MASK]" not in vocab:
            raise UserError("{}: has no [MASK]. Is it a BERT vocabulary?".format(vocab_file))
        self._mark = max(vocab.values()) + 1
        starts = any(piece.startswith(_WORD_START) for piece in vocab)
        continuing = {
            number
            for piece, number in vocab.items()
            if (not piece.startswith((_WORD_START, "[")) if starts else piece.startswith("##"))
        }
        cls, sep, mask = (vocab[piece] for piece in ("[CLS]", "[SEP]", "[MASK]"))

        def continues(piece: int) -> bool:
            return piece >= self._mark or piece in continuing

        self.pieces = Pieces(list(vocab.values()), cls, sep, mask, continues)
        self.typecode = "H" if 2 * self._mark < 1 << 16 else "I"

    def encoded(self, lines: Sequence[str]) -> List[List[int]]:
        return self.tokenizer.encode(lines)

    def segmented(self, line: str, words: str, place: str) -> List[int]:
        """The pieces of a line of which `words` is the segmentation: the same text with spaces between words."""
        text = "".join(line.split())
        if text != "".join(words.split()):
            raise UserError(
                "{}: is not this line of the text with spaces between its words. Make the file again.".format(place)
            )
        starts = {0}
        for word in words.split():
            starts.add(max(starts) + len(word))
        units = [unit for part in line.split() for unit in _CHINESE.split(part) if unit]
        marked: List[int] = []
        at, after_chinese = 0, False
        for unit, of_unit in zip(units, self.tokenizer.encode(units)):
            is_chinese = bool(_CHINESE.match(unit))
            continues = is_chinese and after_chinese and at not in starts
            marked += [piece + self._mark for piece in of_unit] if continues else of_unit
            at += len(unit)
            after_chinese = is_chinese
        return marked

    def with_marks(self, ids: Sequence[int], continues: Sequence[int]) -> List[int]:
        return [piece + self._mark * mark for piece, mark in zip(ids, continues)]

    def without_marks(self, marked: Sequence[int]) -> List[int]:
        return [piece % self._mark for piece in marked]

    def marks(self, marked: Sequence[int]) -> List[int]:
        return [piece // self._mark for piece in marked]


def form_of(paths: Sequence[str]) -> str:
    """SENTENCE if there is an empty line between lines of text in any file, else DOCUMENT."""
    for path in paths:
        seen = blank = False
        for text in lines_of(path):
            if text and blank:
                return SENTENCE
            seen = seen or bool(text)
            blank = seen and not text
    return DOCUMENT


def is_record_file(path: str) -> bool:
    """Whether a file is a TFRecord file: it begins with a length of eight bytes, of which the upper four are 0.

    Those of a gzip file are 0 too if it was packed without a time.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(8)
            return head[4:] == bytes(4) and not head.startswith(_GZIP)
    except OSError as error:
        raise UserError("{}: cannot be read ({}). Check the path.".format(path, error.strerror)) from None


def _lines(
    paths: Sequence[str], pieces: TextPieces, suffix: Optional[str]
) -> Iterator[Tuple[int, Optional[List[int]]]]:
    """(line number from 1 through all files, its pieces). None where a document ends, as with a file.

    suffix: of the files with the words of the text.
    """
    number = 0
    for path in paths:
        words = None if suffix is None else lines_of(path + suffix)
        for block in blocks_of(path):
            texts = texts_of(block)
            encoded: Any = pieces.encoded(texts) if words is None else None
            for at, text in enumerate(texts):
                number += 1
                if words is None:
                    of_line = encoded[at]
                else:
                    of_line = pieces.segmented(text, next(words, ""), "{}{}:{}".format(path, suffix, block.line + at))
                yield number, of_line if text else None
        if words is not None and any(words):
            raise UserError("{}{}: has more lines than {}. Make the file again.".format(path, suffix, path))
        yield number, None


def of_text(data: PretrainingInput, split: str, form: str, pieces: TextPieces) -> Iterator[Example]:
    """The examples of a split's text, with fixed masks. Raises UserError for text that cannot be used."""
    made = _pairs(data, split, pieces) if data.use_next_sentence_task else _sequences(data, split, form, pieces)
    for number, (line, instance) in enumerate(made):
        tokens = _restored(instance.tokens, instance.masked_lm_positions, instance.masked_lm_labels)
        yield Example(
            example_id=str(number),
            line=line,
            input_ids=pieces.without_marks(instance.tokens),
            segment_ids=instance.segment_ids,
            positions=instance.masked_lm_positions,
            labels=pieces.without_marks(instance.masked_lm_labels),
            weights=[1.0] * len(instance.masked_lm_positions),
            is_random_next=int(instance.is_random_next),
            continues=pieces.marks(tokens),
            unmasked=pieces.without_marks(tokens),
        )


def _restored(tokens: Sequence[int], positions: Sequence[int], labels: Sequence[int]) -> List[int]:
    """The tokens with what stood at the masked positions."""
    restored = list(tokens)
    for position, label in zip(positions, labels):
        restored[position] = label
    return restored


_Made = Iterator[Tuple[int, TrainingInstance]]


def _sequences(data: PretrainingInput, split: str, form: str, pieces: TextPieces) -> _Made:
    """Sentences of one document that together fill an example; a longer one is cut into several."""
    room = data.max_seq_length - 2
    held: List[int] = []
    began = number = 0

    def made(line: int, content: List[int]) -> Tuple[int, TrainingInstance]:
        tokens = [pieces.pieces.cls, *content, pieces.pieces.sep]
        rng = random.Random("fixed/{}/{}".format(split, number))
        output, positions, labels = masked(tokens, data.settings, pieces.pieces, rng)
        return line, TrainingInstance(output, [0] * len(tokens), positions, labels, False)

    for line, content in _lines(data.files[split], pieces, data.segmentation_suffix):
        if held and (content is None or form == DOCUMENT or len(held) + len(content) > room):
            yield made(began, held)
            number, held = number + 1, []
        content = content or []
        while len(content) > room:
            yield made(line, content[:room])
            number, content = number + 1, content[room:]
        began = began if held else line
        held = held + content


def _pairs(data: PretrainingInput, split: str, pieces: TextPieces) -> _Made:
    """The original's instances in one pass; which segments belong together stays the same in every epoch."""
    with tensorflow_setup.temporary_folder() as scratch:
        writer = CorpusWriter(scratch)
        first_lines = array.array("Q")
        for line, content in _lines(data.files[split], pieces, data.segmentation_suffix):
            if content and not writer.in_document:
                first_lines.append(line)
            length = BLANK if content is None else len(content)
            writer.add(Tokenized(array.array(pieces.typecode, content or ()), array.array("q", [length])))
        writer.close()
        if not writer.documents:
            return
        rng = random.Random()
        with contextlib.closing(Corpus(scratch)) as stored:
            corpus: Any = stored
            for document, line in enumerate(first_lines):
                rng.seed("pairs/{}/{}".format(split, document))
                for instance in instances_of_document(corpus, document, data.settings, pieces.pieces, rng):
                    yield line, instance


def drawn_again(
    ids: Sequence[int],
    positions: Sequence[int],
    labels: Sequence[int],
    marks: Sequence[int],
    data: PretrainingInput,
    pieces: TextPieces,
    key: str,
) -> Tuple[List[int], List[int], List[int]]:
    """(ids, positions, labels) of an example with the masks of another key."""
    tokens = _restored(ids, positions, labels)
    marked = pieces.with_marks(tokens, marks) if marks else tokens
    output, new_positions, new_labels = masked(marked, data.settings, pieces.pieces, random.Random(key))
    if not marks:
        return output, new_positions, new_labels
    return pieces.without_marks(output), new_positions, pieces.without_marks(new_labels)
