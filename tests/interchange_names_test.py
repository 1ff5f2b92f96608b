"""The table of weights' names in both directions, against google-research/bert's own variables."""

import json
import os

import pytest
import tensorflow.compat.v1 as tf

from steady_bert.interchange import names

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden", "tiny_bert", "bert_model.ckpt")


def test_the_table_has_every_variable_of_the_original_and_is_its_own_reverse():
    places, back = names.tensorflow_places(3), names.hugging_face_places(3)
    encoder = {place.name for name, place in places.items() if name not in names.HEADS}
    with open(os.path.join(os.path.dirname(GOLDEN), "bert_config.json")) as file:
        assert names.shapes_of(json.load(file)) == {n: tuple(s) for n, s in tf.train.list_variables(GOLDEN)}
    assert encoder == {name for name, _ in tf.train.list_variables(GOLDEN)}
    assert len(back) == len(places)
    for name, place in places.items():
        published, transposed = back[place.name]
        assert (names.plain_name(published), transposed) == (name, place.transposed)


@pytest.mark.parametrize(
    "published, plain",
    [
        ("bert.embeddings.LayerNorm.gamma", "embeddings.LayerNorm.weight"),
        ("encoder.layer.0.output.LayerNorm.beta", "encoder.layer.0.output.LayerNorm.bias"),
        ("cls.predictions.transform.LayerNorm.gamma", "cls.predictions.transform.LayerNorm.weight"),
        ("encoder.layer.11.output.dense.bias", "encoder.layer.11.output.dense.bias"),
        ("embeddings.position_ids", None),
        ("bert.embeddings.token_type_ids", None),
        ("cls.predictions.decoder.weight", None),
        ("cls.predictions.decoder.bias", None),
    ],
)
def test_a_published_name_is_read_in_each_of_its_forms(published, plain):
    assert names.plain_name(published) == plain
