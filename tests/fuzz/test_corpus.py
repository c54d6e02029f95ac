"""Every malformed model ends in an error of UAIR or is read, within bounds of time and memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz.case import FINE, Case
from tests.fuzz.corpus import CORPUS
from tests.fuzz.server import MEMORY, SECONDS

ROOT = Path(__file__).resolve().parents[2]
PART = 100
GROUPS = sorted({case.group for case in CORPUS.cases.values()})


def parts() -> list[tuple[str, tuple[str, ...]]]:
    """The cases in lots of one group that take a few seconds each."""
    found: list[tuple[str, tuple[str, ...]]] = []
    for group in GROUPS:
        names = [c.name for c in CORPUS.cases.values() if c.group == group]
        lots = [tuple(names[i : i + PART]) for i in range(0, len(names), PART)]
        found += [(f"{group} {i + 1}" if len(lots) > 1 else group, lot) for i, lot in enumerate(lots)]
    return found


def results(names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """What became of each case, from processes of their own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.server", *names],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return {result["name"]: result for result in map(json.loads, done.stdout.splitlines())}


def fault(case: Case, result: dict[str, Any]) -> str:
    """What is wrong with the outcome of a case; empty when nothing is."""
    if "traceback" in result:
        return str(result["traceback"])
    outcome = result["stages"]["import"]
    if case.expect == FINE:
        if outcome:
            return f"is refused: {outcome}"
    elif not outcome.startswith(case.expect):
        return f"ends in {outcome or 'success'!r}, expected is {case.expect}"
    if result["seconds"] > SECONDS:
        return f"takes {result['seconds']:.1f} s"
    if result["memory"] > MEMORY:
        return f"takes {result['memory'] >> 20} MiB"
    return ""


@pytest.mark.parametrize(("part", "names"), parts(), ids=[name for name, _ in parts()])
def test_malformed_models(part: str, names: tuple[str, ...]) -> None:
    found = results(names)
    assert list(found) == list(names), part
    faults = {name: text for name in names if (text := fault(CORPUS.cases[name], found[name]))}
    assert not faults, "\n".join(f"{name}: {text}" for name, text in faults.items())


def test_the_corpus_is_large_and_the_same_every_time() -> None:
    assert len(CORPUS.cases) >= 800
    for case in list(CORPUS.cases.values())[::7]:
        first, second = case.build(), case.build()
        assert first == second, case.name
