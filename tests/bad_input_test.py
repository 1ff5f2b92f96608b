"""Inputs as bad as they come: each gets one message that names the place and the remedy, exit 2, before step 1."""

import gzip
import json
import os
import re
import shutil

import pytest
import tensorflow.compat.v1 as tf
from conftest import mistake, run_main, succeed

H = "text\tlabel\n"
ROWS = "good one\tyes\nbad one\tno\n"
TRAIN, VOCAB, CONFIG = "data/train.tsv", "vocab.txt", "bert_config.json"
MNLI = "index\tsentence1\tsentence2\tlabel\n"

QUOTE_OPEN = 'text,label\na,x\n"b,y\n' + "c,x\n" * 500
LATIN_1_INSIDE = b'text,label\na,x\n"one\n\xe9\nthree",y\n'
HALF = '{"text": "a\\ud83d", "label": "x"}\n{"text": "\\ud83d\\ude00", "label": "y"}\n'
PREDICT_JSON = dict(task_name="sst-2", do_predict="true", predict_file="{}/new.jsonl")

# What is put in place (a path → content; None removes it) · flags that differ · what the message must say (a pattern).
# {} stands for the folder.
BAD_FILES = [
    ({"data": None}, {}, r"--data_dir={}/data: no such folder"),
    ({TRAIN: None}, {}, r"{}/data/train.tsv: cannot be read \(No such file"),
    ({"data/dev.tsv": None}, {"do_eval": "true"}, r"{}/data/dev.tsv: cannot be read"),
    ({"data/test.tsv": None}, {"do_predict": "true"}, r"{}/data/test.tsv: cannot be read"),
    ({TRAIN: ""}, {}, r"train.tsv: the file is empty"),
    ({TRAIN: "\n\n"}, {}, r"train.tsv: the file is empty"),
    ({TRAIN: H}, {}, r"train.tsv: has no rows below its header"),
    ({TRAIN: H + ROWS + "three\n"}, {}, r"train.tsv:4: columns: 1, not 2"),
    ({TRAIN: H + ROWS + "a\tb\tc\n"}, {}, r"train.tsv:4: columns: 3, not 2"),
    ({TRAIN: H + ROWS + "a\t\n"}, {}, r"train.tsv:4: the label is missing \(empty\)"),
    ({TRAIN: H + ROWS + "\nx\tyes\n"}, {}, r"train.tsv:4: a blank line within the data"),
    ({TRAIN: H + ROWS + "\n\nx\tyes\n"}, {"skip_bad_lines": 1}, r"train.tsv:5: a blank.*\n--skip_bad_lines=1 are used"),
    ({TRAIN: (H + ROWS).encode() + b"caf\xe9\tyes\n"}, {}, r"train.tsv:4: byte 4 is not UTF-8.*--encoding=cp1252"),
    ({TRAIN: (H + ROWS).encode("utf-16")}, {}, r"train.tsv: is in UTF-16. Pass --encoding=utf-16"),
    ({TRAIN: (H + ROWS).encode("utf-16-le")}, {}, r"train.tsv:1: has a NUL"),
    ({TRAIN: H + ROWS + "a\0b\tyes\n"}, {}, r"train.tsv:4: has a NUL character"),
    ({TRAIN: H + ROWS + "x" * 10000000 + "\tyes\n"}, {}, r"train.tsv:4: the line is longer than 1,048,576 bytes"),
    ({TRAIN: b"\x89PNG\r\n\x1a\n" + bytes(range(256))}, {}, r"train.tsv:1: byte 1 is not UTF-8"),
    ({TRAIN: "sentence\tlabel\na\tyes\n"}, {}, r"train.tsv:1: the header is 'sentence', 'label'; .*--text_columns"),
    ({TRAIN: "text\ttext\tlabel\na\tb\tyes\n"}, {}, r"train.tsv:1: the header names 'text' twice"),
    ({TRAIN: "text\tid\na\tyes\n"}, {}, r"train.tsv:1: has no column of labels"),
    ({TRAIN: H + "a\tyes\nb\tyes\n"}, {}, r"train.tsv: has the one label 'yes'"),
    ({TRAIN: H + "".join("t\t{}\n".format(n / 7) for n in range(300))}, {}, r"300 distinct labels.*regression"),
    ({"data/dev.tsv": H + "a\tmaybe\n"}, {"do_eval": "true"}, r"dev.tsv:2: label 'maybe' is not one of blame, praise"),
    ({TRAIN: H + ROWS}, {"labels": "yes,perhaps"}, r"train.tsv:3: label 'no' is not one of yes, perhaps"),
    ({"data/train.csv": "text,label\na,yes\n"}, {}, r"data: has both train.tsv and train.csv"),
    ({TRAIN: None, "data/train.csv": 'text,label\na,yes\n"b,no\n'}, {}, r"train.csv:3: a quoted field.*not closed"),
    ({TRAIN: None, "data/train.csv": "text,label\na,b,yes\n"}, {}, r"train.csv:2: columns: 3, not 2. Quote a field"),
    ({TRAIN: None, "data/train.csv": QUOTE_OPEN}, {"skip_bad_lines": 1}, r"train.csv:3: a quoted field .* not closed"),
    ({TRAIN: None, "data/train.csv": LATIN_1_INSIDE}, {}, r"train.csv:4: byte 1 is not UTF-8"),
    (
        {TRAIN: None, "data/train.csv": "text,label\na,x\n\n\nb,y\n"},
        {"skip_bad_lines": 1},
        r"csv:4: a blank line",
    ),
    ({TRAIN: "a\tx\nb\ty\nc\tx\n"}, {"text_columns": "\u00b2", "label_column": "1"}, r"--text_columns names"),
    (
        {TRAIN: "review text\tverdict\na\tx\nb\ty\n"},
        {"text_columns": "0", "label_column": "1"},
        r":1: looks like a header",
    ),
    ({TRAIN: None, "data/train.csv": 'text,label\na,yes\n"b"c,no\n'}, {}, r"train.csv:3: not CSV"),
    ({TRAIN: None, "data/train.csv": 'text,label\n"' + "a\n" * 600000}, {}, r"train.csv:2: a quoted field.*not closed"),
    ({TRAIN: None, "data/train.csv": "text;label\na;yes\n"}, {}, r"train.csv: has the one label 'yes'"),
    ({TRAIN: None, "data/train.jsonl": '{"text": "a", "label": "yes"}\n{"text"\n'}, {}, r"train.jsonl:2: not JSON"),
    ({TRAIN: None, "data/train.jsonl": '["a", "yes"]\n'}, {}, r"train.jsonl:1: list, not an object"),
    (
        {TRAIN: None, "data/train.jsonl": '{"text": 7, "label": "yes"}\n'},
        {},
        r":1: 'text' is 7, not a string",
    ),
    (
        {TRAIN: None, "data/train.jsonl": '{"text": "a", "label": null}\n'},
        {},
        r":1: the label is missing \(null\)",
    ),
    (
        {TRAIN: None, "data/train.jsonl": '{"text": "a", "label": "x"}\n{"txt": "b", "label": "y"}\n'},
        {},
        r"train.jsonl:2: has no 'text', only 'txt', 'label'",
    ),
    ({TRAIN: None, "data/train.jsonl": HALF}, {}, r"train.jsonl:1: has half of a surrogate pair"),
    (
        {TRAIN: None, "data/train.jsonl": '{"text": "a", "label": "x", "id": {}}\n'},
        {},
        r":1: the id .* is neither text",
    ),
    ({TRAIN: None, "data/train.jsonl": "[" * 200000 + "\n"}, {}, r"train.jsonl:1: not JSON"),
    ({TRAIN: None, "data/train.tsv.gz": H.encode()}, {}, r"train.tsv.gz: not a complete gzip file .*Make it again"),
    (
        {TRAIN: None, "data/train.tsv.gz": gzip.compress((H + ROWS * 999).encode())[:-30]},
        {},
        r"train.tsv.gz: not a complete gzip file",
    ),
    ({TRAIN: 'text\tlabel\tid\na\tyes\t1\nb\tno\t"2\r3"\n'}, {}, r"train.tsv:3: the id .* has a tab or a line end"),
    ({TRAIN: "text\tlabel\n" + ROWS + "x\tx,x\n"}, {"label_type": "multi"}, r"train.tsv:4: names a label twice"),
    (
        {TRAIN: H + "a\tx,y\nb\tx\n"},
        {"label_type": "multi", "class_weights": "balanced"},
        r"--class_weights=balanced: every training example is x",
    ),
    ({TRAIN: H + "a\t1.5\nb\thigh\n"}, {"label_type": "regression"}, r"train.tsv:3: score 'high' is not a number"),
    ({TRAIN: H + "a\t-3e38\nb\t-3.5e38\n"}, {"label_type": "regression"}, r"train.tsv:3: score '-3.5e38' is more than"),
    ({TRAIN: H + "a\t1.5\nb\tinf\n"}, {"label_type": "regression"}, r"train.tsv:3: score 'inf' is not a number"),
    ({TRAIN: H + ROWS}, {"text_columns": "body"}, r"the header is 'text', 'label'; --text_columns names 'body'"),
    ({TRAIN: H + ROWS}, {"label_column": "class"}, r"train.tsv:1: has no column of labels"),
    ({TRAIN: ROWS}, {"text_columns": "5", "label_column": "1"}, r"train.tsv:1: columns: 2; --text_columns=5"),
    ({TRAIN: H + ROWS}, {"text_columns": "0", "label_column": "1"}, r"train.tsv:1: looks like a header"),
    # the layouts of GLUE
    ({}, {"task_name": "cola"}, r"train.tsv:1: columns: 3, but a file of CoLA has 2 or 4"),
    (
        {"data/train.tsv": MNLI + "0\ta\tb\tneutral\n"},
        {"task_name": "rte"},
        r":2: label 'neutral' is not one of",
    ),
    ({"data/train.tsv": "0\ta\tb\tentailment\n"}, {"task_name": "rte"}, r":1: looks like data, not like a header"),
    ({"data/train.tsv": MNLI + "0\ta\tentailment\n"}, {"task_name": "qnli"}, r"train.tsv:2: columns: 3, not 4"),
    ({"data/train.tsv": MNLI}, {"task_name": "mnli"}, r"columns: 4, but a file of MNLI has 10 or 12 or 16"),
    ({}, {"task_name": "xnli"}, r"multinli.train.zh.tsv: cannot be read"),
    ({}, {"task_name": "ax"}, r"--task_name=ax has no training data: train mnli"),
    ({TRAIN: "sentence\tlabel\na\t0\n", "new.jsonl": "{}\n"}, PREDICT_JSON, r"new.jsonl:1: is JSON; "),
]
V = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"
UNCASED = V + "".join("w{}\n".format(n) for n in range(2000))
CONFIGURATION = dict(vocab_size=40, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
CONFIGURATION.update(max_position_embeddings=32, type_vocab_size=2)


def config(**changed):
    return json.dumps(dict(CONFIGURATION, **changed))


BAD_MODELS = [
    ({VOCAB: None}, {}, r"vocab.txt: cannot be read.*--vocab_file"),
    ({VOCAB: ""}, {}, r"vocab.txt: has no \[UNK\]"),
    ({VOCAB: V + "good\nbad\ngood\n"}, {}, r"vocab.txt:8: 'good' is on line 6 too"),
    ({VOCAB: V + "good\n\nbad\n"}, {}, r"vocab.txt:7: a blank line"),
    ({VOCAB: V.replace("[SEP]\n", "")}, {}, r"vocab.txt: has no \[SEP\]"),
    ({VOCAB: V.encode() + b"caf\xe9\n"}, {}, r"vocab.txt:6: not UTF-8"),
    ({VOCAB: V + "".join("w{}\n".format(n) for n in range(40))}, {}, r"vocab.txt: 45 pieces, but .* has vocab_size=40"),
    ({VOCAB: V + "".join("Word{}\n".format(n) for n in range(9))}, {}, r"--do_lower_case=true: 9 of .* is a cased one"),
    ({VOCAB: UNCASED, CONFIG: config(vocab_size=9999)}, {"do_lower_case": "false"}, r"none of .* is an uncased one"),
    ({}, {"spm_model_file": "{}/vocab.txt"}, r"--vocab_file and --spm_model_file were both given"),
    ({}, {"vocab_file": None}, r"--vocab_file \(or --spm_model_file\) is needed"),
    ({}, {"vocab_file": None, "spm_model_file": "{}/none.model"}, r"none.model: cannot be read.*--spm_model_file"),
    ({}, {"vocab_file": None, "spm_model_file": "{}/vocab.txt"}, r"vocab.txt: not a SentencePiece model"),
    ({CONFIG: None}, {}, r"bert_config.json: cannot be read"),
    ({CONFIG: "{"}, {}, r"bert_config.json: "),
    ({CONFIG: "[1]"}, {}, r"bert_config.json: holds a list, expected an object"),
    ({CONFIG: config(hiden_size=8)}, {}, r"bert_config.json: unknown key 'hiden_size'. Did you mean 'hidden_size'"),
    ({CONFIG: config(model_type="electra")}, {}, r"bert_config.json: model_type='electra': this is ELECTRA"),
    ({CONFIG: config(embedding_size=16)}, {}, r"bert_config.json: embedding_size=16 .* this is an ALBERT or ELECTRA"),
    ({CONFIG: config(num_hidden_groups=1)}, {}, r"bert_config.json: num_hidden_groups=1: this is an ALBERT"),
    ({CONFIG: json.dumps(dict(hidden_size=32))}, {}, r"bert_config.json: 'vocab_size' is missing"),
    (
        {CONFIG: config(hidden_size=30, num_attention_heads=4)},
        {},
        r"hidden_size=30 is not a multiple of num_attention_heads=4",
    ),
    ({CONFIG: config(hidden_act="swish")}, {}, r"bert_config.json: .*swish"),
    ({CONFIG: config(hidden_size="big")}, {}, r"bert_config.json: hidden_size='big' is not a positive whole number"),
    ({CONFIG: config(num_hidden_layers=0)}, {}, r"bert_config.json: num_hidden_layers=0 is not a positive"),
    ({CONFIG: config(hidden_dropout_prob=1.5)}, {}, r"bert_config.json: hidden_dropout_prob=1.5 is not"),
    ({CONFIG: config(type_vocab_size=1)}, {}, r"bert_config.json: type_vocab_size=1, but 2 are needed"),
    ({}, {"max_seq_length": 33}, r"--max_seq_length=33: .* has max_position_embeddings=32"),
    ({}, {"max_seq_length": 2}, r"max_seq_length"),
    ({}, {"from_scratch": None}, r"Pass --init_checkpoint, or --from_scratch"),
    ({}, {"from_scratch": None, "init_checkpoint": "{}/none.ckpt"}, r"none.ckpt: no checkpoint has this prefix"),
    ({}, {"from_scratch": None, "init_checkpoint": "{}/data"}, r"data: the folder has no checkpoint"),
    (
        {"x.ckpt.index": "junk"},
        {"from_scratch": None, "init_checkpoint": "{}/x.ckpt"},
        r"x.ckpt: not a readable",
    ),
    ({}, {"init_checkpoint": "{}/x.ckpt"}, r"--from_scratch and --init_checkpoint were both given"),
]
BAD_FLAGS = [
    ({"nonsense": 1}, r"nonsense"),
    ({"train_batch_size": "many"}, r"train_batch_size"),
    ({"train_batch_size": 0}, r"train_batch_size"),
    ({"learning_rate": -1}, r"learning_rate"),
    ({"learning_rate": 0}, r"--learning_rate=0: nothing would be learned"),
    ({"do_train": "perhaps"}, r"do_train"),
    ({"task_name": "colaa"}, r"task_name"),
    ({"task_name": None}, r"--task_name is needed"),
    ({"data_dir": None}, r"--data_dir is needed to train"),
    ({"output_dir": None}, r"--output_dir is needed to train"),
    ({"bert_config_file": None}, r"--bert_config_file is needed to train"),
    ({"label_type": "double"}, r"label_type"),
    ({"num_train_steps": None, "num_train_epochs": "inf"}, r"--num_train_epochs=inf: not a finite number"),
    ({"learning_rate": "nan"}, r"--learning_rate=nan: not a finite number"),
    ({"clip_norm": "nan"}, r"--clip_norm=nan: not a finite number"),
    ({"adam_beta2": 1}, r"--adam_beta2=1: an average that takes in nothing new"),
    ({"momentum": 0.5}, r"--momentum: --optimizer=adamw does not read it"),
    ({"freeze": "("}, r"--freeze: '\(' is not a regular expression"),
    ({"lr_multipliers": "output=0"}, r"--lr_multipliers: 'output=0' is not pattern=factor .*--freeze"),
    ({"gradient_accumulation_steps": 3}, r"--train_batch_size=16 does not divide by 3 parts"),
    ({"dry_run": "true", "gradient_accumulation_steps": 3}, r"--train_batch_size=16 does not divide by 3 parts"),
    ({"lookahead_steps": 5, "lookahead_alpha": 0}, r"--lookahead_alpha=0: it would stop training"),
    ({"layerwise_lr_decay": 0}, r"--layerwise_lr_decay=0: it would stop training"),
    ({"adam_epsilon": 0}, r"--adam_epsilon=0: it would stop training, or divide by 0"),
    ({"lr_schedule": "plateau", "do_eval": "true", "plateau_factor": 0}, r"--plateau_factor=0: it would stop"),
    ({"lr_schedule": "plateau", "do_eval": "true", "plateau_factor": 1}, r"--plateau_factor=1: the rate would never"),
    ({"optimizer": "ranger", "adam_beta2": 0.6}, r"never moves at beta_2=0.6 \(--adam_beta2\). Give more than 2/3"),
    ({"ema_decay": 1}, r"--ema_decay=1: the average would never move"),
    (
        {"lr_decay_steps": 10, "num_warmup_steps": 20, "end_learning_rate": 1e-5},
        r"Warm-up of 20 steps .* is not shorter than the horizon of 10 steps",
    ),
    ({"num_train_steps": 10**9}, r"1,000,000,000 steps are more than 10,000,000. Lower --num_train_steps"),
    ({"num_train_epochs": 2}, r"--num_train_steps and --num_train_epochs were both given"),
    ({"num_train_steps": None, "num_train_epochs": 0.01}, r"--num_train_epochs=0.01: .* less than one update"),
    ({"num_warmup_steps": 60}, r"Warm-up of 60 steps .* is not shorter than the run"),
    ({"lr_decay_steps": 30}, r"--lr_decay_steps=30 is shorter than the run"),
    ({"early_stopping_patience": 2}, r"--early_stopping_patience counts evaluations: pass --do_eval"),
    ({"best_metric": "bleu", "do_eval": "true"}, r"--best_metric=bleu: this task has accuracy, macro_f1"),
    ({"no_decay_patterns": "nothing_has_this"}, r"nothing_has_this"),
    ({"devices": "gpu:7"}, r"TensorFlow finds no gpu:7"),
    ({"skip_bad_lines": -1}, r"skip_bad_lines"),
    ({"dry_run": "true", "check_data": "true"}, r"--dry_run and --check_data were both given"),
    ({"do_train": None}, r"Nothing to do: pass at least one"),
    ({"model_dir": "{}"}, r"--model_dir is for evaluation and prediction"),
    ({"labels": "yes"}, r"--labels=yes: name two or more"),
    ({"labels": "yes,no,yes"}, r"--labels=yes,no,yes: name two or more different"),
    ({"labels": "a,b", "label_type": "regression"}, r"--labels: a number is learned"),
    ({"text_columns": "a,b,c"}, r"--text_columns=a,b,c: name one column, or two"),
    ({"text_columns": "text,text"}, r"--text_columns=text,text: name one column, or two different"),
    ({"class_weights": "maybe=2"}, r"--class_weights: 'maybe=2' is not label=weight, .* of blame, praise"),
    ({"class_weights": "praise=-1"}, r"--class_weights: 'praise=-1'"),
    (
        {"class_weights": "balanced", "labels": "blame,praise,none"},
        r"no training example is none",
    ),
    ({"class_weights": "balanced", "label_type": "regression"}, r"--class_weights: a number is learned"),
    ({"language": "de"}, r"--language is read with --task_name=xnli, not with text"),
    ({"task_name": "mrpc", "label_column": "x"}, r"--label_column is read with --task_name=text, not with mrpc"),
    ({"output_dir": "{}/vocab.txt/run"}, r"--output_dir={}/vocab.txt/run: cannot be written \(Not a directory"),
    ({"cache_dir": "{}/vocab.txt"}, r"--cache_dir={}/vocab.txt: cannot be written"),
    ({"do_predict": "true", "predict_output": "{}/vocab.txt/p.tsv"}, r"--predict_output={}/vocab.txt: cannot be wri"),
]
CORPUS = BAD_FILES + BAD_MODELS + [({}, changed, said) for changed, said in BAD_FLAGS]


@pytest.fixture()
def place(tiny, tmp_path):
    """A folder with the small task's files, to be spoilt; gives the flags of a training run in it."""
    shutil.copytree(tiny.data_dir, str(tmp_path / "data"))
    for name in (VOCAB, CONFIG):
        shutil.copy(os.path.join(os.path.dirname(tiny.vocab_file), name), str(tmp_path / name))

    def flags(**changed):
        values = dict(data_dir="{}/data", vocab_file="{}/vocab.txt", bert_config_file="{}/bert_config.json")
        values.update(dict(output_dir="{}/out", do_train="true"), **changed)
        return [flag.replace("{}", str(tmp_path)) for flag in tiny.flags(**values)]

    return flags


def spoil(folder, files):
    for name, content in files.items():
        path = os.path.join(folder, name)
        if content is None:
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
        else:
            with open(path, "wb") as file:
                file.write(content if isinstance(content, bytes) else content.encode("utf-8"))


def test_the_corpus_is_large_enough():
    assert len(CORPUS) >= 60


@pytest.mark.parametrize("files, changed, said", CORPUS, ids=range(len(CORPUS)))
def test_a_bad_input_gets_one_message(place, tmp_path, capsys, files, changed, said):
    spoil(str(tmp_path), files)
    message = mistake(place(**changed), capsys)
    assert re.search(said.replace("{}", re.escape(str(tmp_path))), message), message
    assert message.startswith("run_classifier: error: ") and "Traceback" not in message
    assert not [name for _, _, names in os.walk(str(tmp_path)) for name in names if name.startswith("model.ckpt")]


def test_what_looks_bad_and_is_not_is_read(place, tmp_path, capsys):
    """A byte-order mark, CRLF, trailing blank lines, a missing line end at the end, quotes, odd spaces."""
    rows = '\ufefftext\tlabel\r\n"good" one\tyes\r\nbad\u00a0one\tno\r\nonly "\tyes\r\n\r\n\r\n'
    spoil(str(tmp_path), {TRAIN: rows, "data/dev.tsv": "text\tlabel\ngood\tyes"})
    succeed(place(num_train_steps=2, train_batch_size=2, do_eval="true"), capsys)
    with open(str(tmp_path / "out" / "labels.json")) as file:
        assert json.load(file)["labels"] == ["no", "yes"]


def test_skipped_lines_are_listed_and_a_stricter_command_does_not_use_them(place, tmp_path, capsys):
    spoil(str(tmp_path), {TRAIN: (H + ROWS).encode() + b"caf\xe9\tyes\nshort\n" + ROWS.encode()})
    output = succeed(place(num_train_steps=1, train_batch_size=2, skip_bad_lines=2), capsys)
    assert "train.tsv: bad lines left out: 2" in output
    assert "train.tsv:4: byte 4 is not UTF-8" in output and "train.tsv:5: columns: 1, not 2" in output
    assert "steps: 1 (--num_train_steps) = 0.50 epochs of 4 examples" in output
    for allowed in (1, 0):
        assert "train.tsv:" in mistake(place(num_train_steps=1, train_batch_size=2, skip_bad_lines=allowed), capsys)


def test_a_disk_without_room_for_the_checkpoints_is_found_before_step_1(place, tmp_path, capsys, monkeypatch):
    usage = shutil.disk_usage(str(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=100000))
    arguments = place(save_checkpoints_steps=10, keep_checkpoint_max=2, num_train_steps=30)
    message = mistake(arguments, capsys)
    match = re.search(r"the checkpoints need ([\d,]+) bytes \(3 of ([\d,]+)\), and 100,000 are free", message)
    assert match, message
    needed, each = (int(number.replace(",", "")) for number in match.groups())
    assert needed == 3 * each and "checkpoint" not in os.listdir(str(tmp_path / "out"))
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=needed))
    succeed(arguments, capsys)
    written = os.path.getsize(str(tmp_path / "out" / "model.ckpt-30.data-00000-of-00001"))
    assert abs(written - each) < 100  # what it says a checkpoint takes is what one takes


