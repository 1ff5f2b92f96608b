"""The settings of where and how a run computes. Pure: no TensorFlow."""

from dataclasses import dataclass
from typing import Optional, Tuple


@dataclass(frozen=True)
class TpuConfig:
    """The address and settings of a TPU, named like google-research/bert's flags."""

    use_tpu: bool = False
    tpu_name: Optional[str] = None
    tpu_zone: Optional[str] = None
    gcp_project: Optional[str] = None
    master: Optional[str] = None
    num_tpu_cores: int = 8
    iterations_per_loop: int = 1000


@dataclass(frozen=True)
class EngineConfig:
    """How a job runs; none of it changes what is learned."""

    engine: str = "session"  # or "estimator"
    distribution: str = "one_device"  # or "mirrored", "multi_worker"
    devices: Tuple[str, ...] = ()  # as "cpu:0"; empty: the GPUs that TensorFlow finds, else cpu:0
    cluster_bind: str = ""  # with multi_worker: where the chief listens; empty: at its address in TF_CONFIG
    padding: str = "none"  # or "longest": to the longest of the batch, or "fixed": to max_seq_length
    precision: str = "float32"  # or "bfloat16", "float16": of the encoder's products; float16 has a loss scale
    xla: bool = False  # XLA compiles what it can of the graph; needs "fixed" padding
    compute_form: str = "auto"  # or "plain", "fast", "compiled" of base/compute.py; auto and fast: devices.compute_form
    recompute: bool = False  # of the compiled form: a layer is computed again in its backward pass
    tf32: bool = True  # on a recent GPU, the factors of float32 products are rounded to 10 bits
    gpu_memory_fraction: float = 0.0  # share of a GPU's memory that is taken at the start; 0: it grows as needed
    max_seq_length: int = 128
    gradient_accumulation_steps: int = 1  # parts of a batch that are computed one after the other
    eval_batch_size: int = 8
    predict_batch_size: int = 8
    log_every_steps: int = 10
    log_every_secs: float = 60.0  # between lines in a log file
    report_to: Tuple[str, ...] = ("tensorboard",)  # and "mlflow": besides metrics.jsonl
    keep_checkpoint_max: int = 5
    profile_steps: Tuple[int, ...] = ()  # the first and last update to trace; empty: none
    tpu: TpuConfig = TpuConfig()
    bucket: Optional[str] = None  # for Estimator: where a TPU's machine reads records and writes checkpoints
