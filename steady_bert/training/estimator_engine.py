"""Train, evaluate and predict on TensorFlow's Estimator and TPUEstimator, which TensorFlow has up to 2.15.

The task, plan, schedule and optimizer are the session engine's, and either engine continues the other's checkpoints.
Estimator builds a graph for every phase and restores the newest checkpoint of its folder into it, so an evaluation in
the middle of training costs as much as a start. Training begins from the checkpoint that the session engine hands over.

--distribution=mirrored uses Estimator with train_distribute; everything else uses TPUEstimator, as google-research/bert
does, on a TPU with --use_tpu.
"""

import contextlib
import functools
import os
import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from ..base import tensorflow_setup
from ..base.errors import UserError
from ..optimizer_config import OptimizerConfig
from ..tasks.task import Predictions, Task
from . import (
    bucket,
    checkpoint,
    checkpoint_files,
    devices,
    estimator_input,
    failures,
    input_pipeline,
    memory,
    progress,
    towers,
    tracking,
    weights,
)
from .checkpoint import TrainingState
from .engine_config import EngineConfig
from .evaluation import Evaluation, SplitOutputs
from .feature_cache import RecordFile
from .plan import Plan
from .progress import StopRequest
from .reports import TrainingReport

_PREDICTION = "prediction/"  # before the task's own names, to keep them apart from loss and weight


class EstimatorEngine(NamedTuple):
    """The ingredients of an Estimator. Made by `build`."""

    task: Task
    config: EngineConfig
    seed: int
    plan: Optional[Plan]
    optimizer: Optional[OptimizerConfig]
    served: Optional[str] = None  # the checkpoint of the weights that `loaded` chose


def require_estimator(config: EngineConfig) -> None:
    """Raises UserError if TensorFlow has no Estimator, and if Estimator would look for other machines."""
    try:
        available = tf.estimator.tpu is not None
    except AttributeError:
        available = False
    if not available:
        raise UserError(
            "{}: TensorFlow {} has no Estimator; 2.15 was the last. Leave the flag out (the session engine trains on "
            "one device, several GPUs and several machines), or install requirements-tf2.15.txt.".format(
                "--use_tpu" if config.tpu.use_tpu else "--engine=estimator", tf.__version__
            )
        )
    if os.environ.get("TF_CONFIG"):
        raise UserError(
            "TF_CONFIG is set, and --engine=estimator runs in one process. Unset it, or train several workers with the "
            "session engine: --distribution=multi_worker."
        )


def build(
    task: Task,
    config: EngineConfig,
    seed: int,
    plan: Optional[Plan] = None,
    optimizer: Optional[OptimizerConfig] = None,
) -> EstimatorEngine:
    """The engine; Estimator builds its graphs later, one for every phase.

    Raises UserError if TensorFlow has no Estimator, and for a batch that cannot be split.
    """
    require_estimator(config)
    engine = EstimatorEngine(task, config, seed, plan, optimizer)
    if plan is not None:
        towers.check_split(plan, _replicas(config), config.gradient_accumulation_steps)
    return engine


def _replicas(config: EngineConfig) -> int:
    if config.tpu.use_tpu:
        return config.tpu.num_tpu_cores
    return devices.make_strategy(config).num_replicas_in_sync if config.distribution == "mirrored" else 1


# --- the Estimator ----------------------------------------------------------------------------------------------------


