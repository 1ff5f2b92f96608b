"""What the processor's instruction sets say, and what a run in bfloat16 says of them."""

import pytest
import tensorflow.compat.v1 as tf

from steady_bert.base import processor
from steady_bert.training import matrix_rate


@pytest.mark.parametrize(
    "text, described, emulated",
    [
        ("flags\t\t: fpu avx2 avx512f avx512_bf16\n", "avx2, avx512f, avx512_bf16", False),
        ("processor\t: 0\nflags\t\t: fpu amx_bf16 avx2\nflags\t\t: fpu\n", "avx2, amx_bf16", False),
        ("flags\t\t: fpu avx2 fma\n", "avx2", True),
        ("Features\t: fp asimd sve bf16\n", "asimd, sve, bf16", False),
        ("Features\t: fp\n", "none of note", True),
        ("processor\t: 0\n", "not known", False),
    ],
)
def test_instruction_sets_are_read_from_the_system(tmp_path, text, described, emulated):
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    sets = processor.instruction_sets(str(path))
    assert processor.describe(sets) == described
    assert processor.emulates_bfloat16(sets) == emulated
    assert processor.instruction_sets(str(tmp_path / "absent")) is None


@pytest.mark.parametrize(
    "sets, device, speedup, said",
    [
        ({"avx2"}, "/cpu:0", 0.3, "WARNING: --precision=bfloat16: this processor has no bfloat16 instructions"),
        ({"avx512_bf16"}, "/cpu:0", 1.7, "--precision=bfloat16: matrix products run 1.7 times as fast"),
        ({"avx512_bf16"}, "/cpu:0", 1.0, "WARNING: --precision=bfloat16: matrix products run 1.0 times as fast"),
        (None, "/cpu:0", 1.7, "--precision=bfloat16: matrix products run 1.7 times as fast"),
    ],
)
def test_a_run_in_bfloat16_says_if_the_processor_emulates_it(monkeypatch, sets, device, speedup, said):
    monkeypatch.setattr(processor, "instruction_sets", lambda: sets)
    monkeypatch.setattr(matrix_rate, "speedups", lambda *args: {"bfloat16": speedup})
    described = matrix_rate.describe("bfloat16", device, None)
    assert described.startswith(said)
    assert ("--precision=float32" in described) == described.startswith("WARNING")
    assert matrix_rate.describe("float16", device, None).startswith("WARNING: --precision=float16 is for GPUs")


@pytest.mark.parametrize(
    "precision, bfloat16, float16, advice",
    [
        ("float32", 2.3, 2.4, "--precision=bfloat16 is faster here."),  # an A100 or later
        ("bfloat16", 2.3, 2.4, None),
        ("float16", 2.3, 2.4, None),
        ("float32", 0.9, 2.9, "--precision=float16 is faster here."),  # a T4
        ("bfloat16", 0.9, 2.9, "--precision=float16 is faster here."),
        ("float32", 1.0, 1.05, None),
        ("bfloat16", 0.6, 0.5, "--precision=float32 is faster here."),
    ],
)
def test_a_run_on_a_gpu_names_the_precision_that_is_fastest_there(monkeypatch, precision, bfloat16, float16, advice):
    monkeypatch.setattr(matrix_rate, "speedups", lambda *args: {"bfloat16": bfloat16, "float16": float16})
    described = matrix_rate.describe(precision, "/GPU:0", None)
    assert "in bfloat16 matrix products run {} times as fast".format(bfloat16) in described
    assert described.endswith(advice or " times.")
    assert described.startswith("WARNING") == (advice is not None and precision != "float32")


def test_a_gpu_without_a_precision_ends_no_run_that_does_not_use_it(monkeypatch):
    def fail(*args):
        raise tf.errors.InternalError(None, None, "CUBLAS_STATUS_NOT_SUPPORTED\nat an operation")

    monkeypatch.setattr(matrix_rate, "speedups", fail)
    described = matrix_rate.describe("float32", "/GPU:0", None)
    assert described.endswith("could not be measured (CUBLAS_STATUS_NOT_SUPPORTED).")
