"""C identifiers: of what comes out of a model file, of emitted constants and of channel lists."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from mcutrain.tvm_ext.emit.codegen import c_array


def c_name(text: str) -> str:
    """A C identifier from a name that came out of a model file."""
    name = re.sub(r"\W", "_", text, flags=re.ASCII)
    return f"_{name}" if name[:1].isdigit() else name


@dataclass(frozen=True)
class Constant:
    """An emitted array: a parameter of the model, as it is or in the layout of conv.dense.wide()."""

    name: str
    is_wide: bool = False


class Names:
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


class Tables:
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
