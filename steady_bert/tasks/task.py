"""The contract between a task (what is learned) and an engine (how it is learned).

A task is a value: data columns and functions. An engine calls them and knows nothing else about the task, so the same
engine trains sentence classification, regression and tagging, and the same task runs under either engine.

The life of an example: `read` yields it from a file, `featurize` turns it into a feature (column name -> list of
numbers) and the facts that the data report is made from, the feature cache stores both, the input pipeline batches
records into tensors, `build` turns a batch into losses and predictions, `score` turns the predictions of a whole split
into metrics.
"""

import hashlib
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..base.errors import UserError

Feature = Dict[str, List[Any]]  # column name -> the numbers of one example
Predictions = Dict[str, List[np.ndarray]]  # prediction name -> one array an example, in file order


class BadLines:
    """The lines of a file that were left out: at most `allowed`, each with what is wrong with it."""

    def __init__(self, allowed: int) -> None:
        self.allowed = allowed
        self.messages: List[str] = []
        self.mended: List[str] = []  # what is wrong with lines that were read all the same

    def add(self, error: UserError) -> None:
        """Raises the error where no more lines may be left out."""
        if len(self.messages) >= self.allowed:
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
    """What the data report needs to know of an example beside its feature. All fit uint32 but `text`, a uint64."""

    line: int  # in its file, from 1
    text: int  # its hash_of_text
    label: int  # its id, a hash from 2³¹ on where it is more or other than one class, NO_LABEL where there is none
    tokens: int  # special tokens included, before anything is cut
    pieces: int  # special tokens left out
    unknown: int  # of the pieces, those that the vocabulary lacks


class Compute(NamedTuple):
    """How an engine wants a tower computed."""

    is_training: bool
    padding_free: bool = False  # token-wise work on real tokens alone; not for static shapes
    precision: str = "float32"  # or "bfloat16": of the encoder's matrix products


class Column(NamedTuple):
    """One column of a record.

    per_token: the column holds one number a piece; a batch pads it with `padding` to [B, S].
    Otherwise it holds exactly `size` numbers: [B] where size is 1, else [B, size].
    """

    dtype: str  # "int64" or "float32", the two number types of a tf.train.Example
    per_token: bool = False
    size: int = 1
    padding: int = 0


class Outputs(NamedTuple):
    """What a forward pass gives for a batch of B examples.

    The loss of an update is sum(loss) / sum(weight) over all replicas and all accumulated parts: with one weight an
    example it is the mean over examples, with one a token the mean over tokens.
    """

    loss: Any  # [B] float32, the summed loss of each example
    weight: Any  # [B] float32, how many units the loss of each example is a sum of
    predictions: Dict[str, Any]  # name -> [B, ...]; [B, S, ...] for the names in Task.per_token_predictions


class Task(NamedTuple):
    """What an engine needs to know.

    read(split, bad_lines) yields examples in file order; a line that cannot be read goes to bad_lines, which raises
        UserError with file:line where no more may be left out. An example has an `example_id`.
    featurize(examples) gives the feature and the facts of each, in order; with splits_examples, of each at least one.
        The per-token columns of a feature all have the same length.
    fingerprint(split) gives everything that decides the bytes of the split's records (files, vocabulary, lengths).
    build(batch, compute) makes the graph; batch has a tensor a column and `input_mask` [B, S]. It is called once a
        replica and mode and shares its variables by name.
    score(split, predictions) gives metric name -> value over the whole split.
    """

    name: str
    columns: Dict[str, Column]
    files: Dict[str, str]  # split → path
    read: Callable[[str, BadLines], Iterator[Any]]
    featurize: Callable[[Sequence[Any]], List[Tuple[Feature, Facts]]]
    fingerprint: Callable[[str], Dict[str, Any]]
    build: Callable[[Dict[str, Any], Compute], Outputs]
    score: Callable[[str, Predictions], Dict[str, float]]
    labels: Tuple[str, ...]  # class or tag names in id order; empty for regression
    best_metric: str  # the name, among those of `score`, that picks the best checkpoint; larger is better
    head_variables: Tuple[
        str, ...
    ]  # name prefixes of what is not pre-trained; without them there is nothing to predict with
    per_token_predictions: Tuple[str, ...] = ()
    max_tokens: int = 0  # what featurize cuts an example to; 0: nothing is cut
    splits_examples: bool = False  # whether an example may be several records
    skip_bad_lines: int = 0  # how many lines of a file may be left out
    kinds: Tuple[str, ...] = ()  # what an example may hold several of, as entities by type; the data report counts them
    kinds_in: Optional[Callable[[Any], Sequence[str]]] = None  # those in an example, as often as it holds them
