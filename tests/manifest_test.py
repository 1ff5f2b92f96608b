"""The manifest of a run's folder: whatever changes in the files that decide predictions is named, and never used."""

import glob
import json
import os
import random
import shutil

import pytest
from conftest import mistake, run_main, succeed

from steady_bert.base import files
from steady_bert.base.errors import UserError
from steady_bert.serving import saved_run
from steady_bert.training import manifest

STEPS = 2


def content_of(version):
    return {name: "{} of {}\n".format(version, name).encode() * 9 for name in manifest.VERIFIED}


def written(folder, contents):
    with manifest.updated(folder, contents):
        for name, content in contents.items():
            files.write_bytes(os.path.join(folder, name), content)


def flip(path, rng):
    with open(path, "rb") as file:
        content = bytearray(file.read())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    with open(path, "wb") as file:
        file.write(content)


@pytest.mark.parametrize("name", manifest.VERIFIED)
def test_a_file_that_is_flipped_cut_gone_or_added_is_named(tmp_path, name):
    folder, path = str(tmp_path), str(tmp_path / name)
    written(folder, content_of("first"))
    assert manifest.verify(folder, ()) == []
    rng = random.Random(name)
    for what, damage in (
        ("was changed", lambda: flip(path, rng)),
        (r"was changed \(3 bytes, not [\d,]+\)", lambda: os.truncate(path, 3)),
        ("is gone", lambda: os.unlink(path)),
    ):
        damage()
        with pytest.raises(
            UserError, match=r"{}: {}\nRestore it .*--allow_changed_files={}\.$".format(name, what, name)
        ):
            manifest.verify(folder, ("flags.txt",))
        (line,) = manifest.verify(folder, (name,))
        assert line.startswith(path)
        files.write_bytes(path, content_of("first")[name])
    os.unlink(path)
    written(folder, {})
    assert manifest.verify(folder, ()) == []
    files.write_bytes(path, b"more")
    with pytest.raises(UserError, match=name + ": was added"):
        manifest.verify(folder, ())


