"""What the kernels of pools declare of memory: how near outputs may lie to inputs, rows in parts, rings of rows."""

from __future__ import annotations

import numpy as np
import pytest

from mcutrain.tvm_ext.ops.kernel import PLAIN
from mcutrain.tvm_ext.ops.table import build
from tests.tvm_ext.ops.test_overlaps import check as check_overlaps
from tests.tvm_ext.support.pool_cases import GEOMETRIES, OTHER, attrs_of, out_shape, shape_of
from tests.tvm_ext.support.run_kernel import prepare
from tests.tvm_ext.support.streaming import check_rows

DRAWS = 8


def kernels_with_operands(geometry: tuple) -> list[tuple]:
    """(builder by variant, which of x int8, x float, g, index it takes, shapes and dtypes of its outputs)."""
    shape, attrs = shape_of(geometry), attrs_of(geometry, **OTHER) | {"shape": list(shape_of(geometry))}
    small = out_shape(shape, attrs)
    packed, image, pooled = (1, small[1], (small[2] * small[3] + 7) // 8), [list(shape)], [list(small)]
    return [
        (lambda v: build("qavg_pool_with_mask", image, attrs, v), (0,), [small, packed], ["int8", "uint8"]),
        (lambda v: build("favg_pool", image, attrs, v), (1,), [small], ["float32"]),
        (
            lambda v: build("max_pool_with_index", image, attrs | {"dtype": "int8"}, v),
            (0,),
            [small] * 2,
            ["int8", "uint8"],
        ),
        (lambda v: build("max_pool", image, attrs | {"dtype": "float32"}, v), (1,), [small], ["float32"]),
        (
            lambda v: build("max_pool_with_index", image, attrs | {"dtype": "float32"}, v),
            (1,),
            [small] * 2,
            ["float32", "uint8"],
        ),
        (lambda v: build("avg_pool_grad", pooled, attrs, v), (2,), [shape], ["float32"]),
        (lambda v: build("max_pool_grad", pooled * 2, attrs, v), (2, 3), [shape], ["float32"]),
    ]


def operands(geometry: tuple, seed: int) -> list[np.ndarray]:
    shape = shape_of(geometry)
    attrs, rng = attrs_of(geometry), np.random.default_rng(seed)
    small, taps = out_shape(shape, attrs), attrs["kernel"][0] * attrs["kernel"][1]
    x, real = rng.integers(-128, 128, shape).astype(np.int8), rng.normal(size=shape).astype(np.float32)
    if seed == 0:  # the first element of each window is its largest, and so counts
        real = -np.arange(real.size, dtype=np.float32).reshape(shape)
        x = np.clip(127 + real * 256 / real.size, -128, 127).astype(np.int8)
    index = np.full(small, taps - 1) if seed == 0 else rng.integers(0, taps, small)
    return [x, real, rng.normal(size=small).astype(np.float32), index.astype(np.uint8)]


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_overlaps(geometry: tuple) -> None:
    draws = [operands(geometry, seed) for seed in range(DRAWS)]
    cases = [(make(PLAIN), *rest) for make, *rest in kernels_with_operands(geometry)]
    prepare([kernel for kernel, *_ in cases])
    for kernel, which, shapes, dtypes in cases:
        # an index over the lower bytes of a float changes it too little; the zeros of a position that no window covers
        # are a right index of a window of one
        slack = 3 if (which, dtypes[-1]) == ((1,), "uint8") else 4 if (which, geometry[1]) == ((2, 3), (1, 1)) else 0
        check_overlaps(kernel, [[d[i] for i in which] for d in draws], shapes, dtypes, slack)


@pytest.mark.parametrize("geometry", GEOMETRIES[1::2])
def test_rows_and_rings(geometry: tuple) -> None:
    values = operands(geometry, 5)
    for make, which, shapes, dtypes in kernels_with_operands(geometry):
        check_rows(make, [values[i] for i in which], [np.zeros(s, d) for s, d in zip(shapes, dtypes, strict=True)])
