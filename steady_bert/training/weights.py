"""Tells the weights of a checkpoint from its other variables, and matches them with a model's.

A training checkpoint holds each weight under its own name, the optimizer's slots as `<weight>/<slot>`, and counters.
With --ema_decay one of the slots is the weight's average, which evaluation, prediction and export read in its place.
"""

from typing import Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from .. import rule_optimizer
from ..base.errors import UserError
from . import checkpoint

_STEP = "global_step"


def weights_among(names: Iterable[str]) -> List[str]:
    """The names of a checkpoint's variables that are weights: no slot, step or counter.

    A slot is known by the weight that it belongs to, so a slot of any optimizer is recognized, ours or not.
    """
    everything = set(names)
    return sorted(
        name
        for name in everything
        if name.rpartition("/")[0] not in everything and name != _STEP and not name.startswith(checkpoint.STATE_PREFIX)
    )


def average_of(name: str) -> str:
    """The name of a weight's average."""
    return "{}/{}".format(name, rule_optimizer.AVERAGE)


def served_names(prefix: str, names: Sequence[str]) -> Dict[str, str]:
    """Weight → the variable of the checkpoint that evaluation reads: its average if there is one, else the weight."""
    present = checkpoint.shapes_in(prefix)
    averages = {name: average_of(name) for name in names}
    return {name: average if average in present else name for name, average in averages.items()}


def served_tensors(prefix: str, names: Optional[Sequence[str]] = None) -> Dict[str, np.ndarray]:
    """The weights (all if names is None) that evaluation reads from a checkpoint: averages where it has them."""
    reader = checkpoint.Reader(prefix)
    names = weights_among(checkpoint.shapes_in(prefix)) if names is None else names
    return {name: reader.tensor(served) for name, served in served_names(prefix, names).items()}


def export_served(
    prefix: str,
    target: str,
    names: Optional[Sequence[str]] = None,
    more: Optional[Mapping[str, np.ndarray]] = None,
) -> None:
    """Writes a checkpoint of served_tensors, under the weights' own names, of `more`, and of the step."""
    tensors = dict(more or {}, **served_tensors(prefix, names))
    step = checkpoint.Reader(prefix).tensor(_STEP) if _STEP in checkpoint.shapes_in(prefix) else 0
    checkpoint.write(target, dict(tensors, global_step=np.asarray(step, np.int64)))


def keep_best(prefix: str, folder: str, step: int) -> None:
    """Makes the served weights of a checkpoint the best checkpoint of a run's folder."""
    checkpoint.save_best(folder, step, lambda temporary: export_served(prefix, temporary))


class LoadReport(NamedTuple):
    """The result of matching a model's variables with a checkpoint's."""

    loaded: List[str]
    missing: List[str]  # in the model, not in the checkpoint: they keep their initial values
    unused: List[str]  # in the checkpoint, not in the model
    mismatched: List[str]  # in both, with other shapes

    def __str__(self) -> str:
        lines = ["{} loaded, {} missing, {} unused, {} mismatched".format(*map(len, self))]
        for title, names in (("missing", self.missing), ("mismatched", self.mismatched)):
            lines += ["  {}: {}".format(title, name) for name in names]
        return "\n".join(lines)


def match_weights(
    model: Dict[str, Tuple[int, ...]], prefix: str, head_variables: Sequence[str], reset_head: bool
) -> LoadReport:
    """Compares the model's variables (name → shape) with a checkpoint's.

    head_variables: prefixes of their names. reset_head: the head keeps its initial values, whatever the checkpoint has.
    Raises UserError if no variable of the encoder matches, or if a shape differs.
    """
    shapes = checkpoint.shapes_in(prefix)
    present = {name: shapes[name] for name in weights_among(shapes)}
    head = [name for name in model if name.startswith(tuple(head_variables))]
    wanted = {name: shape for name, shape in model.items() if not (reset_head and name in head)}
    report = LoadReport(
        loaded=sorted(name for name, shape in wanted.items() if present.get(name) == shape),
        missing=sorted(name for name in model if name not in wanted or name not in present),
        unused=sorted(name for name in present if name not in wanted),
        mismatched=sorted(name for name, shape in wanted.items() if name in present and present[name] != shape),
    )
    if report.mismatched:
        lines = ["  {}: model {}, checkpoint {}".format(n, wanted[n], present[n]) for n in report.mismatched]
        if all(name in head for name in report.mismatched):
            remedy = "The head was trained for other labels: pass --reset_head to start a new one."
        else:
            remedy = "Use the bert_config.json that belongs to the checkpoint."
        raise UserError("{}: shapes differ from the model's:\n{}\n{}".format(prefix, "\n".join(lines), remedy))
    if not [name for name in report.loaded if name not in head]:
        raise UserError(
            "{}: none of its {} variables has a name of this model (for example {}; the model has for example {}). "
            "Convert it with scripts/convert_checkpoint.py, or pass --from_scratch.".format(
                prefix, len(present), ", ".join(sorted(present)[:2]) or "none", ", ".join(sorted(model)[:2])
            )
        )
    return report


def match_trained(
    model: Dict[str, Tuple[int, ...]], prefix: str, head_variables: Sequence[str], unread: Sequence[str] = ()
) -> LoadReport:
    """match_weights for a trained model: raises UserError also if a variable that is read is missing.

    unread: prefixes of the names of those that are not.
    """
    report = match_weights(model, prefix, head_variables, reset_head=False)
    head = [name for name in report.missing if name.startswith(tuple(head_variables))]
    if head:
        raise UserError(
            "{}: has no trained head ({} missing), so its predictions would be noise. Train first, or name a "
            "fine-tuned checkpoint.".format(prefix, ", ".join(head))
        )
    missing = [name for name in report.missing if not name.startswith(tuple(unread))]
    if missing:
        raise UserError("{}: lacks {}.".format(prefix, ", ".join(missing)))
    return report
