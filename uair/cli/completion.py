"""`uair completion`."""

from __future__ import annotations

import click

from uair.cli import output


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    bash: eval "$(uair completion bash)" in ~/.bashrc
    zsh:  eval "$(uair completion zsh)" in ~/.zshrc
    fish: uair completion fish > ~/.config/fish/completions/uair.fish
    """  # noqa: D301  \b is click's mark of text that is not to be wrapped
    from click.shell_completion import get_completion_class

    from uair.cli import group

    completer = get_completion_class(shell)
    assert completer is not None, shell
    output.print_text(completer(group, {}, "uair", "_UAIR_COMPLETE").source())
