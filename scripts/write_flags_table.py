"""Writes docs/flags.md: every flag by group."""

import os
import sys
from typing import Dict, List

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

import flags
from steady_bert.base import files


def flags_table() -> str:
    lines = ["# Flags", "", "Made by `scripts/write_flags_table.py` from `steady_bert/command_line/`."]
    scripts: Dict[str, List[str]] = {}
    groups = {}
    for script in flags.GROUPS:
        for title, group in flags.GROUPS[script].items():
            scripts.setdefault(title, []).append(script + ".py")
            groups[title] = group
    for title, group in groups.items():
        suffix = "" if len(scripts[title]) > 1 else " (" + scripts[title][0] + ")"
        lines += ["", "## " + title + suffix, "", "| flag | values | default | meaning |", "|---|---|---|---|"]
        for flag in group:
            values = ", ".join(flag.kind) if isinstance(flag.kind, tuple) else flag.kind
            default = "" if flag.default in (None, "") else str(flag.default)
            default = default.lower() if isinstance(flag.default, bool) else default
            lines.append("| {} | {} | {} | {} |".format(flag.name, values, default, flag.meaning.replace("|", "\\|")))
    return "\n".join(lines) + "\n"


def main() -> None:
    with files.atomic_write(os.path.join(ROOT, "docs", "flags.md")) as file:
        file.write(flags_table())


if __name__ == "__main__":
    main()
