"""Where the lines, bars and labels of a figure stand. page.html draws them as inline SVG. Pure.

Everything is in the figure's own units, of which it has WIDTH across; y grows downwards.
"""

import math
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

WIDTH, HEIGHT = 360.0, 200.0
_TOP, _BOTTOM, _RIGHT = 12.0, 36.0, 14.0  # margins; that on the left is as wide as the labels there
_DIGIT = 6.2  # the width of a digit
_MOST_POINTS = 240  # of a line; more are not to be told apart

Points = Sequence[Tuple[float, float]]  # x and y in the units of the data


class Label(NamedTuple):
    at: float
    text: str


class DrawnLine(NamedTuple):
    name: str
    path: str  # the points attribute of a polyline
    dots: List[Tuple[float, float]]  # the points themselves, if there are few


class Mark(NamedTuple):
    """A vertical line with a word beside it."""

    at: float
    text: str
    to_the_left: bool  # the word stands on the left of the line


class Bar(NamedTuple):
    x: float
    y: float
    width: float
    height: float
    series: int
    text: str  # what it stands for, in words


class Chart(NamedTuple):
    title: str
    x_name: str
    x_labels: List[Label]
    y_labels: List[Label]
    left: float
    right: float
    top: float
    bottom: float
    names: List[str]  # of the series, for the legend
    lines: List[DrawnLine]
    bars: List[Bar]
    marks: List[Mark]
    diagonal: Optional[str] = None
    height: float = HEIGHT
    width: float = WIDTH


class _Scale(NamedTuple):
    """Data → units of the figure, in one direction."""

    low: float
    high: float
    first: float
    last: float

    def at(self, value: float) -> float:
        return round(self.first + (value - self.low) / (self.high - self.low) * (self.last - self.first), 1)


def ticks(low: float, high: float, most: int = 5) -> List[float]:
    """Round numbers within low … high, at most `most` + 1 of them, 1, 2 or 5 times a power of ten apart."""
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float("{:.6g}".format(number * step)) for number in range(first, last + 1)]


def label_of(value: float) -> str:
    """A number as an axis has it: 0.25, 1,500, 5e-5."""
    if value and abs(value) < 1e-3:
        power = math.floor(math.log10(abs(value)) + 1e-9)
        return "{:.3g}e{}".format(value / 10.0**power, power)
    return "{:,.6g}".format(value) if abs(value) < 1e6 else "{:.3g}".format(value)


def thinned(points: Points) -> List[Tuple[float, float]]:
    """At most _MOST_POINTS points, each the mean of as many neighbours."""
    together = math.ceil(len(points) / _MOST_POINTS)
    if together < 2:
        return list(points)
    chunks = [points[start : start + together] for start in range(0, len(points), together)]
    return [(sum(x for x, _ in chunk) / len(chunk), sum(y for _, y in chunk) / len(chunk)) for chunk in chunks]


def curves(
    title: str,
    series: Mapping[str, Points],
    end: float,
    from_zero: bool = True,
    marks: Sequence[Tuple[float, str]] = (),
) -> Optional[Chart]:
    """Lines over steps 0 … end; None if there is nothing to draw. from_zero: whether the vertical axis begins at 0."""
    finite = {name: [(x, y) for x, y in points if math.isfinite(y)] for name, points in series.items()}
    finite = {name: thinned(points) for name, points in finite.items() if points}
    values = [y for points in finite.values() for _, y in points]
    if not values:
        return None
    low, high = _range(min(values), max(values), from_zero)
    y_ticks = ticks(low, high, 4)
    left = 10 + _DIGIT * max(len(label_of(tick)) for tick in y_ticks)
    across = _Scale(0.0, max(end, 1.0), left, WIDTH - _RIGHT)
    up = _Scale(low, high, HEIGHT - _BOTTOM, _TOP)
    lines = []
    for name, points in finite.items():
        places = [(across.at(x), up.at(y)) for x, y in points]
        path = " ".join("{:g},{:g}".format(*place) for place in places)
        lines.append(DrawnLine(name, path, places if len(places) <= 12 else []))
    half = (left + across.last) / 2
    drawn_marks = [Mark(across.at(x), text, across.at(x) > half) for x, text in marks]
    return Chart(
        title=title,
        x_name="step",
        x_labels=[Label(across.at(tick), label_of(tick)) for tick in ticks(0, across.high, 5)],
        y_labels=[Label(up.at(tick), label_of(tick)) for tick in y_ticks],
        left=left,
        right=across.last,
        top=_TOP,
        bottom=up.first,
        names=list(finite),
        lines=lines,
        bars=[],
        marks=drawn_marks,
    )


