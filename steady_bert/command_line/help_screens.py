"""What --help and --helpfull print: one screen of what most people need, or every flag by group. Pure."""

import textwrap
from typing import Any

from .flag_table import COMMON, SCRIPTS, flags_of
from .tool_flags import EXAMPLES
from .training_flags import Flag

_WIDTH = 110
_TRAIN = "Train, then predict:"
# script → (a heading, commands).
_EXAMPLES = {
    **EXAMPLES,
    "run_classifier": (
        _TRAIN,
        "--do_train --do_eval --task_name=text --data_dir=DATA --init_checkpoint=BERT/bert_model.ckpt "
        "--bert_config_file=BERT/bert_config.json --vocab_file=BERT/vocab.txt --output_dir=RUN",
        "--do_predict --model_dir=RUN --predict_file=FILE --predict_output=PREDICTIONS",
    ),
    "run_ner": (
        _TRAIN,
        "--do_train --do_eval --train_file=TRAIN --dev_file=DEV --init_checkpoint=BERT/bert_model.ckpt "
        "--bert_config_file=BERT/bert_config.json --vocab_file=BERT/vocab.txt --output_dir=RUN",
        "--do_predict --model_dir=RUN --predict_file=FILE --predict_output=PREDICTIONS",
    ),
    "run_pretraining": (
        "Go on with the pre-training of a BERT, on text of your own:",
        "--do_train --do_eval --text_files=TEXT --dev_file=HELD_OUT --use_next_sentence_task=false "
        "--num_train_epochs=3 --model=BERT --output_dir=RUN",
    ),
    "run_squad": (
        _TRAIN,
        "--do_train --do_eval --train_file=TRAIN.json --dev_file=DEV.json --model=BERT --output_dir=RUN",
        "--do_predict --model_dir=RUN --predict_file=FILE.json --predict_output=ANSWERS.json",
    ),
    "serve": ("Serve a run of run_classifier.py or run_ner.py:", "--model_dir=RUN --port=8080"),
}


def text_of(value: Any) -> str:
    """A value as the command line writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def short_help(script: str, description: str) -> str:
    """At most 40 lines of 110 characters."""
    heading, *examples = _EXAMPLES[script]
    lines = [description, "", heading]
    for example in examples:
        command = "python {}.py {}".format(script, example)
        lines += textwrap.wrap(command, _WIDTH, initial_indent="  ", subsequent_indent="      ", break_on_hyphens=False)
    lines.append("")
    flags = {flag.name: flag for flag in flags_of(script)}
    for name in COMMON.get(script, flags):
        lines.append("  --{:<24} {}".format(name, _first_sentence(flags[name])))
    lines += ["", "--helpfull shows all {} flags of {}.py, by group.".format(len(flags), script)]
    return "\n".join(lines)


def full_help(script: str, description: str) -> str:
    """Every flag of the script once, by group."""
    lines = [description, "", "usage: python {}.py --flag=value …".format(script)]
    for title, group in SCRIPTS[script].items():
        lines += ["", title]
        for flag in group:
            lines.append("  --{:<27} {}".format(flag.name, _values(flag)))
            lines += textwrap.wrap(
                flag.meaning, _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6, break_on_hyphens=False
            )
    return "\n".join(lines)


def _first_sentence(flag: Flag) -> str:
    sentence = flag.meaning.split(". ")[0].rstrip(".")
    return sentence if flag.default in (None, "", False) else "{} [{}]".format(sentence, text_of(flag.default))


def _values(flag: Flag) -> str:
    values = " | ".join(flag.choices)
    return values if flag.default in (None, "") else "{}; default: {}".format(values, text_of(flag.default))
