"""run_pretraining: the original's numbers, text with masks new in every epoch, exact resume, the stage after it."""

import gzip
import json
import os

import estimator_engine_test
import forked
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from conftest import ROOT, copy_as_stopped, mistake, run_each, succeed

import flags
import modeling
import run_pretraining
import tokenization
from steady_bert.base.compute import PLAIN, Compute
from steady_bert.base.errors import UserError
from steady_bert.command_line import flag_table
from steady_bert.interchange import safetensors_files
from steady_bert.tasks.pretraining import assembly, examples, heads
from steady_bert.tasks.pretraining.training_config import PretrainingInput
from steady_bert.training import feature_cache

SCRIPT = "run_pretraining"
GOLDEN = np.load(os.path.join(ROOT, "tests", "golden", "pretraining_forward.npz"), allow_pickle=False)
CONFIG = dict(json.loads(str(GOLDEN["config_json"])), hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
WEIGHTS = {name[len("w/") :]: GOLDEN[name] for name in GOLDEN.files if name.startswith("w/")}
COLUMNS = ("input_ids", "input_mask", "segment_ids", "masked_lm_positions", "masked_lm_ids", "masked_lm_weights")


def data_of(**changed):
    values = dict(
        files={},
        text_form="auto",
        segmentation_suffix=None,
        use_next_sentence_task=True,
        max_seq_length=24,
        max_predictions_per_seq=5,
        masked_lm_prob=0.15,
        short_seq_prob=0.1,
        do_whole_word_mask=False,
    )
    return PretrainingInput(**dict(values, **changed))


def close(value, golden, tolerance):
    assert np.max(np.abs(value - golden)) <= tolerance * max(np.max(np.abs(golden)), 1e-3)


# --- golden numbers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compute", [PLAIN, Compute("fast", padding_free=True)])
def test_losses_gradients_and_scores_are_the_originals(compute):
    config = modeling.BertConfig.from_dict(CONFIG)
    inputs = assembly.PretrainingInputs(data_of(), {}, "document", None, "", config)
    with tf.Graph().as_default(), tf.variable_scope("", use_resource=True), tf.Session() as session:
        batch = {name: tf.constant(GOLDEN["in/" + name]) for name in COLUMNS}
        batch["next_sentence_labels"] = tf.constant(GOLDEN["in/next_sentence_labels"][:, 0])
        outputs = assembly.pretraining_task(inputs).build(batch, True, compute)
        means = tf.reduce_sum(outputs.loss, axis=0) / tf.reduce_sum(outputs.weight, axis=0)
        variables = tf.trainable_variables()
        gradients = [tf.convert_to_tensor(each) for each in tf.gradients(tf.reduce_sum(means), variables)]
        session.run(tf.global_variables_initializer())
        for variable in variables:
            variable.load(WEIGHTS[variable.op.name], session)
        losses, gradients, predictions = session.run([means, gradients, outputs.predictions])
    close(losses[0], GOLDEN["out/masked_lm_loss"], 1e-5)
    close(losses[1], GOLDEN["out/next_sentence_loss"], 1e-5)
    assert {variable.op.name for variable in variables} == set(WEIGHTS)
    for variable, gradient in zip(variables, gradients):
        close(gradient, GOLDEN["grad/" + variable.op.name], 1e-4)
    scores = assembly.scores({name: list(rows) for name, rows in predictions.items()})
    assert scores["perplexity"] == pytest.approx(np.exp(scores["masked_lm_loss"]))
    for name in ("masked_lm_accuracy", "masked_lm_loss", "next_sentence_accuracy", "next_sentence_loss"):
        assert scores[name] == pytest.approx(float(GOLDEN["eval_batch8_steps1/" + name]), rel=1e-5)


def test_the_functions_that_scripts_import_give_the_originals_numbers():
    config = modeling.BertConfig.from_dict(CONFIG)
    with tf.Graph().as_default(), tf.Session() as session:
        sequence = tf.constant(GOLDEN["out/sequence_output"])
        table = tf.constant(WEIGHTS["bert/embeddings/word_embeddings"])
        masked = [tf.constant(GOLDEN["in/masked_lm_" + name]) for name in ("positions", "ids", "weights")]
        gathered = run_pretraining.gather_indexes(sequence, masked[0])
        of_words = run_pretraining.get_masked_lm_output(config, sequence, table, *masked)
        of_pairs = run_pretraining.get_next_sentence_output(
            config, tf.constant(GOLDEN["out/pooled_output"]), tf.constant(GOLDEN["in/next_sentence_labels"])
        )
        session.run(tf.global_variables_initializer())
        for variable in tf.trainable_variables():
            variable.load(WEIGHTS[variable.op.name], session)
        values = session.run([gathered, *of_words, *of_pairs])
    names = ["gathered"] + [
        "{}_{}".format(task, name)
        for task in ("masked_lm", "next_sentence")
        for name in ("loss", "example_loss", "log_probs")
    ]
    for name, value in zip(names, values):
        close(value, GOLDEN["out/" + name], 1e-5)


@pytest.fixture(scope="module")
def golden_files(tmp_path_factory):
    """The golden batch as two record files and an empty one, the weights as a checkpoint, and the configuration."""
    folder = tmp_path_factory.mktemp("golden")
    for half in (0, 1):
        with tf.python_io.TFRecordWriter(str(folder / "part-{}.tfrecord".format(half))) as writer:
            for row in range(4 * half, 4 * half + 4):
                example = tf.train.Example()
                for name in (*COLUMNS, "next_sentence_labels"):
                    column = example.features.feature[name]
                    numbers = column.float_list if name == "masked_lm_weights" else column.int64_list
                    numbers.value.extend(GOLDEN["in/" + name][row])
                writer.write(example.SerializeToString())
    (folder / "part-.tfrecord").write_bytes(b"")  # as from few instances for many files
    with tf.Graph().as_default(), tf.Session() as session:
        for name, value in WEIGHTS.items():
            tf.get_variable(name, initializer=value)
        session.run(tf.global_variables_initializer())
        tf.train.Saver().save(session, str(folder / "bert_model.ckpt"), write_meta_graph=False)
    (folder / "bert_config.json").write_text(json.dumps(CONFIG))
    return folder


def arguments(files, output, **more):
    values = dict(
        input_file=files / "part-*.tfrecord",
        bert_config_file=files / "bert_config.json",
        init_checkpoint=files / "bert_model.ckpt",
        output_dir=output,
        max_seq_length=24,
        max_predictions_per_seq=5,
    )
    values.update(more)
    return ["--{}={}".format(name, value) for name, value in values.items() if value is not None]


def losses_of(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().split("\n") if line]
    return [line["loss"] for line in lines if line["split"] == "train"]


SIX_STEPS = dict(
    do_train="true", num_train_steps=6, num_warmup_steps=2, learning_rate=1e-3, train_batch_size=8, log_every_steps=1
)


def test_training_and_evaluation_by_command_give_the_originals_losses_on_any_split_of_a_batch(
    golden_files, tmp_path, capsys
):
    expected = GOLDEN["train_rate_of_step/losses"]
    succeed(arguments(golden_files, tmp_path / "run", **SIX_STEPS), capsys, SCRIPT)
    close(np.array(losses_of(tmp_path / "run")), expected[:6], 1e-5)
    # The weights as they are, evaluated as the original does it: on input_file, without training.
    for folder, evaluated, text in (
        ("untrained", GOLDEN["out/total_loss"], str(GOLDEN["eval_batch8_steps1/text"])),
        ("run", expected[6], None),
    ):
        given = arguments(golden_files, tmp_path / folder, do_eval="true", eval_batch_size=3)
        succeed(given, capsys, SCRIPT)
        lines = (tmp_path / folder / "eval_results.txt").read_text().split("\n")
        scores = dict(line.split(" = ") for line in lines if line)
        close(float(scores["loss"]), evaluated, 1e-5)
        if text is not None:
            assert {line.split(" = ")[0] for line in text.split("\n") if line} | {"perplexity"} == set(scores)
            assert float(scores["masked_lm_accuracy"]) == pytest.approx(
                float(GOLDEN["eval_batch8_steps1/masked_lm_accuracy"])
            )
    # Two losses with means of their own, whatever a batch is split into.
    parts = arguments(golden_files, tmp_path / "parts", **SIX_STEPS, gradient_accumulation_steps=2)
    succeed(parts, capsys, SCRIPT)
    close(np.array(losses_of(tmp_path / "parts")), expected[:6], 1e-5)


@pytest.mark.slow
def test_replicas_and_parts_together_give_the_originals_losses(golden_files, tmp_path):
    split = dict(gradient_accumulation_steps=2, distribution="mirrored", devices="cpu:0,cpu:1")
    given = arguments(golden_files, tmp_path / "split", **SIX_STEPS, **split)
    assert forked.call(run_each, [given], SCRIPT) == [0]
    close(np.array(losses_of(tmp_path / "split")), GOLDEN["train_rate_of_step/losses"][:6], 1e-5)


def test_a_hugging_face_folder_brings_its_heads(golden_files, tmp_path, capsys):
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = names + ["piece{}".format(n) for n in range(CONFIG["vocab_size"] - len(names))]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces) + "\n")
    # The golden numbers are of the approximation by tanh.
    config = dict(CONFIG, model_type="bert", architectures=["BertForPreTraining"], hidden_act="gelu_new")
    (tmp_path / "config.json").write_text(json.dumps(config))
    weights = str(tmp_path / "model.safetensors")
    safetensors_files.write_bert(weights, WEIGHTS, CONFIG["num_hidden_layers"], "here")
    given = dict(bert_config_file=None, init_checkpoint=None, model=tmp_path, do_eval="true")
    succeed(arguments(golden_files, tmp_path / "evaluated", **given), capsys, SCRIPT)
    scores = json.loads((tmp_path / "evaluated" / "eval_results.json").read_text())
    close(scores["loss"], GOLDEN["out/total_loss"], 1e-5)
    without = {name: value for name, value in WEIGHTS.items() if not name.startswith("cls/")}
    safetensors_files.write_bert(weights, without, CONFIG["num_hidden_layers"], "here")
    said = mistake(arguments(golden_files, tmp_path / "evaluated", **given), capsys, SCRIPT)
    assert "has no trained head (cls.predictions.bias)" in said


