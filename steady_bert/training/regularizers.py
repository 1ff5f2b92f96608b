"""What a plan says of its regularizers: their values when they are off, what they may be, and what they do. Pure."""

from typing import Any, Dict, List

from .. import unfreezing
from ..base.errors import UserError

# Flags, and keys of plan.json, which has those alone that are not off.
OFF: Dict[str, Any] = {
    "label_smoothing": 0.0,
    "focal_gamma": 0.0,
    "fgm_epsilon": 0.0,
    "rdrop_alpha": 0.0,
    "unfreeze_schedule": "",
}


def of(config: Any) -> Dict[str, Any]:
    """The values of a PlanConfig, or of a Plan."""
    return {name: getattr(config, name) for name in OFF}


def check(values: Dict[str, Any]) -> None:
    """Raises UserError for values that make no sense, whatever is learned."""
    for name in OFF:
        if name != "unfreeze_schedule" and not 0 <= values[name] < float("inf"):
            raise UserError("--{}={}: not a number from 0. Give one.".format(name, values[name]))
    if values["label_smoothing"] >= 1:
        raise UserError(
            "--label_smoothing={:g}: nothing would be left of the label. Give for example 0.1.".format(
                values["label_smoothing"]
            )
        )
    unfreezing.parse(values["unfreeze_schedule"])


def describe(values: Dict[str, Any]) -> List[str]:
    """Lines of the plan on those that are on."""
    lines = []
    if values["label_smoothing"]:
        text = "loss: {:g} of the gold label's weight is spread over all labels (--label_smoothing)"
        lines.append(text.format(values["label_smoothing"]))
    if values["focal_gamma"]:
        lines.append("loss: times (1 - p)^{:g} (--focal_gamma)".format(values["focal_gamma"]))
    if values["rdrop_alpha"]:
        lines.append(
            "R-Drop: each batch twice with other dropout masks, and {:g} times their divergence (--rdrop_alpha)".format(
                values["rdrop_alpha"]
            )
        )
    if values["fgm_epsilon"]:
        lines.append(
            "FGM: each batch again, its word embeddings moved by {:g} along their gradient (--fgm_epsilon)".format(
                values["fgm_epsilon"]
            )
        )
    if values["unfreeze_schedule"]:
        lines.append(unfreezing.describe(values["unfreeze_schedule"]))
    return lines
