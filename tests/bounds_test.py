"""What would fill memory, time or the disk is refused before it does, in one message."""

import errno
import gzip
import io
import os
import resource
import sys

import pytest

import tokenization
from steady_bert.base import disk, files, machine, program_end
from steady_bert.base.errors import RunError, UserError
from steady_bert.extraction import lines
from steady_bert.interchange import safetensors_files
from steady_bert.tasks import model_files
from steady_bert.tasks.pretraining import corpus
from steady_bert.tasks.reading import source, text_files
from steady_bert.tasks.tagging import columns
from steady_bert.tasks.tagging.sentences import Layout
from steady_bert.tasks.task import BadLines

BASE = dict(
    vocab_size=30522,
    hidden_size=768,
    num_hidden_layers=12,
    intermediate_size=3072,
    max_position_embeddings=512,
    type_vocab_size=2,
)


def test_the_weights_of_a_model_are_counted():
    assert model_files.parameters(BASE) == 109482240  # of bert-base-uncased with its pooler


@pytest.mark.parametrize(
    "changed, said",
    [
        (dict(num_hidden_layers=1001), "num_hidden_layers=1,001: 1,000 are the most"),
        (
            dict(vocab_size=10**9),
            "the 768,086,041,344 weights of its model take 3,072,344,165,376 bytes of",
        ),
        (dict(hidden_size=10**30), "bytes of memory, and this machine has 1,000,000,000. Use a smaller model"),
        (dict(max_position_embeddings=10**9), "bytes of memory, and"),
    ],
)
def test_a_model_that_cannot_be_held_is_refused(monkeypatch, changed, said):
    monkeypatch.setattr(machine, "memory_bytes", lambda: 10**9)
    model_files.require_size("bert_config.json", BASE)
    with pytest.raises(UserError) as error:
        model_files.require_size("bert_config.json", dict(BASE, **changed))
    assert str(error.value).startswith("bert_config.json: ") and said in str(error.value)


def test_the_memory_of_this_machine_is_known():
    if os.path.exists("/proc/meminfo"):
        assert 1 << 28 < machine.memory_bytes() < 1 << 50


def test_a_vocabulary_has_a_limit(tmp_path, monkeypatch):
    path = str(tmp_path / "vocab.txt")
    for content in (b"\n" * 5000001, b"x" * (129 << 20)):
        files.write_bytes(path, content)
        with pytest.raises(UserError, match="has more than 5,000,000 lines or 134,217,728 bytes, the most"):
            tokenization.load_vocab(path)
    with pytest.raises(UserError, match="/dev/zero: has more than"):
        tokenization.load_vocab("/dev/zero")


def test_the_header_of_safetensors_has_a_limit(tmp_path):
    path = str(tmp_path / "model.safetensors")
    for size, said in ((17 << 20, "its header has 17,825,792 bytes, and 16,777,216 are the most"), (1 << 63, "header")):
        files.write_bytes(path, size.to_bytes(8, "little") + b"{}")
        with pytest.raises(UserError, match=said):
            safetensors_files.tensors_in(path)


# --- data ------------------------------------------------------------------------------------------------------------


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << (0 if sys.platform == "darwin" else 10)


READERS = {
    "lines": lambda path: sum(1 for _ in text_files.lines(path, BadLines(0))),
    "csv": lambda path: sum(1 for _ in text_files.rows(path.replace(".gz", ".csv.gz"), BadLines(0))),
    "json": lambda path: sum(1 for _ in text_files.rows(path.replace(".gz", ".json.gz"), BadLines(0))),
    "words": lambda path: sum(1 for _ in columns.read(path, LAYOUT, True, BadLines(0))),
    "features": lambda path: sum(1 for _ in lines.examples_of(path)),
    "corpus": lambda path: sum(1 for _ in corpus.blocks_of(path)),
}
LAYOUT = Layout("conll", tag_scheme="bio", word_column="0")


