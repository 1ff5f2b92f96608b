"""Comparisons as one HTML page that needs nothing else: no script, no font, no picture from elsewhere. Pure."""

import os
from typing import Dict, List, Sequence

from ..base import files, html_pages
from . import text
from .compare import Comparison

_TEMPLATE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "page.html")
_FIGURE = 100.0  # the width of the figure of intervals, in its own units


def write(path: str, comparisons: Sequence[Comparison]) -> None:
    """Writes the page atomically."""
    files.write_bytes(path, html(comparisons).encode("utf-8"))


def html(comparisons: Sequence[Comparison]) -> str:
    """The page. Everything that comes from runs is escaped."""
    return html_pages.rendered(_TEMPLATE, comparisons=comparisons, text=text, intervals=intervals)


def intervals(comparison: Comparison) -> List[Dict[str, float]]:
    """Where the figure draws each metric's interval, its difference, and zero, from 0 to _FIGURE."""
    reach = max(max(abs(each.pooled.low), abs(each.pooled.high)) for each in comparison.metrics) or 1.0

    def at(value: float) -> float:
        return round(_FIGURE / 2 * (1 + value / (1.1 * reach)), 2)

    return [
        {
            "low": at(each.pooled.low),
            "high": at(each.pooled.high),
            "middle": at(each.pooled.difference),
            "zero": at(0.0),
        }
        for each in comparison.metrics
    ]
