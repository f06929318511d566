"""The tests of the Relay frontend run Relax modules, draw inputs and compare two ASTs with these."""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relax

from mcutrain.tvm_ext.importers.relay import ast
from mcutrain.tvm_ext.importers.relay.read.text import parse
from mcutrain.tvm_ext.importers.relay.real.to_relax import to_relax


def execute(module: tvm.IRModule, inputs: dict[str, np.ndarray]) -> object:
    """Return the result of "main", as arrays in tuples. inputs: by the file's names."""
    main, names = module["main"], module["main"].attrs["relay_names"]
    machine = relax.VirtualMachine(tvm.compile(module, "llvm"), tvm.cpu())
    return _arrays(machine["main"](*[tvm.runtime.tensor(np.asarray(inputs[names[p.name]])) for p in main.params]))


def _arrays(value: object) -> object:
    return value.numpy() if hasattr(value, "numpy") else tuple(_arrays(v) for v in value)


def inputs_of(module: ast.Module, seed: int = 0) -> dict[str, np.ndarray]:
    """Draw random values for the parameters of @main, small enough that no integer sum leaves int32."""
    rng = np.random.default_rng(seed)
    drawn = {}
    for p in module.functions["main"].params:
        if p.type.dtype.startswith("float"):
            drawn[p.name] = rng.standard_normal(p.type.shape).astype(p.type.dtype)
        elif p.type.dtype == "bool":
            drawn[p.name] = np.array(rng.random(p.type.shape) < 0.5)
        else:
            low = 0 if p.type.dtype.startswith("u") else -100
            drawn[p.name] = np.array(rng.integers(low, 101, p.type.shape)).astype(p.type.dtype)
    return drawn


def assert_same(found: object, wanted: object, tolerance: float = 1e-5) -> None:
    """Integers must be equal, floats close; tuples are compared field by field."""
    if isinstance(wanted, tuple):
        assert isinstance(found, tuple) and len(found) == len(wanted)
        for a, b in zip(found, wanted, strict=True):
            assert_same(a, b, tolerance)
        return
    wanted = np.asarray(wanted)
    assert found.dtype == wanted.dtype and found.shape == wanted.shape
    if wanted.dtype.kind == "f":
        np.testing.assert_allclose(found, wanted, tolerance, tolerance)
    else:
        np.testing.assert_array_equal(found, wanted)


def main(body: str, params: str = "%x: Tensor[(2, 3), float32]") -> ast.Module:
    """Make a module of one function, from its body."""
    return parse(f"def @main({params}) {{ {body} }}", "test.relay")


def result(module: ast.Module, **inputs: np.ndarray) -> object:
    """Compute what the Relax module computes that it becomes."""
    return execute(to_relax(module), inputs)


def described(module: ast.Module, is_text: bool = False) -> dict[str, list]:
    """Describe each function in lines that do not depend on places, spans and names of values.

    Equal modules give equal ones. is_text keeps six digits of a scalar, as text does."""
    return {name: _lines(f, is_text) for name, f in module.functions.items()}


def _lines(function: ast.Function, is_text: bool) -> list:
    number = {id(n): i for i, n in enumerate(ast.postorder(function))}
    lines = []
    for node in ast.postorder(function):
        kids = [number[id(k)] for k in ast.children(node)]
        if isinstance(node, ast.Call):
            detail = (node.op if isinstance(node.op, str) else "call", node.attrs)
        elif isinstance(node, ast.Constant):
            detail = _constant(node.value, is_text)
        elif isinstance(node, ast.Function):
            detail = ([p.name for p in node.params], [str(p.type) for p in node.params], str(node.ret), node.attrs)
        else:
            detail = node.name if isinstance(node, ast.Var | ast.GlobalVar) else getattr(node, "index", None)
        lines.append((type(node).__name__, kids, detail))
    return lines


def _constant(value: np.ndarray, is_text: bool) -> tuple:
    if is_text and value.ndim == 0 and value.dtype.kind == "f":
        return (str(value.dtype), (), f"{value.item():.5g}")
    return (str(value.dtype), value.shape, value.tobytes())
