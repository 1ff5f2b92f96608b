"""Train, evaluate and predict over one graph in one session, inside a tf.distribute strategy.

`build` makes the graph once: a training tower and an inference tower that share variables. Everything after it feeds
records and fetches numbers; the graph is finalized, so nothing can be rebuilt. One device is the strategy with one
replica. A batch is fed as serialized records to one placeholder, and each replica takes its slice, so any number of
replicas sees the same examples. Each of several workers is fed the whole batch and takes the slices of its replicas.
"""

import contextlib
import functools
import itertools
import os
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

import optimization

from .. import rule_optimizer
from ..base.errors import UserError
from ..tasks.task import Outputs, Predictions, Task
from . import (
    checkpoint,
    devices,
    failures,
    input_pipeline,
    matrix_rate,
    memory,
    progress,
    reports,
    saver,
    towers,
    tracking,
    updates,
    weights,
)
from .checkpoint import TrainingState
from .engine_config import EngineConfig
from .evaluation import Evaluation, SplitOutputs
from .feature_cache import RecordFile
from .plan import Plan
from .progress import StopRequest
from .reports import NoReport, say
from .worker_link import Alone, Member


class Engine(NamedTuple):
    """A built graph with its session. Made by `build`."""

    task: Task
    config: EngineConfig
    link: Member  # to the other workers
    strategy: tf.distribute.Strategy
    session: tf.Session
    records: tf.Tensor  # [B] string placeholder
    votes: tf.Tensor  # [V] float32 placeholder: StopRequest.votes of this process; zeros if it is not fed
    inference: "List[Outputs]"  # one for each replica
    training: Optional[Dict[str, Any]]  # loss, learning_rate, grad_norm, votes; None without a plan
    kept: Optional[updates.Kept]  # makes the same update, and keeps its numbers on the device
    global_step: Any
    weights: Dict[str, Any]  # name → variable of the model
    served: Dict[str, Any]  # weight's name → variable that inference reads: the weight, or its average
    state: Dict[str, Any]  # field of TrainingState → variable; empty without a plan
    state_feeds: Dict[str, tf.Tensor]
    assign_state: Any
    weights_saver: saver.Saver  # writes `served` under the weights' names, and the step
    full_saver: saver.Saver


# --- building ---------------------------------------------------------------------------------------------------------


def build(
    task: Task,
    config: EngineConfig,
    seed: int,
    plan: Optional[Plan] = None,
    optimizer: Optional[optimization.OptimizerConfig] = None,
    link: Optional[Member] = None,
) -> Engine:
    """Builds the graph and opens its session, all variables at their initial values.

    With a plan and an optimizer the graph trains too. link: to the other workers, all of which build at the same time.
    Raises UserError for devices that do not exist.
    """
    graph = tf.Graph()
    with graph.as_default():
        strategy = devices.make_strategy(config)
        if plan is not None or config.precision != "float32":
            device, session_config = devices.local_device(strategy), devices.session_config(config)
            said = matrix_rate.describe(config.precision, device, session_config)
            if said:
                say(said)
        with strategy.scope(), tf.variable_scope("", use_resource=True, reuse=tf.AUTO_REUSE):
            return _build_in(strategy, task, config, seed, plan, optimizer, link or Alone())


class _Inputs(NamedTuple):
    """The inputs from which the towers of a graph are built."""

    strategy: tf.distribute.Strategy
    task: Task
    config: EngineConfig
    link: Member
    records: tf.Tensor
    votes: tf.Tensor
    global_step: Any


