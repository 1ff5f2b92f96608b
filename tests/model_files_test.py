"""Which keys of a bert_config.json are read, noted or refused."""

import json

import pytest

from steady_bert.base.errors import UserError
from steady_bert.tasks import model_files

# The keys of Hugging Face's bert-base-uncased.
PUBLISHED = {
    "architectures": ["BertForMaskedLM"],
    "attention_probs_dropout_prob": 0.1,
    "classifier_dropout": None,
    "gradient_checkpointing": False,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 768,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 512,
    "model_type": "bert",
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "pad_token_id": 0,
    "position_embedding_type": "absolute",
    "transformers_version": "4.6.0.dev0",
    "type_vocab_size": 2,
    "use_cache": True,
    "vocab_size": 30522,
}


def load(tmp_path, content):
    path = tmp_path / "bert_config.json"
    path.write_text(json.dumps(content))
    config = model_files.ModelConfig(str(path), "vocab.txt", None, True, 128)
    return model_files.load_bert_config(config, 30522, 2), model_files.note_unread_keys(config)


def test_a_published_configuration_loads_and_its_further_keys_are_noted(tmp_path):
    config, notes = load(tmp_path, PUBLISHED)
    names = notes["keys of bert_config.json that are not read"]
    assert "approximation by tanh" in notes["hidden_act"]
    assert names.split(", ")[:3] == ["architectures", "classifier_dropout", "gradient_checkpointing"]
    assert len(names.split(", ")) == 9
    assert sorted(config.to_dict()) == sorted(model_files._READ) == sorted(set(PUBLISHED) - set(names.split(", ")))


def test_googles_configuration_has_nothing_to_note(tmp_path):
    poolers = {"directionality": "bidi", "pooler_fc_size": 768, "pooler_num_attention_heads": 12}
    assert load(tmp_path, dict({k: v for k, v in PUBLISHED.items() if "_size" in k}, **poolers))[1] == {}


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("hiden_size", 768, "unknown key 'hiden_size'. Did you mean 'hidden_size'?"),
        ("model_type", "distilbert", "model_type='distilbert': this is DistilBERT, and this program trains BERT alone"),
        ("embedding_size", 128, "this is an ALBERT or ELECTRA, not a BERT"),
        ("layer_norm_eps", 1e-5, "layer_norm_eps=1e-05: LayerNorm has 1e-12 here"),
        ("position_embedding_type", "relative_key", "has absolute positions alone"),
        ("is_decoder", True, "no decoder"),
    ],
)
def test_a_key_that_contradicts_is_refused(tmp_path, name, value, message):
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        load(tmp_path, dict(PUBLISHED, **{name: value}))


def test_a_misspelt_key_is_refused_if_the_right_one_is_missing(tmp_path):
    content = {name: value for name, value in PUBLISHED.items() if name != "max_position_embeddings"}
    with pytest.raises(UserError, match="Did you mean 'max_position_embeddings'"):
        load(tmp_path, dict(content, max_position_embed=512))


def test_all_differences_that_no_shape_shows_are_named(tmp_path):
    (tmp_path / "bert_config.json").write_text(json.dumps(dict(PUBLISHED, num_attention_heads=6)))
    (tmp_path / "other.json").write_text(json.dumps(dict(PUBLISHED, hidden_act="relu")))
    given = {"bert_config.json": str(tmp_path / "other.json")}
    message = "hidden_act='gelu' there, 'relu' in {0}; num_attention_heads=6 there, 12 in {0}"
    expected = {"bert_config.json": message.format(given["bert_config.json"])}
    assert model_files.differences_no_shape_shows(str(tmp_path), given) == expected
