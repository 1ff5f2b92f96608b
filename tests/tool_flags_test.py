"""Every flag of the scripts that train nothing changes its own part of the configuration, or is said not to be read."""

import pytest
from absl.testing import flagsaver

import flags
from steady_bert.base import progress_lines
from steady_bert.command_line import tool_configuration
from steady_bert.command_line.tool_flags import TOOLS

# script → (what makes its configuration, the flags that it needs).
NEEDED = {
    "create_pretraining_data": (
        tool_configuration.pretraining_data_config,
        dict(input_file="a", output_file="b", vocab_file="v"),
    ),
    "extract_features": (
        tool_configuration.extraction_config,
        dict(input_file="a", output_file="b", vocab_file="v", bert_config_file="c", init_checkpoint="w"),
    ),
}
# script → flag → (value, the fields that it changes).
ROWS = {
    "create_pretraining_data": dict(
        input_file=("other*", dict(input_files=("other1", "other2"))),
        output_file=("d, e", dict(output_files=("d", "e"))),
        vocab_file=("other", dict(vocab_file="other")),
        do_lower_case=("false", dict(do_lower_case=False)),
        max_seq_length=(64, dict(max_seq_length=64)),
        dupe_factor=(3, dict(dupe_factor=3)),
        short_seq_prob=(0.5, dict(short_seq_prob=0.5)),
        masked_lm_prob=(0.25, dict(masked_lm_prob=0.25)),
        max_predictions_per_seq=(7, dict(max_predictions_per_seq=7)),
        do_whole_word_mask=("true", dict(do_whole_word_mask=True)),
        random_seed=(1, dict(random_seed=1)),
        num_processes=(0, dict(num_processes=6)),
        dry_run=("true", dict(dry_run=True)),
    ),
    "extract_features": dict(
        input_file=("other1", dict(input_file="other1")),
        output_file=("d", dict(output_file="d")),
        model=("m", dict(model="m", vocab_file=None, bert_config_file=None, init_checkpoint=None)),
        vocab_file=("other", dict(vocab_file="other")),
        bert_config_file=("other", dict(bert_config_file="other")),
        init_checkpoint=("other", dict(init_checkpoint="other")),
        do_lower_case=("false", dict(do_lower_case=False)),
        layers=("-2,0", dict(layers=(-2, 0))),
        pooling=("max", dict(pooling="max")),
        max_seq_length=(64, dict(max_seq_length=64)),
        batch_size=(5, dict(batch_size=5)),
        precision=("float32", dict(precision="float32")),
        dry_run=("true", dict(dry_run=True)),
        master=("other", {}),  # its help says that it is not read
        num_tpu_cores=(4, {}),
        use_one_hot_embeddings=("true", {}),
    ),
}
REFUSED = {"use_tpu"}  # a row of test_mistakes_are_said


def configured(script, given):
    configure, _ = NEEDED[script]
    flags.register(script)
    with flagsaver.flagsaver():
        flags.FLAGS([script] + ["--{}={}".format(*pair) for pair in given.items()])
        return vars(configure(flags.Values(script)))


@pytest.mark.parametrize(
    "script, name",
    [(script, flag.name) for script in TOOLS for flag in flags.flags_of(script) if flag.name not in REFUSED],
)
def test_a_flag_changes_its_own_part_of_the_configuration(script, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tool_configuration.processor, "usable_processors", lambda: 6)
    for file in ("a", "other1", "other2"):
        (tmp_path / file).write_text("text")
    value, expected = ROWS[script][name]
    needed = NEEDED[script][1]
    others = {key: other for key, other in needed.items() if expected.get(key, "") is not None}
    before, after = configured(script, needed), configured(script, {**others, name: value})
    assert {field: after[field] for field in before if before[field] != after[field]} == expected
    assert script != "extract_features" or before["max_seq_length"] is None  # a run has its own


def test_progress_leaves_out_what_an_earlier_command_did_and_stops_at_the_whole(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress_lines.time, "monotonic", lambda: now[0])
    progress = progress_lines.ProgressLines("Reading", 100, "bytes")
    progress.skip(60)
    now[0] = 20.0
    progress.update(60)
    progress.update(80)
    now[0] = 40.0
    progress.update(130)  # a gzipped file has more text than bytes
    assert capsys.readouterr().out.splitlines() == [
        "Reading: 80 of 100 bytes (80%), 1.0 a second, 20 s left",
        "Reading: 100 of 100 bytes (100%), 1.0 a second, 0 s left",
    ]
