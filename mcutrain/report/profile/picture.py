"""Draws a profile as a self-contained SVG: one bar a layer in the order of execution, stacked by phase."""

from __future__ import annotations

from html import escape

from mcutrain.report.figures import PHASES
from mcutrain.report.profile import figures as view
from mcutrain.report.profile.figures import Bar
from mcutrain.report.spelling import printable, spelled
from mcutrain.schema.profile import Profile

WIDTH, HEIGHT = 960, 390
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 12, 34, 122
_LABEL_PIXELS = 11  # room that a name along the axis needs
_LONGEST_LABEL = 20  # characters
# the page's colours (templates/report.css); the picture alone has no page around it
_STYLE = """
.prof { --ink: #1d2126; --dim: #626b76; --line: #dfe2e6; --card: #ffffff;
  --forward: #4a8fcb; --recompute: #98a0aa; --backward: #e39a3c; --update: #7d5bbe; }
@media (prefers-color-scheme: dark) { .prof { --ink: #e4e7ea; --dim: #9aa4af; --line: #323940; --card: #1b1f23;
  --forward: #4f90c9; --recompute: #7b848e; --backward: #d98f34; --update: #9a7bd8; } }
.prof-page { fill: var(--card); } .prof-grid { stroke: var(--line); }
.prof text { fill: var(--dim); font: 12px system-ui, sans-serif; font-variant-numeric: tabular-nums; }
.prof text.prof-title { fill: var(--ink); font-weight: 600; } .prof text.prof-name { font-size: 10px; }
.prof-forward { fill: var(--forward); } .prof-recompute { fill: var(--recompute); }
.prof-backward { fill: var(--backward); } .prof-update { fill: var(--update); }
"""


def render_svg(profile: Profile) -> str:
    """Draw the bars of the training step (or, where that was not run, of the inference), with title and description.

    Every name is escaped: it comes from a model file."""
    profile = spelled(profile, printable)
    call = view.main_call(profile)
    bars = view.bars(call)
    top = max((bar.total for bar in bars), default=0) or 1
    largest = max(bars, key=lambda bar: bar.total, default=Bar("none", ()))
    said = f"Instructions of one {view.title(call)} by layer on {profile.core}"
    description = (
        f"{len(bars)} layers in the order of execution, {call.instructions:,} instructions in all. "
        f"The most are of {largest.layer}: {largest.total:,}."
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="prof" viewBox="0 0 {WIDTH} {HEIGHT}" width="100%" role="img"'
        ' aria-labelledby="prof-title prof-desc">',
        f'<title id="prof-title">{escape(said)}</title>',
        f'<desc id="prof-desc">{escape(description)}</desc>',
        f"<style>{_STYLE}</style>",
        f'<rect class="prof-page" width="{WIDTH}" height="{HEIGHT}"/>',
        f'<text class="prof-title" x="{_LEFT}" y="18">{escape(said)}</text>',
        *_axis(top),
        *_legend({phase for bar in bars for phase, _ in bar.phases}),
        *_bars(bars, top),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _y(value: float, top: int) -> float:
    return HEIGHT - _BOTTOM - value * (HEIGHT - _TOP - _BOTTOM) / top


def _axis(top: int) -> list[str]:
    """Draw lines at round numbers of instructions: steps of 1, 2 or 5 times a power of ten."""
    power = 10 ** (len(str(top)) - 1)
    step = next(f * power // 10 for f in (1, 2, 5, 10, 20) if f * power // 10 * 6 >= top or f == 20) or 1
    unit, name = next((u, n) for u, n in ((10**9, "G"), (10**6, "M"), (1000, "k"), (1, "")) if step >= u or u == 1)
    parts = []
    for value in range(0, top + 1, step):
        y = f"{_y(value, top):.1f}"
        parts.append(f'<line class="prof-grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        said = f"{value / unit:g}{name}" if value else "0"
        parts.append(f'<text x="{_LEFT - 6}" y="{y}" dy="4" text-anchor="end">{said}</text>')
    return parts


def _legend(present: set[str]) -> list[str]:
    parts = []
    shown = [phase for phase in PHASES if phase in present]
    for i, phase in enumerate(reversed(shown)):
        x = WIDTH - _RIGHT - 84 * (i + 1)
        parts.append(f'<rect class="prof-{phase}" x="{x}" y="9" width="11" height="11"/>')
        parts.append(f'<text x="{x + 16}" y="18">{phase}</text>')
    return parts


def _bars(bars: list[Bar], top: int) -> list[str]:
    """Draw one group a layer, with what it stands for as its title; names under the axis as far as there is room."""
    pitch = (WIDTH - _LEFT - _RIGHT) / max(len(bars), 1)
    width = max(min(pitch * 0.8, 48.0), 0.5)
    every = max(1, -(-_LABEL_PIXELS // max(int(pitch), 1)))
    parts = []
    for i, bar in enumerate(bars):
        x, height = _LEFT + pitch * (i + 0.5), 0
        phases = ", ".join(f"{phase} {n:,}" for phase, n in bar.phases)
        parts.append(f"<g><title>{escape(bar.layer)}: {bar.total:,} instructions ({phases})</title>")
        for phase, n in bar.phases:
            y = _y(height + n, top)
            place = f'x="{x - width / 2:.1f}" y="{y:.1f}" width="{width:.1f}" height="{_y(height, top) - y:.2f}"'
            parts.append(f'<rect class="prof-{phase}" {place}/>')
            height += n
        parts.append("</g>")
        if i % every == 0:
            name = bar.layer if len(bar.layer) <= _LONGEST_LABEL else f"…{bar.layer[1 - _LONGEST_LABEL :]}"
            place = f'transform="translate({x + 3:.1f} {HEIGHT - _BOTTOM + 6}) rotate(-90)" text-anchor="end"'
            parts.append(f'<text class="prof-name" {place}>{escape(name)}</text>')
    return parts
