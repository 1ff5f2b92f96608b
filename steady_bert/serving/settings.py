"""What serve.py is told: which model, where, and with which limits. Pure: no TensorFlow."""

from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class ServingConfig:
    """A field is filled from the flag of its name."""

    model_dir: str
    checkpoint: Optional[str] = None
    precision: str = "float32"
    host: str = "127.0.0.1"
    port: int = 8080
    model_name: str = "model"
    api_key_file: Optional[str] = None
    batch_tokens: int = 4096
    batch_wait_ms: float = 2.0
    max_body_bytes: int = 1 << 20
    max_texts: int = 256
    max_text_characters: int = 10000
    max_queued_texts: int = 1024
