"""Packaging of a checkout without symbolic links; everything else is in pyproject.toml.

``uair/frontends``, ``uair/passes`` and ``uair/codegen`` are symbolic links to the folders at the top. Where git was
told not to make links (``core.symlinks=false``), each is a small text file instead; then the folders are mapped into the
package here.
"""

from __future__ import annotations

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
UNLINKED = [name for name in ("frontends", "passes", "codegen") if not (ROOT / "uair" / name).is_dir()]

if UNLINKED:
    packages = find_packages(str(ROOT), include=["uair", "uair.*"])
    for name in UNLINKED:
        packages += [f"uair.{name}", *(f"uair.{name}.{sub}" for sub in find_packages(str(ROOT / name)))]
    setup(packages=packages, package_dir={"": ".", **{f"uair.{name}": name for name in UNLINKED}})
else:
    setup()
