"""A run's checkpoints: save them, verify them, fall back to an older one.

A checkpoint is the whole state of a run at a step: weights, optimizer slots, step, and the counters of TrainingState.
`checkpoint` (TensorFlow's own state file) names the newest. It is written after the data is on disk under its final
name, so a kill at any moment leaves the previous checkpoint valid. TensorFlow's checksums detect a damaged one, and
the next older one is taken.

best/ is state too: it holds, for each checkpoint of the folder, the best weights that its TrainingState names, and
those of a later evaluation. So whichever checkpoint a run goes on from, score, step and weights agree.
"""

import os
import shutil
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from ..base import disk, files
from ..base.errors import UserError
from . import manifest
from .checkpoint_files import (
    ENDINGS,
    POINTER,
    best_folder,
    home_of,
    list_in_manifest,
    lost,
    other_than_listed,
    prefix_of,
    step_of,
    steps_in,
)
from .reports import say
from .saver import STATE_PREFIX, Saver, save_operation, writer

# What TensorFlow's checkpoint reader raises for a damaged or absent file; it turns one status into several of these.
_UNREADABLE = (tf.errors.OpError, ValueError, RuntimeError, IndexError, KeyError)
UNWRITABLE = (OSError, tf.errors.OpError)  # what writing files raises on a full disk, ours and TensorFlow's


def reason_of(error: BaseException) -> str:
    """Why a file cannot be read or written, in one line."""
    return str(getattr(error, "strerror", None) or error).split("\n", 1)[0]


def damage(prefix: str) -> Optional[str]:
    """Why a checkpoint is not to be used, or None: it is not the one that its folder's manifest lists, or is damaged.

    Reads every tensor; TensorFlow verifies a checksum for each.
    """
    other = other_than_listed(prefix)
    if other:
        return other
    try:
        reader = tf.train.load_checkpoint(prefix)
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    except _UNREADABLE as error:
        return str(error).split("\n", 1)[0]
    return None


def newest_whole(folder: str) -> Tuple[Optional[str], List[str]]:
    """(the newest undamaged checkpoint's prefix, or None if the folder has no checkpoint; why newer ones are skipped).

    Raises UserError if all are damaged: whether to start again at step 0 is for the user to decide.
    """
    incomplete = lost(folder)
    skipped: List[str] = []
    for step in steps_in(folder):
        prefix = prefix_of(folder, step)
        problem = damage(prefix)
        if problem is None:
            return prefix, [why for other, why in incomplete.items() if other > step] + skipped
        skipped.append("{} is damaged: {}".format(prefix, problem))
    if skipped:
        raise UserError(
            "No checkpoint in {} can be read:\n  {}\nRestore one from a copy, or use another --output_dir.".format(
                folder, "\n  ".join(skipped)
            )
        )
    return None, skipped


def resolve(path: str, which: Optional[str] = None) -> str:
    """The checkpoint prefix that `path` names: a prefix itself, a run's folder, or a published model's folder.

    which: "best" or "last", for a run's folder; None takes the best if there is one, else the last.
    """
    if os.path.isdir(path):
        best = best_in(path) if which != "last" else None
        if which == "best" and not best:
            raise UserError("--checkpoint=best: {} has no best checkpoint. Use --checkpoint=last.".format(path))
        if best:
            return best
        last, skipped = newest_whole(path)
        if last:
            for why in skipped:
                say("WARNING: {}. Step {} is taken instead.".format(why, step_of(last)))
            return last
        named = [name[: -len(".index")] for name in sorted(os.listdir(path)) if name.endswith(".ckpt.index")]
        if len(named) == 1:  # a published model: bert_model.ckpt.*
            return os.path.join(path, named[0])
        remains = "".join("\n  " + why for why in lost(path).values())
        remedy = "Restore them from a copy, or name" if remains else "Name"
        raise UserError(
            "{}: the folder has no checkpoint that can be used.{}\n{} a checkpoint prefix or a run's folder.".format(
                path, remains, remedy
            )
        )
    prefix = path[: -len(".index")] if path.endswith(".index") else path
    if not os.path.exists(prefix + ".index"):
        raise UserError(
            "{}: no checkpoint has this prefix ({}.index does not exist). Check the path; a prefix has no file "
            "ending, as in bert_model.ckpt.".format(path, prefix)
        )
    return prefix


