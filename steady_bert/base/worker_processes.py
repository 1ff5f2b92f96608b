"""The same work on one process or several: results in the order of the tasks, and no process outlives the program."""

import collections
import itertools
import multiprocessing
import os
import signal
import sys
import threading
import time
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Callable, Deque, Iterable, Iterator, Optional, Sequence

from .errors import RunError

_WAITING = 4  # tasks for each process: none waits for the next one, and results do not pile up
_WATCH_SECS = 0.5


class WorkerProcesses:
    """`count` processes; for one, this process is it. Each has called start(*arguments), and first of all this one.

    start and the functions of map are module functions, since another process finds them by name. Once TensorFlow is
    imported, processes take longer to start: one with TensorFlow's threads cannot be forked safely.
    """

    def __init__(self, count: int, start: Callable[..., None], arguments: Sequence[Any]) -> None:
        start(*arguments)  # raises its errors here, where a user sees them
        self._count = count
        self._pool: Optional[futures.ProcessPoolExecutor] = None
        if count > 1:
            method = "spawn" if "tensorflow" in sys.modules else None
            self._pool = futures.ProcessPoolExecutor(
                count,
                multiprocessing.get_context(method),
                initializer=_start,
                initargs=(os.getpid(), start, tuple(arguments)),
            )

    def map(self, function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        """function(task) of each task, in order. Raises what the function raises, and RunError if a process dies."""
        if self._pool is None:
            yield from map(function, tasks)
            return
        tasks = iter(tasks)
        waiting: Deque[Any] = collections.deque()
        try:
            while True:
                for task in itertools.islice(tasks, _WAITING * self._count - len(waiting)):
                    waiting.append(self._pool.submit(function, task))
                if not waiting:
                    return
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise RunError(
                "A process was ended from outside, as it is when memory does not suffice. Use fewer processes."
            ) from None

    def close(self) -> None:
        """Ends the processes."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def __enter__(self) -> "WorkerProcesses":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()


def _start(parent: int, start: Callable[..., None], arguments: Sequence[Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the program's own handler ends it, and this process with it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    start(*arguments)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH_SECS)
    os._exit(1)
