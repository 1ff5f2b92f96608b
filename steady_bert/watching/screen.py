"""Loss and dev score of runs over steps, drawn with characters by plotext, below where each run stands. Pure."""

import textwrap
from typing import Any, List, Sequence, Tuple

from ..base.errors import UserError
from ..run_report import charts
from .standing import Points, Standing

_LEAST_ROWS = 6  # of a figure: below that, its axes leave no room
_MARKERS = ("braille", "x", "o", "+", "*", "#", "@", "%")
_ASCII = {ord(line): mark for line, mark in zip("│─┤├┬┴┼└┘┌┐…", "|-||+++++++~")}


def draw(runs: Sequence[Standing], columns: int, rows: int, ascii_only: bool = False) -> str:
    """A screen of at most so many columns and rows. ascii_only: for a terminal that has no other characters."""
    head = [line for run in runs for line in _described(run, columns)][: max(rows - 1, 1)]
    figures = [figure for figure in _figures(runs) if any(points for _, points in figure[1])]
    size = (rows - 1 - len(head)) // max(len(figures), 1)  # the last row is the cursor's
    if size < _LEAST_ROWS:
        figures, size = figures[:1], rows - 1 - len(head)
    lines = list(head)
    if size >= _LEAST_ROWS:
        end = max(run.num_train_steps for run in runs)
        for title, series in figures:
            lines += _figure(title, series, end, columns, size, ascii_only)
    text = "\n".join(line.rstrip() for line in lines)
    return text.translate(_ASCII) if ascii_only else text


def _described(run: Standing, columns: int) -> List[str]:
    """Where the run stands, in as many lines as it takes."""
    return textwrap.wrap(
        "{}: {}".format(run.name, ", ".join(run.lines)),
        max(columns, 20),
        subsequent_indent="  ",
        break_on_hyphens=False,
    )


def _figures(runs: Sequence[Standing]) -> List[Tuple[str, List[Tuple[str, Points]]]]:
    """(title, (name, points) of each line) of loss and score. One run has its dev loss beside its training loss."""
    metrics = list(dict.fromkeys(run.metric for run in runs if run.metric))
    if len(runs) == 1:
        losses = [("training", runs[0].loss), ("dev", runs[0].dev_loss)]
    else:
        losses = [(run.name, run.loss) for run in runs]
    return [("loss", losses), (" or ".join(metrics) + " on dev", [(run.name, run.score) for run in runs])]


def _figure(
    title: str, series: Sequence[Tuple[str, Points]], end: int, columns: int, rows: int, ascii_only: bool
) -> List[str]:
    plot = _plotext()
    plot.clear_figure()
    plot.theme("clear")
    plot.plotsize(columns, rows)
    plot.title(title)
    plot.xlim(0, end)
    markers = _MARKERS[1:] if ascii_only else _MARKERS
    for number, (name, points) in enumerate(series):
        if points:
            marker = markers[number % len(markers)]
            steps, values = zip(*charts.thinned(points))
            plot.plot(steps, values, marker=marker, label=name if len(series) > 1 else None)
    lines: List[str] = plot.uncolorize(plot.build()).rstrip("\n").split("\n")
    return lines


def _plotext() -> Any:
    try:
        import plotext
    except ImportError:
        plotext = None
    if not hasattr(plotext, "theme"):  # absent, or of version 6, which has another interface
        raise UserError("Figures are drawn by the package plotext. Install it: pip install 'plotext>=5.3,<6'")
    return plotext
