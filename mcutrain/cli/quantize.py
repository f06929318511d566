"""`mcutrain quantize`: a float32 ONNX model and some samples become an int8 model."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from mcutrain.cli.console import line, output, working
from mcutrain.cli.options import Json
from mcutrain.quantization.quantizer import CALIBRATIONS
from mcutrain.quantization.quantizer import quantize as run


def quantize(
    model: Annotated[Path, typer.Argument(help="A float32 ONNX model.", show_default=False)],
    data: Annotated[Path, typer.Option(help=".npz with typical inputs (N, ...), as in training.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write; by default MODEL_int8.onnx.", show_default=False)
    ] = None,
    calibration: Annotated[str, typer.Option(help=f"Ranges of activations: {', '.join(CALIBRATIONS)}.")] = "minmax",
    as_json: Json = False,
) -> None:
    """Quantise a float32 ONNX model to int8, with a handful of samples to calibrate on.

    Example: `mcutrain quantize model.onnx --data calibration.npz`
    """
    with working(as_json) as say:
        say("quantising with onnxruntime")
        made = run(model, data, out, calibration=calibration)
    if as_json:
        print(json.dumps({**asdict(made), "out": str(made.out)}))
        return
    low, high = made.output_range
    table = Table(show_header=False, box=None)
    table.add_row("layers in int8", str(made.layers))
    if made.float_layers:
        table.add_row("layers left in float32", ", ".join(made.float_layers))
    table.add_row("samples", str(made.samples))
    table.add_row("error of the outputs, mean", f"{made.mean_error:.4g} (outputs from {low:.4g} to {high:.4g})")
    table.add_row("error of the outputs, largest", f"{made.max_error:.4g}")
    if made.argmax_agreement is not None:
        table.add_row("same largest output", f"{made.argmax_agreement:.1%}")
    output.print(table)
    line(f"\nwrote {made.out}; next: mcutrain inspect {made.out}")
