"""A training file sorted by label gives mixed batches with every reader; in file order, the control, it does not."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import run_classifier
import tokenization
from steady_bert.tasks.classification import assembly as classification
from steady_bert.tasks.classification.own_text import TextProcessor
from steady_bert.training import feature_cache
from steady_bert.training.input_pipeline import TrainingOrder

EXAMPLES, BATCH, BATCHES = 25000, 32, 60  # more of each label than fit the buffer of upstream's reader


@pytest.fixture(scope="module")
def records(tiny, tmp_path_factory):
    """split → records of one file sorted by label; train is permuted on disk, dev is in file order."""
    folder = tmp_path_factory.mktemp("sorted")
    rows = ["good alpha\ta" if number < EXAMPLES / 2 else "bad beta\tb" for number in range(EXAMPLES)]
    (folder / "train.tsv").write_text("\n".join(["text\tlabel"] + rows) + "\n")
    path = str(folder / "train.tsv")
    task = classification.classification_task(
        classification.TaskInputs(
            processor=TextProcessor(labels=["a", "b"]),
            files={"train": path, "dev": path},
            labels=["a", "b"],
            tokenizer=tokenization.FullTokenizer(tiny.vocab_file),
            vocab_fingerprint="tiny",
            bert_config=None,
            max_seq_length=8,
        )
    )
    return {split: feature_cache.open_or_build(task, split, str(folder / "cache")) for split in ("train", "dev")}


def label_of(record):
    return tf.train.Example.FromString(record).features.feature["label_ids"].int64_list.value[0]


def random_access(records, shuffle):
    order = TrainingOrder(len(records), seed=1, shuffle=shuffle)
    return [label_of(record) for record in records.read(order.numbers(0, BATCH * BATCHES))]


def sequential(records):
    serialized = tf.python_io.tf_record_iterator(records.path)
    return [label_of(next(serialized)) for _ in range(BATCH * BATCHES)]


def upstreams_reader(records):
    with tf.Graph().as_default(), tf.Session() as session:
        input_fn = run_classifier.file_based_input_fn_builder(records.path, 8, is_training=True, drop_remainder=True)
        batch = tf.data.make_one_shot_iterator(input_fn(dict(batch_size=BATCH))).get_next()
        return np.concatenate([session.run(batch["label_ids"]) for _ in range(BATCHES)])


def batches_of_one_class(labels):
    batches = np.reshape(labels, [BATCHES, BATCH])
    return sum(len(set(batch)) == 1 for batch in batches.tolist())


def test_every_reader_mixes_a_training_file_sorted_by_label(records):
    for labels in (
        random_access(records["train"], True),
        sequential(records["train"]),
        upstreams_reader(records["train"]),
    ):
        assert batches_of_one_class(labels) == 0
        assert abs(np.mean(labels) - 0.5) < 0.06  # 5 standard deviations


def test_file_order_does_not_mix(records):
    assert batches_of_one_class(random_access(records["train"], False)) == BATCHES
    assert batches_of_one_class(sequential(records["dev"])) == BATCHES
    assert (
        batches_of_one_class(upstreams_reader(records["dev"])) == BATCHES
    )  # its buffer holds 10,000, and each label has 12,500
