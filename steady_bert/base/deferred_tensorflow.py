"""`tf`, which imports TensorFlow when an attribute of it is first used.

For modules that help and flags read, and that compute only once there is a graph.
"""

from typing import Any


class _Tensorflow:
    def __getattr__(self, name: str) -> Any:
        import tensorflow.compat.v1 as tensorflow

        return getattr(tensorflow, name)


tf: Any = _Tensorflow()
