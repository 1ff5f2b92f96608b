"""Train, evaluate and predict over one graph in one session, inside a tf.distribute strategy.

`build` makes the graph once: a training tower and an inference tower that share variables. Everything after it feeds
records and fetches numbers; the graph is finalized, so nothing can be rebuilt. One device is the strategy with one
replica. A batch is fed as serialized records to one placeholder, and each replica takes its slice, so any number of
replicas sees the same examples.
"""

import contextlib
import functools
import os
import signal
import threading
import time
from dataclasses import dataclass
from types import FrameType
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf
from tensorflow.core.protobuf import rewriter_config_pb2

import optimization
import optimizers
import schedules
from errors import UserError
from randomness import keyed_randomness
from tasks.task import Compute, Outputs, Predictions, Task
from training import checkpoint, input_pipeline, matrix_rate, reports
from training import plan as plans
from training.checkpoint import TrainingState
from training.feature_cache import RecordFile
from training.plan import Plan
from training.reports import TrainingReport, say


@dataclass(frozen=True)
class EngineConfig:
    """How a job runs; none of it changes what is learned."""

    distribution: str = "one_device"  # or "mirrored"
    devices: Tuple[str, ...] = ()  # as "cpu:0"; empty: the GPUs that TensorFlow finds, else cpu:0
    padding: str = "none"  # or "longest" of the batch, "fixed" to max_seq_length
    precision: str = "float32"  # or "bfloat16": of the encoder's matrix products
    xla: bool = False  # XLA compiles what it can of the graph; needs "fixed" padding
    max_seq_length: int = 128
    gradient_accumulation_steps: int = 1  # parts of a batch, one after the other
    eval_batch_size: int = 8
    predict_batch_size: int = 8
    log_every_steps: int = 10
    keep_checkpoint_max: int = 5
    profile_steps: Tuple[int, ...] = ()  # the first and last update to trace; empty: none


class Engine(NamedTuple):
    """A built graph with its session. Made by `build`."""

    task: Task
    config: EngineConfig
    strategy: tf.distribute.Strategy
    session: tf.Session
    records: tf.Tensor  # [B] string placeholder
    inference: "List[Outputs]"  # one a replica
    training: Optional[Dict[str, Any]]  # loss, learning_rate, grad_norm; None without a plan
    global_step: Any
    weights: Dict[str, Any]  # name → variable, of the model
    served: Dict[str, Any]  # name → variable that inference reads: the weight, or its average
    state: Dict[str, Any]  # name → variable, of TrainingState; empty without a plan
    state_feeds: Dict[str, tf.Tensor]
    assign_state: Any
    weights_saver: tf.train.Saver  # writes what is served, under the weights' names, and the step
    full_saver: tf.train.Saver


class Evaluation(NamedTuple):
    metrics: Dict[str, float]  # the task's, and "loss": the mean per unit of weight over the split
    predictions: Predictions


# --- building ---------------------------------------------------------------------------------------------------------


def _gpus() -> List[str]:
    listed = getattr(tf.config, "list_physical_devices", tf.config.experimental.list_physical_devices)("GPU")
    return ["gpu:{}".format(number) for number in range(len(listed))]


def _cpu_count(devices: Sequence[str]) -> int:
    """How many logical CPU devices the names ask for."""
    return 1 + max([int(name.split(":")[1]) for name in devices if name.startswith("cpu:")] or [0])


def _make_strategy(config: EngineConfig) -> tf.distribute.Strategy:
    gpus = _gpus()
    for name in config.devices:
        if name.startswith("gpu:") and name not in gpus:
            found = ", ".join(gpus) or "no GPU"
            raise UserError("--devices: TensorFlow finds no {} here, but {}.".format(name, found))
    devices = list(config.devices) or gpus
    cpus = _cpu_count(devices)
    # TF 2 fixes its logical devices once a process; TF 1 takes them from the session's device_count alone.
    if cpus > 1 and hasattr(tf.config, "set_logical_device_configuration"):
        physical = tf.config.list_physical_devices("CPU")[0]
        logical = [tf.config.LogicalDeviceConfiguration() for _ in range(cpus)]
        tf.config.set_logical_device_configuration(physical, logical)
    if config.distribution == "one_device":
        return tf.distribute.OneDeviceStrategy("/" + (devices[0] if devices else "cpu:0"))
    if not devices:
        raise UserError(
            "--distribution=mirrored: TensorFlow finds no GPU here. Name the devices, as --devices=cpu:0,cpu:1."
        )
    return tf.distribute.MirroredStrategy(["/" + name for name in devices])


