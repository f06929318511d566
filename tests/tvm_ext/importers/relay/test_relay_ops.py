"""Operators that the data folder shows little of, against numpy; the names of values; each refusal with its line."""

from __future__ import annotations

import numpy as np
import pytest

from mcutrain.tvm_ext.importers.relay.read.text import parse
from mcutrain.tvm_ext.importers.relay.real.to_relax import to_relax
from tests.tvm_ext.importers.relay.reference import numpy_relay
from tests.tvm_ext.importers.relay.run_relay import assert_same, execute, inputs_of, main, result

IMAGE = "%x: Tensor[(2, 4, 5, 7), float32]"


def both(body: str, params: str = IMAGE, seed: int = 0) -> None:
    """The module computes what the interpreter computes."""
    module = main(body, params)
    inputs = inputs_of(module, seed)
    assert_same(execute(to_relax(module), inputs), numpy_relay.run(module, inputs))


def test_convolutions_in_every_layout() -> None:
    """OIHW, HWIO, HWOI; groups, a depthwise multiplier, strides, dilation, paddings of one, two and four numbers."""
    both(
        "(nn.conv2d(%x, %w, padding=[1, 0, 2, 1], strides=[2, 1], groups=2),"
        " nn.conv2d(%x, %d, padding=[1], groups=4),"
        " nn.conv2d(%n, %hwio, padding=[2, 1], dilation=[2, 1], data_layout='NHWC', kernel_layout='HWIO'),"
        " nn.conv2d(%n, %hwoi, groups=4, data_layout='NHWC', kernel_layout='HWOI', channels=8))".replace("'", '"'),
        f"{IMAGE}, %n: Tensor[(1, 6, 5, 4), float32], %w: Tensor[(6, 2, 3, 2), float32], "
        "%d: Tensor[(4, 3, 3, 3), float32], %hwio: Tensor[(3, 2, 4, 5), float32], %hwoi: Tensor[(3, 3, 4, 2), float32]",
    )


def test_integer_products_are_summed_in_the_result_s_dtype() -> None:
    both(
        'nn.conv2d(%a, %w, out_dtype="int32"), nn.dense(%b, %c, out_dtype="int32"), nn.batch_matmul(%d, %d, '
        'transpose_a=True, out_dtype="int64")'.join("()"),
        "%a: Tensor[(1, 3, 5, 5), uint8], %w: Tensor[(4, 3, 3, 3), int8], %b: Tensor[(2, 50), int8], "
        "%c: Tensor[(3, 50), int8], %d: Tensor[(2, 4, 4), int32]",
    )


def test_transposed_convolution() -> None:
    both(
        "(nn.conv2d_transpose(%x, %w, strides=[2, 3], padding=[1, 0, 0, 1], output_padding=[1, 2]),"
        " nn.conv2d_transpose(%x, %w, padding=[1, 1]))",
        f"{IMAGE}, %w: Tensor[(4, 3, 3, 3), float32]",
    )


@pytest.mark.parametrize("dtype", ["float32", "int32", "int8"])
def test_pools(dtype: str) -> None:
    """Averages of integers truncate, whatever the sign; padding does not count unless it is asked for."""
    pool = "pool_size=[3, 2], strides=[2, 2], padding=[1, 0, 1, 1]"
    both(
        f"(nn.max_pool2d(%x, {pool}), nn.avg_pool2d(%x, {pool}), nn.avg_pool2d(%x, {pool}, count_include_pad=True),"
        f' nn.avg_pool2d(%x, pool_size=[2, 2], strides=[2, 2], layout="NHWC", ceil_mode=True),'
        " nn.max_pool2d(%x, pool_size=[2, 2], dilation=[2, 3]), nn.global_avg_pool2d(%x), nn.global_max_pool2d(%x),"
        " nn.adaptive_max_pool2d(%x, output_size=[3, 4]), mean(%x, axis=[1, -1]), max(%x, axis=[0], exclude=True))",
        f"%x: Tensor[(2, 4, 5, 7), {dtype}]",
    )


