"""Train, evaluate and predict on TensorFlow's Estimator and TPUEstimator, which TensorFlow has up to 2.15.

The same task, plan, schedule and optimizer as the session engine's, and checkpoints that either engine continues. What
Estimator does otherwise stays as it is there: it builds a graph for every phase and restores the newest checkpoint of
its folder into it, so an evaluation in the middle of training costs what a start does. Training begins from the
checkpoint that the session engine hands over.

With --distribution=mirrored it is Estimator with train_distribute, else TPUEstimator, as google-research/bert has it,
on a TPU with --use_tpu.
"""

import contextlib
import hashlib
import os
import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from ..base import tensorflow_setup
from ..base.errors import UserError
from ..optimizer_config import OptimizerConfig
from ..tasks.task import Predictions, Task
from . import checkpoint, devices, input_pipeline, progress, towers
from .checkpoint import TrainingState
from .engine_config import EngineConfig
from .evaluation import Answers, Evaluation
from .feature_cache import RecordFile
from .plan import Plan
from .progress import StopRequest
from .reports import TrainingReport

_PREDICTION = "prediction/"  # before a task's name for it, beside loss and weight


class EstimatorEngine(NamedTuple):
    """What an Estimator is made of. Made by `build`."""

    task: Task
    config: EngineConfig
    seed: int
    plan: Optional[Plan]
    optimizer: Optional[OptimizerConfig]
    served: Optional[str] = None  # the checkpoint of load_trained


def require_estimator(config: EngineConfig) -> None:
    """Raises UserError where TensorFlow has no Estimator, and where it would look for other machines."""
    try:
        found = tf.estimator.tpu is not None
    except AttributeError:
        found = False
    if not found:
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
    """Estimator builds its graphs later, one for every phase.

    Raises UserError where TensorFlow has no Estimator, and for a batch that cannot be split.
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


def _make_estimator(engine: EstimatorEngine, folder: str, told: Dict[str, Any]) -> Any:
    """told: gets the tensors of an update, by name, when the training graph is built."""
    config, plan = engine.config, engine.plan
    # Of a TPU's loop these notes are all that is seen; else the engine's own report says it better.
    tf.logging.set_verbosity(tf.logging.INFO if config.tpu.use_tpu else tf.logging.ERROR)
    common = dict(
        model_dir=folder,
        session_config=devices.session_config(config),
        save_checkpoints_steps=plan.save_checkpoints_steps if plan else None,
        save_checkpoints_secs=None,
        keep_checkpoint_max=_kept_at_least(config.keep_checkpoint_max) or None,
        save_summary_steps=None,
        log_step_count_steps=None,
    )
    model_fn = _model_fn(engine, folder, told)
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


def _kept_at_least(keep: int) -> int:
    """While it trains: the newest may be of a bad update, since Estimator saves before that is seen. 0: all."""
    return max(keep, 2) if keep else 0


# What TensorFlow says where it finds no TPU, and where it finds one of another size.
_NO_TPU = (
    "No session factory registered",
    "Failed to connect to the Tensorflow master",
    "Cannot find any TPU cores",
    "Fail to initialize TPU system",
)
_OTHER_SIZE = "num_shards is not set correctly"


@contextlib.contextmanager
def _reaching_the_tpu(config: EngineConfig) -> Iterator[None]:
    """Inside, a TPU that does not answer, or is of another size, is a UserError."""
    try:
        yield
    except UserError:
        raise
    except (tf.errors.OpError, RuntimeError, ValueError) as error:
        found = str(error).split("\n", 1)[0]
        if config.tpu.use_tpu and _OTHER_SIZE in found:
            raise UserError("--num_tpu_cores={}: {}".format(config.tpu.num_tpu_cores, found)) from error
        unreachable = isinstance(error, (tf.errors.UnavailableError, tf.errors.DeadlineExceededError))
        if config.tpu.use_tpu and (unreachable or any(text in found for text in _NO_TPU)):
            raise _no_tpu(config, error) from error
        raise


def _no_tpu(config: EngineConfig, error: Exception) -> UserError:
    return UserError(
        "--use_tpu: no TPU answers at {} ({}). Check --tpu_name, --tpu_zone and --gcp_project, or --master.".format(
            config.tpu.tpu_name or config.tpu.master, str(error).split("\n", 1)[0]
        )
    )


def _predict_batch_size(config: EngineConfig) -> int:
    """A TPUEstimator has one; each core of a TPU takes a like part."""
    cores = config.tpu.num_tpu_cores if config.tpu.use_tpu else 1
    return -(-config.predict_batch_size // cores) * cores


def _model_fn(engine: EstimatorEngine, folder: str, told: Dict[str, Any]) -> Callable[..., Any]:
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
        if not on_tpu and not told:  # the first replica; they all say the same
            told.update(numbers)
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
    """What a TPU's host writes for TensorBoard of each update: a session cannot fetch from within the loop there."""
    names = sorted(numbers)

    def write(step: tf.Tensor, *values: tf.Tensor) -> Any:
        from tensorflow.compat.v2 import summary

        writer = summary.create_file_writer(folder)
        with writer.as_default():
            for name, value in zip(names, values):
                summary.scalar("train/" + name, value[0], step=step[0])
        return tf.summary.all_v2_summary_ops()

    return write, [tf.reshape(value, [1]) for value in [global_step] + [numbers[name] for name in names]]


