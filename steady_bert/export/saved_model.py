"""A run as a SavedModel: stock operations alone, so that TensorFlow loads it without a line of this project.

Signatures. serving_default: input_ids, input_mask, segment_ids, [B, S] int32 each. examples: [B] serialized
tf.train.Example, padded or not. words, of taggers: input_ids, input_mask and word_starts [B, S], 1 at the first piece
of each word; begins and ends [B], whether the row begins and ends its sentence, which a CRF asks. serving_default takes
a row for a whole sentence, and each piece that does not go on with a word for the beginning of one; so does examples
where an example does not say it.

B batch · S positions · W words · L labels
"""

import os
import shutil
from typing import Any, Callable, Dict, List, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from ..base import files, tensorflow_setup
from ..base.errors import UserError
from ..serving import graph
from ..serving.saved_run import SavedRun
from ..tasks.tagging.windows import COUNTED
from ..training import checkpoint
from .reference import LOGITS, threshold_logit, with_logits

LABELS_ASSET = "labels.txt"
_NO_WORDS = ("[PAD]", "[CLS]", "[SEP]", "[MASK]", "<pad>", "<s>", "</s>")
_Tensors = Dict[str, tf.Tensor]


class _Signature(NamedTuple):
    inputs: _Tensors
    outputs: _Tensors


def write(run: SavedRun, folder: str) -> None:
    """Writes the SavedModel as `folder`, which must not exist. Raises UserError for a label with a line's end in it."""
    run = run._replace(task=with_logits(run.task))
    with tf.Graph().as_default(), tensorflow_setup.temporary_folder() as assets:
        signatures = _signatures(run)
        _add_assets(run, assets)
        with tf.Session(config=checkpoint.on_host()) as session:  # it computes nothing
            graph.restore(session, run)
            builder = tf.saved_model.Builder(folder)
            builder.add_meta_graph_and_variables(
                session,
                [tf.saved_model.tag_constants.SERVING],
                signature_def_map={
                    name: tf.saved_model.predict_signature_def(*signature) for name, signature in signatures.items()
                },
                assets_collection=tf.get_collection(tf.GraphKeys.ASSET_FILEPATHS),
                strip_default_attrs=True,  # an older patch release may not know the newest attributes
            )
            builder.save()


def _add_assets(run: SavedRun, folder: str) -> None:
    """Adds labels, a line each in id order, and the vocabulary to the graph's assets, which are saved with it.

    folder: where they stay until then. The graph keeps their paths, which should not be the user's.
    """
    model = run.config.model
    source = model.vocab_file or model.spm_model_file
    paths = [os.path.join(folder, "vocab.txt" if model.vocab_file else "spiece.model")]
    shutil.copyfile(source, paths[0])
    labels = list(run.task.labels)
    if any("\n" in label for label in labels):
        raise UserError("A label of this run has a line's end in it, so the labels cannot be lines of a file.")
    if labels:
        paths.append(os.path.join(folder, LABELS_ASSET))
        with files.atomic_write(paths[1]) as file:
            file.writelines(label + "\n" for label in labels)
    for path in paths:
        tf.add_to_collection(tf.GraphKeys.ASSET_FILEPATHS, tf.constant(path))


# --- signatures -------------------------------------------------------------------------------------------------------


def _signatures(run: SavedRun) -> Dict[str, _Signature]:
    tagging = run.script == "run_ner"
    ids = tf.placeholder(tf.int32, [None, None], "input_ids")
    mask = tf.placeholder(tf.int32, [None, None], "input_mask")
    segments = tf.placeholder_with_default(tf.zeros_like(ids), [None, None], "segment_ids")
    fed = {"input_ids": ids, "input_mask": mask, "segment_ids": segments}
    words: _Tensors = {}
    if tagging:
        whole = tf.ones_like(ids[:, 0])
        words = {
            "word_starts": tf.placeholder_with_default(_starts(run, ids), [None, None], "word_starts"),
            "begins": tf.placeholder_with_default(whole, [None], "begins"),
            "ends": tf.placeholder_with_default(whole, [None], "ends"),
        }
    outputs = _outputs(run, dict(fed, **words))
    examples = tf.placeholder(tf.string, [None], "examples")
    signatures = {
        "serving_default": _Signature(fed, outputs),
        "examples": _Signature({"examples": examples}, _outputs(run, _parsed(run, examples, tagging))),
    }
    if tagging:
        signatures["words"] = _Signature(dict(words, input_ids=ids, input_mask=mask), outputs)
    return signatures


