"""What a run is doing: its child tells it in memory that both share, so that a fault can hit what it is to hit."""

import functools
import importlib
import mmap
import time
from typing import Any, Dict, NamedTuple

from .program import Child


class Stage(NamedTuple):
    module: str
    function: str
    times: int  # that it begins at least, in a run that is not killed
    runs: str  # that have it: NEW ones, those that go ON, those whose training has ENDED


NEW, ON, ENDED = "new", "on", "ended"
STAGES: Dict[str, Stage] = {
    "cache": Stage("steady_bert.training.feature_cache", "_build", 3, NEW),
    "building": Stage("steady_bert.training.session_engine", "build", 1, NEW + ON),
    "restoring": Stage("steady_bert.training.session_engine", "load_run", 1, ON),
    "save": Stage("steady_bert.training.checkpoint", "save", 4, NEW + ON),
    "best": Stage("steady_bert.training.checkpoint", "save_best", 2, NEW),
    "evaluation": Stage("steady_bert.training.session_engine", "_evaluate_on_all_workers", 2, NEW + ON),
    "scores and predictions": Stage("steady_bert.training.trained_model", "evaluate_and_predict", 1, NEW + ON + ENDED),
    "report": Stage("steady_bert.run_report.page", "write_after_run", 1, NEW + ON + ENDED),
}
TRAINING, BEFORE, AFTER = "training", "start", "end"
_NAMES = list(STAGES)
_POLL_SECS = 0.0005


class Watch:
    """Follows one child."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, 1 + len(STAGES))  # 1 + the current stage, or 0; how often each has begun

    def prepare(self) -> None:
        """Called in the child: it then tells its stages."""
        for number, stage in enumerate(STAGES.values()):
            module: Any = importlib.import_module(stage.module)
            setattr(module, stage.function, self._telling(number, getattr(module, stage.function)))

    def _telling(self, number: int, function: Any) -> Any:
        @functools.wraps(function)
        def call(*values: Any, **named: Any) -> Any:
            outer, self._shared[0] = self._shared[0], 1 + number
            self._shared[1 + number] = min(255, self._shared[1 + number] + 1)
            try:
                return function(*values, **named)
            finally:
                self._shared[0] = outer

        return call

    def stage(self) -> str:
        if self._shared[0]:
            return _NAMES[self._shared[0] - 1]
        if self.begun("scores and predictions"):
            return AFTER
        return TRAINING if self.begun("building") else BEFORE

    def begun(self, stage: str) -> int:
        return self._shared[1 + _NAMES.index(stage)]

    def wait_for(self, child: Child, stage: str, times: int) -> None:
        """Waits until the child has begun a stage so often, or has ended."""
        while self.begun(stage) < times and not child.has_ended():
            time.sleep(_POLL_SECS)