@estimator_engine_test.needs_estimator
def test_the_model_fn_that_scripts_import_evaluates_and_trains_with_the_originals_numbers(golden_files, tmp_path):
    files = [str(golden_files / "part-{}.tfrecord".format(half)) for half in (0, 1)]
    kind = tf.estimator.tpu

    def estimator(folder, batch_size):
        model_fn = run_pretraining.model_fn_builder(
            modeling.BertConfig.from_dict(CONFIG), str(golden_files / "bert_model.ckpt"), 1e-3, 6, 2, False, False
        )
        config = kind.RunConfig(model_dir=str(tmp_path / folder), tpu_config=kind.TPUConfig())
        sizes = dict(train_batch_size=batch_size, eval_batch_size=batch_size)
        return kind.TPUEstimator(model_fn, config=config, use_tpu=False, **sizes)

    def input_fn(is_training):
        return run_pretraining.input_fn_builder(files, 24, 5, is_training)

    evaluated = estimator("evaluated", 3).evaluate(input_fn(False), steps=4)
    for name in ("loss", "masked_lm_accuracy", "masked_lm_loss", "next_sentence_accuracy", "next_sentence_loss"):
        assert evaluated[name] == pytest.approx(float(GOLDEN["eval_batch3_steps4/" + name]), rel=1e-5), name
    trained = estimator("trained", 8)
    trained.train(input_fn(True), max_steps=2)
    assert {name for name in WEIGHTS if name.startswith("cls/")} <= set(trained.get_variable_names())


