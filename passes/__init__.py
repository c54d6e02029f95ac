"""Passes over a Module: one pass or one family of rules per file.

The folder is reached as ``uair.passes`` through a committed symbolic link. Imported under its bare name it would be a
second copy of every module, with its own classes and failing ``isinstance`` checks, so that is refused.
"""

from __future__ import annotations

if __name__ != "uair.passes":
    msg = f"import 'uair.passes', not {__name__!r}: the bare folder name would load a second copy of every module"
    raise ImportError(msg, name=__name__)