def test_a_kill_while_files_are_written_leaves_a_folder_that_is_as_the_run_wrote_it(tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def killed_at(number):
        write, calls = files.write_bytes, []

        def until_killed(path, content):
            calls.append(path)
            if len(calls) == number:
                raise Killed
            write(path, content)

        return until_killed

    whole = len(manifest.VERIFIED) + 2  # and the manifest, before and after
    for number in range(1, whole + 2):
        folder = str(tmp_path / str(number))
        os.makedirs(folder)
        written(folder, content_of("first"))
        with monkeypatch.context() as patch:
            patch.setattr(files, "write_bytes", killed_at(number))
            try:
                written(folder, content_of("second"))
            except Killed:
                assert number <= whole
        assert manifest.verify(folder, ()) == []
        flip(os.path.join(folder, "vocab.txt"), random.Random(1))
        with pytest.raises(UserError, match="vocab.txt: was changed"):
            manifest.verify(folder, ())


def test_no_flipped_bit_of_a_manifest_lets_a_changed_file_pass(tmp_path):
    folder = str(tmp_path)
    written(folder, content_of("first"))
    path = os.path.join(folder, manifest.FILE)
    original = files.read_bytes(path)
    flip(os.path.join(folder, "plan.json"), random.Random(1))
    rng = random.Random(2)
    for _ in range(200):
        flip(path, rng)
        with pytest.raises(UserError, match="was changed|manifest.json: |was added|is gone"):
            manifest.verify(folder, ())
        files.write_bytes(path, original)
    for damaged in (b"", b"[]", b"[" * 100000, b'{"files": {}, "being_written": 1}'):
        files.write_bytes(path, damaged)
        with pytest.raises(UserError, match="manifest.json: .*--allow_changed_files=manifest.json"):
            manifest.verify(folder, ())
        with pytest.raises(UserError, match="Restore it from a copy.$"):
            manifest.verify(folder, (), by_flag=False)
        assert "unverified" in manifest.verify(folder, (manifest.FILE,))[0]


def test_files_that_a_run_writes_just_now_are_read_again(tmp_path, monkeypatch):
    folder, differences, versions = str(tmp_path), manifest._differences, ["second", "third"]

    def meanwhile(*arguments):
        if versions:
            written(folder, content_of(versions.pop(0)))
        return differences(*arguments)

    written(folder, content_of("first"))
    monkeypatch.setattr(manifest, "_differences", meanwhile)
    assert manifest.verify(folder, ()) == [] and not versions


@pytest.mark.parametrize(
    "content, case", [("{}", None), ('{"model": {}}', None), ('{"model": {"do_lower_case": false}}', False)]
)
def test_the_case_of_a_run_is_none_unless_its_configuration_says_it(tmp_path, content, case):
    (tmp_path / manifest.CONFIG_FILE).write_text(content)
    assert manifest.saved_case(str(tmp_path)) is case


# --- commands -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("manifest") / "run")
    assert run_main(tiny.flags(output_dir=folder, do_train="true", num_train_steps=STEPS)) == 0
    return folder


@pytest.fixture
def folder(trained, tmp_path):
    return shutil.copytree(trained, str(tmp_path / "run"), ignore=shutil.ignore_patterns("cache"))


USING = dict(do_predict="true", vocab_file=None, bert_config_file=None, from_scratch=None)


def using(tiny, folder):
    return tiny.flags(**dict(USING, model_dir=folder, output_dir=os.path.join(folder, "predicted")))


def halved(lines):
    return lines[: len(lines) // 2]


def swapped(lines):
    return lines[:-2] + lines[:-3:-1]


def with_value(name, value):
    def change(lines):
        content = json.loads("".join(lines))
        assert content[name] != value
        return json.dumps(dict(content, **{name: value})).splitlines(True)

    return change


@pytest.mark.parametrize(
    "name, change",
    [
        ("vocab.txt", halved),
        ("vocab.txt", swapped),
        ("bert_config.json", with_value("hidden_act", "relu")),
        ("bert_config.json", with_value("num_attention_heads", 4)),
        ("labels.json", with_value("labels", ["praise", "blame"])),
        ("plan.json", with_value("seed", 5)),
    ],
)
def test_changes_that_gave_other_predictions_are_refused(tiny, folder, name, change, capsys):
    path = os.path.join(folder, name)
    with open(path) as file:
        lines = file.readlines()
    with open(path, "w") as file:
        file.writelines(change(lines))
    refused = r"{}: was changed".format(name)
    assert refused in mistake(using(tiny, folder), capsys)
    with pytest.raises(UserError, match=refused):
        saved_run.open_run(folder)
    training = dict(output_dir=folder, do_train="true", num_train_steps=STEPS)
    assert refused in mistake(tiny.flags(**training), capsys)
    source = dict(training, output_dir=folder + "2", init_checkpoint=folder, from_scratch=None)
    assert refused in mistake(tiny.flags(**source), capsys)
    assert not glob.glob(os.path.join(folder, "predicted", "*")) + glob.glob(folder + "2/model*")


def test_an_allowed_change_goes_on_and_a_resume_writes_the_manifest_anew(tiny, folder, capsys):
    flip(os.path.join(folder, "config.json"), random.Random(3))
    more = dict(output_dir=folder, do_train="true", num_train_steps=STEPS + 1, allow_plan_change="true")
    assert "config.json: was changed" in mistake(tiny.flags(**more), capsys)
    assert "is not one of" in mistake(tiny.flags(**more, allow_changed_files="confg.json"), capsys)
    printed = succeed(tiny.flags(**more, allow_changed_files="config.json"), capsys)
    assert "config.json: was changed; it is used all the same" in printed
    assert manifest.verify(folder, ()) == []


def test_a_folder_without_a_manifest_is_said_to_be_unverified_until_it_is_written(tiny, folder, capsys):
    os.unlink(os.path.join(folder, manifest.FILE))
    assert "{}: its files are used unverified".format(folder) in succeed(using(tiny, folder), capsys)
    with pytest.warns(UserWarning, match="its files are used unverified"):
        saved_run.open_run(folder)
    flags = dict(output_dir=folder, do_train="true", num_train_steps=STEPS)
    assert "unverified" in succeed(tiny.flags(**flags), capsys)
    assert "unverified" not in succeed(tiny.flags(**flags), capsys)
    assert list(manifest.listed_checkpoints(folder)) == ["model.ckpt-2"]


def test_a_run_whose_labels_are_gone_is_not_used_although_the_command_has_labels(tiny, folder, tmp_path, capsys):
    """The labels are then those of the output folder or of the command, but the model is the run's."""
    os.unlink(os.path.join(folder, "labels.json"))
    more = dict(init_checkpoint=folder, labels="blame,praise", output_dir=str(tmp_path), from_scratch=None)
    assert "run: not as the run wrote it" in mistake(tiny.flags(do_predict="true", **more), capsys)


@pytest.mark.parametrize("changed", ["vocabulary", "activation", "heads", "case"])
def test_weights_of_a_run_are_used_for_no_other_model(tiny, trained, tmp_path, changed, capsys):
    flags = {}
    path = str(tmp_path / "own")
    with open(tiny.vocab_file) as file:
        lines = file.readlines()
    with open(tiny.bert_config_file) as file:
        config = json.load(file)
    if changed == "vocabulary":
        flags["vocab_file"], expected, lines = path, "vocab.txt", swapped(lines)
    elif changed == "case":
        flags["do_lower_case"], expected = "false", "config.json"
    else:
        other = dict(hidden_act="relu") if changed == "activation" else dict(num_attention_heads=4)
        flags["bert_config_file"], expected, lines = path, "bert_config.json", [json.dumps(dict(config, **other))]
    with open(path, "w") as file:
        file.writelines(lines)
    training = dict(num_train_steps=1, init_checkpoint=trained, from_scratch=None, output_dir=str(tmp_path / "out"))
    commands = [dict(training, do_train="true"), dict(training, dry_run="true")]
    if (
        expected == "bert_config.json"
    ):  # other pieces, or another case, have a refusal of their own where a model is used
        commands.append(dict(USING, model_dir=trained, output_dir=str(tmp_path / "out")))
    for command in commands:
        message = mistake(tiny.flags(**dict(command, **flags)), capsys)
        assert "{}: its weights were trained with another model".format(expected) in message
        assert "--allow_changed_files=" + expected in message
    allowed = dict(commands[1], allow_changed_files=expected, **flags)
    assert "(--allow_changed_files)" in succeed(tiny.flags(**allowed), capsys)
