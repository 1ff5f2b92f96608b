"""What scripts/doctor.py does: its arguments, and the diagnosis of one folder."""

import argparse
import difflib
import json
from typing import Dict, List, Optional, Sequence

from ..base.errors import UserError
from ..command_line.flag_table import flags_of
from ..training import run_files
from . import findings, folder, remedies, report


def main(description: str, arguments: Optional[Sequence[str]] = None) -> None:
    parser = argparse.ArgumentParser(
        "doctor.py",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("folder", help="the --output_dir of a training, or a published model's folder")
    parser.add_argument(
        "--pretrained", metavar="CHECKPOINT", help="what training began with; by default, what flags.txt says"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    values, further = parser.parse_known_args(arguments)
    print(diagnosis(values.folder, values.pretrained, given_flags(further), values.json))


def diagnosis(path: str, pretrained: Optional[str], given: Dict[str, str], json_wanted: bool) -> str:
    facts = folder.read(path, pretrained, given)
    found = findings.findings(facts)
    commands = remedies.remedies(facts, found, given)
    if json_wanted:
        return json.dumps(report.as_json(facts, found, commands), indent=2, ensure_ascii=False)
    return report.as_text(facts, found, commands)


def given_flags(arguments: Sequence[str]) -> Dict[str, str]:
    """Flag → value of further arguments, as --name=value or --name. Raises UserError for one that no script has."""
    known = {flag.name for script in folder.SCRIPTS for flag in flags_of(script)}
    given = run_files.flags_among(arguments)
    wrong: List[str] = [argument for argument in arguments if not argument.startswith("--")]
    wrong += ["--" + name for name in given if name not in known]
    for argument in wrong:
        near = difflib.get_close_matches(argument.lstrip("-"), sorted(known), n=1)
        hint = " Did you mean --{}?".format(near[0]) if near else " Write each as --name=value."
        raise UserError("{}: neither an argument of doctor.py nor a flag of the scripts.{}".format(argument, hint))
    return given
