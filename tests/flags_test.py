"""Flags: names and defaults, given is not the same as default, relations, whose flag is whose."""

import dataclasses
import json
import os
import subprocess
import sys

import pytest
from absl.testing import flagsaver
from conftest import mistake, run_main

import flags
from steady_bert.command_line import configuration
from steady_bert.tasks.classification.registry import PROCESSORS

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BASE = [
    "--do_train",
    "--task_name=mrpc",
    "--data_dir=d",
    "--bert_config_file=b",
    "--vocab_file=v",
    "--output_dir=o",
]
BASES = {
    "run_classifier": BASE,
    "run_ner": ["--train_file=t", "--dev_file=d", "--test_file=s"]
    + [f for f in BASE if "task" not in f and "data" not in f],
    "run_squad": ["--train_file=t", "--dev_file=d", "--predict_file=s"]
    + [f for f in BASE if "task" not in f and "data" not in f],
}
CONFIGURATIONS = {
    "run_classifier": configuration.classifier_config,
    "run_ner": configuration.tagging_config,
    "run_squad": configuration.questions_config,
}
UPSTREAM = dict(
    data_dir=None,
    bert_config_file=None,
    task_name=None,
    vocab_file=None,
    output_dir=None,
    init_checkpoint=None,
    do_lower_case=True,
    max_seq_length=128,
    do_train=False,
    do_eval=False,
    do_predict=False,
    train_batch_size=32,
    eval_batch_size=8,
    predict_batch_size=8,
    learning_rate=5e-5,
    num_train_epochs=3.0,
    warmup_proportion=0.1,
    save_checkpoints_steps=1000,
    iterations_per_loop=1000,
    use_tpu=False,
    tpu_name=None,
    tpu_zone=None,
    gcp_project=None,
    master=None,
    num_tpu_cores=8,
)


def configured(arguments, script="run_classifier"):
    """The configuration of a command line, with the registry as it was before."""
    for known in flags.GROUPS:
        flags.register(known)
    saved = flagsaver.save_flag_values()
    try:
        flags.FLAGS([script + ".py"] + arguments)
        values = flags.Values(script)
        return CONFIGURATIONS[script](values), values.given_flags()
    finally:
        flagsaver.restore_flag_values(saved)


def test_upstreams_25_flags_have_their_names_and_defaults():
    assert len(UPSTREAM) == 25
    values = flags.Values("run_classifier")
    assert {name: getattr(values, name) for name in UPSTREAM} == UPSTREAM


def test_scripts_that_are_imported_together_keep_their_own_defaults():
    flags.register_for_import("run_classifier")
    flags.register_for_import("run_squad")
    own = dict(
        max_seq_length=384,
        doc_stride=128,
        max_query_length=64,
        n_best_size=20,
        max_answer_length=30,
        verbose_logging=False,
        version_2_with_negative=False,
        null_score_diff_threshold=0.0,
        train_file=None,
        predict_file=None,
    )
    other = {
        name: UPSTREAM[name] for name in UPSTREAM if name not in ("data_dir", "task_name", "do_eval", "eval_batch_size")
    }
    values = flags.Values("run_squad")
    expected = dict(other, **own)
    assert {name: getattr(values, name) for name in expected} == expected and len(expected) == 30
    assert flags.Values("run_classifier").max_seq_length == 128


def test_given_is_not_the_same_as_default():
    assert configured(BASE)[0].run.plan.num_train_epochs is None
    assert configured(BASE + ["--num_train_epochs=3.0"])[0].run.plan.num_train_epochs == 3.0
    assert [line.split("=")[0] for line in configured(BASE)[1]] == [line.split("=")[0] for line in BASE_IN_TABLE_ORDER]


BASE_IN_TABLE_ORDER = ["--do_train", "--task_name", "--data_dir", "--bert_config_file", "--vocab_file", "--output_dir"]


