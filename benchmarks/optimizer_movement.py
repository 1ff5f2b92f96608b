"""Measures how far each optimizer moves a weight whose gradient is always 1, under warm-up and linear decay.

The total movement is given as a multiple of radam's: the factor by which a rate has to be scaled for the same movement.

    python benchmarks/optimizer_movement.py [STEPS …]        100 300 1000 10000 when not given

A minute on 2 cores.
"""

import os
import sys
from typing import Dict, List

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import numpy as np
import tensorflow.compat.v1 as tf

from steady_bert import optimizers, rule_optimizer, schedules

RULES = ("adamw", "adam", "nadam", "radam")


def movements(steps: int) -> Dict[str, float]:
    """Rule → total movement over `steps` updates with 10 % warm-up and linear decay from 1."""
    rates = schedules.learning_rates(
        schedules.ScheduleConfig(1.0, num_warmup_steps=steps // 10, lr_decay_steps=steps), np.arange(steps)
    )
    with tf.Graph().as_default(), tf.Session() as session:
        rate = tf.placeholder(tf.float32, [])
        weights, updates = [], []
        for name in RULES:
            weight = tf.get_variable(name, initializer=np.zeros([1], np.float32), use_resource=True)
            optimizer = rule_optimizer.RuleOptimizer(rate, optimizers.RULES[name](), name=name)
            updates.append(optimizer.apply_gradients([(tf.ones([1]), weight)]))
            weights.append(weight)
        session.run(tf.global_variables_initializer())
        step = session.make_callable(tf.group(*updates), feed_list=[rate])
        for value in rates:
            step(value)
        return {name: -float(value[0]) for name, value in zip(RULES, session.run(weights))}


def main() -> None:
    runs: List[int] = [int(text) for text in sys.argv[1:]] or [100, 300, 1000, 10000]
    print("| steps | " + " | ".join(RULES) + " |\n|---|" + "---|" * len(RULES))
    for steps in runs:
        moved = movements(steps)
        ratios = ["{:.1f}".format(moved[name] / moved["radam"]) for name in RULES]
        print("| {} | {} |".format(steps, " | ".join(ratios)))


if __name__ == "__main__":
    main()
