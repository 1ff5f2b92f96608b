"""Prints how far the optimizers move a weight whose gradient is always the same, and the rates that move it as far.

    python benchmarks/optimizer_movement.py [STEPS …]        100 300 1000 10000 when not given

Under 10 % warm-up and linear decay. First table: the movement as a multiple of radam's, at one rate and a gradient of
1. Second: for every rule, the rate that goes as far as google-research/bert's adamw at 5e-5, which is what
--learning_rate=auto takes. steady_bert/optimizer_movement.py has the mathematics and what it supposes.
"""

import os
import sys
from typing import Dict, List

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import numpy as np

from steady_bert import optimizer_movement, optimizers, schedules
from steady_bert.optimizer_config import OptimizerConfig
from steady_bert.schedules import ScheduleConfig

COMPARED = ("adamw", "adam", "nadam", "radam")
WRAPPED = {"lookahead(adamw)": OptimizerConfig(lookahead_steps=5)}


def schedule_of(steps: int) -> ScheduleConfig:
    return ScheduleConfig(num_warmup_steps=steps // 10, lr_decay_steps=steps)


def movements(steps: int) -> Dict[str, float]:
    """Rule → total movement over `steps` updates."""
    rates = schedules.learning_rates(schedule_of(steps), np.arange(steps))
    reaches = {name: optimizer_movement.reach(optimizers.RULES[name](), steps, 1.0) for name in COMPARED}
    return {name: float(np.sum(rates * reach)) for name, reach in reaches.items()}


def print_table(heading: str, runs: List[int], rows: Dict[str, List[str]]) -> None:
    print("| {} | ".format(heading) + " | ".join("{:,}".format(steps) for steps in runs) + " |")
    print("|---|" + "---|" * len(runs))
    for name, cells in rows.items():
        print("| {} | {} |".format(name, " | ".join(cells)))


def main() -> None:
    runs: List[int] = [int(text) for text in sys.argv[1:]] or [100, 300, 1000, 10000]
    moved = [movements(steps) for steps in runs]
    ratios = {name: ["{:.1f}".format(of[name] / of["radam"]) for of in moved] for name in COMPARED}
    print_table("movement, in units of radam's", runs, ratios)
    configs = dict({name: OptimizerConfig(optimizer=name) for name in optimizers.RULES}, **WRAPPED)
    rates = {
        name: ["{:g}".format(optimizer_movement.automatic_rate(config, schedule_of(steps), steps)) for steps in runs]
        for name, config in configs.items()
    }
    print()
    print_table("--learning_rate=auto", runs, rates)


if __name__ == "__main__":
    main()
