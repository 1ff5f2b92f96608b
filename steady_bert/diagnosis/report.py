"""A diagnosis for people, and as JSON for programs. Pure: no TensorFlow."""

import textwrap
from typing import Any, Dict, List, Sequence

from .facts import EMPTY, ORIGINAL, OURS, Facts
from .findings import Finding
from .remedies import TITLES, Remedy

_WIDTH = 110  # of a line that holds no command


def as_text(facts: Facts, found: Sequence[Finding], commands: Sequence[Remedy]) -> str:
    lines = ["{}: {}".format(facts.folder, _kind(facts))]
    about = max([len(finding.about) for finding in found], default=0)
    for finding in found:
        head = "  {:<5}  {:<{width}}  ".format(finding.level, finding.about, width=about)
        lines += textwrap.wrap(
            finding.text,
            max(_WIDTH, len(head) + 40),
            initial_indent=head,
            subsequent_indent=" " * len(head),
            break_long_words=False,
            break_on_hyphens=False,
        )
    for remedy in commands:
        lines += ["", TITLES[remedy.purpose] + ":", "  " + remedy.command]
    missing = sorted({name for remedy in commands for name in remedy.missing})
    if missing:
        text = "{}: only you know. Put the value there, or give the flag to doctor.py too."
        lines += ["", text.format(", ".join(missing))]
    allowed = {name for remedy in commands for name in (remedy.flags.get("allow_changed_files") or "").split(",")}
    needed = [name for name in facts.changed if name not in allowed]
    if commands and needed:
        lines += ["", "The commands work once {} is restored from a copy.".format(" and ".join(needed))]
    if not commands:
        lines += ["", "There is nothing to go on with."]
    return "\n".join(lines)


def _kind(facts: Facts) -> str:
    script = " of {}.py".format(facts.script) if facts.script else ""
    if facts.writer == OURS:
        return "a run{}".format(script)
    if facts.writer == ORIGINAL:
        return "a run of google-research/bert, or of a program that was made from it"
    return "an exported model" if facts.is_saved_model and facts.writer == EMPTY else facts.writer


def as_json(facts: Facts, found: Sequence[Finding], commands: Sequence[Remedy]) -> Dict[str, Any]:
    step = facts.checkpoint.step if facts.checkpoint else None
    remedies: List[Dict[str, Any]] = [
        {
            "purpose": remedy.purpose,
            "script": remedy.script,
            "arguments": remedy.arguments,
            "missing": list(remedy.missing),
        }
        for remedy in commands
    ]
    return {
        "folder": facts.folder,
        "writer": facts.writer,
        "script": facts.script,
        "checkpoint": facts.checkpoint.prefix if facts.checkpoint else None,
        "step": step,
        "rate": facts.rate._asdict() if facts.rate else None,
        "findings": [finding._asdict() for finding in found],
        "commands": remedies,
    }
