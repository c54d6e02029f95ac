"""What torch.export writes to the standard error stream beside the exception that it raises."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from collections.abc import Generator
from typing import Any


@contextlib.contextmanager
def quiet() -> Generator[None]:
    """Hold back what is written to stderr: shown in the end, or dropped when an exception says what is wrong.

    torch.export logs and prints when it cannot trace a module, for some by the page. Who has asked for its log, by
    TORCH_LOGS, gets it. Other threads' lines are held back, too, for as long as the module is traced.
    """
    if os.environ.get("TORCH_LOGS"):
        yield
        return
    held, stream = io.StringIO(), sys.stderr
    handlers = _handlers(stream)
    for handler in handlers:
        handler.setStream(held)
    try:
        with contextlib.redirect_stderr(held):
            yield
    finally:
        for handler in handlers:
            handler.setStream(stream)
    stream.write(held.getvalue())


def _handlers(stream: object) -> list[Any]:
    """What writes torch's log to a stream."""
    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "torch"]
    found = [h for name in names for h in logging.getLogger(name).handlers if isinstance(h, logging.StreamHandler)]
    return [h for h in dict.fromkeys(found) if h.stream is stream]
