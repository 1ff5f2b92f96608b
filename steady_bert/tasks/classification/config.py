"""What a command says of a classification or regression task. Pure: no TensorFlow."""

from dataclasses import dataclass
from typing import Optional, Tuple

from ...training.job import RunConfig
from ..model_files import ModelConfig


@dataclass(frozen=True)
class ClassifierDataConfig:
    """Which text becomes which features. None: neither a flag nor the model's folder says it."""

    task_name: Optional[str]
    data_dir: Optional[str]
    text_columns: Tuple[str, ...]
    label_column: Optional[str]
    label_type: str
    labels: Tuple[str, ...]
    label_separator: Optional[str]
    class_weights: Tuple[str, ...]
    language: str
    skip_bad_lines: int
    encoding: str
    predict_file: Optional[str]
    long_text: str = "cut"
    window_stride: Optional[int] = None
    window_pooling: str = "mean"
    multi_label_threshold: str = "0.5"  # tune: the best on dev; saved: that of the trained model


@dataclass(frozen=True)
class ClassifierConfig:
    run: RunConfig
    model: ModelConfig
    data: ClassifierDataConfig