# --- text -------------------------------------------------------------------------------------------------------------

TEXT_OF_PIECES = "[PAD] [UNK] [CLS] [SEP] [MASK] the gull flies low over sea ##side ##s port at dawn 语 言 模 型 使 用"
PIECES = TEXT_OF_PIECES.split()


@pytest.fixture(scope="module")
def text_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    sentences = ["the gull flies low", "over the seaside port", "ports at dawn", "the seas"]
    lines = [" ".join(sentences[(n + m) % 4] for m in range(1 + n % 3)) for n in range(24)]
    (folder / "documents.txt").write_text("\n".join(lines) + "\n")
    (folder / "sentences.txt").write_text("\n\n".join("\n".join(sentences[n % 4 :] + sentences) for n in range(8)))
    # Looks like sentences, but is read as the training text is.
    (folder / "held_out.txt").write_text("{}\n{}\n\n{}\n{}\n".format(*lines[5:9]))
    (folder / "empty.txt").write_text("")
    config = dict(CONFIG, vocab_size=len(PIECES), num_hidden_layers=1, hidden_dropout_prob=0.1, initializer_range=0.02)
    (folder / "bert_config.json").write_text(json.dumps(config))
    (folder / "without_dropout.json").write_text(json.dumps(dict(config, hidden_dropout_prob=0.0)))
    return folder


