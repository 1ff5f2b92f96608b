"""What a run is given: its configuration, and the Job that says what is learned. Pure: no TensorFlow."""

from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from ..optimizer_config import OptimizerConfig
from ..tasks.task import Predictions, Task
from .engine_config import EngineConfig
from .plan import PlanConfig
from .run_files import Evaluated


@dataclass(frozen=True)
class WeightsConfig:
    """Where weights come from, and whether a run is continued."""

    init_checkpoint: Optional[str]
    from_scratch: bool
    output_dir: Optional[str]
    model_dir: Optional[str]
    checkpoint: Optional[str]
    resume_mode: str
    allow_plan_change: bool
    allow_changed_files: Tuple[str, ...]
    reset_head: bool


@dataclass(frozen=True)
class RunConfig:
    """What a command does, whatever is learned."""

    do_train: bool
    do_eval: bool
    do_predict: bool
    dry_run: bool
    check_data: bool
    best_metric: Optional[str]
    cache_dir: Optional[str]
    max_train_examples: Optional[int]
    max_eval_examples: Optional[int]
    predict_output: Optional[str]
    allow_large_gz: bool
    plan: PlanConfig
    optimizer: OptimizerConfig
    weights: WeightsConfig
    engine: EngineConfig


class Job(NamedTuple):
    """What is learned, as a run needs it.

    identity: everything that decides the run's numbers, except the plan, the optimizer and the initial weights.
    files: file name in the run's folder → the model's file that is copied there.
    documents: file name in the run's folder → the value that is written there as JSON.
    flags: the flags that the user gave, for flags.txt.
    describe_evaluation(split, predictions) gives (details for eval_results.json, a text for people). Where a record is
        not a whole example, the details say how many `examples` there are.
    write_predictions(split, predictions, step, path, folder) writes the predictions at `path`, and reports beside it.
    """

    task: Task
    metrics: Tuple[str, ...]  # what --best_metric may name
    identity: Dict[str, Any]
    files: Dict[str, str]
    documents: Dict[str, Any]
    flags: List[str]
    predictions_file: str  # the file's name unless --predict_output is given
    describe_evaluation: Callable[[str, Predictions], Tuple[Dict[str, Any], str]]
    write_predictions: Callable[[str, Predictions, int, str, str], None]
    notes: Dict[str, str]  # further lines of the plan
    # What an evaluation settles: file name → value that is written beside the scores as JSON.
    settled: Callable[[], Dict[str, Any]] = dict
    # split, predictions, the lines of its records → examples with what is predicted of them. None: no file is written.
    evaluated: Optional[Callable[[str, Predictions, Sequence[int]], Iterable[Evaluated]]] = None
    eval_prefix: str = "eval_"  # of the scores' names in eval_results.txt, as the original's script has it
