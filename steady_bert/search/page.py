"""search.html: table, figure and command of a search, as a page that needs nothing from elsewhere. Pure."""

import os
from typing import Optional

from ..base import files, html_pages
from . import figure, results
from .results import Found

_TEMPLATE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "page.html")


def write(path: str, search: Found, command: Optional[str], note: str) -> None:
    """Writes the page atomically. command: that which trains the best setting; note: what the search was."""
    files.write_bytes(path, html(search, command, note).encode("utf-8"))


def html(search: Found, command: Optional[str], note: str) -> str:
    """The page. Everything that comes from the search is escaped."""
    values = dict(search=search, command=command, note=note, figure=figure.figure(search), results=results)
    return html_pages.rendered(_TEMPLATE, **values)
