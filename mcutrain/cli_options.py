"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[Path, typer.Argument(help="Model file: an int8 network pickle.", show_default=False)]
Out = Annotated[Path, typer.Argument(help="A folder made by `mcutrain compile`.", show_default=False)]
Scheme = Annotated[
    str,
    typer.Option(
        help="What trains: a published scheme (49kb, ...), full, bias_only, head_only, last_k=K, inference, or a file."
    ),
]
Budget = Annotated[str, typer.Option(help="SRAM for everything; KB is 1,024 B.")]
InputSize = Annotated[int, typer.Option(help="Pixels of the square input.")]
Classes = Annotated[int, typer.Option(help="Classes of the head.")]
Head = Annotated[
    str, typer.Option(help="float: a fresh float32 classifier; int8-slice: the first rows of the file's own.")
]
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
