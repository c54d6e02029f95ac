"""Start-up times: what every command and every script pays before any work.

```
python -m bench.startup            # wall and CPU time of fresh interpreters, median of nine
python -m bench.startup --rounds 30
```

The rounds interleave the commands. A bare interpreter is measured beside them: it is part of every other number. The
budgets are those of the design: `import uair` 0.15 s, `uair --help` 0.25 s.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

from bench.processes import run_measured

COMMANDS = {
    "python -c pass": (["-c", "pass"], None),
    "import uair": (["-c", "import uair"], 0.15),
    "uair --help": (["-m", "uair", "--help"], 0.25),
    "uair compile --help": (["-m", "uair", "compile", "--help"], None),
    "uair targets": (["-m", "uair", "targets"], None),
    "import uair; uair.compile": (["-c", "import uair; uair.compile"], None),
}


def measure(arguments: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of one fresh interpreter.

    Raises:
        SystemExit: it failed.
    """
    start = time.perf_counter()
    done, cpu = run_measured(arguments, timeout=120)
    wall = time.perf_counter() - start
    if done.returncode != 0:
        raise SystemExit(f"python {' '.join(arguments)}: exit status {done.returncode}\n{done.stderr}")
    return wall, cpu


def main(arguments: list[str] | None = None) -> int:
    """Print the table; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.startup", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args(arguments).rounds
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    for command, _budget in COMMANDS.values():
        measure(command)  # writes the bytecode
    for _ in range(rounds):
        for name, (command, _budget) in COMMANDS.items():
            times[name].append(measure(command))
    sys.stdout.write(f"{'median of ' + str(rounds):28}{'wall s':>8}{'CPU s':>8}{'budget':>8}\n")
    for name, (_command, budget) in COMMANDS.items():
        wall, cpu = (statistics.median(column) for column in zip(*times[name], strict=True))
        sys.stdout.write(f"{name:28}{wall:8.3f}{cpu:8.3f}{f'{budget:8.2f}' if budget else ''}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
