"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[
    Path,
    typer.Argument(help="Model file: network pickle, TFLite, ONNX, Relay, Relax, PyTorch .pt2.", show_default=False),
]
Out = Annotated[Path, typer.Argument(help="A folder made by `mcutrain compile`.", show_default=False)]
Scheme = Annotated[
    str | None,
    typer.Option(
        help="What trains: a published scheme (49kb, ...), full, bias_only, head_only, last_k=K, inference, or a file. "
        "By default 49kb where it is published for the network, else last_k=2.",
        show_default=False,
    ),
]
Board = Annotated[str, typer.Option(help="Target: a name that `mcutrain boards` lists, or a TOML file.")]
CountTable = Annotated[
    Path | None,
    typer.Option(
        "--table",
        metavar="FILE",
        help="Instruction counts of kernels' variants, which `tune` writes and `compile` reads; by default the "
        "installed ones.",
        show_default=False,
    ),
]
Budget = Annotated[str, typer.Option(help="SRAM for everything; KB is 1,024 B.")]
InputSize = Annotated[
    int | None, typer.Option(help="Pixels of a network pickle's square input (128).", show_default=False)
]
Classes = Annotated[int | None, typer.Option(help="Outputs of a fresh head (a pickle's: 10).", show_default=False)]
Head = Annotated[
    str | None,
    typer.Option(
        help="model: the network's own output layer; float: a fresh float32 one (a pickle's default); int8-slice: "
        "the first rows of a pickle's own.",
        show_default=False,
    ),
]
Loss = Annotated[
    str | None,
    typer.Option(help="cross_entropy, binary_cross_entropy, mse, or autoencoder.", show_default=False),
]
Softmax = Annotated[
    bool, typer.Option("--softmax", help="Inference of a TFLite model gives probabilities, not logits.")
]
Params = Annotated[Path | None, typer.Option(help="Parameters of a Relay file.", show_default=False)]
Logits = Annotated[
    str | None,
    typer.Option(help="Logits in the loss, raw or dequantized. Default: as the head has it.", show_default=False),
]
Momentum = Annotated[float, typer.Option(help="Momentum of SGD, 0 for none (costs 4 B a trained value).")]
Accumulate = Annotated[int, typer.Option(help="Samples whose gradients are averaged before an update.")]
Seed = Annotated[int, typer.Option(help="Seed of stochastic rounding.")]
Seconds = Annotated[float, typer.Option(help="At most this long for the memory planner.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
Stream = Annotated[bool, typer.Option("--stream/--no-stream", help="Run ops in small steps where that helps.")]
Recompute = Annotated[
    bool,
    typer.Option("--recompute", help="Where the budget cannot hold otherwise, run cheap ops twice instead of keeping."),
]