def pieces_of(folder):
    path = str(folder / "vocab.txt")
    return examples.TextPieces(tokenization.FullTokenizer(path), path)


def read(folder, name, **changed):
    data = data_of(files={"train": (str(folder / name),)}, **changed)
    form = examples.form_of(data.files["train"]) if data.text_form == "auto" else data.text_form
    return list(examples.of_text(data, "train", form, pieces_of(folder))), data


def unmasked(example):
    ids = list(example.input_ids)
    for position, label in zip(example.positions, example.labels):
        ids[position] = label
    return " ".join(PIECES[number] for number in ids)


def test_a_line_is_a_document_or_a_sentence_by_the_empty_lines_between(text_files):
    documents, _ = read(text_files, "documents.txt", use_next_sentence_task=False)
    assert [example.line for example in documents] == list(range(1, 25))
    assert all(" ".join(PIECES[n] for n in example.unmasked) == unmasked(example) for example in documents)
    assert unmasked(documents[1]) == "[CLS] over the sea ##side port port ##s at dawn [SEP]"
    # Whole sentences of one document fill an example of 16 tokens; a longer one is cut.
    sentences, _ = read(text_files, "sentences.txt", use_next_sentence_task=False, max_seq_length=16)
    assert unmasked(sentences[0]) == "[CLS] the gull flies low over the sea ##side port port ##s at dawn [SEP]"
    assert sentences[1].line == 4
    cut, _ = read(text_files, "sentences.txt", use_next_sentence_task=False, max_seq_length=5)
    assert [unmasked(example) for example in cut[:3]] == [
        "[CLS] the gull flies [SEP]",
        "[CLS] low [SEP]",
        "[CLS] over the sea [SEP]",
    ]
    pairs, _ = read(text_files, "sentences.txt")
    assert {example.is_random_next for example in pairs} == {0, 1}
    assert all(unmasked(example).count("[SEP]") == 2 and len(example.input_ids) <= 24 for example in pairs)


