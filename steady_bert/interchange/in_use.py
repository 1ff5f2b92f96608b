"""The models that a command names, as files that the rest of the program reads."""

import contextlib
import dataclasses
import os
from typing import Any, Dict, Iterator, Optional

from ..base import files, json_files
from ..base.errors import UserError
from ..tasks.model_files import MODEL_FILES, ModelConfig
from ..training import checkpoint, run_folder
from ..training.job import RunConfig
from ..training.reports import say
from . import configurations, converted, folders, names, tokenizer_files


@contextlib.contextmanager
def readable(config: Any, head: str = "output_weights") -> Iterator[Any]:
    """A script's configuration (run, model, data) in which conversions in the cache replace Hugging Face folders.

    head: a variable that a model must have to be used without training. Data alone (--check_data) needs no weights: it
    gets a vocabulary file where that is in tokenizer.json.
    """
    run = _without_unread_weights(config.run)
    config = dataclasses.replace(config, run=run)
    source = next(filter(_is_hugging_face, (run.weights.init_checkpoint, run.weights.model_dir)), None)
    in_json = os.path.basename(config.model.vocab_file or "") == tokenizer_files.WHOLE_FILE
    if source is None and not in_json:
        yield config
        return
    with run_folder.cache_folder(run.cache_dir, run.weights.output_dir) as cache:
        if run.check_data or source is None:
            yield dataclasses.replace(config, model=_with_vocabulary(config.model, cache) if in_json else config.model)
            return
        _require_another_folder(run, source)
        entry = converted.entry_of(source, cache)
        _require_head(run, source, entry, head)
        weights: Dict[str, Any] = {
            name: entry if getattr(run.weights, name) == source else getattr(run.weights, name)
            for name in ("init_checkpoint", "model_dir")
        }
        run = dataclasses.replace(run, weights=dataclasses.replace(run.weights, **weights))
        yield dataclasses.replace(config, run=run, model=_with_own_files(config.model, source, entry))


def _without_unread_weights(run: RunConfig) -> RunConfig:
    """The command without its --init_checkpoint if it only uses a published model, which --model_dir names."""
    weights = run.weights
    if run.do_train or run.dry_run or weights.init_checkpoint is None or not _is_hugging_face(weights.model_dir):
        return run
    say("--init_checkpoint is not read: --model_dir={} is used.".format(weights.model_dir))
    return dataclasses.replace(run, weights=dataclasses.replace(weights, init_checkpoint=None))


def _is_hugging_face(path: Optional[str]) -> bool:
    return path is not None and os.path.isdir(path) and folders.kind_of(path) == folders.HUGGING_FACE


def _require_another_folder(run: RunConfig, source: str) -> None:
    """A run's files would replace some of the model's."""
    output_dir = run.weights.output_dir
    if output_dir is not None and os.path.realpath(output_dir) == os.path.realpath(source):
        raise UserError("--output_dir={}: is the model's own folder. Name another.".format(output_dir))


def _require_head(run: RunConfig, source: str, entry: str, head: str) -> None:
    """Raises UserError for a model without a head that a command would predict with."""
    used = not (run.do_train or run.dry_run) and run.weights.model_dir == source
    if used and head not in checkpoint.shapes_in(checkpoint.resolve(entry)):
        published = next(name for name, place in names.HEADS.items() if place.name == head)
        raise UserError(
            "{}: has no trained head ({}), so its predictions would be noise. Train first: --do_train "
            "--model={}.".format(source, published, source)
        )


def _with_own_files(model: ModelConfig, source: str, entry: str) -> ModelConfig:
    """The model with the converted files where the command names those of the source."""
    own = {
        "bert_config_file": (configurations.CONFIG_FILE,),
        "vocab_file": (tokenizer_files.VOCAB_FILE, tokenizer_files.WHOLE_FILE),
    }
    changed: Dict[str, Any] = {}
    for flag, bases in own.items():
        path = getattr(model, flag)
        if path is not None and any(os.path.realpath(path) == os.path.realpath(os.path.join(source, n)) for n in bases):
            changed[flag] = os.path.join(entry, MODEL_FILES[flag])
    _warn_of_activation(model, source, entry, changed)
    return dataclasses.replace(model, **changed)


def _warn_of_activation(model: ModelConfig, source: str, entry: str, changed: Dict[str, Any]) -> None:
    if model.bert_config_file is None or "bert_config_file" in changed or not os.path.exists(model.bert_config_file):
        return
    given = json_files.read(model.bert_config_file).get("hidden_act", "gelu")
    own = json_files.read(os.path.join(entry, MODEL_FILES["bert_config_file"]))["hidden_act"]
    if given != own:
        say(
            "WARNING: {} has hidden_act={}, but the weights in {} are of a model with {}. --model={} takes its own "
            "configuration.".format(model.bert_config_file, given, source, own, source)
        )


def _with_vocabulary(model: ModelConfig, cache: str) -> ModelConfig:
    """The model with a vocabulary file made of its tokenizer.json."""
    folder = os.path.dirname(model.vocab_file or "")
    tokenizer = tokenizer_files.read(folder)
    if tokenizer is None:
        raise UserError("{}: no vocabulary. Check --vocab_file.".format(model.vocab_file))
    path = os.path.join(cache, "vocab-{}.txt".format(files.sha256_of_file(model.vocab_file or "")[:16]))
    tokenizer_files.write_vocabulary(tokenizer, path)
    return dataclasses.replace(model, vocab_file=path)
