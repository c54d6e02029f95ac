"""Golden files: what was written once, was read and found right, and must stay so.

    def test_script(golden: Golden) -> None:
        golden.check("build.sh", script)

compares with tests/golden/<path of the test file>/build.sh; `pytest --update-golden` writes the files instead, for
review as a diff.
"""

from __future__ import annotations

import difflib
from pathlib import Path

import attrs

FOLDER = Path(__file__).with_name("golden")


@attrs.frozen
class Golden:
    """The golden files of one test file.

    Attributes:
        folder: where they are.
        update: whether to write them.
    """

    folder: Path
    update: bool

    def check(self, name: str, text: str) -> None:
        """Compare `text` with the file `name`.

        Raises:
            AssertionError: the file is missing or differs.
        """
        path = self.folder / name
        if self.update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
            return
        assert path.is_file(), f"{path.relative_to(FOLDER.parent)} is missing: run pytest with --update-golden"
        expected = path.read_bytes().decode()
        if text != expected:
            lines = difflib.unified_diff(
                expected.splitlines(), text.splitlines(), f"golden/{name}", "what was written", lineterm=""
            )
            raise AssertionError("\n".join([f"{name} has changed (--update-golden accepts it):", *lines]))
