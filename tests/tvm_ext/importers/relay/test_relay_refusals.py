"""Graphs that cannot become Relax: each refusal names the operator, the line, and what to do."""

from __future__ import annotations

import numpy as np
import pytest

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.relay.read.text import parse
from mcutrain.tvm_ext.importers.relay.real.to_relax import to_relax
from tests.tvm_ext.importers.relay.run_relay import main

X = "%x: Tensor[(2, 3), float32]"
Q = "%q: Tensor[(2, 3), int8]"
IMAGE = "%x: Tensor[(1, 4, 6, 6), float32], %w: Tensor[(8, 4, 3, 3), float32]"


def test_all_unsupported_operators_come_in_one_message() -> None:
    text = """def @main(%x: Tensor[(2, 3), float32]) {
      %0 = nn.conv3d(%x, %x);
      %1 = my.op(%0, axis=3);
      %2 = my.op(%1);
      nn.relu(vision.nms(@f(%2)))
    }
    def @f(%y: Tensor[(2, 3), float32]) { dyn.reshape(%y) }"""
    with pytest.raises(ModelError) as caught:
        to_relax(parse(text, "net.relay"))
    message = str(caught.value)
    assert message.startswith("net.relay: uses 4 operators that are not supported: ") and "\n" not in message
    for part in ("nn.conv3d (line 2): only two-d", "my.op (line 3 and 1 more): replace it", "vision.nms (line 5): cut"):
        assert part in message
    assert "dyn.reshape (line 7): fix all shapes" in message


@pytest.mark.parametrize(
    ("params", "body", "message"),
    [
        (X, "exp(%x) /* ty=Tensor[(2, 4), float32] */", r"this value is Tensor\[\(2, 4\), float32\] in the file, but "),
        (X, "let %a: Tensor[(2, 3), int8] = exp(%x); %a", r"but Tensor\[\(2, 3\), float32\] by its operands"),
        (X, "(%x, %x) /* ty=(float32, float32) */", r"but a tuple of 2 \(Tensor\[\(2, 3\), float32\], "),
        (X, "let %t: (float32, int8) = split(%x, indices_or_sections=3, axis=1); %t", "but a tuple of 3"),
        ("%x", "exp(%x)", "%x has no type; write %x: Tensor"),
        ("%x: Tensor[(2, ?), int8]", "%x", "every dimension must be a number; fix the shapes before export"),
        ("%f: fn (int8) -> int8", "%f(1i8)", "%f is a function; inline it before export"),
        (X, "exp(%x, %x)", "exp: 2 arguments do not fit"),
        (X, "exp((%x, %x))", "exp: an argument is a tuple, expected a tensor"),
        (X, "concatenate(%x)", "concatenate: the argument must be a tuple of tensors"),
        (X, "concatenate((%x, (%x, %x)))", "concatenate: the argument must be a tuple of tensors"),
        (X, "add(%x, 1)", "add: Relax refuses it: .*float32.*int32"),
        (X, 'add(%x, zeros(shape=[2, 4], dtype="float32"))', "add: Relax refuses it"),
        (X, "%x.0", "takes field 0 of what is no tuple"),
        (X, "(%x, %x).2", "takes field 2 of what is a tuple of 2"),
        (X, "%x(%x)", "calls what is no function"),
        (X, "@g(%x)", "the module has no function @g"),
        (X, "@main(%x)", "calls nest more than 40 deep; recursion is not supported"),
        (
            X,
            "%f = fn (%y: float32) { %y }; %f(%x)",
            r"the argument for %y is float32 in the file, but Tensor\[\(2, 3\)",
        ),
        (X, "%f = fn (%y: float32) { %y }; %f(1f, 2f)", "calls a function of 1 parameters with 2 arguments"),
        (X, "%f = fn (%y: float32) { %y }; exp(%f)", "a function is used as a value"),
        (X, "fn (%y: float32) { %y }", "the result is a function"),
        (X, "if (%x) { 1f } else { 2f }", "the condition of if must be a bool scalar, it is Tensor"),
        (X, "if (True) { 1f } else { 2 }", "the branches of if differ: float32 and int32"),
        (X, "if (True) { (1f, 1, 1, 1f) } else { (1f, 1, 1, 1) }", "the branches of if differ: a tuple of 4"),
        ("%x: int32", "if (True) { divide(1, %x) } else { %x }", "divide: divides integers in a file with if"),
        (X, "nn.softmax(%x, axis=2)", "nn.softmax: axis 2 is outside a tensor of 2 dimensions"),
        (X, "reshape(%x, newshape=[4, -1])", r"reshape: newshape \[4, -1\] does not hold the elements of \[2, 3\]"),
        (X, "reshape(%x, newshape=[-1, -1])", "reshape: newshape .* leaves two dimensions open"),
        (X, "reshape(%x, newshape=[-4, 2])", r"reshape: newshape \[-4, 2\] does not fit \[2, 3\]"),
        (X, "reshape(%x, newshape=[-4, 4, 5, 3])", "reshape: newshape: -4 cannot split 2 into 4 and 5"),
        (X, "reshape(%x, newshape=[-5])", "reshape: newshape .* -5 is no dimension and no code"),
        (X, "split(%x, indices_or_sections=2, axis=1)", "split: cannot split 3 at 2: expected a divisor"),
        (X, "nn.bias_add(%x, %x)", r"nn.bias_add: a bias of shape \[2, 3\] does not fit axis 1 of \[2, 3\]"),
        (X, "nn.dense(%x, %x, units=7)", "nn.dense: units=7, but the second operand has 2"),
        (X, "clip(%x, a_min=nanf, a_max=1f)", "clip: a bound is not a number"),
        (X, 'round(cast(%x, dtype="int8"))', "round: int8 needs no rounding"),
        (X, 'arange(0, 5, 0, dtype="int32")', "arange: from 0 to 5 by 0 has no end"),
        (X, 'one_hot(cast(%x, dtype="int32"), 1, 0, depth=0)', "one_hot: depth is 0"),
        (X, "nn.pad(%x, 0f, pad_width=[[1, 1]])", r"nn.pad: pad_width \[\[1, 1\]\] does not fit \[2, 3\]"),
        (X, 'nn.pad(%x, 0f, pad_width=[[0, 9], [0, 0]], pad_mode="reflect")', "nn.pad: cannot reflect 9 beyond 2"),
        (X, 'layout_transform(%x, src_layout="NC", dst_layout="NC2c")', "layout_transform: NC2c does not divide"),
        (
            X,
            'layout_transform(%x, src_layout="NC", dst_layout="N8")',
            "layout_transform: layout 'N8': expected letters",
        ),
        (IMAGE, "nn.conv2d(%x, %w, groups=2)", r"weight \[8, 4, 3, 3\] \(OIHW\) in 2 groups does not fit data"),
        (IMAGE, "nn.conv2d(%x, %w, channels=9)", r"channels=9, kernel_size=None, but the weight is \[8, 4, 3, 3\]"),
        (IMAGE, 'nn.conv2d(%x, %w, data_layout="NCHW4c")', "layout NCHW4c -> NCHW4c: expected one of NCHW, NHWC"),
        (IMAGE, 'nn.conv2d(%x, %w, kernel_layout="OIHW8o")', "kernel layout OIHW8o: expected OIHW, HWIO or HWOI"),
        (IMAGE, "nn.conv2d(%x, %w, strides=[0, 1])", r"strides is \[0, 1\], expected two integers of 1 or more"),
        (IMAGE, "nn.conv2d(%x, %w, padding=[1, 2, 3])", r"padding is \[1, 2, 3\], expected one, two or four"),
        (IMAGE, "nn.max_pool2d(%x, pool_size=[7, 7])", r"nn.max_pool2d: a window of \[7, 7\] does not fit"),
        (IMAGE, "nn.adaptive_max_pool2d(%x, output_size=[99, 1])", "output_size 99 is more than 64"),
        (IMAGE, 'image.resize2d(%x, size=[3, 3], method="cubic")', "method cubic, half_pixel: supported are linear"),
        (IMAGE, 'image.resize2d(%x, size=[3, 3], method="nearest_neighbor")', "rounding 'round' rounds halves"),
        (Q, 'qnn.requantize(%q, 1f, 0, 0f, 0, out_dtype="int8")', "the output scale must be positive finite float32"),
        (Q, 'qnn.requantize(%q, 1, 0, 1f, 0, out_dtype="int8")', "the input scale must be positive finite float32"),
        (Q, 'qnn.requantize(%q, 3e9f, 0, 1f, 0, out_dtype="int8")', "the scales are too far apart"),
        (Q, 'qnn.requantize(%q, 3f, 0, 1f, 0, out_dtype="int64")', "out_dtype int64: expected one of int8, uint8"),
        (Q, 'qnn.requantize(%q, 3f, 0, 1f, 0, rounding="DOWN", out_dtype="int8")', "rounding 'DOWN': expected UPWARD"),
        (
            Q,
            'qnn.requantize(%q, 3f, 0, 1f, 0, compute_dtype="float32", out_dtype="int8")',
            "compute_dtype 'float32': expected int64",
        ),
        (Q + ", %s: float32", "qnn.dequantize(%q, %s, 0)", "qnn.dequantize: the scale must be a constant; bind the"),
        (Q, "qnn.add(%q, %q, 1f, 0, 1f, 0, 1f)", "qnn.add: "),
    ],
)
def test_refusals_name_the_line(params: str, body: str, message: str) -> None:
    with pytest.raises(ModelError, match=r"test\.relay, line 1: .*" + message):
        to_relax(main(body, params))


