"""TFLite -> dialect: full-integer int8 models, with the numbers of TFLite's reference kernels bit for bit.

The ends that a training step does without are taken off: QUANTIZE and DEQUANTIZE around the int8 part, and SOFTMAX or
LOGISTIC, since the losses work on logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.base.heads import Head, check_output, finish, requested
from mcutrain.tvm_ext.importers.base.network import NetworkBuilder
from mcutrain.tvm_ext.importers.base.operators import by_name, handlers, ways_out
from mcutrain.tvm_ext.importers.base.values import Value
from mcutrain.tvm_ext.importers.base.walk import walk
from mcutrain.tvm_ext.importers.tflite import activations, ops, shapes
from mcutrain.tvm_ext.importers.tflite.context import Import, NamedOperator, Reader, Record, check_shape, quantisation
from mcutrain.tvm_ext.importers.tflite.file import LARGEST_ACTIVATION, FileTensor, TfliteGraph, read
from mcutrain.tvm_ext.importers.tflite.names import layer_names
from mcutrain.tvm_ext.model import Model

OPERATORS: dict[str, Record] = by_name(ops.OPERATORS, activations.OPERATORS, shapes.OPERATORS)
INT8 = "convert it with post-training full-integer quantisation (a representative dataset, int8 input and output)"


def load(
    path: str | Path,
    classes: int | None = None,
    head: str = "model",
    logits: str | None = None,
    loss: str | None = None,
    softmax: bool = False,
) -> Model:
    """Read an int8 TFLite model of one input and one output, batch size 1.

    The input is the first int8 tensor: (1, H, W, C), or (1, W, C) as (1, 1, W, C), (1, n) as (1, 1, 1, n); where the
    network reshapes such a one to an image at once, that image. The bytes stand in the file's order in any case.
    head: "model", the network's own output layer, or "float", a fresh float32 one with `classes` outputs in its place.
    logits: "dequantized" (default) or "raw", the integers themselves. loss: as in Model; by default
    binary_cross_entropy behind a LOGISTIC and cross_entropy else. softmax: inference keeps the SOFTMAX at the end.

    Raises one ModelError that names every operator that cannot be expressed, with its layer, why, and a way out."""
    wanted = requested(head, classes, logits, loss)
    graph = read(path, OPERATORS)
    try:
        steps = [
            NamedOperator(name, op) for name, op in zip(layer_names(graph, OPERATORS), graph.operators, strict=True)
        ]
        output, last = _logits(graph)
        state, rest = _begin(graph, steps, output)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    bound = handlers(OPERATORS, partial(_bound, state))
    walk(rest, state.values, bound, path, ways_out(OPERATORS), partial(_stand_in, state))
    try:
        if loss is None and last == "LOGISTIC":
            wanted = replace(wanted, loss="binary_cross_entropy")
        if last in ("SOFTMAX", "LOGISTIC") and head == "model" and wanted.loss in ("mse", "autoencoder"):
            raise ModelError(f"ends with a {last}, and the loss {wanted.loss} works on what stands before it")
        if softmax and (last != "SOFTMAX" or head != "model" or logits == "raw"):
            raise ModelError("inference cannot end in a softmax: the file, or the new head, has none")
        model = _finish(state, Path(path).stem, output, wanted)
        return replace(model, softmax=softmax)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


def _bound(state: Import, reader: Reader) -> Callable[[NamedOperator], list[Value]]:
    def run(step: NamedOperator) -> list[Value]:
        value = reader(state, step)
        if step.outputs[0] not in state.padding:  # else the image is still without the padding
            check_shape(value, state.output(step), step.name)
        return [value]

    return run


def _stand_in(state: Import, step: NamedOperator) -> list[Value]:
    """An activation as the file describes the output of a refused operator; none where it is no image or vector."""
    tensor = state.output(step)
    shape = list(tensor.shape)
    if not 2 <= len(shape) <= 4 or shape[0] != 1 or min(shape) < 1 or tensor.size > LARGEST_ACTIVATION:
        return []
    return [state.network.stand_in([1] * (4 - len(shape)) + shape, quantisation(tensor, step.name))]


def _logits(graph: TfliteGraph) -> tuple[int, str]:
    """The tensor that the loss works on, and which of SOFTMAX, LOGISTIC and so on was taken off behind it."""
    if len(graph.outputs) != 1:
        raise ModelError(f"has {len(graph.outputs)} outputs, must have 1; export the one that is trained")
    output, last, tensor = graph.outputs[0], "", graph.outputs[0]
    for operator in reversed(graph.operators):
        if tensor not in operator.outputs:
            continue
        behind = OPERATORS[operator.op].behind if operator.op in OPERATORS else None
        if behind is None or not operator.inputs or operator.inputs[0] < 0:
            break
        tensor = operator.inputs[0]
        if behind != "shape":  # what only reshapes the logits stays, unless another one stands before it
            output = tensor
            last = operator.op if behind == "loss" else last
            if operator.options.get("Beta", 1.0) != 1.0:
                raise ModelError(f"a softmax with beta {operator.options['Beta']:.3g}; export it with beta 1")
    return output, last


def _begin(graph: TfliteGraph, steps: list[NamedOperator], output: int) -> tuple[Import, list[NamedOperator]]:
    """The import with its input, and the steps that are left for the walk: those that the output needs."""
    needed, wanted = [], {output}
    for step in reversed(steps):
        if wanted.intersection(step.outputs):
            needed.append(step)
            wanted.update(step.inputs)
    needed.reverse()
    readers: dict[int, list[NamedOperator]] = {}
    for step in needed:
        for number in step.inputs:
            readers.setdefault(number, []).append(step)
    if len(graph.inputs) != 1:
        raise ModelError(f"has {len(graph.inputs)} inputs, must have 1; export one network of one input")
    number, shape, taken = _input(graph, readers, graph.inputs[0])
    network = NetworkBuilder(shape, quantisation(graph.tensors[number], "input"))
    names = {n: [step.op for step in found] for n, found in readers.items()}
    names.setdefault(output, []).append("")
    return Import(graph, network, {number: network.input}, names), [s for s in needed if s not in taken]


def _input(
    graph: TfliteGraph, readers: dict[int, list[NamedOperator]], number: int
) -> tuple[int, list[int], list[NamedOperator]]:
    """(the first int8 tensor, its shape as (1, H, W, C), what was passed on the way)."""
    taken: list[NamedOperator] = []
    while len(readers.get(number, [])) == 1:
        (step,) = readers[number]
        tensor, ahead = graph.tensors[number], graph.tensors[step.outputs[0]]
        is_entry = step.op == "QUANTIZE" and tensor.dtype in ("float32", "uint8")
        is_reshape = step.op in OPERATORS and OPERATORS[step.op].behind == "shape"
        is_image = is_reshape and len(tensor.shape) < 4 == len(ahead.shape) and tensor.size == ahead.size
        if not is_entry and not (is_image and _quantised_alike(tensor, ahead)):
            break
        number, taken = step.outputs[0], [*taken, step]
    tensor = graph.tensors[number]
    if tensor.dtype != "int8":
        raise ModelError(f"a {tensor.dtype} model, and only int8 ones can be read; {INT8}")
    shape = list(tensor.shape)
    if not 2 <= len(shape) <= 4 or shape[0] != 1 or min(shape) < 1 or tensor.size > LARGEST_ACTIVATION:
        raise ModelError(f"an input of {shape}; export with a batch size of 1, as (1, H, W, C), (1, W, C) or (1, n)")
    return number, [1] * (4 - len(shape)) + shape, taken


def _quantised_alike(a: FileTensor, b: FileTensor) -> bool:
    return a.dtype != "int8" or (list(a.scales), list(a.zeros)) == (list(b.scales), list(b.zeros))


def _finish(state: Import, name: str, output: int, head: Head) -> Model:
    if output not in state.values:
        raise ModelError("nothing writes the output; convert the model anew")
    value = state.values[output]
    check_output(state.network, value, head, f"the image {value.shape}")
    return finish(state.network, name, value, head)
