"""Scripts written for google-research/bert, run as they are: their own flags, their own loop."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import modeling
from steady_bert.tasks.classification import upstream

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
GOLDEN = os.path.join(ROOT, "tests", "golden")
CHECKPOINT = os.path.join(GOLDEN, "tiny_bert", "bert_model.ckpt")
HAS_ESTIMATOR = hasattr(tf, "estimator") and hasattr(tf.estimator, "tpu")

SESSION_SCRIPT = """
import sys
sys.path.insert(0, {root!r})
import numpy as np
import tensorflow.compat.v1 as tf
from absl import flags
import modeling, optimization, tokenization

tf.disable_v2_behavior()
flags.DEFINE_string("init_checkpoint", {checkpoint!r}, "the script's own flag, of a name that upstream has too")
flags.DEFINE_float("learning_rate", 2e-3, "")
FLAGS = flags.FLAGS
FLAGS([sys.argv[0]])



def learn():
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


for kind in (tf.disable_resource_variables, tf.enable_resource_variables):
    kind()
    print(kind.__name__)
    with tf.Graph().as_default():
        learn()
"""

ESTIMATOR_SCRIPT = """
import os, sys, tempfile
sys.path.insert(0, {root!r})
import numpy as np
import tensorflow.compat.v1 as tf
import modeling, run_classifier

tf.disable_v2_behavior()
tf.logging.set_verbosity(tf.logging.ERROR)
config = modeling.BertConfig.from_json_file({config!r})
rng = np.random.RandomState(0)


class Words:
    vocab = dict()
    def tokenize(self, text):
        return text.split()
    def convert_tokens_to_ids(self, tokens):
        return [1 if t == "[CLS]" else 2 if t == "[SEP]" else int(t) for t in tokens]


def learn():
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
    scores = estimator.evaluate(run_classifier.input_fn_builder(features, 12, is_training=False, drop_remainder=False))
    print(scores)
    assert scores["global_step"] == 40 and scores["eval_accuracy"] > 0.9
    predicted = list(estimator.predict(run_classifier.file_based_input_fn_builder(path, 12, False, False)))
    assert len(predicted) == 49 and abs(predicted[0]["probabilities"].sum() - 1) < 1e-5
    assert len(reads) == 1, "initial weights were read in {{}} phases".format(len(reads))


tf.disable_resource_variables()  # as in the original; our own engine on Estimator has the others
with tf.Graph().as_default():
    learn()
"""


def written_loop(folder, name, script):
    """The script, which learns, as a case of RUNNER."""
    config = os.path.join(GOLDEN, "tiny_bert", "bert_config.json")
    return (
        name,
        written(folder / name / "script.py", script.format(root=ROOT, checkpoint=CHECKPOINT, config=config)),
        [],
    )


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
        columns = {name: column.tolist() for name, column in session.run(batch).items()}
    assert columns == dict(
        input_ids=[[2, 7, 3, 0, 0], [2, 3, 0, 0, 0]],
        input_mask=[[1, 1, 1, 0, 0], [1, 1, 0, 0, 0]],
        segment_ids=[[0, 0, 1, 0, 0], [0, 0, 0, 0, 0]],
        label_ids=[1, 0],
        is_real_example=[1, 0],
    )


@pytest.mark.skipif(HAS_ESTIMATOR, reason="this TensorFlow has Estimator")
def test_without_estimator_the_message_says_what_to_use():
    import run_classifier

    with pytest.raises(ValueError, match="has no Estimator; 2.15 was the last. Train with run_classifier.py"):
        run_classifier.model_fn_builder(modeling.BertConfig(10), 2, None, 1e-3, 10, 1, False, False)


# --- where scripts stand, and what stands beside them ----------------------------------------------------------------

USES_MODELING = """
config = modeling.BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
with tf.Graph().as_default():
    model = modeling.BertModel(config, False, tf.ones([2, 3], tf.int32))
    optimization.create_optimizer(tf.reduce_sum(model.get_pooled_output()), 1e-3, 10, 1, False)
