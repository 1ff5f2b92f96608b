"""Scripts written for google-research/bert, run as they are: their own flags, their own loop."""

import os
import subprocess
import sys

import pytest
import tensorflow.compat.v1 as tf

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HAS_ESTIMATOR = hasattr(tf, "estimator") and hasattr(tf.estimator, "tpu")

SESSION_SCRIPT = """
import sys
sys.path.insert(0, {root!r})
import numpy as np
import tensorflow.compat.v1 as tf
from absl import flags
import modeling, optimization, tokenization

tf.disable_v2_behavior()
if {resource}:
    tf.enable_resource_variables()
else:
    tf.disable_resource_variables()
flags.DEFINE_string("init_checkpoint", {checkpoint!r}, "the script's own flag, of a name that upstream has too")
flags.DEFINE_float("learning_rate", 2e-3, "")
FLAGS = flags.FLAGS
FLAGS([sys.argv[0]])

config = modeling.BertConfig.from_json_file({config!r})
ids = tf.placeholder(tf.int32, [None, 12])
labels = tf.placeholder(tf.int32, [None])
model = modeling.BertModel(config=config, is_training=True, input_ids=ids)
initializer = tf.truncated_normal_initializer(stddev=0.02)
weights = tf.get_variable("output_weights", [2, config.hidden_size], initializer=initializer)
logits = tf.matmul(model.get_pooled_output(), weights, transpose_b=True)
loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))
tvars = tf.trainable_variables()
assignment_map, initialized = modeling.get_assignment_map_from_checkpoint(tvars, FLAGS.init_checkpoint)
tf.train.init_from_checkpoint(FLAGS.init_checkpoint, assignment_map)
assert "bert/pooler/dense/kernel:0" in initialized
train_op = optimization.create_optimizer(loss, FLAGS.learning_rate, 60, 6, False)

rng = np.random.RandomState(0)
target = rng.randint(0, 2, 64)
data = rng.randint(20, 100, (64, 12))
data[:, 1:5] = np.where(target, 5, 9)[:, None]
with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    losses = []
    for step in range(60):
        rows = rng.randint(0, 64, 16)
        losses.append(session.run([loss, train_op], {{ids: data[rows], labels: target[rows]}})[0])
    assert session.run(tf.train.get_global_step()) == 60
print("first", np.mean(losses[:10]), "last", np.mean(losses[-10:]))
assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])
print("learned")
"""

ESTIMATOR_SCRIPT = """
import os, sys, tempfile
sys.path.insert(0, {root!r})
import numpy as np
import tensorflow.compat.v1 as tf
import modeling, run_classifier

tf.disable_v2_behavior()
if {resource}:
    tf.enable_resource_variables()
else:
    tf.disable_resource_variables()
tf.logging.set_verbosity(tf.logging.ERROR)
config = modeling.BertConfig.from_json_file({config!r})
rng = np.random.RandomState(0)


class Words:
    vocab = dict()
    def tokenize(self, text):
        return text.split()
    def convert_tokens_to_ids(self, tokens):
        return [1 if t == "[CLS]" else 2 if t == "[SEP]" else int(t) for t in tokens]


examples = []
for number in range(48):
    label = "yes" if number % 3 else "no"
    words = [5 if label == "yes" else 9] * 3 + list(rng.randint(20, 100, rng.randint(2, 7)))
    examples.append(run_classifier.InputExample("g", " ".join(map(str, words)), None, label))
examples.append(run_classifier.PaddingInputExample())
folder = tempfile.mkdtemp()
path = os.path.join(folder, "train.tf_record")
run_classifier.file_based_convert_examples_to_features(examples, ["no", "yes"], 12, Words(), path)
features = run_classifier.convert_examples_to_features(examples, ["no", "yes"], 12, Words())

tpu = tf.estimator.tpu
run_config = tpu.RunConfig(model_dir=os.path.join(folder, "model"), save_checkpoints_steps=20,
                           tpu_config=tpu.TPUConfig(iterations_per_loop=10, num_shards=1))
reads = []
init_from_checkpoint = tf.train.init_from_checkpoint
tf.train.init_from_checkpoint = lambda *args: (reads.append(args), init_from_checkpoint(*args))
model_fn = run_classifier.model_fn_builder(
    bert_config=config, num_labels=2, init_checkpoint={checkpoint!r}, learning_rate=2e-3, num_train_steps=40,
    num_warmup_steps=4, use_tpu=False, use_one_hot_embeddings=False)
estimator = tpu.TPUEstimator(use_tpu=False, model_fn=model_fn, config=run_config, train_batch_size=16,
                             eval_batch_size=8, predict_batch_size=8)
train = run_classifier.file_based_input_fn_builder(path, seq_length=12, is_training=True, drop_remainder=True)
estimator.train(train, max_steps=20)
estimator.train(train, max_steps=40)
found = estimator.evaluate(run_classifier.input_fn_builder(features, 12, is_training=False, drop_remainder=False))
print(found)
assert found["global_step"] == 40 and found["eval_accuracy"] > 0.9
predicted = list(estimator.predict(run_classifier.file_based_input_fn_builder(path, 12, False, False)))
assert len(predicted) == 49 and abs(predicted[0]["probabilities"].sum() - 1) < 1e-5
assert len(reads) == 1, "initial weights were read in {{}} phases".format(len(reads))
print("learned")
"""


