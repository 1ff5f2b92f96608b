"""A bar on a terminal: its figures fit the terminal's width, and other lines stay whole above it. Pure: no TensorFlow.

tqdm draws it. Where output goes to a file, a pipe, or a terminal that cannot redraw a line, there are lines instead.
"""

import contextlib
import os
import stat
import sys
import time
from typing import Any, Callable, Dict, List, Optional, Sequence, TextIO, Tuple

import tqdm

_LEAST_BAR = 6  # columns
_LAYOUT = "{desc}: {percentage:3.0f}%|{bar}|{counts}{facts}"
_WITHOUT_TOTAL = "{desc}:{counts}{facts}"


def fits() -> bool:
    """Whether a bar can be drawn on standard error: a terminal, that has none yet.

    A pipe from standard output often ends in the same terminal (`| tee log`): what it brings would fall into the bar.
    """
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb" or isinstance(sys.stderr, _AboveTheBar):
        return False
    try:
        mode = os.fstat(sys.stdout.fileno()).st_mode
    except (OSError, ValueError, AttributeError):  # no file: a program has replaced standard output
        return False
    return not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode))


def time_text(seconds: float) -> str:
    """Seconds as 02:31, or 30:02:31 from an hour on."""
    return str(tqdm.tqdm.format_interval(max(seconds, 0.0)))


class Rate:
    """How long work takes that goes on, measured from its first piece on: what prepares the first one is not in it."""

    def __init__(self) -> None:
        self._start: Optional[Tuple[float, int]] = None
        self._done = 0

    def note(self, done: int) -> None:
        """done: the pieces that are done now."""
        if self._start is None:
            self._start = (time.monotonic(), done)
        self._done = done

    def secs_left(self, total: int) -> Optional[float]:
        """None before the second piece."""
        if self._start is None or self._done <= self._start[1]:
            return None
        since, first = self._start
        return (time.monotonic() - since) / (self._done - first) * (total - self._done)


class Bar(tqdm.tqdm):  # type: ignore[misc]
    """As ` 45%|███   | 540/1,200  02:31 left  loss 0.4123`.

    facts: what stands on its right, the most important first; those that do not fit the terminal are left out.
    is_estimate: whether the total is about right alone. Without a total, what is done is a number.
    """

    monitor_interval = 0  # no thread that looks whether it has to be redrawn: programs with a bar may fork

    def __init__(self, total: Optional[int], done: int = 0, what: str = "", delay_secs: float = 0.0) -> None:
        """what: stands before it. delay_secs: work that takes less time draws no bar."""
        self.facts: List[str] = []
        self.is_estimate = False
        self._rate = Rate()
        self._stderr = sys.stderr
        super().__init__(
            total=total,
            initial=done,
            desc=what,
            delay=delay_secs,
            file=self._stderr,
            ncols=80,  # format_dict has the terminal's; tqdm draws nothing where that has no size
            nrows=24,
            miniters=1,
            bar_format=_LAYOUT,
        )
        self._above = _AboveTheBar(self._stderr)
        sys.stderr = self._above  # type: ignore[assignment]

    @staticmethod
    def status_printer(file: Any) -> Callable[[str], None]:
        """What replaces the line. tqdm's own pads it to its old length, which breaks it in a window made narrower."""
        if os.name == "nt":
            return tqdm.tqdm.status_printer(file)  # type: ignore[no-any-return]

        def replace(text: str) -> None:
            file.write("\r\x1b[K" + text)
            file.flush()

        return replace

    @property
    def format_dict(self) -> Dict[str, Any]:
        """What the layout of the bar may name, at the moment of drawing."""
        values: Dict[str, Any] = super().format_dict
        values["ncols"] = columns = max(self._columns() - 1, 20)  # in its last column a cursor may jump on
        if self.total is None:
            values["bar_format"] = _WITHOUT_TOTAL
            others, counts, facts = values["prefix"] + ":", " {:,}".format(self.n), []
        else:
            left = self._rate.secs_left(self.total)
            others = "{}: 100%||{}".format(values["prefix"], " " * _LEAST_BAR)
            counts = " {:,}/{}{:,}".format(self.n, "~" * self.is_estimate, self.total)
            facts = [] if left is None else [time_text(left) + " left"]
            if self.n >= self.total and not self.is_estimate:
                facts = ["in " + time_text(values["elapsed"])]
        free = columns - len(others)
        values["counts"] = counts if len(counts) <= free else ""
        values["facts"] = fitting(facts + self.facts, free - len(values["counts"]))
        return values

    def _columns(self) -> int:
        """The terminal's width now; 80 if it has none, as behind some connections."""
        with contextlib.suppress(OSError, ValueError):
            return os.get_terminal_size(self._stderr.fileno()).columns or 80
        return 80

    def skip(self, done: int) -> None:
        """Moves the bar on to what was done before, which says nothing of the speed now."""
        self._rate = Rate()
        self.go_to(done)

    def go_to(self, done: int) -> None:
        """Moves the bar on. It never goes back."""
        self._rate.note(done)
        self.update(max(0, (done if self.total is None else min(done, self.total)) - self.n))

    def close(self) -> None:
        """Draws its last state, and leaves the cursor at the beginning of a line."""
        if sys.stderr is self._above:
            rest = self._above.without_end()
            sys.stderr = self._stderr
            super().close()
            sys.stderr.write(rest)
        else:
            super().close()


class _AboveTheBar:
    """Standard error while there is a bar: a library's warning goes above it."""

    def __init__(self, stream: TextIO) -> None:
        self._wrapped = stream  # the name by which tqdm sees what a bar and other output have in common
        self._begun = ""

    def write(self, text: str) -> int:
        """Writes whole lines; the rest waits for the end of its line."""
        *lines, self._begun = (self._begun + text).split("\n")
        if lines:
            tqdm.tqdm.write("\n".join(lines), file=self._wrapped)
        return len(text)

    def without_end(self) -> str:
        """Takes what has not been written, for its line has no end yet."""
        rest, self._begun = self._begun, ""
        return rest

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)

    def end_bar(self) -> None:
        """Ends the bar, so that a last message follows it on a line of its own."""
        for bar in list(Bar._instances):
            bar.close()


def fitting(facts: Sequence[str], columns: int) -> str:
    """The first facts that fit so many columns together, each with two spaces before it."""
    text = ""
    for fact in facts:
        if len(text) + 2 + len(fact) > columns:
            break
        text += "  " + fact
    return text