def _on_replicas(strategy: tf.distribute.Strategy, function: Callable[[], Any]) -> Any:
    run = strategy.run if hasattr(strategy, "run") else strategy.experimental_run_v2  # renamed in TF 2.2
    return run(function)


def _replica_batch(
    records: tf.Tensor, task: Task, config: EngineConfig, part: int = 0, parts: int = 1
) -> Dict[str, Any]:
    """This replica's slice of the fed records, or a part of it, as tensors."""
    context = tf.distribute.get_replica_context()
    place, places = context.replica_id_in_sync_group * parts + part, context.num_replicas_in_sync * parts
    count = tf.shape(records)[0]
    mine = records[place * count // places : (place + 1) * count // places]
    padded_length = config.max_seq_length if config.padding == "fixed" else None
    round_below = config.max_seq_length if config.padding == "none" else 0
    batch, input_mask = input_pipeline.parse_batch(mine, task.columns, padded_length, round_below)
    return dict(batch, input_mask=input_mask)


def _accumulated(
    first: tf.Tensor, build_part: Callable[[int], tf.Tensor], parts: int, variables: Sequence[Any]
) -> "List[Optional[Any]]":
    """The summed gradients of the parts' losses, of which `first` is built.

    A part starts when the one before is done: one is held at a time.
    """
    summed = tf.gradients(first, variables)
    for part in range(1, parts):
        done = [gradient for gradient in summed if gradient is not None]
        with tf.control_dependencies([getattr(gradient, "values", gradient) for gradient in done]):
            gradients = tf.gradients(build_part(part), variables)
        summed = [_added(a, b) for a, b in zip(summed, gradients)]
    return summed


def _added(first: Any, second: Any) -> Any:
    """Of two gradients, None where there is none; sparse ones stay sparse."""
    if first is None or second is None:
        return first if second is None else second
    if isinstance(first, tf.IndexedSlices) and isinstance(second, tf.IndexedSlices):
        values = tf.concat([first.values, second.values], axis=0)
        return tf.IndexedSlices(values, tf.concat([first.indices, second.indices], axis=0), first.dense_shape)
    return tf.convert_to_tensor(first) + tf.convert_to_tensor(second)


def _scaled(gradient: Any, scale: tf.Tensor) -> Any:
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(gradient.values * scale, gradient.indices, gradient.dense_shape)
    return gradient * scale


def _sum_over_replicas(value: tf.Tensor) -> tf.Tensor:
    def reduce(strategy: tf.distribute.Strategy, value: Any) -> Any:
        return strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None)

    return tf.distribute.get_replica_context().merge_call(reduce, args=(value,))


def _prepare_xla() -> None:
    if not optimizers.has_xla():
        raise UserError("--xla: TensorFlow {} compiles nothing. Use 2.15 or later.".format(tf.__version__))
    # Without it a session's global_jit_level is for GPUs alone. TensorFlow reads it once, when it first needs it.
    on_cpu, given = "--tf_xla_cpu_global_jit", os.environ.get("TF_XLA_FLAGS", "")
    if on_cpu not in given:
        os.environ["TF_XLA_FLAGS"] = given + " " + on_cpu


def build(
    task: Task,
    config: EngineConfig,
    seed: int,
    plan: Optional[Plan] = None,
    optimizer: Optional[optimization.OptimizerConfig] = None,
) -> Engine:
    """Builds the graph and opens its session, all variables at their initial values.

    With a plan and an optimizer the graph trains too. Raises UserError for devices, or an XLA, that are not there.
    """
    if config.xla:
        _prepare_xla()
    graph = tf.Graph()
    with graph.as_default():
        strategy = _make_strategy(config)
        if config.precision == "bfloat16":
            say(matrix_rate.describe_bfloat16(strategy.extended.worker_devices[0], _session_config(config)))
        with strategy.scope(), tf.variable_scope("", use_resource=True, reuse=tf.AUTO_REUSE):
            return _build_in(strategy, task, config, seed, plan, optimizer)


