"""The choice among a kernel's variants, which have the same results: by instruction counts that were measured on the
emulator and are kept, so that a compile measures nothing and two compiles agree.

Counts are those of one call over all rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mcutrain.planner.errors import ModelError
from mcutrain.schema.counts import Counts, Table
from mcutrain.schema.reading import load_json, typed
from mcutrain.schema.report import WideWeight
from mcutrain.tvm_ext.lower.graph import Call, Lowered
from mcutrain.tvm_ext.lower.pool import KernelPool
from mcutrain.tvm_ext.ops.conv.convolution import NARROW as NARROW
from mcutrain.tvm_ext.ops.conv.convolution import WIDENED as WIDENED
from mcutrain.tvm_ext.ops.conv.dense import wide
from mcutrain.tvm_ext.ops.kernel import PLAIN, Variant
from mcutrain.tvm_ext.ops.table import ENTRIES, Part

TUNED = Path(__file__).with_name("tuned.json")
WORTH = 64  # instructions that a byte of flash must save, in one inference
# of flash, kept for the code, which is not known before linking; the published networks' largest takes 83 KB
CODE_BYTES = 96 << 10
IDENTITY = ("depthwise", "kernel", "stride", "padding", "shape", "trained_channels")  # of a kernel, beside its shapes
INT8 = (-128, 127)


def variants(call: Call) -> Mapping[str, Variant]:
    """The variants that a call's kernel can take, by name; the first runs where nothing was measured."""
    rule = call.record.variants
    if rule is None or ENTRIES[call.kind].part is Part.BOTH:
        return {"": PLAIN}
    return rule(list(map(list, call.shapes)), call.attrs)


def key(call: Call) -> str:
    """All that a kernel's instructions depend on, as text: op (one with a mask is another op), shapes, geometry, and
    the requantisation where that is not to even or not over all of int8."""
    attrs = {name: call.attrs[name] for name in IDENTITY if call.attrs.get(name)}
    if call.attrs.get("rounding", "even") != "even":
        attrs["rounding"] = call.attrs["rounding"]
    clamp = (call.attrs.get("lo", INT8[0]), call.attrs.get("hi", INT8[1]))
    if clamp != INT8:
        attrs["clamp"] = clamp
    shapes = " ".join("x".join(map(str, shape)) for shape in call.shapes[:2])
    return f"{call.kind} {shapes} {json.dumps(attrs)}"


def candidates(lowered: Lowered) -> dict[str, list[Call]]:
    """The calls that have a choice, by their kernel's key."""
    found: dict[str, list[Call]] = {}
    for call in _choices(lowered):
        found.setdefault(key(call), []).append(call)
    return found


def flash_allowance(lowered: Lowered, flash_bytes: int) -> int:
    """The bytes that a flash of this size leaves for wide weights: less constants, initial values and CODE_BYTES."""
    tables = {table.tobytes() for kernel in lowered.kernels for table in kernel.tables}
    arrays = [*lowered.constants.values(), *filter(np.any, lowered.state.values())]
    return max(0, flash_bytes - sum(a.nbytes for a in arrays) - sum(map(len, tables)) - CODE_BYTES)


def tuned(lowered: Lowered, counts: Counts, flash_bytes: int) -> tuple[Lowered, tuple[WideWeight, ...]]:
    """The same step over the cheapest variants, and the layers whose variant costs flash: where a byte saves WORTH
    instructions, the best saving a byte first, as far as `flash_bytes` go."""
    widened = _widened(lowered, counts, flash_bytes)
    layers = {one.layer for one in widened}
    pool = KernelPool(lowered.kernels, lowered.kernel_titles)

    def chosen(call: Call) -> Call:
        if call.layer not in layers or WIDENED not in variants(call):
            return call
        variant = variants(call)[WIDENED]
        number = pool.get(call.kind, list(map(list, call.shapes)), call.dtypes, call.attrs, variant)
        return replace(call, variant=variant, kernel=number)

    changed = lowered.over(chosen)
    return replace(changed, kernels=tuple(pool.kernels), kernel_titles=tuple(pool.titles)), widened


def read_counts(core: str, path: Path | None = None) -> Counts:
    """The counts of a core, {} where none are kept. path: by default the installed table, which may be missing.
    Raises ModelError for a file that is not there, or that is not such a table."""
    if path is None and not TUNED.exists():
        return {}
    return read_table(path or TUNED).get(core, {})


def read_table(path: Path) -> Table:
    """A file of counts: core -> kernel -> variant -> instructions. Raises ModelError."""
    try:
        return typed(load_json(path), Table, "table")
    except FileNotFoundError:
        raise ModelError(f"{path}: there is no such file; `mcutrain tune --table {path}` makes it") from None
    except OSError as error:
        reason = error.strerror or error
        raise ModelError(f"{path}: the instruction counts cannot be read: {reason}; name a file") from None
    except ValueError as error:
        raise ModelError(f"{path}: no table of instruction counts ({error}); remove it, and tune again") from None


def _choices(lowered: Lowered) -> Sequence[Call]:
    """Calls of the forward pass with more than one variant, whose weights are constants that nobody else reads."""
    calls = [call for step in lowered.steps for call in step.calls]
    readers: dict[str, set[str]] = {}
    for call in calls:
        for name in call.op.inputs:
            readers.setdefault(name, set()).add(f"{call.layer}:{call.kind}")
    return [
        call
        for call in lowered.infer.calls
        if len(variants(call)) > 1 and call.op.inputs[1] in lowered.constants and len(readers[call.op.inputs[1]]) == 1
    ]


def _widened(lowered: Lowered, counts: Counts, flash_bytes: int) -> tuple[WideWeight, ...]:
    offers = []
    for call in _choices(lowered):
        known = counts.get(key(call), {})
        if {NARROW, WIDENED} <= set(known):
            weights = np.asarray(lowered.constants[call.op.inputs[1]])
            extra = wide(weights).nbytes - weights.nbytes
            offers.append(WideWeight(call.layer, extra, known[NARROW] - known[WIDENED]))
    worth = [one for one in offers if one.saved_instructions >= WORTH * one.extra_bytes]
    taken, room = [], flash_bytes
    for one in sorted(worth, key=lambda one: (-one.saved_instructions / one.extra_bytes, one.layer)):
        if one.extra_bytes <= room:
            taken.append(one)
            room -= one.extra_bytes
    return tuple(taken)
