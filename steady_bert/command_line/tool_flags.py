"""The flags of the scripts beside the runs, which have no plan: a title of a group → its flags, by script. Pure."""

from typing import Dict, List

from ..extraction.config import POOLINGS
from ..tasks.pretraining.instances import SHORTEST
from .training_flags import BERT_CONFIG_FILE, DO_LOWER_CASE, VOCAB_FILE, Flag

_PRETRAINING_DATA = {
    "Files": [
        Flag(
            "input_file",
            "string",
            None,
            "Text files, gzipped or not: a sentence a line, an empty line between documents. Patterns such as "
            "corpus/*.txt, separated by commas.",
        ),
        Flag(
            "output_file",
            "string",
            None,
            "TFRecord files to write, separated by commas. The instances go to each in turn.",
        ),
        VOCAB_FILE,
        DO_LOWER_CASE,
    ],
    "Instances": [
        Flag("max_seq_length", "integer", 128, "Tokens of an instance after padding.", SHORTEST),
        Flag("dupe_factor", "integer", 10, "Passes over the text, each with masks and pairs of its own.", 1),
        Flag(
            "short_seq_prob",
            "float",
            0.1,
            "Probability that a document is cut into shorter instances, in each pass.",
            0.0,
            1.0,
        ),
        Flag(
            "masked_lm_prob",
            "float",
            0.15,
            "Share of the tokens to predict; [CLS] and [SEP] count, too.",
            0.0,
            1.0,
        ),
        Flag("max_predictions_per_seq", "integer", 20, "The most pieces to predict in an instance.", 1),
        Flag("do_whole_word_mask", "boolean", False, "Mask all pieces of a word together."),
        Flag("random_seed", "integer", 12345, "Seed of all random numbers."),
    ],
    "Run": [
        Flag(
            "num_processes",
            "integer",
            None,
            "Number of processes, 0: as many as there are processors. The instances do not depend on it, but they are "
            "not google-research/bert's for the same seed. Those are made, by one process, if this is not given.",
            0,
        ),
        Flag("dry_run", "boolean", False, "Read the text, say how much there is, and stop."),
    ],
}
_FEATURES = {
    "Files": [
        Flag(
            "input_file",
            "string",
            None,
            "Text file, gzipped or not: a text a line. In a pair, ||| with spaces around it stands between the two.",
        ),
        Flag(
            "output_file",
            "string",
            None,
            "File to write: google-research/bert's lines of JSON, or arrays if it ends in .npz. A command that was "
            "stopped goes on when it is given again.",
        ),
        Flag(
            "model",
            "string",
            None,
            "Folder of a run, a published checkpoint or a Hugging Face model. It stands for the three files and case.",
        ),
        VOCAB_FILE,
        BERT_CONFIG_FILE,
        Flag("init_checkpoint", "string", None, "Checkpoint of any BERT."),
        DO_LOWER_CASE,
    ],
    "Features": [
        Flag(
            "layers",
            "string",
            "-1,-2,-3,-4",
            "Layers to write: 0 for the first encoder layer, -1 for the last.",
        ),
        Flag(
            "pooling",
            POOLINGS,
            "none",
            "none: a vector for each token; mean, max or cls: one a text. mean and max are over its tokens; cls is the "
            "vector of [CLS].",
        ),
        Flag(
            "max_seq_length",
            "integer",
            128,
            "Longest input in tokens, including [CLS] and [SEP]; longer texts are cut. With --model of a run, the "
            "run's own if not given.",
            3,
        ),
        Flag("batch_size", "integer", 32, "Texts in a batch; those of similar length share one.", 1),
        Flag(
            "precision",
            ("float32", "bfloat16", "float16"),
            "float32",
            "Number format of the matrix products. With --model of a run, the run's own if not given.",
        ),
        Flag("dry_run", "boolean", False, "Read the text, say what would be written, and stop."),
    ],
    "TPU, as in google-research/bert": [
        Flag("use_tpu", "boolean", False, "Refused: features are computed on this machine's CPU or GPU."),
        Flag("master", "string", None, "Not read."),
        Flag("num_tpu_cores", "integer", 8, "Not read."),
        Flag("use_one_hot_embeddings", "boolean", False, "Not read: the features are the same."),
    ],
}
TOOLS: Dict[str, Dict[str, List[Flag]]] = {
    "create_pretraining_data": _PRETRAINING_DATA,
    "extract_features": _FEATURES,
}
_OURS = {"num_processes", "model", "pooling", "precision", "dry_run"}
# What google-research/bert's script defines, and so a script that imports it expects.
TOOLS_BY_IMPORT = {
    script: frozenset(flag.name for group in groups.values() for flag in group) - _OURS
    for script, groups in TOOLS.items()
}
# script → (a heading, commands).
EXAMPLES = {
    "create_pretraining_data": (
        "Make records from text:",
        "--input_file=TEXT --output_file=RECORDS --vocab_file=BERT/vocab.txt --do_whole_word_mask --num_processes=0",
    ),
    "extract_features": (
        "Write the features of each line:",
        "--input_file=TEXT --output_file=FEATURES.npz --model=BERT --layers=-1 --pooling=mean",
    ),
}
