"""Turns labels, of one sample or of many, into what the loss of a compiled model takes."""

from __future__ import annotations

import numpy as np

from mcutrain.planner.errors import ModelError
from mcutrain.schema.metadata import Metadata


def label_shape(meta: Metadata) -> tuple[int, ...]:
    """The shape of one sample's label as a person writes it: () for a class, (outputs,) for one value each."""
    return () if meta.loss == "cross_entropy" else (meta.classes,)


def encode(meta: Metadata, label: object) -> np.ndarray:
    """The label as it lies in the arena; nothing for an autoencoder, whose label is its input. Raises ModelError."""
    loss, classes = meta.loss, meta.classes
    if loss == "autoencoder":
        if label is not None:
            raise ModelError("an autoencoder is its own label; give none")
        return np.zeros(0, np.float32)
    value = np.asarray(label)
    if loss == "binary_cross_entropy" and value.ndim == 0:
        value = value[None]
    if value.dtype == object or value.shape not in (label_shape(meta), (1,) if loss == "cross_entropy" else (-1,)):
        wanted = "a class number" if loss == "cross_entropy" else f"{classes} numbers"
        raise ModelError(f"label {_short(label)}: the loss {loss} takes {wanted}")
    if loss == "mse":
        return value.astype(np.float32)
    limit = classes if loss == "cross_entropy" else 2
    if not np.issubdtype(value.dtype, np.integer) and not np.array_equal(value, np.rint(value)):
        raise ModelError(f"label {_short(label)}: must be a whole number")
    if value.min() < 0 or value.max() >= limit:
        raise ModelError(f"label {_short(label)} is outside 0 .. {limit - 1}; {counted(meta)}")
    return value.astype(np.int32).reshape(-1)


def counted(meta: Metadata) -> str:
    """How labels that are whole numbers are written, and what to do about others."""
    if meta.loss == "binary_cross_entropy":
        return "labels are 0 and 1"
    return f"labels count from 0 to {meta.classes - 1}; for N classes compile with --head float --classes N"


def random(meta: Metadata, source: np.random.Generator, count: int) -> np.ndarray:
    """Labels for a test of equal bits: any will do."""
    loss, classes = meta.loss, meta.classes
    if loss == "cross_entropy":
        return source.integers(0, classes, count)
    if loss == "binary_cross_entropy":
        return source.integers(0, 2, (count, classes))
    if loss == "mse":
        scale = 1.0 if meta.logits.dtype == "float32" else 64 * meta.logits.scale
        return source.normal(0, scale, (count, classes)).astype(np.float32)
    return np.full(count, None)


def _short(label: object) -> str:
    return " ".join(str(label).split())[:60]
