"""Writers of the artifacts of each target: one sub-package per vendor.

The folder is reached as ``uair.codegen`` through a committed symbolic link. Imported under its bare name it would be a
second copy of every module, with its own classes and failing ``isinstance`` checks, so that is refused.
"""

from __future__ import annotations

if __name__ != "uair.codegen":
    msg = f"import 'uair.codegen', not {__name__!r}: the bare folder name would load a second copy of every module"
    raise ImportError(msg, name=__name__)
