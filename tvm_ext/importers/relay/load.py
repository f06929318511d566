"""Relay -> dialect: integer networks (`qnn.*`) as they stand, float ones by way of ordinary Relax."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from mcutrain.tvm_ext.importers.relax import load as relax_module
from mcutrain.tvm_ext.importers.relay.ast import Call, Constant, Module, Var, postorder, substitute
from mcutrain.tvm_ext.importers.relay.integer.network import build
from mcutrain.tvm_ext.importers.relay.read.reader import read
from mcutrain.tvm_ext.importers.relay.real.to_relax import to_relax
from mcutrain.tvm_ext.model import Model

REMEDY = "give the others' values by --params FILE"


def load(
    path: str | Path,
    classes: int | None = None,
    head: Literal["model", "float"] = "model",
    logits: str | None = None,
    loss: str | None = None,
    params: str | Path | None = None,
) -> Model:
    """Read Relay text, `save_json` JSON, or a microTVM Model Library Format tar or folder. params: a `.params` file
    with the values of the module's parameters, where they stand neither in it nor beside it. Raises ModelError."""
    module = read(path, params)
    name = _name(Path(path))
    if _is_quantised(module):
        return build(module, name, path, classes, head, logits, loss)
    main = module.functions.get("main")
    where = f"{path}, {main.at}, @main" if main is not None and main.at else str(path)
    module, values = _with_parameters(module)
    relax = to_relax(module, where)
    known = {str(new): str(old) for new, old in relax["main"].attrs["relay_names"].items()}
    named = {new: values[old] for new, old in known.items() if old in values}
    return relax_module.load(relax, classes, head, logits, loss, named, name, where, REMEDY)


def _with_parameters(module: Module) -> tuple[Module, dict[str, np.ndarray]]:
    """Make named constants parameters again, since layers are called after their weights; and return what they hold."""
    main = module.functions.get("main")
    if main is None:
        return module, {}
    named = {n.name: n for n in postorder(main.body) if isinstance(n, Constant) and n.name}
    variables = {c: Var(name=name, at=c.at, type=c.type) for name, c in named.items()}
    body = substitute(main.body, variables.items())
    whole = replace(main, params=(*main.params, *variables.values()), body=body)
    return replace(module, functions={**module.functions, "main": whole}), {n: c.value for n, c in named.items()}


def _is_quantised(module: Module) -> bool:
    return any(
        isinstance(node, Call) and isinstance(node.op, str) and node.op.startswith("qnn.")
        for function in module.functions.values()
        for node in postorder(function)
    )


def _name(path: Path) -> str:
    return path.name.split(".")[0] or "relay_model"
