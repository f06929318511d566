"""Lowered step + plan -> C sources and headers: kernels, parameters, entry points with addresses `arena + offset`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from mcutrain.planner.model import Plan, Stream
from mcutrain.tvm_ext.emit import c_text
from mcutrain.tvm_ext.emit.codegen import C_TYPES, CFunction, c_array, c_functions, comment
from mcutrain.tvm_ext.emit.interface import header, model_header, public
from mcutrain.tvm_ext.emit.placement import Placement, placements
from mcutrain.tvm_ext.emit.row_loops import loop_nest
from mcutrain.tvm_ext.lower.graph import Call, Lowered
from mcutrain.tvm_ext.lower.rings import with_rings
from mcutrain.tvm_ext.ops.conv.dense import wide
from mcutrain.tvm_ext.ops.kernel import Kernel
from mcutrain.tvm_ext.train.updates import COUNTER, RATES

KERNELS_A_FILE = 32


@dataclass(frozen=True)
class Source:
    """The text of every generated file, by path inside the output folder. symbols: emitted constant -> its layer."""

    files: Mapping[str, str]
    kernel_names: tuple[str, ...]
    symbols: Mapping[str, str]


def c_name(text: str) -> str:
    """A C identifier from a name that came out of a model file."""
    name = re.sub(r"\W", "_", text, flags=re.ASCII)
    return f"_{name}" if name[:1].isdigit() else name


@dataclass(frozen=True)
class Constant:
    """An emitted array: a parameter of the model, as it is or in the layout of conv.dense.wide()."""

    name: str
    is_wide: bool = False


class _Names:
    """C identifiers of constants: distinct ones stay distinct."""

    def __init__(self) -> None:
        self.taken: set[str] = set()
        self.known: dict[Constant, str] = {}

    def __getitem__(self, constant: Constant) -> str:
        if constant not in self.known:
            base = candidate = f"p_{c_name(constant.name)}{'_wide' if constant.is_wide else ''}"
            n = 1
            while candidate in self.taken:
                n += 1
                candidate = f"{base}_{n}"
            self.taken.add(candidate)
            self.known[constant] = candidate
        return self.known[constant]


def emit(lowered: Lowered, plan: Plan, name: str) -> Source:
    """Every generated C file of the model `name` (a C identifier)."""
    lowered = with_rings(lowered, plan.streams)
    infer, train = placements(lowered, plan)
    prefix = f"tvmgen_{name}"
    names, kernel_names = _Names(), _kernel_names(lowered, prefix)
    functions = c_functions(list(lowered.kernels), kernel_names, [comment(t) for t in lowered.kernel_titles])
    tables = _Tables()
    body = [_entry(prefix, "infer", infer, kernel_names, lowered, names, tables)]
    if train is not None:
        body.append(_entry(prefix, "train", train, kernel_names, lowered, names, tables))
    parameters = _constants(lowered, names)
    parameters += [_parameter(Constant(n), v, names, "initial state") for n, v in lowered.state.items() if np.any(v)]
    lib0 = c_text.LIB0.format(
        prefix=prefix,
        parameters="\n".join(parameters + tables.definitions),
        arena=plan.height,
        init=_init_body(lowered, plan, names),
        entries="\n".join(body),
        public=public(prefix, lowered, infer, train),
    )
    include, source = "codegen/host/include", "codegen/host/src"
    files = {
        f"{source}/{name}_lib0.c": lib0,
        **_kernel_files(f"{source}/{name}_lib", prefix, functions),
        f"{source}/{prefix}_kernels.h": _kernel_header(prefix, functions),
        f"{include}/{prefix}.h": header(prefix, lowered, infer, train),
        f"{include}/mcu_model.h": model_header(prefix, lowered, plan, infer, train),
    }
    return Source(files, tuple(kernel_names), _symbols(lowered, names))


def _kernel_files(path: str, prefix: str, functions: list[CFunction]) -> dict[str, str]:
    """The kernels over several translation units, lib1 and on, which compile side by side."""
    chunks = [functions[i : i + KERNELS_A_FILE] for i in range(0, len(functions), KERNELS_A_FILE)]
    return {
        f"{path}{n}.c": c_text.LIB1.format(prefix=prefix, functions="\n".join(f.definition for f in chunk))
        for n, chunk in enumerate(chunks, 1)
    }


def _kernel_names(lowered: Lowered, prefix: str) -> list[str]:
    return [f"{prefix}_{c_name(title)}_k{i}" for i, title in enumerate(lowered.kernel_titles)]


def _symbols(lowered: Lowered, names: _Names) -> dict[str, str]:
    """The layer of each emitted constant: the first that reads it, those of the forward pass before all others. What
    every update reads has none."""
    steps = [step for step in (lowered.infer, lowered.train_step) if step]
    forward = {c.layer for step in steps for c in step.calls if c.phase == "forward"}
    owners: dict[str, str] = {}
    for call in sorted((c for step in steps for c in step.calls), key=lambda c: c.phase != "forward"):
        for name in call.op.inputs if call.owner in forward else ():
            owners.setdefault(name, call.owner)
    owned = {symbol: c.name for c, symbol in names.known.items() if c.name not in (COUNTER, RATES)}
    return {symbol: owners[name] for symbol, name in owned.items() if name in owners}


class _Tables:
    """Channel lists: equal lists are one array."""

    def __init__(self) -> None:
        self.definitions: list[str] = []
        self._known: dict[bytes, str] = {}

    def name(self, table: np.ndarray) -> str:
        key = table.tobytes()
        if key not in self._known:
            self._known[key] = f"channels_{len(self._known)}"
            self.definitions.append(c_array(self._known[key], table, "channel numbers"))
        return self._known[key]


def _constants(lowered: Lowered, names: _Names) -> list[str]:
    """Each constant in the layouts in which kernels read it."""
    steps = [step for step in (lowered.infer, lowered.train_step) if step]
    used = {
        (name, i in lowered.kernels[call.kernel].wide)
        for step in steps
        for call in step.calls
        for i, name in enumerate(call.op.inputs)
    }
    arrays = []
    for name, value in lowered.constants.items():
        if (name, False) in used:
            arrays.append(_parameter(Constant(name), value, names, "parameter"))
        if (name, True) in used:
            text = _parameter(Constant(name, is_wide=True), wide(value), names, "widened parameter")
            arrays.append(text.replace("static const", "_Alignas(4) static const", 1))
    return arrays


def _parameter(constant: Constant, value: np.ndarray, names: _Names, what: str) -> str:
    shape, layout = "x".join(map(str, value.shape)) or "scalar", ":wide" if constant.is_wide else ""
    return c_array(names[constant], value, comment(f"{what} {constant.name}{layout}: {value.dtype} {shape}"))


def _entry(prefix, which, placement, kernel_names, lowered, names, tables) -> str:
    """static void <prefix>_<which>_ops(void): the calls, each with its comment."""
    lines = [f"static void {prefix}_{which}_ops(void) {{"]
    gradients = [c.gradient_of for c in placement.step.calls if c.gradient_of]
    number = {call.op.name: i for i, call in enumerate(placement.calls)}

    def gradient_text(call: Call, stream: Stream | None, row: str) -> list[str]:
        """Hands the gradient, or the blocks of it that are complete, to whoever watches."""
        if call.gradient_of is None:
            return []
        address = f"{prefix}_arena + {placement.offsets[call.gradient_of]}"
        nbytes = placement.step.values[call.gradient_of].tensor.nbytes
        if stream is not None:
            ring, nbytes = dict(stream.rings)[call.gradient_of], nbytes // call.op.rows
            address += f" + {row} % {ring} * {nbytes}" if ring > 1 else ""
        return [f"MCU_GRADIENT({gradients.index(call.gradient_of)}, {address}, {nbytes});"]

    def call_text(call: Call, rows: tuple[str, str] | None = None, stream: Stream | None = None) -> list[str]:
        kernel = lowered.kernels[call.kernel]
        limits = rows or (("0", str(kernel.rows)) if kernel.rows is not None else ())
        arguments = [*_arguments(call, placement, kernel, names, tables), *limits]
        return [
            *gradient_text(call, stream, rows[0] if rows else ""),
            f"MCU_OP({number[call.op.name]});",
            f"{kernel_names[call.kernel]}({', '.join(arguments)});",
        ]

    for group in placement.groups:
        text = [f"/* {comment(_describe(call, placement, group.stream))} */" for call in group.calls]
        if len(group.calls) > 1:
            text += loop_nest(group.calls, group.stream.axis, partial(call_text, stream=group.stream))
        else:
            text += call_text(group.calls[0])
        lines += [f"    {line}" for line in text]
    return "\n".join([*lines, "}"]) + "\n"


def _describe(call: Call, placement: Placement, stream: Stream | None) -> str:
    """`blocks.1.depthwise:qconv2d: y int8 1x32x32x32 @131072 <- x int8 ... @0 (3 of 32 rows)`"""
    values = placement.step.values
    rings = dict(stream.rings) if stream is not None else {}
    whole = {a.tensor: a.rows for a in call.op.reads} | dict.fromkeys(call.op.outputs[:1], call.op.rows)

    def show(name: str) -> str:
        value = values[name]
        where = f" @{placement.offsets[name]}" if name in placement.offsets else " in flash"
        if name in rings:
            where += f" ({rings[name]} of {whole[name]} {'blocks' if stream.axis == 'channels' else 'rows'})"
        return f"{name} {value.dtype} {'x'.join(map(str, value.shape)) or 'scalar'}{where}"

    results = call.op.outputs or call.op.mutates
    return f"{call.op.name}: {', '.join(map(show, results))} <- {', '.join(map(show, call.op.inputs))}"


def _arguments(call: Call, placement: Placement, kernel: Kernel, names: _Names, tables: _Tables) -> list[str]:
    def address(name: str) -> str:
        if name not in placement.offsets:
            return names[Constant(name)]
        ctype = C_TYPES[placement.step.values[name].dtype] if name not in call.op.scratch else "int16_t"
        return f"AT({ctype}, {placement.offsets[name]})"

    arguments = [
        names[Constant(n, is_wide=True)] if i in kernel.wide else address(n) for i, n in enumerate(call.op.inputs)
    ]
    arguments += [tables.name(t) for t in kernel.tables]
    return arguments + [address(n) for n in (*call.op.outputs, *call.op.scratch)]


def _init_body(lowered: Lowered, plan: Plan, names: _Names) -> str:
    lines = []
    for name, value in lowered.state.items():
        target = f"arena + {plan.offsets[name]}"
        if np.any(value):
            lines.append(f"    memcpy({target}, {names[Constant(name)]}, {value.nbytes}); /* {comment(name)} */")
        else:
            lines.append(f"    memset({target}, 0, {value.nbytes}); /* {comment(name)} */")
    return "\n".join(lines)


def _kernel_header(prefix: str, functions: list[CFunction]) -> str:
    prototypes = "\n".join(f.prototype for f in functions)
    return f"/* Kernels of {prefix}, printed by TVM. */\n#pragma once\n\n#include <stdint.h>\n\n{prototypes}\n"