def _make_estimator(engine: EstimatorEngine, folder: str, fetches: Dict[str, Any]) -> Any:
    """An Estimator or TPUEstimator.

    fetches: is filled with the tensors to fetch with each update, by name, when the training graph is built. It stays
    empty on a TPU, whose loop cannot be fetched from.
    """
    config, plan = engine.config, engine.plan
    # On a TPU Estimator's own messages are all there is to see; elsewhere the engine's report is better.
    tf.logging.set_verbosity(tf.logging.INFO if config.tpu.use_tpu else tf.logging.ERROR)
    common = dict(
        model_dir=folder,
        session_config=devices.session_config(config),
        save_checkpoints_steps=plan.save_checkpoints_steps if plan else None,
        save_checkpoints_secs=None,
        keep_checkpoint_max=checkpoint.kept_in_training(config.keep_checkpoint_max) or None,
        save_summary_steps=None,
        log_step_count_steps=None,
    )
    model_fn = _model_fn(engine, folder, fetches)
    if config.distribution == "mirrored":
        run_config = tf.estimator.RunConfig(train_distribute=devices.make_strategy(config), **common)
        return tf.estimator.Estimator(
            lambda features, labels, mode: model_fn(features, labels, mode, None), config=run_config
        )
    tpu, kind = config.tpu, tf.estimator.tpu
    resolver = None
    if tpu.use_tpu and tpu.tpu_name:
        try:
            resolver = tf.distribute.cluster_resolver.TPUClusterResolver(
                tpu.tpu_name, zone=tpu.tpu_zone, project=tpu.gcp_project
            )
        except (tf.errors.OpError, OSError, RuntimeError, ValueError) as error:
            raise _no_tpu(config, error) from error
    tpu_config = kind.TPUConfig(
        iterations_per_loop=tpu.iterations_per_loop,
        num_shards=tpu.num_tpu_cores if tpu.use_tpu else None,
        per_host_input_for_training=kind.InputPipelineConfig.PER_HOST_V2,
    )
    return kind.TPUEstimator(
        model_fn,
        config=kind.RunConfig(cluster=resolver, master=tpu.master, tpu_config=tpu_config, **common),
        use_tpu=tpu.use_tpu,
        train_batch_size=plan.train_batch_size if plan else 1,
        predict_batch_size=_predict_batch_size(config),
    )


# TensorFlow's messages if it finds no TPU, and if the TPU has another size.
_NO_TPU = (
    "No session factory registered",
    "Failed to connect to the Tensorflow master",
    "Cannot find any TPU cores",
    "Fail to initialize TPU system",
)
_OTHER_SIZE = "num_shards is not set correctly"


@contextlib.contextmanager
def _reaching_the_tpu(config: EngineConfig) -> Iterator[None]:
    """Turns the errors of a TPU that cannot be reached, or has another size, into UserError."""
    try:
        yield
    except UserError:
        raise
    except (tf.errors.OpError, RuntimeError, ValueError) as error:
        message = str(error).split("\n", 1)[0]
        if config.tpu.use_tpu and _OTHER_SIZE in message:
            raise UserError("--num_tpu_cores={}: {}".format(config.tpu.num_tpu_cores, message)) from error
        unreachable = isinstance(error, (tf.errors.UnavailableError, tf.errors.DeadlineExceededError))
        if config.tpu.use_tpu and (unreachable or any(text in message for text in _NO_TPU)):
            raise _no_tpu(config, error) from error
        raise


def _no_tpu(config: EngineConfig, error: Exception) -> UserError:
    return UserError(
        "--use_tpu: no TPU answers at {} ({}). Check --tpu_name, --tpu_zone and --gcp_project, or --master.".format(
            config.tpu.tpu_name or config.tpu.master, str(error).split("\n", 1)[0]
        )
    )


