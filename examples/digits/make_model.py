"""Make digits_int8.pkl: train a small float MobileNetV2 on upright digits, fold, quantise to int8, write, measure.

Needs torch besides the example's packages (`pip install torch==2.13.0`); nothing else in the project does. The steps:

    train (float, batch norm) -> fold -> calibrate (ranges on the base training images) -> quantise -> write -> accuracy
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from float_network import Network
from int8_reference import accuracy, read_network
from make_data import PIXELS, rotated_digits, upright_digits
from mcutrain import McutrainError
from quantise import INPUT_SCALE, INPUT_ZERO, Quantiser, write_network

SEED, EPOCHS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 7, 60, 32, 4e-3, 1e-3


def to_real(images: np.ndarray) -> Tensor:
    """int8 (N, H, W, 1) to float (N, 1, H, W) in 0..1."""
    return torch.from_numpy((images.astype(np.float32) - INPUT_ZERO) * np.float32(INPUT_SCALE)).permute(0, 3, 1, 2)


def train(x: Tensor, y: Tensor) -> Network:
    """Adam with a one-cycle rate; small turns, shifts and scalings as augmentation. The number of epochs is fixed:
    nothing is chosen by looking at held-out images."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)  # the order of sums, and with it the file, is the same everywhere
    network = Network()
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=WEIGHT_DECAY)
    steps = EPOCHS * (len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, steps)
    for _ in range(EPOCHS):
        for picked in torch.randperm(len(x))[: len(x) // BATCH * BATCH].split(BATCH):
            loss = nn.functional.cross_entropy(network(augment(x[picked])), y[picked], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return network.eval()


def augment(x: Tensor) -> Tensor:
    """Turn by up to 10 degrees, scale by up to 10 %, shift by up to a pixel, each image on its own."""
    n = len(x)
    angle = (torch.rand(n) * 2 - 1) * np.radians(10)
    scale = 1 + (torch.rand(n) * 2 - 1) * 0.1
    shift = (torch.rand(n, 2, 1) * 2 - 1) * (2 / PIXELS)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    turn = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)
    grid = nn.functional.affine_grid(torch.cat([turn, shift], 2), list(x.shape), align_corners=False)
    return nn.functional.grid_sample(x, grid, align_corners=False)


def main() -> int:
    """Train, quantise, write, and print what the file gets right."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("digits_int8.pkl"))
    out = parser.parse_args().out
    try:
        upright, rotated = upright_digits(), rotated_digits()
        x = to_real(upright.x_train)
        network = train(x, torch.from_numpy(upright.y_train).long())
        with torch.no_grad():
            network(x)  # leaves each layer's range behind
            write_network(Quantiser().network(network), out)
            correct = network(to_real(upright.x_test)).argmax(1).numpy() == upright.y_test
        stored = read_network(out)
    except McutrainError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{out}: {out.stat().st_size} bytes, {sum(p.numel() for p in network.parameters())} float parameters")
    print(f"float, upright held-out:  {correct.mean():.4f}")
    print(f"int8, upright held-out:   {accuracy(stored, upright.x_test, upright.y_test):.4f}")
    print(f"int8, rotated test part:  {accuracy(stored, rotated.x_test, rotated.y_test):.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
