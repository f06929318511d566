"""Activation functions between a dequantize and a quantize, as TVM's frontends compose them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mcutrain
from mcutrain import ModelError


def written(folder: Path, text: str) -> Path:
    path = folder / "net.relay"
    path.write_text('#[version = "0.0.5"]\n' + text)
    return path


BETWEEN = """def @main(%x: Tensor[(1, 8), int8]) {
  %0 = qnn.dense(%x, meta[relay.Constant][0], 3, 0, 0.5f, 0.01f, units=4, out_dtype="int32");
  %1 = qnn.requantize(%0, 0.005f, 0, 0.05f, 2, out_dtype="int8");
  BODY
}
"""


def between(folder: Path, body: str, weight: np.ndarray) -> Path:
    from tvm import runtime

    text = BETWEEN.replace("meta[relay.Constant][0]", "%w").replace("int8])", "int8], %w: Tensor[(4, 8), int8])")
    (folder / "net.params").write_bytes(runtime.save_param_dict({"w": runtime.tensor(weight)}))
    return written(folder, text.replace("BODY", body))


DEQUANTIZED = "%2 = qnn.dequantize(%1, 0.05f, 2); "
QUANTIZED = 'qnn.quantize(%3, 0.1f, 0, out_dtype="int8")'


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("exp(%1)", r"exp \(line 5\): works on integers; dequantize before it"),
        ("subtract(%1, 1f)", r"subtract \(line 5\): works on integers; dequantize before it"),
        (f"{DEQUANTIZED} exp(%2)", "works on real numbers inside an integer network"),
        (
            f"{DEQUANTIZED} %3 = nn.softmax(%2); {QUANTIZED}",
            r"quantize \(line 5\): works on what is no function of each number alone",
        ),
        (
            f'{DEQUANTIZED} %4 = qnn.requantize(%1, 0.05f, 2, 0.1f, 0, out_dtype="int8");'
            f" %5 = qnn.dequantize(%4, 0.1f, 0); %3 = multiply(%2, %5); {QUANTIZED}",
            r"multiply \(line 5\): joins two activations in real numbers; use qnn.add",
        ),
        (
            f"{DEQUANTIZED} %3 = exp(%2); {QUANTIZED.replace('int8', 'uint8')}",
            r"quantize \(line 5\): quantises to uint8; only int8",
        ),
        (
            f'{DEQUANTIZED} %3 = add(%2, ones(shape=[4], dtype="float32")); {QUANTIZED}',
            r"ones \(line 5\): the operator is not supported",
        ),
        ("qnn.dequantize(%1, 0.06f, 2)", "reads scale 0.06, zero point 2"),
    ],
)
def test_what_is_no_table_is_refused(body: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=message):
        mcutrain.load(between(tmp_path, body, np.ones((4, 8), np.int8)))
