"""PReLU against TFLite's reference kernel, when it can clamp, and what the builder refuses."""

from __future__ import annotations

import numpy as np
import pytest

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.dialect import attrs_of
from mcutrain.tvm_ext.importers.base.network import NetworkBuilder
from mcutrain.tvm_ext.importers.base.values import Quantisation
from mcutrain.tvm_ext.ops.table import build
from tests.tvm_ext.support.run_kernel import run
from tests.tvm_ext.support.tflite_op import Quantised, run_op

CHANNELS = 8
X = np.repeat(np.arange(-128, 128).astype(np.int8), CHANNELS).reshape(1, 16, 16, CHANNELS)  # every number, each channel


def quantisations(seed: int) -> list[Quantisation]:
    """Of x, y and the slopes; x and y alike in every fourth."""
    rng = np.random.default_rng(seed)
    x, y, slopes = (
        Quantisation(float(np.float32(10 ** rng.uniform(-2.5, 0.3))), int(rng.integers(-128, 128))) for _ in range(3)
    )
    return [x, x if seed % 4 == 0 else y, slopes]


@pytest.mark.parametrize("seed", range(24))
def test_tflite(seed: int) -> None:
    """Every int8 number with random slopes, bit for bit; no bit of the mask is clear where nothing can be clamped."""
    x, y, of_slopes = quantisations(seed)
    slopes = np.random.default_rng(seed).integers(-128, 128, CHANNELS).astype(np.int8)
    theirs = run_op(
        "PRELU",
        None,
        [Quantised(X, x.scale, x.zero), Quantised(slopes.reshape(1, 1, -1), of_slopes.scale, of_slopes.zero)],
        Quantised(np.zeros_like(X), y.scale, y.zero),
        version=1,
    )
    builder = NetworkBuilder(X.shape, x)
    builder.prelu("op", builder.input, slopes, y, of_slopes, "tflite")
    ((_, call),) = builder.builder.emitted()
    attrs = attrs_of(call)
    ours, mask = np.zeros_like(X), np.zeros((1, 16, 16), np.uint8)
    run(build("qprelu_with_mask", [list(X.shape), [CHANNELS]], attrs), [X, builder.params["op.slopes"]], [ours, mask])
    np.testing.assert_array_equal(ours, theirs)
    assert attrs["can_clamp"] or (mask == 0xFF).all()


@pytest.mark.parametrize(("slopes", "lo", "can_clamp"), [([0.5], -128, False), ([1.0], -128, False), ([0.5], -60, True),
                                                         ([1.1], -128, True), ([-3.0, 0.2], -128, True)])  # fmt: skip
def test_a_mask_is_kept_where_something_can_be_clamped(slopes: list[float], lo: int, can_clamp: bool) -> None:
    q = Quantisation(0.1, -20)
    builder = NetworkBuilder((1, 2, 2, len(slopes)), q)
    builder.prelu("op", builder.input, np.array(slopes, np.float32), q, lo=lo)
    ((_, call),) = builder.builder.emitted()
    assert attrs_of(call)["can_clamp"] == can_clamp


def test_the_builder_refuses_slopes_that_do_not_fit() -> None:
    builder = NetworkBuilder((1, 2, 2, 3), None)
    with pytest.raises(ModelError, match=r"act: has \(2,\) slopes; one, or one for each of the 3 channels"):
        builder.prelu("act", builder.input, np.ones(2, np.float32))
    with pytest.raises(ModelError, match="act_2: an int8 layer reads float32"):
        builder.prelu("act", builder.input, np.ones(1, np.float32), Quantisation(0.1, 0))
