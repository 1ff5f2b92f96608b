"""What a run itself computes for a check file: the numbers that an export has to give too.

R records · N outputs, one a record or one a word · L labels
"""

import copy
import os
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
import tensorflow.compat.v1 as tf

from ..base import json_files, tensorflow_setup
from ..base.errors import UserError
from ..serving.saved_run import SavedRun
from ..tasks.classification import assembly as classification
from ..tasks.classification.assembly import TaskInputs
from ..tasks.model_files import RunConfigFile
from ..tasks.tagging import assembly as tagging
from ..tasks.tagging import job as tagging_job
from ..tasks.tagging.assembly import TaggingInputs
from ..tasks.tagging.sentences import Sentence
from ..tasks.tagging.windows import NO_WORD
from ..tasks.task import Outputs, Task
from ..training import feature_cache, session_engine

LOGITS = "label_logits"  # the name of Outputs.logits among the predictions of `with_logits`
# The flags that say how a file of words is read, beside those that every command takes from the run.
_LAYOUT = ("format", "tag_column", "word_column", "overlaps", "offset_unit", "tag_scheme", "mend_tags")


class Rows(NamedTuple):
    """The records of a check file as ids. Values of the records' tokens follow each other."""

    lengths: np.ndarray  # [R] tokens
    ids: np.ndarray  # [tokens]
    segments: np.ndarray  # [tokens]
    word_starts: np.ndarray  # [tokens] 1 at the first piece of each word; zeros for texts
    begins: np.ndarray  # [R] whether the record begins its sentence
    ends: np.ndarray  # [R] whether it ends its sentence


class Text(NamedTuple):
    """What a reader of text is given of an example that is one record."""

    text: str
    pair: Optional[str]
    words: Tuple[str, ...]  # each of which gets an output; empty where the text as a whole gets one
    record: int  # the number of its record
    whole: bool  # whether the record holds all of the text's tokens


class Reference(NamedTuple):
    rows: Rows
    examples: int  # of the file
    texts: List[Text]  # of the examples that are one record
    logits: np.ndarray  # [N, L]
    decisions: np.ndarray  # [N] label ids, [N, L] for several labels; [N, 0] for regression
    outputs: np.ndarray  # [R] how many outputs each record has


def check_file_of(run: SavedRun) -> Optional[str]:
    """The run's dev file, if it is where training found it."""
    data, inputs = _config_of(run), run.inputs
    if isinstance(inputs, TaggingInputs):
        path = data.get("dev_file")
    else:
        folder = data.get("data_dir")
        path = folder and inputs.processor.file_path(folder, "dev")
    return path if path and os.path.exists(path) else None


def _config_of(run: SavedRun) -> Dict[str, Any]:
    data: Dict[str, Any] = json_files.read(os.path.join(run.folder, "config.json"), RunConfigFile)["data"]
    return data


def reading(run: SavedRun, path: str, is_dev: bool) -> Tuple[SavedRun, str]:
    """(the run with the check file as its data, the split that it is).

    is_dev: the file is read as the run reads its dev file, with the flags of its training; else as --predict_file.
    """
    if not os.path.exists(path):
        raise UserError("--check_file={}: no such file. Check the path.".format(path))
    split = "dev" if is_dev else "test"
    inputs: Any = run.inputs._replace(files={split: path})
    if is_dev:
        saved = _config_of(run)
        inputs = inputs._replace(skip_bad_lines=saved.get("skip_bad_lines", 0))
        encoding = saved.get("encoding", "auto")
        if isinstance(inputs, TaggingInputs):
            names = [name for name in _LAYOUT if name in saved and not (inputs.plain and name == "tag_scheme")]
            changed = {name: saved[name] for name in names}
            layout = inputs.layout._replace(encoding=encoding, **changed)
            inputs = inputs._replace(layout=tagging_job.with_tag_names(layout, saved.get("tags_file"), [path]))
        else:
            inputs.processor.encoding = encoding
    return with_inputs(run, inputs), split


def with_inputs(run: SavedRun, inputs: Union[TaskInputs, TaggingInputs]) -> SavedRun:
    """The run with other inputs of its task."""
    if isinstance(inputs, TaggingInputs):
        task = tagging.tagging_task(inputs, tagging.Reader(inputs))
    else:
        task = classification.classification_task(inputs)
    return run._replace(inputs=inputs, task=task)


def with_activation(run: SavedRun, name: str) -> SavedRun:
    """The run with another activation in its encoder."""
    config = copy.copy(run.bert_config)
    config.hidden_act = name
    return with_inputs(run, run.inputs._replace(bert_config=config))


