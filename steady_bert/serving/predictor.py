"""Predictor: a trained model in a program."""

import threading
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from ..base.errors import UserError
from ..interchange import folders
from ..tasks.classification import long_texts
from ..tasks.task import Feature
from ..training import devices
from ..training.engine_config import EngineConfig
from . import answers, encoder, graph, saved_run
from .answers import Answer, Question, Text
from .encoder import Vectors
from .saved_run import SavedRun

_MAX_ROWS = 256  # of a batch
_ROW_MULTIPLE = 8  # to which the number of rows of a batch is rounded up, from 5 on
_LENGTH_MULTIPLE = 8  # to which the length of a batch is rounded up, as in training
_ANSWERED = ("probabilities", "score", "tag_ids")  # the outputs that answers are made of
_OF_RECORD = ("first_word", "ends")  # the inputs with one number for a record


class Prepared(NamedTuple):
    """Texts as features: what is left to compute. Made by Predictor.prepare and prepare_vectors."""

    features: List[Feature]
    question: Optional[Question] = None  # None: vectors are asked for
    vectors: Optional[Vectors] = None
    windows: Sequence[int] = ()  # of vectors: the number of each feature in its text

    @property
    def tokens(self) -> int:
        return sum(len(feature["input_ids"]) for feature in self.features)


class Predictor:
    """A trained run, or a pre-trained model, that answers. Safe to use from several threads.

    folder: the --output_dir of a run; embed also takes a pre-trained model's folder, as google-research/bert
        (bert_config.json, vocab.txt, bert_model.ckpt) or Hugging Face publish it.
    checkpoint: of a run, "best" or "last"; None: the best if it has one, else the last.
    batch_tokens: texts of like length are computed together, up to so many tokens.
    cache_dir: where the conversion of a Hugging Face folder is kept; None: it is converted each time.
    flags: further flags of the command that predicts from a run, by name, such as precision="bfloat16".

    Raises UserError for a folder that cannot be used, and for a checkpoint or flags where the folder is no run.
    """

    def __init__(
        self,
        folder: str,
        checkpoint: Optional[str] = None,
        batch_tokens: int = 4096,
        cache_dir: Optional[str] = None,
        **flags: Any,
    ) -> None:
        self.folder = folder
        self.batch_tokens = batch_tokens
        self.run: Optional[SavedRun] = None
        self._building = threading.Lock()  # sessions may run in several threads at once
        self._encoder_inputs: Dict[str, tf.Tensor] = {}
        self._states: List[tf.Tensor] = []
        self._embed: Dict[Vectors, _Step] = {}
        if saved_run.is_run(folder):
            self.run = saved_run.open_run(folder, checkpoint, **flags)
            built = graph.build(self.run)
            self.encoder = encoder.of_run(self.run)
            self._session = built.session
            self._predict = _Step(self._session, built.inputs, _needed(built.outputs))
        else:
            _refuse_what_a_run_reads(folder, dict(flags, checkpoint=checkpoint))
            with encoder.of_folder(folder, cache_dir) as self.encoder:
                config = EngineConfig(max_seq_length=self.encoder.max_seq_length)
                self._session = tf.Session(graph=tf.Graph(), config=devices.session_config(config))
                self._build_encoder()
                with self._session.graph.as_default():
                    encoder.restore(self._session, self.encoder)

    def predict(self, texts: Sequence[Text]) -> List[Answer]:
        """The answer to each text, in order.

        A text is a string, a pair of strings for a model of pairs, or a string or a list of words for a tagger.
        Answers of a classifier: label, score (the label's probability), probabilities by label; labels and
        probabilities where there may be several; score of a regression. Of a tagger: text, and entities with start,
        end, type, text, score, where start and end count characters and the end is left out; or tags of the words, if
        tags mark no entities.

        Raises UserError for a text that the model does not read.
        """
        return self.answer([self.prepare(texts)])[0]

    def embed(self, texts: Sequence[Text], pooling: str = "mean", layers: Any = -1) -> np.ndarray:
        """[texts, H] float32: a vector for each text, or pair of texts.

        pooling: mean or max over the tokens of a text with [CLS] and [SEP], or cls, the vector of [CLS]. layers: the
        number of a hidden state, 0 for the embeddings, -1 for the last layer; or several, whose vectors are joined.
        A text that is read in windows has the mean of their vectors; for max, the maximum.
        """
        return np.array(self.answer([self.prepare_vectors(texts, pooling, layers)])[0], np.float32)

    # --- in two parts, for a server that computes several requests together ---

    def prepare(self, texts: Sequence[Text]) -> Prepared:
        """Raises the errors of predict."""
        if self.run is None:
            raise UserError("{}: a pre-trained model predicts nothing. Name a run's folder.".format(self.folder))
        asked = answers.question(self.run, texts)
        return Prepared(asked.features, asked)

    def prepare_vectors(self, texts: Sequence[Text], pooling: str = "mean", layers: Any = -1) -> Prepared:
        """Raises the errors of embed."""
        wanted = encoder.check(self.encoder, pooling, layers)
        features, windows = encoder.features_of(self.encoder, texts)
        return Prepared(features, None, wanted, windows)

    def answer(self, asked: Sequence[Prepared]) -> List[List[Any]]:
        """The answers to each of what is asked, computed together."""
        results: List[List[Any]] = [[] for _ in asked]
        for wanted in dict.fromkeys(each.vectors for each in asked):
            numbers = [number for number, each in enumerate(asked) if each.vectors == wanted]
            step = self._predict if wanted is None else self._embedding(encoder.computed_for(wanted))
            rows = self._computed(step, [feature for number in numbers for feature in asked[number].features])
            start = 0
            for number in numbers:
                end = start + len(asked[number].features)
                results[number] = self._answers(asked[number], {name: of[start:end] for name, of in rows.items()})
                start = end
        return results

    def close(self) -> None:
        """Frees the memory of the weights."""
        self._session.close()

    def _answers(self, asked: Prepared, rows: Dict[str, List[np.ndarray]]) -> List[Any]:
        if asked.question is not None:
            assert self.run is not None
            return answers.answers(self.run, asked.question, rows)
        if not asked.features:
            return []
        assert asked.vectors is not None
        pooling = "max" if asked.vectors.pooling == "max" else "mean"
        vectors = encoder.picked(np.array(rows["vectors"]), asked.vectors)
        return list(long_texts.pooled(vectors, np.array(asked.windows), pooling))

    def _computed(self, step: "_Step", features: Sequence[Feature]) -> Dict[str, List[np.ndarray]]:
        """Output → one row for each feature."""
        rows: Dict[str, List[Any]] = {name: [None] * len(features) for name in step.outputs}
        for numbers in _batches(features, self.batch_tokens):
            batch = [features[number] for number in numbers]
            computed = step(padded(batch, step.inputs, self.encoder.max_seq_length))
            for name, values in computed.items():
                for number, row in zip(numbers, values):
                    rows[name][number] = row
        return rows

    def _embedding(self, wanted: Vectors) -> "_Step":
        with self._building:
            if wanted not in self._embed:
                self._build_encoder()
                with self._session.graph.as_default():
                    vectors = encoder.pooled(self._states, self._encoder_inputs["input_mask"], wanted)
                self._embed[wanted] = _Step(self._session, self._encoder_inputs, {"vectors": vectors})
            return self._embed[wanted]

    def _build_encoder(self) -> None:
        """Adds the whole encoder to the graph, once: a classifier's is built for [CLS] alone."""
        if self._states:
            return
        with self._session.graph.as_default(), tf.name_scope("embed"):
            self._encoder_inputs = encoder.placeholders(self.encoder)
            self._states = encoder.hidden_states(self.encoder, self._encoder_inputs)