# --- a trained model and what does not belong to it -------------------------------------------------------------------

WITHOUT_MANIFEST = shutil.ignore_patterns("manifest.json")  # it would name the file that a case changes
DROP_HEAD = "a checkpoint without the head"
OF_TRAINING = ["model/model.ckpt-2.index", "model/model.ckpt-2.data-00000-of-00001", "model/checkpoint"]
OF_TRAINING += ["model/metrics.jsonl"]
BAD_WITH_A_MODEL = [
    ({}, {"task_name": "mrpc"}, r"model: the model predicts blame, praise; the command asks for 0, 1"),
    ({}, {"labels": "praise,blame"}, r"the model predicts blame, praise; the command asks for praise, blame"),
    ({}, {"label_type": "multi"}, r"--label_type=multi: the model in .* was trained with single"),
    ({}, {"do_lower_case": "false"}, r"--do_lower_case=false: the model in .* was trained with true"),
    (
        {"other.txt": V + "alpha\n"},
        {"vocab_file": "{}/other.txt"},
        r"other.txt: the model was trained with",
    ),
    ({}, {"max_seq_length": 64}, r"--max_seq_length=64: .*max_position_embeddings=32"),
    ({"other.json": config(hidden_size=16, vocab_size=40)}, {"bert_config_file": "{}/other.json"}, r"shapes differ"),
    ({"other.json": config(num_hidden_layers=3)}, {"bert_config_file": "{}/other.json"}, r"lacks bert/encoder/layer_1"),
    ({"spm.model": "x"}, {"spm_model_file": "{}/spm.model"}, r"spm.model: the model was trained with"),
    ({}, {"class_weights": "praise=2"}, r"--class_weights weighs what is learned"),
    ({}, {"output_dir": "{}/model/vocab.txt"}, r"--output_dir=.*vocab.txt: cannot be written"),
    ({}, {"predict_output": "{}/data"}, r"--predict_output=.*data: is a folder"),
    (
        {},
        {"predict_file": "-", "do_train": "true", "from_scratch": "true"},
        r"--predict_file=-: standard input is",
    ),
    ({"model/labels.json": None}, {}, r"model: lacks labels.json. Pass --labels"),
    ({"model/labels.json": "[]"}, {}, r"labels.json: holds a list, expected an object"),
    ({"model/labels.json": '{"labels": ["a", "b", "c"]}'}, {}, r"shapes differ .*\n.*output_bias: model \(3,\)"),
    ({"model/config.json": "{"}, {}, r"config.json: not JSON"),
    ({"model/vocab.txt": None}, {}, r"--vocab_file \(or --spm_model_file\) is needed"),
    ({"model/bert_config.json": None}, {}, r"--bert_config_file is needed: the model's folder has none"),
    ({}, {"model_dir": "{}/data"}, r"--task_name is needed: .*data has no config.json"),
    ({}, {"checkpoint": "best"}, r"--checkpoint=best: .* has no best checkpoint"),
    (dict.fromkeys(OF_TRAINING), {"init_checkpoint": DROP_HEAD}, r"has no trained head .*noise"),
    (
        {OF_TRAINING[0]: None},
        {"init_checkpoint": DROP_HEAD},
        r"none of its checkpoints:\n.*model.ckpt-2 has data but no",
    ),
    ({}, {"predict_file": None}, r"--predict_file \(or --data_dir\) is needed to predict"),
    ({"new.tsv": "body\nx\n"}, {"predict_file": "{}/new.tsv"}, r"new.tsv:1: the header is 'body'"),
    ({"new.txt": "a\tb\tc\n"}, {"predict_file": "{}/new.txt"}, r"new.txt:1: the header is 'a', 'b', 'c'"),
    ({"new.txt": "a\nb\tc\n"}, {"predict_file": "{}/new.txt"}, r"new.txt:2: columns: 2, not 1"),
    (
        {"new.jsonl": '{"text": "a", "id": "1\\t2"}\n'},
        {"predict_file": "{}/new.jsonl"},
        r"new.jsonl:1: the id .* tab",
    ),
]


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("trained") / "out")
    assert run_main(tiny.flags(output_dir=folder, do_train="true", num_train_steps=2)) == 0
    return folder


