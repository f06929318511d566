"""Describes a policy file: which layers train, one entry a layer."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from mcutrain.schema.words import doc

Ratio = Annotated[float, Meta(ge=0, le=1)]
Select = Literal["magnitude", "first"]


class PolicyEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One layer that trains."""

    layer: Annotated[str | int, doc("name, or 0-based number of the convolution")]
    bias: Annotated[bool, doc("whether the bias trains")] = True
    weight: Annotated[
        Ratio,
        doc("part of the input channels (depthwise: channels) whose weights train; int(weight * channels)"),
    ] = 0.0
    select: Annotated[Select, doc("`magnitude` (largest L2 norm of the integer weight) or `first`")] = "magnitude"
