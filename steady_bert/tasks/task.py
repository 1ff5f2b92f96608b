"""The contract between a task (what is learned) and an engine (how it is learned).

A task is a value: data columns and functions. An engine calls the functions and knows nothing else about the task. So
one engine trains classification, regression and tagging, and one task runs under both engines.

The life of an example: `read` yields it from a file; `featurize` turns it into a feature (column name → list of
numbers) and the facts for the data report; the feature cache stores both; the input pipeline batches the records into
tensors; `build` turns a batch into losses and predictions; `score` turns the predictions of a whole split into metrics.
"""

import hashlib
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..base.compute import Compute
from ..base.errors import UserError

Feature = Dict[str, List[Any]]  # column name → the numbers of one example
Predictions = Dict[str, List[np.ndarray]]  # prediction name → one array an example, in file order


class BadLines:
    """The lines of a file that were skipped, at most `allowed`, and what is wrong with each."""

    def __init__(self, allowed: int) -> None:
        self.allowed = allowed
        self.messages: List[str] = []
        self.mended: List[str] = []  # what was wrong with lines that were repaired and read
        self.notes: List[str] = []  # what else the data report says about the file

    @property
    def is_full(self) -> bool:
        return len(self.messages) >= self.allowed

    def add(self, error: UserError) -> None:
        """Notes a skipped line; raises the error if no more lines may be skipped."""
        if self.is_full:
            if not self.allowed:
                raise error
            raise UserError(
                "{}\n--skip_bad_lines={} are used up; the first was: {}".format(error, self.allowed, self.messages[0])
            )
        self.messages.append(str(error))


NO_LABEL = (1 << 32) - 1


def hash_of_text(text: str) -> int:
    """A 64-bit hash, the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


class Facts(NamedTuple):
    """What the data report needs to know about an example beside its feature. uint32 values, but `text` is a uint64."""

    line: int  # in its file, from 1
    text: int  # its hash_of_text
    label: int  # its id; NO_LABEL if there is none; a hash of 2³¹ or more if it is not a class
    tokens: int  # number of tokens with the special ones, before truncation
    pieces: int  # number of tokens without the special ones
    unknown: int  # number of pieces that the vocabulary lacks
    # Records that --long_text=windows makes of the example; 0 in all of them but the first.
    windows: int = 1


class Column(NamedTuple):
    """One column of a record.

    per_token: the column holds one number for each token; a batch pads it with `padding` to [B, S].
    Otherwise it holds exactly `size` numbers: [B] if size is 1, else [B, size].
    """

    dtype: str  # "int64" or "float32", the two number types of a tf.train.Example
    per_token: bool = False
    size: int = 1
    padding: int = 0


class Outputs(NamedTuple):
    """The result of a forward pass for a batch of B examples.

    The loss of an update is sum(loss) / sum(weight) over all replicas and all accumulated micro-batches. It is the mean
    over examples if each example has weight 1, the mean over tokens if each token has. A task that adds K losses, each
    with a mean of its own, gives [B, K]: the loss is the sum of their means.
    """

    loss: Any  # [B] or [B, K] float32, the summed loss of each example
    weight: Any  # like `loss`, the number of losses that the loss of each example is the sum of
    predictions: Dict[str, Any]  # name -> [B, ...]; [B, S, ...] for the names in Task.per_token_predictions
    # [B, L] or, for words, [B, W, L] float32: what probabilities are made from, by which an export is compared with the
    # run. Not part of what an engine fetches.
    logits: Any = ()
    # losses.Distributions, in training: the predictions whose divergence R-Drop adds to the loss. () of a task that has
    # none, as a CRF and a number have.
    distributions: Any = ()


class Task(NamedTuple):
    """What an engine needs to know.

    read(split, bad_lines) yields examples in file order, each with an `example_id`. A line that cannot be read goes to
        bad_lines, which raises UserError with file:line if no more may be skipped.
    featurize(examples) returns the feature and the facts of each example, in order; with splits_examples, one or more
        for each example. The per-token columns of a feature all have the same length.
    fingerprint(split) returns everything that decides the bytes of the split's records (files, vocabulary, lengths).
    build(batch, is_training, compute) makes the graph; batch has a tensor for each column and `input_mask` [B, S], and
        in training maybe a WordShift, under word_shift.KEY.
        It is called once for each replica and mode; calls share variables by name.
    loss_weights(batch) returns Outputs.weight of a batch. A task with K losses has it: a batch that is computed in
        parts needs the weights of all parts before the gradients of the first.
    in_epoch(records, numbers, epochs, seed) returns serialized training records as these epochs have them, a pure
        function of its arguments. records[i] is that of example numbers[i]. None: they are the same in every epoch.
    score(split, predictions) returns metric name → value over the whole split.
    """

    name: str
    columns: Dict[str, Column]
    files: Dict[str, str]  # split → path
    read: Callable[[str, BadLines], Iterator[Any]]
    featurize: Callable[[Sequence[Any]], List[Tuple[Feature, Facts]]]
    fingerprint: Callable[[str], Dict[str, Any]]
    build: Callable[[Dict[str, Any], bool, Compute], Outputs]
    score: Callable[[str, Predictions], Dict[str, float]]
    labels: Tuple[str, ...]  # class or tag names in id order; empty for regression
    best_metric: str  # the name, among those of `score`, that picks the best checkpoint; larger is better
    # Name prefixes of the variables that are not pre-trained; a checkpoint without them cannot predict.
    head_variables: Tuple[str, ...]
    # Name prefixes of variables that the graph has and the task does not read; a trained checkpoint may lack them.
    unread_variables: Tuple[str, ...] = ()
    per_token_predictions: Tuple[str, ...] = ()
    max_tokens: int = 0  # the longest record that featurize makes of an example; 0: any length
    long_text: str = "cut"  # what featurize does with a longer example: cut, head_tail, windows
    splits_examples: bool = False  # whether an example may become several records
    skip_bad_lines: int = 0  # number of lines of a file that may be skipped
    kinds: Tuple[str, ...] = ()  # what the data report counts within examples, such as types of entities
    kinds_in: Optional[Callable[[Any], Sequence[str]]] = None  # example → the kind of each occurrence in it
    loss_weights: Optional[Callable[[Dict[str, Any]], Any]] = None
    in_epoch: Optional[Callable[[List[bytes], np.ndarray, np.ndarray, int], List[bytes]]] = None
