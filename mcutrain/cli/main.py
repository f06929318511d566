"""The command line. Exit status: 0 done, 1 over budget or device and twin differ, 2 bad input or a missing tool."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from mcutrain.cli.boards import boards
from mcutrain.cli.compile import compile
from mcutrain.cli.inspect import inspect
from mcutrain.cli.pack import pack
from mcutrain.cli.plan import plan
from mcutrain.cli.profile import profile
from mcutrain.cli.quantize import quantize
from mcutrain.cli.refusal import BAD_INPUT, OVER_BUDGET
from mcutrain.cli.report import report
from mcutrain.cli.train import train
from mcutrain.cli.tune import tune
from mcutrain.cli.verify import verify
from mcutrain.planner.errors import BudgetError, McutrainError

INTERRUPTED = 130
app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Train int8 networks on microcontrollers: plan, compile to C, verify on an emulated core, inside a budget.",
)


def _print_version(asked: bool) -> None:
    if asked:
        from mcutrain.version import __version__

        print(f"mcutrain {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    # A docstring here would take the place of the help above.
    del version


for command in (inspect, quantize, plan, compile, verify, profile, report, train, tune, boards, pack):
    app.command()(command)


def main() -> None:
    """Run the command line; every error of ours is one line on standard error."""
    try:
        app(prog_name="mcutrain")
    except BudgetError as error:
        _fail(error, OVER_BUDGET)
    except McutrainError as error:
        _fail(error, BAD_INPUT)
    except KeyboardInterrupt:
        _fail("interrupted", INTERRUPTED)
    except ImportError as error:
        if not isinstance(error.__cause__ or error.__context__, KeyboardInterrupt):
            raise
        _fail("interrupted", INTERRUPTED)
    except MemoryError:
        _fail("out of memory on this machine", BAD_INPUT)


def _fail(message: object, status: int) -> None:
    print(f"mcutrain: {message}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
