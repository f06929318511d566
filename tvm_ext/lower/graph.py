"""Relax training graph -> kernels (TIR PrimFuncs) and the planner's Graph of calls.

One PrimFunc per distinct (op, shapes, attributes); layers that agree in all of them share it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from tvm import relax

from mcutrain.planner.errors import ModelError
from mcutrain.planner.model import ChannelForm, Graph, Op, Overlap, RowAccess, Tensor
from mcutrain.tvm_ext.dialect import attrs_of, dtype_of, op_name, shape_of
from mcutrain.tvm_ext.function import bindings_of, flatten
from mcutrain.tvm_ext.kernels.build import Kernel
from mcutrain.tvm_ext.kernels.table import KERNELS, phase_of, result_of
from mcutrain.tvm_ext.train.training import LABEL, Training
from mcutrain.tvm_ext.train.updates import COUNTER, RATES

ITEM_BYTES = {"int8": 1, "uint8": 1, "int16": 2, "int32": 4, "uint32": 4, "float32": 4}


@dataclass(frozen=True)
class Value:
    """One tensor of the step: its planner tensor, shape and dtype."""

    tensor: Tensor
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Call:
    """One kernel call: arguments by tensor name (inputs, then outputs), tables by content, and what reports tell of it.

    shapes, dtypes, attrs: of the arguments, from which the kernel was made.
    gradient_of: for an update, the name of the gradient tensor that it consumes."""

    op: Op
    kind: str
    phase: str
    layer: str
    kernel: int
    out_shape: tuple[int, ...]
    macs: int
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...]
    attrs: Mapping[str, object]
    gradient_of: str | None = None


@dataclass(frozen=True)
class Step:
    """One entry point, in the order of the Relax function: the planner's graph, its calls, and where results lie."""

    graph: Graph
    calls: tuple[Call, ...]
    values: Mapping[str, Value]
    logits: str
    loss: str | None


@dataclass(frozen=True)
class Lowered:
    """Both entry points over one list of kernels. constants: flash arrays by tensor name; state: initial values."""

    training: Training
    kernels: tuple[Kernel, ...]
    kernel_titles: tuple[str, ...]
    infer: Step
    train_step: Step | None
    constants: Mapping[str, np.ndarray]
    state: Mapping[str, np.ndarray]


def lower(training: Training) -> Lowered:
    """Give every call its kernel. Raises ModelError naming a layer whose op has none."""
    pool = KernelPool()
    functions = {v.name_hint: f for v, f in training.module.functions_items()}
    state = _state_names(training)
    train_step = _Lowering(pool, state).step(functions["train_step"]) if "train_step" in functions else None
    infer = _Lowering(pool, state).step(functions["infer"])
    return Lowered(
        training,
        tuple(pool.kernels),
        tuple(pool.titles),
        infer,
        train_step,
        {n: v for n, v in training.values.items() if n not in state},
        {n: v for n, v in training.values.items() if n in state},
    )


def _state_names(training: Training) -> set[str]:
    """What train_step overwrites: trained tensors, optimiser state, the step counter, and the rates beside them."""
    if not training.parameters:
        return set()
    updated = {p.variable for p in training.parameters}
    optimiser = {n for n in training.values if n.endswith((".velocity", ".accumulator"))}
    return updated | optimiser | {COUNTER, RATES}


class KernelPool:
    """Kernels by (op, shapes, attributes but the layer's name)."""

    def __init__(self, kernels: Sequence[Kernel] = (), titles: Sequence[str] = ()) -> None:
        self.kernels: list[Kernel] = list(kernels)
        self.titles: list[str] = list(titles)
        self._known: dict[str, int] = {}

    def get(self, kind: str, shapes: list, dtypes: list, attrs: dict) -> int:
        if kind not in KERNELS:
            raise ModelError(f"layer {attrs.get('layer', '?')}: op {kind} has no kernel")
        shared = {k: v for k, v in attrs.items() if k not in ("layer", "slots")}
        if kind in ("qconv2d", "qconv2d_with_mask"):  # their scales are in the `scale` argument
            shared = {k: v for k, v in shared.items() if k not in ("in_scale", "out_scale")}
        key = json.dumps([kind, shapes, dtypes, shared], sort_keys=True)
        if key not in self._known:
            self._known[key] = len(self.kernels)
            self.kernels.append(KERNELS[kind](shapes, attrs))
            self.titles.append(_title(kind, shapes, attrs))
        return self._known[key]


def _title(kind: str, shapes: list, attrs: dict) -> str:
    """A C-safe name that tells what the kernel is, before it is made unique."""
    name = kind.replace("relax.", "float_")
    if "kernel" in attrs:
        what = {True: "_depthwise", False: "_conv", None: "_"}[attrs.get("depthwise")]
        name = f"{name}{what}{attrs['kernel'][0]}x{attrs['kernel'][1]}"
        vertical, horizontal = attrs["stride"]
        if vertical * horizontal > 1:
            name += f"_s{vertical}" if vertical == horizontal else f"_s{vertical}x{horizontal}"
    return "_".join([name, *("x".join(map(str, s[1:] if len(s) == 4 else s)) for s in shapes[:1])])


