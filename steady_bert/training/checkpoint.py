"""Checkpoints: which there are, which are whole, saving them, and initial weights.

A checkpoint is the whole state of a run at a step: weights, optimizer slots, step, and the counters of TrainingState.
`checkpoint` (TensorFlow's own state file) names the newest. It is written after the data is on disk under its final
name, so a kill at any moment leaves the previous checkpoint valid; a damaged one is detected by TensorFlow's checksums
and the next older one taken.
"""

import os
import re
import shutil
from typing import Any, Callable, Container, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from .. import rule_optimizer
from ..base import files
from ..base.errors import UserError

_PREFIX = "model.ckpt"
_INDEX_NAME = re.compile(r"^model\.ckpt-(\d+)\.index$")
BEST_FOLDER = "best"
ENDINGS = (".data-00000-of-00001", ".index")  # of a checkpoint's files; without the index it is not there

# What TensorFlow's checkpoint reader raises for a damaged or absent file; it turns one status into several of these.
_UNREADABLE = (tf.errors.OpError, ValueError, RuntimeError, IndexError, KeyError)


def steps_in(folder: str) -> List[int]:
    """The steps of the checkpoints in a folder, newest first."""
    if not os.path.isdir(folder):
        return []
    matches = (_INDEX_NAME.match(name) for name in os.listdir(folder))
    return sorted((int(match.group(1)) for match in matches if match), reverse=True)


def prefix_of(folder: str, step: int) -> str:
    return os.path.join(folder, "{}-{}".format(_PREFIX, step))


def step_of(prefix: str) -> int:
    """The step in the name of a run's checkpoint."""
    return int(prefix.rsplit("-", 1)[1])


def damage(prefix: str) -> Optional[str]:
    """Reads every tensor of a checkpoint; what is wrong with it, or None. TensorFlow verifies a checksum a tensor."""
    try:
        reader = tf.train.load_checkpoint(prefix)
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    except _UNREADABLE as error:
        return str(error).split("\n", 1)[0]
    return None


def newest_whole(folder: str) -> Tuple[Optional[str], List[str]]:
    """The newest undamaged checkpoint's prefix (None where the folder has no checkpoint) and what was passed over.

    Raises UserError where there are checkpoints and all are damaged: starting again at step 0 is the user's to decide.
    """
    passed_over: List[str] = []
    for step in steps_in(folder):
        prefix = prefix_of(folder, step)
        found = damage(prefix)
        if found is None:
            return prefix, passed_over
        passed_over.append("{} is damaged: {}".format(prefix, found))
    if passed_over:
        raise UserError(
            "No checkpoint in {} can be read:\n  {}\nRestore one from a copy, or use another --output_dir.".format(
                folder, "\n  ".join(passed_over)
            )
        )
    return None, passed_over


def resolve(path: str, which: Optional[str] = None) -> str:
    """A checkpoint prefix, or a run's folder → a checkpoint prefix.

    which: "best" or "last" for a folder; None takes the best where there is one, else the last.
    """
    if os.path.isdir(path):
        best, last = steps_in(best_folder(path)), steps_in(path)
        if which == "best" and not best:
            raise UserError("--checkpoint=best: {} has no best checkpoint. Use --checkpoint=last.".format(path))
        if best and which != "last":
            return prefix_of(best_folder(path), best[0])
        if last:
            prefix, _ = newest_whole(path)
            assert prefix is not None
            return prefix
        named = [name[: -len(".index")] for name in sorted(os.listdir(path)) if name.endswith(".ckpt.index")]
        if len(named) == 1:  # a published model: bert_model.ckpt.*
            return os.path.join(path, named[0])
        raise UserError("{}: the folder has no checkpoint. Name a checkpoint prefix or a run's folder.".format(path))
    prefix = path[: -len(".index")] if path.endswith(".index") else path
    if not os.path.exists(prefix + ".index"):
        raise UserError(
            "{}: no checkpoint has this prefix ({}.index does not exist). Check the path; a prefix has no file "
            "ending, as in bert_model.ckpt.".format(path, prefix)
        )
    return prefix


