"""extract_features: the hidden states of a file's lines, by any model.

B batch · S positions · K layers · H hidden
"""

import contextlib
import hashlib
import os
from typing import Any, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from ..base import disk, files
from ..base.errors import UserError
from ..base.progress_lines import ProgressLines
from ..serving import encoder, predictor, saved_run
from ..serving.encoder import Encoder, Vectors
from ..tasks.model_files import ModelConfig
from ..training import checkpoint, devices
from ..training.engine_config import EngineConfig
from .config import ExtractionConfig
from .lines import Encoded, InputExample, encoded, examples_of, pieces_of, specials
from .outputs import Output

# Lines are computed in batches of like length within so many tokens, and so is what memory holds.
_CHUNK_TOKENS = 8192
_DEFAULT_LENGTH = 128
_JSON_BYTES = 11  # a number of most hidden states, as "-0.123456, "


def extract(config: ExtractionConfig) -> int:
    """Writes the output file; returns the number of lines.

    Raises UserError for a model, a layer or a file that cannot be used.
    """
    with _opened(config) as model:
        numbers = _state_numbers(config.layers, model.bert_config.num_hidden_layers)
        pooled = config.pooling != "none"
        identity, size = _identity(config, model), model.bert_config.hidden_size
        with disk.writing(config.output_file):
            output = Output(config.output_file, identity, config.layers, size, pooled)
        with disk.writing(config.output_file, written_bytes=output.written_bytes), contextlib.closing(output):
            done = output.lines
            if done:
                print("Going on after {:,} lines of an earlier command.".format(done), flush=True)
            with contextlib.closing(_States(model, Vectors(config.pooling, numbers), pooled)) as states:
                for chunk in _chunks(_lines(config, model, done)):
                    output.add(list(zip(chunk, states.of(chunk, config.batch_size))))
            output.finish()
        return output.lines


def plan(config: ExtractionConfig) -> str:
    """What extract would do, in lines for people. Reads the text; raises the errors of extract."""
    with _opened(config) as model:
        bert = model.bert_config
        _state_numbers(config.layers, bert.num_hidden_layers)
        text = _counts(config, model)
        vectors = (text["tokens"] if config.pooling == "none" else text["lines"]) * len(config.layers)
        number_bytes = 4 if config.output_file.endswith(".npz") else _JSON_BYTES
        lines = [
            "model:  {}, {} layers of {}, texts up to {} tokens, {}".format(
                model.prefix, bert.num_hidden_layers, bert.hidden_size, model.max_seq_length, model.compute.precision
            ),
            "text:   {lines:,} lines, {tokens:,} tokens; cut lines: {cut:,}, empty ones: {empty:,}, unknown pieces: "
            "{unknown:,}".format(**text),
            "output: {}, layers {}, pooling {}: {:,} vectors, about {:,.1f} MB".format(
                config.output_file,
                ",".join(map(str, config.layers)),
                config.pooling,
                vectors,
                vectors * bert.hidden_size * number_bytes / 1e6,
            ),
        ]
        return "\n".join(lines)


# --- the model --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _opened(config: ExtractionConfig) -> Iterator[Encoder]:
    own = saved_run.own_settings(config.model) if config.model is not None else saved_run.OwnSettings()
    with _as_saved(config, own.max_seq_length) as model:
        precision = config.precision or own.precision or model.compute.precision
        yield model._replace(compute=model.compute._replace(precision=precision))


@contextlib.contextmanager
def _as_saved(config: ExtractionConfig, own_length: Optional[int]) -> Iterator[Encoder]:
    """own_length: the max_seq_length that the run in the folder was trained with."""
    if config.model is None:
        assert config.init_checkpoint is not None
        length = config.max_seq_length or _DEFAULT_LENGTH
        model = ModelConfig(config.bert_config_file, config.vocab_file, None, config.do_lower_case, length)
        yield encoder.of_files(model, checkpoint.resolve(config.init_checkpoint))
    elif saved_run.is_run(config.model) and not saved_run.answers_questions(config.model):
        of_run = encoder.of_run(saved_run.open_run(config.model))
        yield _cut_at(of_run, config.max_seq_length or of_run.max_seq_length)
    else:  # the runs of run_pretraining and run_squad, too, whose texts are no lines
        with encoder.of_folder(config.model, None, "--model") as of_folder:
            length = config.max_seq_length or own_length or min(_DEFAULT_LENGTH, of_folder.max_seq_length)
            yield _cut_at(of_folder, length)


def _cut_at(model: Encoder, length: int) -> Encoder:
    most = model.bert_config.max_position_embeddings
    if length > most:
        raise UserError("--max_seq_length={}: the model has {} positions. Lower it.".format(length, most))
    return model._replace(max_seq_length=length)


def _state_numbers(layers: Sequence[int], count: int) -> Tuple[int, ...]:
    """The numbers of the layers among the hidden states, where 0 is the embeddings. Raises UserError."""
    for layer in layers:
        if not -count <= layer < count:
            raise UserError(
                "--layers: {} is not a layer. There are 0 to {}, or -1 (the last) to {}.".format(
                    layer, count - 1, -count
                )
            )
    return tuple(layer % count + 1 for layer in layers)


