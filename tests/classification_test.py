"""Class weights, and several labels for an example, against scikit-learn and closed forms."""

import numpy as np
import pytest
import sklearn.utils.class_weight
import tensorflow.compat.v1 as tf

import modeling
from steady_bert.base.compute import Compute
from steady_bert.base.randomness import keyed_randomness
from steady_bert.tasks import heads
from steady_bert.tasks.classification import assembly as classification
from steady_bert.tasks.classification.long_texts import LongTexts
from steady_bert.tasks.classification.own_text import TextProcessor

LABELS = ["a", "b", "c"]


def task_of(tiny, label_type="single", class_weights=None, **inputs):
    return classification.classification_task(
        classification.TaskInputs(
            processor=TextProcessor(labels=LABELS, label_type=label_type),
            files={},
            labels=LABELS,
            tokenizer=None,
            vocab_fingerprint="",
            bert_config=modeling.BertConfig.from_json_file(tiny.without_dropout),
            max_seq_length=8,
            class_weights=class_weights,
            **inputs,
        )
    )


def outputs_of(task, gold, is_training, **columns):
    """(loss, weight) of fixed examples with these labels; variables start equal at every call."""
    with tf.Graph().as_default(), keyed_randomness(1, None), tf.Session() as session:
        ids = tf.constant([[2, 5 + n, 15, 3] for n in range(len(gold))])
        batch = dict(input_ids=ids, input_mask=tf.ones_like(ids), segment_ids=tf.zeros_like(ids))
        batch.update({name: tf.constant(values) for name, values in columns.items()})
        outputs = task.build(dict(batch, label_ids=tf.constant(gold)), is_training, Compute("fast"))
        session.run(tf.global_variables_initializer())
        return session.run([outputs.loss, outputs.weight])


def test_only_training_weighs_classes_and_divides_by_the_weights(tiny):
    gold, weights = [0, 2, 1, 2], [2.0, 1.0, 0.25]
    plain, ones = outputs_of(task_of(tiny), gold, True)
    loss, weight = outputs_of(task_of(tiny, class_weights=weights), gold, True)
    np.testing.assert_allclose(weight, [2.0, 0.25, 1.0, 0.25])
    np.testing.assert_allclose(loss, plain * weight, rtol=1e-6)
    assert ones.tolist() == [1.0] * 4 and np.ptp(plain) > 0.01
    evaluated = outputs_of(task_of(tiny, class_weights=weights), gold, False)
    np.testing.assert_allclose(evaluated, [plain, ones], rtol=1e-6)


@pytest.mark.parametrize("class_weights", [None, [2.0, 1.0, 0.25]])
def test_the_windows_of_a_text_weigh_as_much_as_one_text(tiny, class_weights):
    gold, windows = [0, 2, 2, 2, 1], [1, 3, 3, 3, 1]
    columns = dict(window=[0, 0, 1, 2, 0], windows=windows)
    loss, weight = outputs_of(task_of(tiny, class_weights=class_weights), gold, True)
    windowed = task_of(tiny, class_weights=class_weights, long_text=LongTexts("windows"))
    shared_loss, shared_weight = outputs_of(windowed, gold, True, **columns)
    np.testing.assert_allclose(shared_loss, loss / windows, rtol=1e-6)
    np.testing.assert_allclose(shared_weight, weight / windows, rtol=1e-6)
    assert np.sum(shared_weight[1:4]) == pytest.approx(weight[1])


def test_multi_label_loss_is_a_sigmoid_for_each_label_with_weighted_positives():
    logits = np.array([[0.5, -2.0, 30.0], [0.0, 1.0, -30.0]], np.float32)
    gold = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]], np.float32)
    probability = 1 / (1 + np.exp(-logits.astype(np.float64)))
    for weights in (None, [3.0, 1.0, 0.5]):
        positive = 1.0 if weights is None else np.array(weights)
        with np.errstate(divide="ignore", invalid="ignore"):
            each = -(positive * gold * np.log(probability) + (1 - gold) * np.log1p(-probability))
        expected = np.where(np.isfinite(each), each, 0.0).mean(axis=-1)
        with tf.Graph().as_default(), tf.Session() as session:
            loss, probabilities = session.run(
                heads.sigmoid_cross_entropy(tf.constant(logits), tf.constant(gold), weights)
            )
        np.testing.assert_allclose(loss, expected, rtol=1e-5)
        np.testing.assert_allclose(probabilities, probability, rtol=1e-5, atol=1e-7)


def test_balanced_weights_are_scikit_learns():
    gold = np.random.RandomState(1).choice(LABELS, 200, p=[0.7, 0.2, 0.1])
    counts = {label: int(np.sum(gold == label)) for label in LABELS}
    expected = sklearn.utils.class_weight.compute_class_weight("balanced", classes=np.array(LABELS), y=gold)
    assert classification.balanced_weights("single", LABELS, counts, 200) == pytest.approx(expected.tolist())
    weights = classification.balanced_weights("multi", LABELS, counts, 200)
    for label, weight in zip(LABELS, weights):  # all positives together weigh as much as all negatives
        assert weight * counts[label] == pytest.approx(200 - counts[label])
