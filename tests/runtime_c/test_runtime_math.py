"""mcu_math.h against numpy, and the same bits on the host and on every emulated core."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mcutrain.firmware import toolchain
from mcutrain.targets import board as boards
from tests.cores import BOARDS

HERE = Path(__file__).parent
IN = np.dtype([("a", "<f4"), ("b", "<f4"), ("c", "<f4"), ("random", "<u4")])
ANSWERS = "round_even:i4 fma:f4 exp:f4 log:f4 hash:u4 stochastic:i4 update_i8:i4 update_i32:i4"
ANSWERS += " multiply_tflite:i4 multiply_upward:i4"
OUT = np.dtype([(name, "<" + kind) for name, kind in (answer.split(":") for answer in ANSWERS.split())])
FLT_MAX = np.finfo(np.float32).max
EDGES = [0.0, -0.0, 0.5, -0.5, 1.5, 2.5, -1.5, -2.5, 0.49999997, -0.49999997, 0.50000006, 1.0, -1.0]
EDGES += [np.inf, -np.inf, np.nan]
EDGES += [4194303.5, -4194303.5, 4194304.0, 4194302.5, 4194304.5, 8388609.0, -4194304.5, 1e30, -1e30, FLT_MAX, -FLT_MAX]
EDGES += [1e-45, -1e-45, 1.1754942e-38, 1.17549435e-38, 88.72283, 88.72284, 88.8, -87.33654, -87.33655, -87.4, 104.0]
EDGES += [2.0**30, -(2.0**30), 2.0**31, -(2.0**31), 2.0**30 - 64, 0.99999994, 1.0000001, 0.70710678, 0.70710677]


def operands() -> np.ndarray:
    """20480 records: edge values, halves, every magnitude, all bit patterns, the ranges of use of exp and log."""
    rng = np.random.default_rng(20)
    n = 20480
    records = np.zeros(n, IN)
    for name in ("a", "b", "c"):
        records[name] = rng.integers(0, 1 << 32, n, dtype=np.uint32).view(np.float32)
        records[name][8192:12288] = rng.normal(0, 40, 4096)
        records[name][12288:16384] = rng.normal(0, 1, 4096) * 10.0 ** rng.uniform(-9, 7, 4096)
    records["a"][16384:20480] = rng.integers(-(1 << 23), 1 << 23, 4096) / 2
    records["a"][: len(EDGES)] = np.array(EDGES, np.float32)
    records["random"] = rng.integers(0, 1 << 32, n, dtype=np.uint32)
    return records


def run_on_host(folder: Path, records: np.ndarray, defines: tuple[str, ...]) -> np.ndarray:
    library = folder / "math.so"
    toolchain.build_host([HERE / "math_cases.c"], [HERE], library, defines)
    answers = np.zeros(len(records), OUT)
    function = ctypes.CDLL(str(library)).math_cases
    pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in (records, answers)]
    function(*pointers, ctypes.c_uint32(len(records)))
    return answers


@pytest.fixture(scope="module")
def fused(tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, np.ndarray]:
    records = operands()
    return records, run_on_host(tmp_path_factory.mktemp("fused"), records, ("MCU_HAS_FMA=1",))


@pytest.mark.parametrize("name", BOARDS)
def test_device_gives_the_bits_of_the_host(name: str, build: Callable, execute: Callable, tmp_path: Path) -> None:
    records = operands()
    (tmp_path / "samples.bin").write_bytes(records.tobytes())
    execute(build(name, "math_main.c", "math_cases.c"))
    device = np.frombuffer((tmp_path / "results.bin").read_bytes(), OUT)
    host = run_on_host(tmp_path, records, boards.get(name).defines)
    assert len(device) == len(host)
    for field in OUT.names:
        ours, theirs = device[field], host[field]
        same = ours.view(np.uint32) == theirs.view(np.uint32)
        if field == "fma":  # the payload of a NaN is the core's own
            same |= np.isnan(ours) & np.isnan(theirs)
        assert same.all(), (field, records[~same][:5], ours[~same][:5], theirs[~same][:5])


@pytest.mark.parametrize("name", BOARDS)
def test_loops_keep_subnormals(name: str, build: Callable, execute: Callable) -> None:
    """Vectors of floats are not IEEE's on every core: where GCC would use them, subnormals became zeros."""
    x = np.arange(5, 69, dtype=np.uint32).view(np.float32)
    expected = (x + x).view(np.uint32).sum()
    assert execute(build(name, "vector_main.c", optimise="-O3")) == (str(expected),)