def _build_in(
    strategy: tf.distribute.Strategy,
    task: Task,
    config: EngineConfig,
    seed: int,
    plan: Optional[Plan],
    optimizer: Optional[optimization.OptimizerConfig],
    link: Member,
) -> Engine:
    if plan is not None:
        towers.check_split(plan, strategy.num_replicas_in_sync, config.gradient_accumulation_steps)
    records = tf.placeholder(tf.string, [None], "records")
    votes = tf.placeholder_with_default(tf.zeros([len(StopRequest.SIGNALS)]), [len(StopRequest.SIGNALS)], "votes")
    inputs = _Inputs(strategy, task, config, link, records, votes, towers.make_global_step())
    training, kept = None, None
    state: Dict[str, Any] = {}
    averages: Dict[str, Any] = {}
    if plan is not None:
        assert optimizer is not None
        state = checkpoint.training_state_variables()
        training = _build_training(inputs, plan, optimizer, state)
        numbers = {name: value for name, value in training.items() if name != "votes"}
        kept = updates.kept(strategy, numbers)
        averages = _averages()
    inference = _build_inference(inputs, seed, averages)
    trainable = {variable.op.name: variable for variable in tf.trainable_variables()}
    served = dict(trainable, **averages)
    exported = dict(served, global_step=inputs.global_step)
    everything = {variable.op.name: variable for variable in tf.global_variables()}
    state_feeds = {name: tf.placeholder(variable.dtype.base_dtype, []) for name, variable in state.items()}
    assignments = [
        strategy.extended.update(variable, lambda v, new: v.assign(new, read_value=False), args=(state_feeds[name],))
        for name, variable in state.items()
    ]
    session = _open_session(strategy, config, link)
    session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
    return Engine(
        task=task,
        config=config,
        link=link,
        strategy=strategy,
        session=session,
        records=records,
        votes=votes,
        inference=inference,
        training=training,
        kept=kept,
        global_step=inputs.global_step,
        weights=trainable,
        served=served,
        state=state,
        state_feeds=state_feeds,
        assign_state=assignments,
        weights_saver=_saver(strategy, exported),
        full_saver=_saver(strategy, everything),
    )


def _saver(strategy: tf.distribute.Strategy, variables: Dict[str, Any]) -> saver.Saver:
    return saver.saver({name: rule_optimizer.first_replica(strategy, v) for name, v in variables.items()})


def _build_training(
    inputs: _Inputs, plan: Plan, optimizer: optimization.OptimizerConfig, state: Dict[str, Any]
) -> Dict[str, Any]:
    """The training towers of this process: name → the number of an update that is fetched."""
    strategy, task, config, link, records, votes, global_step = inputs
    count, parts = strategy.num_replicas_in_sync, config.gradient_accumulation_steps
    several = link.members > 1

    def train() -> towers.Trained:
        replica = devices.replica_id(strategy, link.index)

        def batch_of(part: int) -> towers.Batch:
            return towers.parse(towers.slice_of(records, replica * parts + part, count * parts), task, config)

        replicas = towers.Replicas(replica, count, of_workers=several)
        return towers.training_tower(
            task, config, plan, optimizer, replicas, global_step, state, batch_of, votes if several else None
        )

    trained = devices.on_replicas(strategy, train)
    names = ("loss", "learning_rate", "grad_norm") + (("votes",) if several else ())
    names += progress.SCALING if config.precision == "float16" else ()
    fetched = {name: rule_optimizer.first_replica(strategy, getattr(trained, name)) for name in names}
    with tf.control_dependencies(strategy.experimental_local_results(trained.loss)):  # every replica has updated
        return {name: tf.identity(value) for name, value in fetched.items()}


def _averages() -> Dict[str, Any]:
    """Weight's name → the variable of its average, if the optimizer keeps averages."""
    variables = {variable.op.name: variable for variable in tf.global_variables()}
    names = {variable.op.name: weights.average_of(variable.op.name) for variable in tf.trainable_variables()}
    return {name: variables[average] for name, average in names.items() if average in variables}


def _build_inference(inputs: _Inputs, seed: int, averages: Dict[str, Any]) -> "List[Outputs]":
    """The inference towers of this process. Workers infer apart, each with its own replicas."""
    strategy, task, config, link, records, _, _ = inputs
    count = strategy.num_replicas_in_sync // link.members

    def infer() -> Outputs:
        replica = devices.replica_id(strategy, link.index) - link.index * count
        batch = towers.parse(towers.slice_of(records, replica, count), task, config)
        return towers.inference_tower(task, config, seed, batch, averages)

    return _per_replica(strategy, devices.on_replicas(strategy, infer))


def _open_session(strategy: tf.distribute.Strategy, config: EngineConfig, link: Member) -> tf.Session:
    options = devices.session_config(config, strategy)
    if isinstance(link, Alone):
        return tf.Session(config=options)
    cluster = link.cluster
    try:
        server = tf.distribute.Server(cluster.jobs, job_name=cluster.job, task_index=cluster.task, config=options)
    except tf.errors.OpError as error:
        raise UserError(
            "TF_CONFIG: {} cannot listen at {} ({}). Stop what uses it, or name another port on all workers.".format(
                *cluster.members[link.index], error.message
            )
        ) from None
    link.share("served")  # no worker starts a sum before all others can be reached
    return tf.Session(server.target, config=options)


def _per_replica(strategy: tf.distribute.Strategy, outputs: Outputs) -> "List[Outputs]":
    def local(value: Any) -> List[Any]:
        return list(strategy.experimental_local_results(value))

    names = list(outputs.predictions)
    columns = [local(outputs.loss), local(outputs.weight)] + [local(outputs.predictions[name]) for name in names]
    return [Outputs(loss, weight, dict(zip(names, rest))) for loss, weight, *rest in zip(*columns)]


