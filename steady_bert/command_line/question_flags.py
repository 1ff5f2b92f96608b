"""The flags of run_squad that say what a question is, how it is read and how it is answered. Pure."""

from typing import List

from ..tasks.questions.scores import SCORED_BY
from .training_flags import Flag

QUESTIONS: List[Flag] = [
    Flag("train_file", "string", None, "Questions with their answers to train on, in the JSON of SQuAD 1.1 or 2.0."),
    Flag("dev_file", "string", None, "Questions with their answers to evaluate on."),
    Flag(
        "predict_file",
        "string",
        None,
        "Questions to answer, or - for standard input. If they have answers, they are scored too.",
    ),
    Flag(
        "predict_output",
        "string",
        None,
        "File to write the answers to; the others are written beside it. If not given, predictions.json in output_dir.",
    ),
    Flag(
        "version_2_with_negative",
        "boolean",
        False,
        "Some questions have no answer, as in SQuAD 2.0. An answer may then be empty.",
    ),
    Flag(
        "null_score_diff_threshold",
        "float",
        0.0,
        "With version_2_with_negative: the answer is empty if the score of no answer is above that of the best answer "
        "by more. If not given with a trained model, the one that was tuned.",
    ),
    Flag(
        "tune_null_threshold",
        "boolean",
        False,
        "Take the threshold with the best F1 on dev. It is saved with the model; needs version_2_with_negative.",
    ),
    Flag(
        "max_seq_length",
        "integer",
        384,
        "Longest input in tokens: question, part of its context, [CLS] and two [SEP].",
        3,
    ),
    Flag(
        "doc_stride",
        "integer",
        128,
        "Long contexts are read in windows: pieces from the start of one to the start of the next.",
        1,
    ),
    Flag("max_query_length", "integer", 64, "Pieces of a question that are read; the rest is cut.", 1),
    Flag("n_best_size", "integer", 20, "Answers to write of each question; begins and ends considered in a window.", 1),
    Flag("max_answer_length", "integer", 30, "Longest answer, in pieces.", 1),
    Flag(
        "score_by",
        ("auto", *SCORED_BY),
        "auto",
        "What F1 compares: words, as SQuAD's script does, or characters, as CMRC 2018's does for Chinese. auto: "
        "characters if most letters of the answers are Chinese.",
    ),
    Flag(
        "verbose_logging",
        "boolean",
        False,
        "Print answers whose pieces could not be found in the context, so that whole words are the answer.",
    ),
]