class _Lowering:
    def __init__(self, pool: KernelPool, state: set[str]) -> None:
        self.pool, self.state = pool, state
        self.names: dict[relax.Var, str] = {}
        self.tuples: dict[relax.Var, list[str]] = {}
        self.values: dict[str, Value] = {}
        self.calls: list[Call] = []

    def step(self, function: relax.Function) -> Step:
        for p in function.params:
            kind = "input" if p.name in ("x", LABEL) else "state" if p.name in self.state else "constant"
            self.names[p] = self._declare(p.name, kind, shape_of(p), dtype_of(p))
        for var, value in bindings_of(function):
            if isinstance(value, relax.Call):
                self._call(var, value)
            elif isinstance(value, relax.TupleGetItem):
                self.names[var] = self.tuples[value.tuple_value][value.index]
            else:
                self.names[var] = self.names[value]
        results = [self.names[v] for v in flatten(function.body.body)]
        has_loss = len(results) > 1
        loss, logits = (results[0], results[1]) if has_loss else (None, results[0])
        for name in filter(None, (loss, logits)):
            value = self.values[name]
            self.values[name] = replace(value, tensor=replace(value.tensor, kind="output"))
        graph = Graph(tuple(v.tensor for v in self.values.values()), tuple(c.op for c in self.calls))
        return Step(graph, tuple(self.calls), self.values, logits, loss)

    def _declare(self, name: str, kind: str, shape: list[int], dtype: str) -> str:
        base, n = name, 1
        while name in self.values:
            n += 1
            name = f"{base}.{n}"
        nbytes = int(np.prod(shape)) * ITEM_BYTES[dtype]
        self.values[name] = Value(Tensor(name, nbytes, 4, kind), tuple(shape), dtype)
        return name

    def _call(self, var: relax.Var, value: relax.Call) -> None:
        kind, attrs = op_name(value), attrs_of(value)
        inputs = [self.names[a] for a in value.args]
        layer = attrs.get("layer") or self._layer_of(inputs[0])
        shapes, dtypes = [shape_of(a) for a in value.args], [dtype_of(a) for a in value.args]
        number = self.pool.get(kind, shapes, dtypes, attrs)
        kernel = self.pool.kernels[number]
        phase = phase_of(kind)
        outputs = self._outputs(var, kind, layer, phase)
        scratch = []
        if kernel.scratch:
            scratch = [self._declare(f"{layer}:{phase}.scratch", "scratch", [kernel.scratch], "uint8")]
        op = Op(
            name=self._op_name(f"{layer}:{kind}"),
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            scratch=tuple(scratch),
            overlaps=tuple(Overlap(inputs[i], outputs[o], distance) for i, o, distance in kernel.overlaps),
            mutates=_mutated(inputs) if phase == "update" else (),
            rows=kernel.rows or 0,
            reads=tuple(RowAccess(inputs[i], *access) for i, *access in kernel.reads),
            accumulates=kernel.accumulates,
            by_channel=tuple(
                ChannelForm(blocks, tuple(inputs[i] for i in reads), accumulates)
                for blocks, reads, accumulates in kernel.by_channel
            ),
            macs=kernel.macs,
        )
        out_shape = self.values[outputs[0]].shape if outputs else tuple(shapes[0])
        gradient = inputs[1] if kind == "sgd" else None
        made_from = (tuple(map(tuple, shapes)), tuple(dtypes), attrs)
        self.calls.append(Call(op, kind, phase, layer, number, out_shape, kernel.macs, *made_from, gradient))

    def _outputs(self, var: relax.Var, kind: str, layer: str, phase: str) -> list[str]:
        if phase == "update":  # the new state lies where the old one was
            self.names[var] = var.name
            return []
        if isinstance(var.ty, relax.TupleType):
            names = [
                self._declare(layer, "activation", [int(v) for v in f.shape.values], _dtype(f))
                for f in var.ty.fields[:1]
            ]
            kept, what = var.ty.fields[1], kind.rsplit("_", 1)[1]  # a mask, or indices
            shape = [int(v) for v in kept.shape.values]
            names.append(self._declare(f"{layer}:{what}", "activation", shape, _dtype(kept)))
            self.tuples[var] = names
            return names
        role = "gradient" if phase == "backward" and dtype_of(var) == "float32" else "activation"
        self.names[var] = self._declare(layer + result_of(kind), role, shape_of(var), dtype_of(var))
        return [self.names[var]]

    def _op_name(self, name: str) -> str:
        """Op names are unique: a layer has one forward op, but may have two backward ops of one kind."""
        taken = {c.op.name for c in self.calls}
        return next(n for n in (name, *(f"{name}.{i}" for i in range(2, len(taken) + 3))) if n not in taken)

    def _layer_of(self, name: str) -> str:
        return name.split(":")[0]


def _mutated(inputs: list[str]) -> tuple[str, ...]:
    """What an update overwrites: its first operand, and optimiser state behind the counter."""
    behind = inputs[inputs.index(COUNTER) + 1 :] if COUNTER in inputs else []
    return (inputs[0], *behind)


def _dtype(ty: relax.Type) -> str:
    return str(getattr(ty.dtype, "dtype", ty.dtype))
