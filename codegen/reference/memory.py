"""Values that no machine holds: a model of a few bytes can ask for 2^60 elements, and must get an error instead."""

from __future__ import annotations

import ctypes
import functools
import importlib
import os
import sys
from collections.abc import Callable

import numpy as np

from uair.codegen.reference.errors import MemoryLimitError
from uair.ir.graph import Node

ALWAYS = 1 << 24
"""Bytes that there are wherever Python runs: values up to this are not worth the question."""


_ARENA = 31 << 20


@functools.cache
def keep_freed_memory() -> None:
    """Let blocks that are freed be taken again instead of going back to the system each time.

    A run makes and drops arrays of megabytes. glibc gives such blocks back at once, and the system then clears every
    page anew for the next array: a sixth of the CPU time of a detector. It learns by the greatest block freed so far
    (mallopt(3), M_MMAP_THRESHOLD: up to 32 MiB): one block that is never touched is enough. Other systems' memory does
    not work so, and nothing happens.
    """
    np.empty(_ARENA, np.uint8)


def give_back() -> None:
    """Let the system have memory that was freed and lies between what is in use.

    Reading and rewriting a model leaves megabytes of that, which the values of a run do not fit into. Only glibc can be
    asked (malloc_trim(3)).
    """
    trim = _trim()
    if trim is not None:
        trim(0)


@functools.cache
def _trim() -> Callable[[int], int] | None:
    """The function of the C library; None where there is none."""
    if not sys.platform.startswith("linux"):
        return None
    found: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return found


def exceeds(nbytes: int) -> bool:
    """Whether one value of so many bytes cannot be held."""
    return nbytes > ALWAYS and nbytes > limit()


def limit() -> int:
    """Bytes that one value may have: the machine's memory, or what the process is allowed of it."""
    if sys.platform == "win32":
        return sys.maxsize  # an allocation beyond memory and page file fails at once
    resource = importlib.import_module("resource")
    most = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        allowed, _ = resource.getrlimit(kind)
        if allowed != resource.RLIM_INFINITY:
            most = min(most, allowed)
    return most


def recorded_bytes(node: Node) -> int:
    """Bytes of the node's largest result, as far as the recorded types tell."""
    return max((t.type.nbytes for t in node.outputs if t.type.is_static), default=0)


def too_large(node: Node, why: str, place: str) -> MemoryLimitError:
    """The error for a result of a node."""
    return MemoryLimitError(
        f"a result of {node.op_type} {why}",
        place=place,
        hint="check the sizes that reach this node; bind smaller input shapes, or run on a larger machine",
    )