def run_script(script, **values):
    golden = os.path.join(ROOT, "tests", "golden", "tiny_bert")
    code = script.format(
        root=ROOT,
        checkpoint=os.path.join(golden, "bert_model.ckpt"),
        config=os.path.join(golden, "bert_config.json"),
        **values,
    )
    process = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True
    )
    assert process.stdout.strip().endswith("learned"), process.stdout + process.stderr[-3000:]


@pytest.mark.parametrize("resource", [False, True])
def test_a_session_loop_of_ones_own_learns(resource):
    run_script(SESSION_SCRIPT, resource=resource)


def test_the_record_reader_pads_records_of_real_tokens_and_takes_upstreams_as_they_are(tmp_path):
    import run_classifier

    def record(**columns):
        integers = {name: tf.train.Feature(int64_list=tf.train.Int64List(value=v)) for name, v in columns.items()}
        return tf.train.Example(features=tf.train.Features(feature=integers)).SerializeToString()

    path = str(tmp_path / "records")
    with tf.python_io.TFRecordWriter(path) as writer:
        writer.write(record(input_ids=[2, 7, 3], segment_ids=[0, 0, 1], label_ids=[1]))
        upstream = dict(input_ids=[2, 3, 0, 0, 0], input_mask=[1, 1, 0, 0, 0], segment_ids=[0] * 5, label_ids=[0])
        writer.write(record(is_real_example=[0], **upstream))
    with tf.Graph().as_default(), tf.Session() as session:
        input_fn = run_classifier.file_based_input_fn_builder(path, 5, is_training=False, drop_remainder=True)
        batch = tf.data.make_one_shot_iterator(input_fn(dict(batch_size=2))).get_next()
        assert batch["input_ids"].shape.as_list() == [2, 5] and batch["input_ids"].dtype == tf.int32
        found = {name: column.tolist() for name, column in session.run(batch).items()}
    assert found == dict(
        input_ids=[[2, 7, 3, 0, 0], [2, 3, 0, 0, 0]],
        input_mask=[[1, 1, 1, 0, 0], [1, 1, 0, 0, 0]],
        segment_ids=[[0, 0, 1, 0, 0], [0, 0, 0, 0, 0]],
        label_ids=[1, 0],
        is_real_example=[1, 0],
    )


@pytest.mark.skipif(not HAS_ESTIMATOR, reason="this TensorFlow has no Estimator (2.15 was the last)")
@pytest.mark.parametrize("resource", [False, True])
def test_an_estimator_loop_of_ones_own_learns(resource):
    run_script(ESTIMATOR_SCRIPT, resource=resource)


@pytest.mark.skipif(HAS_ESTIMATOR, reason="this TensorFlow has Estimator")
def test_without_estimator_the_message_says_what_to_use():
    import modeling
    import run_classifier

    with pytest.raises(ValueError, match="has no Estimator; 2.15 was the last. Train with run_classifier.py"):
        run_classifier.model_fn_builder(modeling.BertConfig(10), 2, None, 1e-3, 10, 1, False, False)
