"""The network of a pickle in float64, for finite differences.

At the point of training it gives exactly the integers of the int8 network. Away from it, it moves as the real-valued
graph does, with every clamp held open or shut as it stands there: rounding adds a constant, a shut clamp a constant.
That is what "straight-through" means, so its finite differences are the gradients that the product must compute."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.tvm_ext.support import reference

Moves = dict[str, np.ndarray]  # parameter -> what is added to it: weights OHWI or [C, kh, kw]


class Network:
    """classifier: (weight, bias) float32 of the float head, or the number of classes of the int8 head."""

    def __init__(self, pickled: dict, classifier: tuple[np.ndarray, np.ndarray] | int, raw_logits: bool) -> None:
        self.pickled, self.raw_logits, self.head = pickled, raw_logits, classifier
        self.base: dict[str, Any] = {}

    def at(self, x: np.ndarray) -> np.ndarray:
        """Take this image as the point of training; its logits are returned."""
        self.base = {}
        self.image = x
        return self.logits({})

    def loss(self, moves: Moves, label: int) -> float:
        """Softmax cross-entropy in nats, in float64."""
        logits = self.logits(moves)
        return float(np.log(np.exp(logits - logits.max()).sum()) - (logits[label] - logits.max()))

    def logits(self, moves: Moves) -> np.ndarray:
        first = self.pickled["first_conv"]
        x, params = self.conv("first_conv", first, self.image, moves), first["params"]
        now = params["y_scale"], params["y_zero"]
        for number, block in enumerate(self.pickled["blocks"]):
            entering, y, where = (x, now), x, f"blocks.{number}"
            for part in ("pointwise1", "depthwise", "pointwise2"):
                y = self.conv(f"{where}.{part}", block[part], y, moves)
                now = block[part]["params"]["y_scale"], block[part]["params"]["y_zero"]
            if block["residual"] is not None:
                y, now = self.add(f"{where}.residual", entering, (y, now), block["residual"]["params"])
            x = y
        exact = x.mean(axis=(1, 2), keepdims=True)
        rounded, start = self.base.setdefault("mean", (reference.mean(x).astype(float), exact))
        return self.classify(rounded + (exact - start), now, moves)

    def classify(self, f: np.ndarray, now: tuple[float, int], moves: Moves) -> np.ndarray:
        if isinstance(self.head, tuple):
            w, b = (
                v.astype(float) + moves.get(f"classifier.{n}", 0)
                for v, n in zip(self.head, ("weight", "bias"), strict=True)
            )
            return w @ ((f.reshape(-1) - now[1]) * float(np.float32(now[0]))) + b
        entry = self.pickled["classifier"]
        p = entry["params"]
        sliced = {k: p[k][: self.head] for k in ("weight", "w_scales")}
        params = {**p, **sliced, "bias": np.zeros(self.head, np.int32)}
        q = self.conv("classifier", {**entry, "params": params}, f, moves).reshape(-1)
        return q if self.raw_logits else (q - p["y_zero"]) * p["y_scale"]

    def conv(self, name: str, entry: dict, x: np.ndarray, moves: Moves) -> np.ndarray:
        p, k = entry["params"], entry["kernel_size"][0]
        depthwise = entry["groups"] > 1
        stride, padding = [entry["stride"]] * 2, [(k - 1) // 2] * 4
        attrs = {"kernel": [k, k], "stride": stride, "padding": padding, "depthwise": depthwise}
        attrs |= {"in_zero": p["x_zero"], "out_zero": p["y_zero"], "lo": -128, "hi": 127}
        weight = p["weight"][:, 0] if depthwise else p["weight"].transpose(0, 2, 3, 1)
        eff = (np.float64(p["x_scale"]) * p["w_scales"].astype(np.float64) / p["y_scale"]).astype(np.float32)
        cut = reference.windows(x.astype(float) - p["x_zero"], attrs)
        moved = weight + moves.get(f"{name}.weight", 0.0)
        acc = np.einsum("hwckl,ckl->hwc" if depthwise else "hwckl,oklc->hwo", cut, moved)[None]
        acc = acc + (p["bias"] + moves.get(f"{name}.bias", 0.0))
        if name not in self.base:
            v = reference.requantise(np.rint(acc).astype(np.int64), eff, attrs)
            passes = reference.inside(v, attrs)
            self.base[name] = (acc, reference.clamp(v, attrs).astype(float), passes * eff.astype(float))
        start, y, slope = self.base[name]
        return y + slope * (acc - start)

    def add(self, name: str, a: tuple, b: tuple, p: dict) -> tuple[np.ndarray, tuple[float, int]]:
        attrs = dict(zip(("a_scale", "a_zero", "b_scale", "b_zero"), (*a[1], *b[1]), strict=True))
        attrs |= {"out_scale": p["y_scale"], "out_zero": p["y_zero"], "lo": -128, "hi": 127}
        real = (a[0] * attrs["a_scale"] + b[0] * attrs["b_scale"]) / attrs["out_scale"]
        if name not in self.base:
            v = reference.add_values(a[0], b[0], attrs)
            self.base[name] = (real, reference.clamp(v, attrs).astype(float), reference.inside(v, attrs))
        start, y, passes = self.base[name]
        return y + passes * (real - start), (p["y_scale"], p["y_zero"])


def directional_derivative(network: Network, name: str, direction: np.ndarray, label: int) -> float:
    """Central difference of the loss. The logits are affine in one tensor, so a step that moves them by 1e-4 loses
    neither to rounding (1e-12) nor to curvature (1e-8)."""
    reach = np.abs(network.logits({name: direction}) - network.logits({})).max()
    if reach == 0:
        return 0.0
    h = 1e-4 / reach
    ahead, behind = (network.loss({name: sign * h * direction}, label) for sign in (1, -1))
    return (ahead - behind) / (2 * h)
