"""The command line: one file per command, imported when the command is called.

Exit status: 0 done; 1 the model, the data or a file is at fault (a UairError was printed); 2 the command line is
wrong; 3 `uair check` found nodes that a target does not take; 4 `uair run` found a result outside of its tolerance;
130 interrupted.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

import click

from uair._version import __version__

COMMANDS = {
    "compile": "Compile a model for a target.",
    "run": "Run a model or a compiled artifact.",
    "check": "Say which nodes each target takes, and why not.",
    "dump": "Print a model as IR text.",
    "opt": "Run passes over a model.",
    "inspect": "Summarize a model or an artifact.",
    "targets": "List the targets, or describe one.",
    "completion": "Print a completion script for a shell.",
}
"""Commands and what they do; `uair.cli.<name>` holds `command`."""


class LazyGroup(click.Group):
    """A group that imports a command's module only when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"uair.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in `uair --help`, from the table: no command is imported for it."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with near matches for a mistyped command."""
        name = args[0] if args else ""
        if name and name not in COMMANDS and not name.startswith("-"):
            import difflib

            near = difflib.get_close_matches(name, COMMANDS, n=1)
            ctx.fail(f"there is no command {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="uair")
def group() -> None:
    """UAIR compiles one trained model for many AI accelerators.

    Start with: uair compile model.onnx --target cpu
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Returns the exit status."""
    from uair.cli.errors import report

    try:
        status = group.main(
            args=None if arguments is None else list(arguments), prog_name="uair", standalone_mode=False
        )
        return status if isinstance(status, int) else 0
    except click.exceptions.Abort:
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # noqa: BLE001  reported with its code, or raised again when it is no UairError
        return report(error)
