"""A run as google-research/bert's own files: bert_model.ckpt, bert_config.json, vocab.txt.

The checkpoint holds the weights alone, averages where evaluation reads them, under the original's names: output_weights
and output_bias are those of its run_classifier.py.
"""

import os
import shutil

from ..base import files
from ..base.errors import UserError
from ..serving.saved_run import SavedRun
from ..tasks import model_files
from ..tasks.tagging.assembly import TaggingInputs
from ..training import checkpoint, weights

CHECKPOINT = "bert_model.ckpt"
_HEAD = ("output_weights", "output_bias")


def refuse(run: SavedRun) -> None:
    """Raises UserError for a run that the original's code cannot compute."""
    require_plain_head(run, "google-research/bert has")
    if run.config.model.spm_model_file:
        raise UserError(
            "{}: reads pieces of SentencePiece, and google-research/bert WordPiece's alone. Use "
            "--to=saved_model.".format(run.folder)
        )
    if run.bert_config.hidden_act == "gelu_erf":
        raise UserError(
            "{}: hidden_act is gelu_erf, the exact gelu, and google-research/bert knows the approximation by tanh "
            "alone. Pass --activation=tanh: it writes `gelu`, and prints by how much the numbers change.".format(
                run.folder
            )
        )


def require_plain_head(run: SavedRun, who_has: str) -> None:
    """Raises UserError for a tagger with layers beside the linear one."""
    if not isinstance(run.inputs, TaggingInputs):
        return
    head = run.inputs.head
    names = ["a BiLSTM"] * bool(head.lstm_layers) + ["a CRF"] * head.crf
    if names:
        raise UserError(
            "{}: the head has {}, and {} no place for that. Use --to=saved_model, which computes it in the "
            "graph.".format(run.folder, " and ".join(names), who_has)
        )


def write(run: SavedRun, folder: str) -> None:
    """Writes the export into `folder`, which must not exist."""
    os.makedirs(folder)
    tensors = weights.served_tensors(run.prefix)
    wanted = {name: value for name, value in tensors.items() if name.startswith("bert/") or name in _HEAD}
    checkpoint.write(os.path.join(folder, CHECKPOINT), wanted)
    with files.atomic_write(os.path.join(folder, "bert_config.json")) as file:
        file.write(run.bert_config.to_json_string())
    shutil.copyfile(run.config.model.vocab_file, os.path.join(folder, "vocab.txt"))
    # The original's processors name their labels in code; whoever writes one for this model needs their order.
    shutil.copyfile(os.path.join(run.folder, model_files.LABELS_FILE), os.path.join(folder, model_files.LABELS_FILE))