def test_masks_are_a_function_of_seed_epoch_and_example(text_files):
    made, data = read(text_files, "documents.txt", use_next_sentence_task=False)
    config = modeling.BertConfig(len(PIECES))
    inputs = assembly.PretrainingInputs(data, {"train": False}, "document", pieces_of(text_files), "", config)
    task = assembly.pretraining_task(inputs)
    records = [
        feature_cache.serialize(feature, task.columns, len(feature["input_ids"])) for feature, _ in task.featurize(made)
    ]
    numbers = np.arange(len(records))

    def drawn(epoch, seed, chosen=numbers):
        return task.in_epoch([records[n] for n in chosen], chosen, np.full(len(chosen), epoch), seed)

    first = drawn(0, 1)
    assert first == drawn(0, 1) and first[::-1] == drawn(0, 1, numbers[::-1])
    for other in (drawn(1, 1), drawn(0, 2), records):
        assert sum(a != b for a, b in zip(first, other)) > len(first) / 2
    predicted = 0
    for record, example in zip(first, made):
        columns = tf.train.Example.FromString(record).features.feature
        count = sum(map(bool, columns["masked_lm_weights"].float_list.value))
        ids = list(columns["input_ids"].int64_list.value)
        places = zip(columns["masked_lm_positions"].int64_list.value[:count], columns["masked_lm_ids"].int64_list.value)
        for position, label in places:
            predicted += 1
            ids[position] = label
        assert " ".join(PIECES[number] for number in ids) == unmasked(example)
        assert count == max(1, round(0.15 * len(ids)))
    assert predicted > 24


def test_whole_words_are_masked_together_chinese_ones_by_their_segmentation(text_files, tmp_path):
    (tmp_path / "vocab.txt").write_bytes((text_files / "vocab.txt").read_bytes())
    (tmp_path / "zh.txt").write_text("使用语言模型 seaside\n" * 40, encoding="utf-8")
    segmented = "使用 语言模型 seaside\n"
    (tmp_path / "zh.txt.words").write_text("\ufeff" + segmented * 40 + "\n", encoding="utf-8")
    words = dict(use_next_sentence_task=False, do_whole_word_mask=True, masked_lm_prob=0.4)
    made, data = read(tmp_path, "zh.txt", segmentation_suffix=".words", **words)
    pieces = pieces_of(tmp_path)
    of_epochs = [example.positions for example in made]
    for n, example in enumerate(made):
        labels = (example.input_ids, example.positions, example.labels, example.continues)
        ids, positions, _ = examples.drawn_again(*labels, data, pieces, str(n))
        assert all(number < len(PIECES) for number in ids)
        of_epochs.append(positions)
    groups = ((1, 2), (3, 4, 5, 6), (7, 8))  # of 10 tokens, 4 are predicted
    assert all(all(set(group) <= set(p) or not set(group) & set(p) for group in groups) for p in of_epochs)
    assert len({tuple(positions) for positions in of_epochs}) == 3 - 1
    for lines, said in (
        ("使用 语言\n" * 40, ":1: is not this line of the text"),
        (segmented * 41, ": has more lines than"),
    ):
        (tmp_path / "zh.txt.words").write_text(lines, encoding="utf-8")
        with pytest.raises(UserError, match="zh.txt.words" + said):
            read(tmp_path, "zh.txt", segmentation_suffix=".words", **words)


def test_whatever_decides_the_records_is_part_of_the_name_of_their_cache(tmp_path):
    contents = {"text": "a", "other": "b", "text.words": "c", "other.words": "c", "text.otherwise": "d"}
    for name, content in contents.items():
        (tmp_path / name).write_text(content)

    def known(name="text", form="sentence", vocab_fingerprint="v", suffix=".words", **of_data):
        data = data_of(files={"train": (str(tmp_path / name),)}, segmentation_suffix=suffix, **of_data)
        inputs = assembly.PretrainingInputs(data, {"train": False}, form, None, vocab_fingerprint, None)
        return assembly._fingerprint(inputs, "train")

    before = known()
    for name, changed in (
        ("source", dict(name="other")),
        ("form", dict(form="document")),
        ("vocabulary", dict(vocab_fingerprint="other")),
        ("max_seq_length", dict(max_seq_length=23)),
        ("max_predictions_per_seq", dict(max_predictions_per_seq=4)),
        ("masked_lm_prob", dict(masked_lm_prob=0.2)),
        ("short_seq_prob", dict(short_seq_prob=0.2)),
        ("whole_words", dict(do_whole_word_mask=True)),
        ("words", dict(suffix=".otherwise")),
    ):
        after = known(**changed)
        assert [key for key in {**before, **after} if before.get(key) != after.get(key)] == [name]


