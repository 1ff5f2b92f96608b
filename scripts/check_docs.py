"""Runs the commands of README, CONTRIBUTING and docs as they stand, on tiny twins of the data and models they name.

    python scripts/check_docs.py [PAGE …]        without pages: all, about 2 minutes on 2 cores

Prints a line for each command: ok, not run and why, or what is wrong. Training is cut to 3 updates. What a page says
of a command's files and printed lines is compared. The exit code is 1 if something is wrong. It needs the test
environment.
"""

import os
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from documented import pages, running

from steady_bert.base import tensorflow_setup


def main() -> int:
    chosen = sys.argv[1:] or pages.pages()
    unknown = [page for page in chosen if page not in pages.pages()]
    if unknown:
        print("check_docs: error: no page {}. There are: {}.".format(", ".join(unknown), ", ".join(pages.pages())))
        return 2
    tensorflow_setup.import_tensorflow()
    with tempfile.TemporaryDirectory(prefix="check-docs-") as place:
        return running.check(chosen, os.path.realpath(place))


if __name__ == "__main__":
    sys.exit(main())
