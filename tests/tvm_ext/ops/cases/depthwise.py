"""What the micro-kernels of the quantised depthwise convolution tell apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.tvm_ext.support.conv_case import ConvCase, conv_case

WHOLE, PART = (-128, 127), (-20, 35)
# kernel size -> height, width, channels, stride
DEPTHWISE = {
    3: [(5, 7, 3, 1), (8, 8, 8, 2), (1, 1, 5, 1), (6, 3, 1, 2)],
    5: [(7, 9, 4, 2), (4, 4, 6, 1)],
    7: [(9, 8, 5, 1), (7, 7, 3, 2), (2, 2, 2, 2)],
}
# height, width, channels, kernel, stride
SIZES = [
    # 3 x 3 with all columns in pairs: no pair in the middle, several, tap rows outside the image
    (1, 2, 8, 3, 1), (2, 4, 16, 3, 1), (5, 12, 9, 3, 1), (3, 2, 8, 3, 2), (4, 16, 24, 3, 2), (1, 6, 2, 3, 2),
    # 3 x 3 otherwise: an odd column at the end, one column in all, one channel
    (4, 5, 8, 3, 1), (4, 7, 8, 3, 2), (3, 1, 3, 3, 1), (6, 6, 1, 3, 1),
    # all outputs in blocks of 4 and all channels in groups of 4: tap rows outside the image
    (4, 4, 8, 5, 1), (9, 12, 4, 5, 1), (7, 8, 12, 5, 2), (2, 15, 8, 5, 2), (8, 8, 16, 7, 1), (2, 12, 4, 7, 1),
    (8, 8, 8, 7, 2), (7, 24, 4, 7, 2), (7, 16, 16, 5, 2),
    # blocks and groups, whole and not
    (6, 11, 7, 5, 1), (6, 13, 6, 5, 2), (2, 1, 5, 5, 1), (3, 6, 9, 7, 1), (8, 9, 8, 7, 2),
    (7, 23, 4, 7, 2), (1, 3, 2, 7, 2),
]  # fmt: skip
# top, left, bottom, right; 3 x 3, 5 x 5 and 7 x 7 with a stride
PADDINGS = [(0, 0, 1, 1), (0, 0, 0, 0), (2, 2, 2, 2), (1, 2, 2, 1), (3, 3, 0, 4), (0, 4, 4, 1)]


def cases() -> list[ConvCase]:
    return [*small(), *rounding_even(), *by_integers(), *padded(), *at_their_ends()]


def on_device() -> list[ConvCase]:
    """Without some sizes in one of the integer roundings: one of each micro-kernel stays."""
    return [*rounding_even(), *integers_on_device(), *padded(), *at_their_ends()]


def integers_on_device() -> list[ConvCase]:
    one_each = {(k, s): (h, w, c, k, s) for h, w, c, k, s in SIZES if c % 8 == 0}
    return [*sized(PART, "upward"), *sized(PART, "tflite", [*one_each.values(), (6, 6, 1, 3, 1)]), *odd_groups()]


def small() -> Iterator[ConvCase]:
    """The trained channels of a depthwise layer do not split its weight."""
    for size, rows in DEPTHWISE.items():
        for i, (h, w, c, s) in enumerate(rows):
            clamp = (WHOLE, PART)[i % 2]
            yield conv_case(i, h, w, c, c, size, s, depthwise=True, trained=(0,) * (i % 2), clamp=clamp)


def sized(clamp: tuple[int, int], rounding: str, sizes: Sequence[tuple[int, ...]] = SIZES) -> list[ConvCase]:
    return [
        conv_case(i, h, w, c, c, k, s, depthwise=True, clamp=clamp, rounding=rounding)
        for i, (h, w, c, k, s) in enumerate(sizes)
    ]


def rounding_even() -> list[ConvCase]:
    return [*sized(WHOLE, "even"), *sized(PART, "even")]


def by_integers() -> list[ConvCase]:
    return [*sized(WHOLE, "tflite"), *sized(PART, "tflite"), *sized(PART, "upward"), *odd_groups()]


def odd_groups() -> list[ConvCase]:
    """12 channels: groups of 4, and not of 8."""
    kinds = [(3, 1, "tflite"), (5, 2, "tflite"), (7, 1, "upward")]
    return [conv_case(95 + i, 6, 8, 12, 12, k, s, True, rounding=r, clamp=PART) for i, (k, s, r) in enumerate(kinds)]


def padded() -> list[ConvCase]:
    return [
        conv_case(40 + i, 9, 10, c, c, k, s, depthwise=True, padding=p, clamp=clamp)
        for i, p in enumerate(PADDINGS)
        for k, s, c, clamp in [(3, 1, 8, WHOLE), (3, 2, 5, PART), (5, 2, 8, WHOLE), (7, 1, 6, WHOLE)]
    ]


def at_their_ends() -> Iterator[ConvCase]:
    """Inputs 255 away from the zero point, weights of 127: a lane that wrapped would show. In the last windows the sums
    of the weights leave 16 bits, too."""
    for k, s, clamp in [(k, s, clamp) for k in (3, 5, 7) for s in (1, 2) for clamp in (WHOLE, PART)]:
        for value in (127, -128):
            yield conv_case(0, 8, 12, 8, 8, k, s, depthwise=True, clamp=clamp).at_its_ends(value)
    for kernel in ((8, 32), (8, 33)):
        for value in (127, -128):
            yield conv_case(1, 9, 36, 8, 8, kernel, depthwise=True, padding=(0,) * 4).at_its_ends(value)


def rows() -> list[ConvCase]:
    sizes = SIZES[1:3] + SIZES[4:5] + SIZES[10:18:2]
    return [conv_case(7, h, w, c, c, k, s, depthwise=True) for h, w, c, k, s in sizes]
