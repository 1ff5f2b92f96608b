"""examples → features: [CLS] a [SEP] b [SEP], with google-research/bert's truncation, padding and record layout."""

from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

import tensorflow.compat.v1 as tf

from tasks.classification_data import InputExample, InputFeatures, PaddingInputExample


class EncodedPair(NamedTuple):
    """Without padding; segment_ids are 0 up to the first [SEP], 1 after it."""

    input_ids: List[int]
    segment_ids: List[int]
    truncated: bool


def encode_pair(tokenizer: Any, text_a: str, text_b: Optional[str], max_seq_length: int) -> EncodedPair:
    """[CLS] a [SEP] b [SEP]; [CLS] a [SEP] where text_b is missing, empty or gives no piece.

    Of a pair that is too long, the longer text loses its last piece until the pair fits, the second where both are as
    long. max_seq_length is at least 3.
    """
    first = tokenizer.tokenize(text_a)
    second = tokenizer.tokenize(text_b) if text_b else []
    room = max_seq_length - (3 if second else 2)
    truncated = len(first) + len(second) > room
    first, second = _truncated_pair(first, second, room)
    pieces = ["[CLS]"] + first + ["[SEP]"] + (second + ["[SEP]"] if second else [])
    segment_ids = [0] * (len(first) + 2) + [1] * (len(pieces) - len(first) - 2)
    return EncodedPair(tokenizer.convert_tokens_to_ids(pieces), segment_ids, truncated)


def _truncated_pair(first: List[str], second: List[str], room: int) -> Tuple[List[str], List[str]]:
    a, b = len(first), len(second)
    while a + b > room:
        if a > b:
            a -= 1
        else:
            b -= 1
    return first[:a], second[:b]


def convert_single_example(
    ex_index: int, example: Any, label_list: Sequence[str], max_seq_length: int, tokenizer: Any
) -> InputFeatures:
    """One example, padded. A PaddingInputExample gives zeros; a label of None gives id 0."""
    if isinstance(example, PaddingInputExample):
        zeros = [0] * max_seq_length
        return InputFeatures(zeros, list(zeros), list(zeros), label_id=0, is_real_example=False)
    encoded = encode_pair(tokenizer, example.text_a, example.text_b, max_seq_length)
    padding = [0] * (max_seq_length - len(encoded.input_ids))
    return InputFeatures(
        input_ids=encoded.input_ids + padding,
        input_mask=[1] * len(encoded.input_ids) + padding,
        segment_ids=encoded.segment_ids + padding,
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
