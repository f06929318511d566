"""Makes training steps of any length for the planner alone: inverted bottlenecks, repeated, with the structure that
lowering gives its ops (rows, windows, blocks of channels), without a network behind them."""

from __future__ import annotations

from dataclasses import dataclass, field

from mcutrain.planner.model import ChannelForm, Graph, Kind, Op, Overlap, RowAccess, Tensor

FLOAT, STAGES, FIRST_SIDE, FIRST_CHANNELS, EXPANSION = 4, 5, 64, 8, 4
BLOCK = 4  # channels of one block in a run over channels


@dataclass(frozen=True)
class _Conv:
    """Describes one convolution of the forward pass: names of its tensors, pixels a side before and after, channels,
    window."""

    name: str
    x: str
    sides: tuple[int, int]
    channels: tuple[int, int]
    window: int = 1
    stride: int = 1

    @property
    def depthwise(self) -> bool:
        return self.window > 1

    def elements(self, end: int) -> int:
        """Counts the elements of its input (end 0) or its output (1)."""
        return self.sides[end] ** 2 * self.channels[end]


@dataclass
class _Step:
    """Holds the training step as it grows. updates: stand last, as autodiff emits them."""

    tensors: list[Tensor] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    updates: list[Op] = field(default_factory=list)

    def tensor(self, name: str, nbytes: int, kind: Kind = "activation") -> str:
        self.tensors.append(Tensor(name, nbytes, 4, kind))
        return name

    def op(self, name: str, inputs: tuple[str, ...], outputs: tuple[str, ...], distance: int | None = None, **more):
        """Adds an op; its first output may lie over the first input at `distance` (None: never)."""
        overlaps = () if distance is None else (Overlap(inputs[0], outputs[0], distance),)
        self.ops.append(Op(name, inputs, outputs, overlaps=overlaps, **more))