# --- input ------------------------------------------------------------------------------------------------------------


def _training_input(engine: EstimatorEngine, records: RecordFile, position: int) -> Callable[..., Any]:
    """Batches from a stream position on: the session engine's, but on a TPU, which reads in sequence."""
    plan, config = engine.plan, engine.config
    assert plan is not None

    def computed_order() -> tf.data.Dataset:
        order = input_pipeline.TrainingOrder(len(records), plan.seed, plan.shuffle)
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        replica_batch_size = plan.train_batch_size // replicas

        def batches() -> Iterator[Dict[str, Any]]:
            for _, serialized in input_pipeline.training_batches(records, order, position, plan.train_batch_size):
                for start in range(0, plan.train_batch_size, replica_batch_size):  # a replica takes one at a time
                    yield {"records": serialized[start : start + replica_batch_size]}

        shapes = {"records": [replica_batch_size]}
        return tf.data.Dataset.from_generator(batches, {"records": tf.string}, shapes).prefetch(2 * replicas)

    def in_sequence(params: Any) -> tf.data.Dataset:
        _require_one_host(config, params)
        path = _staged(config, records.path)
        batches = input_pipeline.sequential_batches(
            path, len(records), params["batch_size"], plan.seed, plan.shuffle, position
        )

        def parsed(number: tf.Tensor, serialized: tf.Tensor) -> Dict[str, tf.Tensor]:
            replica = tf.cast(tf.floormod(number, config.tpu.num_tpu_cores), tf.int32)
            batch = _static(towers.parse(serialized, engine.task, config), params["batch_size"])
            return dict(batch, replica=tf.fill([params["batch_size"]], replica))

        return tf.data.Dataset.zip((tf.data.experimental.Counter(), batches)).map(parsed).prefetch(2)

    if config.tpu.use_tpu:
        return in_sequence
    return computed_order if config.distribution == "mirrored" else lambda params: computed_order()


