"""How far a long piece of work is: a bar on a terminal, else a line after ten seconds and then one a minute."""

import sys
import time
from typing import Optional

import tqdm

from . import progress_bar

_FIRST_SECS, _REPORT_SECS = 10.0, 60.0
_BAR_SECS = 1.0  # work that takes less draws no bar


class ProgressLines:
    """what: the work, as "Tokenizing". total: how much there is, None if that is not known; unit: of it."""

    def __init__(self, what: str, total: Optional[int], unit: str) -> None:
        self._what = what
        self._total = None if total is None else max(total, 1)
        self._is_estimate = total is None
        self._unit = unit
        self._skipped = 0
        self._start = time.monotonic()
        self._due = self._start + _FIRST_SECS
        self._has_begun = False  # whether the last line is to come
        self._bar: Optional[progress_bar.Bar] = None
        if progress_bar.fits():
            self._bar = progress_bar.Bar(self._total, what=what, delay_secs=_BAR_SECS)

    def skip(self, done: int) -> None:
        """Counts what an earlier command has done, which says nothing of the speed of this one."""
        self._skipped = done if self._total is None else min(done, self._total)
        self._start = time.monotonic()
        self._due = self._start + _FIRST_SECS
        if self._bar is not None:
            self._bar.skip(done)

    def update(self, done: int, proportion: Optional[float] = None) -> None:
        """Moves the bar on, or prints a line if one is due; the last one follows if there was one before.

        done may be more than the total, which is that of gzipped files where a total of bytes is known beforehand.
        proportion: of the work that is done, if the total is not known.
        """
        if self._is_estimate:
            self._total = _estimated(done, proportion) or (self._total and max(self._total, done))
        self._show(done)

    def finish(self, done: int) -> None:
        """Says that this was all."""
        self._total, self._is_estimate = max(done, 1), False
        self._show(done)

    def close(self) -> None:
        """Ends the bar, however far it is."""
        if self._bar is not None:
            self._bar.close()

    def _show(self, done: int) -> None:
        now, total = time.monotonic(), self._total
        done = done if total is None else min(done, total)
        is_whole = done == total and not self._is_estimate
        if self._bar is not None:
            self._bar.total, self._bar.is_estimate = total, self._is_estimate
            self._bar.facts = ["{} {}/s".format(self._rate(done, now), self._unit.split()[0])]
            self._bar.go_to(done)
            if is_whole:
                self._bar.close()
            return
        is_last = self._has_begun and is_whole
        if now < self._due and not is_last or done <= self._skipped:
            return
        self._due = float("inf") if is_whole else now + _REPORT_SECS
        self._has_begun = not is_last
        rate = self._rate(done, now)
        text = "{}: {:,} {}, {} a second".format(self._what, done, self._unit, rate)
        if total is not None:
            left = (now - self._start) * (total - done) / (done - self._skipped)
            of = "of about" if self._is_estimate else "of"
            text = "{}: {:,} {} {:,} {} ({:.0%}), {} a second, {} left".format(
                self._what, done, of, total, self._unit, done / total, rate, duration(left)
            )
        tqdm.tqdm.write(text, file=sys.stdout)  # above a bar, if there is one
        sys.stdout.flush()

    def _rate(self, done: int, now: float) -> str:
        rate = (done - self._skipped) / max(now - self._start, 1e-9)
        return "{:,.{}f}".format(rate, 0 if rate >= 10 else 1)


def _estimated(done: int, proportion: Optional[float]) -> Optional[int]:
    """How much there is in all, in three digits; None if the proportion does not say."""
    if proportion is None or not 0 < proportion < 1:
        return None
    return max(done, int(float("{:.3g}".format(done / proportion))))


def duration(secs: float) -> str:
    """48 s, 12 min or 3.4 h."""
    if secs < 90:
        return "{:.0f} s".format(secs)
    return "{:.0f} min".format(secs / 60) if secs < 5400 else "{:.1f} h".format(secs / 3600)
