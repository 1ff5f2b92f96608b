"""What scripts written for google-research/bert import from create_pretraining_data, on lists in memory.

The original reads do_whole_word_mask from its flags; here it is the last argument, which the script adds.
"""

import itertools
import random
from typing import Any, List, Sequence, Tuple

from ...base.deferred_tensorflow import tf
from .corpus import lines_of
from .instances import Settings, TrainingInstance, instances_of_document, masked, pieces_of, shortened
from .records import RecordEncoder


def create_training_instances(
    input_files: Sequence[str],
    tokenizer: Any,
    max_seq_length: int,
    dupe_factor: int,
    short_seq_prob: float,
    masked_lm_prob: float,
    max_predictions_per_seq: int,
    rng: random.Random,
    do_whole_word_mask: bool = False,
) -> List[TrainingInstance]:
    """The instances of all documents in dupe_factor passes, shuffled."""
    documents = _read_documents(input_files, tokenizer)
    rng.shuffle(documents)
    settings = Settings(max_seq_length, short_seq_prob, masked_lm_prob, max_predictions_per_seq, do_whole_word_mask)
    pieces = pieces_of(list(tokenizer.vocab.keys()))
    instances: List[TrainingInstance] = []
    for _, number in itertools.product(range(dupe_factor), range(len(documents))):
        instances += instances_of_document(documents, number, settings, pieces, rng)
    rng.shuffle(instances)
    return instances


def _read_documents(input_files: Sequence[str], tokenizer: Any) -> List[List[List[str]]]:
    documents: List[List[List[str]]] = [[]]
    for path in input_files:
        for text in lines_of(path):
            tokens = tokenizer.tokenize(text)
            if not text:
                documents.append([])
            elif tokens:
                documents[-1].append(tokens)
    return [document for document in documents if document]


def create_instances_from_document(
    all_documents: Sequence[Any],
    document_index: int,
    max_seq_length: int,
    short_seq_prob: float,
    masked_lm_prob: float,
    max_predictions_per_seq: int,
    vocab_words: Sequence[str],
    rng: random.Random,
    do_whole_word_mask: bool = False,
) -> List[TrainingInstance]:
    settings = Settings(max_seq_length, short_seq_prob, masked_lm_prob, max_predictions_per_seq, do_whole_word_mask)
    return list(instances_of_document(all_documents, document_index, settings, pieces_of(vocab_words), rng))


def create_masked_lm_predictions(
    tokens: List[str],
    masked_lm_prob: float,
    max_predictions_per_seq: int,
    vocab_words: Sequence[str],
    rng: random.Random,
    do_whole_word_mask: bool = False,
) -> Tuple[List[str], List[int], List[str]]:
    settings = Settings(len(tokens), 0.0, masked_lm_prob, max_predictions_per_seq, do_whole_word_mask)
    return masked(tokens, settings, pieces_of(vocab_words), rng)


def truncate_seq_pair(tokens_a: List[Any], tokens_b: List[Any], max_num_tokens: int, rng: random.Random) -> None:
    """Shortens two lists in place until they have max_num_tokens together."""
    tokens_a[:], tokens_b[:] = shortened(tokens_a, tokens_b, max_num_tokens, rng)


def write_instance_to_example_files(
    instances: Sequence[TrainingInstance],
    tokenizer: Any,
    max_seq_length: int,
    max_predictions_per_seq: int,
    output_files: Sequence[str],
) -> None:
    """Writes the instances in turn to each TFRecord file."""
    encode = RecordEncoder(tokenizer.convert_tokens_to_ids, max_seq_length, max_predictions_per_seq)
    writers = [tf.python_io.TFRecordWriter(path) for path in output_files]
    for instance, writer in zip(instances, itertools.cycle(writers)):
        writer.write(encode(instance))
    for writer in writers:
        writer.close()


def create_int_feature(values: Sequence[int]) -> Any:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=list(values)))


def create_float_feature(values: Sequence[float]) -> Any:
    return tf.train.Feature(float_list=tf.train.FloatList(value=list(values)))
