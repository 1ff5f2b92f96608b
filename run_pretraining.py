"""Pre-train BERT, or go on with its pre-training: masked words and next sentences; one run, from flags to artefacts."""

import sys
from typing import Any

from steady_bert.base import tensorflow_setup

if __name__ == "__main__":
    tensorflow_setup.start_program()

import flags
from steady_bert.command_line import configuration, relations


def main(_: Any = None) -> None:
    """Does what the flags say. A script that imports this one may call it, as tf.app.run does."""
    given = flags.Values("run_pretraining")
    config = configuration.pretraining_config(given)
    tensorflow_setup.import_tensorflow()
    from steady_bert.tasks.pretraining import job

    job.start(config, given.given_flags(), relations.notes(given))


if __name__ == "__main__":
    flags.run("run_pretraining", main, sys.argv, __doc__)  # exits; what follows is for scripts that import this one

import modeling
import optimization
from steady_bert.tasks.pretraining.heads import gather_indexes
from steady_bert.tasks.pretraining.training_upstream import (
    get_masked_lm_output,
    get_next_sentence_output,
    input_fn_builder,
    model_fn_builder,
)

# The names that scripts written for google-research/bert import from here.
__all__ = [
    "FLAGS",
    "flags",
    "gather_indexes",
    "get_masked_lm_output",
    "get_next_sentence_output",
    "input_fn_builder",
    "main",
    "model_fn_builder",
    "modeling",
    "optimization",
]

FLAGS = flags.FLAGS
flags.register_for_import("run_pretraining")