def _starts(run: SavedRun, ids: tf.Tensor) -> tf.Tensor:
    """[B, S] 1 where a piece begins a word, as far as the vocabulary says it."""
    vocab = run.inputs.tokenizer.vocab
    is_start: Callable[[str], bool] = lambda piece: not piece.startswith("##")  # noqa: E731
    if run.config.model.spm_model_file:
        is_start = lambda piece: piece.startswith("\u2581")  # noqa: E731
    starts = np.zeros(run.bert_config.vocab_size, np.int32)
    for piece, number in vocab.items():
        starts[number] = piece not in _NO_WORDS and is_start(piece)
    return tf.gather(tf.constant(starts), ids)


def _parsed(run: SavedRun, examples: tf.Tensor, tagging: bool) -> _Tensors:
    """The inputs in serialized examples; what one lacks is as in serving_default."""
    names = ["input_ids", "input_mask", "segment_ids"] + ["word_starts", "begins", "ends"] * tagging
    sparse = tf.parse_example(examples, {name: tf.VarLenFeature(tf.int64) for name in names})
    shape = sparse["input_ids"].dense_shape
    ids, real = _dense(sparse["input_ids"], shape), _dense(_ones(sparse["input_ids"]), shape)
    inputs = {
        "input_ids": ids,
        "input_mask": _given(sparse["input_mask"], shape, real),
        "segment_ids": _given(sparse["segment_ids"], shape, tf.zeros_like(ids)),
    }
    if tagging:
        one = tf.stack([shape[0], 1])
        whole = tf.ones(tf.cast(one, tf.int32), tf.int32)
        inputs["word_starts"] = _given(sparse["word_starts"], shape, _starts(run, ids))
        inputs.update({name: _given(sparse[name], one, whole)[:, 0] for name in ("begins", "ends")})
    return inputs


def _given(sparse: tf.SparseTensor, shape: tf.Tensor, default: tf.Tensor) -> tf.Tensor:
    """[B, S] the values of a feature, those of `default` in examples that lack it."""
    has = tf.reduce_max(_dense(_ones(sparse), shape), axis=1, keepdims=True)
    return tf.where_v2(has > 0, _dense(sparse, shape), default)


def _ones(sparse: tf.SparseTensor) -> tf.SparseTensor:
    return tf.SparseTensor(sparse.indices, tf.ones_like(sparse.values), sparse.dense_shape)


def _dense(sparse: tf.SparseTensor, shape: tf.Tensor) -> tf.Tensor:
    dense = tf.sparse.to_dense(tf.SparseTensor(sparse.indices, sparse.values, shape))
    dense.set_shape([None, None])
    return tf.cast(dense, tf.int32)


# --- outputs ----------------------------------------------------------------------------------------------------------


def _outputs(run: SavedRun, inputs: _Tensors) -> _Tensors:
    """What each signature gives: logits, probabilities and what is predicted, as ids and as text."""
    ids, mask = inputs["input_ids"], inputs["input_mask"]
    if run.script == "run_ner":
        return _tagger_outputs(run, inputs)
    computed = graph.outputs_of(
        run, {"input_ids": ids, "input_mask": mask, "segment_ids": inputs["segment_ids"]}, stock_ops=True
    )
    logits = computed[LOGITS]
    outputs = {"logits": logits}
    if run.kind == "regression":
        return dict(outputs, score=logits[:, 0])
    outputs["probabilities"] = computed["probabilities"]
    if run.kind == "multi":
        return dict(outputs, predicted=tf.cast(logits >= threshold_logit(run), tf.int32))
    label_ids = tf.argmax(logits, axis=-1, output_type=tf.int32)
    return dict(outputs, label_ids=label_ids, labels=tf.gather(_texts(run.task.labels), label_ids))


def _tagger_outputs(run: SavedRun, inputs: _Tensors) -> _Tensors:
    """logits, probabilities [B, W, L], tag_ids, tags [B, W] of the words of each row, and their number [B]."""
    # A tagger reads no segments; loaders that cut the graph down to a signature need its inputs to be part of it.
    mask = inputs["input_mask"] + tf.zeros_like(inputs["segment_ids"])
    starts = inputs["word_starts"] * mask
    computed = graph.outputs_of(
        run,
        {
            "input_ids": inputs["input_ids"],
            "input_mask": mask,
            "roles": starts * COUNTED,
            "first_word": 1 - inputs["begins"],
            "ends": inputs["ends"],
        },
        stock_ops=True,
    )
    tag_ids, lengths = computed["tag_ids"], tf.reduce_sum(starts, axis=1)
    real = tf.sequence_mask(lengths, tf.shape(tag_ids)[1])
    return {
        "logits": computed[LOGITS],
        "probabilities": computed["probabilities"],
        "tag_ids": tag_ids,
        "tags": tf.where_v2(real, tf.gather(_texts(run.task.labels), tag_ids), ""),
        "word_counts": lengths,
    }


def _texts(labels: Any) -> tf.Tensor:
    texts: List[bytes] = [label.encode("utf-8") for label in labels]
    return tf.constant(texts)
