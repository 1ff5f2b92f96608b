"""examples → features: [CLS] a [SEP] b [SEP], with google-research/bert's truncation, padding and record layout."""

from typing import Any, List, NamedTuple, Sequence, Tuple

import tensorflow.compat.v1 as tf

from . import long_texts
from .long_texts import LongTexts, Pair
from .processor import InputExample, InputFeatures, PaddingInputExample

_CUT = LongTexts()


class EncodedPair(NamedTuple):
    """An example, or a window of one, as ids without padding; segment_ids are 0 up to the first [SEP], 1 after it."""

    input_ids: List[int]
    segment_ids: List[int]
    tokens: int  # number of tokens of the whole example with the special ones
    pieces: int  # likewise, without the special ones
    unknown: int  # number of pieces that the vocabulary lacks
    pair: int  # which of the examples it is of
    window: int  # its number among the windows of the example
    windows: int  # how many windows the example has, or would have


def encode_pairs(
    tokenizer: Any, pairs: Sequence[Any], max_seq_length: int, long_text: LongTexts = _CUT
) -> List[EncodedPair]:
    """Encodes text_a and text_b of each pair as [CLS] a [SEP] b [SEP]. tokenizer has encode, vocab and unk_id.

    One for each pair, in order; one for each window if long texts are read in windows.
    """
    first = tokenizer.encode([pair.text_a for pair in pairs])
    with_second = [number for number, pair in enumerate(pairs) if pair.text_b]
    second: List[List[int]] = [[] for _ in pairs]
    for number, ids in zip(with_second, tokenizer.encode([pairs[number].text_b for number in with_second])):
        second[number] = ids
    cls, sep, unk = tokenizer.vocab["[CLS]"], tokenizer.vocab["[SEP]"], tokenizer.unk_id
    encoded = []
    for number, (a, b) in enumerate(zip(first, second)):
        pieces = len(a) + len(b)
        tokens = pieces + (3 if b else 2)
        unknown = a.count(unk) + b.count(unk)
        if tokens <= max_seq_length:
            input_ids, segment_ids = _joined(a, b, cls, sep)
            encoded.append(EncodedPair(input_ids, segment_ids, tokens, pieces, unknown, number, 0, 1))
            continue
        inputs, windows = _fitted(a, b, max_seq_length, long_text)
        for window, (x, y) in enumerate(inputs):
            input_ids, segment_ids = _joined(x, y, cls, sep)
            encoded.append(EncodedPair(input_ids, segment_ids, tokens, pieces, unknown, number, window, windows))
    return encoded


def _fitted(first: List[int], second: List[int], max_seq_length: int, long_text: LongTexts) -> Tuple[List[Pair], int]:
    """(what is read of a pair that is too long, the number of windows that it has or would have)."""
    room = _room(second, max_seq_length)
    if long_text.mode == "windows":
        pairs = long_texts.windows(first, second, room, long_text.stride)
        return pairs, len(pairs)
    kept = long_texts.shortened(first, second, room, long_text.mode)
    return [kept], long_texts.window_count(len(first), len(second), room, long_text.stride)


def _room(second: List[int], max_seq_length: int) -> int:
    """The number of pieces that fit beside the special tokens. max_seq_length is at least 3."""
    return max_seq_length - (3 if second else 2)


def _joined(first: List[int], second: List[int], cls: int, sep: int) -> Tuple[List[int], List[int]]:
    """(ids, segment ids) of [CLS] a [SEP] b [SEP]; of [CLS] a [SEP] if the second text is missing or has no pieces."""
    if not second:
        return [cls, *first, sep], [0] * (len(first) + 2)
    return [cls, *first, sep, *second, sep], [0] * (len(first) + 2) + [1] * (len(second) + 1)


def _truncate_seq_pair(tokens_a: List[Any], tokens_b: List[Any], max_length: int) -> None:
    """Shortens the longer of two lists, in place, until they have max_length tokens together."""
    tokens_a[:], tokens_b[:] = long_texts.cut(tokens_a, tokens_b, max_length)


def convert_single_example(
    ex_index: int, example: Any, label_list: Sequence[str], max_seq_length: int, tokenizer: Any
) -> InputFeatures:
    """Encodes and pads one example. A PaddingInputExample becomes zeros; the label None becomes id 0."""
    if isinstance(example, PaddingInputExample):
        zeros = [0] * max_seq_length
        return InputFeatures(zeros, list(zeros), list(zeros), label_id=0, is_real_example=False)
    first = tokenizer.convert_tokens_to_ids(tokenizer.tokenize(example.text_a))
    second = tokenizer.convert_tokens_to_ids(tokenizer.tokenize(example.text_b)) if example.text_b else []
    cls, sep = tokenizer.convert_tokens_to_ids(["[CLS]", "[SEP]"])
    first, second = long_texts.cut(first, second, _room(second, max_seq_length))
    input_ids, segment_ids = _joined(first, second, cls, sep)
    padding = [0] * (max_seq_length - len(input_ids))
    return InputFeatures(
        input_ids=input_ids + padding,
        input_mask=[1] * len(input_ids) + padding,
        segment_ids=segment_ids + padding,
        label_id=0 if example.label is None else list(label_list).index(example.label),
    )


def convert_examples_to_features(
    examples: Sequence[InputExample], label_list: Sequence[str], max_seq_length: int, tokenizer: Any
) -> List[InputFeatures]:
    return [
        convert_single_example(number, example, label_list, max_seq_length, tokenizer)
        for number, example in enumerate(examples)
    ]


def file_based_convert_examples_to_features(
    examples: Sequence[InputExample], label_list: Sequence[str], max_seq_length: int, tokenizer: Any, output_file: str
) -> None:
    """Writes a TFRecord file: int64 lists input_ids, input_mask, segment_ids, label_ids, is_real_example."""
    with tf.python_io.TFRecordWriter(output_file) as writer:
        for number, example in enumerate(examples):
            feature = convert_single_example(number, example, label_list, max_seq_length, tokenizer)
            columns = {
                "input_ids": feature.input_ids,
                "input_mask": feature.input_mask,
                "segment_ids": feature.segment_ids,
                "label_ids": [feature.label_id],
                "is_real_example": [int(feature.is_real_example)],
            }
            record = tf.train.Example()
            for name, values in columns.items():
                record.features.feature[name].int64_list.value.extend(values)
            writer.write(record.SerializeToString())
