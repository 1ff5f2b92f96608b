"""The inference graph of a run, from placeholders of ids: what a Predictor runs, and what an export is made of.

B batch · S positions · W words · L labels
"""

import contextlib
import dataclasses
from typing import Any, ContextManager, Dict, NamedTuple

import tensorflow.compat.v1 as tf

from ..training import checkpoint, devices, towers, weights
from .saved_run import SavedRun

# What a column holds where nothing else is fed: a sentence that is whole, a text of one window.
_DEFAULTS = {"ends": 1, "windows": 1}
# The columns that say what is predicted; the others say what is gold, or number the records of a text.
INPUTS = ("input_ids", "segment_ids", "roles", "first_word", "ends")


class InferenceGraph(NamedTuple):
    """A graph with a session that holds the run's weights.

    inputs: input_ids [B, S] int32 and input_mask [B, S] int32, 1 for real tokens (if it is not fed, all but id 0).
        Classification: segment_ids [B, S]. Tagging: roles [B, S], windows.COUNTED at the first piece of each word and
        NO_WORD elsewhere; first_word [B], the number of the first word in its sentence (0 if it is not fed); ends [B],
        whether the last word ends its sentence (1 if it is not fed).
    outputs: classification: probabilities [B, L], or score [B] for regression; of a run with --long_text=windows also
        logits [B, L], which are pooled over the windows of a text. Tagging: tag_ids [B, W], by Viterbi's algorithm for
        a CRF, and probabilities [B, W, L]; W is the largest number of words in a row, roles [B, W] is 0 after the last.
    """

    session: tf.Session
    inputs: Dict[str, tf.Tensor]
    outputs: Dict[str, tf.Tensor]


def build(run: SavedRun, stock_ops: bool = False) -> InferenceGraph:
    """Builds the graph and restores the weights that evaluation reads: averages where the run keeps them.

    stock_ops: of TensorFlow's operations alone, on the padded square, so that any program can load the graph; else the
    form that is fastest on this device. Raises UserError if the checkpoint is damaged or another model's.
    """
    with tf.Graph().as_default():
        with host_inputs(devices.compute_form(run.engine), stock_ops):
            inputs = placeholders(run)
        outputs = outputs_of(run, inputs, stock_ops)
        session = tf.Session(config=devices.session_config(run.engine))
        restore(session, run)
    return InferenceGraph(session, inputs, outputs)


def host_inputs(form: str, stock_ops: bool = False) -> ContextManager[Any]:
    """Where ids are fed: the compiled form, a GPU's, lays tokens out on the processor, as towers.parse does."""
    return tf.device("/cpu:0") if form == "compiled" and not stock_ops else contextlib.nullcontext()


def placeholders(run: SavedRun) -> Dict[str, tf.Tensor]:
    """A placeholder for each input, under its own name."""
    ids = tf.placeholder(tf.int32, [None, None], "input_ids")
    inputs = {"input_ids": ids}
    for name in (name for name in INPUTS[1:] if name in run.task.columns):
        if run.task.columns[name].per_token:
            inputs[name] = tf.placeholder(tf.int32, [None, None], name)
        else:
            default = tf.fill(tf.shape(ids)[:1], _DEFAULTS.get(name, 0))
            inputs[name] = tf.placeholder_with_default(default, [None], name)
    real = tf.cast(tf.not_equal(ids, 0), tf.int32)
    inputs["input_mask"] = tf.placeholder_with_default(real, [None, None], "input_mask")
    return inputs


def outputs_of(run: SavedRun, inputs: Dict[str, tf.Tensor], stock_ops: bool = False) -> Dict[str, tf.Tensor]:
    """The outputs for a batch of inputs in the default graph. Further calls in a graph share its variables.

    inputs: those of InferenceGraph, first_word and ends where they are known; int32.
    """
    engine = run.engine
    if stock_ops:
        engine = dataclasses.replace(engine, compute_form="plain", padding="longest")
    batch = dict(_constant_columns(run, inputs["input_ids"]), **inputs)
    with tf.variable_scope("", use_resource=True, reuse=tf.AUTO_REUSE):
        predictions = dict(towers.inference_tower(run.task, engine, 0, batch, {}).predictions)
    for name in ("label_ids", "window", "sentence", "first_word"):
        predictions.pop(name, None)
    if "logits" in predictions:  # of a window, as of a text
        of_logits = {"single": tf.nn.softmax, "multi": tf.sigmoid}
        name = "score" if run.kind == "regression" else "probabilities"
        logits = predictions["logits"]
        predictions[name] = logits[:, 0] if run.kind == "regression" else of_logits[run.kind](logits)
    return predictions


def _constant_columns(run: SavedRun, ids: tf.Tensor) -> Dict[str, tf.Tensor]:
    """The columns of a record that no prediction depends on, and those of a text that is read whole."""
    shape = tf.shape(ids)
    constants = {}
    for name, column in run.task.columns.items():
        dtype = tf.float32 if column.dtype == "float32" else tf.int32
        dims = shape if column.per_token else shape[:1] if column.size == 1 else tf.stack([shape[0], column.size])
        constants[name] = tf.fill(dims, tf.constant(_DEFAULTS.get(name, 0), dtype))
        static = [None, None] if column.per_token else [None] if column.size == 1 else [None, column.size]
        constants[name].set_shape(static)
    return constants


def restore(session: tf.Session, run: SavedRun) -> None:
    """Gives the graph's variables the weights of the run's checkpoint."""
    with session.graph.as_default():
        by_name = {variable.op.name: variable for variable in tf.trainable_variables()}
    shapes = {name: tuple(variable.shape.as_list()) for name, variable in by_name.items()}
    report = weights.match_trained(shapes, run.prefix, run.task.head_variables, run.task.unread_variables)
    checkpoint.assign(session, by_name, weights.served_tensors(run.prefix, report.loaded))
