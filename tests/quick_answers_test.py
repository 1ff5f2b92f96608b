"""Help, mistakes and refusals need no TensorFlow; a run prints nothing that its user cannot act on."""

import os
import resource
import subprocess
import sys

import pytest
from conftest import command

import flags

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SECS = 0.8  # of processor time; importing TensorFlow takes several times that
ANSWERS = [
    (script, *row)
    for script in ("run_classifier", "run_ner")
    for row in (
        (["--help"], 0, "--helpfull shows all"),
        (["--helpfull"], 0, "--lr_decay_steps"),
        (["--do_trian"], 2, "Did you mean: do_train"),
        (["--do_train", "--num_train_steps=3", "--num_train_epochs=3"], 2, "is needed to train"),
        (["--do_eval", "--output_dir=o", "--xla", "--engine=estimator"], 2, "--xla is the session engine's"),
    )
] + [
    ("serve", ["--help"], 0, "--helpfull shows all"),
    ("serve", ["--model_dri=m"], 2, "Did you mean: model_dir"),
    ("serve", ["--model_dir=no/such"], 2, "no such folder"),
    ("create_pretraining_data", ["--help"], 0, "--num_processes"),
    ("extract_features", ["--help"], 0, "--pooling"),
]


def answer(script, arguments):
    """(exit code, all that is printed, seconds of processor time)"""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    process = subprocess.run(command(arguments, script), **pipes)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return process.returncode, process.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("script, arguments, code, said", ANSWERS)
def test_an_answer_that_needs_no_model_takes_no_time(script, arguments, code, said):
    # The shortest of three: a machine with other work counts some of its time here.
    answers = [answer(script, arguments)]
    while answers[-1][2] > SECS and len(answers) < 3:
        answers.append(answer(script, arguments))
    assert answers[-1][0] == code and said in answers[-1][1]
    assert answers[-1][2] <= SECS


def test_flags_and_configuration_do_not_import_tensorflow():
    code = (
        "import sys, flags\n"
        "from steady_bert.command_line import configuration\n"
        "values = flags.Values('run_ner')\n"
        "try:\n    configuration.tagging_config(values)\n"
        "except flags.UserError:\n    pass\n"
        "heavy = {'tensorflow', 'scipy', 'sklearn', 'tokenizers', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize("script", flags.SCRIPTS)
def test_help_is_one_screen_and_full_help_has_every_flag_once_in_its_group(script, capsys):
    def printed(flag):
        with pytest.raises(SystemExit) as end:
            flags.run(script, lambda: None, [script + ".py", flag], "What it does.")
        assert end.value.code == 0
        return capsys.readouterr().out

    screen = printed("--help").rstrip("\n").split("\n")
    assert len(screen) <= 40 and max(map(len, screen)) <= 110
    assert "--helpfull shows all {} flags".format(len(flags.flags_of(script))) in screen[-1]
    full = printed("--helpfull")
    for title, group in flags.SCRIPTS[script].items():
        assert full.count("\n{}\n".format(title)) == 1
        section = full.split("\n{}\n".format(title))[1].split("\n\n")[0]
        assert [line.split()[0] for line in section.split("\n") if line.startswith("  --")] == [
            "--" + flag.name for flag in group
        ]


SILENT = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}


def test_last_words_of_a_crash_are_shown_and_notes_are_not():
    code = (
        "import os\n"
        "from steady_bert.base import tensorflow_setup\n"
        "tensorflow_setup.start_program()\n"
        "os.write(2, b'I0000 00:00:1795803124.911971   12453 port.cc:153] oneDNN custom operations are on.\\n')\n"
        "os.write(2, b'2026-01-02 03:04:05.678901: E external/some.h:177] SetPriority unimplemented.\\n')\n"
        "os.write(2, b'F0000 00:00:1795803124.911971   12453 allocator.cc:1] Check failed: size > 0\\n')\n"
        "os.write(2, b'terminate called without an active exception')\n"
        "os.abort()\n"
    )
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=SILENT, stderr=subprocess.PIPE)
    assert process.returncode < 0
    lines = process.stderr.split(b"\n")
    assert len(lines) == 2 and b"Check failed" in lines[0] and lines[1].startswith(b"terminate")


@pytest.mark.slow
def test_closed_streams_and_a_reader_that_leaves_do_not_end_a_run(tiny, tmp_path):
    """All three streams closed by the caller, then a pipe that nobody reads; nothing is said on standard error."""
    closed = tiny.flags(output_dir=str(tmp_path / "closed"), num_train_steps=2) + ["--do_train"]
    assert subprocess.call(["bash", "-c", '"$@" <&- >&- 2>&-', "bash"] + command(closed)) == 0
    unread = tiny.flags(output_dir=str(tmp_path / "unread"), num_train_steps=2) + ["--do_train", "--do_eval"]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command(unread), env=SILENT, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")
    for folder in ("closed", "unread"):
        assert os.path.exists(str(tmp_path / folder / "model.ckpt-2.index"))
