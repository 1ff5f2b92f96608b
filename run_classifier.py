"""Fine-tune BERT to classify sentences or sentence pairs, or to score them: one run, from flags to artefacts."""

import sys
from typing import Any

from steady_bert.base import tensorflow_setup

if __name__ == "__main__":
    tensorflow_setup.start_program()

import flags
from steady_bert.command_line import configuration, relations


def main(_: Any = None) -> None:
    """Does what the flags say. A script that imports this one may call it, as tf.app.run does."""
    given = flags.Values("run_classifier")
    config = configuration.classifier_config(given)
    tensorflow_setup.import_tensorflow()
    from steady_bert.tasks.classification import job

    job.start(config, given.given_flags(), relations.notes(given))


if __name__ == "__main__":
    flags.run("run_classifier", main, sys.argv, __doc__)  # exits; what follows is for scripts that import this one

import modeling
import optimization
import tokenization
from steady_bert.tasks.classification.features import (
    _truncate_seq_pair,
    convert_examples_to_features,
    convert_single_example,
    file_based_convert_examples_to_features,
)
from steady_bert.tasks.classification.glue import ColaProcessor, MnliProcessor, MrpcProcessor, XnliProcessor
from steady_bert.tasks.classification.processor import (
    DataProcessor,
    InputExample,
    InputFeatures,
    PaddingInputExample,
)
from steady_bert.tasks.classification.upstream import (
    create_model,
    file_based_input_fn_builder,
    input_fn_builder,
    model_fn_builder,
)

# The names that scripts written for google-research/bert import from here.
__all__ = [
    "ColaProcessor",
    "DataProcessor",
    "FLAGS",
    "InputExample",
    "InputFeatures",
    "MnliProcessor",
    "MrpcProcessor",
    "PaddingInputExample",
    "XnliProcessor",
    "_truncate_seq_pair",
    "convert_examples_to_features",
    "convert_single_example",
    "create_model",
    "file_based_convert_examples_to_features",
    "file_based_input_fn_builder",
    "flags",
    "input_fn_builder",
    "main",
    "model_fn_builder",
    "modeling",
    "optimization",
    "tokenization",
]

FLAGS = flags.FLAGS
flags.register_for_import("run_classifier")
