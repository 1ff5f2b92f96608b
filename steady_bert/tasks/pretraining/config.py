"""What create_pretraining_data is told. Pure: no TensorFlow."""

from dataclasses import dataclass
from typing import Optional, Tuple

from .instances import Settings, settings_of


@dataclass(frozen=True)
class PretrainingDataConfig:
    """num_processes None: one process, with google-research/bert's sequence of random numbers."""

    input_files: Tuple[str, ...]
    output_files: Tuple[str, ...]
    vocab_file: str
    do_lower_case: bool
    max_seq_length: int
    max_predictions_per_seq: int
    random_seed: int
    dupe_factor: int
    masked_lm_prob: float
    short_seq_prob: float
    do_whole_word_mask: bool
    num_processes: Optional[int]
    dry_run: bool = False

    @property
    def settings(self) -> Settings:
        return settings_of(self)
