"""mcutrain in five lines: read a network, plan and compile its training step, train on the twin, run on the device.

The digits network and the images come from digits/; `python examples/five_lines.py` prints what the five lines give."""

from __future__ import annotations

import sys
from pathlib import Path

import mcutrain

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "digits"))


def main() -> None:
    """The five lines, and what they return."""
    from make_data import rotated_digits

    data = rotated_digits()

    model = mcutrain.load(HERE / "digits/digits_int8.pkl", 16, 10, head="int8-slice", logits="dequantized")
    artifact = mcutrain.compile(model, scheme="last_k=6", board="stm32f746", budget="96KB", out="demo_out/five_lines")
    twin = mcutrain.host(artifact)
    loss = twin.train_step(data.x_train[0], data.y_train[0])
    measured = mcutrain.verify(artifact, steps=3)

    print(f"arena {artifact.report.plan.height:,} B, proven bound {artifact.report.plan.bound:,} B")
    print(f"loss of one step on the host twin: {loss:.4f}; trained: {', '.join(list(twin.state())[:3])}, ...")
    print(f"SRAM in all {measured.sram_total_bytes:,} B; same bits on the device: {measured.host_equals_device}")


if __name__ == "__main__":
    try:
        main()
    except mcutrain.McutrainError as error:
        sys.exit(f"five_lines: {error}")