def shapes_in(prefix: str) -> Dict[str, Tuple[int, ...]]:
    """Variable name → shape. Raises UserError where the checkpoint cannot be read."""
    try:
        reader = tf.train.load_checkpoint(prefix)
    except _UNREADABLE as error:
        raise UserError("{}: not a readable checkpoint ({}).".format(prefix, str(error).split("\n", 1)[0])) from None
    return {name: tuple(shape) for name, shape in reader.get_variable_to_shape_map().items()}


class Reader:
    """Tensors of a checkpoint, by name. Raises UserError where it is damaged."""

    def __init__(self, prefix: str) -> None:
        shapes_in(prefix)
        self.prefix = prefix
        self._reader = tf.train.load_checkpoint(prefix)

    def tensor(self, name: str) -> Any:
        try:
            return self._reader.get_tensor(name)
        except _UNREADABLE as error:
            raise UserError(
                "{}: is damaged at {} ({}). Restore it from a copy, or name another: of a run's folder, "
                "--checkpoint=last or best.".format(self.prefix, name, str(error).split("\n", 1)[0])
            ) from None


def save(saver: tf.train.Saver, session: tf.Session, folder: str, step: int, keep: int) -> str:
    """Writes the checkpoint of `step`, points `checkpoint` at it, then keeps only the newest `keep` (0: keeps all).

    saver: must have max_to_keep=None, since removal is done here, after the pointer is safe.
    """
    os.makedirs(folder, exist_ok=True)
    prefix = prefix_of(folder, step)
    bring_in(folder, step, lambda path: saver.save(session, path, write_meta_graph=False, write_state=False))
    keep_newest(folder, keep, step)
    return prefix


def keep_newest(folder: str, keep: int, step: int) -> None:
    """Removes all but `keep` checkpoints (0: none is removed) up to `step`: a newer one is damaged, and made again."""
    not_newer = [other for other in steps_in(folder) if other <= step]
    for old in not_newer[keep:] if keep else []:
        _remove(prefix_of(folder, old))


def _move(prefix: str, write_to: Callable[[str], Any]) -> None:
    """Makes write_to write a checkpoint under a temporary name, and gives it its own when it is on disk."""
    temporary = os.path.join(os.path.dirname(prefix), ".saving-" + os.path.basename(prefix))
    write_to(temporary)
    for ending in ENDINGS:  # the index last
        files.rename_synced(temporary + ending, prefix + ending)


def point_at(prefix: str) -> None:
    """Makes a checkpoint the one that its folder's `checkpoint` file names."""
    with files.atomic_write(os.path.join(os.path.dirname(prefix), "checkpoint")) as file:
        file.write(pointer_text(prefix))


def pointer_text(prefix: str) -> str:
    """What the `checkpoint` file of a checkpoint's folder says."""
    return 'model_checkpoint_path: "{}"\n'.format(os.path.basename(prefix))


def bring_in(folder: str, step: int, write_to: Callable[[str], Any]) -> None:
    """Makes what write_to(prefix) writes the checkpoint of `step`, and points at it."""
    _move(prefix_of(folder, step), write_to)
    point_at(prefix_of(folder, step))


def require_space(folder: str, checkpoint_bytes: int, best_bytes: int, saves: int, keep: int) -> None:
    """Raises UserError where the disk cannot hold what a run is about to write.

    That is `saves` checkpoints, of which `keep` stay (0: all), one while it is written, and the best likewise.
    """
    held = min(saves, keep + 1) if keep else saves
    replaced = [name for name in os.listdir(folder) if keep and ".data-" in name]
    present = sum(os.path.getsize(os.path.join(folder, name)) for name in replaced)
    needed = max(checkpoint_bytes, held * checkpoint_bytes + 2 * best_bytes - present)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            "--output_dir={}: the checkpoints need {:,} bytes ({} of {:,}), and {:,} are free. Free some, lower "
            "--keep_checkpoint_max, or name another folder.".format(folder, needed, held, checkpoint_bytes, free)
        )