def _in_its_graph(function: Callable[..., Any]) -> Callable[..., Any]:
    """Makes the engine's graph the default inside: TF 2's event writers refuse to work elsewhere."""

    @functools.wraps(function)
    def wrapped(engine: Engine, *args: Any, **kwargs: Any) -> Any:
        with engine.session.graph.as_default():
            return function(engine, *args, **kwargs)

    return wrapped


# --- restoring --------------------------------------------------------------------------------------------------------

_BYTES_AT_ONCE = 256 << 20  # TensorFlow prepares each set of variables anew


def _restore(engine: Engine, prefix: str, variables: Dict[str, Any]) -> None:
    """Restores variables on every replica. variables: name in the checkpoint → variable.

    The values are fed to the initializers, so a finalized graph can be restored too, under any names.
    Raises UserError if the checkpoint is damaged.
    """
    reader = checkpoint.Reader(prefix)
    feeds: Dict[tf.Tensor, np.ndarray] = {}
    initializers: List[Any] = []
    for name in sorted(variables):
        value = reader.tensor(name)
        if feeds and value.nbytes + sum(other.nbytes for other in feeds.values()) > _BYTES_AT_ONCE:
            engine.session.run(initializers, feeds)
            feeds, initializers = {}, []
        for variable in engine.strategy.experimental_local_results(variables[name]):
            initializers.append(variable.initializer)
            feeds[variable.initializer.inputs[1]] = value
    engine.session.run(initializers, feeds)


def _shapes(engine: Engine) -> Dict[str, Tuple[int, ...]]:
    return {name: tuple(variable.shape.as_list()) for name, variable in engine.weights.items()}


@_in_its_graph
def load_weights(engine: Engine, prefix: str, reset_head: bool = False) -> weights.LoadReport:
    """Loads initial weights: the model's variables that the checkpoint has, its averages in their place if it has them.

    Raises the errors of weights.match_weights.
    """
    report = weights.match_weights(_shapes(engine), prefix, engine.task.head_variables, reset_head)
    names = weights.served_names(prefix, report.loaded)
    _restore(engine, prefix, {names[name]: engine.weights[name] for name in report.loaded})
    return report


@_in_its_graph
def load_trained(engine: Engine, prefix: str) -> int:
    """Loads a fine-tuned model, its averages if it has them; returns its step.

    Raises UserError if it has no trained head.
    """
    task = engine.task
    report = weights.match_trained(_shapes(engine), prefix, task.head_variables, task.unread_variables)
    names = weights.served_names(prefix, report.loaded)
    variables = {names[name]: engine.served[name] for name in report.loaded}
    if "global_step" in checkpoint.shapes_in(prefix):
        variables["global_step"] = engine.global_step
    _restore(engine, prefix, variables)
    return int(engine.session.run(engine.global_step))


@_in_its_graph
def load_run(engine: Engine, prefix: str, batch_size: int) -> None:
    """Loads the whole state of a run. Upstream's checkpoints lack the counters: they are derived from the step."""
    shapes = checkpoint.shapes_in(prefix)
    counters = [variable.op.name for variable in engine.state.values()]
    variables = {variable.op.name: variable for variable in engine.session.graph.get_collection("variables")}
    optional = [name for name in variables if name.startswith(checkpoint.STATE_PREFIX)]
    missing = [name for name in variables if name not in shapes and name not in optional]
    other = [
        name for name, v in variables.items() if shapes.get(name, tuple(v.shape.as_list())) != tuple(v.shape.as_list())
    ]
    if missing or other:
        raise UserError(
            "{}: cannot be continued: {} variables are missing, {} have another shape (for example {}), so the model, "
            "the optimizer or the trained variables differ. Pass it as --init_checkpoint with another "
            "--output_dir.".format(prefix, len(missing), len(other), (missing + other)[0])
        )
    _restore(engine, prefix, {name: variable for name, variable in variables.items() if name in shapes})
    if not all(name in shapes for name in counters):
        step = int(engine.session.run(engine.global_step))
        _set_state(engine, TrainingState(examples_consumed=step * batch_size, evaluated_step=step))


def _set_state(engine: Engine, state: TrainingState) -> None:
    feeds = {engine.state_feeds[name]: value for name, value in state._asdict().items()}
    engine.session.run(engine.assign_state, feeds)


