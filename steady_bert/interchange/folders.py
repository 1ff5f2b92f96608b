"""What kind of model a folder holds, and which of its files. Pure: no TensorFlow.

A run's folder is known by its plan.json, a published folder of google-research/bert by a checkpoint beside
bert_config.json, Hugging Face's by its config.json.
"""

import os
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import tokenization

from ..base import json_files
from ..base.errors import UserError
from ..tasks.model_files import MODEL_FILES
from ..training import manifest
from . import configurations, safetensors_files, tokenizer_files, torch_files

RUN, CHECKPOINT, HUGGING_FACE = "a run", "a checkpoint", "Hugging Face"
_SAFETENSORS = "model.safetensors"
_INDEX_ENDING = ".index.json"
# Files of weights that are not read → the argument with which transformers reads them.
_UNREAD = {"tf_model.h5": "from_tf", "model.ckpt.index": "from_tf", "flax_model.msgpack": "from_flax"}


class ModelFolder(NamedTuple):
    """The files of a model. Those of a Hugging Face folder are converted before they are used."""

    path: str
    kind: str
    bert_config_file: str
    vocab_file: Optional[str]
    spm_model_file: Optional[str]
    do_lower_case: Optional[bool]  # None: nothing says it, and the flag's default holds
    case_from: str  # the file that says it
    task: Dict[str, str] = {}  # what a Hugging Face configuration says of a fine-tuned classifier, as values of flags


def kind_of(folder: str) -> Optional[str]:
    """RUN, CHECKPOINT or HUGGING_FACE; None for a folder that holds no model, or lacks its configuration."""
    present = set(os.listdir(folder)) if os.path.isdir(folder) else set()
    if manifest.PLAN_FILE in present:
        return RUN
    has_checkpoint = any(name.endswith(".index") and ".ckpt" in name for name in present)
    if has_checkpoint and MODEL_FILES["bert_config_file"] in present:
        return CHECKPOINT
    published = {_SAFETENSORS, torch_files.FILE, *_UNREAD}
    published |= {name + _INDEX_ENDING for name in (_SAFETENSORS, torch_files.FILE)}
    if configurations.CONFIG_FILE in present:
        content = json_files.read(os.path.join(folder, configurations.CONFIG_FILE), remedy=configurations.FETCH)
        if "model_type" in content or present & published:
            return HUGGING_FACE
    return None


def described(folder: str, flag: str = "--model") -> ModelFolder:
    """The model in a folder. Raises UserError, which names the flag, where there is none that this program computes."""
    kind = kind_of(folder)
    if kind is None:
        raise UserError(
            "{}={}: is not the folder of a model: a run ({}), a checkpoint with {}, or a Hugging Face folder ({} and "
            "its weights). Check the path.".format(
                flag, folder, manifest.PLAN_FILE, MODEL_FILES["bert_config_file"], configurations.CONFIG_FILE
            )
        )
    if kind == HUGGING_FACE:
        return _published(folder, flag)
    paths = {name: os.path.join(folder, base) for name, base in MODEL_FILES.items()}
    present = {name: path if os.path.exists(path) else None for name, path in paths.items()}
    lacking = MODEL_FILES["vocab_file"] if not (present["vocab_file"] or present["spm_model_file"]) else None
    lacking = lacking if present["bert_config_file"] else MODEL_FILES["bert_config_file"]
    if lacking:
        raise UserError(
            "{}={}: lacks {}. Put it there, or give --init_checkpoint, --bert_config_file and --vocab_file.".format(
                flag, folder, lacking
            )
        )
    spm_model_file = None if present["vocab_file"] else present["spm_model_file"]
    case, source = case_of(folder, present["vocab_file"])
    return ModelFolder(folder, kind, paths["bert_config_file"], present["vocab_file"], spm_model_file, case, source)


def case_of(folder: str, vocab_file: Optional[str]) -> Tuple[Optional[bool], str]:
    """(do_lower_case, the file that says it) of a run or a published checkpoint; None if nothing says it."""
    if kind_of(folder) == RUN:
        return manifest.saved_case(folder), manifest.CONFIG_FILE
    settings = os.path.join(folder, tokenizer_files.SETTINGS_FILE)
    if os.path.lexists(settings):
        lower = json_files.read(settings, tokenizer_files.SettingsFile, configurations.FETCH).get("do_lower_case")
        if lower is not None:
            return lower, tokenizer_files.SETTINGS_FILE
    if vocab_file is None:
        return True, "the default"
    pieces = tokenization.load_vocab(vocab_file)
    return tokenization.check_case_against_vocab(pieces, True) is None, tokenizer_files.VOCAB_FILE


def _published(folder: str, flag: str) -> ModelFolder:
    config = os.path.join(folder, configurations.CONFIG_FILE)
    content = configurations.read(config)
    configurations.bert_settings(config, content)
    weight_files(folder)
    tokenizer = tokenizer_files.read(folder)
    if tokenizer is None:
        raise UserError(
            "{}={}: has neither {} nor {}. Fetch the whole folder.".format(
                flag, folder, tokenizer_files.VOCAB_FILE, tokenizer_files.WHOLE_FILE
            )
        )
    vocab_file = tokenizer.vocab_file or os.path.join(folder, tokenizer_files.WHOLE_FILE)
    return ModelFolder(
        folder, HUGGING_FACE, config, vocab_file, None, tokenizer.do_lower_case, tokenizer.case_from, _task(content)
    )


def _task(content: Dict[str, Any]) -> Dict[str, str]:
    names, number = content.get("id2label"), content.get("num_labels")
    outputs = len(names) if names is not None else 2 if number is None else number
    head = configurations.head_of(content, outputs)
    if head is None or head.tags_tokens:
        return {}
    return {"task_name": "text", "label_type": head.label_type}


def require_no_run(output: str) -> None:
    """Raises UserError if the folder of a conversion is a run's, whose files would be replaced."""
    if kind_of(output) == RUN:
        raise UserError("--output={}: is the folder of a run. Name another.".format(output))


def _class_of(folder: str) -> str:
    """The class of transformers that reads all weights of a folder, its head's too."""
    path = os.path.join(folder, configurations.CONFIG_FILE)
    named = json_files.read(path, remedy=configurations.FETCH).get("architectures") if os.path.exists(path) else None
    name = named[0] if isinstance(named, list) and named else None
    return name if isinstance(name, str) and name.isidentifier() else "BertModel"


def weight_files(folder: str) -> List[str]:
    """The files with the weights of a Hugging Face folder: safetensors if there are any, else PyTorch's.

    Raises UserError if there are none, or one that the index names is absent.
    """
    for name in (_SAFETENSORS, torch_files.FILE):
        path = os.path.join(folder, name)
        if os.path.exists(path):
            return [path]
        if os.path.exists(path + _INDEX_ENDING):
            return list(safetensors_files.shards_of(path + _INDEX_ENDING))
    for name, argument in _UNREAD.items():
        if os.path.exists(os.path.join(folder, name)):
            raise UserError(
                "{}: such weights are not read. Make safetensors of them, where transformers 4 is installed with their "
                "library, and put the vocabulary's files beside them: python -c 'from transformers import {cls}; "
                '{cls}.from_pretrained("{}", {}=True).save_pretrained("{}-safetensors")\''.format(
                    os.path.join(folder, name), folder, argument, folder.rstrip(os.sep), cls=_class_of(folder)
                )
            )
    raise UserError(
        "{}: has neither {} nor {}, whole or in shards. Fetch the whole folder.".format(
            folder, _SAFETENSORS, torch_files.FILE
        )
    )
