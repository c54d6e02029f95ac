"""What all tests share: golden files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.golden import FOLDER, Golden


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden files instead of comparing")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """The golden files of the test's file: tests/golden/codegen/ascend/test_files/ for that file."""
    file = Path(str(request.path)).relative_to(FOLDER.parent).with_suffix("")
    return Golden(FOLDER / file, bool(request.config.getoption("--update-golden")))
