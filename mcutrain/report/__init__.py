"""The report of a training step: made from a plan and what was measured; shown as text, as a page, as pictures."""

from mcutrain.report.arena_picture import arena_svg

__all__ = ["arena_svg"]
