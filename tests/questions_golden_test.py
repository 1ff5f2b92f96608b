"""run_squad's functions: the original's examples, features, records, n-best lists and numbers."""

import json
import os
import random

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from absl.testing import flagsaver
from conftest import ROOT

import modeling
import optimization
import run_squad
import tokenization

FOLDER = os.path.join(ROOT, "tests", "golden")
with open(os.path.join(FOLDER, "squad.json"), encoding="utf-8") as _file:
    GOLDEN = json.load(_file)
LENGTHS = {name: GOLDEN["flags"][name] for name in ("max_seq_length", "doc_stride", "max_query_length")}
VERSIONS = ["v1", "v2"]
KINDS = ["train", "predict"]


@pytest.fixture(scope="module")
def arrays():
    with np.load(os.path.join(FOLDER, "squad.npz"), allow_pickle=False) as numbers:
        yield dict(numbers)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """The golden vocabulary, with fillers for the pieces that no golden text meets."""
    at = {number: piece for piece, number in GOLDEN["pieces"].items()}
    lines = [at.get(number, "[filler {}]".format(number)) for number in range(max(at) + 1)]
    path = tmp_path_factory.mktemp("squad") / "vocab.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tokenization.FullTokenizer(str(path), do_lower_case=True)


@pytest.fixture
def with_flags():
    """Sets flags for a test."""
    saved = flagsaver.save_flag_values()

    def set_flags(**values):
        for name, value in values.items():
            setattr(run_squad.FLAGS, name, value)

    yield set_flags
    flagsaver.restore_flag_values(saved)


def examples_of(version, kind, tmp_path):
    path = tmp_path / "squad.json"
    path.write_text(json.dumps(GOLDEN[version]["input"]))
    return run_squad.read_squad_examples(str(path), kind == "train")


def features_of(examples, kind, tokenizer):
    made = []
    run_squad.convert_examples_to_features(
        examples, tokenizer, is_training=kind == "train", output_fn=made.append, **LENGTHS
    )
    return made


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_golden_examples_features_and_records_are_the_originals(version, kind, tokenizer, with_flags, tmp_path):
    with_flags(version_2_with_negative=version == "v2")
    golden = GOLDEN[version]
    examples = examples_of(version, kind, tmp_path)
    expected = [dict(e, doc_tokens=golden["doc_tokens"][e["doc_tokens"]]) for e in golden[kind + "_examples"]]
    assert [vars(example) for example in examples] == expected
    made = features_of(examples, kind, tokenizer)
    assert len(made) == len(golden[kind + "_features"]) > 30
    for feature, row in zip(made, golden[kind + "_features"]):
        tokens, first = row["tokens"].split(" "), row["first_token"]
        real, padding = len(tokens), [0] * (LENGTHS["max_seq_length"] - len(tokens))
        assert vars(feature) == dict(
            {
                name: row[name]
                for name in ("unique_id", "example_index", "doc_span_index", "start_position", "end_position")
            },
            is_impossible=row["is_impossible"],
            tokens=tokens,
            token_to_orig_map=dict(enumerate(row["words"], first)),
            token_is_max_context=dict(enumerate(map(bool, map(int, row["best"])), first)),
            input_ids=[GOLDEN["pieces"][token] for token in tokens] + padding,
            input_mask=[1] * real + padding,
            segment_ids=[0] * first + [1] * (real - first) + padding,
        )
    writer = run_squad.FeatureWriter(str(tmp_path / "records"), is_training=kind == "train")
    for feature in made[:2]:
        writer.process_feature(feature)
    writer.close()
    assert writer.num_features == 2
    for record, feature, names in zip(
        tf.python_io.tf_record_iterator(str(tmp_path / "records")), made, golden[kind + "_records_first2"]
    ):
        columns = tf.train.Example.FromString(record).features.feature
        assert sorted(columns) == names
        assert list(columns["input_ids"].int64_list.value) == feature.input_ids
        assert list(columns["unique_ids"].int64_list.value) == [feature.unique_id]
        if kind == "train":
            assert list(columns["end_positions"].int64_list.value) == [feature.end_position]
            assert list(columns["is_impossible"].int64_list.value) == [int(feature.is_impossible)]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_training_order_of_a_script_that_shuffles_is_the_originals(version):
    order = list(range(len(GOLDEN[version]["train_examples"])))
    random.Random(12345).shuffle(order)
    assert order == GOLDEN[version]["train_shuffle_order_seed_12345"]


