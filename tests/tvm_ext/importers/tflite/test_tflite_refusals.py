"""What a TFLite model may not hold: each refusal with its layer, why, and a way out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.tflite.load import load
from tests.tvm_ext.importers.tflite.test_tflite import fill
from tests.tvm_ext.importers.tflite.tflite_models import TYPES, TfliteModel


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(ModelError) as refused:
        load(path, **{"loss": "mse", **options})
    message = str(refused.value)
    assert all(len(line) < 300 for line in message.splitlines())
    return message


def last(m: TfliteModel) -> object:
    return m.operators[-1]


def operand(m: TfliteModel, index: int) -> object:
    """A tensor that the last operator reads; -1: the one that it writes."""
    return m.tensors[last(m).outputs[0] if index < 0 else last(m).inputs[index]]


def options(**values: int) -> Callable[[TfliteModel], None]:
    """Sets options of the last operator."""

    def change(m: TfliteModel) -> None:
        assert values.keys() <= vars(last(m).builtinOptions).keys()
        vars(last(m).builtinOptions).update(values)

    return change


def typed(index: int, dtype: str) -> Callable[[TfliteModel], None]:
    return lambda m: setattr(operand(m, index), "type", TYPES[dtype])


def shaped(index: int, *shape: int) -> Callable[[TfliteModel], None]:
    return lambda m: setattr(operand(m, index), "shape", np.array(shape, np.int32))


def quantised(index: int, scale: float | None = None, zero: int | None = None) -> Callable[[TfliteModel], None]:
    def change(m: TfliteModel) -> None:
        own = operand(m, index).quantization
        own.scale = own.scale if scale is None else np.full_like(own.scale, scale)
        own.zeroPoint = own.zeroPoint if zero is None else np.full_like(own.zeroPoint, zero)

    return change


def reads(index: int, build: Callable[[TfliteModel], int]) -> Callable[[TfliteModel], None]:
    """Another tensor in the place of an operand."""

    def change(m: TfliteModel) -> None:
        operator = last(m)
        operator.inputs[index] = build(m)

    return change


CONV = {  # what is wrong with the layer `late`: the change, and what the refusal says
    "dilation": (options(dilationWFactor=2), "a dilated convolution; use dilation 1"),
    "stride": (options(strideH=0), r"stride \[0, 1\]; from 1 to 4096"),
    "padding": (options(padding=7), "padding of kind 7; SAME and VALID are known"),
    "activation": (
        options(fusedActivationFunction=5),
        "the activation SIGN_BIT is not supported; use RELU, RELU6, RELU_N1_TO_1, RELU_0_TO_1, TANH",
    ),
    "no options": (lambda m: setattr(last(m), "builtinOptionsType", 0), "its options are missing in the file"),
    "groups": (shaped(1, 15, 3, 3, 2), "filters of 2 channels over 6: a grouped convolution; use a dense or"),
    "weight shape": (shaped(1, 5, 3, 3, 7), r"'model/late/Conv2D' of shape \[5, 3, 3, 7\] holds 270 B, not 315"),
    "weight rank": (shaped(1, 5, 54), r"a weight of shape \[5, 54\]; 4 dimensions are expected"),
    "weight zero": (quantised(1, zero=3), "weights with a zero point; quantise them symmetrically"),
    "weight type": (typed(1, "uint8"), "'model/late/Conv2D' is uint8, not int8; convert with full-integer"),
    "weight scale": (quantised(1, np.nan), "the scale nan is no positive finite number"),
    "weight scales": (quantised(1, 1e-30), "the scale 1e-30 is no positive finite number"),
    "weight axis": (lambda m: setattr(operand(m, 1).quantization, "quantizedDimension", 3), "5 scales along axis 3"),
    "computed weight": (lambda m: setattr(operand(m, 1), "buffer", 0), "must be a constant of the file"),
    "bias type": (typed(2, "float32"), "'model/late/bias' is float32, not int32"),
    "biases": (reads(2, lambda m: m.constant([1, 2, 3])), "3 biases for 5 filters"),
    "scales": (quantised(-1, 1e-15), "a requantisation by .* leaves int32"),
    "scale": (quantised(-1, 0.0), "the scale 0 is no positive finite number"),
    "zero point": (quantised(-1, zero=200), "the zero point 200 is outside int8"),
    "float output": (typed(-1, "float32"), "'model/late/BiasAdd' is float32, activations are int8; convert with full"),
    "output shape": (shaped(-1, 1, 7, 8, 5), r"makes \[1, 7, 9, 5\], the file says \[1, 7, 8, 5\]; export with"),
    "no operand": (lambda m: setattr(last(m), "inputs", last(m).inputs[:1]), "operand 1 is missing"),
}
IMAGE = (1, 7, 9, 6)
BORDER = [[0, 0], [1, 1], [1, 1], [0, 0]]
OTHERS = {  # operator: how it is built, what is changed in it, what the refusal says
    "shuffled": (lambda m: m.dense(fill(m), 5), options(weightsFormat=1), "FULLY_CONNECTED dense: shuffled weights"),
    "fused tanh": (lambda m: m.dense(fill(m), 5, "TANH"), None, "FULLY_CONNECTED dense: a fused TANH, which TFLite's"),
    "features": (lambda m: m.dense(fill(m), 5, features=54), None, "dense: a weight for 54 features, but 378 reach it"),
    "multiplier": (
        lambda m: m.conv(fill(m), 12, depthwise=True),
        None,
        "DEPTHWISE_CONV_2D conv2d: 12 filters over 6 channels: a depth multiplier; use 1, or a dense layer",
    ),
    "add shapes": (lambda m: m.add(x := fill(m), m.conv(x, 5)), None, "ADD add: adds .*; the shapes must be equal"),
    "add scales": (lambda m: m.add(x := fill(m), x), quantised(-1, 1e-12), "ADD add: the scales .* do not fit each"),
    "add constant": (
        lambda m: m.add(x := fill(m), x),
        reads(1, lambda m: m.tensor(IMAGE, "int8", [1.0], [0], np.ones(IMAGE, np.int8), name="ones")),
        "ADD add: reads the constant 'ones' as an activation; fold it into a layer",
    ),
    "mean axes": (lambda m: m.mean(fill(m), (1, 3)), None, r"MEAN mean: a mean over the axes \[1, 3\]; only height"),
    "mean type": (lambda m: m.mean(fill(m)), typed(1, "float32"), "MEAN mean: 'constant' is float32, not int32"),
    "mean scales": (lambda m: m.mean(fill(m)), quantised(-1, 1e-9), "MEAN mean: the scales .* do not fit each other"),
    "pool scales": (lambda m: m.pool(fill(m), (2, 2)), quantised(-1, 9.0), "AVERAGE_POOL_2D .* does not requantise"),
    "pool window": (lambda m: m.pool(fill(m), (2, 2)), options(filterWidth=0), r": a window of \[2, 0\]; from 1"),
    "large maximum": (
        lambda m: m.pool(fill(m, (1, 20, 20, 1)), (17, 17), code="MAX_POOL_2D"),
        None,
        r"MAX_POOL_2D max_pool_2d: a maximum over \(17, 17\); at most 256",
    ),
    "pad channels": (lambda m: m.pad(fill(m), [*BORDER[:3], [0, 1]]), None, "PAD pad: pads the batch or the channels"),
    "pad value": (lambda m: m.pad(fill(m), BORDER, 9), None, "PADV2 padv2: pads with 9, .* zero point -5; pad with 0"),
    "pad table": (
        lambda m: m.pad(fill(m), BORDER),
        reads(1, lambda m: m.constant([[0, 0], [-1, 1], [1, 1], [0, 0]])),
        "PAD pad: a table of paddings that does not fit",
    ),
    "concat axis": (lambda m: m.concat([x := fill(m), x], 2), None, "joins along axis 2; only the last one, the chann"),
    "concat scales": (lambda m: m.concat([x := fill(m), x]), quantised(-1, 9.0), "CONCATENATION .* does not requant"),
    "concat sizes": (
        lambda m: m.concat([x := fill(m), m.pool(x, (2, 2))]),
        None,
        "CONCATENATION concatenation: joins images of different sizes",
    ),
    "reshape": (
        lambda m: m.mean(m.reshape(fill(m), [1, 9, 7, 6])),
        None,
        r"RESHAPE reshape: \[1, 7, 9, 6\] as \[1, 9, 7, 6\]; only a flatten",
    ),
    "flattened": (
        lambda m: m.concat([x := m.reshape(fill(m), [1, 378]), x], 1),
        None,
        "CONCATENATION concatenation: works on a flattened image; put it before the flatten",
    ),
    "softmax": (lambda m: m.mean(m.softmax(fill(m))), None, "SOFTMAX softmax: .* as the network's last operator alone"),
    "later": (
        lambda m: m.add(x := fill(m), x),
        reads(1, lambda m: m.unary("RELU", m.inputs[0])),
        "ADD add: reads 'model/relu', which nothing before it writes",
    ),
}


@pytest.mark.parametrize("case", CONV)
def test_a_convolution(case: str, tmp_path: Path) -> None:
    change, words = CONV[case]
    m = TfliteModel()
    out = m.conv(fill(m), 5, name="model/late")
    change(m)
    with pytest.raises(ModelError, match=rf"1 problem in the network\n  CONV_2D late: (?:.*){words}"):
        load(m.save(tmp_path, out), loss="mse")


@pytest.mark.parametrize("case", OTHERS)
def test_another_operator(case: str, tmp_path: Path) -> None:
    build, change, words = OTHERS[case]
    m = TfliteModel()
    out = build(m)
    if change:
        change(m)
    with pytest.raises(ModelError, match=words):
        load(m.save(tmp_path, out), loss="mse")


def test_all_problems_at_once(tmp_path: Path) -> None:
    """One line each, of what lies beside a problem and of what lies behind it."""
    m = TfliteModel()
    x = fill(m)
    a = m.conv(m.unary("SUB", x), 6, name="model/behind")
    b = m.conv(x, 6, name="model/beside")
    vars(last(m).builtinOptions).update(dilationHFactor=3)
    c = m.unary("CEIL", x)
    path = m.save(tmp_path, m.add(m.add(a, b), c))
    lines = refusal(path).splitlines()
    assert lines == [
        f"{path}: 3 problems in the network",
        "  SUB sub: the operator is not supported; fold a constant into the layer before",
        "  CONV_2D beside: a dilated convolution; use dilation 1",
        "  CEIL ceil: the operator is not supported; build the model without it",
        "supported operators: ADD, AVERAGE_POOL_2D, CONCATENATION, CONV_2D, DEPTHWISE_CONV_2D, ELU, EXPAND_DIMS, "
        "FULLY_CONNECTED, GELU, HARD_SWISH, LEAKY_RELU, LOGISTIC, MAX_POOL_2D, MEAN, PAD, PADV2, PRELU, QUANTIZE, "
        "RELU, RELU6, RELU_0_TO_1, RELU_N1_TO_1, RESHAPE, SQUEEZE, TANH",
    ]


def test_a_chain_of_problems(tmp_path: Path) -> None:
    """Behind a refused operator the file's own shapes stand in; what is right there is not called a problem."""
    m = TfliteModel()
    x = m.conv(m.unary("SUB", fill(m)), 6, name="model/dilated")
    vars(last(m).builtinOptions).update(dilationHFactor=3)
    x = m.conv(m.pad(m.conv(x, 4, name="model/right"), BORDER), 3, kernel=(3, 3), padding="VALID", name="model/padded")
    x = m.conv(m.unary("CEIL", x), 12, depthwise=True, name="model/multiplied")
    path = m.save(tmp_path, m.dense(m.mean(x), 4))
    assert [line.split(":")[0] for line in refusal(path).splitlines()[1:-1]] == [
        "  SUB sub",
        "  CONV_2D dilated",
        "  CEIL ceil",
        "  DEPTHWISE_CONV_2D multiplied",
    ]


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int16"])
def test_models_of_other_types(dtype: str, tmp_path: Path) -> None:
    m = TfliteModel()
    x = m.input((1, 6, 6, 2), dtype=dtype)
    path = m.save(tmp_path, m.op("RELU", [x], [1, 6, 6, 2], 0.1 if dtype != "float32" else None, dtype=dtype))
    assert refusal(path) == (
        f"{path}: a {dtype} model, and only int8 ones can be read; convert it with post-training full-integer "
        "quantisation (a representative dataset, int8 input and output)"
    )


