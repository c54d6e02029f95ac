"""Builds the wheel and the source distribution and holds them against the checkout.

Every module and data file of the package must be in both, under the name it is imported by; then the wheel is installed
into a fresh virtual environment, with the core dependencies alone, and every module in it is imported from an empty
folder.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from tools.check_tree import LINKED, ROOT, tracked_files

PACKAGED = {".lark", ".py", ".pyi", ".toml", ".typed"}
IMPORT_ALL = """
import importlib, pkgutil, uair
names = sorted(found.name for found in pkgutil.walk_packages(uair.__path__, "uair."))
names = [name for name in names if not name.endswith(".__main__")]
for name in names:
    importlib.import_module(name)
print(f"uair {uair.__version__}: {len(names)} modules imported from {uair.__path__[0]}")
"""


def expected() -> set[str]:
    """The files that both distributions must hold, as `uair/frontends/...`."""
    files = [name for name in tracked_files() if Path(name).suffix in PACKAGED]
    linked = {f"uair/{name}" for name in files if name.partition("/")[0] in LINKED}
    return linked | {name for name in files if name.startswith("uair/")}


def in_wheel(path: Path) -> set[str]:
    """The files of a wheel."""
    with zipfile.ZipFile(path) as wheel:
        return set(wheel.namelist())


def in_source(path: Path) -> set[str]:
    """The files of a source distribution, without its top folder."""
    with tarfile.open(path) as source:
        return {member.name.partition("/")[2] for member in source if member.isfile()}


def main() -> int:
    """Build, compare, install and import; 1 when a file is missing."""
    names = expected()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        _run(sys.executable, "-m", "build", "--outdir", str(out), str(ROOT))
        wheel, source = next(out.glob("*.whl")), next(out.glob("*.tar.gz"))
        missing = [f"{wheel.name} lacks {name}" for name in sorted(names - in_wheel(wheel))]
        missing += [f"{source.name} lacks {name}" for name in sorted(names - in_source(source))]
        if missing:
            print("\n".join(missing))
            return 1
        _run(sys.executable, "-m", "venv", str(out / "fresh"))
        python = str(out / "fresh" / "bin" / "python")
        _run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(wheel))
        (out / "empty").mkdir()
        subprocess.run([python, "-I", "-W", "error", "-c", IMPORT_ALL], cwd=out / "empty", check=True)
        _run(str(out / "fresh" / "bin" / "uair"), "--version")
    print(f"check_package: {len(names)} files are in {wheel.name} and in {source.name}")
    return 0


def _run(*command: str) -> None:
    """Run a command; its output is shown only when it fails."""
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}")


if __name__ == "__main__":
    sys.exit(main())