def shapes_in(prefix: str) -> Dict[str, Tuple[int, ...]]:
    """Variable name → shape. Raises UserError if the checkpoint cannot be read."""
    try:
        reader = tf.train.load_checkpoint(prefix)
    except _UNREADABLE as error:
        raise UserError("{}: not a readable checkpoint ({}).".format(prefix, str(error).split("\n", 1)[0])) from None
    return {name: tuple(shape) for name, shape in reader.get_variable_to_shape_map().items()}


class NotFiniteError(UserError):
    """A checkpoint holds a number that is not finite."""


class Reader:
    """Reads tensors of a checkpoint by name. Raises UserError if it is damaged, NotFiniteError for such a number."""

    def __init__(self, prefix: str) -> None:
        shapes_in(prefix)
        self.prefix = prefix
        self._reader = tf.train.load_checkpoint(prefix)

    def tensor(self, name: str) -> Any:
        try:
            value = self._reader.get_tensor(name)
        except _UNREADABLE as error:
            raise UserError(
                "{}: is damaged at {} ({}). Restore it from a copy, or choose another: --checkpoint=last or best in "
                "a run's folder.".format(self.prefix, name, str(error).split("\n", 1)[0])
            ) from None
        if value.dtype.kind == "f" and not name.startswith(STATE_PREFIX) and not np.all(np.isfinite(value)):
            raise NotFiniteError(
                "{}: {} has numbers that are not finite: the training that wrote it went wrong. Use an older "
                "checkpoint.".format(self.prefix, name)
            )
        return value


def save(saver: Saver, session: tf.Session, folder: str, step: int, keep: int, size_bytes: Optional[int] = None) -> str:
    """Writes the checkpoint of `step`, makes `checkpoint` name it, then keeps only the newest `keep` (0: keeps all).

    size_bytes: what it will take, for the message of the DiskFullError. Raises UserError if a number is not finite.
    """
    prefix = prefix_of(folder, step)
    with disk.writing(prefix, size_bytes):
        os.makedirs(folder, exist_ok=True)
        bring_in(folder, step, writer(saver, session, step))
    keep_newest(folder, keep, step)
    return prefix


def save_best(folder: str, step: int, write_to: Callable[[str], Any], size_bytes: Optional[int] = None) -> None:
    """Lets write_to(path) write the weights of `step`, and makes them the best of the run in the folder.

    size_bytes: as in `save`.
    """
    with disk.writing(prefix_of(best_folder(folder), step), size_bytes):
        os.makedirs(best_folder(folder), exist_ok=True)
        bring_in(best_folder(folder), step, write_to)
    _discard(folder, _unnamed_bests(folder, steps_in(folder)))


def kept_in_training(keep: int) -> int:
    """How many checkpoints a run keeps if --keep_checkpoint_max is `keep`; 0: all. At least two.

    The newest may be of weights from which no finite update leads on. The next older one led to the newest.
    """
    return max(keep, 2) if keep else 0


def keep_newest(folder: str, keep: int, step: int) -> None:
    """Removes all but the newest `keep` of the checkpoints up to `step` (0: removes none).

    A checkpoint after `step` is damaged; training will write it again. With a checkpoint goes the best one that no
    other checkpoint names.
    """
    present = steps_in(folder)
    old = [other for other in present if other <= step][keep:] if keep else []
    unnamed = _unnamed_bests(folder, [other for other in present if other not in old])
    _discard(folder, [prefix_of(folder, step) for step in old] + unnamed)


def _unnamed_bests(folder: str, steps: List[int]) -> List[str]:
    """The best checkpoints that none of the checkpoints of `steps` names, without the newest."""
    older = steps_in(best_folder(folder))[1:]
    named = {_best_step_of(prefix_of(folder, step)) for step in steps} if older else set()
    return [prefix_of(best_folder(folder), step) for step in older if step not in named]


def _best_step_of(prefix: str) -> int:
    """The step of the best weights so far that a checkpoint names; 0: none, or it cannot be read."""
    try:
        return state_in(prefix).best_step
    except _UNREADABLE:
        return 0


def _move(prefix: str, write_to: Callable[[str], Any]) -> None:
    """Lets write_to(path) write a checkpoint under a temporary name, and renames it to `prefix` once it is on disk.

    The manifest does not list a checkpoint while it is replaced: a kill in between must not make it another one's.
    """
    temporary = os.path.join(os.path.dirname(prefix), ".saving-" + os.path.basename(prefix))
    folder, name = home_of(prefix)
    try:
        write_to(temporary)
        if name in (manifest.listed_checkpoints(folder) or {}):
            list_in_manifest(folder, without=[prefix])
        for ending in ENDINGS:  # the index last
            files.rename_synced(temporary + ending, prefix + ending)
    except Exception as error:
        if disk.is_full(error):  # the room is needed
            remove_leftovers(folder)
        raise


