"""The two ends of a graph: which tensor is the input as the network reads it, and which one the loss works on."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from mcutrain.planner.errors import LayerError, ModelError
from mcutrain.tvm_ext.importers.base.network import NetworkBuilder
from mcutrain.tvm_ext.importers.base.values import Quantisation
from mcutrain.tvm_ext.importers.graph.constants import target
from mcutrain.tvm_ext.importers.graph.context import Import, integers
from mcutrain.tvm_ext.importers.graph.graph import LARGEST_ACTIVATION, Node, OpGraph, Tensor, needed
from mcutrain.tvm_ext.importers.graph.operators import OPERATORS
from mcutrain.tvm_ext.importers.graph.reals import CANONICAL, Known, Stored, alike, quantisation_of, stored_real

TO_CHANNELS_FIRST = {(0, 3, 1, 2): "NHWC", (0, 2, 1): "NWC"}  # of a tensor with these axes


def without_final(graph: OpGraph) -> tuple[OpGraph, Node | None]:
    """The graph that ends with the logits, and the Softmax or Sigmoid that stood behind them."""
    if len(graph.outputs) != 1:
        raise ModelError(f"has {len(graph.outputs)} outputs, must have 1", "export the one that is trained")
    made = {name: node for node in graph.nodes for name in node.outputs}
    name, passed = graph.outputs[0], 0
    while name in made and passed <= len(graph.nodes):
        node, passed = made[name], passed + 1
        record = OPERATORS.get(node.op)
        if record is None or not node.inputs:
            break
        if record.is_final:
            shorter = replace(graph, outputs=(node.inputs[0],))
            return replace(shorter, nodes=tuple(needed(shorter))), node
        if not record.passes:
            break
        name = node.inputs[0]
    return replace(graph, nodes=tuple(needed(graph))), None


@dataclass(frozen=True)
class _Entry:
    """The place where the network begins: the tensor, its dimensions and axes, and whether it is int8 there."""

    tensor: str
    dims: tuple[int, ...]
    layout: str
    is_int: bool
    passed: int  # nodes of the chain that stand before it


def begin(graph: OpGraph) -> tuple[Import, list[Node]]:
    """The import with its input and its constants, and the nodes that are left."""
    if len(graph.inputs) != 1:
        raise ModelError(f"has {len(graph.inputs)} inputs, must have 1", "export one network of one input")
    (given,) = graph.inputs
    chain = _chain(graph, given.name)
    quantisation = _quantisation(graph, given, chain)
    entry = _entry(graph, given, chain)
    inner = dict(zip(entry.layout, entry.dims, strict=True))
    shape = [1, *(inner.get(letter, 1) for letter in "HWC")]
    if inner.get("N", 1) != 1 or min(shape) < 1 or math.prod(shape) > LARGEST_ACTIVATION:
        raise ModelError(f"an input of {list(given.dims)}", "export with a batch size of 1, as (1, C, H, W) or (1, n)")
    network = NetworkBuilder(shape, quantisation)
    skipped = chain[: entry.passed]
    values: dict[str, Known] = dict(graph.constants)
    is_int = entry.is_int and quantisation is not None
    real = stored_real(network, network.input, entry.layout)
    values[entry.tensor] = Stored(network.input, entry.layout) if is_int else real
    return Import(network, values, graph.readers()), [n for n in graph.nodes if n not in skipped]


def _chain(graph: OpGraph, name: str) -> list[Node]:
    """The operators behind the input that compute nothing."""
    chain: list[Node] = []
    while True:
        readers = [node for node in graph.nodes if name in node.inputs]
        if len(readers) != 1 or name in graph.outputs:
            return chain
        (reader,) = readers
        if reader.op not in OPERATORS or not OPERATORS[reader.op].passes or reader.inputs[0] != name:
            return chain
        chain.append(reader)
        name = reader.outputs[0]


def _quantisation(graph: OpGraph, given: Tensor, chain: list[Node]) -> Quantisation | None:
    """The quantisation of the input as its first QuantizeLinear, of an integer input its first DequantizeLinear says;
    None: float32."""
    is_int = given.dtype in ("int8", "uint8")
    wanted = "DequantizeLinear" if is_int else "QuantizeLinear"
    tensor = given.name
    for node in chain:
        if node.op in ("QuantizeLinear", "DequantizeLinear"):
            break
        tensor = node.outputs[0]
    readers = [node for node in graph.nodes if tensor in node.inputs]
    found = [_parameters(graph, node, given) for node in readers if node.op == wanted]
    if is_int and not found and all(node.op == "Cast" for node in readers):
        return Quantisation(1.0, 0 if given.dtype == "int8" else -128)
    if is_int and len(found) != len(readers):
        raise ModelError(f"an input in {given.dtype} that is not dequantised", "quantise the model in QDQ form")
    if found and (len(found) != len(readers) or not all(alike(q, found[0]) for q in found)):
        raise ModelError("its input is quantised in two ways, or not by all that read it", "quantise it once")
    return found[0] if found else None


def _parameters(graph: OpGraph, node: Node, given: Tensor) -> Quantisation:
    scale, zero = (graph.constants.get(node.inputs[i]) if i < len(node.inputs) else None for i in (1, 2))
    q, dtype = quantisation_of(scale, zero, node.name)
    if given.dtype in ("int8", "uint8") and dtype != given.dtype:
        raise LayerError(node.name, f"reads {given.dtype} with a zero point in {dtype}", "quantise the model anew")
    if not -128 <= q.zero <= 127:
        raise LayerError(node.name, f"the zero point {q.zero} is outside int8", "quantise the model anew")
    return q


def _entry(graph: OpGraph, given: Tensor, chain: list[Node]) -> _Entry:
    """The place where the network begins: an input that is turned or reshaped to an image at once is that image."""
    tensor, is_int = given.name, given.dtype in ("int8", "uint8")
    dims: tuple[int, ...] | None = given.dims
    entered, kept, passed = given.dims, is_int, 0
    for index, node in enumerate(chain):
        is_int = {"QuantizeLinear": True, "DequantizeLinear": False}.get(node.op, is_int)
        if node.op in ("Reshape", "Unsqueeze"):
            dims = None if dims is None else _renamed_dims(graph, node, dims)
            if dims is None or not 3 <= len(dims) <= 4:
                break
            tensor, passed, entered, kept = node.outputs[0], index + 1, dims, is_int
        elif node.op not in ("QuantizeLinear", "DequantizeLinear", "Identity", "Dropout"):
            break
    if len(entered) not in (2, 3, 4):
        raise ModelError(f"an input of {list(entered)}", "export it as (1, C, H, W), (1, C, L) or (1, n)")
    for node in chain[passed:]:
        if node.op == "Transpose":
            layout = TO_CHANNELS_FIRST.get(tuple(integers(node, "perm")) if "perm" in node.attrs else ())
            if layout is not None and len(layout) == len(entered):
                return _Entry(tensor, entered, layout, kept, passed)
        if node.op not in ("QuantizeLinear", "DequantizeLinear", "Identity", "Dropout"):
            break
    return _Entry(tensor, entered, CANONICAL[len(entered)], kept, passed)


def _renamed_dims(graph: OpGraph, node: Node, dims: tuple[int, ...]) -> tuple[int, ...] | None:
    key = "shape" if node.op == "Reshape" else "axes"
    value = node.attrs.get(key)
    if value is None and len(node.inputs) > 1 and node.inputs[1] in graph.constants:
        value = graph.constants[node.inputs[1]].reshape(-1)[:16].tolist()
    given = [n for n in value if isinstance(n, int)] if isinstance(value, list | tuple) else []
    if not isinstance(value, list | tuple) or len(given) < len(value):
        return None
    if node.op == "Reshape":
        return target(node, dims, given)
    rank = len(dims) + len(given)
    new, rest = {a % rank for a in given if -rank <= a < rank}, iter(dims)
    if len(new) != len(given):
        return None
    return tuple(1 if i in new else next(rest) for i in range(rank))
