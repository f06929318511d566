"""Graphs for the planner's tests: a training step of realistic size, and random small ones."""

from __future__ import annotations

import random

from mcutrain.planner import Graph, Op, Overlap, Tensor


def training_step(blocks: int = 14, trained_from: int = 7, side: int = 64) -> Graph:
    """An inverted-bottleneck network with residual adds: forward pass, backward pass of the last blocks, updates.

    Activations are int8 (nbytes = elements), gradients float32, weights int8 state, saved inputs live until used."""
    tensors: list[Tensor] = [Tensor("image", side * side * 3, 4, "input")]
    ops: list[Op] = []
    layers: list[tuple[str, str, str, int, int, bool]] = []  # name, input, output, input bytes, weights, trained
    last, channels = "image", 3
    for block in range(blocks):
        stride = 2 if block in (0, 2, 5, 9) else 1
        width = 8 + 4 * block
        skip = last if stride == 1 and block > 0 else None
        widths = (("expand", channels * 3, 1), ("depth", channels * 3, stride), ("project", width, 1))
        for kind, after, pace in widths:
            name = f"b{block}_{kind}"
            bytes_in = side * side * channels
            weights = 9 * after if kind == "depth" else channels * after
            side //= pace
            bytes_out = side * side * after
            trained = block >= trained_from
            tensors += [
                Tensor(f"{name}_y", bytes_out),
                Tensor(f"{name}_w", weights, 4, "state" if trained else "constant"),
            ]
            tensors.append(Tensor(f"{name}_acc", 4 * after, 4, "scratch"))
            distance = 0 if kind == "depth" else max(0, bytes_out - bytes_in) + after
            overlaps = (Overlap(last, f"{name}_y", distance),)
            ops.append(Op(name, (last, f"{name}_w"), (f"{name}_y",), (f"{name}_acc",), overlaps))
            layers.append((name, last, f"{name}_y", bytes_in, weights, trained))
            last, channels = f"{name}_y", after
        if skip is not None and block % 2:
            tensors.append(Tensor(f"b{block}_sum", side * side * channels))
            tensors.append(Tensor(f"b{block}_short", side * side * channels))
            ops.append(Op(f"b{block}_fit", (skip,), (f"b{block}_short",)))
            both = (Overlap(last, f"b{block}_sum", 0), Overlap(f"b{block}_short", f"b{block}_sum", 0))
            ops.append(Op(f"b{block}_add", (last, f"b{block}_short"), (f"b{block}_sum",), (), both))
            last = f"b{block}_sum"
    tensors += [Tensor("loss", 4, 4, "output"), Tensor("g", 4 * side * side * channels, 4, "gradient")]
    ops.append(Op("loss_op", (last,), ("loss", "g")))
    _backward(tensors, ops, [layer for layer in layers if layer[5]], "g")
    return Graph(tuple(tensors), tuple(ops))


def _backward(
    tensors: list[Tensor], ops: list[Op], layers: list[tuple[str, str, str, int, int, bool]], top: str
) -> None:
    """Gradients of the weights, gradients of the inputs; all updates stand last, as a frontend would emit them."""
    updates: list[Op] = []
    for name, x, _, bytes_in, weights, _ in reversed(layers):
        tensors.append(Tensor(f"{name}_gw", 4 * weights, 4, "gradient"))
        ops.append(Op(f"{name}_dw", (x, top), (f"{name}_gw",)))
        updates.append(Op(f"{name}_step", (f"{name}_w", f"{name}_gw"), (), (), (), (f"{name}_w",)))
        if (name, x) != (layers[0][0], layers[0][1]):
            tensors.append(Tensor(f"{name}_gx", 4 * bytes_in, 4, "gradient"))
            ops.append(Op(f"{name}_dx", (top, f"{name}_w"), (f"{name}_gx",), (), (Overlap(top, f"{name}_gx", 4 * 64),)))
            top = f"{name}_gx"
    ops += updates


def random_graph(seed: int, most_ops: int = 5, most_bytes: int = 6) -> Graph:
    """A small valid graph with every kind of tensor, odd sizes, alignments 1 and 2, and overlaps of every distance."""
    source = random.Random(seed)
    align = source.choice((1, 1, 2))
    tensors = [Tensor("x", source.randint(0, most_bytes), align, "input")]
    if source.random() < 0.5:
        tensors.append(Tensor("w", source.randint(1, 3), align, "state"))
    if source.random() < 0.3:
        tensors.append(Tensor("c", 100, align, "constant"))
    ops: list[Op] = []
    for index in range(source.randint(1, most_ops)):
        readable = [t.name for t in tensors if t.kind != "scratch"]
        inputs = tuple(source.sample(readable, min(len(readable), source.randint(1, 2))))
        outputs = tuple(f"t{index}{k}" for k in range(source.choice((0, 1, 1, 1, 2))))
        kinds = ("activation", "gradient", "output")
        mixed = align if source.random() < 0.9 else 2 * align
        tensors += [Tensor(o, source.randint(1, most_bytes), mixed, source.choice(kinds)) for o in outputs]
        scratch = (f"s{index}",) if source.random() < 0.2 else ()
        tensors += [Tensor(s, source.randint(1, 3), align, "scratch") for s in scratch]
        overlaps = tuple(
            Overlap(i, o, source.randint(-3, most_bytes)) for i in inputs for o in outputs if source.random() < 0.7
        )
        ops.append(Op(f"op{index}", inputs, outputs, scratch, overlaps))
    if any(t.name == "w" for t in tensors) and source.random() < 0.7:
        ops.append(Op("update", ("w",), (), (), (), ("w",)))
    return Graph(tuple(tensors), tuple(ops))
