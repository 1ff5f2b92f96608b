"""Every flag of the entry scripts: a row of a table with its name, kind, default, meaning and bounds. Pure."""

from typing import Dict, List

from ..serving.settings import ServingConfig
from ..tasks.classification.long_texts import LONG_TEXTS, POOLINGS
from ..tasks.classification.own_text import LABEL_TYPES
from ..tasks.classification.registry import PROCESSORS
from ..tasks.tagging.formats import FORMATS
from ..tasks.tagging.heads import CELLS, HEADS
from ..tasks.tagging.sentences import OFFSET_UNITS, OVERLAPS, SCHEMES, UNITS
from .pretraining_flags import OWN_TRAINING, PRETRAINING, PRETRAINING_BY_IMPORT
from .question_flags import QUESTIONS
from .tool_flags import TOOLS, TOOLS_BY_IMPORT
from .training_flags import (
    BERT_CONFIG_FILE,
    DO_LOWER_CASE,
    LOSS_OF_CLASSES,
    RDROP_ALPHA,
    TRAINING,
    VOCAB_FILE,
    Flag,
)

_CLASS_WEIGHTS = Flag(
    "class_weights",
    "list",
    "",
    "Weight of each class (run_ner: tag) in the training loss: name=weight,… or balanced. One that is not named has "
    "weight 1.",
)
_CLASSIFICATION = [
    Flag(
        "task_name",
        tuple(sorted(PROCESSORS)),
        None,
        "What to learn, and how its files are laid out; text: files of your own.",
    ),
    Flag("data_dir", "string", None, "Folder with the task's train, dev and test files."),
    Flag(
        "text_columns",
        "list",
        "",
        "With --task_name=text: the one or two columns that hold the text. By name where the file has a "
        "header, else by number from 0; text, or text_a,text_b, if not given.",
    ),
    Flag(
        "label_column",
        "string",
        None,
        "With --task_name=text: the column that holds the label. By name or number, as in text_columns; label "
        "if not given. Several, as in toxic,obscene: columns of 0 and 1, one for each class (label_type=multi).",
    ),
    Flag(
        "label_type",
        LABEL_TYPES,
        "single",
        "With --task_name=text: what a label is. single: one of several classes; multi: any number of them, "
        "separated by commas, as a list, or as 0 and 1 for each class; regression: a number.",
    ),
    Flag(
        "label_separator",
        "string",
        None,
        "With --label_type=multi: what separates the labels of an example, such as ;. If not given, a comma.",
    ),
    Flag(
        "labels",
        "list",
        "",
        "With --task_name=text: the classes, in the order of their ids. If not given, those in the training file. "
        "One that has a comma is quoted, as in '\"yes, but\",no'.",
    ),
    _CLASS_WEIGHTS,
    Flag(
        "multi_label_threshold",
        "string",
        "0.5",
        "With --label_type=multi: the probability from which a label is predicted. tune: the one with the best micro "
        "F1 on dev, for all labels; it is saved with the model.",
    ),
    Flag("language", "string", "zh", "With --task_name=xnli: language code in the names of its files."),
    Flag(
        "long_text",
        LONG_TEXTS,
        "cut",
        "What is read of a text longer than max_seq_length. cut: its beginning; head_tail: the first 128 tokens and "
        "the last ones; windows: all of it, in overlapping windows whose logits are pooled. Of a pair, the longer "
        "text is shortened or read in windows.",
    ),
    Flag(
        "window_stride",
        "integer",
        None,
        "With --long_text=windows: tokens from the start of a window to the start of the next. If not given, half of "
        "what a window holds.",
        1,
    ),
    Flag(
        "window_pooling",
        POOLINGS,
        "mean",
        "With --long_text=windows: how the logits of the windows become those of the text.",
    ),
]
_TAGGING = [
    Flag("train_file", "string", None, "Tagged sentences to train on."),
    Flag("dev_file", "string", None, "Tagged sentences to evaluate on."),
    Flag("test_file", "string", None, "Sentences to predict. If they have tags, they are scored too."),
    Flag(
        "format",
        ("auto", *FORMATS),
        "auto",
        "Layout of the data files. auto: what a file looks like; text for standard input. columns: one word a line "
        "with its tag; csv: the same with a header; tokens: JSON with lists of words and tags; json: entities as "
        "character spans; text: one untagged text a line; others: as the tools of these names write them.",
    ),
    Flag(
        "tag_column",
        "string",
        "last",
        "In columns: which holds the tag. A number from 0, last, or none; a name where the file has a header, or "
        "objects with lists of tags.",
    ),
    Flag(
        "word_column",
        "string",
        None,
        "In columns: which holds the word, as in tag_column. If not given, the first; a file whose first column "
        "cannot be the word is refused.",
    ),
    Flag(
        "tag_scheme",
        SCHEMES,
        "auto",
        "How tags mark entities. plain: they mark none, as in part-of-speech tagging; auto: the scheme that "
        "the tags of the file fit.",
    ),
    Flag(
        "tags_file",
        "string",
        None,
        "File with one tag a line, in the order of their ids. If not given, the tags in train_file.",
    ),
    Flag(
        "mend_tags",
        "boolean",
        False,
        "Accept impossible tags: read them as conlleval does, and keep the longer of two overlapping "
        "entities. Each case is reported.",
    ),
    Flag(
        "overlaps",
        OVERLAPS,
        "error",
        "Which of two entities that overlap is kept: the longest, or the first in the text. What is dropped is "
        "counted. error: refuse them.",
    ),
    Flag(
        "offset_unit",
        OFFSET_UNITS,
        "characters",
        "What the ends of entities count: characters; utf16 units, as in JavaScript and Java; or bytes of UTF-8.",
    ),
    Flag(
        "text_units",
        UNITS,
        "auto",
        "What gets a tag in json, cluener and text files. auto: characters if the words of the training file "
        "are single characters, else words.",
    ),
    _CLASS_WEIGHTS,
    Flag("head", tuple(sorted(HEADS)), "softmax", "Layers between BERT's output and the tags."),
    Flag("lstm_size", "integer", 128, "With a bilstm head: units in each direction.", 1),
    Flag("lstm_layers", "integer", 1, "With a bilstm head: number of stacked layers.", 1),
    Flag("lstm_cell", tuple(sorted(CELLS)), "lstm", "With a bilstm head: kind of recurrent cell."),
    Flag(
        "constrained_decoding",
        "boolean",
        False,
        "Never predict a tag that cannot follow the one before it, such as I-PER after O.",
    ),
    Flag(
        "doc_stride",
        "integer",
        None,
        "Sentences longer than max_seq_length are read in windows: pieces from the start of one to the start "
        "of the next. If not given, half of what a window holds.",
        1,
    ),
]
_INPUT = [
    BERT_CONFIG_FILE,
    VOCAB_FILE,
    Flag("spm_model_file", "string", None, "SentencePiece model, instead of vocab_file, for a BERT trained with one."),
    DO_LOWER_CASE,
    Flag(
        "max_seq_length",
        "integer",
        128,
        "Longest input in tokens, including [CLS] and [SEP]. Longer texts are cut (or see long_text); longer tagged "
        "sentences are read in windows.",
        3,
    ),
    Flag("max_train_examples", "integer", None, "Train on this many examples, drawn by seed. If not given, on all.", 1),
    Flag(
        "max_eval_examples", "integer", None, "Evaluate on this many examples, drawn by seed. If not given, on all.", 1
    ),
    Flag(
        "cache_dir",
        "string",
        None,
        "Folder for the converted data, shared between runs; output_dir/cache if not given. With "
        "engine=estimator it may be in a bucket, where a TPU's machine then reads records and writes "
        "checkpoints.",
    ),
    Flag(
        "encoding",
        "string",
        "auto",
        "Encoding of the data files, such as gb18030 or cp1252. auto: UTF-8, with or without a byte-order mark.",
    ),
    Flag(
        "skip_bad_lines",
        "integer",
        0,
        "Number of unreadable lines that a file may have; they are left out and counted. 0: any is an error.",
        0,
    ),
    Flag(
        "allow_large_gz",
        "boolean",
        False,
        "Read gzipped data that unpacks to more than 64 GiB, or above 64 MiB to more than 200 times its size.",
    ),
    Flag(
        "predict_file", "string", None, "File to predict, or - for standard input. If not given, the task's test file."
    ),
    Flag(
        "predict_output",
        "string",
        None,
        "File to write predictions to. If not given, predictions.tsv in output_dir (run_ner: "
        "predictions.conll, with predictions.jsonl beside it).",
    ),
]
_OWN_OF_QUESTIONS = {flag.name for flag in QUESTIONS}
_PHASES = [
    Flag("do_train", "boolean", False, "Train, or continue the run in output_dir."),
    Flag(
        "do_eval",
        "boolean",
        False,
        "Evaluate on the dev set. With --do_train: during training, and the chosen checkpoint at the end.",
    ),
    Flag("do_predict", "boolean", False, "Predict predict_file, or the test set."),
    Flag("dry_run", "boolean", False, "Print the plan, draw the learning rate, and stop."),
    Flag(
        "check_data",
        "boolean",
        False,
        "Describe the data and stop; needs no model. Labels or entity types, lengths, texts that are cut, "
        "unknown pieces, duplicates and contradictions.",
    ),
]


