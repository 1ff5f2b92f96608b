"""Write what a BERT makes of each line of a text: the vectors of its tokens by layer, or one vector a line."""

import sys
from typing import Any

from steady_bert.base import tensorflow_setup

if __name__ == "__main__":
    tensorflow_setup.start_program()

import flags
from steady_bert.command_line import tool_configuration


def main(_: Any = None) -> None:
    """Does what the flags say. A script that imports this one may call it, as tf.app.run does."""
    config = tool_configuration.extraction_config(flags.Values("extract_features"))
    tensorflow_setup.import_tensorflow()
    from steady_bert.extraction import job

    if config.dry_run:
        print(job.plan(config))
        return
    lines = job.extract(config)
    print("Features of {:,} lines: {}".format(lines, config.output_file))


if __name__ == "__main__":
    flags.run("extract_features", main, sys.argv, __doc__)  # exits; what follows is for scripts that import this one

import modeling
import tokenization
from steady_bert.extraction.upstream import (
    InputExample,
    InputFeatures,
    convert_examples_to_features,
    input_fn_builder,
    model_fn_builder,
    read_examples,
)
from steady_bert.tasks.classification.features import _truncate_seq_pair

# The names that scripts written for google-research/bert import from here.
__all__ = [
    "FLAGS",
    "InputExample",
    "InputFeatures",
    "_truncate_seq_pair",
    "convert_examples_to_features",
    "flags",
    "input_fn_builder",
    "main",
    "model_fn_builder",
    "modeling",
    "read_examples",
    "tokenization",
]

FLAGS = flags.FLAGS
flags.register_for_import("extract_features")