def test_adaptive_average_of_integers_truncates() -> None:
    x = np.array([[[[-1, -2], [-2, 0]]]], np.int32)
    params = "%x: Tensor[(1, 1, 2, 2), int32]"
    assert result(main("nn.adaptive_avg_pool2d(%x, output_size=[1, 1])", params), x=x).tolist() == [[[[-1]]]]


def test_integer_division_truncates_and_floor_division_does_not() -> None:
    x, y = np.array([-7, 7, -7, 7], np.int32), np.array([2, 2, -2, -2], np.int32)
    params = "%x: Tensor[(4), int32], %y: Tensor[(4), int32]"
    body = "(divide(%x, %y), mod(%x, %y), floor_divide(%x, %y), floor_mod(%x, %y))"
    found = [v.tolist() for v in result(main(body, params), x=x, y=y)]
    assert found == [[-3, 3, 3, -3], [-1, 1, -1, 1], [-4, 3, 3, -4], [1, 1, -1, -1]]


def test_rounding_and_clipping() -> None:
    x = np.array([-2.5, -1.5, -0.5, 0.49999997, 0.5, 2.5, 8388609.0], np.float32)
    found = result(main("round(%x)", "%x: Tensor[(7), float32]"), x=x)
    assert found.tolist() == [-3, -2, -1, 0, 1, 3, 8388609]
    body = "(clip(%i, a_min=-3.9f, a_max=1000f), negative(%u))"
    i, u = np.array([-9, 0, 127], np.int8), np.array([0, 1, 255], np.uint8)
    found = result(main(body, "%i: Tensor[(3), int8], %u: Tensor[(3), uint8]"), i=i, u=u)
    assert [v.tolist() for v in found] == [[-3, 0, 127], [0, 255, 1]]


@pytest.mark.parametrize(
    ("code", "shape"),
    [
        ([0, -1], [2, 12]),
        ([-2], [2, 3, 4]),
        ([-3, 4], [6, 4]),
        ([0, -4, 1, 3, -2], [2, 1, 3, 4]),
        ([-4, -1, 2, 0, 4], [1, 2, 3, 4]),
        ([0, 0, -1, 2], [2, 3, 2, 2]),
        ([6, -1, 2], [6, 2, 2]),
        ([-3, -4, 2, 2], [6, 2, 2]),
    ],
)
def test_reshape_codes(code: list[int], shape: list[int]) -> None:
    """The shapes are those of Relay's documentation, worked out by hand."""
    made = to_relax(main(f"reshape(%x, newshape={code})", "%x: Tensor[(2, 3, 4), float32]"))
    assert [int(d) for d in made["main"].ret_ty.shape] == shape


def test_shapes_and_indices() -> None:
    both(
        "(transpose(%x), squeeze(%s), stack((%x, %x), axis=1), split(%x, indices_or_sections=[1, 3], axis=-3).1,"
        " strided_slice(%x, begin=[3, -1], end=[-9, -9], strides=[-2, -3], axes=[1, 3]),"
        " nn.pad(%x, 2f, pad_width=[[0, 0],"
        ' [1, 0], [0, 2], [3, 4]]), strided_slice(%x, begin=[1, 0, 2, 3], end=[1, -1, 2, 2], slice_mode="size"),'
        ' expand_dims(%x, axis=2, num_newaxis=2), one_hot(%i, 5, 2, depth=4, axis=0, dtype="int8"),'
        " take(%x, %i, axis=2), argmax(%x, axis=[2], keepdims=True))",
        f"{IMAGE}, %s: Tensor[(1, 3, 1), int32], %i: Tensor[(6), int32]",
    )


def test_what_repeats_elements() -> None:
    x = np.array([[1.0, 2.0, 3.0]], np.float32)
    body = (
        '(nn.pad(%x, 0f, pad_width=[[0, 0], [2, 1]], pad_mode="edge"), nn.pad(%x, 0f, pad_width=[[0, 0], [2, 1]], '
        'pad_mode="reflect"), tile(%x, reps=[2, 1]), repeat(%x, repeats=2, axis=1), reverse(%x, axis=1), '
        'broadcast_to(%x, shape=[2, 3]), zeros(shape=[2], dtype="int8"), ones(shape=[1], dtype="float16"))'
    )
    found = [v.tolist() for v in result(main(body, "%x: Tensor[(1, 3), float32]"), x=x)]
    row = [1, 2, 3]
    assert found == [
        [[1, 1, *row, 3]],
        [[3, 2, *row, 2]],
        [row, row],
        [[1, 1, 2, 2, 3, 3]],
        [[3, 2, 1]],
        [row, row],
        [0, 0],
        [1],
    ]