def with_logits(task: Task) -> Task:
    """The task with Outputs.logits among its predictions."""

    def build(*arguments: Any) -> Outputs:
        outputs = task.build(*arguments)
        return outputs._replace(predictions=dict(outputs.predictions, **{LOGITS: outputs.logits}))

    names = task.per_token_predictions
    return task._replace(build=build, per_token_predictions=names + (LOGITS,) if names else ())


class _Recording:
    """A task that notes the example of each record that it makes."""

    def __init__(self, task: Task) -> None:
        self.examples: List[Any] = []  # of each record, the same object for all records of an example
        self.tokens: List[int] = []  # of each record's example, before truncation
        self._task = task
        self.task = task._replace(featurize=self._featurize)

    def _featurize(self, examples: Sequence[Any]) -> List[Any]:
        features = self._task.featurize(examples)
        number = -1
        sentences = {example.number: example for example in examples if isinstance(example, Sentence)}
        for feature, facts in features:
            number += facts.windows > 0
            of_record = sentences[feature["sentence"][0]] if sentences else examples[number]
            self.examples.append(of_record)
            self.tokens.append(facts.tokens)
        return features


def reference(run: SavedRun, path: str, is_dev: bool, limit: Optional[int] = None) -> Reference:
    """Runs a check file through the run's own engine. limit: so many of its examples, chosen at random."""
    run, split = reading(run, path, is_dev)
    recording = _Recording(with_logits(run.task))
    with tensorflow_setup.temporary_folder() as cache:
        records = feature_cache.open_or_build(recording.task, split, cache, limit)
        engine = session_engine.build(recording.task, run.engine, seed=0)
        session_engine.load_trained(engine, run.prefix)
        predictions = session_engine.predict(engine, records)
        session_engine.close(engine)
        serialized = records.read(np.arange(len(records)))
        records.close()
    rows = _rows(serialized, run.script == "run_ner")
    if run.script == "run_ner":
        outputs = np.array([int(np.sum(roles != NO_WORD)) for roles in predictions["roles"]])
        logits, decisions = (
            np.concatenate([values[:count] for values, count in zip(predictions[name], outputs)])
            for name in (LOGITS, "tag_ids")
        )
    else:
        outputs = np.ones(len(serialized), np.int64)
        logits = np.array(predictions[LOGITS])
        decisions = decided(run)(logits)
    examples, texts = len(set(map(id, recording.examples))), _texts(recording, rows)
    return Reference(rows, examples, texts, logits, np.asarray(decisions), outputs)


def decided(run: SavedRun) -> Callable[[np.ndarray], np.ndarray]:
    """A function: logits [N, L] → what is predicted, by each word's best tag where words are tagged."""
    if run.kind in ("single", "bio", "plain"):
        return lambda logits: np.argmax(logits, axis=-1)
    if run.kind == "multi":
        least = threshold_logit(run)
        return lambda logits: (logits >= least).astype(np.int64)
    return lambda logits: np.zeros((len(logits), 0), np.int64)


def threshold_of(run: SavedRun) -> float:
    """The probability from which a label is predicted, where there may be several."""
    assert isinstance(run.inputs, TaskInputs)
    threshold = run.inputs.threshold
    return 0.5 if threshold is None else float(threshold.value)


def threshold_logit(run: SavedRun) -> float:
    threshold = threshold_of(run)
    return float(np.log(threshold / (1.0 - threshold)))


def _rows(serialized: Sequence[bytes], words: bool) -> Rows:
    rows: Dict[str, List[int]] = {name: [] for name in Rows._fields}
    for record in serialized:
        columns = {
            name: list(feature.int64_list.value)
            for name, feature in tf.train.Example.FromString(record).features.feature.items()
        }
        length = len(columns["input_ids"])
        rows["lengths"].append(length)
        rows["ids"] += columns["input_ids"]
        rows["segments"] += columns.get("segment_ids", [0] * length)
        rows["word_starts"] += [int(role != NO_WORD) for role in columns["roles"]] if words else [0] * length
        rows["begins"].append(int(not columns["first_word"][0]) if words else 1)
        rows["ends"].append(columns["ends"][0] if words else 1)
    return Rows(**{name: np.array(values, np.int32) for name, values in rows.items()})


def _texts(recording: _Recording, rows: Rows) -> List[Text]:
    """The texts of the examples that one record holds."""
    records: Dict[int, int] = {}
    for example in recording.examples:
        records[id(example)] = records.get(id(example), 0) + 1
    texts = []
    for number, (example, tokens) in enumerate(zip(recording.examples, recording.tokens)):
        if records[id(example)] > 1:
            continue
        whole = tokens <= int(rows.lengths[number])
        if isinstance(example, Sentence):
            texts.append(Text(example.text, None, example.words, number, whole))
        else:
            texts.append(Text(example.text_a, example.text_b or None, (), number, whole))
    return texts
