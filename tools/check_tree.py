"""Checks of the checkout itself, which no linter makes.

``rules``: no Python file has more than 800 lines, no file more than 1 MB, no text names a folder of somebody's machine.

``coverage``: ruff, mypy and pyright each look at every Python file. A checker that passes over a folder (a link it does
not follow, an ``exclude`` that matches too much, an ``ignore_errors``) reports success; so an undefined name is planted
in a copy of every file, and each checker must report it in each. The copy of a file holds only its comments, where the
directives are, and the planted name, so that this takes seconds.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINKED = ("frontends", "passes", "codegen")
CONFIGURATION = "pyproject.toml"
MAX_LINES = 800
MAX_BYTES = 1_000_000
PLANTED = "planted_by_check_tree"
BINARY = {
    *(".h5", ".index", ".jpg", ".keras", ".npy", ".npz", ".onnx", ".pb", ".png", ".pt2", ".safetensors", ".tflite"),
    ".data-00000-of-00001",
}
# Written in pieces, so that this file is held to the rule as well.
MACHINE_PATH = re.compile(
    r"(?<![\w.])/(?:" + "|".join(("wo" + "rk", "ro" + "ot", "ho" + "me", "Us" + "ers")) + r")/\w+"
)


def tracked_files() -> list[str]:
    """The files of the checkout that git knows or would add, links left out, as paths from the root.

    Raises:
        subprocess.CalledProcessError: The checkout is not a git repository.
    """
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    return sorted({name for name in names if name and (ROOT / name).is_file() and not (ROOT / name).is_symlink()})


def broken_rules(names: list[str]) -> Iterator[str]:
    """One sentence for each rule that a file breaks."""
    for name in names:
        path = ROOT / name
        size = path.stat().st_size
        if size > MAX_BYTES:
            yield f"{name}: {size:,} bytes, the limit is {MAX_BYTES:,}; make large data when it is needed"
        if path.suffix in BINARY:
            continue
        lines = path.read_text(encoding="utf-8").splitlines()
        if path.suffix == ".py" and len(lines) > MAX_LINES:
            yield f"{name}: {len(lines)} lines, the limit is {MAX_LINES}; split it by what its parts are about"
        for number, line in enumerate(lines, 1):
            if found := MACHINE_PATH.search(line):
                yield f"{name}:{number}: {found[0]} is a folder of one machine"


def plant(names: list[str], copy: Path) -> None:
    """Make `copy` a tree in which every named Python file uses an undefined name on a line of its own."""
    for name in LINKED:
        (copy / name).mkdir(parents=True)
        (copy / "uair").mkdir(exist_ok=True)
        (copy / "uair" / name).symlink_to(Path("..") / name)
    shutil.copy(ROOT / CONFIGURATION, copy / CONFIGURATION)
    for name in names:
        target = copy / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("\n".join([*comments(ROOT / name), PLANTED, ""]), encoding="utf-8")


def comments(path: Path) -> list[str]:
    """The comments of a Python file that stand on lines of their own: among them every directive for a whole file."""
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline)
    return [token.string for token in tokens if token.type == tokenize.COMMENT and token.line.lstrip().startswith("#")]


def seen_by_ruff(copy: Path) -> set[str]:
    """The files in which ruff reports the planted name."""
    report = json.loads(_output([sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format=json"], copy))
    return {_relative(row["filename"], copy) for row in report if row["code"] == "F821" and PLANTED in row["message"]}


def seen_by_mypy(copy: Path) -> set[str]:
    """The files in which mypy reports the planted name."""
    report = _output([sys.executable, "-m", "mypy", "--output=json", "--cache-dir=/dev/null"], copy)
    rows = [json.loads(line) for line in report.splitlines() if line.startswith("{")]
    return {row["file"] for row in rows if row["code"] == "name-defined" and PLANTED in row["message"]}


def seen_by_pyright(copy: Path) -> set[str]:
    """The files in which pyright reports the planted name."""
    program = [sys.executable, "-m", "pyright", "--project", "pyproject.toml"]
    command = [*program, "--outputjson", "--pythonpath", sys.executable]
    rows = json.loads(_output(command, copy))["generalDiagnostics"]
    return {
        _relative(row["file"], copy)
        for row in rows
        if row.get("rule") == "reportUndefinedVariable" and PLANTED in row["message"]
    }


def overlooked(names: list[str]) -> Iterator[str]:
    """One sentence for each checker and Python file that the checker passes over."""
    checkers: dict[str, Callable[[Path], set[str]]] = {
        "mypy": seen_by_mypy,
        "pyright": seen_by_pyright,
        "ruff": seen_by_ruff,
    }
    python = [name for name in names if name.endswith(".py")]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder).resolve() / "checkout"
        plant(python, copy)
        for checker, seen_by in checkers.items():
            seen = {_real(name) for name in seen_by(copy)}
            yield from (
                f"{name}: {checker} does not look at it (see {CONFIGURATION})" for name in python if name not in seen
            )


def _real(name: str) -> str:
    """`uair/frontends/x.py` as `frontends/x.py`: the path that git and ruff know."""
    head, _, rest = name.partition("/")
    return rest if head == "uair" and rest.partition("/")[0] in LINKED else name


def _relative(name: str, folder: Path) -> str:
    return Path(name).relative_to(folder).as_posix()


def _output(command: list[str], folder: Path) -> str:
    """What a checker writes; that it finds errors is expected, that it cannot run is not."""
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    if done.returncode != 1:
        sys.exit(f"{' '.join(command)}: exit status {done.returncode} instead of 1\n{done.stdout}{done.stderr}")
    return done.stdout


def main(arguments: list[str]) -> int:
    """Run the checks named on the command line; 1 when one of them finds something."""
    checks = {"rules": broken_rules, "coverage": overlooked}
    if not arguments or not set(arguments) <= set(checks):
        sys.exit(f"usage: python -m tools.check_tree {' | '.join(checks)} ...")
    names = tracked_files()
    findings = [finding for argument in arguments for finding in checks[argument](names)]
    for finding in findings:
        print(finding)
    print(f"check_tree {' '.join(arguments)}: {len(names)} files, {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