def _known(name: str) -> Flag:
    """A flag of training that means the same elsewhere."""
    return next(flag for group in TRAINING.values() for flag in group if flag.name == name)


_SERVER = [
    _known("model_dir"),
    _known("checkpoint"),
    _known("precision"),
    Flag("host", "string", ServingConfig.host, "Address to listen at. 0.0.0.0: all of this machine."),
    Flag("port", "integer", ServingConfig.port, "Port to listen at. 0: any that is free; it is printed.", 0, 65535),
    Flag("model_name", "string", None, "The model's name in answers and paths. If not given, its folder's."),
    Flag(
        "api_key_file",
        "string",
        None,
        "File with keys, one a line; a request must have one of them. If not given, none is asked for.",
    ),
]
_LIMITS = [
    Flag(
        "batch_tokens",
        "integer",
        ServingConfig.batch_tokens,
        "Requests that arrive together are computed together, up to so many tokens.",
        1,
    ),
    Flag(
        "batch_wait_ms",
        "float",
        ServingConfig.batch_wait_ms,
        "Milliseconds that a batch waits for as many requests as the one before had. 0: none.",
        0.0,
        1000.0,
    ),
    Flag("max_body_bytes", "integer", ServingConfig.max_body_bytes, "Bytes that a request's body may have.", 1),
    Flag("max_texts", "integer", ServingConfig.max_texts, "Texts that a request may have.", 1),
    Flag(
        "max_text_characters",
        "integer",
        ServingConfig.max_text_characters,
        "Characters that a text, or a pair of texts, may have.",
        1,
    ),
    Flag(
        "max_queued_texts",
        "integer",
        ServingConfig.max_queued_texts,
        "Texts that may wait for the model; a request beyond that is answered 503.",
        1,
    ),
]
# script → title of a group → its flags.
GROUPS: Dict[str, Dict[str, List[Flag]]] = {
    "run_classifier": {
        "What to do": _PHASES,
        "Task": [*_CLASSIFICATION, *LOSS_OF_CLASSES, RDROP_ALPHA],
        "Data and model": _INPUT,
        **TRAINING,
    },
    "run_ner": {
        "What to do": _PHASES,
        "Tagging": [*_TAGGING, *LOSS_OF_CLASSES, RDROP_ALPHA],
        "Data and model": _INPUT,
        **TRAINING,
    },
    "run_pretraining": {
        "What to do": [flag for flag in _PHASES if flag.name != "do_predict"],
        **PRETRAINING,
        "Data and model": [
            flag for flag in _INPUT if flag.name not in ("encoding", "skip_bad_lines", "predict_file", "predict_output")
        ],
        **OWN_TRAINING,
    },
    "run_squad": {
        "What to do": _PHASES,
        "Questions": [*QUESTIONS, RDROP_ALPHA],
        "Data and model": [flag for flag in _INPUT if flag.name not in _OWN_OF_QUESTIONS],
        **TRAINING,
    },
    "serve": {"Server": _SERVER, "Batches and limits": _LIMITS},
}
# With the scripts that train nothing.
SCRIPTS = {**GROUPS, **TOOLS}
# google-research/bert's flags; scripts that import an entry script expect them.
UPSTREAM = frozenset(
    {"data_dir", "bert_config_file", "task_name", "vocab_file", "output_dir", "init_checkpoint", "do_lower_case"}
    | {"max_seq_length", "do_train", "do_eval", "do_predict", "train_batch_size", "eval_batch_size"}
    | {"predict_batch_size", "learning_rate", "num_train_epochs", "warmup_proportion", "save_checkpoints_steps"}
    | {"iterations_per_loop", "use_tpu", "tpu_name", "tpu_zone", "gcp_project", "master", "num_tpu_cores"}
)
# What an entry script registers where another script imports it. run_ner does nothing without its files.
REGISTERED_BY_IMPORT = {
    "run_classifier": UPSTREAM,
    "run_ner": UPSTREAM | {"train_file", "dev_file", "test_file"},
    "run_pretraining": PRETRAINING_BY_IMPORT,
    "run_squad": (UPSTREAM - {"data_dir", "task_name", "do_eval", "eval_batch_size"})
    | {"train_file", "predict_file", "doc_stride", "max_query_length", "n_best_size", "max_answer_length"}
    | {"verbose_logging", "version_2_with_negative", "null_score_diff_threshold"},
    "serve": frozenset(),
    **TOOLS_BY_IMPORT,
}
_COMMON_PHASES = ["do_train", "do_eval", "do_predict", "dry_run", "check_data"]
_COMMON_SETTINGS = [
    "model",
    "init_checkpoint",
    "bert_config_file",
    "vocab_file",
    "do_lower_case",
    "max_seq_length",
    "output_dir",
    "model_dir",
    "num_train_epochs",
    "num_train_steps",
    "train_batch_size",
    "learning_rate",
    "warmup_proportion",
    "optimizer",
    "eval_every_epochs",
    "early_stopping_patience",
    "predict_file",
    "seed",
]
# What --help shows.
COMMON = {
    "run_classifier": [
        *_COMMON_PHASES,
        *("task_name", "data_dir", "text_columns", "label_column", "labels"),
        *_COMMON_SETTINGS,
    ],
    "run_ner": [*_COMMON_PHASES, *("train_file", "dev_file", "test_file", "format", "head"), *_COMMON_SETTINGS],
    "run_pretraining": [
        *(name for name in _COMMON_PHASES if name != "do_predict"),
        *("input_file", "text_files", "dev_file", "text_form", "use_next_sentence_task", "max_predictions_per_seq"),
        *(name for name in _COMMON_SETTINGS if name not in ("predict_file", "warmup_proportion")),
        "num_warmup_steps",
    ],
    "run_squad": [
        *_COMMON_PHASES,
        *("train_file", "dev_file", "version_2_with_negative", "tune_null_threshold"),
        *_COMMON_SETTINGS,
    ],
    "serve": [flag.name for flag in _SERVER + _LIMITS if flag.name != "precision"],
}


def flags_of(script: str) -> List[Flag]:
    """All flags of a script, in the order of --helpfull."""
    return [flag for group in SCRIPTS[script].values() for flag in group]
