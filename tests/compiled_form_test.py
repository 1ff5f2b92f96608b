"""The form of a run on a GPU, on a CPU: what it computes, how it repeats, how few nodes it executes."""

import os
from types import SimpleNamespace

import forked
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from conftest import ROOT
from session_engine_test import (  # noqa: F401  # fixtures
    built,
    losses_and_norms,
    plan_of,
    records,
    run,
    task,
    task_of,
)

import modeling
import tokenization
from optimization import OptimizerConfig
from steady_bert import row_sums, rule_optimizer
from steady_bert.base import compiled_pieces, forms
from steady_bert.base.compute import PLAIN, Compute
from steady_bert.base.packing import attention_places, packed_places, row_count, row_length_for
from steady_bert.base.randomness import keyed_randomness
from steady_bert.training import checkpoint, devices, failures, feature_cache, progress, session_engine, towers
from steady_bert.training import run as run_phases
from steady_bert.training.plan import PlanConfig

needs_xla = pytest.mark.skipif(not rule_optimizer.has_xla(), reason="compiles from TF 2.15 on")

LENGTHS = [24, 3, 9, 1, 17]
MASK = (np.arange(24) < np.array(LENGTHS)[:, None]).astype(np.int32)
PACKED = dict(padding_free=True, row_length=32)


def config_of(layers, activation="gelu"):
    return modeling.BertConfig(
        60,
        hidden_act=activation,
        hidden_size=16,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        type_vocab_size=2,
    )


def values_of(compute, is_training, first_only, layers=2, activation="gelu"):
    """[the vectors, the gradient of each variable] of one batch."""
    rng = np.random.RandomState(0)
    ids, types = rng.randint(0, 60, MASK.shape) * MASK, rng.randint(0, 2, MASK.shape) * MASK
    config = tf.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = compute.form != "compiled"  # slow, and not looked at
    with tf.Graph().as_default(), tf.Session(config=config) as session:
        with tf.variable_scope("", use_resource=True), keyed_randomness(3, tf.constant(5, tf.int64)):
            fed = [tf.placeholder(tf.int32, [None, None]) for _ in range(3)]
            model = modeling.BertModel(
                config_of(layers, activation),
                is_training,
                *fed,
                scope="bert",
                first_token_only=first_only,
                compute=compute,
            )
            output = model.get_pooled_output()
            if not first_only:
                output = model.get_sequence_output() * tf.cast(fed[1], tf.float32)[:, :, None]
            weights = np.random.RandomState(1).randn(*((5, 16) if first_only else (5, 24, 16))).astype(np.float32)
            variables = [v for v in tf.trainable_variables() if first_only or "pooler" not in v.name]
            gradients = tf.gradients(tf.reduce_sum(output * weights), variables)
        session.run(tf.global_variables_initializer())
        fetched = {"": output, **{v.op.name: tf.convert_to_tensor(g) for v, g in zip(variables, gradients)}}
        options, metadata = tf.RunOptions(output_partition_graphs=True), tf.RunMetadata()
        values = session.run(fetched, dict(zip(fed, [ids, MASK, types])), options, metadata)
        if compute.form == "compiled":
            assert products_wait(metadata.partition_graphs) == [compute.recompute] * layers
        return values


def products_wait(executed):
    """For each layer's call backward that was executed, whether its products are of a call that waits for its gradient.

    In the graph as TensorFlow has rewritten it, which may merge what it takes for the same, and drop what waits.
    """
    nodes = {node.name: node for graph in executed for node in graph.node}
    waits = []
    for node in nodes.values():
        name = node.attr["f"].func.name if "PartitionedCall" in node.op else ""
        products = {given.split(":")[0] for given in node.input if "PartitionedCall:" in given}
        if "_backward_" in name and products:  # the embeddings have none
            (forward,) = (nodes[product] for product in products)
            assert "_forward_" in forward.attr["f"].func.name
            waits.append("^" + node.input[0].split(":")[0] in forward.input)
    return waits


def assert_close(left, right, tolerance):
    assert list(left) == list(right)  # the variables are made in one order
    scale = max(np.abs(value).max() for name, value in left.items() if name)
    for name in left:
        # The gradient of a key's bias is 0 but for rounding.
        of = scale if "key/bias" in name else np.abs(left[name]).max()
        assert np.abs(left[name] - right[name]).max() <= tolerance * of, name


