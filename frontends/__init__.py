"""Readers of the source frameworks: one sub-package per framework, each turning its graph into a Module.

The folder is reached as ``uair.frontends`` through a committed symbolic link. Imported under its bare name it would be
a second copy of every module, with its own classes and failing ``isinstance`` checks, so that is refused.
"""

from __future__ import annotations

if __name__ != "uair.frontends":
    msg = f"import 'uair.frontends', not {__name__!r}: the bare folder name would load a second copy of every module"
    raise ImportError(msg, name=__name__)
