"""Writes docs/flags.md: every flag by group."""

import os
import sys
from typing import Dict, List

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

import flags
from steady_bert.base import files
from steady_bert.command_line.tool_flags import TOOLS
from steady_bert.command_line.training_flags import Flag


def flags_table() -> str:
    lines = ["# Flags", "", "Made by `scripts/write_flags_table.py` from `steady_bert/command_line/`."]
    scripts: Dict[str, List[str]] = {}
    groups: Dict[str, List[Flag]] = {}
    for script in flags.GROUPS:
        for title, group in flags.GROUPS[script].items():
            scripts.setdefault(title, []).append(script + ".py")
            groups.setdefault(title, group)
    for title, group in groups.items():
        suffix = "" if len(scripts[title]) > 1 else " (" + scripts[title][0] + ")"
        lines += section(title + suffix, group)
    shown = {(title, flag.name): flag.default for title, group in groups.items() for flag in group}
    for script in flags.GROUPS:
        own = [
            flag
            for title, group in flags.GROUPS[script].items()
            for flag in group
            if flag.default != shown[title, flag.name]
        ]
        if own:
            lines += section("Defaults of {}.py".format(script), own)
    for script, tool_groups in TOOLS.items():
        lines += section(script + ".py", [flag for group in tool_groups.values() for flag in group])
    return "\n".join(lines) + "\n"


def section(title: str, group: List[Flag]) -> List[str]:
    lines = ["", "## " + title, "", "| flag | values | default | meaning |", "|---|---|---|---|"]
    for flag in group:
        values = ", ".join(flag.choices)
        default = "" if flag.default in (None, "") else str(flag.default)
        default = default.lower() if isinstance(flag.default, bool) else default
        lines.append("| {} | {} | {} | {} |".format(flag.name, values, default, flag.meaning.replace("|", "\\|")))
    return lines


def main() -> None:
    with files.atomic_write(os.path.join(ROOT, "docs", "flags.md")) as file:
        file.write(flags_table())


if __name__ == "__main__":
    main()
