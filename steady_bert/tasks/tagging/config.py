"""What a command says of a tagging task. Pure: no TensorFlow."""

from dataclasses import dataclass
from typing import Optional, Tuple

from ...training.job import RunConfig
from ..model_files import ModelConfig


@dataclass(frozen=True)
class TaggingDataConfig:
    """Which words become which features, and the layers between vectors and tags. None: not given."""

    train_file: Optional[str]
    dev_file: Optional[str]
    test_file: Optional[str]
    format: str
    tag_column: str
    word_column: Optional[str]
    overlaps: str
    offset_unit: str
    class_weights: Tuple[str, ...]
    tag_scheme: str
    tags_file: Optional[str]
    mend_tags: bool
    text_units: str
    doc_stride: int
    head: str
    lstm_size: int
    lstm_layers: int
    lstm_cell: str
    constrained_decoding: bool
    skip_bad_lines: int
    encoding: str
    predict_file: Optional[str]


@dataclass(frozen=True)
class TaggingConfig:
    run: RunConfig
    model: ModelConfig
    data: TaggingDataConfig
