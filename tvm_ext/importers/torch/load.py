"""PyTorch -> dialect: programs of torch.export, float32 or quantised by PT2E.

The graph is walked as it is, instead of by way of torch.onnx.export, which reads the same programs: what it writes has
lost the modules that quantised weights belong to, and with them the layers' names; it needs another package, and takes
longer. PyTorch itself is imported only when a program is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mcutrain.planner.errors import LayerError, ModelError
from mcutrain.tvm_ext.importers.base.heads import requested
from mcutrain.tvm_ext.importers.graph.graph import OpGraph, Tensor
from mcutrain.tvm_ext.importers.graph.operators import named
from mcutrain.tvm_ext.importers.graph.translate import build
from mcutrain.tvm_ext.importers.torch import archive as torch_archive
from mcutrain.tvm_ext.importers.torch.call import Ref, Rows, TorchCall, TorchOperator
from mcutrain.tvm_ext.importers.torch.operators import OPERATORS
from mcutrain.tvm_ext.model import Model

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "int8", "uint8")


def load(
    program: torch.export.ExportedProgram | str | Path,
    classes: int | None = None,
    head: str = "model",
    logits: str | None = None,
    loss: str | None = None,
) -> Model:
    """Read an exported program, or the .pt2 file that torch.export.save made of it, of one input and one output.

    Export it in evaluation mode and with a batch size of 1 (or one that stays open); a quantised program is what
    convert_pt2e gives, exported again. Input shapes and options are those of onnx.load.load.

    Raises one ModelError that names every operator that cannot be expressed, with its layer, why, and a way out."""
    wanted = requested(head, classes, logits, loss)
    path = Path(program) if isinstance(program, str | Path) else None
    where = path or "program"
    try:
        import torch
    except ImportError:
        raise ModelError(f"{where}: PyTorch is not installed", "pip install mcutrain[torch]") from None
    exported = program if isinstance(program, torch.export.ExportedProgram) else torch_archive.read(Path(program))
    try:
        graph = graph_of(exported)
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from None
    return build(graph, path.stem if path else "model", where, wanted, loss)


def graph_of(program: torch.export.ExportedProgram) -> OpGraph:
    """The neutral graph of a program; a call that it has no words for stands in it with its problem."""
    constants = _constants(program)
    inputs = [spec for spec in program.graph_signature.input_specs if spec.kind.name == "USER_INPUT"]
    outputs = _outputs(program)
    # parameters are known by their names in the model
    refs: dict[str, object] = {
        spec.arg.name: Ref(spec.target, True) for spec in program.graph_signature.input_specs if spec.target is not None
    }
    rows, tensors = Rows(constants=constants), []
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in {spec.arg.name for spec in inputs}:
            tensors.append(_input(node))
            refs[node.name] = Ref(node.name)
        elif node.op == "call_function":
            refs[node.name] = _called(rows, node, refs)
    shapes = {node.name: _shape(node) for node in program.graph.nodes}
    ends = tuple(tensors), tuple(_name(refs, name) for name in outputs)
    return OpGraph(named(rows.nodes), rows.constants, *ends, lambda: shapes)


def _constants(program: torch.export.ExportedProgram) -> dict[str, np.ndarray]:
    """Parameters and buffers by their names in the model."""
    import torch

    held = {**program.constants, **program.state_dict}
    constants = {}
    for spec in program.graph_signature.input_specs:
        if spec.target is None or spec.target not in held:
            continue
        value = held[spec.target]
        if not isinstance(value, torch.Tensor) or type(value) not in (torch.Tensor, torch.nn.Parameter):
            raise ModelError(f"{spec.target}: a {type(value).__name__}, no plain tensor; quantise by PT2E")
        value = value.detach().cpu()
        if value.dtype in (torch.float16, torch.bfloat16, torch.float64):
            value = value.to(torch.float32)
        try:
            constants[spec.target] = value.contiguous().numpy()
        except (TypeError, RuntimeError):
            raise ModelError(f"{spec.target}: a tensor of {value.dtype}; use float32 or int8") from None
    return constants


def _outputs(program: torch.export.ExportedProgram) -> list[str]:
    specs = program.graph_signature.output_specs
    if any(spec.kind.name == "BUFFER_MUTATION" for spec in specs):
        raise ModelError("changes its own buffers when it runs", "call model.eval() before the export")
    outputs = [spec.arg.name for spec in specs if spec.kind.name == "USER_OUTPUT" and hasattr(spec.arg, "name")]
    if len(outputs) != 1 or len(specs) != 1:
        raise ModelError(f"has {len(specs)} outputs, must have 1", "export the one that is trained")
    return outputs


def _input(node: torch.fx.Node) -> Tensor:
    value = node.meta.get("val")
    dtype = str(getattr(value, "dtype", "no tensor")).removeprefix("torch.")
    if dtype not in DTYPES:
        raise ModelError(f"the input '{node.name}' is {dtype}", "must be float32, int8 or uint8")
    shape = tuple(getattr(value, "shape", ()))
    dims = tuple(n if isinstance(n, int) else 1 for i, n in enumerate(shape) if isinstance(n, int) or i == 0)
    if len(dims) < len(shape):
        shown = ", ".join(str(n) for n in shape)
        raise ModelError(f"the input '{node.name}' is ({shown})", "export it with a fixed input size")
    return Tensor(node.name, dims, dtype)


def _called(rows: Rows, node: torch.fx.Node, refs: dict[str, object]) -> object:
    """The result of a node: a tensor, or the number that a size is."""
    target = str(node.target)
    if "getitem" in target:
        (source,), index = node.all_input_nodes, node.args[1]
        if index != 0:
            raise LayerError(node.name, f"the second result of {source.name} is read", "only the first can be")
        return refs[source.name]
    namespace, _, op = target.rpartition("::")[2].partition(".")
    op = op.split(".")[0]
    if op == "sym_size":
        return _size(node)
    args = _arguments(node, refs)
    first = next((n for n in node.all_input_nodes), None)
    call = TorchCall(op, _layer(node, op, refs), node.name, args, _shape(first))
    tensors = [value for value in args.values() if isinstance(value, Ref)]
    try:
        record = OPERATORS.get(op, TorchOperator(op))
        if namespace not in ("aten", "quantized_decomposed") or record.read is None:
            raise ModelError("the operator is not supported", record.way_out or "build the model without it")
        record.read(rows, call)
    except ModelError as error:  # refused with all others by the one walk over the graph
        rows.add(call, target, [ref.name for ref in tensors], problem=error)
    return Ref(node.name, bool(tensors) and all(ref.is_constant for ref in tensors))


def _size(node: torch.fx.Node) -> int:
    value = node.meta.get("val")
    if isinstance(value, int):
        return value
    if node.args[1] == 0:
        return 1
    raise LayerError(node.name, "a size that stays open", "export with a fixed input size")


def _arguments(node: torch.fx.Node, refs: dict[str, object]) -> dict[str, object]:
    """All arguments by name, those left out with their defaults."""
    import torch

    def plain(value: object) -> object:
        if isinstance(value, torch.fx.Node):
            return refs.get(value.name, Ref(value.name))
        return [plain(v) for v in value] if isinstance(value, list | tuple) else value

    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return {str(i): plain(value) for i, value in enumerate(node.args)}
    args = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
    args |= {a.name: plain(v) for a, v in zip(schema.arguments, node.args, strict=False)}
    return args | {key: plain(value) for key, value in node.kwargs.items()}


def _shape(node: torch.fx.Node | None) -> tuple[int, ...]:
    """The dimensions of a tensor; an open size is the batch, and that is 1."""
    value = node.meta.get("val") if node is not None else None
    value = value[0] if isinstance(value, tuple | list) and value else value
    return tuple(n if isinstance(n, int) else 1 for n in getattr(value, "shape", ()))


def _layer(node: torch.fx.Node, op: str, refs: dict[str, object]) -> str:
    """The module whose parameters it has; else the module that it stands in, and its own name."""
    parameters = [refs.get(n.name) for n in node.all_input_nodes[1:]]
    for ref in parameters:
        if isinstance(ref, Ref) and ref.name.endswith((".weight", ".bias", ".weight_bias")):
            return ref.name.rpartition(".")[0]
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path = str(stack[-1][0]) if stack else ""
    path = path.removeprefix("L['self'].").removeprefix("L__self__")
    if op in OPERATORS and OPERATORS[op].has_weight:
        return path or op
    return f"{path}.{op}" if path else op


def _name(refs: dict[str, object], name: str) -> str:
    ref = refs.get(name)
    if not isinstance(ref, Ref):
        raise ModelError("nothing computes its output", "export the model anew")
    return ref.name