def test_a_gzip_file_without_a_time_is_text(golden_files, tmp_path):
    with gzip.GzipFile(str(tmp_path / "text.gz"), "wb", mtime=0) as file:
        file.write(b"the gull\n")
    assert not examples.is_record_file(str(tmp_path / "text.gz"))
    assert examples.is_record_file(str(golden_files / "part-0.tfrecord"))


def on_text(files, output, **more):
    values = dict(
        input_file=None,
        init_checkpoint=None,
        from_scratch="true",
        text_files=files / "documents.txt",
        dev_file=files / "held_out.txt",
        vocab_file=files / "vocab.txt",
        use_next_sentence_task="false",
        do_train="true",
        do_eval="true",
        num_train_steps=9,
        num_warmup_steps=2,
        train_batch_size=8,
        learning_rate=1e-2,
        eval_every_steps=3,
        save_checkpoints_steps=4,
        log_every_steps=1,
    )
    values.update(more)
    return arguments(files, output, **values)


@pytest.mark.usefixtures("graphs_as_built")
def test_a_run_on_text_goes_on_bitwise_and_is_a_first_stage_for_the_other_scripts(text_files, tmp_path, capsys):
    said = succeed(on_text(text_files, tmp_path / "whole"), capsys, SCRIPT)
    assert "text: a document a line (no empty line is between lines)" in said and "masks: new in every epoch" in said
    copy_as_stopped(str(tmp_path / "whole"), 4, str(tmp_path / "stopped"))
    succeed(on_text(text_files, tmp_path / "stopped"), capsys, SCRIPT)
    readers = [tf.train.load_checkpoint(str(tmp_path / name / "model.ckpt-9")) for name in ("whole", "stopped")]
    for name in readers[0].get_variable_to_shape_map():
        assert np.array_equal(*[reader.get_tensor(name) for reader in readers]), name
    scores = json.loads((tmp_path / "whole" / "eval_results.json").read_text())
    assert {"masked_lm_accuracy", "perplexity"} <= set(scores) and "next_sentence_accuracy" not in scores
    # A model that learns to predict the words of 24 lines is better than chance.
    assert scores["perplexity"] < len(PIECES)
    evaluates = ["--do_eval", "--model_dir={}".format(tmp_path / "whole"), "--checkpoint=best"]
    evaluates += ["--dev_file={}".format(text_files / "held_out.txt"), "--output_dir={}".format(tmp_path / "evaluated")]
    succeed(evaluates, capsys, SCRIPT)
    assert json.loads((tmp_path / "evaluated" / "eval_results.json").read_text()) == scores
    given = dict(model=tmp_path / "whole", input_file=text_files / "held_out.txt", layers=-1)
    given.update(output_file=tmp_path / "features.jsonl")
    succeed(["--{}={}".format(*pair) for pair in given.items()], capsys, "extract_features")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.tsv").write_text("text\tlabel\nthe gull\tyes\nthe port\tno\n")
    said = succeed(
        [
            "--task_name=text",
            "--do_train",
            "--data_dir={}".format(tmp_path / "data"),
            "--model={}".format(tmp_path / "whole"),
            "--output_dir={}".format(tmp_path / "stage2"),
            "--num_train_steps=1",
            "--num_warmup_steps=0",
            "--train_batch_size=2",
            "--max_seq_length=8",
        ],
        capsys,
    )
    assert "2 missing" in said and "output_weights" in said


