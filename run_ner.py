"""Fine-tune BERT to give each word a tag: entities, or any word-level tagging; one run, from flags to artefacts."""

import sys
from typing import Any

from steady_bert.base import tensorflow_setup

if __name__ == "__main__":
    tensorflow_setup.start_program()

import flags
from steady_bert.command_line import configuration, relations


def main(_: Any = None) -> None:
    """Does what the flags say. A script that imports this one may call it, as tf.app.run does."""
    given = flags.Values("run_ner")
    config = configuration.tagging_config(given)
    tensorflow_setup.import_tensorflow()
    from steady_bert.tasks.tagging import job

    job.start(config, given.given_flags(), relations.notes(given))


if __name__ == "__main__":
    flags.run("run_ner", main, sys.argv, __doc__)

FLAGS = flags.FLAGS
flags.register_for_import("run_ner")
