"""The list of packages, which depends on the checkout; everything else is in pyproject.toml.

``uair/frontends``, ``uair/passes`` and ``uair/codegen`` are symbolic links to the folders at the top, found like any
other package. Where git was told not to make links (``core.symlinks=false``), each is a small text file instead; then
the folder at the top is mapped into the package. pyproject.toml cannot say this, and its word goes before setup.py's.
"""

from __future__ import annotations

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
# The "." gives an editable install a plain .pth, which the type checkers of downstream projects can follow.
package_dir = {"": "."}
packages = find_packages(str(ROOT), include=["uair", "uair.*"])  # never a top-level `frontends`

for name in ("frontends", "passes", "codegen"):
    if not (ROOT / "uair" / name).is_dir():
        package_dir[f"uair.{name}"] = name
        packages += [f"uair.{name}", *(f"uair.{name}.{inner}" for inner in find_packages(str(ROOT / name)))]

setup(packages=packages, package_dir=package_dir)
