"""search.html: table, figure and command of a search, as a page that needs nothing from elsewhere. Pure."""

import os
from typing import Optional

from ..base import files, html_pages
from . import figure, results
from .again import Again
from .results import Found

# The end of a trial whose line is dashed → what its place on the axis of scores means.
_DASHED = {
    results.PRUNED: "was pruned (drawn at its best score until then)",
    results.FAILED: "has runs that failed (drawn at the mean of the others)",
    results.UNFINISHED: "is not finished (drawn at the mean of the runs that are)",
}
_TEMPLATE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "page.html")


def write(path: str, search: Found, again: Optional[Again], note: str) -> None:
    """Writes the page atomically. again: the command that trains the best setting; note: what the search was."""
    files.write_bytes(path, html(search, again, note).encode("utf-8"))


def html(search: Found, again: Optional[Again], note: str) -> str:
    """The page. Everything that comes from the search is escaped."""
    drawn = figure.figure(search)
    ends = {line.end for line in drawn.lines} if drawn else set()
    dashed = ", or ".join(text for end, text in _DASHED.items() if end in ends)
    values = dict(search=search, again=again, note=note, figure=drawn, results=results, ends=ends, dashed=dashed)
    return html_pages.rendered(_TEMPLATE, **values)