def _identity(config: ExtractionConfig, model: Encoder) -> Dict[str, Any]:
    """What decides the output, so that another command's part is not gone on with."""
    lower = getattr(model.tokenizer, "basic_tokenizer", model.tokenizer).do_lower_case
    vocabulary = "\n".join([*model.tokenizer.vocab, str(lower)])
    index = model.prefix + ".index"
    return {
        "input": files.sha256_of_file(config.input_file),
        "checkpoint": files.sha256_of_file(index if os.path.exists(index) else model.prefix),
        "vocabulary": hashlib.sha256(vocabulary.encode("utf-8")).hexdigest(),
        "model": sorted(map(list, vars(model.bert_config).items())),
        "compute": repr(model.compute),
        "max_seq_length": model.max_seq_length,
        "layers": list(config.layers),
        "pooling": config.pooling,
        "batch_size": config.batch_size,
        "tensorflow": tf.__version__,
    }


class _States:
    """The hidden states of lines, by a session of its own."""

    def __init__(self, model: Encoder, wanted: Vectors, pooled: bool) -> None:
        self._model = model
        self._pooled = pooled
        self._session = tf.Session(
            graph=tf.Graph(), config=devices.session_config(EngineConfig(max_seq_length=model.max_seq_length))
        )
        with self._session.graph.as_default():
            self._inputs = encoder.placeholders(model)
            states = encoder.hidden_states(model, self._inputs)
            if pooled:
                vectors = encoder.pooled(states, self._inputs["input_mask"], wanted)
                self._values = tf.reshape(vectors, [-1, len(wanted.layers), model.bert_config.hidden_size])
            else:
                self._values = tf.stack([states[layer] for layer in wanted.layers], axis=2)
            encoder.restore(self._session, model)

    def of(self, lines: Sequence[Encoded], batch_size: int) -> List[np.ndarray]:
        """[tokens, K, H] for each line, or [K, H] if pooled. Lines of like length share a batch."""
        values: List[Any] = [None] * len(lines)
        order = sorted(range(len(lines)), key=lambda number: -len(lines[number].tokens))
        for start in range(0, len(lines), batch_size):
            numbers = order[start : start + batch_size]
            features = [
                {"input_ids": lines[number].input_ids, "segment_ids": lines[number].input_type_ids}
                for number in numbers
            ]
            arrays = predictor.padded(features, list(self._inputs), self._model.max_seq_length)
            feeds = {self._inputs[name]: array for name, array in arrays.items()}
            for number, row in zip(numbers, self._session.run(self._values, feeds)):
                values[number] = row if self._pooled else row[: len(lines[number].tokens)]
        return values

    def close(self) -> None:
        self._session.close()


# --- lines ------------------------------------------------------------------------------------------------------------


def _lines(config: ExtractionConfig, model: Encoder, done: int) -> Iterator[Encoded]:
    """The lines after the first `done`."""
    progress = ProgressLines("Extracting", os.path.getsize(config.input_file), "bytes of text")
    for example, read in _examples(config):
        if example.unique_id < done:
            progress.skip(read)
        else:
            progress.update(read)
            yield encoded(example, model.max_seq_length, model.tokenizer)


def _examples(config: ExtractionConfig) -> Iterator[Tuple[InputExample, int]]:
    """Each example, and how many bytes of text there are up to its end."""
    read = 0
    for example in examples_of(config.input_file):
        read += len(example.text_a.encode("utf-8")) + len((example.text_b or "").encode("utf-8")) + 1
        yield example, read


def _counts(config: ExtractionConfig, model: Encoder) -> Dict[str, int]:
    """How many lines the text has, how many tokens of them are read, and what is lost or unknown."""
    to_ids = model.tokenizer.convert_tokens_to_ids
    counts = dict.fromkeys(("lines", "tokens", "cut", "empty", "unknown"), 0)
    progress = ProgressLines("Reading", os.path.getsize(config.input_file), "bytes of text")
    for example, read in _examples(config):
        first, second = pieces_of(example, model.tokenizer)
        size = len(first) + len(second) + specials(second)
        counts["lines"] += 1
        counts["tokens"] += min(size, model.max_seq_length)
        counts["cut"] += size > model.max_seq_length
        counts["empty"] += not first and not second
        counts["unknown"] += to_ids([*first, *second]).count(model.tokenizer.unk_id)
        progress.update(read)
    return counts


def _chunks(lines: Iterable[Encoded]) -> Iterator[List[Encoded]]:
    """Lines of _CHUNK_TOKENS or more together. An output is saved between two, so a stop changes no batch."""
    chunk: List[Encoded] = []
    tokens = 0
    for line in lines:
        chunk.append(line)
        tokens += len(line.tokens)
        if tokens >= _CHUNK_TOKENS:
            yield chunk
            chunk, tokens = [], 0
    if chunk:
        yield chunk
