"""Prepares a float32 ONNX file for quantisation: infers shapes, folds constants and batch normalisation, also behind
fully connected layers, where onnxruntime leaves it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx


def prepare(model: Path, prepared: Path) -> None:
    """Write the file `prepared`. Raises whatever onnxruntime raises."""
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    try:
        quant_pre_process(str(model), str(prepared), auto_merge=True)
    except Exception:  # symbolic shape inference knows fewer operators than the rest
        quant_pre_process(str(model), str(prepared), skip_symbolic_shape=True)
    folded = onnx.load(prepared)
    flatten_biases(folded.graph)
    fold_into_gemm(folded.graph)
    read = {name for node in folded.graph.node for name in node.input}
    for tensor in [tensor for tensor in folded.graph.initializer if tensor.name not in read]:
        folded.graph.initializer.remove(tensor)
    onnx.save(folded, prepared)


def flatten_biases(graph: onnx.GraphProto) -> None:
    """Make biases of shape (1, n) into (n,): the quantiser takes no others."""
    for node in graph.node:
        if node.op_type == "Gemm" and len(node.input) > 2:
            bias = _constants(graph).get(node.input[2])
            if bias is not None and list(bias.dims[:-1]) == [1]:
                del bias.dims[0]


def fold_into_gemm(graph: onnx.GraphProto) -> None:
    """Make a Gemm and the BatchNormalization behind it one Gemm, where nobody else reads what is between."""
    readers = Counter(name for node in graph.node for name in node.input)
    readers.update(output.name for output in graph.output)
    makers = {name: node for node in graph.node for name in node.output}
    for norm in [node for node in graph.node if node.op_type == "BatchNormalization"]:
        gemm, constants = makers.get(norm.input[0]), _constants(graph)
        if gemm is None or gemm.op_type != "Gemm" or readers[norm.input[0]] > 1 or len(gemm.input) < 3:
            continue
        if not all(name in constants and readers[name] == 1 for name in (*gemm.input[1:3], *norm.input[1:5])):
            continue
        _fold(gemm, norm, constants)
        graph.node.remove(norm)


def _fold(gemm: onnx.NodeProto, norm: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> None:
    from onnx import numpy_helper

    numbers = {a.name: (a.i, a.f) for node in (gemm, norm) for a in node.attribute}
    gamma, beta, mean, variance = (_array(constants[name]) for name in norm.input[1:5])
    factor = gamma / np.sqrt(variance + numbers.get("epsilon", (0, 1e-5))[1])
    weight, bias = (_array(constants[name]) for name in gemm.input[1:3])
    weight = weight * (factor[:, None] if numbers.get("transB", (0, 0))[0] else factor)
    for name, value in ((gemm.input[1], weight), (gemm.input[2], (bias - mean) * factor + beta)):
        constants[name].CopyFrom(numpy_helper.from_array(value.astype(np.float32), name))
    gemm.output[0] = norm.output[0]


def _array(tensor: onnx.TensorProto) -> np.ndarray:
    from onnx import numpy_helper

    return numpy_helper.to_array(tensor).astype(np.float64)


def _constants(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    return {tensor.name: tensor for tensor in graph.initializer}
