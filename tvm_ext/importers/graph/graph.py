"""A neutral operator graph in ONNX's vocabulary: what translate.py reads, whatever file the operators stood in.

Operators, attributes and operand order are those of ONNX (the newest operator set: what may be an attribute or an
operand there may be either here); tensors are NCHW outside. Nothing in here is ONNX's own type."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

LARGEST_ACTIVATION = 1 << 24  # numbers; what holds more fits no microcontroller

# Converters and quantisers add these to a name
SUFFIX = re.compile(r"(?:_quant(?:ized)?|_QuantizeLinear(?:_Input|_Output)?|_DequantizeLinear(?:_Output)?|QLinear)$")
GENERATED = re.compile(r"^$|^(?:node_)?\d+$|^(?:onnx::|node_|val_|_inlfunc_)|^[A-Z]\w*?_\d+$")
LONGEST = 40  # characters; what does not fit loses its front


@dataclass(frozen=True)
class Node:
    """An operator. name: what the user knows it by, unique in the graph. inputs: tensor names, "" for an operand that
    is left out. attrs: ints, floats, strings, lists of them, numpy arrays."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Tensor:
    """An input of the graph: its outer dimensions (batch 1 first), dtype float32, int8 or uint8."""

    name: str
    dims: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class OpGraph:
    """nodes: in an order in which every tensor is written before it is read. constants: by tensor name. shapes: makes
    the outer dimensions of computed tensors, batch 1 first, as far as the file tells them; asked where a node is
    refused."""

    nodes: tuple[Node, ...]
    constants: Mapping[str, np.ndarray]
    inputs: tuple[Tensor, ...]
    outputs: tuple[str, ...]
    shapes: Callable[[], Mapping[str, tuple[int, ...]]] = dict

    def readers(self) -> Counter[str]:
        """The number of reads of each tensor; the end of the network counts as one reader."""
        return Counter([name for node in self.nodes for name in node.inputs if name] + list(self.outputs))


def needed(graph: OpGraph) -> list[Node]:
    """The nodes that the outputs depend on, in their order."""
    wanted, kept = set(graph.outputs), []
    for node in reversed(graph.nodes):
        if wanted.intersection(node.outputs):
            kept.append(node)
            wanted.update(node.inputs)
    return kept[::-1]


def layer_names(nodes: Sequence[Node], weighted: Collection[str]) -> list[str]:
    """A name for each node, no two alike: the module that its weight belongs to (`features.0`), else the node's own
    (`/features/0/Conv` -> `features.0`), else the kind of operator. weighted: operators that have a weight."""
    taken: Counter[str] = Counter()
    names = []
    for node in nodes:
        has_weight = node.op in weighted
        module = _module(node) if has_weight else ""
        name = (module or _cleaned(node, has_weight) or _kind(node.op))[-LONGEST:].strip("._-") or _kind(node.op)
        taken[name] += 1
        names.append(name if taken[name] == 1 else _numbered(name, taken))
    return names


def _numbered(name: str, taken: Counter[str]) -> str:
    number = taken[name] - 1
    while f"{name}_{number}" in taken:
        number += 1
    taken[f"{name}_{number}"] += 1
    return f"{name}_{number}"


def _kind(op: str) -> str:
    return "requantise" if op == "QuantizeLinear" else re.sub(r"^QLinear|^Q(?=Gemm)", "", op).lower()


def _module(node: Node) -> str:
    """`features.0` for a weight `features.0.weight_quantized`."""
    for name in node.inputs[1:]:
        stripped, before = name, ""
        while stripped != before:
            before, stripped = stripped, SUFFIX.sub("", stripped)
        found = re.match(r"^(?P<module>[\w.-]+)\.weight(?:_bias|_transposed|_T)?$", stripped, re.ASCII)
        if found:
            return re.sub(r"^(?:model|module|p)\.(?=.)", "", found["module"])
    return ""


def _cleaned(node: Node, has_weight: bool) -> str:
    """A node's name as a path of modules, without the operator at its end where the path says which layer it is."""
    text = node.name
    for _ in range(4):  # several of them may follow each other
        text = SUFFIX.sub("", text)
    parts: list[str] = []
    for part in text.split("/"):
        part = re.sub(r"[^\w.-]+", "_", part, flags=re.ASCII).strip("_.")
        if not part:
            continue
        if parts and part.startswith(f"{parts[-1]}."):  # /features/features.0/Conv
            parts[-1] = part
        else:
            parts.append(part)
    op = re.sub(r"^QLinear|^Q(?=Gemm)", "", node.op)
    ends = rf"{op}(?:_\d+)?|Conv[12]D|(?:Gemm_)?MatMul|BiasAdd|Relu6?"
    is_operator = bool(parts) and re.fullmatch(ends, parts[-1]) is not None
    if len(parts) > 1 and is_operator:
        if has_weight:
            parts.pop()
        else:
            parts[-1] = parts[-1].lower()
    elif is_operator or GENERATED.match(text):
        return ""
    return ".".join(parts)
