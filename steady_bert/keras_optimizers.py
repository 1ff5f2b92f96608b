"""keras-bert's AdamWarmup and the schedules of schedules.py for models of tf.keras.

Up to TensorFlow 2.15 Keras is tf.keras. Later tf.keras is Keras 3, whose optimizers differ; then Keras is tf_keras.
"""

import dataclasses
import numbers
from typing import Any, Dict, Optional, Sequence, Tuple

import tensorflow
import tensorflow.compat.v1 as tf

from . import optimizers, schedules


def _optimizer_class(keras: Any) -> Any:
    """The base class of optimizers with slots: `Optimizer` before TF 2.11, then `legacy.Optimizer`."""
    return getattr(keras.optimizers, "legacy", keras.optimizers).Optimizer


def _keras() -> Any:
    """The Keras to build on. Raises ImportError, which says what to install."""
    if hasattr(_optimizer_class(tensorflow.keras), "add_slot"):
        return tensorflow.keras
    try:
        import tf_keras
    except ImportError:
        version = ".".join(tf.__version__.split(".")[:2])
        raise ImportError(
            "keras_optimizers needs Keras 2, but this TensorFlow has Keras 3. Install tf-keras beside it: "
            "pip install --no-deps 'tf-keras=={}.*'".format(version)
        ) from None
    return tf_keras


keras = _keras()
_Optimizer: Any = _optimizer_class(keras)
_Schedule: Any = keras.optimizers.schedules.LearningRateSchedule


class AdamWarmup(_Optimizer):
    """Adam with warm-up, linear decay and decoupled weight decay. The arguments are keras-bert's, including `lr`.

    Update t, from 1, has the rate η = learning_rate · t / warmup_steps up to t = warmup_steps, and then
    min_lr + (learning_rate - min_lr) · (1 - min(t, decay_steps) / decay_steps). A weight moves by -η · (u + λ · w),
    where u is that of optimizers.adam or optimizers.amsgrad. Duplicate rows of a sparse gradient are summed.

    Differs from keras-bert for tf.keras: amsgrad keeps its maximum, and weight_decay_pattern has an effect.

    Args:
      learning_rate: the peak; a number or a LearningRateSchedule. No other argument can be changed while training.
      epsilon: None is keras.backend.epsilon().
      weight_decay: λ.
      weight_decay_pattern: a variable is decayed if its name contains one of these; None: all are, []: none.
      **kwargs: arguments of Keras' own optimizers: clipnorm, clipvalue, decay.
    """

    def __init__(
        self,
        decay_steps: float,
        warmup_steps: float,
        min_lr: float = 0.0,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: Optional[float] = None,
        weight_decay: float = 0.0,
        weight_decay_pattern: Optional[Sequence[str]] = None,
        amsgrad: bool = False,
        name: str = "AdamWarmup",
        **kwargs: Any,
    ) -> None:
        learning_rate = kwargs.pop("lr", learning_rate)
        if not decay_steps > 0:
            raise ValueError("decay_steps={}: give the number of updates, above 0.".format(decay_steps))
        for argument, value in (("warmup_steps", warmup_steps), ("min_lr", min_lr), ("weight_decay", weight_decay)):
            if not value >= 0:
                raise ValueError("{}={}: give 0 or more.".format(argument, value))
        if isinstance(weight_decay_pattern, str):
            raise ValueError("weight_decay_pattern={0!r}: give a list, [{0!r}].".format(weight_decay_pattern))
        super().__init__(name, **kwargs)
        self._set_hyper("learning_rate", learning_rate)
        self._set_hyper("decay", self._initial_decay)
        self.decay_steps = decay_steps
        self.warmup_steps = warmup_steps
        self.min_lr = min_lr
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = keras.backend.epsilon() if epsilon is None else epsilon
        self.weight_decay = weight_decay
        self.weight_decay_pattern = None if weight_decay_pattern is None else list(weight_decay_pattern)
        self.amsgrad = amsgrad
        self._rule = (optimizers.amsgrad if amsgrad else optimizers.adam)(beta_1, beta_2, self.epsilon)

    def _count(self) -> tf.Tensor:
        """t of the next update."""
        return tf.cast(self.iterations, tf.float64) + 1.0

    def _decayed_lr(self, var_dtype: Any) -> tf.Tensor:
        """The rate of the next update. Keras' own method gives the peak."""
        peak = tf.cast(super()._decayed_lr(tf.float32), tf.float64)
        t = self._count()
        warming = peak * t / max(self.warmup_steps, 1)
        decayed = self.min_lr + (peak - self.min_lr) * (1.0 - tf.minimum(t / self.decay_steps, 1.0))
        return tf.cast(tf.where_v2(t <= self.warmup_steps, warming, decayed), var_dtype)

    def _decays(self, variable: Any) -> bool:
        name, patterns = variable.name.split(":")[0], self.weight_decay_pattern
        return self.weight_decay > 0 and (patterns is None or any(pattern in name for pattern in patterns))

    def _create_slots(self, var_list: Sequence[Any]) -> None:
        for variable in var_list:
            if variable.dtype.base_dtype != tf.float32:
                raise ValueError("{}: AdamWarmup trains only float32 variables.".format(variable))
        if self.weight_decay and self.weight_decay_pattern and not any(map(self._decays, var_list)):
            raise ValueError(
                "weight_decay_pattern={}: no variable matches, so none would be decayed. The variables are {}.".format(
                    self.weight_decay_pattern, ", ".join(variable.name for variable in var_list)
                )
            )
        for slot, initial in self._rule.slots.items():
            for variable in var_list:
                self.add_slot(variable, slot, tf.constant_initializer(initial))

    def _resource_apply_dense(self, grad: Any, var: Any) -> Any:
        slots = {slot: self.get_slot(var, slot) for slot in self._rule.slots}
        u, new_slots = self._rule.direction(grad, slots, self._count())
        if self._decays(var):
            u += self.weight_decay * var
        moves = [tf.assign(var, var - self._decayed_lr(tf.float32) * u)]
        return tf.group(*moves, *[tf.assign(slots[slot], value) for slot, value in new_slots.items()])

    def _resource_apply_sparse(self, grad: Any, var: Any, indices: Any) -> Any:
        # Keras has summed duplicate rows. A segment sum, because the result of a scatter-add may vary with threads.
        return self._resource_apply_dense(tf.math.unsorted_segment_sum(grad, indices, var.shape[0]), var)

    def get_config(self) -> Dict[str, Any]:
        config = super().get_config()
        for name in ("learning_rate", "decay"):
            config[name] = self._serialize_hyperparameter(name)
        for name in ("decay_steps", "warmup_steps", "min_lr", "beta_1", "beta_2", "epsilon", "weight_decay"):
            config[name] = getattr(self, name)
        return dict(config, weight_decay_pattern=self.weight_decay_pattern, amsgrad=self.amsgrad)


