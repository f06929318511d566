"""Draws the arena as a self-contained SVG without a script: who lies where, and when."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from itertools import groupby
from typing import get_args

from mcutrain.report import streams
from mcutrain.report.spelling import printable, spelled
from mcutrain.schema.report import Report, Ring, Tensor
from mcutrain.schema.words import Kind

WIDTH, HEIGHT = 960, 440
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 14, 64, 58
_LETTER = 0.6  # width of a letter, of its size
_TALLEST, _LEAST = 11, 7  # pixels of a name inside a box
_SHORTEST = 8  # letters of a name that is cut
# the page's colours (templates/report.css); the picture alone has no page around it
_STYLE = """
.arena { --ink: #1d2126; --dim: #626b76; --line: #dfe2e6; --card: #ffffff; --bar: #d5e3f2; --bad: #b3261e;
  --input: #2a9d8f; --output: #c2497a; --state: #7d5bbe; --activation: #4a8fcb; --gradient: #e39a3c;
  --scratch: #98a0aa; --constant: #b8bec6; }
@media (prefers-color-scheme: dark) { .arena { --ink: #e4e7ea; --dim: #9aa4af; --line: #323940; --card: #1b1f23;
  --bar: #2b4258; --bad: #ff8a80; --input: #3fb5a6; --output: #d9699a; --state: #9a7bd8; --activation: #4f90c9;
  --gradient: #d98f34; --scratch: #7b848e; --constant: #5c646c; } }
.arena-page { fill: var(--card); } .arena-grid { stroke: var(--line); } .arena-run { fill: var(--bar); }
.arena text { fill: var(--dim); font: 12px system-ui, sans-serif; font-variant-numeric: tabular-nums; }
.arena text.arena-title { fill: var(--ink); font-weight: 600; }
.arena text.arena-name { fill: var(--ink); paint-order: stroke; stroke: var(--card); stroke-width: 2px; }
.arena-box { stroke: var(--card); stroke-width: 0.7; fill-opacity: 0.88; } .arena-box.arena-thin { stroke: none; }
.arena-input { fill: var(--input); } .arena-output { fill: var(--output); } .arena-state { fill: var(--state); }
.arena-activation { fill: var(--activation); } .arena-gradient { fill: var(--gradient); }
.arena-scratch { fill: var(--scratch); } .arena-constant { fill: var(--constant); }
.arena-forward { fill: var(--activation); } .arena-recompute { fill: var(--scratch); }
.arena-backward { fill: var(--gradient); } .arena-update { fill: var(--state); }
.arena-live { fill: none; stroke: var(--ink); stroke-width: 1.6; }
.arena-height { stroke: var(--bad); stroke-width: 1.6; stroke-dasharray: 6 4; }
.arena-stripe { fill: var(--card); fill-opacity: 0.55; }
"""
_STRIPES = (
    '<defs><pattern id="arena-stripes" width="6" height="6" patternUnits="userSpaceOnUse"'
    ' patternTransform="rotate(45)"><rect class="arena-stripe" width="2" height="6"/></pattern></defs>'
)


@dataclass(frozen=True)
class Scale:
    """ops: places of time along the picture; nbytes: addresses up to its top."""

    ops: int
    nbytes: int

    def x(self, position: float) -> float:
        return _LEFT + position * (WIDTH - _LEFT - _RIGHT) / self.ops

    def y(self, address: float) -> float:
        return HEIGHT - _BOTTOM - address * (HEIGHT - _TOP - _BOTTOM) / (self.nbytes * 1.02)


def arena_svg(report: Report) -> str:
    """Draw the tensors of `report` over time (ops in the order of execution) and address, each with a title.

    Every name is escaped: it comes from a model file."""
    report = spelled(report, printable)
    plan = report.plan
    ends = [tensor.offset + tensor.nbytes for tensor in report.tensors]
    ops = max([len(report.ops), 1, *(tensor.last for tensor in report.tensors)])
    scale = Scale(ops, max([plan.height, 1, *ends]))
    title = f"Arena of {report.name}, {report.scheme}: {plan.height:,} B"
    said = f"{len(report.tensors)} tensors over {len(report.ops)} ops; at least {plan.bound:,} B in this order."
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="arena" viewBox="0 0 {WIDTH} {HEIGHT}" width="100%" role="img"'
        f' aria-label="{escape(title)}">',
        f"<desc>{escape(said)}</desc>",
        f"<style>{_STYLE}</style>",
        _STRIPES,
        f'<rect class="arena-page" width="{WIDTH}" height="{HEIGHT}"/>',
        f'<text class="arena-title" x="{_LEFT}" y="18">{escape(_cut(title, 120))}</text>',
        *_legend(report),
        *_legend_of_runs(report),
        *_runs(report, scale),
        *_axes(scale),
        *_boxes(report, scale),
        *_phases(report, scale),
        *_lines(report, scale),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _legend(report: Report) -> Iterator[str]:
    """Draw the kinds that there are, then what the two lines are."""
    present = {tensor.kind for tensor in report.tensors}
    x = _LEFT
    for kind in (kind for kind in get_args(Kind) if kind in present):
        yield f'<rect class="arena-{kind}" x="{x}" y="29" width="11" height="11"/>'
        yield f'<text x="{x + 16}" y="38">{kind}</text>'
        x += 30 + 7 * len(kind)
    for line, words in (("live", "bytes alive (lower bound)"), ("height", "height of the arena")):
        yield f'<line class="arena-{line}" x1="{x}" x2="{x + 22}" y1="34.5" y2="34.5"/>'
        yield f'<text x="{x + 28}" y="38">{words}</text>'
        x += 42 + 6 * len(words)


def _legend_of_runs(report: Report) -> Iterator[str]:
    """Draw what a shaded column and a hatched box are, below the picture, where there are any."""
    x, y = WIDTH // 2, HEIGHT - 20
    if report.streams:
        yield f'<rect class="arena-run arena-key" x="{x}" y="{y}" width="11" height="11"/>'
        yield f'<text x="{x + 16}" y="{HEIGHT - 10}">streamed run of ops</text>'
    if any(stream.rings for stream in report.streams):
        x += 160
        place = f'x="{x}" y="{y}" width="11" height="11"'
        yield f'<rect class="arena-{_kind_of_rings(report)}" {place}/><rect fill="url(#arena-stripes)" {place}/>'
        yield f'<text x="{x + 16}" y="{HEIGHT - 10}">ring: a part of a tensor at a time</text>'


def _kind_of_rings(report: Report) -> Kind:
    """Return the kind of the first tensor that lies in a ring."""
    named = {ring.tensor for stream in report.streams for ring in stream.rings}
    return next((tensor.kind for tensor in report.tensors if tensor.name in named), "activation")


def _runs(report: Report, scale: Scale) -> Iterator[str]:
    """Draw a shaded column for each run of ops that executes in small steps."""
    for run in streams.runs(report):
        first = run.members[0].position
        left, right = scale.x(first), scale.x(first + len(run.members))
        place = f'x="{left:.1f}" width="{right - left:.1f}" y="{_TOP - 4}" height="{HEIGHT - _BOTTOM - _TOP + 4}"'
        yield f'<rect class="arena-run" {place}><title>{escape(run.title)}</title></rect>'
        if len(run.way) * 6.5 < right - left:
            yield f'<text x="{(left + right) / 2:.1f}" y="{_TOP - 8}" text-anchor="middle">{escape(run.way)}</text>'


def _axes(scale: Scale) -> Iterator[str]:
    """Draw lines at round addresses, and numbers of ops below."""
    is_kb = scale.nbytes >= 4096
    step = 2 ** max(math.ceil(math.log2(scale.nbytes / 7)), 0)
    for address in range(0, scale.nbytes + 1, step):
        y = f"{scale.y(address):.1f}"
        said = f"{address / 1024:g}" if is_kb else f"{address:,}"
        yield f'<line class="arena-grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>'
        yield f'<text x="{_LEFT - 6}" y="{y}" dy="4" text-anchor="end">{said}</text>'
    power = 10 ** int(math.log10(scale.ops))
    step = next(step for step in (power // 5 or 1, power // 2 or 1, power, 2 * power) if step * 10 >= scale.ops)
    for position in range(0, scale.ops + 1, step):
        x = f"{scale.x(position):.1f}"
        yield f'<text x="{x}" y="{HEIGHT - _BOTTOM + 26}" text-anchor="middle">{position:,}</text>'
    middle = (_TOP + HEIGHT - _BOTTOM) / 2
    unit = "KB" if is_kb else "bytes"
    turned = f'x="16" y="{middle}" transform="rotate(-90 16 {middle})" text-anchor="middle"'
    yield f"<text {turned}>address in the arena ({unit})</text>"
    yield f'<text x="{_LEFT}" y="{HEIGHT - 10}">time (ops in the order of execution)</text>'


@dataclass(frozen=True)
class Box:
    """A tensor and its place in the picture, in pixels."""

    tensor: Tensor
    left: float
    top: float
    width: float
    height: float

    @property
    def place(self) -> str:
        """Write its place as attributes of SVG."""
        return f'x="{self.left:.1f}" y="{self.top:.1f}" width="{self.width:.1f}" height="{self.height:.1f}"'


def _boxes(report: Report, scale: Scale) -> Iterator[str]:
    """Draw one box a tensor, the large ones first: a small one that shares addresses (in place) stays on top. Then
    names."""
    rings = {ring.tensor: ring for stream in report.streams for ring in stream.rings}
    by_area = sorted(report.tensors, key=lambda t: (-t.nbytes * (t.last - t.first), t.first, t.offset))
    boxes = [_box(tensor, scale) for tensor in by_area]
    for box in boxes:
        ring = rings.get(box.tensor.name)
        # an outline would hide a box that is only a few pixels high
        look = f"arena-box arena-{box.tensor.kind}{' arena-thin' if box.height < 4 else ''}"
        yield f'<rect class="{look}" {box.place}><title>{escape(_told(box.tensor, ring))}</title></rect>'
        if ring is not None:
            yield f'<rect fill="url(#arena-stripes)" pointer-events="none" {box.place}/>'
    yield from _names(boxes)


def _box(tensor: Tensor, scale: Scale) -> Box:
    left, top = scale.x(tensor.first), scale.y(tensor.offset + tensor.nbytes)
    return Box(tensor, left, top, max(scale.x(tensor.last) - left, 1.0), max(scale.y(tensor.offset) - top, 1.0))


def _names(boxes: list[Box]) -> Iterator[str]:
    """Write the names that boxes have room for, but for those that would lie over one that stands already."""
    taken: list[tuple[float, float, float]] = []  # middle, baseline, half of the width
    for box in boxes:
        size = min(_TALLEST, box.height)
        room = int((box.width - 4) / (size * _LETTER))
        if size < _LEAST or room < min(len(box.tensor.name), _SHORTEST):
            continue
        name = _cut(box.tensor.name, room)
        x, y, half = box.left + box.width / 2, box.top + box.height / 2 + size * 0.36, len(name) * size * _LETTER / 2
        if any(abs(x - at_x) < half + at_half and abs(y - at_y) < size for at_x, at_y, at_half in taken):
            continue
        taken.append((x, y, half))
        place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="middle" pointer-events="none" style="font-size:{size:.0f}px"'
        yield f'<text class="arena-name" {place}>{escape(name)}</text>'


def _told(tensor: Tensor, ring: Ring | None) -> str:
    """Tell what a box stands for."""
    held = "" if ring is None else f" ring of {streams.held_text(ring)},"
    place = f"addresses {tensor.offset:,} to {tensor.offset + tensor.nbytes:,}"
    last = max(tensor.last - 1, tensor.first)
    return f"{tensor.name}: {tensor.kind},{held} {tensor.nbytes:,} B at {place}, ops {tensor.first} to {last}"


def _cut(name: str, letters: int) -> str:
    """Return the end of a name: layers mostly differ there."""
    return name if len(name) <= letters else f"…{name[len(name) - letters + 1 :]}"


def _phases(report: Report, scale: Scale) -> Iterator[str]:
    """Draw a strip under the picture: one piece for each run of ops of the same phase."""
    for phase, group in groupby(enumerate(report.ops), key=lambda item: item[1].phase):
        positions = [position for position, _ in group]
        left, right = scale.x(positions[0]), scale.x(positions[-1] + 1)
        place = f'x="{left:.1f}" width="{right - left:.1f}" y="{HEIGHT - _BOTTOM + 4}" height="6"'
        yield f'<rect class="arena-{phase}" {place}><title>{phase}</title></rect>'


def _lines(report: Report, scale: Scale) -> Iterator[str]:
    """Draw the bytes alive at each op, and the height of the arena."""
    if report.live:
        steps = [f"V{scale.y(nbytes):.1f}H{scale.x(at):.1f}" for at, nbytes in enumerate(report.live, 1)]
        path = f"M{scale.x(0):.1f} {scale.y(report.live[0]):.1f}{''.join(steps)}"
        yield f'<path class="arena-live" pointer-events="none" d="{path}"/>'
    y = f"{scale.y(report.plan.height):.1f}"
    yield f'<line class="arena-height" x1="{scale.x(0):.1f}" x2="{scale.x(scale.ops):.1f}" y1="{y}" y2="{y}"/>'
