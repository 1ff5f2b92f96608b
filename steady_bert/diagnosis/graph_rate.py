"""The learning rate that a saved training graph computes at a step. Pure: no TensorFlow.

google-research/bert writes no plan. But its checkpoints have a .meta file, and its event files a graph, with the whole
schedule in it: numbers, arithmetic, and the step. The rate is the scalar that is made of those alone.
"""

from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Set

import numpy as np


class Node(NamedTuple):
    """An operation of a graph."""

    op: str
    inputs: Sequence[str]  # names of nodes; ^name: runs before, gives nothing
    value: Any = None  # of a Const with one number; else None
    type_name: str = ""  # of a Cast: the NumPy type of its result


_STEP = "global_step"
_READS = ("Identity", "ReadVariableOp")
# What schedules are made of: those of tf.train, and the original's warm-up.
_OPERATIONS: Dict[str, Callable[..., Any]] = {
    "Add": np.add,
    "AddV2": np.add,
    "Ceil": np.ceil,
    "Cos": np.cos,
    "Exp": np.exp,
    "Floor": np.floor,
    "Identity": np.positive,
    "Less": np.less,
    "LessEqual": np.less_equal,
    "Greater": np.greater,
    "GreaterEqual": np.greater_equal,
    "LogicalAnd": np.logical_and,
    "Maximum": np.maximum,
    "Minimum": np.minimum,
    "Mul": np.multiply,
    "Neg": np.negative,
    "Pow": np.power,
    "RealDiv": np.true_divide,
    "Rsqrt": lambda value: 1 / np.sqrt(value),
    "Select": np.where,
    "SelectV2": np.where,
    "Sqrt": np.sqrt,
    "Sub": np.subtract,
}
_DECAYS = ("PolynomialDecay", "ExponentialDecay", "CosineDecay", "LinearCosineDecay", "InverseTimeDecay")


def rate_at(nodes: Mapping[str, Node], step: int) -> Optional[float]:
    """The rate of the update from step to step + 1; None if the graph has no schedule that is known."""
    name = rate_node(nodes)
    return None if name is None else float(_value(nodes, name, step, {}))


def rate_node(nodes: Mapping[str, Node]) -> Optional[str]:
    """The name of the node that gives the rate, None if there is none.

    That is the last one that a decay of tf.train leads to, of those that depend on numbers and the step alone.
    """
    users: Dict[str, List[str]] = {}
    for name, node in nodes.items():
        for source in node.inputs:
            users.setdefault(_source(source), []).append(name)
    known: Dict[str, bool] = {}
    for decay in _DECAYS:
        if decay in nodes and _is_schedule(nodes, decay, known):
            return _last(nodes, users, decay, known)
    return None


def _last(nodes: Mapping[str, Node], users: Mapping[str, List[str]], decay: str, known: Dict[str, bool]) -> str:
    current = decay
    visited: Set[str] = set()
    while current not in visited:
        visited.add(current)
        following = [name for name in users.get(current, ()) if _is_schedule(nodes, name, known)]
        if len(following) != 1:  # the rate itself is used by every variable's update
            return current
        current = following[0]
    return current


def _is_schedule(nodes: Mapping[str, Node], name: str, known: Dict[str, bool]) -> bool:
    """Whether a node depends on numbers and the step alone. known: answers so far; a node in work counts as False."""
    if name in known:
        return known[name]
    known[name] = False
    node = nodes.get(name)
    if node is None:
        return False
    if _reads_step(node):
        known[name] = True
    elif node.op == "Const":
        known[name] = node.value is not None
    elif node.op == "Cast" or node.op in _OPERATIONS:
        sources = _sources(node)
        known[name] = bool(sources) and all(_is_schedule(nodes, source, known) for source in sources)
    return known[name]


def _reads_step(node: Node) -> bool:
    return node.op in _READS and _sources(node) == [_STEP]


def _sources(node: Node) -> List[str]:
    return [_source(name) for name in node.inputs if not name.startswith("^")]


def _source(name: str) -> str:
    return name.lstrip("^").split(":")[0]


def _value(nodes: Mapping[str, Node], name: str, step: int, values: Dict[str, Any]) -> Any:
    if name not in values:
        node = nodes[name]
        if _reads_step(node):
            values[name] = np.int64(step)
        elif node.op == "Const":
            values[name] = node.value
        else:
            inputs = [_value(nodes, source, step, values) for source in _sources(node)]
            values[name] = (
                np.asarray(inputs[0]).astype(node.type_name)[()] if node.op == "Cast" else _OPERATIONS[node.op](*inputs)
            )
    return values[name]