def point_at(prefix: str) -> None:
    """Makes a checkpoint the one that its folder's `checkpoint` file names."""
    with files.atomic_write(os.path.join(os.path.dirname(prefix), POINTER)) as file:
        file.write(pointer_text(prefix))


def pointer_text(prefix: str) -> str:
    """The content of a folder's `checkpoint` file that names this checkpoint."""
    return 'model_checkpoint_path: "{}"\n'.format(os.path.basename(prefix))


def bring_in(folder: str, step: int, write_to: Callable[[str], Any]) -> None:
    """Lets write_to(path) write the checkpoint of `step`, and makes it the one that the folder's `checkpoint` names."""
    _move(prefix_of(folder, step), write_to)
    point_at(prefix_of(folder, step))


def require_space(
    folder: str, checkpoint_bytes: int, best_bytes: int, saves: int, keep: int, evaluations: int = 0
) -> None:
    """Raises UserError if the disk cannot hold what a run is about to write.

    That is `saves` checkpoints, of which `keep` stay (0: all), and the best ones: at most one for each checkpoint, and
    for each evaluation. While a checkpoint is written, the one that it replaces is still there.
    """
    held = min(saves, keep + 1) if keep else saves
    bests = min(held, evaluations) + 1
    replaced = [name for name in os.listdir(folder) if keep and ".data-" in name]
    present = sum(os.path.getsize(os.path.join(folder, name)) for name in replaced)
    needed = max(checkpoint_bytes, held * checkpoint_bytes + bests * best_bytes - present)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            "--output_dir={}: the checkpoints need {:,} bytes ({} of {:,}), and {:,} are free. Free some, lower "
            "--keep_checkpoint_max, or name another folder.".format(folder, needed, held, checkpoint_bytes, free)
        )


def _remove(prefix: str) -> None:
    for ending in ENDINGS[::-1] + (".meta",):  # the index first; Estimator writes the last
        if os.path.exists(prefix + ending):
            os.unlink(prefix + ending)


def best_in(folder: str) -> Optional[str]:
    """The best checkpoint of a run's folder; None if it has none.

    Raises UserError if a checkpoint names a later one, or if it is not the one that the manifest lists.
    """
    best = steps_in(best_folder(folder))
    newest = steps_in(folder)[:1]
    named = [_best_step_of(prefix_of(folder, step)) for step in newest]
    named += [step_of(name) for name in manifest.listed_checkpoints(folder) or {} if os.path.dirname(name)]
    step = max(best + named, default=0)
    if not step:
        return None
    prefix = prefix_of(best_folder(folder), step)
    problem = other_than_listed(prefix) if step in best else "is gone"
    if problem:
        other = ", or use the newest checkpoint: --checkpoint=last" if newest else ""
        raise UserError("{}: {}. Restore it from a copy{}.".format(prefix, problem, other))
    return prefix


def lost_best(prefix: str) -> Optional[str]:
    """What is wrong with the best weights that a run's checkpoint names; None if nothing is, or it names none."""
    step = state_in(prefix).best_step
    best = best_folder(os.path.dirname(prefix))
    if not step:
        return None
    if step not in steps_in(best):
        return "{}, the best checkpoint so far, is gone".format(prefix_of(best, step))
    problem = damage(prefix_of(best, step))
    return problem and "{}, the best checkpoint so far, is damaged: {}".format(prefix_of(best, step), problem)


def forget_best(prefix: str) -> None:
    """Makes a run's checkpoint name no best weights: the next evaluation gives the best."""
    rewrite(prefix, state_tensors(state_in(prefix)._replace(best_score=float("-inf"), best_step=0)))


def discard_best_after(folder: str, step: int) -> None:
    """Removes the best checkpoints later than the one of `step`, which the run goes on with.

    A killed run left them, and the resumed run may not reach them again.
    """
    _discard(folder, [prefix_of(best_folder(folder), later) for later in steps_in(best_folder(folder)) if later > step])


def discard_after(folder: str, step: int) -> None:
    """Removes the checkpoints later than `step`, and makes `checkpoint` name the newest that is left."""
    _discard(folder, [prefix_of(folder, later) for later in steps_in(folder) if later > step])
    for newest in steps_in(folder)[:1]:
        point_at(prefix_of(folder, newest))