def calc_train_steps(num_example: int, batch_size: int, epochs: int, warmup_proportion: float = 0.1) -> Tuple[int, int]:
    """(all updates, warm-up updates), as keras-bert counts: the last batch of an epoch may be smaller.

    Raises ValueError for numbers that make no sense.
    """
    for name, value in (("num_example", num_example), ("batch_size", batch_size), ("epochs", epochs)):
        if not isinstance(value, numbers.Integral) or value < 1:
            raise ValueError("{}={}: give a whole number above 0.".format(name, value))
    if not 0.0 <= warmup_proportion <= 1.0:
        raise ValueError("warmup_proportion={}: give a number from 0 to 1.".format(warmup_proportion))
    total_steps = -(-num_example // batch_size) * epochs
    return total_steps, int(total_steps * warmup_proportion)


class LearningRate(_Schedule):
    """A schedule of schedules.py for any Keras optimizer: the update from t to t+1 has the rate of step t.

    Args:
      num_train_steps: from here on, the rate stays that of the last step.
      **fields: of schedules.ScheduleConfig. If not given, num_warmup_steps is 0, lr_decay_steps is num_train_steps, and
          the learning_rate of piecewise, which is the peak of its warm-up, the largest of lr_values.
    """

    def __init__(self, num_train_steps: int, **fields: Any) -> None:
        fields = dict(dict(num_warmup_steps=0, lr_decay_steps=num_train_steps), **fields)
        for name in ("lr_boundaries", "lr_values"):  # lists in a configuration that was read from JSON
            fields[name] = tuple(fields.get(name, ()))
        if fields["lr_values"]:
            fields.setdefault("learning_rate", max(fields["lr_values"]))
        self.num_train_steps = num_train_steps
        self.config = schedules.ScheduleConfig(**fields)
        if self.config.lr_schedule == "plateau":
            raise ValueError("lr_schedule='plateau' follows scores. Use keras.callbacks.ReduceLROnPlateau instead.")
        schedules.check(self.config, num_train_steps)

    def __call__(self, step: Any) -> tf.Tensor:
        return schedules.rate_in_graph(self.config, step, self.num_train_steps - 1)

    def get_config(self) -> Dict[str, Any]:
        return dict(dataclasses.asdict(self.config), num_train_steps=self.num_train_steps)