def _remove(prefix: str) -> None:
    for ending in ENDINGS[::-1] + (".meta",):  # the index first; the last is of Estimator's
        if os.path.exists(prefix + ending):
            os.unlink(prefix + ending)


def best_folder(folder: str) -> str:
    return os.path.join(folder, BEST_FOLDER)


def discard_best_after(folder: str, step: int) -> None:
    """Removes a best checkpoint from beyond `step`, which a killed try left and the resumed run has yet to earn."""
    for later in steps_in(best_folder(folder)):
        if later > step:
            _remove(prefix_of(best_folder(folder), later))


def discard_after(folder: str, step: int) -> None:
    """Removes the checkpoints beyond `step`, and points at the newest that is left."""
    for later in steps_in(folder):
        if later > step:
            _remove(prefix_of(folder, later))
    for newest in steps_in(folder)[:1]:
        point_at(prefix_of(folder, newest))


def remove_leftovers(folder: str) -> None:
    """Removes what a killed save left."""
    for name in os.listdir(folder):
        if name.startswith(".saving-"):
            os.unlink(os.path.join(folder, name))


class LoadReport(NamedTuple):
    """Which model variables a checkpoint provides."""

    loaded: List[str]
    missing: List[str]  # in the model, not in the checkpoint: they keep their initial values
    unused: List[str]  # in the checkpoint, not in the model
    mismatched: List[str]  # in both, with other shapes

    def __str__(self) -> str:
        lines = ["{} loaded, {} missing, {} unused, {} mismatched".format(*map(len, self))]
        for title, names in (("missing", self.missing), ("mismatched", self.mismatched)):
            lines += ["  {}: {}".format(title, name) for name in names]
        return "\n".join(lines)


def _is_weight(name: str, names: Container[str]) -> bool:
    """Whether a variable of a training checkpoint is a weight: not a slot (`<weight>/<slot>`), step or counter."""
    return name.rpartition("/")[0] not in names and name != "global_step" and not name.startswith("training_state/")


def average_of(name: str) -> str:
    """The name of a weight's average."""
    return "{}/{}".format(name, rule_optimizer.AVERAGE)


def served_names(prefix: str, names: Sequence[str]) -> Dict[str, str]:
    """Weight → its name in the checkpoint, or the name of its average where the checkpoint has one."""
    found = shapes_in(prefix)
    averages = {name: average_of(name) for name in names}
    return {name: average if average in found else name for name, average in averages.items()}


def match_weights(
    model: Dict[str, Tuple[int, ...]], prefix: str, head_variables: Sequence[str], reset_head: bool
) -> LoadReport:
    """Compares the model's variables (name → shape) with a checkpoint's.

    Raises UserError where nothing matches, or where a shape differs; a head's shape may differ with reset_head.
    """
    everything = shapes_in(prefix)
    found = {name: shape for name, shape in everything.items() if _is_weight(name, everything)}
    head = [name for name in model if name.startswith(tuple(head_variables))]
    wanted = {name: shape for name, shape in model.items() if not (reset_head and name in head)}
    report = LoadReport(
        loaded=sorted(name for name, shape in wanted.items() if found.get(name) == shape),
        missing=sorted(name for name in model if name not in wanted or name not in found),
        unused=sorted(name for name in found if name not in wanted),
        mismatched=sorted(name for name, shape in wanted.items() if name in found and found[name] != shape),
    )
    if report.mismatched:
        lines = ["  {}: model {}, checkpoint {}".format(n, wanted[n], found[n]) for n in report.mismatched]
        if all(name in head for name in report.mismatched):
            remedy = "The head was trained for other labels: pass --reset_head to start a new one."
        else:
            remedy = "Use the bert_config.json that belongs to the checkpoint."
        raise UserError("{}: shapes differ from the model's:\n{}\n{}".format(prefix, "\n".join(lines), remedy))
    if not [name for name in report.loaded if name not in head]:
        raise UserError(
            "{}: none of its {} variables has a name of this model (for example {}; the model has for example {}). "
            "Convert it with scripts/convert_checkpoint.py, or pass --from_scratch.".format(
                prefix, len(found), ", ".join(sorted(found)[:2]) or "none", ", ".join(sorted(model)[:2])
            )
        )
    return report