def test_round_even(fused: tuple[np.ndarray, np.ndarray]) -> None:
    records, answers = fused
    expected = np.clip(np.rint(np.nan_to_num(records["a"], nan=0.0)), -(2.0**22), 2.0**22)
    np.testing.assert_array_equal(answers["round_even"], expected)


@pytest.mark.parametrize("is_fused", [0, 1])
def test_fma_rounds_once_or_twice(is_fused: int, tmp_path: Path) -> None:
    """In float64 the product of two float32 is exact; 1 + 2^-12 squared shows which one was built."""
    records = operands()[8192:12288]
    records["a"][0] = records["b"][0] = 1 + 2.0**-12
    records["c"][0] = -1 - 2.0**-11
    answers = run_on_host(tmp_path, records, (f"MCU_HAS_FMA={is_fused}",))["fma"]
    twice = records["a"] * records["b"] + records["c"]
    exact = records["a"].astype(np.longdouble) * records["b"] + records["c"]
    if is_fused:
        assert answers[0] == np.float32(2.0**-24)
        np.testing.assert_array_equal(answers, exact.astype(np.float32))
    else:
        assert answers[0] == 0.0
        np.testing.assert_array_equal(answers, twice)


def test_exp(fused: tuple[np.ndarray, np.ndarray]) -> None:
    records, answers = fused
    a, got = records["a"], answers["exp"]
    useful = (a >= -87.3365) & (a <= 88.7228)
    expected = np.exp(a[useful].astype(np.float64))
    assert useful.sum() > 8000
    assert np.max(np.abs(got[useful] / expected - 1)) < 2e-7
    assert (got[a < -87.34] == 0).all() and (got[a > 88.73] == FLT_MAX).all()
    assert np.isnan(got[np.isnan(a)]).all() and np.isfinite(got[~np.isnan(a)]).all()


def test_log(fused: tuple[np.ndarray, np.ndarray]) -> None:
    records, answers = fused
    a, got = records["a"], answers["log"]
    useful = (a > 0) & np.isfinite(a)
    expected = np.log(a[useful].astype(np.float64))
    ulp = np.spacing(np.abs(expected).astype(np.float32)).astype(np.float64)
    assert useful.sum() > 5000
    assert np.max(np.abs(got[useful] - expected) / ulp) <= 4
    assert (got[a == 0] == -FLT_MAX).all() and (got[a == np.inf] == FLT_MAX).all()
    assert np.isnan(got[(a < 0) | np.isnan(a)]).all()


def reference_stochastic(v: np.ndarray, random: np.ndarray) -> np.ndarray:
    uniform = ((random >> 8) * np.float32(2.0**-24)).astype(np.float32)
    clamped = np.clip(np.nan_to_num(v, nan=0.0, posinf=2.0**31, neginf=-(2.0**31)), -(2.0**30), 2.0**30)
    inside = np.abs(clamped) < 2.0**30
    rounded = np.floor((clamped + uniform).astype(np.float32))
    return np.where(np.isnan(v), 0, np.where(inside, rounded, clamped)).astype(np.int64)


def test_stochastic_round_and_updates(fused: tuple[np.ndarray, np.ndarray]) -> None:
    records, answers = fused
    delta = reference_stochastic(records["a"], records["random"])
    np.testing.assert_array_equal(answers["stochastic"], delta)
    weight = records["b"].view(np.int32)
    low = (weight & 0xFF).astype(np.uint8).view(np.int8).astype(np.int64)
    np.testing.assert_array_equal(answers["update_i8"], np.clip(low - delta, -127, 127))
    wide = weight.astype(np.int64)  # a value that lies beyond 2^30 may only come back
    whole = np.clip(wide - delta, np.minimum(wide, -(1 << 30)), np.maximum(wide, 1 << 30))
    np.testing.assert_array_equal(answers["update_i32"], whole)