@pytest.mark.parametrize("script", BASES)
def test_every_flag_of_the_slices_comes_from_a_flag(script):
    """A field that no flag fills would be a setting that nobody can reach."""
    names = {flag.name for flag in flags.flags_of(script)}
    config = configured(BASES[script], script)[0]
    run = config.run
    elsewhere = {"run_squad": {"label_smoothing", "focal_gamma"}}.get(script, set())  # off: its places are no classes
    for part in (config.data, config.model, run.plan, run.optimizer, run.weights, run.engine, run.engine.tpu):
        fields = {field.name for field in dataclasses.fields(part)}
        made_of_others = {"no_decay_patterns_given", "tpu", "bucket", "auto_rate"}
        assert fields - made_of_others - elsewhere <= names


@pytest.mark.parametrize("script", BASES)
def test_an_automatic_rate_is_left_to_the_plan(script):
    given = BASES[script] + ["--learning_rate=auto", "--end_learning_rate=1e-4"]
    config, flags_file = configured(given, script)
    assert config.run.plan.auto_rate and config.run.plan.learning_rate == 1e-4 and "--learning_rate=auto" in flags_file
    assert not configured(BASES[script] + ["--learning_rate=1e-3"], script)[0].run.plan.auto_rate
    with pytest.raises(flags.absl_flags.Error, match="--learning_rate=best: neither a number nor auto"):
        configured(BASES[script] + ["--learning_rate=best"], script)
    with pytest.raises(flags.UserError, match="takes its rates from --lr_values"):
        configured(BASES[script] + ["--learning_rate=auto", "--lr_schedule=piecewise"], script)


def test_only_the_scripts_register_flags():
    code = (
        "import sys; sys.path.insert(0, {!r}); from absl import flags; before = set(flags.FLAGS);"
        "import modeling, tokenization, optimization; assert set(flags.FLAGS) - before <= OTHERS, 'early';"
        "flags.DEFINE_string('my_own', '', ''); import run_classifier, run_ner;"
        "assert {{'task_name', 'train_file'}} <= set(flags.FLAGS) and 'seed' not in flags.FLAGS;"
        "assert run_classifier.FLAGS is run_ner.FLAGS is flags.FLAGS; print('ok')"
    ).format(ROOT)
    # TensorFlow 1.15 brings flags of absl's own modules along.
    code = "OTHERS = set();" + code.replace(
        "<= OTHERS", "<= {n for n in flags.FLAGS if n not in " + repr(set(UPSTREAM)) + "}"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True
    )
    assert process.stdout.strip() == "ok", process.stderr


def test_xla_pads_to_a_fixed_length():
    assert configured(BASE)[0].run.engine.padding == "none"
    assert configured(BASE + ["--xla"])[0].run.engine.padding == "fixed"
    assert configured(BASE + ["--xla", "--padding=fixed"])[0].run.engine.padding == "fixed"
    with pytest.raises(flags.UserError, match="--xla: every other shape"):
        configured(BASE + ["--xla", "--padding=longest"])


def test_a_tpu_is_estimators_and_estimators_shapes_are_static():
    engine = configured(BASE + ["--use_tpu", "--tpu_name=t", "--num_tpu_cores=4"])[0].run.engine
    assert (engine.engine, engine.padding, engine.tpu.tpu_name, engine.tpu.num_tpu_cores) == (
        "estimator",
        "fixed",
        "t",
        4,
    )
    assert configured(BASE + ["--engine=estimator"])[0].run.engine.padding == "fixed"
    run = configured(BASE + ["--use_tpu", "--master=m", "--cache_dir=gs://b/c"])[0].run
    assert run.engine.bucket == "gs://b/c" and run.cache_dir is None
    assert configured(BASE + ["--engine=estimator", "--cache_dir=/c"])[0].run.cache_dir == "/c"