class _Step:
    """One batch of a session: arrays in, arrays out."""

    def __init__(self, session: tf.Session, inputs: Dict[str, tf.Tensor], outputs: Dict[str, tf.Tensor]) -> None:
        self.inputs = list(inputs)
        self.outputs = list(outputs)
        with session.graph.as_default():
            self._run = session.make_callable(list(outputs.values()), feed_list=list(inputs.values()))

    def __call__(self, arrays: Dict[str, np.ndarray]) -> Dict[str, np.ndarray]:
        return dict(zip(self.outputs, self._run(*(arrays[name] for name in self.inputs))))


def _refuse_what_a_run_reads(folder: str, flags: Dict[str, Any]) -> None:
    given = ", ".join(sorted(name for name, value in flags.items() if value is not None))
    if given:
        folders.described(folder, "--model_dir")  # refuses what is no model
        raise UserError("{}: a pre-trained model, so {} would not be read. Leave it out.".format(folder, given))


def _needed(outputs: Dict[str, tf.Tensor]) -> Dict[str, tf.Tensor]:
    """The outputs that answers are made of: logits alone for windows, which are pooled before anything else."""
    if "logits" in outputs:
        return {"logits": outputs["logits"]}
    return {name: tensor for name, tensor in outputs.items() if name in _ANSWERED}


def _batches(features: Sequence[Feature], batch_tokens: int) -> Iterator[List[int]]:
    """The numbers of the features of each batch: by length, so that there is little padding, the longest first."""
    order = sorted(range(len(features)), key=lambda number: -len(features[number]["input_ids"]))
    while order:
        longest = len(features[order[0]]["input_ids"])
        rows = min(max(batch_tokens // longest, 1), _MAX_ROWS)
        yield order[:rows]
        order = order[rows:]


def padded(features: Sequence[Feature], names: Sequence[str], most_tokens: int) -> Dict[str, np.ndarray]:
    """The columns of a batch: [B, S] int32 with zeros after the tokens of each row, or [B].

    B is rounded up with rows of one token, so that a server, which meets batches of any size, meets few shapes: the
    libraries keep code for each.
    """
    lengths = [len(feature["input_ids"]) for feature in features]
    longest = max(lengths)
    length = max(longest, min(-(-longest // _LENGTH_MULTIPLE) * _LENGTH_MULTIPLE, most_tokens))
    rows = len(features)
    size = next(size for size in (1, 2, 4, -(-rows // _ROW_MULTIPLE) * _ROW_MULTIPLE) if size >= rows)
    arrays = {}
    for name in names:
        if name in _OF_RECORD:
            arrays[name] = np.array([feature[name][0] for feature in features] + [0] * (size - rows), np.int32)
            continue
        arrays[name] = np.zeros((size, length), np.int32)
        if name == "input_mask":
            arrays[name][rows:, 0] = 1
        for row, feature in enumerate(features):
            arrays[name][row, : lengths[row]] = 1 if name == "input_mask" else feature[name]
    return arrays
