"""Every declared overlap is proven: with the output over the input at exactly that distance the result is the same, and
one element nearer it is not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcutrain.tvm_ext.dialect import mask_shape
from mcutrain.tvm_ext.ops.kernel import Kernel, Variant
from mcutrain.tvm_ext.ops.table import KERNELS, build
from tests.tvm_ext.ops.test_float_conv import floating
from tests.tvm_ext.ops.test_forward_kernels import ADD, kernel_of
from tests.tvm_ext.support.cases import adjoint, conv_case
from tests.tvm_ext.support.run_kernel import prepare, run, run_overlapped
from tests.tvm_ext.support.small_kernels import small_kernel

# every example calls the C compiler
FEW = settings(
    max_examples=8, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], database=None
)
EXTENTS = st.integers(1, 9)
CHANNELS = st.integers(1, 13)
SEEDS = st.integers(0, 1000)
DRAWS = 10  # of the data, of each shape: an element that is overwritten too early may by chance not change the result


def results(kernel: Kernel, inputs: Sequence, shapes: Sequence, dtypes: Sequence, shift: tuple | None) -> list:
    """Outputs over fresh memory; `shift` = (overlap, correction of its distance in bytes), None to run apart."""
    outputs = [np.full(s, 0, d) for s, d in zip(shapes, dtypes, strict=True)]
    if shift is None:
        run(kernel, inputs, outputs)
    else:
        (source, target, distance), correction = shift
        run_overlapped(kernel, inputs, outputs, source, target, distance + correction)
    return outputs


def check(kernel: Kernel, draws: Sequence[Sequence], shapes: Sequence, dtypes: Sequence[str], slack: int = 0) -> None:
    """draws: the inputs, several times. slack: elements of the output by which a distance may exceed what is needed."""
    assert kernel.overlaps
    apart = [results(kernel, inputs, shapes, dtypes, None) for inputs in draws]

    def is_right(overlap: tuple, correction: int) -> Iterator[bool]:
        for inputs, expected in zip(draws, apart, strict=True):
            together = results(kernel, inputs, shapes, dtypes, (overlap, correction))
            yield all(np.array_equal(a, b) for a, b in zip(together, expected, strict=True))

    for source, target, distance in kernel.overlaps:
        overlap = (source, target, distance)
        for more in (0, 4, 64):  # the distance is a least one: farther apart is as good
            assert all(is_right(overlap, more)), f"wrong at distance {distance} + {more}"
        element = np.dtype(dtypes[target]).itemsize
        spare = distance + draws[0][source].nbytes  # with the output so much farther up, the two share no byte
        if spare > slack * element:
            nearer = (n * element for n in range(1, slack + 2))
            broken = any(not all(is_right(overlap, -n)) for n in nearer)
            assert broken, f"distance {distance} is more than {slack} elements larger than it need be"


@st.composite
def conv_cases(draw: st.DrawFn, is_depthwise: bool):
    sizes, strides = st.sampled_from([1, 3, 5, 7]), st.sampled_from([1, 1, 2, 3])
    kernel, stride = draw(sizes | st.tuples(sizes, sizes)), draw(strides | st.tuples(strides, strides))
    inputs, outputs = draw(CHANNELS), draw(CHANNELS)
    trained = () if is_depthwise or inputs < 2 or draw(st.booleans()) else (draw(st.integers(0, inputs - 1)),)
    height, width = draw(EXTENTS), draw(EXTENTS)
    return conv_case(draw(SEEDS), height, width, inputs, outputs, kernel, stride, is_depthwise, trained)


def check_conv(case) -> None:
    kernels = [kernel_of(case, mask) for mask in (False, True)]
    prepare(kernels)
    mask = (1, case.out_shape[1], (case.out_shape[2] * case.out_shape[3] + 7) // 8)
    draws = [case.redrawn(seed).arguments for seed in range(DRAWS)]
    for kernel in kernels:
        n = kernel.outputs
        check(kernel, draws, [case.out_shape, mask][:n], ["int8", "uint8"][:n])


@FEW
@given(conv_cases(is_depthwise=False))
def test_convolution(case) -> None:
    check_conv(case)


@FEW
@given(conv_cases(is_depthwise=True))
def test_depthwise(case) -> None:
    check_conv(case)


@st.composite
def float_cases(draw: st.DrawFn, is_depthwise: bool):
    """Also with more padding than the window has taps: some windows then read nothing."""
    case = draw(conv_cases(is_depthwise))
    (kh, kw), (_, height, width, _) = case.attrs["kernel"], case.x.shape
    most = [kh, kw, kh, kw]
    padding = [draw(st.integers(0, n)) for n in most]
    if height + padding[0] + padding[2] < kh or width + padding[1] + padding[3] < kw:
        padding = most
    return floating(replace(case, attrs={**case.attrs, "padding": padding}), clamp=(-1.0, 1.5))


def check_float_conv(case) -> None:
    shapes = [list(a.shape) for a in (case.x, *case.weights, case.bias)]
    kernels = [build(kind, shapes, case.attrs) for kind in ("fconv2d", "fconv2d_with_mask")]
    prepare(kernels)
    draws = [floating(case, seed=seed) for seed in range(DRAWS)]
    draws = [[d.x, *d.weights, d.bias] for d in draws]
    for kernel in kernels:
        n = kernel.outputs
        check(kernel, draws, [case.out_shape, mask_shape(list(case.out_shape))][:n], ["float32", "uint8"][:n])


@FEW
@given(float_cases(is_depthwise=False))
def test_float_convolution(case) -> None:
    check_float_conv(case)


@FEW
@given(float_cases(is_depthwise=True))
def test_float_depthwise(case) -> None:
    check_float_conv(case)


@FEW
@given(EXTENTS, EXTENTS, CHANNELS, CHANNELS, SEEDS, st.booleans())
def test_pointwise_input_gradient(height: int, width: int, inputs: int, outputs: int, seed: int, split: bool) -> None:
    """Integer weights, and float ones in which channels were split."""
    trained = (inputs // 2,) if split and inputs > 1 else ()
    case = conv_case(seed, height, width, inputs, outputs, 1, trained=trained)
    redrawn = partial(floating, case) if trained else case.redrawn
    case = redrawn(seed=seed)
    shapes = [list(case.out_shape), *(list(w.shape) for w in case.weights)]
    kernel = build("conv2d_input_grad", shapes, {**case.attrs, "shape": list(case.x.shape)})
    draws = [[adjoint(s, case.out_shape), *redrawn(seed=s).weights] for s in range(DRAWS)]
    check(kernel, draws, [case.x.shape], ["float32"])


@FEW
@given(EXTENTS, EXTENTS, CHANNELS)
def test_elementwise(height: int, width: int, channels: int) -> None:
    """Residual add (either operand), masked scales, float sum, global mean."""
    shape = [1, height, width, channels]
    packed = (1, height, (width * channels + 7) // 8)

    def draw(seed: int) -> tuple:
        rng = np.random.default_rng(seed)
        a, b = (rng.integers(-128, 128, shape).astype(np.int8) for _ in range(2))
        mask, scale = rng.integers(0, 256, packed).astype(np.uint8), rng.uniform(0.1, 2, channels).astype(np.float32)
        return a, b, adjoint(seed, tuple(shape)), adjoint(seed + DRAWS, tuple(shape)), mask, scale

    draws = list(map(draw, range(DRAWS)))
    attrs = {**ADD, "lo": -20, "hi": 30, "layer": "add"}
    a, b, g, h, mask, scale = range(6)
    runs = [
        (build("qadd", [shape] * 2, attrs), (a, b), [shape], ["int8"]),
        (build("qadd_with_mask", [shape] * 2, attrs), (a, b), [shape, packed], ["int8", "uint8"]),
        (build("qmean", [shape], {}), (a,), [(1, 1, 1, channels)], ["int8"]),
        (build("mask_scale", [shape], {}), (g, mask, scale), [shape], ["float32"]),
        (build("mask_scale", [shape], {"factor": 0.7}), (g, mask), [shape], ["float32"]),
        (build("relax.add", [shape] * 2, {}), (g, h), [shape], ["float32"]),
    ]
    prepare([kernel for kernel, *_ in runs])
    slack = int(height * width * channels == 1)  # a tensor of one element: no distance is wrong
    for kernel, operands, shapes, dtypes in runs:
        check(kernel, [[d[i] for i in operands] for d in draws], shapes, dtypes, slack)


@FEW
@given(EXTENTS, EXTENTS, st.permutations(range(13)), CHANNELS, st.booleans())
def test_taken_channels(height: int, width: int, order: list[int], n: int, is_sorted: bool) -> None:
    channels = sorted(order[:n]) if is_sorted else order[:n]
    shape = (1, height, width, 13)
    dtype = "int8" if is_sorted else "float32"
    draws = [[np.random.default_rng(s).integers(-128, 128, shape).astype(dtype)] for s in range(DRAWS)]
    kernel = build("take_channels", [list(shape)], {"channels": channels, "dtype": dtype})
    check(kernel, draws, [(1, height, width, n)], [dtype])


def test_a_widening_convolution_needs_its_output_and_no_more_than_a_block() -> None:
    """MCUNet's 8 -> 32 channels at 64 x 64: all but the last four pixels are written before these four are read."""
    case = conv_case(1, 64, 64, 8, 32, 1)
    ((_, _, distance),) = build("qconv2d", case.shapes, case.attrs).overlaps
    assert distance == (64 * 64 - 4) * (32 - 8)


