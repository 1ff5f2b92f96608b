"""The flags of run_pretraining: its own, and those of training with the original's defaults. Pure: no TensorFlow."""

from typing import Dict, List

from ..tasks.pretraining.training_config import TEXT_FORMS
from .training_flags import TRAINING, Flag

_DATA = [
    Flag(
        "input_file",
        "string",
        None,
        "Records of create_pretraining_data.py to train on. Patterns such as records/*.tfrecord, separated by commas.",
    ),
    Flag(
        "text_files",
        "string",
        None,
        "Text to train on instead of records, gzipped or not, masked anew in every epoch. Patterns as in input_file.",
    ),
    Flag(
        "dev_file",
        "string",
        None,
        "Held-out text or records to evaluate on, with masks that stay the same. Patterns as in input_file, which is "
        "evaluated if this is not given.",
    ),
    Flag(
        "text_form",
        TEXT_FORMS,
        "auto",
        "What a line of text is. sentence: an empty line ends a document; document: each line is one; auto: sentence "
        "if there are empty lines between lines.",
    ),
    Flag(
        "use_next_sentence_task",
        "boolean",
        True,
        "Learn also whether a second segment follows the first. false: masked words alone.",
    ),
    Flag("max_predictions_per_seq", "integer", 20, "The most pieces to predict in an example, as in the records.", 1),
    Flag(
        "masked_lm_prob",
        "float",
        0.15,
        "With text_files: share of the tokens to predict; [CLS] and [SEP] count, too.",
        0.0,
        1.0,
    ),
    Flag("do_whole_word_mask", "boolean", False, "With text_files: mask all pieces of a word together."),
    Flag(
        "segmentation_suffix",
        "string",
        None,
        "With do_whole_word_mask, for Chinese: FILE with this ending is the text FILE with spaces between words. The "
        "characters of a word are masked together.",
    ),
    Flag(
        "short_seq_prob",
        "float",
        0.1,
        "With text_files and pairs of segments: probability that a document is cut into shorter examples.",
        0.0,
        1.0,
    ),
    Flag(
        "max_eval_steps",
        "integer",
        100,
        "Evaluate on so many batches at most, drawn by seed, if max_eval_examples is not given.",
        1,
    ),
]
_DEFAULTS = {"num_train_steps": 100000, "num_warmup_steps": 10000}
_UNUSED = {"predict_batch_size"}
OWN_TRAINING = {
    title: [flag._replace(default=_DEFAULTS.get(flag.name, flag.default)) for flag in group if flag.name not in _UNUSED]
    for title, group in TRAINING.items()
}
PRETRAINING: Dict[str, List[Flag]] = {"Pre-training": _DATA}
# google-research/bert's script has these beside what others have.
PRETRAINING_BY_IMPORT = frozenset(
    {"bert_config_file", "input_file", "output_dir", "init_checkpoint", "max_seq_length", "max_predictions_per_seq"}
    | {"do_train", "do_eval", "train_batch_size", "eval_batch_size", "learning_rate", "num_train_steps"}
    | {"num_warmup_steps", "save_checkpoints_steps", "iterations_per_loop", "max_eval_steps", "use_tpu", "tpu_name"}
    | {"tpu_zone", "gcp_project", "master", "num_tpu_cores"}
)
