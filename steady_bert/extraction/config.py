"""What extract_features is told. Pure: no TensorFlow."""

from dataclasses import dataclass
from typing import Optional, Tuple

POOLINGS = ("none", "mean", "cls", "max")


@dataclass(frozen=True)
class ExtractionConfig:
    """Either model, a folder, or its files one by one.

    max_seq_length None: the run's own; 128 for a pre-trained model. precision None: the run's own, or float32. layers:
    as the original counts them, 0 for the first encoder layer, -1 for the last.
    """

    input_file: str
    output_file: str
    model: Optional[str]
    vocab_file: Optional[str]
    bert_config_file: Optional[str]
    init_checkpoint: Optional[str]
    do_lower_case: bool
    max_seq_length: Optional[int]
    layers: Tuple[int, ...]
    batch_size: int
    pooling: str
    precision: Optional[str] = None
    dry_run: bool = False
