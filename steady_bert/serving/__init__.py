"""A trained model that answers: in a program, over HTTP, and as the graph that exports are made of.

`from steady_bert.serving import Predictor` imports TensorFlow; importing the package does not.
"""

from typing import Any

__all__ = ["Predictor"]


def __getattr__(name: str) -> Any:
    if name != "Predictor":
        raise AttributeError("module {!r} has no attribute {!r}".format(__name__, name))
    from ..base import tensorflow_setup

    tensorflow_setup.import_tensorflow()
    from .predictor import Predictor

    return Predictor
