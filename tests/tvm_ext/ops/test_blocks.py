"""Kernels over blocks of channels: block by block through rings they give the same bits as one call over whole tensors,
and of what they say they read by blocks they read the block at hand alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mcutrain import pipeline
from mcutrain.planner.policy import Policy, Update
from mcutrain.tvm_ext.lower.graph import lower
from mcutrain.tvm_ext.ops.kernel import PLAIN, Kernel, Variant
from mcutrain.tvm_ext.ops.table import KERNELS, build
from mcutrain.tvm_ext.train.training import train
from tests.tiny_network import LAYERS
from tests.tvm_ext.ops.test_sgd import Tensor
from tests.tvm_ext.support.cases import ConvCase, adjoint, conv_case
from tests.tvm_ext.support.run_kernel import prepare, run, run_overlapped
from tests.tvm_ext.support.small_kernels import small_kernel


def few(examples: int) -> settings:
    """Every example calls the C compiler: few of them, and none smaller is looked for where one fails."""
    phases, checks = [Phase.explicit, Phase.generate], [HealthCheck.too_slow]
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        suppress_health_check=checks,
        database=None,
        phases=phases,
    )


EXTENTS = st.integers(2, 6)
SEEDS = st.integers(0, 1000)
ODD = st.sampled_from([3, 5, 1])
# channel counts whose blocks are of 8, 4, 2 and 1 channels; the simplest example has several blocks of each
COUNTS = st.tuples(st.sampled_from([16, 24, 8]), ODD.map(lambda n: 4 * n), ODD.map(lambda n: 2 * n), ODD)
STRIDES = st.permutations([1, 1, 2, 2])
DEPTHWISE = st.sampled_from([3, 5, 7]).flatmap(lambda n: st.permutations([3, 5, 7, n]))  # sizes of the windows
Counts = Sequence[int]  # a number for each of the four cases of an example
# (ring_in, ring_out) by (something is read by blocks, the output is made by blocks); 0 where a tensor is whole
RINGS = {
    (True, True): [(0, 1), (1, 2), (2, 1)],
    (True, False): [(0, 0), (1, 0), (2, 0)],
    (False, True): [(0, 1), (0, 2)],
}
IMAGE, FILTERS = 3, 0  # the axis that is cut into blocks: of an image (1, H, W, C), of a weight [O, ...]
# all that is proven below: (op, its output is whole)
PROVEN = {("conv2d_input_grad", False), ("conv2d_input_grad", True), ("mask_scale", False), ("conv2d_bias_grad", True)}
PROVEN |= {("conv2d_weight_grad", False), ("conv2d_weight_grad", True), ("dense_weight_grad", False), ("sgd", False)}
PROVEN |= {("mask_scale_by", False)}


@dataclass(frozen=True)
class Case:
    """A kernel with operands. axes: which axis of each operand that may be read by blocks is cut, and of the output."""

    kind: str
    operands: Sequence[np.ndarray]
    attrs: dict
    axes: dict[int, int]
    out_shape: tuple[int, ...]
    out_axis: int

    def kernel(self, variant: Variant = PLAIN) -> Kernel:
        return build(self.kind, [list(a.shape) for a in self.operands], self.attrs, variant)


def check(cases: Sequence[Case], turn: int, forms: int) -> None:
    """Every form of every case, of which each must declare `forms`; what rings it has goes by turns."""
    wholes = [case.kernel() for case in cases]
    runs = []
    for turn_of_case, (case, whole) in enumerate(zip(cases, wholes, strict=True), turn):
        assert (
            len(whole.by_channel) == forms and {(case.kind, whole_too) for *_, whole_too in whole.by_channel} <= PROVEN
        )
        for form in whole.by_channel:
            choices = RINGS[bool(form[1]), not form[2]]
            rings = dict(zip(("ring_in", "ring_out"), choices[turn_of_case % len(choices)], strict=True))
            kernel = case.kernel(Variant((rings["ring_in"],), rings["ring_out"], "channels"))
            runs.append((case, whole, kernel, form, rings))
    prepare([*wholes, *(kernel for _, _, kernel, _, _ in runs)])
    for case, whole, kernel, form, rings in runs:
        expected = np.full(case.out_shape, np.nan, np.float32)
        run(whole, case.operands, [expected])
        check_blocks(case, kernel, form, expected, **rings)


def check_blocks(case: Case, kernel: Kernel, form: tuple, expected: np.ndarray, ring_in: int, ring_out: int) -> None:
    """Rings of so many blocks, 0 for a whole tensor. They, outputs and the blocks that are not at hand hold NaN (or
    wrong weights) before each call."""
    blocks, reads, _ = form
    assert kernel.rows == blocks
    shape = (ring_out, expected.size // blocks) if ring_out else expected.shape
    out = np.full(shape, np.nan, np.float32)
    for number in range(blocks):
        operands, slot, before = [*case.operands], number % max(1, ring_out), out.copy()
        for i in reads:
            operands[i] = alone(operands[i], (case.axes[i], blocks, number), ring_in if i == reads[0] else 0)
        run(kernel, operands, [out], rows=(number, number + 1))
        if ring_out:
            np.testing.assert_array_equal(out[slot], block(expected, case.out_axis, blocks, number).reshape(-1))
            np.testing.assert_array_equal(np.delete(out, slot, 0), np.delete(before, slot, 0))
    if not ring_out:
        np.testing.assert_array_equal(out, expected)


def block(array: np.ndarray, axis: int, blocks: int, number: int) -> np.ndarray:
    return np.split(array, blocks, axis)[number]


def alone(array: np.ndarray, cut: tuple[int, int, int], ring: int) -> np.ndarray:
    """The array of which only one block is what it should be: in its slot of a ring, or at its place in the whole."""
    wrong = np.full_like(array, np.nan) if array.dtype == np.float32 else ~array
    part = block(array, *cut)
    if ring:
        slots = np.full((ring, part.size), np.nan, np.float32)
        slots[cut[2] % ring] = part.reshape(-1)
        return slots
    block(wrong, *cut)[...] = part
    return wrong


# --------------------------------------------------------------------------- gradients of inputs
def input_gradient(case: ConvCase, seed: int) -> Case:
    axes = {0: IMAGE} | dict.fromkeys(range(1, 1 + len(case.weights)), FILTERS)
    g, attrs = adjoint(seed, case.out_shape), {**case.attrs, "shape": list(case.x.shape)}
    return Case("conv2d_input_grad", [g, *case.weights], attrs, axes, case.x.shape, IMAGE)


@few(3)
@given(EXTENTS, EXTENTS, COUNTS, COUNTS.flatmap(st.permutations), SEEDS)
def test_pointwise_input_gradient(height: int, width: int, inputs: Counts, outputs: Counts, seed: int) -> None:
    """Made block by block from all of g, and taken block by block into the whole of g_x."""
    pairs = zip(inputs, outputs, strict=True)
    cases = [conv_case(seed, height, width, n_in, n_out, 1) for n_in, n_out in pairs]
    check([input_gradient(case, seed) for case in cases], seed, forms=2)


@few(3)
@given(EXTENTS, EXTENTS, COUNTS.flatmap(st.permutations), COUNTS, SEEDS)
def test_pointwise_input_gradient_of_a_split_weight(
    height: int, width: int, inputs: Counts, outputs: Counts, seed: int
) -> None:
    """Frozen and trained channels are two weights: g is taken by blocks, of which both have their filters."""
    rng, cases = np.random.default_rng(seed), []
    for n_in, n_out in zip([max(2, n) for n in inputs], outputs, strict=True):
        trained = np.sort(rng.choice(n_in, rng.integers(1, n_in), replace=False)).tolist()
        cases.append(conv_case(seed, height, width, n_in, n_out, 1, trained=tuple(trained)))
    check([input_gradient(case, seed) for case in cases], seed, forms=1)


@few(4)
@given(EXTENTS, EXTENTS, COUNTS, DEPTHWISE, STRIDES, SEEDS)
def test_depthwise_input_gradient(
    height: int, width: int, counts: Counts, sizes: Counts, strides: Counts, seed: int
) -> None:
    rows = zip(counts, sizes, strides, strict=True)
    cases = [conv_case(seed, height, width, n, n, size, stride, depthwise=True) for n, size, stride in rows]
    check([input_gradient(case, seed) for case in cases], seed, forms=1)


# --------------------------------------------------------------------------- mask and scale
def masked(height: int, width: int, channels: int, seed: int) -> Case:
    rng, shape = np.random.default_rng(seed), (1, height, width, channels)
    mask = rng.integers(0, 256, (1, height, (width * channels + 7) // 8)).astype(np.uint8)
    operands = [adjoint(seed, shape), mask, rng.uniform(0.1, 2, channels).astype(np.float32)]
    if seed % 2:  # one scale for all channels
        return Case("mask_scale_by", operands[:2], {"factor": 0.3}, {0: IMAGE}, shape, IMAGE)
    return Case("mask_scale", operands, {}, {0: IMAGE}, shape, IMAGE)


@few(3)
@given(EXTENTS, EXTENTS, COUNTS, SEEDS)
def test_mask_scale(height: int, width: int, counts: Counts, seed: int) -> None:
    check([masked(height, width, n, seed + i) for n in counts for i in range(2)], seed, forms=1)


@few(2)
@given(EXTENTS, EXTENTS, COUNTS, SEEDS)
def test_mask_scale_in_the_ring_of_its_input(height: int, width: int, counts: Counts, seed: int) -> None:
    """In place, as the planner may put it; here in a ring that holds all blocks, so that one call runs over them."""
    cases = [masked(height, width, n, seed) for n in counts]
    wholes = [case.kernel() for case in cases]
    sizes = [whole.by_channel[0][0] for whole in wholes]
    ringed = [c.kernel(Variant((n,), n, "channels")) for c, n in zip(cases, sizes, strict=True)]
    prepare([*wholes, *ringed])
    for case, whole, kernel, blocks in zip(cases, wholes, ringed, sizes, strict=True):
        g, *others = case.operands
        expected, ring = np.full_like(g, np.nan), np.stack(np.split(g, blocks, IMAGE))
        run(whole, case.operands, [expected])
        out = np.full_like(ring, np.nan)
        run_overlapped(kernel, [ring, *others], [out], 0, 0, 0)
        np.testing.assert_array_equal(out, np.stack(np.split(expected, blocks, IMAGE)))


# --------------------------------------------------------------------------- gradients of parameters
@few(3)
@given(EXTENTS, EXTENTS, COUNTS, SEEDS)
def test_bias_gradient(height: int, width: int, counts: Counts, seed: int) -> None:
    shapes = [(1, height, width, n) for n in counts]
    cases = [Case("conv2d_bias_grad", [adjoint(seed, s)], {}, {0: IMAGE}, (s[3],), FILTERS) for s in shapes]
    check(cases, seed, forms=1)


@pytest.mark.parametrize("what", ["pointwise", "dense", "depthwise"])
@few(2)
@given(EXTENTS, EXTENTS, st.integers(1, 13), COUNTS, DEPTHWISE, STRIDES, SEEDS)
def test_weight_gradient(
    what: str, height: int, width: int, inputs: int, counts: Counts, sizes: Counts, strides: Counts, seed: int
) -> None:
    """Blocks of filters, each complete at once: into a ring, and into the whole."""
    window = {"pointwise": [1] * 4, "dense": [3] * 4, "depthwise": sizes}[what]
    cases = []
    for n, size, stride in zip(counts, window, strides, strict=True):
        n_in, stride = (n if what == "depthwise" else inputs), (1 if what == "pointwise" else stride)
        case = conv_case(seed, height, width, n_in, n, size, stride, what == "depthwise")
        attrs, operands = {**case.attrs, "shape": list(case.weight.shape)}, [case.x, adjoint(seed, case.out_shape)]
        cases.append(Case("conv2d_weight_grad", operands, attrs, {1: IMAGE}, case.weight.shape, FILTERS))
    check(cases, seed, forms=2)


def test_the_weight_gradient_of_trained_depthwise_channels_has_no_blocks() -> None:
    """Its g has other channels than the slice: a block of one is no block of the other."""
    case = conv_case(0, 4, 4, 6, 6, 3, depthwise=True, trained=(1, 4))
    shapes = [list(case.x[..., :2].shape), list(case.out_shape)]
    assert build("conv2d_weight_grad", shapes, {**case.attrs, "shape": [2, 3, 3]}).by_channel == ()


@few(2)
@given(st.integers(1, 13), COUNTS, SEEDS)
def test_dense_weight_gradient(inputs: int, counts: Counts, seed: int) -> None:
    x = np.random.default_rng(seed).integers(-128, 128, (1, 1, 1, inputs)).astype(np.int8)
    operands, attrs = [[x, adjoint(seed, (n,))] for n in counts], {"in_zero": -7, "in_scale": 0.3}
    shapes = [(n, inputs) for n in counts]
    cases = [Case("dense_weight_grad", o, attrs, {}, s, FILTERS) for o, s in zip(operands, shapes, strict=True)]
    check(cases, seed, forms=1)


# --------------------------------------------------------------------------- updates
def tensors(dtype: str, momentum: float, every: int, counts: Counts, seed: int) -> list[Tensor]:
    rng = np.random.default_rng(seed)
    shapes = [(n, 3, 2) for n in counts]
    values = [(rng.integers(-100, 101, s).astype(dtype), rng.uniform(0.01, 0.4, s[0])) for s in shapes]
    return [Tensor(w, scale.astype(np.float32), momentum=momentum, every=every) for w, scale in values]


@pytest.mark.parametrize("dtype", ["int8", "float32"])
@pytest.mark.parametrize(("momentum", "every"), [(0.0, 1), (0.9, 1), (0.0, 2), (0.5, 3)])
@few(1)
@given(COUNTS, SEEDS)
def test_update(dtype: str, momentum: float, every: int, counts: Counts, seed: int) -> None:
    """Each call changes its block of the weight, of the velocity and of the sum of samples, and no other."""
    wholes, blocked = (tensors(dtype, momentum, every, counts, seed) for _ in range(2))
    rings = [(every + i) % 3 for i in range(len(counts))]
    kernels = [t.blocked(ring) for t, ring in zip(blocked, rings, strict=True)]
    prepare([*(t.kernel for t in wholes), *kernels])
    rng = np.random.default_rng(seed)
    for whole, ours, kernel, ring in zip(wholes, blocked, kernels, rings, strict=True):
        before = whole.w.copy()
        for _ in range(2 * every):
            g = rng.normal(0, 0.4, whole.g_shape).astype(np.float32)
            whole.update(g)
            update_by_blocks(ours, kernel, g, ring)
            for state, expected in zip(ours.state, whole.state, strict=True):
                np.testing.assert_array_equal(state, expected)
        assert (whole.w != before).any()


def update_by_blocks(t: Tensor, kernel: Kernel, g: np.ndarray, ring: int) -> None:
    ((blocks, reads, accumulates),) = kernel.by_channel
    assert (reads, accumulates, kernel.rows) == ((1,), False, blocks)
    for number in range(blocks):
        inputs = t.inputs(alone(g, (FILTERS, blocks, number), ring))
        before = [np.split(state.copy(), blocks) for state in t.state]
        run(kernel, inputs, rows=(number, number + 1), mutates=t.changed(inputs))
        for state, old in zip(t.state, before, strict=True):
            new = np.split(state, blocks)
            assert all(np.array_equal(new[n], old[n]) for n in range(blocks) if n != number), "another block changed"
    t.step += 1


# --------------------------------------------------------------------------- completeness
def test_this_file_knows_every_kernel_that_runs_over_blocks(tiny_model: pipeline.Model) -> None:
    """A new kernel with such a form must come here: a training step is searched for them, and whatever it has not."""
    ratios = {"pointwise1": 0.5, "pointwise2": 1.0, "depthwise": 1.0, "first_conv": 1.0}
    updates = tuple(Update(name, weight_ratio=ratios[name.split(".")[-1]]) for name in LAYERS)
    lowered = lower(train(tiny_model, Policy("every kind", updates)))
    calls = [*lowered.infer.calls, *lowered.train_step.calls]
    assert not any(small_kernel(kind).by_channel for kind in set(KERNELS) - {call.kind for call in calls})
    assert {(call.kind, form.accumulates) for call in calls for form in call.op.by_channel} == PROVEN
