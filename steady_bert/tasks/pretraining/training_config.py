"""What run_pretraining is told. Pure: no TensorFlow."""

from dataclasses import dataclass
from typing import Dict, Optional, Tuple

from ...training.job import RunConfig
from ..model_files import ModelConfig
from .instances import Settings, settings_of

SENTENCE, DOCUMENT = "sentence", "document"
TEXT_FORMS = ("auto", SENTENCE, DOCUMENT)


@dataclass(frozen=True)
class PretrainingInput:
    """What becomes of which files. files: split → its files, of records or of text."""

    files: Dict[str, Tuple[str, ...]]
    text_form: str  # what a line of a text is; auto: as the files look
    segmentation_suffix: Optional[str]  # the words of the text FILE are in FILE + suffix
    use_next_sentence_task: bool
    max_seq_length: int
    max_predictions_per_seq: int
    masked_lm_prob: float
    short_seq_prob: float
    do_whole_word_mask: bool

    @property
    def settings(self) -> Settings:
        return settings_of(self)


@dataclass(frozen=True)
class PretrainingConfig:
    run: RunConfig
    model: ModelConfig
    data: PretrainingInput
