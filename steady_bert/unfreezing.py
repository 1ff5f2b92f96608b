"""--unfreeze_schedule: from which step on each layer is trained (Howard and Ruder, 2018). Pure: no TensorFlow.

step=layers,…: from that step on, so many layers from the top are trained; all: the lowest and the embeddings too. What
stands above the layers, the pooler and the head, is trained from the start.
"""

from typing import Dict, NamedTuple, Tuple

from .base.errors import UserError

ALL = 1 << 31  # layers
NEVER = 1 << 62  # a step that no run reaches


class Stage(NamedTuple):
    step: int
    layers: int  # from the top; ALL with the embeddings


def parse(schedule: str) -> Tuple[Stage, ...]:
    """ "100=2,200=all" → its stages; none of "". Raises UserError for what is not a schedule."""
    stages = tuple(map(_stage, schedule.split(","))) if schedule else ()
    for before, after in zip(stages, stages[1:]):
        if after.step <= before.step or after.layers <= before.layers:
            raise UserError(
                "--unfreeze_schedule={}: steps and layers have to rise from each to the next. Write for example "
                "100=2,200=4,300=all.".format(schedule)
            )
    return stages


def _stage(item: str) -> Stage:
    step, _, layers = (part.strip() for part in item.partition("="))
    digits = step, "0" if layers == "all" else layers
    if not all(text.isdecimal() and len(text) < 10 for text in digits) or layers == "0":
        raise UserError(
            "--unfreeze_schedule: {!r} is not step=layers: a step from 0, and how many layers from the top are trained "
            "from then on, or all. Write for example 100=2,200=4,300=all.".format(item)
        )
    return Stage(int(step), ALL if layers == "all" else int(layers))


def check(schedule: str, num_train_steps: int, num_layers: int) -> None:
    """Raises UserError if the run ends before the schedule does, or if the model has fewer layers."""
    for step, layers in parse(schedule):
        if step >= num_train_steps:
            raise UserError(
                "--unfreeze_schedule={}: step {} is not reached, the run has {} updates. Lower it, or leave it "
                "out.".format(schedule, step, num_train_steps)
            )
        if num_layers < layers < ALL:
            raise UserError(
                "--unfreeze_schedule={}: the model has {} layers. Write all for them and the embeddings.".format(
                    schedule, num_layers
                )
            )


def thaw_steps(schedule: str, depths: Dict[str, int]) -> Dict[str, int]:
    """Variable → the step from which on it is trained.

    depths: variable → 0 above the layers, 1 in the highest layer, and so on; the embeddings have the greatest.
    """
    stages = (Stage(0, 0), *parse(schedule))
    return {name: next((step for step, layers in stages if depth <= layers), NEVER) for name, depth in depths.items()}


def describe(schedule: str) -> str:
    """A line of the plan."""
    stages = parse(schedule)
    parts = ["the head and the pooler from the start"]
    for step, layers in stages:
        what = "all layers and the embeddings" if layers == ALL else "the highest {} layers".format(layers)
        parts.append("{} from step {}".format(what.replace("highest 1 layers", "highest layer"), step))
    rest = "" if stages[-1].layers == ALL else "; the rest stays as it is"
    return "trained: {}{} (--unfreeze_schedule)".format(", ".join(parts), rest)
