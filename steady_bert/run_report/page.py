"""report.html and errors.tsv in a run's folder. The page needs nothing else: no script, font or picture. Pure."""

import os
from typing import List, Sequence

from ..base import files, html_pages
from ..base.errors import UserError
from ..training import reports
from ..training.reports import say
from . import charts, contents
from .contents import Contents

PAGE_FILE, ERRORS_FILE = "report.html", "errors.tsv"
_TEMPLATE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "page.html")
_MOST_CHARACTERS = 700  # of a text that the page shows; errors.tsv has all of it


def write(folder: str) -> List[str]:
    """Writes the page of the run in the folder, and its errors for each dev split. Returns the paths.

    Raises UserError for a folder that holds no run, has a damaged file, or cannot be written to.
    """
    of_run = contents.contents_of(folder)
    if not os.access(folder, os.W_OK):
        raise UserError("{}: cannot be written to. Make the report of a copy of the folder.".format(folder))
    paths = [os.path.join(folder, PAGE_FILE)]
    files.write_bytes(paths[0], html(of_run).encode("utf-8"))
    base, ending = os.path.splitext(ERRORS_FILE)
    for split in of_run.splits:
        path = os.path.join(folder, base + split.name[len("dev") :] + ending)
        if split.error_rows:
            paths.append(path)
            header, *rows = split.error_rows
            reports.write_table(path, header, [[_cell(cell) for cell in row] for row in rows])
        elif os.path.exists(path):
            os.remove(path)  # of an earlier evaluation
    return paths


def write_after_run(folder: str) -> None:
    """Writes the page at the end of a command. Whatever prevents it is said, and does not fail the run."""
    try:
        paths = write(folder)
    except Exception as error:  # the run is done and saved; its report can be made again
        problem = str(error) if isinstance(error, (UserError, OSError)) else repr(error)
        say("WARNING: no {} was written: {}".format(PAGE_FILE, problem))
        return
    say("Wrote " + " and ".join(paths))


def html(of_run: Contents) -> str:
    """The page. Everything that comes from the run is escaped."""
    return html_pages.rendered(_TEMPLATE, run=of_run, charts=charts, shortened=shortened, joiner=joiner)


def shortened(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else text[: _MOST_CHARACTERS - 1] + "…"


def joiner(words: Sequence[str]) -> str:
    """What stands between the words of a sentence: nothing between characters that are words of their own."""
    return "" if all(len(word) == 1 and ord(word) > 0x2E7F for word in words) else " "


def _cell(text: str) -> str:
    """A text on one line and without tabs, as a table has it."""
    return " ".join(text.split())