@pytest.mark.parametrize("files, changed, said", BAD_WITH_A_MODEL, ids=range(len(BAD_WITH_A_MODEL)))
def test_what_does_not_belong_to_the_model_is_said(trained, tiny, tmp_path, capsys, files, changed, said):
    shutil.copytree(trained, str(tmp_path / "model"), ignore=WITHOUT_MANIFEST)
    shutil.copytree(tiny.data_dir, str(tmp_path / "data"))
    spoil(str(tmp_path), files)
    values = dict(do_predict="true", model_dir="{}/model", predict_file="{}/data/test.tsv", output_dir="{}/predictions")
    values.update(changed)
    if values.get("init_checkpoint") == DROP_HEAD:
        values["init_checkpoint"] = write_without_head(os.path.join(trained, "model.ckpt-2"), str(tmp_path / "x.ckpt"))
    arguments = ["--{}={}".format(name, value) for name, value in values.items() if value is not None]
    message = mistake([argument.replace("{}", str(tmp_path)) for argument in arguments], capsys)
    assert re.search(said, message, re.S), message
    assert "Traceback" not in message and not os.path.exists(str(tmp_path / "predictions" / "predictions.tsv"))


def write_without_head(source, target):
    reader = tf.train.load_checkpoint(source)
    with tf.Graph().as_default(), tf.Session() as session:
        names = [name for name in reader.get_variable_to_shape_map() if name.startswith("bert/")]
        names = [name for name in names if "/adam_" not in name]
        variables = [tf.get_variable(name, initializer=reader.get_tensor(name)) for name in names]
        session.run(tf.global_variables_initializer())
        return tf.train.Saver(variables).save(session, target)


