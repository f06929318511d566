"""Relax training graph -> kernels (TIR PrimFuncs) and the planner's Graph of calls.

One PrimFunc per distinct (op, shapes, attributes); layers that agree in all of them share it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from tvm import relax

from mcutrain.planner.model import ChannelForm, Graph, Kind, Op, Overlap, RowAccess, Tensor
from mcutrain.tvm_ext.dialect import attrs_of, dtype_of, op_name, shape_of
from mcutrain.tvm_ext.function import bindings_of, flatten
from mcutrain.tvm_ext.lower.pool import KernelPool
from mcutrain.tvm_ext.ops.expr import dtype_of_type, shape_of_type
from mcutrain.tvm_ext.ops.kernel import ITEM_BYTES, PLAIN, Attrs, Kernel, Variant
from mcutrain.tvm_ext.ops.record import OpRecord
from mcutrain.tvm_ext.ops.table import ENTRIES
from mcutrain.tvm_ext.train.training import LABEL, Training
from mcutrain.tvm_ext.train.updates import COUNTER, RATES


@dataclass(frozen=True)
class Value:
    """One tensor of the step: its planner tensor, shape and dtype. layer: the one that makes it, or its own name.
    base: its name without the number that tells it from others of that name."""

    tensor: Tensor
    shape: tuple[int, ...]
    dtype: str
    layer: str
    base: str


@dataclass(frozen=True)
class Call:
    """One kernel call: arguments by tensor name (inputs, then outputs), tables by content, and what reports tell of it.

    layer: of an update, the name of what it updates; owner: the layer of the network that the call belongs to.
    shapes, dtypes, attrs: of the arguments, from which the kernel was made, in this variant.
    gradient_of: for an update, the name of the gradient tensor that it consumes."""

    op: Op
    kind: str
    phase: str
    layer: str
    owner: str
    kernel: int
    out_shape: tuple[int, ...]
    macs: int
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...]
    attrs: Attrs
    gradient_of: str | None = None
    variant: Variant = PLAIN

    @property
    def record(self) -> OpRecord:
        return ENTRIES[self.kind].record


@dataclass(frozen=True)
class Step:
    """One entry point, in the order of the Relax function: the planner's graph, its calls, and where results lie."""

    graph: Graph
    calls: tuple[Call, ...]
    values: Mapping[str, Value]
    logits: str
    loss: str | None

    def over(self, change: Callable[[Call], Call]) -> Step:
        """The step with every call changed."""
        return replace(self, calls=tuple(map(change, self.calls)))


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

    @property
    def steps(self) -> tuple[Step, ...]:
        """The entry points that there are."""
        return (self.infer,) if self.train_step is None else (self.infer, self.train_step)

    def over(self, change: Callable[[Call], Call]) -> Lowered:
        """Both entry points with every call changed."""
        infer = self.infer.over(change)  # first: kernels are numbered in the order in which they are asked for
        return replace(self, infer=infer, train_step=self.train_step and self.train_step.over(change))


def lower(training: Training) -> Lowered:
    """Give every call its kernel. Raises ModelError naming a layer whose op has none."""
    pool = KernelPool()
    functions = {v.name_hint: f for v, f in training.module.functions_items()}
    state = _state_names(training)
    owners = {p.name: p.layer for p in training.parameters}
    has_step = "train_step" in functions
    train_step = _Lowering(pool, state, owners).step(functions["train_step"]) if has_step else None
    infer = _Lowering(pool, state, owners).step(functions["infer"])
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
    """The tensors that train_step overwrites, which are trained tensors, optimiser state and the step counter, and the
    rates beside them."""
    if not training.parameters:
        return set()
    return {p.variable for p in training.parameters} | training.optimiser | {COUNTER, RATES}


