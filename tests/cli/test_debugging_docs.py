"""The commands of docs/debugging.md say what the page says."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from tests.cli.helpers import EXAMPLE, ROOT, Shell

PAGE = (ROOT / "docs" / "debugging.md").read_text()
BLOCKS = re.findall(r"```console\n\$ uair (.*)\n((?:.*\n)*?)```", PAGE)


def settled(text: str) -> str:
    """Without what another processor rounds differently, and without blank lines at the ends."""
    return re.sub(r"\d\.\d+e-\d+", "#", text).strip("\n")


@pytest.mark.parametrize(("command", "output"), BLOCKS, ids=[command.split()[0] for command, _ in BLOCKS])
def test_a_command_of_the_page(uair: Shell, tmp_path: Path, command: str, output: str) -> None:
    shutil.copy(EXAMPLE, tmp_path / "cls.onnx")
    (plugin,) = re.findall(r"```python\n(# ours\.py\n(?:.*\n)*?)```", PAGE)
    (tmp_path / "ours.py").write_text(plugin)
    result = uair(*shlex.split(command))
    assert settled(result.out + result.err) == settled(output)


def test_the_page_has_all_commands() -> None:
    assert [command.split()[0] for command, _ in BLOCKS] == ["opt", "bisect", "bisect", "why-not", "why-not", "opt"]
