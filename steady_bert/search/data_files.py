"""The files that decide what the runs of a search score, and hashes of what they hold. Pure: no TensorFlow.

A run compares its data with its plan when it goes on. A search compares them too, since its new runs would otherwise
train on other data than those that are done.
"""

import dataclasses
import os
from typing import Any, Dict, Iterable, Iterator, List

from ..base import files
from ..tasks.classification.processor import DataProcessor
from ..tasks.classification.registry import PROCESSORS
from ..tasks.tagging import formats
from ..tasks.tagging.sentences import Layout

CONTENTS = "contents of "  # begins the names of a search's entries for files
_CHARACTERS = 16  # of a hash
_WEIGHTS = (".index", ".safetensors", ".bin")  # an index of TensorFlow's has a checksum of each tensor


def contents(script: str, configs: Iterable[Any], in_folds: bool) -> Dict[str, str]:
    """Entry → hash, for every file that runs with these configurations read.

    in_folds: the training file is split, whose hash is an entry of its own, and there is no other dev file. Raises
    UserError for a file that cannot be read.
    """
    paths: Dict[str, None] = {}
    for config in configs:
        paths.update(dict.fromkeys(_DATA[script](config.data, in_folds)))
        paths.update(dict.fromkeys(_of_model(config)))
    return {CONTENTS + path: files.sha256_of_file(path)[:_CHARACTERS] for path in paths}


def processor_of(data: Any) -> DataProcessor:
    """data: a ClassifierDataConfig."""
    processor = PROCESSORS[data.task_name].from_options(dataclasses.asdict(data))
    processor.encoding = data.encoding
    return processor


def further_dev_files(processor: DataProcessor, data_dir: str) -> List[str]:
    """The dev files of a task beside `dev`, whose scores decide nothing."""
    splits = [split for split in processor.splits if split.startswith("dev_")]
    return [processor.file_path(data_dir, split) for split in splits]


def _of_classifier(data: Any, in_folds: bool) -> List[str]:
    processor = processor_of(data)
    own = [] if in_folds else [processor.file_path(data.data_dir, split) for split in ("train", "dev")]
    return own + further_dev_files(processor, data.data_dir)


def _of_tagger(data: Any, in_folds: bool) -> List[str]:
    layout = layout_of(data)
    given = [] if in_folds else [data.train_file, data.dev_file]
    for flag, path in zip(("train_file", "dev_file"), given):
        formats.require_path(flag, path)
    found = [path for each in given for path in formats.files_of(each, layout)]
    return found + ([data.tags_file] if data.tags_file else [])


def layout_of(data: Any) -> Layout:
    """data: a TaggingDataConfig. Without the names in --tags_file."""
    return Layout(**{name: getattr(data, name) for name in Layout._fields if name != "tag_names"})


def _of_questions(data: Any, in_folds: bool) -> List[str]:
    return [data.train_file, data.dev_file]


def _of_pretraining(data: Any, in_folds: bool) -> List[str]:
    paths = [path for split in data.files.values() for path in split]
    suffix = data.segmentation_suffix
    return paths + ([path + suffix for path in paths] if suffix is not None else [])


_DATA = {
    "run_classifier": _of_classifier,
    "run_ner": _of_tagger,
    "run_squad": _of_questions,
    "run_pretraining": _of_pretraining,
}


def _of_model(config: Any) -> Iterator[str]:
    """Configuration, vocabulary and initial weights."""
    model, initial = config.model, config.run.weights.init_checkpoint
    yield from filter(None, (model.bert_config_file, model.vocab_file, model.spm_model_file))
    if initial and os.path.isdir(initial):
        for folder in (initial, os.path.join(initial, "best")):
            names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
            yield from (os.path.join(folder, name) for name in names if name.endswith(_WEIGHTS))
    elif initial and os.path.exists(initial + ".index"):
        yield initial + ".index"
