"""Make a Python environment with rknn-toolkit2, once, and print the path of its interpreter.

    python tools/rknn_env.py [--python PATH]

The toolkit pins numpy, onnx and protobuf of years ago and a PyTorch that it only imports, so it has an environment of
its own. All versions are given here; the toolkit is installed without what its metadata asks for. The environment lies
in $UAIR_VENDOR_HOME, or in `vendor` in $UAIR_CACHE, or in `uair/vendor` in the user's cache folder, under a name that
has the hash of the versions in it: a change makes a new one and leaves those that run alone. It is complete when the
file `complete` is in it. Several processes may call this at once: one installs, the others wait.

The wheel of the toolkit taken here is for Linux and CPython 3.11. The interpreter is --python, or $UAIR_PYTHON311, or
this one, or found in PATH, in /usr/bin, /usr/local/bin, /opt, or under pyenv or uv.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import glob
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

VERSION = (3, 11)
TOOLKIT = "rknn-toolkit2==2.5.0"
PINS = (
    "fast-histogram==0.14",
    "flatbuffers==25.12.19",
    "mpmath==1.3.0",
    "numpy==1.26.4",
    "onnx==1.18.0",
    "onnxruntime==1.26.0",
    "opencv-python-headless==4.11.0.86",
    "packaging==26.3",
    "protobuf==4.25.4",
    "psutil==7.2.2",
    "ruamel.yaml==0.19.1",
    "scipy==1.17.1",
    "setuptools==79.0.1",
    "sympy==1.14.0",
    "tqdm==4.70.1",
    "typing_extensions==4.16.0",
)
TORCH = "torch==2.13.0"
"""With what it asks for itself: nothing more for a CPU build, NVIDIA's libraries for one with CUDA."""
CHECK = "from rknn.api import RKNN; RKNN(verbose=False)"
STAMP = "complete"


class ToolkitEnvironmentError(RuntimeError):
    """The environment cannot be made; the message says why and what to do."""


def home() -> Path:
    """The folder of vendors' tools."""
    if folder := os.environ.get("UAIR_VENDOR_HOME"):
        return Path(folder)
    if folder := os.environ.get("UAIR_CACHE"):
        return Path(folder) / "vendor"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "uair" / "vendor"


def folder() -> Path:
    """Where the environment with these versions is, or will be."""
    text = "\n".join((TOOLKIT, *PINS, TORCH, platform.machine()))
    return home() / f"rknn-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def interpreter() -> Path:
    """The interpreter of the environment, whether it exists or not."""
    return folder() / "bin" / "python"


# ---------------------------------------------------------------------------------------------------------- Python 3.11
def candidates() -> Iterator[str]:
    """Where an interpreter may be, the best first."""
    if given := os.environ.get("UAIR_PYTHON311"):
        yield given
    yield sys.executable
    name = f"python{VERSION[0]}.{VERSION[1]}"
    for place in os.environ.get("PATH", "").split(os.pathsep):
        yield os.path.join(place, name)
    yield from (f"/usr/bin/{name}", f"/usr/local/bin/{name}", f"/opt/{name}/bin/{name}")
    pyenv = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
    uv = os.environ.get("UV_PYTHON_INSTALL_DIR") or os.path.expanduser("~/.local/share/uv/python")
    yield from sorted(glob.glob(f"{pyenv}/versions/3.11*/bin/{name}"), reverse=True)
    yield from sorted(glob.glob(f"{uv}/cpython-3.11*/bin/{name}"), reverse=True)


def why_not(python: str) -> str:
    """Why an interpreter cannot be used; empty when it can."""
    if not os.access(python, os.X_OK):
        return "cannot be executed"
    probe = "import sys, ensurepip, venv; print(*sys.version_info[:2], sys.implementation.name)"
    try:
        done = subprocess.run([python, "-I", "-c", probe], check=False, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"does not start: {error}"
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        missing = "ensurepip" in lines[-1] or "venv" in lines[-1]
        return lines[-1] + (" (on Debian: apt install python3.11-venv)" if missing else "")
    found = done.stdout.split()
    expected = [*map(str, VERSION), "cpython"]
    return "" if found == expected else f"is {found[2]} {found[0]}.{found[1]}"


def find_python(given: str | None = None) -> str:
    """A CPython 3.11 that can make environments.

    Args:
        given: the one to use; no other is tried then.

    Raises:
        ToolkitEnvironmentError: there is none; tells what was tried.
    """
    tried: list[str] = []
    for python in dict.fromkeys([given] if given else candidates()):
        if given is None and not os.path.exists(python):
            continue
        reason = why_not(python)
        if not reason:
            return python
        tried.append(f"\n  {python}: {reason}")
    raise ToolkitEnvironmentError(
        f"rknn-toolkit2 needs CPython 3.11 with venv, and none was found.{''.join(tried)}\n"
        "Install one (Debian 12: apt install python3.11 python3.11-venv; elsewhere: uv python install 3.11, or pyenv "
        "install 3.11), or give its path as --python or $UAIR_PYTHON311."
    )


# --------------------------------------------------------------------------------------------------------- installation
@contextlib.contextmanager
def locked(path: Path) -> Generator[None, None, None]:
    """One process at a time; the lock goes with the process that holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def ensure(python: str | None = None) -> Path:
    """The interpreter of a complete environment, which is made when there is none.

    Args:
        python: CPython 3.11 to make it with; searched for when not given.

    Raises:
        ToolkitEnvironmentError: it cannot be made.
    """
    place = folder()
    stamp = place / STAMP
    if stamp.exists():
        return interpreter()
    if sys.platform != "linux":
        raise ToolkitEnvironmentError("rknn-toolkit2 runs on Linux only")
    base = find_python(python)
    with locked(place.with_suffix(".lock")):
        if not stamp.exists():
            if place.exists():
                shutil.rmtree(place)  # a process that was killed left it
            install(base, place)
            stamp.touch()
    return interpreter()


def install(base: str, place: Path) -> None:
    """Make the environment and see that the toolkit starts in it.

    Raises:
        ToolkitEnvironmentError: a step failed.
    """
    sys.stderr.write(f"Installing {TOOLKIT} into {place} (1.5 GB, about a minute)\n")
    constraints = place / "pins.txt"
    run(base, "-I", "-m", "venv", str(place))
    constraints.write_text("\n".join(PINS) + "\n", encoding="utf-8")
    pip = [str(place / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    run(*pip, "--no-deps", TOOLKIT, *PINS)
    run(*pip, "--constraint", str(constraints), TORCH)
    run(str(place / "bin" / "python"), "-c", CHECK)


def run(*command: str) -> None:
    """Run a step of the installation.

    Raises:
        ToolkitEnvironmentError: it failed; with the end of what it printed.
    """
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        tail = "\n".join(done.stdout.strip().splitlines()[-15:])
        raise ToolkitEnvironmentError(f"{' '.join(command[:6])} ... failed with status {done.returncode}:\n{tail}")


def main() -> int:
    """Print the path of the interpreter; the exit status."""
    parser = argparse.ArgumentParser(description="Make a Python environment with rknn-toolkit2.")
    parser.add_argument("--python", help="CPython 3.11 to make it with")
    try:
        sys.stdout.write(f"{ensure(parser.parse_args().python)}\n")
    except ToolkitEnvironmentError as error:
        sys.stderr.write(f"rknn_env: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
