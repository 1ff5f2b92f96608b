"""create_pretraining_data: the original's instances for a seed, the same records on any number of processes."""

import gzip
import json
import os
import random

import pytest
import tensorflow.compat.v1 as tf
from absl.testing import flagsaver
from conftest import ROOT, mistake, succeed
from hypothesis import given, strategies

import create_pretraining_data
import flags
import tokenization
from steady_bert.base import record_frames, worker_processes
from steady_bert.base.errors import RunError, UserError
from steady_bert.command_line import flag_table
from steady_bert.command_line.training_flags import Flag
from steady_bert.tasks.pretraining import corpus, instances, making
from steady_bert.tasks.pretraining.records import RecordEncoder

SCRIPT = "create_pretraining_data"
with open(os.path.join(ROOT, "tests", "golden", "pretraining_data.json"), encoding="utf-8") as _file:
    GOLDEN = json.load(_file)
RUNS = {run["name"]: run for run in GOLDEN["runs"]}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The folder of text.txt and vocab.txt, which has fillers for the pieces that no golden text meets."""
    folder = tmp_path_factory.mktemp("pretraining")
    at = {number: piece for piece, number in GOLDEN["pieces"].items()}
    lines = [at.get(number, "[filler {}]".format(number)) for number in range(GOLDEN["vocab_size"])]
    (folder / "vocab.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "text.txt").write_text("\n".join(GOLDEN["input_lines"]) + "\n", encoding="utf-8")
    return folder


def arguments(files, output, **more):
    given = dict(
        RUNS["plain"]["flags"], input_file=files / "text.txt", output_file=output, vocab_file=files / "vocab.txt"
    )
    given.update(more)
    return ["--{}={}".format(name, value) for name, value in given.items() if value is not None]


def records(path):
    return list(tf.python_io.tf_record_iterator(str(path)))


def columns(record):
    features = tf.train.Example.FromString(record).features.feature
    return {
        name: list(feature.int64_list.value or feature.float_list.value) for name, feature in sorted(features.items())
    }


@pytest.mark.parametrize("name", sorted(RUNS))
def test_golden_instances_and_every_random_number_are_the_originals(files, name, tmp_path):
    run = RUNS[name]
    given = dict(run["flags"])
    rng = random.Random(given.pop("random_seed"))
    tokenizer = tokenization.FullTokenizer(str(files / "vocab.txt"), do_lower_case=given.pop("do_lower_case"))
    with flagsaver.flagsaver(do_whole_word_mask=given.pop("do_whole_word_mask")):
        made = create_pretraining_data.create_training_instances([str(files / "text.txt")], tokenizer, rng=rng, **given)
    assert [vars(instance) for instance in made] == run["instances"]
    assert rng.random() == run["rng_random_afterwards"]
    outputs = [str(tmp_path / "a"), str(tmp_path / "b")]
    lengths = (given["max_seq_length"], given["max_predictions_per_seq"])
    create_pretraining_data.write_instance_to_example_files(made, tokenizer, *lengths, outputs)
    first = records(outputs[0]), records(outputs[1])
    assert [columns(record) for record in (first[0][0], first[1][0], first[0][1])] == run["first_records"]


@pytest.mark.parametrize("name", sorted(RUNS))
def test_the_script_writes_the_originals_records_in_turn_to_its_files(files, name, tmp_path, capsys):
    run = RUNS[name]
    output = "{0}/x.tfrecord,{0}/y.tfrecord".format(tmp_path)
    said = succeed(arguments(files, output, **run["flags"]), capsys, SCRIPT)
    assert "{} instances of 3 documents with 21 sentences".format(run["num_instances"]) in said
    tokenizer = tokenization.FullTokenizer(str(files / "vocab.txt"))
    encode = RecordEncoder(tokenizer.convert_tokens_to_ids, 64, 10)
    expected = [encode(create_pretraining_data.TrainingInstance(**instance)) for instance in run["instances"]]
    assert records(tmp_path / "x.tfrecord") == expected[::2]
    assert records(tmp_path / "y.tfrecord") == expected[1::2]
    assert sorted(os.listdir(str(tmp_path))) == ["x.tfrecord", "y.tfrecord"]  # nothing is left over


def test_a_dry_run_says_how_much_there_is_and_writes_nothing(files, tmp_path, capsys):
    (tmp_path / "text.txt").write_text("the gulls\n\xa7\xa7 the the\n\nthe \xa7\n", encoding="utf-8")
    for processes in (None, 2):
        given = dict(input_file=tmp_path / "text.txt", num_processes=processes, dry_run="true")
        said = succeed(arguments(files, tmp_path / "out", **given), capsys, SCRIPT)
        assert said.splitlines()[-1].startswith("2 documents with 3 sentences and ")
        assert said.rstrip().endswith(" pieces (3 unknown)")
    assert os.listdir(str(tmp_path)) == ["text.txt"]


def test_records_do_not_depend_on_the_number_of_processes_but_on_the_seed(files, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(making, "_UNIT_SENTENCES", 6)
    monkeypatch.setattr(corpus, "BLOCK_BYTES", 300)
    monkeypatch.setattr(making, "_RECORDS_AT_ONCE", 2)

    def written(**more):
        succeed(arguments(files, tmp_path / "out", dupe_factor=3, **more), capsys, SCRIPT)
        return records(tmp_path / "out")

    one = written(num_processes=1)
    assert one == written(num_processes=3)
    assert one != written()
    # Every pass has every document, and no two passes have the same masks.
    first = [tuple(columns(record)["input_ids"]) for record in one]
    assert len(set(first)) == len(first) >= 3 * 3
    assert sorted(one) != sorted(written(num_processes=1, random_seed=12346))
    order = list(making._permuted(len(one), 12345))
    assert sorted(order) == list(range(len(one))) != order != list(making._permuted(len(one), 12346))
    monkeypatch.setattr(making, "_permuted", lambda count, seed: range(count))
    as_made = written(num_processes=1)
    assert one == [as_made[number] for number in order]


def test_the_encoding_is_that_of_protocol_buffers(files):
    tokens = ["[CLS]", "the", "##s", "[SEP]", "not", "[SEP]"]
    ids = dict(zip(tokens, (0, 127, 128, 16384, 29999, 16384)))
    instance = instances.TrainingInstance(tokens, [0, 0, 0, 0, 1, 1], [2, 4], ["the", "not"], True)
    example = tf.train.Example()
    expected = {
        "input_ids": [0, 127, 128, 16384, 29999, 16384, 0, 0],
        "input_mask": [1, 1, 1, 1, 1, 1, 0, 0],
        "segment_ids": [0, 0, 0, 0, 1, 1, 0, 0],
        "masked_lm_positions": [2, 4, 0],
        "masked_lm_ids": [127, 29999, 0],
        "next_sentence_labels": [1],
    }
    for name, values in expected.items():
        example.features.feature[name].int64_list.value.extend(values)
    example.features.feature["masked_lm_weights"].float_list.value.extend([1.0, 1.0, 0.0])
    encode = RecordEncoder(lambda tokens: [ids[token] for token in tokens], 8, 3)
    assert encode(instance) == example.SerializeToString(deterministic=True)
    with pytest.raises(UserError, match="6 tokens and 2 predictions; 5 and 3 fit"):
        RecordEncoder(lambda tokens: tokens, 5, 3)(instance)


def test_frames_of_records_are_tensorflows(tmp_path):
    rng = random.Random(0)
    written = [bytes(rng.randrange(256) for _ in range(size)) for size in (0, 1, 2, 3, 4, 300, 1001, 7)]
    with tf.python_io.TFRecordWriter(str(tmp_path / "records")) as writer:
        for record in written:
            writer.write(record)
    assert b"".join(record_frames.framed(written)) == (tmp_path / "records").read_bytes()
    assert record_frames.framed([]) == []


def test_a_whole_word_that_does_not_fit_is_passed_over():
    tokens = ["[CLS]", "un", "##fit", "##ted", "[SEP]", "##s", "a", "[SEP]"]
    chosen = set()
    for seed in range(40):
        settings = instances.Settings(8, 0.0, 0.15, 20, do_whole_word_mask=True)
        _, positions, labels = instances.masked(tokens, settings, instances.pieces_of(tokens), random.Random(seed))
        assert labels == [tokens[position] for position in positions]
        chosen.add(tuple(positions))
    assert chosen == {(6,)}  # of 8 tokens, 1 is predicted; the other word has four pieces, as in the original


@given(strategies.integers(1, 30), strategies.integers(1, 30), strategies.integers(2, 20), strategies.integers(0, 99))
def test_the_longer_segment_loses_pieces_at_either_end(first, second, room, seed):
    a, b = list(range(first)), list(range(second))
    rng = random.Random(seed)
    while len(a) + len(b) > room:
        (a if len(a) > len(b) else b).pop(0 if rng.random() < 0.5 else -1)
    pair = list(range(first)), list(range(second))
    create_pretraining_data.truncate_seq_pair(*pair, room, random.Random(seed))
    assert pair == (a, b)


@pytest.mark.parametrize(
    "second, goes_on, sizes",
    [
        ("the tower\n", True, "2 documents with 3 sentences"),
        ("\u200b\nthe tower\n", True, "2 documents with 3 sentences"),  # a line without pieces ends no document
        ("\nthe tower\n", False, "3 documents with 3 sentences"),
    ],
)
def test_a_document_goes_on_in_the_next_file_as_in_the_original_and_that_is_said(
    files, tmp_path, capsys, second, goes_on, sizes
):
    (tmp_path / "1.txt").write_bytes(b"The gulls\n\nthe weather")
    (tmp_path / "2.txt.gz").write_bytes(gzip.compress(second.encode("utf-8")))
    given = arguments(files, tmp_path / "out", input_file=tmp_path / "?.txt*", dupe_factor=1)
    said = succeed(given, capsys, SCRIPT)
    assert ("1.txt: its last document goes on in " in said) == goes_on and sizes in said


@pytest.mark.parametrize(
    "more, said",
    [
        (dict(input_file=None), "--input_file is needed"),
        (dict(input_file="nowhere*.txt"), "--input_file=nowhere*.txt: there is no such file"),
        (dict(input_file="gs://bucket/a"), "is not on this machine"),
        (dict(output_file="{text}"), "is an input file"),
        (dict(output_file="o,./o"), "./o is named twice"),
        (dict(input_file="{latin}"), "latin.txt:2: is not UTF-8"),
        (dict(input_file="{latin}", num_processes=2), "latin.txt:2: is not UTF-8"),
        (dict(input_file="{blank}"), "blank.txt: no text"),
        (dict(vocab_file="{maskless}"), "maskless.txt: has no [MASK]"),
        (dict(vocab_file="{maskless}", num_processes=2), "maskless.txt: has no [MASK]"),
        (dict(masked_lm_prob="nan"), "--masked_lm_prob=nan: not a finite number"),
        (dict(max_seq_length=4), "--max_seq_length"),
        (dict(do_lower_case=None, task_name="cola"), "--task_name: is a flag of run_classifier.py"),
    ],
)
def test_mistakes_are_said_with_their_place(files, tmp_path, capsys, more, said):
    (tmp_path / "latin.txt").write_bytes(b"fine\ncaf\xe9\n")
    (tmp_path / "blank.txt").write_bytes(b" \n\n\xe2\x80\x8b\n")
    (tmp_path / "maskless.txt").write_text("[UNK]\n[CLS]\n[SEP]\nthe\n")
    paths = {name: str(tmp_path / (name + ".txt")) for name in ("latin", "blank", "maskless")}
    more = {
        name: value.format(text=files / "text.txt", **paths) if isinstance(value, str) else value
        for name, value in more.items()
    }
    assert said in mistake(arguments(files, tmp_path / "out", **more), capsys, SCRIPT)
    assert not (tmp_path / "out").exists()


def test_a_process_that_dies_ends_the_work_with_a_message():
    with worker_processes.WorkerProcesses(2, print, ()) as processes, pytest.raises(
        RunError, match="ended from outside"
    ):
        list(processes.map(os._exit, [9]))


def test_a_script_that_imports_it_has_the_originals_flags_alone_and_each_script_its_own_defaults(monkeypatch):
    names = flag_table.REGISTERED_BY_IMPORT[SCRIPT]
    assert "num_processes" not in names and len(names) == 11
    # max_seq_length is registered with this script's default; another script has one of its own.
    monkeypatch.setitem(flag_table.SCRIPTS, "another", {"": [Flag("max_seq_length", "integer", 384, "")]})
    another = flags.Values("another")
    assert another.max_seq_length == 384 and not another.given("max_seq_length")
    assert flags.Values(SCRIPT).max_seq_length == 128
    with flagsaver.flagsaver(max_seq_length=200):
        assert another.max_seq_length == flags.Values(SCRIPT).max_seq_length == 200