def test_ends(tmp_path: Path) -> None:
    def model(shape: tuple[int, ...] = (1, 6, 6, 2)) -> tuple[TfliteModel, int]:
        m = TfliteModel()
        return m, m.conv(m.input(shape), 3) if len(shape) == 4 else m.unary("RELU", m.input(shape))

    m, y = model()
    assert "has 2 outputs, must have 1; export the one that is trained" in refusal(m.save(tmp_path, y, y))
    assert "its output is the image [1, 6, 6, 3]; use the loss mse" in refusal(m.save(tmp_path, y), loss=None)
    assert "has 108 outputs, not 7; the float head makes a new one" in refusal(m.save(tmp_path, y), classes=7)
    assert "a float head needs the number of its classes" in refusal(m.save(tmp_path, y), head="float")
    assert "unknown head 'int8'; use model or float" in refusal(m.save(tmp_path, y), head="int8")
    assert "unknown loss 'l1'; use cross_entropy or" in refusal(m.save(tmp_path, y), loss="l1")
    assert "unknown logits 'soft'; use raw or dequantized" in refusal(m.save(tmp_path, y), logits="soft")
    assert "a softmax with beta 2; export it with beta 1" in refusal(m.save(tmp_path, m.softmax(y, 2.0)))
    m, y = model()
    assert "has 2 inputs, must have 1" in refusal(m.save(tmp_path, m.add(y, m.conv(m.input((1, 6, 6, 2)), 3))))
    for shape in ((2, 6, 6, 2), (1, 0, 6, 2), (1, 1 << 13, 1 << 13, 2)):
        m, y = model(shape)
        assert f"an input of {list(shape)}; export with a batch size of 1" in refusal(m.save(tmp_path, y))
    m, y = model((1, 9))
    assert "holds no layer that can train; use the float head" in refusal(m.save(tmp_path, y))