def training_step(blocks: int) -> Graph:
    """Makes a step over `blocks` inverted bottlenecks: biases of the last half train, and of each its first weight.

    Activations are int8, gradients float32; a block keeps its resolution and adds its input but where a stage begins.
    About 14 ops a block."""
    step, layers = _Step(), []
    step.tensor("image", FIRST_SIDE**2 * FIRST_CHANNELS, "input")
    last, side, channels = "image", FIRST_SIDE, FIRST_CHANNELS
    for block in range(blocks):
        begins = block > 0 and block * STAGES // blocks != (block - 1) * STAGES // blocks
        side_after, width = (side // 2, channels + FIRST_CHANNELS) if begins else (side, channels)
        hidden, name = channels * EXPANSION, f"b{block}"
        convs = [
            _Conv(f"{name}.expand", last, (side, side), (channels, hidden)),
            _Conv(f"{name}.depth", f"{name}.expand", (side, side_after), (hidden, hidden), 3, side // side_after),
            _Conv(f"{name}.project", f"{name}.depth", (side_after, side_after), (hidden, width)),
        ]
        for conv in convs:
            _forward(step, conv, masked=block >= blocks // 2)
        layers.append((convs, not begins, block >= blocks // 2))
        last = _residual(step, name, f"{name}.project", last) if not begins else f"{name}.project"
        side, channels = side_after, width
    step.tensor("loss", FLOAT, "output")
    gradient = step.tensor("loss:g", FLOAT * side**2 * channels, "gradient")
    step.op("loss", (last,), ("loss", gradient))
    for convs, has_residual, trains in reversed(layers):
        gradient = _backward(step, convs, gradient, has_residual) if trains else gradient
    return Graph(tuple(step.tensors), (*step.ops, *step.updates))


def _rows(conv: _Conv, tensor: str, *, transposed: bool = False) -> RowAccess:
    """Says how the convolution reads its input, or (transposed) its input's gradient the output's."""
    rows = conv.sides[1] if transposed else conv.sides[0]
    return RowAccess(tensor, rows, conv.stride, conv.window, conv.window // 2, transposed and conv.depthwise)


def _forward(step: _Step, conv: _Conv, masked: bool) -> None:
    outputs: tuple[str, ...] = (step.tensor(conv.name, conv.elements(1)),)
    if masked:
        outputs += (step.tensor(f"{conv.name}:mask", -(-conv.elements(1) // 8)),)
    scratch = step.tensor(f"{conv.name}:scratch", FLOAT * conv.window**2 * BLOCK, "scratch")
    halo = conv.window // 2 * conv.sides[0] * (BLOCK if conv.depthwise else 0)
    distance = max(0, conv.elements(1) - conv.elements(0)) + halo
    reads = (_rows(conv, conv.x),)
    step.op(conv.name, (conv.x,), outputs, distance, scratch=(scratch,), rows=conv.sides[1], reads=reads)


def _residual(step: _Step, block: str, x: str, skip: str) -> str:
    nbytes = step.tensors[-2].nbytes if step.tensors[-2].name == x else step.tensors[-3].nbytes
    total = step.tensor(f"{block}.sum", nbytes)
    step.op(total, (x, skip), (total,), 0)
    return total


def _backward(step: _Step, convs: list[_Conv], top: str, has_residual: bool) -> str:
    """Adds the gradient of the block's input, from the gradient `top` of its output."""
    gradient = top
    for conv in reversed(convs):
        gradient = _backward_conv(step, conv, gradient, updates_weight=conv is convs[0])
    if not has_residual:
        return gradient
    total = step.tensor(f"{convs[0].name}:g_sum", FLOAT * convs[0].elements(0), "gradient")
    step.op(f"{convs[0].name}:add", (gradient, top), (total,), 0)
    return total


def _backward_conv(step: _Step, conv: _Conv, top: str, updates_weight: bool) -> str:
    """Adds the mask, the parameters' gradients with their updates, and the gradient of the convolution's input."""
    name, side = conv.name, conv.sides[1]
    blocks_in, blocks_out = conv.channels[0] // BLOCK, conv.channels[1] // BLOCK
    acc = step.tensor(f"{name}:g_acc", FLOAT * conv.elements(1), "gradient")
    form = ChannelForm(blocks_out, (top,))
    masked = (RowAccess(top, side),)
    step.op(f"{name}:mask_scale", (top, f"{name}:mask"), (acc,), 0, rows=side, reads=masked, by_channel=(form,))
    x = step.tensor(f"{name}:g_x", FLOAT * conv.elements(0), "gradient")
    reads = (_rows(conv, acc, transposed=True),)
    forms: tuple[ChannelForm, ...] = (
        ChannelForm(blocks_in),
        ChannelForm(blocks_out, (acc,), accumulates=True),
    )
    if conv.depthwise:
        forms = (ChannelForm(blocks_out, (acc,)),)
    distance = None if conv.depthwise else max(0, FLOAT * (conv.elements(0) - conv.elements(1))) + FLOAT * BLOCK
    weight = step.tensor(f"{name}:weight", conv.channels[0] * conv.channels[1], "state") if updates_weight else None
    read = (acc, weight) if weight else (acc,)
    step.op(f"{name}:input_grad", read, (x,), distance, rows=conv.sides[0], reads=reads, by_channel=forms)
    bias = step.tensor(f"{name}:bias", FLOAT * conv.channels[1], "state")
    _parameter(step, conv, bias, (acc,), FLOAT * conv.channels[1], (ChannelForm(blocks_out, (acc,), accumulates=True),))
    if weight:
        forms = (ChannelForm(blocks_out, (acc,)), ChannelForm(blocks_out, (acc,), accumulates=True))
        _parameter(step, conv, weight, (acc, conv.x), FLOAT * conv.channels[0] * conv.channels[1], forms)
    return x


def _parameter(
    step: _Step, conv: _Conv, state: str, read: tuple[str, ...], nbytes: int, forms: tuple[ChannelForm, ...]
) -> None:
    """Adds the gradient of one parameter, a sum over rows, and the update that takes it."""
    gradient = step.tensor(f"{state}:g", nbytes, "gradient")
    reads = (RowAccess(read[0], conv.sides[1]),)
    rows = conv.sides[1]
    step.op(f"{state}:grad", read, (gradient,), rows=rows, reads=reads, accumulates=True, by_channel=forms)
    whole = forms[:1] if not forms[0].accumulates else ()
    taken = tuple(ChannelForm(form.blocks, (gradient,)) for form in whole)
    step.updates.append(Op(f"{state}:sgd", (state, gradient), (), mutates=(state,), by_channel=taken))
