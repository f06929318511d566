"""The kernels of a model: one a distinct op, shapes, attributes and variant; layers that agree in all share it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from mcutrain.tvm_ext.ops.kernel import PLAIN, Attrs, Kernel, Shapes, Variant
from mcutrain.tvm_ext.ops.table import ENTRIES, build


class KernelPool:
    """Kernels by (op, shapes, attributes but the layer's name)."""

    def __init__(self, kernels: Sequence[Kernel] = (), titles: Sequence[str] = ()) -> None:
        self.kernels: list[Kernel] = list(kernels)
        self.titles: list[str] = list(titles)
        self._known: dict[str, int] = {}

    def get(self, kind: str, shapes: Shapes, dtypes: Sequence[str], attrs: Attrs, variant: Variant = PLAIN) -> int:
        """The number of the kernel. Raises ModelError naming a layer whose op has none."""
        ignored = {"layer", *(ENTRIES[kind].record.not_in_kernel if kind in ENTRIES else ())}
        shared = {k: v for k, v in attrs.items() if k not in ignored}
        key = json.dumps([kind, shapes, list(dtypes), shared, asdict(variant)], sort_keys=True)
        if key not in self._known:
            self._known[key] = len(self.kernels)
            self.kernels.append(build(kind, shapes, attrs, variant))
            self.titles.append(_title(kind, shapes, attrs))
        return self._known[key]


def _title(kind: str, shapes: Shapes, attrs: Attrs) -> str:
    """A C-safe name that tells what the kernel is, before it is made unique."""
    name = kind.replace("relax.", "float_")
    if "kernel" in attrs:
        what = {True: "_depthwise", False: "_conv", None: "_"}[attrs.get("depthwise")]
        name = f"{name}{what}{attrs['kernel'][0]}x{attrs['kernel'][1]}"
        vertical, horizontal = attrs["stride"]
        if vertical * horizontal > 1:
            name += f"_s{vertical}" if vertical == horizontal else f"_s{vertical}x{horizontal}"
    return "_".join([name, *("x".join(map(str, s[1:] if len(s) == 4 else s)) for s in shapes[:1])])
