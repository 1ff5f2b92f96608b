"""Runs rows through a TensorFlow 1 export as a script for google-research/bert does: python tf1.py EXPORT WORK

The graph is that of a bare call of modeling, of stock operations under the original's names, with the head that the
original's run_classifier.py makes, or one on every token for a tagger. tf.train.init_from_checkpoint reads the weights.
Reads WORK/rows.npz, writes outputs.npz.
"""

import json
import os
import sys
import threading

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow.compat.v1 as tf

import modeling

_BATCH = 32


def _end_with_caller():
    """Ends this process when the caller's end of standard input is closed, as when it was interrupted."""
    sys.stdin.read()
    os._exit(1)


def _graph(export, tagging):
    """(input_ids, input_mask, segment_ids, logits) of the model in an export's folder."""
    config = modeling.BertConfig.from_json_file(os.path.join(export, "bert_config.json"))
    prefix = os.path.join(export, "bert_model.ckpt")
    labels = tf.train.load_checkpoint(prefix).get_variable_to_shape_map()["output_bias"][0]
    inputs = [tf.placeholder(tf.int32, [None, None]) for _ in range(3)]
    model = modeling.BertModel(config, False, *inputs)
    vectors = model.get_sequence_output() if tagging else model.get_pooled_output()
    weights = tf.get_variable("output_weights", [labels, config.hidden_size])
    bias = tf.get_variable("output_bias", [labels], initializer=tf.zeros_initializer())
    rows = tf.reshape(vectors, [-1, config.hidden_size])
    logits = tf.nn.bias_add(tf.matmul(rows, weights, transpose_b=True), bias)
    variables = tf.trainable_variables()
    assignment_map, initialized = modeling.get_assignment_map_from_checkpoint(variables, prefix)
    missing = [variable.name for variable in variables if variable.name not in initialized]
    if missing:
        sys.exit("{}: lacks {}.".format(prefix, missing))
    tf.train.init_from_checkpoint(prefix, assignment_map)
    return inputs, logits


def main():
    threading.Thread(target=_end_with_caller, daemon=True).start()
    export, work = sys.argv[1:]
    with open(os.path.join(export, "labels.json"), encoding="utf-8") as file:
        kind = json.load(file)
    tagging = "tag_scheme" in kind
    with np.load(os.path.join(work, "rows.npz"), allow_pickle=False) as arrays:
        rows = {name: arrays[name] for name in arrays.files}
    lengths = rows["lengths"]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    collected = []
    with tf.Graph().as_default(), tf.Session() as session:
        inputs, logits = _graph(export, tagging)
        session.run(tf.global_variables_initializer())
        for start in range(0, len(lengths), _BATCH):
            numbers = range(start, min(start + _BATCH, len(lengths)))
            ids, mask, segments, starts = np.zeros([4, len(numbers), max(lengths[numbers])], np.int32)
            for place, number in enumerate(numbers):
                own = slice(offsets[number], offsets[number + 1])
                ids[place, : lengths[number]], mask[place, : lengths[number]] = rows["ids"][own], 1
                segments[place, : lengths[number]] = rows["segments"][own]
                starts[place, : lengths[number]] = rows["word_starts"][own]
            values = session.run(logits, dict(zip(inputs, (ids, mask, segments))))
            collected.append(values[starts.reshape(-1) > 0] if tagging else values)
    values = np.concatenate(collected)
    np.savez(os.path.join(work, "outputs.npz"), by=np.array("TensorFlow " + tf.__version__), logits=values)


if __name__ == "__main__":
    main()