def test_data_is_checked_as_the_run_in_a_folder_reads_it(text_files, tmp_path, capsys):
    of_run = dict(text_form="document", use_next_sentence_task=False, max_predictions_per_seq=4)
    (tmp_path / "config.json").write_text(json.dumps({"data": of_run, "model": {"max_seq_length": 12}}))
    (tmp_path / "vocab.txt").write_bytes((text_files / "vocab.txt").read_bytes())
    checks = ["--check_data", "--model_dir={}".format(tmp_path), "--dev_file={}".format(text_files / "held_out.txt")]
    said = succeed(checks, capsys, SCRIPT)
    assert "held_out.txt): 6 examples" in said  # of four lines, two of which are cut


@pytest.mark.parametrize(
    "more, said",
    [
        (dict(text_files=None), "--input_file (records) or --text_files (text) is needed"),
        (dict(dev_file=None), "--dev_file is needed to evaluate"),
        (dict(dev_file="{empty}"), "empty.txt is empty. Name files with text or records."),
        (dict(vocab_file=None), "--vocab_file (or --spm_model_file) is needed"),
        (dict(use_next_sentence_task=None), "documents.txt: each line is a document, in which no sentence follows"),
        (dict(input_file="{documents}"), "--input_file and --text_files were both given"),
        (dict(segmentation_suffix=".words"), "is read with --do_whole_word_mask"),
        (dict(max_eval_steps=2, max_eval_examples=4), "were both given"),
        (dict(num_train_steps=None, num_train_epochs=0.1), "is less than one update"),
        (dict(num_train_steps=9, num_train_epochs=2), "--num_train_steps and --num_train_epochs were both given"),
        (dict(num_warmup_steps=None), "Warm-up of 10000 steps"),
        (dict(do_predict="true"), "--do_predict: is a flag of run_classifier.py"),
    ],
)
def test_mistakes_are_said_before_anything_is_written(text_files, tmp_path, capsys, more, said):
    paths = {name: text_files / (name + ".txt") for name in ("documents", "empty")}
    more = {name: str(value).format(**paths) if value else None for name, value in more.items()}
    assert said in mistake(on_text(text_files, tmp_path / "run", dry_run="true", **more), capsys, SCRIPT)
    assert not (tmp_path / "run" / "plan.json").exists()


@pytest.mark.parametrize(
    "more, said",
    [
        (dict(max_seq_length=16), "record 1: has 2"),
        (dict(max_predictions_per_seq=2), "--max_predictions_per_seq=2"),
        (dict(masked_lm_prob=0.2), "--masked_lm_prob: is read with --text_files"),
        (dict(bert_config_file="{small}"), "is not from 0 to below 140"),
        (dict(input_file="{cut}"), "cut.tfrecord: record 4: cannot be read"),
        (dict(input_file="{other}"), "other.tfrecord: record 1: not a record"),
        (dict(input_file="{weights}"), "weights.tfrecord: record 1: not a record"),
    ],
)
def test_records_that_do_not_fit_are_named(golden_files, tmp_path, capsys, more, said):
    content = (golden_files / "part-0.tfrecord").read_bytes()
    (tmp_path / "cut.tfrecord").write_bytes(content[:-9])
    (tmp_path / "small.json").write_text(json.dumps(dict(CONFIG, vocab_size=140)))
    with tf.python_io.TFRecordWriter(str(tmp_path / "other.tfrecord")) as writer:
        writer.write(tf.train.Example().SerializeToString())
    example = tf.train.Example.FromString(next(tf.python_io.tf_record_iterator(str(golden_files / "part-0.tfrecord"))))
    example.features.feature["masked_lm_weights"].float_list.value[0] = float("nan")
    with tf.python_io.TFRecordWriter(str(tmp_path / "weights.tfrecord")) as writer:
        writer.write(example.SerializeToString())
    paths = {name: tmp_path / (name + ".tfrecord") for name in ("cut", "other", "weights")}
    paths["small"] = tmp_path / "small.json"
    more = {name: value.format(**paths) if isinstance(value, str) else value for name, value in more.items()}
    given = arguments(golden_files, tmp_path / "run", **dict(SIX_STEPS, **more))
    assert said in mistake(given, capsys, SCRIPT)