def match_trained(model: Dict[str, Tuple[int, ...]], prefix: str, head_variables: Sequence[str]) -> LoadReport:
    """As match_weights. Raises UserError too where a trained model lacks something."""
    report = match_weights(model, prefix, head_variables, reset_head=False)
    head = [name for name in report.missing if name.startswith(tuple(head_variables))]
    if head:
        raise UserError(
            "{}: has no trained head ({} missing), so its predictions would be noise. Train first, or name a "
            "fine-tuned checkpoint.".format(prefix, ", ".join(head))
        )
    if report.missing:
        raise UserError("{}: lacks {}.".format(prefix, ", ".join(report.missing)))
    return report


# --- checkpoints as tensors, without a model --------------------------------------------------------------------------


def write(prefix: str, tensors: Dict[str, np.ndarray]) -> None:
    """Writes a checkpoint of these values."""
    names = sorted(tensors)
    with tf.Graph().as_default(), tf.Session() as session:
        values = [tf.placeholder(tensors[name].dtype, tensors[name].shape) for name in names]
        save = tf.raw_ops.SaveV2(prefix=prefix, tensor_names=names, shape_and_slices=[""] * len(names), tensors=values)
        session.run(save, dict(zip(values, (tensors[name] for name in names))))


def export_served(prefix: str, names: Sequence[str], target: str) -> None:
    """Writes what a checkpoint serves, averaged weights if it has them, under the weights' names, and its step."""
    reader = Reader(prefix)
    tensors = {name: reader.tensor(served) for name, served in served_names(prefix, names).items()}
    step = reader.tensor("global_step") if "global_step" in shapes_in(prefix) else 0
    write(target, dict(tensors, global_step=np.asarray(step, np.int64)))


def rewrite(prefix: str, changed: Dict[str, np.ndarray]) -> None:
    """Gives some variables of a run's checkpoint other values."""
    reader = Reader(prefix)
    tensors = {name: reader.tensor(name) for name in shapes_in(prefix)}
    _move(prefix, lambda temporary: write(temporary, dict(tensors, **changed)))


def keep_best(source: str, folder: str, step: int) -> None:
    """Makes a copy of a checkpoint the best one of a run's folder."""
    reader = Reader(source)
    tensors = {name: reader.tensor(name) for name in shapes_in(source)}
    best = best_folder(folder)
    os.makedirs(best, exist_ok=True)
    bring_in(best, step, lambda temporary: write(temporary, tensors))
    keep_newest(best, 1, step)


class TrainingState(NamedTuple):
    """What is not a function of the step. Saved in every checkpoint as variables named training_state/<field>."""

    examples_consumed: int = 0
    evaluated_step: int = 0  # the last step whose evaluation is part of the state
    best_score: float = float("-inf")
    best_step: int = 0
    evaluations_without_improvement: int = 0
    plateau_scale: float = 1.0  # schedules.Plateau
    plateau_best: float = float("-inf")
    plateau_evaluations: int = 0


def state_in(prefix: str) -> TrainingState:
    """The counters that a checkpoint holds; initial ones where it has none."""
    reader = tf.train.load_checkpoint(prefix)
    names = {name: "training_state/" + name for name in TrainingState._fields}
    found = {name: reader.get_tensor(full).item() for name, full in names.items() if reader.has_tensor(full)}
    return TrainingState(**found)


def state_tensors(state: TrainingState) -> Dict[str, np.ndarray]:
    """As a checkpoint has them."""
    return {"training_state/" + name: np.asarray(value) for name, value in state._asdict().items()}


def training_state_variables() -> "Dict[str, Any]":
    """Creates (or finds) the variables of TrainingState in the current graph and scope."""
    variables = {}
    for name, initial in TrainingState()._asdict().items():
        variables[name] = tf.get_variable(
            "training_state/" + name,
            shape=[],
            dtype=tf.float64 if isinstance(initial, float) else tf.int64,
            initializer=tf.constant_initializer(initial),
            trainable=False,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
    return variables
