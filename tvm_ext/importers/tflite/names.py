"""Layer names out of tensor names. TFLite knows no layers: a converter leaves paths of the framework's operations on
the tensors, several joined by ";" where it fused them: `model/relu/Relu;model/conv2d/BiasAdd;model/conv2d_1/Conv2D`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import count

from mcutrain.tvm_ext.importers.tflite.file import FileOperator, R, Table, TfliteGraph
from mcutrain.tvm_ext.importers.tflite.record import TfliteOperator

# The end of a path where it says what is computed, not which layer it is; layers have the lower-case ones as names, too
OPERATIONS = re.compile(
    r"(?:BiasAdd|Conv2D|MatMul|Relu6?|Identity|AvgPool|MaxPool|Mean|FusedBatchNormV3|ReadVariableOp|resource|AddV2|Add"
    r"|Pad|PadV2|Reshape|Softmax|Sigmoid|Squeeze|ExpandDims)(?:_?\d+)?"
)
LAST = re.compile(rf"{OPERATIONS.pattern}|(?:depthwise|convolution|add|concat)(?:_?\d+)?")
# What a fused operator is told by, before its product
BIAS = re.compile(r"/(?:BiasAdd(?:_?\d+)?|BiasAdd/ReadVariableOp(?:/resource)?)$")
ANONYMOUS = re.compile(r"^$|^(?:Identity|PartitionedCall|StatefulPartitionedCall|tensor|output|arith\.|tfl\.|\d)")
LONGEST = 40  # characters; what does not fit loses its front


def layer_names(graph: TfliteGraph, table: Table[R]) -> list[str]:
    """A short name for each operator, no two alike: what people called the layer, else the kind of operator."""
    records = [table.get(operator.op, TfliteOperator(operator.op)) for operator in graph.operators]
    paths = [_path(graph, operator, record) for operator, record in zip(graph.operators, records, strict=True)]
    known = [path for path in paths if path]
    prefix = _common([path[:-1] for path in known]) if len(known) > 1 else 0
    taken: set[str] = set()
    names = []
    for record, path in zip(records, paths, strict=True):
        kind = record.word or re.sub(r"\W+", "_", record.name.lower())
        # a separator at the front is what is left of a cut name
        name = ".".join(path[prefix:])[-LONGEST:].strip("._-") if path else kind
        names.append(_unique(name or kind, taken))
    return names


def _path(graph: TfliteGraph, operator: FileOperator, record: TfliteOperator[R]) -> list[str]:
    """The parts of the layer's path, () where the tensors have no names of people."""
    tensors = [graph.tensors[n] for n in operator.outputs[:1]]
    texts = [part for t in tensors for part in t.name.split(";")]
    weights = [graph.tensors[n] for n in operator.inputs[1:] if n >= 0 and graph.tensors[n].is_constant]
    constants = [part for t in weights for part in t.name.split(";")]
    chosen = None
    if record.product:
        product = re.compile(rf"/(?:{record.product})(?:_?\d+)?$")
        chosen = next((t for t in texts if record.has_bias and BIAS.search(t)), None)
        chosen = chosen or next((t for t in constants + texts if product.search(t)), None)
    for text in [chosen] if chosen else texts[:1]:
        parts = [re.sub(r"[^\w.-]+", "_", p, flags=re.ASCII).strip("_") for p in text.split("/")]
        if len(parts) > 1 and LAST.fullmatch(parts[-1]):
            parts.pop()
        while len(parts) > 1 and (OPERATIONS.fullmatch(parts[-1]) or not parts[-1]):
            parts.pop()
        if not ANONYMOUS.match(parts[-1]):
            return [part for part in parts if part]
    return []


def _common(paths: Sequence[Sequence[str]]) -> int:
    """The number of parts that all paths begin with."""
    return next((i for i, parts in enumerate(zip(*paths, strict=False)) if len(set(parts)) > 1), min(map(len, paths)))


def _unique(name: str, taken: set[str]) -> str:
    numbered = (f"{name}_{n}" for n in count(1))
    while name in taken:
        name = next(numbered)
    taken.add(name)
    return name