def _range(low: float, high: float, from_zero: bool) -> Tuple[float, float]:
    """The ends of the vertical axis for values between low and high."""
    if from_zero and low >= 0:
        return 0.0, high * 1.05 or 1.0
    room = (high - low or abs(high) or 1.0) * 0.1
    return low - room, high + room


def reliability(title: str, bins: Sequence[Tuple[float, float, int, float, float]]) -> Chart:
    """Bars of the share that is correct over confidence, with the diagonal on which both are equal.

    bins: (low, high, how many, their mean confidence, the share of them that is correct).
    """
    left = 10 + 3 * _DIGIT
    across = _Scale(0.0, 1.0, left, WIDTH - _RIGHT)
    up = _Scale(0.0, 1.0, HEIGHT - _BOTTOM, _TOP)
    bars, points = [], []
    for low, high, count, confidence, share in bins:
        if count:
            text = "{:,} of confidence {:.2f} on average: {:.2f} correct".format(count, confidence, share)
            start, width = across.at(low) + 1, across.at(high) - across.at(low) - 2
            bars.append(Bar(start, up.at(share), width, round(up.first - up.at(share), 1), 0, text))
            points.append((across.at(confidence), up.at(share)))
    return Chart(
        title=title,
        x_name="confidence",
        x_labels=[Label(across.at(tick), label_of(tick)) for tick in ticks(0, 1, 5)],
        y_labels=[Label(up.at(tick), label_of(tick)) for tick in ticks(0, 1, 5)],
        left=left,
        right=across.last,
        top=_TOP,
        bottom=up.first,
        names=[],
        lines=[DrawnLine("mean confidence", "", points)],
        bars=bars,
        marks=[],
        diagonal="{:g},{:g} {:g},{:g}".format(across.first, up.first, across.last, up.last),
    )


def histogram(
    title: str, x_name: str, series: Dict[str, Sequence[Tuple[int, int]]], limit: Optional[int]
) -> Optional[Chart]:
    """Bars of the share of each series in buckets that double in width: (up to this many, how many).

    limit: where a vertical line stands.
    """
    series = {name: buckets for name, buckets in series.items() if sum(count for _, count in buckets)}
    if not series:
        return None
    edges = sorted({edge for buckets in series.values() for edge, _ in buckets})
    shares = {
        name: {edge: count / sum(count for _, count in buckets) for edge, count in buckets}
        for name, buckets in series.items()
    }
    room = 1.05 if limit is None else 1.25  # above the bars, for the word at the limit
    top = max(share for of_series in shares.values() for share in of_series.values()) * room
    left = 10 + 5 * _DIGIT
    across, up = _Scale(0.0, len(edges), left, WIDTH - _RIGHT), _Scale(0.0, top, HEIGHT - _BOTTOM, _TOP)
    width = (across.last - left) / len(edges) * 0.8 / len(shares)
    bars, lows = [], [1] + [edge + 1 for edge in edges[:-1]]
    for number, (name, of_series) in enumerate(shares.items()):
        for place, (low, edge) in enumerate(zip(lows, edges)):
            share = of_series.get(edge, 0.0)
            text = "{}: {:.1%} of {} to {} {}".format(name, share, low, edge, x_name)
            start = round(across.at(place + 0.1) + number * width, 1)
            bars.append(Bar(start, up.at(share), round(width, 1), round(up.first - up.at(share), 1), number, text))
    marks = []
    if limit is not None and limit <= edges[-1]:
        place = next(number for number, edge in enumerate(edges) if limit <= edge)
        at = across.at(place + (limit - lows[place] + 1) / (edges[place] - lows[place] + 1))
        marks.append(Mark(at, "at most {:,}".format(limit), at > (left + across.last) / 2))
    return Chart(
        title=title,
        x_name=x_name,
        x_labels=[Label(across.at(place + 0.5), "≤ {:,}".format(edge)) for place, edge in enumerate(edges)],
        y_labels=[Label(up.at(tick), "{:g} %".format(100 * tick)) for tick in ticks(0, top, 4)],
        left=left,
        right=across.last,
        top=_TOP,
        bottom=up.first,
        names=list(shares),
        lines=[],
        bars=bars,
        marks=marks,
    )
