"""What a model computes with the other form of gelu: how far its last layer moves on a few sentences."""

import os
from typing import Any, NamedTuple, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

import modeling
import tokenization

from ..base import files, json_files
from ..tasks.model_files import MODEL_FILES
from ..training import checkpoint
from . import tokenizer_files
from .hugging_face import CHECKPOINT

SENTENCES = (
    "The ship leaves the harbour at seven.",
    "Nobody expected that the old bridge would hold.",
    "Is there a doctor in the house?",
    "I have read both books, and I liked neither of them very much.",
    "Prices rose by 3.5 % in the second quarter of 2019.",
)


class Difference(NamedTuple):
    largest: float  # of the last hidden state, over all sentences
    scale: float  # its largest value

    def __str__(self) -> str:
        return "last hidden state of {} sentences: largest difference {:.2g}, where the largest value is {:.2g}".format(
            len(SENTENCES), self.largest, self.scale
        )


def difference(config: modeling.BertConfig, prefix: str, tokenizer: Any, activation: str) -> Difference:
    """Compares the weights of a checkpoint under config.hidden_act with the same weights under another activation."""
    own, other = (_last_layer(config, prefix, tokenizer, name) for name in (config.hidden_act, activation))
    return Difference(float(np.abs(own - other).max()), float(np.abs(own).max()))


def _last_layer(config: modeling.BertConfig, prefix: str, tokenizer: Any, activation: str) -> np.ndarray:
    """[tokens of all sentences, H]"""
    config = modeling.BertConfig.from_dict(dict(config.to_dict(), hidden_act=activation))
    ids, mask = _batch(tokenizer, config.max_position_embeddings)
    with tf.Graph().as_default(), tf.Session(config=checkpoint.on_host()) as session:  # exact float32
        model = modeling.BertModel(config, False, tf.constant(ids), tf.constant(mask))
        output = model.get_sequence_output()
        reader = checkpoint.Reader(prefix)
        present = checkpoint.shapes_in(prefix)
        variables = [v for v in tf.trainable_variables() if v.op.name in present]  # a pooler is not read here
        checkpoint.assign(
            session, {v.op.name: v for v in variables}, {v.op.name: reader.tensor(v.op.name) for v in variables}
        )
        return session.run(output)[mask.astype(bool)]


def _batch(tokenizer: Any, longest: int) -> Sequence[np.ndarray]:
    """(ids, mask) [B, S] of SENTENCES."""
    pieces = [["[CLS]", *tokenizer.tokenize(text)[: longest - 2], "[SEP]"] for text in SENTENCES]
    width = max(map(len, pieces))
    ids = np.zeros([len(pieces), width], np.int32)
    for row, tokens in enumerate(pieces):
        ids[row, : len(tokens)] = tokenizer.convert_tokens_to_ids(tokens)
    return ids, (np.arange(width) < np.array([[len(tokens)] for tokens in pieces])).astype(np.int32)


def use_tanh(folder: str) -> str:
    """Makes gelu_erf gelu in the bert_config.json of a converted folder; says how far the model's numbers move."""
    path = os.path.join(folder, MODEL_FILES["bert_config_file"])
    config = modeling.BertConfig.from_json_file(path)
    if config.hidden_act != "gelu_erf":
        return "hidden_act is {} already".format(config.hidden_act)
    vocab_file = os.path.join(folder, MODEL_FILES["vocab_file"])
    moved = "without a vocabulary, the difference is not known"
    if os.path.exists(vocab_file):
        settings = json_files.read(os.path.join(folder, tokenizer_files.SETTINGS_FILE))
        tokenizer = tokenization.FullTokenizer(vocab_file, do_lower_case=settings["do_lower_case"])
        moved = str(difference(config, os.path.join(folder, CHECKPOINT), tokenizer, "gelu"))
    files.write_json(path, dict(config.to_dict(), hidden_act="gelu"))
    return moved
