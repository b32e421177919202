"""`bitbert`: the table of commands, and what a failure looks like.

A command's file is imported when it is called, and it imports torch only once it runs, so `bitbert --help` is quick.
Exit codes: 0 fine, 2 a mistake that the user can mend (one line on standard error), 130 Ctrl-C, 1 a fault of ours.
"""

from __future__ import annotations

import importlib
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import bitbert
from bitbert.errors import BitbertError

COMMANDS = ("quickstart", "finetune", "search", "quantize", "evaluate", "predict", "bench", "inspect", "doctor")


class Commands(TyperGroup):
    """The commands by name; each is the function of the same name in the module of the same name."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order in which a new user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of this name, None if there is none."""
        if cmd_name not in COMMANDS:
            return None
        single = typer.Typer(add_completion=False)
        single.command(cmd_name)(getattr(importlib.import_module(f"bitbert.cli.{cmd_name}"), cmd_name))
        return typer.main.get_command(single)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; what the user can mend becomes one line and exit code 2."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(130) from None
        except BitbertError as error:
            raise _mistake(str(error), ctx.params["debug"]) from None
        except ModuleNotFoundError as error:
            if error.name is None or error.name.split(".")[0] == "bitbert":
                raise
            message = f"this command needs {error.name}: run pip install 'bitbert[train]'"
            raise _mistake(message, ctx.params["debug"]) from None


def _mistake(message: str, debug: bool) -> typer.Exit:
    """Say what the user can mend, on one line; `debug` puts the traceback before it."""
    if debug:
        traceback.print_exc()
    typer.echo(f"error: {' '.join(message.split())}", err=True)
    return typer.Exit(2)


app = typer.Typer(cls=Commands, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bitbert {bitbert.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """BERT encoders at 8, 4, 2 and 1 bit: trained, stored and run that way.

    New here? Run: bitbert quickstart
    """


def main() -> None:
    """Entry point of the `bitbert` command."""
    app(prog_name="bitbert")


if __name__ == "__main__":
    main()
