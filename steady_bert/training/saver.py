"""Writes variables of a graph as a checkpoint, but never a number that is not finite. The rest is checkpoint's.

What writes is what looks: one operation of a graph adds the variables of each shape, and the one that writes runs only
if all sums are finite. So the check costs one pass, and its few operations are prepared with the writing, for which a
run waits. tf.train.Saver makes ten operations for each variable, to restore them too.
"""

from typing import Any, Callable, Dict, List, Mapping, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from ..base.errors import UserError

STATE_PREFIX = "training_state/"  # begins the names of TrainingState's variables; some of them begin with -∞

_VARIABLES_AT_ONCE = 32


class Saver(NamedTuple):
    """What writes variables, in their graph."""

    path: tf.Tensor  # string placeholder
    write: tf.Operation  # does nothing if they are not finite
    finite: tf.Tensor  # bool; False also if a sum of finite numbers is beyond float32
    checked: Dict[str, Any]  # name → variable of those that have to be finite


def saver(variables: Mapping[str, Any]) -> Saver:
    """A Saver of variables by their names in the checkpoint, of one replica. Call it in their graph."""
    tensors = {name: tf.get_default_graph().as_graph_element(variable) for name, variable in variables.items()}
    checked = [name for name in variables if tensors[name].dtype.is_floating and not name.startswith(STATE_PREFIX)]
    finite = _sums_are_finite([tensors[name] for name in checked])
    path = tf.placeholder(tf.string, [])
    with tf.device("/cpu:0"):
        _, path_if_finite = tf.raw_ops.Switch(data=path, pred=finite)
    return Saver(path, save_operation(path_if_finite, tensors), finite, {name: variables[name] for name in checked})


def _sums_are_finite(tensors: List[tf.Tensor]) -> tf.Tensor:
    """Whether the sums of all tensors of a shape are finite, which a sum with NaN or infinity in it is not."""
    alike: Dict[Any, List[tf.Tensor]] = {}
    for tensor in tensors:
        alike.setdefault((tensor.dtype, tuple(tensor.shape.as_list())), []).append(tensor)
    finite = [
        tf.raw_ops.All(input=tf.raw_ops.IsFinite(x=tf.raw_ops.AddN(inputs=of_shape)), axis=np.arange(len(shape)))
        for (_, shape), of_shape in alike.items()
    ]
    return tf.reduce_all(tf.stack(finite))


def save_operation(path: Any, tensors: Mapping[str, tf.Tensor]) -> tf.Operation:
    """Writes tensors as a checkpoint. path: a string or a tensor."""
    names = sorted(tensors)
    values = [tensors[name] for name in names]
    with tf.device("/cpu:0"):
        return tf.raw_ops.SaveV2(prefix=path, tensor_names=names, shape_and_slices=[""] * len(names), tensors=values)


def writer(saver: Saver, session: tf.Session, step: int) -> Callable[[str], None]:
    """A function that writes the variables of `step` at a path; it raises as `require_finite`."""

    def write(path: str) -> None:
        finite, _ = session.run([saver.finite, saver.write], {saver.path: path})
        if not finite:
            _require_each_finite(saver, session, step)
            session.run(saver.write, {saver.path: path, saver.finite: True})

    return write


def require_finite(saver: Saver, session: tf.Session, step: int) -> None:
    """Raises UserError if an update made a weight, or what the optimizer keeps of it, infinite or NaN."""
    if not session.run(saver.finite):
        _require_each_finite(saver, session, step)


def _require_each_finite(saver: Saver, session: tf.Session, step: int) -> None:
    names, bad = sorted(saver.checked), []
    for start in range(0, len(names), _VARIABLES_AT_ONCE):
        values = session.run({name: saver.checked[name] for name in names[start : start + _VARIABLES_AT_ONCE]})
        bad += [name for name, value in values.items() if not np.all(np.isfinite(value))]
    if bad:
        raise UserError(
            "The weights at step {} are not finite (in {} of {} variables, the first is {}). They were not saved: "
            "lower --learning_rate, or lengthen the warm-up.".format(step, len(bad), len(names), min(bad))
        )
