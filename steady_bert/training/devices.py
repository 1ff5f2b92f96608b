"""The devices of a run, the tf.distribute strategy over them, and the options of its session."""

import contextlib
import glob
import os
import re
from typing import Any, Dict, List, Optional, Sequence, Set, Tuple

import tensorflow.compat.v1 as tf
from tensorflow.core.protobuf import rewriter_config_pb2
from tensorflow.python.framework import kernels  # works on TF 1.15 to 2.21; no public module has it

from .. import loss_scale, rule_optimizer
from ..base.errors import UserError
from .engine_config import EngineConfig

# XLA chooses among kernels by timing them, and two choices are two results: without it, a command repeats bit by bit.
_XLA_FLAGS = ("--xla_gpu_autotune_level=0", "--xla_gpu_enable_triton_gemm=false")


def _prepare_compiler() -> None:
    """Settles how XLA compiles for a GPU, where the machine may have one. TensorFlow reads it once, with the devices.

    What the user has in the environment comes last, and so wins.
    """
    if not any(os.path.exists(path) for path in ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")):
        return
    for name, flags in (("XLA_FLAGS", _XLA_FLAGS), ("TF_XLA_FLAGS", _cache_flags())):
        given = os.environ.get(name, "").strip()
        is_file = bool(given) and not given.startswith("-")  # XLA reads flags from a file of this name
        if not is_file and flags and flags[0] not in given:
            os.environ[name] = " ".join(flags + (given,)).strip()


def _cache_flags() -> Tuple[str, ...]:
    """Keeps compiled code for the next run, which starts in a third of the time; () where it cannot be kept.

    A failure to write there would fail the compilation.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = os.path.join(cache, "steady_bert", "xla-{}-{}".format(tf.__version__, _gpu_models()))
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError:
        return ()
    if not os.access(folder, os.W_OK | os.X_OK) or len(folder.split()) > 1:  # blanks separate flags
        return ()
    return (
        "--tf_xla_persistent_cache_directory=" + folder,
        "--tf_xla_persistent_cache_prefix=steady_bert",
        "--tf_xla_persistent_cache_device_types=GPU,XLA_GPU_JIT",
    )


def _gpu_models() -> str:
    """The models of this machine's GPUs: code for one fails on another, and machines may share a home folder."""
    models: Set[str] = set()
    for path in glob.glob("/proc/driver/nvidia/gpus/*/information"):
        with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
            models.update(line.split(":", 1)[1].strip() for line in file if line.startswith("Model:"))
    return re.sub("[^A-Za-z0-9]+", "-", "+".join(sorted(models))) or "gpu"


def gpus() -> List[str]:
    """The GPUs that TensorFlow finds, as "gpu:0"; a card counts as often as it was split into logical ones."""
    if rule_optimizer.has_xla():
        _prepare_compiler()
    count = sum(map(len, _logical_gpus()))
    if count:
        # A run of a session ends when its work is queued, not when the GPU has done it. Whoever fetches a number waits.
        os.environ.setdefault("TF_SYNC_ON_FINISH", "0")
    return ["gpu:{}".format(number) for number in range(count)]


def _logical_gpus() -> List[List[Any]]:
    """Each card's logical GPUs: the settings that tf.config has of them; [None] if the card is whole."""
    cards = getattr(tf.config, "list_physical_devices", tf.config.experimental.list_physical_devices)("GPU")
    settings_of = getattr(tf.config, "get_logical_device_configuration", lambda card: None)  # from TF 2.4 on
    return [settings_of(card) or [None] for card in cards]


def _has_split(logical_gpus: Sequence[Sequence[Any]]) -> bool:
    """Whether a card was split. The user has settled the memory of each part then."""
    return any(len(logical) > 1 for logical in logical_gpus)


def used_gpus(config: EngineConfig) -> List[str]:
    """Those of `gpus` on which the replicas of this process compute."""
    if config.devices:
        return [name for name in config.devices if name.startswith("gpu:")]
    return gpus()[:1] if config.distribution == "one_device" else gpus()


def compute_form(config: EngineConfig) -> str:
    """The form of the computation, of base/compute.py. The fast one of a GPU is the compiled one (docs/gpu.md).

    Estimator, whose graphs an exporter or a TPU may take, and --xla, which compiles the graph, have the CPU's.
    """
    if config.compute_form not in ("auto", "fast"):
        return config.compute_form
    on_gpu = bool(used_gpus(config))
    session = config.engine == "session" and not config.xla
    return "compiled" if on_gpu and session and rule_optimizer.has_xla() else "fast"


def notes_of_form(config: EngineConfig) -> Dict[str, str]:
    """What a plan says of the form, where it is not the CPU's."""
    form = compute_form(config)
    notes = {} if form == "fast" else {"compute_form": form}
    if config.precision == "float32" and used_gpus(config):
        notes["products"] = "TF32 on a GPU that has it (--tf32=false: exact)" if config.tf32 else "exact float32"
    if config.precision == "float16":
        notes["loss_scale"] = "from {:,.0f}; twice after {:,} updates without an overflow, half after one".format(
            loss_scale.INITIAL, loss_scale.GROWTH_UPDATES
        )
    if form != "compiled" and config.padding == "none":
        notes["attention"] = "sequences share rows in training"
    if config.recompute:
        effect = "each layer is computed again in the backward pass" if form == "compiled" else "no effect in this form"
        notes["recompute"] = effect
    if config.gpu_memory_fraction and not used_gpus(config):
        notes["gpu_memory_fraction"] = "no effect without a GPU"
    elif config.gpu_memory_fraction and _has_split(_logical_gpus()):
        notes["gpu_memory_fraction"] = "no effect: a GPU was split, and each part's memory settled"
    return notes


def _cpu_count(devices: Sequence[str]) -> int:
    """How many logical CPU devices the names need."""
    return 1 + max([int(name.split(":")[1]) for name in devices if name.startswith("cpu:")] or [0])


def make_strategy(config: EngineConfig) -> tf.distribute.Strategy:
    """The strategy that the configuration names; TF_CONFIG lists the workers if there are several.

    Raises UserError for devices that do not exist.
    """
    if hasattr(tf.config.experimental, "enable_tensor_float_32_execution"):  # from TF 2.4 on
        tf.config.experimental.enable_tensor_float_32_execution(config.tf32)
    present_gpus = gpus()
    if present_gpus and config.distribution != "one_device":
        # These strategies look at the GPUs, and who is the first to do so decides how much of their memory is taken.
        tf.Session(config=session_config(config)).close()
    if config.distribution == "multi_worker":
        return tf.distribute.experimental.MultiWorkerMirroredStrategy()
    for name in config.devices:
        if name.startswith("gpu:") and name not in present_gpus:
            present = ", ".join(present_gpus) or "no GPU"
            raise UserError("--devices: TensorFlow finds no {} here (it finds: {}).".format(name, present))
    devices = list(config.devices) or present_gpus
    cpus = _cpu_count(devices)
    # TF 2 fixes the logical devices once in a process; TF 1 takes them from the session's device_count.
    if cpus > 1 and hasattr(tf.config, "set_logical_device_configuration"):
        physical = tf.config.list_physical_devices("CPU")[0]
        if len(tf.config.get_logical_device_configuration(physical) or ()) < cpus:
            logical = [tf.config.LogicalDeviceConfiguration() for _ in range(cpus)]
            tf.config.set_logical_device_configuration(physical, logical)
    if config.distribution == "one_device":
        return tf.distribute.OneDeviceStrategy("/" + (devices[0] if devices else "cpu:0"))
    if not devices:
        raise UserError(
            "--distribution=mirrored: TensorFlow finds no GPU here. Name the devices, as --devices=cpu:0,cpu:1."
        )
    return tf.distribute.MirroredStrategy(["/" + name for name in devices], _sums_between(devices))


def _sums_between(devices: Sequence[str]) -> Optional[tf.distribute.CrossDeviceOps]:
    """How mirrored replicas are summed: by NCCL if each has a card of its own. None: as TensorFlow chooses.

    On several GPUs it would choose collectives, which need the same shapes in every update (TF ≥ 2.15). NCCL refuses
    two logical GPUs of a card.
    """
    if len(devices) < 2 or not all(name.startswith("gpu:") for name in devices):
        return None
    if _has_split(_logical_gpus()) or not kernels.get_registered_kernels_for_op("NcclAllReduce").kernel:
        return tf.distribute.ReductionToOneDevice()
    return tf.distribute.NcclAllReduce()


def session_config(config: EngineConfig, strategy: Optional[tf.distribute.Strategy] = None) -> tf.ConfigProto:
    """The options of a session: TensorFlow's own, except for passes that were measured to be better off."""
    options = tf.ConfigProto(allow_soft_placement=True, device_count={"CPU": _cpu_count(config.devices)})
    options.gpu_options.allow_growth = not config.gpu_memory_fraction
    logical_gpus = _logical_gpus()
    if _has_split(logical_gpus):  # tf.config settles it for eager TensorFlow alone
        for logical in logical_gpus:
            limits = [setting.memory_limit for setting in logical if setting]
            options.gpu_options.experimental.virtual_devices.add(memory_limit_mb=limits)
    else:  # TensorFlow refuses both
        options.gpu_options.per_process_gpu_memory_fraction = config.gpu_memory_fraction
    # The two passes that fold constants keep a copy of every initial value as long as the session lives.
    options.graph_options.optimizer_options.opt_level = tf.OptimizerOptions.L0
    options.graph_options.rewrite_options.constant_folding = rewriter_config_pb2.RewriterConfig.OFF
    # All passes run twice else, for each set of fetches: half a second of a run's start, and the same graph after it.
    options.graph_options.rewrite_options.meta_optimizer_iterations = rewriter_config_pb2.RewriterConfig.ONE
    if config.xla:
        options.graph_options.optimizer_options.global_jit_level = tf.OptimizerOptions.ON_1
    if config.distribution == "multi_worker" and strategy is not None:
        options = strategy.update_config_proto(options)
        # This pass merges collectives. It crashes TF 1.15 on gradients of this graph, which ignores OFF there.
        rewrites = options.graph_options.rewrite_options
        rewrites.scoped_allocator_optimization = rewriter_config_pb2.RewriterConfig.DEFAULT
        del rewrites.scoped_allocator_opts.enable_op[:]
    return options


def prepare_xla() -> None:
    """Turns XLA on; call it before TensorFlow looks for devices. Raises UserError if it cannot compile."""
    if not rule_optimizer.has_xla():
        raise UserError("--xla: TensorFlow {} cannot compile. Use 2.15 or later.".format(tf.__version__))
    # Without it a session's global_jit_level concerns GPUs alone. TensorFlow reads it once, when it looks for devices.
    on_cpu, given = "--tf_xla_cpu_global_jit", os.environ.get("TF_XLA_FLAGS", "")
    if on_cpu not in given:
        os.environ["TF_XLA_FLAGS"] = given + " " + on_cpu


def on_replicas(strategy: tf.distribute.Strategy, function: Any) -> Any:
    """Runs function() in every replica; gives the results of all of them."""
    run = strategy.run if hasattr(strategy, "run") else strategy.experimental_run_v2  # renamed in TF 2.2
    return run(function)


def local_device(strategy: tf.distribute.Strategy) -> str:
    """This process's first device, as "/CPU:0". A name with a job is valid only in sessions of that job."""
    device = tf.DeviceSpec.from_string(strategy.extended.worker_devices[0])
    return "/{}:{}".format(device.device_type, device.device_index)


def replica_id(strategy: tf.distribute.Strategy, worker: int) -> Any:
    """The number of the current replica among those of all workers, an integer or a tensor. worker: from 0."""
    number = tf.distribute.get_replica_context().replica_id_in_sync_group
    if not worker or hasattr(strategy.extended, "_get_replica_id_in_sync_group"):
        return number
    return number + worker * len(strategy.extended.worker_devices)  # TF 1.15 counts from 0 in each worker
