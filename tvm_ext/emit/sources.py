"""Lowered step + plan -> C sources and headers: kernels, parameters, entry points with addresses `arena + offset`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mcutrain.planner.model import Plan
from mcutrain.tvm_ext.emit import c_text
from mcutrain.tvm_ext.emit.codegen import CFunction, c_array, c_functions, comment
from mcutrain.tvm_ext.emit.entry import Context, entry
from mcutrain.tvm_ext.emit.interface import header, model_header, public
from mcutrain.tvm_ext.emit.names import Constant, Names, Tables, c_name
from mcutrain.tvm_ext.emit.placement import Placement, placements
from mcutrain.tvm_ext.lower.graph import Lowered
from mcutrain.tvm_ext.lower.rings import with_rings
from mcutrain.tvm_ext.ops.conv.dense import wide
from mcutrain.tvm_ext.train.updates import COUNTER, RATES

KERNELS_A_FILE = 32


@dataclass(frozen=True)
class Source:
    """The text of every generated file, by path inside the output folder. symbols: emitted constant -> its layer.
    infer, train: where the tensors of each entry point lie, and its calls in order; train may be None."""

    files: Mapping[str, str]
    kernel_names: tuple[str, ...]
    symbols: Mapping[str, str]
    infer: Placement
    train: Placement | None


def emit(lowered: Lowered, plan: Plan, name: str) -> Source:
    """Every generated C file of the model `name` (a C identifier)."""
    lowered = with_rings(lowered, plan.streams)
    infer, train = placements(lowered, plan)
    prefix = f"tvmgen_{name}"
    names, kernel_names = Names(), _kernel_names(lowered, prefix)
    functions = c_functions(list(lowered.kernels), kernel_names, [comment(t) for t in lowered.kernel_titles])
    tables = Tables()
    context = Context(prefix, lowered.kernels, kernel_names, names, tables)
    body = [entry(context, which, placed) for which, placed in (("infer", infer), ("train", train)) if placed]
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
    return Source(files, tuple(kernel_names), _symbols(lowered, names), infer, train)


def _kernel_files(path: str, prefix: str, functions: list[CFunction]) -> dict[str, str]:
    """The kernels over several translation units, lib1 and on, which compile side by side."""
    chunks = [functions[i : i + KERNELS_A_FILE] for i in range(0, len(functions), KERNELS_A_FILE)]
    return {
        f"{path}{n}.c": c_text.LIB1.format(prefix=prefix, functions="\n".join(f.definition for f in chunk))
        for n, chunk in enumerate(chunks, 1)
    }


def _kernel_names(lowered: Lowered, prefix: str) -> list[str]:
    return [f"{prefix}_{c_name(title)}_k{i}" for i, title in enumerate(lowered.kernel_titles)]


def _symbols(lowered: Lowered, names: Names) -> dict[str, str]:
    """The layer of each emitted constant: the first that reads it, those of the forward pass before all others. What
    every update reads has none."""
    forward = {c.layer for step in lowered.steps for c in step.calls if c.phase == "forward"}
    owners: dict[str, str] = {}
    for call in sorted((c for step in lowered.steps for c in step.calls), key=lambda c: c.phase != "forward"):
        for name in call.op.inputs if call.owner in forward else ():
            owners.setdefault(name, call.owner)
    owned = {symbol: c.name for c, symbol in names.known.items() if c.name not in (COUNTER, RATES)}
    return {symbol: owners[name] for symbol, name in owned.items() if name in owners}


def _constants(lowered: Lowered, names: Names) -> list[str]:
    """Each constant in the layouts in which kernels read it."""
    used = {
        (name, i in lowered.kernels[call.kernel].wide)
        for step in lowered.steps
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


def _parameter(constant: Constant, value: np.ndarray, names: Names, what: str) -> str:
    shape, layout = "x".join(map(str, value.shape)) or "scalar", ":wide" if constant.is_wide else ""
    return c_array(names[constant], value, comment(f"{what} {constant.name}{layout}: {value.dtype} {shape}"))


def _init_body(lowered: Lowered, plan: Plan, names: Names) -> str:
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
