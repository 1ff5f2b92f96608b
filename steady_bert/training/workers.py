"""The workers of a run: how they are joined, and what they must have in common."""

import contextlib
import dataclasses
import json
import os
import time
import warnings
from typing import Dict, Iterator, Optional

import tensorflow.compat.v1 as tf

from ..base import files
from ..base.errors import UserError
from . import cluster, devices, environment, worker_link
from .engine_config import EngineConfig
from .job import Job, RunConfig
from .link_messages import KEY_VARIABLE
from .plan import Plan
from .reports import say
from .resume import Decision


@contextlib.contextmanager
def joined(config: EngineConfig) -> Iterator[worker_link.Member]:
    """The link to the other workers. Enter it before anything is read: an error of one worker then ends all of them."""
    if config.distribution != "multi_worker":
        yield worker_link.Alone()
        return
    workers = cluster.from_environment(os.environ)
    key = os.environ.get(KEY_VARIABLE, "")
    if not key and not workers.on_one_machine:
        text = "TF_CONFIG names several machines, and {} is not set: whoever reaches port {} of {} can end this run."
        warnings.warn(text.format(KEY_VARIABLE, workers.link_address[1], workers.link_address[0]), stacklevel=1)
    say("Waiting for the {} workers of TF_CONFIG".format(len(workers.members)))
    try:
        description = {"TensorFlow": tf.__version__, "code": environment.code_fingerprint()}
        link = worker_link.Link(workers, description, key=key, bind=config.cluster_bind)
    except RuntimeError as error:  # a worker that had joined is lost
        worker_link.stop_now(str(error), 1)
    say("All workers have joined")
    try:
        yield link
    except SystemExit:  # on all of them, after the same step
        leave(link)
        raise
    except worker_link.RefusedError:
        raise
    except tf.errors.OpError as error:
        # TensorFlow may notice a lost worker before the link does, which names it and ends the process: wait for that.
        time.sleep(worker_link.LOST_SECS + 2 * worker_link.BEAT_SECS)
        link.fail("{}: {}".format(type(error).__name__, error.message), 1)
        raise
    except UserError as error:
        link.fail(str(error), 2)
        raise
    except BaseException as error:
        link.fail("{}: {}".format(type(error).__name__, error), 1)
        raise
    finally:
        link.close()


def leave(link: worker_link.Member) -> None:
    """Ends the link once the workers no longer need each other."""
    with contextlib.suppress(RuntimeError):  # a worker that is lost now does no harm
        link.share("done")
    link.close()


# The settings in which workers may differ.
_OWN_SETTINGS = {
    "cache_dir",
    "cluster_bind",
    "gpu_memory_fraction",
    "init_checkpoint",  # the weights are compared
    "keep_checkpoint_max",
    "log_every_secs",
    "log_every_steps",
    "output_dir",  # the run in it is compared
    "predict_output",
    "profile_steps",
    "report_to",
}


def in_common(config: RunConfig, job: Job, plan: Plan, prefix: Optional[str], decision: Decision) -> Dict[str, str]:
    """What all workers of a run must have in common, by name. prefix: the checkpoint to continue."""
    settings = dataclasses.asdict(config)
    for section in ("plan", "optimizer", "weights", "engine"):
        settings.update(settings.pop(section))
    settings.pop("auto_rate")
    settings["learning_rate"] = plan.schedule.learning_rate  # what auto is on this worker
    common = {"--" + name: json.dumps(value) for name, value in settings.items() if name not in _OWN_SETTINGS}
    common.update({name: json.dumps(value, sort_keys=True) for name, value in plan.identity.items()})
    common["dev data"] = json.dumps(job.task.fingerprint("dev") if config.do_eval else None, sort_keys=True)
    common["run in --output_dir"] = "{} from {}".format(
        decision.action, files.sha256_of_file(prefix + ".index")[:16] if prefix else "nothing"
    )
    common["number of GPUs"] = str(len(devices.gpus()))
    return common
