"""What is read of a folder before anything is concluded from it. Pure: no TensorFlow.

A step is a number of completed updates, and a rate is the one of the update that follows.
"""

from typing import Mapping, NamedTuple, Optional, Tuple

# Who wrote a folder.
OURS, ORIGINAL, PUBLISHED, EMPTY = "ours", "the original's", "a published model", "no model"
# What a head computes.
CLASSES, TAGS, ANSWERS, PIECES, UNKNOWN = "classes", "tags", "answers", "pre-training", "unknown"


class Numbers(NamedTuple):
    """What the numbers of a checkpoint say."""

    not_finite: Tuple[str, ...] = ()  # variables with NaN or infinity
    slots: int = 0  # variables of the optimizer
    slots_of_zeros: int = 0
    encoder_norm: Optional[float] = None  # L2, over the encoder's weights
    projection: Optional[float] = None  # of these on the pre-trained ones, over the latter's square: 1 if equal
    cosine: Optional[float] = None  # between the two


class Checkpoint(NamedTuple):
    """A checkpoint that can be read whole."""

    prefix: str
    step: Optional[int]  # global_step; None: it has none, as a published model
    weights: Mapping[str, Tuple[int, ...]]  # name → shape
    numbers: Numbers
    pooler_learned: Optional[bool] = None  # whether the optimizer has slots for it. None: it has none at all


class LinearDecay(NamedTuple):
    """Linear warm-up, then linear decay from step 0 to 0: the schedule of google-research/bert."""

    peak: float
    horizon: int
    warmup: int


class Rate(NamedTuple):
    """The learning rate around a step, and what says it. None: that source does not know."""

    source: str
    before: Optional[float]  # of the last update
    following: Optional[float]  # of the next one
    zero_from: Optional[int] = None  # the first step from which on it is 0
    linear: Optional[LinearDecay] = None


class Labels(NamedTuple):
    """The labels of a head in the order of its outputs."""

    names: Tuple[str, ...]
    source: str  # the file, or the flag
    kind: Optional[str] = None  # what labels.json says beside them: label_type or tag_scheme
    script: Optional[str] = None  # the script of ours that writes this key


class Vocabulary(NamedTuple):
    path: str
    pieces: int
    cased: Optional[bool]  # what its letters say; None: nothing
    stated_lower_case: Optional[bool]  # None: neither a file nor a flag says it
    contradiction: Optional[str]  # between the two


class Facts(NamedTuple):
    """A folder. Paths are as the user gave them."""

    folder: str
    writer: str = EMPTY
    script: Optional[str] = None  # what trained it, and goes on with it; None: not known
    checkpoint: Optional[Checkpoint] = None  # the newest that can be used
    unusable: Tuple[str, ...] = ()  # newer ones that are damaged or gone: which, and why
    not_finite: Tuple[str, ...] = ()  # newer ones with NaN or infinity
    end: Optional[int] = None  # the step at which the plan stops
    stopped_early: bool = False
    stage: int = 1
    rate: Optional[Rate] = None
    labels: Optional[Labels] = None
    pickles: Tuple[str, ...] = ()  # never opened
    frozen: Tuple[str, ...] = ()  # graphs with their weights as constants
    is_saved_model: bool = False
    vocabulary: Optional[Vocabulary] = None
    config: Optional[Mapping[str, int]] = None  # sizes of bert_config.json
    pretrained: Optional[str] = None  # the checkpoint that training began with
    flags: Mapping[str, str] = {}  # of flags.txt
    problems: Tuple[str, ...] = ()  # files that are not as they were, or cannot be read
    changed: Tuple[str, ...] = ()  # names of files that differ from the run's manifest
    best: Optional[str] = None  # the prefix of the best checkpoint, with which a run predicts
    best_lost: Optional[str] = None  # why it cannot be used
