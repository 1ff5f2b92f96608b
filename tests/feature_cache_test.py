"""Records: random access, the fixed order on disk, and a fingerprint of everything that changes their bytes."""

import json
import os
import random
import re
import shutil

import filelock
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from steady_bert.base import files, progress_lines
from steady_bert.base.errors import UserError
from steady_bert.tasks.reading import source
from steady_bert.tasks.task import Column, Facts, Task
from steady_bert.training import feature_cache


class Example:
    def __init__(self, number):
        self.number = number
        self.example_id = "e{}".format(number)


def task_of(count=300, fingerprint=None, columns=None, calls=None):
    def read(split, bad_lines):
        if calls is not None:
            calls.append(split)
        return iter([Example(number) for number in range(count)])

    return Task(
        name="numbers",
        columns=columns or {"input_ids": Column("int64", per_token=True), "label_ids": Column("int64")},
        read=read,
        files={},
        featurize=lambda examples: [
            (
                {"input_ids": [e.number] * (1 + e.number % 7), "label_ids": [int(e.number >= count // 2)]},
                Facts(e.number + 1, e.number, int(e.number >= count // 2), 1 + e.number % 7, 1 + e.number % 7, 0),
            )
            for e in examples
        ],
        fingerprint=lambda split: fingerprint or {"source": "a"},
        build=None,
        score=None,
        labels=("0", "1"),
        best_metric="accuracy",
        head_variables=("output",),
    )


def parsed(record):
    feature = tf.train.Example.FromString(record).features.feature
    return list(feature["input_ids"].int64_list.value), feature["label_ids"].int64_list.value[0]


def sequentially(records):
    return [parsed(record) for record in tf.python_io.tf_record_iterator(records.path)]


@pytest.mark.parametrize("split", ["train", "dev"])
def test_any_record_is_read_by_its_number_in_the_file(tmp_path, split):
    records = feature_cache.open_or_build(task_of(), split, str(tmp_path))
    assert len(records) == 300
    numbers = np.array([299, 0, 7, 7, 150])
    chosen = [parsed(record) for record in records.read(numbers)]
    assert chosen == [([n] * (1 + n % 7), int(n >= 150)) for n in numbers]
    assert records.index["tokens"][numbers].tolist() == [1 + n % 7 for n in numbers]


def test_sequential_readers_get_a_sorted_training_file_shuffled_and_a_dev_file_in_order(tmp_path):
    on_disk = sequentially(feature_cache.open_or_build(task_of(), "train", str(tmp_path)))
    assert sorted(ids[0] for ids, _ in on_disk) == list(range(300))
    labels = np.array([label for _, label in on_disk])[:288].reshape(-1, 32)
    assert not any(batch.all() or not batch.any() for batch in labels)
    dev = sequentially(feature_cache.open_or_build(task_of(), "dev", str(tmp_path)))
    assert [ids[0] for ids, _ in dev] == list(range(300))


def test_the_order_on_disk_does_not_depend_on_the_seed(tmp_path):
    one = sequentially(feature_cache.open_or_build(task_of(), "train", str(tmp_path / "a"), seed=1))
    other = sequentially(feature_cache.open_or_build(task_of(), "train", str(tmp_path / "b"), seed=2))
    assert one == other


def test_opening_again_featurizes_nothing(tmp_path):
    calls = []
    task = task_of(calls=calls)
    first = feature_cache.open_or_build(task, "train", str(tmp_path))
    before = os.stat(first.path).st_mtime_ns
    second = feature_cache.open_or_build(task, "train", str(tmp_path))
    assert calls == ["train"] and second.path == first.path and os.stat(second.path).st_mtime_ns == before


@pytest.mark.parametrize("limit", [None, 100])
def test_how_far_featurizing_is_shows_with_how_many_there_are_about(tmp_path, monkeypatch, capsys, limit):
    """A line is due after each 64 examples here. Without a limit their number is guessed from how far the file is."""
    monkeypatch.setattr(progress_lines, "_FIRST_SECS", 0.0)
    monkeypatch.setattr(progress_lines, "_REPORT_SECS", 0.0)
    path = str(tmp_path / "numbers")
    with open(path, "w") as file:
        file.writelines("{:05}\n".format(number) for number in range(200))

    def read(split, bad_lines):
        return (Example(int(text)) for _, text in source.lines(path, bad_lines))

    task = task_of()._replace(files={"train": path}, read=read)
    feature_cache.open_or_build(task, "train", str(tmp_path / "cache"), limit)
    lines = capsys.readouterr().out.splitlines()
    shown = [re.sub(r"[\d,.]+ a second, .* left", "", line) for line in lines]
    if limit:
        assert shown == [
            "Reading train: {} examples ({}), ".format(*c) for c in [("64 of 100", "64%"), ("100 of 100", "100%")]
        ]
    else:
        counts = [("64 of about 200", "32%"), ("128 of about 200", "64%"), ("192 of about 200", "96%")]
        assert shown[:3] == ["Reading train: {} examples ({}), ".format(*each) for each in counts]
        assert shown[-1] == "Reading train: 200 of 200 examples (100%), "


def test_a_run_says_that_it_waits_for_the_features_of_another(tmp_path, monkeypatch):
    task, said = task_of(), []
    lock = filelock.FileLock(feature_cache._Entry(task, "train", str(tmp_path), None, 0).prefix + ".lock")
    lock.acquire()

    def say(text):
        said.append(text)
        lock.release()

    monkeypatch.setattr(feature_cache, "say", say)
    monkeypatch.setattr(feature_cache, "_QUIET_SECS", 0.01)
    assert len(feature_cache.open_or_build(task, "train", str(tmp_path))) == 300
    assert said == ["Reading train: another process is doing it, and this one waits."]


def test_everything_that_changes_the_bytes_changes_the_name(tmp_path):
    columns = {"input_ids": Column("int64", per_token=True, padding=1), "label_ids": Column("int64")}
    variants = [
        dict(task=task_of()),
        dict(task=task_of(fingerprint={"source": "b"})),
        dict(task=task_of(fingerprint={"source": "a", "max_seq_length": 9})),
        dict(task=task_of(columns=columns)),
        dict(task=task_of(), split="dev"),
        dict(task=task_of(), limit=10),
        dict(task=task_of(), limit=11),
        dict(task=task_of(), limit=10, seed=5),
    ]
    paths = {
        feature_cache.open_or_build(cache_dir=str(tmp_path), **dict(dict(split="train"), **variant)).path
        for variant in variants
    }
    assert len(paths) == len(variants)


def flipped(content, rng):
    place = rng.randrange(len(content))
    content[place] ^= rng.choice([1 << rng.randrange(8), rng.randrange(1, 256)])  # a bit, or the whole byte
    return content


DAMAGES = [flipped] * 25 + [
    lambda content, rng: content[: len(content) // 2],
    lambda content, rng: b"",
    lambda content, rng: bytes(len(content)),
    lambda content, rng: content + content,
    lambda content, rng: b"[" * 100000,
]


def damage_file(folder, ending, damage, rng):
    (path,) = [os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(ending)]
    with open(path, "rb") as file:
        content = bytearray(file.read())
    with open(path, "wb") as file:
        file.write(damage(content, rng))


def everything_in(records):
    facts = np.concatenate(list(records.fact_chunks())).tolist()
    return records.read(np.arange(len(records))), facts, records.index.tolist(), records.description


@pytest.mark.parametrize("ending", [".json", ".index", ".facts", ".tfrecord"])
def test_nothing_damaged_is_ever_used_whoever_reads_it(tmp_path, ending, capsys):
    task = task_of(count=12)
    built = str(tmp_path / "built")
    records = feature_cache.open_or_build(task, "train", built)
    expected, in_sequence = everything_in(records), sequentially(records)
    rng = random.Random(ending)
    rebuilt = 0
    for number, damage in enumerate(DAMAGES):
        folder = str(tmp_path / str(number))
        shutil.copytree(built, folder)
        damage_file(folder, ending, damage, rng)
        records = feature_cache.open_or_build(task, "train", folder)
        assert everything_in(records) == expected, (number, ending)
        records.verified_path()
        assert sequentially(records) == in_sequence, (number, ending)
        records.close()
        rebuilt += "It is built again from its source." in capsys.readouterr().out
    assert rebuilt >= len(DAMAGES) - 10  # a flip in the spaces of the header is harmless


def test_an_open_entry_that_is_damaged_is_mended_unless_its_source_is_gone_or_changed(tmp_path, capsys):
    source = str(tmp_path / "train.tsv")
    folder = str(tmp_path / "cache")
    with open(source, "w") as file:
        file.write("as it was")
    task = task_of(count=12)._replace(
        files={"train": source}, fingerprint=lambda split: {"source": files.sha256_of_file(source)}
    )
    records = feature_cache.open_or_build(task, "train", folder)
    expected = records.read(np.arange(12))

    def zeroed(content, rng):
        return bytes(len(content))

    damage_file(folder, ".tfrecord", zeroed, None)
    other_run = feature_cache.open_or_build(task, "train", folder)
    assert records.read(np.array([3, 5])) == [expected[3], expected[5]]
    assert "tfrecord is damaged. It is built again from {}.".format(source) in capsys.readouterr().out
    assert other_run.read(np.arange(12)) == expected and not capsys.readouterr().out  # by the first one's new files

    damage_file(folder, ".tfrecord", zeroed, None)
    with open(source, "a") as file:
        file.write(", and more")
    with pytest.raises(UserError, match="is damaged, and cannot be built again: .*train.tsv has changed"):
        records.read(np.array([0]))
    os.unlink(source)
    with pytest.raises(UserError, match="is damaged, and cannot be built again: .*train.tsv: cannot be read"):
        records.verified_path()


def test_an_entry_without_checksums_is_built_again(tmp_path, capsys):
    """As older versions wrote it: 16 bytes of index for each example."""
    expected = feature_cache.open_or_build(task_of(), "dev", str(tmp_path)).read(np.arange(300))
    (header,) = tmp_path.glob("*.json")
    content = json.loads(header.read_text())
    del content["crc32"], content["header_crc32"]
    header.write_text(json.dumps(content))
    index = np.fromfile(str(header.with_suffix(".index")), feature_cache.INDEX_DTYPE)
    old = np.zeros(300, np.dtype([("offset", "<u8"), ("bytes", "<u4"), ("tokens", "<u4")]))
    for name in old.dtype.names:
        old[name] = index[name]
    old.tofile(str(header.with_suffix(".index")))
    assert feature_cache.open_or_build(task_of(), "dev", str(tmp_path)).read(np.arange(300)) == expected
    assert "was written without checksums. It is built again" in capsys.readouterr().out


def test_a_limit_takes_a_seeded_sample_in_file_order(tmp_path):
    records = feature_cache.open_or_build(task_of(), "dev", str(tmp_path), limit=50, seed=3)
    numbers = [parsed(record)[0][0] for record in records.read(np.arange(50))]
    assert numbers == sorted(set(numbers)) and numbers != list(range(50))
    assert len(feature_cache.open_or_build(task_of(), "dev", str(tmp_path), limit=1000)) == 300


def test_an_empty_split_and_a_feature_that_does_not_fit_are_errors(tmp_path):
    with pytest.raises(UserError, match="The train file t.tsv has no examples. Put data"):
        feature_cache.open_or_build(task_of(count=0)._replace(files={"train": "t.tsv"}), "train", str(tmp_path))
    task = task_of()._replace(featurize=lambda e: [({"input_ids": [1], "label_ids": [1, 2]}, Facts(1, 1, 1, 1, 1, 0))])
    with pytest.raises(ValueError, match="label_ids has 2 values"):
        feature_cache.open_or_build(task, "train", str(tmp_path))
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".building")]


def test_shuffling_in_chunks_changes_nothing(tmp_path, monkeypatch):
    whole = feature_cache.open_or_build(task_of(), "train", str(tmp_path / "a"))
    monkeypatch.setattr(feature_cache, "_ORDER_CHUNK", 64)
    chunked = feature_cache.open_or_build(task_of(), "train", str(tmp_path / "b"))
    assert sequentially(chunked) == sequentially(whole)
    assert chunked.read(np.arange(300)) == whole.read(np.arange(300))
    assert sorted(chunked.index["offset"]) == sorted(whole.index["offset"])
