"""README, CONTRIBUTING and docs: their commands, flags, links and names of files are those of this project.

scripts/check_docs.py runs the commands on tiny twins of data and models.
"""

import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT

sys.path.append(os.path.join(ROOT, "scripts"))

from documented import flag_check, pages

PAGES = pages.pages()
COMMANDS = {page: pages.commands(page) for page in PAGES}


PROGRAM = re.compile(r"(?:python )?(?:scripts/\S+|benchmarks/\S+|\w+\.py) ")


def commands_in_text(page):
    return [pages.Command(page, line, code) for line, code in pages.inline_code(page) if PROGRAM.match(code)]


def test_the_flags_of_every_command_are_those_of_its_program():
    problems = [
        "{}: {}".format(command.place, problem)
        for page in PAGES
        for command in [*COMMANDS[page], *commands_in_text(page)]
        for problem in map(flag_check.problem, command.stages())
        if problem and (command in COMMANDS[page] or "arguments are required" not in problem)  # the text has parts
    ]
    assert problems == [] and sum(map(len, COMMANDS.values())) >= 45


@pytest.mark.parametrize("page", PAGES)
def test_every_option_in_the_text_of_a_page_is_one_of_a_script(page):
    problems = []
    for line, code in pages.inline_code(page):
        if PROGRAM.match(code) or re.match("(python3?|pip|docker) ", code):
            continue
        for option in re.findall(r"(?:^|(?<=[\s\[]))(--\w[\w-]*(?:=\S*)?)", code):
            problem = flag_check.problem_of_option(option)
            if problem and not option.startswith(pages.EXAMPLES):
                problems.append("{}:{}: {}: {}".format(page, line, option, problem))
    assert problems == []


@pytest.mark.parametrize("page", PAGES)
def test_links_and_names_of_files_lead_somewhere(page):
    problems = []
    for line, link in pages.links(page):
        if not re.match("https?:", link):
            path, _, anchor = link.partition("#")
            target = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
            known = os.path.exists(os.path.join(ROOT, target))
            if not known or anchor and anchor not in pages.anchors(target):
                problems.append("{}:{}: {}".format(page, line, link))
    for line, code in pages.inline_code(page):
        for path in re.findall(r"^(?:scripts|tests|benchmarks|docs|steady_bert)/[\w/.]*\w", code):
            if not os.path.exists(os.path.join(ROOT, path)) and path not in pages.EXAMPLES:
                problems.append("{}:{}: {}".format(page, line, path))
    assert problems == []


def test_what_is_no_command_is_known():
    others = [command.place for page in PAGES for command in COMMANDS[page] if not pages.COMMANDS.match(command.text)]
    assert others == []  # printed lines belong to pages.NO_COMMANDS, another program to pages.COMMANDS


def test_a_command_is_run_or_left_out_for_a_reason_that_holds():
    left_out = {command.text for page in PAGES for command in COMMANDS[page] if command.reason()}
    assert [begin for begin in pages.NOT_RUN if not any(text.startswith(begin) for text in left_out)] == []
    first = [block.lstrip() for page in PAGES for _, block in pages.blocks(page)]
    assert [begin for begin in pages.NO_COMMANDS if not any(text.startswith(begin) for text in first)] == []
    for reason in pages.NOT_RUN.values():
        assert all(os.path.exists(os.path.join(ROOT, path)) for path in re.findall(r"tests/\w+\.py", reason))


@pytest.mark.slow
def test_every_command_does_what_its_page_says():
    script = os.path.join(ROOT, "scripts", "check_docs.py")
    done = subprocess.run([sys.executable, script], stdout=subprocess.PIPE, universal_newlines=True, timeout=560)
    assert done.returncode == 0, done.stdout
    summary = re.search(r"commands: (\d+) ok, \d+ not run; 0 wrong", done.stdout)
    assert summary is not None and int(summary.group(1)) >= 34, done.stdout
