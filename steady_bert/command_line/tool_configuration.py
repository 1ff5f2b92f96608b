"""The flags of the scripts beside the runs as frozen configuration. Pure: no TensorFlow."""

import os
from typing import Sequence, Tuple

from ..base import processor
from ..base.errors import UserError
from ..extraction.config import ExtractionConfig
from ..tasks.pretraining.config import PretrainingDataConfig
from ..tasks.pretraining.instances import SHORTEST
from .list_flags import Values, filled, matching_files, require, require_finite


def pretraining_data_config(f: Values) -> PretrainingDataConfig:
    """The configuration of create_pretraining_data. Raises UserError for files that are missing or in two places."""
    require_given(f, ("input_file", "output_file", "vocab_file"))
    require_finite(f)
    # Where another script has registered the flag first, it has that script's bounds.
    require(
        f.max_seq_length >= SHORTEST,
        "--max_seq_length={}: two segments need {} tokens. Raise it.".format(f.max_seq_length, SHORTEST),
    )
    inputs = matching_files(f.input_file)
    outputs = tuple(path.strip() for path in f.output_file.split(",") if path.strip())
    require(outputs, "--output_file={}: names no file.".format(f.output_file))
    _require_distinct(inputs, outputs)
    processes = processor.usable_processors() if f.num_processes == 0 else f.num_processes
    config: PretrainingDataConfig = filled(
        f, PretrainingDataConfig, input_files=inputs, output_files=outputs, num_processes=processes
    )
    return config


def require_given(f: Values, names: Sequence[str]) -> None:
    """Raises UserError if a flag that the script needs is missing."""
    missing = ["--" + name for name in names if not getattr(f, name)]
    require(not missing, "{} is needed. --help shows an example.".format(" and ".join(missing)))


def _require_distinct(inputs: Sequence[str], outputs: Sequence[str]) -> None:
    real = [os.path.realpath(path) for path in outputs]
    for number, path in enumerate(outputs):
        require(real[number] not in real[:number], "--output_file: {} is named twice. Name it once.".format(path))
        require(not os.path.isdir(path), "--output_file={}: is a folder. Name a file.".format(path))
        require(
            real[number] not in map(os.path.realpath, inputs),
            "--output_file={}: is an input file. Name another.".format(path),
        )


_MODEL_FLAGS = ("vocab_file", "bert_config_file", "init_checkpoint")


def extraction_config(f: Values) -> ExtractionConfig:
    """The configuration of extract_features. Raises UserError for a model that is missing or named twice."""
    require_given(f, ("input_file", "output_file"))
    require(
        os.path.isfile(f.input_file), "--input_file={}: there is no such file. Check the path.".format(f.input_file)
    )
    _require_distinct([f.input_file], [f.output_file])
    require(not f.use_tpu, "--use_tpu: features are computed on this machine's CPU or GPU. Leave it out.")
    if f.model is None:
        require_given(f, _MODEL_FLAGS)
    for name in (*_MODEL_FLAGS, "do_lower_case"):
        require(f.model is None or not f.given(name), "--model and --{} were both given. Give one.".format(name))
    of_run = {name: getattr(f, name) if f.given(name) else None for name in ("max_seq_length", "precision")}
    config: ExtractionConfig = filled(f, ExtractionConfig, layers=_layers(f.layers), **of_run)
    return config


def _layers(given: str) -> Tuple[int, ...]:
    try:
        layers = tuple(int(item) for item in given.split(","))
    except ValueError:
        raise UserError("--layers={}: not a list of numbers. Write for example -1,-2.".format(given)) from None
    require(len(set(layers)) == len(layers), "--layers={}: names a layer twice. Name it once.".format(given))
    return layers