def _step_and_state(engine: Engine) -> Tuple[int, TrainingState]:
    step, state = engine.session.run([engine.global_step, engine.state])
    return int(step), TrainingState(**{name: value.item() for name, value in state.items()})


@_in_its_graph
def hand_over(engine: Engine, folder: str, prefix: Optional[str]) -> None:
    """Makes a checkpoint of the session's state for the Estimator engine; `prefix` itself if it is a whole one."""
    if prefix is None or "training_state/examples_consumed" not in checkpoint.shapes_in(prefix):
        step = int(engine.session.run(engine.global_step))
        keep = checkpoint.kept_in_training(engine.config.keep_checkpoint_max)
        checkpoint.save(engine.full_saver, engine.session, folder, step, keep, _bytes_of_all(engine))
    else:
        checkpoint.point_at(prefix)


# --- train, evaluate, predict -----------------------------------------------------------------------------------------


@_in_its_graph
def train(engine: Engine, plan: Plan, records: RecordFile, dev: Optional[RecordFile], folder: str) -> int:
    """Trains from the session's state to the end of the plan; returns the last step.

    Evaluates on `dev` if given, saves to `folder`, keeps the best in `folder`/best; only the chief of several workers
    writes. Raises SystemExit(128 + signal) after saving, and UserError if the loss or the gradient is not finite:
    nothing is saved after such an update.
    """
    session, link = engine.session, engine.link
    session.graph.finalize()
    assert engine.kept is not None
    step, state = _step_and_state(engine)
    if link.is_chief:
        checkpoint.discard_best_after(folder, state.best_step)
        _require_space(engine, plan, step, folder, with_best=dev is not None)
    order = input_pipeline.training_order(plan, records, state.examples_consumed)
    batches = input_pipeline.read_ahead(
        input_pipeline.training_batches(
            records, order, state.examples_consumed, plan.train_batch_size, engine.task.in_epoch
        )
    )
    run_step = updates.step_runner(engine, step)
    report = _report(engine, plan, step, folder)
    before = checkpoint.steps_in(folder)[:2] if step else []
    followed = updates.Followed(engine.kept, session, records, report, engine.config.log_every_steps, before)
    saved = (step, state) if step else None
    keep = checkpoint.kept_in_training(engine.config.keep_checkpoint_max)
    open_files = contextlib.closing(report), contextlib.closing(batches)
    with open_files[0], open_files[1], failures.noting_step(lambda: step), StopRequest(link.members == 1) as stop:
        evaluation = _dev_evaluation(engine, plan, dev, folder, report, stop) if dev is not None else None
        while True:
            last = step >= plan.num_train_steps
            if evaluation is not None and progress.evaluation_due(plan, step, state) and not stop:
                followed.read(step)
                with _explained_by_weights(engine, step):
                    state = progress.evaluate_and_keep_best(evaluation, step, state)
                _set_state(engine, state)  # the training tower reads plateau_scale
            last = last or (dev is not None and progress.stopped_early(state, plan.early_stopping_patience))
            if saved != (step, state) and (last or stop or progress.due(step, plan.save_checkpoints_steps)):
                followed.read(step)
                _set_state(engine, state)
                if link.is_chief:
                    checkpoint.save(engine.full_saver, session, folder, step, keep, _bytes_of_all(engine))
                else:
                    saver.require_finite(engine.full_saver, session, step)
                saved = (step, state)
            progress.exit_if_stopped(stop, step, report)
            if last:
                stop.elect(stop.votes)  # from here on each worker may stop by itself
                progress.exit_if_stopped(stop, step, report)
                break
            with report.timed():
                with report.waiting():
                    numbers, serialized = next(batches)
                votes, trace = run_step(step, serialized, stop.votes)
            if trace is not None:
                reports.write_trace(folder, step + 1, trace)
            step += 1
            state = state._replace(examples_consumed=state.examples_consumed + len(numbers))
            followed.add(step, numbers)
            stop.elect(votes)
    if step < plan.num_train_steps:
        progress.say_stopped_early(plan, engine.task.best_metric)
    return step


@contextlib.contextmanager
def _explained_by_weights(engine: Engine, step: int) -> Iterator[None]:
    """Within it, an evaluation that is not finite is an error of the weights if they are not finite either."""
    try:
        yield
    except UserError:
        saver.require_finite(engine.full_saver, engine.session, step)
        raise


def _report(engine: Engine, plan: Plan, step: int, folder: str) -> Any:
    if not engine.link.is_chief:
        return NoReport()
    config = engine.config
    peak_memory = functools.partial(memory.peak_bytes, devices.used_gpus(config))
    return tracking.report(config, plan, folder, step, peak_memory)