def test_a_module_without_main_is_refused() -> None:
    with pytest.raises(ModelError, match="t: no function @main; it has @f, @g"):
        to_relax(parse("def @f() { 1 } def @g() { 2 }", "t"))


def test_inlining_that_multiplies_is_bounded() -> None:
    """Each of forty functions calls the one before twice."""
    text = "def @f0(%x: float32) { exp(%x) }\n"
    text += "".join(f"def @f{i}(%x: float32) {{ add(@f{i - 1}(%x), @f{i - 1}(%x)) }}\n" for i in range(1, 40))
    module = parse(text + "def @main(%x: float32) { @f38(%x) }", "t")
    with pytest.raises(ModelError, match=r"t, line \d+: the calls inline to more than"):
        to_relax(module)


def test_tuples_that_multiply_are_bounded() -> None:
    lines = ["%0 = (%x, %x);"] + [f"%{i} = (%{i - 1}, %{i - 1});" for i in range(1, 39)]
    with pytest.raises(ModelError, match=r"a tuple of 16384 tensors in 14 levels is too large"):
        to_relax(main(" ".join(lines) + " %38"))


def test_a_refusal_leaves_nothing_behind(capfd: pytest.CaptureFixture) -> None:
    """The builder neither warns nor spoils the next conversion."""
    with pytest.raises(ModelError):
        to_relax(main("let %a = exp(%x); add(%a, 1)"))
    assert np.prod([int(d) for d in to_relax(main("exp(%x)"))["main"].ret_ty.shape]) == 6
    assert capfd.readouterr().err == ""
