"""The way in: any Relay file, told by its content -> Module, its parameters bound."""

from __future__ import annotations

import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.relay.ast import Constant, Module, TensorType, Var, substitute
from mcutrain.tvm_ext.importers.relay.read import mlf, saved_json, text
from mcutrain.tvm_ext.importers.relay.read.arrays import from_params

LARGEST_FILE = 1 << 30


def read(path: str | Path, params: str | Path | None = None, name: str | None = None) -> Module:
    """Read Relay text, a saved JSON graph, or a Model Library Format tar or folder.

    params: a parameter file; its arrays become constants in "main" in place of the parameters of the same names, and
    each must fit one in shape and dtype. Without it, a file `<stem>.params` beside `path`, or the library's own
    parameters, serve where they exist. name: which model of a library that holds several.

    Raises ModelError that names the file, the line (node in JSON) or the parameter."""
    path = Path(path)
    values: dict[str, np.ndarray] = {}
    if path.is_dir() or _is_tar(path):
        relay, blob, source = mlf.read(path, name)
        module = _parse(relay, source)
        values = from_params(blob, f"{path}, the parameters") if blob and params is None else {}
    else:
        try:
            module = _parse(_bytes(path).decode("utf-8-sig"), str(path))
        except UnicodeDecodeError:
            raise ModelError(f"{path}: neither text, JSON nor a tar; expected a Relay file") from None
        beside = path.with_suffix(".params")
        params = params or (beside if beside.is_file() and beside != path else None)
    if params is not None:
        values = from_params(_bytes(Path(params)), str(params))
    return bind(module, values, str(params or path)) if values else module


def _parse(content: str, source: str) -> Module:
    return (saved_json if content.lstrip().startswith("{") else text).parse(content, source)


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise ModelError(f"{path}: more than {LARGEST_FILE} bytes")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _is_tar(path: Path) -> bool:
    try:
        return path.is_file() and tarfile.is_tarfile(path)
    except (OSError, ValueError, EOFError):
        return False


def bind(module: Module, values: dict[str, np.ndarray], where: str) -> Module:
    """Replace these parameters of "main" by constants that keep their names. where: the values' origin."""
    if "main" not in module.functions:
        raise ModelError(f"{module.source}: no function @main whose parameters could be bound")
    main = module.functions["main"]
    params = {p.name: p for p in main.params}
    strangers = [n for n in values if n not in params]
    if strangers:
        raise ModelError(
            f"{where}: @main has no parameter '{strangers[0]}'"
            + (f" (nor {len(strangers) - 1} more)" if len(strangers) > 1 else "")
            + f"; its parameters are {', '.join(params) or 'none'}"
        )
    bound: dict[Var, Constant] = {}
    for name, value in values.items():
        var, found = params[name], TensorType(value.shape, str(value.dtype))
        if isinstance(var.type, TensorType) and not _fits(found, var.type):
            raise ModelError(f"{where}: '{name}' is {found}, the parameter at {module.source}, {var.at} is {var.type}")
        bound[var] = Constant(value, at=var.at, type=var.type, span=var.span, name=name)
    kept = tuple(p for p in main.params if p not in bound)
    new = replace(main, params=kept, body=substitute(main.body, bound.items()), type=None)
    return replace(module, functions=module.functions | {"main": new})


def _fits(found: TensorType, declared: TensorType) -> bool:
    dims = zip(found.shape, declared.shape, strict=False)
    return (
        found.dtype == declared.dtype
        and len(found.shape) == len(declared.shape)
        and all(b is None or a == b for a, b in dims)
    )
