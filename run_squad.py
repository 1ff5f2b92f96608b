"""Fine-tune BERT to answer questions from a text, as in SQuAD 1.1 and 2.0: one run, from flags to artefacts."""

import sys
from typing import Any

from steady_bert.base import tensorflow_setup

if __name__ == "__main__":
    tensorflow_setup.start_program()

import flags
from steady_bert.command_line import configuration, relations


def main(_: Any = None) -> None:
    """Does what the flags say. A script that imports this one may call it, as tf.app.run does."""
    given = flags.Values("run_squad")
    config = configuration.questions_config(given)
    tensorflow_setup.import_tensorflow()
    from steady_bert.tasks.questions import job

    job.start(config, given.given_flags(), relations.notes(given))


if __name__ == "__main__":
    flags.run("run_squad", main, sys.argv, __doc__)  # exits; what follows is for scripts that import this one

import modeling
import optimization
import tokenization
from steady_bert.tasks.questions.upstream import (
    FeatureWriter,
    FlagReaders,
    InputFeatures,
    RawResult,
    SquadExample,
    _check_is_max_context,
    _compute_softmax,
    _get_best_indexes,
    _improve_answer_span,
    convert_examples_to_features,
    create_model,
    input_fn_builder,
    model_fn_builder,
)

_WITH_FLAGS = FlagReaders(flags.Values("run_squad"))
get_final_text = _WITH_FLAGS.get_final_text
read_squad_examples = _WITH_FLAGS.read_squad_examples
validate_flags_or_throw = _WITH_FLAGS.validate_flags_or_throw
write_predictions = _WITH_FLAGS.write_predictions

# The names that scripts written for google-research/bert import from here.
__all__ = [
    "FLAGS",
    "FeatureWriter",
    "InputFeatures",
    "RawResult",
    "SquadExample",
    "_check_is_max_context",
    "_compute_softmax",
    "_get_best_indexes",
    "_improve_answer_span",
    "convert_examples_to_features",
    "create_model",
    "flags",
    "get_final_text",
    "input_fn_builder",
    "main",
    "model_fn_builder",
    "modeling",
    "optimization",
    "read_squad_examples",
    "tokenization",
    "validate_flags_or_throw",
    "write_predictions",
]

FLAGS = flags.FLAGS
flags.register_for_import("run_squad")