@pytest.mark.parametrize(
    "extra, said",
    [
        (["--use_tpu", "--engine=session"], "--use_tpu: --engine=session does not run on a TPU"),
        (["--use_tpu", "--distribution=mirrored"], "--use_tpu: a TPU's cores are its replicas"),
        (["--use_tpu", "--tpu_name=t", "--master=m"], "--use_tpu: give --tpu_name .* or --master, not both"),
        (["--use_tpu"], "--use_tpu: give --tpu_name"),
        (["--engine=estimator", "--devices=gpu:3"], "--devices is read with --distribution=mirrored here"),
        (["--use_tpu", "--tpu_name=t", "--optimizer=lazyadam"], "--optimizer=lazyadam: gradients are dense on a TPU"),
        (["--engine=estimator", "--padding=none"], "--engine=estimator: Estimator.s shapes are static"),
        (["--engine=estimator", "--xla"], "--xla is the session engine's"),
        (["--engine=estimator", "--precision=float16"], "--precision=float16: its loss scale is the session engine's"),
        (["--engine=estimator", "--profile_steps=1,2"], "--profile_steps traces the session engine"),
        (["--engine=estimator", "--distribution=multi_worker"], "Estimator runs in one process"),
        (["--cluster_bind=127.0.0.1"], "--cluster_bind says where several workers meet"),
        (["--distribution=multi_worker", "--xla"], "--xla: TensorFlow's clustering fails in a worker"),
        (["--distribution=multi_worker", "--devices=gpu:0"], "--devices: each of several workers uses its own"),
        (["--distribution=multi_worker", "--nodo_train", "--do_eval", "--model_dir=m"], "several workers train"),
        (["--batching=grouped", "--noshuffle"], "--batching=grouped: it groups a permutation"),
        (["--batching=grouped", "--use_tpu", "--tpu_name=t"], "--batching=grouped: a TPU reads the record file"),
        (["--cache_dir=gs://b/c"], "--cache_dir=gs://b/c: buckets are for --engine=estimator"),
        (["--init_checkpoint=gs://b/c"], "--init_checkpoint: name a local path"),
    ],
)
def test_what_cannot_run_together_is_refused(extra, said):
    with pytest.raises(flags.UserError, match=said):
        configured(BASE + extra)


