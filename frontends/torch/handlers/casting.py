"""Changes of the element type."""

from __future__ import annotations

from uair.frontends.torch.node import Family

FAMILY = Family()
