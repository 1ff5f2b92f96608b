"""The names of BERT's weights in a TensorFlow 1 checkpoint and in Hugging Face's files, in both directions.

Hugging Face's files differ among themselves: encoder and pooler with or without `bert.`; LayerNorm's weights as gamma
and beta (the oldest files) or as weight and bias. PyTorch keeps the kernel of a dense layer as [out, in], TensorFlow
as [in, out]; heads that the original made with tf.get_variable are [out, in] in both. Pure.
"""

import re
from typing import Dict, NamedTuple, Optional, Tuple

_PREFIX = "bert."
# Names within a layer: Hugging Face, TensorFlow 1.
_DENSE = {
    "attention.self.query": "attention/self/query",
    "attention.self.key": "attention/self/key",
    "attention.self.value": "attention/self/value",
    "attention.output.dense": "attention/output/dense",
    "intermediate.dense": "intermediate/dense",
    "output.dense": "output/dense",
}
_NORMS = {"attention.output.LayerNorm": "attention/output/LayerNorm", "output.LayerNorm": "output/LayerNorm"}
_TABLES = ("word_embeddings", "token_type_embeddings", "position_embeddings")

# What Hugging Face's files hold beside weights: counters of positions, and copies of tied weights.
_BUFFERS = re.compile(
    r"(^|\.)embeddings\.(position_ids|token_type_ids)$|^cls\.predictions\.decoder\.(weight|bias)$|^lm_head\."
)


class Place(NamedTuple):
    """A weight's name on the other side, and whether its matrix is transposed there."""

    name: str
    transposed: bool = False


# Heads: Hugging Face's name → the variable that google-research/bert's scripts, and ours, keep it in.
HEADS = {
    "classifier.weight": Place("output_weights"),
    "classifier.bias": Place("output_bias"),
    "qa_outputs.weight": Place("cls/squad/output_weights"),
    "qa_outputs.bias": Place("cls/squad/output_bias"),
    "cls.predictions.bias": Place("cls/predictions/output_bias"),
    "cls.predictions.transform.dense.weight": Place("cls/predictions/transform/dense/kernel", transposed=True),
    "cls.predictions.transform.dense.bias": Place("cls/predictions/transform/dense/bias"),
    "cls.predictions.transform.LayerNorm.weight": Place("cls/predictions/transform/LayerNorm/gamma"),
    "cls.predictions.transform.LayerNorm.bias": Place("cls/predictions/transform/LayerNorm/beta"),
    "cls.seq_relationship.weight": Place("cls/seq_relationship/output_weights"),
    "cls.seq_relationship.bias": Place("cls/seq_relationship/output_bias"),
}


def tensorflow_places(layers: int) -> Dict[str, Place]:
    """plain_name() of each weight of an encoder with so many layers, and of the heads → its place in a checkpoint."""
    places = dict(HEADS)
    for name in _TABLES:
        places["embeddings.{}.weight".format(name)] = Place("bert/embeddings/" + name)
    dense, norms = {"pooler.dense": "bert/pooler/dense"}, {"embeddings.LayerNorm": "bert/embeddings/LayerNorm"}
    for layer in range(layers):
        theirs, ours = "encoder.layer.{}.".format(layer), "bert/encoder/layer_{}/".format(layer)
        dense.update({theirs + name: ours + own for name, own in _DENSE.items()})
        norms.update({theirs + name: ours + own for name, own in _NORMS.items()})
    for name, own in dense.items():
        places[name + ".weight"] = Place(own + "/kernel", transposed=True)
        places[name + ".bias"] = Place(own + "/bias")
    for name, own in norms.items():
        places[name + ".weight"] = Place(own + "/gamma")
        places[name + ".bias"] = Place(own + "/beta")
    return places


def hugging_face_places(layers: int) -> Dict[str, Place]:
    """The reverse of tensorflow_places: variable → name in a file of transformers' BertFor… classes, with `bert.`."""
    return {
        place.name: Place(name if name in HEADS else _PREFIX + name, place.transposed)
        for name, place in tensorflow_places(layers).items()
    }


def shapes_of(config: Dict[str, int]) -> Dict[str, Tuple[int, ...]]:
    """Variable → shape, of the encoder and the pooler of a bert_config.json."""
    width, inner = config["hidden_size"], config["intermediate_size"]
    rows = ("vocab_size", "type_vocab_size", "max_position_embeddings")
    shapes: Dict[str, Tuple[int, ...]] = {
        "bert/embeddings/" + name: (config[size], width) for name, size in zip(_TABLES, rows)
    }
    for name, _ in tensorflow_places(config["num_hidden_layers"]).values():
        if name in shapes or not name.startswith("bert/"):
            continue
        into = inner if "/intermediate/" in name else width
        out_of = inner if re.search(r"layer_\d+/output/dense", name) else width
        shapes[name] = (out_of, into) if name.endswith("/kernel") else (into,)
    return shapes


def shapes_of_pretraining(config: Dict[str, int]) -> Dict[str, Tuple[int, ...]]:
    """Variable → shape, of the heads of pre-training."""
    width, transform = config["hidden_size"], "cls/predictions/transform/"
    return {
        "cls/predictions/output_bias": (config["vocab_size"],),
        transform + "dense/kernel": (width, width),
        **{transform + name: (width,) for name in ("dense/bias", "LayerNorm/gamma", "LayerNorm/beta")},
        "cls/seq_relationship/output_weights": (2, width),
        "cls/seq_relationship/output_bias": (2,),
    }


def plain_name(published: str) -> Optional[str]:
    """The key of tensorflow_places for a tensor's published name; None for what is no weight of its own."""
    name = published[len(_PREFIX) :] if published.startswith(_PREFIX) else published
    if _BUFFERS.search(name):
        return None
    return re.sub(r"LayerNorm\.(gamma|beta)$", lambda match: "LayerNorm." + _NEW_NAMES[match.group(1)], name)


_NEW_NAMES = {"gamma": "weight", "beta": "bias"}