assert tokenization.BasicTokenizer().tokenize("A b.") == ["a", "b", "."]
"""
OWN_MODULES = ("errors", "files", "optimizers", "randomness", "schedules", "tasks", "token_layout", "training")

# Runs each script as a program of its own would be, in a fork: importing TensorFlow once saves time.
RUNNER = """
import json, os, runpy, sys
import tensorflow.compat.v1 as tf
tf.disable_v2_behavior()
for name, script, folders in json.loads(sys.argv[1]):
    if os.fork():
        os.wait()
        continue
    sys.path[:1] = folders
    runpy.run_path(script, run_name="__main__")
    print("passed", name, flush=True)
    os._exit(0)
"""


def written(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def cases_of_folders(tmp_path):
    """(name, script, folders on its path) each."""
    head = "import tensorflow.compat.v1 as tf\n"
    flat = head + "import modeling, optimization, tokenization\n"
    package, nested, beside, copied = (tmp_path / name for name in ("package", "nested", "beside", "copied"))
    package.mkdir()
    (package / "bert").symlink_to(ROOT)
    from_bert = head + "from bert import modeling, optimization, tokenization\n" + USES_MODELING
    yield "a clone named bert", written(package / "script.py", from_bert), [str(package)]
    (nested / "base").mkdir(parents=True)
    (nested / "base" / "bert").symlink_to(ROOT)
    script = written(nested / "script.py", from_bert.replace("from bert", "from base.bert"))
    yield "a clone within a package", script, [str(nested)]
    for name in OWN_MODULES:
        written(beside / name / "__init__.py" if name in ("tasks", "training") else beside / (name + ".py"), "OWN = 1")
    asserted = "import {}\nassert {}\n".format(
        ", ".join(OWN_MODULES), " and ".join("{}.OWN".format(name) for name in OWN_MODULES)
    )
    script = flat + USES_MODELING + "import run_classifier\n" + asserted
    yield "modules of the script's own", written(beside / "script.py", script), [str(beside), ROOT]
    copied.mkdir()
    for name in ("modeling.py", "optimization.py", "tokenization.py"):
        shutil.copy(os.path.join(ROOT, name), str(copied))
    shutil.copytree(os.path.join(ROOT, "steady_bert"), str(copied / "steady_bert"))
    yield "three files and the package copied", written(copied / "script.py", flat + USES_MODELING), [str(copied)]


IMPORTS_A_GRAPH = """
import tensorflow.compat.v1 as tf
with tf.Graph().as_default() as graph:
    tf.train.import_meta_graph({path!r})
    variables = tf.trainable_variables()
    gradients = tf.gradients(graph.get_tensor_by_name("loss/Mean:0"), variables)
    assert len(variables) == {variables} and all(gradient is not None for gradient in gradients)