def _bytes_of(variables: Iterable[Any]) -> int:
    return sum(v.shape.num_elements() * v.dtype.base_dtype.size for v in variables)


def _bytes_of_all(engine: Engine) -> int:
    """What a checkpoint takes on the disk."""
    return _bytes_of(engine.session.graph.get_collection("variables"))


def _require_space(engine: Engine, plan: Plan, step: int, folder: str, with_best: bool) -> None:
    os.makedirs(folder, exist_ok=True)
    saves = -(-(plan.num_train_steps - step) // plan.save_checkpoints_steps)
    everything = _bytes_of_all(engine)
    best = _bytes_of(engine.weights.values()) if with_best else 0
    evaluations = 0
    if with_best and plan.eval_every_steps:
        evaluations = -(-(plan.num_train_steps - step) // plan.eval_every_steps)
    keep = checkpoint.kept_in_training(engine.config.keep_checkpoint_max)
    checkpoint.require_space(folder, everything, best, saves, keep, evaluations)


def _dev_evaluation(
    engine: Engine, plan: Plan, dev: RecordFile, folder: str, report: Any, stop: StopRequest
) -> progress.DevEvaluation:
    def evaluate(step: int) -> Optional[Evaluation]:
        outputs = _evaluate_on_all_workers(engine, dev, stop)
        return None if outputs is None else outputs.evaluation("dev")

    def keep_best(step: int) -> None:
        if engine.link.is_chief:
            write, size = saver.writer(engine.weights_saver, engine.session, step), _bytes_of(engine.weights.values())
            checkpoint.save_best(folder, step, write, size)

    return progress.DevEvaluation(plan, engine.task.best_metric, evaluate, keep_best, report)


def _evaluate_on_all_workers(engine: Engine, records: RecordFile, stop: StopRequest) -> Optional[SplitOutputs]:
    """Evaluates on all workers and merges their outputs; None if one of them received a signal meanwhile."""
    link = engine.link
    outputs = _predict(engine, records, engine.config.eval_batch_size, stop, link.index, link.members)
    if link.members == 1:
        return outputs

    def is_share(value: Any) -> bool:
        votes = value.get("votes") if isinstance(value, dict) and set(value) == {"outputs", "votes"} else None
        return (
            isinstance(votes, list)
            and len(votes) == len(stop.votes)
            and all(type(vote) in (int, float) for vote in votes)
            and (value["outputs"] is None or outputs is None or outputs.is_packed(value["outputs"]))
        )

    shared = link.share({"outputs": None if outputs is None else outputs.packed(), "votes": stop.votes}, is_share)
    stop.elect(np.sum([of_worker["votes"] for of_worker in shared], axis=0))
    if outputs is None or any(of_worker["outputs"] is None for of_worker in shared):
        return None
    for index, of_worker in enumerate(shared):
        if index != link.index:
            outputs.unpack(of_worker["outputs"])
    return outputs


def evaluate(engine: Engine, split: str, records: RecordFile) -> Evaluation:
    """Metrics and predictions of a whole split with the session's weights; every example counts once."""
    outputs = _predict(engine, records, engine.config.eval_batch_size, what="Evaluating " + split)
    assert outputs is not None
    return outputs.evaluation(split)


def predict(engine: Engine, records: RecordFile) -> Predictions:
    """Predictions with the session's weights, in file order."""
    outputs = _predict(engine, records, engine.config.predict_batch_size, what="Predicting")
    assert outputs is not None
    return outputs.predictions


def _predict(
    engine: Engine,
    records: RecordFile,
    batch_size: int,
    stop: Optional[StopRequest] = None,
    worker: int = 0,
    workers: int = 1,
    what: str = "",
) -> Optional[SplitOutputs]:
    """The outputs for a worker's share of the batches; None if a signal came meanwhile."""
    collected = SplitOutputs(engine.task, records, what)
    for numbers in itertools.islice(input_pipeline.length_sorted_batches(records, batch_size), worker, None, workers):
        if stop is not None and stop.received:
            return None
        # Each replica needs an example: the compiled form cannot lay out none. The outputs of repeated ones are equal.
        numbers = np.resize(numbers, max(len(numbers), len(engine.inference)))
        replicas = engine.session.run(engine.inference, {engine.records: records.read(numbers)})
        ends = np.cumsum([len(outputs.loss) for outputs in replicas])
        for outputs, of_replica in zip(replicas, np.split(numbers, ends[:-1])):
            collected.add(of_replica, outputs.loss, outputs.weight, outputs.predictions)
    return collected


def close(engine: Engine) -> None:
    engine.session.close()
