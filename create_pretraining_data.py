"""Make pre-training records from text: masked words, and whether a second segment follows the first."""

import sys
from typing import Any, List, Sequence, Tuple

from steady_bert.base import tensorflow_setup

if __name__ == "__main__":
    tensorflow_setup.start_program()

import flags
from steady_bert.command_line import tool_configuration


def main(_: Any = None) -> None:
    """Does what the flags say. A script that imports this one may call it, as tf.app.run does."""
    config = tool_configuration.pretraining_data_config(flags.Values("create_pretraining_data"))
    from steady_bert.tasks.pretraining import making

    made = making.make(config)
    text = "{0.documents:,} documents with {0.sentences:,} sentences and {0.tokens:,} pieces ({0.unknown:,} unknown)"
    if config.dry_run:
        print(text.format(made))
    else:
        print(("{0.instances:,} instances of " + text + ": {1}").format(made, ", ".join(config.output_files)))


if __name__ == "__main__":
    flags.run("create_pretraining_data", main, sys.argv, __doc__)  # exits; what follows is for scripts that import this

import tokenization
from steady_bert.tasks.pretraining import upstream
from steady_bert.tasks.pretraining.instances import TrainingInstance
from steady_bert.tasks.pretraining.upstream import (
    create_float_feature,
    create_int_feature,
    truncate_seq_pair,
    write_instance_to_example_files,
)

# The names that scripts written for google-research/bert import from here.
__all__ = [
    "FLAGS",
    "TrainingInstance",
    "create_float_feature",
    "create_instances_from_document",
    "create_int_feature",
    "create_masked_lm_predictions",
    "create_training_instances",
    "flags",
    "main",
    "tokenization",
    "truncate_seq_pair",
    "write_instance_to_example_files",
]

FLAGS = flags.FLAGS
flags.register_for_import("create_pretraining_data")


def _whole_words() -> bool:
    """The original's functions read this flag."""
    return bool(flags.Values("create_pretraining_data").do_whole_word_mask)


def create_training_instances(
    input_files: Sequence[str],
    tokenizer: Any,
    max_seq_length: int,
    dupe_factor: int,
    short_seq_prob: float,
    masked_lm_prob: float,
    max_predictions_per_seq: int,
    rng: Any,
) -> List[TrainingInstance]:
    return upstream.create_training_instances(
        input_files,
        tokenizer,
        max_seq_length,
        dupe_factor,
        short_seq_prob,
        masked_lm_prob,
        max_predictions_per_seq,
        rng,
        _whole_words(),
    )


def create_instances_from_document(
    all_documents: Sequence[Any],
    document_index: int,
    max_seq_length: int,
    short_seq_prob: float,
    masked_lm_prob: float,
    max_predictions_per_seq: int,
    vocab_words: Sequence[str],
    rng: Any,
) -> List[TrainingInstance]:
    return upstream.create_instances_from_document(
        all_documents,
        document_index,
        max_seq_length,
        short_seq_prob,
        masked_lm_prob,
        max_predictions_per_seq,
        vocab_words,
        rng,
        _whole_words(),
    )


def create_masked_lm_predictions(
    tokens: List[str], masked_lm_prob: float, max_predictions_per_seq: int, vocab_words: Sequence[str], rng: Any
) -> Tuple[List[str], List[int], List[str]]:
    return upstream.create_masked_lm_predictions(
        tokens, masked_lm_prob, max_predictions_per_seq, vocab_words, rng, _whole_words()
    )
