"""What a page of the documentation holds: commands, flags, links, names of files. And which commands cannot be run."""

import os
import re
import shlex
from typing import Dict, Iterator, List, NamedTuple, Tuple

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# In the order in which they are run: later pages use the runs of earlier ones.
FIRST = ["docs/guide.md", "docs/questions.md"]
_FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.S | re.M)
# How a command begins; what begins otherwise is either no command or a new one.
COMMANDS = re.compile(r"(python3?|scripts|benchmarks|echo|cut|curl|pip|docker|iptables|export|[A-Z_]+=)")
# How the blocks begin that are no commands: a transcript, printed lines, code in Python and a row of a table.
NO_COMMANDS = (
    "=== Result:",
    'Flag("',
    "error: worker 1 ",
    "quickstart/run: a run of",
    "class ReviewProcessor",
    "movement: ",
)
# How the commands begin that are only read here, with the reason; a test that runs such a command is named.
NOT_RUN: Dict[str, str] = {
    "scripts/quickstart.sh": "downloads, and 5 minutes; .ci/run runs it",
    "scripts/run_glue.sh": "minutes a task; tests/glue_test.py",
    "scripts/run_ner.sh": "minutes a task; tests/run_ner_script_test.py",
    "scripts/run_clue.sh": "minutes a task; tests/clue_test.py",
    "scripts/adapt_to_domain.sh": "a pre-training and 6 fine-tunings, as tests/adapt_to_domain_test.py",
    "scripts/test.sh": "minutes; .ci/run runs it",
    "python3.11 -m venv": "downloads",
    "pip install": "downloads",
    "docker run": "needs docker",
    "iptables ": "needs root",
    "export TF_CONFIG=": "several machines",
    "python run_classifier.py --distribution=multi_worker": "several machines",
    "scripts/train_distributed.sh gpus": "several GPUs",
    "scripts/train_distributed.sh worker": "several machines",
    "scripts/train_distributed.sh tpu": "a TPU",
    "scripts/launch_local_cluster.sh": "two processes beside pytest; tests/multi_worker_test.py",
    "python run_classifier.py …": "has no arguments of its own: those of any other command",
    "python run_classifier.py --use_tpu": "a TPU, and TensorFlow 2.15",
    "PRETRAINING=": "a pre-training and 6 fine-tunings, as tests/adapt_to_domain_test.py",
    "python scripts/search.py": "many runs; tests/search_test.py",
    "benchmarks/training_speed.sh": "an hour",
}
# What CONTRIBUTING adds to the project as an example.
EXAMPLES = ("--max_predict_examples", "steady_bert/tasks/classification/sick.py")


class Command(NamedTuple):
    page: str
    line: int
    text: str  # as the page has it, continuation lines joined

    @property
    def place(self) -> str:
        return "{}:{}: {}".format(self.page, self.line, self.text)

    def stages(self) -> List[List[str]]:
        """The words of each part of a pipeline, without comments and placeholders."""
        stages: List[List[str]] = [[]]
        for word in shlex.split(self.text, comments=True):
            if word == "|":
                stages.append([])
            elif word != "…":
                stages[-1].append(word)
        return stages

    def reason(self) -> str:
        """Why it is not run; "" if it is."""
        return next((reason for begin, reason in NOT_RUN.items() if self.text.startswith(begin)), "")


def pages() -> List[str]:
    others = ["README.md", "CONTRIBUTING.md"]
    others += sorted("docs/" + name for name in os.listdir(os.path.join(ROOT, "docs")) if name.endswith(".md"))
    return FIRST + [page for page in others if page not in FIRST]


def read(page: str) -> str:
    with open(os.path.join(ROOT, page), encoding="utf-8") as file:
        return file.read()


def blocks(page: str, language: str = "") -> Iterator[Tuple[int, str]]:
    """(number of the line, content) of each block of a language; "" for those without one."""
    text = read(page)
    for match in _FENCE.finditer(text):
        if match.group(1) == language:
            yield text.count("\n", 0, match.start()) + 2, match.group(2)


def commands(page: str) -> List[Command]:
    """All commands in blocks without a language. A block that is no command must begin as one of NO_COMMANDS."""
    found = []
    for line, block in blocks(page):
        if block.lstrip().startswith(NO_COMMANDS) or block.startswith("$ "):
            continue
        number = line
        for text in re.split(r"(?<!\\)\n", block.rstrip("\n")):
            if text.strip() and not text.startswith("#"):
                found.append(Command(page, number, re.sub(r"\\\n *", "", text).strip()))
            number += text.count("\n") + 1
    return found


def transcripts(page: str) -> List[Tuple[str, List[str]]]:
    """(command, the lines that it prints) of the blocks that show both."""
    found = []
    for _, block in blocks(page):
        if block.startswith("$ "):
            first, *printed = block.rstrip("\n").split("\n")
            found.append((first[2:], printed))
    return found


def outputs(page: str) -> List[List[str]]:
    """The lines of each block that shows what a command prints."""
    found = [block.rstrip("\n").split("\n") for _, block in blocks(page)]
    return [lines for lines in found if lines[0].startswith(NO_COMMANDS)]


def inline_code(page: str) -> List[Tuple[int, str]]:
    """(number of the line, text) of what stands between single backticks."""
    text = _FENCE.sub(lambda match: "\n" * match.group(0).count("\n"), read(page))
    return [
        (text.count("\n", 0, match.start()) + 1, match.group(1).replace("\\|", "|"))
        for match in re.finditer(r"`([^`]+)`", text)
    ]


def links(page: str) -> List[Tuple[int, str]]:
    text = _FENCE.sub(lambda match: "\n" * match.group(0).count("\n"), read(page))
    return [(text.count("\n", 0, match.start()) + 1, match.group(1)) for match in re.finditer(r"\]\(([^)]+)\)", text)]


def anchors(page: str) -> List[str]:
    """What a link to a heading of the page ends with, as GitHub makes it."""
    text = _FENCE.sub("", read(page))
    titles = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title) for title in re.findall(r"^#+ (.*)$", text, re.M)]
    return [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]