def test_fixed_point_products(fused: tuple[np.ndarray, np.ndarray]) -> None:
    """In Python's own integers: the doubling high product and the rounding shift as gemmlowp defines them; and the
    exact quotient plus a half, rounded down."""
    records, answers = fused
    shifts = (records["random"] % 40).astype(np.int64) - 31
    multipliers = (records["c"].view(np.uint32) >> 2 | 0x40000000).astype(np.int64)
    left = np.maximum(shifts, 0)
    numbers = records["b"].view(np.int32).astype(np.int64) >> left
    for i in range(0, len(records), 3):
        x, m, shift = int(numbers[i]), int(multipliers[i]), int(shifts[i])
        product = (x << max(shift, 0)) * m
        nudged = product + (2**30 if product >= 0 else 1 - 2**30)
        high = abs(nudged) // 2**31 * (1 if nudged >= 0 else -1)  # C's division
        right = max(-shift, 0)
        halves_away = (abs(high) + (1 << right >> 1)) >> right
        assert answers["multiply_tflite"][i] == (halves_away if high >= 0 else -halves_away), (x, m, shift)
        assert answers["multiply_upward"][i] == (x * m + (1 << (30 - shift))) >> (31 - shift), (x, m, shift)


def test_stochastic_rounding_is_unbiased_over_elements(tmp_path: Path) -> None:
    """The mean over many elements is the value itself; the hash is what makes it so."""
    source = tmp_path / "mean.c"
    source.write_text(
        '#include "mcu_math.h"\n'
        "double mean(float v, uint32_t seed, uint32_t step, uint32_t n) {\n"
        "    int64_t sum = 0;\n"
        "    for (uint32_t i = 0; i < n; i++) sum += mcu_stochastic_round(v, mcu_hash(seed, step, i));\n"
        "    return (double)sum / (double)n;\n}\n"
        "void hashes(const uint32_t (*triple)[3], uint32_t *out, uint32_t n) {\n"
        "    for (uint32_t i = 0; i < n; i++) out[i] = mcu_hash(triple[i][0], triple[i][1], triple[i][2]);\n}\n"
    )
    toolchain.build_host([source], [], tmp_path / "mean.so")
    library = ctypes.CDLL(str(tmp_path / "mean.so"))
    library.mean.restype = ctypes.c_double
    library.mean.argtypes = [ctypes.c_float, *[ctypes.c_uint32] * 3]
    n = 200_000
    for step, v in enumerate([0.001, -0.001, 0.3, -0.7, 5.25, -126.5]):
        fraction = v - np.floor(v)
        deviation = np.sqrt(fraction * (1 - fraction) / n)
        assert abs(library.mean(v, 3, step, n) - v) < 5 * deviation + 1e-7, v
    check_hash(library.hashes)


def check_hash(function: Callable) -> None:
    """Counting in any argument sets each bit half of the time; flipping any argument's bit flips each output bit half
    of the time, also between small numbers, which are what real seeds, steps and elements are."""

    def hashes(triples: np.ndarray) -> np.ndarray:
        triples, out = np.ascontiguousarray(triples, np.uint32), np.zeros(len(triples), np.uint32)
        pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in (triples, out)]
        function(*pointers, ctypes.c_uint32(len(out)))
        return out

    def worst_bias(values: np.ndarray) -> float:
        bits = (values[:, None] >> np.arange(32, dtype=np.uint32)) & 1
        return float(np.abs(bits.mean(0) - 0.5).max())

    n = 20_000
    tolerance = 5 * 0.5 / np.sqrt(n)
    rng = np.random.default_rng(1)
    for vary in range(3):
        counting = np.tile(np.array([5, 9, 11], np.uint32), (n, 1))
        counting[:, vary] = np.arange(n)
        values = hashes(counting)
        assert worst_bias(values) < tolerance and len(np.unique(values)) > n - 5
        for bits in (10, 32):
            triples = rng.integers(0, 1 << bits, (n, 3), dtype=np.uint32)
            for bit in range(32):
                flipped = triples.copy()
                flipped[:, vary] ^= np.uint32(1 << bit)
                assert worst_bias(hashes(triples) ^ hashes(flipped)) < 2 * tolerance, (vary, bits, bit)
