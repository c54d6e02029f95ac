"""How long `uair check MODEL --target all` takes: one process, every target, no vendor tool.

    python -m bench.check_all [MODEL] [--repeat 3] [--profile]

Prints the wall time of the command in a process of its own (the fastest of several), and where the time goes in this
process: importing, reading the model, preparing it, loading the descriptions, asking for verdicts.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

LIMIT = 2.0
"""Seconds for ResNet-50 against all targets."""
ResultT = TypeVar("ResultT")


def command_seconds(model: Path) -> tuple[float, float]:
    """Wall and CPU time of the command, started fresh; they differ on a machine that has other work."""
    command = [sys.executable, "-m", "uair", "check", str(model), "--target", "all", "--json"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, check=False, timeout=300)
    seconds = time.perf_counter() - start
    if done.returncode not in (0, 3):
        raise SystemExit(done.stderr.decode())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


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

    wall, cpu = map(min, zip(*(command_seconds(model) for _ in range(given.repeat)), strict=True))
    print(
        f"uair check {model.name} --target all: {wall:.3f} s ({cpu:.3f} s of CPU) for {len(TARGETS)} targets "
        f"(limit {LIMIT} s)"
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
