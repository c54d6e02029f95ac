"""How long `uair check MODEL --target all` takes: one process, every target, no vendor tool.

    python -m bench.check_all [MODEL] [--repeat 3] [--profile]

Prints the wall and CPU time of the command in a process of its own (the fastest of several), the CPU time beside that
of `import onnx` in the same rounds (on a machine with other work only that ratio can be compared), and where the time
goes in this process: reading the model, preparing it, loading the descriptions, asking for verdicts.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from bench.processes import run_measured

LIMIT = 2.0
"""Seconds for ResNet-50 against all targets."""
UNSUPPORTED_STATUS = 3
"""Exit status of `uair check` when a target does not take some node."""
PEER = ("-c", "import onnx")
ResultT = TypeVar("ResultT")


def command_seconds(arguments: Sequence[str]) -> tuple[float, float]:
    """Wall and CPU time of `python ARGUMENTS`, started fresh; they differ on a machine that has other work.

    Raises:
        SystemExit: it failed.
    """
    start = time.perf_counter()
    done, cpu = run_measured(arguments, timeout=300)
    seconds = time.perf_counter() - start
    if done.returncode not in (0, UNSUPPORTED_STATUS):
        raise SystemExit(done.stderr)
    return seconds, cpu


def timed(what: str, function: Callable[[], ResultT]) -> ResultT:
    """The result of a function, with its time printed."""
    start = time.perf_counter()
    result = function()
    print(f"  {what:<34}{time.perf_counter() - start:8.3f} s")
    return result


def stages(model: Path) -> None:
    """Where the time goes."""
    from uair.api import check, load
    from uair.context import Context

    def descriptions() -> None:
        for name in Context.default().targets:
            assert Context.default().target(name).description.name == name

    module: Any = timed("read the model", lambda: load(model))
    timed("load all descriptions", descriptions)
    reports = timed("check all targets", lambda: check(module, "all"))
    slow = sorted(((_one(module, r.target), r.target) for r in reports), reverse=True)[:5]
    print("  slowest alone: " + ", ".join(f"{name} {seconds:.3f} s" for seconds, name in slow))


def _one(module: Any, target: str) -> float:
    from uair.api import check

    start = time.perf_counter()
    check(module, target)
    return time.perf_counter() - start


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path, help="default: light_resnet50 of the zoo")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    model: Path = given.model or _zoo_model()
    from uair.builtin import TARGETS

    command = ("-m", "uair", "check", str(model.resolve()), "--target", "all", "--json")
    command_seconds(command)  # writes the bytecode
    rounds = [(*command_seconds(command), command_seconds(PEER)[1]) for _ in range(given.repeat)]
    wall, cpu, peer = map(min, zip(*rounds, strict=True))
    print(
        f"uair check {model.name} --target all: {wall:.3f} s ({cpu:.3f} s of CPU, {cpu / peer:.1f} times import onnx) "
        f"for {len(TARGETS)} targets (limit {LIMIT} s)"
    )
    if not given.profile:
        stages(model)
        return
    profile = cProfile.Profile()
    profile.runcall(stages, model)
    pstats.Stats(profile).sort_stats("cumulative").print_stats(45)


def _zoo_model() -> Path:
    from tests import zoo

    return zoo.models()["light_resnet50"].path


if __name__ == "__main__":
    main()