@pytest.mark.parametrize("version", VERSIONS)
def test_golden_answers_n_best_and_null_odds_are_the_originals(version, tokenizer, arrays, with_flags, tmp_path):
    with_flags(version_2_with_negative=version == "v2")
    examples = examples_of(version, "predict", tmp_path)
    features = features_of(examples, "predict", tokenizer)
    paths = [str(tmp_path / name) for name in ("predictions", "nbest", "null_odds")]
    cases = [(case["kind"], output) for case in GOLDEN[version]["cases"] for output in case["outputs"]]
    assert len(cases) == {"v1": 6, "v2": 12}[version]
    for kind, expected in cases:
        logits = arrays["logits/{}/{}".format(version, kind)] / 1000.0
        results = [
            run_squad.RawResult(feature.unique_id, list(start), list(end))
            for feature, (start, end) in zip(features, logits)
        ]
        with_flags(null_score_diff_threshold=expected["null_score_diff_threshold"])
        run_squad.write_predictions(
            examples, features, results, expected["n_best_size"], expected["max_answer_length"], True, *paths
        )
        written = {}
        for path in paths[: 3 if version == "v2" else 2]:
            with open(path) as file:
                written[os.path.basename(path)] = json.load(file)
        if "raises" in expected:  # no span qualifies: the original raises, and writes nothing
            assert set(written["predictions"].values()) == {""}
            continue
        with open(paths[0]) as file:
            assert file.read() == expected["predictions_file_text"]
        assert written["predictions"] == expected["predictions"]
        n_best = {
            name: [[e["text"], e["probability"], e["start_logit"], e["end_logit"]] for e in entries]
            for name, entries in written["nbest"].items()
        }
        assert n_best == expected["nbest"]
        if version == "v2":
            assert written["null_odds"] == expected["null_odds"]


def test_golden_final_texts_and_softmax_are_the_originals():
    for row in GOLDEN["get_final_text"]:
        assert run_squad.get_final_text(row["pred_text"], row["orig_text"], row["do_lower_case"]) == row["result"], row
    for row in GOLDEN["compute_softmax"]:
        assert run_squad._compute_softmax(row["scores"]) == row["probs"]


def test_golden_logits_loss_gradients_and_training_are_the_originals(arrays):
    with open(os.path.join(FOLDER, "extract_features.json"), encoding="utf-8") as file:
        config = modeling.BertConfig.from_dict(json.load(file)["config"])
    with np.load(os.path.join(FOLDER, "extract_features.npz"), allow_pickle=False) as encoder:
        weights = dict(encoder)
    weights.update({name[len("forward/w/") :]: arrays[name] for name in arrays if name.startswith("forward/w/")})
    golden = {name[len("forward/") :]: arrays[name] for name in arrays if name.startswith("forward/")}
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = [tf.constant(golden["in/" + name]) for name in ("input_ids", "input_mask", "segment_ids")]
        start, end = run_squad.create_model(config, False, *inputs, use_one_hot_embeddings=False)
        losses = [
            tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=golden["in/" + name], logits=logits))
            for name, logits in (("start_positions", start), ("end_positions", end))
        ]
        loss = (losses[0] + losses[1]) / 2.0
        variables = tf.trainable_variables()
        gradients = tf.gradients(loss, variables)
        # The original's clipping, which counts the rows of a piece that occurs twice apart.
        rate = tf.placeholder(tf.float32, [])
        clipped, _ = tf.clip_by_global_norm(gradients, 1.0)
        optimizer = optimization.AdamWeightDecayOptimizer(
            rate, weight_decay_rate=0.01, exclude_from_weight_decay=["LayerNorm", "layer_norm", "bias"]
        )
        train = optimizer.apply_gradients(list(zip(clipped, variables)))
        session.run(tf.global_variables_initializer())
        for variable in variables:
            variable.load(weights[variable.op.name], session)
        for name, value in (("start_logits", start), ("end_logits", end), ("loss", loss)):
            np.testing.assert_allclose(session.run(value), golden["out/" + name], rtol=0, atol=1e-5)
        with_gradient = [(v.op.name, g) for v, g in zip(variables, gradients) if g is not None]
        assert sorted("grad/" + name for name, _ in with_gradient) == sorted(n for n in golden if n.startswith("grad/"))
        # Those of key biases and of the last beta are 0 but for rounding.
        for (name, _), value in zip(with_gradient, session.run([tf.convert_to_tensor(g) for _, g in with_gradient])):
            expected = golden["grad/" + name]
            np.testing.assert_allclose(value, expected, rtol=0, atol=1e-4 * np.abs(expected).max() + 1e-7, err_msg=name)
        seen = []
        for step in range(1, 7):  # the golden run had the rate of the step after
            seen.append(session.run(loss))
            session.run(train, {rate: 1e-3 * (step / 2.0 if step < 2 else 1.0 - step / 6.0)})
        np.testing.assert_allclose(seen + [session.run(loss)], golden["train/losses"], rtol=0, atol=1e-5)
