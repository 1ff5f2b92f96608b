"""examples → features: [CLS] a [SEP] b [SEP], with google-research/bert's truncation, padding and record layout."""

from typing import Any, List, NamedTuple, Sequence, Tuple

import tensorflow.compat.v1 as tf

from .processor import InputExample, InputFeatures, PaddingInputExample


class EncodedPair(NamedTuple):
    """An example as ids, without padding; segment_ids are 0 up to the first [SEP], 1 after it."""

    input_ids: List[int]
    segment_ids: List[int]
    tokens: int  # number of tokens with the special ones, before truncation
    pieces: int  # number of tokens without the special ones, before truncation
    unknown: int  # number of pieces that the vocabulary lacks


def encode_pairs(tokenizer: Any, pairs: Sequence[Any], max_seq_length: int) -> List[EncodedPair]:
    """Encodes text_a and text_b of each pair as [CLS] a [SEP] b [SEP]. tokenizer has encode, vocab and unk_id."""
    first = tokenizer.encode([pair.text_a for pair in pairs])
    with_second = [number for number, pair in enumerate(pairs) if pair.text_b]
    second: List[List[int]] = [[] for _ in pairs]
    for number, ids in zip(with_second, tokenizer.encode([pairs[number].text_b for number in with_second])):
        second[number] = ids
    cls, sep, unk = tokenizer.vocab["[CLS]"], tokenizer.vocab["[SEP]"], tokenizer.unk_id
    encoded = []
    for a, b in zip(first, second):
        input_ids, segment_ids = _joined(a, b, cls, sep, max_seq_length)
        pieces = len(a) + len(b)
        tokens = pieces + (3 if b else 2)
        encoded.append(EncodedPair(input_ids, segment_ids, tokens, pieces, a.count(unk) + b.count(unk)))
    return encoded


def _joined(
    first: List[int], second: List[int], cls: int, sep: int, max_seq_length: int
) -> Tuple[List[int], List[int]]:
    """(ids, segment ids) of [CLS] a [SEP] b [SEP]; of [CLS] a [SEP] if the second text is missing or has no pieces.

    While a pair is too long, the longer text loses its last piece, or the second if both are equally long.
    max_seq_length is at least 3.
    """
    room = max_seq_length - (3 if second else 2)
    if len(first) + len(second) > room:
        first, second = _truncated_pair(first, second, room)
    if not second:
        return [cls, *first, sep], [0] * (len(first) + 2)
    return [cls, *first, sep, *second, sep], [0] * (len(first) + 2) + [1] * (len(second) + 1)


def _truncated_pair(first: List[Any], second: List[Any], room: int) -> Tuple[List[Any], List[Any]]:
    a, b = len(first), len(second)
    while a + b > room:
        if a > b:
            a -= 1
        else:
            b -= 1
    return first[:a], second[:b]


def _truncate_seq_pair(tokens_a: List[Any], tokens_b: List[Any], max_length: int) -> None:
    """Shortens the longer of two lists, in place, until they have max_length tokens together."""
    tokens_a[:], tokens_b[:] = _truncated_pair(tokens_a, tokens_b, max_length)


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
    input_ids, segment_ids = _joined(first, second, cls, sep, max_seq_length)
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
