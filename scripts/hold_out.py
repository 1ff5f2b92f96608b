"""A text for pre-training → train.txt and dev.txt, which has every twentieth of its documents.

    python scripts/hold_out.py TEXT FOLDER

What a document is, run_pretraining.py says too: a line, or the lines between empty lines.
"""

import filecmp
import itertools
import os
import sys
from typing import Iterator

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from steady_bert.base import files, program_end, tensorflow_setup
from steady_bert.base.errors import UserError
from steady_bert.tasks.pretraining import corpus, examples
from steady_bert.tasks.pretraining.training_config import SENTENCE

EVERY = 20


def documents_of(path: str) -> Iterator[str]:
    """Each document of a text as lines, with an empty line at the end if a line is a sentence."""
    of_sentences = examples.form_of([path]) == SENTENCE
    held = ""
    for line in itertools.chain(corpus.lines_of(path), [""]):
        held += line + "\n" if line else ""
        if held and not (line and of_sentences):
            yield held + "\n" * of_sentences
            held = ""


def split(path: str, folder: str) -> None:
    """Writes both files. Raises UserError for a text with too few documents, or if the folder has another's."""
    names = ("dev.txt", "train.txt")
    with tensorflow_setup.temporary_folder(folder, ".hold_out-") as scratch:
        dev, train = (os.path.join(scratch, name) for name in names)
        count = 0
        with open(dev, "w", encoding="utf-8") as held_out, open(train, "w", encoding="utf-8") as rest:
            for count, document in enumerate(documents_of(path), 1):
                (rest if count % EVERY else held_out).write(document)
        if count < EVERY:
            text = "{}: {} documents: one of every {} is held out. Give at least so many."
            raise UserError(text.format(path, count, EVERY))
        for name in names:
            own = os.path.join(folder, name)
            if os.path.exists(own) and not filecmp.cmp(own, os.path.join(scratch, name), shallow=False):
                raise UserError("{}: is of another text than {}. Name another folder.".format(own, path))
        for name in names:
            files.rename_synced(os.path.join(scratch, name), os.path.join(folder, name))


if __name__ == "__main__":
    program_end.run("hold_out", lambda: split(*sys.argv[1:]))
