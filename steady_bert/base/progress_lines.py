"""How far a long piece of work is: a bar on a terminal, else a line after ten seconds and then one a minute."""

import time
from typing import Optional

from . import progress_bar

_FIRST_SECS, _REPORT_SECS = 10.0, 60.0
_BAR_SECS = 1.0  # work that takes less draws no bar


class ProgressLines:
    """what: the work, as "Tokenizing". total: how much there is; unit: of it."""

    def __init__(self, what: str, total: int, unit: str) -> None:
        self._what = what
        self._total = max(total, 1)
        self._unit = unit
        self._skipped = 0
        self._start = time.monotonic()
        self._due = self._start + _FIRST_SECS
        self._has_begun = False  # whether the last line is to come
        self._bar: Optional[progress_bar.Bar] = None
        if progress_bar.fits():
            self._bar = progress_bar.Bar(self._total, what=what, delay_secs=_BAR_SECS)
            self._bar.facts = [unit]

    def skip(self, done: int) -> None:
        """Counts what an earlier command has done, which says nothing of the speed of this one."""
        self._skipped = min(done, self._total)
        self._start = time.monotonic()
        self._due = self._start + _FIRST_SECS
        if self._bar is not None:
            self._bar.skip(done)

    def update(self, done: int) -> None:
        """Moves the bar on, or prints a line if one is due; the last one follows if there was one before.

        done may be more than the total, which is that of gzipped files where a total of bytes is known beforehand.
        """
        now = time.monotonic()
        done = min(done, self._total)
        if self._bar is not None:
            self._bar.go_to(done)
            if done == self._total:
                self._bar.close()
            return
        is_last = self._has_begun and done == self._total
        if now < self._due and not is_last or done <= self._skipped:
            return
        self._due = now + _REPORT_SECS if done < self._total else float("inf")
        self._has_begun = not is_last
        left = (now - self._start) * (self._total - done) / (done - self._skipped)
        print(
            "{}: {:,} of {:,} {} ({:.0%}), {} left".format(
                self._what, done, self._total, self._unit, done / self._total, duration(left)
            ),
            flush=True,
        )


def duration(secs: float) -> str:
    """48 s, 12 min or 3.4 h."""
    if secs < 90:
        return "{:.0f} s".format(secs)
    return "{:.0f} min".format(secs / 60) if secs < 5400 else "{:.1f} h".format(secs / 3600)
