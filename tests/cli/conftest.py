from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.helpers import Shell, write_tiny


@pytest.fixture
def uair(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Runs `uair` commands in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    return Shell(capsys)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A small ONNX model in the test's folder."""
    return write_tiny(tmp_path)
