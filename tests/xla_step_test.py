"""The whole training step as a TPU compiles it: forward, backward, sum, clip and update under XLA, static shapes."""

import pytest
import run_pretraining_test
import tagging_test
import tensorflow.compat.v1 as tf

import modeling
from optimization import OptimizerConfig
from steady_bert import rule_optimizer
from steady_bert.tasks.classification import assembly as classification
from steady_bert.tasks.classification.own_text import TextProcessor
from steady_bert.tasks.classification.processor import InputExample
from steady_bert.tasks.pretraining import assembly as pretraining
from steady_bert.tasks.pretraining.examples import Example
from steady_bert.tasks.tagging import assembly as tagging
from steady_bert.training import checkpoint, feature_cache, towers
from steady_bert.training.engine_config import EngineConfig
from steady_bert.training.plan import PlanConfig, make_plan

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not rule_optimizer.has_xla(), reason="XLA does not work on TensorFlow 1.15"),
]
EXAMPLES, LENGTH, STEPS = 8, 16, 5


def bert_config():
    sizes = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    rates = dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=0.1)
    return modeling.BertConfig(
        vocab_size=len(tagging_test.PIECES), max_position_embeddings=LENGTH, type_vocab_size=2, **sizes, **rates
    )


def classifier():
    inputs = classification.TaskInputs(
        processor=TextProcessor(labels=["no", "yes"]),
        files={},
        labels=["no", "yes"],
        tokenizer=tagging_test.Tokenizer(),
        vocab_fingerprint="",
        bert_config=bert_config(),
        max_seq_length=LENGTH,
    )
    labels = ["no", "yes"] * (EXAMPLES // 2)
    return classification.classification_task(inputs), [
        InputExample(str(n), "w{}x".format(n), None, label) for n, label in enumerate(labels)
    ]


def tagger():
    inputs = tagging_test.inputs_of(LENGTH, config=bert_config())
    sentences = [
        tagging_test.sentence(n, ["w{}x".format(n), "w1", "w2"][: 1 + n % 3], ["B-X", "I-X", "O"][: 1 + n % 3])
        for n in range(EXAMPLES)
    ]
    return tagging.tagging_task(inputs, tagging.Reader(inputs)), sentences


def pretrainer():
    """Masked words and second segments: two losses with means of their own."""
    inputs = pretraining.PretrainingInputs(
        run_pretraining_test.data_of(max_seq_length=LENGTH), {}, "document", None, "", bert_config()
    )
    ids = [[5 + (n + m) % 3 for m in range(6 + n)] for n in range(EXAMPLES)]
    return pretraining.pretraining_task(inputs), [
        Example(str(n), n, row, [0] * 3 + [1] * (len(row) - 3), [1, 4], [5, 6], [1.0, 1.0], n % 2)
        for n, row in enumerate(ids)
    ]


def batch_of(task, examples):
    """Column name → array of a static shape, for the examples."""
    features = [feature for feature, _ in task.featurize(examples)]
    per_token = next(name for name, column in task.columns.items() if column.per_token)
    records = [feature_cache.serialize(feature, task.columns, len(feature[per_token])) for feature in features]
    with tf.Graph().as_default(), tf.Session() as session:
        config = EngineConfig(padding="fixed", max_seq_length=LENGTH)
        return session.run(towers.parse(tf.constant(records), task, config))


def losses(task, batch, precision="float32", compiled=True, through_python=False, **optimizer):
    """The loss of each of STEPS updates on the same batch."""
    plan = make_plan(
        PlanConfig(train_batch_size=EXAMPLES, num_train_steps=STEPS, learning_rate=2e-3, num_warmup_steps=1, seed=3),
        EXAMPLES,
        {},
        {},
    )
    config = EngineConfig(padding="fixed", max_seq_length=LENGTH, precision=precision)
    names = sorted(batch)
    with tf.Graph().as_default(), tf.variable_scope("", use_resource=True):
        feeds = {name: tf.placeholder(batch[name].dtype, batch[name].shape) for name in names}
        global_step, state = towers.make_global_step(), checkpoint.training_state_variables()

        def step(*columns):
            columns = dict(zip(names, columns))
            if through_python:
                columns["input_ids"] = tf.reshape(
                    tf.py_func(lambda ids: ids, [columns["input_ids"]], tf.int32), [8, 16]
                )
            replicas = towers.Replicas(0, 1, on_tpu=True)
            trained = towers.training_tower(
                task, config, plan, OptimizerConfig(**optimizer), replicas, global_step, state, lambda part: columns
            )
            return trained.loss, trained.grad_norm

        columns = [feeds[name] for name in names]
        loss, norm = tf.xla.experimental.compile(step, columns) if compiled else step(*columns)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            values = []
            for _ in range(STEPS):
                loss_value, norm_value = session.run([loss, norm], {feeds[name]: batch[name] for name in names})
                assert norm_value > 0
                values.append(float(loss_value))
            assert session.run(global_step) == STEPS
    return values


ADAMW, LOOKAHEAD = {}, {"optimizer": "radam", "lookahead_steps": 2}


@pytest.mark.parametrize(
    "make, precision, optimizer",  # each pair of values once
    [
        (classifier, "float32", ADAMW),
        (classifier, "bfloat16", LOOKAHEAD),
        (tagger, "float32", LOOKAHEAD),
        (tagger, "bfloat16", ADAMW),
    ],
)
def test_the_whole_step_compiles_and_learns_what_the_plain_one_learns(make, precision, optimizer):
    compiles_and_learns(make, precision, optimizer)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_step_of_pretraining_compiles_and_learns_what_the_plain_one_learns(precision):
    compiles_and_learns(pretrainer, precision, {})


def compiles_and_learns(make, precision, optimizer):
    task, examples = make()
    batch = batch_of(task, examples)
    compiled = losses(task, batch, precision, **optimizer)
    plain = losses(task, batch, precision, compiled=False, **optimizer)
    assert compiled == pytest.approx(plain, rel=1e-5 if precision == "float32" else 1e-2)
    assert compiled[-1] < compiled[0], "nothing was learned"


def test_a_step_that_calls_python_is_refused():
    task, examples = classifier()
    batch = batch_of(task, examples)
    with pytest.raises((ValueError, tf.errors.OpError), match="(?i)pyfunc"):
        losses(task, batch, through_python=True)
    assert losses(task, batch, through_python=True, compiled=False), "the step fails without XLA too"