def test_normalisations() -> None:
    c = "%g: Tensor[(4), float32], %b: Tensor[(4), float32], %m: Tensor[(4), float32], %v: Tensor[(4), float32]"
    body = "(nn.batch_norm(%x, %g, %b, %m, %v, epsilon=0.01f).0, nn.l2_normalize(%x, eps=0.001f, axis=[1]))"
    module = main(body, f"{IMAGE}, {c}")
    i = inputs_of(module)
    i["v"] = np.abs(i["v"])
    norm, unit = result(module, **i)
    g, b, m, v = (i[k].reshape(4, 1, 1) for k in "gbmv")
    np.testing.assert_allclose(norm, (i["x"] - m) / np.sqrt(v + 0.01) * g + b, 1e-4, 1e-5)
    length = np.sqrt(np.maximum((i["x"] ** 2).sum(1, keepdims=True), 0.001))
    np.testing.assert_allclose(unit, i["x"] / length, 1e-5)


def test_layouts() -> None:
    x = np.arange(2 * 8 * 3 * 5, dtype=np.float32).reshape(2, 8, 3, 5)
    body = (
        '%0 = layout_transform(%x, src_layout="NCHW", dst_layout="NHWC");'
        '%1 = layout_transform(%x, src_layout="NCHW", dst_layout="NCHW4c");'
        '(%0, layout_transform(%1, src_layout="NCHW4c", dst_layout="NCHW"),'
        ' layout_transform(%1, src_layout="NCHW4c", dst_layout="NCHW2c"))'
    )
    nhwc, back, two = result(main(body, "%x: Tensor[(2, 8, 3, 5), float32]"), x=x)
    np.testing.assert_array_equal(nhwc, x.transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(back, x)
    np.testing.assert_array_equal(two, x.reshape(2, 4, 2, 3, 5).transpose(0, 1, 3, 4, 2))


def test_calls_are_inlined_and_branches_selected() -> None:
    text = """def @main(%x: Tensor[(3), float32], %c: bool) -> (Tensor[(3), float32], float32) {
      let %f = fn (%y: Tensor[(3), float32]) -> Tensor[(3), float32] { add(@twice(%y), %x) };
      %0 = exp(%x);
      %1 = if (%c) { %2 = if (logical_not(%c)) { %x } else { %f(%0) }; (%2, 1f) } else { (negative(%0), 2f) };
      (add(%1.0, %0), %1.1)
    }
    def @twice(%x: Tensor[(3), float32]) -> Tensor[(3), float32] { add(%x, %x) }"""
    module = parse(text, "t.relay")
    made = to_relax(module)
    assert [g.name_hint for g in made.get_global_vars()] == ["main"]
    for c in (True, False):
        inputs = {"x": np.array([1.0, -2.0, 0.5], np.float32), "c": np.array(c)}
        assert_same(execute(made, inputs), numpy_relay.run(module, inputs))


def test_results_may_be_parameters_constants_and_nested_tuples() -> None:
    both("%x")
    both("(%x, (2f, (%x,)), ())")
    both("True", "%x: bool")


def test_names_are_the_file_s() -> None:
    body = (
        "let %conv1 = exp(%x:0); let %conv1 = exp(%conv1); %0 = log(%conv1) /* span=block/Relu:0:0 */;"
        " %1 = log(%0) /* span=from_string:4:3 */; let %lambda = log(%1); nn.relu(%lambda)"
    )
    made = to_relax(main(body, "%x:0: Tensor[(2), float32], %x_0: float32, %1a: float32"))
    assert dict(made["main"].attrs["relay_names"]) == {"x_0": "x:0", "x_0_1": "x_0", "v_1a": "1a"}
    names = [b.var.name for block in made["main"].body.blocks for b in block.bindings][:-1]
    assert names == ["conv1", "conv1_1", "block_Relu", "log", "v_lambda", "relu"]
