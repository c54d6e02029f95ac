"""The command line: one file per command, imported when the command is called.

Exit status:

- 0: done;
- 1: the model, the data, a file or a vendor's tool is at fault, and a `UairError` was printed (code UAIR-E0002: UAIR
  itself is);
- 2: the command line is wrong;
- 3: `uair check` found nodes that a target does not take;
- 4: `uair run` or `uair diff` found a result outside of `--tolerance`, or `uair bisect` the change that makes one so;
- 130: interrupted.

Results go to the standard output, errors, warnings and progress to the standard error stream. With `--json` the
standard output is one JSON value, also when the command fails: then it is `{"error": {"code": ..., "message": ...}}`.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

import click

from uair._version import __version__
from uair.errors import ModelWarning

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMMANDS = {
    "compile": "Compile a model for a target.",
    "quantize": "Quantize a model: INT8, or weights of 8 or 4 bits.",
    "build": "Build an artifact with its vendor's tool.",
    "run": "Run a model or a compiled artifact.",
    "check": "Say which nodes each target takes, and why not.",
    "dump": "Print a model as IR text.",
    "opt": "Run passes over a model.",
    "diff": "Compare two models layer by layer.",
    "bisect": "Find which change of a pipeline changed the numbers.",
    "why-not": "Say why a rewrite rule does not apply.",
    "report": "Show what quantization did.",
    "inspect": "Summarize a model or an artifact.",
    "targets": "List the targets, or describe one.",
    "doctor": "Look for vendors' tools and devices on this machine.",
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
        command: click.Command = importlib.import_module(f"uair.cli.{cmd_name.replace('-', '_')}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in `uair --help`, from the table: no command is imported for it."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Completions, from the table as well."""
        from click.shell_completion import CompletionItem

        commands = [CompletionItem(n, help=text) for n, text in COMMANDS.items() if n.startswith(incomplete)]
        return commands + click.Command.shell_complete(self, ctx, incomplete)

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


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="`uair COMMAND --help` says more. Exit status: 0 done, 1 error, 2 wrong command line, 3 a target does not "
    "take the model, 4 result outside of the tolerance.",
)
@click.version_option(__version__, prog_name="uair")
def group() -> None:
    """UAIR compiles one trained model for many AI accelerators.

    Start with: uair compile model.onnx --target cpu
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, without the program's name; the process's own when not given. Returns the exit status."""
    # Idle threads of NumPy's BLAS go to sleep at once instead of spinning: between small matrix products they spin most
    # of the time, and on a machine that has other work too they take the time of those that compute.
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")
    given = list(sys.argv[1:] if arguments is None else arguments)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller, uair ... >&-
            setattr(sys, name, open(os.devnull, "w"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", ModelWarning)
            warnings.showwarning = _show_warning
            status = _run(given)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, `head` for instance, has seen enough
        _close_output()
        return 1
    except OSError as error:  # a full disk, mostly; what is left in the buffer goes nowhere
        from uair.cli.errors import as_uair_error

        _close_output()
        sys.stderr.write(f"{as_uair_error(error)}\n")
        return 1
    return status


def _close_output() -> None:
    """Let what is still to be written to the standard output vanish."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Write what a reader warns of without the place in its source."""
    if issubclass(category, ModelWarning):
        from uair.cli.output import warn

        warn(str(message))
    else:
        (file or sys.stderr).write(warnings.formatwarning(message, category, filename, lineno, line))


def _run(given: list[str]) -> int:
    """Run a command line and show what it raises."""
    as_json = "--json" in given
    try:
        status: Any = group.main(args=given, prog_name="uair", standalone_mode=False, obj=given)
        return status if isinstance(status, int) else 0
    except click.exceptions.Abort:
        sys.stderr.write("interrupted\n")
        return 130
    except click.ClickException as error:
        from uair.cli.errors import report_usage

        return report_usage(error, as_json=as_json)
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001  shown as a UairError, whatever it is
        from uair.cli.errors import report

        return report(error, as_json=as_json)
