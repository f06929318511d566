"""Relax modules built in Python, random values for them, and TVM's own execution of them."""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relax

RNG = np.random.default_rng(3)


def var(name: str, shape: list[int], dtype: str = "float32") -> relax.Var:
    return relax.Var(name, relax.TensorType(shape, dtype))


def values(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    return [(RNG.normal(size=s) / np.sqrt(max(1, np.prod(s[1:])))).astype(np.float32) for s in shapes]


def module(inputs: list[relax.Var], build) -> tvm.IRModule:
    """build(builder) -> the result."""
    builder = relax.BlockBuilder()
    with builder.function("main", inputs):
        with builder.dataflow():
            out = builder.emit_output(build(builder))
        builder.emit_func_output(out)
    return builder.get()


def executed(m: tvm.IRModule, *arguments: np.ndarray) -> np.ndarray:
    machine = relax.VirtualMachine(tvm.compile(m, "llvm"), tvm.cpu())
    return machine["main"](*(tvm.runtime.tensor(a) for a in arguments)).numpy()