def _build_in(
    strategy: tf.distribute.Strategy,
    task: Task,
    config: EngineConfig,
    seed: int,
    plan: Optional[Plan],
    optimizer: Optional[optimization.OptimizerConfig],
) -> Engine:
    parts = config.gradient_accumulation_steps
    if plan is not None and plan.train_batch_size % (strategy.num_replicas_in_sync * parts):
        raise UserError(
            "--train_batch_size={} does not divide by {} replicas × {} parts (--gradient_accumulation_steps). Give a "
            "multiple.".format(plan.train_batch_size, strategy.num_replicas_in_sync, parts)
        )
    compute = functools.partial(Compute, padding_free=config.padding == "none", precision=config.precision)
    records = tf.placeholder(tf.string, [None], "records")
    global_step = tf.get_variable(
        tf.GraphKeys.GLOBAL_STEP,
        shape=[],
        dtype=tf.int64,
        initializer=tf.zeros_initializer(),
        trainable=False,
        collections=[tf.GraphKeys.GLOBAL_VARIABLES, tf.GraphKeys.GLOBAL_STEP],
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )

    def read_average(get_variable: Callable[..., Any], name: str, *args: Any, **kwargs: Any) -> Any:
        return averages.get(name, get_variable(name, *args, **kwargs))

    def inference_tower() -> Outputs:
        scope = tf.variable_scope(tf.get_variable_scope(), custom_getter=read_average)
        with scope, keyed_randomness(seed, None):
            return task.build(_replica_batch(records, task, config), compute(False))

    def training_tower() -> Tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        assert plan is not None and optimizer is not None
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        losses: List[Any] = []
        weights: List[Any] = []

        def build_part(part: int) -> tf.Tensor:
            with keyed_randomness(seed, tf.identity(global_step), replica * parts + part):
                batch = _replica_batch(records, task, config, part, parts)
                outputs = task.build(batch, compute(True))
            losses.append(tf.reduce_sum(outputs.loss))
            weights.append(tf.reduce_sum(outputs.weight))
            return losses[-1]

        first = build_part(0)  # also makes the variables

        def gradients_of_parts(variables: Sequence[Any]) -> List[Any]:
            summed = _accumulated(first, build_part, parts, variables)
            scale = 1.0 / _sum_over_replicas(tf.add_n(weights))
            return [gradient if gradient is None else _scaled(gradient, scale) for gradient in summed]

        # In one part the division comes before the gradient, in several it has to wait for the last.
        whole = first / _sum_over_replicas(weights[0]) if parts == 1 else None
        plateau = plan.lr_schedule == "plateau"
        scale = tf.identity(state["plateau_scale"]) if plateau else None
        update = optimization.create_update(
            gradients_of_parts if whole is None else whole,
            plans.rates(plan),
            optimizer,
            global_step,
            rate_scale=scale,
            least_rate=plan.end_learning_rate,
            compiled=True,
        )
        averages.update(update.averages)
        loss = tf.add_n(losses) / _sum_over_replicas(tf.add_n(weights)) if whole is None else whole
        with tf.control_dependencies([update.train_op]):
            return tf.identity(loss), tf.identity(update.learning_rate), tf.identity(update.grad_norm)

    training = None
    state: Dict[str, Any] = {}
    averages: Dict[str, Any] = {}
    if plan is not None:
        state = checkpoint.training_state_variables()
        loss, learning_rate, grad_norm = _on_replicas(strategy, training_tower)
        training = {
            "loss": tf.add_n(list(strategy.experimental_local_results(loss))),
            "learning_rate": strategy.experimental_local_results(learning_rate)[0],
            "grad_norm": strategy.experimental_local_results(grad_norm)[0],
        }
    outputs = _on_replicas(strategy, inference_tower)
    weights = {variable.op.name: variable for variable in tf.trainable_variables()}
    served = dict(weights, **averages)
    exported = dict(served, global_step=global_step)
    first_replica = {name: strategy.experimental_local_results(v)[0] for name, v in exported.items()}
    state_feeds = {name: tf.placeholder(variable.dtype.base_dtype, []) for name, variable in state.items()}
    assignments = [
        strategy.extended.update(variable, lambda v, new: v.assign(new, read_value=False), args=(state_feeds[name],))
        for name, variable in state.items()
    ]
    session = tf.Session(config=_session_config(config))
    session.run(tf.global_variables_initializer())
    return Engine(
        task=task,
        config=config,
        strategy=strategy,
        session=session,
        records=records,
        inference=_per_replica(strategy, outputs),
        training=training,
        global_step=global_step,
        weights=weights,
        served=served,
        state=state,
        state_feeds=state_feeds,
        assign_state=assignments,
        weights_saver=tf.train.Saver(first_replica, max_to_keep=None),
        full_saver=tf.train.Saver(tf.global_variables(), max_to_keep=None),
    )


