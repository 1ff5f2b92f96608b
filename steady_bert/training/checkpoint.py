"""A run's checkpoints: save them, verify them, fall back to an older one.

A checkpoint is the whole state of a run at a step: weights, optimizer slots, step, and the counters of TrainingState.
`checkpoint` (TensorFlow's own state file) names the newest. It is written after the data is on disk under its final
name, so a kill at any moment leaves the previous checkpoint valid. TensorFlow's checksums detect a damaged one, and
the next older one is taken.
"""

import os
import re
import shutil
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from ..base import disk, files
from ..base.errors import UserError

_PREFIX = "model.ckpt"
_INDEX_NAME = re.compile(r"^model\.ckpt-(\d+)\.index$")
BEST_FOLDER = "best"
STATE_PREFIX = "training_state/"  # begins the names of TrainingState's variables
ENDINGS = (".data-00000-of-00001", ".index")  # a checkpoint's files; without an index it does not count

# What TensorFlow's checkpoint reader raises for a damaged or absent file; it turns one status into several of these.
_UNREADABLE = (tf.errors.OpError, ValueError, RuntimeError, IndexError, KeyError)
UNWRITABLE = (OSError, tf.errors.OpError)  # what writing files raises on a full disk, ours and TensorFlow's


def reason_of(error: BaseException) -> str:
    """Why a file cannot be read or written, in one line."""
    return str(getattr(error, "strerror", None) or error).split("\n", 1)[0]


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
    """Why a checkpoint cannot be read, or None. Reads every tensor; TensorFlow verifies a checksum for each."""
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
    skipped: List[str] = []
    for step in steps_in(folder):
        prefix = prefix_of(folder, step)
        problem = damage(prefix)
        if problem is None:
            return prefix, skipped
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


def save(
    saver: tf.train.Saver, session: tf.Session, folder: str, step: int, keep: int, size_bytes: Optional[int] = None
) -> str:
    """Writes the checkpoint of `step`, makes `checkpoint` name it, then keeps only the newest `keep` (0: keeps all).

    saver: must have max_to_keep=None, because old checkpoints are removed here, once the new one is safe. size_bytes:
    what it will take, for the message of the DiskFullError.
    """
    prefix = prefix_of(folder, step)
    with disk.writing(prefix, size_bytes):
        os.makedirs(folder, exist_ok=True)
        bring_in(folder, step, lambda path: saver.save(session, path, write_meta_graph=False, write_state=False))
    keep_newest(folder, keep, step)
    return prefix


def kept_in_training(keep: int) -> int:
    """How many checkpoints a run keeps if --keep_checkpoint_max is `keep`; 0: all. At least two.

    The newest may be of weights from which no finite update leads on. The next older one led to the newest.
    """
    return max(keep, 2) if keep else 0


def keep_newest(folder: str, keep: int, step: int) -> None:
    """Removes all but the newest `keep` of the checkpoints up to `step` (0: removes none).

    A checkpoint after `step` is damaged; training will write it again.
    """
    not_newer = [other for other in steps_in(folder) if other <= step]
    for old in not_newer[keep:] if keep else []:
        _remove(prefix_of(folder, old))


def _move(prefix: str, write_to: Callable[[str], Any]) -> None:
    """Lets write_to(path) write a checkpoint under a temporary name, and renames it to `prefix` once it is on disk."""
    temporary = os.path.join(os.path.dirname(prefix), ".saving-" + os.path.basename(prefix))
    try:
        write_to(temporary)
        for ending in ENDINGS:  # the index last
            files.rename_synced(temporary + ending, prefix + ending)
    except Exception as error:
        if disk.is_full(error):  # the room is needed
            remove_leftovers(os.path.dirname(prefix))
        raise


def point_at(prefix: str) -> None:
    """Makes a checkpoint the one that its folder's `checkpoint` file names."""
    with files.atomic_write(os.path.join(os.path.dirname(prefix), "checkpoint")) as file:
        file.write(pointer_text(prefix))


def pointer_text(prefix: str) -> str:
    """The content of a folder's `checkpoint` file that names this checkpoint."""
    return 'model_checkpoint_path: "{}"\n'.format(os.path.basename(prefix))


def bring_in(folder: str, step: int, write_to: Callable[[str], Any]) -> None:
    """Lets write_to(path) write the checkpoint of `step`, and makes it the one that the folder's `checkpoint` names."""
    _move(prefix_of(folder, step), write_to)
    point_at(prefix_of(folder, step))


def require_space(folder: str, checkpoint_bytes: int, best_bytes: int, saves: int, keep: int) -> None:
    """Raises UserError if the disk cannot hold what a run is about to write.

    That is `saves` checkpoints, of which `keep` stay (0: all), and the best one. While a checkpoint is written, the one
    that it replaces is still there.
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
    for ending in ENDINGS[::-1] + (".meta",):  # the index first; Estimator writes the last
        if os.path.exists(prefix + ending):
            os.unlink(prefix + ending)


def best_folder(folder: str) -> str:
    return os.path.join(folder, BEST_FOLDER)


def discard_best_after(folder: str, step: int) -> None:
    """Removes a best checkpoint later than `step`: a killed run left it, and the resumed run may not reach it again."""
    for later in steps_in(best_folder(folder)):
        if later > step:
            _remove(prefix_of(best_folder(folder), later))


def discard_after(folder: str, step: int) -> None:
    """Removes the checkpoints later than `step`, and makes `checkpoint` name the newest that is left."""
    for later in steps_in(folder):
        if later > step:
            _remove(prefix_of(folder, later))
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
    for name in os.listdir(folder):
        if name.startswith(".saving-"):
            os.unlink(os.path.join(folder, name))


def write(prefix: str, tensors: Dict[str, np.ndarray]) -> None:
    """Writes a checkpoint of these values. Raises DiskFullError."""
    with disk.writing(prefix, sum(value.nbytes for value in tensors.values())):
        _write(prefix, tensors)


def _write(prefix: str, tensors: Dict[str, np.ndarray]) -> None:
    names = sorted(tensors)
    on_host = tf.ConfigProto(device_count={"GPU": 0})  # else a session takes all memory of a GPU
    with tf.Graph().as_default(), tf.Session(config=on_host) as session:
        values = [tf.placeholder(tensors[name].dtype, tensors[name].shape) for name in names]
        save = tf.raw_ops.SaveV2(prefix=prefix, tensor_names=names, shape_and_slices=[""] * len(names), tensors=values)
        session.run(save, dict(zip(values, (tensors[name] for name in names))))


def assign(session: tf.Session, variables: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
    """Gives variables, by name, values by their initializers, so that no initial values are computed."""
    feeds = {variables[name].initializer.inputs[1]: value for name, value in tensors.items()}
    session.run([variables[name].initializer for name in tensors], feeds)


def rewrite(prefix: str, changed: Dict[str, np.ndarray]) -> None:
    """Replaces the values of some variables of a run's checkpoint."""
    reader = Reader(prefix)
    tensors = {name: reader.tensor(name) for name in shapes_in(prefix)}
    _move(prefix, lambda temporary: write(temporary, dict(tensors, **changed)))


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
