"""The reference interpreter: the meaning of a module, computed with NumPy.

outputs = run(module, {"x": image})          # one array per output name
"""

from __future__ import annotations

from uair.codegen.reference.errors import (
    FeedShapeError,
    FeedTypeError,
    MissingFeedError,
    ResultTypeError,
    UnknownFeedError,
)
from uair.codegen.reference.feeds import check_feeds
from uair.codegen.reference.interpreter import Interpreter, Observer, run

__all__ = [
    "FeedShapeError",
    "FeedTypeError",
    "Interpreter",
    "MissingFeedError",
    "Observer",
    "ResultTypeError",
    "UnknownFeedError",
    "check_feeds",
    "run",
]