def _session_config(config: EngineConfig) -> tf.ConfigProto:
    """Threads and Grappler's passes are TensorFlow's own choice but for what was measured to be better without."""
    found = tf.ConfigProto(allow_soft_placement=True, device_count={"CPU": _cpu_count(config.devices)})
    found.gpu_options.allow_growth = True
    # Both passes that fold constants keep a copy of every initial value for as long as the session lives.
    found.graph_options.optimizer_options.opt_level = tf.OptimizerOptions.L0
    found.graph_options.rewrite_options.constant_folding = rewriter_config_pb2.RewriterConfig.OFF
    if config.xla:
        found.graph_options.optimizer_options.global_jit_level = tf.OptimizerOptions.ON_1
    return found


def _per_replica(strategy: tf.distribute.Strategy, outputs: Outputs) -> "List[Outputs]":
    def local(value: Any) -> List[Any]:
        return list(strategy.experimental_local_results(value))

    names = list(outputs.predictions)
    columns = [local(outputs.loss), local(outputs.weight)] + [local(outputs.predictions[name]) for name in names]
    return [Outputs(loss, weight, dict(zip(names, rest))) for loss, weight, *rest in zip(*columns)]


def _in_its_graph(function: Callable[..., Any]) -> Callable[..., Any]:
    """Makes the engine's graph the default inside: TF 2's savers and event writers refuse to work elsewhere."""

    @functools.wraps(function)
    def wrapped(engine: Engine, *args: Any, **kwargs: Any) -> Any:
        with engine.session.graph.as_default():
            return function(engine, *args, **kwargs)

    return wrapped


# --- restoring --------------------------------------------------------------------------------------------------------


_VARIABLES_AT_ONCE = 64


def _restore(engine: Engine, prefix: str, variables: Dict[str, Any]) -> None:
    """Gives each variable, on every replica, the value that the checkpoint has under its name here.

    By feeding the initializers: a finalized graph can be restored too, and one saver does not fit all names.
    Raises UserError where the checkpoint is damaged.
    """
    reader = checkpoint.Reader(prefix)
    names = sorted(variables)
    for start in range(0, len(names), _VARIABLES_AT_ONCE):
        feeds, initializers = {}, []
        for name in names[start : start + _VARIABLES_AT_ONCE]:
            value = reader.tensor(name)
            for variable in engine.strategy.experimental_local_results(variables[name]):
                initializers.append(variable.initializer)
                feeds[variable.initializer.inputs[1]] = value
        engine.session.run(initializers, feeds)


def _shapes(engine: Engine) -> Dict[str, Tuple[int, ...]]:
    return {name: tuple(variable.shape.as_list()) for name, variable in engine.weights.items()}


@_in_its_graph
def load_weights(engine: Engine, prefix: str, reset_head: bool = False) -> checkpoint.LoadReport:
    """Initial weights: the model's variables that the checkpoint has, averaged ones if it has them.

    Raises UserError as checkpoint.match_weights.
    """
    report = checkpoint.match_weights(_shapes(engine), prefix, engine.task.head_variables, reset_head)
    names = checkpoint.served_names(prefix, report.loaded)
    _restore(engine, prefix, {names[name]: engine.weights[name] for name in report.loaded})
    return report