"""

DEFINES_FLAGS = """
import run_classifier
run_classifier.flags.DEFINE_integer("mine", 5, "")
run_classifier.flags.mark_flag_as_required("data_dir")
"""


def test_scripts_run_wherever_they_stand_and_loops_of_ones_own_learn(tmp_path):
    """Whatever stands beside them. And a program that has none of our modules can differentiate a saved graph."""
    with tf.Graph().as_default():
        classifier(is_training=True)
        meta_graph = str(tmp_path / "model.meta")
        tf.train.export_meta_graph(meta_graph)
        script = IMPORTS_A_GRAPH.format(path=meta_graph, variables=len(tf.trainable_variables()))
    cases = [("a saved graph", written(tmp_path / "graph" / "script.py", script), [])]
    cases += cases_of_folders(tmp_path)
    cases.append(("flags as of tf.flags", written(tmp_path / "flags" / "script.py", DEFINES_FLAGS), [ROOT]))
    cases.append(written_loop(tmp_path, "a session loop", SESSION_SCRIPT))
    if HAS_ESTIMATOR:
        cases.append(written_loop(tmp_path, "an Estimator loop", ESTIMATOR_SCRIPT))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    process = subprocess.run(
        [sys.executable, "-c", RUNNER, json.dumps(cases)],
        cwd=str(tmp_path),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )
    passed = [line for line in process.stdout.split("\n") if line.startswith("passed ")]
    assert passed == ["passed " + name for name, _, _ in cases], process.stdout + process.stderr[-3000:]


# --- graphs that a script's own call builds ---------------------------------------------------------------------------


def tiny_config():
    return modeling.BertConfig.from_json_file(os.path.join(GOLDEN, "tiny_bert", "bert_config.json"))


def classifier(is_training=False, shape=(5, 11), one_hot=False):
    """The outputs of run_classifier's create_model, fed by three placeholders and labels."""
    fed = [tf.placeholder(tf.int32, shape) for _ in range(3)]
    labels = tf.placeholder(tf.int32, shape[:1])
    return fed, labels, upstream.create_model(tiny_config(), is_training, *fed, labels, 3, one_hot)


def unreachable_ops(outputs):
    """The ops that no output, and no initializer of a variable, depends on."""
    pending = [tensor.op for tensor in outputs] + [v.initializer for v in tf.global_variables()]
    reached = set()
    while pending:
        op = pending.pop()
        if op not in reached:
            reached.add(op)
            pending += [tensor.op for tensor in op.inputs] + list(op.control_inputs)
    return [op for op in tf.get_default_graph().get_operations() if op not in reached]


@pytest.mark.parametrize("use_resource", [False, True])
@pytest.mark.parametrize("shape", [(5, 11), (None, None), (None, 11)])
def test_every_op_of_a_graph_is_on_the_way_to_an_output(use_resource, shape):
    for is_training, one_hot in ((False, False), (True, True)):
        with tf.Graph().as_default() as graph, tf.variable_scope("", use_resource=use_resource):
            fed = [tf.placeholder(tf.int32, shape) for _ in range(3)]
            model = modeling.BertModel(tiny_config(), is_training, *fed, one_hot)
            outputs = [model.get_embedding_output(), model.get_pooled_output(), *model.get_all_encoder_layers()]
            left = [op.name for op in unreachable_ops(outputs)]
            # The message of an assertion, and a resource variable's own ops, are allowed.
            allowed = r"/(assert_less_equal|IsInitialized|Read)/"
            assert [name for name in left if not re.search(allowed, name + "/")] == []
            assert "IdentityN" not in {op.type for op in graph.get_operations()}
            assert "_gradient_op_type" not in str(graph.as_graph_def())


