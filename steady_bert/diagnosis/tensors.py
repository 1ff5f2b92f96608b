"""What only TensorFlow's readers say of a folder: the numbers in a checkpoint, a saved graph, an event file."""

import os
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple

import numpy as np

from ..base.deferred_tensorflow import tf
from ..base.errors import UserError
from .facts import Checkpoint, Numbers
from .graph_rate import Node
from .heads import ENCODER

_MOST_GRAPH_BYTES = 1 << 30
_POOLER = ENCODER + "pooler/"
_CHUNK = 1 << 20  # numbers that are multiplied at once, in float64
_RATES = ("learning_rate", "learning_rate_1", "lr", "lr_1")  # names under which programs log the rate


def nodes_of_meta(path: str) -> Dict[str, Node]:
    """The nodes of the graph in a .meta file. Raises UserError if it cannot be read."""
    from google.protobuf import message

    if os.path.getsize(path) > _MOST_GRAPH_BYTES:
        raise UserError("{}: is not read: it has more than {:,} bytes.".format(path, _MOST_GRAPH_BYTES))
    with open(path, "rb") as file:
        content = file.read()
    try:
        return _nodes(tf.MetaGraphDef.FromString(content).graph_def)
    except message.DecodeError as error:
        raise UserError("{}: is damaged ({}).".format(path, error)) from None


def _nodes(graph: Any) -> Dict[str, Node]:
    return {node.name: Node(node.op, tuple(node.input), _number(node), _type_name(node)) for node in graph.node}


def _number(node: Any) -> Any:
    """The number of a Const, as a NumPy scalar; None if it is no number, or several."""
    if node.op != "Const":
        return None
    tensor = node.attr["value"].tensor
    if len(tensor.tensor_shape.dim) or tf.as_dtype(tensor.dtype) == tf.string:
        return None
    return tf.make_ndarray(tensor)[()]


def _type_name(node: Any) -> str:
    return str(tf.as_dtype(node.attr["DstT"].type).as_numpy_dtype.__name__) if node.op == "Cast" else ""


class Events:
    """What event files say: the graph of the newest, and the (step, rate) pairs that were logged, by step."""

    def __init__(self, paths: Iterable[str]) -> None:
        self.nodes: Optional[Dict[str, Node]] = None
        self.graph_from = ""
        logged: Dict[int, float] = {}
        for path in sorted(paths, key=os.path.getmtime):
            for event in _events(path):
                if event.WhichOneof("what") == "graph_def":
                    self.nodes, self.graph_from = _nodes(tf.GraphDef.FromString(event.graph_def)), path
                for value in event.summary.value:
                    if _is_rate(value.tag):
                        logged[event.step] = _scalar(value)
        self.rates: List[Tuple[int, float]] = sorted(logged.items())


def _events(path: str) -> Iterable[Any]:
    """The events of a file, up to its end or to where it is damaged."""
    from google.protobuf import message

    try:
        for event in tf.train.summary_iterator(path):
            yield event
    except (tf.errors.OpError, message.DecodeError):
        return


def _scalar(value: Any) -> float:
    return float(tf.make_ndarray(value.tensor)) if value.WhichOneof("value") == "tensor" else value.simple_value


def _is_rate(tag: str) -> bool:
    return tag.rsplit("/", 1)[-1].lower() in _RATES


def examine(prefix: str, pretrained: Optional[str]) -> Checkpoint:
    """Reads a whole checkpoint, one variable at a time.

    pretrained: the prefix of the checkpoint that training began with. Raises UserError if either is damaged.
    """
    from ..training import checkpoint, weights

    problem = checkpoint.damage(prefix)
    if problem:
        raise UserError("{} is damaged: {}".format(prefix, problem))
    shapes = checkpoint.shapes_in(prefix)
    names = weights.weights_among(shapes)
    slots = sorted(name for name in shapes if name.rpartition("/")[0] in shapes)
    reader = tf.train.load_checkpoint(prefix)
    step = int(reader.get_tensor("global_step")) if "global_step" in shapes else None
    numbers = _numbers(reader, names, slots, pretrained and checkpoint.Reader(pretrained))
    pooler = [name for name in names if name.startswith(_POOLER)]
    learned = any(name.startswith(_POOLER) for name in slots) if pooler and slots else None
    return Checkpoint(prefix, step, {name: shapes[name] for name in names}, numbers, learned)


def _numbers(reader: Any, weights: Sequence[str], slots: Sequence[str], original: Any) -> Numbers:
    from ..training import checkpoint

    shapes = checkpoint.shapes_in(original.prefix) if original else {}
    not_finite, zeros = [], 0
    norm, own, given, product = 0.0, 0.0, 0.0, 0.0  # squares, and the product of the two
    for name in [*weights, *slots]:
        value = reader.get_tensor(name)
        if value.dtype.kind == "f" and not np.all(np.isfinite(value)):
            not_finite.append(name)
            continue
        if name in slots:
            zeros += not np.any(value)
        elif name.startswith(ENCODER) and value.dtype.kind == "f":
            square = _dot(value, value)
            norm += square
            if shapes.get(name) == value.shape:
                other = original.tensor(name)
                own, given, product = own + square, given + _dot(other, other), product + _dot(value, other)
    compared = own > 0 and given > 0
    return Numbers(
        not_finite=tuple(not_finite),
        slots=len(slots),
        slots_of_zeros=int(zeros),
        encoder_norm=norm**0.5 if norm else None,
        projection=product / given if compared else None,
        cosine=product / (own * given) ** 0.5 if compared else None,
    )


def _dot(first: np.ndarray, second: np.ndarray) -> float:
    """The sum of the products in float64."""
    left, right = first.ravel(), second.ravel()
    parts = range(0, left.size, _CHUNK)
    return float(sum(np.dot(*(each[k : k + _CHUNK].astype(np.float64) for each in (left, right))) for k in parts))