@_in_its_graph
def load_trained(engine: Engine, prefix: str) -> int:
    """The weights of a fine-tuned model, averaged ones if it has them; returns its step.

    Raises UserError where it has no trained head.
    """
    report = checkpoint.match_weights(_shapes(engine), prefix, engine.task.head_variables, reset_head=False)
    head = [name for name in report.missing if name.startswith(engine.task.head_variables)]
    if head:
        raise UserError(
            "{}: has no trained head ({} missing), so its predictions would be noise. Train first, or name a "
            "fine-tuned checkpoint.".format(prefix, ", ".join(head))
        )
    if report.missing:
        raise UserError("{}: lacks {}.".format(prefix, ", ".join(report.missing)))
    names = checkpoint.served_names(prefix, report.loaded)
    variables = {names[name]: engine.served[name] for name in report.loaded}
    if "global_step" in checkpoint.shapes_in(prefix):
        variables["global_step"] = engine.global_step
    _restore(engine, prefix, variables)
    return int(engine.session.run(engine.global_step))


@_in_its_graph
def load_run(engine: Engine, prefix: str, batch_size: int) -> None:
    """The whole state of a run. A checkpoint of upstream's lacks the counters: they are derived from its step."""
    found = checkpoint.shapes_in(prefix)
    counters = [variable.op.name for variable in engine.state.values()]
    variables = {variable.op.name: variable for variable in engine.session.graph.get_collection("variables")}
    missing = [name for name in variables if name not in found and name not in counters]
    other = [
        name for name, v in variables.items() if found.get(name, tuple(v.shape.as_list())) != tuple(v.shape.as_list())
    ]
    if missing or other:
        raise UserError(
            "{}: cannot be continued: {} missing, {} of another shape (for example {}): the model, optimizer or "
            "trained variables were others. Pass it as --init_checkpoint with another --output_dir.".format(
                prefix, len(missing), len(other), (missing + other)[0]
            )
        )
    _restore(engine, prefix, {name: variable for name, variable in variables.items() if name in found})
    if not all(name in found for name in counters):
        step = int(engine.session.run(engine.global_step))
        _set_state(engine, TrainingState(examples_consumed=step * batch_size, evaluated_step=step))


def _set_state(engine: Engine, state: TrainingState) -> None:
    feeds = {engine.state_feeds[name]: value for name, value in state._asdict().items()}
    engine.session.run(engine.assign_state, feeds)


def read_state(engine: Engine) -> TrainingState:
    return TrainingState(**{name: value.item() for name, value in engine.session.run(engine.state).items()})


# --- stopping ---------------------------------------------------------------------------------------------------------