def discard_if_not_finite(folder: str, step: int) -> Optional[str]:
    """Removes the checkpoint of `step` if a number in it is not finite, and says which; None if all are.

    Raises UserError if it cannot be read: it stays, since the fault may be the disk's.
    """
    if step not in steps_in(folder):
        return None
    try:
        reader = Reader(prefix_of(folder, step))
        for name in shapes_in(reader.prefix):
            reader.tensor(name)
    except NotFiniteError as error:
        discard_after(folder, step - 1)
        return str(error)
    return None


def remove_leftovers(folder: str) -> None:
    """Removes the files of a save that was killed."""
    for place in filter(os.path.isdir, (folder, best_folder(folder))):
        for name in os.listdir(place):
            if name.startswith(".saving-"):
                os.unlink(os.path.join(place, name))


def _discard(folder: str, prefixes: Sequence[str]) -> None:
    """Takes checkpoints of a run's folder out of its manifest, and removes them."""
    list_in_manifest(folder, without=prefixes)
    for prefix in prefixes:
        _remove(prefix)


def on_host() -> tf.ConfigProto:
    """The configuration of a session that uses no GPU, and so takes none of its memory."""
    return tf.ConfigProto(device_count={"GPU": 0})


def write(prefix: str, tensors: Dict[str, np.ndarray]) -> None:
    """Writes a checkpoint of these values. Raises DiskFullError."""
    with disk.writing(prefix, _bytes_in(tensors)):
        _write(prefix, tensors)


def _bytes_in(tensors: Mapping[str, np.ndarray]) -> int:
    return sum(value.nbytes for value in tensors.values())


def _write(prefix: str, tensors: Dict[str, np.ndarray]) -> None:
    with tf.Graph().as_default(), tf.Session(config=on_host()) as session:
        values = {name: tf.placeholder(tensor.dtype, tensor.shape) for name, tensor in tensors.items()}
        session.run(save_operation(prefix, values), {values[name]: tensor for name, tensor in tensors.items()})


def assign(session: tf.Session, variables: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
    """Gives variables, by name, values by their initializers, so that no initial values are computed."""
    feeds = {variables[name].initializer.inputs[1]: value for name, value in tensors.items()}
    session.run([variables[name].initializer for name in tensors], feeds)


def rewrite(prefix: str, changed: Dict[str, np.ndarray]) -> None:
    """Replaces the values of some variables of a run's checkpoint. Raises DiskFullError."""
    reader = Reader(prefix)
    tensors = {name: reader.tensor(name) for name in shapes_in(prefix)}
    tensors.update(changed)
    with disk.writing(prefix, _bytes_in(tensors)):
        _move(prefix, lambda temporary: _write(temporary, tensors))
    list_in_manifest(home_of(prefix)[0])


class TrainingState(NamedTuple):
    """The state that is not a function of the step. Every checkpoint has it in variables training_state/<field>."""

    examples_consumed: int = 0
    evaluated_step: int = 0  # the last step whose evaluation is part of the state
    best_score: float = float("-inf")
    best_step: int = 0
    evaluations_without_improvement: int = 0
    plateau_scale: float = 1.0  # schedules.Plateau
    plateau_best: float = float("-inf")
    plateau_evaluations: int = 0


def state_in(prefix: str) -> TrainingState:
    """The state in a checkpoint; a counter that the checkpoint lacks has its initial value."""
    reader = tf.train.load_checkpoint(prefix)
    names = {name: STATE_PREFIX + name for name in TrainingState._fields}
    saved = {name: reader.get_tensor(full).item() for name, full in names.items() if reader.has_tensor(full)}
    return TrainingState(**saved)


def state_tensors(state: TrainingState) -> Dict[str, np.ndarray]:
    """Variable name → value, as in a checkpoint."""
    return {STATE_PREFIX + name: np.asarray(value) for name, value in state._asdict().items()}


def training_state_variables() -> "Dict[str, Any]":
    """Creates (or finds) the variables of TrainingState in the current graph and scope."""
    variables = {}
    for name, initial in TrainingState()._asdict().items():
        variables[name] = tf.get_variable(
            STATE_PREFIX + name,
            shape=[],
            dtype=tf.float64 if isinstance(initial, float) else tf.int64,
            initializer=tf.constant_initializer(initial),
            trainable=False,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
    return variables
