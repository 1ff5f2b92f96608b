"""Draws learning rate schedules, one or several in a figure.

    python scripts/plot_schedule.py FIGURE.png SCHEDULE[:NAME=VALUE,…] …  [--steps=1000] [--learning_rate=5e-5]

SCHEDULE is a value of --lr_schedule, NAME a number of the schedule as run_classifier.py has it (num_warmup_steps,
lr_decay_steps, end_learning_rate, decay_power, decay_begin, decay_cycle; lr_boundaries and lr_values with + between):

    python scripts/plot_schedule.py figure.png polynomial cosine:num_warmup_steps=100,decay_begin=warmup_end
"""

import argparse
import dataclasses
import os
import sys
from typing import Any, Dict

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import numpy as np

from steady_bert import schedules
from steady_bert.base.errors import UserError
from steady_bert.training import reports


def parse(text: str, learning_rate: float, steps: int) -> schedules.ScheduleConfig:
    """Raises UserError for a schedule or a number that is not known."""
    name, _, numbers = text.partition(":")
    if name not in schedules.SCHEDULES:
        raise UserError("{!r} is not one of {}.".format(name, ", ".join(sorted(schedules.SCHEDULES))))
    kinds = {field.name: field.default for field in dataclasses.fields(schedules.ScheduleConfig)}
    values: Dict[str, Any] = {}
    for part in filter(None, numbers.split(",")):
        key, _, value = part.partition("=")
        try:
            if key in ("lr_boundaries", "lr_values"):
                values[key] = tuple(float(number) for number in value.split("+"))
            elif key in ("num_warmup_steps", "lr_decay_steps"):
                values[key] = int(value)
            elif key == "decay_cycle":
                values[key] = value == "true"
            elif key == "decay_begin" and value in schedules.DECAY_BEGINS:
                values[key] = value
            elif isinstance(kinds.get(key), float):
                values[key] = float(value)
            else:
                raise ValueError
        except ValueError:
            raise UserError("{!r} is not a number of a schedule.".format(part)) from None
    if name == "exponential" and not values.get("end_learning_rate"):
        raise UserError("exponential never reaches 0: give an end_learning_rate above it.")
    if len(values.get("lr_values", ())) != len(values.get("lr_boundaries", ())) + (name == "piecewise"):
        raise UserError("piecewise needs lr_boundaries, and lr_values with one rate more.")
    fixed = dict(learning_rate=learning_rate, num_warmup_steps=0, lr_decay_steps=steps, lr_schedule=name)
    return schedules.ScheduleConfig(**dict(fixed, **values))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figure")
    parser.add_argument("schedule", nargs="+")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--learning_rate", type=float, default=5e-5)
    arguments = parser.parse_args()
    try:
        configs = {text: parse(text, arguments.learning_rate, arguments.steps) for text in arguments.schedule}
        curves = {
            text: schedules.learning_rates(config, np.arange(arguments.steps)) for text, config in configs.items()
        }
        if not reports.plot_curves(arguments.figure, curves):
            raise UserError("matplotlib is not installed: pip install matplotlib.")
    except UserError as error:
        print("plot_schedule.py: error: {}".format(error), file=sys.stderr)
        sys.exit(2)
    print("Wrote " + arguments.figure)


if __name__ == "__main__":
    main()
