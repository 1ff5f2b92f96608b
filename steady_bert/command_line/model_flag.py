"""--model: one folder in place of the flags for weights, configuration, vocabulary and case. Pure: no TensorFlow."""

import json
import os
from typing import Any, Dict, Optional

from ..interchange import folders
from ..interchange.folders import ModelFolder
from ..tasks.model_files import MODEL_FILES
from .list_flags import Values, require

# The flags that --model stands for.
_STANDS_FOR = ("init_checkpoint", "from_scratch", "model_dir", *MODEL_FILES, "do_lower_case")


class Expanded:
    """The flags of a command with those that --model stands for, as if they had been given."""

    def __init__(self, given: Values, implied: Dict[str, Any]) -> None:
        self._given = given
        self._implied = implied

    def __getattr__(self, name: str) -> Any:
        return self._implied[name] if name in self._implied else getattr(self._given, name)

    def given(self, name: str) -> bool:
        return name in self._implied or bool(self._given.given(name))


def expanded(f: Values) -> Values:
    """The flags with --model expanded. Raises UserError if it, or a flag beside it, is wrong."""
    if f.model is None:
        return f
    for name in _STANDS_FOR:
        require(
            not f.given(name), "--model and --{} were both given. --model says that already: give one.".format(name)
        )
    return Expanded(f, _implied(f, folders.described(f.model)))


def _implied(f: Values, model: ModelFolder) -> Dict[str, Any]:
    """Flag → the value that the model gives it in this command."""
    vocabulary = {
        "vocab_file": model.vocab_file,
        "spm_model_file": model.spm_model_file,
        "do_lower_case": model.do_lower_case,
    }
    read = {name: value for name, value in vocabulary.items() if value is not None}
    if f.do_train or f.dry_run:
        own = f.output_dir is not None and os.path.abspath(f.output_dir) == os.path.abspath(model.path)
        initial = {} if own and model.kind == folders.RUN else {"init_checkpoint": model.path}  # a run goes on
        return dict(read, bert_config_file=model.bert_config_file, **initial)
    if model.kind == folders.RUN:
        return {"model_dir": model.path}
    if not f.check_data and _has_another_run(f.output_dir, model.path):
        return {"init_checkpoint": model.path}  # the command that trained, which now evaluates or predicts
    if f.check_data:
        return read
    return dict(read, model_dir=model.path, bert_config_file=model.bert_config_file)


def _has_another_run(output_dir: Optional[str], model: str) -> bool:
    same = output_dir is None or os.path.abspath(output_dir) == os.path.abspath(model)
    return not same and os.path.isdir(output_dir or "") and folders.kind_of(output_dir or "") == folders.RUN


def note(f: Values) -> Dict[str, str]:
    """A line of the plan that says what --model is, and how its text is read."""
    if f.model is None:
        return {}
    model = folders.described(f.model)
    case = "do_lower_case={}, by {}".format(json.dumps(model.do_lower_case), model.case_from)
    return {"model": "{} ({}; {})".format(f.model, model.kind, case)}
