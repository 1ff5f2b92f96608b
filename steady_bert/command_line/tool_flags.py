"""The flags of the scripts beside the runs, which have no plan: a title of a group → its flags, by script. Pure."""

from typing import Dict, List

from ..tasks.pretraining.instances import SHORTEST
from .training_flags import Flag

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
            "TFRecord files to write, separated by commas; the instances are written in turn to each.",
        ),
        Flag("vocab_file", "string", None, "WordPiece vocabulary, published with the checkpoint."),
        Flag("do_lower_case", "boolean", True, "Lower-case the text: true for uncased models, false for cased ones."),
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
    "Processes": [
        Flag(
            "num_processes",
            "integer",
            None,
            "Number of processes, 0: as many as there are processors. The instances do not depend on it, but they are "
            "not google-research/bert's for the same seed. Those are made, by one process, if this is not given.",
            0,
        ),
    ],
}
TOOLS: Dict[str, Dict[str, List[Flag]]] = {"create_pretraining_data": _PRETRAINING_DATA}
# What google-research/bert's script defines, and so a script that imports it expects.
TOOLS_BY_IMPORT = {
    script: frozenset(flag.name for group in groups.values() for flag in group) - {"num_processes"}
    for script, groups in TOOLS.items()
}
# script → (a heading, commands).
EXAMPLES = {
    "create_pretraining_data": (
        "Make records from text:",
        "--input_file=TEXT --output_file=RECORDS --vocab_file=BERT/vocab.txt --do_whole_word_mask --num_processes=0",
    ),
}
