"""What the model_fns that scripts import for an Estimator loop of their own (TF ≤ 2.15) have in common."""

from typing import Any, Callable, Optional

import tensorflow.compat.v1 as tf

import modeling

from ..base.errors import UserError


def require_estimator() -> Any:
    """tf.estimator. Raises UserError where the installed TensorFlow has none."""
    try:
        return tf.estimator.tpu and tf.estimator
    except AttributeError:
        raise UserError(
            "This TensorFlow has no Estimator; 2.15 was the last. Train with run_classifier.py, or install 2.15."
        ) from None


def load_initial_weights(init_checkpoint: Optional[str], use_tpu: bool, config: Any = None) -> Optional[Callable]:
    """Makes the shared variables start from the checkpoint; on a TPU, by the scaffold_fn that is returned.

    config: Estimator's. Once there is a checkpoint in its folder, Estimator reads that, in every phase.
    """
    begun = config is not None and tf.train.latest_checkpoint(config.model_dir) is not None
    if begun or not init_checkpoint:
        return None
    assignment_map, _ = modeling.get_assignment_map_from_checkpoint(tf.trainable_variables(), init_checkpoint)
    if not assignment_map:
        raise UserError("{}: none of its variables has a name of this model.".format(init_checkpoint))
    if not use_tpu:
        tf.train.init_from_checkpoint(init_checkpoint, assignment_map)
        return None

    def scaffold_fn() -> tf.train.Scaffold:
        tf.train.init_from_checkpoint(init_checkpoint, assignment_map)
        return tf.train.Scaffold()

    return scaffold_fn