def test_packed_rows_hold_each_token_once():
    places = packed_places(MASK, 32)
    assert places.sequence.shape == (2, 32)  # 24 + 3 + 1, 17 + 9
    for number, length in enumerate(LENGTHS):
        start = places.first[number]
        assert (places.position[start : start + length] == 24 * number + np.arange(length)).all()
        assert (places.place[24 * number : 24 * number + length] == start + np.arange(length)).all()
        assert (places.place[24 * number + length : 24 * (number + 1)] == -1).all()
        assert places.first_of[start] == number
    assert (places.position >= 0).sum() == sum(LENGTHS) and (places.first_of >= 0).sum() == 5
    with pytest.raises(ValueError, match="24 tokens"):
        packed_places(MASK, 16)


def test_few_numbers_of_rows_serve_all_batches():
    assert [row_count(rows) for rows in (1, 2, 3, 8, 9, 15, 17, 31, 33, 65)] == [1, 2, 4, 8, 10, 16, 20, 32, 40, 80]
    assert [row_count(rows, doubling=True) for rows in (1, 2, 3, 5, 9)] == [1, 2, 4, 8, 16]


@pytest.mark.parametrize("length, parts, examples", [(100, 1, 2), (128, 1, 3), (128, 2, 18), (40, 1, 4)])
def test_workers_fill_their_rows_up_to_as_many_as_packing_can_need(length, parts, examples):
    compute = Compute("compiled", padding_free=True, row_length=row_length_for(length))
    most = towers._most_rows(compute, examples, parts, length)
    for real in (1, length // 2 + 1, length):
        mask = (np.arange(length) < np.full(examples // parts, real)[:, None]).astype(np.int32)
        assert parts * packed_places(mask, compute.row_length).sequence.size <= most
    assert towers._most_rows(Compute("fast", padding_free=True), examples, parts, length) == examples * length


@pytest.mark.parametrize("first_only", [True, False])
def test_packed_rows_of_stock_ops_give_the_numbers_of_the_padded_square(first_only):
    padded = values_of(PLAIN, False, first_only)
    for packed in (PACKED, dict(padding_free=True, packed_attention=True)):
        assert_close(padded, values_of(Compute("plain", **packed), False, first_only), 1e-5)


@pytest.mark.parametrize("lengths, rows", [(LENGTHS, 64), ([1], 1), ([8, 8], 16), ([5, 3, 2], 32)])
def test_rows_share_places_while_they_attend(lengths, rows):
    places, sequence = attention_places(np.array(lengths), rows)
    assert len(places) == len({tuple(place) for place in places}) == rows and (places < sequence.shape).all()
    expected = np.append(np.repeat(np.arange(len(lengths)), lengths), [-1] * (rows - sum(lengths)))
    assert (sequence[tuple(places.T)] == expected).all() and (sequence >= 0).sum() == sum(lengths)
    assert sequence.shape[1] == -(-max(lengths) // 8) * 8


def test_the_fast_form_has_the_masks_values_and_gradients_of_the_plain_one(monkeypatch):
    monkeypatch.setattr(compiled_pieces, "LEAST_WIDTH", 1)
    shared = dict(padding_free=True, packed_attention=True)
    fast = Compute("fast", compiled_pieces=rule_optimizer.has_xla(), **shared)
    assert_close(values_of(Compute("plain", **shared), True, True), values_of(fast, True, True), tolerance=2e-5)


@needs_xla
@pytest.mark.parametrize(
    "first_only, padding, activation", [(True, PACKED, "gelu"), (False, PACKED, "gelu_erf"), (False, {}, "gelu")]
)
def test_the_compiled_form_has_the_masks_values_and_gradients_of_the_plain_one(first_only, padding, activation):
    layers = 2 if first_only else 1  # the last layer differs from the others if it has the first tokens alone
    plain = values_of(Compute("plain", **padding), True, first_only, layers, activation)
    compiled = values_of(Compute("compiled", **padding), True, first_only, layers, activation)
    assert_close(plain, compiled, 2e-5)
    if padding and first_only:
        again = values_of(Compute("compiled", recompute=True, **padding), True, first_only)
        assert all(np.array_equal(again[name], compiled[name]) for name in compiled)


@pytest.mark.parametrize("rows, block", [(1, 4), (23, 4), (64, 4), (64, 64)])
def test_rows_are_summed_by_their_index_across_blocks(rows, block):
    """Whole numbers, so that every order of summing gives the same."""
    rng = np.random.RandomState(rows)
    indices = np.where(rng.rand(rows) < 0.4, 5, rng.randint(0, 9, rows)).astype(np.int32)
    values = rng.randint(-8, 9, (rows, 3)).astype(np.float32)
    expected = np.zeros((12, 3), np.float32)
    np.add.at(expected, indices, values)
    with tf.Graph().as_default(), tf.Session() as session:
        sums, present = session.run(row_sums.summed(tf.constant(values), tf.constant(indices), 12, block))
    assert (sums == expected).all() and (present == np.isin(np.arange(12), indices)).all()


@needs_xla
@pytest.mark.parametrize(
    "form, settings",
    [("compiled", PACKED), ("fast", dict(padding_free=True, packed_attention=True, compiled_pieces=True))],
)
def test_activations_in_bfloat16_stay_near(monkeypatch, form, settings):
    monkeypatch.setattr(compiled_pieces, "LEAST_WIDTH", 1)
    exact = values_of(Compute("plain", **dict(settings, compiled_pieces=False)), True, True, layers=1)
    rounded = values_of(Compute(form, precision="bfloat16", **settings), True, True, layers=1)
    assert rounded[""].dtype == np.float32
    assert_close(exact, rounded, 0.1)


@needs_xla
def test_a_compiled_activation_in_bfloat16_rounds_its_result_and_sums_the_gradient_of_the_bias_in_float32():
    rng = np.random.RandomState(0)
    x, upstream = (tf.bfloat16.as_numpy_dtype(rng.randn(300, 3)) for _ in range(2))
    with tf.Graph().as_default(), tf.Session() as session:
        product, bias = tf.placeholder(tf.bfloat16, [None, 3]), tf.placeholder(tf.float32, [3])
        total = tf.cast(product, tf.float32) + bias
        exact = forms.plain_gelu(total)
        gradients = tf.gradients(exact, [total, bias], tf.cast(upstream, tf.float32))
        rounded = compiled_pieces.biased_activation(forms.fast_gelu)(product, bias)
        of_rounded = tf.gradients(rounded, [product, bias], tf.constant(upstream))
        pairs = [(rounded, exact), *zip(of_rounded, gradients)]
        assert [found.dtype for found, _ in pairs] == [tf.bfloat16, tf.bfloat16, tf.float32]
        values = session.run(
            [[tf.cast(found, tf.float32), expected] for found, expected in pairs], {product: x, bias: [0.3, -1.0, 2.0]}
        )
    for (found, expected), tolerance in zip(values, (2**-8, 2**-8, 1e-5)):
        assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


@needs_xla
@pytest.mark.slow
def test_a_compiled_run_repeats_and_resumes_bitwise(task, records, tmp_path, monkeypatch):  # noqa: F811
    """Compiled updates are others' subject."""
    monkeypatch.setattr(rule_optimizer, "_can_compile", lambda variables: False)
    settings = dict(compute_form="compiled", gradient_accumulation_steps=2, precision="bfloat16")
    plan = plan_of(records, num_train_steps=4, eval_every_steps=2, save_checkpoints_steps=2)
    whole = run(task, records, tmp_path / "whole", plan, **settings)
    half = checkpoint.prefix_of(str(tmp_path / "whole"), 2)
    resumed = run(task, records, tmp_path / "resumed", plan, resume=half, **settings)
    assert all(np.array_equal(whole[name], resumed[name]) for name in whole)


def losses_of_two_and_of_one(tiny, folder):
    """losses_and_norms of two replicas and of one device, without dropout, clipped."""
    rule_optimizer._can_compile = lambda variables: False
    still = task_of(
        tiny.without_dropout,
        files={"train": os.path.join(tiny.data_dir, "train.tsv")},
        tokenizer=tokenization.FullTokenizer(tiny.vocab_file),
    )
    read = {"train": feature_cache.open_or_build(still, "train", folder)}
    plan = plan_of(read, num_warmup_steps=0)
    optimizer = OptimizerConfig(clip_norm=0.1)
    two = dict(distribution="mirrored", devices=("cpu:0", "cpu:1"))
    return [  # in this order: the first function that TensorFlow makes fixes the logical devices
        losses_and_norms(still, plan, read, 4, optimizer=optimizer, compute_form="compiled", **settings)
        for settings in (two, dict())
    ]


@needs_xla
@pytest.mark.slow
def test_two_replicas_in_the_compiled_form_learn_what_one_device_learns(tiny, tmp_path):
    """The replicas' shares differ in their tokens."""
    replicas, one_device = forked.call(losses_of_two_and_of_one, tiny, str(tmp_path), compiled=True)
    assert one_device[:, 1].min() > 0.1 and len(set(one_device[:, 0])) == 4
    np.testing.assert_allclose(replicas, one_device, rtol=1e-4)


@needs_xla
@pytest.mark.slow
def test_an_update_of_twelve_layers_runs_at_most_1200_nodes(records, tiny, monkeypatch):  # noqa: F811
    monkeypatch.syspath_prepend(os.path.join(ROOT, "benchmarks"))
    import step_profile

    plan, serialized, nodes = plan_of(records, num_train_steps=3), records["train"].read(np.arange(16)), []
    for layers in (2, 3):
        config = modeling.BertConfig.from_json_file(tiny.bert_config_file)
        config.num_hidden_layers = layers
        engine = built(task_of(tiny.bert_config_file, bert_config=config), plan, compute_form="compiled")
        nodes.append(step_profile.counts(step_profile.traced(engine, serialized)).nodes)
        session_engine.close(engine)
    assert nodes[1] + 9 * (nodes[1] - nodes[0]) <= 1200, nodes  # a third layer has what each of the others has


@pytest.mark.parametrize(
    "settings, form",
    [
        (dict(), "compiled"),
        (dict(compute_form="fast"), "compiled"),
        (dict(compute_form="plain"), "plain"),
        (dict(devices=("cpu:0",)), "fast"),
        (dict(engine="estimator"), "fast"),
        (dict(xla=True, padding="fixed"), "fast"),
    ],
)
def test_the_form_is_the_fast_one_of_the_device(monkeypatch, settings, form):
    config = session_engine.EngineConfig(**settings)
    monkeypatch.setattr(devices, "gpus", lambda: ["gpu:0"])
    assert devices.compute_form(config) == (form if rule_optimizer.has_xla() else form.replace("compiled", "fast"))
    monkeypatch.setattr(devices, "gpus", list)
    assert devices.compute_form(config) == form.replace("compiled", "fast")


@pytest.mark.parametrize("config, compiled_pieces", [(dict(), True), (dict(xla=True), False)])
def test_training_alone_packs_attention_and_compiles_pieces(monkeypatch, config, compiled_pieces):
    monkeypatch.setattr(devices, "gpus", list)
    config, plan = session_engine.EngineConfig(**config), SimpleNamespace(seed=1, fgm_epsilon=0.0, rdrop_alpha=0.0)
    seen = []

    def build(batch, is_training, compute):
        seen.append(compute)
        raise KeyboardInterrupt

    stub = SimpleNamespace(build=build)
    with tf.Graph().as_default():
        step = towers.make_global_step()
        with pytest.raises(KeyboardInterrupt):
            towers.inference_tower(stub, config, 1, {}, {})
        with pytest.raises(KeyboardInterrupt):
            towers.training_tower(
                stub, config, plan, OptimizerConfig(), towers.Replicas(0, 1), step, {}, lambda part: {}
            )
    assert [(each.form, each.packed_attention) for each in seen] == [("fast", False), ("fast", True)]
    assert [each.compiled_pieces for each in seen] == [False, compiled_pieces and rule_optimizer.has_xla()]


def test_a_plan_says_how_a_gpu_computes(monkeypatch):
    monkeypatch.setattr(devices, "gpus", lambda: ["gpu:0"])
    monkeypatch.setattr(rule_optimizer, "has_xla", lambda: True)
    notes = devices.notes_of_form(session_engine.EngineConfig(tf32=False, recompute=True))
    assert notes["compute_form"] == "compiled" and notes["products"] == "exact float32"
    assert "again in the backward pass" in notes["recompute"]
    on_cpu = session_engine.EngineConfig(devices=("cpu:0",), recompute=True)
    shared_rows = {"attention": "sequences share rows in training"}
    assert devices.notes_of_form(on_cpu) == {"recompute": "no effect in this form", **shared_rows}
    config = session_engine.EngineConfig(devices=("cpu:0",), precision="float16", padding="longest")
    assert devices.notes_of_form(config) == {
        "loss_scale": "from 32,768; twice after 2,000 updates without an overflow, half after one"
    }


def test_a_resume_says_how_its_numbers_are_computed_differently(capsys):
    forms = [{}, {"compute_form": "compiled", "products": "exact float32"}, {"compute_form": "compiled"}]
    forms.append({"compute_form": "compiled", "products": "TF32"})
    for before, after in zip(forms, forms[1:] + forms[1:2]):
        run_phases.say_changed_form(before, after)
    shared_rows = {"attention": "sequences share rows in training"}
    run_phases.say_changed_form({}, shared_rows)
    run_phases.say_changed_form(shared_rows, shared_rows)
    said = capsys.readouterr().out.splitlines()
    assert [line.split(".")[0] for line in said] == [
        "compute_form: fast → compiled",
        "products: TF32 → exact float32",
        "attention: sequences share rows in training, which changes the masks of dropout on its scores",
    ]


def test_xla_is_set_up_where_a_gpu_may_be_and_the_users_settings_come_last(monkeypatch, tmp_path):
    monkeypatch.setenv("XLA_FLAGS", "--of_the_user")
    monkeypatch.setenv("TF_XLA_FLAGS", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(devices.os.path, "exists", lambda path: False)
    devices._prepare_compiler()
    assert os.environ["XLA_FLAGS"] == "--of_the_user"
    monkeypatch.setattr(devices.os.path, "exists", lambda path: path == "/dev/nvidiactl")
    for _ in range(2):  # the second time, nothing is added
        devices._prepare_compiler()
        assert os.environ["XLA_FLAGS"].split() == list(devices._XLA_FLAGS) + ["--of_the_user"]
        assert os.environ["TF_XLA_FLAGS"].count(str(tmp_path)) == 1


def test_code_is_kept_only_where_it_can_be_written_and_a_file_of_flags_stays(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "of two words").mkdir()
    monkeypatch.setattr(devices.os.path, "exists", lambda path: path == "/dev/nvidiactl")
    for folder in ("file", "of two words"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / folder))
        monkeypatch.setenv("TF_XLA_FLAGS", "")
        monkeypatch.setenv("XLA_FLAGS", "flags.txt")
        devices._prepare_compiler()
        assert (os.environ["TF_XLA_FLAGS"], os.environ["XLA_FLAGS"]) == ("", "flags.txt")


def test_a_failure_of_the_compiler_names_the_form_without_it(monkeypatch):
    config = SimpleNamespace(engine=session_engine.EngineConfig(), plan=PlanConfig())
    missing = tf.errors.InternalError(None, None, "libdevice not found at ./libdevice.10.bc\n\t [[{{node x}}]]")
    monkeypatch.setattr(devices, "compute_form", lambda config: "compiled")
    assert "libdevice.10.bc\nOn a GPU, XLA" in failures._problem(missing, config)
    assert "--compute_form=plain" in failures._problem(missing, config)
    assert failures._less_memory(config, in_training=True).endswith("--recompute saves memory too.")
    other = tf.errors.InternalError(None, None, "Blas GEMM launch failed")
    assert "--compute_form" not in failures._problem(other, config)
    monkeypatch.setattr(devices, "compute_form", lambda config: "plain")
    assert "--compute_form" not in failures._problem(missing, config)


def test_updates_that_always_take_seconds_are_not_said_to_compile(monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: clock[0])

    def run(seconds):
        clock[0] += seconds

    update = progress.saying_what_compiles(run)
    for seconds in (24.0, 3.0, 3.1, 2.9, 15.0, 3.0):
        update(seconds)
    said = [line for line in capsys.readouterr().out.splitlines() if "XLA compiled" in line]
    assert ["update 1 of" in said[0], "update 5 of" in said[-1], len(said)] == [True, True, 3]  # 2: not known yet
