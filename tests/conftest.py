"""What all tests share: golden files, and how property tests draw."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from hypothesis import settings

from tests.fuzz.settings import examples
from tests.golden import FOLDER, Golden

# The tests that hold the frontends against their frameworks run with a Python that has them (make test-frontends, which
# names the folder and so fails where it is ignored).
collect_ignore = [] if importlib.util.find_spec("torch") else ["frameworks"]

# A machine that has other work does not make a property false: no test has a deadline.
settings.register_profile("uair", examples(100))
settings.load_profile("uair")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden files instead of comparing")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """The golden files of the test's file: tests/golden/codegen/ascend/test_files/ for that file."""
    file = Path(str(request.path)).relative_to(FOLDER.parent).with_suffix("")
    return Golden(FOLDER / file, bool(request.config.getoption("--update-golden")))