def _predict_batch_size(config: EngineConfig) -> int:
    """The batch size of prediction, which must be a multiple of a TPU's cores."""
    cores = config.tpu.num_tpu_cores if config.tpu.use_tpu else 1
    return -(-config.predict_batch_size // cores) * cores


def _model_fn(engine: EstimatorEngine, folder: str, fetches: Dict[str, Any]) -> Callable[..., Any]:
    task, config, on_tpu = engine.task, engine.config, engine.config.tpu.use_tpu

    def model_fn(features: Dict[str, Any], labels: Any, mode: str, params: Any) -> Any:
        with tf.variable_scope("", use_resource=True, reuse=tf.AUTO_REUSE):
            return build_train(features) if mode == tf.estimator.ModeKeys.TRAIN else build_predict(features, mode)

    def build_train(features: Dict[str, Any]) -> Any:
        assert engine.plan is not None and engine.optimizer is not None
        global_step, state = tf.train.get_or_create_global_step(), checkpoint.training_state_variables()
        parts = config.gradient_accumulation_steps
        strategy = tf.distribute.get_strategy()
        if on_tpu:
            replicas = towers.Replicas(features["replica"][0], config.tpu.num_tpu_cores, on_tpu=True)
        else:
            replicas = towers.Replicas(devices.replica_id(strategy, worker=0), strategy.num_replicas_in_sync)

        def batch_of(part: int) -> towers.Batch:
            if not on_tpu:
                return towers.parse(towers.slice_of(features["records"], part, parts), task, config)
            columns = {name: value for name, value in features.items() if name != "replica"}
            return {name: tf.split(value, parts)[part] for name, value in columns.items()}

        trained = towers.training_tower(
            task, config, engine.plan, engine.optimizer, replicas, global_step, state, batch_of
        )
        with tf.control_dependencies([trained.loss]):
            train_op = towers.count_examples(state, engine.plan.train_batch_size)
        numbers = {"loss": trained.loss, "learning_rate": trained.learning_rate, "grad_norm": trained.grad_norm}
        if not on_tpu and not fetches:  # those of the first replica, since all are equal
            fetches.update(numbers)
        if config.distribution == "mirrored":
            return tf.estimator.EstimatorSpec(tf.estimator.ModeKeys.TRAIN, loss=trained.loss, train_op=train_op)
        return tf.estimator.tpu.TPUEstimatorSpec(
            tf.estimator.ModeKeys.TRAIN,
            loss=trained.loss,
            train_op=train_op,
            host_call=_summaries(numbers, global_step, config.bucket or folder) if on_tpu else None,
        )

    def build_predict(features: Dict[str, Any], mode: str) -> Any:
        batch = features if on_tpu else towers.parse(features["records"], task, config)
        outputs = towers.inference_tower(task, config, engine.seed, batch, {})
        predictions = {_PREDICTION + name: value for name, value in outputs.predictions.items()}
        predictions.update(loss=outputs.loss, weight=outputs.weight)
        if config.distribution == "mirrored":
            return tf.estimator.EstimatorSpec(mode, predictions=predictions)
        return tf.estimator.tpu.TPUEstimatorSpec(mode, predictions=predictions)

    return model_fn


def _summaries(numbers: Dict[str, tf.Tensor], global_step: Any, folder: str) -> Tuple[Callable[..., Any], List[Any]]:
    """The host call that writes each update's numbers for TensorBoard: a session cannot fetch from a TPU's loop."""
    names = sorted(numbers)

    def write(step: tf.Tensor, *values: tf.Tensor) -> Any:
        from tensorflow.compat.v2 import summary

        writer = summary.create_file_writer(folder)
        with writer.as_default():
            for name, value in zip(names, values):
                summary.scalar("train/" + name, value[0], step=step[0])
        return tf.summary.all_v2_summary_ops()

    return write, [tf.reshape(value, [1]) for value in [global_step] + [numbers[name] for name in names]]


# --- train ------------------------------------------------------------------------------------------------------------


class _Follow(tf.train.SessionRunHook):
    """Reports every update, stops on a signal, and raises at a number that is not finite."""

    def __init__(
        self,
        fetches: Dict[str, Any],
        step: int,
        report: TrainingReport,
        stop: StopRequest,
        check: Callable[[Dict[str, Any], int], None],
    ) -> None:
        """check(numbers of an update, the step that it starts from) raises UserError if they are not finite."""
        self.step = step
        self._fetches = fetches
        self._report = report
        self._stop = stop
        self._check = check
        self._started = 0.0

    def before_run(self, run_context: Any) -> Any:
        self._started = time.perf_counter()
        if not self._fetches:  # on a TPU
            return tf.train.SessionRunArgs({"global_step": tf.train.get_global_step()})
        return tf.train.SessionRunArgs(self._fetches)

    def after_run(self, run_context: Any, run_values: Any) -> None:
        numbers = run_values.results
        if "loss" in numbers:
            self._check(numbers, self.step)
            self.step += 1
            self._report.count_seconds(time.perf_counter() - self._started)
            self._report.update(self.step, *(float(numbers[name]) for name in ("loss", "learning_rate", "grad_norm")))
        else:
            self.step = int(numbers["global_step"])
        if self._stop:
            run_context.request_stop()


class _Run(NamedTuple):
    """The values that stay the same during a call of `train`."""

    engine: EstimatorEngine
    plan: Plan
    records: RecordFile
    folder: str
    report: TrainingReport
    stop: StopRequest


def train(engine: EstimatorEngine, plan: Plan, records: RecordFile, dev: Optional[RecordFile], folder: str) -> int:
    """Trains from the checkpoint that `folder`/checkpoint names to the end of the plan; returns the last step.

    Evaluates on `dev` if given, saves to `folder`, keeps the best in `folder`/best. Raises as session_engine.train.
    """
    prefix = tf.train.latest_checkpoint(folder)
    step, state = checkpoint.step_of(prefix), checkpoint.state_in(prefix)
    checkpoint.discard_best_after(folder, state.best_step)
    with tf.Graph().as_default():  # TF 2's event writers refuse to work elsewhere; Estimator makes its own graphs
        peak_memory = functools.partial(memory.peak_bytes, devices.used_gpus(engine.config))
        report = tracking.report(engine.config, plan, folder, step, peak_memory)
    with contextlib.closing(report), StopRequest() as stop:
        run = _Run(engine, plan, records, folder, report, stop)
        evaluation = _dev_evaluation(run, dev) if dev is not None else None
        while True:
            last = step >= plan.num_train_steps
            if evaluation is not None and progress.evaluation_due(plan, step, state) and not stop:
                before, state = state, progress.evaluate_and_keep_best(evaluation, step, state)
                if state != before:
                    checkpoint.rewrite(checkpoint.prefix_of(folder, step), checkpoint.state_tensors(state))
            last = last or (dev is not None and progress.stopped_early(state, plan.early_stopping_patience))
            progress.exit_if_stopped(stop, step, report)
            if last:
                break
            every = plan.eval_every_steps if dev is not None else 0
            until = min(plan.num_train_steps, (step // every + 1) * every) if every else plan.num_train_steps
            step = _train_until(run, until, step, state)
            state = checkpoint.state_in(checkpoint.prefix_of(folder, step))
    if step < plan.num_train_steps:
        progress.say_stopped_early(plan, engine.task.best_metric)
    return step


def _train_until(run: _Run, until: int, step: int, state: TrainingState) -> int:
    """Trains by one call of Estimator; gives the step of the checkpoint that it leaves."""
    config, folder = run.engine.config, run.folder
    fetches: Dict[str, Any] = {}
    batch_size = run.plan.train_batch_size
    order = input_pipeline.training_order(run.plan, run.records, state.examples_consumed)

    def check(numbers: Dict[str, Any], of_step: int) -> None:
        position = state.examples_consumed + (of_step - step) * batch_size
        examples = None if config.tpu.use_tpu else order.numbers(position, batch_size)
        progress.require_finite(numbers, of_step, run.records, examples)

    follow = _Follow(fetches, step, run.report, run.stop, check)
    staged = bucket.staged_checkpoint(config, checkpoint.prefix_of(folder, step))
    bucket_folder = os.path.dirname(staged)
    keep = config.keep_checkpoint_max
    listeners = [bucket.CopyingBack(bucket_folder, folder, keep)] if config.bucket else []
    input_fn = estimator_input.training_input(run.engine.task, config, run.plan, run.records, state.examples_consumed)
    checkpoint_files.unlist(folder)
    try:
        with _reaching_the_tpu(config), failures.noting_step(lambda: follow.step):
            _make_estimator(run.engine, bucket_folder, fetches).train(
                input_fn, hooks=[follow], max_steps=until, saving_listeners=listeners
            )
    except (UserError, tf.train.NanLossDuringTrainingError) as error:
        checkpoint.discard_after(folder, follow.step)  # Estimator may have saved before the check
        checkpoint.discard_if_not_finite(folder, follow.step)
        if isinstance(error, UserError):
            raise
        check({"loss": float("nan"), "grad_norm": 0.0}, follow.step)
    reached = checkpoint.step_of(tf.train.latest_checkpoint(folder))
    wrong = checkpoint.discard_if_not_finite(folder, reached)
    if wrong is not None:
        raise UserError("{} It was removed: lower --learning_rate, or lengthen the warm-up.".format(wrong))
    checkpoint.keep_newest(folder, checkpoint.kept_in_training(keep), reached)
    return reached


def _dev_evaluation(run: _Run, dev: RecordFile) -> progress.DevEvaluation:
    def evaluate_checkpoint(step: int) -> Optional[Evaluation]:
        with loaded(run.engine, checkpoint.prefix_of(run.folder, step)) as trained:
            evaluation = evaluate(trained, "dev", dev)
        return None if run.stop else evaluation

    def keep_best(step: int) -> None:
        weights.keep_best(checkpoint.prefix_of(run.folder, step), run.folder, step)

    return progress.DevEvaluation(run.plan, run.engine.task.best_metric, evaluate_checkpoint, keep_best, run.report)


# --- evaluate and predict ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def loaded(engine: EstimatorEngine, prefix: str) -> Iterator[EstimatorEngine]:
    """The engine with the weights of a fine-tuned model, its averages if it has them.

    Raises UserError if it has no trained head.
    """
    shapes, task = _shapes(engine), engine.task
    report = weights.match_trained(shapes, prefix, task.head_variables, task.unread_variables)
    unread = {name: np.zeros(shapes[name], np.float32) for name in report.missing}  # Estimator restores all variables
    with tensorflow_setup.temporary_folder() as scratch:
        served = os.path.join(scratch, "served")
        weights.export_served(prefix, served, report.loaded, unread)
        yield engine._replace(served=served)


def step_of(engine: EstimatorEngine) -> int:
    """The step of the weights that `loaded` chose."""
    assert engine.served is not None
    return int(checkpoint.Reader(engine.served).tensor("global_step"))


def _shapes(engine: EstimatorEngine) -> Dict[str, Tuple[int, ...]]:
    """Name → shape of the model's variables."""
    with tf.Graph().as_default(), tf.variable_scope("", use_resource=True, reuse=tf.AUTO_REUSE):
        batch = towers.parse(tf.placeholder(tf.string, [None]), engine.task, engine.config)
        towers.inference_tower(engine.task, engine.config, engine.seed, batch, {})
        return {variable.op.name: tuple(variable.shape.as_list()) for variable in tf.trainable_variables()}


def evaluate(engine: EstimatorEngine, split: str, records: RecordFile) -> Evaluation:
    """session_engine.evaluate, with the weights that `loaded` chose."""
    return _predict(engine, records, engine.config.eval_batch_size).evaluation(split)


def predict(engine: EstimatorEngine, records: RecordFile) -> Predictions:
    """session_engine.predict, with the weights that `loaded` chose."""
    return _predict(engine, records, engine.config.predict_batch_size).predictions


def _predict(engine: EstimatorEngine, records: RecordFile, batch_size: int) -> SplitOutputs:
    assert engine.served is not None
    config = engine.config
    if config.tpu.use_tpu:
        batch_size = _predict_batch_size(config)
    outputs = SplitOutputs(engine.task, records)
    input_fn = estimator_input.prediction_input(engine.task, config, records, batch_size)
    start = 0
    with bucket.briefly_staged(config, engine.served) as served, _reaching_the_tpu(config):
        for batch in _make_estimator(engine, os.path.dirname(served), {}).predict(
            input_fn, checkpoint_path=served, yield_single_examples=False
        ):
            numbers = np.arange(start, min(start + len(batch["loss"]), len(records)))
            start += len(numbers)
            kept = {name: values[: len(numbers)] for name, values in batch.items()}
            predictions = {name[len(_PREDICTION) :]: v for name, v in kept.items() if name.startswith(_PREDICTION)}
            outputs.add(numbers, kept["loss"], kept["weight"], predictions)
    return outputs
