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
from steady_bert.base import program_end
from steady_bert.base.errors import UserError
from steady_bert.training import reports


def parse(text: str, learning_rate: float, steps: int) -> schedules.ScheduleConfig:
    """The schedule that an argument names. Raises UserError for one that does not exist or makes no sense."""
    name, _, numbers = text.partition(":")
    defaults = dataclasses.asdict(schedules.ScheduleConfig())
    values: Dict[str, Any] = dict(learning_rate=learning_rate, lr_decay_steps=steps, lr_schedule=name)
    for number in filter(None, numbers.split(",")):
        key, _, value = number.partition("=")
        try:
            if isinstance(defaults[key], tuple):
                values[key] = tuple(float(one) for one in value.split("+"))
            elif isinstance(defaults[key], bool):
                values[key] = {"true": True, "false": False}[value]
            else:
                values[key] = type(defaults[key])(value)
        except (KeyError, ValueError):
            raise UserError("{!r} is not a number of a schedule.".format(number)) from None
    config = schedules.ScheduleConfig(**values)
    schedules.check_numbers(config)
    return config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figure")
    parser.add_argument("schedule", nargs="+")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--learning_rate", type=float, default=5e-5)
    arguments = parser.parse_args()
    configs = {text: parse(text, arguments.learning_rate, arguments.steps) for text in arguments.schedule}
    curves = {text: schedules.learning_rates(config, np.arange(arguments.steps)) for text, config in configs.items()}
    if not reports.plot_curves(arguments.figure, curves):
        raise UserError("matplotlib is not installed: pip install matplotlib.")
    print("Wrote " + arguments.figure)


if __name__ == "__main__":
    program_end.run("plot_schedule", main)
