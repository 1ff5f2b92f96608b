"""A trained model in use: the weights of a checkpoint on either engine, evaluated and used for predictions."""

import contextlib
import functools
import os
from typing import Any, Callable, Dict, Iterator, NamedTuple

import numpy as np

from ..tasks.task import Predictions
from . import estimator_engine, reports, run_files, run_folder, session_engine
from .evaluation import Evaluation
from .feature_cache import RecordFile
from .job import Job, RunConfig
from .reports import say
from .session_engine import Engine


class Model(NamedTuple):
    """Trained weights, whichever engine holds them."""

    step: int
    evaluate: Callable[[str, RecordFile], Evaluation]
    predict: Callable[[RecordFile], Predictions]


@contextlib.contextmanager
def opened(config: RunConfig, job: Job, prefix: str) -> Iterator[Model]:
    """The model of a checkpoint, on the engine that the command names."""
    if config.engine.engine == "estimator":
        on_estimator = estimator_engine.build(job.task, config.engine, config.plan.seed)
        with estimator_engine.loaded(on_estimator, prefix) as served:
            evaluate = functools.partial(estimator_engine.evaluate, served)
            step = estimator_engine.step_of(served)
            yield Model(step, evaluate, functools.partial(estimator_engine.predict, served))
        return
    engine = session_engine.build(job.task, config.engine, config.plan.seed)
    yield loaded(engine, prefix)
    session_engine.close(engine)


def loaded(engine: Engine, prefix: str) -> Model:
    """An engine with the checkpoint's weights."""
    step = session_engine.load_trained(engine, prefix)
    evaluate = functools.partial(session_engine.evaluate, engine)
    return Model(step, evaluate, functools.partial(session_engine.predict, engine))


def evaluate_and_predict(
    model: Model, config: RunConfig, job: Job, records: Dict[str, RecordFile], folder: str
) -> None:
    """Does what --do_eval and --do_predict ask for. What is written goes to `folder`."""
    if config.do_eval:
        evaluate(model, job, records, folder)
    if config.do_predict:
        output = config.predict_output or os.path.join(folder, job.predictions_file)
        for split in records:
            if split.startswith("test"):
                predictions = model.predict(records[split])
                job.write_predictions(split, predictions, model.step, with_suffix(output, split), folder)


def with_suffix(path: str, split: str) -> str:
    """predictions.tsv, test_mismatched → predictions_mismatched.tsv"""
    base, ending = os.path.splitext(path)
    return base + split[split.find("_") :] + ending if "_" in split else path


def evaluate(model: Model, job: Job, records: Dict[str, RecordFile], folder: str) -> None:
    """Writes the predictions and the scores of every dev split; those of dev_NAME end in _NAME."""
    metrics: Dict[str, float] = {}
    details: Dict[str, Any] = {"labels": list(job.task.labels)}
    for split in [split for split in records if split.startswith("dev")]:
        suffix = split[len("dev") :]
        evaluation = model.evaluate(split, records[split])
        metrics.update({name + suffix: value for name, value in evaluation.metrics.items()})
        of_split, shown = job.describe_evaluation(split, evaluation.predictions)
        if job.evaluated is not None:
            lines = records[split].lines(np.arange(len(records[split])))
            examples = job.evaluated(split, evaluation.predictions, lines)
            run_files.write_evaluated(with_suffix(os.path.join(folder, run_files.EVALUATED_FILE), split), examples)
        of_split = dict({"examples": len(records[split])}, **of_split)
        details.update({name + suffix: value for name, value in of_split.items()})
        text = "Evaluation of step {} on {:,} examples of {}: {}"
        say(text.format(model.step, of_split["examples"], split, reports.format_metrics(evaluation.metrics)))
        if shown:
            say(shown)
    reports.write_eval_results(folder, metrics, model.step, details, job.eval_prefix)
    settled = job.settled()
    if settled:
        run_folder.write_settled(folder, settled)
    say("Wrote {}".format(os.path.join(folder, "eval_results.json")))
