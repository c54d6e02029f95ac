"""Showing errors."""

from __future__ import annotations

import json
import sys

from uair.errors import UairError


def report(error: Exception) -> int:
    """Print a UairError to the standard error stream, as JSON when the command was asked for JSON; raise anything else.

    Returns:
        the exit status.
    """
    if not isinstance(error, UairError):
        raise error
    if "--json" in sys.argv:
        fields = ("code", "message", "place", "hint", "pass_name", "window")
        sys.stdout.write(json.dumps({"error": {f: getattr(error, f) for f in fields}}) + "\n")
    sys.stderr.write(f"{error}\n")
    return 1