@pytest.mark.parametrize("script", BASES)
def test_a_job_of_several_tasks_needs_the_flag_to_train(script, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": {"worker": ["a:1", "b:1"]}}))
    with pytest.raises(flags.UserError, match="TF_CONFIG names 2 tasks, .* Pass --distribution=multi_worker, or unset"):
        configured(BASES[script], script)
    configured(BASES[script] + ["--distribution=multi_worker"], script)
    configured(BASES[script] + ["--nodo_train", "--do_predict", "--predict_file=p", "--model_dir=m"], script)
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": {"worker": ["a:1"]}}))
    configured(BASES[script], script)


def test_steps_to_trace_are_a_first_and_a_last():
    assert configured(BASE)[0].run.engine.profile_steps == ()
    assert configured(BASE + ["--profile_steps=3,5"])[0].run.engine.profile_steps == (3, 5)
    for wrong in ("5,3", "0,2", "a,b", "3", "1,2,3", "-1,2", "1.5,2", "3,", "²,3"):
        with pytest.raises(flags.UserError, match="--profile_steps={}: not a first and a last".format(wrong)):
            configured(BASE + ["--profile_steps=" + wrong])
    with pytest.raises(flags.UserError, match="--profile_steps traces updates"):
        configured(["--do_eval", "--model_dir=m"] + BASE[1:] + ["--profile_steps=3,5"])


def test_the_table_in_the_documentation_is_that_of_the_flags():
    sys.path.insert(0, os.path.join(ROOT, "scripts"))
    import write_flags_table

    with open(os.path.join(ROOT, "docs", "flags.md"), encoding="utf-8") as file:
        assert file.read() == write_flags_table.flags_table(), "run scripts/write_flags_table.py"


def test_the_flags_of_a_task_are_refused_with_another():
    for task, processor in PROCESSORS.items():
        for name in processor.options:
            value = "multi" if name == "label_type" else "a,b"
            of_task = [other for other in BASE if "task_name" not in other] + ["--task_name=" + task]
            of_task += ["--label_type=multi"] * (name == "label_separator")
            given = "--{}={}".format(name, value)
            assert configured(of_task + [given])[0].data != configured(of_task)[0].data
            with pytest.raises(
                flags.UserError, match="--{} is read with --task_name={}, not with mrpc".format(name, task)
            ):
                configured(BASE + [given])


def test_a_flag_of_the_other_script_is_refused():
    for script, flag in (("run_ner", "--task_name=mrpc"), ("run_classifier", "--head=crf")):
        process = subprocess.run(
            [sys.executable, os.path.join(ROOT, script + ".py"), "--do_train", flag],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
        )
        assert process.returncode == 2 and "{}: is a flag of ".format(flag.split("=")[0]) in process.stderr, (
            process.stderr
        )
    assert run_main(["--do_train", "--task_name=mrpc"], "run_ner") == 2


@pytest.mark.parametrize(
    "given, message",
    [
        (["--do_eval"], "--dev_file is needed to evaluate"),
        (["--do_predict"], "--predict_file (or --test_file) is needed to predict"),
        (["--tag_column=0"], "--tag_column=0: column 0 is the word's"),
        (["--tag_column=2", "--word_column=2"], "--tag_column=2: column 2 is the word's"),
        (["--tag_column=-1"], "--tag_column=-1: neither a number from 0 nor a name"),
        (["--class_weights=O=2", "--head=crf"], "--class_weights: a CRF learns the probability of a sentence's tags"),
        (["--label_smoothing=0.1", "--head=bilstm_crf"], "--label_smoothing: a CRF learns"),
        (["--rdrop_alpha=1", "--head=crf"], "--rdrop_alpha: a CRF learns"),
        (["--fgm_epsilon=1", "--head=crf"], None),
        (["--mend_tags", "--overlaps=first"], "--mend_tags and --overlaps=first were both given"),
        (["--format=text"], "--format=text has no tags"),
        (["--lstm_size=3"], "--lstm_size is read with --head=bilstm or bilstm_crf"),
        (["--doc_stride=127"], "--doc_stride=127: words would be left out between windows of 126 pieces"),
        (["--doc_stride=126"], None),
    ],
)
def test_relations_of_tagging_flags(given, message):
    base = [flag for flag in BASES["run_ner"] if "dev_file" not in flag and "test_file" not in flag]
    if message is None:
        configured(base + given, "run_ner")
        return
    with pytest.raises(flags.UserError) as error:
        configured(base + given, "run_ner")
    assert message in str(error.value)


def test_a_damaged_file_of_flags_is_one_message(tmp_path, capsys):
    path = tmp_path / "flags.txt"
    path.write_bytes(b"--seed=1\n--output_dir=\xff\n")
    said = "--flagfile={}: not UTF-8 text, as a file of flags is. Restore it from a copy.\n".format(path)
    assert mistake(["--flagfile={}".format(path)], capsys).endswith(said)
    path.write_text("--" + "a" * 3000)  # absl looks for a similar name, a call deep for each letter
    assert "a thousand letters" in mistake(["--flagfile={}".format(path)], capsys)
    path.write_text("--learning_rate=" + "x" * 10**6)
    said = mistake(["--flagfile={}".format(path)], capsys)
    assert "--learning_rate=xx" in said and "xx … xx" in said and len(said) < 3000


@pytest.mark.parametrize(
    "name, value, shown",
    [
        ("output_dir", os.fsdecode(b"ru\xffn"), r"'ru\udcffn'"),
        ("freeze", os.fsdecode(b"a,\xff"), r"'\udcff'"),
        ("output_dir", "ru\0n", r"'ru\x00n'"),
    ],
)
def test_a_name_that_no_file_has_is_one_message(name, value, shown, capsys):
    """TensorFlow opens no file whose name is not UTF-8; a damaged file of flags holds anything."""
    message = mistake(["--{}={}".format(name, value)], capsys)
    assert "--{}={}: has a byte that is not UTF-8, or 0.".format(name, shown) in message