class StopRequest:
    """Turns SIGTERM and SIGINT into a request that the loop answers after its current step.

    The exit code is 128 + the signal's number: 143 and 130. Further signals while the state is saved change nothing.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.signal: Optional[int] = None
        self._previous: Dict[int, Any] = {}

    def _note(self, number: int, frame: Optional[FrameType]) -> None:
        self.signal = number

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._note) for number in self.SIGNALS}
        return self

    def __exit__(self, *exception: Any) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def __bool__(self) -> bool:
        return self.signal is not None


# --- train, evaluate, predict -----------------------------------------------------------------------------------------


def due(step: int, every: int) -> bool:
    return every > 0 and step > 0 and step % every == 0


def stopped_early(state: TrainingState, patience: int) -> bool:
    return 0 < patience <= state.evaluations_without_improvement


@_in_its_graph
def train(engine: Engine, plan: Plan, records: RecordFile, dev: Optional[RecordFile], folder: str) -> int:
    """Trains from the session's state to the end of the plan; returns the last step.

    Evaluates on `dev` where given, saves to `folder`, keeps the best in `folder`/best. Raises SystemExit(128 + signal)
    after saving, and UserError where the loss or the gradient is not finite: nothing is saved after such an update.
    """
    session = engine.session
    session.graph.finalize()
    assert engine.training is not None
    step = int(session.run(engine.global_step))
    state = read_state(engine)
    checkpoint.discard_best_after(folder, step)
    _require_space(engine, plan, step, folder, with_best=dev is not None)
    order = input_pipeline.TrainingOrder(len(records), plan.seed, plan.shuffle)
    batches = input_pipeline.read_ahead(
        input_pipeline.training_batches(records, order, state.examples_consumed, plan.train_batch_size)
    )
    run_step = _step_runner(engine, step)
    report = TrainingReport(folder, step, plan.num_train_steps, plan.train_batch_size, engine.config.log_every_steps)
    saved = (step, state) if step else None
    with contextlib.closing(report), contextlib.closing(batches), StopRequest() as stop:
        while True:
            last = step >= plan.num_train_steps
            evaluation_due = due(step, plan.eval_every_steps) or (last and plan.eval_every_steps > 0)
            if dev is not None and evaluation_due and state.evaluated_step < step and not stop:
                state = _evaluate_and_keep_best(engine, plan, dev, step, state, folder, report, stop)
            last = last or (dev is not None and stopped_early(state, plan.early_stopping_patience))
            if saved != (step, state) and (last or stop or due(step, plan.save_checkpoints_steps)):
                _set_state(engine, state)
                checkpoint.save(engine.full_saver, session, folder, step, engine.config.keep_checkpoint_max)
                saved = (step, state)
            if stop.signal is not None:
                say("Stopped by signal {} at step {}, saved. The same command continues.".format(stop.signal, step))
                raise SystemExit(128 + stop.signal)
            if last:
                break
            with report.timed():
                with report.waiting():
                    numbers, serialized = next(batches)
                result, trace = run_step(step, serialized)
            if trace is not None:
                reports.write_trace(folder, step + 1, trace)
            _require_finite(result, step, records, numbers)
            step += 1
            state = state._replace(examples_consumed=state.examples_consumed + len(numbers))
            report.update(step, *(float(result[name]) for name in ("loss", "learning_rate", "grad_norm")))
    if step < plan.num_train_steps:
        patience = plan.early_stopping_patience
        say("Early stopping: no better {} in {} evaluations.".format(engine.task.best_metric, patience))
    return step


def require_traceable(config: EngineConfig, plan: Plan) -> None:
    """Raises UserError where the run ends before the updates to trace."""
    if config.profile_steps and config.profile_steps[1] > plan.num_train_steps:
        raise UserError(
            "--profile_steps={},{}: the run ends at step {}. Name steps that it makes.".format(
                *config.profile_steps, plan.num_train_steps
            )
        )


def _step_runner(engine: Engine, start: int) -> Callable[[int, List[bytes]], Tuple[Dict[str, Any], Any]]:
    """run(step, serialized examples) makes the update from `step`: (fetched, its step_stats if of profile_steps)."""
    first_traced, last_traced = engine.config.profile_steps or (0, -1)
    if 0 < last_traced <= start:
        say(
            "--profile_steps={},{}: done already, in a run before; nothing is traced.".format(first_traced, last_traced)
        )
    run = engine.session.make_callable(engine.training, feed_list=[engine.records])

    def run_step(step: int, serialized: List[bytes]) -> Tuple[Dict[str, Any], Any]:
        if not first_traced <= step + 1 <= last_traced:
            return run(serialized), None
        options, found = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE), tf.RunMetadata()
        result = engine.session.run(engine.training, {engine.records: serialized}, options, found)
        return result, found.step_stats

    return run_step


def _require_space(engine: Engine, plan: Plan, step: int, folder: str, with_best: bool) -> None:
    def size(variables: Sequence[Any]) -> int:
        return sum(v.shape.num_elements() * v.dtype.base_dtype.size for v in variables)

    os.makedirs(folder, exist_ok=True)
    saves = -(-(plan.num_train_steps - step) // plan.save_checkpoints_steps)
    everything = size(engine.session.graph.get_collection("variables"))
    best = size(list(engine.weights.values())) if with_best else 0
    checkpoint.require_space(folder, everything, best, saves, engine.config.keep_checkpoint_max)


def _require_finite(result: Dict[str, Any], step: int, records: RecordFile, numbers: np.ndarray) -> None:
    bad = [name for name in ("loss", "grad_norm") if not np.isfinite(result[name])]
    if bad:
        raise UserError(
            "The {} of the update from step {} is not finite ({}). Its examples are at these lines of the training "
            "file: {}. Nothing was saved after step {}: lower --learning_rate, lengthen "
            "the warm-up, or look at these examples.".format(
                " and ".join(bad), step, result[bad[0]], ", ".join(map(str, records.lines(numbers))), step
            )
        )


def _evaluate_and_keep_best(
    engine: Engine,
    plan: Plan,
    dev: RecordFile,
    step: int,
    state: TrainingState,
    folder: str,
    report: TrainingReport,
    stop: StopRequest,
) -> TrainingState:
    """The state after the evaluation due at `step`; unchanged where a signal cut it short: the resumed run makes it."""
    started = time.perf_counter()
    found = _predict(engine, dev, engine.config.eval_batch_size, stop)
    if found is None:
        return state
    metrics = _score(engine, "dev", *found)
    score = metrics[engine.task.best_metric]
    if score > state.best_score:
        checkpoint.save(engine.weights_saver, engine.session, checkpoint.best_folder(folder), step, keep=1)
        state = state._replace(best_score=float(score), best_step=step, evaluations_without_improvement=0)
        note = "  (best so far)"
    else:
        state = state._replace(evaluations_without_improvement=state.evaluations_without_improvement + 1)
        note = "  (best {:.4f} at step {})".format(state.best_score, state.best_step)
    if plan.lr_schedule == "plateau":
        before = schedules.Plateau(state.plateau_scale, state.plateau_best, state.plateau_evaluations)
        after = schedules.reduced(
            before, float(score), plan.plateau_factor, plan.plateau_patience, plan.plateau_min_delta
        )
        state = state._replace(**{"plateau_" + name: value for name, value in after._asdict().items()})
        if after.scale != before.scale:
            _set_state(engine, state)  # the training tower reads it
            note += "  (learning rate × {:g} from here on)".format(plan.plateau_factor)
    report.evaluation(step, metrics, note, time.perf_counter() - started)
    return state._replace(evaluated_step=step)


def evaluate(engine: Engine, split: str, records: RecordFile) -> Evaluation:
    """Metrics and predictions of a whole split with the session's weights; every example counts once."""
    found = _predict(engine, records, engine.config.eval_batch_size, None)
    assert found is not None
    return Evaluation(_score(engine, split, *found), found[0])