def test_records_that_a_cache_holds_for_one_model_are_checked_for_another(golden_files, tmp_path):
    data = data_of(files={"train": (str(golden_files / "part-0.tfrecord"),)})

    def opened(**changed):
        config = modeling.BertConfig.from_dict(dict(CONFIG, **changed))
        inputs = assembly.PretrainingInputs(data, {"train": True}, "auto", None, "", config)
        return feature_cache.open_or_build(assembly.pretraining_task(inputs), "train", str(tmp_path))

    assert len(opened()) == 4
    for changed, said in (
        (dict(vocab_size=140), "id 14. is not from 0 to below 140"),
        (dict(type_vocab_size=1), "segm"),
    ):
        with pytest.raises(UserError, match=said):
            opened(**changed)


def test_epochs_take_the_place_of_the_originals_number_of_steps(text_files, tmp_path, capsys):
    given = dict(num_train_steps=None, num_warmup_steps=None, num_train_epochs=10, dry_run="true")
    said = succeed(on_text(text_files, tmp_path / "run", **given), capsys, SCRIPT)
    assert "24 examples / 8 = 3.0 an epoch × 10 epochs → 30" in said and "warm-up: 3 steps" in said


def test_an_import_registers_the_originals_flags_and_each_script_keeps_its_defaults():
    defaults = dict(max_seq_length=128, max_predictions_per_seq=20, do_train=False, do_eval=False, train_batch_size=32)
    defaults.update(eval_batch_size=8, learning_rate=5e-5, num_train_steps=100000, num_warmup_steps=10000)
    defaults.update(save_checkpoints_steps=1000, iterations_per_loop=1000, max_eval_steps=100, use_tpu=False)
    defaults.update(num_tpu_cores=8)
    without = {"bert_config_file", "input_file", "output_dir", "init_checkpoint", "tpu_name", "tpu_zone", "gcp_project"}
    assert flag_table.REGISTERED_BY_IMPORT[SCRIPT] == set(defaults) | without | {"master"}
    values = flags.Values(SCRIPT)
    assert {name: getattr(values, name) for name in defaults} == defaults
    assert flags.Values("run_classifier").num_train_steps is None


def test_only_filled_places_are_computed():
    with tf.Graph().as_default(), tf.Session() as session:
        chosen = [heads._filled(tf.constant(weights)) for weights in ([0.0, 1.0, 0.0, 0.5], [0.0] * 4)]
        places, counted = session.run([[each.places for each in chosen], [each.counted for each in chosen]])
    assert places[0].tolist() == [1, 3] + [0] * 14 and counted[0].tolist() == [1.0] * 2 + [0.0] * 14
    assert places[1].tolist() == [0] * 16 and not counted[1].any()


@estimator_engine_test.needs_estimator
def test_estimator_learns_the_same_of_text_with_new_masks(text_files, tmp_path):
    """Both losses, and the scores at the end; the shapes of Estimator are static, as a TPU has them."""
    given = dict(text_files=text_files / "sentences.txt", use_next_sentence_task="true", num_train_steps=4)
    given.update(bert_config_file=text_files / "without_dropout.json", eval_every_steps=0)
    ways = {"session": {}, "estimator": dict(engine="estimator")}
    commands = [on_text(text_files, tmp_path / name, **given, **way) for name, way in ways.items()]
    assert forked.call(run_each, commands, SCRIPT) == [0, 0]
    close(np.array(losses_of(tmp_path / "estimator")), np.array(losses_of(tmp_path / "session")), 1e-5)
    scores = [json.loads((tmp_path / name / "eval_results.json").read_text()) for name in ways]
    assert scores[0]["loss"] == pytest.approx(scores[1]["loss"], rel=1e-4)