class _Lowering:
    """One Relax function on its way to a Step. owners: the layer of each tensor that trains."""

    def __init__(self, pool: KernelPool, state: set[str], owners: Mapping[str, str]) -> None:
        self.pool, self.state, self.owners = pool, state, owners
        self.names: dict[relax.Var, str] = {}
        self.tuples: dict[relax.Var, list[str]] = {}
        self.values: dict[str, Value] = {}
        self.calls: list[Call] = []

    def step(self, function: relax.Function) -> Step:
        for p in function.params:
            kind: Kind = "input" if p.name in ("x", LABEL) else "state" if p.name in self.state else "constant"
            self.names[p] = self._declare(p.name, kind, p, p.name)
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

    def _declare(self, name: str, kind: Kind, of: relax.Expr | relax.Type, layer: str) -> str:
        """A tensor of the type `of`, or of that of an expression; a name that is taken gets a number behind it."""
        ty = of if isinstance(of, relax.Type) else of.ty
        return self._add(name, kind, shape_of_type(ty), dtype_of_type(ty), layer)

    def _add(self, name: str, kind: Kind, shape: list[int], dtype: str, layer: str) -> str:
        base, n = name, 1
        while name in self.values:
            n += 1
            name = f"{base}.{n}"
        nbytes = int(np.prod(shape)) * ITEM_BYTES[dtype]
        self.values[name] = Value(Tensor(name, nbytes, 4, kind), tuple(shape), dtype, layer, base)
        return name

    def _call(self, var: relax.Var, value: relax.Call) -> None:
        kind, attrs = str(op_name(value)), attrs_of(value)
        inputs = [self.names[a] for a in value.args]
        layer = attrs.get("layer") or self.values[inputs[0]].layer
        shapes, dtypes = [shape_of(a) for a in value.args], tuple(dtype_of(a) for a in value.args)
        number = self.pool.get(kind, shapes, dtypes, attrs)
        kernel, record = self.pool.kernels[number], ENTRIES[kind].record
        outputs = self._outputs(var, record, layer)
        self.calls.append(
            Call(
                self._op(kind, layer, inputs, outputs, kernel),
                kind,
                record.phase,
                layer,
                self.owners.get(layer, layer),
                number,
                out_shape=self.values[outputs[0]].shape if outputs else tuple(shapes[0]),
                macs=kernel.macs,
                shapes=tuple(map(tuple, shapes)),
                dtypes=dtypes,
                attrs=attrs,
                gradient_of=None if record.gradient_operand is None else inputs[record.gradient_operand],
            )
        )

    def _op(self, kind: str, layer: str, inputs: list[str], outputs: list[str], kernel: Kernel) -> Op:
        """The planner's op of a call: what the kernel says of operands by place, said of tensors by name."""
        scratch = f"{layer}:{ENTRIES[kind].record.phase}.scratch"
        return Op(
            name=self._op_name(op_base(layer, kind)),
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            scratch=(self._add(scratch, "scratch", [kernel.scratch], "uint8", layer),) if kernel.scratch else (),
            overlaps=tuple(Overlap(inputs[i], outputs[o], distance) for i, o, distance in kernel.overlaps),
            mutates=tuple(inputs[i] for i in kernel.mutates),
            rows=kernel.rows or 0,
            reads=tuple(_row_access(inputs, access) for access in kernel.reads),
            accumulates=kernel.accumulates,
            by_channel=tuple(
                ChannelForm(blocks, tuple(inputs[i] for i in reads), accumulates)
                for blocks, reads, accumulates in kernel.by_channel
            ),
            macs=kernel.macs,
        )

    def _outputs(self, var: relax.Var, record: OpRecord, layer: str) -> list[str]:
        if record.phase == "update":  # the new state lies where the old one was
            self.names[var] = var.name
            return []
        if record.companion is not None and isinstance(var.ty, relax.TupleType):
            result, companion = var.ty.fields
            self.tuples[var] = [
                self._declare(layer, "activation", result, layer),
                self._declare(f"{layer}:{record.companion.name}", "activation", companion, layer),
            ]
            return self.tuples[var]
        role: Kind = "gradient" if record.phase == "backward" and dtype_of(var) == "float32" else "activation"
        self.names[var] = self._declare(layer + record.result, role, var, layer)
        return [self.names[var]]

    def _op_name(self, name: str) -> str:
        """Op names are unique: a layer has one forward op, but may have two backward ops of one kind."""
        taken = {c.op.name for c in self.calls}
        return next(n for n in (name, *(f"{name}.{i}" for i in range(2, len(taken) + 3))) if n not in taken)


def op_base(layer: str, kind: str) -> str:
    """Return an op's name without the number that tells it from others of that name."""
    return f"{layer}:{kind}"


def _row_access(inputs: list[str], access: tuple[int, ...]) -> RowAccess:
    """The rows of an input that a call reads; access: one of Kernel.reads."""
    operand, rows, stride, window, padding, *transposed = access
    return RowAccess(inputs[operand], rows, stride, window, padding, bool(transposed and transposed[0]))
