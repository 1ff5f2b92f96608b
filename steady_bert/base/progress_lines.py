"""How far a long piece of work is, a line every few seconds."""

import time

_REPORT_SECS = 10.0


class ProgressLines:
    """what: the work, as "Tokenizing". total: how much there is; unit: of it."""

    def __init__(self, what: str, total: int, unit: str) -> None:
        self._what = what
        self._total = max(total, 1)
        self._unit = unit
        self._skipped = 0
        self._start = self._reported = time.monotonic()

    def skip(self, done: int) -> None:
        """Counts what an earlier command has done, which says nothing of the speed of this one."""
        self._skipped = min(done, self._total)
        self._start = self._reported = time.monotonic()

    def update(self, done: int) -> None:
        """Prints a line if the last one is _REPORT_SECS old.

        done may be more than the total, which is that of gzipped files where a total of bytes is known beforehand.
        """
        now = time.monotonic()
        done = min(done, self._total)
        if now - self._reported < _REPORT_SECS or done <= self._skipped:
            return
        self._reported = now
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
