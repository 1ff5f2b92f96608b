"""Serve a trained model, or a pre-trained encoder, over HTTP, with a page to try sentences."""

import sys
from typing import Any

from steady_bert.base import tensorflow_setup

if __name__ == "__main__":
    tensorflow_setup.start_program()

import flags
from steady_bert.command_line import configuration


def main(_: Any = None) -> None:
    """Serves as the flags say, until a signal comes."""
    config = configuration.serving_config(flags.Values("serve"))
    from steady_bert.serving import server

    status = server.serve(config)
    if status:
        sys.exit(status)


if __name__ == "__main__":
    flags.run("serve", main, sys.argv, __doc__)