def predict(engine: Engine, records: RecordFile) -> Predictions:
    """Predictions with the session's weights, in file order."""
    found = _predict(engine, records, engine.config.predict_batch_size, None)
    assert found is not None
    return found[0]


def _score(engine: Engine, split: str, predictions: Predictions, loss: float) -> Dict[str, float]:
    return dict(engine.task.score(split, predictions), loss=loss)


def _predict(
    engine: Engine, records: RecordFile, batch_size: int, stop: Optional[StopRequest]
) -> Optional[Tuple[Predictions, float]]:
    """(Predictions in file order, mean loss); None where `stop` was requested meanwhile."""
    # One array an example in its own place: batches are made by length, and the sums below must not depend on them.
    predictions: Predictions = {name: [np.empty(0)] * len(records) for name in engine.inference[0].predictions}
    loss, weight = np.zeros(len(records)), np.zeros(len(records))
    for numbers in input_pipeline.length_sorted_batches(records, batch_size):
        if stop:
            return None
        found = engine.session.run(engine.inference, {engine.records: records.read(numbers)})
        ends = np.cumsum([len(outputs.loss) for outputs in found])
        for outputs, mine in zip(found, np.split(numbers, ends[:-1])):  # one a replica
            loss[mine], weight[mine] = outputs.loss, outputs.weight
            for name, values in outputs.predictions.items():
                per_token = name in engine.task.per_token_predictions
                for number, row in zip(mine, values):
                    predictions[name][number] = row[: records.index["tokens"][number]] if per_token else row
    return predictions, float(np.sum(loss) / max(np.sum(weight), 1e-12))


def close(engine: Engine) -> None:
    engine.session.close()
