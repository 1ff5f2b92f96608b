"""Runs rows through a SavedModel, with TensorFlow alone: python saved_model.py EXPORT_FOLDER WORK_FOLDER

Reads WORK_FOLDER/rows.npz (`Rows` of export/reference.py) and writes outputs.npz: logits and decisions by every
signature. export/proof.py copies this file elsewhere and runs it there, where nothing of the project can be imported.
"""

import importlib.util
import os
import sys
import threading
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow.compat.v1 as tf

_BATCH = 32


def _end_with_caller():
    """Ends this process when the caller's end of standard input is closed, as when it was interrupted."""
    sys.stdin.read()
    os._exit(1)


class Rows:
    """The rows, by number."""

    def __init__(self, path):
        with np.load(path, allow_pickle=False) as arrays:
            self.arrays = {name: arrays[name] for name in arrays.files}
        self.lengths = self.arrays["lengths"]
        self.offsets = np.concatenate([[0], np.cumsum(self.lengths)])
        self.words = bool(np.any(self.arrays["word_starts"]))

    def tokens(self, name, number):
        return self.arrays[name][self.offsets[number] : self.offsets[number + 1]]

    def padded(self, name, numbers):
        square = np.zeros([len(numbers), max(self.lengths[numbers])], np.int32)
        for place, number in enumerate(numbers):
            square[place, : self.lengths[number]] = self.tokens(name, number)
        return square

    def fed(self, signature, numbers):
        """The inputs of a signature for the numbered rows."""
        if signature == "examples":
            return {"examples": [self.example(number) for number in numbers]}
        mask = np.arange(max(self.lengths[numbers])) < self.lengths[numbers][:, None]
        inputs = {"input_ids": self.padded("ids", numbers), "input_mask": mask.astype(np.int32)}
        if signature == "words":
            inputs["word_starts"] = self.padded("word_starts", numbers)
            inputs.update({name: self.arrays[name][numbers] for name in ("begins", "ends")})
        else:
            inputs["segment_ids"] = self.padded("segments", numbers)
        return inputs

    def example(self, number):
        columns = {"input_ids": self.tokens("ids", number), "segment_ids": self.tokens("segments", number)}
        if self.words:
            columns.update(word_starts=self.tokens("word_starts", number))
            columns.update({name: [self.arrays[name][number]] for name in ("begins", "ends")})
        example = tf.train.Example()
        for name, values in columns.items():
            example.features.feature[name].int64_list.value.extend(map(int, values))
        return example.SerializeToString()


def _run(session, definition, signature, rows):
    """(logits, decisions) of all rows, those of words one after the other."""
    outputs = {name: info.name for name, info in definition.outputs.items()}
    decision = next((name for name in ("tag_ids", "label_ids", "predicted") if name in outputs), None)
    logits, decisions = [], []
    for start in range(0, len(rows.lengths), _BATCH):
        numbers = np.arange(start, min(start + _BATCH, len(rows.lengths)))
        fed = {definition.inputs[name].name: value for name, value in rows.fed(signature, numbers).items()}
        values = session.run(outputs, fed)
        if "word_counts" in values:
            real = np.arange(values["tag_ids"].shape[1]) < values["word_counts"][:, None]
            values.update({name: values[name][real] for name in ("logits", "tag_ids")})
        logits.append(values["logits"])
        decisions.append(values[decision] if decision else np.zeros([len(numbers), 0], np.int64))
    return np.concatenate(logits), np.concatenate(decisions)


def main():
    threading.Thread(target=_end_with_caller, daemon=True).start()
    if any(importlib.util.find_spec(name) for name in ("modeling", "steady_bert")):
        sys.exit("The project can be imported here, so this would prove nothing.")
    export, work = sys.argv[1:]
    rows = Rows(os.path.join(work, "rows.npz"))
    found: Any = {"by": np.array("TensorFlow " + tf.__version__)}
    with tf.Graph().as_default(), tf.Session() as session:
        definitions = tf.saved_model.loader.load(session, [tf.saved_model.tag_constants.SERVING], export).signature_def
        # Taggers' serving_default guesses where words begin; the signature that is told is compared.
        for signature in ("words" if rows.words else "serving_default", "examples"):
            logits, decisions = _run(session, definitions[signature], signature, rows)
            found["logits " + signature], found["decisions " + signature] = logits, decisions
    np.savez(os.path.join(work, "outputs.npz"), **found)


if __name__ == "__main__":
    main()