@pytest.mark.parametrize("name", sorted(READERS))
def test_a_bomb_is_refused_in_little_memory(tmp_path, monkeypatch, name):
    monkeypatch.setattr(source, "_RATIO_FROM_BYTES", 1 << 18)
    ending = {"csv": ".csv.gz", "json": ".json.gz"}.get(name, ".gz")
    for piece in (b"\n", b"x O\n", b"x"):
        (tmp_path / ("a" + ending)).write_bytes(gzip.compress(piece * (1500000 // len(piece)), 9))
        before = peak()
        with pytest.raises(UserError) as error:
            READERS[name](str(tmp_path / "a.gz"))
        assert "a{}".format(ending) in str(error.value)
        assert name in ("csv", "json") or "unpacks to more" in str(error.value) or "longer than" in str(error.value)
        assert "--allow_large_gz" not in str(error.value)  # there is no command
        assert peak() - before < 30 << 20


def test_usual_text_is_no_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "_RATIO_FROM_BYTES", 1 << 10)
    path = str(tmp_path / "a.gz")
    with gzip.open(path, "wb") as file:
        for number in range(20000):
            file.write("line number {} of {}\n".format(number, number * 7919 % 10007).encode())
    assert READERS["lines"](path) == 20000
    monkeypatch.setattr(source, "LARGEST_GZ_BYTES", 1 << 10)
    with source.large_gz(False), pytest.raises(UserError, match="A run reads it with --allow_large_gz."):
        READERS["lines"](path)
    with source.large_gz(True):
        assert READERS["lines"](path) == 20000


def test_a_sentence_without_an_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(columns, "_LONGEST_SENTENCE", 50)
    path = tmp_path / "train.conll"
    path.write_text("a O\n\n" + "b O\n" * 50 + "\n" + "c O\nd O\n" * 100 + "\nd O\n")
    with pytest.raises(UserError, match="train.conll:54: a sentence of more than 50 words begins"):
        list(columns.read(str(path), LAYOUT, True, BadLines(0)))
    skipped = BadLines(1)
    assert [len(one.words) for one in columns.read(str(path), LAYOUT, True, skipped)] == [1, 50, 1]
    assert len(skipped.messages) == 1


# --- the disk and the program's end ----------------------------------------------------------------------------------


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_names_what_was_written_and_its_size(tmp_path, monkeypatch):
    path = str(tmp_path / "plan.json")
    files.write_bytes(path, b"before")
    monkeypatch.setattr(files, "rename_synced", full)
    with pytest.raises(RunError) as error:
        files.write_bytes(path, b"x" * 1234)
    assert str(error.value).startswith("{}: the disk is full. It takes 1,234 bytes, and ".format(path))
    assert str(error.value).endswith(" bytes are free. Free some: the same command then goes on.")
    with pytest.raises(RunError, match="It takes more than 7 bytes, and"), files.atomic_write(path) as file:
        file.write("x" * 7)
    assert os.listdir(str(tmp_path)) == ["plan.json"] and files.read_bytes(path) == b"before"
    with pytest.raises(disk.DiskFullError, match="inner: the disk"), disk.writing("outer"), disk.writing("inner"):
        full()
    with pytest.raises(UserError, match="^a.tsv:1: found 'No space left"), disk.writing("cache"):  # the user's data
        raise UserError("a.tsv:1: found 'No space left on device', expected a label.")


def raising(error):
    def main():
        raise error

    return main


class Deep:
    def __call__(self):
        return self()


@pytest.mark.parametrize(
    "main, code, said",
    [
        (raising(UserError("--seed: no.")), 2, "tool: error: --seed: no.\n"),
        (raising(RunError("It failed.")), 1, "tool: It failed.\n"),
        (
            raising(PermissionError(13, "Permission denied", "a/b")),
            1,
            "tool: a/b: Permission denied. Check that it can",
        ),
        (raising(OSError("odd")), 1, "tool: odd. Check"),
        (full, 1, "tool: .: the disk is full. "),
        (raising(MemoryError()), 1, "tool: Out of memory. Close"),
        (Deep(), 1, "tool: A file or a value is nested too deeply (maximum recursion depth"),
        (lambda: None, 0, ""),
    ],
)
def test_a_program_ends_with_one_message(tmp_path, monkeypatch, capsys, main, code, said):
    monkeypatch.setattr(program_end.tempfile, "gettempdir", lambda: str(tmp_path))
    with pytest.raises(SystemExit) as exit:
        program_end.run("tool", main)
    message = capsys.readouterr().err
    assert exit.value.code == code and message.startswith(said) and "Traceback" not in message
    kept = list(tmp_path.iterdir())
    assert bool(kept) == ("The traceback is in " in message)
    if kept:
        assert len(message.splitlines()) == 2 and str(kept[0]) in message and "Traceback" in kept[0].read_text()
    else:
        assert len(message.splitlines()) <= 1


def test_what_is_printed_is_escaped_where_the_terminal_lacks_the_letter(monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stdout", out)
    with pytest.raises(SystemExit) as exit:
        program_end.run("tool", lambda: print("0 → 1, ", os.fsdecode(b"\xff")))
    out.flush()
    assert (exit.value.code, out.buffer.getvalue()) == (0, b"0 \\u2192 1,  \\udcff\n")


def test_a_mistake_of_the_programs_own_is_not_swallowed():
    with pytest.raises(KeyError):
        program_end.run("tool", raising(KeyError("a")))