def test_tensors_have_the_names_that_scripts_fetch():
    names = ["bert/pooler/dense/Tanh", "bert/pooler/Squeeze", "loss/Softmax", "loss/LogSoftmax", "loss/BiasAdd"]
    golden = np.load(os.path.join(GOLDEN, "model_forward.npz"))
    layers = tiny_config().num_hidden_layers
    names += ["bert/encoder/Reshape_{}".format(2 + layer) for layer in range(layers)]
    names += ["bert/encoder/layer_{}/output/LayerNorm/batchnorm/add_1".format(layer) for layer in range(layers)]
    names += ["bert/encoder/layer_{}/attention/self/Softmax".format(layer) for layer in range(layers)]
    with tf.Graph().as_default() as graph, tf.Session() as session:
        (ids, mask, segments), labels, (loss, _, logits, probabilities) = classifier(shape=golden["input_ids"].shape)
        tf.train.init_from_checkpoint(CHECKPOINT, {"bert/": "bert/"})
        session.run(tf.global_variables_initializer())
        tensors = {name: graph.get_tensor_by_name(name + ":0") for name in names}
        feeds = {ids: golden["input_ids"], mask: golden["input_mask"], segments: golden["segment_ids"]}
        feeds[labels] = gold = golden["labels"] % 3
        values, returned = session.run([tensors, [loss, logits, probabilities]], feeds)
    assert np.allclose(values["bert/pooler/dense/Tanh"], golden["pooled_output"], atol=1e-5)
    assert np.allclose(values["bert/pooler/Squeeze"], golden["sequence_output"][:, 0], atol=1e-5)
    for layer in range(layers):
        output = golden["encoder_layer_{}".format(layer)]
        assert np.allclose(values["bert/encoder/Reshape_{}".format(2 + layer)], output, atol=1e-5)
        normalized = values["bert/encoder/layer_{}/output/LayerNorm/batchnorm/add_1".format(layer)]
        assert np.allclose(normalized.reshape(output.shape), output, atol=1e-5)
        attention = values["bert/encoder/layer_{}/attention/self/Softmax".format(layer)]
        assert np.allclose(attention.sum(axis=-1), 1.0, atol=1e-5)
    assert np.array_equal(values["loss/BiasAdd"], returned[1]) and np.array_equal(values["loss/Softmax"], returned[2])
    log_probabilities = values["loss/LogSoftmax"]
    expected = -log_probabilities[np.arange(len(gold)), gold].mean()
    assert abs(returned[0] - expected) < 1e-6


def float16_variables(getter, name, *args, **kwargs):
    return getter(name, *args, **dict(kwargs, dtype=tf.float16))


def float16_copies(getter, name, *args, **kwargs):
    return tf.cast(getter(name, *args, **kwargs), tf.float16)


@pytest.mark.parametrize("getter", [float16_variables, float16_copies])
@pytest.mark.parametrize("one_hot", [False, True])
def test_a_getter_of_float16_variables_makes_the_whole_model_float16(getter, one_hot):
    golden = np.load(os.path.join(GOLDEN, "model_forward.npz"))
    with tf.Graph().as_default(), tf.variable_scope("", custom_getter=getter):
        fed = [tf.placeholder(tf.int32, [None, None]) for _ in range(3)]
        model = modeling.BertModel(tiny_config(), False, *fed, one_hot)
        outputs = [model.get_sequence_output(), model.get_pooled_output(), model.get_embedding_output()]
        assert {tensor.dtype for tensor in outputs} == {tf.float16}
        variables = tf.trainable_variables()
        gradients = tf.gradients(outputs[1], variables)
        assert {tf.convert_to_tensor(g).dtype for g in gradients} == {variables[0].dtype.base_dtype}
        if getter is float16_copies:
            tf.train.init_from_checkpoint(CHECKPOINT, {"/": "/"})
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            columns = [golden[name] for name in ("input_ids", "input_mask", "segment_ids")]
            sequence, pooled, _ = session.run(outputs, dict(zip(fed, columns)))
    assert np.isfinite(sequence).all() and np.isfinite(pooled).all()
    if getter is float16_copies:
        assert np.abs(pooled - golden["pooled_output"]).max() < 0.02
        assert np.abs(sequence - golden["sequence_output"]).max() < 0.02 * np.abs(golden["sequence_output"]).max()


# --- run_classifier's functions ---------------------------------------------------------------------------------------


def test_test_examples_have_the_first_label(tmp_path):
    import run_classifier

    (tmp_path / "test.tsv").write_text("index\t#1 ID\t#2 ID\t#1 String\t#2 String\n0\t1\t2\tone\ttwo\n")
    assert [example.label for example in run_classifier.MrpcProcessor().get_test_examples(str(tmp_path))] == ["0"]


def test_a_pair_is_truncated_in_place():
    import run_classifier

    first, second = list("abcdef"), list("xyz")
    run_classifier._truncate_seq_pair(first, second, 5)
    assert (first, second) == (list("abc"), list("xy"))