@pytest.mark.parametrize(
    "files, changed, said",
    [
        ({CONFIG: config(hidden_size=16)}, {}, r"shapes differ from the model's:\n.*Use the bert_config.json that bel"),
        ({TRAIN: H + ROWS + "c\tmaybe\n"}, {}, r"output_bias: model \(3,\), checkpoint \(2,\).*--reset_head"),
        ({"run/plan.json": "{}"}, {"output_dir": "{}/run"}, r"plan.json: not a plan of this program"),
        ({"run/plan.json": "["}, {"output_dir": "{}/run"}, r"plan.json: "),
        ({"run/plan.json": None}, {"output_dir": "{}/run"}, r"no plan.json .*--allow_plan_change"),
        ({TRAIN: H + ROWS}, {"output_dir": "{}/run"}, r"examples: 200 → 2\n"),
    ],
)
def test_training_from_what_does_not_fit_is_refused(trained, place, tmp_path, capsys, files, changed, said):
    shutil.copytree(trained, str(tmp_path / "run"), ignore=WITHOUT_MANIFEST)
    spoil(str(tmp_path), files)
    values = dict(from_scratch=None, init_checkpoint="{}/run", num_train_steps=2, train_batch_size=2)
    message = mistake(place(**dict(values, **changed)), capsys)
    assert re.search(said, message, re.S), message
    assert "Traceback" not in message