def test_over_channels_nothing_is_declared() -> None:
    """There the order of elements is another one than in the tensor."""
    image = [1, 4, 4, 2]
    attrs = {**conv_case(0, 4, 4, 2, 2, 1).attrs, "shape": image}
    shapes = {"mask_scale": [image], "conv2d_input_grad": [image, [2, 1, 1, 2]]}
    kernels = [build(k, s, attrs, Variant(ring_out=n, axis="channels")) for k, s in shapes.items() for n in (0, 1)]
    assert [kernel.overlaps for kernel in kernels] == [()] * 4


def test_this_file_knows_every_kernel_that_declares_an_overlap() -> None:
    """A new kernel with an overlap must come here: the builders are searched for the declaration."""
    proven = {"qconv2d", "qconv2d_with_mask", "qadd", "qadd_with_mask", "qmean", "mask_scale", "mask_scale_by"}
    proven |= {"take_channels", "conv2d_input_grad", "relax.add", "fconv2d", "fconv2d_with_mask"}
    # in test_pool_kernels.py, test_layout_kernels.py and test_pointwise_kernels.py
    proven |= {"qavg_pool", "qavg_pool_with_mask", "favg_pool", "avg_pool_grad"}
    proven |= {"max_pool", "max_pool_with_index", "max_pool_grad", "concat", "pad", "slice_channels", "crop"}
    proven |= {"requantise", "requantise_with_mask", "fclip", "fclip_with_mask", "fadd", "qsoftmax"}
    assert {kind for kind in KERNELS if small_kernel(kind).overlaps} == proven