def _prediction_input(engine: EstimatorEngine, records: RecordFile, batch_size: int) -> Callable[..., Any]:
    """In file order; the last batch is filled with the first examples again, since shapes are static."""

    def batches(size: int) -> tf.data.Dataset:
        whole = -(-len(records) // batch_size) * batch_size
        data = (
            tf.data.TFRecordDataset(_staged(engine.config, records.path))
            .repeat()
            .take(whole)
            .batch(size, drop_remainder=True)
        )
        if engine.config.tpu.use_tpu:
            return data.map(lambda serialized: _static(towers.parse(serialized, engine.task, engine.config), size))
        return data.map(lambda serialized: {"records": serialized})

    def on_tpu(params: Any) -> tf.data.Dataset:
        _require_one_host(engine.config, params)
        return batches(params["batch_size"])

    if engine.config.tpu.use_tpu:
        return on_tpu
    if engine.config.distribution == "mirrored":
        return lambda: batches(batch_size)
    return lambda params: batches(batch_size)


def _require_one_host(config: EngineConfig, params: Any) -> None:
    """Of a TPU. Each host of several would feed the same examples, and TPUEstimator predicts on one alone."""
    hosts = params["context"].num_hosts if "context" in params else 1
    if hosts > 1:
        text = "--num_tpu_cores={}: they are on {} hosts. Use a TPU of one host, as one of 8 cores is."
        raise UserError(text.format(config.tpu.num_tpu_cores, hosts))


def _static(batch: towers.Batch, size: int) -> towers.Batch:
    for value in batch.values():
        value.set_shape([size] + value.shape.as_list()[1:])
    return batch


# --- a bucket ---------------------------------------------------------------------------------------------------------


def _staged(config: EngineConfig, path: str) -> str:
    """Where the machine that computes finds a file of this one: a copy in the bucket, where one is named."""
    if config.bucket is None:
        return path
    target = os.path.join(config.bucket, os.path.basename(path))
    there = tf.io.gfile.exists(target) and tf.io.gfile.stat(target).length == os.path.getsize(path)
    if not there:
        tf.io.gfile.makedirs(config.bucket)
        tf.io.gfile.copy(path, target + ".copying", overwrite=True)
        tf.io.gfile.rename(target + ".copying", target, overwrite=True)
    return target


def _staged_checkpoint(config: EngineConfig, prefix: str) -> str:
    """A checkpoint in a folder of the bucket that holds nothing else; the checkpoint itself without a bucket.

    The folder is of this checkpoint's own: runs share a bucket.
    """
    if config.bucket is None:
        return prefix
    mark = hashlib.sha256(os.path.dirname(os.path.abspath(prefix)).encode("utf-8")).hexdigest()[:16]
    folder = os.path.join(config.bucket, "checkpoints-" + mark)
    if tf.io.gfile.exists(folder):
        tf.io.gfile.rmtree(folder)
    tf.io.gfile.makedirs(folder)
    staged = os.path.join(folder, os.path.basename(prefix))
    for ending in checkpoint.ENDINGS:
        tf.io.gfile.copy(prefix + ending, staged + ending)
    with tf.io.gfile.GFile(os.path.join(folder, "checkpoint"), "w") as file:
        file.write(checkpoint.pointer_text(prefix))
    return staged


@contextlib.contextmanager
def _briefly_staged(config: EngineConfig, prefix: str) -> Iterator[str]:
    """As _staged_checkpoint, gone from the bucket at the end, unless a signal ends the process first."""
    staged = _staged_checkpoint(config, prefix)
    try:
        yield staged
    finally:
        if config.bucket is not None:
            with contextlib.suppress(tf.errors.OpError):  # what is done is done
                tf.io.gfile.rmtree(os.path.dirname(staged))


class _CopyingBack(tf.train.CheckpointSaverListener):
    """Brings every checkpoint that is written in the bucket into the run's own folder."""

    def __init__(self, bucket_folder: str, folder: str, keep: int) -> None:
        self._bucket_folder = bucket_folder
        self._folder = folder
        self._keep = keep

    def after_save(self, session: Any, global_step_value: int) -> None:
        source = checkpoint.prefix_of(self._bucket_folder, global_step_value)

        def copy(temporary: str) -> None:
            for ending in checkpoint.ENDINGS:
                tf.io.gfile.copy(source + ending, temporary + ending, overwrite=True)

        checkpoint.bring_in(self._folder, global_step_value, copy)
        checkpoint.keep_newest(self._folder, _kept_at_least(self._keep), global_step_value)


# --- train ------------------------------------------------------------------------------------------------------------


class _Following(tf.train.SessionRunHook):
    """Reports every update, stops on a signal, and at a number that is not finite."""

    def __init__(
        self,
        told: Dict[str, Any],
        step: int,
        report: TrainingReport,
        stop: StopRequest,
        check: Callable[[Dict[str, Any], int], None],
    ) -> None:
        """check(numbers of an update, the step that it is from) raises UserError where they are not finite."""
        self.step = step
        self._told = told
        self._report = report
        self._stop = stop
        self._check = check
        self._started = 0.0

    def before_run(self, run_context: Any) -> Any:
        self._started = time.perf_counter()
        if not self._told:  # within a TPU's loop nothing can be fetched
            return tf.train.SessionRunArgs({"global_step": tf.train.get_global_step()})
        return tf.train.SessionRunArgs(self._told)

    def after_run(self, run_context: Any, run_values: Any) -> None:
        found = run_values.results
        if "loss" in found:
            self._check(found, self.step)
            self.step += 1
            self._report.count_seconds(time.perf_counter() - self._started)
            self._report.update(self.step, *(float(found[name]) for name in ("loss", "learning_rate", "grad_norm")))
        else:
            self.step = int(found["global_step"])
        if self._stop:
            run_context.request_stop()


def train(engine: EstimatorEngine, plan: Plan, records: RecordFile, dev: Optional[RecordFile], folder: str) -> int:
    """Trains from the checkpoint that `folder` points at to the end of the plan; returns the last step.

    Evaluates on `dev` where given, saves to `folder`, keeps the best in `folder`/best. Raises as session_engine.train.
    """
    prefix = tf.train.latest_checkpoint(folder)
    step, state = checkpoint.step_of(prefix), checkpoint.state_in(prefix)
    checkpoint.discard_best_after(folder, step)
    log_every = engine.config.log_every_steps
    with tf.Graph().as_default():  # TF 2's event writers refuse to work elsewhere; Estimator makes graphs of its own
        report = TrainingReport(folder, step, plan.num_train_steps, plan.train_batch_size, log_every)
    with contextlib.closing(report), StopRequest() as stop:
        while True:
            last = step >= plan.num_train_steps
            if dev is not None and progress.evaluation_due(plan, step, state) and not stop:
                state = _evaluate_and_keep_best(engine, plan, dev, step, state, folder, report, stop)
            last = last or (dev is not None and progress.stopped_early(state, plan.early_stopping_patience))
            progress.answer(stop, step)
            if last:
                break
            every = plan.eval_every_steps if dev is not None else 0
            until = min(plan.num_train_steps, (step // every + 1) * every) if every else plan.num_train_steps
            step = _train_until(engine, until, step, state, records, folder, report, stop)
            state = checkpoint.state_in(checkpoint.prefix_of(folder, step))
    if step < plan.num_train_steps:
        progress.say_stopped_early(plan, engine.task.best_metric)
    return step


def _train_until(
    engine: EstimatorEngine,
    until: int,
    step: int,
    state: TrainingState,
    records: RecordFile,
    folder: str,
    report: TrainingReport,
    stop: StopRequest,
) -> int:
    """One call of Estimator's train; the step of the checkpoint that it leaves."""
    plan = engine.plan
    assert plan is not None
    told: Dict[str, Any] = {}
    batch_size = plan.train_batch_size
    order = input_pipeline.TrainingOrder(len(records), plan.seed, plan.shuffle)

    def check(numbers: Dict[str, Any], of_step: int) -> None:
        position = state.examples_consumed + (of_step - step) * batch_size
        examples = None if engine.config.tpu.use_tpu else order.numbers(position, batch_size)
        progress.require_finite(numbers, of_step, records, examples)

    following = _Following(told, step, report, stop, check)
    staged = _staged_checkpoint(engine.config, checkpoint.prefix_of(folder, step))
    bucket_folder = os.path.dirname(staged)
    keep = engine.config.keep_checkpoint_max
    listeners = [_CopyingBack(bucket_folder, folder, keep)] if engine.config.bucket else []
    try:
        with _reaching_the_tpu(engine.config):
            _make_estimator(engine, bucket_folder, told).train(
                _training_input(engine, records, state.examples_consumed),
                hooks=[following],
                max_steps=until,
                saving_listeners=listeners,
            )
    except (UserError, tf.train.NanLossDuringTrainingError) as error:
        checkpoint.discard_after(folder, following.step)  # Estimator may have saved before it looked
        if isinstance(error, UserError):
            raise
        check({"loss": float("nan"), "grad_norm": 0.0}, following.step)
    reached = checkpoint.step_of(tf.train.latest_checkpoint(folder))
    checkpoint.keep_newest(folder, keep, reached)
    return reached


def _evaluate_and_keep_best(
    engine: EstimatorEngine,
    plan: Plan,
    dev: RecordFile,
    step: int,
    state: TrainingState,
    folder: str,
    report: TrainingReport,
    stop: StopRequest,
) -> TrainingState:
    """The state after the evaluation due at `step`, which is also put into the checkpoint of that step."""
    started = time.perf_counter()
    prefix = checkpoint.prefix_of(folder, step)
    with loaded(engine, prefix) as trained:
        found = evaluate(trained, "dev", dev)
        if stop:
            return state
        after = progress.evaluated(state, plan, step, found.metrics[engine.task.best_metric])
        if after.is_best:
            assert trained.served is not None
            checkpoint.keep_best(trained.served, folder, step)
    checkpoint.rewrite(prefix, checkpoint.state_tensors(after.state))
    report.evaluation(step, found.metrics, after.note, time.perf_counter() - started)
    return after.state


# --- evaluate and predict ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def loaded(engine: EstimatorEngine, prefix: str) -> Iterator[EstimatorEngine]:
    """The engine with the weights of a fine-tuned model, averaged ones if it has them.

    Raises UserError where it has no trained head.
    """
    report = checkpoint.match_trained(_shapes(engine), prefix, engine.task.head_variables)
    with tensorflow_setup.temporary_folder() as scratch:
        served = os.path.join(scratch, "served")
        checkpoint.export_served(prefix, report.loaded, served)
        yield engine._replace(served=served)


def step_of(engine: EstimatorEngine) -> int:
    """The step of the weights that `loaded` gave it."""
    assert engine.served is not None
    return int(checkpoint.Reader(engine.served).tensor("global_step"))


def _shapes(engine: EstimatorEngine) -> Dict[str, Tuple[int, ...]]:
    """Name → shape of the model's variables."""
    with tf.Graph().as_default(), tf.variable_scope("", use_resource=True, reuse=tf.AUTO_REUSE):
        batch = towers.parse(tf.placeholder(tf.string, [None]), engine.task, engine.config)
        towers.inference_tower(engine.task, engine.config, engine.seed, batch, {})
        return {variable.op.name: tuple(variable.shape.as_list()) for variable in tf.trainable_variables()}


def evaluate(engine: EstimatorEngine, split: str, records: RecordFile) -> Evaluation:
    """As session_engine.evaluate, with the weights that `loaded` gave."""
    return _predict(engine, records, engine.config.eval_batch_size).evaluation(split)


def predict(engine: EstimatorEngine, records: RecordFile) -> Predictions:
    """As session_engine.predict, with the weights that `loaded` gave."""
    return _predict(engine, records, engine.config.predict_batch_size).predictions


def _predict(engine: EstimatorEngine, records: RecordFile, batch_size: int) -> Answers:
    assert engine.served is not None
    config = engine.config
    if config.tpu.use_tpu:
        batch_size = _predict_batch_size(config)
    answers = Answers(engine.task, records)
    start = 0
    with _briefly_staged(config, engine.served) as served, _reaching_the_tpu(config):
        for found in _make_estimator(engine, os.path.dirname(served), {}).predict(
            _prediction_input(engine, records, batch_size), checkpoint_path=served, yield_single_examples=False
        ):
            numbers = np.arange(start, min(start + len(found["loss"]), len(records)))
            start += len(numbers)
            kept = {name: values[: len(numbers)] for name, values in found.items()}
            predictions = {name[len(_PREDICTION) :]: v for name, v in kept.items() if name.startswith(_PREDICTION)}
            answers.add(numbers, kept["loss"], kept["weight"], predictions)
    return answers
