"""Which devices a run uses, how replicas on several GPUs are summed, and how much memory was used. No GPU is needed."""

import os
from types import SimpleNamespace

import pytest
import tensorflow.compat.v1 as tf

from steady_bert.training import devices, memory
from steady_bert.training.engine_config import EngineConfig

WHOLE, HALVES = [None], [SimpleNamespace(memory_limit=7000), SimpleNamespace(memory_limit=7000)]


def nccl(registered):
    return lambda operation: SimpleNamespace(kernel=["a kernel of " + operation] * registered)


@pytest.mark.parametrize(
    "names, cards, registered, kind",
    [
        (["gpu:0", "gpu:1"], [WHOLE, WHOLE], 1, tf.distribute.NcclAllReduce),
        (["gpu:0", "gpu:1"], [HALVES], 1, tf.distribute.ReductionToOneDevice),
        (["gpu:0", "gpu:1"], [WHOLE, WHOLE], 0, tf.distribute.ReductionToOneDevice),
        (["gpu:0"], [WHOLE], 1, type(None)),
        (["cpu:0", "gpu:0"], [WHOLE], 1, type(None)),
        (["cpu:0", "cpu:1"], [], 1, type(None)),
    ],
)
def test_replicas_are_summed_by_nccl_where_each_has_a_card(monkeypatch, names, cards, registered, kind):
    monkeypatch.setattr(devices, "_logical_gpus", lambda: cards)
    monkeypatch.setattr(devices.kernels, "get_registered_kernels_for_op", nccl(registered))
    assert type(devices._sums_between(names)) is kind


@pytest.mark.parametrize(
    "settings, used",
    [
        (dict(), ["gpu:0"]),
        (dict(distribution="mirrored"), ["gpu:0", "gpu:1"]),
        (dict(devices=("cpu:0", "gpu:1")), ["gpu:1"]),
        (dict(devices=("cpu:0",)), []),
    ],
)
def test_a_run_uses_the_first_gpu_all_or_those_that_are_named(monkeypatch, settings, used):
    monkeypatch.setattr(devices, "gpus", lambda: ["gpu:0", "gpu:1"])
    assert devices.used_gpus(EngineConfig(**settings)) == used


def test_a_card_counts_as_its_logical_gpus_in_every_session(monkeypatch):
    monkeypatch.setenv("TF_SYNC_ON_FINISH", "1")  # as the user wants it
    monkeypatch.setattr(devices, "_logical_gpus", lambda: [HALVES, WHOLE])
    assert devices.gpus() == ["gpu:0", "gpu:1", "gpu:2"] and os.environ["TF_SYNC_ON_FINISH"] == "1"
    options = devices.session_config(EngineConfig(gpu_memory_fraction=0.25)).gpu_options
    assert [list(card.memory_limit_mb) for card in options.experimental.virtual_devices] == [[7000, 7000], []]
    assert options.per_process_gpu_memory_fraction == 0.0  # TensorFlow refuses both
    note = devices.notes_of_form(EngineConfig(gpu_memory_fraction=0.25, padding="fixed"))["gpu_memory_fraction"]
    assert note.startswith("no effect: a GPU was split")
    monkeypatch.delenv("TF_SYNC_ON_FINISH")
    monkeypatch.setattr(devices, "_logical_gpus", lambda: [WHOLE])
    assert not devices.session_config(EngineConfig()).gpu_options.experimental.virtual_devices
    assert devices.gpus() == ["gpu:0"] and os.environ["TF_SYNC_ON_FINISH"] == "0"


def test_memory_grows_unless_a_share_is_taken(monkeypatch):
    grows = devices.session_config(EngineConfig()).gpu_options
    assert (grows.allow_growth, grows.per_process_gpu_memory_fraction) == (True, 0.0)
    taken = devices.session_config(EngineConfig(gpu_memory_fraction=0.25)).gpu_options
    assert (taken.allow_growth, taken.per_process_gpu_memory_fraction) == (False, 0.25)
    assert devices.notes_of_form(EngineConfig(gpu_memory_fraction=0.25, devices=("cpu:0",), padding="fixed")) == {
        "gpu_memory_fraction": "no effect without a GPU"
    }


def test_peak_memory_is_that_of_the_fullest_gpu_or_of_the_process(monkeypatch):
    with open("/proc/self/status") as file:
        (high_water,) = (int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
    assert memory.peak_bytes([]) == pytest.approx(high_water, rel=0.02)
    peaks = {"GPU:0": 3, "GPU:1": 8}
    experimental = SimpleNamespace(get_memory_info=lambda name: dict(current=1, peak=peaks[name]))
    monkeypatch.setattr(memory, "tf", SimpleNamespace(config=SimpleNamespace(experimental=experimental)))
    assert memory.peak_bytes(["gpu:0", "gpu:1"]) == 8

    def uncounted(name):
        raise ValueError("Memory statistics not tracked")

    experimental.get_memory_info = uncounted
    assert memory.peak_bytes(["gpu:0"]) is None
    monkeypatch.setattr(memory, "tf", SimpleNamespace(config=SimpleNamespace(experimental=SimpleNamespace())))
    assert memory.peak_bytes(["gpu:0"]) is None  # TensorFlow 1.15
