"""What a command says of a task of questions. Pure: no TensorFlow."""

from dataclasses import dataclass
from typing import Optional

from ...training.job import RunConfig
from ..model_files import ModelConfig


@dataclass(frozen=True)
class QuestionsDataConfig:
    """Which questions are read, how they become features, and how logits become answers. None: not given."""

    train_file: Optional[str]
    dev_file: Optional[str]
    predict_file: Optional[str]
    version_2_with_negative: bool
    null_score_diff_threshold: Optional[float]
    tune_null_threshold: bool
    doc_stride: int
    max_query_length: int
    n_best_size: int
    max_answer_length: int
    score_by: str
    verbose_logging: bool
    skip_bad_lines: int
    encoding: str


@dataclass(frozen=True)
class QuestionsConfig:
    run: RunConfig
    model: ModelConfig
    data: QuestionsDataConfig
